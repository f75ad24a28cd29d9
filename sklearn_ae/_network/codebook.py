"""The default member of an ensemble: an autoencoder whose code says which of a few rows is nearest."""

import torch
from torch import Tensor, nn

from sklearn_ae.architectures import Architecture, Modules

CENTRAL = 0.75  # share of the rows, those nearest to the median, among which the first ones are drawn


class Codebook(Architecture):
    """Vector quantisation as encoder and decoder that share one matrix of rows.

    The encoder gives a one-hot code: which of `n_components` rows is nearest. The decoder gives that
    row. Gradients of the reconstruction loss move the rows, as in online k-means.
    """

    accepts_strided_input = True

    def build(self, n_features: int, n_outputs: int, n_components: int) -> Modules:
        rows = nn.Parameter(torch.zeros(n_components, n_features))
        return NearestRow(rows), Rows(rows)

    @torch.no_grad()
    def start(self, encoder, decoder, data, n_components, unit_variance, noise):
        x, _ = data()
        far = (x - x.median(0).values).abs().sum(1)
        central = far.argsort()[: max(1, int(CENTRAL * len(x)))]
        drawn = central[torch.randperm(len(central), device="cpu").to(central)]
        decoder.rows.copy_(x[drawn[torch.arange(n_components) % len(drawn)]])


class Rows(nn.Module):
    """From codes (..., n_samples, n_components) to rows (..., n_samples, n_features)."""

    supports_batched_weights = True  # see _layers.Linear

    def __init__(self, rows: nn.Parameter):
        super().__init__()
        self.rows = rows

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.rows


class NearestRow(Rows):
    """From rows (..., n_samples, n_features) to one-hot codes (..., n_samples, n_components)."""

    supports_batched_weights = True

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        products = (self.rows @ x.mT).mT  # rows as columns: see _layers
        nearest = (self.rows.square().sum(-1).unsqueeze(-2) - 2 * products).argmin(-1)
        return nn.functional.one_hot(nearest, self.rows.shape[-2]).to(x.dtype)

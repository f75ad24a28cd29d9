"""The default member of an ensemble: its code says which of a few rows is nearest."""

import torch
from torch import Tensor, nn

from sklearn_ae.architectures import Architecture, Modules


class Codebook(Architecture):
    """Vector quantisation as encoder and decoder that share one matrix of rows.

    The encoder gives a one-hot code: which of `n_components` rows is nearest. The decoder gives
    that row. Gradients of the reconstruction loss move the rows, as in online k-means.
    """

    accepts_strided_input = True

    def build(self, n_features: int, n_outputs: int, n_components: int) -> Modules:
        rows = nn.Parameter(torch.zeros(n_components, n_features))
        return NearestRow(rows), Rows(rows)

    @torch.no_grad()
    def start(self, encoder, decoder, data, n_components, unit_variance, noise):
        x, _ = data()
        drawn = torch.randperm(len(x), device="cpu").to(x.device)
        decoder.rows.copy_(x[drawn[torch.arange(n_components) % len(x)]])


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

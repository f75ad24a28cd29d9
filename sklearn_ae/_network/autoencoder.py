"""The autoencoder itself: corrupt, encode, code, decode."""

import torch
from torch import Tensor, nn

from sklearn_ae._data.batch import Batch


class Autoencoder(nn.Module):
    """An encoder and a decoder with what stands between them. Everything is in scaled units.

    Parameters
    ----------
    encoder : nn.Module
        From (n_samples, n_features) to (n_samples, n_outputs).
    decoder : nn.Module
        From (n_samples, n_components) to (n_samples, n_features), before the loss's inverse link.
    latent : Latent or nn.Module with its methods
        Turns the encoder's output into a code, and says what the code costs.
    loss : Loss
        One number per sample.
    corruption : callable or None
        Applied to the input in training.
    copies_input : bool
        Whether encoder and decoder get copies of what they map, since they may work in place or ask for rows that are contiguous.
    """

    def __init__(self, encoder, decoder, latent, loss, corruption=None, copies_input=False):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent = latent
        self.loss = loss
        self.corruption = corruption
        self.copies_input = copies_input
        self.learning = False  # True inside fit, its validation included: corruption and random codes are in force
        self.register_buffer("cost_weight", torch.ones(()), persistent=False)  # of the latent's cost

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Raw reconstructions (n_samples, n_features) and, if codes cost anything, the costs (n_samples,)."""
        if self.learning and self.corruption is not None:
            x = self.corruption(x)
        h = self.encoder_output(x)
        z = self.latent.code(h, sample=self.learning)
        cost = self.latent.cost(h, self._own(x), self.encoder)
        raw = self.decoder(self._own(z))
        return (raw,) if cost is None else (raw, cost)

    def objective(self, batch: Batch, raw: Tensor, cost: Tensor | None = None) -> Tensor:
        """Loss and cost of each row (n_samples,), whose weighted mean training lowers; the batch is clean."""
        loss = self.loss(raw, batch.x)
        if self.latent.stochastic:
            loss = self.loss.negative_log_likelihood(loss, batch.x.shape[1])
        return loss if cost is None else loss + self.cost_weight * cost

    def encoder_output(self, x: Tensor) -> Tensor:
        """What the encoder gives (n_samples, n_outputs)."""
        return self.encoder(self._own(x))

    def _own(self, x: Tensor) -> Tensor:
        """`x` as encoder and decoder may have it."""
        return x.clone(memory_format=torch.contiguous_format) if self.copies_input else x

    # Nothing random from here on

    def encode(self, x: Tensor) -> Tensor:
        """Codes (n_samples, n_components)."""
        return self.latent.code(self.encoder_output(x), sample=False)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Raw reconstructions (n_samples, n_features)."""
        return self.decoder(self._own(self.encode(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Reconstructions (n_samples, n_features) in scaled units."""
        return self.loss.inverse_link(self.decoder(self._own(z)))

    def elements(self, x: Tensor) -> Tensor:
        """The loss of each entry (n_samples, n_features)."""
        return self.loss.elements(self.reconstruct(x), x)

    def losses(self, x: Tensor) -> Tensor:
        """The loss of each row (n_samples,)."""
        return self.loss(self.reconstruct(x), x)

    def contributions(self, x: Tensor) -> Tensor:
        """The part of each feature in a row's loss (n_samples, n_features); the sum over a row is the loss."""
        return self.elements(x) / x.shape[1]

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Random codes near those of some rows of `h`, which ``encoder_output`` gave."""
        return self.latent.sample_codes(h, rows, generator)

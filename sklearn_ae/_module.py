"""The autoencoder itself: corrupt, encode, code, decode."""

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """An encoder and a decoder with what stands between them. Everything is in scaled units.

    Parameters
    ----------
    encoder : nn.Module
        From (n_samples, n_features) to (n_samples, n_outputs).
    decoder : nn.Module
        From (n_samples, n_components) to (n_samples, n_features), before the loss's link.
    latent : Latent
        Turns the encoder's output into a code, and says what the code costs.
    loss : Loss
        One number per sample.
    corruption : callable or None
        What is done to the input in training.
    """

    def __init__(self, encoder, decoder, latent, loss, corruption=None):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent = latent
        self.loss = loss
        self.corruption = corruption
        self.learning = False  # True inside fit, its validation included: corruption and random codes are in force
        self.register_buffer("ramp", torch.ones(()), persistent=False)  # weight of the latent's cost

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Raw reconstructions (n_samples, n_features) and, if codes cost anything, the costs (n_samples,)."""
        if self.learning and self.corruption is not None:
            x = self.corruption(x)
        h = self.encoder(x)
        z = self.latent.code(h, sample=self.learning)
        cost = self.latent.cost(h, x, self.encoder)
        return (self.decoder(z),) if cost is None else (self.decoder(z), cost)

    def objective(self, x: Tensor, raw: Tensor, cost: Tensor | None = None) -> Tensor:
        """Loss and cost of each row (n_samples,), whose mean training lowers; `x` is the clean batch."""
        loss = self.loss(raw, x)
        if self.latent.stochastic:
            loss = self.loss.nats(loss, x.shape[1])
        return loss if cost is None else loss + self.ramp * cost

    def hidden(self, x: Tensor) -> Tensor:
        """The encoder's output (n_samples, n_outputs)."""
        return self.encoder(x)

    def encode(self, x: Tensor) -> Tensor:
        """Codes (n_samples, n_components), nothing random."""
        return self.latent.code(self.encoder(x), sample=False)

    def draw(self, h: Tensor, rows: Tensor) -> Tensor:
        """Random codes near those of some rows of `h`, which ``hidden`` gave."""
        return self.latent.draw(h, rows)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Raw reconstructions (n_samples, n_features), nothing random."""
        return self.decoder(self.encode(x))

    def decode(self, z: Tensor) -> Tensor:
        """Reconstructions (n_samples, n_features), after the link."""
        return self.loss.link(self.decoder(z))

    def elements(self, x: Tensor) -> Tensor:
        """The loss of each entry (n_samples, n_features), nothing random."""
        return self.loss.elements(self.reconstruct(x), x)

    def losses(self, x: Tensor) -> Tensor:
        """The loss of each row (n_samples,), nothing random."""
        return self.loss(self.reconstruct(x), x)

    def contributions(self, x: Tensor) -> Tensor:
        """The part of each feature in a row's loss (n_samples, n_features); the sum over a row is the loss."""
        return self.elements(x) / x.shape[1]

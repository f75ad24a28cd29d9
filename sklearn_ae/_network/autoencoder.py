"""The autoencoder itself: corrupt, encode, code, decode."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_ae._data.batch import Batch


class Autoencoder(nn.Module):
    """An encoder and a decoder with what stands between them. Everything is in scaled units.

    Methods take rows `x` and, where values are missing, a `mask` of the same shape that is True
    where one was observed; `x` is zero elsewhere.

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
        Whether encoder and decoder get copies of what they map, since they may work in place or ask
        for rows that are contiguous.
    filler : GapFiller, MeanFiller, MaskFiller or None
        Fills gaps where training rows have some. In training a share of the values is then hidden
        too, and has to be told from the others. Where the filler learns from what is hidden, its
        values take the place of the decoder's in the gaps.
    n_unused : int
        How many of the last components of an ordered code are not in use once it is trained.
    """

    cost_weight: Tensor

    def __init__(
        self,
        encoder,
        decoder,
        latent,
        loss,
        corruption=None,
        copies_input=False,
        filler=None,
        n_unused=0,
    ):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent = latent
        self.loss = loss
        self.corruption = corruption
        self.copies_input = copies_input
        self.filler = filler
        self.n_unused = n_unused
        # True inside fit, its validation included: corruption and random codes are in force
        self.learning = False
        # of the latent's cost
        self.register_buffer("cost_weight", torch.ones(()), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Raw reconstructions (n_samples, n_features) and, if codes cost anything, the costs
        (n_samples,). In training, a latent that learns by itself has the encoder's output beside.
        """
        if self.learning and self.corruption is not None:
            x = self.corruption(x)
        if self.learning and self.filler is not None:
            mask = self.filler.hidden(x, mask)
        x, values = self._fill(x, mask)
        h = self._encoded(x)
        z = self.latent.code(h, sample=self.learning)
        cost = self.latent.cost(h, self._own(x), self.encoder)
        raw = self._with_values(self.decoder(self._own(z)), values, mask)
        if self.training and self.latent.running_means:
            return raw, h.new_zeros(h.shape[:-1]) if cost is None else cost, h.detach()
        return (raw,) if cost is None else (raw, cost)

    def objective(
        self, batch: Batch, raw: Tensor, cost: Tensor | None = None, h: Tensor | None = None
    ) -> Tensor:
        """Loss and cost of each row (n_samples,), whose weighted mean training lowers; the batch is
        clean. A latent that learns by itself does so from `h`.
        """
        loss = self.loss(raw, batch.x, batch.mask)
        if self.latent.stochastic:
            n_observed = batch.x.shape[1] if batch.mask is None else batch.mask.sum(1)
            loss = self.loss.negative_log_likelihood(loss, n_observed)
        if h is not None:
            self.update_latent(h, batch.weighted(torch.ones_like(loss)))
        return loss if cost is None else loss + self.cost_weight * cost

    def update_latent(self, h: Tensor, weight: Tensor) -> tuple:
        """Let the latent learn from the encoder's output for a batch."""
        self.latent.update(h, weight.detach())
        return ()

    def encoder_output(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the encoder gives (n_samples, n_outputs)."""
        return self._encoded(self._fill(x, mask)[0])

    def _fill(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rows without gaps for the encoder, and the raw output for the gaps if the filler has
        learnt one.
        """
        if mask is None:
            return x, None
        x = torch.where(mask, x, 0)
        return (x, None) if self.filler is None else self.filler(x, mask, self.loss)

    def _with_values(self, raw: Tensor, values: Tensor | None, mask: Tensor | None) -> Tensor:
        """Raw output, with the filler's in the gaps."""
        return (
            raw
            if values is None or mask is None
            else torch.where(mask, raw, self.filler.joined(values, raw))
        )

    def _encoded(self, x: Tensor) -> Tensor:
        return self.encoder(self._own(x))

    def _own(self, x: Tensor) -> Tensor:
        """`x` as encoder and decoder may have it."""
        return x.clone(memory_format=torch.contiguous_format) if self.copies_input else x

    # Nothing random from here on

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Codes (n_samples, n_components)."""
        return self._in_use(self.latent.code(self.encoder_output(x, mask), sample=False))

    def raw_output(
        self, x: Tensor, mask: Tensor | None = None, n_components: int | None = None
    ) -> Tensor:
        """Raw reconstructions (n_samples, n_features), of missing values too; from the first
        components of an ordered code.
        """
        x, values = self._fill(x, mask)
        z = self.latent.code(self._encoded(x), sample=False)
        if n_components is not None or self.n_unused:
            z = self.latent.truncate(
                z, z.shape[-1] - self.n_unused if n_components is None else n_components
            )
        return self._with_values(self.decoder(self._own(z)), values, mask)

    def reconstruct(
        self, x: Tensor, mask: Tensor | None = None, n_components: int | None = None
    ) -> Tensor:
        """Reconstructions (n_samples, n_features) in scaled units, of missing values too."""
        return self.loss.inverse_link(self.raw_output(x, mask, n_components))

    def decode(self, z: Tensor) -> Tensor:
        """Reconstructions (n_samples, n_features) in scaled units."""
        z = nn.functional.pad(z, (0, self.n_unused)) if self.n_unused else z
        return self.loss.inverse_link(self.decoder(self._own(z)))

    def squared_errors_by_length(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Squared errors summed over what was observed of a row, for ordered codes of each length
        (n_samples, n_components).
        """
        z = self.encode(x, mask)
        errors = [
            (self.decode(self.latent.truncate(z, k + 1)) - x).square() for k in range(z.shape[-1])
        ]
        return torch.stack(
            [(one if mask is None else torch.where(mask, one, 0)).sum(-1) for one in errors], -1
        )

    def _in_use(self, z: Tensor) -> Tensor:
        return z[..., : z.shape[-1] - self.n_unused]

    def elementwise(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of each entry (n_samples, n_features); NaN where it is missing."""
        losses = self.loss.elementwise(self.raw_output(x, mask), x)
        return losses if mask is None else torch.where(mask, losses, torch.nan)

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Random codes near those of some rows of `h`, which ``encoder_output`` gave."""
        latent: Any = self.latent
        if isinstance(latent, nn.Module):
            latent = copy.deepcopy(latent).to(h.device)
        return self._in_use(latent.sample_codes(h, rows, generator))

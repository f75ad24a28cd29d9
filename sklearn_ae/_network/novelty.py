"""Novelty: how far a row lies from clean training rows, by what a masked autoencoder tells of it and by the nearest kept rows.

Both reconstruct a row feature by feature; both residuals are sums over features.
"""

import torch
from torch import Tensor

from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.filling import MeanFiller
from sklearn_ae._network.nearest import Memory, typical

LEAST_HIDDEN, MOST_HIDDEN = 0.1, 0.7  # of a row's values in training
N_PARTS, N_PARTITIONS = 5, 3  # features are hidden a fifth at a time, in so many partitions of them
MEMORY_SHARE = 2 / 3  # the power of the memory's residual in the score; the network's has the rest
SCALE_ROWS = 2_000  # kept rows from which the typical score is computed


class MaskFiller(MeanFiller):
    """Tells the encoder what is hidden; among many features, each that is hidden changes its own value only."""

    most_mixed = 256

    def start(self, x: Tensor, mask: Tensor) -> None:
        """Nothing is computed from rows."""


class NoveltyNetwork(Autoencoder):
    """An autoencoder that learns to tell hidden features from the others, with a memory of training rows beside it.

    A row's outlyingness is :math:`m^{2/3} a^{1/3}`: `m` is the sum of its residuals from the memory, `a` that of the residuals
    that each feature has when it is hidden together with a fifth of the others.
    """

    parts: Tensor
    scale: Tensor

    def __init__(self, *parts):
        super().__init__(*parts)
        n_features = self.filler.weight.shape[0]
        self.memory = Memory(n_features)
        self.register_buffer("parts", torch.zeros(N_PARTITIONS, n_features, dtype=torch.int64))
        self.register_buffer("scale", torch.ones(()))

    def _hide(self, mask: Tensor) -> Tensor:
        share = LEAST_HIDDEN + (MOST_HIDDEN - LEAST_HIDDEN) * torch.rand_like(mask[..., :1], dtype=torch.float32)
        return mask & (torch.rand_like(mask, dtype=torch.float32) >= share)

    def draw_partitions(self) -> None:
        """Choose at random which features are hidden together."""
        n = self.parts.shape[1]
        self.parts.copy_(torch.stack([torch.randperm(n) % min(N_PARTS, n) for _ in range(N_PARTITIONS)]))

    @torch.no_grad()
    def calibrate(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Keep these rows, their gaps filled, and set the scale by which a typical row has an outlyingness of 1."""
        if mask is not None:
            x = torch.where(mask, x, self.restore(x, mask))
        memory, some = self.memory.fill(x), x[:SCALE_ROWS]
        self.scale.copy_(1 / typical(combined(memory[: len(some)], self.told_apart(some).sum(1))))

    # Inference, nothing random

    def told_apart(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The residuals of features while they are hidden (n_samples, n_features), in the mean over partitions."""
        n_parts = min(N_PARTS, x.shape[1])
        rows, numbers = x.mT.repeat(1, n_parts).mT, torch.arange(n_parts, device=x.device)[:, None, None]
        seen = None if mask is None else mask.mT.repeat(1, n_parts).mT
        total = torch.zeros_like(x)
        for parts in self.parts:
            hidden = parts == numbers  # one part after the other, for all rows
            visible = (~hidden).expand(-1, x.shape[0], -1).flatten(0, 1)
            told = self.loss.inverse_link(self.reconstruct(rows, visible if seen is None else visible & seen))
            total += torch.where(hidden, (told - rows).abs().view(n_parts, *x.shape), 0).sum(0)
        return total / len(self.parts)

    def losses(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The outlyingness of each row (n_samples,)."""
        return self._outlyingness(*self._residuals(x, mask))

    def contributions(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The part of each feature in it (n_samples, n_features), from its shares in the two sums."""
        memory, told = self._residuals(x, mask)
        shares = MEMORY_SHARE * memory / nonzero(memory) + (1 - MEMORY_SHARE) * told / nonzero(told)
        return self._outlyingness(memory, told)[:, None] * shares

    def _residuals(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of both; those of observed values stand for the missing ones beside them."""
        if mask is not None:
            x = torch.where(mask, x, 0)
        residuals = self.memory(x, mask), self.told_apart(x, mask)
        if mask is None:
            return residuals
        share = mask.shape[1] / mask.sum(1, keepdim=True).clamp_min(1)
        memory, told = (torch.where(mask, one, 0) * share for one in residuals)
        return memory, told

    def _outlyingness(self, memory: Tensor, told: Tensor) -> Tensor:
        return combined(memory.sum(1), told.sum(1)) * self.scale


def combined(memory: Tensor, told: Tensor) -> Tensor:
    return memory.pow(MEMORY_SHARE) * told.pow(1 - MEMORY_SHARE)


def nonzero(values: Tensor) -> Tensor:
    """Sums over features, to divide by."""
    return values.sum(1, keepdim=True).clamp_min(1e-30)

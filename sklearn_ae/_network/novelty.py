"""Novelty: how far a row lies from clean training rows, by what a masked autoencoder tells of it and by the nearest kept rows.

Both reconstruct a row feature by feature; both residuals are sums over features, as are the margins beside them.
"""

import torch
from torch import Tensor

from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.ensemble import for_all_features, margin_sums, margin_weight
from sklearn_ae._network.filling import MeanFiller
from sklearn_ae._network.margins import Margins
from sklearn_ae._network.nearest import Memory, typical

LEAST_HIDDEN, MOST_HIDDEN = 0.1, 0.7  # of a row's values in training
N_PARTS, N_PARTITIONS = 5, 3  # features are hidden a fifth at a time, in so many partitions of them
MEMORY_SHARE = 2 / 3  # the power of the memory's residual in the score; the network's has the rest
MARGIN_SHARE = 0.2  # of the margins' weight in an ensemble


class MaskFiller(MeanFiller):
    """Tells the encoder what is hidden; among many features, each that is hidden changes its own value only."""

    most_mixed = 256

    def start(self, x: Tensor, mask: Tensor) -> None:
        """Nothing is computed from rows."""


class NoveltyNetwork(Autoencoder):
    """An autoencoder that learns to tell hidden features from the others, with a memory of training rows beside it.

    A row's outlyingness is :math:`m^{2/3} a^{1/3}` and a little for its margins: `m` is the sum of its residuals from the memory,
    `a` that of the residuals that each feature has when it is hidden together with a fifth of the others. Both are divided by the
    root of what is usual around.
    """

    parts: Tensor
    scale: Tensor

    def __init__(self, *parts):
        super().__init__(*parts)
        n_features = self.filler.weight.shape[0]
        self.memory, self.margins = Memory(n_features), Margins(n_features)
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
        self.margins.learn(x)
        both = combined(*self.memory.fill(x, self.told_apart(x, n_partitions=1).sum(1)))
        margins = margin_sums(self.margins, x, None)
        share = MARGIN_SHARE * margin_weight(x.shape[1]) / typical(margins).clamp_min(0.05)
        total = typical(both / typical(both) + share * margins)
        self.scale.copy_(1 / (typical(both) * total))
        self.margins.values.mul_(share / total)

    # Inference, nothing random

    def told_apart(self, x: Tensor, mask: Tensor | None = None, n_partitions: int = N_PARTITIONS) -> Tensor:
        """The residuals of features while they are hidden (n_samples, n_features), in the mean over partitions."""
        total = torch.zeros_like(x)
        for parts in self.parts[:n_partitions]:
            for part in range(min(N_PARTS, len(parts))):
                hidden = parts == part
                visible = (~hidden).expand_as(x)
                told = self.loss.inverse_link(self.reconstruct(x, visible if mask is None else visible & mask))
                total += torch.where(hidden, (told - x).abs(), 0)
        return total / n_partitions

    def losses(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The outlyingness of each row (n_samples,)."""
        memory, told, margins = self._parts(x, mask)
        return combined(memory.sum(1), told.sum(1)) * self.scale + margins.sum(1)

    def contributions(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The part of each feature in it (n_samples, n_features), from its shares in the two sums, and its margin."""
        memory, told, margins = self._parts(x, mask)
        shares = MEMORY_SHARE * memory / nonzero(memory) + (1 - MEMORY_SHARE) * told / nonzero(told)
        return (combined(memory.sum(1), told.sum(1)) * self.scale)[:, None] * shares + margins

    def _parts(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The residuals of both, and the margins; those of observed values stand for the missing ones beside them."""
        x = x if mask is None else torch.where(mask, x, 0)
        memory, told = self.memory(x, self.told_apart(x, mask), mask)
        return for_all_features(memory, mask), for_all_features(told, mask), for_all_features(self.margins(x), mask)


def combined(memory: Tensor, told: Tensor) -> Tensor:
    return memory.pow(MEMORY_SHARE) * told.pow(1 - MEMORY_SHARE)


def nonzero(values: Tensor) -> Tensor:
    """Sums over features, to divide by."""
    return values.sum(1, keepdim=True).clamp_min(1e-30)

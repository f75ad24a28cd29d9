"""Novelty: how far a row lies from clean training rows, by what a masked autoencoder tells of it and by the nearest kept rows.

Both reconstruct a row feature by feature; their residuals are sums over features, as are the margins beside them.
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
MEMORY_SHARE = 2 / 3  # the power of the memory's residual beside that of what is told apart
MARGIN_SHARE = 0.2  # of the margins' weight in an ensemble


class MaskFiller(MeanFiller):
    """Tells the encoder what is hidden; among many features, each that is hidden changes its own value only."""

    most_mixed = 256

    def start(self, x: Tensor, mask: Tensor) -> None:
        """Nothing is computed from rows."""


class NoveltyNetwork(Autoencoder):
    """An autoencoder that learns to tell hidden features from the others, with a memory of training rows beside it.

    A row's outlyingness is :math:`(m^{2/3} a^{1/3})^{1 - c} r^c` and a little for its margins. `m` is the sum of its residuals from
    the memory, `a` that of the residuals that each feature has when it is hidden together with a fifth of the others, and `r` the
    root of the sum of squares of what the autoencoder, with nothing hidden, does not give back; each is divided by the root of what
    is usual around. The power `c` is the square of the share of the features' spread that the others explain, so that `r` counts
    where rows follow closely from a few causes.
    """

    parts: Tensor
    scale: Tensor
    given_back: Tensor

    def __init__(self, *parts):
        super().__init__(*parts)
        n_features = self.filler.weight.shape[0]
        self.memory, self.margins = Memory(n_features, n_models=3), Margins(n_features)
        self.register_buffer("parts", torch.zeros(N_PARTITIONS, n_features, dtype=torch.int64))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("given_back", torch.zeros(()))  # the power of what is not given back

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
        told, back = self.told_apart(x, n_partitions=1).sum(1), self._not_given_back(x)
        spread = (x - x.median(0).values).abs().sum()
        self.given_back.copy_((1 - (told.sum() + 1e-6) / (spread + 1e-6)).clamp_min(0).square())  # none where nothing varies
        usual = self._combined(*self.memory.fill(x, told, back.sum(1).sqrt()).T)
        margins = margin_sums(self.margins, x, None)
        share = MARGIN_SHARE * margin_weight(x.shape[1]) / typical(margins).clamp_min(0.05)
        total = typical(usual / typical(usual) + share * margins)
        self.scale.copy_(1 / (typical(usual) * total))
        self.margins.values.mul_(share / total)

    # Inference, nothing random

    def told_apart(self, x: Tensor, mask: Tensor | None = None, n_partitions: int = N_PARTITIONS) -> Tensor:
        """The residuals of features while they are hidden (n_samples, n_features), in the mean over partitions."""
        n_parts = min(N_PARTS, x.shape[1])
        rows, numbers = x.mT.repeat(1, n_parts).mT, torch.arange(n_parts, device=x.device)[:, None, None]
        seen = None if mask is None else mask.mT.repeat(1, n_parts).mT
        total = torch.zeros_like(x)
        for parts in self.parts[:n_partitions]:
            hidden = parts == numbers  # one part after the other, for all rows
            visible = (~hidden).expand(-1, x.shape[0], -1).flatten(0, 1)
            told = self.loss.inverse_link(self.reconstruct(rows, visible if seen is None else visible & seen))
            total += torch.where(hidden, (told - rows).abs().view(n_parts, *x.shape), 0).sum(0)
        return total / n_partitions

    def losses(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The outlyingness of each row (n_samples,)."""
        _, far_out, margins = self._parts(x, mask)
        return far_out + margins.sum(1)

    def contributions(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The part of each feature in it (n_samples, n_features), from its shares in the three sums, and its margin."""
        sums, far_out, margins = self._parts(x, mask)
        memory, told, back = (one / one.sum(1, keepdim=True).clamp_min(1e-30) for one in sums)
        shares = self._mixed(memory, told, back)
        return far_out[:, None] * shares + margins

    def _parts(self, x: Tensor, mask: Tensor | None) -> tuple[list[Tensor], Tensor, Tensor]:
        """What is summed over features, what comes of it, and the margins; observed values stand for missing ones beside them."""
        x = x if mask is None else torch.where(mask, x, 0)
        residuals, usual = self.memory(x, mask)
        parts = residuals, self.told_apart(x, mask), self._not_given_back(x, mask)
        memory, told, back = sums = [for_all_features(one, mask) for one in parts]
        roots = usual.sqrt().T
        near = 0.05 * usual[:, 2]  # a row that is given back exactly is as usual as one nearly so
        values = memory.sum(1), told.sum(1), (back.sum(1) + near.square()).sqrt()
        far_out = self._combined(*(value / root for value, root in zip(values, roots, strict=True))) * self.scale
        return sums, far_out, for_all_features(self.margins(x), mask)

    def _not_given_back(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Squared residuals with nothing hidden (n_samples, n_features)."""
        return (self.restore(x, mask) - x).square()

    def _combined(self, memory: Tensor, told: Tensor, back: Tensor) -> Tensor:
        return self._mixed(*(one.clamp_min(1e-30).log() for one in (memory, told, back))).exp()

    def _mixed(self, memory: Tensor, told: Tensor, back: Tensor) -> Tensor:
        return (1 - self.given_back) * (MEMORY_SHARE * memory + (1 - MEMORY_SHARE) * told) + self.given_back * back

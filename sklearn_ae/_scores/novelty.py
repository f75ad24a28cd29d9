"""Rows compared with clean training rows: by the nearest of them, and by reconstruction."""

from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor, nn

from sklearn_ae import _defaults
from sklearn_ae._configuration import Configuration
from sklearn_ae._data.rows import random_positions
from sklearn_ae._data.sources import Scaled, Source
from sklearn_ae._network.filling import MaskFiller
from sklearn_ae._scores.ensemble import for_all_features, shares, typical
from sklearn_ae._scores.single import Plan, Prepared, Single, or_default
from sklearn_ae.architectures import Dense
from sklearn_ae.latents import smoothed

# rows whose mean a row is compared with; rows whose own errors its errors are divided by
NEAREST, AROUND = 3, 10
FLOOR = 0.1  # of what is typical, added to every error: small ones are mostly rounding
TIED = 1e-5  # of a row's squared length: squared distances that differ by less are equal
BLOCK = 64  # rows that are compared with the kept ones at a time
CHANGED = 1e-5  # relative change of a value that was constant in training, from which on it counts
NEVER_SEEN = 100.0  # what such a value adds to a row's outlyingness


class Novelty(Single):
    """The geometric mean of two errors, each over the root of what is usual among the nearest kept
    rows.

    The first is the sum of a row's absolute differences from the mean of the 3 nearest kept rows.
    The second is the root of the sum of the squared errors by which a masked autoencoder
    reconstructs it.
    """

    auto_scaling = "standard"
    filler = MaskFiller
    stops_early = False
    unused = ("n_estimators", "max_samples")
    kept: Tensor
    usual: Tensor
    varies: Tensor
    typical_errors: Tensor
    scale: Tensor

    def __init__(self, configuration: Configuration, checked: bool = False):
        super().__init__(configuration, checked)
        d = configuration.n_features
        self.register_buffer("kept", torch.zeros(0, d))
        self.register_buffer("usual", torch.ones(0, 2))  # the errors of each kept row
        # which features varied in training
        self.register_buffer("varies", torch.ones(d, dtype=torch.bool))
        self.register_buffer("typical_errors", torch.ones(2))
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def configure(cls, detector: Any, parts: dict, source: Source) -> dict:
        n_components = detector.n_components
        if n_components == "auto":
            n_components = min(source.n_features, _defaults.MOST_MASKED_COMPONENTS)
        if parts["architecture"] is None:
            parts = {**parts, "architecture": Dense((_defaults.MASKED_UNITS,))}
        return {**or_default(parts), "n_components": n_components, "fills_gaps": True}

    def prepare(
        self,
        rows: Scaled,
        validation: np.ndarray | float | str | None,
        previous: nn.Module | None,
        random_state: RandomState,
    ) -> Prepared:
        """As for a single autoencoder, on no more rows than the planned steps take."""
        prepared = super().prepare(rows, validation, previous, random_state)
        train: Any = prepared.train
        n, d = rows.n_rows, rows.n_features
        enough = _defaults.masked_steps(d) * _defaults.MASKED_BATCH
        if n > enough:
            train = train.subset(np.sort(random_state.permutation(train.n_rows)[:enough]))
        return Prepared(self, train, prepared.held_out)

    def plan(self, n: int, batch_size: int | str) -> Plan:
        d = self.configuration.n_features
        size = min(n, _defaults.MASKED_BATCH if isinstance(batch_size, str) else batch_size)
        n_epochs = max(1, round(_defaults.masked_steps(d) * size / n))
        return Plan(_defaults.MASKED_RATE * _defaults.width_factor(d), size, n_epochs)

    @torch.no_grad()
    def learn(self, train: Scaled, rows: Scaled) -> None:
        """Keep rows, and the errors that are usual at each of them. In a stream, those of the
        newest chunks are kept.
        """
        most = _defaults.memory_rows(rows.n_features)
        batch = rows.take(random_positions(rows, most))
        x = (
            batch.x
            if batch.mask is None
            else torch.where(batch.mask, batch.x, self.network.reconstruct(batch.x, batch.mask))
        )
        self.kept = torch.cat([x, self.kept.to(x)])[:most].clone()
        self.varies = self.kept.amax(0) - self.kept.amin(0) > CHANGED
        self.typical_errors.fill_(0.0)
        errors, around = [], []
        for own in torch.arange(len(self.kept)).split(BLOCK):
            x = self.kept[own]
            middle, near = self._around(x, None, own)
            errors.append(self._errors(x, None, middle)[0])
            around.append(near.bool())  # a quarter of the memory
        self.typical_errors.copy_(torch.stack([typical(one) for one in torch.cat(errors).T]))
        self.usual = torch.cat(errors) + FLOOR * self.typical_errors
        usual_around = torch.cat([mean_of(self.usual, near.to(self.usual)) for near in around])
        self.scale.copy_(typical(self._combined(self.usual, usual_around)))

    def outlyingness(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        far_out, _, never_seen = self._parts(x, mask)
        return far_out + never_seen.sum(1)

    def contributions(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Each feature's mean share in the two errors; what is added to all is shared alike."""
        far_out, elements, never_seen = self._parts(x, mask)
        least = FLOOR * self.typical_errors  # added to each error; the second is the root of a sum
        floors = torch.stack([least[0], least[1].square()]) / x.shape[1]
        found = [shares(one + floor, mask) for one, floor in zip(elements, floors, strict=True)]
        return far_out[:, None] * torch.stack(found).mean(0) + never_seen

    def _parts(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor], Tensor]:
        """The mean of the errors (n_samples,), what each is the sum of, and values that no training
        row had.
        """
        x = x if mask is None else torch.where(mask, x, 0)
        middle, near = self._around(x, mask)
        errors, elements = self._errors(x, mask, middle)
        far_out = (
            self._combined(errors + FLOOR * self.typical_errors, mean_of(self.usual, near))
            / self.scale
        )
        never_seen = NEVER_SEEN * (~self.varies & (x.abs() > CHANGED)).to(x.dtype)
        return far_out, elements, never_seen

    def _errors(
        self, x: Tensor, mask: Tensor | None, middle: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Two errors of each row (n_samples, 2), and of its features (n_samples, n_features)."""
        elements = [(x - middle).abs(), (x - self.network.reconstruct(x, mask)).square()]
        elements = [for_all_features(one, mask) for one in elements]
        sums = [one.sum(1) for one in elements]
        return torch.stack([sums[0], sums[1].sqrt()], 1), elements

    def _combined(self, errors: Tensor, around: Tensor) -> Tensor:
        """The geometric mean of the errors over the root of what is usual around."""
        return (errors.log() - 0.5 * around.log()).mean(1).exp()

    def _around(
        self, x: Tensor, mask: Tensor | None, own: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The mean of the nearest kept rows (n_samples, n_features), and weights of the kept rows
        around (n_kept, n_samples).

        Kept rows at equal distances count together, so that rounding does not choose among them.
        `own` are the positions of kept rows that are the rows themselves, and do not count.
        """
        distances = self._squared_distances(x, mask)
        n_kept = len(distances)
        if own is not None and n_kept > 1:
            distances[own.to(x.device), torch.arange(len(own), device=x.device)] = torch.inf
            n_kept -= 1
        smallest = smallest_values(distances, min(AROUND, n_kept))
        farthest = smallest + TIED * (1 + x.square().sum(1))
        # in place, since a comparison that gives floats is several times as fast
        near = distances.clone().le_(farthest[min(NEAREST, n_kept) - 1])
        around = distances.le_(farthest[-1])
        return mean_of(self.kept, near), around

    def _squared_distances(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Over what was observed, less the rows' own squares (n_kept, n_samples)."""
        squares = self.kept.square()
        squares = squares.sum(1, keepdim=True) if mask is None else squares @ mask.T.to(x.dtype)
        return torch.addmm(squares, self.kept, x.T, alpha=-2)  # rows as columns: see _layers

    def sample(self, codes: Tensor, which: Tensor, generator: torch.Generator) -> Tensor:
        """Kept rows, smoothed, so that means and covariances stay."""
        which = torch.randint(len(self.kept), (len(which),), generator=generator)
        return smoothed(self.kept, torch.ones_like(self.kept, dtype=torch.bool), which, generator)

    @property
    def n_values(self) -> int:
        return 8 * _defaults.memory_rows(self.configuration.n_features)

    def _load_from_state_dict(self, state: dict, prefix: str, *args) -> None:
        kept = {name: state[prefix + name] for name in ("kept", "usual") if prefix + name in state}
        if len({len(one) for one in kept.values()}) > 1:
            raise ValueError(
                "not as many of each are kept: "
                f"{ {name: tuple(one.shape) for name, one in kept.items()} }"
            )
        for name, one in kept.items():  # as many rows as were kept
            if one.shape[1:] == getattr(self, name).shape[1:]:  # otherwise torch tells
                setattr(self, name, torch.empty_like(one, device=self.scale.device))
        super()._load_from_state_dict(state, prefix, *args)


def mean_of(values: Tensor, weight: Tensor) -> Tensor:
    """Means (n_samples, n_columns) of values (n_kept, n_columns) by weights (n_kept, n_samples)."""
    return (values.T @ weight / weight.sum(0)).T  # rows as columns: see _layers


def smallest_values(values: Tensor, k: int) -> Tensor:
    """The k smallest of each column (k, n_columns) in order.

    They lie in the k blocks whose minima are the smallest, so most values are compared once.
    """
    n, size = len(values), 64
    if n > 4 * k * size and n % size == 0:
        blocks = values.unflatten(0, (-1, size))
        best = blocks.amin(1).topk(k, dim=0, largest=False).indices
        values = blocks.gather(0, best[:, None].expand(-1, size, -1)).flatten(0, 1)
    return values.topk(k, dim=0, largest=False).values

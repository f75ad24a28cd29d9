"""Rows that lie in several processes: what is computed from all of them, and a sample that each
process has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from scipy import sparse
from sklearn.utils.random import sample_without_replacement
from torch import Tensor

from sklearn_ae import _defaults
from sklearn_ae._data.batch import Batch
from sklearn_ae._data.scaling import EPS, Moments, root_of_squares
from sklearn_ae._data.sources import ArraySource, Source, SparseSource, all_but, observed

COLUMNS, NAMES = "the number of columns", "the names of columns"  # as messages say


class Alike(Source):
    """Rows of another source, with a mask of what was observed if rows of any process have gaps.

    Parameters
    ----------
    rows : Source
    has_gaps : bool
    """

    def __init__(self, rows: Source, has_gaps: bool):
        self.rows, self.has_gaps = rows, has_gaps
        self.n_rows, self.n_features, self.dtype = rows.n_rows, rows.n_features, rows.dtype
        self.is_sparse, self.weight, self.read_bytes = rows.is_sparse, rows.weight, rows.read_bytes

    def take(self, rows: Tensor | slice) -> Batch:
        batch = self.rows.take(rows)
        if self.has_gaps and batch.mask is None:
            return batch._replace(mask=torch.ones_like(batch.x, dtype=torch.bool))
        return batch

    def shuffled(self, n_together: int) -> Tensor:
        return self.rows.shuffled(n_together)

    def subset(self, positions: np.ndarray) -> Alike:
        return Alike(self.rows.subset(positions), self.has_gaps)


class Sample(Alike):
    """Rows drawn from those of all processes, the same in each; moments and range are those of all
    rows.

    A subset of them stands for all rows but those of the sample that it leaves out: with rows held
    out of the sample, ``own_rows`` are the others of this process.

    Parameters
    ----------
    rows : Source
    has_gaps : bool
    spread : Spread
    which : ndarray of shape (n_rows,), integer
        Their places in the whole sample.
    """

    def __init__(self, rows: Source, has_gaps: bool, spread: Spread, which: np.ndarray):
        super().__init__(rows, has_gaps)
        self.spread, self.which = spread, which

    @property
    def n_all(self) -> int:
        return self.spread.n_rows - len(self.spread.drawn) + self.n_rows

    def own_rows(self) -> Alike:
        """The rows of this process that these stand for."""
        left_out = (
            self.spread.drawn[all_but(self.which, len(self.spread.drawn))] - self.spread.start
        )
        own = self.spread.own
        return own.subset(all_but(left_out[(left_out >= 0) & (left_out < own.n_rows)], own.n_rows))

    def subset(self, positions: np.ndarray) -> Sample:
        return Sample(
            self.rows.subset(positions),
            self.has_gaps,
            self.spread,
            self.which[np.asarray(positions)],
        )

    def moments(self) -> Moments:
        return self.spread.moments

    def range(self) -> tuple[float, float]:
        return self.spread.range


class Spread:
    """The rows of all processes.

    Parameters
    ----------
    processes : Processes
    check : callable
        Gives the checked rows of this process as a `Source`, None if it has none, and whatever else
        has to be the same in all processes, by name. Its errors are raised in all of them.

    Attributes
    ----------
    own : Alike
        The rows of this process.
    n_rows, start : int
        Rows of all processes, and of those with a lower rank.
    drawn : ndarray of shape (n_drawn,), integer
        The rows of the sample, in order, counted over all processes.
    """

    def __init__(self, processes: Any, check: Callable[[], tuple[Source | None, dict]]):
        self.processes, own = processes, None

        def describe() -> tuple[dict, tuple | None]:
            nonlocal own
            own, same = check()
            if own is None:
                return same, None
            ends = (
                (1.0, 1.0)
                if own.weight is None
                else (float(own.weight.min()), float(own.weight.max()))
            )
            return same, (own.n_rows, own.has_gaps, own.is_sparse, *ends)

        told = processes.together(describe)
        having = [about for _, about in told if about is not None]
        if not having:
            raise ValueError("No process of the group has rows to train on.")
        self.same = agreed([same for same, _ in told])
        _, gaps, are_sparse, lowest, highest = zip(*having, strict=True)
        if own is None:
            own = ArraySource(np.empty((0, self.same[COLUMNS])))
        if min(lowest) == max(highest):  # as if there were no weights
            own.weight = None
        elif own.weight is None:
            own.weight = torch.ones(own.n_rows)
        self.own, self.is_sparse = Alike(own, any(gaps)), all(are_sparse)
        counts = [0 if about is None else about[0] for _, about in told]
        self.n_rows, self.start = sum(counts), sum(counts[: processes.rank])

    @cached_property
    def _told(self) -> list[tuple]:
        """Weights, means, deviations, smallest and largest values, and ranges, of each process with
        rows.
        """

        def compute() -> tuple | None:
            rows = self.own.rows
            if not rows.n_rows:
                return None
            moments, weight = rows.moments(), np.zeros(rows.n_features)
            for block in self.own.blocks():
                of_rows = torch.ones(len(block.x)) if block.weight is None else block.weight.cpu()
                if block.mask is None:
                    weight += float(of_rows.double().sum())
                else:
                    weight += (block.mask.cpu().T.double() @ of_rows.double()).numpy()
            if not weight.any():
                raise ValueError("X has only missing values.")
            return weight, moments.mean, moments.deviation, moments.low, moments.high, rows.range()

        return [one for one in self.processes.together(compute) if one is not None]

    @cached_property
    def moments(self) -> Moments:
        """Those of all rows, merged from each process's."""
        weight, mean, deviation, low, high = (
            np.array(part) for part in list(zip(*self._told, strict=True))[:5]
        )
        total = weight.sum(0)
        empty = np.flatnonzero(total == 0)
        if len(empty):
            raise ValueError(
                f"X has only missing values in column {', '.join(map(str, empty))}; drop what was "
                "never observed."
            )
        share, mean, deviation = (
            weight / total,
            np.where(weight > 0, mean, 0),
            np.where(weight > 0, deviation, 0),
        )
        merged = (share * mean).sum(0)
        terms = [
            (s, value)
            for s, m, d in zip(share, mean, deviation, strict=True)
            for value in (d, np.where(s > 0, m - merged, 0))
        ]
        spread = root_of_squares(terms)
        rounding = self.n_rows * EPS * np.abs(merged)  # of two processes' means of the same value
        return Moments(
            merged,
            np.where(spread > rounding, spread, 0.0),
            np.fmin.reduce(low),
            np.fmax.reduce(high),
        )

    @cached_property
    def range(self) -> tuple[float, float]:
        ranges = [one[-1] for one in self._told]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def sample(self, random_state: RandomState) -> Sample:
        """All rows if they are few, or some drawn from all processes alike, gathered in each."""
        _ = self.moments  # whose errors come first
        most = max(
            _defaults.FEWEST_GATHERED,
            min(_defaults.MOST_GATHERED, _defaults.START_VALUES // self.own.n_features),
        )
        self.drawn = np.arange(self.n_rows)
        if self.n_rows > most:
            self.drawn = np.sort(
                sample_without_replacement(self.n_rows, most, random_state=random_state)
            )
        mine = (
            self.drawn[(self.drawn >= self.start) & (self.drawn < self.start + self.own.n_rows)]
            - self.start
        )

        def chosen() -> tuple | None:
            rows = self.own.rows.subset(mine)
            if not len(mine):
                return None
            if isinstance(rows, SparseSource):
                return rows.X, None if rows.weight is None else rows.weight.numpy()
            return observed(rows.take(torch.arange(len(mine))))

        parts = [part for part in self.processes.together(chosen) if part is not None]
        values, weights = zip(*parts, strict=True)
        if self.is_sparse:
            rows: Source = SparseSource(sparse.vstack(values, format="csr"))
        else:
            rows = ArraySource(
                np.concatenate([x.toarray() if sparse.issparse(x) else x for x in values])
            )
        rows.weight = None if weights[0] is None else torch.from_numpy(np.concatenate(weights))
        return Sample(rows, self.own.has_gaps, self, np.arange(len(self.drawn)))


def agreed(told: list[dict]) -> dict:
    """What the processes say, by name, where each says it.

    Raises
    ------
    ValueError
        If two say different things.
    """
    known: dict = {}
    for rank, same in enumerate(told):
        for name, value in same.items():
            first, before = known.setdefault(name, (rank, value))
            if value != before:
                raise ValueError(
                    f"Rank {rank}: {name} is {value!r}, but {before!r} at rank {first}; it must be "
                    "the same everywhere."
                )
    return {name: value for name, (_, value) in known.items()}

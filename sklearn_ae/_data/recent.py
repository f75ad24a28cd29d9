"""The most recent rows of a stream, of which some are learnt from and the others held out."""

import copy
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import RandomState

from sklearn_ae._data.sources import ArraySource, Source, observed
from sklearn_ae._records import record

HELD_OUT_SHARE = 0.25  # rows held out that are kept, for each row that is learnt from
COMPARED = 1_000  # scores of rows that a change is looked for in
CHANCE = 1e-6  # of a change where there is none


@record
class Rows(NamedTuple):
    """Rows in the data's own units, NaN where a value is missing, in the order in which they came. Never changed in place.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,), float32, or None
        None if all weigh the same.
    """

    values: np.ndarray
    weight: np.ndarray | None = None

    def __add__(self, other: "Rows") -> "Rows":  # type: ignore[override]  # rows, not fields
        weight = None
        if self.weight is not None or other.weight is not None:
            weight = np.concatenate([np.ones(len(x), np.float32) if w is None else w for x, w in (self, other)])
        return Rows(np.concatenate([self.values, other.values], dtype=self.values.dtype), weight)

    def newest(self, n: int) -> "Rows":
        kept = slice(max(0, len(self.values) - n), None)
        return Rows(self.values[kept], None if self.weight is None else self.weight[kept])

    def source(self) -> ArraySource:
        source = ArraySource(self.values)
        source.weight = None if self.weight is None else torch.from_numpy(self.weight)
        return source


@record
@dataclass(eq=False)
class Recent:
    """What a detector keeps of a stream.

    Attributes
    ----------
    learnt, held_out : Rows
        The newest rows that the network may learn from, and the newest of those that it never does.
    most : int
        Rows to learn from that are kept at most.
    random_state : RandomState
    n_needed : int
        How many rows to learn from the network stays for at least: those of a fit before the stream, which are not kept.
    n_rows : int
        Rows of the stream so far.
    n_new : int
        Rows to learn from that have come since the network was drawn.
    scores : ndarray of shape (n,)
        Of the newest of those rows, by that network.
    """

    learnt: Rows
    held_out: Rows
    most: int
    random_state: RandomState
    n_needed: int = 0
    n_rows: int = 0
    n_new: int = 0
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, none: Rows, most: int, random_state: RandomState, n_before: int = 0) -> "Recent":
        """At the beginning of a stream: no rows, of its width and precision, after a fit to `n_before` rows."""
        return cls(none, none, most, random_state, min(n_before, most))

    @property
    def most_held_out(self) -> int:
        return round(HELD_OUT_SHARE * self.most)

    def copy(self) -> "Recent":
        """The same, to be changed."""
        other = copy.copy(self)
        other.random_state = copy.deepcopy(self.random_state)
        return other

    def divide(self, n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the rows of a chunk to hold out, and of the others, so that of all rows so far that share is held out."""
        n_held_out = int((self.n_rows + n) * share) - int(self.n_rows * share)
        order = self.random_state.permutation(n)
        return np.sort(order[:n_held_out]), np.sort(order[n_held_out:])

    def has_changed(self, scores: np.ndarray, calibration: np.ndarray) -> bool:
        """Whether the scores of new rows, with those since the network was drawn, differ from those of rows held out."""
        self.scores = np.concatenate([self.scores, scores])[-COMPARED:]
        return differ(self.scores, calibration)

    def add(self, source: Source, held_out: np.ndarray, learnt: np.ndarray) -> None:
        """Keep the rows of a chunk, and of all rows the newest."""
        for name, positions, most in (("learnt", learnt, self.most), ("held_out", held_out, self.most_held_out)):
            new = Rows(*observed(source.take(torch.from_numpy(positions[-most:]))))
            setattr(self, name, (getattr(self, name) + new).newest(most))
        self.n_rows += source.n_rows
        self.n_new += len(learnt)

    def forget(self) -> None:
        """Forget the older half of all rows, and the scores in which a change has shown."""
        self.scores = np.empty(0)
        self.learnt = self.learnt.newest(len(self.learnt.values) // 2)
        self.held_out = self.held_out.newest(len(self.held_out.values) // 2)

    def is_due(self, changed: bool, share: float) -> bool:
        """Whether the network is to be drawn anew, from rows of which each feature was observed once at least."""
        due = changed or self.n_new >= max(self.n_needed, share * len(self.learnt.values))
        return due and self.n_new > 0 and not np.isnan(self.learnt.values).all(axis=0).any()

    def note_drawn(self) -> None:
        """Note that the network was drawn from the rows that are kept."""
        self.n_new = self.n_needed = 0
        self.scores = np.empty(0)

    def source(self) -> tuple[Source, np.ndarray]:
        """All rows that are kept, and the positions of those held out."""
        n = len(self.learnt.values)
        return (self.learnt + self.held_out).source(), np.arange(n, n + len(self.held_out.values))


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two samples differ by more than chance (Kolmogorov and Smirnov's test, by the bound of Massart, 1990)."""
    if not len(a) or not len(b):
        return False
    at = np.concatenate([a, b])
    shares = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (a, b)]
    return np.abs(shares[0] - shares[1]).max() > np.sqrt(np.log(2 / CHANCE) / 2 * (1 / len(a) + 1 / len(b)))

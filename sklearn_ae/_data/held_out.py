"""Which rows no fit has learnt from: a memory of rows by their values, for warm starts."""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import RandomState

from sklearn_ae._data.sources import Source
from sklearn_ae._records import record

BITS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # of splitmix64


@record
@dataclass(frozen=True)
class HeldOutRows:
    """The rows of all fits so far, each either learnt or held out.

    A row is known again by a 64-bit key of its values, wherever it stands. Rows that are equal are told apart by their number only:
    of 5 copies, 4 learnt, one stays held out.

    Attributes
    ----------
    keys : ndarray of shape (n_known,), uint64
    held_out : ndarray of shape (n_known,), bool
    """

    keys: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    held_out: np.ndarray = field(default_factory=lambda: np.empty(0, bool))

    def choose(self, source: Source, n_wanted: int, random_state: RandomState) -> tuple[np.ndarray, "HeldOutRows"]:
        """Which rows of a source to hold out, and the memory that includes them.

        Rows that were held out are held out again, and rows that were learnt are not; new rows fill up what is missing. If more
        were held out than are wanted, some are free to be learnt.

        Parameters
        ----------
        source : Source
        n_wanted : int
            Fewer are held out if there are too few rows that no fit has learnt from.
        random_state : RandomState

        Returns
        -------
        positions : ndarray of shape (n_held_out,), integer, sorted
        known : HeldOutRows
        """
        order = random_state.permutation(source.n_rows)
        keys = row_keys(source)[order]
        known = self._match(keys, random_state)
        new = known < 0
        before = np.zeros(len(keys), bool)
        before[~new] = self.held_out[known[~new]]
        candidates = np.r_[
            np.flatnonzero(before), np.flatnonzero(new)
        ]  # `order` is random, so the first of them are a random choice
        held_out = np.zeros(len(keys), bool)
        held_out[candidates[:n_wanted]] = True
        roles = self.held_out.copy()
        roles[known[~new]] = held_out[~new]
        return np.sort(order[held_out]), HeldOutRows(np.r_[self.keys, keys[new]], np.r_[roles, held_out[new]])

    def _match(self, keys: np.ndarray, random_state: RandomState) -> np.ndarray:
        """For each row the known row that it is, -1 for none; which of several equal ones is left to chance."""
        own = np.lexsort((random_state.uniform(size=len(self.keys)), self.keys))
        order = np.argsort(keys, kind="stable")
        ordered, known = keys[order], self.keys[own]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        copies = np.arange(len(keys)) - np.repeat(starts, np.diff(np.r_[starts, len(keys)]))  # 0, 1, 2 for three equal rows
        places = np.searchsorted(known, ordered) + copies
        found = places < len(known)
        found[found] = known[places[found]] == ordered[found]
        match = np.full(len(keys), -1)
        match[order[found]] = own[places[found]]
        return match


def row_keys(source: Source) -> np.ndarray:
    """A 64-bit key of each row's values in float32, in which networks see them, of shape (n_rows,)."""
    columns = mixed(np.arange(1, source.n_features + 1, dtype=np.uint64) * BITS[0])
    keys = []
    for block in source.blocks():
        with np.errstate(over="ignore"):  # too large for float32
            values = block.x.numpy(force=True).astype(np.float32) + np.float32(0)  # minus zero is zero
        keys.append(mixed(mixed(values.view(np.uint32) + columns).sum(axis=1, dtype=np.uint64)))
    return np.concatenate(keys)


def mixed(x: np.ndarray) -> np.ndarray:
    """Whole numbers scattered over 64 bits, each to one of its own (Steele, Lea and Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * BITS[1]
    x = (x ^ (x >> np.uint64(27))) * BITS[2]
    return x ^ (x >> np.uint64(31))

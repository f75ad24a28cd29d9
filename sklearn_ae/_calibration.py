"""Thresholds of the detector: from scores of rows that were not trained on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

from sklearn_ae._records import record

ENOUGH_SCORES = 20  # of rows held out, for quartiles
WHISKER = 2.2  # lengths of the box, as Hoaglin and Iglewicz (1987) advise; with Tukey's 1.5, 4 to 6% of clean rows are beyond it
N_FOLDS = 4  # besides the rows held out, which are a fold of their own


@record
@dataclass(frozen=True)
class Scores:
    """Scores of rows with their weights.

    Attributes
    ----------
    values : ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,) or None
        None if all weigh the same. Only ratios count.
    """

    values: np.ndarray
    weight: np.ndarray | None = None

    def percentiles(self, percents: list[float]) -> list[float]:
        """Values under which these percentages of the weight lie."""
        if self.weight is None:
            return np.percentile(self.values, percents).tolist()
        order = np.argsort(self.values, kind="stable")
        weight = self.weight[order]
        return np.interp(percents, 100 * (np.cumsum(weight) - weight / 2) / weight.sum(), self.values[order]).tolist()

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """The share of the weight of these rows, and of the new row itself, that is at least as outlying as each of `scores`."""
        order, n = np.argsort(self.values, kind="stable"), len(self.values)
        as_outlying = np.searchsorted(self.values[order], scores, side="right")
        if self.weight is None:
            return (as_outlying + 1) / (n + 1)
        share = np.cumsum(np.r_[0.0, self.weight[order]]) * (n / max(self.weight.sum(), 1e-300))
        return (share[as_outlying] + 1) / (n + 1)

    def joined(self, others: Iterable["Scores"]) -> "Scores":
        """These and other rows' scores."""
        parts = [self, *others]
        weight = None
        if any(part.weight is not None for part in parts):
            weight = np.concatenate([np.ones(len(part.values)) if part.weight is None else part.weight for part in parts])
        return Scores(np.concatenate([part.values for part in parts]), weight)

    def at(self, positions: np.ndarray | slice) -> "Scores":
        """Those of some rows."""
        return Scores(self.values[positions], None if self.weight is None else self.weight[positions])

    def newest(self, n: int) -> "Scores":
        """The last n of them."""
        return self.at(slice(max(0, len(self.values) - n), None))


def auto_offset(scores: Scores) -> float:
    """Minus the upper whisker of a box plot of the outlyingness, but never beyond its most outlying hundredth."""
    lowest, third, first = scores.percentiles([1, 25, 75])  # scores are minus the outlyingness
    return float(max(third - WHISKER * (first - third), lowest))


def folds(learnt: np.ndarray, n: int, random_state: RandomState) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts of the rows that a model has learnt from, each with rows without them from which to learn a model like it.

    Parameters
    ----------
    learnt : ndarray of shape (n_learnt,), integer
        The rows that the model has learnt from; there are as many for each fold.
    n : int
        Number of all rows.
    random_state : RandomState
    """
    for left_out in np.array_split(random_state.permutation(learnt), min(N_FOLDS, len(learnt))):
        others = random_state.permutation(np.setdiff1d(np.arange(n), left_out))[: len(learnt)]
        if len(others):
            yield np.sort(others), left_out

"""Thresholds of the detector: from scores of rows that were not trained on."""

from collections.abc import Iterator

import numpy as np
from numpy.random import RandomState

ENOUGH_SCORES = 20  # of rows held out, for quartiles
N_FOLDS = 4  # besides the rows held out, which are a fold of their own


def auto_offset(scores: np.ndarray) -> float:
    """Minus the upper whisker of a box plot of the outlyingness (Tukey, 1977), but never beyond its most outlying hundredth."""
    lowest, third, first = np.percentile(scores, [1, 25, 75])  # scores are minus the outlyingness
    return float(max(third - 1.5 * (first - third), lowest))


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

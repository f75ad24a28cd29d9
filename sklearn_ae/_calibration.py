"""Thresholds of the detector: from scores of rows that were not trained on."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_ae._records import record

LEVEL = 0.03  # share of alarms that ``contamination="auto"`` allows, where training rows are clean
# elsewhere; scores that lie further than so many boxes beyond the box then do not count
ROBUST_LEVEL, FENCE = 0.02, 5.0
# by which scores of one row may differ between types of input, devices and runtimes, relatively
ROUNDING = 1e-3
WHISKER = 2.2  # lengths of the box, as Hoaglin and Iglewicz (1987) advise


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
        return np.interp(
            percents, 100 * (np.cumsum(weight) - weight / 2) / weight.sum(), self.values[order]
        ).tolist()

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """The share of the weight of these rows, and of the new row itself, that is at least as
        outlying as each of `scores`.
        """
        thresholds, values = self.p_value_steps()
        return values[np.searchsorted(thresholds, scores, side="right")]

    def p_value_steps(self) -> tuple[np.ndarray, np.ndarray]:
        """The p-value as a step function of the score: scores at which it rises, and its values
        before, between and after them.
        """
        order, n = np.argsort(self.values, kind="stable"), len(self.values)
        share = np.arange(n + 1)
        if self.weight is not None:
            share = np.cumsum(np.r_[0.0, self.weight[order]]) * (n / max(self.weight.sum(), 1e-300))
        return just_below(self.values[order]), (share + 1) / (n + 1)

    def lowered(self, offset: float) -> float:
        """The threshold lowered by rounding, but by no more than half of the way to the next lower
        score, so that it parts these scores as before.
        """
        lower = self.values[self.values < offset].max(initial=-np.inf)
        return float(max(just_below(offset), (offset + lower) / 2))

    def without_far(self) -> "Scores":
        """Those that are not far below the others: likely outliers do not set the threshold."""
        first, third = self.percentiles([25, 75])
        near = self.values >= first - FENCE * (third - first)
        return Scores(self.values[near], None if self.weight is None else self.weight[near])

    def offset(self, level: float) -> float:
        """The score below which a share `level` of rows like these is expected to lie.

        Where these rows are too few to tell, it lies where the upper whisker of a box plot ends,
        but never above the lowest.
        """
        if level * (len(self.values) + 1) > 1:
            if self.weight is None:
                return float(np.quantile(self.values, level, method="weibull"))
            return self.percentiles([100 * level])[0]
        first, third = self.percentiles([25, 75])  # scores are minus the outlyingness
        return float(min(first - WHISKER * (third - first), self.values.min()))


def just_below(threshold: Any) -> Any:
    """Less by rounding, so that a row with the very score of a threshold reaches it wherever it is
    computed.
    """
    return threshold - ROUNDING * np.abs(threshold)

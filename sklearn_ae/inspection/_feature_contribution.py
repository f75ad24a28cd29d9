"""FeatureContributionDisplay."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sklearn_ae.inspection import _common as common
from sklearn_ae.metrics import way_back


@dataclass(kw_only=True, eq=False, repr=False)
class FeatureContributionDisplay(common.Display):
    """Which columns made a row an outlier, with the values seen and expected.

    The expected value is the reconstruction: what the other columns lead to expect.

    Parameters
    ----------
    contributions : ndarray of shape (n_features,)
        What each column adds to the row's outlyingness, minus its score.
    seen : ndarray of shape (n_features,), default=None
        The row, in the data's units.
    expected : ndarray of shape (n_features,), default=None
        Its reconstruction.
    feature_names : sequence of str of length n_features, default=None
        Names of the columns. None numbers them.
    threshold : float, default=None
        The outlyingness from which a row is an outlier.
    p_value : float, default=None
        The row's p-value.
    row_name : object, default=None
        Name of the row, for the title.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        The largest on top.
    shown_ : ndarray of int
        Which columns they belong to, from the top; the bar of all others is not among them.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    OutlierScoreDisplay : How outlying all rows are.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import AutoencoderOutlierDetector
    >>> from sklearn_ae.inspection import FeatureContributionDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 1)) * [1, 2, 3] + 0.1 * rng.normal(size=(300, 3))
    >>> X[7] = [1.0, -2.0, 3.0]  # the second value does not fit the others
    >>> detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    >>> display = FeatureContributionDisplay.from_estimator(detector, X, row=7)
    >>> str(display.feature_names[display.shown_[0]])
    'x1'
    """

    contributions: np.ndarray
    seen: np.ndarray | None = None
    expected: np.ndarray | None = None
    feature_names: ArrayLike | None = None
    threshold: float | None = None
    p_value: float | None = None
    row_name: object = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        row: int = 0,
        *,
        ax: Any = None,
        **kwargs,
    ) -> Self:
        """Explain the score of one row.

        Parameters
        ----------
        estimator : AutoencoderOutlierDetector, AutoencoderTransformer or Pipeline
            Fitted. A transformer's outlyingness is its reconstruction loss. In a pipeline whose
            steps keep the columns (scalers, imputers) the values are in the data's units;
            otherwise, columns and values are those that its last step sees.
        X : array-like of shape (n_samples, n_features)
            Rows.
        row : int, default=0
            Position of the row in X. For the most outlying row:
            ``estimator.score_samples(X).argmin()``.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : FeatureContributionDisplay

        Raises
        ------
        IndexError
            If X has no such row.
        TypeError
            If the estimator cannot tell what each column adds.
        """
        (before, last), n = cls._steps(estimator), _num_samples(X)
        if not -n <= row < n:
            raise IndexError(f"row={row} must be from {-n} to {n - 1}: X has {n} rows.")
        x = _safe_indexing(X, [row % n])
        original, seen, inverses = way_back(before, x)
        contributions = _contributions(last, seen)
        n_features, expected = len(contributions), last.reconstruct(seen)
        p_value = float(last.p_values(seen)[0]) if hasattr(last, "p_values") else None
        names = _names(before, last, seen, n_features)
        if (names == common.names_of(getattr(x, "columns", None), n_features)).all():
            seen = original  # the steps keep the columns
            for inverse in inverses:
                expected = inverse(expected)
        display = cls(
            contributions=contributions,
            seen=common.as_table(seen)[0],
            expected=common.as_table(expected)[0],
            feature_names=names,
            threshold=-float(last.offset_) if hasattr(last, "offset_") else None,
            p_value=p_value,
            row_name=x.index[0] if hasattr(x, "index") else row % n,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, max_features: int = 10, **kwargs) -> Self:
        """Draw, and return the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        max_features : int, default=10
            How many columns to draw; what the others add is one bar.
        **kwargs : dict
            Passed to matplotlib's ``barh``.
        """
        if max_features < 1:
            got = f"max_features={max_features}"
            raise ValueError(f"max_features must be at least 1, got {got}.")
        contributions = np.asarray(self.contributions, dtype=np.float64)
        names = common.names_of(self.feature_names, len(contributions))
        order = np.argsort(-contributions, kind="stable")
        self.shown_, others = order[:max_features], order[max_features:]
        lengths, colors = contributions[self.shown_].tolist(), [common.BLUE] * len(self.shown_)
        labels = [common.shortened(name) for name in names[self.shown_]]
        if len(others):
            lengths.append(contributions[others].sum())
            labels.append(f"{len(others)} other columns")
            colors.append(common.GREY)
        ax = self._open(ax, figsize=(common.WIDTH, 1.3 + 0.34 * len(labels)))[0, 0]
        self.bars_ = ax.barh(range(len(labels)), lengths, **{"color": colors, **kwargs})
        ax.set_yticks(range(len(labels)), labels)
        ax.invert_yaxis()
        self._add_values(ax)
        ax.set_xlabel("Contribution to the outlyingness")
        ax.set_title(self._title(contributions.sum()), fontsize="medium", loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        return self

    def _add_values(self, ax: Any) -> None:
        """The values seen and expected, on the right."""
        given = {k: getattr(self, k) for k in ("seen", "expected") if getattr(self, k) is not None}
        rows = [list(given), *([_value(v[j]) for v in given.values()] for j in self.shown_)]
        if given:
            labels = [one + "".join(f"  ({other})" for other in more) for one, *more in rows]
            right = ax.secondary_yaxis("right")
            right.set_yticks([-0.8, *range(len(self.shown_))], labels, fontsize="small")
            right.tick_params(length=0)
            right.spines["right"].set_visible(False)

    def _title(self, outlyingness: float) -> str:
        name = "" if self.row_name is None else f"Row {self.row_name}: "
        title = f"{name}outlyingness {common.number(outlyingness, 3)}"
        if self.threshold is not None:
            title += f" (threshold {common.number(self.threshold, 3)})"
        if self.p_value is not None:
            title += f", p = {common.number(self.p_value, 2)}"
        return title[:1].upper() + title[1:]


def _value(x: float) -> str:
    return "missing" if np.isnan(x) else common.number(x)


def _contributions(estimator: Any, X: Any) -> np.ndarray:
    if hasattr(estimator, "feature_contributions"):
        return np.asarray(estimator.feature_contributions(X))[0]
    if hasattr(estimator, "reconstruction_errors"):  # their mean is minus the score
        return np.asarray(estimator.reconstruction_errors(X))[0] / X.shape[1]
    missing = "has neither feature_contributions nor reconstruction_errors"
    way_out = "pass an estimator of sklearn_ae, or a pipeline that ends in one"
    raise TypeError(f"{type(estimator).__name__} {missing}; {way_out}.")


def _names(before: list[Any], last: Any, X: Any, n_features: int) -> np.ndarray:
    """The names of the columns that the last step sees."""
    names = getattr(last, "feature_names_in_", getattr(X, "columns", None))
    with suppress(AttributeError, TypeError, ValueError):  # a step without names
        names = make_pipeline(*before).get_feature_names_out() if names is None else names
    return common.names_of(names, n_features)

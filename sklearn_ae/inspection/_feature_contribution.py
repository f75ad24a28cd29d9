"""FeatureContributionDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from sklearn_ae.inspection._common import (
    BLUE,
    GREY,
    WIDTH,
    as_table,
    before_last_step,
    check_matplotlib,
    last_step,
    make_axes,
    n_rows,
    names_of,
    number,
    one_per_row,
    shortened,
)
from sklearn_ae.metrics import original_and_reconstructed


class FeatureContributionDisplay:
    """Which columns made a row an outlier: what each adds to its outlyingness, the value seen and the value expected.

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
    >>> display.feature_names[display.shown_[0]]
    'x1'
    """

    def __init__(
        self,
        *,
        contributions: np.ndarray,
        seen: np.ndarray | None = None,
        expected: np.ndarray | None = None,
        feature_names: ArrayLike | None = None,
        threshold: float | None = None,
        p_value: float | None = None,
        row_name: object = None,
    ):
        self.contributions = contributions
        self.seen = seen
        self.expected = expected
        self.feature_names = feature_names
        self.threshold = threshold
        self.p_value = p_value
        self.row_name = row_name

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, row: int = 0, *, ax: Any = None, **kwargs) -> Self:
        """Explain the score of one row.

        Parameters
        ----------
        estimator : AutoencoderOutlierDetector, AutoencoderTransformer or Pipeline that ends in one
            Fitted. A transformer's outlyingness is its reconstruction loss. In a pipeline whose steps keep the columns (scalers,
            imputers) the values are in the data's units; otherwise, columns and values are those that its last step sees.
        X : array-like of shape (n_samples, n_features)
            Rows.
        row : int, default=0
            Position of the row in X. For the most outlying row: ``estimator.score_samples(X).argmin()``.
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
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        n = n_rows(X)
        if not -n <= row < n:
            raise IndexError(f"row={row} must be from {-n} to {n - 1}: X has {n} rows.")
        check_is_fitted(estimator)
        x = _safe_indexing(X, [row % n])
        last, seen_by_last = last_step(estimator), before_last_step(estimator, x)
        contributions = _contributions(last, seen_by_last)
        seen, expected = seen_by_last, last.reconstruct(seen_by_last)
        names = _names(estimator, last, seen_by_last, len(contributions))
        if estimator is not last and list(names) == list(names_of(x, len(names))):
            seen, expected = original_and_reconstructed(getattr(estimator, "best_estimator_", estimator), x)
        offset = getattr(last, "offset_", None)
        display = cls(
            contributions=contributions,
            seen=as_table(seen)[0],
            expected=as_table(expected)[0],
            feature_names=names,
            threshold=None if offset is None else -float(offset),
            p_value=float(last.p_values(seen_by_last)[0]) if hasattr(last, "p_values") else None,
            row_name=x.index[0] if hasattr(x, "index") else row % n,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, max_features: int = 10, **kwargs) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        max_features : int, default=10
            How many columns to draw; what the others add is one bar.
        **kwargs : dict
            Passed to matplotlib's ``barh``.

        Returns
        -------
        display : FeatureContributionDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        if max_features < 1:
            raise ValueError(f"max_features must be at least 1, got max_features={max_features}.")
        contributions = np.asarray(self.contributions, dtype=np.float64)
        n, names = len(contributions), self.feature_names
        names = names_of(None, n) if names is None else one_per_row(names, n, "feature_names")
        order = np.argsort(-contributions, kind="stable")
        self.shown_ = order[:max_features]
        lengths, labels = contributions[self.shown_].tolist(), [shortened(name) for name in names[self.shown_]]
        colors = [BLUE] * len(labels)
        if n > len(labels):
            lengths.append(float(contributions[order[max_features:]].sum()))
            labels.append(f"{n - max_features} other columns")
            colors.append(GREY)
        self.ax_ = ax = make_axes(ax, figsize=(WIDTH, 1.3 + 0.34 * len(labels)))[0, 0]
        self.figure_ = ax.figure
        self.bars_ = ax.barh(range(len(labels)), lengths, **{"color": colors, **kwargs})
        ax.set_yticks(range(len(labels)), labels)
        ax.invert_yaxis()
        if self.seen is not None or self.expected is not None:
            self._comment(ax)
        ax.set_xlabel("Contribution to the outlyingness")
        ax.set_title(self._title(contributions.sum()), fontsize="medium", loc="left")
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        return self

    def _comment(self, ax: Any) -> None:
        """The values seen and expected, on the right."""
        given = {name: values for name, values in (("seen", self.seen), ("expected", self.expected)) if values is not None}
        comments = []
        for j in self.shown_:
            values = ["missing" if np.isnan(values[j]) else number(values[j]) for values in given.values()]
            comments.append(values[0] + (f"  ({values[1]})" if len(values) > 1 else ""))
        right = ax.secondary_yaxis("right")
        right.set_yticks([-0.8, *range(len(comments))], [" (".join(given) + ")" * (len(given) - 1), *comments], fontsize="small")
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)

    def _title(self, outlyingness: float) -> str:
        name = "" if self.row_name is None else f"Row {self.row_name}: "
        threshold = "" if self.threshold is None else f" (threshold {number(self.threshold, 3)})"
        p_value = "" if self.p_value is None else f", p = {number(self.p_value, 2)}"
        title = f"{name}outlyingness {number(outlyingness, 3)}{threshold}{p_value}"
        return title[:1].upper() + title[1:]


def _contributions(estimator: Any, X: Any) -> np.ndarray:
    if hasattr(estimator, "feature_contributions"):
        return np.asarray(estimator.feature_contributions(X))[0]
    if hasattr(estimator, "reconstruction_errors"):
        return np.asarray(estimator.reconstruction_errors(X)).mean(axis=0) / X.shape[1]  # their sum is minus the score
    raise TypeError(
        f"{type(estimator).__name__} has neither feature_contributions nor reconstruction_errors; "
        "pass an estimator of sklearn_ae, or a pipeline that ends in one."
    )


def _names(estimator: Any, last: Any, X: Any, n_features: int) -> np.ndarray:
    """The names of the columns that the last step sees."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    names = getattr(last, "feature_names_in_", None)
    if names is None and estimator is not last:
        try:
            names = estimator[:-1].get_feature_names_out()
        except (AttributeError, TypeError, ValueError):  # a step without names, or no pipeline
            names = None
    return names_of(X, n_features) if names is None or len(names) != n_features else np.asarray(names, dtype=object)

"""OutlierScoreDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sklearn_ae.inspection._common import (
    BLUE,
    COLORS,
    GREY,
    HATCHES,
    LINE_STYLES,
    WIDTH,
    before_last_step,
    check_matplotlib,
    classes_of,
    last_step,
    make_axes,
    number,
    one_per_row,
)

N_BINS = 40
LOG_RATIO = 20


class OutlierScoreDisplay:
    """How outlying rows are, where the threshold lies, and whether p-values are what they say.

    The outlyingness of a row is minus its score. The second panel has the share of rows with a p-value of at most t. For
    inliers it lies near the diagonal or below it; outliers raise it on the left.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        What ``score_samples`` gave: higher is more normal.
    offset : float, default=None
        The score under which a row is an outlier. None draws no threshold.
    p_values : ndarray of shape (n_samples,), default=None
        p-values of the same rows. None draws one panel only.
    y : ndarray of shape (n_samples,), default=None
        Labels, if they are known: each has a histogram of its own.

    Attributes
    ----------
    threshold_line_ : matplotlib Line2D or None
    axes_ : ndarray of matplotlib Axes, of shape (1, 2) with p-values, else (1, 1)
    ax_ : matplotlib Axes
        The histogram.
    figure_ : matplotlib Figure

    See Also
    --------
    FeatureContributionDisplay : Which columns made a row an outlier.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderOutlierDetector
    >>> from sklearn_ae.inspection import OutlierScoreDisplay
    >>> X, _ = load_iris(return_X_y=True)
    >>> detector = AutoencoderOutlierDetector(random_state=0).fit(X[::2])
    >>> OutlierScoreDisplay.from_estimator(detector, X[1::2])
    <...OutlierScoreDisplay object at ...>
    """

    def __init__(
        self,
        *,
        scores: np.ndarray,
        offset: float | None = None,
        p_values: np.ndarray | None = None,
        y: np.ndarray | None = None,
    ):
        self.scores = scores
        self.offset = offset
        self.p_values = p_values
        self.y = y

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike | None = None, *, p_values: bool | str = "auto", ax: Any = None, **kwargs
    ) -> Self:
        """Score rows and plot their outlyingness.

        Parameters
        ----------
        estimator : object
            Fitted, with ``score_samples``: our detector, another one of scikit-learn, or a Pipeline that ends in one. Its
            ``offset_`` is the threshold.
        X : array-like of shape (n_samples, n_features)
            Rows to score. The p-values of training rows are too large: take others.
        y : array-like of shape (n_samples,), default=None
            Labels of any kind, if they are known.
        p_values : bool or "auto", default="auto"
            Whether to draw the panel of p-values; ``"auto"``: if the estimator has ``p_values``.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure. One axes is divided if there are p-values.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : OutlierScoreDisplay
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        last = last_step(estimator)
        p_values = hasattr(last, "p_values") if p_values == "auto" else p_values
        return cls.from_predictions(
            estimator.score_samples(X),
            offset=getattr(last, "offset_", None),
            p_values=last.p_values(before_last_step(estimator, X)) if p_values else None,
            y=y,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        scores: ArrayLike,
        *,
        offset: float | None = None,
        p_values: ArrayLike | None = None,
        y: ArrayLike | None = None,
        ax: Any = None,
        **kwargs,
    ) -> Self:
        """Plot scores.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            Higher is more normal.
        offset : float, default=None
            The score under which a row is an outlier.
        p_values : array-like of shape (n_samples,), default=None
            Their p-values.
        y : array-like of shape (n_samples,), default=None
            Labels of any kind.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : OutlierScoreDisplay

        Raises
        ------
        ValueError
            If there is not one p-value or label for each score.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        scores = np.asarray(scores, dtype=np.float64).ravel()
        display = cls(
            scores=scores,
            offset=None if offset is None else float(offset),
            p_values=None if p_values is None else one_per_row(p_values, len(scores), "p_values"),
            y=None if y is None else one_per_row(y, len(scores), "y"),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, log: bool | str = "auto", **kwargs) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        log : bool or "auto", default="auto"
            Whether the outlyingness is on a logarithmic axis. ``"auto"``: if it is positive and its largest value is over 20 times
            its median.
        **kwargs : dict
            Passed to matplotlib's ``hist``.

        Returns
        -------
        display : OutlierScoreDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        n_panels = 1 if self.p_values is None else 2
        self.axes_ = make_axes(ax, 1, n_panels, (WIDTH if n_panels == 1 else 1.35 * WIDTH, 3.8))
        self.ax_ = self.axes_[0, 0]
        self.figure_ = self.ax_.figure
        self._draw_histogram(self.ax_, log, kwargs)
        if self.p_values is not None:
            self._draw_p_values(self.axes_[0, 1])
        return self

    def _groups(self) -> list[tuple[str, np.ndarray]]:
        if self.y is None:
            return [("rows", np.ones(len(self.scores), dtype=bool))]
        return list(classes_of(np.asarray(self.y)))

    def _draw_histogram(self, ax: Any, log: bool | str, kwargs: dict) -> None:
        outlyingness = -np.asarray(self.scores)
        log = outlyingness.min() > 0 and outlyingness.max() > LOG_RATIO * np.median(outlyingness) if log == "auto" else log
        low, high = outlyingness.min(), outlyingness.max()
        edges = np.geomspace(low, high, N_BINS + 1) if log else np.histogram_bin_edges(outlyingness, bins=N_BINS)
        heights = []
        for k, (name, rows) in enumerate(self._groups()):
            color = COLORS[k % len(COLORS)]
            look = {"facecolor": (color, 0.35), "edgecolor": color, "hatch": HATCHES[k % len(HATCHES)]}
            style = {"histtype": "stepfilled", "linestyle": LINE_STYLES[k % len(LINE_STYLES)], **look}
            label = f"{name} ({rows.sum()})"
            heights.append(ax.hist(outlyingness[rows], **{"bins": edges, "label": label, **style, **kwargs})[0].max())
        if max(heights) > 10 * min(heights):  # few outliers would not be seen beside many inliers
            ax.set_yscale("log")
        self.threshold_line_ = None
        if self.offset is not None:
            n_beyond = int((np.asarray(self.scores) < self.offset).sum())
            label = f"threshold {number(-self.offset)}: {n_beyond} of {len(outlyingness)} beyond"
            self.threshold_line_ = ax.axvline(-self.offset, color="black", linestyle="--", label=label)
        if log:
            ax.set_xscale("log")
        ax.set(xlabel="Outlyingness (minus the score)", ylabel="Rows" if ax.get_yscale() == "linear" else "Rows (logarithmic)")
        ax.legend(fontsize="small")

    def _draw_p_values(self, ax: Any) -> None:
        ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="uniform")
        p_values, groups = np.asarray(self.p_values), self._groups()
        for k, (name, rows) in enumerate(groups):
            p = np.sort(p_values[rows])
            color, line = COLORS[k % len(COLORS)], LINE_STYLES[k % len(LINE_STYLES)]
            if len(groups) == 1:
                color, line = BLUE, "-"
            share = np.arange(len(p) + 1) / len(p)
            ax.step(np.r_[0, p, 1], np.r_[share, 1], where="post", color=color, linestyle=line, label=name)
        ax.set(xlabel="p-value t", ylabel="Share of rows with p ≤ t", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.legend(fontsize="small", loc="lower right")

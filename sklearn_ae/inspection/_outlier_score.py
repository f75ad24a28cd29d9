"""OutlierScoreDisplay."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

import sklearn_ae.inspection._common as common
from sklearn_ae.pipelines import way_back

LOG_RATIO = 20


@dataclass(kw_only=True, eq=False, repr=False)
class OutlierScoreDisplay(common.Display):
    """How outlying rows are, where the threshold lies, and whether p-values are what they say.

    The outlyingness of a row is minus its score. The second panel has the share of rows with a
    p-value of at most t. For inliers it lies near the diagonal or below it; outliers raise it on
    the left.

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

    scores: np.ndarray
    offset: float | None = None
    p_values: np.ndarray | None = None
    y: np.ndarray | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike | None = None,
        *,
        p_values: bool | str = "auto",
        ax: Any = None,
        **kwargs,
    ) -> Self:
        """Score rows and plot their outlyingness.

        Parameters
        ----------
        estimator : object
            Fitted, with ``score_samples``: our detector, another one of scikit-learn, or a Pipeline
            that ends in one. Its ``offset_`` is the threshold.
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
        before, last = cls._steps(estimator)
        _, X, _ = way_back(before, X)
        wanted = hasattr(last, "p_values") if p_values == "auto" else p_values
        options = {"offset": getattr(last, "offset_", None), "y": y, "ax": ax, **kwargs}
        p = last.p_values(X) if wanted else None
        return cls.from_predictions(last.score_samples(X), p_values=p, **options)

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
        """Plot scores, and return the display.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            Higher is more normal.
        offset : float, default=None
            The score under which a row is an outlier.
        p_values : array-like of shape (n_samples,), default=None
            Their p-values.
        y, ax, **kwargs
            As in `from_estimator`.

        Raises
        ------
        ValueError
            If there is not one p-value or label for each score.
        """
        scores = np.asarray(scores, dtype=np.float64).ravel()
        display = cls(
            scores=scores,
            offset=None if offset is None else float(offset),
            p_values=common.one_per_row(p_values, len(scores), "p_values"),
            y=common.one_per_row(y, len(scores), "y"),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, log: bool | str = "auto", **kwargs) -> Self:
        """Draw, and return the display.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        log : bool or "auto", default="auto"
            Whether the outlyingness is on a logarithmic axis. ``"auto"``: if it is positive and its
            largest value is over 20 times its median.
        **kwargs : dict
            Passed to matplotlib's ``hist``.
        """
        values, p_values = -np.asarray(self.scores), self.p_values
        n, width = (1, common.WIDTH) if p_values is None else (2, 1.35 * common.WIDTH)
        panels = self._open(ax, (1, n), (width, 3.8))[0]
        groups, heights = list(common.classes_of(self.y, len(values))), []
        low, high = values.min(), values.max()
        log = low > 0 and high > LOG_RATIO * np.median(values) if log == "auto" else log
        n_bins = int(np.clip(2 * np.sqrt(len(values) / len(groups)), 10, 40))
        edges = np.histogram_bin_edges(values, n_bins)  # of some width if all values are equal
        edges = np.geomspace(low, high, n_bins + 1) if log else edges
        for k, (name, rows) in enumerate(groups):
            color, line = common.COLORS[k % len(common.COLORS)], common.look(k, "linestyle")
            style = {"bins": edges, "label": f"{name or 'rows'} ({rows.sum()})", "linewidth": 1.5}
            style |= {"edgecolor": color, "facecolor": (color, 0.3 / len(groups)), **line}
            style |= {"histtype": "stepfilled", **kwargs}  # outlines, so that none hides another
            heights.append(self.ax_.hist(values[rows], **style)[0].max())
            if p_values is not None:
                p = np.r_[0, np.sort(p_values[rows]), 1]
                share = np.arange(len(p)).clip(max=len(p) - 2) / (len(p) - 2)
                panels[1].step(p, share, where="post", color=color, **line)
        few = max(heights) > 10 * min(heights)  # they would not be seen beside many inliers
        self.ax_.set(xscale="log" if log else "linear", yscale="log" if few else "linear")
        ylabel = "Rows (logarithmic)" if few else "Rows"
        self.ax_.set(xlabel="Outlyingness (minus the score)", ylabel=ylabel)
        self.threshold_line_ = None
        if self.offset is not None:
            threshold = f"threshold {common.number(-self.offset, 3)}"
            label = f"{threshold}\n({(values > -self.offset).sum()} beyond)"
            style = {"color": common.GREY, "linestyle": "--", "label": label}
            self.threshold_line_ = self.ax_.axvline(-self.offset, **style)
        self._add_legend(self.ax_ if len(groups) < 5 else panels[-1])
        if p_values is not None:
            panels[1].plot([0, 1], [0, 1], color=common.GREY, linestyle=":")
            style = {"color": common.GREY, "fontsize": "small", "rotation": 45, "ha": "center"}
            panels[1].text(0.8, 0.79, "uniform", transform_rotates_text=True, va="top", **style)
            panels[1].set(xlabel="p-value t", ylabel="Share of rows with p ≤ t")
            panels[1].set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        return self._finish()

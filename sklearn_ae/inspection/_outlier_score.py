"""OutlierScoreDisplay."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ae.inspection import _common as common
from sklearn_ae.inspection._common import COLORS
from sklearn_ae.metrics import way_back

N_BINS = 40
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
        """Plot scores.

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

        Returns
        -------
        display : OutlierScoreDisplay

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
        n, width = (1, common.WIDTH) if self.p_values is None else (2, 1.35 * common.WIDTH)
        panels = self._open(ax, (1, n), (width, 3.8))[0]
        self._draw_histogram(panels[0], log, kwargs)
        if self.p_values is not None:
            self._draw_p_values(panels[1], np.asarray(self.p_values))
        return self

    def _draw_histogram(self, ax: Any, log: bool | str, kwargs: dict) -> None:
        values, self.threshold_line_ = -np.asarray(self.scores), None
        low, high, heights = values.min(), values.max(), []
        log = low > 0 and high > LOG_RATIO * np.median(values) if log == "auto" else log
        edges = (np.geomspace if log else np.linspace)(low, high, N_BINS + 1)
        for k, (name, rows) in enumerate(common.classes_of(self.y, len(values))):
            style = {"edgecolor": COLORS[k % 10], "facecolor": (COLORS[k % 10], 0.35)}
            style |= {"label": f"{name or 'rows'} ({rows.sum()})", "histtype": "stepfilled"}
            style |= common.look(k, "hatch", "linestyle")
            heights.append(ax.hist(values[rows], **{"bins": edges, **style, **kwargs})[0].max())
        if self.offset is not None:
            beyond = f"{(values > -self.offset).sum()} of {len(values)} beyond"
            label = f"threshold {common.number(-self.offset)}: {beyond}"
            style = {"color": "black", "linestyle": "--", "label": label}
            self.threshold_line_ = ax.axvline(-self.offset, **style)
        few = max(heights) > 10 * min(heights)  # they would not be seen beside many inliers
        ax.set(xscale="log" if log else "linear", yscale="log" if few else "linear")
        label = "Rows (logarithmic)" if few else "Rows"
        ax.set(xlabel="Outlyingness (minus the score)", ylabel=label)
        ax.legend(fontsize="small")

    def _draw_p_values(self, ax: Any, p_values: np.ndarray) -> None:
        ax.plot([0, 1], [0, 1], color=common.GREY, linestyle=":", label="uniform")
        for k, (name, rows) in enumerate(common.classes_of(self.y, len(p_values))):
            p = np.sort(p_values[rows])
            share, style = np.arange(len(p) + 1) / len(p), common.look(k, "color", "linestyle")
            x, y = np.r_[0, p, 1], np.r_[share, 1]
            ax.step(x, y, where="post", label=name or "rows", **style)
        ax.set(xlabel="p-value t", ylabel="Share of rows with p ≤ t", aspect="equal")
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.legend(fontsize="small", loc="lower right")

"""FeatureContributionDisplay."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

import sklearn_ae.inspection._common as common
from sklearn_ae.pipelines import contributions_of, way_back


@dataclass(kw_only=True, eq=False, repr=False)
class FeatureContributionDisplay(common.Display):
    """Which columns made a row an outlier, with the values seen and expected.

    The value expected is the reconstruction: a column contributes because it was seen to differ
    from it. Contributions of an image are an image, beside those seen and expected.

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
    image_shape : tuple of int, default=None
        (height, width), (1, height, width) or (3, height, width) if the row is an image. None draws
        bars.

    Attributes
    ----------
    bars_ : matplotlib BarContainer or None
        The largest contributions, the largest on top.
    image_ : matplotlib AxesImage or None
        The contributions of an image, summed over its channels.
    shown_ : ndarray of int
        The columns that have a bar, from the top. For an image all, the largest first.
    axes_ : ndarray of matplotlib Axes
        (1, 1) for bars; for an image (1, 3): seen, expected, contribution.
    ax_ : matplotlib Axes
        The first panel.
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
    image_shape: tuple[int, ...] | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        row: int = 0,
        *,
        image_shape: tuple[int, ...] | None = None,
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
        image_shape : tuple of int, default=None
            (height, width), (1, height, width) or (3, height, width) if rows are images. None draws
            bars.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure. One axes is divided for images.
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
        ValueError
            If `image_shape` does not fit the row.
        """
        (before, last), n = cls._steps(estimator), _num_samples(X)
        if not -n <= row < n:
            raise IndexError(f"row={row} must be from {-n} to {n - 1}: X has {n} rows.")
        x = _safe_indexing(X, [row % n])
        original, seen, inverses = way_back(before, x)
        contributions = contributions_of(last, seen)[0]
        n_features, expected = len(contributions), last.reconstruct(seen)
        common.check_image_shape(image_shape, n_features)
        p_value = float(last.p_values(seen)[0]) if hasattr(last, "p_values") else None
        names = _names(before, last, seen, n_features)
        if (names == common.names_of(x, n_features)).all():
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
            image_shape=image_shape,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, max_features: int = 10, **kwargs) -> Self:
        """Draw, and return the display.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        max_features : int, default=10
            How many columns have a bar. What the others add is written under the bars.
        **kwargs : dict
            Passed to matplotlib's ``barh``, or to ``imshow`` for the contributions of an image.
        """
        if max_features < 1:
            got = f"max_features={max_features}"
            raise ValueError(f"max_features must be at least 1, got {got}.")
        contributions = np.asarray(self.contributions, dtype=np.float64)
        values = {"seen": self.seen, "expected": self.expected}
        values = {name: row for name, row in values.items() if row is not None}
        self.shown_ = np.argsort(-contributions, kind="stable")
        self.bars_ = self.image_ = None
        if self.image_shape is None:
            self._draw_bars(ax, contributions, values, max_features, kwargs)
        else:
            self._draw_images(ax, contributions, values, self.image_shape, kwargs)
        self.ax_.set_title(self._title(contributions.sum()), fontsize="medium", loc="left")
        return self._finish()

    def _draw_images(self, ax: Any, total: Any, values: dict, shape: Any, kwargs: dict) -> None:
        *panels, last = self._open(ax, (1, len(values) + 1), (common.WIDTH, 2.6), "compressed")[0]
        for panel, (name, row) in zip(panels, values.items(), strict=True):
            limits = np.nanmin([*values.values()]), np.nanmax([*values.values()])
            common.draw_images(panel, row.reshape(1, 1, -1), shape, limits)
            panel.set_xlabel(name)
        total = total.reshape(1, 1, -1, shape[-2] * shape[-1]).sum(axis=2)  # over the channels
        style = {"cmap": "Reds", **kwargs}
        self.image_ = common.draw_images(last, total, shape[-2:], (0, total.max()), **style)
        last.set_xlabel("contribution")
        common.add_color_bar(last, self.image_)
        for panel in (*panels, last):
            panel.set(xticks=[], yticks=[])

    def _draw_bars(self, ax: Any, lengths: Any, values: dict, most: int, kwargs: dict) -> None:
        names = common.names_of(self.feature_names, len(lengths))
        self.shown_, others = self.shown_[:most], self.shown_[most:]
        n, labels = len(self.shown_), [common.shortened(name, 28) for name in names[self.shown_]]
        labels += [f"{len(others)} other columns"] * (len(others) > 0)
        ax = self._open(ax, figsize=(common.WIDTH, 1.4 + 0.34 * len(labels)))[0, 0]
        self.bars_ = ax.barh(range(n), lengths[self.shown_], **{"color": common.BLUE, **kwargs})
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.4, -1.4 if values else -0.6)
        style: dict[str, Any] = {"fontsize": "small", "textcoords": "offset points", "va": "center"}
        if len(others):  # their bar could outweigh those of single columns
            rest = f"{common.number(lengths[others].sum(), 3)} in all, "
            rest += f"{common.number(lengths[others[0]], 2)} at most"
            ax.annotate(rest, (0, n), (4, 0), color=common.GREY, **style)
        style |= {"xycoords": ("axes fraction", "data"), "annotation_clip": False, "ha": "right"}
        for k, (name, row) in enumerate(values.items()):
            shown = ["missing" if np.isnan(x) else common.number(x) for x in row[self.shown_]]
            for i, text in enumerate([name, *shown]):
                ax.annotate(text, (1, i - 1), (58 + 56 * k, 0), **style)
        ax.set_xlabel("Contribution to the outlyingness")
        ax.spines[["top", "right"]].set_visible(False)

    def _title(self, outlyingness: float) -> str:
        name = "" if self.row_name is None else f"Row {self.row_name}: "
        title = f"{name}outlyingness {common.number(outlyingness, 3)}"
        known = [] if self.threshold is None else [f"threshold {common.number(self.threshold, 3)}"]
        known += [] if self.p_value is None else [f"p = {common.number(self.p_value, 2)}"]
        return f"{title[:1].upper()}{title[1:]}\n{', '.join(known)}".rstrip()


def _names(before: list[Any], last: Any, X: Any, n_features: int) -> np.ndarray:
    """The names of the columns that the last step sees."""
    names = getattr(last, "feature_names_in_", getattr(X, "columns", None))
    with suppress(AttributeError, TypeError, ValueError):  # a step without names
        names = make_pipeline(*before).get_feature_names_out() if names is None else names
    return common.names_of(names, n_features)

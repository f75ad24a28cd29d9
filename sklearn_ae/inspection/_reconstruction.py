"""ReconstructionDisplay."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

import sklearn_ae.inspection._common as common
from sklearn_ae.metrics import original_and_reconstructed

IMAGES, PROFILES = 8, 3  # rows that are drawn
STYLES: dict[str, dict] = {
    "original": {"color": common.BLUE, "linewidth": 2.2, "alpha": 0.7, "marker": "o"},
    "corrupted": {"color": common.GREY, "linestyle": ":", "linewidth": 1, "marker": "x"},
    "reconstructed": {"color": common.RED, "linestyle": "--", "marker": "s"},
}


@dataclass(kw_only=True, eq=False, repr=False)
class ReconstructionDisplay(common.Display):
    """Rows, what came back of them, and what was lost.

    The error is the reconstruction minus the original. Images are shown as images, other rows as
    profiles: a line over the columns.

    Parameters
    ----------
    original : ndarray of shape (n_shown, n_features)
        The rows, in the data's units.
    reconstructed : ndarray of shape (n_shown, n_features)
        What came back.
    corrupted : ndarray of shape (n_shown, n_features), default=None
        What the autoencoder was given, if that is not the original.
    image_shape : tuple of int, default=None
        (height, width), (1, height, width) or (3, height, width). None draws profiles.
    middle, scale : ndarray of shape (n_features,), default=None
        Mean and standard deviation of each column, for profiles. None leaves the data's units.
    row_names : sequence of length n_shown, default=None
        Names of the rows. None numbers them.
    feature_names : sequence of str of length n_features, default=None
        Names of the columns, for profiles.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        The rows above, their errors below: (2, 1) for images, (2, n_shown) for profiles.
    ax_ : matplotlib Axes
        The first panel.
    figure_ : matplotlib Figure

    See Also
    --------
    FeatureContributionDisplay : Which columns made one row an outlier.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import ReconstructionDisplay
    >>> X, _ = load_digits(return_X_y=True)
    >>> ReconstructionDisplay.from_estimator(PCA(8).fit(X), X, image_shape=(8, 8))
    <...ReconstructionDisplay object at ...>
    """

    original: np.ndarray
    reconstructed: np.ndarray
    corrupted: np.ndarray | None = None
    image_shape: tuple[int, ...] | None = None
    middle: np.ndarray | None = None
    scale: np.ndarray | None = None
    row_names: ArrayLike | None = None
    feature_names: ArrayLike | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        X_corrupted: Any = None,
        rows: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        ax: Any = None,
        **kwargs,
    ) -> Self:
        """Reconstruct rows and plot them.

        Parameters
        ----------
        estimator : object
            Fitted, with ``reconstruct``, or ``transform`` and ``inverse_transform``, or a Pipeline
            that ends in one. Where a step of a pipeline cannot be inverted, what is drawn is its
            output.
        X : array-like of shape (n_samples, n_features)
            Clean rows.
        X_corrupted : array-like of shape (n_samples, n_features), default=None
            The same rows with noise: what is reconstructed. None reconstructs X.
        rows : sequence of int, default=None
            Positions of the rows to draw. None draws the first 8 images or the first 3 profiles.
        image_shape : tuple of int, default=None
            (height, width), (1, height, width) or (3, height, width) for images. None draws
            profiles.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure. One axes is divided.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        TypeError
            If the estimator cannot reconstruct.
        ValueError
            If X and `X_corrupted` differ in shape, or `image_shape` does not fit the rows.
        """
        cls._check_matplotlib()
        original, reconstructed = original_and_reconstructed(estimator, X)
        if X_corrupted is not None:
            X_corrupted, reconstructed = original_and_reconstructed(estimator, X_corrupted)
        options = {"X_corrupted": X_corrupted, "rows": rows, "image_shape": image_shape}
        return cls.from_predictions(original, reconstructed, ax=ax, **options, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        X_reconstructed: Any,
        *,
        X_corrupted: Any = None,
        rows: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        ax: Any = None,
        **kwargs,
    ) -> Self:
        """Plot rows that are already reconstructed, and return the display.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Clean rows.
        X_reconstructed : array-like of shape (n_samples, n_features)
            What came back.
        X_corrupted : array-like of shape (n_samples, n_features), default=None
            What was given to the autoencoder, if that is not X.
        rows, image_shape, ax, **kwargs
            As in `from_estimator`.

        Raises
        ------
        ValueError
            If the shapes differ, or `image_shape` does not fit the rows.
        """
        names = common.names_of(X, np.shape(X)[1])
        given = {"X": X, "X_reconstructed": X_reconstructed, "X_corrupted": X_corrupted}
        tables = {name: common.as_table(one) for name, one in given.items() if one is not None}
        X = tables["X"]
        for name, table in tables.items():
            if table.shape != X.shape:
                raise ValueError(f"{name} must have the shape of X, {X.shape}, got {table.shape}.")
        common.check_image_shape(image_shape, X.shape[1])
        most = PROFILES if image_shape is None else IMAGES
        rows = np.arange(len(X))[:most] if rows is None else np.atleast_1d(rows)
        display = cls(
            original=X[rows],
            reconstructed=tables["X_reconstructed"][rows],
            corrupted=tables["X_corrupted"][rows] if "X_corrupted" in tables else None,
            image_shape=image_shape,
            middle=np.nanmean(X, axis=0),
            scale=np.nanstd(X, axis=0),
            row_names=rows,
            feature_names=names,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, standardize: bool = True, **kwargs) -> Self:
        """Draw, and return the display.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        standardize : bool, default=True
            For profiles: draw each column in standard deviations (sd) from its mean, so that
            columns in different units can be compared. False draws the data's own units, which
            suits signals and spectra.
        **kwargs : dict
            Passed to matplotlib's ``imshow`` for images (but not for errors), ``plot`` for
            profiles.
        """
        kinds = {name: getattr(self, name) for name in STYLES if getattr(self, name) is not None}
        row_names = range(len(self.original)) if self.row_names is None else self.row_names
        names = [str(name) for name in np.asarray(row_names)]
        if self.image_shape is not None:
            self._draw_images(ax, kinds, names, self.image_shape, kwargs)
        else:
            self._draw_profiles(ax, kinds, names, standardize, kwargs)
        return self._finish()

    def _draw_images(self, ax: Any, kinds: dict, names: list, shape: Any, kwargs: dict) -> None:
        (height, width), n, k = shape[-2:], len(self.original), len(kinds)
        strip = np.clip((common.WIDTH - 1.6) * height / (n * width), 0.4, 1.4)
        figsize, ratios = (common.WIDTH, 0.7 + (k + 1) * strip), {"height_ratios": [k, 1]}
        above, below = self._open(ax, (2, 1), figsize, "compressed", sharex=True, **ratios)[:, 0]
        limits = np.nanmin(self.original), np.nanmax(self.original)  # so that noise does not dim it
        images = np.stack([*kinds.values()])
        drawn = common.draw_images(above, images, shape, limits, **kwargs)
        error = self.reconstructed - self.original
        error = error.reshape(1, n, -1, height * width).mean(axis=2)  # over the channels
        most = np.nanmax(np.abs(error)) or 1.0
        errors = common.draw_images(below, error, (height, width), (-most, most), cmap="PuOr")
        above.set_yticks(above.get_yticks(), [*kinds])
        below.set_yticks(below.get_yticks(), ["error"])
        below.set_xticks(below.get_xticks(), names)
        below.set_xlabel("row")
        if drawn.get_array().ndim == 2:
            common.add_color_bar(above, drawn)
        common.add_color_bar(below, errors)

    def _draw_profiles(self, ax: Any, kinds: dict, names: list, sd: bool, kwargs: dict) -> None:
        n, n_features = self.original.shape
        columns = common.names_of(self.feature_names, n_features)
        width = max(common.WIDTH, 2.4 * n)
        height = 4.1 + common.names_height(columns, 0.85 * width / n)
        shared = {"sharex": "col", "sharey": "row", "height_ratios": [2, 1]}
        (above, *_), (below, *_) = self._open(ax, (2, n), (width, height), **shared)
        for kind, rows in kinds.items():
            kinds[kind], unit = common.standardized(rows, self.middle, self.scale, sd)
        bar, size = (0.8, 4) if n_features <= 30 else (1.0, 0)
        for i, (panel, errors) in enumerate(self.axes_.T):
            for kind, rows in kinds.items():
                panel.plot(rows[i], **{"label": kind, "markersize": size, **STYLES[kind], **kwargs})
            error = kinds["reconstructed"][i] - kinds["original"][i]
            errors.bar(range(n_features), error, color=common.GREEN, width=bar)
            errors.axhline(0, color=common.GREY, linewidth=0.8)
            panel.set_title(f"row {names[i]}", fontsize="medium")
            self._name_columns(errors, columns)
        above.set_ylabel(f"value{unit}")
        below.set_ylabel(f"error{unit}")
        if ax is None:
            handles = above.get_legend_handles_labels()
            self.figure_.legend(*handles, loc="outside upper center", ncols=3, frameon=False)
        else:  # a figure of one's own may have no room above
            self.axes_[0, -1].legend(fontsize="small")

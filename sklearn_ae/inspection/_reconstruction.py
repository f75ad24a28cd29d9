"""ReconstructionDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ae.inspection._common import (
    BLUE,
    GREEN,
    GREY,
    RED,
    WIDTH,
    as_table,
    check_image_shape,
    check_matplotlib,
    feature_axis,
    hide_frame,
    make_axes,
    mosaic,
    names_height,
    names_of,
    standardized,
)
from sklearn_ae.metrics import original_and_reconstructed

IMAGES, PROFILES = 8, 3  # rows that are drawn
MOST_NAMES = 20


class ReconstructionDisplay:
    """Rows, what came back of them, and what was lost.

    The error is the reconstruction minus the original. Images are shown as images, other rows as profiles: a line over the columns.

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
        For images (3 or 4, 1): original, corrupted if there is one, reconstructed, error. For profiles (2, n_shown): the rows
        above, their errors below.
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

    def __init__(
        self,
        *,
        original: np.ndarray,
        reconstructed: np.ndarray,
        corrupted: np.ndarray | None = None,
        image_shape: tuple[int, ...] | None = None,
        middle: np.ndarray | None = None,
        scale: np.ndarray | None = None,
        row_names: ArrayLike | None = None,
        feature_names: ArrayLike | None = None,
    ):
        self.original = original
        self.reconstructed = reconstructed
        self.corrupted = corrupted
        self.image_shape = image_shape
        self.middle = middle
        self.scale = scale
        self.row_names = row_names
        self.feature_names = feature_names

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
            Fitted, with ``reconstruct``, or ``transform`` and ``inverse_transform``, or a Pipeline that ends in one. Where a
            step of a pipeline cannot be inverted, what is drawn is its output.
        X : array-like of shape (n_samples, n_features)
            Clean rows.
        X_corrupted : array-like of shape (n_samples, n_features), default=None
            The same rows with noise: what is reconstructed. None reconstructs X.
        rows : sequence of int, default=None
            Positions of the rows to draw. None draws the first 8 images or the first 3 profiles.
        image_shape : tuple of int, default=None
            (height, width), (1, height, width) or (3, height, width) for images. None draws profiles.
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
        check_matplotlib(f"{cls.__name__}.from_estimator")
        original, reconstructed = original_and_reconstructed(estimator, X)
        if X_corrupted is not None:
            X_corrupted, reconstructed = original_and_reconstructed(estimator, X_corrupted)
        options = {"X_corrupted": X_corrupted, "rows": rows, "image_shape": image_shape, "ax": ax}
        return cls.from_predictions(original, reconstructed, **options, **kwargs)

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
        """Plot rows that are already reconstructed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Clean rows.
        X_reconstructed : array-like of shape (n_samples, n_features)
            What came back.
        X_corrupted : array-like of shape (n_samples, n_features), default=None
            What was given to the autoencoder, if that is not X.
        rows : sequence of int, default=None
            Positions of the rows to draw. None draws the first 8 images or the first 3 profiles.
        image_shape : tuple of int, default=None
            (height, width), (1, height, width) or (3, height, width) for images. None draws profiles.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure. One axes is divided.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ValueError
            If the shapes differ, or `image_shape` does not fit the rows.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        names = names_of(X, np.shape(X)[1])
        tables = [None if table is None else as_table(table) for table in (X, X_reconstructed, X_corrupted)]
        X, X_reconstructed, X_corrupted = tables
        for name, table in (("X_reconstructed", X_reconstructed), ("X_corrupted", X_corrupted)):
            if table is not None and table.shape != X.shape:
                raise ValueError(f"{name} must have the shape of X, {X.shape}, got {table.shape}.")
        if image_shape is not None:
            check_image_shape(image_shape, X.shape[1])
        rows = np.arange(len(X))[: PROFILES if image_shape is None else IMAGES] if rows is None else np.atleast_1d(rows)
        display = cls(
            original=X[rows],
            reconstructed=X_reconstructed[rows],
            corrupted=None if X_corrupted is None else X_corrupted[rows],
            image_shape=image_shape,
            middle=np.nanmean(X, axis=0),
            scale=np.nanstd(X, axis=0),
            row_names=rows,
            feature_names=names,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, standardize: bool = True, **kwargs) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        standardize : bool, default=True
            For profiles: draw each column in standard deviations (sd) from its mean, so that columns in different units can be
            compared.
            False draws the data's own units, which suits signals and spectra.
        **kwargs : dict
            Passed to matplotlib's ``imshow`` for images (but not for errors), ``plot`` for profiles.

        Returns
        -------
        display : ReconstructionDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        if self.image_shape is None:
            self._draw_profiles(ax, standardize, kwargs)
        else:
            self._draw_images(ax, self.image_shape, kwargs)
        self.figure_ = self.axes_[0, 0].figure
        return self

    def _kinds(self) -> dict[str, np.ndarray]:
        corrupted = {} if self.corrupted is None else {"corrupted": self.corrupted}
        return {"original": self.original, **corrupted, "reconstructed": self.reconstructed}

    def _row_names(self) -> list[str]:
        return [str(name) for name in (range(len(self.original)) if self.row_names is None else np.asarray(self.row_names))]

    def _draw_images(self, ax: Any, image_shape: tuple[int, ...], kwargs: dict) -> None:
        height, width = image_shape[-2:]
        n, kinds = len(self.original), self._kinds()
        strip = float(np.clip((WIDTH - 1.4) * height / (n * width), 0.4, 2.5)) + 0.1
        self.axes_ = make_axes(ax, len(kinds) + 1, 1, (WIDTH, (len(kinds) + 1) * strip + 0.5), "compressed", sharex=True)
        limits = (float(np.nanmin(self.original)), float(np.nanmax(self.original)))  # the original's, so that noise does not dim it
        style = {"cmap": "gray", "vmin": limits[0], "vmax": limits[1], "interpolation": "nearest", **kwargs}
        for panel, (name, images) in zip(self.axes_[:, 0], kinds.items(), strict=False):
            shown = panel.imshow(mosaic(images[np.newaxis], image_shape, limits), **style)
            panel.set_yticks([(height - 1) / 2], [name])
            hide_frame(panel)
        panel = self.axes_[-1, 0]
        error = self.reconstructed - self.original
        if len(image_shape) == 3:
            error = error.reshape(n, image_shape[0], -1).mean(axis=1)  # over the channels
        most = float(np.nanmax(np.abs(error))) or 1.0
        errors = panel.imshow(mosaic(error[np.newaxis], (height, width), (-most, most)), cmap="PuOr", vmin=-most, vmax=most)
        panel.set_yticks([(height - 1) / 2], ["error"])
        panel.set_xticks((np.arange(n) * (width + 1) + (width - 1) / 2), self._row_names())
        panel.set_xlabel("row")
        hide_frame(panel)
        if image_shape[0] != 3 or len(image_shape) == 2:
            panel.figure.colorbar(shown, ax=self.axes_[:-1, 0].tolist(), aspect=15, label="value")
        panel.figure.colorbar(errors, ax=panel, aspect=6)

    def _draw_profiles(self, ax: Any, standardize: bool, kwargs: dict) -> None:
        n, n_features = self.original.shape
        names = names_of(None, n_features) if self.feature_names is None else np.asarray(self.feature_names)
        figsize = (max(WIDTH, 2.4 * n), 4.1 + names_height(names, MOST_NAMES))
        ratios = {"height_ratios": [2, 1]}
        self.axes_ = make_axes(ax, 2, n, figsize, sharex="col", sharey="row", gridspec_kw=ratios)
        styles: dict[str, dict] = {
            "original": {"color": BLUE, "linewidth": 2.2, "alpha": 0.7},
            "corrupted": {"color": GREY, "linestyle": ":", "linewidth": 1},
            "reconstructed": {"color": RED, "linestyle": "--"},
        }
        middle, scale = (self.middle, self.scale) if standardize else (None, None)
        few = n_features <= 30
        markers = {"original": "o", "corrupted": "x", "reconstructed": "s"} if few else {}
        for i, name in enumerate(self._row_names()):
            above, below = self.axes_[:, i]
            for kind, rows in self._kinds().items():
                line = rows[i] if middle is None or scale is None else standardized(rows[i], middle, scale)
                style = {**styles[kind], "marker": markers.get(kind), "markersize": 4, "label": kind}
                above.plot(range(n_features), line, **{**style, **kwargs})
            error = self.reconstructed[i] - self.original[i]
            error = error if scale is None else error / np.where(scale > 0, scale, 1.0)
            below.bar(range(n_features), error, color=GREEN, width=0.8 if few else 1.0)
            below.axhline(0, color=GREY, linewidth=0.8)
            above.set_title(f"row {name}", fontsize="medium")
            feature_axis(below, names, MOST_NAMES)
        self.axes_[0, 0].set_ylabel("value" if scale is None else "value (sd)")
        self.axes_[1, 0].set_ylabel("error" if scale is None else "error (sd)")
        if ax is None:
            handles, labels = self.axes_[0, 0].get_legend_handles_labels()
            self.axes_[0, 0].figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
        else:  # a figure of one's own may have no room above
            self.axes_[0, -1].legend(fontsize="small")

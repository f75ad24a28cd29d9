"""LatentTraversalDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ae.inspection._common import (
    BLUE,
    GREY,
    WIDTH,
    as_table,
    centers,
    check_image_shape,
    check_matplotlib,
    feature_axis,
    hide_frame,
    largest,
    make_axes,
    mosaic,
    names_height,
    names_of,
    number,
)
from sklearn_ae.metrics import flat_steps, way_back

MOST_COMPONENTS = 8


class LatentTraversalDisplay:
    r"""What each component of the code does to the row that is decoded.

    From the mean code :math:`\bar z` one component is moved by :math:`t` of its standard deviations, and the code is decoded:

    .. math:: x(t) = \text{decoder}(\bar z + t \, s_j e_j), \quad t \in [-\text{span}, \text{span}]

    or two components are moved together, over a plane. Images are shown as images, other rows as profiles: a line over the columns.

    Parameters
    ----------
    decoded : ndarray of shape (n_shown, n_steps, n_features), or (n_steps, n_steps, n_features) for a plane
        Decoded rows, in the data's units. In a plane the first axis belongs to the second component.
    steps : ndarray of shape (n_steps,)
        How far each step is from the mean code, in standard deviations of the component.
    components : list of int
        The components that are moved; two for a plane.
    plane : bool, default=False
        Whether two components are moved together.
    image_shape : tuple of int, default=None
        (height, width), (1, height, width) or (3, height, width). None draws profiles.
    middle : ndarray of shape (n_features,), default=None
        The decoded mean code. None is the middle of `decoded`.
    scale : ndarray of shape (n_features,), default=None
        Standard deviation of each column of the data, for profiles. None leaves the data's units.
    feature_names : sequence of str of length n_features, default=None
        Names of the columns, for profiles.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        (1, 1) for images and planes, else a panel for each component, (n_shown, 1).
    ax_ : matplotlib Axes or None
        The panel, if there is only one.
    figure_ : matplotlib Figure

    See Also
    --------
    LatentSpaceDisplay : Where rows lie in the code.

    Notes
    -----
    A component means what it means only near the codes that occur. Far from them (a `span` over 3) the decoder has learnt nothing.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.inspection import LatentTraversalDisplay
    >>> X = load_iris(as_frame=True).data
    >>> model = AutoencoderTransformer(2, random_state=0).fit(X[::3])
    >>> LatentTraversalDisplay.from_estimator(model, X)
    <...LatentTraversalDisplay object at ...>
    """

    def __init__(
        self,
        *,
        decoded: np.ndarray,
        steps: np.ndarray,
        components: list[int],
        plane: bool = False,
        image_shape: tuple[int, ...] | None = None,
        middle: np.ndarray | None = None,
        scale: np.ndarray | None = None,
        feature_names: ArrayLike | None = None,
    ):
        self.decoded = decoded
        self.steps = steps
        self.components = components
        self.plane = plane
        self.image_shape = image_shape
        self.middle = middle
        self.scale = scale
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        components: ArrayLike | None = None,
        plane: bool = False,
        n_steps: int | None = None,
        span: float = 2.0,
        image_shape: tuple[int, ...] | None = None,
        ax: Any = None,
        **kwargs,
    ) -> Self:
        """Encode rows, walk through the code from its mean, and plot what is decoded.

        Parameters
        ----------
        estimator : object
            Fitted, with ``transform`` and ``inverse_transform``: ours, PCA, or a Pipeline. Where a step of a pipeline
            cannot be inverted, what is drawn is its output.
        X : array-like of shape (n_samples, n_features)
            Rows from which the mean code and the standard deviations are computed: the training rows, for example.
        components : sequence of int, default=None
            Which components to move. None takes all, but of more than 8 the 8 with the largest variance; for a plane the two with
            the largest variance.
        plane : bool, default=False
            Move two components together.
        n_steps : int, default=None
            Steps from one end to the other, at least 2. An odd number has the mean in the middle. None is 9 for images
            and 5 for profiles.
        span : float, default=2.0
            How far to go to each side, in standard deviations of the component.
        image_shape : tuple of int, default=None
            (height, width), (1, height, width) or (3, height, width) for images. None draws profiles.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : LatentTraversalDisplay

        Raises
        ------
        ValueError
            If `components` are not components of the code, `n_steps` or `span` is too small, or `image_shape` does not fit.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        n_steps = (5 if image_shape is None else 9) if n_steps is None else n_steps
        if n_steps < 2 or span <= 0:
            raise ValueError(f"n_steps must be at least 2 and span over 0, got n_steps={n_steps} and span={span}.")
        *before, last = flat_steps(estimator)
        original, seen, inverses = way_back(before, X)
        Z = as_table(last.transform(seen))
        components = _check_components(components, plane, Z.var(axis=0))
        steps = np.linspace(-span, span, n_steps)
        codes = _walk(Z.mean(axis=0), Z.std(axis=0), components, steps, plane)
        rows = last.inverse_transform(np.vstack([Z.mean(axis=0), codes.reshape(-1, Z.shape[1])]))
        for inverse in inverses:
            rows = inverse(rows)
        rows = as_table(rows)
        if image_shape is not None:
            check_image_shape(image_shape, rows.shape[1])
        display = cls(
            decoded=rows[1:].reshape(*codes.shape[:2], -1),
            steps=steps,
            components=components,
            plane=plane,
            image_shape=image_shape,
            middle=rows[0],
            scale=np.nanstd(as_table(original), axis=0),
            feature_names=names_of(original, rows.shape[1]),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, standardize: bool = True, **kwargs) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        standardize : bool, default=True
            For profiles: draw the change from the decoded mean code in standard deviations (sd) of each column, so that columns in
            different units can be compared. False draws the data's own units, which suits signals and spectra.
        **kwargs : dict
            Passed to matplotlib's ``imshow`` for images, ``plot`` for profiles.

        Returns
        -------
        display : LatentTraversalDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        n_down, n_across, _ = self.decoded.shape
        if self.image_shape is not None:
            height, width = self.image_shape[-2:]
            figsize = (WIDTH, float(np.clip((WIDTH - 0.9) * n_down * height / (n_across * width) + 0.6, 1.5, 9)))
            self.axes_ = make_axes(ax, figsize=figsize, layout="compressed")
            self._draw_images(self.axes_[0, 0], self.image_shape, kwargs)
        elif self.plane:
            self.axes_ = make_axes(ax, figsize=(WIDTH, 5.2))
            self._draw_plane(self.axes_[0, 0], standardize, kwargs)
        else:
            figsize = (WIDTH, 0.6 + names_height(self._names()) + 1.6 * n_down)
            self.axes_ = make_axes(ax, n_down, 1, figsize, sharex=True, sharey=True)
            self._draw_profiles(standardize, kwargs)
        self.ax_ = self.axes_[0, 0] if self.axes_.size == 1 else None
        self.figure_ = self.axes_[0, 0].figure
        return self

    def _draw_images(self, ax: Any, image_shape: tuple[int, ...], kwargs: dict) -> None:
        height, width = image_shape[-2:]
        n_down, n_across, _ = self.decoded.shape
        order = self.decoded[::-1] if self.plane else self.decoded  # in a plane, up is more
        limits = (float(order.min()), float(order.max()))
        style = {"cmap": "gray", "vmin": limits[0], "vmax": limits[1], "interpolation": "nearest"}
        ax.imshow(mosaic(order, image_shape, limits), **{**style, **kwargs})
        ax.set_xticks(centers(n_across, width), self._step_names())
        names = self._step_names()[::-1] if self.plane else [f"component {component}" for component in self.components]
        ax.set_yticks(centers(n_down, height), names)
        self._label_steps(ax)
        hide_frame(ax)

    def _draw_plane(self, ax: Any, standardize: bool, kwargs: dict) -> None:
        """Each profile as a little line in its place, all on one scale."""
        values = self._values(standardize)
        low, high = float(values.min()), float(values.max())
        height = lambda value: 0.84 * ((value - low) / ((high - low) or 1.0) - 0.5)  # noqa: E731
        for i, j in np.ndindex(values.shape[:2]):
            across = j + 0.8 * (np.linspace(0, 1, values.shape[2]) - 0.5)
            if low <= 0 <= high:
                ax.plot([j - 0.4, j + 0.4], [i + height(0), i + height(0)], color=GREY, linewidth=0.6)
            ax.plot(across, i + height(values[i, j]), **{"color": BLUE, "linewidth": 1.2, **kwargs})
        ax.set_xticks(range(len(self.steps)), self._step_names())
        ax.set_yticks(range(len(self.steps)), self._step_names())
        what = "change (sd of the column)" if standardize and self.scale is not None else "decoded value"
        ax.set_title(f"{what}, from {number(low)} to {number(high)} in each cell", fontsize="medium", loc="left")
        self._label_steps(ax)
        hide_frame(ax)

    def _draw_profiles(self, standardize: bool, kwargs: dict) -> None:
        import matplotlib as mpl

        values, names = self._values(standardize), self._names()
        colors = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(self.steps)))
        for component, lines, panel in zip(self.components, values, self.axes_[:, 0], strict=True):
            for step, line, color in zip(self.steps, lines, colors, strict=True):
                style = {"color": color, "linestyle": "--" if step < 0 else "-", "linewidth": 2.4 if step == 0 else 1.3}
                few = {"marker": "." if len(line) <= 30 else None, "label": _step_name(step)}
                panel.plot(range(len(line)), line, **{**style, **few, **kwargs})
            panel.set_title(f"component {component}", fontsize="medium", loc="left")
            panel.set_ylabel("decoded value" if not standardize or self.scale is None else "change (sd)")
        feature_axis(self.axes_[-1, 0], names)
        handles, labels = self.axes_[0, 0].get_legend_handles_labels()
        title = "moved by (sd of\nthe component)"
        self.axes_[0, 0].legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", title=title)

    def _values(self, standardize: bool) -> np.ndarray:
        if not standardize or self.scale is None:
            return self.decoded
        return (self.decoded - self._middle()) / np.where(self.scale > 0, self.scale, 1.0)

    def _middle(self) -> np.ndarray:
        if self.middle is not None:
            return self.middle
        center = len(self.steps) // 2
        return self.decoded[center, center] if self.plane else self.decoded[0, center]

    def _names(self) -> np.ndarray:
        return names_of(None, self.decoded.shape[2]) if self.feature_names is None else np.asarray(self.feature_names)

    def _step_names(self) -> list[str]:
        return [_step_name(step) for step in self.steps]

    def _label_steps(self, ax: Any) -> None:
        unit = "standard deviations from the mean code"
        ax.set_xlabel(f"component {self.components[0]} ({unit})" if self.plane else unit)
        if self.plane:
            ax.set_ylabel(f"component {self.components[1]}")


def _check_components(components: ArrayLike | None, plane: bool, variance: np.ndarray) -> list[int]:
    n = len(variance)
    if components is None:
        if plane and n < 2:
            raise ValueError("A plane needs two components, but a code has one; pass plane=False.")
        return largest(variance, 2 if plane else MOST_COMPONENTS)
    wanted: list[int] = np.atleast_1d(np.asarray(components)).tolist()
    if not wanted or not all(0 <= component < n for component in wanted):
        raise ValueError(f"components={wanted} must be from 0 to {n - 1}: a code has {n}.")
    if plane and len(wanted) != 2:
        raise ValueError(f"A plane needs two components, got components={wanted}; pass two of them, or plane=False.")
    return wanted


def _walk(mean: np.ndarray, deviation: np.ndarray, components: list[int], steps: np.ndarray, plane: bool) -> np.ndarray:
    """The codes to decode, of shape (n_shown, n_steps, n_components), or (n_steps, n_steps, n_components) for a plane."""
    n = len(steps)
    codes = np.tile(mean, (n if plane else len(components), n, 1))
    for i, component in enumerate(components):
        way = steps * deviation[component]
        if plane:
            codes[:, :, component] += way[np.newaxis] if i == 0 else way[:, np.newaxis]
        else:
            codes[i, :, component] += way
    return codes


def _step_name(step: float) -> str:
    return "mean" if abs(step) < 1e-12 else f"{step:+.2g}".replace("-", "−")

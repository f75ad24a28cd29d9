"""LatentTraversalDisplay."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

import sklearn_ae.inspection._common as common
from sklearn_ae.pipelines import way_back

MOST_COMPONENTS = 8


@dataclass(kw_only=True, eq=False, repr=False)
class LatentTraversalDisplay(common.Display):
    r"""What each component of the code does to the row that is decoded.

    From the mean code :math:`\bar z` one component is moved by :math:`t` of its standard
    deviations, and the code is decoded:

    .. math:: x(t) = \text{decoder}(\bar z + t \, s_j e_j), \quad t \in [-\text{span}, \text{span}]

    or two components are moved together, over a plane. Images are shown as images, other rows as
    profiles: a line over the columns.

    Parameters
    ----------
    decoded : ndarray of shape (n_shown, n_steps, n_features)
        Decoded rows, in the data's units. (n_steps, n_steps, n_features) for a plane, whose first
        axis belongs to the second component.
    steps : ndarray of shape (n_steps,)
        How far each step is from the mean code, in standard deviations of the component.
    components : list of int
        The components that are moved; two for a plane.
    plane : bool, default=False
        Whether two components are moved together.
    image_shape : tuple of int, default=None
        (height, width), (1, height, width) or (3, height, width). None draws profiles.
    middle, scale : ndarray of shape (n_features,), default=None
        The decoded mean code, and the standard deviation of each column of the data, for profiles.
        None leaves the data's units.
    feature_names : sequence of str of length n_features, default=None
        Names of the columns, for profiles.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        (1, 1) for images and planes, else a panel for each component, (n_shown, 1).
    ax_ : matplotlib Axes
        The first panel.
    figure_ : matplotlib Figure

    See Also
    --------
    LatentSpaceDisplay : Where rows lie in the code.

    Notes
    -----
    A component means what it means only near the codes that occur. Far from them (a `span` over 3)
    the decoder has learnt nothing.

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

    decoded: np.ndarray
    steps: np.ndarray
    components: list[int]
    plane: bool = False
    image_shape: tuple[int, ...] | None = None
    middle: np.ndarray | None = None
    scale: np.ndarray | None = None
    feature_names: ArrayLike | None = None

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
            Fitted, with ``transform`` and ``inverse_transform``: ours, PCA, or a Pipeline. Where a
            step of a pipeline cannot be inverted, what is drawn is its output.
        X : array-like of shape (n_samples, n_features)
            Rows from which the mean code and the standard deviations are computed: the training
            rows, for example.
        components : sequence of int, default=None
            Which components to move. None takes all, but of more than 8 the 8 with the largest
            variance; for a plane the two with the largest variance.
        plane : bool, default=False
            Move two components together.
        n_steps : int, default=None
            Steps from one end to the other, at least 2. An odd number has the mean in the middle.
            None is 9 for images and 5 for profiles.
        span : float, default=2.0
            How far to go to each side, in standard deviations of the component.
        image_shape : tuple of int, default=None
            (height, width), (1, height, width) or (3, height, width) for images. None draws
            profiles.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure. One axes is divided if several panels are
            needed.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : LatentTraversalDisplay

        Raises
        ------
        ValueError
            If `components` are not components of the code, `n_steps` or `span` is too small, or
            `image_shape` does not fit.
        """
        before, last = cls._steps(estimator)
        n_steps = (5 if image_shape is None else 9) if n_steps is None else n_steps
        if n_steps < 2 or span <= 0:
            got = f"n_steps={n_steps} and span={span}"
            raise ValueError(f"n_steps must be at least 2 and span over 0, got {got}.")
        original, seen, inverses = way_back(before, X)
        Z = common.as_table(last.transform(seen))
        mean, deviation, most = Z.mean(axis=0), Z.std(axis=0), 2 if plane else MOST_COMPONENTS
        components = common.chosen(components, deviation, most)
        if plane and len(components) != 2:
            got = f"components={components}; pass two of them, or plane=False"
            raise ValueError(f"A plane needs two components, got {got}.")
        steps = np.linspace(-span, span, n_steps)
        ways = steps[:, np.newaxis] * np.diag(deviation)[components, np.newaxis]
        codes = mean + (ways[1][:, np.newaxis] + ways[0] if plane else ways)
        rows = last.inverse_transform(np.vstack([mean, codes.reshape(-1, len(mean))]))
        for inverse in inverses:
            rows = inverse(rows)
        rows = common.as_table(rows)
        common.check_image_shape(image_shape, rows.shape[1])
        display = cls(
            decoded=rows[1:].reshape(*codes.shape[:2], -1),
            steps=steps,
            components=components,
            plane=plane,
            image_shape=image_shape,
            middle=rows[0],
            scale=np.nanstd(common.as_table(original), axis=0),
            feature_names=common.names_of(original, rows.shape[1]),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, standardize: bool = True, **kwargs) -> Self:
        """Draw, and return the display.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        standardize : bool, default=True
            For profiles: draw the change from the decoded mean code in standard deviations (sd) of
            each column, so that columns in different units can be compared. False draws the data's
            own units, which suits signals and spectra.
        **kwargs : dict
            Passed to matplotlib's ``imshow`` for images, ``plot`` for profiles.
        """
        values, unit = common.standardized(self.decoded, self.middle, self.scale, standardize)
        what = f"change{unit}" if unit else "decoded value"
        names = [common.number(step, 2) for step in np.round(self.steps, 9) + 0.0]  # no minus zero
        if self.image_shape is None and not self.plane:
            self._draw_profiles(ax, values, what, names, kwargs)
            return self._finish()
        if self.image_shape is not None:
            self._draw_images(ax, self.image_shape, names, kwargs)
        else:
            self._draw_plane(ax, values, what, names, kwargs)
        unit = "sd from the mean code"
        self.ax_.set_xlabel(f"component {self.components[0]} ({unit})" if self.plane else unit)
        if self.plane:
            self.ax_.set_ylabel(f"component {self.components[1]}")
        return self._finish()

    def _draw_images(self, ax: Any, image_shape: Any, names: list[str], kwargs: dict) -> None:
        (n_down, n_across, _), (height, width) = self.decoded.shape, image_shape[-2:]
        inches = (common.WIDTH - 0.9) * n_down * height / (n_across * width) + 0.6
        self._open(ax, figsize=(common.WIDTH, np.clip(inches, 1.5, 9)), layout="compressed")
        images, down = self.decoded, [f"component {j}" for j in self.components]
        if self.plane:  # up is more
            images, down = images[::-1], names[::-1]
        limits = images.min(), images.max()
        common.draw_images(self.ax_, images, image_shape, limits, **kwargs)
        self.ax_.set_yticks(self.ax_.get_yticks(), down)
        self.ax_.set_xticks(self.ax_.get_xticks(), names)

    def _draw_plane(self, ax: Any, values: Any, what: str, names: list[str], kwargs: dict) -> None:
        """Each profile as a little line in its place, all on one scale."""
        panel = self._open(ax, figsize=(common.WIDTH, 5.2))[0, 0]
        low, high = values.min(), values.max()
        heights = 0.84 * ((np.append(values, 0.0) - low) / ((high - low) or 1.0) - 0.5)
        lines, zero = heights[:-1].reshape(values.shape), heights[-1]
        for i, j in np.ndindex(lines.shape[:2]):
            if low <= 0 <= high:
                panel.plot([j - 0.4, j + 0.4], [i + zero] * 2, color=common.GREY, linewidth=0.6)
            across, style = j + np.linspace(-0.4, 0.4, lines.shape[2]), {"color": common.BLUE}
            panel.plot(across, i + lines[i, j], **{**style, "linewidth": 1.2, **kwargs})
        panel.set_xticks(range(len(names)), names)
        panel.set_yticks(range(len(names)), names)
        cells = f"from {common.number(low, 2)} to {common.number(high, 2)} in each cell"
        panel.set_title(f"{what}, {cells}", fontsize="medium", loc="left")
        common.hide_frame(panel)

    def _draw_profiles(self, ax: Any, values: Any, what: str, steps: list, kwargs: dict) -> None:
        import matplotlib as mpl

        n, _, n_features = values.shape
        names = common.names_of(self.feature_names, n_features)
        height = 0.6 + common.names_height(names, common.WIDTH - 2) + 1.6 * n
        panels = self._open(ax, (n, 1), (common.WIDTH, height), sharex=True, sharey=True)[:, 0]
        colors = mpl.colormaps["viridis"](np.linspace(0.25, 0.85, len(steps)))
        for component, lines, panel in zip(self.components, values, panels, strict=True):
            for step, name, line, color in zip(self.steps, steps, lines, colors, strict=True):
                style = {"color": color, "label": name, "marker": "." if n_features <= 30 else None}
                style |= {"ls": "--" if step < 0 else "-", "lw": 2.4 if step == 0 else 1.3}
                panel.plot(line, **{**style, **kwargs})
            panel.set_title(f"component {component}", fontsize="medium", loc="left")
            panel.set_ylabel(what)
        self._name_columns(panels[-1], names)
        style = {"loc": "upper left", "bbox_to_anchor": (1, 1), "reverse": True}
        self._add_legend(panels[0], title="moved by (sd)", **style)

"""What the Displays share: axes, colours, images, names of columns."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse

from sklearn_ae.pipelines import flat_steps

# The colours of Okabe and Ito (2008) are told apart by the colour-blind; black is left out, which
# is not seen on a dark background. Three more make ten.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933"]
COLORS += ["#999999", "#882255", "#F0E442"]
BLUE, RED, GREEN, GREY = *COLORS[:3], "0.45"
LOOKS = {  # colours and markers together are 110 looks
    "color": COLORS,
    "marker": ["o", "^", "s", "D", "v", "P", "X", "<", ">", "*", "p"],
    "linestyle": ["-", "--", "-.", ":"],
}
WIDTH = 6.4  # inches: a notebook's width
MOST_NAMED = 20  # classes in a legend
LARGE = 2.0  # inches: in panels that are smaller, so is text


class Display:
    """Base of the Displays. After `plot`, all panels are in `axes_`, the first one in `ax_`.

    matplotlib is imported only to draw. Without it, `from_estimator` fails before it computes.
    """

    @classmethod
    def _steps(cls, estimator: Any) -> tuple[list[Any], Any]:
        """The steps before the autoencoder, and itself: of a pipeline, of the best of a search."""
        cls._check_matplotlib()
        *before, last = flat_steps(estimator)
        return before, last

    @classmethod
    def _check_matplotlib(cls) -> None:
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            way_out = "Install it with: pip install sklearn-ae[plot]"
            raise ImportError(f"{cls.__name__} needs matplotlib. {way_out}") from error

    def _open(self, ax, shape=(1, 1), figsize=(WIDTH, 4), layout="constrained", **options):
        """Make panels, take those given, or divide the one given; return them in their shape."""
        self._check_matplotlib()
        import matplotlib.pyplot as plt
        from matplotlib.axes import Axes

        n, ratios = shape[0] * shape[1], {"height_ratios": options.pop("height_ratios", None)}
        if ax is None:
            style = {"figsize": figsize, "layout": layout, **ratios, **options}
            axes = plt.subplots(*shape, squeeze=False, **style)[1]
        elif n > 1 and isinstance(ax, Axes):
            place = ax.get_subplotspec()
            if place is None:
                way_out = "this ax cannot be divided; make it by plt.subplots."
                raise ValueError(f"{n} panels are needed, and {way_out}")
            ax.set_axis_off()
            axes = place.subgridspec(*shape, **ratios).subplots(squeeze=False, **options)
        else:
            axes = np.asarray(ax, dtype=object)
            if axes.size != n:
                needed = f"{n} are needed: {shape[0]} rows of {shape[1]}"
                raise ValueError(f"ax holds {axes.size} axes, but {needed}.")
        self.axes_ = axes = axes.reshape(shape)
        self.ax_, self.figure_ = axes[0, 0], axes[0, 0].figure
        return axes

    def _finish(self) -> Self:
        """Limit the size of text where panels are small, so that it does not collide."""
        from matplotlib import rcParams
        from matplotlib.text import Text

        panels = self.axes_.ravel()
        area = np.mean([np.prod(panel.get_position().size) for panel in panels])
        inches = np.sqrt(area * np.prod(self.figure_.get_size_inches()))
        most = rcParams["font.size"] * max(inches / LARGE, 0.65)
        for panel in panels if inches < LARGE else []:
            for text in panel.findobj(Text):
                text.set_fontsize(min(text.get_fontsize(), most))
        return self

    def _name_columns(self, ax: Any, names: np.ndarray) -> None:
        """Name the columns on the x-axis, upright, if there is room for their names."""
        top, bottom = self.ax_.get_position().y1, ax.get_position().y0
        width, height = self.figure_.get_size_inches() * (ax.get_position().width, top - bottom)
        if 0 < names_height(names, width) < 0.45 * height:
            style = {"rotation": 90, "fontsize": "small"}
            ax.set_xticks(range(len(names)), map(shortened, names), **style)
        else:
            ax.set_xlabel("Column")

    def _add_legend(self, ax: Any, **style) -> None:
        """Name in `ax` what the first panel draws, or beside `ax` if it is much."""
        handles, labels = self.axes_[-1, 0].get_legend_handles_labels()
        if len(labels) > MOST_NAMED:
            labels = [*labels[:MOST_NAMED], f"… and {len(labels) - MOST_NAMED} more"]
            handles = [*handles[:MOST_NAMED], ax.plot([], [], linestyle="none")[0]]
        labels = [shortened(label, 28) for label in labels]
        if len(labels) > 6:
            style = {"loc": "upper left", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2, **style}
        style = {"fontsize": "small", "title_fontsize": "small", **style}
        legend = ax.legend(handles, labels, **style)
        for handle in legend.legend_handles:
            if hasattr(handle, "set_sizes"):
                handle.set_sizes([36])  # small points are not told apart


def look(k: int, *kinds: str) -> dict[str, Any]:
    """How the k-th class looks, in the ways asked for."""
    return {kind: LOOKS[kind][k % len(LOOKS[kind])] for kind in kinds}


def as_table(X: Any) -> np.ndarray:
    """Dense numbers of shape (n_samples, n_features), float64."""
    X = np.asarray(X.toarray() if issparse(X) else X, dtype=np.float64)
    if X.ndim != 2:
        raise ValueError(f"X must have rows and columns, got shape {X.shape}.")
    return X


def one_per_row(values: ArrayLike | None, n_samples: int, name: str) -> Any:
    if values is None:
        return None
    values = np.asarray(values)
    values = values[:, 0] if values.shape == (n_samples, 1) else values
    if values.shape != (n_samples,):
        rows = f"one value for each of the {n_samples} rows"
        raise ValueError(f"{name} must hold {rows}, got shape {values.shape}.")
    return values


def classes_of(y: ArrayLike | None, n_samples: int) -> Iterator[tuple[str | None, np.ndarray]]:
    """Each class's name and its rows, a mask; missing labels come last. Without y, all rows."""
    if y is None:
        yield None, np.ones(n_samples, dtype=bool)
        return
    y = np.asarray(y)
    missing = np.array([label is None or label != label for label in y.tolist()], dtype=bool)
    for label in np.unique(y[~missing]):
        yield f"{label:g}" if y.dtype.kind in "iuf" else str(label), ~missing & (y == label)
    if missing.any():
        yield "not labelled", missing


def chosen(components: ArrayLike | None, variance: np.ndarray, most: int) -> list[int]:
    """The components asked for, or those with the largest variance, in their order."""
    n = len(variance)
    if components is None:
        return sorted(np.argsort(-variance, kind="stable")[:most].tolist())
    wanted: list[int] = np.atleast_1d(np.asarray(components)).tolist()
    if not wanted or not all(0 <= component < n for component in wanted):
        raise ValueError(f"components={wanted} must be from 0 to {n - 1}: a code has {n}.")
    return wanted


# Images


def check_image_shape(image_shape: tuple[int, ...] | None, n_features: int) -> None:
    if image_shape is None:
        return
    n, n_channels = int(np.prod(image_shape)), {2: 1, 3: image_shape[0]}.get(len(image_shape))
    if n_channels not in (1, 3):
        shapes = "(height, width), (1, height, width) or (3, height, width)"
        raise ValueError(f"image_shape must be {shapes}, channels first, got {image_shape}.")
    if n != n_features:
        raise ValueError(f"image_shape={image_shape} has {n} values, but a row has {n_features}.")


def draw_images(ax: Any, X: np.ndarray, image_shape: Any, limits: Any, **style) -> Any:
    """Draw rows of shape (n_down, n_across, n_features) as images, one pixel apart, and their
    ticks.

    The limits are what is drawn as black and white.
    """
    (n_down, n_across, _), (height, width), (low, high) = X.shape, image_shape[-2:], limits
    images = np.moveaxis(X.reshape(n_down, n_across, -1, height, width), 2, -1)
    colours = images.shape[-1] == 3
    if colours:  # and how opaque they are
        images = np.clip((images - low) / max(high - low, 1e-300), 0, 1)
        images = np.concatenate([images, np.ones_like(images[..., :1])], axis=-1)
    gaps = [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0)]
    images = np.pad(images, gaps, constant_values=0.0 if colours else np.nan).swapaxes(1, 2)
    picture = images.reshape(n_down * (height + 1), n_across * (width + 1), -1)[:-1, :-1]
    style = {"cmap": "gray", "vmin": low, "vmax": high, "interpolation": "nearest", **style}
    drawn = ax.imshow(picture if colours else picture[..., 0], **style)
    ax.set_yticks(np.arange(n_down) * (height + 1) + (height - 1) / 2)
    ax.set_xticks(np.arange(n_across) * (width + 1) + (width - 1) / 2)
    hide_frame(ax)
    return drawn


def add_color_bar(ax: Any, drawn: Any, left: float = 1.04, **style) -> None:
    """A colour bar beside the panel, of its height."""
    ax.figure.colorbar(drawn, cax=ax.inset_axes((left, 0, 0.05, 1)), **style)


def hide_frame(ax: Any) -> None:
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


# Columns


def names_of(names: Any, n_features: int) -> np.ndarray:
    """The names given, or those of a DataFrame's columns, or x0, x1, ... for all else."""
    names = getattr(names, "columns", names)
    if names is None or np.ndim(names) != 1 or len(names) != n_features:
        names = [f"x{j}" for j in range(n_features)]
    return np.array(names, dtype=str)


def standardized(rows: np.ndarray, middle: Any, scale: Any, wanted: bool) -> tuple[np.ndarray, str]:
    """The rows in standard deviations from the middle, where these are known, and the unit."""
    if not wanted or middle is None or scale is None:
        return rows, ""
    return (rows - middle) / np.where(scale > 0, scale, 1.0), " (sd)"


def names_height(names: np.ndarray, width: float) -> float:
    """Inches that upright names take under an axis of a width in inches; 0 without room."""
    room = width > 0.12 * len(names)
    return 0.07 * max(len(shortened(name)) for name in names) if room else 0.0


def shortened(name: object, most: int = 20) -> str:
    """The name without its middle, if it is long: names are told apart by both of their ends."""
    name = str(name)
    return name if len(name) <= most else f"{name[: most // 2]}…{name[most // 2 + 1 - most :]}"


def number(value: float, digits: int = 4) -> str:
    """A number with a true minus sign, as on matplotlib's axes."""
    return f"{value:.{digits}g}".replace("-", "−")

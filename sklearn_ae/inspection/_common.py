"""What the displays share: colours, axes, names, and the steps of a pipeline. matplotlib is imported only while plotting."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse

from sklearn_ae.metrics import flat_steps

# Okabe and Ito (2008), "Color Universal Design": told apart by the colour-blind. Two more make ten; the lightest comes last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#882255", "#F0E442")
BLUE, RED, GREEN = COLORS[:3]
GREY = "0.45"
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*", "p")  # 11 of them: with 10 colours, 110 combinations
LINE_STYLES = ("-", "--", "-.", ":")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\")
WIDTH = 6.4  # inches: a notebook's width
LONGEST_NAME = 20


def check_matplotlib(caller: str) -> None:
    """Raise an error that names the way out if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{caller} needs matplotlib. Install it with: pip install sklearn-ae[plot]") from error


def make_axes(
    ax: Any,
    n_rows: int = 1,
    n_columns: int = 1,
    figsize: tuple[float, float] = (WIDTH, 4.0),
    layout: str = "constrained",
    **options,
) -> np.ndarray:
    """Axes in an array of shape (n_rows, n_columns): new ones, those given, or a grid in the place of the one given."""
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    if ax is None:
        return plt.subplots(n_rows, n_columns, figsize=figsize, squeeze=False, layout=layout, **options)[1]
    if not isinstance(ax, Axes):
        axes = np.asarray(ax, dtype=object)
        if axes.size != n_rows * n_columns:
            raise ValueError(f"ax holds {axes.size} axes, but {n_rows * n_columns} are needed: {n_rows} rows of {n_columns}.")
        return axes.reshape(n_rows, n_columns)
    if n_rows == n_columns == 1:
        return np.array([[ax]], dtype=object)
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(f"{n_rows * n_columns} panels are needed, and this ax cannot be divided; make it by plt.subplots.")
    ax.set_axis_off()
    ratios = options.pop("gridspec_kw", {})
    return place.subgridspec(n_rows, n_columns, **ratios).subplots(squeeze=False, **options)


def n_rows(X: Any) -> int:
    return X.shape[0] if hasattr(X, "shape") else len(X)


def last_step(estimator: Any) -> Any:
    """The autoencoder itself: the last step of a pipeline, the best estimator of a search."""
    return flat_steps(estimator)[-1]


def before_last_step(estimator: Any, X: Any) -> Any:
    """The rows that the autoencoder itself sees."""
    for step in flat_steps(estimator)[:-1]:
        X = step.transform(X)
    return X


def as_table(X: Any) -> np.ndarray:
    """Dense numbers of shape (n_samples, n_features), float64."""
    X = np.asarray(X.toarray() if issparse(X) else X, dtype=np.float64)
    if X.ndim != 2:
        raise ValueError(f"X must have rows and columns, got shape {X.shape}.")
    return X


def names_of(X: Any, n_features: int) -> np.ndarray:
    """The names of X's columns, x0, x1, ... where it has none."""
    columns = getattr(X, "columns", None)
    if columns is None or len(columns) != n_features:
        return np.array([f"x{j}" for j in range(n_features)], dtype=object)
    return np.array([str(column) for column in columns], dtype=object)


def largest(values: np.ndarray, most: int) -> list[int]:
    """Positions of the largest values, in their order in the array."""
    return sorted(np.argsort(-values, kind="stable")[:most].tolist())


def classes_of(y: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each class's name and its rows, a mask; missing labels come last."""
    missing = np.array([label is None or label != label for label in y.tolist()], dtype=bool)
    for label in np.unique(y[~missing]):
        name = f"{label:g}" if isinstance(label, (int, float, np.number)) and not isinstance(label, bool) else str(label)
        yield name, ~missing & (y == label)
    if missing.any():
        yield "not labelled", missing


def one_per_row(values: ArrayLike, n_samples: int, name: str) -> np.ndarray:
    values = np.asarray(values)
    values = values[:, 0] if values.shape == (n_samples, 1) else values
    if values.shape != (n_samples,):
        raise ValueError(f"{name} must hold one value for each of the {n_samples} rows, got shape {values.shape}.")
    return values


# Profiles and images


def standardized(X: np.ndarray, middle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (X - middle) / np.where(scale > 0, scale, 1.0)


def check_image_shape(image_shape: tuple[int, ...], n_features: int) -> None:
    if len(image_shape) not in (2, 3) or (len(image_shape) == 3 and image_shape[0] not in (1, 3)):
        hint = ""
        if len(image_shape) == 3 and image_shape[-1] in (1, 3):
            hint = " Bring the channels to the front: X.reshape(-1, *image_shape).transpose(0, 3, 1, 2).reshape(len(X), -1)."
        raise ValueError(f"image_shape must be (height, width), (1, height, width) or (3, height, width), got {image_shape}.{hint}")
    if int(np.prod(image_shape)) != n_features:
        raise ValueError(f"image_shape={image_shape} has {np.prod(image_shape)} values, but a row has {n_features}.")


def mosaic(X: np.ndarray, image_shape: tuple[int, ...], limits: tuple[float, float]) -> np.ndarray:
    """Lay out rows of shape (n_down, n_across, n_features) as one picture, one pixel apart.

    Colours are brought to [0, 1] by the limits, with white between the images; one channel stays as it is, with NaN between.
    """
    n_down, n_across, _ = X.shape
    *channels, height, width = image_shape
    pixel: tuple[int, ...] = ()
    if channels == [3]:
        X, gap, pixel = np.clip((X - limits[0]) / max(limits[1] - limits[0], 1e-300), 0, 1), 1.0, (3,)
        images = np.moveaxis(X.reshape(n_down, n_across, 3, height, width), 2, -1)
    else:
        gap, images = np.nan, X.reshape(n_down, n_across, height, width)
    picture = np.full((n_down * (height + 1) - 1, n_across * (width + 1) - 1, *pixel), gap)
    for i, j in np.ndindex(n_down, n_across):
        top, left = i * (height + 1), j * (width + 1)
        picture[top : top + height, left : left + width] = images[i, j]
    return picture


def centers(n: int, size: int) -> np.ndarray:
    """Where the middle of each of n images lies that are one pixel apart."""
    return np.arange(n) * (size + 1) + (size - 1) / 2


def hide_frame(ax: Any) -> None:
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def feature_axis(ax: Any, names: np.ndarray, most: int = 30) -> None:
    """Name the columns on the x-axis if there is room for their names."""
    if len(names) > most:
        ax.set_xlabel("Column")
        return
    labels = [shortened(name) for name in names]
    upright = max(map(len, labels)) > 3 or len(labels) > most // 2
    ax.set_xticks(range(len(labels)), labels, rotation=90 if upright else 0, fontsize="small")


def names_height(names: np.ndarray, most: int = 30) -> float:
    """Inches that upright names take under an axis."""
    return 0.0 if len(names) > most else 0.07 * max(len(shortened(name)) for name in names)


def shortened(name: object) -> str:
    name = str(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def number(value: float, digits: int = 4) -> str:
    """A number with a true minus sign, as on matplotlib's axes."""
    return f"{value:.{digits}g}".replace("-", "−")

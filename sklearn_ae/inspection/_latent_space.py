"""LatentSpaceDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing, check_random_state

from sklearn_ae.inspection._common import (
    BLUE,
    COLORS,
    LINE_STYLES,
    MARKERS,
    WIDTH,
    as_table,
    check_matplotlib,
    classes_of,
    largest,
    make_axes,
    n_rows,
    one_per_row,
)

MOST_PANELS = 5  # components of a scatter matrix that is still readable
MOST_CLASSES = 20  # more different numbers are values
MOST_NAMED = 30  # classes in the legend


class LatentSpaceDisplay:
    """Where rows lie in the code, coloured by class, value or score.

    Two components are one scatter plot, more are a matrix of all pairs with histograms on its diagonal, and one is a histogram.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_components)
        The codes that are drawn.
    target : ndarray of shape (n_samples,), default=None
        What they are coloured by. None draws all alike.
    target_kind : {"class", "value"}, default="class"
        Whether `target` names classes (a legend) or is a quantity (a colour bar).
    target_name : str, default=None
        Title of the legend or the colour bar.
    component_names : sequence of str of length n_components, default=None
        Labels of the axes. None numbers them.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_components, n_components) or (1, 1)
        The panels; those above the diagonal are empty.
    ax_ : matplotlib Axes or None
        The panel, if there is only one.
    figure_ : matplotlib Figure

    See Also
    --------
    LatentTraversalDisplay : What each component does.

    Notes
    -----
    The members of a detector's ensemble have codes of their own, side by side. To look at one space of codes, take a transformer or
    ``n_estimators=1``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.inspection import LatentSpaceDisplay
    >>> iris = load_iris()
    >>> model = AutoencoderTransformer(2, random_state=0).fit(iris.data[::3])
    >>> LatentSpaceDisplay.from_estimator(model, iris.data, iris.target_names[iris.target])
    <...LatentSpaceDisplay object at ...>
    """

    def __init__(
        self,
        *,
        codes: np.ndarray,
        target: np.ndarray | None = None,
        target_kind: str = "class",
        target_name: str | None = None,
        component_names: ArrayLike | None = None,
    ):
        self.codes = codes
        self.target = target
        self.target_kind = target_kind
        self.target_name = target_name
        self.component_names = component_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike | str | None = None,
        *,
        kind: str = "auto",
        target_name: str | None = None,
        components: ArrayLike | None = None,
        max_samples: int | None = 5_000,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
        **kwargs,
    ) -> Self:
        """Encode rows and plot their codes.

        Parameters
        ----------
        estimator : object
            Fitted, with ``transform``: ours, PCA, or a Pipeline.
        X : array-like of shape (n_samples, n_features)
            Rows to encode.
        y : array-like of shape (n_samples,), "score" or None, default=None
            Classes or values to colour by; ``"score"`` is the estimator's ``score_samples``, higher is more normal.
        kind : {"auto", "class", "value"}, default="auto"
            ``"auto"`` takes numbers for values if they have fractions or if there are more than 20 different ones.
        target_name : str, default=None
            Title of the legend or the colour bar. None takes the name of a pandas Series.
        components : sequence of int, default=None
            Which components to draw. None draws all, but of more than 5 the 5 with the largest variance.
        max_samples : int or None, default=5_000
            Of more rows, so many are drawn at random. None draws all.
        random_state : int, RandomState instance or None, default=0
            Which rows those are.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure. One axes is divided if several panels are needed.
        **kwargs : dict
            Passed to matplotlib's ``scatter``.

        Returns
        -------
        display : LatentSpaceDisplay

        Raises
        ------
        ValueError
            If y is not one value for each row, or `kind` or `components` is not valid.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        n = n_rows(X)
        by_score = isinstance(y, str)
        if by_score and y != "score":
            raise ValueError(f"y must be one label or value for each row, or 'score', got {y!r}.")
        if y is not None and not by_score:
            target_name = getattr(y, "name", None) if target_name is None else target_name
            y = one_per_row(y, n, "y")
        if max_samples is not None and n > max_samples:
            rows = np.sort(check_random_state(random_state).permutation(n)[:max_samples])
            X, y = _safe_indexing(X, rows), y if y is None or by_score else np.asarray(y)[rows]
        if by_score:
            kind, target_name = "value", "score (higher is more normal)" if target_name is None else target_name
            y = estimator.score_samples(X)
        options = {"kind": kind, "target_name": target_name, "components": components, "ax": ax}
        return cls.from_predictions(np.asarray(estimator.transform(X)), y, **options, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        codes: ArrayLike,
        y: ArrayLike | None = None,
        *,
        kind: str = "auto",
        target_name: str | None = None,
        components: ArrayLike | None = None,
        ax: Any = None,
        **kwargs,
    ) -> Self:
        """Plot codes.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_components)
            What ``transform`` gave.
        y : array-like of shape (n_samples,), default=None
            Classes or values to colour by.
        kind : {"auto", "class", "value"}, default="auto"
            ``"auto"`` takes numbers for values if they have fractions or if there are more than 20 different ones.
        target_name : str, default=None
            Title of the legend or the colour bar. None takes the name of a pandas Series.
        components : sequence of int, default=None
            Which components to draw. None draws all, but of more than 5 the 5 with the largest variance.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure. One axes is divided if several panels are needed.
        **kwargs : dict
            Passed to matplotlib's ``scatter``.

        Returns
        -------
        display : LatentSpaceDisplay

        Raises
        ------
        ValueError
            If y is not one value for each row, or `kind` or `components` is not valid.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        codes = as_table(codes)
        n_components = codes.shape[1]
        if kind not in ("auto", "class", "value"):
            raise ValueError(f"kind must be 'auto', 'class' or 'value', got {kind!r}.")
        components = largest(codes.var(axis=0), MOST_PANELS) if components is None else np.atleast_1d(components).tolist()
        if not components or not all(0 <= component < n_components for component in components):
            raise ValueError(f"components={components} must be from 0 to {n_components - 1}: a code has {n_components}.")
        target = None
        if y is not None:
            target_name = getattr(y, "name", None) if target_name is None else target_name
            target = one_per_row(y, len(codes), "y")
            kind = _kind(target) if kind == "auto" else kind
        display = cls(
            codes=codes[:, components],
            target=target,
            target_kind="value" if kind == "value" else "class",
            target_name=target_name,
            component_names=[f"component {component}" for component in components],
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        **kwargs : dict
            Passed to matplotlib's ``scatter``.

        Returns
        -------
        display : LatentSpaceDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        n = self.codes.shape[1]
        n_panels = n if n > 2 else 1
        size = 1.9 * n_panels if n_panels > 1 else 4.6
        self.axes_ = make_axes(ax, n_panels, n_panels, (max(WIDTH, size), size))
        self.figure_ = self.axes_[0, 0].figure
        panel = self.axes_[0, 0]
        self.ax_ = panel if n_panels == 1 else None
        if n == 1:
            self._draw_histogram(panel, 0)
            panel.set(xlabel=self._name(0), ylabel="Rows")
            drawn = None
        elif n == 2:
            drawn = self._draw_scatter(panel, 0, 1, kwargs)
            panel.set(xlabel=self._name(0), ylabel=self._name(1))
        else:
            drawn = self._draw_matrix(kwargs)
        self._explain(drawn)
        return self

    def _name(self, component: int) -> str:
        return f"component {component}" if self.component_names is None else str(np.asarray(self.component_names)[component])

    def _groups(self) -> list[tuple[str | None, np.ndarray]]:
        if self.target is None or self.target_kind == "value":
            return [(None, np.ones(len(self.codes), dtype=bool))]
        return list(classes_of(np.asarray(self.target)))

    def _draw_matrix(self, kwargs: dict) -> Any:
        n, drawn = self.codes.shape[1], None
        for i, j in np.ndindex(n, n):
            panel: Any = self.axes_[i, j]
            if j > i:
                panel.set_axis_off()
                continue
            if i == j:
                self._draw_histogram(panel, i)
                panel.set_yticks([])
            else:
                drawn = self._draw_scatter(panel, j, i, kwargs)
            panel.tick_params(labelsize="small", labelbottom=i == n - 1, labelleft=j == 0 and i > 0)
            if i == n - 1:
                panel.set_xlabel(self._name(j))
            if j == 0:
                panel.set_ylabel(self._name(i) if i else "rows")
        return drawn

    def _draw_scatter(self, ax: Any, across: int, up: int, kwargs: dict) -> Any:
        drawn, size = None, float(np.clip(6_000 / max(1, len(self.codes)), 9, 28))
        for k, (name, rows) in enumerate(self._groups()):
            style: dict[str, Any] = {"s": size, "alpha": 0.8, "linewidths": 0, "label": name}
            if self.target is not None and self.target_kind == "value":
                style |= {"c": np.asarray(self.target, dtype=np.float64), "cmap": "viridis"}
            else:
                style |= {"color": COLORS[k % len(COLORS)], "marker": MARKERS[k % len(MARKERS)]}
            drawn = ax.scatter(self.codes[rows, across], self.codes[rows, up], **{**style, **kwargs})
        return drawn

    def _draw_histogram(self, ax: Any, component: int) -> None:
        edges = np.histogram_bin_edges(self.codes[:, component], bins=20)
        groups = self._groups()
        for k, (name, rows) in enumerate(groups):
            style: dict[str, Any] = {
                "histtype": "step",
                "color": COLORS[k % len(COLORS)],
                "linestyle": LINE_STYLES[k % len(LINE_STYLES)],
            }
            if len(groups) == 1:
                style = {"color": BLUE, "alpha": 0.7}
            ax.hist(self.codes[rows, component], bins=edges, label=name, **style)

    def _explain(self, drawn: Any) -> None:
        """A colour bar for values, a legend for classes; in a matrix it stands in the empty corner."""
        if self.target is None:
            return
        if self.target_kind == "value":
            if drawn is not None:
                self.figure_.colorbar(drawn, ax=self.axes_.ravel().tolist(), label=self.target_name or "", shrink=0.9)
            return
        handles, labels = self.axes_[-1, 0].get_legend_handles_labels()
        style = {"title": self.target_name}
        if len(labels) > MOST_NAMED:
            handles, labels = handles[:MOST_NAMED], labels[:MOST_NAMED]
            style["title"] = f"{self.target_name or 'classes'} (the first {MOST_NAMED})"
        if len(self.axes_) > 1:
            legend = self.axes_[0, -1].legend(handles, labels, loc="upper right", ncols=1 + (len(labels) - 1) // 8, **style)
        elif len(labels) > 6:
            legend = self.axes_[0, 0].legend(
                handles, labels, loc="center left", bbox_to_anchor=(1, 0.5), ncols=1 + (len(labels) - 1) // 15, **style
            )
        else:
            legend = self.axes_[0, 0].legend(handles, labels, **style)
        for handle in legend.legend_handles:
            if hasattr(handle, "set_sizes"):
                handle.set_sizes([36])  # small points are not told apart


def _kind(target: np.ndarray) -> str:
    if target.dtype.kind not in "iuf":
        return "class"
    present = target[~np.isnan(target)] if target.dtype.kind == "f" else target
    return "value" if (present % 1 != 0).any() or len(np.unique(present)) > MOST_CLASSES else "class"

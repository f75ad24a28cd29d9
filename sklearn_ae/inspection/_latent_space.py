"""LatentSpaceDisplay."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _num_samples

import sklearn_ae.inspection._common as common

MOST_PANELS = 5  # components of a scatter matrix that is still readable
MOST_CLASSES = 20  # more different numbers are values


@dataclass(kw_only=True, eq=False, repr=False)
class LatentSpaceDisplay(common.Display):
    """Where rows lie in the code, coloured by class, value or score.

    Two components are one scatter plot, more are a matrix of all pairs with histograms on its
    diagonal, and one is a histogram.

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
    ax_ : matplotlib Axes
        The first panel.
    figure_ : matplotlib Figure

    See Also
    --------
    LatentTraversalDisplay : What each component does.

    Notes
    -----
    The members of a detector's ensemble have codes of their own, side by side. To look at one space
    of codes, take a transformer or ``n_estimators=1``.

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

    codes: np.ndarray
    target: np.ndarray | None = None
    target_kind: str = "class"
    target_name: str | None = None
    component_names: ArrayLike | None = None

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
            Classes or values to colour by; ``"score"`` is the estimator's ``score_samples``, higher
            is more normal.
        kind : {"auto", "class", "value"}, default="auto"
            ``"auto"`` takes numbers for values if they have fractions or if there are more than 20
            different ones.
        target_name : str, default=None
            Title of the legend or the colour bar. None takes the name of a pandas Series.
        components : sequence of int, default=None
            Which components to draw. None draws all, but of more than 5 the 5 with the largest
            variance.
        max_samples : int or None, default=5_000
            Maximum number of rows to draw; a random subset is drawn if there are more. None draws
            all.
        random_state : int, RandomState instance or None, default=0
            Which rows those are.
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure. One axes is divided if several panels are
            needed.
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
        cls._check_matplotlib()
        n, by_score, name = _num_samples(X), isinstance(y, str), getattr(y, "name", None)
        if by_score and y != "score":
            wanted = "one label or value for each row, or 'score'"
            raise ValueError(f"y must be {wanted}, got {y!r}.")
        y = None if by_score else common.one_per_row(y, n, "y")
        if max_samples is not None and n > max_samples:
            rows = np.sort(check_random_state(random_state).permutation(n)[:max_samples])
            X, y = _safe_indexing(X, rows), None if y is None else y[rows]
        if by_score:
            kind, name, y = "value", "score (higher is more normal)", estimator.score_samples(X)
        target_name = name if target_name is None else target_name
        options = {"kind": kind, "target_name": target_name, "components": components, "ax": ax}
        return cls.from_predictions(estimator.transform(X), y, **options, **kwargs)

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
        """Plot codes, and return the display.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_components)
            What ``transform`` gave.
        y : array-like of shape (n_samples,), default=None
            Classes or values to colour by.
        kind, target_name, components, ax, **kwargs
            As in `from_estimator`.

        Raises
        ------
        ValueError
            If y is not one value for each row, or `kind` or `components` is not valid.
        """
        if kind not in ("auto", "class", "value"):
            raise ValueError(f"kind must be 'auto', 'class' or 'value', got {kind!r}.")
        codes = common.as_table(codes)
        components = common.chosen(components, codes.var(axis=0), MOST_PANELS)
        target = common.one_per_row(y, len(codes), "y")
        display = cls(
            codes=codes[:, components],
            target=target,
            target_kind=_kind(target) if kind == "auto" or target is None else kind,
            target_name=getattr(y, "name", None) if target_name is None else target_name,
            component_names=[f"component {component}" for component in components],
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs) -> Self:
        """Draw, and return the display.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Where to draw. None makes a new figure.
        **kwargs : dict
            Passed to matplotlib's ``scatter``.
        """
        n, names, drawn = self.codes.shape[1], self.component_names, None
        names = [f"component {k}" for k in range(n)] if names is None else np.asarray(names)
        size, height = (n, 1.9 * n) if n > 2 else (1, 4.6)
        panels = self._open(ax, (size, size), (max(common.WIDTH, 1.9 * n), height))
        for (i, j), panel in np.ndenumerate(panels):
            across, up = (j, i) if n > 2 else (0, n - 1)
            if j > i:
                panel.set_axis_off()
                continue
            drawn = self._draw(panel, across, up, kwargs) or drawn
            if i == size - 1:
                panel.set_xlabel(names[across])
            if j == 0:
                panel.set_ylabel("rows" if up == across else names[up])
            if n > 2:
                panel.tick_params(labelbottom=i == n - 1, labelleft=j == 0 < i, left=i > j)
        corner = panels[0, -1]  # empty in a matrix
        if self.target_kind == "value":
            left, style = (
                0.1 if n > 2 else 1.04,
                {"label": self.target_name or "", "extend": "both"},
            )
            if drawn is not None:  # not for a histogram alone
                common.add_color_bar(corner, drawn, left, **style)
        elif self.target is not None:
            place = {"loc": "upper right", "bbox_to_anchor": None} if n > 2 else {}
            self._add_legend(corner, title=self.target_name, **place)
        return self._finish()

    def _draw(self, ax: Any, across: int, up: int, kwargs: dict) -> Any:
        """A scatter plot of two components, a histogram of one."""
        classes, drawn = None if self.target_kind == "value" else self.target, None
        groups = list(common.classes_of(classes, len(self.codes)))
        edges = np.histogram_bin_edges(self.codes[:, across], bins=20)
        for k, (name, rows) in enumerate(groups):
            x, y = self.codes[rows][:, [across, up]].T
            style: dict[str, Any] = {"label": name, **common.look(k, "color")}
            if across == up:
                outlines = {"histtype": "step", **common.look(k, "linestyle")}
                ax.hist(x, edges, **style, **({"alpha": 0.7} if len(groups) == 1 else outlines))
                continue
            if self.target_kind == "value":  # a few extreme values do not decide the colours
                values = np.asarray(self.target, dtype=np.float64)
                low, high = np.nanquantile(values, [0.01, 0.99])
                limits = {} if "norm" in kwargs else {"vmin": low, "vmax": high}
                style = {"c": values, "cmap": "viridis", **limits}
            style |= {"s": np.clip(6_000 / len(self.codes), 9, 28), **common.look(k, "marker")}
            drawn = ax.scatter(x, y, **{"alpha": 0.8, "linewidths": 0, **style, **kwargs})
        return drawn


def _kind(target: np.ndarray | None) -> str:
    if target is None or target.dtype.kind not in "iuf":
        return "class"
    present = target[~np.isnan(target)]
    fractions = (present % 1 != 0).any()
    return "value" if fractions or len(np.unique(present)) > MOST_CLASSES else "class"

"""ExplainedVarianceDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed

from sklearn_ae.inspection._common import BLUE, RED, as_table, check_matplotlib, last_step, make_axes, n_rows, one_per_row
from sklearn_ae.metrics import reconstruction_r2_scorer

LOG_RATIO = 8


class ExplainedVarianceDisplay:
    """The variance that codes of several lengths explain on rows held out, beside PCA's.

    Where the curve bends, a longer code brings little. Where it lies on PCA's, the data have no bend to learn, or too few rows
    to learn it from: PCA is as good and faster.

    Parameters
    ----------
    n_components : ndarray of shape (n_lengths,)
        Lengths of the codes.
    scores : ndarray of shape (n_lengths,)
        Share of the variance explained by each, at most 1: see :func:`sklearn_ae.metrics.reconstruction_r2_score`.
    pca_scores : ndarray of shape (n_lengths,), default=None
        The same for PCA; NaN where PCA has no such length. None draws none.
    name : str, default=None
        Name in the legend.

    Attributes
    ----------
    line_, pca_line_ : matplotlib Line2D, the second may be None
        What was drawn.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    sklearn_ae.metrics.reconstruction_r2_scorer : The same measure for a search.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.inspection import ExplainedVarianceDisplay
    >>> X, _ = load_iris(return_X_y=True)
    >>> display = ExplainedVarianceDisplay.from_estimator(AutoencoderTransformer(random_state=0), X[::3], n_components=[1, 2])
    >>> display.scores.shape
    (2,)
    """

    def __init__(
        self, *, n_components: np.ndarray, scores: np.ndarray, pca_scores: np.ndarray | None = None, name: str | None = None
    ):
        self.n_components = n_components
        self.scores = scores
        self.pca_scores = pca_scores
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_components: ArrayLike | None = None,
        pca: bool = True,
        test_size: float = 0.25,
        random_state: int | np.random.RandomState | None = 0,
        n_jobs: int | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs,
    ) -> Self:
        """Train a clone for each length of the code and plot what it explains of rows held out.

        The rows are divided once, at random. Each clone is trained on one part, and its
        :func:`~sklearn_ae.metrics.reconstruction_r2_score` is computed on the other. PCA is trained and scored on the same rows,
        after a StandardScaler; in a pipeline, both take the place of the last step.

        Parameters
        ----------
        estimator : AutoencoderTransformer, AutoencoderOutlierDetector or Pipeline that ends in one
            It is cloned, and need not be fitted.
        X : array-like of shape (n_samples, n_features)
            Data.
        n_components : sequence of int, default=None
            Lengths of the codes. None takes 1, 2, 4, 8, ... up to the number of columns, at most 64.
        pca : bool, default=True
            Whether to draw PCA as well. It needs data without gaps.
        test_size : float, default=0.25
            Share of the rows that are held out.
        random_state : int, RandomState instance or None, default=0
            How the rows are divided. It does not seed the estimator.
        n_jobs : int or None, default=None
            Processes that train clones at the same time, as in scikit-learn.
        name : str, default=None
            Name in the legend. None takes the name of the class.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : ExplainedVarianceDisplay

        Raises
        ------
        ValueError
            If the rows held out do not vary, a length is not at least 1, or PCA is given data with gaps.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        train, test = train_test_split(np.arange(n_rows(X)), test_size=test_size, random_state=random_state)
        train, test = _safe_indexing(X, train), _safe_indexing(X, test)
        lengths = _lengths(np.shape(X)[1]) if n_components is None else np.atleast_1d(n_components)
        if lengths.dtype.kind not in "iu" or (lengths < 1).any():
            raise ValueError(f"n_components must be whole numbers of at least 1, got {lengths.tolist()}.")
        models = [clone(estimator).set_params(**{_name_of_length(estimator): int(length)}) for length in lengths]
        pca_scores = np.array([_pca_score(estimator, int(length), train, test) for length in lengths]) if pca else None
        scores = Parallel(n_jobs=n_jobs)(delayed(_score)(model, train, test) for model in models)
        display = cls(
            n_components=lengths,
            scores=np.array(scores),
            pca_scores=pca_scores,
            name=type(last_step(estimator)).__name__ if name is None else name,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, kind: str = "explained", **kwargs) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        kind : {"explained", "error"}, default="explained"
            The share of variance explained, or the share that is not, on a logarithmic axis: there, small errors can be compared.
        **kwargs : dict
            Passed to matplotlib's ``plot`` for both curves.

        Returns
        -------
        display : ExplainedVarianceDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        if kind not in ("explained", "error"):
            raise ValueError(f"kind must be 'explained' or 'error', got {kind!r}.")
        lengths = np.asarray(self.n_components)
        scores = one_per_row(self.scores, len(lengths), "scores")
        drawn = (lambda share: share) if kind == "explained" else (lambda share: 1 - share)
        self.ax_ = ax = make_axes(ax)[0, 0]
        self.figure_ = ax.figure
        self.pca_line_ = None
        if self.pca_scores is not None:
            style = {"color": RED, "linestyle": "--", "marker": "s", "label": "PCA", **kwargs}
            (self.pca_line_,) = ax.plot(lengths, drawn(one_per_row(self.pca_scores, len(lengths), "pca_scores")), **style)
        style = {"color": BLUE, "marker": "o", "label": self.name or "autoencoder", **kwargs}
        (self.line_,) = ax.plot(lengths, drawn(scores), **style)
        if lengths.max() > LOG_RATIO * lengths.min():
            ax.set_xscale("log", base=2)
        ax.set_xticks(lengths, [str(length) for length in lengths])
        ax.minorticks_off()
        ax.set_xlabel("Components (length of the code)")
        ax.set_ylabel(
            "Share of variance explained\n(rows held out)" if kind == "explained" else "Share of variance lost\n(rows held out)"
        )
        if kind == "error":
            ax.set_yscale("log")
        ax.legend()
        return self


def _lengths(n_features: int) -> np.ndarray:
    return 2 ** np.arange(int(np.log2(min(n_features, 64))) + 1)


def _name_of_length(estimator: Any) -> str:
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return f"{name}__{_name_of_length(last)}"
    return "n_components"


def _score(model: Any, train: Any, test: Any) -> float:
    return reconstruction_r2_scorer(model.fit(train), test)


def _pca_score(estimator: Any, length: int, train: Any, test: Any) -> float:
    if isinstance(estimator, Pipeline):
        steps = [(name, step if step in (None, "passthrough") else clone(step)) for name, step in estimator.steps[:-1]]
        before = Pipeline(steps) if steps else None
    else:
        before = None
    seen = train if before is None else before.fit_transform(train)
    sparse, seen = issparse(seen), as_table(seen)
    if np.isnan(seen).any():
        raise ValueError("PCA needs data without gaps: pass pca=False, or a pipeline with an imputer.")
    if length > min(seen.shape):
        return np.nan
    model = make_pipeline(*([] if before is None else [before]), StandardScaler(with_mean=not sparse), PCA(length, random_state=0))
    return _score(model, train, test)

"""ExplainedVarianceDisplay."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.parallel import Parallel, delayed

from sklearn_ae.inspection._common import BLUE, RED, Display, as_table, one_per_row
from sklearn_ae.metrics import reconstruction_r2_scorer

LOG_RATIO = 8  # lengths over more than this are drawn on a logarithmic axis
MOST_TICKS = 8
LEAST_LOST = 1e-6  # a share that is less is drawn as this: on a logarithmic axis there is no 0


@dataclass(kw_only=True, eq=False, repr=False)
class ExplainedVarianceDisplay(Display):
    """The variance that codes of several lengths explain on rows held out, beside PCA's.

    Where the curve bends, a longer code brings little. Where it lies on PCA's, the data have no
    bend to learn, or too few rows to learn it from: PCA is as good and faster.

    Parameters
    ----------
    n_components : ndarray of shape (n_lengths,)
        Lengths of the codes.
    scores : ndarray of shape (n_lengths,)
        Share of the variance explained by each, at most 1: see
        :func:`sklearn_ae.metrics.reconstruction_r2_score`.
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
    >>> model = AutoencoderTransformer(random_state=0)
    >>> display = ExplainedVarianceDisplay.from_estimator(model, X[::3], n_components=[1, 2])
    >>> display.scores.shape
    (2,)
    """

    n_components: np.ndarray
    scores: np.ndarray
    pca_scores: np.ndarray | None = None
    name: str | None = None

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
        :func:`~sklearn_ae.metrics.reconstruction_r2_score` is computed on the other. PCA is trained
        and scored on the same rows, after a StandardScaler; in a pipeline, both take the place of
        the last step.

        Parameters
        ----------
        estimator : AutoencoderTransformer, AutoencoderOutlierDetector or Pipeline
            It is cloned, and need not be fitted. A Pipeline ends in one.
        X : array-like of shape (n_samples, n_features)
            Data.
        n_components : sequence of int, default=None
            Lengths of the codes. None takes 1, 2, 4, ... up to the number of columns, at most 64.
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
            If the rows held out do not vary, a length is not at least 1, or PCA is given data with
            gaps.
        """
        _, last = cls._steps(estimator)
        if n_components is None:
            n_components = 2 ** np.arange(min(np.shape(X)[1], 64).bit_length())
        lengths = np.atleast_1d(n_components)
        if lengths.dtype.kind not in "iu" or (lengths < 1).any():
            wanted = "whole numbers of at least 1"
            raise ValueError(f"n_components must be {wanted}, got {lengths.tolist()}.")
        train, test = train_test_split(X, test_size=test_size, random_state=random_state)
        pca_scores = _pca_scores(clone(estimator), lengths, train, test) if pca else None
        key = _name_of_length(estimator)
        models = [clone(estimator).set_params(**{key: int(length)}) for length in lengths]
        scores = Parallel(n_jobs=n_jobs)(delayed(_score)(model, train, test) for model in models)
        display = cls(
            n_components=lengths,
            scores=np.array(scores),
            pca_scores=pca_scores,
            name=type(last).__name__ if name is None else name,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, kind: str = "explained", **kwargs) -> Self:
        """Draw, and return the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        kind : {"explained", "error"}, default="explained"
            The share of variance explained, or the share that is not, on a logarithmic axis: there,
            small errors can be compared.
        **kwargs : dict
            Passed to matplotlib's ``plot`` for both curves.
        """
        if kind not in ("explained", "error"):
            raise ValueError(f"kind must be 'explained' or 'error', got {kind!r}.")
        ax, lengths = self._open(ax)[0, 0], np.asarray(self.n_components)
        pca = {"color": RED, "linestyle": "--", "marker": "s", "label": "PCA"}
        ours = {"color": BLUE, "marker": "o", "label": self.name or "autoencoder"}
        lines = []
        for name, style in (("pca_scores", pca), ("scores", ours)):
            scores = one_per_row(getattr(self, name), len(lengths), name)
            if kind == "error" and scores is not None:
                scores = np.maximum(1 - scores, LEAST_LOST)
            style = {**style, **kwargs}
            lines.append(None if scores is None else ax.plot(lengths, scores, **style)[0])
        self.pca_line_, self.line_ = lines
        low, high, log = lengths.min(), lengths.max(), lengths.max() > LOG_RATIO * lengths.min()
        even = (np.geomspace if log else np.linspace)(low, high, MOST_TICKS)
        ticks = np.unique(lengths[np.abs(lengths - even[:, np.newaxis]).argmin(axis=1)])
        ax.set_xscale("log" if log else "linear")
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.set_xticks([], minor=True)
        what = "explained" if kind == "explained" else "lost"
        ax.set_xlabel("Components (length of the code)")
        ax.set_ylabel(f"Variance {what}\n(share, rows held out)")
        if kind == "error":
            ax.set_yscale("log")
        self._add_legend(ax, loc="best")
        return self._finish()


def _name_of_length(estimator: Any) -> str:
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return f"{name}__{_name_of_length(last)}"
    return "n_components"


def _score(model: Any, train: Any, test: Any) -> float:
    return reconstruction_r2_scorer(model.fit(train), test)


def _pca_scores(estimator: Any, lengths: np.ndarray, train: Any, test: Any) -> np.ndarray:
    steps = estimator.steps[:-1] if isinstance(estimator, Pipeline) else []
    before = Pipeline([*steps, ("scale", StandardScaler(with_mean=False))])  # PCA takes the mean
    seen = as_table(before.fit_transform(train))
    if np.isnan(seen).any():
        way_out = "pass pca=False, or a pipeline with an imputer"
        raise ValueError(f"PCA needs data without gaps: {way_out}.")
    scores = np.full(len(lengths), np.nan)
    for i in np.flatnonzero(lengths <= min(seen.shape)):
        model = make_pipeline(before, PCA(int(lengths[i]), random_state=0))
        scores[i] = _score(model, train, test)
    return scores

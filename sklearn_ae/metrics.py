r"""Metrics, and scorers for ``scoring=`` in a search or a cross-validation.

``estimator.score`` is minus the training loss on scaled data: it cannot compare one ``loss`` or
``scaling`` with another. The scorers here can, and they compare other estimators as well:

- ``reconstruction_r2_scorer`` needs no labels: the share of each column's variance that comes back
  from the code.
- ``make_outlier_scorer`` needs labels, and is told which of them is the outlier.

Examples
--------
>>> from sklearn.datasets import load_iris
>>> from sklearn.decomposition import PCA
>>> from sklearn.model_selection import KFold, cross_val_score
>>> from sklearn_ae.metrics import reconstruction_r2_scorer
>>> X, _ = load_iris(return_X_y=True)
>>> cv = KFold(3, shuffle=True, random_state=0)
>>> cross_val_score(PCA(1), X, scoring=reconstruction_r2_scorer, cv=cv).round(2)
array([0.71, 0.69, 0.71])
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from sklearn_ae.pipelines import flat_steps, reconstructed_by, way_back

__all__ = [
    "make_outlier_scorer",
    "outlier_average_precision_scorer",
    "outlier_roc_auc_scorer",
    "reconstruction_r2_score",
    "reconstruction_r2_scorer",
]

OUTLIER_METRICS = {"average_precision": average_precision_score, "roc_auc": roc_auc_score}
ALMOST_EQUAL = (
    10  # a column whose values differ by less than so many times their rounding error is constant
)


# Reconstruction


def reconstruction_r2_score(
    X: ArrayLike, X_reconstructed: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    r"""The share of variance explained by a reconstruction, in the mean over columns.

    .. math::

        R^2 = \frac1d \sum_j \Big[1 - \frac{\sum_i w_i (x_{ij} - \hat x_{ij})^2}
        {\sum_i w_i (x_{ij} - \bar x_j)^2}\Big]

    Mean and variance of each column are those of the X given, so that they do not depend on a
    model, and every column counts the same whatever its unit. Entries of X that are NaN are left
    out of all sums; columns that are constant are left out of the mean. Without gaps and constant
    columns this is ``sklearn.metrics.r2_score``.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The data. A sparse matrix is made dense. NaN stands for what was not observed.
    X_reconstructed : {array-like, sparse matrix} of shape (n_samples, n_features)
        What came back, in the same units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows. None counts all the same.

    Returns
    -------
    score : float
        1 is perfect. 0 is what the column means give. It can be negative.

    Raises
    ------
    ValueError
        If the shapes differ, or no column of X varies.

    Examples
    --------
    >>> from sklearn_ae.metrics import reconstruction_r2_score
    >>> # the first column is perfect, the second is its mean
    >>> reconstruction_r2_score([[0, 0], [2, 200]], [[0, 100], [2, 100]])
    0.5
    """
    X = _dense(X, "X")
    X_reconstructed = _dense(X_reconstructed, "X_reconstructed")
    if X.shape != X_reconstructed.shape:
        raise ValueError(
            f"X_reconstructed must have the shape of X, {X.shape}, got {X_reconstructed.shape}."
        )
    weight = (
        np.ones(len(X)) if sample_weight is None else column_or_1d(sample_weight, dtype=np.float64)
    )
    check_consistent_length(X, weight)
    varies = _varies(X[weight > 0])
    if not varies.any():
        raise ValueError(
            f"No column of X varies over its {len(X)} rows, so there is no variance to explain; "
            "give more rows."
        )
    X, X_reconstructed = (
        X[:, varies].astype(np.float64),
        X_reconstructed[:, varies].astype(np.float64),
    )
    weights = np.where(np.isnan(X), 0.0, weight[:, np.newaxis])
    values = np.nan_to_num(X)
    middle = np.average(values, axis=0, weights=weights)
    total = (weights * (values - middle) ** 2).sum(axis=0)
    residual = (weights * np.where(weights > 0, values - X_reconstructed, 0.0) ** 2).sum(axis=0)
    return float(np.mean(1 - residual / total))


def _dense(X: Any, name: str) -> np.ndarray:
    X = X.toarray() if issparse(X) else X
    return check_array(
        X, dtype=(np.float64, np.float32), ensure_all_finite="allow-nan", input_name=name
    )


def _varies(X: np.ndarray) -> np.ndarray:
    """Mask of shape (n_features,): columns that are not constant, apart from NaN and rounding."""
    present = ~np.isnan(X)
    low = np.min(X, axis=0, where=present, initial=np.inf)
    high = np.max(X, axis=0, where=present, initial=-np.inf)
    rounding = ALMOST_EQUAL * np.finfo(X.dtype).eps * np.maximum(np.abs(low), np.abs(high))
    return present.any(axis=0) & ~(high - low <= rounding)


class _ReconstructionR2Scorer:
    """``scorer(estimator, X)``: `reconstruction_r2_score` of what the estimator makes of X."""

    def __call__(
        self,
        estimator: BaseEstimator,
        X: Any,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted, with ``reconstruct``, or with ``transform`` and ``inverse_transform``, or a
            Pipeline that ends in one.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that it has not been trained on.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            1 is perfect, 0 is what the column means give.

        Raises
        ------
        TypeError
            If the estimator cannot reconstruct.
        ValueError
            If no column of X varies.
        """
        return reconstruction_r2_score(
            *original_and_reconstructed(estimator, X), sample_weight=sample_weight
        )

    def _accept_sample_weight(self) -> bool:  # asked by scikit-learn's searches
        return True

    def __repr__(self) -> str:
        return "reconstruction_r2_scorer"

    def __reduce__(self) -> str:
        return "reconstruction_r2_scorer"  # there is only one


def original_and_reconstructed(estimator: BaseEstimator, X: Any) -> tuple[Any, Any]:
    """The data and what came back, in the data's units: through a pipeline and back as far as its
    steps can be inverted.
    """
    *steps, last = flat_steps(estimator)
    original, seen, inverses = way_back(steps, X)
    reconstructed = reconstructed_by(last, seen)
    for inverse in inverses:
        reconstructed = inverse(reconstructed)
    return original, reconstructed


reconstruction_r2_scorer = _ReconstructionR2Scorer()


# Outliers


def make_outlier_scorer(
    metric: str = "roc_auc", *, outlier_label: object = None
) -> "OutlierScorer":
    """Make a scorer that ranks outliers by labels of any kind.

    scikit-learn's ``scoring="roc_auc"`` takes the greater of two labels for the positive class.
    Labels of 0 for inliers and 1 for outliers, and many words, are then silently reversed: the
    search prefers the worst detector. This scorer is told which label is the outlier.

    Parameters
    ----------
    metric : {"roc_auc", "average_precision"}, default="roc_auc"
        ``"roc_auc"`` is the chance that a random outlier is ranked above a random inlier: 0.5 is
        guessing. ``"average_precision"`` is the precision of the alarms, averaged over recall:
        guessing gives the share of outliers. It tells more where outliers are few and only the
        first alarms are looked at.
    outlier_label : int, float, bool or str, default=None
        The label of outliers in y; all other labels are inliers. None takes scikit-learn's
        convention, -1 for outliers and 1 for inliers, and refuses all other labels.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)`` gives a float, higher is better. The estimator needs
        ``score_samples`` or ``decision_function``, lower for outliers, as all of scikit-learn's
        detectors have them.

    Raises
    ------
    ValueError
        If `metric` is neither of the two. When called: if y does not tell which rows are outliers,
        or holds only one class.

    See Also
    --------
    outlier_roc_auc_scorer : For y of -1 and 1, ready made.
    outlier_average_precision_scorer : The same.

    Notes
    -----
    A detector is no classifier, so that ``cv=5`` does not spread the outliers over the folds. Pass
    ``cv=StratifiedKFold(5)``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import StratifiedKFold, cross_val_score
    >>> from sklearn.neighbors import LocalOutlierFactor
    >>> from sklearn_ae.metrics import make_outlier_scorer
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(size=(90, 2)), rng.uniform(4, 6, size=(10, 2))]
    >>> y = np.array(["fine"] * 90 + ["fraud"] * 10)
    >>> scorer = make_outlier_scorer("average_precision", outlier_label="fraud")
    >>> scorer
    make_outlier_scorer('average_precision', outlier_label='fraud')
    >>> detector, cv = LocalOutlierFactor(novelty=True), StratifiedKFold(2)
    >>> cross_val_score(detector, X, y, scoring=scorer, cv=cv).round(2)
    array([1., 1.])
    """
    return OutlierScorer(metric, outlier_label)


class OutlierScorer:
    """What `make_outlier_scorer` makes."""

    def __init__(self, metric: str, outlier_label: object):
        if metric not in OUTLIER_METRICS:
            raise ValueError(f"metric must be one of {sorted(OUTLIER_METRICS)}, got {metric!r}.")
        self.metric = metric
        self.outlier_label = outlier_label

    def __call__(
        self, estimator: BaseEstimator, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Score a fitted detector.

        Parameters
        ----------
        estimator : object
            Fitted, with ``score_samples`` or ``decision_function``, lower for outliers.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to rank.
        y : array-like of shape (n_samples,)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float

        Raises
        ------
        TypeError
            If the estimator cannot rank outliers.
        ValueError
            If y does not tell which rows are outliers, or holds only one class.
        """
        outliers = _find_outliers(y, self.outlier_label)
        return float(
            OUTLIER_METRICS[self.metric](
                outliers, _outlyingness(estimator, X), sample_weight=sample_weight
            )
        )

    def _accept_sample_weight(self) -> bool:  # asked by scikit-learn's searches
        return True

    def __repr__(self) -> str:
        label = "" if self.outlier_label is None else f", outlier_label={self.outlier_label!r}"
        return f"make_outlier_scorer({self.metric!r}{label})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OutlierScorer) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


def _outlyingness(estimator: BaseEstimator, X: Any) -> np.ndarray:
    if is_classifier(estimator):
        raise TypeError(
            f"{type(estimator).__name__} is a classifier, not an outlier detector: use "
            "scoring='roc_auc'."
        )
    for method in ("score_samples", "decision_function"):
        if hasattr(estimator, method):
            return np.negative(getattr(estimator, method)(X))
    raise TypeError(
        f"{type(estimator).__name__} has neither score_samples nor decision_function, so it cannot "
        "rank outliers."
    )


def _find_outliers(y: Any, outlier_label: object) -> np.ndarray:
    """Which rows are outliers: a mask of shape (n_samples,), of which some are and some are not."""
    if y is None:
        raise ValueError(
            "An outlier scorer needs labels: pass y. Without labels, use reconstruction_r2_scorer."
        )
    y = column_or_1d(y)
    labels = y.tolist()
    found = sorted(set(labels), key=lambda label: (str(type(label)), str(label)))
    if any(label is None or label != label for label in found):  # NaN differs from itself
        raise ValueError("y has missing labels; leave those rows out.")
    shown = f"{found[:10]}{' and more' if len(found) > 10 else ''}"
    if outlier_label is None:
        if not set(found) <= {-1, 1} or y.dtype.kind == "b":
            raise ValueError(
                f"y holds {shown}, and it is not clear which is the outlier: name it, "
                f"make_outlier_scorer(..., outlier_label={found[-1]!r}) for example. Only -1 "
                "(outlier) and 1 (inlier) need no name."
            )
        outlier_label = -1
    outliers = np.array([label == outlier_label for label in labels], dtype=bool)
    if outliers.all() or not outliers.any():
        raise ValueError(
            f"Outliers have the label {outlier_label!r}, but y holds {shown}: both outliers and "
            "inliers are needed. If this is a fold of a cross-validation, cv=StratifiedKFold() "
            "gives each fold its share of them."
        )
    return outliers


outlier_roc_auc_scorer = make_outlier_scorer("roc_auc")
outlier_average_precision_scorer = make_outlier_scorer("average_precision")

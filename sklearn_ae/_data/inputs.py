"""What users hand to an estimator, checked and made a source of rows."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_array, validate_data
from torch import Tensor

from sklearn_ae._data.columns import refuse_columns
from sklearn_ae._data.on_disk import DiskSource, is_on_disk
from sklearn_ae._data.scaling import FLOAT32
from sklearn_ae._data.sources import ArraySource, Source, SparseSource, TensorSource
from sklearn_ae._torch import plain_torch

FEW_OUTLIERS = 0.4  # share of rows; classes of about equal size are not labels of outliers


@plain_torch()
def as_source(
    estimator: BaseEstimator, X: Any, sample_weight: Any = None, reset: bool = False
) -> Source:
    """The rows of X that have a weight, as a source.

    Parameters
    ----------
    estimator : BaseEstimator
        Whose ``n_features_in_`` and ``feature_names_in_`` are checked, or set if `reset`.
    X : array-like, sparse matrix, tensor, or rows on disk, of shape (n_samples, n_features)
    sample_weight : array-like of shape (n_samples,) or None
    reset : bool
        Whether this is what the estimator is fitted on.

    Raises
    ------
    ValueError
        If X is not a table of numbers (NaN is allowed), or its features are not those of the fit;
        if a weight is negative, or all are zero; if `reset` and a feature has no observed value.
    TypeError
        If columns hold dates.
    """
    source = checked_source(estimator, X, reset)
    if sample_weight is not None:
        source = weighted_source(source, sample_weight)
    if reset:
        check_observed(source)
    return source


def checked_source(estimator: BaseEstimator, X: Any, reset: bool) -> Source:
    if is_on_disk(X):
        refuse_columns(X)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        if min(X.shape) < 1:
            raise ValueError(
                f"X has shape {tuple(X.shape)}; at least one row and one feature are required."
            )
        return DiskSource(X)
    refuse_columns(X)
    refuse_frames(X)
    X = plain_array(X)
    X = validate_data(
        estimator,
        X,
        dtype=precisions(X),
        ensure_all_finite="allow-nan",
        accept_sparse="csr",
        reset=reset,
    )
    return SparseSource(X) if issparse(X) else in_memory(X)


def refuse_frames(X: Any) -> None:
    """Raise an error for data frames in which there is nothing to read."""
    if type(X).__name__ == "LazyFrame":
        raise TypeError("X is a LazyFrame, which holds no rows yet; pass X.collect().")
    if hasattr(X, "iloc") and hasattr(X, "columns") and not len(X.columns):
        raise ValueError(f"X has 0 feature(s) (shape={X.shape}) while a minimum of 1 is required.")


@plain_torch()
def codes_source(Z: Any, n_components: int) -> Source:
    """Codes as a source.

    Raises
    ------
    ValueError
        If they are not finite numbers, or not as long as the network's.
    """
    Z = plain_array(Z)
    Z = check_array(Z, dtype=precisions(Z), input_name="Z")
    if Z.shape[1] != n_components:
        raise ValueError(
            f"Z has {Z.shape[1]} columns, but codes have {n_components}; pass what transform gives."
        )
    return in_memory(Z)


def plain_array(X: Any) -> Any:
    """A tensor as an array of its precision, unless scikit-learn is to take it as it is; objects
    with NaN where they are None or ``pd.NA``; anything else as it is.
    """
    if isinstance(X, Tensor) and not is_tensor(X):
        # a precision that numpy lacks
        return (X.float() if X.dtype is torch.bfloat16 else X).numpy(force=True)
    if isinstance(X, np.ndarray) and X.dtype == object:
        return with_nan(X)
    if (
        hasattr(X, "iloc")
        and hasattr(X, "columns")
        and any(dtype.kind == "O" for dtype in X.dtypes)
    ):
        return X.mask(X.isna(), np.nan)
    return X


def with_nan(X: np.ndarray) -> np.ndarray:
    """Objects, with NaN in the place of None and ``pd.NA``."""
    nothing = np.frompyfunc(lambda x: x is None or type(x).__name__ == "NAType", 1, 1)(X)
    return np.where(np.asarray(nothing, bool), np.nan, X)


def precisions(X: Any) -> tuple:
    return (torch.float64, torch.float32) if is_tensor(X) else (np.float64, np.float32)


def in_memory(X: np.ndarray | Tensor) -> Source:
    return TensorSource(X) if isinstance(X, Tensor) else ArraySource(X)


def weighted_source(source: Source, sample_weight: Any) -> Source:
    """The rows whose weight is not zero, with their weights."""
    weight = _check_sample_weight(
        sample_weight, np.empty((source.n_rows, 1)), dtype=np.float64, ensure_non_negative=True
    )
    if not weight.any():
        raise ValueError(
            "sample_weight is zero for every row, so there is nothing to train on; give some row a "
            "weight over 0."
        )
    smallest, largest = FLOAT32
    if weight.max() > largest or weight[weight > 0].min() < smallest:
        weight = weight / weight.max()
        weight = np.where(weight > 0, np.maximum(weight, smallest), 0)
    source.weight = torch.from_numpy(weight.astype(np.float32))
    if not weight.all():
        source = source.subset(np.flatnonzero(weight))
    if (weight[weight > 0] == 1).all():
        source.weight = None
    return source


def check_observed(source: Source) -> None:
    """Raise ValueError if a feature has no observed value."""
    if not source.has_gaps:
        return
    observed = np.zeros(source.n_features, np.int64)
    for block in source.blocks():
        observed += len(block.x) if block.mask is None else block.mask.sum(0).cpu().numpy()
    empty = np.flatnonzero(observed == 0)
    if len(empty):
        raise ValueError(
            f"X has only missing values in column {', '.join(map(str, empty))}; drop what was "
            "never observed."
        )


def is_tensor(X: Any) -> bool:
    """Whether X is a tensor that scikit-learn is to take as it is (its setting
    ``array_api_dispatch``).
    """
    return isinstance(X, Tensor) and get_config()["array_api_dispatch"]


def reversing_labels(y: ArrayLike | None) -> str | None:
    """The two labels in y, if outliers seem to be the greater one: they are few, and the labels are
    not -1 and 1.

    scikit-learn's scorers take the greater of two labels for the positive class, so inliers must
    have it: 1, with -1 for outliers.
    """
    try:
        labels = np.asarray(y)
        found = (
            sorted(set(labels.tolist()))
            if labels.ndim == 1 and labels.dtype.kind in "USObiuf"
            else []
        )
    except (TypeError, ValueError, RuntimeError):  # of values that have no order, the scorers tell
        return None
    if len(found) != 2 or found == [-1, 1] or not 0 < (labels == found[1]).mean() < FEW_OUTLIERS:
        return None
    return f"{found[0]!r} and {found[1]!r}, of which few are {found[1]!r}"

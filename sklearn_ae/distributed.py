"""One fit by several processes, on one machine or many, each with rows of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from sklearn_ae._component import all_or_nothing
from sklearn_ae._data.inputs import checked_source, weighted_source
from sklearn_ae._data.sources import Source
from sklearn_ae._data.spread import COLUMNS, NAMES, Spread
from sklearn_ae._parameters import SharedParameters
from sklearn_ae._torch import plain_torch
from sklearn_ae._training.callbacks import fit_callbacks
from sklearn_ae._training.checkpoint import open_checkpoint
from sklearn_ae._training.processes import Processes

if TYPE_CHECKING:
    from sklearn_ae._base import BaseAutoencoder

__all__ = ["fit"]

Estimator = TypeVar("Estimator", bound="BaseAutoencoder")
# parameters that may differ between processes
OWN = (
    "callbacks",
    "checkpoint",
    "device",
    "random_state",
    "verbose",
)


def fit(
    estimator: Estimator,
    X: ArrayLike | None,
    y: object = None,
    sample_weight: ArrayLike | None = None,
) -> Estimator:
    """Train one model on the rows of all processes of ``torch.distributed``'s default group.

    Every process calls it with an equal estimator and its own rows. All of them end with the same
    model, that of rank 0. Outside a group, or in one of a single process, it is ``estimator.fit``.

    Means, deviations and ranges are those of all rows. Quantiles, starting weights, the rows held
    out and the calibration of a detector come from a sample of at most 20,000 rows of all processes
    (fewer where they have more than 1,677 features), which each process gets. A single autoencoder
    then learns from all rows: each step adds up the gradients of all processes. An ensemble, or a
    detector with ``novelty=True``, learns from the sample in each process alike.

    With `checkpoint`, rank 0 keeps the state of the training in a file, which no other process has
    to reach. If the processes are killed, a fit by as many of them, each with the rows that its
    rank had, goes on from there.

    Parameters
    ----------
    estimator : AutoencoderTransformer or AutoencoderOutlierDetector
        Parameters must be the same in all processes, but for `callbacks`, `device` and `verbose`,
        and for `random_state` and `checkpoint`, of which rank 0's count.
    X : array-like of shape (n_samples, n_features) or None
        The rows of this process. It may have none: an array of no rows, or None.
    y : object, default=None
        Ignored.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of its rows, which count beside those of the other processes; None is 1 for each.

    Returns
    -------
    estimator : AutoencoderTransformer or AutoencoderOutlierDetector
        The same, fitted.

    Raises
    ------
    ValueError, TypeError
        In all processes, if rows or parameters of one are not valid; the message names its rank.
        So too if the checkpoint is of another fit.
    FloatingPointError
        In all processes, if training diverges.
    RuntimeError
        If another process has ended, or does not answer within the group's timeout; in all of
        them, if rank 0 cannot read the checkpoint.
    """
    processes = Processes()
    if processes.size == 1:
        return estimator.fit(X, y, sample_weight=sample_weight)  # None is refused there
    with all_or_nothing(estimator), plain_torch(), torch.enable_grad():
        spread = Spread(processes, lambda: checked(estimator, X, sample_weight))
        take_columns(estimator, spread.same[COLUMNS], spread.same[NAMES])
        random_state = check_random_state(estimator.random_state)
        checkpoint = open_checkpoint(
            estimator.checkpoint, estimator, spread.own, random_state, processes
        )
        source: Any = spread.sample(checkpoint.random_state)
        if getattr(estimator, "_score_name", "single") != "single":
            source = source.rows
            source.forget_equal_weights()
        callbacks = fit_callbacks(estimator, X, y, sample_weight)
        estimator._fit(source, checkpoint.random_state, callbacks, checkpoint)
        if callbacks is not None:
            callbacks.end_fit()
    estimator._raise_if_interrupted()
    checkpoint.remove()
    estimator._warn_if_not_converged()
    return estimator


def checked(estimator: Any, X: Any, sample_weight: Any) -> tuple[Source | None, dict]:
    """The rows of this process, and what has to be the same in all of them."""
    if not isinstance(estimator, SharedParameters):
        raise TypeError(
            f"estimator must be one of sklearn_ae's, got {type(estimator).__name__}; fit the steps "
            "of a pipeline in turn."
        )
    estimator._validate_params()
    estimator._validate_parts()
    if estimator.warm_start:
        raise ValueError(
            "warm_start=True goes on from a fit of one process; pass warm_start=False."
        )
    params = estimator.get_params().items()
    same = {
        name: value
        for name, value in params
        if name not in OWN and isinstance(value, (str, int, float, type(None)))
    }
    same = {"estimator": type(estimator).__name__, **same}
    if X is None or n_rows(X) == 0:
        return None, same
    source = checked_source(estimator, X, reset=True)
    if sample_weight is not None:
        source = weighted_source(source, sample_weight)
    names = getattr(estimator, "feature_names_in_", None)
    return source, {
        COLUMNS: source.n_features,
        NAMES: None if names is None else list(names),
        **same,
    }


def take_columns(estimator: Any, n_features: int, names: list | None) -> None:
    """What scikit-learn notes of the columns, where this process has no rows too."""
    estimator.n_features_in_ = n_features
    if names is not None:
        estimator.feature_names_in_ = np.array(names, object)
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def n_rows(X: Any) -> int | None:
    shape = getattr(X, "shape", None)
    return shape[0] if shape else len(X) if hasattr(X, "__len__") else None

"""Estimators in files."""

import os
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from sklearn_ae import architectures, corruptions, latents
from sklearn_ae._configuration import Configuration
from sklearn_ae._detector import AutoencoderOutlierDetector
from sklearn_ae._files import read_state, shown_error, write_state
from sklearn_ae._imputer import AutoencoderImputer
from sklearn_ae._messages import warn
from sklearn_ae._network.codebook import Codebook
from sklearn_ae._reconstruction import ReconstructionTransformer
from sklearn_ae._records import CodeError, Decoder, Encoder, record, shown
from sklearn_ae._scores import SCORES
from sklearn_ae._transformer import AutoencoderTransformer

for kind in (
    AutoencoderTransformer,
    AutoencoderOutlierDetector,
    AutoencoderImputer,
    ReconstructionTransformer,
    latents.Latent,
    Configuration,
    Codebook,
):
    record(kind)
for module in (architectures, corruptions, latents):
    for name in module.__all__:
        record(getattr(module, name))


def save(estimator: BaseEstimator, path: str | os.PathLike) -> None:
    """Save an estimator to a file from which `load` reads it without running code.

    The file is in the safetensors format: arrays as tensors, everything else as JSON in the header.
    It is written under another name and takes the place of an older one when it is complete, so
    that a crash or a full disk leaves the older one as it was.

    Parameters
    ----------
    estimator : estimator of sklearn_ae or of scikit-learn
        Fitted or not. Pipelines, column transformers and feature unions may hold our estimators
        and those of scikit-learn's preprocessing, imputation, decomposition, feature selection and
        linear models that are made of plain values and arrays.
    path : str or path-like
        Where to. The name may end as you like; ``.safetensors`` is usual.

    Raises
    ------
    TypeError
        If the estimator holds something else, such as a module, a loss or a function of your own.
    ValueError
        If a parameter is not valid.
    OSError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        If code that is needed for training only was left out: callbacks, a corruption, a schedule
        or an optimizer of your own.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.persistence import load, save
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = AutoencoderTransformer(2, random_state=0).fit(X)
    >>> save(model, "model.safetensors")  # doctest: +SKIP
    >>> model = load("model.safetensors")  # doctest: +SKIP
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"save takes an estimator, got {shown(estimator)}.")
    encoder = Encoder()
    try:
        plain = encoder.encode(estimator)
    except CodeError as error:
        raise TypeError(
            f"{error} cannot be saved: a file from which loading runs no code holds plain values, "
            "arrays, our own parts and some of scikit-learn's estimators. Use skops.io for its "
            "others, and for code of your own pickle or joblib (loading such a file runs any code "
            "that is in it, so load only those you trust)."
        ) from error
    if encoder.left_out:
        left_out = ", ".join(f"{name}={shown(value)}" for name, value in encoder.left_out.items())
        warn(
            f"{left_out} cannot be saved. Predictions do not need them, so the file has the "
            "defaults in their place: set them again after load before you fit again.",
        )
    write_state(path, plain, encoder.arrays)


def load(path: str | os.PathLike) -> Any:
    """Load an estimator that `save` wrote. No code from the file is run.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    estimator : object
        Equal to the one that was saved. On a machine without its device it is on the CPU.

    Raises
    ------
    ValueError
        If the file was not written by `save`, is cut off or changed, or comes from a newer version.
    OSError
        If the file cannot be read.
    """
    plain, arrays = read_state(path)
    try:
        estimator = EstimatorDecoder(arrays).decode(plain)
        if not isinstance(estimator, BaseEstimator):
            raise ValueError(f"{shown(estimator)} is no estimator")
    except Exception as error:  # whatever classes make of values that do not fit
        message = f"its content is not valid ({shown_error(error)})"
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {message}.") from error
    return estimator


class EstimatorDecoder(Decoder):
    """Reads estimators, and tries those of ours that are fitted."""

    def restore(self, kind: type, state: dict[str, Any]) -> Any:
        if "_fitted" in state:
            check_sizes(state["_fitted"])
        value = super().restore(kind, state)
        if hasattr(value, "net_"):
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # of names that the row's columns lack
                value.score_samples(value._model.sample(1, np.random.RandomState(0)))
        return value


def check_sizes(model: dict) -> None:
    """Raise an error where a network has other sizes than its weights, before any is allocated."""
    configuration: Configuration = model["configuration"]
    weights = {name: torch.from_numpy(array) for name, array in model["weights"].items()}
    if configuration.n_networks > sum(map(torch.numel, weights.values())):
        raise ValueError(f"{configuration.n_networks} networks have fewer weights")
    with torch.device("meta"):
        score = SCORES[configuration.score](configuration, checked=True)
    score.load_state_dict(weights, assign=True)

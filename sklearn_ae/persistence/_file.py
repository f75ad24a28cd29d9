"""Estimators in safetensors files: arrays as tensors, everything else as JSON in the header."""

import json
import math
import os
import platform
from pathlib import Path

import numpy as np
import sklearn
import torch
from numpy.random import RandomState
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_ae._base import BaseAutoencoder
from sklearn_ae._calibration import Scores
from sklearn_ae._data.recent import Recent, Rows
from sklearn_ae._messages import warn
from sklearn_ae._network.blueprint import Blueprint
from sklearn_ae._outlier import AutoencoderOutlierDetector
from sklearn_ae._transformer import AutoencoderTransformer
from sklearn_ae._version import __version__
from sklearn_ae.persistence._codec import CodeError, Decoder, Encoder, chosen, content, shown
from sklearn_ae.persistence._safetensors import (
    FORMAT,
    NAME,
    NO_SUM,
    no_constant,
    once,
    read_arrays,
    read_metadata,
    to_safetensors,
    with_sum,
    write_atomically,
)

ESTIMATORS: dict[str, type[BaseAutoencoder]] = {one.__name__: one for one in (AutoencoderTransformer, AutoencoderOutlierDetector)}
NEEDED_TO_PREDICT = ("architecture", "latent", "loss")


def save(estimator: BaseAutoencoder, path: str | os.PathLike) -> None:
    """Save an estimator to a file from which `load` reads it without running code.

    The file is in the safetensors format, with everything that is no array as JSON in its header. It is written under another name
    and takes the place of an older one when it is complete, so that a crash or a full disk leaves the older one as it was.

    Parameters
    ----------
    estimator : AutoencoderTransformer or AutoencoderOutlierDetector
        Fitted or not.
    path : str or path-like
        Where to. The name may end as you like; ``.safetensors`` is usual.

    Raises
    ------
    TypeError
        If `estimator` is neither of the two, or if it needs code of your own to predict, such as a module or a loss: that is for
        pickle or joblib.
    ValueError
        If a parameter is not valid.
    OSError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        If code that is needed for training only was left out: callbacks, functions, optimizers of your own.

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
    write_atomically(path, to_bytes(estimator))


def load(path: str | os.PathLike) -> BaseAutoencoder:
    """Load an estimator that `save` wrote. No code from the file is run.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    estimator : AutoencoderTransformer or AutoencoderOutlierDetector
        Equal to the one that was saved. On a machine without its device it is on the CPU.

    Raises
    ------
    ValueError
        If the file was not written by `save`, is truncated or changed, or comes from a newer version.
    OSError
        If the file cannot be read.
    """
    data = Path(path).read_bytes()
    try:
        return from_bytes(data)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {error}") from error


def to_bytes(estimator: BaseAutoencoder) -> bytes:
    """The content of a file."""
    if ESTIMATORS.get(type(estimator).__name__) is not type(estimator):
        raise TypeError(
            f"save takes {' or '.join(ESTIMATORS)}, got {type(estimator).__name__}. For a Pipeline there are skops.io, and joblib "
            "(loading a joblib file or a pickle runs any code that is in it, so load only those you trust)."
        )
    encoder, state, dropped = Encoder(), estimator.__getstate__(), list[str]()
    state.pop("_training", None)  # of a stream, which then goes on with a new state of its optimiser
    defaults = type(estimator)().get_params(deep=False)
    plain = {}
    for name, value in sorted(state.items()):
        try:
            plain[name] = encode_blueprint(encoder, value, dropped) if isinstance(value, Blueprint) else encoder.encode(value, name)
        except CodeError as error:
            if name not in defaults or name in NEEDED_TO_PREDICT:
                raise TypeError(refusal(error)) from error
            dropped.append(f"{name}={shown_code(value)}")
            plain[name] = encoder.encode(defaults[name], name)
    check_params(type(estimator), {name: getattr(estimator, name) for name in defaults})
    if dropped:
        warn(
            f"{', '.join(dict.fromkeys(dropped))} cannot be saved as plain values. Predictions do not need them, so the file has "
            "the defaults in their place: set them again after load before you fit again.",
        )
    metadata = {
        "format": NAME,
        "format_version": str(FORMAT),
        "versions": json.dumps(versions()),
        "estimator": json.dumps({"class": type(estimator).__name__, "state": plain}, allow_nan=False),
        "sha256": NO_SUM,
    }
    return with_sum(to_safetensors(encoder.arrays, metadata))


def encode_blueprint(encoder: Encoder, blueprint: Blueprint, dropped: list[str]) -> dict:
    """A blueprint without a corruption that is code, which only training needs."""
    plain = {}
    for name, value in content(blueprint).items():
        try:
            plain[name] = encoder.encode(value, f"_blueprint.{name}")
        except CodeError as error:
            if name != "corruption":
                raise CodeError(name, value) from error
            function = getattr(value, "function", value)
            dropped.append(f"{name}={shown_code(function)}")
            plain[name] = None
    return {"blueprint": blueprint.kind, "fields": plain}


def from_bytes(data: bytes) -> BaseAutoencoder:
    """The estimator; ValueError says what is wrong."""
    metadata = read_metadata(data)
    arrays = read_arrays(data)
    try:
        plain = json.loads(metadata["estimator"], object_pairs_hook=once, parse_constant=no_constant)
        if not isinstance(plain, dict) or set(plain) != {"class", "state"} or not isinstance(plain["state"], dict):
            raise ValueError(f"{shown(plain)} does not describe an estimator")
        kind = chosen(ESTIMATORS, plain["class"], "estimator")
        decoder = Decoder(arrays)
        state = {name: decoder.decode(value) for name, value in plain["state"].items()}
        decoder.finish()
        return build(kind, state)
    except ValueError as error:
        raise ValueError(f"its content is not valid: {error}.") from error
    except Exception as error:  # whatever the parts make of values that do not fit
        raise ValueError(f"its content is not valid: {type(error).__name__}: {error}.") from error


def build(kind: type[BaseAutoencoder], state: dict) -> BaseAutoencoder:
    """The estimator with this state, tried on a row."""
    names = set(kind._get_param_names())
    missing = sorted(names - set(state))
    if missing:
        raise ValueError(f"the parameters {missing} are missing")
    params = {name: state[name] for name in names}
    check_params(kind, params)
    weights = state.pop("_weights", None)
    for name, value in state.items():
        if name not in names and (not name.isidentifier() or name.startswith("__") or is_taken(kind, name)):
            raise ValueError(f"{kind.__name__} has no fitted attribute {shown(name)}")
        expected = ATTRIBUTES.get(name, object)
        if not isinstance(value, expected):
            raise ValueError(f"{name} is of type {type(value).__name__}")
    estimator = kind(**params)
    estimator.__dict__.update(state)
    if weights is None:
        fitted = sorted(name for name in state if name in REQUIRED)
        if fitted:
            raise ValueError(f"the weights are missing, but there are {fitted}")
        return estimator
    if not isinstance(weights, dict) or not all(isinstance(array, np.ndarray) for array in weights.values()):
        raise ValueError("the weights are not arrays")
    missing = sorted(REQUIRED - set(state))
    if missing:
        raise ValueError(f"the attributes {missing} are missing")
    with Budget(sum(array.size for array in weights.values())):
        estimator._rebuild(weights)
    check_weights(estimator, weights)
    check_fitted(estimator)
    return estimator


def is_taken(kind: type, name: str) -> bool:
    """Whether a name is that of a method, which a value must not hide."""
    return callable(getattr(kind, name, None)) or isinstance(getattr(kind, name, None), property)


def check_params(kind: type[BaseAutoencoder], params: dict) -> None:
    """Raise ValueError or TypeError if a parameter is out of its range."""
    estimator = kind(**params)
    estimator._validate_params()
    estimator._validate_parts()


ATTRIBUTES: dict[str, type | tuple[type, ...]] = {
    "n_features_in_": int,
    "n_iter_": int,
    "best_epoch_": int,
    "loss_curve_": list,
    "validation_loss_curve_": (list, type(None)),
    "offset_": float,
    "feature_names_in_": np.ndarray,
    "_blueprint": Blueprint,
    "_codes": np.ndarray,
    "_n_rows": int,
    "_recent": (Recent, type(None)),
    "_calibration": Scores,
    "_sklearn_output_config": dict,
}
REQUIRED = {"n_features_in_", "_blueprint", "_scaling", "_codes"}


def check_weights(estimator: BaseAutoencoder, weights: dict[str, np.ndarray]) -> None:
    """Raise ValueError if weights have been converted to another type on their way into the network."""
    for name, tensor in estimator.net_.module_.state_dict().items():
        if tensor.cpu().numpy().dtype != weights[name].dtype:
            raise ValueError(f"the weights {name!r} are of type {weights[name].dtype}")


def check_fitted(estimator: BaseAutoencoder) -> None:
    """Try all that is kept on a row, so that what does not fit together is told now."""
    n_features = estimator.n_features_in_
    if estimator._blueprint.n_features != n_features:
        raise ValueError(f"the network takes {estimator._blueprint.n_features} features, but n_features_in_ is {n_features}")
    if hasattr(estimator, "feature_names_in_") and estimator.feature_names_in_.shape != (n_features,):
        raise ValueError(f"there are {estimator.feature_names_in_.size} names for {n_features} features")
    check_arrays(estimator, n_features)
    row, quiet = np.zeros((1, n_features)), type(estimator)(**estimator.get_params(deep=False))
    quiet.__dict__.update({name: value for name, value in vars(estimator).items() if name != "feature_names_in_"})
    with np.errstate(all="ignore"):
        shapes = {"reconstruct": quiet.reconstruct(row).shape, "sample": quiet.sample(1, random_state=0).shape}
        quiet.score_samples(row)
        if isinstance(quiet, AutoencoderOutlierDetector) and "offset_" in vars(quiet):
            quiet.predict(row)
            quiet.p_values(row)
    wrong = {name: shape for name, shape in shapes.items() if shape != row.shape}
    if wrong:
        raise ValueError(f"it gives rows of other shapes than {row.shape}: {wrong}")


def check_arrays(estimator: BaseAutoencoder, n_features: int) -> None:
    """Raise ValueError if arrays that broadcast, or are only looked up, are of other shapes or types than they should be."""
    scaling, scores = estimator._scaling, getattr(estimator, "_calibration", Scores(np.empty(0)))
    right = {
        "_codes": estimator._codes.dtype.kind == "f" and estimator._codes.ndim > 1 and len(estimator._codes) > 0,
        "_calibration": scores.values.ndim == 1 and scores.values.dtype.kind == "f",
        "weights of _calibration": scores.weight is None or scores.weight.shape == scores.values.shape,
        "_scaling": (scaling.center is None) == (scaling.scale is None),
    }
    recent = getattr(estimator, "_recent", None)
    if recent is not None:
        right["_recent"] = is_recent(recent, n_features)
    for name in ("center", "scale"):
        array = getattr(scaling, name)
        right[name] = array is None or (array.dtype == np.float64 and array.shape == (n_features,))
    wrong = [name for name, is_right in right.items() if not is_right]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} cannot be what was saved")


def is_recent(recent: Recent, n_features: int) -> bool:
    """Whether these can be rows of a stream."""
    counts = (recent.most, recent.n_needed, recent.n_rows, recent.n_new)
    right = all(type(one) is int and one >= 0 for one in counts) and isinstance(recent.random_state, RandomState)
    right = right and isinstance(recent.scores, np.ndarray) and recent.scores.ndim == 1 and recent.scores.dtype.kind == "f"
    for rows in (recent.learnt, recent.held_out):
        right = right and isinstance(rows, Rows) and isinstance(rows.values, np.ndarray) and rows.values.dtype.kind == "f"
        right = right and rows.values.shape[1:] == (n_features,)
        right = right and (rows.weight is None or getattr(rows.weight, "shape", None) == rows.values.shape[:1])
    return right


class Budget(TorchDispatchMode):
    """Inside the block no more is allocated than a network with so many weights can need, whatever sizes a file declares."""

    FACTORIES = frozenset(["empty", "zeros", "ones", "full", "arange", "eye", "rand", "randn", "randint", "empty_strided"])

    def __init__(self, n_weights: int):
        super().__init__()
        self.left = 32 * n_weights + 2**25

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in self.FACTORIES and args:
            sizes = args[0] if isinstance(args[0], (list, tuple)) else [one for one in args if isinstance(one, (int, float))]
            self.left -= max(0, math.prod(int(size) for size in sizes)) if sizes else 0
            if self.left < 0:
                raise ValueError(f"a network of the size that is declared ({list(sizes)}) does not fit the weights")
        return func(*args, **(kwargs or {}))


def refusal(error: CodeError) -> str:
    return (
        f"{error} is code of your own that predictions need, and a file from which loading runs no code cannot hold it. "
        "Use pickle or joblib (loading such a file runs any code that is in it, so load only those you trust), or our own parts."
    )


def shown_code(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"<{type(value).__name__}>"


def versions() -> dict[str, str]:
    return {
        "sklearn_ae": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "sklearn": sklearn.__version__,
        "torch": torch.__version__,
    }

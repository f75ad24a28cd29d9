"""Fitted estimators as ONNX graphs."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sklearn_ae._base import BaseAutoencoder
from sklearn_ae._calibration import Scores
from sklearn_ae._data.scaling import Scaling
from sklearn_ae._detector import AutoencoderOutlierDetector
from sklearn_ae._files import write_atomically
from sklearn_ae._network.stack import Stack
from sklearn_ae._torch import plain_torch
from sklearn_ae._transformer import AutoencoderTransformer
from sklearn_ae._version import __version__

if TYPE_CHECKING:
    import onnx

TYPES = {"float32": torch.float32, "float64": torch.float64}
# Rows with which a graph is traced and tried: more than 1, which torch takes for a constant.
TRIED = (3, 5)
TOLERANCE = 1e-4  # of a graph on rows that are tried, relative to the largest value
MOST_BYTES = 2**31 - 1  # of one file, protobuf's limit
OPSET = 18


def to_onnx(
    estimator: BaseAutoencoder,
    path: str | os.PathLike | None = None,
    method: str | None = None,
    *,
    dtype: str = "float32",
) -> "onnx.ModelProto":
    """Export one method of a fitted estimator to ONNX, scaling and threshold included.

    The graph takes any number of rows, with NaN where values are missing if the method takes them,
    and gives what the method gives. It does not check its input as the estimator does: names of
    columns, infinite values and, for binary cross-entropy, the range.

    Parameters
    ----------
    estimator : AutoencoderTransformer or AutoencoderOutlierDetector
        Fitted.
    path : str, path-like or None, default=None
        Where to write the graph, weights included, as one file; None writes none.
    method : str or None, default=None
        ``"transform"``, ``"inverse_transform"``, ``"reconstruct"``, ``"reconstruction_errors"`` or
        ``"score_samples"``; for a detector also ``"decision_function"``, ``"predict"``,
        ``"p_values"`` or ``"feature_contributions"``. None is ``"transform"`` for a transformer; of
        a detector the method must be named.
    dtype : {"float32", "float64"}, default="float32"
        Type of input and output. ``"float64"`` is for data whose digits float32 does not hold, such
        as times in seconds; the network itself computes in float32, as it does here. Labels are
        int64.

    Returns
    -------
    model : onnx.ModelProto
        With one input, ``X`` of shape (n_samples, n_features) or ``Z`` of shape (n_samples,
        n_components), and one output with the name of the method.

    Raises
    ------
    ImportError
        If onnx or onnxscript is missing: ``pip install sklearn-ae[onnx]``.
    ValueError
        If there is no such method, none is named for a detector, or torch cannot export a module
        of your own.
    sklearn.exceptions.NotFittedError
        If `estimator` is not fitted.

    Examples
    --------
    >>> from sklearn_ae.persistence import to_onnx
    >>> to_onnx(model, "model.onnx")  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("model.onnx")  # doctest: +SKIP
    >>> (Z,) = session.run(None, {"X": X.astype("float32")})  # doctest: +SKIP
    """
    if not isinstance(estimator, BaseAutoencoder):
        raise TypeError(
            f"to_onnx takes an estimator of sklearn_ae, got {type(estimator).__name__}. A Pipeline "
            "is exported by skl2onnx.to_onnx after "
            "sklearn_ae.persistence.register_skl2onnx_converters()."
        )
    if method is None and not isinstance(estimator, AutoencoderTransformer):
        raise ValueError(
            f"Name the method of {type(estimator).__name__} to export: method must be one of "
            f"{', '.join(methods_of(estimator))}."
        )
    if dtype not in TYPES:
        raise ValueError(f"dtype={dtype!r} must be 'float32' or 'float64'.")
    model = make_graph(estimator, (method or "transform",), TYPES[dtype])
    data = model.SerializeToString() if model.ByteSize() <= MOST_BYTES else b""
    if not data:
        raise ValueError(
            f"The graph has {model.ByteSize()} bytes, and one ONNX file can have {MOST_BYTES} at "
            "most."
        )
    if path is not None:
        write_atomically(path, data)
    return model


def make_graph(
    estimator: BaseAutoencoder, methods: tuple[str, ...], dtype: torch.dtype
) -> "onnx.ModelProto":
    """A model with one output for each method."""
    known = methods_of(estimator)
    for method in methods:
        if method not in known:
            raise ValueError(
                f"method={method!r} must be one of {', '.join(known)} for "
                f"{type(estimator).__name__}."
            )
    check_is_fitted(estimator)
    need("onnx", "onnxscript")
    return exported(
        Graph(estimator, [known[method] for method in methods], dtype), estimator, methods
    )


# The methods, as functions of the rows and of what was observed of them; each has its like in the
# estimators


def methods_of(estimator: BaseAutoencoder) -> dict[str, Callable[["Graph", Tensor], Tensor]]:
    known = dict(METHODS)
    if isinstance(estimator, AutoencoderOutlierDetector):
        known |= DETECTOR_METHODS
    return known


METHODS: dict[str, Callable[["Graph", Tensor], Tensor]] = {
    "transform": lambda graph, x: graph.module.encode(*graph.scaled(x)),
    "inverse_transform": lambda graph, z: graph.scaling.inverse(
        graph.module.decode(Scaling().transform_for(z.dtype)(z))
    ),
    "reconstruct": lambda graph, x: graph.scaling.inverse(
        graph.module.reconstruct(*graph.scaled(x))
    ),
    "reconstruction_errors": lambda graph, x: graph.module.elementwise(*graph.scaled(x)),
    "score_samples": lambda graph, x: graph.scores(x),
}
DETECTOR_METHODS: dict[str, Callable[["Graph", Tensor], Tensor]] = {
    "decision_function": lambda graph, x: graph.scores(x).double() - graph.offset,
    "predict": lambda graph, x: torch.where(graph.scores(x).double() >= graph.offset, 1, -1),
    "p_values": lambda graph, x: graph.p_values(graph.scores(x).double()),
    "feature_contributions": lambda graph, x: graph.score.contributions(*graph.scaled(x)),
}


class Graph(nn.Module):
    """Methods of a fitted estimator, as a module of torch whose operations ONNX has.

    Parameters
    ----------
    estimator : BaseAutoencoder
    methods : list of callable
        Each a function of this module and a batch in the data's own units.
    dtype : torch.dtype
        Type of input and output.
    """

    thresholds: Tensor
    values: Tensor

    def __init__(
        self,
        estimator: BaseAutoencoder,
        methods: list[Callable[["Graph", Tensor], Tensor]],
        dtype: torch.dtype,
    ):
        super().__init__()
        self.score: Any = estimator._model.score
        self.scaling: Scaling = estimator._model.scaling
        self.methods, self.dtype = methods, dtype
        self.offset: float = float(getattr(estimator, "offset_", 0.0))
        calibration = getattr(estimator, "_calibration", Scores(np.empty(0)))
        thresholds, values = calibration.p_value_steps()
        self.register_buffer("thresholds", torch.from_numpy(thresholds))
        self.register_buffer("values", torch.from_numpy(values))

    @property
    def module(self) -> Any:
        return self.score.network

    def forward(self, rows: Tensor) -> tuple[Tensor, ...]:
        with PlainOperations():
            results = [method(self, rows) for method in self.methods]
        return tuple(
            result.to(self.dtype) if result.is_floating_point() else result for result in results
        )

    def scaled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows in scaled units, and what was observed of them."""
        mask = ~torch.isnan(x)
        x = torch.where(mask, x, 0)
        return self.scaling.transform_for(x.dtype)(x, mask), mask

    def scores(self, x: Tensor) -> Tensor:
        return -self.score.outlyingness(*self.scaled(x))

    def p_values(self, scores: Tensor) -> Tensor:
        """Looked up by bisection, since ONNX has no search in sorted arrays."""
        below = searched(self.thresholds[None], scores[None])[0]
        return self.values[below]


def searched(edges: Tensor, x: Tensor) -> Tensor:
    """``torch.searchsorted(edges, x, right=True)``, row by row, written out as a bisection."""
    # edges known to be at most the value
    below, n = (
        torch.zeros_like(x, dtype=torch.int64),
        edges.shape[1],
    )
    for power in reversed(range(n.bit_length() if n else 0)):
        further = below + 2**power
        # both ends: skl2onnx cannot sort nodes with an input left out
        at = (further - 1).clamp(0, n - 1)
        reached = edges.gather(1, at) <= x
        below = torch.where((further <= n) & reached, further, below)
    return below


class PlainOperations(TorchFunctionMode):
    """Inside the block, operations that onnxruntime lacks for some types are written out."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        # no gradients anyway, and graphs have no place for it
        if func is torch._C._set_grad_enabled:
            return None
        if func is torch.searchsorted and (kwargs or {}).get("right"):
            return searched(*args)
        if func in (torch.sinh, Tensor.sinh):
            x = args[0]
            return (torch.exp(x) - torch.exp(-x)) / 2
        return func(*args, **(kwargs or {}))


# Tracing


def exported(
    graph: Graph, estimator: BaseAutoencoder, methods: tuple[str, ...]
) -> "onnx.ModelProto":
    """The graph in ONNX, tried against torch."""
    codes, method = "inverse_transform" in methods, " and ".join(methods)
    n_columns = estimator._n_features_out if codes else estimator.n_features_in_
    rows, others = (trial_rows(estimator, n, codes).to(graph.dtype) for n in TRIED)
    device = torch.device(estimator.net_.device)
    with plain_torch(), torch.no_grad(), quiet():
        graph.to("cpu").eval()
        try:
            program, name = traced(graph, rows), "Z" if codes else "X"
            without_checks(program)
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[name],
                output_names=list(methods),
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as error:  # torch raises errors of many kinds, and so do users' modules
            reason = str(error).strip().splitlines()
            raise ValueError(
                f"torch cannot export {method} of this {type(estimator).__name__} to ONNX: "
                f"{type(error).__name__}: {reason[0] if reason else ''} Modules of your own must "
                "do without control flow that depends on data."
            ) from error
        finally:
            expected = [result.numpy() for result in graph(others)]
            graph.score.to(device)
    assert made is not None
    model = made.model_proto
    without_traces(model)
    check_agreement(model, others.numpy(), expected, method)
    model.producer_name, model.producer_version = "sklearn-ae", __version__
    model.doc_string = f"{type(estimator).__name__}.{method}, {n_columns} columns"
    return model


def traced(graph: Graph, rows: Tensor) -> torch.export.ExportedProgram:
    """What torch computes, for any number of rows; members that vmap cannot take so are traced one
    by one.
    """
    shapes = ({0: torch.export.Dim("n_samples", min=1)},)
    try:
        return torch.export.export(graph, (rows,), dynamic_shapes=shapes, strict=False)
    except Exception:
        if not isinstance(graph.module, Stack) or graph.module.mode != "vmap":
            raise
        graph.module.mode = "loop"
        try:
            return torch.export.export(graph, (rows,), dynamic_shapes=shapes, strict=False)
        finally:
            graph.module.mode = "vmap"


def without_checks(program: torch.export.ExportedProgram) -> None:
    """Take away checks of types, which torch.onnx cannot read where they stand within vmap."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)
    program.graph_module.recompile()


def trial_rows(estimator: BaseAutoencoder, n: int, codes: bool) -> Tensor:
    """Rows, or codes, like those of training."""
    generator = torch.Generator().manual_seed(0)
    if codes:
        return torch.randn(n, estimator._n_features_out, generator=generator)
    low, high = graph_range(estimator)
    center, scale = estimator._model.scaling.center, estimator._model.scaling.scale
    rows = (
        torch.rand(n, estimator.n_features_in_, generator=generator, dtype=torch.float64)
        * (high - low)
        + low
    )
    return (
        rows
        if center is None or scale is None
        else rows * torch.from_numpy(scale) + torch.from_numpy(center)
    )


def graph_range(estimator: BaseAutoencoder) -> tuple[float, float]:
    """Scaled values to try."""
    low, high = estimator.net_.module_.loss.range
    return (low, high) if np.isfinite([low, high]).all() else (-1.0, 1.0)


def check_agreement(
    model: "onnx.ModelProto", rows: np.ndarray, expected: list[np.ndarray], method: str
) -> None:
    """Run the graph where onnxruntime is there, on another number of rows than it was traced with.

    Raises
    ------
    ValueError
        If it gives something else than torch.
    """
    try:
        import onnxruntime
    except ImportError:
        return
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        found = session.run(None, {session.get_inputs()[0].name: rows})
    except Exception as error:  # onnxruntime has a class of error for each of its codes
        raise ValueError(f"onnxruntime cannot run the graph of {method}: {error}") from error
    if not all(map(close, found, expected)):
        raise ValueError(
            f"The graph of {method} does not give what torch gives: your modules may depend on the "
            "number of rows, or on chance."
        )


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    size = np.abs(expected).max(initial=1e-30)
    return found.shape == expected.shape and np.allclose(
        found, expected, rtol=0, atol=TOLERANCE * size, equal_nan=True
    )


def without_traces(model: "onnx.ModelProto") -> None:
    """Take away where each node was traced, which is more than the graph itself."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in model.graph.value_info:
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No notes of the exporter, nor its warnings of what it will drop in times to come."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def need(*packages: str) -> dict[str, Any]:
    """Import optional packages.

    Raises
    ------
    ImportError
        That names the extra to install.
    """
    found = {}
    for name in packages:
        try:
            found[name] = __import__(name)
        except ImportError as error:
            raise ImportError(
                f"ONNX needs the package {name}: pip install sklearn-ae[onnx]."
            ) from error
    return found

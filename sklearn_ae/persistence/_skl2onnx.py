"""Converters for skl2onnx, so that it exports pipelines with the estimators of this package."""

from typing import Any

from sklearn_ae._detector import AutoencoderOutlierDetector
from sklearn_ae._transformer import AutoencoderTransformer
from sklearn_ae.persistence._onnx import TYPES, make_graph, need

BOTH = ("predict", "decision_function")  # what skl2onnx asks of outlier detectors
ONE_A_ROW = ("label", "scores", "predict", "decision_function", "score_samples", "p_values")


def register_skl2onnx_converters() -> None:
    """Teach skl2onnx the estimators of this package; called once, before ``skl2onnx.to_onnx``.

    A transformer gives its codes. A detector at the end of a pipeline gives labels and
    ``decision_function``, as scikit-learn's do there; ``options={id(detector): {"method":
    "transform"}}``, or another method of `to_onnx`, asks for one output in their place. It is
    needed where steps come after the detector.

    Raises
    ------
    ImportError
        If skl2onnx, onnx or onnxscript is missing: ``pip install sklearn-ae[onnx]``.

    Examples
    --------
    >>> from sklearn_ae.persistence import register_skl2onnx_converters
    >>> register_skl2onnx_converters()  # doctest: +SKIP
    >>> model = skl2onnx.to_onnx(pipeline, X[:1].astype("float32"))  # doctest: +SKIP
    """
    skl2onnx = need("onnx", "onnxscript", "skl2onnx")["skl2onnx"]
    for kind in (AutoencoderTransformer, AutoencoderOutlierDetector):
        skl2onnx.update_registered_converter(
            kind,
            f"SklearnAe{kind.__name__}",
            set_shapes,
            convert,
            parser=declare_outputs,
            options={"method": None},
            overwrite=True,
        )


def chosen_methods(scope: Any, estimator: Any) -> tuple[str, ...]:
    """The methods whose results are asked for."""
    method = scope.get_options(estimator, {"method": None}).get("method")
    if method is not None:
        return (method,)
    return BOTH if isinstance(estimator, AutoencoderOutlierDetector) else ("transform",)


def declare_outputs(scope: Any, estimator: Any, inputs: list, custom_parsers: Any = None) -> list:
    """skl2onnx's parser: the outputs, by name and type."""
    from skl2onnx import get_model_alias
    from skl2onnx.common.data_types import Int64TensorType, guess_tensor_type

    methods = chosen_methods(scope, estimator)
    operator = scope.declare_local_operator(get_model_alias(type(estimator)), estimator)
    operator.inputs.extend(inputs)
    names = ("label", "scores") if methods == BOTH else methods
    for name, method in zip(names, methods, strict=True):
        kind = Int64TensorType() if method == "predict" else guess_tensor_type(inputs[0].type)
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


def set_shapes(operator: Any) -> None:
    """skl2onnx's shape calculator: as many rows as there are; columns are known where there is one
    axis more.
    """
    n = operator.inputs[0].get_first_dimension()
    for output in operator.outputs:
        output.type.shape = [n] if output.raw_name in ONE_A_ROW else [n, None]


def convert(scope: Any, operator: Any, container: Any) -> None:
    """skl2onnx's converter: our graph within the greater one."""
    from skl2onnx.common.data_types import DoubleTensorType

    estimator = operator.raw_operator
    dtype = "float64" if isinstance(operator.inputs[0].type, DoubleTensorType) else "float32"
    methods = chosen_methods(scope, estimator)
    model = make_graph(estimator, methods, TYPES[dtype])
    asked, needed = (
        container.target_opset_any_domain(""),
        max(one.version for one in model.opset_import if one.domain == ""),
    )
    if asked < needed:
        raise ValueError(
            f"{type(estimator).__name__} needs ONNX opset {needed}, not {asked}: pass target_opset "
            "to skl2onnx.to_onnx."
        )
    merge(scope, operator, container, model)


def merge(scope: Any, operator: Any, container: Any, model: Any) -> None:
    """Add the nodes of a model to a container, under names that are free there."""
    from onnx import TensorProto, helper

    names = {"": ""}  # an input that is left out
    for inner, outer in zip(model.graph.input, operator.inputs, strict=True):
        names[inner.name] = outer.onnx_name
    for inner, outer in zip(model.graph.output, operator.outputs, strict=True):
        names[inner.name] = outer.onnx_name

    def name_of(inner: str) -> str:
        if inner not in names:
            names[inner] = scope.get_unique_variable_name(inner)
        return names[inner]

    for tensor in model.graph.initializer:
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copy.name = name_of(tensor.name)
        container.initializers.append(copy)
    for node in model.graph.node:
        inputs, outputs = ([name_of(one) for one in side] for side in (node.input, node.output))
        kind = node.op_type
        # skl2onnx cannot sort nodes with an input left out
        if kind == "Clip" and inputs[1:2] == [""]:
            kind, inputs = "Min", [inputs[0], *inputs[2:]]
        copy = helper.make_node(
            kind, inputs, outputs, name=scope.get_unique_operator_name(kind), domain=node.domain
        )
        copy.attribute.extend(node.attribute)
        container.nodes.append(copy)
    for opset in model.opset_import:
        container.node_domain_version_pair_sets.add((opset.domain, opset.version))

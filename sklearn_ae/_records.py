"""Values as JSON and arrays, and back. Code has no form here, so that reading runs none.

JSON's own values stand for themselves. Any other value is an object with one key, its form:
``{"tuple": [1, 2]}``, ``{"array": "codes"}``, ``{"Scores": {"values": ..., "weight": null}}``.
"""

from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import Parameter, signature
from pathlib import PurePath
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_selector
from torch import nn


def is_subclass(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, type) and issubclass(value, kind)


def classes_in(module: ModuleType, base: type) -> dict[str, type]:
    named = vars(module).items()
    return {f"{module.__name__}.{name}": kind for name, kind in named if is_subclass(kind, base)}


RECORDS: dict[str, type] = {}
SKLEARN = (  # whose estimators have a form if their state has
    "sklearn.compose",
    "sklearn.decomposition",
    "sklearn.feature_selection",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
)
DTYPES: dict[str, np.dtype] = {"BOOL": np.dtype("bool")} | {
    f"{name[0].upper()}{bits}": np.dtype(f"{name}{bits}").newbyteorder("<")
    for name in ("int", "uint", "float")
    for bits in (8, 16, 32, 64)
    if (name, bits) != ("float", 8)
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
TYPES: dict[str, type] = {
    **{f"builtins.{kind.__name__}": kind for kind in (bool, int, float, str, object)},
    **{f"torch.nn.{name}": getattr(nn, name) for name in nn.modules.activation.__all__},
    **classes_in(torch.optim, torch.optim.Optimizer),
    **classes_in(np, np.generic),
}
NAMES = {kind: name for name, kind in TYPES.items()}
TRAINING_ONLY = {"callbacks", "corruption", "learning_rate_schedule", "optimizer"}


def record(cls: type) -> type:
    """Give a class a form, by its name.

    Instances are made of plain values, arrays, random states and records: the fields of a dataclass
    or named tuple, or what ``__getstate__`` gives if the class has ``__setstate__``.
    """
    RECORDS[cls.__name__] = cls
    return cls


def find_class(name: str) -> type | None:
    """The class of this name, if it has a form."""
    module, _, last = name.rpartition(".")
    if module not in SKLEARN:
        return RECORDS.get(name)
    found = getattr(import_module(module), last, None)
    return found if is_subclass(found, (BaseEstimator, make_column_selector)) else None


def name_of(kind: type) -> str | None:
    """The name under which ``find_class`` finds this class, if it does."""
    module = ".".join(kind.__module__.split(".")[:2])
    names = (kind.__name__, f"{module}.{kind.__name__}")
    return next((name for name in names if find_class(name) is kind), None)


class CodeError(TypeError):
    """A value has no form."""

    def __init__(self, name: str, value: Any):
        super().__init__(f"{name.strip('.')}={shown(value)}")


class Encoder:
    """Writes values.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The arrays so far by name, C-contiguous and little-endian, of types in `DTYPES`.
    left_out : dict of str to object
        What has no form but is needed for training only; its default stands in its place.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.left_out: dict[str, Any] = {}

    def encode(self, value: Any, name: str = "") -> Any:
        """A value as JSON; its arrays are named after `name`, its place.

        Raises
        ------
        CodeError
            If it is, or holds, something that has no form.
        """
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (torch.device, PurePath)):
            return str(value)
        if type(value) is list:
            return [self.encode(one, f"{name}.{i}") for i, one in enumerate(value)]
        if type(value) is tuple:
            return {"tuple": self.encode(list(value), name)}
        if type(value) is dict:
            items = value.items()
            return {"dict": [[self.encode(k), self.encode(v, f"{name}.{k}")] for k, v in items]}
        if isinstance(value, slice):
            return {"slice": self.encode([value.start, value.stop, value.step])}
        if isinstance(value, np.ndarray):
            return self._encode_array(value, name)
        if isinstance(value, np.dtype) and value.type in NAMES:
            return {"dtype": NAMES[value.type]}
        if isinstance(value, type) and value in NAMES:
            return {"type": NAMES[value]}
        if isinstance(value, RandomState):
            return self._encode_random_state(value, name)
        if (known := name_of(type(value))) is not None:
            return {known: self._encode_state(value, name)}
        raise CodeError(name, value)

    def _encode_array(self, array: np.ndarray, name: str) -> dict:
        if array.dtype.kind == "U":
            return {"strings": array.tolist()}
        if array.dtype == object:
            return {"objects": self.encode([array.shape, *array.flat], name)}
        dtype = array.dtype.newbyteorder("<")
        if dtype not in CODES:
            raise CodeError(name, array)
        name = name.strip(".")
        while name in self.arrays:
            name += "+"
        form = "array" if array.flags.c_contiguous or not array.flags.f_contiguous else "transposed"
        self.arrays[name] = np.asarray(array if form == "array" else array.T, dtype, order="C")
        return {form: name}

    def _encode_random_state(self, value: RandomState, name: str) -> dict:
        state: dict = value.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise CodeError(name, value)
        return {"random_state": self.encode(state, name)}

    def _encode_state(self, value: Any, name: str) -> dict:
        if hasattr(value, "_parameter_constraints"):
            value._validate_params()
        plain = {}
        for key, one in state_of(value).items():
            try:
                plain[key] = self.encode(one, f"{name}.{key}")
            except CodeError:
                if key not in TRAINING_ONLY:
                    raise
                self.left_out.setdefault(key, one)
                default = signature(type(value)).parameters[key].default
                plain[key] = None if default is Parameter.empty else default
        return plain


class Decoder:
    """Reads what `Encoder` wrote.

    Parameters
    ----------
    arrays : dict of str to ndarray
    """

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = arrays

    def decode(self, plain: Any) -> Any:
        """The value. Where `Encoder` did not write it, any exception may be raised."""
        if isinstance(plain, list):
            return [self.decode(one) for one in plain]
        if not isinstance(plain, dict):
            return plain
        ((form, content),) = plain.items()
        match form:
            case "tuple":
                return tuple(self.decode(content))
            case "dict":
                return dict(self.decode(content))
            case "slice":
                return slice(*self.decode(content))
            case "array":
                return self.arrays[content]
            case "transposed":
                return self.arrays[content].T
            case "strings":
                return np.array(content, str)
            case "objects":
                shape, *items = self.decode(content)
                return np.fromiter(items, object).reshape(shape)
            case "dtype":
                return np.dtype(TYPES[content])
            case "type":
                return TYPES[content]
            case "random_state":
                return random_state_of(self.decode(content))
        kind = find_class(form)
        if kind is None:
            raise ValueError(f"nothing is written as {shown(form)}")
        return self.restore(kind, {name: self.decode(one) for name, one in content.items()})

    def restore(self, kind: type, state: dict[str, Any]) -> Any:
        """The instance of a class with this state; what its annotations say is checked."""
        hints = get_type_hints(kind)
        for name, value in state.items():
            if name in hints and not fits(value, hints[name]):
                raise ValueError(f"{name} of {kind.__name__} cannot be {shown(value)}")
            if callable(getattr(kind, name, None)):
                raise ValueError(f"{name} of {kind.__name__} is a method")
        if not hasattr(kind, "__setstate__"):
            return kind(**state)
        instance: Any = object.__new__(kind)
        instance.__setstate__(state)
        if hasattr(instance, "_parameter_constraints"):
            instance._validate_params()
        return instance


def state_of(value: Any) -> dict[str, Any]:
    """What an instance of a class with a form is made of."""
    if hasattr(value, "__setstate__"):
        return value.__getstate__()
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value._asdict() if hasattr(value, "_asdict") else vars(value)


def random_state_of(state: dict) -> RandomState:
    if not 0 <= state["state"]["pos"] <= 624:  # numpy would read beyond the end of the key
        raise ValueError(f"a random state cannot stand at {state['state']['pos']}")
    random_state = RandomState(0)
    random_state.set_state(state)
    return random_state


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that an annotation names, its items aside."""
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, one) for one in get_args(hint))
    kind = get_origin(hint) or hint
    return kind is Any or isinstance(value, (int, float) if kind is float else kind)


def shown(value: Any) -> str:
    """A short form of any value, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:80]}..."

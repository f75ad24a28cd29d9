"""Values as JSON and arrays, and back. What is code has no form here, so that reading runs none."""

import json
import math
from dataclasses import fields, is_dataclass

import numpy as np
import torch
from numpy.random import RandomState
from torch import nn

from sklearn_ae._component import Part
from sklearn_ae._network.blueprint import KINDS, Blueprint
from sklearn_ae._network.values import PARTS
from sklearn_ae._records import RECORDS

ACTIVATIONS = {name: getattr(nn, name) for name in nn.modules.activation.__all__ if hasattr(nn, name)} | {"Identity": nn.Identity}
OPTIMIZERS = {name: one for name, one in vars(torch.optim).items() if isinstance(one, type)}
DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype("bool"),
    **{f"{kind}{bits}": np.dtype(f"{name}{bits}") for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
    **{f"F{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
RANDOM_FIELDS = ("key", "pos", "has_gauss", "cached_gaussian")


class CodeError(TypeError):
    """A value is code, which cannot be written."""

    def __init__(self, name: str, value):
        super().__init__(f"{name}={' '.join(repr(value).split())}")
        self.name = name


class Encoder:
    """Writes values, and collects their arrays by name.

    Attributes
    ----------
    arrays : dict of str to ndarray
        C-contiguous arrays of a type in `DTYPES`.
    """

    def __init__(self):
        self.arrays: dict[str, np.ndarray] = {}
        self._random_states: list[RandomState] = []

    def encode(self, value, name: str):
        """A value in plain JSON; `name` says where it stands.

        Raises
        ------
        CodeError
            If it is, or holds, code of the user's own.
        """
        if value is None or isinstance(value, (bool, str)) or type(value) is int:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": str(value)}
        if type(value) is list:
            return [self.encode(one, f"{name}.{i}") for i, one in enumerate(value)]
        if type(value) is tuple:
            return {"tuple": [self.encode(one, f"{name}.{i}") for i, one in enumerate(value)]}
        if isinstance(value, dict) and all(type(key) is str for key in value):
            return {"dict": self._fields(value, name)}
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value), name)["array"]}
        if isinstance(value, np.ndarray):
            return self._array(value, name)
        if isinstance(value, torch.device):
            return {"device": str(value)}
        if isinstance(value, RandomState):
            return self._random_state(value, name)
        if isinstance(value, Part) and PARTS.get(type(value).__name__) is type(value):
            return {"part": type(value).__name__, "params": self._fields(value.get_params(deep=False), name, "__")}
        if isinstance(value, Blueprint) and KINDS.get(value.kind) is type(value):
            return {"blueprint": value.kind, "fields": self._fields(content(value), name)}
        if RECORDS.get(type(value).__name__) is type(value):
            return {"record": type(value).__name__, "fields": self._fields(content(value), name)}
        for known, table in (("torch.nn", ACTIVATIONS), ("torch.optim", OPTIMIZERS)):
            if isinstance(value, type) and table.get(value.__name__) is value:
                return {known: value.__name__}
        raise CodeError(name, value)

    def _fields(self, values: dict, name: str, separator: str = ".") -> dict:
        return {key: self.encode(one, f"{name}{separator}{key}") for key, one in values.items()}

    def _array(self, array: np.ndarray, name: str) -> dict:
        if array.dtype.kind == "U" or (array.dtype == object and all(type(one) is str for one in array.flat)):
            return {"strings": array.ravel().tolist(), "shape": list(array.shape), "object": array.dtype == object}
        native = array.dtype.newbyteorder("=")
        if native not in CODES:
            raise CodeError(name, array)
        axes = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))  # in memory as they were, so that sums stay the same
        if array.flags.c_contiguous:
            axes = list(range(array.ndim))
        self.arrays[name] = np.asarray(array.transpose(axes), native, order="C")
        return {"array": name} if axes == sorted(axes) else {"array": name, "axes": axes}

    def _random_state(self, value: RandomState, name: str) -> dict:
        for i, known in enumerate(self._random_states):
            if known is value:  # one that is drawn from in several places
                return {"random_state": i}
        state = value.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise CodeError(name, value)
        self._random_states.append(value)
        values = {**state["state"], "has_gauss": state["has_gauss"], "cached_gaussian": state["gauss"]}
        return {"random_state": len(self._random_states) - 1, "state": self._fields(values, name)}


class Decoder:
    """Reads what `Encoder` wrote.

    Parameters
    ----------
    arrays : dict of str to ndarray
    """

    def __init__(self, arrays: dict[str, np.ndarray]):
        self._left = dict(arrays)
        self._random_states: list[RandomState] = []

    def decode(self, plain):
        """The value.

        Raises
        ------
        ValueError
            If it is of an unknown form, or names what is not there.
        """
        if plain is None or isinstance(plain, (bool, int, float, str)):
            return plain
        if isinstance(plain, list):
            return [self.decode(one) for one in plain]
        form = next(iter(plain), "")
        reader = self.READERS.get(form)
        if reader is None:
            raise ValueError(f"{shown(plain)} is not of a known form")
        kind, *names = reader
        if not set(plain) <= {form, *names}:
            raise ValueError(f"{shown(plain)} is not of a known form")
        return getattr(self, f"_{kind}")(**{("value" if key == form else key): one for key, one in plain.items()})

    def finish(self) -> None:
        """Raise ValueError if arrays are left that nothing named."""
        if self._left:
            raise ValueError(f"it holds arrays that nothing names: {sorted(self._left)[:5]}")

    READERS = {
        "float": ("float",),
        "tuple": ("tuple",),
        "dict": ("dict",),
        "scalar": ("scalar",),
        "array": ("array", "axes"),
        "strings": ("strings", "shape", "object"),
        "device": ("device",),
        "random_state": ("random_state", "state"),
        "part": ("part", "params"),
        "blueprint": ("blueprint", "fields"),
        "record": ("record", "fields"),
        "torch.nn": ("activation",),
        "torch.optim": ("optimizer",),
    }

    def _float(self, value):
        return float(chosen({name: name for name in ("inf", "-inf", "nan")}, value, "float"))

    def _tuple(self, value):
        return tuple(self.decode(one) for one in required(value, list, "tuple"))

    def _dict(self, value):
        return {key: self.decode(one) for key, one in required(value, dict, "dict").items()}

    def _scalar(self, value):
        array = self._array(value)
        if array.shape != ():
            raise ValueError(f"the number {value!r} has the shape {array.shape}")
        return array[()]

    def _array(self, value, axes=None):
        if required(value, str, "array's name") not in self._left:
            raise ValueError(f"the array {value!r} is missing or is named twice")
        array = self._left.pop(value)
        if axes is None:
            return array
        if not isinstance(axes, list) or sorted(axes) != list(range(array.ndim)):
            raise ValueError(f"the array {value!r} has {array.ndim} axes, not {axes}")
        return array.transpose(np.argsort(axes))

    def _strings(self, value, shape=None, object=False):
        strings = required(value, list, "strings")
        if not all(type(one) is str for one in strings) or shape != [len(strings)]:
            raise ValueError(f"{shown(strings)} is not an array of strings of shape {shape}")
        return np.array(strings, dtype=np.dtype("O") if object else None)

    def _device(self, value):
        return torch.device(required(value, str, "device"))

    def _random_state(self, value, state=None):
        if state is None:
            if not isinstance(value, int) or not 0 <= value < len(self._random_states):
                raise ValueError(f"there is no random state {value!r}")
            return self._random_states[value]
        values = self._dict(state)
        if set(values) != set(RANDOM_FIELDS) or value != len(self._random_states):
            raise ValueError(f"the random state {value!r} has {sorted(values)}")
        random_state = RandomState(0)
        random_state.set_state(("MT19937", *(values[name] for name in RANDOM_FIELDS)))
        self._random_states.append(random_state)
        return random_state

    def _part(self, value, params=None):
        part = chosen(PARTS, value, "part")
        values = self._dict(params)
        check_names(f"the part {value}", values, part._get_param_names())
        return part(**values)

    def _blueprint(self, value, fields=None):
        return self._record(value, fields, KINDS, "blueprint")

    def _record(self, value, fields=None, table=RECORDS, what="record"):
        kind = chosen(table, value, what)
        values = self._dict(fields)
        check_names(f"the {what} {value}", values, names_of(kind))
        return kind(**values)

    def _activation(self, value):
        return chosen(ACTIVATIONS, value, "activation of torch")

    def _optimizer(self, value):
        return chosen(OPTIMIZERS, value, "optimizer of torch")


def names_of(kind: type) -> list[str]:
    """The fields of a dataclass or named tuple."""
    return [field.name for field in fields(kind)] if is_dataclass(kind) else list(getattr(kind, "_fields"))  # noqa: B009


def content(value) -> dict:
    """The fields of a dataclass's or named tuple's instance, with their values."""
    return {name: getattr(value, name) for name in names_of(type(value))}


def required(value, kind: type, what: str):
    if not isinstance(value, kind):
        raise ValueError(f"{shown(value)} is not a {what}")
    return value


def chosen(table: dict, name, what: str):
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"there is no {what} {shown(name)}; there are {sorted(table)[:40]}")
    return table[name]


def check_names(what: str, values: dict, names) -> None:
    """Raise ValueError if the names are not those expected."""
    unknown, missing = sorted(set(values) - set(names)), sorted(set(names) - set(values))
    if unknown or missing:
        raise ValueError(f"{what} has unknown {unknown} and lacks {missing}")


def shown(value) -> str:
    """A short form of any value."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 80 else text[:80] + "..."

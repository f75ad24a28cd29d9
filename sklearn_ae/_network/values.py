"""Values of a blueprint compared, and written as JSON and read back: plain values, arrays, and parts with their parameters."""

import numpy as np
import torch
from torch import nn

from sklearn_ae import architectures, corruptions, latents
from sklearn_ae._component import Part

PARTS: dict[str, type[Part]] = {
    name: getattr(file, name) for file in (architectures, corruptions, latents) for name in file.__all__
} | {"Latent": latents.Latent}


def same_value(a, b) -> bool:
    """Whether two values are equal: arrays and tensors by their entries, parts and modules by what they hold."""
    if a is b:
        return True
    if type(a) is not type(b):
        return isinstance(a, (int, float, np.number)) and isinstance(b, (int, float, np.number)) and a == b
    if isinstance(a, (np.ndarray, torch.Tensor)):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, Part):
        return same_value(a.get_params(deep=False), b.get_params(deep=False))
    if isinstance(a, nn.Module):
        return same_value(held_by(a), held_by(b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same_value, a, b))
    return bool(a == b)


def held_by(module: nn.Module) -> dict:
    """What makes a module what it is: its weights, its children and its attributes, without torch's hooks and caches."""
    attributes = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return attributes | {
        "_parameters": dict(module._parameters),
        "_buffers": dict(module._buffers),
        "_modules": dict(module._modules),
    }


def to_json(value, name: str):
    """A value in plain Python.

    Raises
    ------
    TypeError
        If it cannot be written, since it is code of the user's own.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, tuple):
        return {"tuple": [to_json(one, name) for one in value]}
    if isinstance(value, list):
        return [to_json(one, name) for one in value]
    if isinstance(value, Part) and PARTS.get(type(value).__name__) is type(value):
        params = value.get_params(deep=False)
        return {"part": type(value).__name__, "params": {key: to_json(one, f"{name}__{key}") for key, one in params.items()}}
    raise TypeError(f"{name}={value!r} is code of your own, which cannot be written as plain values; pickle can keep it.")


def from_json(plain):
    """The value that ``to_json`` wrote.

    Raises
    ------
    ValueError
        If it names a part or a parameter that does not exist, or is not of a known form.
    """
    if plain is None or isinstance(plain, (bool, int, float, str)):
        return plain
    if isinstance(plain, list):
        return [from_json(one) for one in plain]
    if isinstance(plain, dict) and plain.keys() == {"array", "dtype"}:
        return np.array(plain["array"], dtype=np.dtype(plain["dtype"]))
    if isinstance(plain, dict) and plain.keys() == {"tuple"}:
        return tuple(from_json(one) for one in plain["tuple"])
    if isinstance(plain, dict) and plain.keys() == {"part", "params"}:
        if plain["part"] not in PARTS:
            raise ValueError(f"There is no part {plain['part']!r}; there are {sorted(PARTS)}.")
        part = PARTS[plain["part"]]
        unknown = sorted(set(plain["params"]) - set(part._get_param_names()))
        if unknown:
            raise ValueError(f"{plain['part']} has no parameters {unknown}.")
        return part(**{key: from_json(one) for key, one in plain["params"].items()})
    raise ValueError(f"Not a value that was written by to_json: {plain!r}.")

"""What is needed to build a network and its score again: a frozen dataclass, compared by value."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from sklearn_ae._component import Part
from sklearn_ae._losses import Loss, make_loss
from sklearn_ae.architectures import Architecture
from sklearn_ae.corruptions import Corruption, FunctionCorruption
from sklearn_ae.latents import Latent


@dataclass(frozen=True, eq=False)
class Configuration:
    """The resolved choices behind a fitted model.

    Attributes
    ----------
    score : str
        A row of `sklearn_ae._scores.SCORES`.
    architecture, latent, corruption : Part
        Copies, so that a later ``set_params`` does not reach them.
    loss : str or nn.Module
    scaling : str or None
        The kind of scaling, ``"auto"`` resolved.
    n_features, n_components : int
    fills_gaps : bool
        Whether the network learns to fill gaps, since training rows have some.
    n_networks : int
        Networks side by side.
    max_samples : int, float or "auto"
        Rows that each of several networks is trained on.
    n_unused : int
        Number of last components that are not in use, because fewer explain the share of the
        variance that was asked for. Known after training only, so it is not compared.
    """

    score: str
    architecture: Architecture
    latent: Latent
    corruption: Corruption | None
    loss: str | nn.Module
    scaling: str | None
    n_features: int
    n_components: int
    fills_gaps: bool
    n_networks: int = 1
    max_samples: int | float | str = "auto"
    n_unused: int = field(default=0, compare=False)

    def __post_init__(self):
        if not 0 <= self.n_unused < self.n_components:
            raise ValueError(f"{self.n_unused} of {self.n_components} components cannot be unused.")

    def make_loss(self) -> Loss:
        return make_loss(self.loss)

    def differences(self, other: Configuration) -> dict[str, tuple]:
        """The attributes in which another configuration differs, each with both values."""
        names = [f.name for f in fields(self) if f.compare]
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return {name: (a, b) for name, (a, b) in pairs.items() if not same_value(a, b)}


def copied_parts(estimator: Any) -> dict:
    """Copies of an estimator's parts; None where a slot is empty."""
    corruption = estimator.corruption
    if corruption is not None and not isinstance(corruption, Corruption):
        corruption = FunctionCorruption(corruption)
    return {
        "architecture": clone(estimator.architecture, safe=False),
        "latent": clone(estimator.latent, safe=False),
        "corruption": clone(corruption, safe=False),
        "loss": copy.deepcopy(estimator.loss),
    }


def same_value(a: Any, b: Any) -> bool:
    """Whether two values are equal: arrays by entries, parts and modules by what they hold."""
    if a is b:
        return True
    if type(a) is not type(b):
        numbers = (int, float, np.number)
        return isinstance(a, numbers) and isinstance(b, numbers) and a == b
    if isinstance(a, (np.ndarray, torch.Tensor)):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, Part):
        return same_value(a.get_params(deep=False), b.get_params(deep=False))
    if isinstance(a, nn.Module):
        return same_value(contents(a), contents(b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same_value, a, b))
    return bool(a == b)


def contents(module: nn.Module) -> dict:
    """A module's weights, children and attributes, without torch's hooks and caches."""
    attributes = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return attributes | {
        "_parameters": dict(module._parameters),
        "_buffers": dict(module._buffers),
        "_modules": dict(module._modules),
    }

"""The parameters that the estimators share, and their ranges."""

from __future__ import annotations  # so that help() shows the names of types and not what they stand for

import inspect
import reprlib
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import chain
from numbers import Integral, Real
from typing import Any, Self, TypeVar

import torch
from numpy.random import RandomState
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sklearn_ae._component import parts_of, validate_slot
from sklearn_ae._data.scaling import KINDS
from sklearn_ae._losses import LOSSES
from sklearn_ae._messages import nearest, validate_params
from sklearn_ae._training.optimizers import OPTIMIZERS
from sklearn_ae._training.schedules import SCHEDULES
from sklearn_ae.architectures import Architecture
from sklearn_ae.corruptions import Corruption
from sklearn_ae.latents import Latent

Init = TypeVar("Init", bound=Callable)

SLOTS = {"architecture": Architecture, "corruption": Corruption, "latent": Latent}


def suggests_names(init: Init) -> Init:
    """Decorate ``__init__`` so that the error of an unknown keyword says what was probably meant."""
    known = inspect.signature(init).parameters

    @wraps(init)
    def __init__(self, *args, **params):
        for name, value in params.items():
            if name not in known:
                hint = suggestion(type(self), name, value)
                raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}. {hint}".strip())
        init(self, *args, **params)

    return __init__  # type: ignore[return-value]


def suggestion(estimator: type[BaseEstimator], name: str, value: Any) -> str:
    """What to write in place of a parameter that an estimator does not have; empty if nothing is like it."""
    own = estimator._get_param_names()
    parts = {(slot, part): kind._get_param_names() for slot, base in SLOTS.items() for part, kind in parts_of(base).items()}
    found = nearest(name, [*own, *chain.from_iterable(parts.values())])
    if found is None or found in own:
        return f"Did you mean {found}?" if found else ""
    having = [f"{slot}={part}({found}={reprlib.repr(value)})" for (slot, part), names in parts.items() if found in names]
    return f"It is for a part: pass {' or '.join(sorted(having, key=len))}."


class SharedParameters(BaseEstimator):
    """An estimator with these parameters."""

    n_components: Any  # int; in the transformer also a share of the variance, in the detector "auto"
    early_stopping: Any  # bool, and in the detector also "auto"

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": "no_validation",  # the slots have messages of their own
        "corruption": "no_validation",
        "latent": "no_validation",
        "loss": [StrOptions(set(LOSSES)), callable],
        "scaling": [StrOptions({"auto", *KINDS}), None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), type],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions(set(SCHEDULES)), callable],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "compile": ["boolean"],
        "mixed_precision": ["boolean"],
        "callbacks": [list, tuple, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    @suggests_names
    def __init__(
        self,
        n_components: float = 2,
        *,
        architecture: Architecture | None = None,
        corruption: Corruption | Callable[[torch.Tensor], torch.Tensor] | None = None,
        latent: Latent | None = None,
        loss: str | nn.Module | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = "squared_error",
        scaling: str | None = "auto",
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        learning_rate: float | str = "auto",
        learning_rate_schedule: str | Callable[[float], float] = "one_cycle",
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        early_stopping: bool = True,
        validation_fraction: float | str = "auto",
        n_iter_no_change: int | None = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        device: str | torch.device = "auto",
        compile: bool = False,
        mixed_precision: bool = False,
        callbacks: Sequence | None = None,
        verbose: int = 0,
        random_state: int | RandomState | None = None,
    ):
        self.n_components = n_components
        self.architecture = architecture
        self.corruption = corruption
        self.latent = latent
        self.loss = loss
        self.scaling = scaling
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.compile = compile
        self.mixed_precision = mixed_precision
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def set_params(self, **params) -> Self:
        """Set the parameters of this estimator and of its parts.

        Parameters
        ----------
        **params : dict
            ``n_components=4``, or ``latent__beta=2`` for a parameter of the part in a slot.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter of a part is set while its slot is empty.
        """
        for name, value in params.items():
            slot, _, parameter = name.partition("__")
            if slot not in self._get_param_names() and (hint := suggestion(type(self), slot, value)):
                raise ValueError(f"Invalid parameter {slot!r} for {type(self).__name__}. {hint}")
            if parameter and slot in SLOTS and params.get(slot, getattr(self, slot)) is None:
                raise ValueError(no_part_message(slot, parameter))
        return super().set_params(**params)

    def _validate_params(self) -> None:
        validate_params(self)

    def _validate_parts(self) -> None:
        for slot, base in SLOTS.items():
            validate_slot(slot, getattr(self, slot), base, function=slot == "corruption")

    def _scaling_kind(self, auto: str) -> str | None:
        """The kind of scaling; `auto` is that of ``"auto"`` where the loss allows any."""
        scales = not isinstance(self.loss, str) or LOSSES[self.loss].scales
        if self.scaling == "auto":
            return auto if scales else None
        if self.scaling is not None and not scales:
            raise ValueError(
                f"loss={self.loss!r} compares with the data as they are; scaling={self.scaling!r} must be None or 'auto'."
            )
        return self.scaling


def no_part_message(slot: str, parameter: str) -> str:
    having = [name for name, part in sorted(parts_of(SLOTS[slot]).items()) if parameter in part._get_param_names()]
    if not having:
        return f"{slot} is None, and no part for it has a parameter {parameter!r}."
    return (
        f"{slot} is None, so {slot}__{parameter} cannot be set; pass {' or '.join(f'{slot}={name}(...)' for name in having)} first."
    )

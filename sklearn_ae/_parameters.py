"""The parameters that the estimators share: their descriptions and their ranges."""

from __future__ import annotations  # so that help() shows the names of types

import inspect
import os
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

PARAMETERS = """
architecture : part of :mod:`sklearn_ae.architectures` or None, default=None
    Encoder and decoder: `Dense`, `Convolutional` or `Custom`. {architecture}
corruption : part of :mod:`sklearn_ae.corruptions`, callable or None, default=None
    What is done to the input in training; the output is compared with the clean input:
    `GaussianNoise`, `Masking`, `SaltAndPepper`, or a function from a batch to one of the same
    shape. None corrupts nothing.
latent : part of :mod:`sklearn_ae.latents` or None, default=None
    What the code is: `Ordered`, `Sparse`, `Contractive`, `Variational` or `Quantized`. None is a
    plain code.
loss : {{"squared_error", "absolute_error", "huber", "binary_cross_entropy"}} or callable, \
        default="squared_error"
    Reconstruction loss, a mean over features in scaled units. ``"binary_cross_entropy"`` needs data
    in [0, 1] and gives probabilities. A function or an ``nn.Module`` is called as ``loss(raw, x)``
    and must give one number per sample, or one per sample and feature.
scaling : {{"auto", "standard", "mixed", "bounded", "robust", "uniform"}} or None, default="auto"
    A map at both ends of the network, computed from the training data. ``"standard"`` subtracts the
    mean and divides by the standard deviation. ``"mixed"`` does so too, but divides columns of
    zeros and ones by one half, so that rare categories do not weigh more than numbers.
    ``"bounded"`` does as ``"standard"``, but divides a feature that has one value in nine tenths of
    the rows by at least half of its largest deviation. ``"robust"`` uses the median and the range
    from the 10% to the 90% quantile; the values of a column that has only two are half a unit
    apart. ``"uniform"`` divides all features by one number, so that zeros stay zeros. The inverse
    undoes all of it. None leaves the data as they are. ``"auto"`` is None for cross-entropy,
    {scaling} otherwise.
optimizer : {{"adam", "adamw", "sgd", "rmsprop", "nadam", "radam", "adagrad"}} or class, \
        default="{optimizer}"
    The optimiser, by name or as a class from ``torch.optim``. ``"sgd"`` has Nesterov momentum of
    0.9.
learning_rate : float or "auto", default="auto"
    The largest learning rate of the schedule; ``"auto"`` is {learning_rate}.
learning_rate_schedule : {{"one_cycle", "cosine", "constant", "plateau"}} or callable, \
        default="one_cycle"
    How the learning rate changes: up over the first 30% of the steps and down to zero; down to zero
    along half a cosine; not at all; or to 0.3 of itself whenever `n_iter_no_change` epochs bring no
    improvement. A callable takes the share of training done, in [0, 1), and gives a factor.
weight_decay : float, default=0.0
    Weight decay, as the optimiser defines it.
max_grad_norm : float or None, default={max_grad_norm}
    Gradients of a greater norm are scaled down to it; None leaves them as they are.
max_epochs : int or "auto", default="auto"
    Passes over the training rows. {max_epochs}
batch_size : int or "auto", default="auto"
    Rows in a batch. {batch_size}
early_stopping : bool, default={early_stopping}
    Hold out rows, and keep the weights of the epoch with the lowest loss on them, or those from
    before training if none was better by more than 1 + 5 / n standard errors, of n rows held out;
    these are then computed again from all rows.
validation_fraction : float in (0, 1) or "auto", default="auto"
    Share of the rows held out. {validation_fraction}
n_iter_no_change : int or None, default=None
    With `early_stopping`, training ends after this many epochs without improvement. None trains to
    the end of the schedule.
tol : float, default=1e-4
    What counts as improvement, as a share of the loss.
warm_start : bool, default=False
    Start from the weights and the scaling of the last fit. Rows are identified by their position:
    those that were held out are held out again, so rows must keep their places, and new ones are
    appended. Set it before the first fit.
device : str or torch.device, default="auto"
    Where to compute; ``"auto"`` is a GPU if there is one.
compile : bool, default=False
    Compile the training step with ``torch.compile``: worth its tens of seconds in long trainings
    only.
mixed_precision : bool, default=False
    Train in bfloat16 where that is safe; faster on recent GPUs, slower on most CPUs.
callbacks : list of skorch callbacks or None, default=None
    Called in training, as skorch documents them. Hooks for each batch cost time; those for each
    epoch cost hardly any. scikit-learn's own, from version 1.9 on, are set by ``set_callbacks``.
checkpoint : str, path-like or None, default=None
    A file in which ``fit`` keeps the state of its training, at the end of an epoch and at most
    every 30 seconds. If the process is killed, a ``fit`` with the same parameters and data goes on
    from there and gives what an undisturbed one would have given. Another fit is refused. The file
    is removed when the fit has ended. Loading it runs no code. Users' callbacks start anew. Of
    several processes that fit together (`sklearn_ae.distributed.fit`, Dask), the first one alone
    reads and writes the file, and all go on from it.
verbose : int, default=0
    Whether training is shown. 0 is silent. 1 shows a bar with the losses, the best epoch and the
    time left, or a few lines where the output is no terminal and no notebook. 2 prints a line for
    each epoch.
random_state : int, RandomState instance or None, default=None
    Seeds everything random: the same number gives the same result on the same machine in as many
    threads. None takes a seed from NumPy's global generator, as everywhere in scikit-learn.
"""

ATTRIBUTES = """
net_ : skorch.NeuralNet
    The trained net; ``net_.module_`` is the torch module.
n_components_ : int
    Length of a code; in an ensemble, of each member's code.
n_iter_ : int
    Epochs run by the last fit.
loss_curve_ : list of float
    The training objective, epoch by epoch.
validation_loss_curve_ : list of float or None
    The same on the rows held out; None without `early_stopping`.
best_epoch_ : int
    The epoch whose weights were kept, from 1: the last one without `early_stopping`. 0 if those
    from before training were.
n_features_in_ : int
    Features seen in fit.
feature_names_in_ : ndarray of shape (n_features_in_,)
    Their names, if X had any.
"""

NOTES = """
- **Units.** Data can be in any units: they are scaled inside, and reconstructions come in the
  data's own.
- **Missing values** are NaN. Columns of text or categories are encoded first, by
  `sklearn.preprocessing.OneHotEncoder` for example.
- **DataFrames.** ``set_output(transform="pandas")`` holds for all answers with a column for each
  feature or component, which then have the names and the index of X. Labels, scores and p-values
  are arrays.
- **Progress.** ``verbose=1`` shows a bar. ``sklearn_ae.inspection.LossCurveDisplay`` shows whether
  training has converged.
- **Too slow?** Lower `max_epochs`. A GPU is taken if there is one.
- **The same result each time:** set `random_state`.
- **The length of the code:** ``sklearn_ae.inspection.ExplainedVarianceDisplay`` compares some,
  `GridSearchCV` searches.
- **More rows than memory:** pass a ``numpy.memmap``, or call ``partial_fit`` with chunks.
- **Save:** ``sklearn_ae.persistence.save(estimator, "file.safetensors")``; loading runs no code. A
  pickle or a joblib file runs any code that is in it: never load one from somebody you do not
  trust.
- **Your own network, loss or corruption** goes into its slot: ``architecture=Custom(encoder,
  decoder)``, ``loss=function``.
- **In a pipeline**, what only this estimator has is asked by the functions of
  `sklearn_ae.pipelines`: ``reconstruct(pipeline, X)``.
"""

SLOTS = {"architecture": Architecture, "corruption": Corruption, "latent": Latent}


def suggests_names(init: Init) -> Init:
    """Decorate ``__init__``: the error of an unknown keyword says what was probably meant."""
    known = inspect.signature(init).parameters

    @wraps(init)
    def __init__(self, *args, **params):
        for name, value in params.items():
            if name not in known:
                hint = suggestion(type(self), name, value)
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected keyword argument {name!r}. "
                    f"{hint}".strip()
                )
        init(self, *args, **params)

    return __init__  # type: ignore[return-value]


def suggestion(estimator: type[BaseEstimator], name: str, value: Any) -> str:
    """What to write in place of a parameter that an estimator does not have; empty if nothing is
    like it.
    """
    own = estimator._get_param_names()
    parts = {
        (slot, part): kind._get_param_names()
        for slot, base in SLOTS.items()
        for part, kind in parts_of(base).items()
    }
    found = nearest(name, [*own, *chain.from_iterable(parts.values())])
    if found is None or found in own:
        return f"Did you mean {found}?" if found else ""
    having = [
        f"{slot}={part}({found}={reprlib.repr(value)})"
        for (slot, part), names in parts.items()
        if found in names
    ]
    return f"It is for a part: pass {' or '.join(sorted(having, key=len))}."


class SharedParameters(BaseEstimator):
    """An estimator with these parameters."""

    n_components: (
        Any  # int; in the transformer also a share of the variance, in the detector "auto"
    )
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
        "checkpoint": [str, os.PathLike, None],
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
        loss: str
        | nn.Module
        | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = "squared_error",
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
        checkpoint: str | os.PathLike | None = None,
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
        self.checkpoint = checkpoint
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
            if slot not in self._get_param_names() and (
                hint := suggestion(type(self), slot, value)
            ):
                raise ValueError(f"Invalid parameter {slot!r} for {type(self).__name__}. {hint}")
            if parameter and slot in SLOTS and params.get(slot, getattr(self, slot)) is None:
                raise ValueError(no_part_message(slot, parameter))
        return super().set_params(**params)

    def _validate_params(self) -> None:
        validate_params(self)

    def _validate_parts(self) -> None:
        for slot, base in SLOTS.items():
            validate_slot(slot, getattr(self, slot), base, function=slot == "corruption")


def no_part_message(slot: str, parameter: str) -> str:
    having = [
        name
        for name, part in sorted(parts_of(SLOTS[slot]).items())
        if parameter in part._get_param_names()
    ]
    if not having:
        return f"{slot} is None, and no part for it has a parameter {parameter!r}."
    choices = " or ".join(f"{slot}={name}(...)" for name in having)
    return f"{slot} is None, so {slot}__{parameter} cannot be set; pass {choices} first."


def describe(**defaults):
    """Fill a class's docstring with what both estimators share, `defaults` being what differs."""

    def fill(cls):
        text = inspect.cleandoc(cls.__doc__)
        text = text.replace("<parameters>", PARAMETERS.strip().format(**defaults))
        cls.__doc__ = text.replace("<attributes>", ATTRIBUTES.strip()).replace(
            "<notes>", NOTES.strip()
        )
        return cls

    return fill

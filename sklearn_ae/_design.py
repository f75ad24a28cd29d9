"""From an estimator's parameters and a source of rows to a model that has started, and the net that
trains it.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import RandomState
from torch import nn

from sklearn_ae import _defaults
from sklearn_ae._configuration import Configuration
from sklearn_ae._data.scaling import fit_scaling
from sklearn_ae._data.sources import Scaled, Source
from sklearn_ae._losses import LOSSES, check_range
from sklearn_ae._model import Model
from sklearn_ae._network.checks import check_batch_norm
from sklearn_ae._scores import SCORES
from sklearn_ae._torch import available_threads, one_blas_thread
from sklearn_ae._training.net import AutoencoderNet, GivenSplit
from sklearn_ae._training.optimizers import OPTIMIZERS
from sklearn_ae._training.progress import Progress, StreamProgress
from sklearn_ae._training.schedules import warm_up


class Started(NamedTuple):
    """A model with its starting weights, all rows, those to train on and those to validate on."""

    model: Model
    rows: Scaled
    train: Any
    held_out: Any


def start_model(
    configuration: Configuration,
    source: Source,
    previous: Model | None,
    validation: np.ndarray | float | str | None,
    device: torch.device,
    random_state: RandomState,
) -> Started:
    """Scale the rows, build the network, and set its starting weights, or those of the previous
    model.

    Parameters
    ----------
    configuration : Configuration
    source : Source
        Rows in the data's own units.
    previous : Model or None
        What a warm start goes on from.
    validation : float, "auto", ndarray of integers or None
        The share of rows held out to choose the best epoch by, or which; None for none.
    device : torch.device
    random_state : RandomState

    Raises
    ------
    ValueError
        If a warm start would go on with another kind of network or data, or the loss cannot compare
        the data.
    """
    if previous is not None:
        check_same(previous.configuration, configuration)
    loss = configuration.make_loss()
    check_range(loss, configuration.loss, source)
    score = SCORES[configuration.score](configuration)
    with one_blas_thread():
        scaling = (
            previous.scaling
            if previous
            else fit_scaling(configuration.scaling, source, random_state).within(loss.range)
        )
        rows = Scaled(source, scaling, device)
        prepared = score.prepare(
            rows, validation, None if previous is None else previous.network, random_state
        )
    return Started(Model(scaling, score), rows, prepared.train, prepared.held_out)


def check_same(before: Configuration, now: Configuration) -> None:
    """Raise ValueError if a warm start would go on with another kind of network or data than the
    last fit's.
    """
    for name, (a, b) in before.differences(now).items():
        raise ValueError(
            f"warm_start=True goes on from the last fit, but {name} was {a} and is {b}; set it "
            "back, or pass warm_start=False."
        )


def scaling_kind(estimator: Any, auto: str) -> str | None:
    """The kind of scaling; `auto` is that of ``"auto"`` where the loss allows any."""
    scales = not isinstance(estimator.loss, str) or LOSSES[estimator.loss].scales
    if estimator.scaling == "auto":
        return auto if scales else None
    if estimator.scaling is not None and not scales:
        raise ValueError(
            f"loss={estimator.loss!r} compares with the data as they are; "
            f"scaling={estimator.scaling!r} must be None or 'auto'."
        )
    return estimator.scaling


def make_net(estimator: Any, started: Started, stream: bool = False) -> AutoencoderNet:
    """skorch's net around the model's network, with the estimator's parameters of training."""
    model, _, train, held_out = started
    module, device, n = model.network, train.device, train.n_all
    rate, batch_size, max_epochs = estimator._plan(model.score, n)
    schedule = estimator.learning_rate_schedule
    if stream:
        batch_size = (
            _defaults.USUAL_BATCH if isinstance(estimator.batch_size, str) else estimator.batch_size
        )
        rate, schedule = _defaults.STREAM_RATE * _defaults.width_factor(train.n_features), warm_up
    check_batch_norm(module, train, batch_size)
    n_parameters = sum(p.numel() for p in module.parameters())
    n_threads = (
        _defaults.training_threads(n_parameters, batch_size, train.n_features)
        or available_threads()
    )
    progress = (StreamProgress if stream else Progress)(
        type(estimator).__name__, int(estimator.verbose)
    )
    return AutoencoderNet(
        model.score.to(device).network,
        criterion=nn.Identity,  # the module's objective takes its place
        lr=rate if estimator.learning_rate == "auto" else estimator.learning_rate,
        max_epochs=max_epochs if estimator.max_epochs == "auto" else estimator.max_epochs,
        batch_size=batch_size,
        train_split=None if held_out is None else GivenSplit(train, held_out),
        callbacks=None if estimator.callbacks is None else list(estimator.callbacks),
        verbose=0,  # ours is shown by a watcher
        watchers=(progress,) if estimator.verbose else (),
        device=device,
        compile_step=estimator.compile,
        mixed_precision=estimator.mixed_precision,
        schedule=schedule,
        patience=patience(estimator, held_out is not None),
        tol=estimator.tol,
        keep_best=held_out is not None,
        max_norm=estimator.max_grad_norm,
        n_threads=n_threads,
        **optimizer_params(estimator),
    )


def patience(estimator: Any, held_out: bool) -> int | None:
    """Epochs without improvement after which training stops; None never stops it."""
    if estimator.learning_rate_schedule == "plateau":
        return estimator.n_iter_no_change or 10
    return estimator.n_iter_no_change if held_out else None


def optimizer_params(estimator: Any) -> dict:
    """The optimiser's class and options, as skorch's net takes them."""
    optimizer: Any = estimator.optimizer
    options: dict = {}
    if isinstance(optimizer, str):
        optimizer, options = OPTIMIZERS[optimizer]
    elif not issubclass(optimizer, torch.optim.Optimizer) or issubclass(
        optimizer, torch.optim.LBFGS
    ):
        raise ValueError(
            f"optimizer must be one of {sorted(OPTIMIZERS)} or a class of torch.optim that takes "
            f"mini-batches, got {optimizer!r}."
        )
    offers = {"weight_decay": estimator.weight_decay, "max_norm": estimator.max_grad_norm}
    takes = inspect.signature(optimizer).parameters
    options = {**options, **{name: value for name, value in offers.items() if name in takes}}
    return {
        "optimizer": optimizer,
        **{f"optimizer__{name}": value for name, value in options.items()},
    }

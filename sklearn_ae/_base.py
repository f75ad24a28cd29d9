"""How a network is fitted, from top to bottom."""

from __future__ import annotations  # so that help() shows the names of types and not what they stand for

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from torch import nn

from sklearn_ae._data.held_out import HeldOutRows
from sklearn_ae._data.inputs import as_source
from sklearn_ae._data.scaling import RunningScaling, Scaling, fit_scaling
from sklearn_ae._data.sources import Scaled, Source
from sklearn_ae._fitted import FittedAutoencoder
from sklearn_ae._losses import check_range
from sklearn_ae._network.blueprint.single import Blueprint, Prepared, make_parts
from sklearn_ae._network.checks import check_batch_norm
from sklearn_ae._parameters import SharedParameters
from sklearn_ae._records import record
from sklearn_ae._torch import available_threads, find_device, one_blas_thread, plain_torch, torch_seed
from sklearn_ae._training import rules
from sklearn_ae._training.callbacks import CallbackSupportMixin, FitCallbacks, fit_callbacks
from sklearn_ae._training.net import AutoencoderNet, GivenSplit
from sklearn_ae._training.optimizers import OPTIMIZERS
from sklearn_ae._training.progress import Progress, StreamProgress, Watcher
from sklearn_ae._training.schedules import last_steps, warm_up


@record
class Stream(NamedTuple):
    """What ``partial_fit`` goes on from, besides the network."""

    random_state: RandomState
    scaling: RunningScaling


class BaseAutoencoder(CallbackSupportMixin, SharedParameters, FittedAutoencoder):
    """Base of the estimators."""

    _stream: Stream | None = None
    _validation_memory: HeldOutRows | None
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Train on X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, in any units. NaN stands for a missing value.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0. Only their ratios count. A weight of 0 leaves a row out; a weight of 2 counts for two
            equal rows, in expectation. None weighs all rows the same.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If X or a parameter is not valid; the estimator is then as it was before.
        FloatingPointError
            If training diverges.
        KeyboardInterrupt
            If Ctrl-C is pressed. After the first epoch the estimator then keeps the best weights so far; before that it is left as
            it was.
        """
        callbacks = fit_callbacks(self, X, y, sample_weight)
        with all_or_nothing(self), plain_torch(), torch.enable_grad():
            self._validate_parts()
            source = as_source(self, X, sample_weight, reset=True)
            source.forget_equal_weights()
            self._fit(source, check_random_state(self.random_state), callbacks)
            if callbacks is not None:
                callbacks.end_fit()
        self._raise_if_interrupted()
        self._warn_if_not_converged()
        return self

    def _fit(self, source: Source, random_state: RandomState, callbacks: FitCallbacks | None = None) -> None:
        """Train on all rows of a source: blueprint, scaling, network, training, and what is kept of it."""
        seed, device = random_state.randint(np.iinfo(np.int32).max), find_device(self.device)
        blueprint = self._make_blueprint(source, random_state)
        previous = self.net_ if self.warm_start and hasattr(self, "net_") else None
        if previous is not None:
            check_same(self._blueprint, blueprint)
        loss = blueprint.make_loss()
        check_range(loss, blueprint.loss, source)
        with torch_seed(seed, device):
            validation: float | str | np.ndarray | None = self.validation_fraction if self._stops_early() else None
            if self.warm_start and validation is not None:
                n_held_out = rules.n_held_out(self.validation_fraction, source.n_rows)
                memory = self._memory("_validation_memory", "warm_start=True and early_stopping=True")
                validation, self._validation_memory = memory.choose(source, min(n_held_out, source.n_rows - 1), random_state)
            else:
                self._validation_memory = None
            with one_blas_thread():
                scaling = self._scaling if previous else fit_scaling(blueprint.scaling, source, random_state).within(loss.range)
                rows = Scaled(source, scaling, device)
                prepared = blueprint.prepare(rows, validation, previous and previous.module_, random_state)
            net = self._make_net(blueprint, prepared, device)
            if callbacks is not None:
                callbacks.watch(net, lambda twin, now: twin._keep_so_far(blueprint, scaling, now, rows, prepared))
            net.fit(prepared.train)
            blueprint = self._judge(blueprint, net.module_, prepared.train if prepared.held_out is None else prepared.held_out)
            net.watchers = ()
            if previous is None and net.best_epoch_ == 0:
                blueprint.restart(net.module_, rows)
            elif self._learns_again(blueprint, net, rows.n_rows):
                self._learn_again(blueprint, net, rows, random_state)
            blueprint.finish(net.module_, prepared.train)
        self._keep_fitted(blueprint, scaling, net, rows)

    def _stops_early(self) -> bool:
        return self.early_stopping

    def _memory(self, name: str, needed: str) -> HeldOutRows:
        """The rows of earlier fits, with which a warm start goes on."""
        memory = getattr(self, name, None)
        if memory is None and hasattr(self, "net_"):
            warnings.warn(
                f"warm_start=True goes on from a fit that was made without {needed} and has not noted its rows. Rows that are held "
                f"out now may have been learnt then, and judge too kindly. Set {needed} before the first fit.",
                UserWarning,
                stacklevel=5,
            )
        return memory or HeldOutRows()

    def _make_blueprint(self, source: Source, random_state: RandomState) -> Blueprint:
        """What is built, from this estimator's parameters."""
        auto = "uniform" if source.is_sparse else "mixed" if self.corruption is None else "bounded"
        return Blueprint(**make_parts(self, source), scaling=self._scaling_kind(auto), n_components=self.n_components)

    def _judge(self, blueprint: Blueprint, module: Any, rows: Source) -> Blueprint:
        """Look at what has been trained, on rows held out if there are any; gives the blueprint of what is kept of it."""
        return blueprint

    def _learns_again(self, blueprint: Blueprint, net: AutoencoderNet, n: int) -> bool:
        """Whether rows are so few that those held out are learnt too, once they have judged."""
        return False

    def _learn_again(self, blueprint: Blueprint, net: AutoencoderNet, rows: Scaled, random_state: RandomState) -> None:
        """Go on from the best weights for a few steps, on all rows."""
        prepared = blueprint.prepare(rows, None, net.module_, random_state)
        again = self._make_net(blueprint, prepared, rows.device)
        again.max_epochs = rules.last_epochs(again.max_epochs, net.best_epoch_ / net.max_epochs)
        if not again.max_epochs:
            return
        again.schedule, again.keep_average, again.watchers = last_steps, True, ()
        try:
            again.fit(prepared.train)
        except FloatingPointError:  # the best weights so far are kept, and so after Ctrl-C
            return
        except KeyboardInterrupt as interrupt:  # before the end of an epoch
            net.interrupted_ = interrupt
            return
        net.interrupted_ = again.interrupted_
        if net.interrupted_ is None:
            net.module_.load_state_dict(again.module_.state_dict())

    def _make_net(self, blueprint: Blueprint, prepared: Prepared, device: torch.device, stream: bool = False) -> AutoencoderNet:
        module, train, held_out = prepared
        n = train.n_rows
        batch_size = blueprint.batch_size(n) if isinstance(self.batch_size, str) else min(self.batch_size, n)
        rate, schedule = blueprint.learning_rate(), self.learning_rate_schedule
        if stream:
            batch_size = rules.USUAL_BATCH if isinstance(self.batch_size, str) else self.batch_size
            rate, schedule = rules.STREAM_RATE * rules.width_factor(blueprint.n_features), warm_up
        check_batch_norm(module, train, batch_size)
        n_parameters = sum(p.numel() for p in module.parameters())
        return AutoencoderNet(
            module.to(device),
            criterion=nn.Identity,  # the module's objective takes its place
            lr=rate if self.learning_rate == "auto" else self.learning_rate,
            max_epochs=blueprint.max_epochs(n, batch_size) if self.max_epochs == "auto" else self.max_epochs,
            batch_size=batch_size,
            train_split=None if held_out is None else GivenSplit(train, held_out),
            callbacks=None if self.callbacks is None else list(self.callbacks),
            verbose=0,  # ours is shown by a watcher
            watchers=self._watchers(stream),
            device=device,
            compile_step=self.compile,
            mixed_precision=self.mixed_precision,
            schedule=schedule,
            patience=self._patience(held_out is not None),
            tol=self.tol,
            keep_best=held_out is not None,
            max_norm=self.max_grad_norm,
            n_threads=rules.training_threads(n_parameters, batch_size, blueprint.n_features) or available_threads(),
            **self._optimizer_params(),
        )

    def _watchers(self, stream: bool) -> tuple[Watcher, ...]:
        if not self.verbose:
            return ()
        return ((StreamProgress if stream else Progress)(type(self).__name__, int(self.verbose)),)

    def _optimizer_params(self) -> dict:
        if isinstance(self.optimizer, str):
            optimizer, options = OPTIMIZERS[self.optimizer]
        else:
            optimizer, options = self.optimizer, {}
            if not issubclass(optimizer, torch.optim.Optimizer) or issubclass(optimizer, torch.optim.LBFGS):
                raise ValueError(
                    f"optimizer must be one of {sorted(OPTIMIZERS)} or a class of torch.optim that takes mini-batches, "
                    f"got {optimizer!r}."
                )
        offers = {"weight_decay": self.weight_decay, "max_norm": self.max_grad_norm}
        takes = inspect.signature(optimizer).parameters
        options = {**options, **{name: value for name, value in offers.items() if name in takes}}
        return {"optimizer": optimizer, **{f"optimizer__{name}": value for name, value in options.items()}}

    def _patience(self, held_out: bool) -> int | None:
        if self.learning_rate_schedule == "plateau":
            return self.n_iter_no_change or 10
        return self.n_iter_no_change if held_out else None

    def _keep_fitted(self, blueprint: Blueprint, scaling: Scaling, net: AutoencoderNet, rows: Scaled) -> None:
        before = (self.loss_curve_, self.validation_loss_curve_) if self.warm_start and hasattr(self, "loss_curve_") else ([], None)
        history = [epoch for epoch in net.history if "train_loss" in epoch]  # a callback may have ended an epoch before its time
        self._blueprint, self._scaling = blueprint, scaling
        self.loss_curve_ = [*before[0], *(epoch["train_loss"] for epoch in history)]
        self.validation_loss_curve_ = None
        if net.keep_best:
            self.validation_loss_curve_ = [*(before[1] or []), *(epoch["valid_loss"] for epoch in history if "valid_loss" in epoch)]
        self.n_iter_ = len(history)
        self.best_epoch_ = net.best_epoch_
        net.train_split = None
        self.net_, self._n_rows, self._stream = net, rows.n_rows, None
        self._keep_codes(rows)

    def _keep_so_far(self, blueprint: Blueprint, scaling: Scaling, net: AutoencoderNet, rows: Scaled, prepared: Prepared) -> None:
        """Keep what a fit in progress has learnt so far, without a change to its course."""
        devices = [rows.device] if rows.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            net = net.as_if_ended()
            judges = prepared.train if prepared.held_out is None else prepared.held_out
            blueprint = self._judge(blueprint, net.module_, judges)
            blueprint.finish(net.module_, prepared.train)
            self._keep_fitted(blueprint, scaling, net, rows)

    def _keep_codes(self, rows: Scaled) -> None:
        """Keep what the encoder gives for some rows, for `sample`."""
        net, blueprint = self.net_, self._blueprint
        with torch.inference_mode():
            n_codes = blueprint.n_codes(sum(p.numel() for p in net.module_.parameters()))
            some = torch.randperm(rows.n_rows, generator=torch.Generator().manual_seed(0))[:n_codes]
            if rows.weight is not None:
                some = torch.from_numpy(rows.representative(n_codes, RandomState(0)))
            batch = rows.take(some)
            self._codes = halved(net.module_.encoder_output(batch.x, batch.mask).cpu().numpy())

    def _raise_if_interrupted(self) -> None:
        """Raise the Ctrl-C that ended training, so that a search stops too; the estimator is fitted all the same."""
        interrupt, self.net_.interrupted_ = self.net_.interrupted_, None
        if interrupt is not None:
            kept = f"epoch {self.best_epoch_}" if self.best_epoch_ else "the start, which no epoch has improved on"
            interrupt.add_note(
                f"{type(self).__name__} was interrupted after {self.n_iter_} epochs and keeps the weights of {kept}: it is fitted."
            )
            raise interrupt

    def _warn_if_not_converged(self) -> None:
        if self.max_epochs == "auto":  # planned, with a schedule that ends at a rate of zero
            return
        net, curve = self.net_, self.loss_curve_
        anneals = net.schedule in ("one_cycle", "cosine")
        fall = rules.STILL_FALLING if anneals else self.tol
        before = min(curve[-4:-1], default=np.inf)
        if self.n_iter_ < net.max_epochs or curve[-1] >= before - fall * abs(before):
            return
        warnings.warn(
            f"The training loss was still falling when training reached max_epochs={net.max_epochs}; "
            "raise max_epochs or learning_rate.",
            ConvergenceWarning,
            stacklevel=4,
        )


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Whatever goes wrong inside the block, Ctrl-C included, the estimator is left as it was."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


def halved(codes: np.ndarray) -> np.ndarray:
    """Codes (n_rows, ...) in half precision, where that changes none by more than a hundredth of its component's deviation."""
    with np.errstate(over="ignore"):
        half = codes.astype(np.float16)
    deviation = codes.std(axis=0)
    allowed = rules.HALF_ENOUGH * np.maximum(deviation, 0.1 * deviation.mean())  # components that hardly vary need not be exact
    return half if (np.abs(half - codes) <= allowed).all() else np.ascontiguousarray(codes)


def check_same(before: Blueprint, now: Blueprint) -> None:
    """Raise ValueError if a warm start would go on with another kind of network or data than the last fit's."""
    for name, (a, b) in before.differences(now).items():
        raise ValueError(
            f"warm_start=True goes on from the last fit, but {name} was {a} and is {b}; set it back, or pass warm_start=False."
        )

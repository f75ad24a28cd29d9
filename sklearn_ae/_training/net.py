"""The training engine: skorch's NeuralNet around the bare loop. The only file that imports skorch."""

import copy
import math
from contextlib import ExitStack, nullcontext, suppress

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.utils import TeeGenerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.batches import Batches
from sklearn_ae._data.scaling import Scaling
from sklearn_ae._data.sources import ArraySource, Scaled
from sklearn_ae._defaults import stream_decay
from sklearn_ae._torch import threads
from sklearn_ae._training.loop import JUDGED_ROWS, Loop
from sklearn_ae._training.schedules import SCHEDULES
from sklearn_ae._training.state import TrainingState, as_arrays, improved_significantly

STREAM_WARM_UP = 100  # steps over which the learning rate of a stream rises
KEPT_CHUNKS = 100  # in the net's history


class StopTraining(Exception):
    """Training is over before its last epoch."""


class GivenSplit:
    """Rows to train and to validate on that were chosen beforehand. A pickle of the net does not take them along."""

    def __init__(self, train: Dataset | None = None, held_out: Dataset | None = None):
        self.train, self.held_out = train, held_out

    def __call__(self, dataset, y=None):
        return self.train, self.held_out

    def __reduce__(self):
        return GivenSplit, ()


class AutoencoderNet(Loop, NeuralNet):
    """skorch's net, without its cost per batch.

    Batches are slices of rows that are already on the device; the loss is read once an epoch. Batch hooks are called, and batches
    noted in the history, only when a callback asks for them; otherwise the history has one entry for all batches of an epoch, which
    `Checkpoint` and `PassthroughScoring` read. Targets are the clean rows. All that a step changes is in ``state_``.

    Parameters
    ----------
    schedule : str or callable
        A name in `SCHEDULES`, or a function from the share of training done, in [0, 1), to a factor of the learning rate.
    patience : int or None
        Epochs without improvement before training stops; None never stops.
    tol : float
        What counts as improvement, as a share of the best loss.
    keep_best : bool
        Whether the weights of the epoch with the lowest validation loss are put back at the end, or those from before training if
        no epoch was better than they by more than a standard error over the validation rows. What is judged and kept is a
        moving average of the weights over the last 50 steps or so.
    keep_average : bool
        Whether the averaged weights are kept at the end, where nothing is held out.
    max_norm : float or None
        The greatest norm that a gradient may have; None leaves it.
    n_threads : int or None
        Threads of torch while training on the CPU; None leaves them.
    compile_step : bool
        Whether forward, loss and backward are compiled. skorch's own ``compile`` would wrap the module and rename its weights.
    mixed_precision : bool
        Whether the forward pass computes in bfloat16 where that is safe.
    resume_from : dict or None
        What ``state_.state_dict()`` gave at the end of an epoch of the same plan, to go on from.
    watchers : sequence of Watcher
        Who is told of the training besides skorch's callbacks.

    Attributes
    ----------
    state_ : TrainingState or None
        Present while training, and between the chunks of a stream.
    best_epoch_ : int
        The epoch whose weights were kept, from 1; 0 if those from before training were.
    interrupted_ : KeyboardInterrupt or None
        What ended training, if Ctrl-C did.
    """

    def __init__(
        self,
        *args,
        schedule="constant",
        patience=None,
        tol=0.0,
        keep_best=False,
        keep_average=False,
        max_norm=None,
        n_threads=None,
        compile_step=False,
        mixed_precision=False,
        resume_from=None,
        watchers=(),
        **kwargs,
    ):
        # a source of rows holds no y that skorch could find, so scorers always take what training has predicted
        super().__init__(*args, **{"use_caching": True, **kwargs})
        self.compile_step = compile_step
        self.mixed_precision = mixed_precision
        self.schedule = schedule
        self.patience = patience
        self.tol = tol
        self.keep_best = keep_best
        self.keep_average = keep_average
        self.max_norm = max_norm
        self.n_threads = n_threads
        self.state_ = None
        self.resume_from = resume_from
        self.watchers = watchers

    def get_all_learnable_params(self):
        return (pair for pair in super().get_all_learnable_params() if pair[1].requires_grad)

    def get_default_callbacks(self):
        return []

    # Training

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train on a source of rows. Ctrl-C ends training at the best epoch so far and is kept in ``interrupted_``; before the end
        of the first epoch it is raised."""
        if not self.initialized_:
            self.initialize()
        self.interrupted_ = None
        with threads(self.n_threads), ExitStack() as stack:
            for watcher in self.watchers:
                stack.callback(watcher.close)
            self.notify("on_train_begin", X=X, y=y)
            with suppress(StopTraining):
                try:
                    self.fit_loop(X, y, epochs=self.max_epochs - self.state_.epoch)
                except KeyboardInterrupt as interrupt:
                    if self.state_.epoch == 0:
                        raise
                    self.interrupted_ = interrupt
            self.notify("on_train_end", X=X, y=y)
        return self

    def train_on_chunk(self, rows: Scaled) -> None:
        """One pass over a chunk of a stream, going on from the state after the last one.

        The chunk validates before it is trained on (progressive validation). Between chunks the network holds the averaged weights.
        """
        if self.state_ is None:
            self.initialize()
            self._n_steps, self._batch_hooks = STREAM_WARM_UP, False
            self.state_ = TrainingState(self.module_, self.optimizer_)
            self.state_.start_average()
            if self.resume_from is not None:
                self.state_.load_state_dict(self.resume_from)
            self._objective, self._take_step = self.objective, self._make_step()
        state = self.state_
        state.average_decay = stream_decay(state.step)
        self._batch_hooks = any(asks_for_batches(callback) for _, callback in self.callbacks_)
        n_epochs = len(self.history)
        try:
            with threads(self.n_threads), state.unchanged_by_errors():
                self.notify("on_epoch_begin", dataset_train=rows, dataset_valid=rows)
                self.run_single_epoch(self.get_iterator(rows), training=False, prefix="valid", step_fn=None)
                with state.present():
                    self.run_single_epoch(self.get_iterator(rows, training=True), training=True, prefix="train", step_fn=None)
                self.notify("on_epoch_end", dataset_train=rows, dataset_valid=rows)
        except BaseException:
            del self.history[n_epochs:]
            raise
        finally:
            self._finish_module()
        for curve in (self.history, state.losses, state.validation_losses):
            del curve[:-KEPT_CHUNKS]  # a stream may have no end

    def stream_state(self) -> dict | None:
        """Arrays and plain values from which a stream goes on; None where there is none. Each chunk has its own random numbers."""
        if self.state_ is None:
            return as_arrays(self.resume_from)
        return {name: as_arrays(value) for name, value in self.state_.state_dict().items() if "random" not in name}

    def notify(self, method_name, **cb_kwargs):
        judged = method_name == "on_epoch_end"  # callbacks then see the weights that were judged
        with self.state_.averaged() if judged else nullcontext():
            getattr(self, method_name)(self, **cb_kwargs)
            for _, callback in self.callbacks_:
                try:
                    getattr(callback, method_name)(self, **cb_kwargs)
                except KeyboardInterrupt:
                    if not has_stopped(callback):
                        raise
                    raise StopTraining from None

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self._check_schedulers()
        self._n_steps = self.max_epochs * len(self.get_iterator(X, training=True))
        self._batch_hooks = False  # there is no epoch yet whose batches could be noted
        _, held_out = self.get_split_datasets(X, y)
        state = self.state_ = TrainingState(self.module_, self.optimizer_)
        if self.resume_from is not None:
            state.load_state_dict(self.resume_from)
        elif self.keep_best:
            state.best_loss = self._evaluate(self.get_iterator(held_out, training=False))
            state.start = state.best = state.snapshot(self._losses)
            state.start_average()
        elif self.keep_average:
            state.start_average()
        self._batch_hooks = any(asks_for_batches(callback) for _, callback in self.callbacks_)
        compiles = self.compile_step and not self._batch_hooks
        self._objective = self._compiled_objective(X) if compiles else self.objective
        self._take_step = self._make_step()
        for watcher in self.watchers:
            watcher.begin(self)

    def on_epoch_begin(self, net, **kwargs):
        if self.state_.stopped:
            raise StopTraining
        super().on_epoch_begin(net, **kwargs)
        for watcher in self.watchers:
            watcher.begin_epoch(self)

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        self._note(self.history[-1]["train_loss"], self.history[-1].get("valid_loss"))
        for watcher in self.watchers:
            if watcher.end_epoch(self):
                self.state_.stopped = True

    def on_train_end(self, net, **kwargs):
        super().on_train_end(net, **kwargs)
        state = self.state_
        self.best_epoch_ = state.epoch
        if self.keep_best:
            better = improved_significantly(state.start.losses, state.best.losses)
            state.restore(state.best if better else state.start)
            self.best_epoch_ = state.best_epoch if better else 0
        elif self.keep_average:
            state.end_average()
        self.state_ = self._losses = self._raw = self._objective = self._written_out = self._take_step = None
        self._finish_module()
        for watcher in self.watchers:
            watcher.end(self)

    def _finish_module(self) -> None:
        """Nothing random from here on."""
        self.module_.eval()
        self.module_.learning = False
        self.module_.cost_weight.fill_(1.0)

    def as_if_ended(self) -> "AutoencoderNet":
        """A net with copies of the weights as they are and of the history, as if training had ended here."""
        net = AutoencoderNet(copy.deepcopy(self.module_), criterion=nn.Identity, device=self.device, train_split=None, verbose=0)
        net.set_params(keep_best=self.keep_best)
        net.initialize()
        net.history, net.best_epoch_, net.interrupted_ = copy.deepcopy(self.history), self.state_.epoch, None
        net._finish_module()
        return net

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """One pass over the batches; see the class for what differs from skorch's."""
        if iterator is None:
            return
        if training:
            loss = self._train(iterator)
        else:
            with self.state_.averaged():
                loss = self._evaluate(iterator)
        if not math.isfinite(loss):
            raise FloatingPointError(self._divergence(loss))
        if not self._batch_hooks:
            self._note_batches(prefix, loss, iterator.source.n_rows)
        best = min((epoch.get(f"{prefix}_loss", math.inf) for epoch in self.history[:-1]), default=math.inf)
        self.history.record(f"{prefix}_loss", loss)
        self.history.record(f"{prefix}_loss_best", loss < best)

    def _announce(self, batch: Batch, training: bool) -> None:
        """Tell callbacks that a batch begins, if any asks for batches."""
        if self._batch_hooks:
            self.notify("on_batch_begin", batch=(batch.x, batch.x), training=training)

    def _announce_gradients(self, batch: Batch) -> None:
        """Tell callbacks that a batch's gradients are there, if any asks for batches."""
        if self._batch_hooks:
            parameters = TeeGenerator(self.get_all_learnable_params())
            self.notify("on_grad_computed", named_parameters=parameters, batch=(batch.x, batch.x), training=True)

    def _record(self, batch: Batch, training: bool, loss: Tensor) -> None:
        """Note a batch's loss in the history and tell callbacks that it has ended, if any asks for batches."""
        if self._batch_hooks:
            self._note_batch("train" if training else "valid", float(loss.mean()), batch.n_rows)
            target, raw = batch.x, self._raw
            if target.dim() == 3:  # networks side by side: one below the other, as scorers take them
                target, raw = target.flatten(0, 1), raw.flatten(0, 1)
            self.notify("on_batch_end", batch=(batch.x, target), training=training, loss=loss, y_pred=raw)

    def _note_batches(self, prefix: str, loss: float, n_rows: int) -> None:
        """Note all batches of an epoch as if they were one."""
        self.history.new_batch()
        self._note_batch(prefix, loss, n_rows)

    def _note_batch(self, prefix: str, loss: float, n_rows: int) -> None:
        self.history.record_batch(f"{prefix}_loss", loss)
        self.history.record_batch(f"{prefix}_batch_size", n_rows)

    def evaluation_step(self, batch, training=False):
        return super().evaluation_step((batch.x, batch.x), training=training)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        return self.module_.objective(Batch(y_true), *y_pred).mean()

    def _get_predict_nonlinearity(self):
        return self.module_.loss.inverse_link

    # Stopping

    def _check_schedulers(self) -> None:
        """Refuse a callback that sets the learning rate beside a schedule that sets it anew at every step."""
        if SCHEDULES.get(self.schedule, self.schedule) is None:
            return
        for _, callback in self.callbacks_:
            if isinstance(callback, LRScheduler):
                raise ValueError(
                    f"callbacks holds an LRScheduler, but learning_rate_schedule={self.schedule!r} sets the rate at every step; "
                    "pass learning_rate_schedule='constant', or leave the callback out."
                )

    def _divergence(self, loss: float) -> str:
        return (
            f"Training diverged in epoch {len(self.history)}: the loss is {loss}. Try a learning_rate under {self.lr:g}, "
            "max_grad_norm=1.0, or data and loss of a moderate scale."
        )

    # Batches

    def get_iterator(self, dataset, training=False):
        return Batches(dataset, self.batch_size if training else max(self.batch_size, JUDGED_ROWS), shuffle=training)

    def get_dataset(self, X, y=None):
        if isinstance(X, Dataset):
            return X
        return Scaled(ArraySource(np.asarray(X)), Scaling(), torch.device(self.device))

    def __repr__(self):
        return f"AutoencoderNet({'trained' if self.initialized_ else 'new'}, {self.device})"


def asks_for_batches(callback: Callback) -> bool:
    """Whether a callback overrides a hook that is called for each batch."""
    hooks = ("on_batch_begin", "on_batch_end", "on_grad_computed")
    return any(getattr(type(callback), hook, None) is not getattr(Callback, hook) for hook in hooks)


def has_stopped(callback: Callback) -> bool:
    """Whether a KeyboardInterrupt is skorch's EarlyStopping that ends training, and not somebody's Ctrl-C."""
    return isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience

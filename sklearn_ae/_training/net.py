"""skorch's net around the trainer. The only file that imports skorch."""

import copy
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.utils import TeeGenerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.scaling import Scaling
from sklearn_ae._data.sources import ArraySource, Scaled
from sklearn_ae._training.optimizers import SGD
from sklearn_ae._training.progress import Watcher
from sklearn_ae._training.schedules import SCHEDULES
from sklearn_ae._training.shared import SharedTrainer
from sklearn_ae._training.state import as_arrays
from sklearn_ae._training.trainer import Trainer, in_batches, leave_training

KEPT_CHUNKS = 100  # in the net's history
SETTINGS = {field.name: field.default for field in fields(Trainer)[4:]}  # four are skorch's too


class GivenSplit:
    """Rows to train and to validate on that were chosen beforehand. Pickles do not hold them."""

    def __init__(self, train: Dataset | None = None, held_out: Dataset | None = None):
        self.train, self.held_out = train, held_out

    def __call__(self, dataset, y=None):
        return self.train, self.held_out

    def __reduce__(self):
        return GivenSplit, ()


class AutoencoderNet(NeuralNet):
    """skorch's net, trained by a `Trainer` on sources of rows.

    Batch hooks are called, and batches noted in the history, only if a callback asks for them.
    Otherwise the history has one entry for all batches of an epoch, which `Checkpoint` and
    `PassthroughScoring` read. Targets are the clean rows.

    Parameters
    ----------
    watchers : sequence of Watcher
        Who is told of the training besides skorch's callbacks.
    resume_from : dict or None
        What ``state_.state_dict()`` gave at the end of an epoch of the same plan, to go on from;
        with the `history`, if there is one, that the net then has.
    **kwargs
        Settings of `Trainer`, and skorch's parameters. `compile_step` takes the place of skorch's
        `compile`, which would rename the weights.

    Attributes
    ----------
    trainer_ : Trainer or None
        Present while training, and between the chunks of a stream.
    best_epoch_, interrupted_
        As those of `Trainer`.
    """

    resume_from: Any
    trainer_: Any = None

    def __init__(self, *args, watchers=(), resume_from=None, **kwargs):
        settings = {name: kwargs.pop(name, default) for name, default in SETTINGS.items()}
        # a source holds no y that skorch could find, so scorers take what training has predicted
        super().__init__(*args, **{"use_caching": True, "optimizer": SGD, **kwargs})
        self.__dict__.update(settings, watchers=watchers, resume_from=resume_from)

    @property
    def state_(self) -> Any:
        """The trainer's state; None without a trainer."""
        return self.trainer_ and self.trainer_.state

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train on a source of rows, as `Trainer` does."""
        if not self.initialized_:
            self.initialize()
        self._check_schedulers()
        rows, held_out = self.get_split_datasets(X, y)
        self.trainer_ = self._make_trainer(Trainer if rows.spread is None else SharedTrainer)
        self._observe(rows, held_out, X=X, y=y)
        self.trainer_.train(rows, held_out)
        return self

    def train_on_chunk(self, rows: Scaled) -> None:
        """One pass over a chunk of a stream, as `Trainer` does; errors leave the net as it was."""
        if self.trainer_ is None:
            self.initialize()
            self.trainer_ = self._make_trainer()
        self._observe(rows, rows)
        n_epochs = len(self.history)
        try:
            self.trainer_.train_on_chunk(rows)
        except BaseException:
            del self.history[n_epochs:]
            raise
        for curve in (self.history, self.state_.losses, self.state_.validation_losses):
            del curve[:-KEPT_CHUNKS]  # a stream may have no end

    def stream_state(self) -> dict | None:
        """Arrays and plain values from which a stream goes on; None where there is none."""
        if self.state_ is None:
            return as_arrays(self.resume_from)
        state = as_arrays(self.state_.state_dict())
        return {name: state[name] for name in state if "random" not in name}  # new in each chunk

    def as_if_ended(self) -> "AutoencoderNet":
        """A net with copies of weights and history, as if training had ended here."""
        options = {"criterion": nn.Identity, "device": self.device, "train_split": None}
        net = AutoencoderNet(copy.deepcopy(self.module_), verbose=0, **options)
        net.keep_best = self.keep_best
        net.initialize()
        net.history_ = copy.deepcopy(self.history)
        net.best_epoch_, net.interrupted_ = self.state_.epoch, None
        leave_training(net.module_)
        return net

    def _make_trainer(self, kind: type[Trainer] = Trainer) -> Trainer:
        settings = {name: getattr(self, name) for name in ("max_epochs", "batch_size", *SETTINGS)}
        trainer = kind(self.module_, self.optimizer_, **settings)
        if self.resume_from is not None:
            trainer.state.load_state_dict(self.resume_from)
            self.history.extend(self.resume_from.get("history", []))
            self.resume_from = None
        return trainer

    def _observe(self, rows: Any, held_out: Any, **data) -> None:
        """Let the net and its callbacks be told of a training on these rows."""
        self.trainer_.observer = observer = SkorchObserver(self, rows, held_out, data)
        asked = any(asks_for_batches(callback) for _, callback in self.callbacks_)
        self.trainer_.batch_observer = observer if asked else None

    def _check_schedulers(self) -> None:
        """Refuse a callback that sets the learning rate beside a schedule that sets it too."""
        if SCHEDULES.get(self.schedule, self.schedule) is None:
            return
        if any(isinstance(callback, LRScheduler) for _, callback in self.callbacks_):
            raise ValueError(
                f"callbacks holds an LRScheduler, but learning_rate_schedule={self.schedule!r} "
                "sets the rate at every step; pass learning_rate_schedule='constant', or leave the "
                "callback out."
            )

    # What skorch asks a net for

    def get_iterator(self, dataset, training=False):
        return in_batches(dataset, self.batch_size, training)

    def get_dataset(self, X, y=None):
        if isinstance(X, Dataset):
            return X
        return Scaled(ArraySource(np.asarray(X)), Scaling(), torch.device(self.device))

    def get_all_learnable_params(self):
        return (pair for pair in super().get_all_learnable_params() if pair[1].requires_grad)

    def get_default_callbacks(self):
        return []

    def evaluation_step(self, batch, training=False):
        return super().evaluation_step((batch.x, batch.x), training=training)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        return self.module_.objective(Batch(y_true), *y_pred).mean()

    def _get_predict_nonlinearity(self):
        return self.module_.loss.inverse_link

    def __getstate__(self):
        return super().__getstate__() | {"trainer_": None}

    def __repr__(self):
        return f"AutoencoderNet({'trained' if self.initialized_ else 'new'}, {self.device})"


class SkorchObserver(Watcher):
    """Writes a net's history, and tells its watchers and skorch's callbacks of a training.

    Parameters
    ----------
    net : AutoencoderNet
    rows, held_out : Scaled, Members or None
        What trains, and what validates.
    data : dict
        What callbacks are told at both ends of the training.
    """

    def __init__(self, net: AutoencoderNet, rows: Any, held_out: Any, data: dict):
        self.net, self.rows, self.held_out, self.data = net, rows, held_out, data
        self.datasets = {"dataset_train": rows, "dataset_valid": held_out}

    def begin(self, trainer):
        self._tell_watchers("begin")
        self.net.notify("on_train_begin", **self.data)

    def begin_epoch(self, trainer):
        self._tell_watchers("begin_epoch")
        self.net.notify("on_epoch_begin", **self.datasets)

    def begin_batch(self, batch: Batch, training: bool) -> None:
        self.net.notify("on_batch_begin", batch=(batch.x, batch.x), training=training)

    def gradients(self, batch: Batch) -> None:
        told = {"named_parameters": TeeGenerator(self.net.get_all_learnable_params())}
        self.net.notify("on_grad_computed", batch=(batch.x, batch.x), training=True, **told)

    def end_batch(self, batch: Batch, training: bool, loss: Tensor, raw: Tensor) -> None:
        self._note_batch("train" if training else "valid", float(loss.mean()), batch.n_rows)
        target = batch.x
        if target.dim() == 3:  # networks side by side: one below the other, as scorers take them
            target, raw = target.flatten(0, 1), raw.flatten(0, 1)
        told = {"batch": (batch.x, target), "training": training, "loss": loss, "y_pred": raw}
        self.net.notify("on_batch_end", **told)

    def end_epoch(self, trainer):
        self._note_epoch("train", trainer.state.losses, self.rows)
        if self.held_out is not None:
            self._note_epoch("valid", trainer.state.validation_losses, self.held_out)
        stops = self._tell_watchers("end_epoch")
        try:
            self.net.notify("on_epoch_end", **self.datasets)
        except KeyboardInterrupt:
            if not any(has_stopped(callback) for _, callback in self.net.callbacks_):
                raise
            return True
        return any(stops)

    def end(self, trainer):
        net = self.net
        net.best_epoch_, net.interrupted_ = trainer.best_epoch, trainer.interrupted
        net.trainer_ = None
        self._tell_watchers("end")
        net.notify("on_train_end", **self.data)

    def close(self):
        for watcher in self.net.watchers:
            watcher.close()

    def _tell_watchers(self, method: str) -> list:
        return [getattr(watcher, method)(self.net) for watcher in self.net.watchers]

    def _note_epoch(self, prefix: str, losses: list[float], rows: Any) -> None:
        history, loss = self.net.history, losses[-1]
        if self.net.trainer_.batch_observer is None:
            history.new_batch()
            self._note_batch(prefix, loss, rows.n_rows)
        history.record(f"{prefix}_loss", loss)
        history.record(f"{prefix}_loss_best", loss < min(losses[:-1], default=np.inf))

    def _note_batch(self, prefix: str, loss: float, n_rows: int) -> None:
        self.net.history.record_batch(f"{prefix}_loss", loss)
        self.net.history.record_batch(f"{prefix}_batch_size", n_rows)


def asks_for_batches(callback: Callback) -> bool:
    """Whether a callback overrides a hook that is called for each batch."""
    kind, hooks = type(callback), ("on_batch_begin", "on_batch_end", "on_grad_computed")
    return any(getattr(kind, hook, None) is not getattr(Callback, hook) for hook in hooks)


def has_stopped(callback: Callback) -> bool:
    """Whether a KeyboardInterrupt is skorch's EarlyStopping's, and not somebody's Ctrl-C."""
    return isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience

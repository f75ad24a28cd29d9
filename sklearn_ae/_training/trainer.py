"""How a network is trained: the loop, from top to bottom. It knows no estimator and no skorch."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.batches import Batches
from sklearn_ae._data.members import Members
from sklearn_ae._data.sources import Scaled
from sklearn_ae._defaults import stream_decay
from sklearn_ae._torch import threads, torch_seed
from sklearn_ae._training.progress import Watcher
from sklearn_ae._training.schedules import SCHEDULES, set_rates
from sklearn_ae._training.state import TrainingState, improved_significantly
from sklearn_ae._training.steps import choose_step

PLATEAU_FACTOR = 0.3
JUDGED_ROWS = 1_024  # in a batch of validation, which small batches would slow down
STREAM_WARM_UP = 100  # steps over which the learning rate of a stream rises


@dataclass(eq=False)
class Trainer:
    """Trains a network.

    Parameters
    ----------
    module : nn.Module
        Called with rows, and a mask if values are missing, it gives the raw reconstructions and
        perhaps a cost; ``objective(batch, *output)`` is one number a row, whose weighted mean is
        lowered. `learning` and `cost_weight` are set, the latter to ``latent.cost_weight``.
    optimizer : torch.optim.Optimizer
    max_epochs, batch_size : int
    schedule : str or callable
        A name in `SCHEDULES`, or a function from the share of training done, in [0, 1), to a
        factor of the learning rate.
    patience : int or None
        Epochs without improvement before training stops; None never stops.
    tol : float
        What counts as improvement, as a share of the best loss.
    keep_best : bool
        Whether the weights of the epoch with the lowest validation loss are put back at the end,
        or those from before training if no epoch was better than they by more than a standard
        error over the validation rows. What is judged and kept is a moving average of the weights
        over the last 50 steps or so.
    keep_average : bool
        Whether the averaged weights are kept at the end, where nothing is held out.
    max_norm : float or None
        The greatest norm that a gradient may have; None leaves it.
    n_threads : int or None
        Threads of torch while training on the CPU; None leaves them.
    compile_step : bool
        Whether forward, loss and backward are compiled.
    mixed_precision : bool
        Whether the forward pass computes in bfloat16 where that is safe.

    Attributes
    ----------
    observer : Watcher
        Is told of each epoch, and may end training.
    batch_observer : object or None
        Is told of each batch, by ``begin_batch``, ``gradients`` and ``end_batch``.
    state : TrainingState
        All that a step changes. Restored from an earlier one, training goes on from there.
    best_epoch : int
        The epoch whose weights were kept, from 1; 0 if those from before training were.
    interrupted : KeyboardInterrupt or None
        What ended training, if Ctrl-C did.
    """

    module: Any
    optimizer: Any
    max_epochs: int
    batch_size: int
    schedule: str | Callable[[float], float] = "constant"
    patience: int | None = None
    tol: float = 0.0
    keep_best: bool = False
    keep_average: bool = False
    max_norm: float | None = None
    n_threads: int | None = None
    compile_step: bool = False
    mixed_precision: bool = False

    is_shared = False  # whether gradients are added up over several processes

    def __post_init__(self) -> None:
        self.observer = Watcher()
        self.batch_observer: Any = None
        self.state = TrainingState(self.module, self.optimizer)
        self.device = self.state.device
        self.step: Any = None
        self.best_epoch = 0
        self.interrupted: KeyboardInterrupt | None = None

    def train(self, rows: Scaled | Members, held_out: Scaled | Members | None = None) -> None:
        """Train until the plan is over, nothing improves, or the observer says so.

        Ctrl-C too ends training at the best epoch so far; before the end of the first it is raised.

        Raises
        ------
        FloatingPointError
            If a loss is not finite.
        MemoryError
            If memory runs out.
        """
        state, batches = self.state, self._batches(rows)
        self.n_steps = self.max_epochs * len(batches)
        try:
            with threads(self.n_threads), enough_memory(self, rows.n_all):
                if state.epoch == 0:
                    self._start(held_out)
                self.observer.begin(self)
                try:
                    while state.epoch < self.max_epochs and not state.stopped:
                        self.observer.begin_epoch(self)
                        loss = self._learn(batches)
                        self._end_epoch(loss, self._judge(held_out, self.batch_observer))
                except KeyboardInterrupt as interrupt:
                    if state.epoch == 0:
                        raise
                    self.interrupted = interrupt
                self._choose_weights()
                leave_training(self.module)
                self.observer.end(self)
        finally:
            self.observer.close()
            self.step = (
                None  # it knows this trainer: a circle would keep the rows until Python looks
            )

    def train_on_chunk(self, rows: Scaled | Members) -> None:
        """One pass over a chunk of a stream, going on from the last one; it is judged before that.

        Between chunks the network has the averaged weights. An error leaves the state as it was.
        """
        state, self.n_steps = self.state, STREAM_WARM_UP
        if state.average is None:
            state.start_average()
        state.average_decay = stream_decay(state.step)
        before = state.state_dict()
        try:
            with threads(self.n_threads), enough_memory(self, rows.n_rows):
                self.observer.begin_epoch(self)
                losses = self._judge(rows, self.batch_observer)
                state.use_average(False)
                loss = self._learn(self._batches(rows))
                state.use_average(True)
                self._end_epoch(loss, losses)
        except BaseException:
            state.load_state_dict(before)
            state.use_average(True)
            self.step = None  # a graph has captured tensors that are replaced now
            raise
        finally:
            leave_training(self.module)

    def _start(self, held_out: Scaled | Members | None) -> None:
        """Judge the weights from before training, and begin to average."""
        state = self.state
        losses = self._judge(held_out, None)  # there is no epoch yet whose batches are observed
        if losses is not None and self.keep_best:
            state.best_loss = float(losses.mean())
            state.start = state.best = state.snapshot(losses)
        if self.keep_best or self.keep_average:
            state.start_average()

    def _learn(self, batches: Batches) -> float:
        """One pass of steps; the mean objective, read once from the device."""
        state, observer = self.state, self.batch_observer
        self._set_learning(True)
        step = self.step = choose_step(self, self.step)  # anew: weights may have been frozen
        schedule = SCHEDULES[self.schedule] if isinstance(self.schedule, str) else self.schedule
        total = torch.zeros((), device=self.device)
        for batch in batches:
            if schedule is not None:
                factor = schedule(state.step / self.n_steps)
                set_rates(self.optimizer, [rate * factor for rate in state.rates])
            state.step += 1
            if observer is not None:
                observer.begin_batch(batch, True)
            loss = step(batch)
            if observer is not None:
                observer.end_batch(batch, True, loss, step.raw)
            total.add_(loss, alpha=batch.n_rows)
        return self._finite(self._mean(total, batches))

    def _batches(self, rows: Scaled | Members) -> Batches:
        return in_batches(rows, self.batch_size, training=True)

    def gradients(self, step: Any, batch: Batch) -> Tensor:
        """Set the gradients of a batch's mean objective, and give it."""
        return step.gradients(batch)

    def _mean(self, total: Tensor, batches: Batches) -> float:
        return total.item() / batches.source.n_rows

    @torch.no_grad()
    def _judge(self, rows: Scaled | Members | None, observer: Any) -> Tensor | None:
        """The rows' objectives, under the averaged weights and the same noise each time."""
        if rows is None:
            return None
        losses = []
        self._set_learning(False)
        with self.state.averaged(), torch_seed(0, self.device):
            for batch in in_batches(rows, self.batch_size, training=False):
                if observer is not None:
                    observer.begin_batch(batch, False)
                loss, raw = self.objective(batch)
                losses.append(loss)
                if observer is not None:
                    observer.end_batch(batch, False, loss, raw)
        return torch.cat(losses, -1).flatten()

    def objective(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One number a row, whose mean training lowers, and the raw reconstructions."""
        inputs = (batch.x,) if batch.mask is None else (batch.x, batch.mask)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            output = self.module(*inputs)
        losses = self.module.objective(batch, *(part.float() for part in output))
        return batch.weighted(losses), output[0].detach()

    def _end_epoch(self, loss: float, losses: Tensor | None) -> None:
        """Note what the epoch gave, keep its weights if they are the best, and decide to go on."""
        state = self.state
        judged = loss if losses is None else self._finite(float(losses.mean()))
        state.epoch += 1
        state.losses.append(loss)
        if losses is not None:
            state.validation_losses.append(judged)
        with state.averaged():  # observers see the weights that were judged
            enough = judged < state.best_loss - self.tol * abs(state.best_loss)
            state.waited = 0 if enough or math.isinf(state.best_loss) else state.waited + 1
            if judged < state.best_loss:
                state.best_loss, state.best_epoch = judged, state.epoch
                if self.keep_best and losses is not None:
                    state.best = state.snapshot(losses)
            if self.patience is not None and state.waited >= self.patience:
                if self.schedule == "plateau" and self._lower_rates():
                    state.waited = 0
                else:
                    state.stopped = True
            state.stopped |= self.observer.end_epoch(self)

    def _lower_rates(self) -> bool:
        """Lower the learning rates; False once they are a thousandth of the first."""
        groups = self.optimizer.param_groups
        set_rates(self.optimizer, [float(group["lr"]) * PLATEAU_FACTOR for group in groups])
        return float(groups[0]["lr"]) > 1e-3 * self.state.rates[0]

    def _set_learning(self, training: bool) -> None:
        module = self.module
        module.train(training)
        module.learning = True
        progress = min(1.0, self.state.step / self.n_steps) if training else 1.0
        module.cost_weight.fill_(module.latent.cost_weight(progress))

    def _finite(self, loss: float) -> float:
        if math.isfinite(loss):
            return loss
        raise FloatingPointError(
            f"Training diverged in epoch {self.state.epoch + 1}: the loss is {loss}. Try a "
            f"learning_rate under {self.state.rates[0]:g}, max_grad_norm=1.0, or data and loss of "
            "a moderate scale."
        )

    def _choose_weights(self) -> None:
        """Put the best weights in place, or the averaged ones."""
        state = self.state
        self.best_epoch = state.epoch
        if state.start is not None and state.best is not None:
            better = improved_significantly(state.start.losses, state.best.losses)
            state.restore(state.best if better else state.start)
            self.best_epoch = state.best_epoch if better else 0
        elif self.keep_average:
            state.end_average()


@contextmanager
def enough_memory(trainer: Trainer, n_rows: int) -> Iterator[None]:
    """If memory runs out in training on so many rows, say which batches were too large."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        kinds, words = (
            (MemoryError, torch.OutOfMemoryError),
            ("DefaultCPUAllocator", "ALLOC_FAILED"),
        )
        if not (isinstance(error, kinds) or any(word in str(error) for word in words)):
            raise
        n = min(trainer.batch_size, n_rows)
        way_out = f"batch_size={n // 2} or less" if n > 1 else "a smaller network"
        raise MemoryError(
            f"Memory ran out in training with batch_size={n} on device '{trainer.device}'; use "
            f"{way_out}. The estimator is as it was before."
        ) from error


def in_batches(rows: Scaled | Members, batch_size: int, training: bool) -> Batches:
    """The batches of an epoch: shuffled in training, and large ones elsewhere."""
    return Batches(rows, batch_size if training else max(batch_size, JUDGED_ROWS), shuffle=training)


def leave_training(module: Any) -> None:
    """Nothing random from here on."""
    module.eval()
    module.learning = False
    module.cost_weight.fill_(1.0)

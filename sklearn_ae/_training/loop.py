"""The bare loop: steps over batches, what is judged after each epoch, and when training stops."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.batches import Batches
from sklearn_ae._torch import torch_seed
from sklearn_ae._training.optimizers import Adam
from sklearn_ae._training.schedules import SCHEDULES, set_rate
from sklearn_ae._training.steps import GraphedStep, compiled
from sklearn_ae._training.written_out import WrittenOut, can_be_written_out

PLATEAU_FACTOR = 0.3
JUDGED_ROWS = 1_024  # in a batch of validation, which small batches would slow down


class Loop:
    """What `AutoencoderNet` does in an epoch; its parameters are described there."""

    module_: Any  # a network of _network, or whatever has its methods
    optimizer_: Any
    state_: Any  # a TrainingState while training, then None, as are the next five
    _losses: Any
    _raw: Any
    _objective: Any
    _take_step: Any
    _written_out: Any
    _n_steps: int
    _batch_hooks: bool

    device: Any
    schedule: Any
    patience: int | None
    tol: float
    keep_best: bool
    max_norm: float | None
    mixed_precision: bool

    get_iterator: Any  # these are the net's methods
    _announce: Any
    _announce_gradients: Any
    _record: Any

    def _train(self, batches: Batches) -> float:
        self._set_learning(True)
        self._written_out = self._write_out()  # anew each epoch: a callback may have frozen weights
        total = torch.zeros((), device=batches.source.device)
        for batch in batches:
            self._set_rates()
            self._announce(batch, True)
            loss = self._take_step(batch)
            self._record(batch, True, loss)
            total.add_(loss, alpha=batch.n_rows)
        return total.item() / batches.source.n_rows  # the only synchronisation of the epoch

    def _step_once(self, batch: Batch) -> Tensor:
        """One step of the optimiser on one batch; gives the batch's mean objective."""
        if self._written_out is None:
            loss = self._compute_gradients(batch)
        else:
            self.optimizer_.collect_gradients()  # they are written to where the optimiser has them
            loss, self._raw = self._written_out(batch)
        self._announce_gradients(batch)
        if self.max_norm is not None and not isinstance(self.optimizer_, Adam):
            nn.utils.clip_grad_norm_(self.module_.parameters(), self.max_norm)
        self.optimizer_.step()
        self.state_.update_average()
        return loss

    def _compute_gradients(self, batch: Batch) -> Tensor:
        self.optimizer_.zero_grad(set_to_none=True)
        means = batch.weighted(self._objective(batch)).mean(-1)
        means.sum().backward()
        return means.detach().mean()

    def _compiled_objective(self, source) -> Callable[[Batch], Tensor]:
        batch = next(iter(self.get_iterator(source)))
        self._set_learning(True)
        return compiled(self.objective, batch, self.optimizer_)

    def _write_out(self) -> WrittenOut | None:
        """The objective with its gradients written out, where that can be done and pays."""
        plain = not self.mixed_precision and torch.device(self.device).type == "cpu" and self._objective == self.objective
        return WrittenOut(self.module_) if plain and can_be_written_out(self.module_, self.optimizer_) else None

    def _make_step(self) -> Callable[[Batch], Tensor]:
        """The step as it is, or as a CUDA graph where the optimiser supports it."""
        on_cuda = torch.device(self.device).type == "cuda"
        if on_cuda and isinstance(self.optimizer_, Adam) and not self._batch_hooks:
            self.optimizer_.rates_on_device()
            return GraphedStep(self._step_once)
        return self._step_once

    @torch.no_grad()
    def _evaluate(self, batches: Batches) -> float:
        """The mean objective of held-out rows, under the same noise each time."""
        self._set_learning(False)
        with torch_seed(0, batches.source.device):
            losses = []
            for batch in batches:
                self._announce(batch, False)
                losses.append(batch.weighted(self.objective(batch)))
                self._record(batch, False, losses[-1])
        self._losses = torch.cat(losses, -1).flatten()
        return float(self._losses.mean())

    def objective(self, batch: Batch) -> Tensor:
        """The numbers, one per row, whose weighted mean training lowers."""
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=self.mixed_precision):
            output = self.module_(batch.x) if batch.mask is None else self.module_(batch.x, batch.mask)
        if self._batch_hooks:
            self._raw = output[0].detach()
        return self.module_.objective(batch, *(part.float() for part in output))

    def _set_learning(self, training: bool) -> None:
        module = self.module_
        module.train(training)
        module.learning = True
        progress = min(1.0, self.state_.step / self._n_steps) if training else 1.0
        module.cost_weight.fill_(module.latent.cost_weight(progress))

    def _set_rates(self) -> None:
        state = self.state_
        schedule = SCHEDULES[self.schedule] if isinstance(self.schedule, str) else self.schedule
        if schedule is not None:
            factor = schedule(state.step / self._n_steps)
            for group, rate in zip(self.optimizer_.param_groups, state.rates, strict=True):
                set_rate(group, rate * factor)
        state.step += 1

    # Stopping

    def _note(self, train_loss: float, validation_loss: float | None) -> None:
        """Remember an epoch's losses: keep its weights if it is the best, and decide whether to go on."""
        state = self.state_
        state.epoch += 1
        state.losses.append(train_loss)
        if validation_loss is not None:
            state.validation_losses.append(validation_loss)
        loss = train_loss if validation_loss is None else validation_loss
        enough = loss < state.best_loss - self.tol * abs(state.best_loss) or math.isinf(state.best_loss)
        state.waited = 0 if enough else state.waited + 1
        if loss < state.best_loss:
            state.best_loss, state.best_epoch = loss, state.epoch
            if self.keep_best:
                state.best = state.snapshot(self._losses, None if state.best is state.start else state.best)
        if self.patience is not None and state.waited >= self.patience:
            if self.schedule == "plateau" and self._lower_rates():
                state.waited = 0
            else:
                state.stopped = True

    def _lower_rates(self) -> bool:
        """Lower the learning rates; False once they are a thousandth of the first."""
        for group in self.optimizer_.param_groups:
            set_rate(group, float(group["lr"]) * PLATEAU_FACTOR)
        return float(self.optimizer_.param_groups[0]["lr"]) > 1e-3 * self.state_.rates[0]

"""The training engine: skorch's NeuralNet with a bare loop inside. The only file that imports skorch."""

import dis
import math
import signal
from collections.abc import Callable
from contextlib import contextmanager, nullcontext, suppress

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer, PrintLog
from skorch.utils import TeeGenerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from sklearn_ae._optim import Adam, AdamW
from sklearn_ae._rows import ArrayRows
from sklearn_ae._scaling import Scaling
from sklearn_ae._steps import GraphedStep, compiled
from sklearn_ae._torch import threads
from sklearn_ae._weights import Snapshot, copy_tensors, gained, state, swap, trained_values


class StopTraining(Exception):
    """Training is over before its last epoch."""


def one_cycle(t: float) -> float:
    """Up from 1/25 over the first 30% of training, down to nothing over the rest, along cosines (Smith and Topin, 2019)."""
    if t < 0.3:
        return 1 + (1 / 25 - 1) * (1 + math.cos(math.pi * t / 0.3)) / 2
    return cosine((t - 0.3) / 0.7)


def cosine(t: float) -> float:
    """Down to nothing along half a cosine (Loshchilov and Hutter, 2017)."""
    return (1 + math.cos(math.pi * t)) / 2


# From a share of the planned training to a factor of the learning rate; None leaves the rate to others.
SCHEDULES: dict[str, Callable[[float], float] | None] = {
    "constant": None,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "plateau": None,
}
PLATEAU_FACTOR = 0.3
AVERAGE_DECAY = 0.98  # of the moving average of the weights, a step

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict]] = {
    "adagrad": (torch.optim.Adagrad, {}),
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
}


class AutoencoderNet(NeuralNet):
    """skorch's net, without its cost per batch.

    Batches are slices of rows that are already on the device; the loss is read once an epoch; batch hooks and per-batch
    history are there only when a callback asks for them.

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
        no epoch was better than they by more than two standard errors over the validation rows. What is judged and kept is a
        moving average of the weights over the last 50 steps or so.
    max_norm : float or None
        The greatest norm that a gradient may have; None leaves it.
    threads : int or None
        Threads of torch while training on the CPU; None leaves them.
    compile_step : bool
        Whether forward, loss and backward are compiled. skorch's own ``compile`` would wrap the module and rename its weights.
    mixed_precision : bool
        Whether the forward pass computes in bfloat16 where that is safe.
    """

    def __init__(
        self,
        *args,
        schedule="constant",
        patience=None,
        tol=0.0,
        keep_best=False,
        max_norm=None,
        threads=None,
        compile_step=False,
        mixed_precision=False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.compile_step = compile_step
        self.mixed_precision = mixed_precision
        self.schedule = schedule
        self.patience = patience
        self.tol = tol
        self.keep_best = keep_best
        self.max_norm = max_norm
        self.threads = threads

    def get_all_learnable_params(self):
        return (pair for pair in super().get_all_learnable_params() if pair[1].requires_grad)

    def get_default_callbacks(self):
        return [("epoch_timer", EpochTimer()), ("print_log", PrintLog())] if self.verbose else []

    # Training

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train on a source of rows. Unlike skorch's, Ctrl-C is not swallowed."""
        if not self.initialized_:
            self.initialize()
        with threads(self.threads):
            self.notify("on_train_begin", X=X, y=y)
            with suppress(StopTraining):
                self.fit_loop(X, y)
            self.notify("on_train_end", X=X, y=y)
        return self

    def notify(self, method_name, **cb_kwargs):
        with self._averaged() if method_name == "on_epoch_end" else nullcontext():  # callbacks see the weights that were judged
            getattr(self, method_name)(self, **cb_kwargs)
            for _, callback in self.callbacks_:
                try:
                    getattr(callback, method_name)(self, **cb_kwargs)
                except KeyboardInterrupt as interrupt:
                    if not raised_on_purpose(interrupt):
                        raise
                    raise StopTraining from None

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self._step = 0
        self._stop = False
        self._best = math.inf
        self._waited = 0
        self._n_steps = self.max_epochs * len(self.get_iterator(X, training=True))
        self._rates = [float(group["lr"]) for group in self.optimizer_.param_groups]
        self._batch_hooks = False  # there is no epoch yet whose batches could be noted
        self._first = self._kept = None
        self._values = trained_values(self.module_, self.optimizer_)
        self._average = None
        _, held_out = self.get_split_datasets(X, y)
        if self.keep_best:
            self._evaluate(self.get_iterator(held_out, training=False))
            self._first = self._kept = self._snapshot()
            self._best = float(self._losses.mean())
            self._average = [value.clone() for value in self._values]
        self._batch_hooks = any(asks_for_batches(callback) for _, callback in self.callbacks_)
        compiles = self.compile_step and not self._batch_hooks
        self._objective = self._compiled_objective(X) if compiles else self.objective
        self._take_step = self._make_step()

    def on_epoch_begin(self, net, **kwargs):
        if self._stop:
            raise StopTraining
        super().on_epoch_begin(net, **kwargs)

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        self._note(self.history[-1].get("valid_loss", self.history[-1]["train_loss"]))

    def on_train_end(self, net, **kwargs):
        super().on_train_end(net, **kwargs)
        if self.keep_best:
            better = gained(self._first.losses, self._kept.losses)
            copy_tensors((self._kept if better else self._first).weights, state(self.module_))
        self._first = self._kept = self._losses = self._average = self._values = self._raw = None
        self.module_.eval()
        self.module_.learning = False
        self.module_.ramp.fill_(1.0)

    def keep(self, module: nn.Module) -> None:
        """Keep this module of what was trained; the optimiser of any other is dropped."""
        if module is not self.module_:
            self.module_ = module
            self.initialize_optimizer()

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """One pass over the batches; see the class for what differs from skorch's."""
        if iterator is None:
            return
        if training:
            loss = self._train(iterator)
        else:
            with self._averaged():
                loss = self._evaluate(iterator)
        if not math.isfinite(loss):
            raise FloatingPointError(self._divergence(loss))
        best = min((epoch[f"{prefix}_loss"] for epoch in self.history[:-1]), default=math.inf)
        self.history.record(f"{prefix}_loss", loss)
        self.history.record(f"{prefix}_loss_best", loss < best)

    def _train(self, batches) -> float:
        self._set_learning(True)
        total = torch.zeros((), device=batches.source.device)
        for batch in batches:
            self._set_rates()
            with self._batch_noticed(batch, True) as noticed:
                loss = noticed(self._take_step(batch[0]))
            total.add_(loss, alpha=batch[0].shape[-2])
        return total.item() / len(batches.source)  # the only synchronisation of the epoch

    @contextmanager
    def _batch_noticed(self, batch, training: bool):
        """Tell callbacks of a batch, and the history of its loss, if any callback asks for batches."""
        if not self._batch_hooks:
            yield lambda loss: loss
            return
        prefix, seen = "train" if training else "valid", {}

        def noticed(loss: Tensor) -> Tensor:
            seen["loss"] = loss
            return loss

        self.notify("on_batch_begin", batch=batch, training=training)
        yield noticed
        self.history.record_batch(f"{prefix}_loss", float(seen["loss"].mean()))
        self.history.record_batch(f"{prefix}_batch_size", batch[0].shape[-2])
        self.notify("on_batch_end", batch=batch, training=training, loss=seen["loss"], y_pred=self._raw)

    def _step_once(self, x: Tensor) -> Tensor:
        """One step of the optimiser on one batch; gives the batch's mean objective."""
        self.optimizer_.zero_grad(set_to_none=True)
        loss = self._objective(x).mean()
        loss.backward()
        if self._batch_hooks:
            parameters = TeeGenerator(self.get_all_learnable_params())
            self.notify("on_grad_computed", named_parameters=parameters, batch=(x, x), training=True)
        if self.max_norm is not None and not isinstance(self.optimizer_, Adam):
            nn.utils.clip_grad_norm_(self.module_.parameters(), self.max_norm)
        self.optimizer_.step()
        if self.keep_best:
            torch._foreach_lerp_(self._average, self._values, 1 - AVERAGE_DECAY)
        return loss.detach()

    def _compiled_objective(self, source) -> Callable[[Tensor], Tensor]:
        x, _ = next(iter(self.get_iterator(source)))
        self._set_learning(True)
        return compiled(self.objective, x, self.optimizer_)

    def _make_step(self) -> Callable[[Tensor], Tensor]:
        """The step as it is, or as a CUDA graph where the optimiser bears it."""
        on_cuda = torch.device(self.device).type == "cuda"
        if on_cuda and isinstance(self.optimizer_, Adam) and not self._batch_hooks:
            self.optimizer_.rates_on_device()
            return GraphedStep(self._step_once)
        return self._step_once

    @torch.no_grad()
    def _evaluate(self, batches) -> float:
        """The mean objective of held-out rows, under the same noise each time."""
        self._set_learning(False)
        device = batches.source.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            losses = []
            for batch in batches:
                with self._batch_noticed(batch, False) as noticed:
                    losses.append(noticed(self.objective(batch[0])))
        self._losses = torch.cat(losses, -1).flatten()
        return float(self._losses.mean())

    @contextmanager
    def _averaged(self):
        """The averaged weights in place of the present ones, inside the block."""
        if not self.keep_best or self._average is None:
            yield
            return
        swap(self._values, self._average)
        try:
            yield
        finally:
            swap(self._values, self._average)

    def objective(self, x: Tensor) -> Tensor:
        """The numbers, one per row, whose mean training lowers."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.mixed_precision):
            output = self.module_(x)
        if self._batch_hooks:
            self._raw = output[0].detach()
        return self.module_.objective(x, *(part.float() for part in output))

    def get_loss(self, y_pred, y_true, X=None, training=False):
        return self.module_.objective(y_true, *y_pred).mean()

    def _set_learning(self, training: bool) -> None:
        module = self.module_
        module.train(training)
        module.learning = True
        progress = self._step / self._n_steps if training else 1.0
        module.ramp.fill_(module.latent.ramp(progress))

    def _set_rates(self) -> None:
        schedule = SCHEDULES[self.schedule] if isinstance(self.schedule, str) else self.schedule
        if schedule is not None:
            factor = schedule(self._step / self._n_steps)
            for group, rate in zip(self.optimizer_.param_groups, self._rates, strict=True):
                set_rate(group, rate * factor)
        self._step += 1

    # Stopping

    def _note(self, loss: float) -> None:
        """Remember an epoch's loss: keep its weights if it is the best, and decide whether to go on."""
        enough = loss < self._best - self.tol * abs(self._best) or math.isinf(self._best)
        self._waited = 0 if enough else self._waited + 1
        if self.keep_best and loss < self._best:
            self._kept = self._snapshot(None if self._kept is self._first else self._kept)
        self._best = min(loss, self._best)
        if self.patience is not None and self._waited >= self.patience:
            if self.schedule == "plateau" and self._lower_rates():
                self._waited = 0
            else:
                self._stop = True

    def _snapshot(self, into: Snapshot | None = None) -> Snapshot:
        """The weights as they are, and the validation rows' losses under them."""
        weights = state(self.module_)
        if into is None:
            return Snapshot([tensor.detach().clone() for tensor in weights], self._losses)
        copy_tensors(weights, into.weights)
        return Snapshot(into.weights, self._losses)

    def _lower_rates(self) -> bool:
        """Lower the learning rates; False once they are a thousandth of the first."""
        for group in self.optimizer_.param_groups:
            set_rate(group, float(group["lr"]) * PLATEAU_FACTOR)
        return float(self.optimizer_.param_groups[0]["lr"]) > 1e-3 * self._rates[0]

    def _divergence(self, loss: float) -> str:
        return (
            f"Training diverged in epoch {len(self.history)}: the loss is {loss}. Try a learning_rate under {self.lr:g}, "
            "max_grad_norm=1.0, or data and loss of a moderate scale."
        )

    # Batches

    def get_iterator(self, dataset, training=False):
        return dataset.batches(self.batch_size, shuffle=training)

    def get_dataset(self, X, y=None):
        if isinstance(X, Dataset):
            return X
        return ArrayRows(np.asarray(X), Scaling(None, None), torch.device(self.device))

    def __repr__(self):
        return f"AutoencoderNet({'trained' if self.initialized_ else 'new'}, {self.device})"


def set_rate(group: dict, rate: float) -> None:
    """Set a parameter group's learning rate, in place where it is a tensor that a graph reads."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def asks_for_batches(callback: Callback) -> bool:
    """Whether a callback overrides a hook that is called for each batch."""
    hooks = ("on_batch_begin", "on_batch_end", "on_grad_computed")
    return any(getattr(type(callback), hook, None) is not getattr(Callback, hook) for hook in hooks)


def raised_on_purpose(interrupt: KeyboardInterrupt) -> bool:
    """Whether a callback raised it to end training, as skorch's EarlyStopping does, and nobody pressed Ctrl-C.

    An interrupt from the keyboard surfaces at any instruction, or in the handler that somebody has set; a deliberate one at a
    raise.
    """
    trace = interrupt.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    handler = getattr(signal.getsignal(signal.SIGINT), "__code__", None)
    return code is not handler and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]

"""The state of a training: all that a step changes. It can be saved, restored and gone on with."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_ae._training.optimizers import Adam

AVERAGE_DECAY = 0.98  # of the moving average of the weights, a step
FEW_ROWS_ERRORS = 5  # over the rows held out: standard errors beyond one by which training must win
NUMBERS = ("step", "epoch", "best_loss", "best_epoch", "waited", "stopped", "rates")
OWN = (*NUMBERS, "losses", "validation_losses", "average", "start", "best")  # what is saved


class Snapshot(NamedTuple):
    """Weights, and the losses of the validation rows under them."""

    weights: list[Tensor]
    losses: Tensor


class TrainingState:
    """Weights, their average, the optimiser's state, the position in the plan, curves, best epoch.

    Parameters
    ----------
    module : nn.Module
        The network that is trained.
    optimizer : torch.optim.Optimizer
        Its optimiser.

    Attributes
    ----------
    step, epoch : int
        Steps and epochs done.
    best_loss : float
        The lowest loss of an epoch, or that before training.
    best_epoch : int
        The epoch it belongs to, from 1; 0 is before training.
    waited : int
        Epochs since the last that was better by more than the tolerance.
    stopped : bool
        Whether training has ended before its plan.
    losses, validation_losses : list of float
        The curves.
    start, best : Snapshot or None
        Weights from before training, and those of the best epoch.
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer):
        self.module, self.optimizer = module, optimizer
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.step = self.epoch = self.waited = self.best_epoch = 0
        self.best_loss, self.stopped = math.inf, False
        self.losses: list[float] = []
        self.validation_losses: list[float] = []
        self.start: Snapshot | None = None
        self.best: Snapshot | None = None
        self.values = trained_values(module, optimizer)
        self.device = self.values[0].device
        self.average: list[Tensor] | None = None
        self.average_decay = AVERAGE_DECAY
        self._averaged = False  # whether the network has the averaged weights

    # The average

    def start_average(self) -> None:
        """From now on, keep a moving average of the weights beside them."""
        self.average = [value.clone() for value in self.values]

    def update_average(self) -> None:
        """Move the average towards the present weights; called once a step."""
        if self.average is not None:
            torch._foreach_lerp_(self.average, self.values, 1 - self.average_decay)

    def end_average(self) -> None:
        """The averaged weights in place of the present ones, for good."""
        self.use_average(True)
        self.average, self._averaged = None, False

    @torch.no_grad()
    def use_average(self, averaged: bool) -> bool:
        """Give the network the averaged weights, or the present ones; whether it had the former."""
        before = self._averaged
        if self.average is not None and averaged != before:
            for a, b in zip(self.values, self.average, strict=True):
                kept = a.clone()
                a.copy_(b)
                b.copy_(kept)
            self._averaged = averaged
        return before

    @contextmanager
    def averaged(self, averaged: bool = True) -> Iterator[None]:
        """Inside the block the network has the averaged weights, or if False the present ones."""
        before = self.use_average(averaged)
        try:
            yield
        finally:
            self.use_average(before)

    # Snapshots

    def snapshot(self, losses: Tensor) -> Snapshot:
        """The weights as they are, with the validation rows' losses under them."""
        return Snapshot(copied(list(self.module.state_dict().values())), losses)

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Put the weights of a snapshot back."""
        weights = self.module.state_dict().values()
        for value, kept in zip(weights, snapshot.weights, strict=True):
            value.copy_(kept)

    # Saving

    def state_dict(self, device: torch.device | None = None) -> dict:
        """Tensors and plain values, copied to a device, from which ``load_state_dict`` goes on."""
        with self.averaged(False):
            state = {name: getattr(self, name) for name in OWN}
            state["module"] = self.module.state_dict()
            state["optimizer"] = self.optimizer.state_dict()
            state["random"] = torch.get_rng_state()
            if self.device.type == "cuda":
                state["cuda_random"] = torch.cuda.get_rng_state(self.device)
            return copied(state, device)

    def load_state_dict(self, state: dict) -> None:
        """Go on from what ``state_dict`` gave; the network then has the present weights."""
        for name in OWN:
            setattr(self, name, copied(state[name], self.device))
        self.start, self.best = (one and Snapshot(*one) for one in (self.start, self.best))
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.values, self._averaged = trained_values(self.module, self.optimizer), False
        if "random" in state:
            torch.set_rng_state(state["random"])
        if "cuda_random" in state:
            torch.cuda.set_rng_state(state["cuda_random"], self.device)


def improved_significantly(before: Tensor, after: Tensor) -> bool:
    """Whether losses fell, in the mean over rows, and by more than a standard error.

    The error is that of the winsorised mean, in which no single row far out decides. Few rows say
    little of their own deviation: of `n`, ``1 + 5 / n`` errors are asked for.
    """
    fall = (before - after).double().flatten()
    n, ends = len(fall), torch.quantile(fall, fall.new_tensor([0.05, 0.95]))
    drawn_in = fall.clamp(*ends)
    error = drawn_in.std(correction=0) / n**0.5
    return bool(fall.mean() > 0) and bool(drawn_in.mean() > (1 + FEW_ROWS_ERRORS / n) * error)


@torch.no_grad()
def trained_values(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The tensors that training changes: few flat ones where the optimiser has made such."""
    if isinstance(optimizer, Adam):
        return [flat.values for flat in optimizer.flats]
    return [parameter.detach() for parameter in module.parameters() if parameter.requires_grad]


def copied(value: Any, device: torch.device | None = None) -> Any:
    """Nested lists and dictionaries with copies of their tensors."""
    return converted(value, Tensor, lambda tensor: tensor.detach().to(device, copy=True))


def as_arrays(value: Any) -> Any:
    """Nested lists and dictionaries with arrays in the place of their tensors."""
    return converted(value, Tensor, lambda tensor: tensor.numpy(force=True))


def as_tensors(value: Any) -> Any:
    """What ``as_arrays`` was given."""
    return converted(value, np.ndarray, torch.tensor)


def converted(value: Any, kind: type, convert: Callable) -> Any:
    """Nested lists and dictionaries in which all values of a kind are converted."""
    if isinstance(value, kind):
        return convert(value)
    if isinstance(value, dict):
        return {key: converted(one, kind, convert) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        items = (converted(one, kind, convert) for one in value)
        return list(items) if isinstance(value, list) else tuple(items)
    return value

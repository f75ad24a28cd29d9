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
FEW_ROWS_ERRORS = 5  # standard errors by which training must win, beyond one, over the number of rows held out


class Snapshot(NamedTuple):
    """Weights, and the losses of the validation rows under them."""

    weights: list[Tensor]
    losses: Tensor


class TrainingState:
    """Weights, their average, the optimiser's state, the position in the plan, the curves, and the best epoch so far.

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
        Weights from before training, and those of the best epoch, with the losses of the validation rows.
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
        self.average: list[Tensor] | None = None
        self.average_decay = AVERAGE_DECAY
        self._swapped = False

    def start_average(self) -> None:
        """From now on, keep a moving average of the weights beside them."""
        self.average = [value.clone() for value in self.values]

    def update_average(self) -> None:
        """Move the average towards the present weights; called once a step."""
        if self.average is not None:
            torch._foreach_lerp_(self.average, self.values, 1 - self.average_decay)

    def end_average(self) -> None:
        """The averaged weights in place of the present ones, for good."""
        self._swap()
        self.average, self._swapped = None, False

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in place of the present ones, inside the block."""
        if self.average is None or self._swapped:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @contextmanager
    def present(self) -> Iterator[None]:
        """The present weights inside the block, and the averaged ones outside of it, where the network is in use meanwhile."""
        if self._swapped:
            self._swap()
        try:
            yield
        finally:
            self._swap()

    @contextmanager
    def unchanged_by_errors(self) -> Iterator[None]:
        """Whatever goes wrong inside the block, the state is left as it was, with the weights in use that were."""
        before, swapped = self.state_dict(), self._swapped
        try:
            yield
        except BaseException:
            self._swapped = False
            self.load_state_dict(before)
            if swapped:
                self._swap()
            raise

    def snapshot(self, losses: Tensor, into: Snapshot | None = None) -> Snapshot:
        """The weights as they are, with the validation rows' losses under them."""
        weights = list(self.module.state_dict().values())
        if into is None:
            return Snapshot([tensor.detach().clone() for tensor in weights], losses)
        copy_tensors(weights, into.weights)
        return Snapshot(into.weights, losses)

    def restore(self, snapshot: Snapshot) -> None:
        """Put the weights of a snapshot back."""
        copy_tensors(snapshot.weights, list(self.module.state_dict().values()))

    # Saving

    PLAIN = ("step", "epoch", "best_loss", "best_epoch", "waited", "stopped", "rates")

    def state_dict(self) -> dict:
        """Tensors and plain values, copied, from which ``load_state_dict`` goes on."""
        swapped = self._swapped
        if swapped:
            self._swap()
        try:
            state = {name: getattr(self, name) for name in self.PLAIN}
            state |= {"losses": list(self.losses), "validation_losses": list(self.validation_losses)}
            state["module"] = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
            state["optimizer"] = copied(self.optimizer.state_dict())
            state["average"] = copied(self.average)
            state["start"], state["best"] = (snapshot and tuple(copied(list(snapshot))) for snapshot in (self.start, self.best))
            state["random"] = torch.get_rng_state()
            if self.values and self.values[0].is_cuda:
                state["cuda_random"] = torch.cuda.get_rng_state(self.values[0].device)
            return state
        finally:
            if swapped:
                self._swap()

    def load_state_dict(self, state: dict) -> None:
        """Go on from what ``state_dict`` gave: weights, optimiser, torch's random state, and the position in the plan."""
        for name in self.PLAIN:
            setattr(self, name, state[name])
        self.losses, self.validation_losses = list(state["losses"]), list(state["validation_losses"])
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.values = trained_values(self.module, self.optimizer)
        self.average = state["average"] and [
            tensor.to(value.device, copy=True) for tensor, value in zip(state["average"], self.values, strict=True)
        ]
        self.start, self.best = (snapshot and Snapshot(*copied(list(snapshot))) for snapshot in (state["start"], state["best"]))
        if "random" in state:
            torch.set_rng_state(state["random"])
        if "cuda_random" in state:
            torch.cuda.set_rng_state(state["cuda_random"], self.values[0].device)

    @torch.no_grad()
    def _swap(self) -> None:
        assert self.average is not None
        for a, b in zip(self.values, self.average, strict=True):
            kept = a.clone()
            a.copy_(b)
            b.copy_(kept)
        self._swapped = not self._swapped


def improved_significantly(before: Tensor, after: Tensor) -> bool:
    """Whether losses fell, in the mean over rows, and by more than a standard error when the extreme twentieths of the rows are
    drawn in (winsorised), so that no single row far out decides. Few rows say little of their own deviation: of `n`,
    ``1 + 5 / n`` errors are asked for."""
    fall = (before - after).double().flatten()
    drawn_in = fall.clamp(*torch.quantile(fall, torch.tensor([0.05, 0.95], dtype=fall.dtype, device=fall.device)))
    n = len(fall)
    return bool(fall.mean() > 0) and bool(drawn_in.mean() > (1 + FEW_ROWS_ERRORS / n) * drawn_in.std(correction=0) / n**0.5)


@torch.no_grad()
def trained_values(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The tensors that training changes: few flat ones where the optimiser has made such."""
    if isinstance(optimizer, Adam):
        return [flat.values for flat in optimizer.flats]
    return [parameter.detach() for parameter in module.parameters() if parameter.requires_grad]


@torch.no_grad()
def copy_tensors(source: list[Tensor], target: list[Tensor]) -> None:
    for a, b in zip(source, target, strict=True):
        b.copy_(a)


def copied(value: Any) -> Any:
    """Nested lists and dictionaries with copies of their tensors."""
    return converted(value, Tensor, lambda tensor: tensor.detach().clone())


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
        return type(value)(converted(one, kind, convert) for one in value)
    return value

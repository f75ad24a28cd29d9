"""Weights put aside, put back and exchanged, and whether training has improved on them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sklearn_ae._optim import Adam


class Snapshot(NamedTuple):
    """Weights, and the losses of the validation rows under them."""

    weights: list[Tensor]
    losses: Tensor


def gained(before: Tensor, after: Tensor) -> bool:
    """Whether losses fell, in the mean over rows, and by more than two standard errors when the extreme twentieths of the rows are
    drawn in (winsorised), so that no single row far out decides."""
    fall = (before - after).double().flatten()
    drawn_in = fall.clamp(*torch.quantile(fall, torch.tensor([0.05, 0.95], dtype=fall.dtype, device=fall.device)))
    return bool(fall.mean() > 0) and bool(drawn_in.mean() > 2 * drawn_in.std(correction=0) / len(fall) ** 0.5)


@torch.no_grad()
def trained_values(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The tensors that training changes: few flat ones where the optimiser has made such."""
    if isinstance(optimizer, Adam):
        return [flat["values"] for flat in optimizer.flats]
    return [parameter.detach() for parameter in module.parameters() if parameter.requires_grad]


@torch.no_grad()
def swap(these: list[Tensor], those: list[Tensor]) -> None:
    for a, b in zip(these, those, strict=True):
        kept = a.clone()
        a.copy_(b)
        b.copy_(kept)


def state(module: nn.Module) -> list[Tensor]:
    """All parameters and buffers that make up the state."""
    return list(module.state_dict().values())


@torch.no_grad()
def copy_tensors(source: list[Tensor], target: list[Tensor]) -> None:
    for a, b in zip(source, target, strict=True):
        b.copy_(a)

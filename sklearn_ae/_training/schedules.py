"""How the learning rate follows the training."""

import math
from collections.abc import Callable

from torch import Tensor
from torch.optim import Optimizer


def one_cycle(t: float) -> float:
    """Up from 1/25 over 30% of training, then down to nothing (Smith and Topin, 2019)."""
    if t < 0.3:
        return 1 + (1 / 25 - 1) * (1 + math.cos(math.pi * t / 0.3)) / 2
    return cosine((t - 0.3) / 0.7)


def last_steps(t: float) -> float:
    """Up to 0.3 over a fifth, down to nothing along a cosine; for a few steps from good weights."""
    return 0.3 * min(1.0, t / 0.2) * cosine(t)


def warm_up(t: float) -> float:
    """Up from 1/25 and constant from t = 1 on, for streams, whose end nobody knows."""
    return min(1.0, 1 / 25 + t)


def cosine(t: float) -> float:
    """Down to nothing along half a cosine (Loshchilov and Hutter, 2017)."""
    return (1 + math.cos(math.pi * t)) / 2


# From a share of the planned training to a factor of the rate; None leaves the rate to others.
SCHEDULES: dict[str, Callable[[float], float] | None] = {
    "constant": None,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "plateau": None,
}


def first_part(
    schedule: str | Callable[[float], float], share: float
) -> Callable[[float], float] | None:
    """That share of a schedule, from its beginning."""
    whole = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    return None if whole is None else lambda t: whole(share * t)


def set_rates(optimizer: Optimizer, rates: list[float]) -> None:
    """Set each parameter group's learning rate, in place where it is a tensor."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate

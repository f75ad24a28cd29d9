"""Kinds of training steps, and the one place that chooses. A new kind is one file, and a name here.

Each is called with a batch, takes one step of the optimiser, and gives the batch's mean objective.
"""

from typing import Any

from sklearn_ae._training.steps.autograd import CompiledStep, EagerStep
from sklearn_ae._training.steps.graphed import GraphedStep
from sklearn_ae._training.steps.written_out import WrittenOutStep

KINDS: list[Any] = [GraphedStep, CompiledStep, WrittenOutStep, EagerStep]  # the first that fits


def choose_step(trainer: Any, last: Any) -> Any:
    """The step for an epoch of a trainer; `last`, the one before, if it is of the kind chosen."""
    kind = next(kind for kind in KINDS if kind.fits(trainer))
    return last if type(last) is kind else kind(trainer)

"""Steps by autograd, eager and compiled. Other kinds differ in how they come to the gradients."""

from typing import Any

import torch
from torch import Tensor, nn

from sklearn_ae._data.batch import Batch
from sklearn_ae._messages import warn
from sklearn_ae._training.optimizers import Adam


class EagerStep:
    """Forward, backward, and a step of the optimiser.

    Parameters
    ----------
    trainer : Trainer

    Attributes
    ----------
    raw : Tensor
        The raw reconstructions of the last batch, for a batch observer.
    """

    raw: Any = None

    def __init__(self, trainer: Any):
        self.trainer, self.objective = trainer, trainer.objective

    @classmethod
    def fits(cls, trainer: Any) -> bool:
        """Whether this kind can take a trainer's steps as it is now."""
        return True

    def __call__(self, batch: Batch) -> Tensor:
        trainer = self.trainer
        loss = trainer.gradients(self, batch)
        if trainer.batch_observer is not None:
            trainer.batch_observer.gradients(batch)
        if trainer.max_norm is not None and not isinstance(trainer.optimizer, Adam):  # which clips
            nn.utils.clip_grad_norm_(trainer.module.parameters(), trainer.max_norm)
        trainer.optimizer.step()
        trainer.state.update_average()
        return loss

    def gradients(self, batch: Batch) -> Tensor:
        """Set the gradients of a batch's mean objective, and give it."""
        self.trainer.optimizer.zero_grad(set_to_none=True)
        losses, self.raw = self.objective(batch)
        means = losses.mean(-1)  # one, or one for each of several networks
        means.sum().backward()
        return means.detach().mean()


class CompiledStep(EagerStep):
    """A step whose forward and backward pass are compiled; with a warning, where they cannot be."""

    def __init__(self, trainer: Any):
        super().__init__(trainer)
        self.objective = torch.compile(trainer.objective)

    @classmethod
    def fits(cls, trainer: Any) -> bool:
        return trainer.compile_step and trainer.batch_observer is None

    def gradients(self, batch: Batch) -> Tensor:
        try:
            return super().gradients(batch)
        except Exception as error:  # torch has no common type for what its compilers raise
            if not self.trainer.compile_step:
                raise
            self.trainer.compile_step = False  # from the next epoch on, another kind is chosen
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            message = f"compile=True has no effect: torch.compile failed here ({reason})."
            warn(message, RuntimeWarning)
            self.objective = self.trainer.objective
            return super().gradients(batch)

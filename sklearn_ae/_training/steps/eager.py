"""The plain step, by autograd. Other kinds differ in how they come to the gradients."""

from typing import Any

from torch import Tensor, nn

from sklearn_ae._data.batch import Batch
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
        self.trainer = trainer

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
        means = self.losses(batch).mean(-1)  # one, or one for each of several networks
        means.sum().backward()
        return means.detach().mean()

    def losses(self, batch: Batch) -> Tensor:
        losses, self.raw = self.trainer.objective(batch)
        return losses

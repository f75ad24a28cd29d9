"""Steps whose forward and backward pass are compiled."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_ae._data.batch import Batch
from sklearn_ae._messages import warn
from sklearn_ae._training.steps.eager import EagerStep


class CompiledStep(EagerStep):
    """A step that is compiled on its first batch; an eager one, with a warning, if that fails."""

    compiled: Callable[[Batch], Tensor] | None = None

    @classmethod
    def fits(cls, trainer: Any) -> bool:
        return trainer.compile_step and trainer.batch_observer is None

    def losses(self, batch: Batch) -> Tensor:
        if self.compiled is None:
            self.compiled = self._compile(batch)
        return self.compiled(batch)

    def _compile(self, batch: Batch) -> Callable[[Batch], Tensor]:
        def eager(batch: Batch) -> Tensor:
            return self.trainer.objective(batch)[0]

        fast = torch.compile(eager)
        try:
            with torch.random.fork_rng(devices=[batch.x.device] if batch.x.is_cuda else []):
                fast(batch).mean().backward()  # it is compiled when it is first asked for
        except Exception as error:  # torch has no common type for what its compilers raise
            self.trainer.compile_step = False  # the next epoch chooses another kind
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            message = f"compile=True has no effect: torch.compile failed here ({reason})."
            warn(message, RuntimeWarning)
            fast = eager
        self.trainer.optimizer.zero_grad()
        return fast

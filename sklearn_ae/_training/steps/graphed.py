"""Steps as CUDA graphs."""

from typing import Any

import torch
from torch import Tensor

from sklearn_ae._data.batch import Batch
from sklearn_ae._training.optimizers import Adam
from sklearn_ae._training.steps.autograd import CompiledStep, EagerStep

WARM_UP = 3  # steps before a graph is captured, as torch asks for


class GraphedStep:
    """A step that is captured once as a CUDA graph and then replayed, without waits for launches.

    Nothing in it may synchronise, and learning rates are tensors, which each replay reads anew.
    """

    def __init__(self, trainer: Any):
        trainer.optimizer.rates_on_device()
        self.step = (CompiledStep if CompiledStep.fits(trainer) else EagerStep)(trainer)
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    @classmethod
    def fits(cls, trainer: Any) -> bool:
        on_cuda = trainer.device.type == "cuda" and isinstance(trainer.optimizer, Adam)
        return on_cuda and trainer.batch_observer is None and not trainer.is_shared

    def __call__(self, batch: Batch) -> Tensor:
        if self.graph is None:
            self.calls += 1
            if self.calls <= WARM_UP:
                return self._on_side_stream(batch)
            self.graph = self._capture(batch)
        if batch.x.shape != self.batch.x.shape:
            return self.step(batch)
        for own, given in zip(self.batch, batch, strict=True):
            if own is not None and given is not None:
                own.copy_(given)
        self.graph.replay()
        return self.loss

    def _on_side_stream(self, batch: Batch) -> Tensor:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.step(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _capture(self, batch: Batch) -> torch.cuda.CUDAGraph:
        parts: Any = (None if part is None else part.clone() for part in batch)
        self.batch = Batch(*parts)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.loss = self.step(self.batch)  # is recorded, and not run
        return graph

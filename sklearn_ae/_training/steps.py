"""Training steps faster than a plain one: compiled, or replayed as a CUDA graph."""

from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_ae._data.batch import Batch
from sklearn_ae._messages import warn

WARM_UP = 3  # steps before a graph is captured, as torch asks for


def compiled(objective: Callable[[Batch], Tensor], batch: Batch, optimizer: torch.optim.Optimizer) -> Callable[[Batch], Tensor]:
    """`objective` compiled, forward and backward; as it was, with a warning, where it cannot be compiled.

    It is tried on a batch, and the optimiser's gradients are cleared afterwards.
    """
    fast = torch.compile(objective)
    try:
        with torch.random.fork_rng(devices=[batch.x.device] if batch.x.is_cuda else []):
            fast(batch).mean().backward()  # the backward pass is compiled when it is first asked for
    except Exception as error:  # torch has no common type for what its compilers raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        warn(f"compile=True has no effect: torch.compile failed here ({reason}).", RuntimeWarning)
        fast = objective
    optimizer.zero_grad()
    return fast


class GraphedStep:
    """A training step that is captured once as a CUDA graph and then replayed, so that small networks do not wait for launches.

    Parameters
    ----------
    step : callable
        From a batch to its mean objective: forward, backward and the optimiser's step, with nothing that synchronises.
        Learning rates must be tensors on the device, which each replay reads anew.
    """

    def __init__(self, step: Callable[[Batch], Tensor]):
        self.step = step
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

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
        self.batch = Batch(batch.x.clone(), *(None if part is None else part.clone() for part in batch[1:]))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # records the step without running it
            self.loss = self.step(self.batch)
        return graph

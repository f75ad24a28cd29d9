"""The processes of torch.distributed's default group, and what they tell one another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor


class Processes:
    """The processes of the default group. All have to call the same methods in the same order.

    Parameters
    ----------
    alone : bool
        Whether this process is on its own even if there is a group.
    """

    def __init__(self, alone: bool = False) -> None:
        inside = not alone and dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if inside else (0, 1)

    def together(self, compute: Callable[[], Any]) -> list:
        """What each process computes, by rank; what goes wrong in one of them is raised in all."""
        if self.size == 1:
            return [compute()]
        try:
            own: Any = (None, compute())
        except Exception as error:
            kind = type(error) if type(error) in (TypeError, ValueError) else RuntimeError
            own = ((kind, str(error) or type(error).__name__), None)
            cause: Exception | None = error
        else:
            cause = None
        with answering():
            told: list = [None] * self.size
            dist.all_gather_object(told, own)
        for rank, (failure, _) in enumerate(told):
            if failure is not None:
                kind, message = failure
                raise kind(f"Rank {rank}: {message}") from (cause if rank == self.rank else None)
        return [result for _, result in told]

    def of_first(self, value: Any) -> Any:
        """What rank 0 gives."""
        if self.size == 1:
            return value
        told = [value]
        with answering():
            dist.broadcast_object_list(told, src=0)
        return told[0]

    def take_first(self, tensor: Tensor) -> None:
        """Put rank 0's numbers into a tensor."""
        with answering():
            dist.broadcast(tensor, src=0)

    def add(self, tensor: Tensor) -> None:
        """Put the sum over all processes into a tensor; all get the same bits."""
        with answering():
            dist.all_reduce(tensor)


@contextmanager
def answering() -> Iterator[None]:
    """Say what it means if an exchange fails."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            "Another process of the group has ended, or has not answered within the group's "
            "timeout, so this fit cannot go on; its own message says why. torch.distributed says: "
            f"{error}"
        ) from error

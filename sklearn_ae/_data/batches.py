"""The batches of an epoch."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.members import Members
from sklearn_ae._data.sources import DEVICE_BLOCK_BYTES, RESIDENT_BYTES, Scaled


class Batches:
    """The batches of an epoch, in a new random order each time if asked for.

    Rows are gathered in blocks of many batches; batches are slices of a block. A last batch of a
    single row joins the one before it, since batch normalisation cannot train on one.

    Parameters
    ----------
    source : Scaled or Members
    batch_size : int
    shuffle : bool
    """

    def __init__(self, source: Scaled | Members, batch_size: int, shuffle: bool):
        self.source = source
        self.batch_size, self.shuffle = batch_size, shuffle
        n = source.n_rows
        self.starts = [i * batch_size for i in range(self.n_batches(n, batch_size))]
        on_cpu, resident = source.device.type == "cpu", source.resident is not None
        block_bytes = (
            RESIDENT_BYTES
            if on_cpu and resident
            else source.read_bytes
            if on_cpu
            else DEVICE_BLOCK_BYTES
        )
        self.per_block = max(1, block_bytes // (source.row_bytes * batch_size))

    @staticmethod
    def n_batches(n_rows: int, batch_size: int) -> int:
        """How many batches an epoch has."""
        n = -(-n_rows // batch_size)
        return n - 1 if n > 1 and n_rows - (n - 1) * batch_size == 1 else n

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Batch]:
        resident = self.source.resident is not None
        if len(self.starts) == 1 and resident:
            yield self.source.take(slice(None))  # the order within a batch does not matter
            return
        plans = self._plan()
        blocks: Iterator[Batch] = (self.source.take(positions) for positions, _ in plans)
        if self.source.device.type != "cpu" and not resident:
            blocks = ahead(self.source.take, [positions for positions, _ in plans])
        for block, (_, sizes) in zip(blocks, plans, strict=True):
            yield from block.split(sizes)

    def _plan(self) -> list[tuple[Tensor, list[int]]]:
        """For each block, the positions of its rows and the sizes of its batches."""
        n = self.source.n_rows
        order = (
            self.source.shuffled(self.per_block * self.batch_size)
            if self.shuffle
            else torch.arange(n)
        )
        bounds, plans = [*self.starts, n], []
        for first in range(0, len(self.starts), self.per_block):
            edges = bounds[first : first + self.per_block + 1]
            plans.append(
                (order[edges[0] : edges[-1]], [b - a for a, b in itertools.pairwise(edges)])
            )
        return plans


def ahead(take: Callable[[Tensor], Batch], positions: list[Tensor]) -> Iterator[Batch]:
    """Blocks of rows, each gathered and sent to the device while the one before is being trained
    on.
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(take, positions[0])
        for following in [*positions[1:], None]:
            block = future.result()
            if following is not None:
                future = pool.submit(take, following)
            yield block

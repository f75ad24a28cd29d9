"""Where batches come from: rows of an array, scaled, on the device."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sklearn_ae._scaling import Scaling, as_tensor

RESIDENT_BYTES = 2**26  # on the CPU, a scaled copy of the rows is kept up to this size
BLOCK_BYTES = 2**22  # otherwise rows are gathered in blocks of about this size
DEVICE_BLOCK_BYTES = 2**28  # and in such of this size for another device


class ArrayRows(Dataset):
    """Rows of a dense array.

    A source of rows has a length, gives rows by index (scaled, float32, on the device), and makes the batches of an
    epoch. Other kinds of data are other classes with the same three.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        The data, in its own units. Never copied as a whole when large.
    scaling : Scaling
        Applied to the rows as they are gathered.
    device : torch.device
        Where batches are needed.
    indices : ndarray of shape (n_rows,) or None
        Which rows of X; all of them if None.
    """

    def __init__(self, X: np.ndarray, scaling: Scaling, device: torch.device, indices: np.ndarray | None = None):
        self.scaling = scaling
        self.device = device
        self.X = X
        self.data = as_tensor(X)
        self.scale = scaling.on(self.data.dtype)
        self.indices = None if indices is None else torch.from_numpy(np.asarray(indices, np.int64))
        self.rows = None
        if 4 * len(self) * X.shape[1] <= room(device):
            self.rows = self._load()

    def __len__(self) -> int:
        return len(self.data) if self.indices is None else len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row = self.take(torch.tensor([index]))[0]
        return row, row

    def take(self, positions: Tensor) -> Tensor:
        """The rows at these positions, of shape (n_positions, n_features)."""
        if self.rows is not None:
            return self.rows.index_select(0, positions.to(self.device))
        return self._gather(positions if self.indices is None else self.indices[positions])

    def subset(self, indices: np.ndarray) -> "ArrayRows":
        """Some of the rows, as a source of their own."""
        own = indices if self.indices is None else self.indices.numpy()[indices]
        return ArrayRows(self.X, self.scaling, self.device, own)

    def batches(self, batch_size: int, shuffle: bool) -> "Batches":
        """One epoch each time it is iterated."""
        return Batches(self, batch_size, shuffle)

    def row_bytes(self) -> int:
        """The size of a row."""
        return 4 * self.data.shape[1]

    def _load(self) -> Tensor:
        """All rows on the device, scaled part by part."""
        rows = torch.empty(len(self), self.data.shape[1], device=self.device)
        step = max(1, DEVICE_BLOCK_BYTES // self.row_bytes())
        for start in range(0, len(self), step):
            chosen = slice(start, start + step)
            rows[chosen] = self.scale(self.data[chosen].clone() if self.indices is None else self.data[self.indices[chosen]])
        return rows

    def _gather(self, indices: Tensor) -> Tensor:
        x = self.scale(self.data.index_select(0, indices)).contiguous()
        return x if self.device.type == "cpu" else x.pin_memory().to(self.device, non_blocking=True)


class MemberRows(Dataset):
    """Rows for the members of an ensemble, each with rows and features of its own.

    Parameters
    ----------
    rows : ArrayRows
        Where the rows come from.
    positions : Tensor of shape (n_members, n_samples), integer
        Which rows each member has.
    features : Tensor of shape (n_members, n_seen), integer
        Which features each member sees.
    """

    def __init__(self, rows: ArrayRows, positions: Tensor, features: Tensor):
        self.source = rows
        self.device = rows.device
        self.positions = positions
        self.features = features.to(rows.device)
        self.rows = None
        if 4 * positions.numel() * features.shape[1] <= room(rows.device):
            self.rows = self._gather(positions)

    def __len__(self) -> int:
        return self.positions.shape[1]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row = self.take(torch.tensor([index]))[:, 0]
        return row, row

    def take(self, positions: Tensor) -> Tensor:
        """The members' rows at these positions, of shape (n_members, n_positions, n_seen)."""
        if self.rows is not None:
            return self.rows.index_select(1, positions.to(self.device))
        return self._gather(self.positions[:, positions])

    def batches(self, batch_size: int, shuffle: bool) -> "Batches":
        """One epoch each time it is iterated."""
        return Batches(self, batch_size, shuffle)

    def row_bytes(self) -> int:
        """The size of one row of every member."""
        return 4 * self.features.numel()

    def _gather(self, positions: Tensor) -> Tensor:
        each = zip(positions, self.features, strict=True)
        return torch.stack([self.source.take(rows).index_select(1, features) for rows, features in each])


class Batches:
    """The batches of an epoch, in a new random order each time if asked for.

    Rows are gathered in blocks of many batches; batches are slices of a block. A last batch of a single row joins the one
    before it, since batch normalisation cannot train on one.
    """

    def __init__(self, source: ArrayRows | MemberRows, batch_size: int, shuffle: bool):
        self.source = source
        self.shuffle = shuffle
        n = len(source)
        self.starts = list(range(0, n, batch_size))
        if len(self.starts) > 1 and n - self.starts[-1] == 1:
            self.starts.pop()
        on_cpu, resident = source.device.type == "cpu", source.rows is not None
        block_bytes = RESIDENT_BYTES if on_cpu and resident else BLOCK_BYTES if on_cpu else DEVICE_BLOCK_BYTES
        self.per_block = max(1, block_bytes // (source.row_bytes() * batch_size))

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if len(self.starts) == 1 and self.source.rows is not None:
            yield self.source.rows, self.source.rows  # the order within a batch does not matter
            return
        plans = self._plan()
        blocks = (self.source.take(positions) for positions, _ in plans)
        if self.source.device.type != "cpu" and self.source.rows is None:
            blocks = ahead(self.source.take, [positions for positions, _ in plans])
        for block, (_, sizes) in zip(blocks, plans, strict=True):
            for x in block.split(sizes, -2):
                yield x, x

    def _plan(self) -> list[tuple[Tensor, list[int]]]:
        """For each block, the positions of its rows and the sizes of its batches."""
        n, resident = len(self.source), self.source.rows is not None
        device = self.source.device if resident else "cpu"
        order = torch.randperm(n, device=device) if self.shuffle else torch.arange(n, device=device)
        bounds, plans = [*self.starts, n], []
        for first in range(0, len(self.starts), self.per_block):
            edges = bounds[first : first + self.per_block + 1]
            plans.append((order[edges[0] : edges[-1]], [b - a for a, b in itertools.pairwise(edges)]))
        return plans


def ahead(take: Callable[[Tensor], Tensor], positions: list[Tensor]) -> Iterator[Tensor]:
    """Blocks of rows, each gathered and sent to the device while the one before is being trained on."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(take, positions[0])
        for following in [*positions[1:], None]:
            block = future.result()
            if following is not None:
                future = pool.submit(take, following)
            yield block


def room(device: torch.device) -> int:
    """How many bytes of rows are kept on the device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free // 2  # the other half is for the network and its activations
    return RESIDENT_BYTES

"""Rows that stay where they are: memory maps, HDF5 and Zarr arrays, and Arrow tables, read block by
block.
"""

import mmap
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.sources import Source, missing

MEMORY_BYTES = 2**26  # a memory map up to this size is read as an array
SHUFFLED_BYTES = 2**20  # consecutive rows that are read together in random order
RUN_BYTES = 2**24  # consecutive rows that are read at once, at most
NEAR = 64  # rows between two that are wanted which are read with them


class DiskSource(Source):
    """Rows of something that gives consecutive rows by slicing, such as a memory map. Never read as
    a whole.

    Parameters
    ----------
    X : object with ``shape``, ``dtype`` and slices, or a pyarrow Table
    """

    read_bytes = 2**26

    def __init__(self, X: Any):
        self.X = X
        self.n_rows, self.n_features = X.shape
        dtype = X.dtype if hasattr(X, "dtype") else np.float64
        self.dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
        self.positions: np.ndarray | None = None
        self._gaps: bool | None = None

    @property
    def has_gaps(self) -> bool:  # type: ignore[override]  # looked for when it is first asked for
        if self._gaps is None:
            self._gaps = any(block.mask is not None for block in self.blocks())
        return self._gaps

    def take(self, rows: Tensor | slice) -> Batch:
        weight = None if self.weight is None else self.weight[rows]
        if isinstance(rows, slice) and self.positions is None:
            start, stop, _ = rows.indices(self.n_rows)
            x = torch.from_numpy(self._read(start, stop))
        else:
            wanted = np.arange(self.n_rows)[rows] if isinstance(rows, slice) else rows.numpy()
            x = torch.from_numpy(
                self._gather(wanted if self.positions is None else self.positions[wanted])
            )
        gaps = None if self._gaps is False else missing(x)
        if gaps is not None:
            return Batch(torch.where(gaps, 0, x), weight, ~gaps)
        return Batch(x, weight, torch.ones(x.shape, dtype=torch.bool) if self._gaps else None)

    def subset(self, positions: np.ndarray) -> "DiskSource":
        part = DiskSource.__new__(DiskSource)
        part.__dict__.update(self.__dict__)
        part.positions = (
            np.asarray(positions, position_type(self.n_rows))
            if self.positions is None
            else self.positions[positions]
        )
        part.weight = (
            None if self.weight is None else self.weight[torch.from_numpy(np.asarray(positions))]
        )
        part.n_rows = len(positions)
        return part

    def shuffled(self, n_together: int) -> Tensor:
        """Short runs of consecutive rows in random order, then rows in random order within each
        `n_together` of them.
        """
        run = max(1, SHUFFLED_BYTES // (self.dtype.itemsize * self.n_features))
        order, n_placed = np.empty(self.n_rows, position_type(self.n_rows)), 0
        for start in (torch.randperm(-(-self.n_rows // run)) * run).tolist():
            stop = min(start + run, self.n_rows)
            order[n_placed : n_placed + stop - start] = np.arange(start, stop)
            n_placed += stop - start
        for part in torch.from_numpy(order).split(n_together):
            part.copy_(part[torch.randperm(len(part))])
        return torch.from_numpy(order)

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        """Rows in any order, read in sorted runs."""
        order = np.argsort(rows, kind="stable")
        inverse = rows[order]
        result = np.empty((len(rows), self.n_features), self.dtype)
        # no run is longer than this
        part = inverse // max(1, RUN_BYTES // (self.dtype.itemsize * self.n_features))
        edges = np.flatnonzero((np.diff(inverse) > NEAR) | (np.diff(part) > 0)) + 1
        for first, last in zip(np.r_[0, edges], np.r_[edges, len(rows)], strict=True):
            start, stop = inverse[first], inverse[last - 1] + 1
            result[order[first:last]] = self._read(int(start), int(stop))[
                inverse[first:last] - start
            ]
        return result

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Consecutive rows, copied."""
        if hasattr(self.X, "slice"):  # a table of Arrow
            table = self.X.slice(start, stop - start)
            return np.column_stack([column.to_numpy() for column in table.columns]).astype(
                self.dtype, copy=False
            )
        rows = np.array(self.X[start:stop], self.dtype)
        pages = getattr(self.X, "_mmap", None)
        if isinstance(self.X, np.memmap) and pages is not None:
            # the pages stay in the system's cache, but no longer count as ours
            pages.madvise(mmap.MADV_DONTNEED)
        return rows


def position_type(n_rows: int) -> type[np.signedinteger]:
    """Whole numbers that count so many rows, and take half the memory where they can: of rows on
    disk there are many.
    """
    return np.int32 if n_rows <= np.iinfo(np.int32).max else np.int64


def is_on_disk(X: Any) -> bool:
    """Whether X is read block by block: a large memory map, an array of HDF5 or Zarr, or a table of
    Arrow.
    """
    if isinstance(X, np.memmap):
        return X.ndim == 2 and X.nbytes > MEMORY_BYTES and X.dtype.kind in "biuf"
    kind = type(X).__module__.partition(".")[0]
    return (kind in ("h5py", "zarr") and len(getattr(X, "shape", ())) == 2) or (
        kind == "pyarrow" and hasattr(X, "column_names")
    )

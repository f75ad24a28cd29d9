"""Sources of rows: the one way in which scaling, training, validation, calibration and inference read data.

A source has ``n_rows`` and ``n_features``, and gives a `Batch` by ``take``. Nothing else knows how the data lie in memory: another
container is another class here. `Scaled` and `Members` are sources too; they give what networks are trained on.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.scaling import Scaling, as_tensor

RESIDENT_BYTES = 2**26  # on the CPU, a scaled copy of the rows is kept up to this size
BLOCK_BYTES = 2**24  # rows that are read in order come in blocks of about this size
DEVICE_BLOCK_BYTES = 2**28  # the same for rows that are sent to another device


class Source(Dataset):
    """Base of the sources of rows.

    Attributes
    ----------
    n_rows, n_features : int
    """

    n_rows: int
    n_features: int

    def take(self, rows: Tensor | slice) -> Batch:
        """The rows at these positions.

        Parameters
        ----------
        rows : Tensor of shape (n,), integer, or slice
        """
        raise NotImplementedError

    def subset(self, positions: np.ndarray) -> "Source":
        """Some of the rows, as a source of their own.

        Parameters
        ----------
        positions : ndarray of shape (n,), integer
        """
        raise NotImplementedError

    def blocks(self, n_rows: int | None = None) -> Iterator[Batch]:
        """All rows in order, block by block.

        Parameters
        ----------
        n_rows : int or None
            Rows of a block; None for about 16 MB.
        """
        step = n_rows or max(1, BLOCK_BYTES // (8 * self.n_features))
        for start in range(0, self.n_rows, step):
            yield self.take(slice(start, min(start + step, self.n_rows)))

    def range(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        ends = [(float(block.x.min()), float(block.x.max())) for block in self.blocks()]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # as torch's and skorch's tools read a data set
        x = self.take(torch.tensor([index])).x.squeeze(-2)
        return x, x


class ArraySource(Source):
    """Rows of a dense array, in the data's own units and precision.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        Never copied as a whole.
    positions : ndarray of shape (n_rows,), integer, or None
        Which rows of X; None for all.
    """

    def __init__(self, X: np.ndarray, positions: np.ndarray | None = None):
        self.X = X
        self.data = as_tensor(X)
        self.positions = None if positions is None else torch.from_numpy(np.asarray(positions, np.int64))
        self.n_rows = len(X) if positions is None else len(positions)
        self.n_features = X.shape[1]

    def take(self, rows: Tensor | slice) -> Batch:
        if self.positions is not None:
            rows = self.positions[rows]
        return Batch(self.data[rows] if isinstance(rows, slice) else self.data.index_select(0, rows))

    def subset(self, positions: np.ndarray) -> "ArraySource":
        return ArraySource(self.X, positions if self.positions is None else self.positions.numpy()[positions])


class Scaled(Source):
    """The rows of another source, scaled, float32, on the device.

    A copy of all of them is kept where it is small; otherwise they are read and scaled when they are asked for.

    Parameters
    ----------
    source : Source
        Rows in the data's own units.
    scaling : Scaling
    device : torch.device
    """

    def __init__(self, source: Source, scaling: Scaling, device: torch.device):
        self.source, self.scaling, self.device = source, scaling, device
        self.n_rows, self.n_features = source.n_rows, source.n_features
        self.row_bytes = 4 * self.n_features
        self.resident = None
        if self.row_bytes * self.n_rows <= room(device):
            self.resident = self._load()

    def take(self, rows: Tensor | slice) -> Batch:
        if self.resident is None:
            return self._read(rows)
        if isinstance(rows, slice):
            return Batch(self.resident[rows])
        return Batch(self.resident.index_select(0, rows.to(self.device)))

    def subset(self, positions: np.ndarray) -> "Scaled":
        return Scaled(self.source.subset(positions), self.scaling, self.device)

    def _read(self, rows: Tensor | slice) -> Batch:
        x = self.source.take(rows).x
        x = self.scaling.transform_for(x.dtype)(x).contiguous()
        return Batch(x if self.device.type == "cpu" else x.pin_memory().to(self.device, non_blocking=True))

    def _load(self) -> Tensor:
        """All rows on the device, scaled block by block."""
        resident = torch.empty(self.n_rows, self.n_features, device=self.device)
        step = max(1, DEVICE_BLOCK_BYTES // self.row_bytes)
        for start in range(0, self.n_rows, step):
            x = self.source.take(slice(start, start + step)).x
            resident[start : start + step] = self.scaling.transform_for(x.dtype)(x)
        return resident


class Members(Source):
    """Rows for networks side by side, each with rows and features of its own.

    Parameters
    ----------
    source : Scaled
        Where the rows come from.
    positions : Tensor of shape (n_networks, n_rows), integer
        Which rows each network has.
    features : Tensor of shape (n_networks, n_seen), integer
        Which features each network sees.
    """

    def __init__(self, source: Scaled, positions: Tensor, features: Tensor):
        self.source, self.positions, self.device = source, positions, source.device
        self.features = features.to(source.device)
        self.n_rows, self.n_features = positions.shape[1], source.n_features
        self.row_bytes = 4 * features.numel()
        self.resident = None
        if self.row_bytes * self.n_rows <= room(self.device):
            self.resident = self._read(positions).x

    def take(self, rows: Tensor | slice) -> Batch:
        if self.resident is None:
            return self._read(self.positions[:, rows])
        if isinstance(rows, slice):
            return Batch(self.resident[:, rows])
        return Batch(self.resident.index_select(1, rows.to(self.device)))

    def _read(self, positions: Tensor) -> Batch:
        each = zip(positions, self.features, strict=True)
        return Batch(torch.stack([self.source.take(rows).x.index_select(1, features) for rows, features in each]))


def room(device: torch.device) -> int:
    """How many bytes of rows are kept on the device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free // 2  # the other half is for the network and its activations
    return RESIDENT_BYTES

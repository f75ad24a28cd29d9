"""Sources of rows: the one way in which scaling, training, validation, calibration and inference
read data.

A source has ``n_rows`` and ``n_features``, and gives a `Batch` by ``take``. Nothing else knows how
the data lie in memory: another container is another class here. `Scaled` is a source too; it gives
what networks are trained on.
"""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils.sparsefuncs import mean_variance_axis, min_max_axis
from torch import Tensor
from torch.utils.data import Dataset

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.scaling import SQUARABLE, Moments, Scaling, as_tensor, moments_of

RESIDENT_BYTES = 2**26  # on the CPU, a scaled copy of the rows is kept up to this size
BLOCK_BYTES = 2**24  # rows that are read in order come in blocks of about this size
DEVICE_BLOCK_BYTES = 2**28  # the same for rows that are sent to another device


class Source(Dataset):
    """Base of the sources of rows.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : numpy.dtype
        Precision of the data, float32 or float64.
    has_gaps : bool
        Whether values are missing. Batches then have a mask, and zeros in the gaps.
    weight : Tensor of shape (n_rows,), float32, or None
        Weights of the rows; None if all weigh the same.
    is_sparse : bool
        Whether most values are zeros that are not stored.
    """

    n_rows: int
    n_features: int
    dtype: np.dtype
    has_gaps: bool = False
    is_sparse: bool = False
    weight: Tensor | None = None
    spread: Any = None  # of rows drawn from those of several processes: a `Spread`
    read_bytes = 2**22  # rows that are read in random order come in blocks of about this size

    @property
    def n_all(self) -> int:
        """Rows that are trained on: more than `n_rows` where these are drawn from those of several
        processes.
        """
        return self.n_rows

    def forget_equal_weights(self) -> None:
        """Weights that are all equal are none."""
        if self.weight is not None and bool((self.weight == self.weight[0]).all()):
            self.weight = None

    def shuffled(self, n_together: int) -> Tensor:
        """Positions of all rows in random order, of which `n_together` at a time will be taken."""
        return torch.randperm(self.n_rows)

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

    def result(self, values: np.ndarray) -> Any:
        """Results in a container of the kind that the data came in."""
        return values

    def range(self) -> tuple[float, float]:
        """The smallest and the largest value; a gap counts as zero."""
        ends = [(float(block.x.min()), float(block.x.max())) for block in self.blocks()]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def moments(self) -> Moments:
        """Means, deviations and ends of the features, over what was observed."""
        return moments_of(lambda: map(observed, self.blocks()))

    def representative(self, n: int, random_state: np.random.RandomState) -> np.ndarray:
        """Positions of about `n` rows in random order, each as often as its weight asks for: all of
        them if they are few.
        """
        if self.weight is None:
            return random_state.permutation(self.n_rows)[:n]
        share = np.cumsum(self.weight.double().numpy())
        n = min(n, 8 * self.n_rows)
        return random_state.permutation(
            np.searchsorted(share, share[-1] * (np.arange(n) + random_state.random_sample()) / n)
        )

    def __len__(self) -> int:
        return self.n_rows

    # as torch's and skorch's tools read a data set
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = self.take(torch.tensor([index])).x.squeeze(-2)
        return x, x


class ArraySource(Source):
    """Rows of a dense array, in the data's own units and precision.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        NaN where a value is missing. Never copied as a whole.
    """

    def __init__(self, X: np.ndarray):
        self.data, self.dtype = as_tensor(X), X.dtype
        self.positions: Tensor | None = None
        self.n_rows, self.n_features = X.shape
        self.has_gaps = has_gaps(self.data)

    def take(self, rows: Tensor | slice) -> Batch:
        weight = None if self.weight is None else self.weight[rows]
        if self.positions is not None:
            rows = self.positions[rows]
        x = self.data[rows] if isinstance(rows, slice) else self.data.index_select(0, rows)
        if not self.has_gaps:
            return Batch(x, weight)
        mask = ~torch.isnan(x)
        return Batch(torch.where(mask, x, 0), weight, mask)

    def subset(self, positions: np.ndarray) -> "ArraySource":
        part = copy.copy(self)
        chosen = torch.from_numpy(np.asarray(positions, np.int64))
        part.positions = chosen if self.positions is None else self.positions[chosen]
        part.weight = None if self.weight is None else self.weight[chosen]
        part.n_rows = len(chosen)
        return part


class TensorSource(ArraySource):
    """Rows of a tensor on any device, which results go back to.

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_features), float32 or float64
    """

    def __init__(self, X: Tensor):
        self.data, self.positions = X.detach(), None
        self.dtype = np.dtype(np.float32 if X.dtype is torch.float32 else np.float64)
        self.n_rows, self.n_features = X.shape
        self.has_gaps = has_gaps(self.data)

    def take(self, rows: Tensor | slice) -> Batch:
        return super().take(rows if isinstance(rows, slice) else rows.to(self.data.device))

    def subset(self, positions: np.ndarray) -> ArraySource:
        part = super().subset(positions)
        assert part.positions is not None
        part.positions = part.positions.to(self.data.device)
        return part

    def result(self, values: np.ndarray) -> Any:
        return torch.from_numpy(values).to(self.data.device)


class SparseSource(Source):
    """Rows of a sparse matrix. Only the rows that are asked for become dense.

    Parameters
    ----------
    X : CSR array or matrix of shape (n_samples, n_features), float32 or float64
    """

    is_sparse = True

    def __init__(self, X):
        self.X, self.dtype = X, X.dtype
        self.n_rows, self.n_features = X.shape
        self.has_gaps = bool(np.isnan(X.data).any())

    def take(self, rows: Tensor | slice) -> Batch:
        weight = None if self.weight is None else self.weight[rows]
        x = torch.from_numpy(self.X[rows if isinstance(rows, slice) else rows.numpy()].toarray())
        if not self.has_gaps:
            return Batch(x, weight)
        mask = ~torch.isnan(x)
        return Batch(torch.where(mask, x, 0), weight, mask)

    def subset(self, positions: np.ndarray) -> "SparseSource":
        part = SparseSource(self.X[positions])
        part.weight = (
            None if self.weight is None else self.weight[torch.from_numpy(np.asarray(positions))]
        )
        return part

    def range(self) -> tuple[float, float]:
        return (
            (min(0.0, float(np.nanmin(self.X.data))), max(0.0, float(np.nanmax(self.X.data))))
            if self.X.nnz
            else (0.0, 0.0)
        )

    def moments(self) -> Moments:
        # scikit-learn takes their weight from the sum, which rounding may leave at 0
        if self.has_gaps and self.weight is not None:
            return super().moments()
        low, high = min_max_axis(self.X, axis=0, ignore_nan=True)
        largest = np.fmax(-low, high).astype(np.float64)
        if (largest > SQUARABLE[1]).any() or ((largest > 0) & (largest < SQUARABLE[0])).any():
            return super().moments()
        weight = None if self.weight is None else self.weight.numpy().astype(self.X.dtype)
        mean, variance = mean_variance_axis(self.X, axis=0, weights=weight)
        return Moments(mean.astype(np.float64), np.sqrt(variance).astype(np.float64), low, high)


class Scaled(Source):
    """The rows of another source, scaled, float32, on the device.

    A copy of all of them is kept where it is small; otherwise they are read and scaled when they
    are asked for.

    Parameters
    ----------
    source : Source
        Rows in the data's own units.
    scaling : Scaling
    device : torch.device
    """

    def __init__(self, source: Source, scaling: Scaling, device: torch.device):
        self.source, self.scaling, self.device = source, scaling, device
        self.n_rows, self.n_features, self.dtype = (
            source.n_rows,
            source.n_features,
            np.dtype(np.float32),
        )
        self.has_gaps, self.weight, self.read_bytes = (
            source.has_gaps,
            source.weight,
            source.read_bytes,
        )
        self.spread = source.spread
        self.mean_weight: Any = None if self.weight is None else self.weight.double().mean().float()
        self.row_bytes = (5 if self.has_gaps else 4) * self.n_features
        self.resident: Batch | None = None
        if self.row_bytes * self.n_rows <= room(device):
            self.resident = self._load()

    @property
    def n_all(self) -> int:
        return self.source.n_all

    def take(self, rows: Tensor | slice) -> Batch:
        return self._read(rows) if self.resident is None else self.resident.take(rows)

    def shuffled(self, n_together: int) -> Tensor:
        if self.resident is None:
            return self.source.shuffled(n_together)
        return torch.randperm(self.n_rows, device=self.device)

    def subset(self, positions: np.ndarray) -> "Scaled":
        return Scaled(self.source.subset(positions), self.scaling, self.device)

    def _read(self, rows: Tensor | slice) -> Batch:
        x, weight, mask = self.source.take(rows)
        x = self.scaling.transform_for(x.dtype)(x, mask).contiguous()
        if mask is not None:
            x = torch.where(mask, x, 0)
        batch = Batch(x, None if weight is None else weight / self.mean_weight, mask)
        return batch if self.device.type == "cpu" else batch.sent_to(self.device)

    def _load(self) -> Batch:
        """All rows on the device, scaled block by block."""
        step = max(1, DEVICE_BLOCK_BYTES // self.row_bytes)
        if self.n_rows <= step:
            return self._read(slice(0, self.n_rows))
        resident = Batch(
            torch.empty(self.n_rows, self.n_features, device=self.device),
            None if self.weight is None else (self.weight / self.mean_weight).to(self.device),
            torch.empty(self.n_rows, self.n_features, dtype=torch.bool, device=self.device)
            if self.has_gaps
            else None,
        )
        for start in range(0, self.n_rows, step):
            block = self._read(slice(start, start + step))
            resident.x[start : start + step] = block.x
            if block.mask is not None and resident.mask is not None:
                resident.mask[start : start + step] = block.mask
        return resident


def all_but(positions: np.ndarray, n_rows: int) -> np.ndarray:
    """Positions of all other rows, in order."""
    left = np.ones(n_rows, bool)
    left[positions] = False
    return np.flatnonzero(left)


def observed(batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows with NaN where a value is missing, and their weights."""
    x = batch.x if batch.mask is None else torch.where(batch.mask, batch.x, torch.nan)
    return x.numpy(force=True), None if batch.weight is None else batch.weight.numpy(force=True)


def has_gaps(x: Tensor) -> bool:
    """Whether values are missing, that is NaN; found from sums, without a copy.

    Raises
    ------
    ValueError
        If a value is infinite.
    """
    step, found = max(1, BLOCK_BYTES // (8 * x.shape[1])), False
    for part in x.split(step):
        found |= missing(part) is not None
    return found


def missing(x: Tensor) -> Tensor | None:
    """Where values are NaN; None if that is nowhere.

    Raises
    ------
    ValueError
        If a value is infinite.
    """
    if bool(x.sum().isfinite()):
        return None
    infinite = x.isinf().any(0)
    if bool(infinite.any()):
        raise ValueError(
            f"X contains infinity, for example in column {int(infinite.nonzero()[0])}. Leave such "
            "rows out, or set NaN."
        )
    gaps = x.isnan()
    return gaps if bool(gaps.any()) else None


def room(device: torch.device) -> int:
    """How many bytes of rows are kept on the device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free // 2  # the other half is for the network and its activations
    return RESIDENT_BYTES

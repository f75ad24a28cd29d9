"""Rows for networks side by side, each with rows of its own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.sources import Scaled, Source, room


class Members(Source):
    """Rows for networks side by side, each with rows of its own.

    Parameters
    ----------
    source : Scaled
        Where the rows come from.
    positions : Tensor of shape (n_networks, n_rows), integer
        Which rows each network has.
    map : callable
        What is done to rows (n_rows, n_features) and their mask before the networks see them.
    """

    def __init__(
        self, source: Scaled, positions: Tensor, map: Callable[[Tensor, Tensor | None], Tensor]
    ):
        self.source, self.positions, self.device, self.map = source, positions, source.device, map
        self.n_rows, self.n_features, self.dtype = (
            positions.shape[1],
            source.n_features,
            source.dtype,
        )
        self.has_gaps, self.weight = source.has_gaps, source.weight
        self.row_bytes = (5 if self.has_gaps else 4) * len(positions) * source.n_features
        self.resident: Batch | None = None
        if self.row_bytes * self.n_rows <= room(self.device):
            self.resident = self._read(positions)

    def shuffled(self, n_together: int) -> Tensor:
        return torch.randperm(self.n_rows, device="cpu" if self.resident is None else self.device)

    def take(self, rows: Tensor | slice) -> Batch:
        return (
            self._read(self.positions[:, rows])
            if self.resident is None
            else self.resident.take(rows)
        )

    def _read(self, positions: Tensor) -> Batch:
        # all have a weight or none, and so for a mask
        batches: list[Any] = [self.source.take(rows) for rows in positions]
        return Batch(
            torch.stack([self.map(batch.x, batch.mask) for batch in batches]),
            None if self.weight is None else torch.stack([batch.weight for batch in batches]),
            torch.stack([batch.mask for batch in batches]) if self.has_gaps else None,
        )

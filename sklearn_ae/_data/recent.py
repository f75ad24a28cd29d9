"""The newest rows held out of a stream, which calibrate a detector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sklearn_ae._data.sources import ArraySource, Source, observed
from sklearn_ae._records import record


@record
class HeldOut(NamedTuple):
    """Rows in the data's own units, NaN where a value is missing, in the order in which they came.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,), float32, or None
        None if all weigh the same.
    """

    values: np.ndarray
    weight: np.ndarray | None = None

    @classmethod
    def of(cls, source: Source) -> HeldOut:
        if not source.n_rows:
            return cls(np.empty((0, source.n_features), source.dtype))
        return cls(*observed(source.take(torch.arange(source.n_rows))))

    def after(self, others: HeldOut | None, most: int) -> HeldOut:
        """The newest of others and these."""
        if others is None:
            others = HeldOut(self.values[:0])
        weight = None
        if self.weight is not None or others.weight is not None:
            parts = [np.ones(len(x), np.float32) if w is None else w for x, w in (others, self)]
            weight = np.concatenate(parts)[-most:]
        return HeldOut(
            np.concatenate([others.values, self.values], dtype=others.values.dtype)[-most:], weight
        )

    def source(self) -> ArraySource:
        source = ArraySource(self.values)
        source.weight = None if self.weight is None else torch.from_numpy(self.weight)
        return source

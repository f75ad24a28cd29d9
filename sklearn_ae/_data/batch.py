"""What a training step sees."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Rows with their weights and with what was observed of them.

    Attributes
    ----------
    x : Tensor of shape (n_rows, n_features), or (n_networks, n_rows, n_features) for several
        The rows. For training they are scaled, float32, on the device, and their gaps are filled.
    weight : Tensor of shape (n_rows,) or (n_networks, n_rows), or None
        Weights whose mean over the training rows is 1. None: all weigh the same.
    mask : Tensor of the shape of `x`, bool, or None
        True where a value was observed. None: everywhere.
    """

    x: Tensor
    weight: Tensor | None = None
    mask: Tensor | None = None

    @property
    def n_rows(self) -> int:
        return self.x.shape[-2]

    def weighted(self, values: Tensor) -> Tensor:
        """Values of the rows times their weights, which have a mean of 1."""
        return values if self.weight is None else values * self.weight

    def take(self, rows: Tensor | slice) -> "Batch":
        """The rows at these positions: a view for a slice, a copy for a tensor of them."""
        if isinstance(rows, slice):
            weight = None if self.weight is None else self.weight[..., rows]
            return Batch(
                self.x[..., rows, :], weight, None if self.mask is None else self.mask[..., rows, :]
            )
        rows = rows.to(self.x.device)
        weight = None if self.weight is None else self.weight.index_select(-1, rows)
        return Batch(
            self.x.index_select(-2, rows),
            weight,
            None if self.mask is None else self.mask.index_select(-2, rows),
        )

    def sent_to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        x, *others = (
            None if part is None else part.pin_memory().to(device, non_blocking=True)
            for part in self
        )
        return Batch(x, *others)  # type: ignore[arg-type]  # x is there

    def split(self, sizes: list[int]) -> list["Batch"]:
        """Consecutive batches of these sizes; views, nothing is copied."""
        weights = [None] * len(sizes) if self.weight is None else self.weight.split(sizes, -1)
        masks = [None] * len(sizes) if self.mask is None else self.mask.split(sizes, -2)
        return [
            Batch(*parts) for parts in zip(self.x.split(sizes, -2), weights, masks, strict=True)
        ]

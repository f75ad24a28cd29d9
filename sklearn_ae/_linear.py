"""Linear layers whose results for a row do not depend on the rows beside it.

Kernels for narrow matrices treat the last rows of a block differently from the first, and round differently. With rows as columns
all are treated alike. It matters where rows are scored, not where they are trained on.
"""

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, computed as ``(weight @ x.T).T``."""
    if weight.dim() == 3:
        return torch.baddbmm(bias.unsqueeze(2), weight, x.mT).mT
    if x.dim() != 2:
        y = (weight @ x.mT).mT
        return y if bias is None else y + bias
    return (weight @ x.mT if bias is None else torch.addmm(bias.unsqueeze(1), weight, x.mT)).mT


class Linear(nn.Linear):
    """torch's layer; outside of training with rows as columns.

    Weights may also be those of several layers, (n_members, n_outputs, n_inputs) and (n_members, n_outputs); rows are then
    (n_members, n_samples, n_inputs).
    """

    takes_members = True

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return linear(x, self.weight, self.bias)
        if self.weight.dim() == 3:
            return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)
        return super().forward(x)


class RowsAsColumns(TorchFunctionMode):
    """Inside the block, the linear layers of users' modules too. Results are copied, so that a row's numbers lie side by side, as
    modules that use ``view`` want them."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is nn.functional.linear:
            return linear(*args, **(kwargs or {})).contiguous()
        return func(*args, **(kwargs or {}))

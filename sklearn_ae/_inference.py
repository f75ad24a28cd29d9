"""Rows through a trained network, so that a row's result does not depend on the rows beside it.

Matrix products round differently for different numbers of rows, and kernels for narrow matrices treat the last rows of a block
differently from the first. So rows go through in chunks of one fixed shape, the last filled up with zeros, and linear maps are
computed with rows as columns, which all are treated alike: results are the same to the last bit, in float32.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sklearn_ae._scaling import Scaling, as_tensor

CHUNK_ROWS = 64, 4_096  # fewest and most rows of a chunk
CHUNK_VALUES = 2**22  # numbers in a chunk at most
CHUNK_PRODUCTS = 2**26  # multiplications in a chunk at most: a single row costs a chunk


class RowsAsColumns(TorchFunctionMode):
    """Inside the block, linear layers compute ``(weight @ x.T).T``.

    Parameters
    ----------
    contiguous : bool
        Whether the result is copied, so that a row's numbers lie side by side as modules that use ``view`` want them.
    """

    def __init__(self, contiguous: bool):
        super().__init__()
        self.contiguous = contiguous

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.nn.functional.linear:
            y = linear(*args, **(kwargs or {}))
            return y.contiguous() if self.contiguous else y
        return func(*args, **(kwargs or {}))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear map of rows, computed with rows as columns."""
    if x.dim() != 2:
        y = weight @ x.mT
        return y.mT if bias is None else y.mT + bias
    return (weight @ x.mT if bias is None else torch.addmm(bias[:, None], weight, x.mT)).mT


def through(
    function: Callable[[Tensor], Tensor],
    X: np.ndarray,
    scaling: Scaling,
    device: torch.device,
    n_rows: int,
    bears_strides: bool = True,
) -> np.ndarray:
    """Map rows through a function of scaled rows.

    Parameters
    ----------
    function : callable
        From a tensor of shape (n_rows, n_features), scaled, float32, to one of shape (n_rows, ...), row by row.
    X : ndarray of shape (n_samples, n_features)
        In the data's own units.
    scaling : Scaling
    device : torch.device
    n_rows : int
        Rows of a chunk.
    bears_strides : bool
        Whether the function takes rows whose numbers do not lie side by side.

    Returns
    -------
    ndarray of shape (n_samples, ...)
    """
    data, result = as_tensor(X), None
    with torch.inference_mode(), RowsAsColumns(not bears_strides):
        for start in range(0, len(X), n_rows):
            columns = data[start : start + n_rows].T.contiguous()
            n = columns.shape[1]
            if n < n_rows:
                columns = torch.nn.functional.pad(columns, (0, n_rows - n))
            x = scaling.forward(columns.T).to(device)
            y = function(x if bears_strides else x.contiguous())[:n].cpu().numpy()
            if result is None:
                result = np.empty((len(X), *y.shape[1:]), y.dtype)
            result[start : start + n] = y
    return result


def chunk_rows(n_values: int, n_products: int) -> int:
    """How many rows go through a network at a time: a power of two.

    Parameters
    ----------
    n_values : int
        Numbers that stand for a row within the network.
    n_products : int
        Multiplications that a row takes.
    """
    return 2 ** int(np.log2(np.clip(min(CHUNK_VALUES / n_values, CHUNK_PRODUCTS / n_products), *CHUNK_ROWS)))

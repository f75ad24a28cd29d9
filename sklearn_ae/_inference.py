"""Rows through a trained network, so that a row's result does not depend on the rows beside it.

Matrix products round differently for different numbers of rows. So rows go through in chunks of one fixed shape, the last filled
up with zeros, and linear maps are computed with rows as columns (see _linear): results are the same to the last bit, in float32.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._linear import RowsAsColumns
from sklearn_ae._random import threads
from sklearn_ae._scaling import Scaling, as_tensor

CHUNK_ROWS = 64, 4_096  # fewest and most rows of a chunk
CHUNK_VALUES = 2**22  # numbers in a chunk at most
CHUNK_PRODUCTS = 2**26  # multiplications in a chunk at most: a single row costs a chunk


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
    data = as_tensor(X)

    def chunk(start: int) -> np.ndarray:
        with torch.inference_mode(), nullcontext() if bears_strides else RowsAsColumns():
            columns = data[start : start + n_rows].T.contiguous()
            n = columns.shape[1]
            if n < n_rows:
                columns = torch.nn.functional.pad(columns, (0, n_rows - n))
            x = scaling.forward(columns.T).to(device)
            return function(x if bears_strides else x.contiguous())[:n].cpu().numpy()

    first = chunk(0)
    result = np.empty((len(X), *first.shape[1:]), first.dtype)
    result[:n_rows] = first
    starts = range(n_rows, len(X), n_rows)
    for start, part in zip(starts, side_by_side(chunk, starts, device), strict=True):
        result[start : start + len(part)] = part
    return result


def side_by_side(function: Callable, arguments: Sequence, device: torch.device) -> Iterator:
    """``map``, on the CPU in as many threads as torch may use: several chunks at once are faster than each in several threads."""
    n_threads = torch.get_num_threads()
    if device.type != "cpu" or n_threads == 1 or len(arguments) < n_threads:
        yield from map(function, arguments)
        return
    with threads(1), ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        ahead = deque()  # not all at once: what waits to be used would add up
        for argument in arguments:
            ahead.append(pool.submit(function, argument))
            if len(ahead) > 2 * n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


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

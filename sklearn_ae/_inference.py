"""Rows through a trained network, so that a row's result does not depend on the rows beside it.

Matrix products round differently for different numbers of rows. So rows go through in chunks of one fixed shape, the last filled
up with zeros, and linear maps are computed with rows as columns (see _linear): results are the same to the last bit, in float32.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._linear import RowsAsColumns
from sklearn_ae._scaling import Scaling, as_tensor
from sklearn_ae._torch import threads

CHUNK_ROWS = 64, 4_096  # fewest and most rows of a chunk
CHUNK_VALUES = 2**22  # numbers in a chunk at most
CHUNK_PRODUCTS = 2**26  # multiplications in a chunk at most: a single row costs a chunk
MOST_THREADS = 8  # more of them wait for Python's lock


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
    scale = scaling.on(data.dtype)
    on_cpu = device.type == "cpu"

    def chunk(start: int) -> np.ndarray:
        columns = data[start : start + n_rows].T.clone(memory_format=torch.contiguous_format)
        n = columns.shape[1]
        if n < n_rows:
            columns = torch.nn.functional.pad(columns, (0, n_rows - n))
        x = scale(columns.T)
        if not on_cpu:
            x = x.to(device)
        return function(x if bears_strides else x.contiguous())[:n].numpy(force=True)

    def fill(starts: Iterable[int]) -> None:
        with evaluating(bears_strides):
            for start in starts:
                result[start : start + n_rows] = chunk(start)

    n_threads = min(torch.get_num_threads(), MOST_THREADS) if on_cpu else 1
    with threads(1 if on_cpu else None):  # a chunk in two threads would round differently
        with evaluating(bears_strides):
            first = chunk(0)
        result = np.empty((len(X), *first.shape[1:]), first.dtype)
        result[:n_rows] = first
        share(fill, range(n_rows, len(X), n_rows), n_threads)
    return result


@contextmanager
def evaluating(bears_strides: bool):
    """No gradients inside the block, and rows as columns in the linear layers of modules that do not see to it themselves."""
    with torch.inference_mode(), nullcontext() if bears_strides else RowsAsColumns():
        yield


def share(work: Callable[[Iterable], None], items: Sequence, n_threads: int) -> None:
    """Let threads work through items, each taking the next that is left.

    Parameters
    ----------
    work : callable
        Works through an iterable.
    items : sequence
    n_threads : int
        At most as many, this one included; each has one thread of torch.
    """
    n_threads = min(n_threads, len(items))
    if n_threads < 2:
        work(items)
        return
    left = iter(items)

    def work_on() -> None:
        try:
            work(left)
        finally:
            deque(left, maxlen=0)  # an error in one thread ends the others

    with ThreadPoolExecutor(n_threads - 1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        others = [pool.submit(work_on) for _ in range(n_threads - 1)]
        work_on()
        for other in others:
            other.result()


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

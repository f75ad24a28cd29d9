"""Rows through a trained network, so that a row's result does not depend on the rows beside it.

Matrix products round differently for different numbers of rows. So rows go through in chunks of one
fixed shape, the last filled up with zeros, and linear maps are computed with rows as columns (see
_layers): results are the same to the last bit, in float32.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._data.scaling import Scaling
from sklearn_ae._data.sources import Source
from sklearn_ae._layers import RowsAsColumns
from sklearn_ae._torch import (
    available_threads,
    callers_threads,
    limit_this_thread,
    plain_torch,
    threads,
)

MOST_THREADS = 8  # more of them wait for Python's lock


def apply_in_chunks(
    function: Callable[..., Tensor],
    source: Source,
    scaling: Scaling,
    device: torch.device,
    n_rows: int,
    rows_as_columns: bool = False,
) -> np.ndarray:
    """Map rows through a function of scaled rows.

    Parameters
    ----------
    function : callable
        From a tensor of shape (n_rows, n_features), scaled, float32, to one of shape (n_rows, ...),
        row by row. A mask of what was observed is its second argument where values are missing.
    source : Source
        Rows in the data's own units.
    scaling : Scaling
    device : torch.device
    n_rows : int
        Rows of a chunk.
    rows_as_columns : bool
        Whether the function has linear layers that are not ours, and do not take care of this
        themselves.

    Returns
    -------
    ndarray of shape (n_samples, ...)
    """
    on_cpu = device.type == "cpu"

    def chunk(start: int) -> np.ndarray:
        batch = source.take(slice(start, min(start + n_rows, source.n_rows)))
        n = batch.n_rows
        parts = [batch.x] if batch.mask is None else [batch.x, batch.mask]
        columns = [torch.nn.functional.pad(part.T.contiguous(), (0, n_rows - n)) for part in parts]
        rows = [part.T for part in columns]
        inputs = [scaling.transform_for(batch.x.dtype)(*rows), *rows[1:]]
        return function(*(part.to(device) for part in inputs))[:n].numpy(force=True)

    def fill(starts: Iterable[int]) -> None:
        with evaluating(rows_as_columns, torch_threads):
            for start in starts:
                result[start : start + n_rows] = chunk(start)

    n_threads, before = min(available_threads(), MOST_THREADS) if on_cpu else 1, callers_threads()
    torch_threads = 1 if on_cpu else before  # a chunk in two threads would round differently
    with evaluating(rows_as_columns, torch_threads):
        first = chunk(0)
        result = np.empty((source.n_rows, *first.shape[1:]), first.dtype)
        result[:n_rows] = first
        share(fill, range(n_rows, source.n_rows, n_rows), n_threads, before)
    return result


@contextmanager
def evaluating(rows_as_columns: bool, n_threads: int) -> Iterator[None]:
    """No gradients inside the block, rows as columns in linear layers that are not ours, and so
    many threads of torch.
    """
    with (
        plain_torch(),
        threads(n_threads),
        torch.inference_mode(),
        RowsAsColumns() if rows_as_columns else nullcontext(),
    ):
        yield


def share(
    work: Callable[[Iterable], None], items: Sequence, n_threads: int, torch_threads: int = 1
) -> None:
    """Let threads work through items, each taking the next that is left.

    Parameters
    ----------
    work : callable
        Works through an iterable.
    items : sequence
    n_threads : int
        At most as many, this one included; each has one thread of torch.
    torch_threads : int
        Torch's threads for Python threads that are started elsewhere in the meantime.
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

    with ThreadPoolExecutor(
        n_threads - 1, initializer=limit_this_thread, initargs=(1, torch_threads)
    ) as pool:
        others = [pool.submit(work_on) for _ in range(n_threads - 1)]
        work_on()
        for other in others:
            other.result()

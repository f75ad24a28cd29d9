"""Dask's arrays and data frames: one fit by the workers of a cluster, and answers that stay lazy.

Dask is imported only once one of its collections is handed over, so it need not be installed.
"""

from __future__ import annotations

import copy
import ctypes
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial, wraps
from inspect import signature
from numbers import Integral
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
import torch.distributed as dist
from scipy import sparse
from sklearn.base import TransformerMixin, clone
from sklearn.utils import check_random_state

from sklearn_ae import distributed
from sklearn_ae._data.inputs import checked_source
from sklearn_ae._messages import warn
from sklearn_ae._training.processes import Processes

GRACE = 5.0  # seconds in which a scheduler notes that a worker has gone
TIMEOUT = timedelta(minutes=5)  # in which a worker has to take part in an exchange
POLL = 1.0  # seconds between two looks at the workers
STORES: dict[int, Any] = {}  # of rank 0, by port: where the processes of a fit meet
FITTING: set[int] = set()  # threads of this process, a worker's, that take part in a fit
Class = TypeVar("Class", bound=type[TransformerMixin])


def is_dask(X: Any) -> bool:
    return type(X).__module__.partition(".")[0] == "dask"


# Answers


def by_partition(*names: str) -> Callable[[Class], Class]:
    """Decorate a class: these methods answer a Dask collection lazily, partition by partition.

    The methods are wrapped as they are in the finished class, scikit-learn's ``set_output``
    included.
    """

    def decorated(cls: Class) -> Class:
        for name in names:
            setattr(cls, name, lazily(getattr(cls, name)))
        cls.fit_transform = in_two_steps(cls.fit_transform)
        return cls

    return decorated


def lazily(method: Any) -> Any:
    _, rows, *_ = signature(method).parameters  # X, or Z

    @wraps(method)
    def answer(self, *args, **kwargs):
        if not is_dask(args[0] if args else kwargs.get(rows)):
            return method(self, *args, **kwargs)
        X, args = (args[0], args[1:]) if args else (kwargs.pop(rows), ())
        estimator = copy.deepcopy(self)  # later fits do not change these answers
        return partitioned(partial(answer_of, estimator, method.__name__, args, kwargs), X)

    return answer


def in_two_steps(fit_transform: Any) -> Any:
    @wraps(fit_transform)
    def answer(self, X, y=None, **fit_params):
        if is_dask(X):
            return self.fit(X, y, **fit_params).transform(X)
        return fit_transform(self, X, y, **fit_params)

    return answer


def answer_of(estimator, name, args, kwargs, part, empty=None, block_id=None, partition_info=None):
    """The answer to one partition; `empty` if it has no rows. Dask gives the partition's number."""
    if empty is not None and not part.shape[0]:
        return empty
    try:
        return getattr(estimator, name)(part, *args, **kwargs)
    except (TypeError, ValueError) as error:
        if empty is None:
            raise
        number = partition_info["number"] if block_id is None else block_id[0]
        raise type(error)(f"Partition {number}: {error}") from error


def partitioned(answer: Callable, X: Any) -> Any:
    """The answers to all partitions, as a lazy array, or as a lazy data frame if they are frames.

    What they look like is tried out with a row that is made up.
    """
    if is_array(X):
        X = with_whole_rows(X)
        example = answer(np.zeros((1, X.shape[1]), X.dtype))
        if not isinstance(example, np.ndarray):
            X = X.to_dask_dataframe()
    else:
        from dask.dataframe.utils import meta_nonempty

        example = answer(meta_nonempty(X._meta))
    if not (isinstance(example, np.ndarray) or hasattr(example, "iloc")):
        raise TypeError(
            f"Dask has no data frames of {type(example).__module__.partition('.')[0]}; call "
            "set_output(transform='pandas'), or set_output(transform='default')."
        )
    empty = example[:0]
    answer = partial(answer, empty=empty)
    if not is_array(X):
        return X.map_partitions(answer, meta=empty)
    if example.ndim == 1:
        return X.map_blocks(answer, drop_axis=1, dtype=empty.dtype, meta=empty)
    chunks = (X.chunks[0], example.shape[1:])
    return X.map_blocks(answer, chunks=chunks, dtype=empty.dtype, meta=empty)


def is_array(X: Any) -> bool:
    return hasattr(X, "map_blocks")


def with_whole_rows(X: Any) -> Any:
    """An array that is cut along its rows only."""
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got a Dask array of {X.ndim} dimension(s) instead.")
    return X.rechunk({1: -1})


# Fits


def fit_dask(estimator: Any, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Train on a Dask collection: one model by all workers of the current client, each on the
    partitions that it holds; without a client, in this process.
    """
    from dask import compute

    parts, weights = cut(X, sample_weight)
    client = current_client()
    if client is None:
        parts, weights = compute(parts, weights)
        rows = joined(estimator, columns_of(X), range(len(parts)), parts, weights)
        return estimator.fit(rows[0], y, sample_weight=rows[1])
    fitted = fit_on_cluster(estimator, client, columns_of(X), parts, weights)
    params = estimator.get_params(deep=False)
    learnt = {name: value for name, value in fitted.__dict__.items() if name not in params}
    estimator.__dict__.update(learnt)
    return estimator


def current_client() -> Any:
    try:
        from distributed import default_client

        return default_client()
    except (ImportError, ValueError):  # without a cluster
        return None


def columns_of(X: Any) -> list:
    return list(range(X.shape[1])) if is_array(X) else list(X.columns)


def cut(X: Any, sample_weight: Any) -> tuple[list, list]:
    """The partitions of the rows and of their weights, not computed yet; None where there are no
    weights.
    """
    from dask import compute, delayed

    parts = list(np.ravel(with_whole_rows(X).to_delayed() if is_array(X) else X.to_delayed()))
    if sample_weight is None:
        return parts, [None] * len(parts)
    if is_dask(sample_weight):
        weights = list(np.ravel(sample_weight.to_delayed()))
        if len(weights) != len(parts):
            raise ValueError(
                f"sample_weight has {len(weights)} partitions, but X has {len(parts)}; cut both "
                "alike."
            )
        return parts, weights
    (lengths,) = compute([delayed(np.shape)(part) for part in parts])
    ends = np.cumsum([n_rows for n_rows, *_ in lengths])
    if len(sample_weight) != ends[-1]:
        raise ValueError(f"sample_weight has {len(sample_weight)} values for {ends[-1]} rows.")
    return parts, np.split(np.asarray(sample_weight), ends[:-1])


def joined(
    estimator: Any, columns: list, numbers: Sequence[int], parts: Sequence, weights: Sequence
) -> tuple[Any, Any]:
    """Partitions as one table, and its weights; each partition is checked, and named if it is
    wrong.

    The table is a second copy: Dask keeps partitions until the task that reads them has ended, and
    scikit-learn's callbacks take a table.
    """
    rows, given = [], []
    for number, part, weight in zip(numbers, parts, weights, strict=True):
        if not part.shape[0]:
            continue
        try:
            checked_source(clone(estimator), part, reset=True)
            if part.shape[1] != len(columns):
                raise ValueError(f"it has {part.shape[1]} columns, but X has {len(columns)}.")
            if list(getattr(part, "columns", columns)) != columns:
                raise ValueError("its columns have other names than those of X.")
            if weight is not None and len(weight) != part.shape[0]:
                raise ValueError(f"it has {part.shape[0]} rows, but {len(weight)} sample weights.")
        except (TypeError, ValueError) as error:
            raise type(error)(f"Partition {number}: {error}") from error
        rows.append(part)
        given.append(weight)
    if not rows:
        return parts[0], None
    weight = None if given[0] is None else np.concatenate(given)
    if len(rows) == 1:
        return rows[0], weight
    if hasattr(rows[0], "iloc"):
        import pandas as pd

        return pd.concat(rows), weight
    if sparse.issparse(rows[0]):
        return sparse.vstack(rows, format="csr"), weight
    return np.concatenate(rows), weight


def fit_on_cluster(estimator: Any, client: Any, columns: list, parts: list, weights: list) -> Any:
    """A fitted copy of the estimator, trained by the workers that hold the partitions."""
    from distributed import Lock, wait
    from distributed.comm.addressing import get_address_host

    estimator = with_own_random_state(estimator)
    parts, weights = client.compute(parts), client.compute(weights)
    wait(parts)
    for number, part in enumerate(parts):
        if part.status != "finished":
            raise RuntimeError(f"Partition {number} cannot be computed.") from part.exception()
    with Lock("sklearn_ae.fit"):  # torch.distributed has one group in a process
        shares = list(shares_of(client, parts).items())
        workers, host, port = [worker for worker, _ in shares], "", 0
        if len(shares) > 1:
            host = get_address_host(workers[0])
            port = client.run(open_store, host, workers=workers[:1])[workers[0]]
        futures = [
            client.submit(
                fit_share,
                estimator,
                (rank, len(shares), host, port),
                columns,
                share,
                [parts[i] for i in share],
                [weights[i] for i in share],
                workers=[worker],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
            for rank, (worker, share) in enumerate(shares)
        ]
        try:
            fitted, told = results(client, futures, workers)[0]
        except KeyboardInterrupt:  # a task that has begun is not ended by cancelling it
            client.run(end_fits, workers=workers, on_error="ignore")
            with suppress(TimeoutError):
                wait(futures, timeout=GRACE)
            raise
        finally:
            client.cancel(futures)
    for message, category in told:
        warn(message, category)
    return fitted


def with_own_random_state(estimator: Any) -> Any:
    """A copy that can be sent to workers; the caller's random state moves on, as in any fit."""
    estimator, random_state = copy.copy(estimator), estimator.random_state
    if not isinstance(random_state, Integral):
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        estimator.set_params(random_state=np.random.RandomState(seed))
    return estimator


def shares_of(client: Any, parts: list) -> dict[str, list[int]]:
    """Which partitions each worker holds, by address, in the order of their first; workers in one
    process are one.
    """
    holders = client.who_has(parts)
    addresses = sorted({address for some in holders.values() for address in some})
    process_of = client.run(process_id, workers=addresses)
    first = {process_of[address]: address for address in reversed(addresses)}
    shares: dict[str, list[int]] = {address: [] for address in first.values()}
    for number, part in enumerate(parts):
        held_by = [first[process_of[address]] for address in holders[part.key]]
        min((shares[address] for address in held_by), key=len).append(number)
    return dict(sorted((one for one in shares.items() if one[1]), key=itemgetter(1)))


def process_id() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


def open_store(host: str) -> int:
    """Open, in rank 0's process, the place where the processes of a fit meet; its port."""
    STORES.clear()
    store = dist.TCPStore(host, 0, None, True, TIMEOUT, wait_for_workers=False)
    STORES[store.port] = store
    return store.port


def results(client: Any, futures: list, workers: list[str]) -> list:
    """What the tasks give.

    Raises
    ------
    RuntimeError
        If a worker has gone, whose task would wait for it for ever.
    """
    from distributed import CancelledError, wait

    while any(future.status == "pending" for future in futures):
        with suppress(TimeoutError, CancelledError):
            wait(futures, timeout=POLL, return_when="FIRST_COMPLETED")
        failed = [future for future in futures if future.status not in ("pending", "finished")]
        error = failed[0].exception() if failed and failed[0].status == "error" else None
        # a RuntimeError may be that of a worker which another one has left alone
        left_alone = failed and isinstance(error, (RuntimeError, type(None)))
        raise_if_gone(client, workers, GRACE if left_alone else 0.0, error)
        if failed:
            raise error or RuntimeError("The tasks of the fit were cancelled.")
    return client.gather(futures)


def raise_if_gone(
    client: Any, workers: list[str], grace: float = 0.0, cause: Exception | None = None
) -> None:
    end = time.monotonic() + grace
    while True:
        gone = sorted(set(workers) - set(client.nthreads()))
        if gone:
            raise RuntimeError(
                f"Worker {', '.join(gone)} has gone during the fit, perhaps for want of memory; "
                "its log says why. The estimator is as it was before."
            ) from cause
        if time.monotonic() >= end:
            return
        time.sleep(0.1)


class Ended(BaseException):
    """The client has given up the fit."""


def end_fits() -> None:
    """On a worker: raise `Ended` in the threads that fit."""
    for thread in FITTING:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Ended))


@contextmanager
def can_be_ended() -> Iterator[None]:
    """In this block, ``end_fits`` ends what this thread does."""
    thread = threading.get_ident()
    FITTING.add(thread)
    try:
        yield
    finally:
        FITTING.discard(thread)


def fit_share(
    estimator: Any,
    meeting: tuple[int, int, str, int],
    columns: list,
    numbers: list[int],
    parts: list,
    weights: list,
) -> tuple[Any, list]:
    """On a worker: take part in a fit with the partitions that lie here. Rank 0 gives the fitted
    estimator, and what was warned of.
    """
    rank = meeting[0]
    with can_be_ended(), group(*meeting), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        if rank:
            estimator.set_params(verbose=0)
        table: tuple = ()

        def join() -> None:  # what it gave would be sent to all
            nonlocal table
            table = joined(estimator, columns, numbers, parts, weights)

        Processes().together(join)
        distributed.fit(estimator, table[0], sample_weight=table[1])
    if rank:
        return None, []
    return estimator, [(str(one.message), one.category) for one in told]


@contextmanager
def group(rank: int, n_ranks: int, host: str, port: int) -> Iterator[None]:
    """This process in a group of torch.distributed."""
    if dist.is_initialized():
        raise RuntimeError(
            "The process of this worker is in a group of torch.distributed already, perhaps of "
            "another fit that has not ended; fit one after the other, or restart the workers."
        )
    if n_ranks == 1:
        yield
        return
    store = STORES.pop(port) if rank == 0 else dist.TCPStore(host, port, None, False, TIMEOUT)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=n_ranks, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()

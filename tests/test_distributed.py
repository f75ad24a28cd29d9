"""One fit by several processes."""

import os
import pickle
import signal
import sys
import time
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
from scipy import sparse
from sklearn.base import clone

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer, distributed
from sklearn_ae.architectures import Dense
from sklearn_ae.latents import Variational

pytestmark = [
    pytest.mark.skipif(not dist.is_available() or sys.platform == "win32", reason="needs torch.distributed with gloo"),
]


def in_processes(folder, work, *args, n=2, timeout=60, expect_dead=()):
    """What ``work(rank, *args)`` gives in each of n processes of a group."""
    context = torch.multiprocessing.get_context("spawn")
    store = folder / f"store{time.monotonic_ns()}"
    processes = [context.Process(target=in_group, args=(rank, n, store, timeout, work, args)) for rank in range(n)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode is not None, "a process hangs"
    alive = [rank for rank in range(n) if rank not in expect_dead]
    assert [processes[rank].exitcode for rank in alive] == [0] * len(alive)
    return [pickle.loads(store.with_suffix(f".{rank}").read_bytes()) for rank in alive]


def in_group(rank, n, store, timeout, work, args):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=n, timeout=timedelta(seconds=timeout))
    result = work(rank, *args)
    store.with_suffix(f".{rank}").write_bytes(pickle.dumps(result))
    if dist.is_initialized() and not isinstance(result, BaseException):
        dist.destroy_process_group()


def fitted(rank, estimator, parts, weights=None):
    """The fitted estimator, or the error."""
    try:
        return distributed.fit(clone(estimator), parts[rank], sample_weight=None if weights is None else weights[rank])
    except Exception as error:
        return error


def all_fitted(rank, fits):
    return [fitted(rank, *one) for one in fits]


def weights_of(estimator):
    return {name: value.numpy() for name, value in estimator.net_.module_.state_dict().items()}


def assert_equal_weights(a, b):
    mine, other = weights_of(a), weights_of(b)
    assert all(np.array_equal(mine[name], other[name]) for name in mine)
    assert a.loss_curve_ == b.loss_curve_
    assert a.validation_loss_curve_ == b.validation_loss_curve_


def rows_of(n, seed=0, d=8):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 2))
    curved = np.column_stack([Z, Z[:, 0] ** 2, np.sin(2 * Z[:, 1])])
    X = curved @ np.random.default_rng(1).normal(size=(4, d)) + 0.1 * rng.normal(size=(n, d))
    return X * np.geomspace(0.1, 100, d) + np.arange(d)


def error_of(estimator, X):
    return float(np.mean(((estimator.reconstruct(X) - X) / X.std(axis=0)) ** 2))


QUICK = AutoencoderTransformer(2, architecture=Dense((16,)), max_epochs=5, random_state=0)


def test_outside_a_group_it_is_fit(table):
    alone = clone(QUICK).fit(table)
    assert_equal_weights(distributed.fit(clone(QUICK), table), alone)


def test_two_processes(tmp_path):
    X = rows_of(700)
    halves = [X[:500], X[500:]]
    ensemble = AutoencoderOutlierDetector(n_estimators=4, random_state=0)
    wide = [X[:500], X[500:, :5]]
    text = [X[:500].astype(object), X[500:]]
    text[0][3, 2] = "many"
    gone = [X[:500], np.full((20, 8), np.nan)]
    empty = [X, X[:0]]
    constant = [np.c_[X[:500], np.zeros(500)], np.c_[X[500:], np.ones(200)]]
    fits = [(QUICK, halves), (ensemble, halves), (QUICK, empty), (QUICK, constant)]
    first, second = in_processes(tmp_path, all_fitted, [*fits, (QUICK, wide), (QUICK, text), (QUICK, gone)])
    for a, b in zip(first[:4], second[:4], strict=True):
        assert_equal_weights(a, b)
    model, detector = first[:2]
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    np.testing.assert_allclose(model.reconstruct(X).mean(axis=0), X.mean(axis=0), atol=0.3 * X.std(axis=0).max())
    np.testing.assert_array_equal(detector.score_samples(X), clone(ensemble).fit(X).score_samples(X))
    assert detector.offset_ == second[1].offset_
    for a, b, message in zip(first[4:], second[4:], ("number of columns is 5", "not numbers|could not convert", "only missing"), strict=True):
        assert str(a) == str(b)
        with pytest.raises(ValueError, match=f"Rank [01]: .*({message})"):
            raise a

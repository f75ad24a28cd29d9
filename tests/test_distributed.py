"""One fit by several processes."""

import itertools
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from scipy import sparse
from sklearn.base import clone
from skorch.callbacks import Callback

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer, distributed
from sklearn_ae._training import checkpoint
from sklearn_ae.architectures import Custom, Dense
from sklearn_ae.latents import Quantized, Variational
from sklearn_ae.persistence import load

pytestmark = [
    pytest.mark.skipif(
        not dist.is_available() or sys.platform == "win32",
        reason="needs torch.distributed with gloo",
    ),
]


def in_processes(folder, work, *args, n=2, timeout=60, expect_dead=()):
    """What ``work(rank, *args)`` gives in each of n processes of a group."""
    store = folder / f"store{time.monotonic_ns()}"
    processes = started(n, store, timeout, work, args)
    for process in processes:
        process.join(300)
        assert process.exitcode is not None, "a process hangs"
    alive = [rank for rank in range(n) if rank not in expect_dead]
    assert [processes[rank].exitcode for rank in alive] == [0] * len(alive)
    return [pickle.loads(store.with_suffix(f".{rank}").read_bytes()) for rank in alive]


def started(n, store, *args):
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # all of this is imported once
    processes = [
        context.Process(target=in_group, args=(rank, n, store, *args)) for rank in range(n)
    ]
    for process in processes:
        process.start()
    return processes


def in_group(rank, n, store, timeout, work, args):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=n,
        timeout=timedelta(seconds=timeout),
    )
    result = work(rank, *args)
    store.with_suffix(f".{rank}").write_bytes(pickle.dumps(result))
    if dist.is_initialized() and not isinstance(result, BaseException):
        dist.destroy_process_group()


def fitted(rank, estimator, parts, weights=None):
    """The fitted estimator, or the error."""
    try:
        return distributed.fit(
            clone(estimator), parts[rank], sample_weight=None if weights is None else weights[rank]
        )
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
    first, second = in_processes(
        tmp_path, all_fitted, [*fits, (QUICK, wide), (QUICK, text), (QUICK, gone)]
    )
    for a, b in zip(first[:4], second[:4], strict=True):
        assert_equal_weights(a, b)
    model, detector = first[:2]
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    np.testing.assert_allclose(
        model.reconstruct(X).mean(axis=0), X.mean(axis=0), atol=0.3 * X.std(axis=0).max()
    )
    np.testing.assert_array_equal(
        detector.score_samples(X), clone(ensemble).fit(X).score_samples(X)
    )
    assert detector.offset_ == second[1].offset_
    for a, b, message in zip(
        first[4:],
        second[4:],
        ("number of columns is 5", "not numbers|could not convert", "only missing"),
        strict=True,
    ):
        assert str(a) == str(b)
        with pytest.raises(ValueError, match=f"Rank [01]: .*({message})"):
            raise a


def with_gaps(X):
    return np.where(np.random.default_rng(2).random(X.shape) < 0.1, np.nan, X)


def cut(X, *at):
    edges = [0, *at, X.shape[0]]
    return [X[a:b] for a, b in itertools.pairwise(edges)]


def seeds_fitted(rank, estimator, parts, weights, most):
    from sklearn_ae import _defaults

    if most is not None:  # as tables of more rows would have it
        _defaults.FEWEST_GATHERED = _defaults.MOST_GATHERED = most
    return [
        fitted(rank, clone(estimator).set_params(random_state=seed), parts, weights)
        for seed in range(3)
    ]


BASE = AutoencoderTransformer(3, architecture=Dense((32,)), max_epochs=10)
X = rows_of(3_000)
HALF = X[:, 7] > np.median(X[:, 7])
SORTED = X[np.argsort(X[:, 7])]
SPARSE = sparse.csr_array(np.where(np.abs(X - np.median(X, axis=0)) > X.std(axis=0), X, 0))
WEIGHTS = np.where(HALF, 3.0, 0.5)
CASES = {
    "dense": (BASE, X, [1_500], None, None),
    "empty": (BASE, X, [3_000], None, 1_200),
    "variational": (clone(BASE).set_params(latent=Variational()), X, [1_500], None, 1_200),
    "quantised, few beside many": (
        clone(BASE).set_params(latent=Quantized(16)),
        X,
        [3],
        None,
        1_200,
    ),
    "sparse": (BASE, SPARSE, [1_500], None, 1_200),
    "sorted weights": (BASE, SORTED, [1_500], np.sort(WEIGHTS), 1_200),
    "missing": (BASE, with_gaps(X), [1_500], None, 1_200),
    "batch normalisation": (
        clone(BASE).set_params(architecture=Dense((32,), normalization="batch")),
        X,
        [1_500],
        None,
        1_200,
    ),
    "single detector": (
        AutoencoderOutlierDetector(3, n_estimators=1, architecture=Dense((32,)), max_epochs=10),
        X,
        [1_500],
        None,
        1_200,
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The training loss was still falling")
@pytest.mark.parametrize("case", CASES)
def test_as_good_as_one_process(tmp_path, case):
    estimator, X, at, weight, most = CASES[case]
    parts, weights = cut(X, *at), None if weight is None else cut(weight, *at)
    first, second = in_processes(tmp_path, seeds_fitted, estimator, parts, weights, most)
    for a, b in zip(first, second, strict=True):
        assert_equal_weights(a, b)
    dense = np.nan_to_num(X.toarray() if sparse.issparse(X) else X)
    alone = [
        clone(estimator).set_params(random_state=seed).fit(X, sample_weight=weight)
        for seed in range(3)
    ]

    def error(one):
        errors = np.nan_to_num(one.reconstruct(X) - dense) ** 2 / dense.var(axis=0)
        return float(np.average(errors.mean(axis=1), weights=weight))

    shared_errors, alone_errors = (
        np.array([error(one) for one in some]) for some in (first, alone)
    )
    assert shared_errors.mean() <= alone_errors.mean() + 3 * max(
        alone_errors.std(), shared_errors.std()
    )
    if hasattr(alone[0], "offset_"):
        calls = [np.mean(one.predict(X) == -1) for one in (*first, *alone)]
        assert max(calls) - min(calls) < 0.1


def fitted_until_killed(rank, X, seconds):
    """What a rank says when another, which kills itself in the middle, is gone."""

    class Kill(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3 and rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    model = AutoencoderTransformer(2, max_epochs=500, callbacks=[Kill()], random_state=0)
    begun = time.monotonic()
    try:
        distributed.fit(model, X)
    except RuntimeError as error:
        return error, time.monotonic() - begun, hasattr(model, "net_")


@pytest.mark.slow
def test_a_killed_process_ends_the_others(tmp_path):
    told = in_processes(
        tmp_path, fitted_until_killed, rows_of(2_000), 30, n=3, timeout=30, expect_dead=(1,)
    )
    for error, seconds, is_fitted in told:
        assert "Another process of the group has ended" in str(error)
        assert seconds < 60  # twice the group's timeout
        assert not is_fitted


class Centred(torch.nn.Module):
    """Subtracts a moving mean of the rows that it has seen in training."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean(0), 0.1)
        return x - self.mean


class EndsAfter(Callback):
    """Ends a fit at the end of an epoch, and notes the first that it has seen."""

    first_ = None

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        self.first_ = self.first_ or net.state_.epoch + 1

    def on_epoch_end(self, net, **kwargs):
        if net.state_.epoch == self.epoch:
            raise SystemExit


def fitted_in_parts(rank, estimators, parts, path):
    """For each estimator an undisturbed fit, and one that has been ended twice; after a fit that
    was ended, errors of other fits; what was warned of when nothing could be written any more.
    """
    checkpoint.SECONDS_APART, checkpoint.SHARE = 0.0, np.inf
    path = path if rank == 0 else Path("only", "rank", "0", "has", "it")

    def ended(estimator, epoch, first=1):
        ends = EndsAfter(epoch)
        ended = clone(estimator).set_params(checkpoint=path, callbacks=[ends])
        with pytest.raises(SystemExit):
            distributed.fit(ended, parts[rank])
        assert ends.first_ == first
        return clone(ended).set_params(callbacks=None)

    pairs = []
    for estimator in estimators:
        ended(estimator, 3)
        resumed = distributed.fit(ended(estimator, 5, 4), parts[rank]).set_params(checkpoint=None)
        pairs.append((fitted(rank, estimator, parts), resumed, len(list(path.parent.glob("*")))))
    keeps = ended(QUICK, 3)
    errors = [
        fitted(rank, clone(keeps).set_params(max_epochs=9), parts),
        fitted(rank, keeps, [parts[0], parts[1][1:]]),
        fitted(rank, clone(keeps).set_params(checkpoint=path.parent / "none" / "file"), parts),
    ]

    def disk_is_full(descriptor):
        raise OSError(28, "No space left on device")

    os.fsync = disk_is_full
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pairs.append((pairs[0][0], fitted(rank, keeps, parts).set_params(checkpoint=None), 0))
    return pairs, errors, [str(one.message) for one in told]


@pytest.mark.slow
def test_a_fit_goes_on_bit_for_bit(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    random = AutoencoderTransformer(
        2,
        architecture=Dense((16,), dropout=0.1, normalization="batch"),
        latent=Variational(),
        max_epochs=6,
        optimizer="sgd",
        random_state=0,
    )
    ensemble = AutoencoderOutlierDetector(n_estimators=4, max_epochs=6, random_state=0)
    encoder = torch.nn.Sequential(Centred(), torch.nn.Linear(8, 2))
    own = clone(QUICK).set_params(architecture=Custom(encoder, torch.nn.Linear(2, 8)), max_epochs=6)
    args = [QUICK, random, ensemble, own], cut(rows_of(700), 400), folder / "checkpoint"
    (pairs, errors, told), (others, others_errors, others_told) = in_processes(
        tmp_path, fitted_in_parts, *args
    )
    for (undisturbed, resumed, n_files), (_, other, _) in zip(pairs, others, strict=True):
        assert_equal_weights(resumed, undisturbed)
        assert_equal_weights(resumed, other)
        assert n_files == 0
    assert [str(error) for error in errors] == [str(error) for error in others_errors]
    for error, message in zip(
        errors,
        (
            "of another fit: max_epochs was 5 and is 9",
            r"of another fit: X.shape of rank 1 was \(300, 8\) and is \(299, 8\)",
            "in a folder that does not exist",
        ),
        strict=True,
    ):
        with pytest.raises((ValueError, RuntimeError), match=f"Rank 0: .*{message}"):
            raise error
    assert not others_told
    assert ["No space left on device" in text for text in told] == [True]
    assert not any(folder.iterdir())


class Slow(Callback):
    def on_epoch_begin(self, net, **kwargs):
        time.sleep(0.05)


def all_fitted_and_kept(rank, fits):
    checkpoint.SECONDS_APART, checkpoint.SHARE = 0.0, np.inf
    return all_fitted(rank, fits)


@pytest.mark.slow
def test_processes_killed_at_any_moment_go_on(tmp_path):
    path, rng = tmp_path / "checkpoints" / "checkpoint", np.random.default_rng()
    path.parent.mkdir()
    model = clone(QUICK).set_params(max_epochs=60, early_stopping=False)
    kept = clone(model).set_params(checkpoint=path, callbacks=[Slow()])
    parts = cut(rows_of(700), 400)
    written = 0
    for kill in range(2):
        work = all_fitted_and_kept, ([(kept, parts)],)
        processes = started(2, tmp_path / f"killed{kill}", 60, *work)
        while not path.exists() or path.stat().st_mtime_ns == written:
            assert all(process.is_alive() for process in processes)
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        for process in processes:
            process.kill()
            process.join()
        written = path.stat().st_mtime_ns
    (resumed, undisturbed), (other, _) = in_processes(
        tmp_path, all_fitted_and_kept, [(kept, parts), (model, parts)]
    )
    assert_equal_weights(resumed, undisturbed)
    assert_equal_weights(resumed, other)
    assert not any(path.parent.iterdir())


class Fails(torch.nn.Module):
    """A loss that fails on rank 1 after some calls in training."""

    n = 0

    def forward(self, raw, x):
        if raw.requires_grad and dist.get_rank() == 1:
            self.n += 1
            if self.n > 5:
                raise MemoryError("no memory is left")
        return (raw - x).square()


def test_an_error_in_training_is_raised_in_all(tmp_path):
    fits = [(clone(QUICK).set_params(loss=Fails()), cut(rows_of(400), 200))]
    ((first,), (second,)) = in_processes(tmp_path, all_fitted, fits)
    assert str(first) == str(second)
    assert str(first).startswith("Rank 1: Memory ran out in training with batch_size=")


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "launcher"), [("train.py", TORCHRUN), ("ray_train.py", [])])
def test_the_scripts_of_the_guide_run(name, launcher, tmp_path):
    if name == "ray_train.py":
        pytest.importorskip("ray.train")
    page = (Path(__file__).parent.parent / "docs" / "guide" / "distributed.md").read_text()
    script = re.search(rf"^(# {name}\n.*?)^```", page, re.MULTILINE | re.DOTALL)[1]
    (tmp_path / name).write_text(script)
    subprocess.run([sys.executable, *launcher, name], cwd=tmp_path, check=True, timeout=300)
    assert load(tmp_path / "model.safetensors").n_features_in_ == 20

"""Dask's arrays and data frames: fits on a cluster, and answers that stay lazy."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch.distributed as dist
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer, _dask
from sklearn_ae._training import checkpoint
from sklearn_ae.architectures import Dense
from tests.helpers import QUICK

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
delayed = pytest.importorskip("dask").delayed

# three epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
TRANSFORMER = AutoencoderTransformer(2, **QUICK)
DETECTOR = AutoencoderOutlierDetector(2, n_estimators=2, **QUICK)
SHARED = ["transform", "reconstruct", "reconstruction_errors", "score_samples"]
METHODS = [
    *((TRANSFORMER, name) for name in SHARED),
    *((DETECTOR, name) for name in SHARED[:2]),
    *(
        (DETECTOR, name)
        for name in ("predict", "decision_function", "p_values", "feature_contributions")
    ),
]


def named(X):
    return pd.DataFrame(X, columns=list("abcdef"), index=range(7, 7 + len(X)))


def lazy_array(parts):
    """An array of these partitions, whose form is that of the first."""
    d = parts[0].shape[1]
    return da.concatenate(
        [
            da.from_delayed(delayed(part), (len(part), d), parts[0].dtype, meta=parts[0][:0])
            for part in parts
        ]
    )


def lazy_frame(parts):
    return dd.from_delayed([delayed(part) for part in parts], meta=parts[0][:0], verify_meta=False)


# On one machine


@pytest.mark.parametrize("estimator", [TRANSFORMER, DETECTOR], ids=["transformer", "detector"])
def test_without_a_cluster_a_fit_is_that_of_the_whole_table(table, estimator):
    whole = clone(estimator).fit(table)
    frame = clone(estimator).fit(dd.from_pandas(named(table), npartitions=3))
    assert list(frame.feature_names_in_) == list("abcdef")
    fitted = clone(estimator).fit(da.from_array(table, chunks=(50, 4)))
    np.testing.assert_array_equal(fitted.score_samples(table), whole.score_samples(table))
    np.testing.assert_allclose(
        frame.score_samples(named(table)), whole.score_samples(table), rtol=1e-6
    )


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize(("estimator", "method"), METHODS)
def test_answers_to_an_array_are_lazy_and_those_to_the_table(table, estimator, method, dtype):
    table = table.astype(dtype)
    fitted = clone(estimator).fit(table)
    X = da.from_array(table, chunks=((50, 70), (4, 2)))
    expected, lazy = getattr(fitted, method)(table), getattr(fitted, method)(X)
    assert isinstance(lazy, da.Array)
    assert lazy.shape == expected.shape
    assert lazy.chunks[0] == (50, 70)
    assert lazy.dtype == lazy._meta.dtype == expected.dtype
    assert lazy.blocks[1].compute().shape == (70, *expected.shape[1:])
    np.testing.assert_array_equal(lazy.compute(), expected)


def test_codes_are_decoded_lazily(table):
    fitted = clone(TRANSFORMER).fit(table)
    Z = fitted.transform(table)
    lazy = fitted.inverse_transform(Z=da.from_array(Z, chunks=50))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(), fitted.inverse_transform(Z))


@pytest.mark.parametrize(("estimator", "method"), METHODS)
def test_answers_to_a_frame_are_lazy_arrays(table, estimator, method):
    frame = named(table)
    fitted = clone(estimator).fit(frame)
    lazy = getattr(fitted, method)(dd.from_pandas(frame, npartitions=3))
    expected = getattr(fitted, method)(frame)
    assert isinstance(lazy, da.Array)
    assert lazy.ndim == expected.ndim
    assert lazy.dtype == expected.dtype
    assert lazy.numblocks[0] == 3
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("method", ["transform", "reconstruct", "reconstruction_errors"])
def test_frames_are_given_where_set_output_asks_for_them(table, method):
    frame = named(table)
    fitted = clone(TRANSFORMER).set_output(transform="pandas").fit(frame)
    lazy = getattr(fitted, method)(dd.from_pandas(frame, npartitions=3))
    expected = getattr(fitted, method)(frame)
    assert list(lazy.columns) == list(expected.columns)
    assert (lazy.dtypes == expected.dtypes).all()
    assert lazy.npartitions == 3
    pd.testing.assert_frame_equal(lazy.compute(), expected)
    of_array = getattr(clone(fitted).fit(table), method)(da.from_array(table, chunks=50))
    np.testing.assert_allclose(of_array.compute(), expected, rtol=1e-6)
    assert list(of_array.compute().index) == list(range(120))


def test_frames_of_polars_are_refused(table):
    pytest.importorskip("polars")
    fitted = clone(TRANSFORMER).fit(table).set_output(transform="polars")
    with pytest.raises(TypeError, match=r"no data frames of polars; call set_output"):
        fitted.transform(da.from_array(table))


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_fit_transform_is_lazy(table, output):
    X = da.from_array(table, chunks=50)
    fitted = clone(TRANSFORMER).set_output(transform=output)
    Z = fitted.fit_transform(X)
    np.testing.assert_array_equal(Z.compute(), fitted.transform(table))


def test_the_score_is_that_of_the_table(table):
    fitted = clone(TRANSFORMER).fit(table)
    assert fitted.score(da.from_array(table, chunks=50)) == fitted.score(table)


def test_empty_partitions_and_unknown_numbers_of_rows(table):
    fitted = clone(TRANSFORMER).fit(table)
    X = da.from_array(table, chunks=40)
    few = X[X[:, 0] > np.sort(table[:, 0])[-2]]
    assert fitted.transform(few).compute().shape == (1, 2)
    frame = dd.from_pandas(named(table[table[:, 0].argsort()]), npartitions=3)
    some = frame[frame.a > np.sort(table[:, 0])[60]]
    fitted = clone(TRANSFORMER).fit(some).set_output(transform="pandas")
    assert len(fitted.transform(some).compute()) == 59
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        fitted.fit(X[X[:, 0] > np.inf])


def test_later_fits_do_not_change_answers(table):
    fitted = clone(TRANSFORMER).fit(table)
    before, lazy = fitted.transform(table), fitted.transform(da.from_array(table, chunks=50))
    fitted.partial_fit(table).fit(2 * table)
    np.testing.assert_array_equal(lazy.compute(), before)


def test_sparse_partitions(table):
    rows = sparse.csr_matrix(np.where(table > 0, table, 0))
    X = da.from_array(rows.toarray(), chunks=(50, 6)).map_blocks(sparse.csr_matrix)
    whole = clone(TRANSFORMER).fit(rows)
    fitted = clone(TRANSFORMER).fit(X)
    np.testing.assert_array_equal(fitted.transform(X).compute(), whole.transform(rows))


def test_weights_of_rows_follow_them(table):
    weights = np.arange(120) % 3 + 0.5
    X = da.from_array(table, chunks=50)
    whole = clone(TRANSFORMER).fit(table, sample_weight=weights)
    for given in (weights, weights.tolist(), da.from_array(weights, chunks=50)):
        fitted = clone(TRANSFORMER).fit(X, sample_weight=given)
        np.testing.assert_array_equal(fitted.transform(table), whole.transform(table))
    with pytest.raises(ValueError, match="119 values for 120 rows"):
        clone(TRANSFORMER).fit(X, sample_weight=weights[1:])
    with pytest.raises(ValueError, match="2 partitions, but X has 3"):
        clone(TRANSFORMER).fit(X, sample_weight=da.from_array(weights, chunks=60))
    with pytest.raises(ValueError, match="Partition 0: it has 50 rows, but 40 sample weights"):
        clone(TRANSFORMER).fit(X, sample_weight=da.from_array(weights, chunks=(40, 60, 20)))


def with_text(table):
    table = table.astype(object)
    table[70, 2] = "many"
    return table


def test_a_wrong_partition_names_itself(table):
    infinite = table.copy()
    infinite[70, 2] = np.inf
    fitted = clone(TRANSFORMER).fit(table)
    before = fitted.transform(table)
    wrong = {
        "it has 5 columns, but X has 6": lazy_array([table[:50], table[50:, :5]]),
        "could not convert string to float": lazy_array(np.split(with_text(table), [50])),
        "infinity": lazy_array([infinite[:50], infinite[50:]]),
        "X has columns that are not numbers: .*'c'": lazy_frame(
            [named(table[:50]), named(with_text(table)[50:])]
        ),
        "other names": lazy_frame(
            [named(table[:50]), named(table)[50:].rename(columns={"a": "A"})]
        ),
    }
    for message, X in wrong.items():
        with pytest.raises(ValueError, match=f"Partition 1: .*{message}"):
            fitted.fit(X)
    with pytest.raises(ValueError, match=r"Partition 1: .*infinity"):
        fitted.transform(lazy_array([infinite[:50], infinite[50:]])).compute()
    with pytest.raises(ValueError, match="5 features"):
        fitted.transform(da.from_array(table[:, :5]))
    with pytest.raises(ValueError, match=r"2D array, got a Dask array of 1 dimension"):
        fitted.fit(da.from_array(table[0]))
    np.testing.assert_array_equal(fitted.transform(table), before)


@pytest.mark.slow
def test_dask_is_not_imported_without_need():
    code = "import sys, sklearn_ae; assert not {'dask', 'distributed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# On a cluster


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            processes=True,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=60,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def rows_of(n, seed=0, d=8):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 2))
    curved = np.column_stack([Z, Z[:, 0] ** 2, np.sin(2 * Z[:, 1])])
    return curved @ np.random.default_rng(1).normal(size=(4, d)) + 0.1 * rng.normal(size=(n, d))


def placed(client, parts, workers):
    """An array whose partitions lie with these workers, 0 or 1."""
    addresses = sorted(client.nthreads())
    return da.concatenate(
        [
            da.from_delayed(
                client.scatter(part, workers=[addresses[worker]], hash=False),
                part.shape,
                part.dtype,
            )
            for part, worker in zip(parts, workers, strict=True)
        ]
    )


X = rows_of(3_000)
SORTED = X[np.argsort(X[:, 0])]
CASES = {
    "even": (X, [1_000, 1_500, 2_000], [0, 1, 0, 1]),
    "uneven": (X, [100, 2_900], [1, 0, 0]),
    "sorted": (SORTED, [1_500], [0, 1]),
    "one worker": (X, [1_500], [1, 1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_cluster_fits_as_well_as_one_machine(client, case):
    rows, at, workers = CASES[case]
    parts, new = placed(client, np.split(rows, at), workers), rows_of(2_000, seed=5)
    model = AutoencoderTransformer(3, architecture=Dense((32,)), max_epochs=10)
    errors = {"cluster": [], "alone": []}
    for seed in range(3):
        for name, table in (("cluster", parts), ("alone", rows)):
            fitted = clone(model).set_params(random_state=seed).fit(table)
            errors[name].append(np.mean((fitted.reconstruct(new) - new) ** 2))
    shared, alone = map(np.array, errors.values())
    assert shared.mean() <= alone.mean() + 3 * max(shared.std(), alone.std())


@pytest.mark.slow
def test_a_detector_fitted_on_a_cluster(client):
    parts = placed(client, np.split(X, [1_000]), [0, 1])
    weights = np.where(X[:, 0] > 0, 2.0, 1.0)
    detector = AutoencoderOutlierDetector(random_state=0).fit(parts, sample_weight=weights)
    assert 0 < np.mean(detector.predict(parts).compute() == -1) < 0.1
    names = list("abcdefgh")
    frame = dd.from_pandas(pd.DataFrame(X, columns=names), npartitions=4)
    assert list(AutoencoderOutlierDetector().fit(frame).feature_names_in_) == names


def peak():
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # megabytes


def normal(n):
    return np.random.default_rng(0).normal(size=(n, 50))


@pytest.mark.slow
def test_rows_stay_with_their_workers(client):
    few, many = sorted(client.nthreads())
    detector = AutoencoderOutlierDetector(n_estimators=2, random_state=0)
    peaks = []
    for n in (2_000, 500_000):
        parts = [
            da.from_delayed(client.submit(normal, n_rows, workers=[worker]), (n_rows, 50), float)
            for n_rows, worker in ((1_000, few), (n, many))
        ]
        detector.fit(da.concatenate(parts))
        peaks.append(client.run(peak, workers=[few])[few])
    assert peaks[1] - peaks[0] < 100  # the other has 190 MB of rows


@pytest.mark.slow
def test_warnings_of_workers_reach_the_caller(client):
    parts = placed(client, np.split(X, [1_000]), [0, 1])
    with pytest.warns(UserWarning, match="still falling"):
        AutoencoderTransformer(
            2,
            max_epochs=4,
            learning_rate=1e-3,
            learning_rate_schedule="constant",
            random_state=0,
        ).fit(parts)


@pytest.mark.slow
def test_a_wrong_partition_ends_a_fit_on_a_cluster(client):
    text = X.astype(object)
    text[2_500, 2] = "many"
    model = clone(TRANSFORMER)
    with pytest.raises(ValueError, match=r"Partition 2: .*'many'"):
        model.fit(placed(client, np.split(text, [1_000, 2_000]), [0, 1, 1]))
    assert not hasattr(model, "net_")
    bad = da.concatenate([da.from_array(X), da.from_delayed(delayed(divmod)(1, 0), (9, 8), float)])
    with pytest.raises(RuntimeError, match="Partition 1 cannot be computed"):
        model.fit(bad)
    model.fit(placed(client, np.split(X, [1_000]), [0, 1]))


class Kill(Callback):
    """Ends the process of a rank in its third epoch."""

    def __init__(self, rank):
        self.rank = rank

    def on_epoch_end(self, net, **kwargs):
        rank = dist.get_rank() if dist.is_initialized() else 0
        if len(net.history) == 3 and rank == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[0, 1], [0, 0]], ids=["one of two", "the only one"])
def test_a_worker_that_dies_ends_the_fit(client, workers):
    client.wait_for_workers(2)
    parts = np.split(X, [1_500])
    model = AutoencoderTransformer(2, max_epochs=500, random_state=0)
    model.set_params(callbacks=[Kill(max(workers))])
    with pytest.raises(RuntimeError, match=r"Worker tcp://.* has gone during the fit"):
        model.fit(placed(client, parts, workers))
    assert not hasattr(model, "net_")
    client.wait_for_workers(2)
    model.set_params(callbacks=None, max_epochs=3).fit(placed(client, parts, workers))


class Touch(Callback):
    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, net, **kwargs):
        self.path.touch()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[0, 1], [0, 0]], ids=["two", "one"])
def test_ctrl_c_ends_the_fit_on_the_workers(client, workers, tmp_path):
    def press():
        while not begun.exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    begun, parts = tmp_path / "begun", placed(client, np.split(X, [1_500]), workers)
    model = AutoencoderTransformer(2, max_epochs=2_000, early_stopping=False, random_state=0)
    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[Touch(begun)]).fit(parts)
    assert not hasattr(model, "net_")
    ended = client.run(lambda: not (_dask.FITTING or dist.is_initialized()))
    assert all(ended.values())
    model.set_params(callbacks=None, max_epochs=3).fit(parts)


@pytest.mark.slow
def test_a_fit_goes_on_where_a_worker_has_died(client, tmp_path):
    client.wait_for_workers(2)
    parts, path = np.split(X, [1_000, 2_000]), tmp_path / "checkpoint"
    model = AutoencoderTransformer(2, max_epochs=20, batch_size=1_000)

    def fit(**parameters):
        given = clone(model).set_params(random_state=np.random.RandomState(0), **parameters)
        return given.fit(placed(client, parts, [0, 1, 0]))

    def each_epoch_is_saved(dask_worker):
        checkpoint.SECONDS_APART, checkpoint.SHARE = 0.0, np.inf

    undisturbed = fit()
    client.run(each_epoch_is_saved)
    with pytest.raises(RuntimeError, match=r"Worker tcp://.* has gone during the fit"):
        fit(checkpoint=path, callbacks=[Kill(1)])
    client.wait_for_workers(2)
    assert path.exists()
    resumed = fit(checkpoint=path)
    np.testing.assert_array_equal(resumed.transform(X), undisturbed.transform(X))
    assert resumed.loss_curve_ == undisturbed.loss_curve_
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_workers_in_one_process_fit_as_one():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, processes=False, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        clone(TRANSFORMER).fit(placed(client, np.split(X, [1_500]), [0, 1]))


@pytest.mark.slow
def test_a_search_by_joblib_runs_on_the_cluster(client, table):
    joblib = pytest.importorskip("joblib", "1.3")
    search = GridSearchCV(TRANSFORMER, {"n_components": [1, 2]}, cv=2)
    alone = clone(search).fit(table)
    with joblib.parallel_config("dask"):
        search.fit(table)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )

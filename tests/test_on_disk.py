"""Rows on disk: read block by block, the same numbers as in memory up to the order of batches."""

import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.utils import gen_batches

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data import on_disk, sources
from sklearn_ae._data.inputs import as_source
from sklearn_ae._data.on_disk import DiskSource
from sklearn_ae._data.scaling import fit_scaling
from sklearn_ae._data.sources import ArraySource, Scaled
from tests.helpers import QUICK

KINDS = ["memmap", "h5py", "zarr", "pyarrow"]
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:X (does not have valid|has) feature names",
)


def rows(n=700, n_features=5, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2)) @ rng.normal(size=(2, n_features)) + 0.1 * rng.normal(
        size=(n, n_features)
    )
    return (X * 100).astype(dtype) if np.dtype(dtype).kind in "iu" else X.astype(dtype)


def stored(kind, X, path):
    if kind == "memmap":
        np.save(path / "X.npy", X)
        return np.load(path / "X.npy", mmap_mode="r")
    if kind == "pyarrow":
        return pytest.importorskip("pyarrow").table({f"c{i}": X[:, i] for i in range(X.shape[1])})
    if kind == "h5py":
        return pytest.importorskip("h5py").File(path / "X.h5", "w").create_dataset("X", data=X)
    zarr = pytest.importorskip("zarr")
    stored = zarr.open(
        str(path / "X.zarr"), mode="w", shape=X.shape, chunks=(100, X.shape[1]), dtype=X.dtype
    )
    stored[:] = X
    return stored


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    monkeypatch.setattr(on_disk, "MEMORY_BYTES", 0)
    return request.param


@pytest.fixture(params=["resident", "streamed"])
def room(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr(sources, "RESIDENT_BYTES", 0)
        monkeypatch.setattr(on_disk, "SHUFFLED_BYTES", 400)
        monkeypatch.setattr(DiskSource, "read_bytes", 2_000)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_a_source_on_disk_keeps_the_protocol(kind, dtype, tmp_path):
    X = rows(dtype=dtype)
    source = as_source(AutoencoderTransformer(), stored(kind, X, tmp_path), reset=True)
    assert isinstance(source, DiskSource)
    assert len(source) == source.n_rows == 700
    assert source.n_features == 5
    wide = X.astype(source.dtype)
    for positions in (slice(None), slice(3, 9), slice(690, 10_000)):
        np.testing.assert_array_equal(source.take(positions).x.numpy(), wide[positions])
    for positions in ([5], [7, 3, 3, 699, 0], list(range(0, 700, 3))):
        np.testing.assert_array_equal(
            source.take(torch.tensor(positions)).x.numpy(), wide[positions]
        )
        part = source.subset(np.array(positions))
        np.testing.assert_array_equal(part.take(slice(None)).x.numpy(), wide[positions])
        np.testing.assert_array_equal(
            part.subset(np.array([0])).take(torch.tensor([0])).x.numpy(), wide[positions[:1]]
        )
    assert source.range() == (wide.min(), wide.max())
    np.testing.assert_array_equal(
        torch.cat([block.x for block in source.blocks(100)]).numpy(), wide
    )
    x, _ = source[3]
    np.testing.assert_array_equal(x.numpy(), wide[3])
    assert not source.has_gaps


@pytest.mark.parametrize(
    "estimator",
    [
        AutoencoderTransformer(2, **QUICK),
        AutoencoderOutlierDetector(n_estimators=3, random_state=0),
        AutoencoderOutlierDetector(n_estimators=1, **QUICK),
    ],
    ids=["transformer", "ensemble", "single"],
)
def test_the_numbers_are_those_of_the_array(kind, estimator, tmp_path):
    X = rows()
    disk = stored(kind, X, tmp_path)
    memory = estimator.fit(X).score_samples(X)
    np.testing.assert_allclose(estimator.fit(disk).score_samples(disk), memory, rtol=1e-5)
    for method in ("transform", "reconstruct"):
        np.testing.assert_allclose(
            getattr(estimator, method)(disk), getattr(estimator, method)(X), rtol=1e-6
        )


@pytest.mark.slow
def test_streamed_training_is_as_good_as_that_in_memory(kind, room, tmp_path):
    X = rows(2_000)
    disk = stored(kind, X, tmp_path)
    model = AutoencoderTransformer(2, max_epochs=5, random_state=0)
    memory = model.fit(X).score(X)
    assert model.fit(disk).score(X) > 1.1 * memory  # both are negative


def test_the_scaling_is_that_of_all_rows(kind, room, tmp_path):
    X = rows()
    for scaling in ("standard", "robust", "uniform", "bounded"):
        ours, expected = (
            fit_scaling(scaling, s, np.random.RandomState(0))
            for s in (DiskSource(stored(kind, X, tmp_path)), ArraySource(X))
        )
        np.testing.assert_allclose(ours.scale, expected.scale)
        np.testing.assert_allclose(ours.center, expected.center)


@pytest.mark.parametrize("n", [1, 99, 700])
@pytest.mark.parametrize("n_together", [1, 50, 10_000])
def test_a_shuffle_has_every_row_once(n, n_together, monkeypatch):
    monkeypatch.setattr(on_disk, "SHUFFLED_BYTES", 10 * 8 * 5)
    order = DiskSource(rows(n)).shuffled(n_together)
    assert sorted(order.tolist()) == list(range(n))


def test_a_shuffle_reads_short_runs_in_random_order(monkeypatch):
    monkeypatch.setattr(on_disk, "SHUFFLED_BYTES", 10 * 8 * 5)  # runs of ten rows
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = (DiskSource(rows()).shuffled(100) for _ in range(2))
    assert not torch.equal(first, second)
    for part in first.split(100):  # rows that are read together: ten runs from everywhere, mixed
        assert len(set((part // 10).tolist())) == 10
        assert part.max() - part.min() > 300
        assert len(set((part[:10] // 10).tolist())) > 3


def test_gaps_on_disk(kind, tmp_path):
    X = rows()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    disk = stored(kind, X, tmp_path)
    model = AutoencoderTransformer(2, **QUICK).fit(disk)
    assert np.isfinite(model.score_samples(disk)).all()
    np.testing.assert_allclose(model.reconstruct(disk), model.reconstruct(X), rtol=1e-6)


@pytest.mark.parametrize("at", [0, 650])
def test_an_infinite_value_names_its_column(kind, at, tmp_path):
    X = rows()
    X[at, 3] = np.inf
    with pytest.raises(ValueError, match="column 3"):
        AutoencoderTransformer(2, **QUICK).fit(stored(kind, X, tmp_path))


def test_a_column_that_was_never_observed_is_named(kind, tmp_path):
    X = rows()
    X[:, 3] = np.nan
    with pytest.raises(ValueError, match="column 3"):
        AutoencoderTransformer(2, **QUICK).fit(stored(kind, X, tmp_path))


def test_other_columns_than_in_the_fit_are_refused(kind, tmp_path):
    model = AutoencoderTransformer(2, **QUICK).fit(rows())
    with pytest.raises(ValueError, match="4 features"):
        model.transform(stored(kind, rows(n_features=4), tmp_path))


def test_text_in_an_arrow_table_is_refused_by_name():
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="word"):
        AutoencoderTransformer(1).fit(pa.table({"number": [1.0, 2.0], "word": ["a", "b"]}))


def test_an_arrow_table_with_nulls_and_bools():
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {
            "number": pa.array([1.0, None, 3.0, 4.0] * 10),
            "yes": [True, False, True, True] * 10,
            "whole": [1, 2, None, 4] * 10,
        }
    )
    model = AutoencoderTransformer(1, **QUICK).fit(table)
    assert np.isfinite(model.reconstruct(table)).all()
    assert model.n_features_in_ == 3
    assert model.feature_names_in_.tolist() == ["number", "yes", "whole"]


def test_weights_of_rows_on_disk(kind, tmp_path):
    X, weight = rows(), np.arange(700) % 3
    disk = stored(kind, X, tmp_path)
    model = AutoencoderTransformer(2, **QUICK)
    memory = model.fit(X, sample_weight=weight).score_samples(X)
    np.testing.assert_allclose(
        model.fit(disk, sample_weight=weight).score_samples(disk), memory, rtol=1e-5
    )


def test_chunks_on_disk(kind, tmp_path):
    X = rows()
    a, b = (AutoencoderTransformer(2, random_state=0) for _ in range(2))
    np.testing.assert_allclose(
        a.partial_fit(stored(kind, X, tmp_path)).score_samples(X),
        b.partial_fit(X).score_samples(X),
        rtol=1e-4,
    )


@pytest.mark.parametrize("kind", ["memmap", "h5py", "zarr"], indirect=True)
def test_results_written_block_by_block_are_those_of_all_rows(kind, tmp_path):
    disk = stored(kind, rows(), tmp_path)
    model = AutoencoderTransformer(2, **QUICK).fit(disk)
    codes = np.lib.format.open_memmap(tmp_path / "codes.npy", "w+", np.float64, (700, 2))
    for some in gen_batches(700, 90):
        codes[some] = model.transform(disk[some])
    np.testing.assert_array_equal(codes, model.transform(disk))


def test_positions_of_many_rows_take_half_the_memory():
    source = DiskSource(rows())
    assert (
        source.subset(np.arange(5)).positions.dtype == source.shuffled(10).numpy().dtype == np.int32
    )
    assert on_disk.position_type(2**31) is np.int64


def test_small_memory_maps_are_read_as_arrays(tmp_path):
    source = as_source(AutoencoderTransformer(), stored("memmap", rows(), tmp_path), reset=True)
    assert isinstance(source, ArraySource)


@pytest.mark.slow
def test_a_memory_map_is_never_read_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "MEMORY_BYTES", 0)
    monkeypatch.setattr(sources, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(sources, "BLOCK_BYTES", 2**18)
    monkeypatch.setattr(DiskSource, "read_bytes", 2**19)
    monkeypatch.setattr(on_disk, "SHUFFLED_BYTES", 2**14)
    monkeypatch.setattr(on_disk, "RUN_BYTES", 2**19)
    X = stored("memmap", rows(100_000, 20, np.float32), tmp_path)
    read = []
    original = DiskSource._read
    monkeypatch.setattr(
        DiskSource,
        "_read",
        lambda self, start, stop: read.append(stop - start) or original(self, start, stop),
    )
    model = AutoencoderTransformer(2, max_epochs=1, random_state=0).fit(X)
    model.score_samples(X)
    assert max(read) <= 2**19 // 80
    tracemalloc.start()
    model.fit(X)
    assert tracemalloc.get_traced_memory()[1] < 0.8 * X.nbytes
    tracemalloc.stop()


def test_a_scaled_source_on_disk_is_read_where_it_does_not_fit(room, tmp_path):
    X = rows()
    source = DiskSource(X)
    scaled = Scaled(
        source, fit_scaling("standard", source, np.random.RandomState(0)), torch.device("cpu")
    )
    np.testing.assert_allclose(
        scaled.take(torch.tensor([3, 600])).x,
        ((X - X.mean(0)) / X.std(0))[[3, 600]],
        rtol=1e-4,
        atol=1e-5,
    )

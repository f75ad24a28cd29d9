"""Sources of rows, which all keep one protocol, their scaling, and the batches of an epoch."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.metrics import r2_score

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data import batches, sources
from sklearn_ae._data.batch import Batch
from sklearn_ae._data.batches import Batches
from sklearn_ae._data.members import Members
from sklearn_ae._data.scaling import RunningScaling, Scaling, fit_scaling
from sklearn_ae._data.sources import ArraySource, Scaled, SparseSource
from tests.helpers import QUICK

CPU = torch.device("cpu")
X = np.random.default_rng(0).normal(size=(23, 4)) * [1, 10, 100, 0.1] + [0, 5, -100, 3]
EVERY_OTHER = np.arange(22, -1, -2)
POSITIONS = torch.tensor([[3, 1, 2, 0, 7], [22, 5, 5, 4, 9]])

# A new source needs an entry here: how it is made, and its rows, as `take` gives them.
SOURCES = {
    "array": (lambda: ArraySource(X), X),
    "array, float32": (lambda: ArraySource(X.astype(np.float32)), X.astype(np.float32)),
    "array, some rows": (lambda: ArraySource(X).subset(EVERY_OTHER), X[EVERY_OTHER]),
    "sparse": (lambda: SparseSource(csr_array(X)), X),
    "sparse, some rows": (lambda: SparseSource(csr_array(X)).subset(EVERY_OTHER), X[EVERY_OTHER]),
    "scaled": (lambda: Scaled(ArraySource(X), standard(), CPU), (X - X.mean(0)) / X.std(0)),
    "scaled, some rows": (
        lambda: Scaled(ArraySource(X).subset(EVERY_OTHER), standard(), CPU),
        ((X - X.mean(0)) / X.std(0))[EVERY_OTHER],
    ),
    "members": (
        lambda: Members(Scaled(ArraySource(X), Scaling(), CPU), POSITIONS, lambda x, mask: x / 2),
        X[POSITIONS.numpy()] / 2,
    ),
}
ROOMS = {"resident": sources.RESIDENT_BYTES, "streamed": 0}


def standard():
    return fit_scaling("standard", ArraySource(X), np.random.RandomState(0))


@pytest.fixture(params=ROOMS)
def room(request, monkeypatch):
    monkeypatch.setattr(sources, "RESIDENT_BYTES", ROOMS[request.param])
    return request.param


@pytest.fixture(params=SOURCES)
def source_and_rows(request, room):
    make, rows = SOURCES[request.param]
    source = make()
    assert (getattr(source, "resident", None) is None) == (
        room == "streamed" or isinstance(source, (ArraySource, SparseSource))
    )
    return source, rows


def same(batch, rows):
    assert isinstance(batch, Batch)
    assert batch.weight is None
    assert batch.mask is None
    assert batch.n_rows == rows.shape[-2]
    np.testing.assert_allclose(batch.x, rows, rtol=1e-5, atol=1e-6)


# The protocol of sources


def test_a_source_knows_how_many_rows_and_features_it_has(source_and_rows):
    source, rows = source_and_rows
    assert source.n_rows == len(source) == rows.shape[-2]
    assert source.n_features == X.shape[1]


@pytest.mark.parametrize("positions", [[0], [4, 0, 2], [1, 1, 3]], ids=str)
def test_rows_are_taken_at_any_positions(positions, source_and_rows):
    source, rows = source_and_rows
    same(source.take(torch.tensor(positions)), rows[..., positions, :])


@pytest.mark.parametrize("part", [slice(None), slice(1, 4), slice(3, 1_000), slice(2)], ids=str)
def test_rows_are_taken_by_slices(part, source_and_rows):
    source, rows = source_and_rows
    same(source.take(part), rows[..., part, :])


@pytest.mark.parametrize("n_rows", [None, 1, 2, 1_000])
def test_blocks_are_all_rows_in_order(n_rows, source_and_rows):
    source, rows = source_and_rows
    blocks = list(source.blocks(n_rows))
    assert len(blocks) == (1 if n_rows is None else -(-source.n_rows // n_rows))
    same(Batch(torch.cat([block.x for block in blocks], -2)), rows)


def test_blocks_are_of_about_16_mb(monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 8 * 4 * 10)  # ten rows of four
    assert [block.n_rows for block in ArraySource(X).blocks()] == [10, 10, 3]


def test_the_range_is_that_of_all_values(source_and_rows):
    source, rows = source_and_rows
    np.testing.assert_allclose(source.range(), (rows.min(), rows.max()), rtol=1e-5)


def test_the_range_looks_at_every_block(source_and_rows, monkeypatch):
    source, rows = source_and_rows
    monkeypatch.setattr(sources, "BLOCK_BYTES", 1)
    np.testing.assert_allclose(source.range(), (rows.min(), rows.max()), rtol=1e-5)


def test_subsets_are_sources_and_have_subsets(source_and_rows):
    source, rows = source_and_rows
    if isinstance(source, Members):
        pytest.skip("members are drawn last, and never divided")
    part = source.subset(np.array([4, 0, 2]))
    assert type(part) is type(source)
    assert part.n_rows == 3
    same(part.take(slice(None)), rows[[4, 0, 2]])
    same(part.subset(np.array([2, 0])).take(torch.tensor([1, 0])), rows[[4, 2]])
    same(source.take(slice(None)), rows)


def test_a_single_row_is_read_as_torchs_tools_read_it(source_and_rows):
    source, rows = source_and_rows
    x, target = source[1]
    np.testing.assert_allclose(x, rows[..., 1, :], rtol=1e-5, atol=1e-6)
    assert x is target


def test_an_array_is_never_copied_as_a_whole():
    source = ArraySource(X)
    assert (
        source.take(slice(None)).x.data_ptr()
        == source.subset(np.array([1])).data.data_ptr()
        == X.ctypes.data
    )


# Rows that do not fit are read when they are asked for


@pytest.mark.parametrize(
    "make", [SOURCES["scaled"][0], SOURCES["scaled, some rows"][0], SOURCES["members"][0]]
)
@pytest.mark.parametrize("batch_size", [2, 3])
def test_streamed_batches_are_those_of_resident_rows(make, batch_size, monkeypatch):
    def epochs():
        torch.manual_seed(0)
        iterator = Batches(make(), batch_size, shuffle=True)
        return [batch.x for _ in range(2) for batch in iterator]

    with torch.random.fork_rng():
        resident = epochs()
        monkeypatch.setattr(sources, "RESIDENT_BYTES", 0)
        monkeypatch.setattr(sources.Source, "read_bytes", 100)  # several blocks
        streamed = epochs()
    assert len(resident) > 2
    for a, b in zip(resident, streamed, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "estimator",
    [
        AutoencoderTransformer(2, batch_size=32, **QUICK),
        AutoencoderTransformer(2, batch_size=32, validation_fraction=0.2, **QUICK),
        AutoencoderOutlierDetector(n_estimators=3, max_samples=60, batch_size=32, **QUICK),
    ],
    ids=["by default", "held out", "ensemble"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_training_on_streamed_rows_gives_the_same_numbers(estimator, table, monkeypatch):
    resident = estimator.fit(table).loss_curve_, estimator.score_samples(table)
    monkeypatch.setattr(sources, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(sources.Source, "read_bytes", 1_000)
    streamed = estimator.fit(table).loss_curve_, estimator.score_samples(table)
    np.testing.assert_allclose(streamed[0], resident[0], rtol=1e-6)
    np.testing.assert_allclose(streamed[1], resident[1], rtol=1e-5)


# Batches


def test_a_batch_is_split_with_its_weights_and_mask():
    x, weight = torch.arange(12.0).view(6, 2), torch.arange(6.0)
    parts = Batch(x, weight, x > 4).split([1, 3, 2])
    assert [part.n_rows for part in parts] == [1, 3, 2]
    assert torch.equal(parts[1].x, x[1:4])
    assert torch.equal(parts[1].weight, weight[1:4])
    assert torch.equal(parts[1].mask, x[1:4] > 4)
    assert parts[1].x.data_ptr() == x[1].data_ptr()  # a view


def test_a_batch_of_several_networks_is_split_by_rows():
    x, weight = torch.arange(24.0).view(2, 6, 2), torch.arange(12.0).view(2, 6)
    first, second = Batch(x, weight).split([4, 2])
    assert torch.equal(second.x, x[:, 4:])
    assert torch.equal(second.weight, weight[:, 4:])
    assert first.mask is None
    assert first.n_rows == 4


def counting(n, room):
    """A source whose rows are their own numbers."""
    source = Scaled(ArraySource(np.arange(float(n))[:, None]), Scaling(), CPU)
    assert (source.resident is not None) == (room == "resident")
    return source


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(1, [1]), (4, [4]), (5, [5]), (6, [4, 2]), (8, [4, 4]), (9, [4, 5]), (11, [4, 4, 3])],
    ids=str,
)
@pytest.mark.parametrize("block_bytes", [1, 40, 2**20])
def test_every_row_comes_once_an_epoch_and_no_batch_has_one_row(
    n, sizes, block_bytes, room, monkeypatch
):
    monkeypatch.setattr(sources.Source, "read_bytes", block_bytes)
    monkeypatch.setattr(batches, "RESIDENT_BYTES", block_bytes)
    iterator = Batches(counting(n, room), 4, shuffle=True)
    assert len(iterator) == len(sizes)
    for _ in range(2):
        epoch = list(iterator)
        assert [batch.n_rows for batch in epoch] == sizes
        assert sorted(torch.cat([batch.x for batch in epoch]).flatten().tolist()) == list(range(n))


def test_rows_are_shuffled_anew_each_epoch(room):
    iterator = Batches(counting(100, room), 10, shuffle=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = (
            torch.cat([batch.x for batch in iterator]).flatten().tolist() for _ in range(2)
        )
    assert first != second
    assert sorted(first) != first


def test_rows_come_in_order_where_nothing_is_shuffled(room):
    iterator = Batches(counting(10, room), 4, shuffle=False)
    assert torch.cat([batch.x for batch in iterator]).flatten().tolist() == list(range(10))


def test_rows_for_another_device_come_in_the_order_they_were_asked_for():
    seen = list(batches.ahead(lambda rows: Batch(rows), [torch.tensor([i]) for i in range(20)]))
    assert [int(batch.x) for batch in seen] == list(range(20))


# Scaling


@pytest.mark.parametrize("kind", ["standard", "robust", None])
def test_a_scaling_is_undone_by_its_inverse(kind, table):
    scaling = fit_scaling(kind, ArraySource(table), np.random.RandomState(0))
    x = torch.from_numpy(table)
    back = scaling.inverse(scaling.transform_for(x.dtype)(x))
    assert back.dtype == torch.float64
    np.testing.assert_allclose((back.numpy() - table) / table.std(0), 0, atol=1e-4)


def zeros_and_ones_beside_numbers(n=4_000):
    """A number, two columns of zeros and ones, and four that only look a little like such."""
    rng = np.random.default_rng(0)
    half, rare = rng.random(n) < 0.5, rng.random(n) < 0.01
    return np.column_stack(
        [rng.normal(3, 7, n), half, rare, 2.0 * half, half - 0.5, rng.random(n), np.ones(n)]
    )


@pytest.mark.parametrize(
    "make",
    [ArraySource, lambda X: SparseSource(csr_array(X.astype(np.float32)))],
    ids=["dense", "sparse"],
)
def test_mixed_is_standard_but_for_zeros_and_ones(make):
    source = make(zeros_and_ones_beside_numbers())
    mixed, plain = (
        fit_scaling(kind, source, np.random.RandomState(0)) for kind in ("mixed", "standard")
    )
    np.testing.assert_array_equal(mixed.center, plain.center)
    np.testing.assert_array_equal(mixed.scale[[1, 2]], 0.5)
    np.testing.assert_array_equal(np.delete(mixed.scale, [1, 2]), np.delete(plain.scale, [1, 2]))


def test_gaps_do_not_hide_zeros_and_ones(rng):
    X = zeros_and_ones_beside_numbers()
    X[rng.random(X.shape) < 0.2] = np.nan
    assert (
        fit_scaling("mixed", ArraySource(X), np.random.RandomState(0)).scale == 0.5
    ).tolist() == [0, 1, 1, 0, 0, 0, 0]


def test_zeros_and_ones_are_known_in_a_stream_and_after_a_fit():
    X = zeros_and_ones_beside_numbers()[:, :6]
    whole = fit_scaling("mixed", ArraySource(X), np.random.RandomState(0))
    for begun in (None, fit_scaling("mixed", ArraySource(X[:1_000]), np.random.RandomState(0))):
        running, scaling = RunningScaling.after(begun, "mixed", 1_000, 10**6), begun
        for chunk in np.split(X[0 if begun is None else 1_000 :], 3 if begun is not None else 4):
            scaling = running.follow(scaling, ArraySource(chunk), np.random.RandomState(0))
        np.testing.assert_allclose(scaling.scale, whole.scale)
        np.testing.assert_allclose(scaling.center, whole.center)


def test_the_default_detector_reconstructs_in_the_datas_units(table):
    detector = AutoencoderOutlierDetector(n_estimators=32, random_state=0).fit(table)
    assert r2_score(table, detector.reconstruct(table), multioutput="raw_values").min() > 0.5

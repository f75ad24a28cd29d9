"""Sparse X: the same numbers as dense X, which never exists as a whole."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data import inputs, sources
from sklearn_ae._data.scaling import fit_scaling
from sklearn_ae._data.sources import ArraySource, SparseSource
from tests.helpers import QUICK

CONTAINERS = [f"{kind}_{shape}" for kind in ("csr", "csc", "coo") for shape in ("array", "matrix")]
ESTIMATORS = {
    "transformer": AutoencoderTransformer(3, scaling="uniform", **QUICK),
    "standard": AutoencoderTransformer(3, scaling="standard", **QUICK),
    "ensemble": AutoencoderOutlierDetector(n_estimators=3, random_state=0),
    "single": AutoencoderOutlierDetector(n_estimators=1, **QUICK),
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def counts(n=300, n_features=40, density=0.1, seed=0):
    """Counts of a few topics, with an empty row and an empty column."""
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(n_features, 0.1), 4)
    X = rng.poisson(density * n_features * rng.dirichlet(np.full(4, 0.3), n) @ topics).astype(float)
    X[3], X[:, 5] = 0, 0
    return X


def widened(X, index):
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X


# The same numbers as the dense array


@pytest.mark.parametrize(
    ("container", "dtype"),
    [
        *((one, np.float64) for one in CONTAINERS),
        *(("csc_array", one) for one in (np.float32, np.int64, bool)),
    ],
)
def test_every_container_gives_the_numbers_of_csr(container, dtype):
    X = counts().astype(dtype)
    ours = AutoencoderTransformer(3, **QUICK).fit_transform(getattr(sp, container)(X))
    csr = AutoencoderTransformer(3, **QUICK).fit_transform(sp.csr_array(X))
    np.testing.assert_array_equal(ours, csr)
    assert ours.dtype == (np.float32 if dtype == np.float32 else np.float64)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("container", [sp.csr_array, sp.csc_array])
def test_indices_of_either_width(container, index):
    X = widened(container(counts()), index)
    Z = AutoencoderTransformer(3, **QUICK).fit_transform(X)
    assert X.indices.dtype == index
    np.testing.assert_array_equal(
        Z, AutoencoderTransformer(3, **QUICK).fit_transform(sp.csr_array(counts()))
    )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_same_numbers_as_of_the_dense_array(name):
    X, estimator = counts(), ESTIMATORS[name]
    scores, codes, rows = [], [], []
    for given in (X, sp.csr_array(X)):
        estimator.fit(given)
        scores.append(estimator.score_samples(given))
        codes.append(estimator.transform(given))
        rows.append(estimator.reconstruct(given))
    for dense, sparse in (scores, codes, rows):
        np.testing.assert_allclose(sparse, dense, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fitted_estimator_answers_alike_for_sparse_and_dense(name):
    X = counts()
    estimator = ESTIMATORS[name].fit(sp.csr_array(X))
    for method in ("transform", "reconstruct", "score_samples", "reconstruction_errors"):
        np.testing.assert_array_equal(
            getattr(estimator, method)(sp.csc_matrix(X)), getattr(estimator, method)(X)
        )
    assert estimator.score(sp.csr_array(X)) == estimator.score(X)


def test_the_detector_answers_alike_for_sparse_and_dense():
    X = counts()
    detector = ESTIMATORS["ensemble"].fit(sp.csr_array(X))
    for method in ("predict", "p_values", "decision_function", "feature_contributions"):
        np.testing.assert_array_equal(
            getattr(detector, method)(sp.csr_array(X)), getattr(detector, method)(X)
        )


def test_auto_scaling_leaves_zeros_zeros():
    X = counts()
    assert (
        AutoencoderTransformer(3, **QUICK).fit(sp.csr_array(X))._model.configuration.scaling
        == "uniform"
    )
    scaling = fit_scaling("uniform", SparseSource(sp.csr_array(X)), None)
    assert not scaling.center.any()
    np.testing.assert_allclose(scaling.scale, np.sqrt((X**2).mean()))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("unit", [1.0, 1e-200, 1e200])
def test_moments_of_sparse_columns_are_those_of_dense_ones(unit, weighted):
    X = counts() * unit
    X[0, 1] = -3 * unit
    dense, sparse = ArraySource(X), SparseSource(sp.csr_array(X))
    if weighted:
        dense.weight = sparse.weight = ArraySource(X).data[:, 0].clamp_min(1).float().clamp_max(3)
    a, b = dense.moments(), sparse.moments()
    np.testing.assert_allclose(b.mean, a.mean, rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(b.deviation, a.deviation, rtol=1e-6, atol=1e-300)
    assert dense.range() == sparse.range()


# Never dense as a whole


@pytest.mark.parametrize(
    "scaling",
    [
        "auto",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("standard", "robust", "bounded")),
    ],
)
@pytest.mark.parametrize(
    "estimator",
    [
        AutoencoderTransformer(3, **QUICK),
        pytest.param(AutoencoderOutlierDetector(**QUICK), marks=pytest.mark.slow),
    ],
)
def test_no_more_than_a_block_is_dense(estimator, scaling, monkeypatch):
    monkeypatch.setattr(sources, "RESIDENT_BYTES", 0)
    X = sp.csr_array(sp.random(3_000, 1_000, density=0.004, random_state=0, format="csr"))
    dense = []
    toarray = sp.csr_array.toarray
    monkeypatch.setattr(
        sp.csr_array,
        "toarray",
        lambda self, *args: dense.append(self.shape[0]) or toarray(self, *args),
    )
    monkeypatch.setattr(sp.csr_array, "todense", None)
    monkeypatch.setattr(sources, "BLOCK_BYTES", 2**18)
    monkeypatch.setattr("sklearn_ae._data.scaling.QUANTILE_VALUES", 2**21)
    monkeypatch.setattr("sklearn_ae._defaults.START_VALUES", 2**21)
    estimator.set_params(scaling=scaling, max_epochs=1, max_grad_norm=1.0)
    estimator.fit(X).score_samples(X)
    assert dense
    assert max(dense) <= 2**21 // 1_000  # rows for quantiles, for a start, or of a chunk


# Gaps, empty rows and columns


def test_an_explicit_nan_is_a_gap():
    X = counts()
    X[7, 2] = X[9, 30] = np.nan
    rows = {}
    for name, given in (("dense", X), ("sparse", sp.csr_array(X))):
        model = AutoencoderTransformer(3, scaling="uniform", **QUICK).fit(given)
        rows[name] = model.reconstruct(given)
        assert np.isfinite(model.score_samples(given)).all()
    np.testing.assert_allclose(rows["sparse"], rows["dense"], rtol=1e-3, atol=1e-4)


def test_a_column_of_explicit_nan_is_refused():
    X = counts()
    X[:, 4] = np.nan
    with pytest.raises(ValueError, match="only missing values in column 4"):
        AutoencoderTransformer(3).fit(sp.csr_array(X))


def test_an_infinite_value_is_refused():
    X = counts()
    X[7, 2] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        AutoencoderTransformer(3).fit(sp.csr_array(X))


@pytest.mark.parametrize(
    "estimator", [AutoencoderTransformer(1, **QUICK), AutoencoderOutlierDetector(random_state=0)]
)
def test_nothing_but_zeros(estimator):
    X = sp.csr_array((50, 6))
    assert np.isfinite(estimator.fit(X).score_samples(X)).all()


def test_binary_cross_entropy_of_counts_says_what_is_out_of_range():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        AutoencoderTransformer(3, loss="binary_cross_entropy").fit(sp.csr_array(counts()))
    X = sp.csr_array(counts() > 0)
    R = AutoencoderTransformer(3, loss="binary_cross_entropy", **QUICK).fit(X).reconstruct(X)
    assert R.min() >= 0
    assert R.max() <= 1


# As users make them


def test_text_in_a_pipeline():
    texts = [
        f"{a} {b} and more {a}"
        for a in ("cats", "dogs", "cars", "trees")
        for b in ("sleep", "run", "grow", "stand", "fall")
    ]
    model = make_pipeline(TfidfVectorizer(), AutoencoderTransformer(3, random_state=0)).fit(texts)
    X = model[0].transform(texts)
    Z = model[-1].transform(X)
    assert Z.shape == (20, 3)
    assert (
        r2_score(X.toarray(), model[-1].inverse_transform(Z), multioutput="variance_weighted") > 0.3
    )
    assert make_pipeline(TfidfVectorizer(), AutoencoderOutlierDetector(random_state=0)).fit(
        texts
    ).predict(texts).shape == (20,)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
@pytest.mark.parametrize(
    "estimator", [AutoencoderTransformer(2, **QUICK), AutoencoderOutlierDetector(random_state=0)]
)
def test_one_hot_columns_beside_numbers(estimator, threshold, rng):
    frame = pd.DataFrame({"kind": rng.choice(list("abcd"), 100), "size": rng.normal(size=100)})
    encode = make_column_transformer(
        (OneHotEncoder(), ["kind"]), (StandardScaler(), ["size"]), sparse_threshold=threshold
    )
    assert sp.issparse(encode.fit_transform(frame)) == (threshold == 1.0)
    assert np.isfinite(make_pipeline(encode, estimator).fit(frame).score_samples(frame)).all()


@pytest.mark.slow
def test_codes_keep_at_least_as_much_as_truncated_svd():
    X = sp.csr_array(np.log1p(counts(1_500, 120, 0.5)))
    svd = TruncatedSVD(8, random_state=0).fit(X)
    ours = AutoencoderTransformer(8, random_state=0).fit(X)
    left = [
        np.square(X.toarray() - R).sum()
        for R in (svd.inverse_transform(svd.transform(X)), ours.reconstruct(X))
    ]
    assert left[1] <= left[0]


def test_a_subset_of_a_sparse_source_keeps_its_weights():
    source = inputs.weighted_source(SparseSource(sp.csr_array(counts(4))), [1, 0, 3, 2])
    assert source.weight.tolist() == [1, 3, 2]
    assert source.subset(np.array([2, 0])).weight.tolist() == [2, 1]

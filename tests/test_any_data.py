"""Whatever is handed over: a finite result, or an error that says what is wrong and changes
nothing.
"""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
ESTIMATORS = [
    AutoencoderTransformer(1, max_epochs=1, random_state=0),
    AutoencoderOutlierDetector(1, n_estimators=2, max_epochs=1, random_state=0),
]
CONTAINERS = {
    "array": np.asarray,
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "backwards": lambda X: X[::-1].copy()[::-1],
    "list": lambda X: X.tolist(),
    "tensor": torch.tensor,
    "csr": sp.csr_array,
    "csc": sp.csc_matrix,
    "frame": lambda X: pytest.importorskip("pandas").DataFrame(
        X, columns=[f"c{i}" for i in range(X.shape[1])]
    ),
}
DTYPES = ["float64", "float32", "int64", "int8", "uint8", "bool", "float16"]
UNITS = [1.0, 1e-300, 1e300, 1e-30, 1e30, 0.0]
FAULTS = [
    "negative weight",
    "infinity",
    "text",
    "one dimension",
    "no rows",
    "no columns",
    "complex",
]


@st.composite
def tables(draw):
    """Numbers of some type and unit, some of them zeros or gaps, a seed away."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    n, n_features = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    X = rng.normal(size=(n, n_features)) * 3
    if dtype == np.float64:
        X = X * np.array(
            draw(st.lists(st.sampled_from(UNITS), min_size=n_features, max_size=n_features))
        )
    X = np.where(rng.random(X.shape) < draw(st.sampled_from([0.1, 0.5, 1.0])), X, 0)
    X = np.abs(X).astype(dtype) if dtype.kind in "ub" else X.astype(dtype)
    if dtype.kind == "f":
        X[rng.random(X.shape) < draw(st.sampled_from([0.0, 0.0, 0.2, 0.9]))] = np.nan
    return X


def weights(draw, n):
    kind = draw(st.sampled_from(["none", "some", "equal", "far apart", "last"]))
    some = np.arange(n) % 3 + 0.0
    return {
        "none": None,
        "some": some,
        "equal": np.full(n, 0.1),
        "far apart": 10.0 ** (some * 20),
        "last": 1.0 * (np.arange(n) == n - 1),
    }[kind]


def results(estimator, X):
    return {
        name: getattr(estimator, name)(X) for name in ("transform", "reconstruct", "score_samples")
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=["transformer", "detector"])
@hypothesis.settings(max_examples=8, derandomize=True, deadline=None, database=None)
@hypothesis.given(data=st.data())
def test_any_table_gives_finite_results_or_a_clear_error(estimator, method, data):
    X, estimator = data.draw(tables()), clone(estimator)
    container = data.draw(st.sampled_from(list(CONTAINERS)))
    if container in ("csr", "csc") and X.dtype == np.float16:
        X = X.astype(np.float32)  # which scipy does not take
    weight = weights(data.draw, len(X))
    given = CONTAINERS[container](X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused = None
        try:
            getattr(estimator, method)(given, sample_weight=weight)
        except (ValueError, TypeError) as error:
            refused = str(error)
        if refused is not None:
            assert len(refused) > 30
            assert not hasattr(estimator, "net_")
            return
        for name, values in results(estimator, given).items():
            assert np.isfinite(values).all(), name
            assert len(values) == len(X)


@pytest.fixture(scope="module", params=ESTIMATORS, ids=["transformer", "detector"])
def fitted(request):
    X = np.random.default_rng(0).normal(size=(120, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(request.param).fit(X).partial_fit(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("fault", FAULTS)
def test_refused_input_leaves_a_fitted_estimator_unchanged(fault, fitted, method, table):
    before, weight, X = results(fitted, table), None, table.copy()
    if fault == "negative weight":
        weight = np.r_[-1.0, np.ones(119)]
    elif fault == "infinity":
        X[3, 2] = -np.inf
    elif fault == "text":
        X = X.astype(object)
        X[3, 2] = "many"
    else:
        X = {"one dimension": X[0], "no rows": X[:0], "no columns": X[:, :0], "complex": X + 1j}[
            fault
        ]
    with pytest.raises((ValueError, TypeError)) as caught:
        getattr(fitted, method)(X, sample_weight=weight)
    assert len(str(caught.value)) > 20
    for name, values in results(fitted, table).items():
        np.testing.assert_array_equal(values, before[name])


def test_empty_and_lazy_frames_are_refused():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    with pytest.raises(ValueError, match=r"0 feature\(s\)"):
        AutoencoderTransformer(1).fit(pd.DataFrame())
    with pytest.raises(TypeError, match=r"X\.collect\(\)"):
        AutoencoderTransformer(1).fit(pl.DataFrame({"a": [1.0, 2.0]}).lazy())

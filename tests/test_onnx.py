"""ONNX graphs give what the estimators give."""

import builtins
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer, __version__
from sklearn_ae.architectures import Custom, Dense
from sklearn_ae.latents import Latent, Sparse, Variational
from sklearn_ae.persistence import register_skl2onnx_converters, to_onnx
from sklearn_ae.persistence._onnx import (
    TYPES,
    make_graph,
    methods_of,
)
from tests.helpers import EXPORTS_WARN, QUICK

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),  # three epochs
    *EXPORTS_WARN,
]
TOLERANCE = 1e-5  # of the largest value


def run(model, X):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: X})


def check(estimator, methods, *tables, dtype="float32"):
    """One graph of several methods, which it is faster to export than one of each."""
    model = make_graph(estimator, methods, TYPES[dtype])
    for table in tables:
        X = np.asarray(table, dtype)
        if methods == ("inverse_transform",):
            X = estimator.transform(X)
        for method, found in zip(methods, run(model, X), strict=True):
            check_result(estimator, method, X, found, dtype)


def check_result(estimator, method, X, found, dtype):
    expected = getattr(estimator, method)(X)
    assert found.shape == expected.shape
    assert found.dtype == (np.int64 if method == "predict" else np.dtype(dtype))
    # steps: a row may stand so near to one that rounding decides
    if method in ("p_values", "predict"):
        assert (np.abs(found - expected) > 1e-6).mean() < 0.01
    if method == "p_values":
        np.testing.assert_allclose(
            found, expected, atol=1.01 / (len(estimator._calibration.values) + 1)
        )
    elif method == "predict":
        clear = np.abs(estimator.decision_function(X)) > TOLERANCE * np.abs(
            estimator.score_samples(X)
        )
        np.testing.assert_array_equal(found[clear], expected[clear])
    else:
        atol = TOLERANCE * np.nanmax(
            np.abs(estimator.score_samples(X) if method == "decision_function" else expected)
        )
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


KINDS = {
    "single": {"n_estimators": 1},
    "ensemble": {"n_estimators": 3},
    "novelty": {"novelty": True},
}
DATA = {"digits": load_digits, "breast cancer": load_breast_cancer, "wine": load_wine}
DEFAULTS = {
    "transformer": AutoencoderTransformer(3, **QUICK),
    "detector": AutoencoderOutlierDetector(random_state=0),
    "novelty": AutoencoderOutlierDetector(novelty=True, random_state=0),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "data"),
    [("transformer", "digits"), ("detector", "breast cancer"), ("novelty", "wine")],
)
def test_all_methods_on_real_data(kind, data):
    X = DATA[data]().data
    fitted = clone(DEFAULTS[kind]).fit(X)
    of_codes = ("inverse_transform",)
    check(fitted, tuple(method for method in methods_of(fitted) if method not in of_codes), X)
    check(fitted, of_codes, X)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["inverse_transform", "predict", "p_values"])
def test_a_method_by_itself(method):
    X = load_wine().data
    check(AutoencoderOutlierDetector(2, n_estimators=2, **QUICK).fit(X), (method,), X)


@pytest.mark.slow
def test_p_values_of_categories_that_novelty_has_met(rng):
    X = np.eye(5, dtype=np.float32)[rng.integers(0, 5, 300)]
    fitted = AutoencoderOutlierDetector(novelty=True, **QUICK).fit(X)
    (found,) = run(make_graph(fitted, ("p_values",), TYPES["float32"]), X)
    np.testing.assert_allclose(found, fitted.p_values(X), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scaling", [None, "robust"])
def test_every_scaling(scaling, table):
    model = AutoencoderTransformer(2, scaling=scaling, **QUICK).fit(table / 10)
    check(model, ("reconstruct",), table / 10)


@pytest.mark.slow
@pytest.mark.parametrize("n_features", [1, 6])
def test_a_code_of_one_number(n_features, table):
    X = table[:, :n_features]
    rows = np.r_[X, 1e3 * X[:5]]  # far out, the linear path alone counts
    check(AutoencoderTransformer(1, **QUICK).fit(X), ("reconstruct",), X, rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fitted_with_gaps", "kind"), [(True, "single"), (True, "ensemble"), (False, "novelty")]
)
def test_missing_values(fitted_with_gaps, kind, table):
    gaps = table.copy()
    gaps[::3, 2] = gaps[1::4, 5] = np.nan
    fitted = AutoencoderOutlierDetector(2, **KINDS[kind], **QUICK).fit(
        gaps if fitted_with_gaps else table
    )
    methods = ("transform", "reconstruct", "feature_contributions")
    check(fitted, methods, gaps, table)


@pytest.mark.slow
def test_float64_keeps_digits_that_float32_does_not(rng):
    X = 1.7e9 + rng.normal(size=(100, 3))
    check(AutoencoderTransformer(2, **QUICK).fit(X), ("transform",), X, dtype="float64")


@pytest.mark.slow
def test_any_number_of_rows_and_one_file(table, tmp_path):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    returned = to_onnx(model, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == returned.SerializeToString()
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert (session.get_inputs()[0].name, session.get_outputs()[0].name) == ("X", "transform")
    for n in (1, 2, 3, 100):
        (Z,) = session.run(None, {"X": table[:n].astype(np.float32)})
        np.testing.assert_allclose(Z, model.transform(table[:n]), atol=1e-4)
    n_weights = sum(p.numel() for p in model.net_.module_.encoder.parameters())
    assert (
        tmp_path / "model.onnx"
    ).stat().st_size < 4 * n_weights + 20_000  # the decoder is not in it


def test_an_export_leaves_the_estimator_as_it_was(table):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    before = model.transform(table)
    to_onnx(model)
    np.testing.assert_array_equal(model.transform(table), before)
    assert model.net_.module_.encoder.linear.weight.requires_grad
    clone(model).fit(table)


class Shifted(Latent):
    def code(self, h, sample):
        return 2 * h + 1


@pytest.mark.slow
def test_modules_of_ones_own(table):
    architecture = Custom(
        nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2)), nn.Linear(2, 6)
    )
    for params in (
        {"architecture": architecture, "latent": Shifted()},
        {"loss": nn.SmoothL1Loss(), "architecture": Dense((4,), activation=nn.PReLU)},
    ):
        model = AutoencoderTransformer(2, **params, **QUICK).fit(table)
        check(model, ("transform", "score_samples"), table)


class Branching(nn.Linear):
    def forward(self, x):
        return super().forward(x) if float(x.sum()) > 0 else super().forward(x) + 0


def test_what_torch_cannot_export_is_told(table):
    model = AutoencoderTransformer(
        2, architecture=Custom(Branching(6, 2), nn.Linear(2, 6)), **QUICK
    ).fit(table)
    with pytest.raises(
        ValueError,
        match="torch cannot export transform of this AutoencoderTransformer.*control flow",
    ):
        to_onnx(model)


@pytest.mark.parametrize(
    ("make", "kwargs", "error", "match"),
    [
        (
            lambda X: AutoencoderTransformer(2, **QUICK).fit(X),
            {"method": "predict"},
            ValueError,
            "must be one of transform, ",
        ),
        (
            lambda X: AutoencoderOutlierDetector(**QUICK).fit(X),
            {},
            ValueError,
            "method must be one of transform, .*, predict, ",
        ),
        (
            lambda X: AutoencoderTransformer(2, **QUICK).fit(X),
            {"dtype": "int8"},
            ValueError,
            "'float32' or 'float64'",
        ),
        (lambda X: AutoencoderTransformer(2), {}, NotFittedError, "not fitted"),
        (lambda X: make_pipeline(AutoencoderTransformer(2)), {}, TypeError, "skl2onnx"),
    ],
)
def test_what_cannot_be_exported_is_told(make, kwargs, error, match, table):
    with pytest.raises(error, match=match):
        to_onnx(make(table), **kwargs)


@pytest.mark.slow
def test_the_graph_says_what_made_it(table):
    model = to_onnx(AutoencoderOutlierDetector(**QUICK).fit(table), method="predict")
    assert (model.producer_name, model.producer_version) == ("sklearn-ae", __version__)
    assert model.doc_string == "AutoencoderOutlierDetector.predict, 6 columns"
    assert [output.name for output in model.graph.output] == ["predict"]


@pytest.mark.slow
def test_an_export_prints_nothing():
    """In a process of its own, where loggers are as a user has them."""
    program = """
        import logging
        from sklearn.datasets import load_wine
        from sklearn_ae import AutoencoderOutlierDetector
        from sklearn_ae.persistence import to_onnx

        X = load_wine().data
        to_onnx(AutoencoderOutlierDetector(random_state=0).fit(X), method="p_values")
        logging.getLogger("onnx_ir").warning("This is printed.")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "This is printed.\n")


def test_missing_packages_are_named(table, monkeypatch):
    model, real = AutoencoderTransformer(2, **QUICK).fit(table), builtins.__import__

    def without(name, *args, **kwargs):
        if name == "onnxscript":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"onnxscript: pip install sklearn-ae\[onnx\]"):
        to_onnx(model)


# skl2onnx


@pytest.fixture
def skl2onnx():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("skl2onnx")
    register_skl2onnx_converters()
    return module


@pytest.mark.slow
def test_a_pipeline(skl2onnx):
    X, _y = load_wine(return_X_y=True)
    X = X.astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), AutoencoderTransformer(3, **QUICK)).fit(X)
    (Z,) = run(skl2onnx.to_onnx(pipeline, X[:1]), X)
    np.testing.assert_allclose(Z, pipeline.transform(X), rtol=0, atol=TOLERANCE * np.abs(Z).max())


@pytest.mark.slow
def test_a_pipeline_with_a_detector(skl2onnx):
    X = load_wine().data.astype(np.float32)
    detector = make_pipeline(
        StandardScaler(), AutoencoderOutlierDetector(n_estimators=4, **QUICK)
    ).fit(X)
    labels, scores = run(skl2onnx.to_onnx(detector, X[:1]), X)
    atol = TOLERANCE * np.abs(detector.score_samples(X)).max()
    np.testing.assert_allclose(scores.ravel(), detector.decision_function(X), rtol=0, atol=atol)
    np.testing.assert_array_equal(labels, detector.predict(X))


@pytest.mark.slow
def test_pipelines_of_all_kinds(skl2onnx):
    X, y = load_wine(return_X_y=True)
    X = X.astype(np.float32)
    classifier = make_pipeline(
        StandardScaler(), AutoencoderTransformer(3, **QUICK), LogisticRegression()
    ).fit(X, y)
    np.testing.assert_array_equal(
        run(skl2onnx.to_onnx(classifier, X[:1]), X)[0], classifier.predict(X)
    )
    two = make_pipeline(AutoencoderTransformer(5, **QUICK), AutoencoderTransformer(3, **QUICK)).fit(
        X
    )
    np.testing.assert_allclose(run(skl2onnx.to_onnx(two, X[:1]), X)[0], two.transform(X), atol=1e-4)
    detector = make_pipeline(
        StandardScaler(), AutoencoderOutlierDetector(n_estimators=4, **QUICK)
    ).fit(X)
    options = {id(detector[-1]): {"method": "transform"}}
    np.testing.assert_allclose(
        run(skl2onnx.to_onnx(detector, X[:1], options=options), X)[0],
        detector.transform(X),
        atol=1e-4,
    )


@pytest.mark.slow
def test_the_latents_are_those_that_predict(table):
    for latent in (Variational(), Sparse(penalty="kl")):
        check(AutoencoderTransformer(2, latent=latent, **QUICK).fit(table), ("transform",), table)

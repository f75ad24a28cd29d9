"""Inside scikit-learn's tools: pipelines, searches, frames, routing, processes."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.corruptions import Masking
from sklearn_ae.latents import Sparse, Variational
from tests.helpers import QUICK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GRID = {
    "autoencodertransformer__n_components": [1, 2],
    "autoencodertransformer__latent": [None, Sparse(1e-3), Variational(0.5)],
}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    return X[order], y[order]


@pytest.fixture
def pipeline():
    return make_pipeline(StandardScaler(), AutoencoderTransformer(2, **QUICK), LogisticRegression())


def test_pipeline_with_memory(pipeline, iris, tmp_path):
    X, y = iris
    cached = clone(pipeline).set_params(memory=str(tmp_path))
    assert (
        cached.fit(X, y).score(X, y)
        == cached.fit(X, y).score(X, y)
        == pipeline.fit(X, y).score(X, y)
        > 0.8
    )


def test_column_transformer(iris):
    X = pd.DataFrame(iris[0], columns=list("abcd")).assign(kind=np.where(iris[1] == 0, "x", "y"))
    parts = ColumnTransformer(
        [
            (
                "codes",
                AutoencoderTransformer(2, **QUICK),
                make_column_selector(dtype_include=float),
            ),
            ("kinds", OneHotEncoder(), ["kind"]),
        ]
    ).set_output(transform="default")
    assert parts.fit_transform(X).shape == (150, 4)
    assert list(parts.get_feature_names_out())[:2] == [
        "codes__autoencodertransformer0",
        "codes__autoencodertransformer1",
    ]


def test_feature_union(iris):
    union = FeatureUnion(
        [
            ("a", AutoencoderTransformer(2, **QUICK)),
            ("b", AutoencoderOutlierDetector(1, n_estimators=3, **QUICK)),
        ]
    )
    assert union.fit_transform(iris[0]).shape == (150, 5)


@pytest.mark.parametrize(
    "search", [GridSearchCV, pytest.param(HalvingGridSearchCV, marks=pytest.mark.slow)]
)
def test_grids_over_parts(search, pipeline, iris):
    fitted = search(pipeline, GRID, cv=2).fit(*iris)
    assert set(fitted.best_params_) == set(GRID)
    assert fitted.best_score_ > 0.6


def test_random_search_over_a_parameter_of_a_part(iris):
    model = AutoencoderTransformer(2, latent=Variational(), corruption=Masking(), **QUICK)
    space = {"latent__beta": [0.1, 0.5, 1.0], "corruption__fraction": [0.0, 0.2]}
    search = RandomizedSearchCV(model, space, n_iter=3, cv=2, random_state=0).fit(iris[0])
    assert search.best_params_["latent__beta"] in space["latent__beta"]


def test_a_search_needs_no_labels(iris):
    search = GridSearchCV(AutoencoderTransformer(**QUICK), {"n_components": [1, 3]}, cv=2).fit(
        iris[0]
    )
    assert search.best_params_ == {"n_components": 3}
    assert cross_val_score(AutoencoderTransformer(2, **QUICK), iris[0], cv=2).shape == (2,)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(iris):
    model = AutoencoderTransformer(**QUICK)
    one, two = (
        GridSearchCV(model, {"n_components": [1, 2]}, cv=2, n_jobs=n).fit(iris[0]) for n in (1, 2)
    )
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(one.transform(iris[0]), two.transform(iris[0]))


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_fit_that_diverges_is_one_failed_candidate(iris):
    model = AutoencoderTransformer(
        2, optimizer="sgd", learning_rate_schedule="constant", max_epochs=30, random_state=0
    )
    search = GridSearchCV(model, {"learning_rate": [1e-3, 1e8]}, cv=2, error_score=np.nan)
    with pytest.warns(FitFailedWarning, match="diverged in epoch"):
        search.fit(iris[0])
    assert search.best_params_ == {"learning_rate": 1e-3}


def test_metadata_routing(pipeline, iris):
    X, y = iris
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline[0].set_fit_request(sample_weight=False)
        pipeline[1].set_fit_request(sample_weight=True)
        pipeline[-1].set_fit_request(sample_weight=True)
        assert pipeline.fit(X, y, sample_weight=np.ones(len(y))).score(X, y) > 0.8
        assert cross_val_score(AutoencoderTransformer(2, **QUICK), X, cv=2, params={}).shape == (2,)


def test_polars_from_end_to_end(iris):
    pl = pytest.importorskip("polars")
    X = pl.DataFrame(iris[0], schema=list("abcd"))
    model = make_pipeline(StandardScaler(), AutoencoderTransformer(2, **QUICK)).set_output(
        transform="polars"
    )
    assert model.fit_transform(X).columns == ["autoencodertransformer0", "autoencodertransformer1"]


def test_a_detector_ends_a_pipeline():
    X = load_digits().data[:300]
    model = Pipeline(
        [
            ("scale", StandardScaler()),
            ("detect", AutoencoderOutlierDetector(n_estimators=5, contamination=0.1, **QUICK)),
        ]
    )
    assert set(model.fit_predict(X)) == {1, -1}
    assert model.fit(X).score_samples(X).shape == (300,)

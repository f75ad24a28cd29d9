"""ReconstructionTransformer: reconstruct as a step of a pipeline."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ae import AutoencoderTransformer, ReconstructionTransformer
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.persistence import load, save
from tests.helpers import QUICK

# three epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture
def model():
    return AutoencoderTransformer(2, corruption=GaussianNoise(0.1), **QUICK)


def test_transform_is_reconstruct(iris, model):
    X, _ = iris
    step = ReconstructionTransformer(model).fit(X)
    assert not hasattr(model, "net_")  # a clone is fitted
    np.testing.assert_array_equal(step.transform(X), model.fit(X).reconstruct(X))


def test_an_estimator_that_is_fitted_already(iris, model):
    X, _ = iris
    model.fit(X)
    step = ReconstructionTransformer(FrozenEstimator(model)).fit(X[:5])
    np.testing.assert_array_equal(step.transform(X), model.reconstruct(X))


def test_in_a_search_before_a_classifier(iris, model):
    steps = make_pipeline(ReconstructionTransformer(model), KNeighborsClassifier())
    grid = {"reconstructiontransformer__estimator__n_components": [1, 2]}
    search = GridSearchCV(steps, grid, cv=2).fit(*iris)
    assert search.best_score_ > 0.8


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_names_are_kept(iris, model, output):
    pytest.importorskip(output)
    X = pd.DataFrame(iris[0], columns=list("abcd"), index=range(5, 155))
    step = ReconstructionTransformer(model).set_output(transform=output).fit(X)
    assert list(step.get_feature_names_out()) == list(step.transform(X).columns) == list("abcd")
    if output == "pandas":
        assert list(step.transform(X).index) == list(X.index)


def test_any_estimator_with_an_inverse(iris):
    X, _ = iris
    pca = PCA(2).fit(X)
    np.testing.assert_allclose(
        ReconstructionTransformer(PCA(2)).fit_transform(X),
        pca.inverse_transform(pca.transform(X)),
    )


def test_a_pipeline_is_undone_step_by_step(iris, model):
    X, _ = iris
    X = np.where(np.arange(4) == 1, 1000 * X, X)
    steps = make_pipeline(StandardScaler(), model)
    back = ReconstructionTransformer(steps).fit_transform(X)
    assert back.shape == X.shape
    assert (abs(back - X).mean(axis=0) < X.std(axis=0)).all()
    steps = make_pipeline(FunctionTransformer(np.log1p), model)
    with pytest.raises(TypeError, match="FunctionTransformer cannot be undone"):
        ReconstructionTransformer(steps).fit_transform(X)


def test_gaps_and_sparse_rows_as_the_estimator_takes_them(iris, model):
    X = np.where(np.random.default_rng(0).random((150, 4)) < 0.1, np.nan, iris[0])
    assert np.isfinite(ReconstructionTransformer(model).fit_transform(X)).all()
    sparse = csr_array(iris[0])
    assert ReconstructionTransformer(model).fit_transform(sparse).shape == (150, 4)


def test_what_cannot_reconstruct_is_told(iris):
    with pytest.raises(TypeError, match="KNeighborsClassifier cannot reconstruct"):
        ReconstructionTransformer(KNeighborsClassifier()).fit(*iris).transform(iris[0])
    with pytest.raises(ValueError, match="'estimator' parameter"):
        ReconstructionTransformer("denoise").fit(iris[0])


def test_a_file_reconstructs_alike(iris, model, tmp_path):
    X, _ = iris
    step = ReconstructionTransformer(model.set_params(corruption=None)).fit(X)
    save(step, tmp_path / "step")
    np.testing.assert_array_equal(load(tmp_path / "step").transform(X), step.transform(X))

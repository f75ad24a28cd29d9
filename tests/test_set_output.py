"""Answers with a column for each feature are frames where ``set_output`` asks for frames."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.datasets import load_iris

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.inspection import (
    FeatureContributionDisplay,
    LatentTraversalDisplay,
    OutlierScoreDisplay,
    ReconstructionDisplay,
)
from sklearn_ae.metrics import reconstruction_r2_scorer
from sklearn_ae.persistence import load, save
from tests.helpers import QUICK

# three epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FEATURES = ["reconstruct", "reconstruction_errors", "feature_contributions"]
ROWS = ["predict", "score_samples", "decision_function", "p_values"]
OUTPUTS = ["pandas", "polars"]


@pytest.fixture(scope="module")
def frame():
    return pd.DataFrame(load_iris().data, columns=list("abcd"), index=range(7, 157))


def detector(frame):
    return AutoencoderOutlierDetector(2, n_estimators=1, **QUICK).fit(frame)


def transformer(frame):
    return AutoencoderTransformer(2, **QUICK).fit(frame)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("method", FEATURES)
def test_features_keep_names_and_index(frame, method, output):
    pytest.importorskip(output)
    model = detector(frame)
    plain = getattr(model, method)(frame)
    assert type(plain) is np.ndarray
    named = getattr(model.set_output(transform=output), method)(frame)
    assert type(named).__module__.startswith(output)
    assert list(named.columns) == list("abcd")
    np.testing.assert_array_equal(named, plain)
    if output == "pandas":
        assert list(named.index) == list(frame.index)


@pytest.mark.parametrize("output", OUTPUTS)
def test_codes_are_decoded_to_the_names_of_the_features(frame, output):
    pytest.importorskip(output)
    model = transformer(frame)
    plain = model.inverse_transform(model.transform(frame))
    assert type(plain) is np.ndarray
    model.set_output(transform=output)
    named = model.inverse_transform(model.transform(frame))
    np.testing.assert_array_equal(named, plain)
    assert list(named.columns) == list(model.sample(3, random_state=0).columns) == list("abcd")
    if output == "pandas":
        assert list(named.index) == list(frame.index)


@pytest.mark.parametrize("method", ROWS)
def test_one_number_a_row_stays_an_array(frame, method):
    model = detector(frame).set_output(transform="pandas")
    assert type(getattr(model, method)(frame)) is np.ndarray


def test_features_without_names_are_numbered(frame):
    model = transformer(frame.to_numpy()).set_output(transform="pandas")
    assert list(model.reconstruct(frame.to_numpy()).columns) == ["x0", "x1", "x2", "x3"]


def test_the_global_setting_holds_too(frame):
    model = transformer(frame)
    with sklearn.config_context(transform_output="pandas"):
        assert list(model.reconstruct(frame).columns) == list("abcd")
    assert type(model.reconstruct(frame)) is np.ndarray


@pytest.mark.parametrize("output", OUTPUTS)
def test_displays_scorers_and_files_take_such_estimators(frame, output, tmp_path):
    pytest.importorskip(output)
    pyplot = pytest.importorskip("matplotlib.pyplot")
    model = detector(frame)
    expected = FeatureContributionDisplay.from_estimator(model, frame)
    r2 = reconstruction_r2_scorer(model, frame)
    model.set_output(transform=output)
    display = FeatureContributionDisplay.from_estimator(model, frame)
    np.testing.assert_array_equal(display.contributions, expected.contributions)
    np.testing.assert_array_equal(display.expected, expected.expected)
    assert reconstruction_r2_scorer(model, frame) == r2
    OutlierScoreDisplay.from_estimator(model, frame)
    ReconstructionDisplay.from_estimator(model, frame)
    LatentTraversalDisplay.from_estimator(transformer(frame).set_output(transform=output), frame)
    pyplot.close("all")
    save(model, tmp_path / "model")
    assert list(load(tmp_path / "model").reconstruct(frame).columns) == list("abcd")

"""sample_weight: zero is absence, two is a repeated row in expectation, none costs nothing."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._calibration import Scores
from sklearn_ae._data.scaling import fit_scaling
from sklearn_ae._data.sources import ArraySource
from tests.helpers import QUICK

ESTIMATORS = {
    "transformer": AutoencoderTransformer(2, **QUICK),
    "held out": AutoencoderTransformer(2, validation_fraction=0.2, **QUICK),
    "ensemble": AutoencoderOutlierDetector(n_estimators=4, **QUICK),
    "single": AutoencoderOutlierDetector(n_estimators=1, **QUICK),
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return clone(ESTIMATORS[request.param])


def weighted(X, weight):
    import torch

    source = ArraySource(X)
    source.weight = torch.from_numpy(np.asarray(weight, np.float32))
    return source


# None, equal, zero


@pytest.mark.parametrize("weight", [0.3, 7])
def test_equal_weights_are_none_to_the_last_bit(estimator, weight, table):
    plain = clone(estimator).fit(table)
    estimator.fit(table, sample_weight=np.full(120, weight))
    np.testing.assert_array_equal(estimator.score_samples(table), plain.score_samples(table))
    assert estimator.loss_curve_ == plain.loss_curve_


def test_a_weight_of_zero_is_absence_to_the_last_bit(estimator, table):
    weight = np.r_[np.ones(100), np.zeros(20)]
    absent = clone(estimator).fit(table[:100])
    estimator.fit(np.r_[table[:100], 1e3 * table[100:]], sample_weight=weight)
    np.testing.assert_array_equal(estimator.score_samples(table), absent.score_samples(table))


def test_of_unequal_weights_a_zero_is_absence_too(estimator, table, rng):
    weight = np.r_[rng.uniform(1, 3, 100), np.zeros(20)]
    absent = clone(estimator).fit(table[:100], sample_weight=weight[:100])
    estimator.fit(np.r_[table[:100], 1e3 * table[100:]], sample_weight=weight)
    np.testing.assert_array_equal(estimator.score_samples(table), absent.score_samples(table))


def test_only_ratios_count(estimator, table, rng):
    weight = rng.integers(1, 4, 120).astype(float)
    a = clone(estimator).fit(table, sample_weight=weight).score_samples(table)
    b = estimator.fit(table, sample_weight=weight * 8).score_samples(table)
    np.testing.assert_allclose(a, b, rtol=1e-5)


# Two is a repeated row


@pytest.mark.parametrize("kind", ["standard", "uniform"])
def test_moments_are_those_of_repeated_rows(kind, table):
    counts = np.arange(120) % 3 + 1
    a, b = (
        fit_scaling(kind, s, np.random.RandomState(0))
        for s in (weighted(table, counts), ArraySource(table.repeat(counts, 0)))
    )
    np.testing.assert_allclose(a.center, b.center, rtol=1e-6)
    np.testing.assert_allclose(a.scale, b.scale, rtol=1e-6)


@pytest.mark.parametrize("kind", ["robust", "bounded"])
def test_quantiles_are_about_those_of_repeated_rows(kind):
    table = np.random.default_rng(0).normal(size=(4_000, 3)) ** 3
    counts = np.where(table[:, 0] > 0, 5, 1)
    a, b = (
        fit_scaling(kind, s, np.random.RandomState(0))
        for s in (weighted(table, counts), ArraySource(table.repeat(counts, 0)))
    )
    np.testing.assert_allclose(a.center, b.center, atol=0.05)
    np.testing.assert_allclose(a.scale, b.scale, rtol=0.1)


def test_percentiles_and_p_values_are_those_of_repeated_rows(rng):
    values, counts = rng.normal(size=3_000), rng.integers(1, 4, 3_000)
    a, b = Scores(values, counts.astype(float)), Scores(values.repeat(counts))
    np.testing.assert_allclose(
        a.percentiles([5, 25, 50, 75]), b.percentiles([5, 25, 50, 75]), atol=0.03
    )
    asked = rng.normal(size=50)
    np.testing.assert_allclose(a.p_values(asked), b.p_values(asked), atol=1e-3)


def two_groups(n=600):
    """Two planes; few rows lie in the first."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(2, 1, 8))
    kind = np.r_[np.zeros(n // 10, int), np.ones(n - n // 10, int)]
    return rng.normal(size=(n, 1)) * W[kind, 0] + 0.1 * rng.normal(size=(n, 8)), kind


@pytest.mark.slow
def test_weighted_rows_are_reconstructed_as_repeated_ones():
    X, kind = two_groups()
    counts = np.where(kind == 0, 9, 1)
    errors = {"weighted": [], "repeated": [], "plain": []}
    for seed in range(4):
        model = AutoencoderTransformer(1, max_epochs=20, random_state=seed)
        fits = {
            "weighted": (X, counts),
            "repeated": (X.repeat(counts, 0), None),
            "plain": (X, None),
        }
        for name, (rows, weight) in fits.items():
            errors[name].append(-model.fit(rows, sample_weight=weight).score(X[kind == 0]))
    weighted, repeated, plain = (np.mean(errors[name]) for name in errors)
    assert abs(weighted - repeated) < 0.5 * abs(plain - repeated)


@pytest.mark.slow
def test_thresholds_and_p_values_are_those_of_repeated_rows():
    X, kind = two_groups(1_500)
    X[kind == 0] *= 4
    counts = np.where(kind == 0, 5, 1)
    shares = {"weighted": [], "repeated": [], "plain": []}
    for seed in range(4):
        model = AutoencoderOutlierDetector(n_estimators=16, contamination=0.1, random_state=seed)
        fits = {
            "weighted": (X, counts),
            "repeated": (X.repeat(counts, 0), None),
            "plain": (X, None),
        }
        for name, (rows, weight) in fits.items():
            model.fit(rows, sample_weight=weight)
            shares[name].append(
                [(model.predict(X[kind == 0]) == -1).mean(), model.p_values(X[kind == 0]).mean()]
            )
    weighted, repeated, plain = (np.mean(shares[name], axis=0) for name in shares)
    assert (abs(weighted - repeated) < 0.5 * abs(plain - repeated)).all()


def test_a_number_for_contamination_is_a_share_of_the_weight(rng):
    X = rng.normal(size=(1_000, 4))
    weight = rng.integers(1, 4, 1_000)
    detector = AutoencoderOutlierDetector(contamination=0.1, n_estimators=8, random_state=0).fit(
        X, sample_weight=weight
    )
    assert abs(np.average(detector.predict(X) == -1, weights=weight) - 0.1) < 0.01


def test_the_score_is_a_weighted_mean(table, rng):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    weight = rng.integers(0, 3, 120)
    np.testing.assert_allclose(
        model.score(table, sample_weight=weight), model.score(table.repeat(weight, 0)), rtol=1e-9
    )


# Weights that are none


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.r_[-1, np.ones(119)], "[Nn]egative"),
        (np.zeros(120), "zero"),
        (np.ones(119), "119"),
        (np.ones((120, 2)), "1D"),
        (np.r_[np.nan, np.ones(119)], "NaN"),
        (np.r_[np.inf, np.ones(119)], "inf"),
    ],
)
def test_invalid_weights_are_refused_and_nothing_changes(estimator, method, weight, message, table):
    estimator.fit(table)
    before = estimator.score_samples(table)
    with pytest.raises(ValueError, match=message):
        getattr(estimator, method)(table, sample_weight=weight)
    np.testing.assert_array_equal(estimator.score_samples(table), before)


def test_weights_that_float32_has_no_numbers_for(estimator, table):
    weight = np.r_[np.full(60, 1e-60), np.full(60, 3e-60)]
    alike = clone(estimator).fit(table, sample_weight=weight * 1e60).score_samples(table)
    np.testing.assert_allclose(
        estimator.fit(table, sample_weight=weight).score_samples(table), alike, rtol=1e-4
    )
    weight = weight * 1e110
    assert np.isfinite(estimator.fit(table, sample_weight=weight).score_samples(table)).all()


def test_one_row_with_nearly_all_the_weight(estimator, table):
    weight = np.r_[1e30, np.full(119, 1e-6)]
    assert np.isfinite(estimator.fit(table, sample_weight=weight).score_samples(table)).all()


# Through pipelines and searches


def test_a_pipeline_passes_weights_on(table):
    weight = np.r_[np.ones(60), np.zeros(60)]
    pipe = make_pipeline(StandardScaler(), AutoencoderTransformer(2, **QUICK))
    pipe.fit(table, autoencodertransformer__sample_weight=weight)
    alone = AutoencoderTransformer(2, **QUICK).fit(
        StandardScaler().fit_transform(table), sample_weight=weight
    )
    np.testing.assert_array_equal(pipe[-1].score_samples(table), alone.score_samples(table))


@pytest.mark.skipif(
    sklearn.__version__.startswith("1.6."),
    reason="1.6 does not ask the last step of a pipeline for its score's metadata",
)
def test_metadata_routing_passes_weights_through_a_search_and_a_pipeline(table):
    weight = np.r_[np.ones(60), np.full(60, 1e-9)]
    with sklearn.config_context(enable_metadata_routing=True):
        model = (
            AutoencoderTransformer(2, **QUICK)
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True)
        )
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        search = GridSearchCV(pipe, {"autoencodertransformer__n_components": [1, 2]}, cv=2).fit(
            table, sample_weight=weight
        )
        alone = clone(search.best_estimator_).fit(table, sample_weight=weight)
        plain = clone(search.best_estimator_).fit(table)
    best = search.best_estimator_
    np.testing.assert_array_equal(best.score_samples(table), alone.score_samples(table))
    assert not np.allclose(best.score_samples(table), plain.score_samples(table))

"""The detector's two regimes: an ensemble where rows may hold outliers, comparison with kept rows
where they are clean.
"""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from sklearn_ae import AutoencoderOutlierDetector
from sklearn_ae.architectures import Convolutional, Dense
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Contractive, Variational
from tests.helpers import QUICK, check_p_values

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def correlated(rng, n, d=6):
    """Rows near a plane."""
    mixing = np.random.default_rng(1).normal(size=(2, d))
    return rng.normal(size=(n, 2)) @ mixing + 0.1 * rng.normal(size=(n, d))


def with_gaps(rng, X, share=0.2):
    X = X.copy()
    X[rng.random(X.shape) < share] = np.nan
    return X


@pytest.fixture(scope="module")
def novelty():
    X = correlated(np.random.default_rng(0), 400)
    return AutoencoderOutlierDetector(novelty=True, random_state=0).fit(X), X


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, marks=pytest.mark.slow, id="outliers"),
        pytest.param(True, id="novelty"),
    ],
)
def regime(request):
    return request.param


def test_novelty_finds_joint_outliers(novelty, rng):
    detector, X = novelty
    inliers = correlated(rng, 300)
    outliers = correlated(rng, 100)[:, rng.permutation(6)]  # the same values, off the plane
    test, y = np.r_[inliers, outliers], np.r_[np.ones(300), -np.ones(100)]
    ours = roc_auc_score(y, detector.score_samples(test))
    assert ours > 0.85
    assert ours > roc_auc_score(y, IsolationForest(random_state=0).fit(X).score_samples(test))


def test_a_typical_new_row_has_outlyingness_one(regime, rng):
    detector = AutoencoderOutlierDetector(novelty=regime, random_state=0).fit(
        correlated(rng, 1_000)
    )
    np.testing.assert_allclose(
        np.median(-detector.score_samples(correlated(rng, 1_000))), 1, rtol=0.15
    )


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_contributions_sum_to_the_outlyingness(regime, gaps, rng):
    X, new = correlated(rng, 200), np.r_[correlated(rng, 200), 50 * rng.normal(size=(20, 6))]
    if gaps:
        X, new = with_gaps(rng, X), with_gaps(rng, new)
    detector = AutoencoderOutlierDetector(novelty=regime, **QUICK).fit(X)
    for rows in (X, new, X[:1] + 1e6):
        contributions = detector.feature_contributions(rows)
        assert (contributions >= 0).all()
        np.testing.assert_allclose(contributions.sum(1), -detector.score_samples(rows), rtol=1e-4)
        assert (contributions[np.isnan(rows)] == 0).all()


@pytest.mark.parametrize("n", [1, 3, 200, 1_025])
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_a_row_gives_the_same_score_in_any_batch(n, gaps, regime, rng):
    X, rows = correlated(rng, 300, 11), correlated(rng, n, 11)
    if gaps:
        X, rows = with_gaps(rng, X), with_gaps(rng, rows)
    detector = AutoencoderOutlierDetector(novelty=regime, **QUICK).fit(X)
    order = rng.permutation(n)
    for method in (detector.score_samples, detector.feature_contributions, detector.transform):
        whole = method(rows)
        np.testing.assert_array_equal(method(rows[order]), whole[order])
        if not gaps:  # a row by itself may have none, and then takes the shorter way
            np.testing.assert_array_equal(method(rows[n // 2 : n // 2 + 1])[0], whole[n // 2])


def test_rows_held_out_change_no_score(regime, rng):
    """They calibrate, and nothing else: not scaling, kept rows or training."""
    X, new = correlated(rng, 300), correlated(rng, 50)
    detector = AutoencoderOutlierDetector(novelty=regime, max_epochs=5, random_state=0)
    scores = detector.fit(X).score_samples(new)
    n_held_out = len(detector._calibration.values)
    held_out = np.random.RandomState(0).permutation(300)[:n_held_out]
    changed = X.copy()
    changed[held_out] = 3 * rng.normal(size=(n_held_out, 6))
    np.testing.assert_array_equal(detector.fit(changed).score_samples(new), scores)
    changed[np.setdiff1d(np.arange(300), held_out)[0]] += 1
    assert (detector.fit(changed).score_samples(new) != scores).any()


def test_p_values_of_new_rows_are_exact(regime):
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        detector = AutoencoderOutlierDetector(novelty=regime, max_epochs=1, random_state=seed).fit(
            correlated(rng, 100)
        )
        found.append(detector.p_values(correlated(rng, 1_000)))
    check_p_values(np.array(found), 20)


def test_same_random_state_same_numbers_and_pickles_give_them(regime, rng):
    X, new = correlated(rng, 150), correlated(rng, 40)
    first, second, other = (
        AutoencoderOutlierDetector(novelty=regime, random_state=seed, max_epochs=5).fit(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.score_samples(new), second.score_samples(new))
    assert (first.score_samples(new) != other.score_samples(new)).any()
    loaded = pickle.loads(pickle.dumps(first))
    for method in ("score_samples", "feature_contributions", "transform", "predict", "p_values"):
        np.testing.assert_array_equal(getattr(loaded, method)(new), getattr(first, method)(new))


@pytest.mark.parametrize("kind", ["categories", "copies"])
@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_rows_that_repeat_are_judged_alike_whatever_their_type(contamination, kind, regime, rng):
    """Their errors are mostly rounding."""
    X = np.eye(5)[rng.integers(0, 5, 300)]
    if kind == "copies":
        X = np.repeat(rng.normal(size=(20, 6)), 15, axis=0)
    detector = AutoencoderOutlierDetector(novelty=regime, contamination=contamination, **QUICK).fit(
        X
    )
    new = np.r_[X, rng.permuted(X, axis=0)]
    for method in (detector.predict, detector.p_values):
        np.testing.assert_array_equal(method(new), method(new.astype(np.float32)))


def test_sparse_rows_are_the_same_rows(regime, rng):
    X = np.where(rng.random((200, 8)) < 0.3, rng.normal(size=(200, 8)), 0)
    dense, sparse = (
        AutoencoderOutlierDetector(novelty=regime, **QUICK).fit(rows) for rows in (X, csr_array(X))
    )
    np.testing.assert_allclose(
        sparse.score_samples(csr_array(X)), dense.score_samples(X), rtol=1e-4
    )


def test_heavier_rows_score_higher(regime, rng):
    group = rng.normal(size=(40, 4)) + 8
    X = np.r_[rng.normal(size=(400, 4)), group]
    detector = AutoencoderOutlierDetector(novelty=regime, random_state=0, max_epochs=20)
    usual = detector.fit(X, sample_weight=np.r_[np.ones(400), np.full(40, 10.0)]).score_samples(
        group
    )
    unusual = detector.fit(X, sample_weight=np.r_[np.ones(400), np.full(40, 1e-3)]).score_samples(
        group
    )
    assert np.median(usual) > np.median(unusual) + 0.3


def test_a_weight_of_zero_leaves_a_row_out(regime, rng):
    X, new = correlated(rng, 120), correlated(rng, 20)
    detector = AutoencoderOutlierDetector(novelty=regime, **QUICK)
    weight = np.r_[np.ones(100), np.zeros(20)]
    scores = detector.fit(X, sample_weight=weight).score_samples(new)
    X[100:] *= 1_000
    np.testing.assert_array_equal(detector.fit(X, sample_weight=weight).score_samples(new), scores)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_few_rows(n, regime, rng):
    X = correlated(rng, n)
    detector = AutoencoderOutlierDetector(novelty=regime, **QUICK).fit(X)
    assert np.isfinite(detector.score_samples(np.r_[X, X + 1e3])).all()
    assert detector.transform(X).shape == (n, detector._n_features_out)
    assert detector.sample(2).shape == (2, 6)


@pytest.mark.parametrize(
    "X",
    [
        np.ones((60, 3)),
        np.repeat([[0.0, 1.0], [2.0, 5.0]], 50, axis=0),
        np.random.default_rng(0).normal(size=(60, 1)),
    ],
    ids=["constant", "duplicates", "one feature"],
)
def test_degenerate_data(X, regime):
    detector = AutoencoderOutlierDetector(novelty=regime, **QUICK).fit(X)
    scores = detector.score_samples(np.r_[X, X[:1] + 1e3])
    assert np.isfinite(scores).all()
    assert scores[-1] < scores[:-1].min()


@pytest.mark.parametrize(
    "parts",
    [
        {"architecture": Dense((8,))},
        {"architecture": Convolutional((1, 6), channels=(2,))},
        {"latent": Variational()},
        {"latent": Contractive()},
        {"corruption": GaussianNoise()},
        {"loss": "huber"},
        {"loss": "binary_cross_entropy"},
        {"early_stopping": True},
        {"n_components": 2},
        {"warm_start": True},
        {"scaling": None},
    ],
    ids=str,
)
def test_novelty_takes_every_part(parts, rng):
    X = 1 / (1 + np.exp(-correlated(rng, 150)))
    detector = AutoencoderOutlierDetector(novelty=True, **parts, **QUICK).fit(X)
    if detector.warm_start:
        detector.fit(X)
    scores = detector.score_samples(np.r_[X, X[:1] + 100] if "loss" not in parts else X)
    assert np.isfinite(scores).all()
    Z = detector.transform(X)
    assert Z.shape == (150, parts.get("n_components", 6))
    np.testing.assert_allclose(
        detector.inverse_transform(Z), detector.reconstruct(X), rtol=1e-4, atol=1e-5
    )
    assert detector.reconstruction_errors(X).shape == X.shape


# What rows are compared with


@pytest.mark.slow
def test_the_memory_is_bounded(rng):
    detector = AutoencoderOutlierDetector(novelty=True, max_epochs=1, random_state=0).fit(
        rng.normal(size=(12_000, 2))
    )
    assert len(pickle.dumps(detector)) < 2**20


def test_drawn_rows_are_in_the_range_of_the_loss(regime, rng):
    X = rng.integers(2, size=(60, 4)).astype(float)
    detector = AutoencoderOutlierDetector(novelty=regime, loss="binary_cross_entropy", **QUICK)
    drawn = detector.fit(X).sample(500)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert np.isfinite(detector.score_samples(drawn)).all()

"""The detector's two regimes: hands of rows and margins among outliers, a memory and a masked network on clean rows."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from sklearn_ae import AutoencoderOutlierDetector
from sklearn_ae._data.scaling import Scaling
from sklearn_ae._data.sources import ArraySource, Scaled
from sklearn_ae._network.blueprint import Blueprint
from sklearn_ae._network.blueprint.rows import likely_inliers
from sklearn_ae._network.dependences import Dependences
from sklearn_ae._network.margins import Margins
from sklearn_ae._network.nearest import Hands, Memory
from sklearn_ae import _defaults as rules
from sklearn_ae.architectures import Convolutional, Dense
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Contractive, Variational
from tests.helpers import QUICK

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


@pytest.fixture(scope="module", params=[False, True], ids=["outliers", "novelty"])
def regime(request):
    return request.param


def test_trained_on_clean_rows_it_finds_what_is_only_jointly_unusual(novelty, rng):
    detector, X = novelty
    inliers = correlated(rng, 300)
    outliers = correlated(rng, 100)[:, rng.permutation(6)]  # the same values, off the plane
    test, y = np.r_[inliers, outliers], np.r_[np.ones(300), -np.ones(100)]
    ours = roc_auc_score(y, detector.score_samples(test))
    others = [AutoencoderOutlierDetector(random_state=0), IsolationForest(random_state=0)]
    assert ours > 0.95
    assert ours > 0.1 + max(roc_auc_score(y, other.fit(X).score_samples(test)) for other in others)


def test_a_typical_new_row_has_outlyingness_one(regime, rng):
    detector = AutoencoderOutlierDetector(novelty=regime, random_state=0).fit(correlated(rng, 1_000))
    np.testing.assert_allclose(np.median(-detector.score_samples(correlated(rng, 1_000))), 1, rtol=0.15)


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_contributions_sum_to_the_outlyingness(regime, gaps, rng):
    X, new = correlated(rng, 200), np.r_[correlated(rng, 200), 50 * rng.normal(size=(20, 6))]
    if gaps:
        X, new = with_gaps(rng, X), with_gaps(rng, new)
    detector = AutoencoderOutlierDetector(novelty=regime, random_state=0).fit(X)
    for rows in (X, new, X[:1] + 1e6):
        contributions = detector.feature_contributions(rows)
        assert (contributions >= 0).all()
        np.testing.assert_allclose(contributions.sum(1), -detector.score_samples(rows), rtol=1e-4)
        assert (contributions[np.isnan(rows)] == 0).all()


@pytest.mark.parametrize("n", [1, 3, 200, 1_025])
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_a_rows_score_does_not_depend_on_the_rows_beside_it(n, gaps, regime, rng):
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
    """They calibrate, and nothing else: not scaling, margins, hands, memory or training."""
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


def test_p_values_do_not_lie(regime):
    thresholds, n, n_fits, n_test = np.array([0.05, 0.1, 0.3]), 200, 40, 1_000
    rates = []
    for seed in range(n_fits):
        rng = np.random.default_rng(seed)
        detector = AutoencoderOutlierDetector(novelty=regime, max_epochs=2, random_state=seed).fit(correlated(rng, n))
        p = detector.p_values(correlated(rng, n_test))
        rates.append([(p <= t).mean() for t in thresholds])
    mean = np.mean(rates, axis=0)
    error = np.sqrt(thresholds * (1 - thresholds) * (1 / (0.2 * n) + 1 / n_test) / n_fits)
    assert (mean <= thresholds + 3 * error).all()
    assert mean[2] > 0.2


def test_same_random_state_same_numbers_and_pickles_give_them(regime, rng):
    X, new = correlated(rng, 150), correlated(rng, 40)
    first, second, other = (
        AutoencoderOutlierDetector(novelty=regime, random_state=seed, max_epochs=5).fit(X) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.score_samples(new), second.score_samples(new))
    assert (first.score_samples(new) != other.score_samples(new)).any()
    loaded = pickle.loads(pickle.dumps(first))
    for method in ("score_samples", "feature_contributions", "transform", "predict", "p_values"):
        np.testing.assert_array_equal(getattr(loaded, method)(new), getattr(first, method)(new))
    blueprint = first._blueprint
    assert Blueprint.from_json(blueprint.to_json()) == blueprint
    module = blueprint.build()
    module.load_state_dict(first.net_.module_.state_dict())
    x = torch.from_numpy(new).float()
    assert torch.equal(module.eval().losses(x), first.net_.module_.losses(x))


def test_sparse_rows_are_the_same_rows(regime, rng):
    X = np.where(rng.random((200, 8)) < 0.3, rng.normal(size=(200, 8)), 0)
    dense, sparse = (AutoencoderOutlierDetector(novelty=regime, **QUICK).fit(rows) for rows in (X, csr_array(X)))
    np.testing.assert_allclose(sparse.score_samples(csr_array(X)), dense.score_samples(X), rtol=1e-4)


def test_weights_say_what_is_usual(regime, rng):
    group = rng.normal(size=(40, 4)) + 8
    X = np.r_[rng.normal(size=(400, 4)), group]
    detector = AutoencoderOutlierDetector(novelty=regime, random_state=0, max_epochs=20)
    usual = detector.fit(X, sample_weight=np.r_[np.ones(400), np.full(40, 10.0)]).score_samples(group)
    unusual = detector.fit(X, sample_weight=np.r_[np.ones(400), np.full(40, 1e-3)]).score_samples(group)
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
    [np.ones((60, 3)), np.repeat([[0.0, 1.0], [2.0, 5.0]], 50, axis=0), np.random.default_rng(0).normal(size=(60, 1))],
    ids=["constant", "duplicates", "one feature"],
)
def test_edges(X, regime):
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
    np.testing.assert_allclose(detector.inverse_transform(Z), detector.reconstruct(X), rtol=1e-4, atol=1e-5)
    assert detector.reconstruction_errors(X).shape == X.shape


# What rows are compared with


def test_hands_by_hand(rng):
    rows, x = torch.from_numpy(rng.normal(size=(20, 5))).float(), torch.from_numpy(rng.normal(size=(7, 5))).float()
    positions = torch.from_numpy(np.array([rng.permutation(20)[:4] for _ in range(3)]))
    hands = Hands(5, 3)
    hands.deal(rows, positions)
    distances = torch.cdist(x, rows)
    expected = torch.stack([distances[:, one].amin(1) for one in positions]).mean(0)
    np.testing.assert_allclose(hands(x), expected, rtol=1e-4)
    np.testing.assert_allclose(hands.contributions(x).sum(1), expected, rtol=1e-4)
    mask = torch.ones(7, 5, dtype=torch.bool)
    mask[:, 0] = False
    seen = torch.cdist(x[:, 1:], rows[:, 1:]) * (5 / 4) ** 0.5
    expected = torch.stack([seen[:, one].amin(1) for one in positions]).mean(0)
    np.testing.assert_allclose(hands(torch.where(mask, x, 0), mask), expected, rtol=1e-4)


def test_memory_by_hand(rng):
    rows, x = torch.from_numpy(rng.normal(size=(40, 5))).float(), torch.from_numpy(rng.normal(size=(7, 5))).float()
    other = torch.from_numpy(rng.uniform(1, 2, size=40)).float()
    memory = Memory(5, n_models=2)
    left_out = memory.fill(rows, other)

    def residuals(row, others):
        order = (row - others).square().sum(1).argsort()
        return (row - others[order[:3]].mean(0)).abs(), order[:10]

    own = torch.stack([residuals(rows[i], torch.cat([rows[:i], rows[i + 1 :]]))[0].sum() for i in range(40)])
    for found, expected in zip(memory.usual.T, (own, other), strict=True):
        np.testing.assert_allclose(found - found.min(), expected - expected.min(), atol=1e-4)
    found, usual = memory(x)
    for i, row in enumerate(x):
        by_hand, around = residuals(row, rows)
        np.testing.assert_allclose(found[i], by_hand, rtol=1e-4)
        np.testing.assert_allclose(usual[i], memory.usual[around].mean(0), rtol=1e-4)
    others = torch.cat([torch.arange(3), torch.arange(4, 40)])
    by_hand, around = residuals(rows[3], rows[others])
    expected = torch.stack([by_hand.sum(), other[3]]) / memory.usual[others[around]].mean(0).sqrt()
    np.testing.assert_allclose(left_out[3], expected, rtol=1e-4)


def test_dependences_by_hand(rng):
    """Residuals of each column's linear regression on the others, and nothing for a column that stands alone."""
    Z = rng.normal(size=(2_000, 2))
    X = np.c_[Z, Z.sum(1) + 0.1 * rng.normal(size=2_000), rng.normal(size=2_000)].astype(np.float32)
    dependences = Dependences(4)
    dependences.learn(torch.from_numpy(X))
    new = rng.normal(size=(50, 4)).astype(np.float32)
    found = dependences(torch.from_numpy(new)).numpy()
    for j in range(3):
        others = np.delete(np.arange(4), j)
        regression = Ridge(2).fit(X[:, others], X[:, j])
        left = X[:, j] - regression.predict(X[:, others])
        expected = np.abs(new[:, j] - regression.predict(new[:, others])) / (1.1 * left.std())
        expected = np.minimum(expected, 20) * -np.log(1 - regression.score(X[:, others], X[:, j]))
        np.testing.assert_allclose(found[:, j], expected, rtol=0.1, atol=0.2)
    assert found[:, :3].mean() > 20
    assert found[:, 3].max() < 0.1


def test_dependences_judge_what_was_observed_by_what_was_observed(rng):
    """A gap is filled by what the others say of it, so that it makes no value an outlier."""
    X = torch.from_numpy(correlated(rng, 1_000)).float()
    dependences = Dependences(6)
    dependences.learn(X)
    mask = torch.from_numpy(rng.random((1_000, 6)) >= 0.3)
    mask[:, 0] = True
    found = dependences(torch.where(mask, X, 0), mask)
    assert (found[~mask] == 0).all()
    assert float(found.sum(1).median()) <= float(dependences(X).sum(1).median())
    row, seen = X[:1].clone(), torch.tensor([[True, True, True, True, False, True]])
    far = row + torch.tensor([[0.0, 2.0, 0, 0, 0, 0]])
    assert dependences(far, seen).sum() > 3 * dependences(row, seen).sum()


@pytest.mark.parametrize(("n", "d"), [(5, 5), (3, 10), (1_000, 300)])
def test_few_rows_and_many_columns_tell_of_no_dependences(n, d, rng):
    dependences = Dependences(d)
    dependences.learn(torch.from_numpy(rng.normal(size=(n, d))).float())
    assert (dependences(torch.randn(4, d)) == 0).all()


@pytest.mark.parametrize("n", [1, 2, 7, 100, 5_000])
def test_margins_are_tail_probabilities(n, rng):
    """Exactly for values that many rows share, and to an eighth in the logarithm of the probability otherwise."""
    X, new = rng.normal(size=(n, 3)), 2 * rng.normal(size=(200, 3))
    for Y in (X, new):
        Y[:, 0] = Y[:, 0] > 1
        Y[:, 1] = Y[:, 1].round()
    X, new = X.astype(np.float32), new.astype(np.float32)
    margins = Margins(3)
    margins.learn(torch.from_numpy(X))
    at_most, at_least = (new[:, None] >= X).sum(1), (new[:, None] <= X).sum(1)
    expected = -np.log(np.minimum(1, 2 * (np.minimum(at_most, at_least) + 1) / (n + 1)))
    found = margins(torch.from_numpy(new)).numpy()
    assert (found >= 0).all()
    np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=1e-5)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=0.15)


@pytest.mark.parametrize("size", [1, 1_000])
def test_rounding_does_not_move_a_value_across_a_margins_step(size, rng):
    rows = torch.from_numpy(size * rng.normal(size=(100, 3))).float()
    margins = Margins(3)
    margins.learn(rows)
    for factor in (1 - 1e-6, 1 + 1e-6):
        assert torch.equal(margins(factor * rows), margins(rows))
    assert (margins(rows.amax(0, keepdim=True) + 1e-3 * size) > margins(rows.amax(0, keepdim=True))).all()


@pytest.mark.parametrize("gaps", [False, True])
def test_rounding_does_not_say_how_near_a_row_is_to_itself(gaps, rng):
    """Squared distances are differences of larger numbers, and their roots magnify what is lost."""
    rows = torch.from_numpy(rng.normal(size=(40, 30))).float()
    hands = Hands(30, 2)
    hands.deal(rows, torch.arange(40).view(2, 20))
    mask = torch.from_numpy(rng.random(rows.shape) > 0.3) if gaps else None
    x = rows if mask is None else torch.where(mask, rows, 0)
    exact, exact_x = copy.deepcopy(hands).double(), x.double()
    np.testing.assert_allclose(hands(x, mask), exact(exact_x, mask), rtol=3e-5)
    found, expected = hands.contributions(x, mask), exact.contributions(exact_x, mask)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5 * float(expected.max()))
    np.testing.assert_allclose(found.sum(1), hands(x, mask), rtol=1e-4)


def test_far_rows_are_not_learnt(rng):
    X = np.r_[rng.normal(size=(900, 5)), 10 + rng.normal(size=(50, 5)), 100 * rng.normal(size=(50, 5))]
    rows = Scaled(ArraySource(X), Scaling(), torch.device("cpu"))
    kept = likely_inliers(rows, 10_000, np.random.RandomState(0))
    assert kept.n_rows == 800
    assert float(kept.take(slice(None)).x.abs().max()) < 6
    few = likely_inliers(rows, 200, np.random.RandomState(0))
    assert few.n_rows == 160


def test_the_memory_is_bounded(rng):
    detector = AutoencoderOutlierDetector(novelty=True, max_epochs=1, random_state=0).fit(rng.normal(size=(12_000, 2)))
    assert detector.net_.module_.memory.rows.shape == (8_192, 2)
    for d in (1, 100, 784, 100_000):
        assert rules.memory_rows(d) * d * 4 <= max(2**24, 4 * d)

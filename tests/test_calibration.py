"""Thresholds, p-values and labels: what holds for new rows, also after warm starts."""

import itertools

import numpy as np
import pytest
import sklearn
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.metrics import get_scorer
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._calibration import Scores
from sklearn_ae.architectures import Custom, Dense
from tests.helpers import QUICK, Encoder

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def correlated(rng, n):
    return rng.normal(size=(n, 2)) @ np.random.default_rng(1).normal(
        size=(2, 6)
    ) + 0.3 * rng.normal(size=(n, 6))


def clustered(rng, n):
    return 2 * np.random.default_rng(2).normal(size=(8, 6))[rng.integers(8, size=n)] + rng.normal(
        size=(n, 6)
    )


DISTRIBUTIONS = {
    "correlated": correlated,
    "uniform": lambda rng, n: rng.uniform(size=(n, 6)),
    "exponential": lambda rng, n: rng.exponential(size=(n, 6)),
    "student": lambda rng, n: rng.standard_t(3, size=(n, 6)),
    "clustered": clustered,
}
TABLES = [load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine]


# Thresholds


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(
    ("parameters", "share"),
    [
        ({"n_estimators": 16}, 0.02),
        ({"n_estimators": 1, "max_epochs": 5}, 0.06),  # squared errors: many lie beyond the fence
        ({"novelty": True, "max_epochs": 5}, 0.03),
    ],
    ids=["ensemble", "one", "novelty"],
)
def test_the_automatic_threshold_holds_for_new_rows(name, parameters, share):
    """The share of alarms has a beta distribution: the threshold is a quantile of 80 scores."""
    draw = DISTRIBUTIONS[name]
    shares = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        detector = AutoencoderOutlierDetector(random_state=seed, **parameters).fit(draw(rng, 400))
        shares.append((detector.predict(draw(rng, 2_000)) == -1).mean())
    deviation = np.sqrt(share * (1 - share) * (1 / 82 + 1 / 2_000) / len(shares))
    assert 0 < np.mean(shares) <= share + 3 * deviation, shares


@pytest.mark.slow
@pytest.mark.parametrize("novelty", [False, True], ids=["outliers", "novelty"])
def test_the_automatic_threshold_on_real_tables(novelty):
    """One to four alarms in a hundred new rows, in the mean over tables, of which the smallest have
    15 rows held out.
    """
    shares = []
    for table, seed in itertools.product(TABLES, range(3)):
        X = np.random.default_rng(seed).permutation(table().data)
        detector = AutoencoderOutlierDetector(novelty=novelty, random_state=seed).fit(X[::2])
        shares.append((detector.predict(X[1::2]) == -1).mean())
    assert 0.01 <= np.mean(shares) <= 0.04, shares


def test_automatic_labels_of_novelties_agree_with_p_values(rng):
    # 40 are held out
    detector = AutoencoderOutlierDetector(novelty=True, **QUICK).fit(correlated(rng, 200))
    rows = np.r_[correlated(rng, 500), 2 * correlated(rng, 100)]
    alarms, p_values = detector.predict(rows) == -1, detector.p_values(rows)
    assert alarms[p_values <= 0.03].all()
    assert not alarms[p_values > 0.03 + 1 / 41].any()  # between two of the rows held out
    # 32 are held out
    few = AutoencoderOutlierDetector(novelty=True, **QUICK).fit(correlated(rng, 160))
    assert (
        few.p_values(rows)[few.predict(rows) == -1] == 1 / 33
    ).all()  # an alarm is farther out than all of them


def test_outliers_among_training_rows_do_not_hide_others(rng):
    X = np.r_[correlated(rng, 900), 3 * rng.normal(size=(100, 6))]
    labels = AutoencoderOutlierDetector(random_state=0).fit_predict(X)
    assert (labels[900:] == -1).mean() > 0.8
    assert (labels[:900] == -1).mean() < 0.05


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12])
def test_the_automatic_threshold_of_very_few_rows(n, rng):
    detector = AutoencoderOutlierDetector(n_estimators=2, **QUICK).fit(correlated(rng, n))
    assert np.isfinite(detector.offset_)


def test_the_threshold_by_hand():
    offset = Scores(-np.arange(1.0, 102.0)).offset(0.03)  # p-values of 1 / 102 and more
    assert offset == pytest.approx(-98.94)  # at 0.03 * 102 of them from the end
    few = -np.arange(1.0, 10.0)
    assert Scores(few).offset(0.03) == -(7 + 2.2 * 4)  # the whisker
    # but none of the rows held out is an outlier
    assert Scores(np.r_[few[:-1], -100.0]).offset(0.03) == -100


def test_a_threshold_parts_the_scores_as_before_however_it_is_lowered():
    scores = Scores(np.array([-3.0, -2.0001, -2.0, -1.0]))
    assert scores.lowered(-3.0) == -3.003
    assert scores.lowered(-2.0) == pytest.approx(-2.00005)


def test_a_row_held_out_reaches_its_own_score_whatever_rounding_does():
    scores = Scores(np.array([-3.0, -2.0, -1.0]))
    for factor in (1 - 5e-4, 1, 1 + 5e-4):
        np.testing.assert_array_equal(scores.p_values(factor * scores.values), [0.5, 0.75, 1.0])
    np.testing.assert_array_equal(scores.p_values(np.array([-3.01, -2.99])), [0.25, 0.5])


def test_a_number_is_the_share_of_training_rows(rng):
    X = correlated(rng, 200)
    detector = AutoencoderOutlierDetector(n_estimators=2, contamination=0.1, **QUICK).fit(X)
    scores = detector.score_samples(X)
    percentile = np.percentile(scores, 10)
    assert 1.001 * percentile <= detector.offset_ < percentile
    assert (detector.predict(X) == -1).sum() == (scores < percentile).sum() == 20


def test_a_single_autoencoder_does_not_learn_its_rows_by_heart(rng):
    """Without early stopping half of the new rows are called outliers."""
    detector = AutoencoderOutlierDetector(n_estimators=1, contamination=0.1, random_state=0).fit(
        rng.uniform(size=(200, 6))
    )
    assert (detector.predict(rng.uniform(size=(2_000, 6))) == -1).mean() < 0.35


@pytest.mark.parametrize(
    ("n_estimators", "early_stopping", "stops"),
    [(1, "auto", 1), (3, "auto", 0), (1, False, 0), (3, True, 1)],
)
def test_a_single_autoencoder_stops_early_by_itself(n_estimators, early_stopping, stops, rng):
    detector = AutoencoderOutlierDetector(
        n_estimators=n_estimators, early_stopping=early_stopping, **QUICK
    ).fit(correlated(rng, 60))
    assert (detector.validation_loss_curve_ is not None) == stops


# Labels


FEW = np.arange(60) % 10 == 0
REVERSING = {
    "numbers": FEW.astype(int),
    "floats": FEW.astype(float),
    "booleans": FEW,
    "words": np.where(FEW, "outlier", "inlier"),
    "objects": np.where(FEW, "fraud", "fine").astype(object),
    "a list": np.where(FEW, "fraud", "fine").tolist(),
}
OTHERS = {
    "none": None,
    "the convention": np.where(FEW, -1, 1),
    "the convention, many outliers": np.where(FEW, 1, -1),
    "a greater word for inliers": np.where(FEW, "bad", "good"),
    "as many of both": np.arange(60) % 2,
    "three": np.arange(60) % 3,
    "one": np.zeros(60),
    "a target": np.linspace(0, 1, 60),
    "without an order": np.array([None if few else 0 for few in FEW]),
    "NaN for some": np.array([np.nan if few else 0.0 for few in FEW], dtype=object),
    "lists": [[few] if few else [few, few] for few in FEW.tolist()],
    "a tensor with a gradient": torch.from_numpy(FEW).float().requires_grad_(),
}


@pytest.mark.parametrize(
    ("method", "named"), [*(("fit", named) for named in REVERSING), ("partial_fit", "words")]
)
def test_labels_that_reverse_a_search_warn_where_scorers_ask(named, method, rng):
    X = correlated(rng, 60)
    detector = getattr(AutoencoderOutlierDetector(n_estimators=2, **QUICK), method)(
        X, REVERSING[named]
    )
    score = get_scorer("roc_auc")
    with pytest.warns(
        UserWarning,
        match=r"of which few are .*worst detector.*make_outlier_scorer\('roc_auc', outlier_label",
    ):
        score(detector, X, REVERSING[named])
    detector.score_samples(X)  # no warning
    detector.fit(X)
    detector.decision_function(X)


@pytest.mark.parametrize("named", OTHERS)
def test_other_labels_do_not_warn(named, rng):
    X = correlated(rng, 60)
    AutoencoderOutlierDetector(n_estimators=2, **QUICK).fit(X, OTHERS[named]).decision_function(X)


# Far out, and not finite


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("far", [1e2, 1e15, 1e37])
def test_far_out_everything_is_finite(n_estimators, dtype, far, rng):
    X = correlated(rng, 60).astype(dtype)
    detector = AutoencoderOutlierDetector(
        n_estimators=n_estimators, contamination=0.1, **QUICK
    ).fit(1e6 * X)
    rows = (X / np.abs(X).max() * far).astype(dtype)
    for method in (
        "reconstruct",
        "score_samples",
        "reconstruction_errors",
        "feature_contributions",
    ):
        assert np.isfinite(getattr(detector, method)(rows)).all(), method
    codes = detector.transform(X)
    assert np.isfinite(detector.inverse_transform(np.full_like(codes, far))).all()
    assert np.isfinite(detector.inverse_transform(np.full_like(codes, -far))).all()


class Exponential(nn.Linear):
    def forward(self, z):
        return super().forward(z).exp()


def test_codes_that_cannot_be_decoded_are_named(rng):
    X = correlated(rng, 60)
    model = AutoencoderTransformer(2, architecture=Custom(Encoder, Exponential), **QUICK).fit(X)
    Z = model.transform(X)
    Z[4] = 1e9, -1e9
    Z[5] = -1e9, 1e9
    with pytest.raises(
        ValueError, match=r"values that are not finite for Z\[4\], whose largest value is 1e\+09"
    ):
        model.inverse_transform(Z)


@pytest.mark.parametrize("estimator", [AutoencoderOutlierDetector, AutoencoderTransformer])
def test_broken_promises_of_finite_values_are_told(estimator, rng):
    X = correlated(rng, 60)
    X[7, 2] = np.inf
    with (
        sklearn.config_context(assume_finite=True),
        pytest.raises(ValueError, match="X contains infinity, for example in column 2"),
    ):
        estimator(**QUICK).fit(X)


# Warm starts


def changes(rng, X):
    """What the second fit's rows may be: rows that come again keep their places, and new ones are
    appended.
    """
    more = correlated(rng, len(X))
    return {
        "the same": X,
        "in another precision": X.astype(np.float32).astype(np.float64),
        "grown": np.r_[X, more],
        "the last half gone": X[: len(X) // 2],
        "half of them replaced": np.where(np.arange(len(X))[:, None] % 2, X, more),
        "new": more,
    }


CHANGES = list(changes(np.random.default_rng(0), np.zeros((2, 6))))


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_p_values_do_not_lie_after_a_warm_start(change):
    """A network that learns its rows by heart, so that rows learnt twice would show."""
    thresholds, rates, n_held_out = np.array([0.05, 0.1, 0.3]), [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        X = correlated(rng, 150)
        detector = AutoencoderOutlierDetector(
            5,
            n_estimators=1,
            architecture=Dense((64,)),
            max_epochs=20,
            learning_rate=0.01,
            warm_start=True,
            random_state=seed,
        ).fit(X)
        detector.set_params(random_state=seed + 1_000).fit(changes(rng, X)[change])
        p = detector.p_values(correlated(rng, 1_000))
        rates.append([(p <= t).mean() for t in thresholds])
        n_held_out.append(len(detector._calibration.values))
    error = np.sqrt(
        thresholds * (1 - thresholds) * (1 / np.mean(n_held_out) + 1 / 1_000) / len(rates)
    )
    assert (np.mean(rates, axis=0) <= thresholds + 3 * error).all(), (np.mean(rates, axis=0), error)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["the same", "new"])
def test_p_values_do_not_lie_where_rows_repeat(change):
    thresholds, rates = np.array([0.05, 0.1, 0.3]), []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        X, new = rng.integers(3, size=(2, 200, 4)).astype(float)
        detector = AutoencoderOutlierDetector(
            n_estimators=1, max_epochs=10, warm_start=True, random_state=seed
        ).fit(X)
        detector.set_params(random_state=seed + 1_000).fit(X if change == "the same" else new)
        p = detector.p_values(rng.integers(3, size=(1_000, 4)).astype(float))
        rates.append([(p <= t).mean() for t in thresholds])
    error = np.sqrt(thresholds * (1 - thresholds) * (1 / 40 + 1 / 1_000) / len(rates))
    assert (np.mean(rates, axis=0) <= thresholds + 3 * error).all(), (np.mean(rates, axis=0), error)


@pytest.mark.parametrize(
    "estimator",
    [AutoencoderTransformer(2), AutoencoderOutlierDetector(n_estimators=3)],
    ids=["one", "many"],
)
def test_going_on_with_a_fit_that_did_not_set_rows_aside_is_refused(estimator, rng):
    X = correlated(rng, 60)
    model = sklearn.clone(estimator).set_params(**QUICK).fit(X)
    scores = model.score_samples(X)
    with pytest.raises(ValueError, match="warm_start=True must be set before the first fit"):
        model.set_params(warm_start=True).fit(X)
    np.testing.assert_array_equal(model.score_samples(X), scores)
    assert len(model.set_params(warm_start=False).fit(X).loss_curve_) == 3


def test_where_no_rows_are_held_out_any_fit_is_gone_on_with(rng):
    X = correlated(rng, 60)
    model = AutoencoderTransformer(2, early_stopping=False, **QUICK).fit(X)
    assert len(model.set_params(warm_start=True).fit(X).loss_curve_) == 6


@pytest.mark.parametrize(
    "estimator",
    [AutoencoderTransformer(2), AutoencoderOutlierDetector(2, n_estimators=1)],
    ids=["t", "d"],
)
def test_a_warm_start_keeps_the_noise_of_the_layers_input(estimator, rng):
    X = correlated(rng, 100)
    model = (
        sklearn.clone(estimator).set_params(warm_start=True, early_stopping=False, **QUICK).fit(X)
    )
    noise = model.net_.module_.encoder.noise.clone()
    for again in (model.fit(X), sklearn.clone(model).fit(X).fit(X)):
        encoder = again.net_.module_.encoder
        assert torch.equal(encoder.noise, noise)
        assert (noise > 0).all()
        x = torch.zeros(3, 6)
        with torch.no_grad():
            assert not torch.equal(encoder.train()(x), encoder(x))

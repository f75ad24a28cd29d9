"""The detector: scores, labels, p-values, contributions, and the ensemble behind them."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.stats import binom, false_discovery_control
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector
from sklearn_ae._data.batch import Batch
from sklearn_ae.architectures import Convolutional, Custom, Dense
from sklearn_ae.corruptions import GaussianNoise, Masking
from sklearn_ae.latents import Contractive, Sparse, Variational
from tests.helpers import QUICK, Decoder, Encoder, check_p_values

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def correlated(rng, n, d=6):
    """Rows near a plane."""
    mixing = np.random.default_rng(1).normal(size=(2, d))
    return rng.normal(size=(n, 2)) @ mixing + 0.1 * rng.normal(size=(n, d))


@pytest.fixture(scope="module")
def fitted():
    X = correlated(np.random.default_rng(0), 400)
    return AutoencoderOutlierDetector(random_state=0).fit(X), X


def test_planted_outliers_score_lowest(fitted, rng):
    detector, X = fitted
    outliers = X[:50][:, rng.permutation(6)]  # the same values, off the plane
    y = np.r_[np.ones(400), -np.ones(50)]
    ours = roc_auc_score(y, detector.score_samples(np.r_[X, outliers]))
    trees = IsolationForest(random_state=0).fit(X)
    assert ours > 0.75
    assert ours > roc_auc_score(y, trees.score_samples(np.r_[X, outliers]))


def test_a_typical_row_has_outlyingness_one(fitted):
    detector, X = fitted
    np.testing.assert_allclose(np.median(-detector.score_samples(X)), 1, rtol=0.1)


def test_labels_are_the_sign_of_the_decision_and_zero_is_an_inlier(fitted):
    detector, X = fitted
    decision = detector.decision_function(X)
    np.testing.assert_array_equal(decision, detector.score_samples(X) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(X), np.where(decision >= 0, 1, -1))
    lowest = X[[decision.argmin()]]
    edge = pickle.loads(pickle.dumps(detector))
    edge.offset_ = float(edge.score_samples(lowest)[0])
    assert edge.predict(lowest) == [1]


@pytest.mark.parametrize("contamination", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("n_estimators", [1, 5])
def test_contamination_is_the_share_of_outliers_in_training(contamination, n_estimators, rng):
    X = correlated(rng, 300)
    labels = AutoencoderOutlierDetector(
        contamination=contamination, n_estimators=n_estimators, **QUICK
    ).fit_predict(X)
    assert abs((labels == -1).sum() - contamination * 300) <= 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_automatic_contamination(share, rng):
    """Few alarms on clean data, and most of the planted outliers are found."""
    n_outliers = round(share * 1_000)
    inliers = correlated(rng, 1_000 - n_outliers)
    outliers = 3 * rng.normal(size=(n_outliers, 6))
    detector = AutoencoderOutlierDetector(random_state=0).fit(np.r_[inliers, outliers])
    assert (detector.predict(correlated(rng, 2_000)) == -1).mean() <= 0.1
    if n_outliers:
        assert (detector.predict(outliers) == -1).mean() >= 0.8


# p-values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "n_fits", "parameters"),
    [
        (100, 30, {}),
        (60, 10, {"n_estimators": 1}),
        (1_000, 100, {}),
        (100, 100, {"early_stopping": True, "max_samples": 1.0, "n_components": 5}),
        (60, 100, {"n_estimators": 1, "n_components": 5, "validation_fraction": 0.2}),
    ],
)
def test_p_values_of_new_rows_are_exact(n, n_fits, parameters):
    found = []
    for seed in range(n_fits):
        rng = np.random.default_rng(seed)
        detector = AutoencoderOutlierDetector(
            random_state=seed, **{"n_estimators": 3, "max_epochs": 5} | parameters
        )
        found.append(detector.fit(correlated(rng, n)).p_values(correlated(rng, 2_000)))
    check_p_values(np.array(found), n // 5)


def test_p_values_are_ranks_among_the_rows_held_out(fitted):
    detector, X = fitted
    held_out = detector._calibration.values
    assert len(held_out) == 80
    scores = detector.score_samples(X[:20])
    by_hand = [(1 + (1.001 * held_out <= score).sum()) / 81 for score in scores]
    np.testing.assert_allclose(detector.p_values(X[:20]), by_hand)


def test_the_false_discovery_rate_is_controlled(rng):
    detector = AutoencoderOutlierDetector(random_state=0).fit(correlated(rng, 4_000))
    inliers, outliers = correlated(rng, 900), 3 * rng.normal(size=(100, 6))
    found = false_discovery_control(detector.p_values(np.r_[inliers, outliers])) <= 0.1
    assert found[900:].mean() > 0.8
    assert found[:900].sum() <= binom.ppf(0.999, found.sum(), 0.1)


def test_without_rows_held_out_every_p_value_is_one():
    X = np.arange(4.0).reshape(2, 2)
    detector = AutoencoderOutlierDetector(n_estimators=2, **QUICK).fit(X)
    np.testing.assert_array_equal(detector.p_values(X), [1, 1])


# Contributions


@pytest.mark.parametrize("n_estimators", [1, 10])
def test_contributions_sum_to_the_outlyingness(n_estimators, rng):
    X = correlated(rng, 200)
    detector = AutoencoderOutlierDetector(n_estimators=n_estimators, **QUICK).fit(X)
    contributions = detector.feature_contributions(X)
    assert contributions.shape == X.shape
    assert contributions.dtype == np.float64
    assert (contributions >= 0).all()
    np.testing.assert_allclose(contributions.sum(1), -detector.score_samples(X), rtol=1e-5)


def test_contributions_find_the_columns_of_joint_outliers(rng):
    """A value that is nothing special by itself, but not what the other columns say."""
    n_trials, by_us, by_z = 100, 0, 0
    X = correlated(rng, 500, d=8)
    detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    rows, columns = correlated(rng, n_trials, d=8), rng.integers(8, size=n_trials)
    for row, column in zip(rows, columns, strict=True):
        values = X[:, column]
        # as far from the right one as a tenth of the data is
        wrong = values[np.argsort(-np.abs(values - row[column]))[50]]
        row[column] = wrong
    contributions = detector.feature_contributions(rows)
    by_us = (contributions.argmax(1) == columns).mean()
    by_z = (np.abs((rows - X.mean(0)) / X.std(0)).argmax(1) == columns).mean()
    assert by_us >= 0.9
    assert by_us > by_z


# The ensemble


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"architecture": Dense((8,), latent_activation="tanh")},
        {"architecture": Dense((8,), normalization="batch")},
        {"architecture": Convolutional((1, 6), channels=(2,))},
        {"architecture": Custom(Encoder, Decoder)},
        {"latent": Variational()},
        {"latent": Contractive()},
        {"corruption": GaussianNoise()},
    ],
)
def test_batched_members_compute_what_each_computes_alone(parts, rng):
    X = correlated(rng, 100)
    detector = AutoencoderOutlierDetector(n_estimators=4, **parts, **QUICK).fit(X)
    module = detector.net_.module_
    assert module.mode != "loop"
    before = detector.score_samples(X), detector.transform(X), detector.reconstruct(X)
    for module.mode in ("vmap", "loop"):
        after = detector.score_samples(X), detector.transform(X), detector.reconstruct(X)
        for a, b in zip(before, after, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


class Hooked(Dense):
    """Rows of unit length, by a hook that knows nothing of members."""

    def build(self, *args):
        encoder, decoder = super().build(*args)
        encoder.linear.register_forward_pre_hook(
            lambda module, inputs: (inputs[0] / inputs[0].norm(dim=1, keepdim=True),)
        )
        return encoder, decoder


@pytest.mark.parametrize(
    ("parts", "mode"),
    [
        ({}, "together"),
        ({"architecture": Dense((8,), dropout=0.1, latent_activation="tanh")}, "together"),
        ({"architecture": Dense((8,), normalization="layer")}, "vmap"),
        ({"architecture": Dense((8,), activation=nn.PReLU)}, "vmap"),
        ({"architecture": Hooked((8,))}, "vmap"),
        ({"latent": Sparse()}, "vmap"),
        ({"corruption": GaussianNoise()}, "vmap"),
    ],
)
def test_modules_set_how_members_are_batched(parts, mode, rng):
    detector = AutoencoderOutlierDetector(2, n_estimators=3, **parts, **QUICK).fit(
        correlated(rng, 100)
    )
    assert detector.net_.module_.mode == mode


class LooksAtItsData(Encoder):
    """What cannot be batched: control flow that depends on values."""

    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x.abs())


def test_members_that_cannot_be_batched_are_trained_one_by_one(rng):
    X = correlated(rng, 100)
    detector = AutoencoderOutlierDetector(
        2, n_estimators=3, architecture=Custom(LooksAtItsData, Decoder), **QUICK
    ).fit(X)
    assert detector.net_.module_.mode == "loop"
    assert np.isfinite(detector.score_samples(X)).all()
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(detector)).score_samples(X), detector.score_samples(X)
    )


def test_trimming_leaves_out_the_worse_half(rng):
    X = correlated(rng, 60)
    module = AutoencoderOutlierDetector(n_estimators=2, **QUICK).fit(X).net_.module_
    x = torch.randn(2, 8, 6)
    raw = torch.zeros_like(x, requires_grad=True)
    objective = module.objective(Batch(x), raw)
    loss = x.square().mean(2)
    assert ((objective == 0).sum(1) == 4).all()
    kept = loss.sort(1).values[:, :4].mean(1)
    np.testing.assert_allclose(objective.detach().mean(1), kept, rtol=1e-5)


def test_one_member_is_a_plain_autoencoder(rng):
    X = correlated(rng, 200)
    detector = AutoencoderOutlierDetector(n_estimators=1, **QUICK).fit(X)
    assert type(detector.net_.module_).__name__ == "Autoencoder"
    assert detector.transform(X).shape == (200, 3)  # the root of 6 features
    scaled = (detector.reconstruct(X) - X) / detector._model.scaling.scale
    np.testing.assert_allclose(detector.score_samples(X), -(scaled**2).mean(1), rtol=1e-3)


@pytest.mark.parametrize("n", [1, 3, 200, 1_025])
def test_a_row_gives_the_same_score_in_any_batch(n, fitted, rng):
    detector, _ = fitted
    X = correlated(rng, n)
    order = rng.permutation(n)
    for method in (
        detector.score_samples,
        detector.feature_contributions,
        detector.transform,
        detector.p_values,
    ):
        whole = method(X)
        np.testing.assert_array_equal(method(X[order]), whole[order])
        np.testing.assert_array_equal(method(X[n // 2 : n // 2 + 1])[0], whole[n // 2])


@pytest.mark.parametrize("n", [1, 2, 5, 64, 65])
def test_few_rows(n, rng):
    X = correlated(rng, n)
    detector = AutoencoderOutlierDetector(n_estimators=3, **QUICK).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    assert detector.sample(2).shape == (2, 6)


@pytest.mark.parametrize(
    "X",
    [
        np.ones((30, 3)),
        np.repeat([[0.0, 1.0], [2.0, 5.0]], 50, axis=0),
        np.random.default_rng(0).normal(size=(50, 1)),
    ],
    ids=["constant", "duplicates", "one feature"],
)
def test_degenerate_data(X):
    detector = AutoencoderOutlierDetector(n_estimators=5, **QUICK).fit(X)
    scores = detector.score_samples(np.r_[X, X[:1] + 1e3])
    assert np.isfinite(scores).all()
    assert scores[-1] < scores[:-1].min()


@pytest.mark.parametrize(
    "parameters", [{"n_estimators": 1}, {"n_estimators": 3, "architecture": Dense()}]
)
def test_codes_are_shorter_than_rows_of_two_features(parameters, rng):
    X = rng.normal(size=(200, 2))
    detector = AutoencoderOutlierDetector(**parameters, **QUICK).fit(X)
    assert detector.transform(X).shape[1] == parameters["n_estimators"]  # one component each
    # -0.48 and -1.2 over 20 seeds, with deviations of 0.05 and 0.07; about 0 with two components
    assert detector.score_samples(X).mean() < -0.2


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_estimators": 1, "n_components": 3},
        {"n_estimators": 2, "n_components": 3, "architecture": Dense()},
    ],
)
def test_a_plain_code_as_long_as_the_row_warns(parameters, rng):
    X = rng.normal(size=(50, 3))
    detector = AutoencoderOutlierDetector(**parameters, **QUICK)
    with pytest.warns(UserWarning, match=r"n_components=3 for 3 feature.*outliers too") as told:
        detector.fit(X)
    assert len(told) == 1
    assert told[0].filename == __file__
    detector.set_params(latent=Variational()).fit(X)
    detector.set_params(latent=None, corruption=Masking()).fit(X)


class Shapes(Callback):
    """Notes the shapes of the batches."""

    def __init__(self):
        self.shapes = []

    def on_batch_begin(self, net, batch, **kwargs):
        self.shapes.append(tuple(batch[0].shape))


@pytest.mark.parametrize(
    ("max_samples", "n"),
    [(16, 16), (0.5, 160), ("auto", 128), (1.0, 320), (1_000, 320), (1, 1), (0.001, 1)],
)
def test_members_learn_from_so_many_rows(max_samples, n, rng):
    watch = Shapes()  # of 400 rows, 80 are held out
    detector = AutoencoderOutlierDetector(
        n_estimators=3, max_samples=max_samples, batch_size=1_000, callbacks=[watch], **QUICK
    )
    detector.fit(correlated(rng, 400))
    assert watch.shapes == [(3, n, 6)] * 3


def test_early_stopping_works_in_an_ensemble(rng):
    detector = AutoencoderOutlierDetector(n_estimators=3, early_stopping=True, **QUICK).fit(
        correlated(rng, 100)
    )
    assert len(detector.validation_loss_curve_) == 3


def test_warm_start_keeps_the_members(rng):
    X = correlated(rng, 100)
    detector = AutoencoderOutlierDetector(
        n_estimators=3, warm_start=True, max_epochs=5, random_state=0
    ).fit(X)
    detector.fit(X)
    assert len(detector.loss_curve_) == 10


def test_threads_may_share_a_detector(fitted):
    detector, X = fitted
    parts = np.array_split(np.tile(X, (6, 1)), 12)
    expected = [detector.score_samples(part) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        for scores, right in zip(pool.map(detector.score_samples, parts), expected, strict=True):
            np.testing.assert_array_equal(scores, right)


def test_threads_may_fit_at_the_same_time(rng):
    X = correlated(rng, 100)
    state = torch.get_rng_state()

    def fit(_):
        return AutoencoderOutlierDetector(n_estimators=3, **QUICK).fit(X).score_samples(X)

    with ThreadPoolExecutor(4) as pool:
        scores = list(pool.map(fit, range(6)))
    for one in scores:
        np.testing.assert_allclose(one, scores[0], rtol=1e-3)
    assert torch.equal(torch.get_rng_state(), state)


def test_pickles_are_small_and_give_the_same_numbers(fitted):
    detector, X = fitted
    data = pickle.dumps(detector)
    n_weights = sum(p.numel() for p in detector.net_.module_.parameters())
    assert len(data) < 4 * n_weights + 4 * 200_000 + 50_000
    copy = pickle.loads(data)
    np.testing.assert_array_equal(copy.score_samples(X), detector.score_samples(X))
    np.testing.assert_array_equal(copy.p_values(X), detector.p_values(X))
    np.testing.assert_array_equal(copy.sample(3), detector.sample(3))


@pytest.mark.parametrize(("share", "most"), [(0.1, 1e2), (0.03, 1e3)])
def test_rows_that_are_mostly_copies_of_one_have_moderate_scores(share, most):
    X = (np.random.default_rng(0).random((500, 8)) < share).astype(float)
    outlyingness = -AutoencoderOutlierDetector(random_state=0).fit(X).score_samples(X)
    assert 0 <= np.median(outlyingness) < 2
    assert np.mean(outlyingness) < most


def test_where_nothing_varies_contributions_sum_to_the_outlyingness():
    detector = AutoencoderOutlierDetector(novelty=True, random_state=0, max_epochs=2).fit(
        np.ones((50, 3))
    )
    X = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
    outlyingness = -detector.score_samples(X)
    np.testing.assert_allclose(
        detector.feature_contributions(X).sum(1), outlyingness, rtol=1e-5, atol=1e-6
    )
    assert outlyingness[0] < 1.001 < outlyingness[1]
    assert detector.predict(X).tolist() == [1, -1]


def test_same_random_state_same_numbers(rng):
    X = correlated(rng, 100)
    scores = [
        AutoencoderOutlierDetector(n_estimators=5, random_state=s, max_epochs=5)
        .fit(X)
        .score_samples(X)
        for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()


# Labels


def test_a_search_by_labels_takes_one_and_minus_one():
    X, y = load_breast_cancer(return_X_y=True)
    rows = np.r_[np.flatnonzero(y == 1), np.flatnonzero(y == 0)[:30]]
    labels = np.where(y[rows] == 1, 1, -1)
    search = GridSearchCV(
        AutoencoderOutlierDetector(n_estimators=10, random_state=0),
        {"max_samples": [32, 64]},
        scoring="roc_auc",
        cv=2,
    )
    search.fit(*_shuffled(X[rows], labels))
    assert search.best_score_ > 0.8


def _shuffled(X, y):
    order = np.random.default_rng(0).permutation(len(X))
    return X[order], y[order]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"contamination": 0.6}, "'contamination' parameter"),
        ({"contamination": 0.0}, "'contamination' parameter"),
        ({"n_components": "many"}, "'n_components' parameter"),
        ({"max_samples": 0}, "'max_samples' parameter"),
        (
            {"architecture": Custom(nn.Linear(5, 2), nn.Linear(2, 6)), "n_components": 2},
            r"must take \(n_samples, 6\)",
        ),
    ],
)
def test_invalid_parameters_raise_with_their_name(parameters, message, rng):
    with pytest.raises(ValueError, match=message):
        AutoencoderOutlierDetector(**parameters).fit(correlated(rng, 50))

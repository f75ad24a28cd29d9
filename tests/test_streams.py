"""partial_fit: one pass over the chunks of a stream, which goes on."""

import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score, roc_auc_score
from skorch.callbacks import Callback

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.architectures import Custom, Dense
from sklearn_ae.latents import Sparse
from sklearn_ae.persistence import load, save
from tests.helpers import LATENTS

ESTIMATORS = {
    "transformer": AutoencoderTransformer(2, random_state=0),
    "ensemble": AutoencoderOutlierDetector(n_estimators=8, random_state=0),
    "single": AutoencoderOutlierDetector(n_estimators=1, random_state=0),
}
DETECTORS = ["ensemble", "single"]


def stream(n, seed=0, n_features=6, plane=0, shift=0.0):
    """Rows near a plane, which differs by `plane`."""
    rng = np.random.default_rng(1_000 * plane + 7)
    W = rng.normal(size=(2, n_features)) * 3
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ W + 0.1 * rng.normal(size=(n, n_features)) + shift


def off_the_plane(X, seed=0):
    """Rows with the same values, shuffled in each column."""
    return np.column_stack(
        [np.random.default_rng([seed, j]).permutation(X[:, j]) for j in range(X.shape[1])]
    )


def learn(estimator, X, n_chunks):
    for chunk in np.array_split(X, n_chunks):
        estimator.partial_fit(chunk)
    return estimator


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return clone(ESTIMATORS[request.param])


@pytest.fixture(params=DETECTORS)
def detector(request):
    return clone(ESTIMATORS[request.param])


# What it learns


@pytest.mark.parametrize(
    ("n", "chunk", "share"),
    [(10_000, 500, 0.8), pytest.param(100_000, 1_000, 0.1, marks=pytest.mark.slow)],
)
def test_one_pass_over_curved_rows_leaves_a_part_of_pcas_error(n, chunk, share):
    """About a third of 10,000 rows', 0.03 of 100,000 rows'."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, (n + 2_000, 2))
    X = np.column_stack([np.sin(angles), np.cos(angles)]) @ rng.normal(
        size=(4, 20)
    ) + 0.05 * rng.normal(size=(n + 2_000, 20))
    X, new = X[:n], X[n:]
    model, pca = learn(AutoencoderTransformer(3, random_state=0), X, n // chunk), PCA(3).fit(X)
    errors = [
        np.square(new - R).mean()
        for R in (model.reconstruct(new), pca.inverse_transform(pca.transform(new)))
    ]
    assert errors[0] < share * errors[1]


def test_a_chunk_validates_before_it_is_trained_on():
    X = stream(600)
    model = AutoencoderTransformer(2, scaling=None, random_state=0).partial_fit(X[:200])
    before = -model.score(X[200:400])
    model.partial_fit(X[200:400])
    np.testing.assert_allclose(model.validation_loss_curve_[-1], before, rtol=1e-4)
    model.partial_fit(X[400:])
    assert len(model.loss_curve_) == len(model.validation_loss_curve_) == model.n_iter_ == 3


def test_the_scaling_follows_a_stream_that_changes(monkeypatch):
    monkeypatch.setattr("sklearn_ae._defaults.STREAM_MEMORY", 1_000)
    model = learn(AutoencoderTransformer(2, random_state=0), stream(2_000), 10)
    later = stream(8_000, seed=1) * 50 + 100
    learn(model, later, 40)
    np.testing.assert_allclose(
        model._model.scaling.center, later.mean(0), atol=0.05 * later.std(0).max()
    )
    np.testing.assert_allclose(model._model.scaling.scale, later.std(0), rtol=0.05)
    assert r2_score(later, model.reconstruct(later)) > 0.9  # in the data's units


@pytest.mark.parametrize("kind", ["standard", "bounded", "robust", "uniform", None])
def test_every_scaling_follows(kind):
    X = stream(1_000) + 5
    model = learn(AutoencoderTransformer(2, scaling=kind, random_state=0), X, 5)
    assert r2_score(X, model.reconstruct(X)) > 0.5


def test_the_moments_of_chunks_are_those_of_all_rows():
    X = stream(1_000) * [1, 10, 1e-3, 1, 1, 1e6] + 3
    model = learn(AutoencoderTransformer(2, random_state=0), X, 7)
    np.testing.assert_allclose(model._model.scaling.center, X.mean(0), rtol=1e-6)
    np.testing.assert_allclose(model._model.scaling.scale, X.std(0), rtol=1e-6)


# With fit


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_after_partial_fit_starts_anew(estimator):
    X = stream(300)
    estimator.set_params(max_epochs=3)
    alone = clone(estimator).fit(X).score_samples(X)
    learn(estimator, stream(400, plane=3), 4).fit(X)
    np.testing.assert_array_equal(estimator.score_samples(X), alone)


@pytest.mark.slow
def test_partial_fit_after_fit_goes_on(estimator):
    X = stream(500)
    estimator.fit(X)
    before, scaling = estimator.score(X), estimator._model.scaling.center
    estimator.partial_fit(stream(50, seed=1))
    assert abs(estimator.score(X) - before) < 0.5 * abs(before)
    np.testing.assert_allclose(estimator._model.scaling.center, scaling, atol=0.2 * X.std())
    assert len(estimator.validation_loss_curve_) == 1


@pytest.mark.parametrize("warm_start", [False, True])
def test_warm_start_changes_nothing_in_a_stream(estimator, warm_start):
    X = stream(300)
    plain = learn(clone(estimator), X, 3).score_samples(X)
    np.testing.assert_array_equal(
        learn(estimator.set_params(warm_start=warm_start), X, 3).score_samples(X), plain
    )


# Chunks of all kinds


def test_rows_one_by_one(estimator):
    X = stream(20)
    for row in X:
        estimator.partial_fit(row[None])
    assert np.isfinite(estimator.score_samples(X)).all()
    # for good, to calibrate
    n_held_out = 4 if isinstance(estimator, AutoencoderOutlierDetector) else 0
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 20 - n_held_out


def test_a_chunk_of_another_width_is_refused_and_nothing_changes(estimator):
    X = stream(200)
    learn(estimator, X, 2)
    before, curve = estimator.score_samples(X), list(estimator.validation_loss_curve_)
    with pytest.raises(ValueError, match="5 features"):
        estimator.partial_fit(X[:, :5])
    np.testing.assert_array_equal(estimator.score_samples(X), before)
    assert estimator.validation_loss_curve_ == curve


def test_gaps_in_later_chunks(estimator):
    X = stream(900)
    estimator.partial_fit(X[:300])
    later = X[300:].copy()
    later[np.random.default_rng(0).random(later.shape) < 0.1] = np.nan
    learn(estimator, later, 3)
    assert np.isfinite(estimator.score_samples(later)).all()
    assert np.isfinite(estimator.reconstruct(later)).all()


def test_gaps_that_begin_later_are_filled_by_what_the_other_values_make_likely():
    X = stream(2_400)
    gone = np.random.default_rng(0).random(X.shape) < 0.1
    gone[:600] = False
    holed = np.where(gone, np.nan, X)
    model = learn(AutoencoderTransformer(2, random_state=0), holed[:600], 2)
    assert model.net_.module_.filler is None
    learn(model, holed[600:], 6)
    assert model.net_.module_.filler is not None
    left = ((model.reconstruct(holed) - X) / X.std(0))[gone]
    assert np.sqrt(np.square(left).mean()) < 0.3  # the mean's is 1
    assert model.n_iter_ == 8


def test_a_column_that_is_missing_for_a_while(estimator):
    X = stream(900)
    estimator.partial_fit(X[:300])
    gone = X[300:].copy()
    gone[:, 2] = np.nan
    learn(estimator, gone, 3)
    assert np.isfinite(estimator.reconstruct(X)).all()


def test_sparse_chunks(estimator):
    X = stream(600) * (np.random.default_rng(0).random((600, 6)) < 0.3)
    for chunk in np.array_split(X, 3):
        estimator.partial_fit(csr_array(chunk))
    np.testing.assert_array_equal(estimator.score_samples(csr_array(X)), estimator.score_samples(X))


def test_weights_in_chunks(estimator):
    X = stream(600)
    outlying = np.r_[np.ones(300), np.zeros(300)].astype(bool)
    X[~outlying] = stream(300, plane=3)
    rng = np.random.default_rng(0)
    for rows in np.array_split(rng.permutation(600), 3):
        estimator.partial_fit(X[rows], sample_weight=outlying[rows])
    only = clone(estimator)
    rng = np.random.default_rng(0)
    for rows in np.array_split(rng.permutation(600), 3):
        only.partial_fit(X[rows[outlying[rows]]])
    np.testing.assert_allclose(estimator.score_samples(X), only.score_samples(X), rtol=1e-4)


@pytest.mark.parametrize("latent", LATENTS)
def test_every_latent(latent):
    X = stream(600)
    model = learn(AutoencoderTransformer(2, latent=LATENTS[latent](), random_state=0), X, 3)
    assert np.isfinite(model.sample(5, random_state=0)).all()
    assert np.isfinite(model.score(X))


class Normed(torch.nn.Sequential):
    def __init__(self, n_features, n_outputs):
        super().__init__(
            torch.nn.Linear(n_features, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Tanh(),
            torch.nn.Linear(8, n_outputs),
        )


def test_batch_normalisation():
    X = stream(600)
    model = learn(
        AutoencoderTransformer(2, architecture=Custom(Normed, Normed), random_state=0), X, 3
    )
    assert np.isfinite(model.score(X))
    assert not model.net_.module_.training


def test_batch_normalisation_of_a_single_row_names_the_way_out():
    model = AutoencoderTransformer(
        2, architecture=Custom(Normed, Normed), random_state=0
    ).partial_fit(stream(200))
    before = model.score_samples(stream(20))
    with pytest.raises(ValueError, match="BatchNorm"):
        model.partial_fit(stream(1))
    np.testing.assert_array_equal(model.score_samples(stream(20)), before)


# Going on


def test_pickled_between_chunks(estimator):
    X = stream(1_500)
    learn(estimator, X[:1_000], 4)
    copied = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(estimator))))
    np.testing.assert_array_equal(copied.score_samples(X), estimator.score_samples(X))
    learn(copied, X[1_000:], 2)
    learn(estimator, X[1_000:], 2)
    np.testing.assert_array_equal(copied.score_samples(X), estimator.score_samples(X))
    assert copied.n_iter_ == 6


def test_fit_after_loading_forgets_the_stream():
    X = stream(600)
    new = AutoencoderTransformer(2, max_epochs=5, random_state=0)
    model, other = pickle.loads(pickle.dumps(learn(clone(new), X, 3))), clone(new)
    for one in (model, other):
        one.fit(X).partial_fit(X[:100])
    np.testing.assert_array_equal(model.score_samples(X), other.score_samples(X))


class Fails(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise RuntimeError("failed")


def test_a_chunk_that_fails_after_loading_changes_nothing():
    X = stream(600)
    model = pickle.loads(pickle.dumps(learn(AutoencoderTransformer(2, random_state=0), X, 3)))
    before = model.score_samples(X)
    with pytest.raises(RuntimeError, match="failed"):
        model.set_params(callbacks=[Fails()]).partial_fit(X)
    np.testing.assert_array_equal(model.score_samples(X), before)


def test_a_stream_goes_on_where_a_fit_would_stop():
    model = AutoencoderTransformer(
        2, learning_rate_schedule="plateau", n_iter_no_change=1, tol=1.0, random_state=0
    )
    assert learn(model, stream(600), 6).n_iter_ == 6


def test_a_file_goes_on_with_a_new_optimiser(tmp_path):
    X = stream(1_500)
    model = learn(AutoencoderTransformer(2, random_state=0), X[:1_000], 4)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))
    # scores are negative
    assert learn(loaded, X[1_000:], 2).score(X) > 1.25 * learn(model, X[1_000:], 2).score(X)


def test_the_history_of_a_stream_is_bounded(monkeypatch):
    monkeypatch.setattr("sklearn_ae._training.net.KEPT_CHUNKS", 3)
    model = learn(AutoencoderTransformer(2, random_state=0), stream(400), 8)
    assert len(model.net_.history) == len(model.net_.state_.losses) == 3
    assert len(model.loss_curve_) == len(model.validation_loss_curve_) == 8
    assert model.loss_curve_[-3:] == model.net_.history[:, "train_loss"]


def test_the_same_random_state_gives_the_same_numbers(estimator):
    X = stream(900)
    a, b = (learn(clone(estimator), X, 3).score_samples(X) for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_the_generator_of_torch_is_unchanged(estimator):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    learn(estimator, stream(300), 2)
    assert torch.rand(1) == expected


class Counting(Callback):
    def __init__(self):
        self.epochs = self.batches = 0

    def on_epoch_end(self, net, **kwargs):
        self.epochs += 1

    def on_batch_end(self, net, training=False, **kwargs):
        self.batches += training


def test_callbacks_see_every_chunk_and_batch():
    callback = Counting()
    learn(
        AutoencoderTransformer(2, batch_size=50, callbacks=[callback], random_state=0),
        stream(400),
        4,
    )
    assert callback.epochs == 4
    assert callback.batches == 8


def test_verbose_prints_a_line_for_each_chunk(capsys):
    learn(AutoencoderTransformer(2, verbose=2, random_state=0), stream(400), 4)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"AutoencoderTransformer: chunk {i}" for i in (1, 2, 3, 4)
    ]


def test_a_chunk_that_diverges_leaves_the_estimator_as_it_was():
    X = stream(400)
    model = AutoencoderTransformer(
        2,
        random_state=0,
        loss=lambda a, b: ((a - b) ** 2).mean(1) * torch.where(b.abs().amax() > 9, torch.inf, 1.0),
    )
    learn(model, X[:300], 3)
    before, states = model.score_samples(X), pickle.dumps(model._stream.scaling)
    far = X[300:].copy()
    far[50] *= 1e6
    with pytest.raises(FloatingPointError):
        model.partial_fit(far)
    np.testing.assert_array_equal(model.score_samples(X), before)
    assert pickle.dumps(model._stream.scaling) == states
    twin = learn(clone(model), X[:300], 3).partial_fit(X[300:])
    np.testing.assert_array_equal(
        model.partial_fit(X[300:]).score_samples(X), twin.score_samples(X)
    )


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stream(estimator, monkeypatch):
    monkeypatch.setattr("sklearn_ae._defaults.MOST_RECENT", 200)
    estimator.set_params(n_estimators=2, max_epochs=1) if isinstance(
        estimator, AutoencoderOutlierDetector
    ) else None
    sizes = []
    for chunk in range(12):
        estimator.partial_fit(stream(200, seed=chunk, n_features=50))
        sizes.append(len(pickle.dumps(estimator)))
    assert sizes[-1] < 1.01 * sizes[5]


# The detector


@pytest.mark.slow
def test_outliers_are_found_as_by_fit():
    X, new = stream(4_000), stream(1_000, seed=1)
    y = np.r_[np.ones(1_000), np.zeros(1_000)]
    judged = np.r_[new, off_the_plane(new)]
    detector = AutoencoderOutlierDetector(n_estimators=32, random_state=0)
    whole = roc_auc_score(y, clone(detector).fit(X).score_samples(judged))
    parts = roc_auc_score(y, learn(detector, X, 8).score_samples(judged))
    assert parts > whole - 0.02


@pytest.mark.slow
def test_p_values_are_valid_in_a_stationary_stream(detector):
    shares = []
    for seed in range(5):
        learn(detector.set_params(random_state=seed), stream(1_500, seed=seed), 5)
        shares.append(detector.p_values(stream(1_000, seed=100 + seed)) <= 0.1)
        detector = clone(detector)
    assert np.mean(shares) < 0.1 + 0.03
    assert np.mean(shares) > 0.05


@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_the_threshold_of_a_stream(contamination, detector):
    learn(detector.set_params(contamination=contamination), stream(3_000), 6)
    share = (detector.predict(stream(2_000, seed=1)) == -1).mean()
    assert 0.06 < share < 0.16 if contamination == 0.1 else share < 0.08


def test_labels_as_in_fit(detector):
    X = stream(200)
    detector.partial_fit(X, np.repeat(["no", "yes"], [190, 10]))
    with pytest.warns(UserWarning, match="make_outlier_scorer"):
        detector.decision_function(X)


def test_chosen_parts_learn_from_a_stream():
    X = stream(600)
    model = AutoencoderTransformer(2, architecture=Dense((8,)), latent=Sparse(1e-3), random_state=0)
    assert r2_score(X, learn(model, X, 3).reconstruct(X)) > 0.5

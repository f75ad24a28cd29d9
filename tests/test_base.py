"""What both estimators promise: input, output, training, randomness, errors, edges, pickling."""

import io
import json
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from skorch.exceptions import SkorchException
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae.architectures import Convolutional, Custom, Dense
from sklearn_ae.corruptions import GaussianNoise, Masking
from sklearn_ae.latents import Contractive, Sparse, Variational
from tests.helpers import QUICK, STEADY

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def fitted(table):
    return AutoencoderTransformer(2, **QUICK).fit(table)


# Input


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.tolist(),
        pd.DataFrame,
        pl.DataFrame,
        np.asfortranarray,
        lambda X: X[::-1].copy()[::-1],
        lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),  # read-only
    ],
    ids=["list", "pandas", "polars", "fortran", "reversed", "read-only"],
)
@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_all_containers_give_equal_results(convert, table):
    fitted = AutoencoderTransformer(2, **STEADY).fit(table)
    other = clone(fitted).fit(convert(table))
    np.testing.assert_allclose(
        other.transform(convert(table)), fitted.transform(table), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(
        fitted.score_samples(np.asarray(convert(table))), fitted.score_samples(table)
    )


def test_memory_maps_are_accepted(table, fitted, tmp_path):
    np.save(tmp_path / "X.npy", table)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(clone(fitted).fit(X).transform(X), fitted.transform(table))


def test_integers_are_accepted(rng):
    X = rng.integers(0, 255, size=(50, 4), dtype=np.uint8)
    assert AutoencoderTransformer(2, **QUICK).fit(X).reconstruct(X).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept_and_scores_are_float64(dtype, table):
    X = table.astype(dtype)
    model = AutoencoderTransformer(2, **QUICK).fit(X)
    Z = model.transform(X)
    assert Z.dtype == model.inverse_transform(Z).dtype == model.reconstruct(X).dtype == dtype
    assert model.score_samples(X).dtype == model.reconstruction_errors(X).dtype == np.float64


def test_frames_out(table):
    X = pd.DataFrame(table, columns=list("abcdef"))
    model = AutoencoderTransformer(2, **QUICK).set_output(transform="pandas").fit(X)
    Z = model.transform(X)
    assert (
        list(Z.columns)
        == list(model.get_feature_names_out())
        == ["autoencodertransformer0", "autoencodertransformer1"]
    )
    assert list(model.feature_names_in_) == list("abcdef")
    assert isinstance(model.set_output(transform="polars").transform(X), pl.DataFrame)


# Output


def test_methods_agree_with_each_other(table, fitted):
    Z = fitted.transform(table)
    np.testing.assert_allclose(fitted.inverse_transform(Z), fitted.reconstruct(table), rtol=1e-6)
    errors = fitted.reconstruction_errors(table)
    by_hand = ((fitted.reconstruct(table) - table) / table.std(0)) ** 2
    np.testing.assert_allclose(errors, by_hand, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(fitted.score_samples(table), -errors.mean(1), rtol=1e-6)
    assert fitted.score(table) == fitted.score_samples(table).mean()


def test_memory_layout_does_not_change_scores(table, fitted):
    records = np.zeros(len(table), [("flag", np.int8), ("x", np.float64, 6)])
    records["x"] = table
    scores = fitted.score_samples(table)
    for X in (
        np.asfortranarray(table),
        records["x"],
        table[::-1].copy()[::-1],
        table[:, ::-1].copy()[:, ::-1],
    ):
        np.testing.assert_array_equal(fitted.score_samples(X), scores)
    np.testing.assert_array_equal(fitted.score_samples(table[::-1][:1]), scores[-1:])


@pytest.mark.parametrize("n", [1, 7, 1_023, 1_024, 1_025, 3_000])
def test_a_row_gives_the_same_result_in_any_batch(n, fitted, rng):
    X = rng.normal(size=(n, 6)) * 100
    order = rng.permutation(n)
    for method in (
        fitted.transform,
        fitted.reconstruct,
        fitted.score_samples,
        fitted.reconstruction_errors,
    ):
        whole = method(X)
        np.testing.assert_array_equal(method(X[order]), whole[order])
        np.testing.assert_array_equal(method(X[n // 2 : n // 2 + 1])[0], whole[n // 2])


def test_scaling_changes_nothing_after_a_standard_scaler(table):
    X = StandardScaler().fit_transform(table)
    model = AutoencoderTransformer(2, **STEADY)
    np.testing.assert_allclose(
        model.fit(X).transform(X), clone(model).fit(table).transform(table), rtol=1e-3, atol=1e-4
    )


def test_units_do_not_matter(table):
    model = AutoencoderTransformer(2, **STEADY)
    scores = model.fit(table).score_samples(table)
    np.testing.assert_allclose(
        model.fit(1024 * table + 8).score_samples(1024 * table + 8), scores, rtol=1e-3
    )


def test_cross_entropy_reconstructs_probabilities(rng):
    X = rng.random((60, 5))
    model = AutoencoderTransformer(2, loss="binary_cross_entropy", **QUICK).fit(X)
    R = model.reconstruct(X)
    assert ((R > 0) & (R < 1)).all()
    np.testing.assert_allclose(
        model.score_samples(X), (X * np.log(R) + (1 - X) * np.log(1 - R)).mean(1), rtol=1e-4
    )


def test_samples_look_like_the_data(table):
    S = AutoencoderTransformer(2, random_state=0, max_epochs=20).fit(table).sample(2_000)
    np.testing.assert_allclose(S.mean(0), table.mean(0), atol=0.3 * table.std(0).max())
    np.testing.assert_allclose(np.corrcoef(S.T), np.corrcoef(table.T), atol=0.25)


def test_sample_sizes_are_checked(fitted):
    assert fitted.sample().shape == (1, 6)
    for n in (0, -1, 1.5, "one"):
        with pytest.raises(ValueError, match="n_samples must be a whole number of at least 1"):
            fitted.sample(n)


# Training


@pytest.mark.parametrize(
    "optimizer",
    ["adam", "adamw", "sgd", "rmsprop", "nadam", "radam", "adagrad", torch.optim.Adamax],
)
def test_optimizers_lower_the_loss(optimizer, table):
    rate = 0.05 if optimizer == "sgd" else 0.005
    model = AutoencoderTransformer(
        2, optimizer=optimizer, learning_rate=rate, max_epochs=20, random_state=0
    ).fit(table)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_adam_matches_torch(table):
    def curve(optimizer):
        architecture = Dense((8,), activation="tanh")
        return (
            AutoencoderTransformer(
                2, architecture=architecture, optimizer=optimizer, max_epochs=5, random_state=0
            )
            .fit(table)
            .loss_curve_
        )

    np.testing.assert_allclose(curve("adam"), curve(torch.optim.Adam), rtol=1e-3)
    np.testing.assert_allclose(curve("adamw"), curve(torch.optim.AdamW), rtol=1e-3)


class Rates(Callback):
    """Notes the learning rate of every step."""

    def __init__(self):
        self.rates = []

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            self.rates.append(float(net.optimizer_.param_groups[0]["lr"]))


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1] * 10),
        ("cosine", [(1 + np.cos(np.pi * t / 10)) / 2 for t in range(10)]),
        ("one_cycle", [0.04, 0.28, 0.76, *((1 + np.cos(np.pi * t / 7)) / 2 for t in range(7))]),
        (lambda t: 1 - t, np.linspace(1, 0.1, 10)),
    ],
)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_learning_rate_follows_its_schedule(schedule, factors, optimizer, table):
    watch = Rates()
    parameters = {
        "learning_rate": 0.01,
        "learning_rate_schedule": schedule,
        "optimizer": optimizer,
        "early_stopping": False,
    }
    AutoencoderTransformer(2, max_epochs=5, batch_size=60, callbacks=[watch], **parameters).fit(
        table
    )
    np.testing.assert_allclose(watch.rates, 0.01 * np.asarray(factors), rtol=1e-6)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_plateau_multiplies_the_rate_by_three_tenths_until_a_thousandth(early_stopping, table):
    watch = Rates()
    model = AutoencoderTransformer(
        2, learning_rate=0.05, learning_rate_schedule="plateau", n_iter_no_change=2, max_epochs=500
    )
    model.set_params(callbacks=[watch], early_stopping=early_stopping, tol=0.5, random_state=0).fit(
        table
    )
    rates = sorted(set(watch.rates), reverse=True)
    assert watch.rates == sorted(watch.rates, reverse=True)
    np.testing.assert_allclose(rates, 0.05 * 0.3 ** np.arange(6))
    assert model.n_iter_ < 100


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", torch.optim.AdamW])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_frozen_weights_stay_as_they_are(optimizer, early_stopping, table):
    encoder = nn.Linear(6, 2).requires_grad_(False)
    architecture = Custom(encoder, nn.Linear(2, 6))
    model = AutoencoderTransformer(
        2, architecture=architecture, optimizer=optimizer, learning_rate=1e-3, **QUICK
    )
    fitted = model.set_params(early_stopping=early_stopping).fit(table)
    assert torch.equal(fitted.net_.module_.encoder.weight, encoder.weight)


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, dict])
def test_optimizers_that_cannot_take_batches_are_refused(optimizer, table):
    with pytest.raises(
        ValueError,
        match="optimizer must be one of .* or a class of torch.optim that takes mini-batches",
    ):
        AutoencoderTransformer(2, optimizer=optimizer, **QUICK).fit(table)


def test_a_corruption_function_gets_a_copy_of_the_batch(table):
    nothing = AutoencoderTransformer(
        2, corruption=lambda x: x.mul_(0), max_epochs=30, early_stopping=False, random_state=0
    )
    assert nothing.fit(table).loss_curve_[-1] > 0.5  # from nothing, only the mean can be told
    with pytest.raises(
        ValueError, match=r"corruption must give a tensor of the batch's shape \(.*\), got \(1, 6\)"
    ):
        AutoencoderTransformer(2, corruption=lambda x: x[:1], **QUICK).fit(table)


def test_users_losses_with_parameters_are_kept(table):
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6))

        def forward(self, raw, x):
            return (raw - x).square() * self.weight.exp() - self.weight

    model = AutoencoderTransformer(2, loss=Weighted(), **QUICK).fit(table)
    assert not torch.equal(model.net_.module_.loss.module.weight, torch.ones(6))


def test_curves_have_one_entry_an_epoch(table):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_loss_curve_) == 3
    model = AutoencoderTransformer(2, early_stopping=False, **QUICK).fit(table)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert model.validation_loss_curve_ is None


class Weights(Callback):
    """Keeps the weights that each epoch was judged by."""

    def __init__(self):
        self.states = []

    def on_epoch_end(self, net, **kwargs):
        self.states.append(
            {name: tensor.clone() for name, tensor in net.module_.state_dict().items()}
        )


def learns_then_forgets(t):
    """A schedule whose rate is a hundred times higher in the second half."""
    return 1.0 if t < 0.5 else 100.0


PLAIN = {
    "architecture": Dense((8,), linear_path=False),
    "learning_rate_schedule": learns_then_forgets,
    "random_state": 0,
}


@pytest.mark.parametrize("validation_fraction", [0.2, "auto"])
def test_early_stopping_restores_the_best_weights(validation_fraction, table):
    watch = Weights()
    model = AutoencoderTransformer(
        2, validation_fraction=validation_fraction, max_epochs=20, callbacks=[watch], **PLAIN
    ).fit(table)
    best = int(np.argmin(model.validation_loss_curve_))
    assert 3 < best < 19  # neither the start nor the end
    assert model.best_epoch_ == best + 1
    for name, tensor in model.net_.module_.state_dict().items():
        assert torch.equal(tensor, watch.states[best][name]), name


@pytest.mark.parametrize(
    ("n", "params", "learnt"),
    [
        pytest.param(100, {}, [80, 100], marks=pytest.mark.slow),
        (100, {"corruption": GaussianNoise(0.1)}, [80, 100]),
        (100, {"max_epochs": 50}, [80]),
        pytest.param(100, {"validation_fraction": 0.2}, [80], marks=pytest.mark.slow),
        (100, {"early_stopping": False}, [100]),
        # rows are drawn one by one, so that they stay held out
        pytest.param(100, {"warm_start": True}, [82], marks=pytest.mark.slow),
        pytest.param(1_001, {}, [901], marks=pytest.mark.slow),
    ],
)
def test_small_data_are_refitted_on_all_rows(n, params, learnt, monkeypatch):
    rows, fit = [], AutoencoderNet.fit
    monkeypatch.setattr(
        AutoencoderNet, "fit", lambda net, X: (rows.append(X.n_rows), fit(net, X))[1]
    )
    angle = np.random.default_rng(0).uniform(0, 6, n)
    X = np.c_[np.cos(angle), np.sin(angle), np.sin(2 * angle)]  # PCA is far from the best
    model = AutoencoderTransformer(2, **{"random_state": 0, **params}).fit(X)
    assert rows == learnt
    assert len(model.loss_curve_) == model.n_iter_ >= model.best_epoch_ > 0


@pytest.mark.slow
def test_few_rows_are_all_reconstructed_whichever_are_held_out():
    for seed in (6, 9):  # at which the row far out is held out
        rng = np.random.default_rng(seed)
        t = rng.uniform(-2, 2, 60)
        X = np.c_[t, t**2, np.sin(2 * t)] @ rng.normal(size=(3, 6))
        X = np.c_[X / X.std(0), 0.1 * rng.normal(size=60)]
        X[7, -1] += 30.0
        model = AutoencoderTransformer(2, random_state=seed).fit(X)
        assert model.best_epoch_ > 0
        residual = model.reconstruct(X[7:8]) - X[7]
        assert np.square(residual).sum() < 0.1 * np.square(X[7]).sum(), seed


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 401])
def test_the_refit_starts_anew_for_few_rows_and_else_at_the_best_weights(n, monkeypatch):
    nets, fit = [], AutoencoderNet.fit
    monkeypatch.setattr(AutoencoderNet, "fit", lambda net, X: (nets.append(net), fit(net, X))[1])
    rng = np.random.default_rng(0)
    X = np.tanh(rng.normal(size=(n, 2)) @ rng.normal(size=(2, 6)))
    model = AutoencoderTransformer(2, random_state=0).fit(X)
    first, last = nets
    assert len(last.history) == last.max_epochs
    if n == 60:
        assert last.max_epochs >= model.best_epoch_
        assert last.history[0]["train_loss"] > 0.7 * first.history[0]["train_loss"]
    else:
        assert last.max_epochs < 0.2 * first.max_epochs
        assert last.history[0]["train_loss"] < 0.5 * first.history[0]["train_loss"]
    for name, own in last.module_.state_dict().items():
        torch.testing.assert_close(
            model.net_.module_.state_dict()[name], own, rtol=0, atol=0, equal_nan=True
        )


class Interrupts(Callback):
    """Presses Ctrl-C at the end of the first epoch, or before it."""

    def __init__(self, after):
        self.after = after

    def on_epoch_begin(self, net, **kwargs):
        if not self.after:
            raise KeyboardInterrupt

    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("after", [True, False])
def test_ctrl_c_in_the_last_steps_keeps_the_best_weights(after, monkeypatch):
    nets, fit = [], AutoencoderNet.fit

    def interrupted(net, X):
        nets.append(net)
        net.callbacks = [Interrupts(after)] if len(nets) == 2 else None
        return fit(net, X)

    rng = np.random.default_rng(0)
    X = np.tanh(rng.normal(size=(60, 2)) @ rng.normal(size=(2, 6)))
    alone = AutoencoderTransformer(2, random_state=0)
    with monkeypatch.context() as without:
        without.setattr(AutoencoderTransformer, "_refits_on_all_rows", lambda *args: False)
        alone.fit(X)
    monkeypatch.setattr(AutoencoderNet, "fit", interrupted)
    model = AutoencoderTransformer(2, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    np.testing.assert_array_equal(model.transform(X), alone.transform(X))


def test_early_stopping_ends_training_after_so_many_epochs_without_improvement(table):
    model = AutoencoderTransformer(
        2, validation_fraction=0.2, max_epochs=40, n_iter_no_change=4, tol=0.0, **PLAIN
    ).fit(table)
    assert model.n_iter_ == model.best_epoch_ + 4 < 40


def test_a_fit_that_cannot_learn_ends_near_pca(rng):
    """Most such fits keep the start; the best of 30 epochs on 40 rows held out may seem better by
    chance.
    """
    ratios = []
    for seed in range(4):
        S = StandardScaler().fit_transform(rng.normal(size=(200, 8)))  # nothing to learn
        model = AutoencoderTransformer(3, max_epochs=30, learning_rate=0.5, random_state=seed).fit(
            S
        )
        pca = PCA(3).fit(S)
        ratios.append(-model.score(S) / np.mean((pca.inverse_transform(pca.transform(S)) - S) ** 2))
    np.testing.assert_allclose(np.mean(ratios), 1, atol=0.05)


def test_warm_start_continues_the_last_fit(table):
    architecture = Dense((8,), linear_path=False)
    model = AutoencoderTransformer(
        2,
        architecture=architecture,
        warm_start=True,
        max_epochs=5,
        early_stopping=False,
        random_state=0,
    ).fit(table)
    first = list(model.loss_curve_)
    model.fit(table)
    assert model.n_iter_ == 5
    assert model.loss_curve_[:5] == first
    assert len(model.loss_curve_) == 10
    assert model.loss_curve_[5] < first[0]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"loss": "binary_cross_entropy"}, "loss"),
        ({"scaling": "robust"}, "scaling"),
        ({"architecture": Dense((8,))}, "architecture"),
        ({"latent": Variational()}, "latent"),
    ],
)
def test_warm_start_refuses_what_it_cannot_go_on_with(change, name, table):
    model = AutoencoderTransformer(2, warm_start=True, **QUICK).fit(table)
    with pytest.raises(
        ValueError, match=f"warm_start=True goes on from the last fit, but {name} was"
    ):
        model.set_params(**change).fit(table)


def test_warm_start_wants_the_same_shape(table):
    model = AutoencoderTransformer(2, warm_start=True, **QUICK).fit(table)
    with pytest.raises(
        ValueError,
        match="warm_start=True goes on from the last fit, but n_components was 2 and is 3",
    ):
        model.set_params(n_components=3).fit(table)
    assert model.transform(table).shape == (120, 2)


def test_a_fit_that_has_not_converged_warns(table):
    with pytest.warns(
        ConvergenceWarning,
        match="loss was still falling when training reached max_epochs=2; raise max_epochs",
    ):
        AutoencoderTransformer(
            2,
            max_epochs=2,
            batch_size=16,
            learning_rate=3e-3,
            learning_rate_schedule="constant",
            random_state=0,
        ).fit(table)


def test_the_default_fit_converges(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AutoencoderTransformer(2, random_state=0).fit(table)


def test_divergence_raises_with_the_epoch(table):
    model = AutoencoderTransformer(
        2, optimizer="sgd", learning_rate=1e6, learning_rate_schedule="constant", max_epochs=50
    )
    with pytest.raises(
        FloatingPointError,
        match=r"diverged in epoch \d+: the loss is .* Try a learning_rate under 1e\+06",
    ):
        model.fit(table)
    with pytest.raises(NotFittedError):
        model.transform(table)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_skorchs_clipping_of_gradients_works(early_stopping, table):
    parts = {
        "architecture": Dense((8,), linear_path=False),
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "early_stopping": early_stopping,
    }
    model = AutoencoderTransformer(
        2, learning_rate_schedule="constant", max_epochs=20, random_state=0, **parts
    ).fit(table)
    assert model.loss_curve_[-1] < 0.95 * model.loss_curve_[0]
    model.set_params(callbacks=[GradientNormClipping(1e-6)]).fit(table)
    np.testing.assert_allclose(model.loss_curve_, model.loss_curve_[0], rtol=1e-4)


def test_skorchs_schedulers_work(table):
    watch, scheduler = Rates(), LRScheduler("StepLR", step_size=2, gamma=0.1)
    parts = {"learning_rate": 0.01, "learning_rate_schedule": "constant", "early_stopping": False}
    AutoencoderTransformer(
        2, callbacks=[scheduler, watch], max_epochs=5, batch_size=60, **parts
    ).fit(table)
    np.testing.assert_allclose(watch.rates, 0.01 * np.repeat([1, 1, 0.1, 0.1, 0.01], 2))


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize(
    "estimator", [AutoencoderTransformer(2), AutoencoderOutlierDetector(2, n_estimators=3)]
)
def test_batch_callbacks_do_not_change_the_fit(estimator, early_stopping, table):
    class Watches(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            assert all(p.grad is not None for _, p in named_parameters)

        def on_batch_end(self, net, loss=None, y_pred=None, **kwargs):
            assert np.isfinite(float(loss.mean()))
            assert y_pred.shape[-1] > 1

    plain = (
        clone(estimator)
        .set_params(early_stopping=early_stopping, max_epochs=20, random_state=0)
        .fit(table)
    )
    watched = clone(plain).set_params(callbacks=[Watches()]).fit(table)
    np.testing.assert_array_equal(watched.transform(table), plain.transform(table))


def test_batch_callbacks_are_called_for_every_batch(table):
    class Counts(Callback):
        batches = epochs = 0

        def on_batch_end(self, net, training=False, **kwargs):
            Counts.batches += training

        def on_epoch_end(self, net, **kwargs):
            Counts.epochs += 1

    plain = AutoencoderTransformer(2, batch_size=40, early_stopping=False, **QUICK).fit(table)
    watched = clone(plain).set_params(callbacks=[Counts()]).fit(table)
    assert (Counts.batches, Counts.epochs) == (9, 3)
    np.testing.assert_allclose(watched.loss_curve_, plain.loss_curve_, rtol=1e-5)


@pytest.mark.parametrize("patience", [1, 3])
def test_skorchs_early_stopping_ends_training(patience, table):
    # no epoch is ten times better than the first
    stop = EarlyStopping(monitor="train_loss", patience=patience, threshold=10.0)
    model = AutoencoderTransformer(2, callbacks=[stop], max_epochs=50, random_state=0).fit(table)
    assert model.n_iter_ == len(model.loss_curve_) == 1 + patience


class PressCtrlC(Callback):
    """An interrupt that surfaces somewhere in a callback, as one from the keyboard may."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        import signal

        if len(net.history) > self.epoch:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_before_the_first_epoch_leaves_nothing_half_fitted(table):
    model = AutoencoderTransformer(2, callbacks=[PressCtrlC(0)], **QUICK)
    with pytest.raises(KeyboardInterrupt):
        model.fit(table)
    assert not [name for name in vars(model) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        model.transform(table)


def test_ctrl_c_before_the_first_epoch_leaves_an_earlier_fit_whole(table, fitted):
    Z = fitted.transform(table)
    fitted.set_params(callbacks=[PressCtrlC(0)])
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(table[:, :4])
    assert fitted.n_features_in_ == 6
    np.testing.assert_array_equal(fitted.transform(table), Z)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_ctrl_c_is_raised_and_what_was_learnt_is_kept(early_stopping, table):
    model = AutoencoderTransformer(
        2, max_epochs=10, learning_rate_schedule="constant", random_state=0
    )
    model.set_params(early_stopping=early_stopping, callbacks=[PressCtrlC(4)])
    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(table)
    assert (
        "AutoencoderTransformer was interrupted after 4 epochs and keeps the weights of"
        in caught.value.__notes__[0]
    )
    plain = clone(model).set_params(callbacks=None, max_epochs=4).fit(table)
    np.testing.assert_array_equal(model.transform(table), plain.transform(table))
    assert model.best_epoch_ == plain.best_epoch_


def test_ctrl_c_goes_through_a_handler_of_the_users_own(table):
    import signal

    def handler(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            AutoencoderTransformer(2, callbacks=[PressCtrlC(1)], **QUICK).fit(table)
    finally:
        signal.signal(signal.SIGINT, before)


def test_skorchs_checkpoints_keep_the_best_epoch(table, tmp_path):
    callbacks = [Weights(), Checkpoint(dirname=tmp_path)]
    model = AutoencoderTransformer(
        2, callbacks=callbacks, validation_fraction=0.2, max_epochs=20, **PLAIN
    ).fit(table)
    best = int(np.argmin(model.validation_loss_curve_))
    assert 3 < best < 19
    kept = torch.load(tmp_path / "params.pt")
    assert kept.keys() == callbacks[0].states[best].keys()
    for name, tensor in kept.items():
        assert torch.equal(tensor, callbacks[0].states[best][name]), name
    assert json.loads((tmp_path / "history.json").read_text())[-1]["epoch"] == best + 1
    model.set_params(early_stopping=False)
    # nothing is held out, as skorch says
    with pytest.raises(SkorchException, match="valid_loss_best"):
        model.fit(table)


def test_skorch_scoring_uses_the_predictions_of_training(table):
    def error(net, X, y):
        return float(np.mean((net.predict(X) - y) ** 2))

    scoring = EpochScoring(error, name="error", on_train=True)
    model = AutoencoderTransformer(
        2, callbacks=[scoring], early_stopping=False, max_epochs=3, random_state=0
    ).fit(table)
    np.testing.assert_allclose(model.net_.history[:, "error"], model.loss_curve_, rtol=1e-4)
    assert model.net_.predict(table.astype(np.float32)).shape == table.shape


LARGE = {"architecture": Dense((2048, 2048)), "max_epochs": 1, "early_stopping": False}


@pytest.mark.parametrize(
    ("estimator", "threads"),
    [
        (AutoencoderTransformer(2, early_stopping=False, **QUICK), 1),
        (AutoencoderOutlierDetector(n_estimators=3, random_state=0), 1),
    ],
    ids=["single", "stacked"],
)
def test_small_networks_train_on_one_thread(estimator, threads, table):
    seen = set()

    def look(x):
        if len(x) > 2:  # a batch, and not the two rows of a trial before training
            seen.add(torch.get_num_threads())
        return x

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        estimator.set_params(corruption=look).fit(table)
    finally:
        torch.set_num_threads(before)
    assert seen == {threads}


def test_threads_are_put_back(table):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        AutoencoderTransformer(2, **QUICK).fit(table)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# Randomness


@pytest.mark.parametrize(
    "slots",
    [
        {},
        {"latent": Variational()},
        {"corruption": Masking()},
        {"architecture": Dense((8,), dropout=0.5)},
    ],
)
def test_same_random_state_same_numbers(slots, table):
    model = AutoencoderTransformer(2, **slots, **QUICK)
    Z = model.fit(table).transform(table)
    np.testing.assert_array_equal(Z, model.transform(table))
    np.testing.assert_array_equal(Z, clone(model).fit(table).transform(table))
    np.testing.assert_array_equal(model.sample(5), model.sample(5))
    assert (Z != model.set_params(random_state=1).fit(table).transform(table)).any()


def test_global_generators_are_left_alone(table):
    model = AutoencoderTransformer(2, latent=Variational(), corruption=GaussianNoise(), **QUICK)
    torch.manual_seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    model.fit(table).sample(3)
    model.score_samples(table)
    pickle.loads(pickle.dumps(model))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


# Errors


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"n_components": 0},
            ValueError,
            "'n_components' parameter .* must be an int in the range",
        ),
        ({"n_components": 1.5}, ValueError, "'n_components' parameter"),
        (
            {"loss": "squared"},
            ValueError,
            "'loss' parameter of AutoencoderTransformer must be a str among",
        ),
        (
            {"latent": GaussianNoise()},
            TypeError,
            r"latent=GaussianNoise\(\) is in the wrong slot; pass it as corruption=",
        ),
        ({"corruption": Sparse()}, TypeError, "wrong slot; pass it as latent="),
        (
            {"latent": Variational},
            TypeError,
            r"takes an instance, not the class Variational: pass latent=Variational\(...\)",
        ),
        (
            {"architecture": "dense"},
            TypeError,
            r"architecture must be None or one of .* \(Convolutional, Custom, Dense\), got 'dense'",
        ),
        ({"latent": Variational(beta=-1)}, ValueError, "'beta' parameter of Variational must be"),
        (
            {"architecture": Convolutional((1, 2, 2))},
            ValueError,
            "holds 4 values, but X has 6 features",
        ),
        (
            {"architecture": Custom(nn.Linear(6, 3), nn.Linear(2, 6))},
            ValueError,
            r"encoder of Custom must .* give \(n_samples, 2\), but it gave",
        ),
        (
            {"architecture": Custom(nn.Linear(5, 2), nn.Linear(2, 6))},
            ValueError,
            r"encoder of Custom must take \(n_samples, 6\).*failed on two rows",
        ),
        ({"device": "toaster"}, ValueError, "device='toaster' cannot be used here"),
        (
            {"loss": "binary_cross_entropy", "scaling": "standard"},
            ValueError,
            "scaling='standard' must be None or 'auto'",
        ),
    ],
)
def test_invalid_parameters_raise_with_their_name(parameters, error, message, table):
    model = AutoencoderTransformer(**{**QUICK, **parameters})
    with pytest.raises(error, match=message):
        model.fit(table)
    assert not hasattr(model, "n_features_in_")


def test_cross_entropy_names_the_range_and_the_scaler(table):
    with pytest.raises(
        ValueError, match=r"needs data in \[0, 1\], but X ranges over \[-.*MinMaxScaler"
    ):
        AutoencoderTransformer(2, loss="binary_cross_entropy").fit(table)


def test_cross_entropy_ignores_the_rounding_of_a_min_max_scaler(rng):
    X = MinMaxScaler().fit_transform(rng.normal(size=(100, 10))) + 1e-7
    model = AutoencoderTransformer(2, loss="binary_cross_entropy", **QUICK).fit(X)
    np.testing.assert_array_equal(model.score_samples(X), model.score_samples(X.clip(0, 1)))


def test_cross_entropy_refuses_to_score_values_out_of_range(rng):
    X = rng.random((60, 5))
    model = AutoencoderTransformer(2, loss="binary_cross_entropy", **QUICK).fit(X)
    assert model.transform(3 * X).shape == (60, 2)
    with pytest.raises(ValueError, match=r"needs data in \[0, 1\]"):
        model.score_samples(3 * X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((5, 6), np.inf), "infinity"),
        (np.full((5, 6), "a"), "could not convert string to float"),
        (np.empty((0, 6)), "0 sample"),
        (np.zeros(6), "Expected 2D array"),
        (np.zeros((2, 3, 6)), "dim 3"),
    ],
    ids=["inf", "text", "empty", "1d", "3d"],
)
def test_bad_data_changes_nothing(X, message, table, fitted):
    scores = fitted.score_samples(table)
    for method in (fitted.fit, fitted.transform, fitted.score_samples, fitted.reconstruct):
        with pytest.raises(ValueError, match=message):
            method(X)
    np.testing.assert_array_equal(fitted.score_samples(table), scores)


def test_other_columns_are_refused(table):
    X = pd.DataFrame(table, columns=list("abcdef"))
    model = AutoencoderTransformer(2, **QUICK).fit(X)
    with pytest.raises(
        ValueError, match="X has 5 features, but AutoencoderTransformer is expecting 6"
    ):
        AutoencoderTransformer(2, **QUICK).fit(table).transform(table[:, :5])
    with pytest.raises(ValueError, match="feature names"):
        model.transform(X[list("fabcde")])
    with pytest.raises(ValueError, match="Z has 3 columns, but codes have 2"):
        model.inverse_transform(np.zeros((1, 3)))


def test_unfitted_methods_raise_not_fitted_error(table):
    model = AutoencoderTransformer(2)
    for call in (
        model.transform,
        model.inverse_transform,
        model.reconstruct,
        model.score_samples,
        model.score,
        model.reconstruction_errors,
    ):
        with pytest.raises(NotFittedError):
            call(table)
    with pytest.raises(NotFittedError):
        model.sample()


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("latent__beta", r"pass latent=Variational\(...\) first"),
        ("latent__alpha", r"pass latent=Contractive\(...\) or latent=Sparse\(...\) first"),
        (
            "corruption__fraction",
            r"pass corruption=Masking\(...\) or corruption=SaltAndPepper\(...\) first",
        ),
        ("architecture__dropout", r"pass architecture=Dense\(...\) first"),
        ("latent__gamma", "no part for it has a parameter 'gamma'"),
    ],
)
def test_setting_a_parameter_of_an_empty_slot_names_the_part(parameter, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer().set_params(**{parameter: 1})


def test_a_part_and_its_parameter_can_be_set_together():
    model = AutoencoderTransformer().set_params(latent=Variational(), latent__beta=2)
    assert model.latent.beta == 2


def test_parts_changed_after_fit_do_not_change_the_fit(table):
    model = AutoencoderTransformer(2, latent=Variational(), **QUICK).fit(table)
    Z = model.transform(table)
    model.set_params(latent=Contractive(), n_components=4, loss="huber")
    np.testing.assert_array_equal(model.transform(table), Z)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(table), Z)


# Edges


@pytest.mark.parametrize("normalization", [None, "batch"])
@pytest.mark.parametrize("n", [2, 3, 31, 32, 33, 65])
def test_any_number_of_rows_against_the_batch_size(n, normalization, rng):
    X = rng.normal(size=(n, 4))
    model = AutoencoderTransformer(
        2,
        architecture=Dense((8,), normalization=normalization),
        batch_size=32,
        early_stopping=False,
        **QUICK,
    )
    assert model.fit(X).transform(X).shape == (n, 2)


@pytest.mark.parametrize("latent", [None, Sparse(), Contractive(), Variational()])
def test_one_row(latent):
    X = np.array([[1.0, 2.0, 3.0]])
    model = AutoencoderTransformer(2, latent=latent, **QUICK).fit(X)
    np.testing.assert_allclose(model.reconstruct(X), X, rtol=0.1)
    assert np.isfinite(model.sample(2)).all()


def test_one_feature(rng):
    X = rng.normal(size=(50, 1))
    model = AutoencoderTransformer(1, **QUICK).fit(X)
    np.testing.assert_allclose(model.reconstruct(X), X, atol=0.05)


def test_more_components_than_features(table):
    assert AutoencoderTransformer(9, **QUICK).fit(table).transform(table).shape == (120, 9)


def test_constant_features_are_reconstructed(rng):
    X = np.column_stack([rng.normal(size=50), np.full(50, 7.0), rng.normal(size=50), np.zeros(50)])
    R = AutoencoderTransformer(2, **QUICK).fit(X).reconstruct(X)
    np.testing.assert_allclose(R[:, [1, 3]], X[:, [1, 3]], atol=1e-2)
    assert np.isfinite(
        AutoencoderTransformer(2, **QUICK).fit(np.ones((20, 3))).score_samples(np.ones((20, 3)))
    ).all()


def test_features_ten_orders_of_magnitude_apart(rng):
    Z = rng.normal(size=(200, 1))
    X = (Z + 0.01 * rng.normal(size=(200, 3))) * [1e-5, 1, 1e5] + [0, 1e8, -1e5]
    R = AutoencoderTransformer(1, random_state=0, max_epochs=20).fit(X).reconstruct(X)
    assert (((R - X) / X.std(0)) ** 2).mean() < 0.01


def test_duplicate_rows():
    X = np.repeat([[0.0, 1.0, 5.0], [2.0, 1.0, 4.0]], 40, axis=0)
    model = AutoencoderTransformer(1, **QUICK).fit(X)
    np.testing.assert_allclose(model.reconstruct(X), X, atol=0.1)


def test_far_away_rows_have_finite_scores(fitted):
    scores = fitted.score_samples([[1e300] * 6, [-1e30] * 6, [0.0] * 6])
    assert np.isfinite(scores).all()
    assert scores[2] > scores[1]


# Pickling


@pytest.mark.parametrize(
    "slots",
    [
        {},
        {"latent": Variational()},
        {"architecture": Convolutional((1, 6))},
        {"loss": nn.HuberLoss()},
    ],
)
def test_pickles_give_the_same_numbers(slots, table):
    model = AutoencoderTransformer(2, **slots, **QUICK).fit(table)
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    for copy in (pickle.loads(pickle.dumps(model)), joblib.load(buffer)):
        for method in ("transform", "reconstruct", "score_samples"):
            np.testing.assert_array_equal(
                getattr(copy, method)(table), getattr(model, method)(table)
            )
        np.testing.assert_array_equal(copy.sample(3), model.sample(3))
        assert copy.loss_curve_ == model.loss_curve_


def test_pickles_hold_weights_and_no_optimizer(table):
    model = AutoencoderTransformer(2, architecture=Dense((256, 256)), **QUICK).fit(table)
    n_weights = sum(p.numel() for p in model.net_.module_.parameters())
    assert len(pickle.dumps(model)) < 4 * n_weights + 40_000
    assert "net_" not in model.__getstate__()


def test_a_pickle_can_be_trained_further(table):
    model = AutoencoderTransformer(2, warm_start=True, **QUICK).fit(table)
    copy = pickle.loads(pickle.dumps(model)).fit(table)
    assert len(copy.loss_curve_) == 6


def test_the_net_has_a_short_repr_and_shows_in_notebooks(fitted):
    assert repr(fitted.net_) == "AutoencoderNet(trained, cpu)"
    assert "AutoencoderTransformer" in fitted._repr_html_()

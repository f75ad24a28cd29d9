"""What users meet when something is unusual: callbacks of skorch, strange columns, extreme values,
help.
"""

import copy
import inspect
import pickle
import pydoc

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EpochScoring,
    Freezer,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
)
from skorch.exceptions import SkorchException

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.architectures import Convolutional
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Latent, LatentModule
from tests.helpers import QUICK, STEADY

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {
    "by default": AutoencoderTransformer(2, **QUICK),
    "held-out": AutoencoderTransformer(2, validation_fraction=0.2, **QUICK),
    "no validation": AutoencoderTransformer(2, early_stopping=False, **QUICK),
    "ensemble": AutoencoderOutlierDetector(n_estimators=3, early_stopping=True, **QUICK),
}


@pytest.fixture(params=SETTINGS)
def model(request):
    """An unfitted estimator for each way of training."""
    return copy.deepcopy(SETTINGS[request.param])


# skorch's callbacks


@pytest.mark.parametrize(
    "options", [{}, {"load_best": True}, {"f_history": None}, {"f_pickle": "net.pkl"}], ids=str
)
@pytest.mark.parametrize("monitor", ["train_loss_best", None])
def test_checkpoints_are_written_however_a_net_is_trained(monitor, options, model, table, tmp_path):
    checkpoint = Checkpoint(monitor=monitor, dirname=tmp_path, **options)
    model.set_params(callbacks=[checkpoint]).fit(table)
    assert (tmp_path / "params.pt").exists()
    assert np.isfinite(model.transform(table)).all()
    if "f_pickle" in options:
        assert (tmp_path / "net.pkl").exists()


class RuinTheLastEpoch(Callback):
    def on_epoch_begin(self, net, **_):
        if len(net.history) == net.max_epochs:
            for weights in net.module_.parameters():
                weights.data.mul_(10)


def test_the_best_checkpoint_is_loaded(table, tmp_path):
    model = AutoencoderTransformer(
        2, max_epochs=5, early_stopping=False, callbacks=[RuinTheLastEpoch()], random_state=0
    )
    last = model.fit(table).score(table)
    checkpoint = Checkpoint(monitor="train_loss_best", dirname=tmp_path, load_best=True)
    best = model.set_params(callbacks=[RuinTheLastEpoch(), checkpoint]).fit(table)
    assert best.score(table) > last


def test_a_checkpoint_that_waits_for_validation_says_so(table, tmp_path):
    model = AutoencoderTransformer(
        2, callbacks=[Checkpoint(dirname=tmp_path)], early_stopping=False, **QUICK
    )
    with pytest.raises(SkorchException, match="Make sure you have validation data"):
        model.fit(table)


@pytest.mark.parametrize("setting", ["by default", "held-out"])
@pytest.mark.parametrize("use_caching", [True, False])
def test_scores_of_epochs_compare_with_the_rows_themselves(setting, use_caching, table):
    scoring = EpochScoring(
        "neg_mean_squared_error", lower_is_better=False, use_caching=use_caching, name="mse"
    )
    model = copy.deepcopy(SETTINGS[setting]).set_params(callbacks=[scoring]).fit(table)
    np.testing.assert_allclose(
        model.net_.history[:, "mse"], np.negative(model.validation_loss_curve_), rtol=1e-4
    )


def test_scores_of_training_batches_compare_with_the_rows_themselves(model, table):
    callbacks = [
        EpochScoring("neg_mean_squared_error", lower_is_better=False, on_train=True, name="epochs"),
        BatchScoring(
            "neg_mean_squared_error", lower_is_better=False, on_train=True, name="batches"
        ),
    ]
    history = model.set_params(callbacks=callbacks).fit(table).net_.history
    assert np.isfinite(history[:, "epochs"]).all()
    if isinstance(model, AutoencoderTransformer):  # members leave their worst rows out of the loss
        np.testing.assert_allclose(history[:, "epochs"], np.negative(model.loss_curve_), rtol=1e-4)


def test_scores_see_probabilities_with_cross_entropy(rng):
    X = rng.random((60, 5))
    scoring = EpochScoring("neg_mean_squared_error", lower_is_better=False, name="mse")
    model = AutoencoderTransformer(
        2, loss="binary_cross_entropy", callbacks=[scoring], **QUICK
    ).fit(X)
    assert model.net_.history[-1, "mse"] > -0.1  # logits would be off by more
    np.testing.assert_allclose(
        model.net_.predict(X.astype(np.float32)), model.reconstruct(X), rtol=1e-4
    )


def test_callbacks_of_all_kinds_work(model, table, tmp_path):
    lines = []
    callbacks = [
        ProgressBar(),
        PrintLog(sink=lines.append),
        TrainEndCheckpoint(dirname=tmp_path),
        PassthroughScoring("train_loss", on_train=True),
    ]
    model.set_params(callbacks=callbacks, verbose=1).fit(table)
    assert len(lines) == 5
    assert (tmp_path / "train_end_params.pt").exists()


def test_a_freezer_freezes(table):
    model = AutoencoderTransformer(
        2, callbacks=[Freezer("encoder.*")], early_stopping=False, **QUICK
    )
    frozen = model.fit(table).net_.module_.state_dict()
    start = (
        model.set_params(callbacks=None, learning_rate=1e-12).fit(table).net_.module_.state_dict()
    )
    for name, tensor in frozen.items():
        same = torch.allclose(tensor, start[name], atol=1e-7)
        assert same or not name.startswith("encoder"), name
    assert not torch.allclose(
        frozen["decoder.linear.weight"], start["decoder.linear.weight"], atol=1e-7
    )


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", lambda t: 1.0])
def test_two_schedules_at_once_are_refused(schedule, table):
    model = AutoencoderTransformer(
        2, callbacks=[LRScheduler("StepLR", step_size=1)], learning_rate_schedule=schedule, **QUICK
    )
    with pytest.raises(ValueError, match="pass learning_rate_schedule='constant'"):
        model.fit(table)


def test_a_schedule_of_skorchs_sets_the_rate(table):
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.1)
    model = AutoencoderTransformer(
        2, callbacks=[scheduler], learning_rate=0.1, learning_rate_schedule="constant", **QUICK
    )
    np.testing.assert_allclose(model.fit(table).net_.history[:, "event_lr"], [0.1, 0.01, 0.001])


# Columns that are not numbers


def with_column(values, dtype=None):
    return pd.DataFrame({"a": np.arange(6.0), "b": pd.Series(values, dtype=dtype)})


DAYS = pd.date_range("2026-01-01", periods=6)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (
            with_column(list("xyxyxy")),
            ValueError,
            r"'b' \(.*OneHotEncoder\(\), \['b'\]\), remainder=StandardScaler",
        ),
        (
            with_column(list("xyxyxy"), "category"),
            ValueError,
            r"'b' \(category\).*make_column_transformer",
        ),
        (with_column([{}] * 6), ValueError, r"'b' \(object\)"),
        (with_column([1j] * 6), ValueError, r"'b' \(complex128\)"),
        (
            with_column(DAYS),
            TypeError,
            r"dates or durations: 'b' \(datetime64.*\('drop', \['b'\]\), remainder=StandardScaler",
        ),
        (with_column(DAYS - DAYS[0]), TypeError, r"'b' \(timedelta64"),
        (with_column(DAYS.to_period("D")), TypeError, r"'b' \(period"),
        (
            pl.DataFrame({"a": np.arange(6.0), "b": list("xyxyxy")}),
            ValueError,
            r"'b' \(String\).*OneHotEncoder\(\), \['b'\]",
        ),
        (
            pl.DataFrame({"a": range(6), "b": pl.Series(list("xyxyxy"), dtype=pl.Categorical)}),
            ValueError,
            r"'b' \(Categorical",
        ),
        (pl.DataFrame({"a": np.arange(6.0), "b": DAYS.to_numpy()}), TypeError, r"'b' \(Datetime"),
        (np.repeat(DAYS.to_numpy()[:, None], 2, 1), TypeError, r"datetime64.*into numbers first"),
        (pd.DataFrame(np.full((6, 9), "x")), ValueError, r"and 4 more.*\[0, 1, 2, 3, 4, ...\]"),
        (np.full((6, 2), 1j), ValueError, "Complex data not supported"),
        (np.full((6, 2), "x", object), ValueError, "could not convert string to float"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_columns_that_are_not_numbers_are_named(X, error, message, rng):
    model = AutoencoderTransformer(1, **QUICK)
    with pytest.raises(error, match=message):
        model.fit(X)
    fitted = model.fit(rng.normal(size=(6, np.shape(X)[1])))
    with pytest.raises(error, match=message):
        fitted.transform(X)


@pytest.mark.parametrize(
    "values",
    [["1", "2"] * 3, pd.Categorical([1, 2] * 3), [True, False] * 3, pd.array([1, 2] * 3, "Int64")],
)
def test_columns_that_read_as_numbers_are_taken(values):
    X = with_column(values)
    assert AutoencoderTransformer(1, **QUICK).fit(X).transform(X).shape == (6, 1)


def test_what_the_message_recommends_works(rng):
    X = pd.DataFrame(rng.normal(size=(40, 3)), columns=list("abc")).assign(kind=list("xy") * 20)
    encoded = make_column_transformer((OneHotEncoder(), ["kind"]), remainder=StandardScaler())
    assert make_pipeline(encoded, AutoencoderTransformer(2, **QUICK)).fit_transform(X).shape == (
        40,
        2,
    )


# Extreme values


@pytest.mark.parametrize("unit", [1e155, 1e-155, 1e300, 1e-300, 1e-310])
@pytest.mark.parametrize(
    "model",
    [AutoencoderTransformer(2, **STEADY), AutoencoderOutlierDetector(n_estimators=3, **QUICK)],
)
def test_units_do_not_matter_however_extreme(model, unit, table):
    plain, extreme = (copy.deepcopy(model).fit(X) for X in (table, table * unit))
    np.testing.assert_allclose(
        extreme.transform(table * unit), plain.transform(table), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        extreme.reconstruct(table * unit) / unit, plain.reconstruct(table), rtol=1e-3, atol=1e-2
    )
    np.testing.assert_allclose(
        extreme.score_samples(table * unit), plain.score_samples(table), rtol=1e-3
    )


@pytest.mark.parametrize("unit", [1e30, 1e34, 1e-30, 1e-37])
def test_units_do_not_matter_in_float32(unit, table):
    X, extreme = table.astype(np.float32), (table * unit).astype(np.float32)
    # rounding grows in training, and codes have deviations of about 1
    for learning_rate, atol in (
        (1e-8, 1e-3),
        (1e-2, 0.1),
    ):
        model = AutoencoderTransformer(
            2, learning_rate=learning_rate, early_stopping=False, **QUICK
        )
        plain, other = (clone(model).fit(rows) for rows in (X, extreme))
        np.testing.assert_allclose(
            other.transform(extreme), plain.transform(X), rtol=1e-3, atol=atol
        )


@pytest.mark.parametrize("value", [1e18, 1e160, 1e300])
@pytest.mark.parametrize(
    "model",
    [AutoencoderTransformer(2, **QUICK), AutoencoderOutlierDetector(n_estimators=3, **QUICK)],
)
def test_one_huge_value_spoils_its_own_column_only(model, value, table):
    X = table.copy()
    X[3, 1] = value
    R = copy.deepcopy(model).fit(X).reconstruct(X)
    assert np.isfinite(R).all()
    if isinstance(model, AutoencoderTransformer):
        others = [0, 2, 3, 4, 5]
        assert ((R - X)[:, others] ** 2).mean() < 0.3 * X[:, others].var(0).mean()


def test_codes_in_another_precision_than_the_fits_are_finite(table):
    model = AutoencoderTransformer(2, **QUICK).fit(table * 1e-300)
    assert np.isfinite(model.transform(np.zeros((3, 6), np.float32))).all()


def test_large_integers_are_taken(rng):
    X = rng.integers(0, 2**62, size=(100, 4))
    assert np.isfinite(AutoencoderTransformer(2, **QUICK).fit(X).score(X))


@pytest.mark.parametrize("unit", [1e30, 1e155, 1e-30])
def test_extreme_values_are_refused_without_scaling(unit, table):
    with pytest.raises(
        ValueError,
        match=r"largest value of X, in column 2, is -.*StandardScaler .*or leave scaling='auto'",
    ):
        AutoencoderTransformer(2, scaling=None, **QUICK).fit(table * unit)


# Scaling


def test_nearly_constant_features_are_bounded_when_something_is_corrupted(rng):
    X = rng.normal(size=(500, 4))
    X[:, 3] = 0
    X[:2, 3] = 1e-3  # in units of its own
    plain = AutoencoderTransformer(2, **QUICK).fit(X)._model.scaling
    bounded = AutoencoderTransformer(2, corruption=GaussianNoise(), **QUICK).fit(X)._model.scaling
    np.testing.assert_allclose(plain.scale, X.std(0))
    np.testing.assert_allclose(bounded.scale[:3], X.std(0)[:3])
    np.testing.assert_allclose(bounded.scale[3], (1e-3 - X[:, 3].mean()) / 2)


def test_bounded_scaling_does_not_depend_on_units(rng):
    X = (rng.random((300, 3)) < [0.5, 0.05, 0.01]) * 1.0
    units = [1e-5, 1, 1e5]
    one, other = (
        AutoencoderTransformer(1, scaling="bounded", **QUICK).fit(rows)._model.scaling
        for rows in (X, X * units)
    )
    np.testing.assert_allclose(one.scale * units, other.scale)


# Losses


def cubic(raw, x):
    return (raw - x).abs() ** 3


def test_a_loss_may_be_a_function(table):
    class Cubic(torch.nn.Module):
        def forward(self, raw, x):
            return cubic(raw, x)

    a, b = (AutoencoderTransformer(2, loss=loss, **QUICK).fit(table) for loss in (cubic, Cubic()))
    np.testing.assert_array_equal(a.transform(table), b.transform(table))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(a)).score_samples(table), a.score_samples(table)
    )
    per_sample = AutoencoderTransformer(2, loss=lambda raw, x: cubic(raw, x).mean(1), **QUICK).fit(
        table
    )
    np.testing.assert_allclose(per_sample.score_samples(table), a.score_samples(table), rtol=1e-4)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            torch.nn.functional.mse_loss,
            r"loss mse_loss must give one number per sample .* reduction='none'",
        ),
        (lambda raw, x: 0.0, "must give a tensor, one number per sample, got float"),
        (torch.nn.MSELoss, r"not a class: pass MSELoss\(...\)"),
        (3, "'loss' parameter"),
    ],
)
def test_losses_that_cannot_be_used_are_named(loss, message, table):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(2, loss=loss, **QUICK).fit(table)


def test_errors_name_the_loss_that_was_fitted(rng):
    X = rng.random((50, 4))
    model = (
        AutoencoderTransformer(2, loss="binary_cross_entropy", **QUICK)
        .fit(X)
        .set_params(loss="huber")
    )
    with pytest.raises(ValueError, match=r"loss='binary_cross_entropy' needs data in \[0, 1\]"):
        model.score(5 * X)


# Images


@pytest.mark.parametrize("shape", [(8, 8), (28, 28)])
def test_square_images_without_channels_are_asked_about(shape):
    n = shape[0]
    with pytest.raises(
        ValueError,
        match=rf"\(1, {n}, {n}\) for a grey image .* \({n}, 1, {n}\) for a sequence of {n} "
        r"channels",
    ):
        Convolutional(shape).build(n * n, 2, 2)


def test_a_sequence_may_have_as_many_channels_as_its_length():
    X = torch.randn(5, 64)
    encoder, decoder = Convolutional((8, 1, 8), linear_path=False).build(64, 2, 2)
    assert decoder(encoder(X)).shape == X.shape
    assert encoder[1].in_channels == 8


# Latents with weights of their own


class Codebook(Latent):
    """A vector-quantised code: the nearest of a few learnt ones (van den Oord et al., 2017)."""

    def __init__(self, n_codes=8):
        self.n_codes = n_codes

    def build(self, n_components):
        return Quantiser(self, n_components)


class Quantiser(LatentModule):
    branches = False

    def __init__(self, latent, n_components):
        super().__init__(latent)
        self.codes = torch.nn.Parameter(torch.randn(latent.n_codes, n_components))

    def nearest(self, h):
        distances = (h[:, None] - self.codes).square().sum(2)
        if self.branches and distances.sum() < 0:  # control flow that depends on data
            return h
        return self.codes[distances.argmin(1)]

    def code(self, h, sample):
        z = self.nearest(h)
        return h + (z - h).detach() if sample else z  # gradients go straight through

    def cost(self, h, x, encoder):
        z = self.nearest(h)
        return (z - h.detach()).square().mean(1) + 0.25 * (z.detach() - h).square().mean(1)


class BranchingCodebook(Codebook):
    def build(self, n_components):
        quantiser = Quantiser(self, n_components)
        quantiser.branches = True
        return quantiser


@pytest.mark.parametrize("latent", [Codebook(), BranchingCodebook()], ids=["vmap", "loop"])
def test_a_codebook_trains(latent, model, table):
    model.set_params(latent=latent, max_epochs=10, learning_rate=0.05).fit(table)
    start = copy.deepcopy(model).set_params(learning_rate=1e-12).fit(table)

    def codes(m):
        return next(
            p for name, p in m.net_.module_.named_parameters() if name.endswith("latent.codes")
        )

    if model.best_epoch_:
        assert not torch.allclose(codes(model), codes(start), atol=1e-4)
    assert model.early_stopping or model.best_epoch_  # at least there it must have moved
    if isinstance(model, AutoencoderTransformer):
        assert len(np.unique(model.transform(table).round(4), axis=0)) <= 8
    else:
        assert model.net_.module_.mode == ("vmap" if type(latent) is Codebook else "loop")
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.transform(table), model.transform(table))
    assert np.isfinite(copied.sample(3, random_state=0)).all()


# Help


@pytest.mark.parametrize("estimator", [AutoencoderTransformer, AutoencoderOutlierDetector])
def test_help_shows_names_of_types(estimator):
    text = pydoc.render_doc(estimator, renderer=pydoc.plaintext)
    assert "fit(self, X: 'ArrayLike'" in text
    for expansion in ("_NestedSequence", "_SupportsArray", "collections.abc", "numpy._typing"):
        assert expansion not in text
    for name, method in inspect.getmembers(estimator, inspect.isfunction):
        if method.__module__.startswith("sklearn_ae") and not name.startswith("_"):
            assert len(str(inspect.signature(method))) < 132, name

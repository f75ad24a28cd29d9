"""What users meet when something is unusual: callbacks of skorch, strange columns, extreme values, help."""

import copy
import inspect
import pickle
import pydoc

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from skorch.callbacks import (
    BatchScoring,
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
from tests.helpers import QUICK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {
    "folds": AutoencoderTransformer(2, **QUICK),
    "held-out": AutoencoderTransformer(2, validation_fraction=0.2, **QUICK),
    "no validation": AutoencoderTransformer(2, early_stopping=False, **QUICK),
    "ensemble": AutoencoderOutlierDetector(n_estimators=3, early_stopping=True, **QUICK),
}


@pytest.fixture(params=SETTINGS)
def model(request):
    """An unfitted estimator for each way of training."""
    return copy.deepcopy(SETTINGS[request.param])


# skorch's callbacks


@pytest.mark.parametrize("options", [{}, {"load_best": True}, {"f_history": None}, {"f_pickle": "net.pkl"}], ids=str)
@pytest.mark.parametrize("monitor", ["train_loss_best", None])
def test_checkpoints_are_written_however_a_net_is_trained(monitor, options, model, table, tmp_path):
    checkpoint = Checkpoint(monitor=monitor, dirname=tmp_path, **options)
    model.set_params(callbacks=[checkpoint]).fit(table)
    assert (tmp_path / "params.pt").exists()
    assert np.isfinite(model.transform(table)).all()
    if "f_pickle" in options:
        assert (tmp_path / "net.pkl").exists()


def test_the_best_checkpoint_is_loaded(table, tmp_path):
    model = AutoencoderTransformer(2, learning_rate=0.5, max_epochs=8, early_stopping=False, random_state=0)
    model.set_params(learning_rate_schedule="constant")
    last = model.fit(table).score(table)
    best = model.set_params(callbacks=[Checkpoint(monitor="train_loss_best", dirname=tmp_path, load_best=True)]).fit(table)
    assert best.score(table) > last


def test_a_checkpoint_that_waits_for_validation_says_so(table, tmp_path):
    model = AutoencoderTransformer(2, callbacks=[Checkpoint(dirname=tmp_path)], early_stopping=False, **QUICK)
    with pytest.raises(SkorchException, match="Make sure you have validation data"):
        model.fit(table)


@pytest.mark.parametrize("setting", ["folds", "held-out"])
@pytest.mark.parametrize("use_caching", [True, False])
def test_scores_of_epochs_compare_with_the_rows_themselves(setting, use_caching, table):
    scoring = EpochScoring("neg_mean_squared_error", lower_is_better=False, use_caching=use_caching, name="mse")
    model = copy.deepcopy(SETTINGS[setting]).set_params(callbacks=[scoring]).fit(table)
    np.testing.assert_allclose(model.net_.history[:, "mse"], np.negative(model.validation_loss_curve_), rtol=1e-4)


def test_scores_of_training_batches_compare_with_the_rows_themselves(model, table):
    callbacks = [
        EpochScoring("neg_mean_squared_error", lower_is_better=False, on_train=True, name="epochs"),
        BatchScoring("neg_mean_squared_error", lower_is_better=False, on_train=True, name="batches"),
    ]
    history = model.set_params(callbacks=callbacks).fit(table).net_.history
    assert np.isfinite(history[:, "epochs"]).all()
    if isinstance(model, AutoencoderTransformer):  # members leave their worst rows out of the loss
        np.testing.assert_allclose(history[:, "epochs"], np.negative(model.loss_curve_), rtol=1e-4)


def test_scores_see_probabilities_with_cross_entropy(rng):
    X = rng.random((60, 5))
    scoring = EpochScoring("neg_mean_squared_error", lower_is_better=False, name="mse")
    model = AutoencoderTransformer(2, loss="binary_cross_entropy", callbacks=[scoring], **QUICK).fit(X)
    assert model.net_.history[-1, "mse"] > -0.1  # logits would be off by more
    np.testing.assert_allclose(model.net_.predict(X.astype(np.float32)), model.reconstruct(X), rtol=1e-4)


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
    model = AutoencoderTransformer(2, callbacks=[Freezer("encoder.*")], early_stopping=False, **QUICK)
    frozen = model.fit(table).net_.module_.state_dict()
    start = model.set_params(callbacks=None, learning_rate=1e-12).fit(table).net_.module_.state_dict()
    for name, tensor in frozen.items():
        same = torch.allclose(tensor, start[name], atol=1e-7)
        assert same or not name.startswith("encoder"), name
    assert not torch.allclose(frozen["decoder.linear.weight"], start["decoder.linear.weight"], atol=1e-7)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", lambda t: 1.0])
def test_two_schedules_at_once_are_refused(schedule, table):
    model = AutoencoderTransformer(2, callbacks=[LRScheduler("StepLR", step_size=1)], learning_rate_schedule=schedule, **QUICK)
    with pytest.raises(ValueError, match="pass learning_rate_schedule='constant'"):
        model.fit(table)


def test_a_schedule_of_skorchs_sets_the_rate(table):
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.1)
    model = AutoencoderTransformer(2, callbacks=[scheduler], learning_rate=0.1, learning_rate_schedule="constant", **QUICK)
    np.testing.assert_allclose(model.fit(table).net_.history[:, "event_lr"], [0.1, 0.01, 0.001])

"""Fits that are killed go on from their checkpoint, bit for bit; other fits and other files are
refused.
"""

import itertools
import multiprocessing
import os
import pathlib
import pickle
import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._training import checkpoint
from sklearn_ae.architectures import Dense
from sklearn_ae.latents import Sparse, Variational
from sklearn_ae.persistence import save

FITS = {
    "default": AutoencoderTransformer(2, random_state=0),
    "random": AutoencoderTransformer(
        2, latent=Variational(), architecture=Dense((8,), dropout=0.2), random_state=0
    ),
    "plateau": AutoencoderTransformer(
        2,
        learning_rate=0.1,
        learning_rate_schedule="plateau",
        n_iter_no_change=2,
        optimizer="sgd",
        random_state=0,
    ),
    "torch's optimizer": AutoencoderTransformer(
        2, optimizer=torch.optim.NAdam, early_stopping=False, random_state=0
    ),
    "ensemble": AutoencoderOutlierDetector(2, n_estimators=4, max_samples=60, random_state=0),
}


class Killed(Callback):
    """Ends a fit at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if net.state_.epoch == self.epoch:
            raise SystemExit


@pytest.fixture(autouse=True)
def _each_epoch_is_saved(monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_APART", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", np.inf)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint"


def fit(estimator, X, path=None, weights=None):
    """The net of a fit that is kept in a file."""
    estimator.set_params(checkpoint=path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of few epochs
        return estimator.fit(X, sample_weight=weights).net_


def killed(estimator, X, path, epoch=5):
    """A fit that ends at an epoch, with its checkpoint left behind."""
    with pytest.raises(SystemExit):
        fit(estimator.set_params(callbacks=[Killed(epoch)]), X, path)
    estimator.set_params(callbacks=None)
    assert path.exists()


def weights_of(net):
    return torch.cat(
        [tensor.double().flatten() for tensor in net.module_.state_dict().values()]
    ).numpy()


def assert_same_fits(a, b):
    np.testing.assert_array_equal(weights_of(a), weights_of(b))
    assert list(a.history) == list(b.history)
    assert a.best_epoch_ == b.best_epoch_


@pytest.fixture
def quick():
    return AutoencoderTransformer(2, max_epochs=8, batch_size=40, random_state=0)


@pytest.mark.parametrize("name", FITS)
def test_a_fit_goes_on_bit_for_bit(name, table, path):
    estimator = FITS[name].set_params(max_epochs=10, batch_size=40)
    undisturbed = fit(estimator, table)
    killed(estimator, table, path, epoch=3)
    killed(estimator, table, path, epoch=7)
    assert_same_fits(fit(estimator, table, path), undisturbed)
    assert not any(path.parent.iterdir())


@pytest.mark.parametrize("random_state", [None, "instance"])
def test_the_random_state_of_a_fit_goes_on_too(random_state, quick, table, path):
    def seed(number):
        np.random.seed(number)
        return None if random_state is None else np.random.RandomState(number)

    undisturbed = fit(quick.set_params(random_state=seed(1)), table)
    killed(quick.set_params(random_state=seed(1)), table, path)
    assert_same_fits(fit(quick.set_params(random_state=seed(2)), table, path), undisturbed)


def test_what_does_not_matter_may_change(quick, table, path):
    undisturbed = fit(quick, table)
    killed(quick, table, path)
    moved = path.rename(path.with_name("elsewhere"))
    assert_same_fits(fit(quick.set_params(verbose=1, device="cpu"), table, moved), undisturbed)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_epochs": 9}, "max_epochs was 8 and is 9"),
        ({"learning_rate": 0.1}, "learning_rate was 'auto' and is 0.1"),
        ({"latent": Sparse(0.1)}, "latent was None and is Sparse"),
        (
            {"architecture": Dense((8, 3))},
            r"architecture__hidden_layer_sizes was \(8,\) and is \(8, 3\)",
        ),
        ({"random_state": 1}, "random_state was 0 and is 1"),
    ],
)
def test_other_parameters_are_refused_by_name(parameters, message, quick, table, path):
    killed(quick.set_params(architecture=Dense((8,))), table, path)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=f"of another fit: {message}. To train from the start, delete"
    ):
        fit(quick.set_params(**parameters), table, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X[1:], r"X.shape was \(120, 6\) and is \(119, 6\)"),
        (lambda X: X.astype(np.float32), "X.dtype was float64 and is float32"),
        (lambda X: np.where(np.arange(720).reshape(120, 6) == 700, 0, X), "the checksum of X was"),
        (
            lambda X: np.where(np.arange(720).reshape(120, 6) == 700, np.nan, X),
            "the checksum of X was",
        ),
        (lambda X: X[::-1].copy(), "the checksum of X was"),
    ],
    ids=["rows", "precision", "value", "gap", "order"],
)
def test_other_data_are_refused_by_name(change, message, quick, table, path):
    killed(quick, table, path)
    with pytest.raises(ValueError, match=f"of another fit: {message}"):
        fit(quick, change(table), path)


def test_other_weights_are_refused_by_name(quick, table, path):
    killed(quick, table, path)
    with pytest.raises(ValueError, match="the checksum of sample_weight was"):
        fit(quick, table, path, np.linspace(1, 2, 120))


def test_a_warm_start_does_not_go_on_with_a_first_fit(quick, table, path):
    killed(quick.set_params(warm_start=True), table, path)
    quick.set_params(checkpoint=None).fit(table)
    with pytest.raises(ValueError, match="the last fit's weights was None and is"):
        fit(quick, table, path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it was not written by sklearn_ae"),
        (b"notes", "it was not written by sklearn_ae"),
        (pickle.dumps({"weights": 1}), "it was not written by sklearn_ae"),
        ("torn", "it is cut off or was changed"),
        ("changed", "it is cut off or was changed"),
        ("estimator", "holds something else"),
    ],
    ids=["empty", "text", "pickle", "torn", "changed", "estimator"],
)
def test_other_files_are_refused_and_left_alone(content, message, quick, table, path):
    killed(quick, table, path)
    if content == "estimator":
        save(quick, path)
    else:
        data = path.read_bytes()
        torn = {"torn": data[:-100], "changed": data[:3000] + bytes([data[3000] ^ 1]) + data[3001:]}
        path.write_bytes(torn.get(content, content) if isinstance(content, str) else content)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"(?s){message}.*To train from the start, delete"):
        fit(quick, table, path)
    assert path.read_bytes() == before


def test_a_folder_is_refused_and_so_is_a_file_in_none(quick, table, tmp_path):
    with pytest.raises(IsADirectoryError):
        fit(quick, table, tmp_path)
    with pytest.raises(FileNotFoundError, match="folder that does not exist"):
        fit(quick, table, tmp_path / "missing" / "checkpoint")


def test_a_file_that_cannot_be_written_disturbs_nothing(quick, table, path, monkeypatch):
    undisturbed = fit(quick, table)
    killed(quick, table, path, epoch=3)
    before, seen = path.read_bytes(), []

    class Looks(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(path.read_bytes() == before)

    def disk_is_full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_is_full)
    quick.set_params(callbacks=[Looks()])
    with pytest.warns(UserWarning, match="No space left on device.*Training goes on") as caught:
        net = fit(quick, table, path)
    assert len(caught) == 1
    assert seen == [True] * 5
    assert_same_fits(net, undisturbed)
    assert not any(path.parent.iterdir())


def test_a_file_that_cannot_be_removed_is_told(quick, table, path, monkeypatch):
    undisturbed = fit(quick, table)

    def read_only(path, missing_ok=False):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(pathlib.Path, "unlink", read_only)
    with pytest.warns(UserWarning, match="was not removed.*Read-only file system"):
        assert_same_fits(fit(quick, table, path), undisturbed)


def test_a_history_that_has_no_form_in_files_disturbs_nothing(quick, table, path):
    class Notes(Callback):
        def on_epoch_begin(self, net, **kwargs):
            net.history.record("note", object())

    with pytest.warns(UserWarning, match="object.*Training goes on"):
        fit(quick.set_params(callbacks=[Notes()]), table, path)


def test_writing_takes_a_fiftieth_of_the_time_and_waits_half_a_minute(
    quick, table, path, monkeypatch
):
    monkeypatch.undo()
    now, written = [0.0], []

    def write(*args):
        written.append(now[0])
        now[0] += 2.0  # so 100 seconds must pass before the next

    class Epoch(Callback):
        def on_epoch_begin(self, net, **kwargs):
            now[0] += 10.0

    monkeypatch.setattr(checkpoint, "write_state", write)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    fit(quick.set_params(max_epochs=25, callbacks=[Epoch()]), table, path)
    assert written == [30.0, 132.0, 234.0]


def test_a_loaded_state_does_not_stay_with_the_net(quick, table, path):
    killed(quick, table, path)
    net = fit(quick, table, path)
    assert net.stream_state() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
@pytest.mark.slow
def test_processes_killed_at_any_moment_go_on(table, path, tmp_path_factory):
    result = tmp_path_factory.mktemp("result") / "weights.npy"
    estimator = AutoencoderTransformer(2, max_epochs=10, batch_size=40, random_state=0)

    def work():
        np.save(result, weights_of(fit(estimator, table, path)))

    def start():
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        return process

    expected, began = weights_of(fit(estimator, table)), time.monotonic()
    start().join()
    took, rng, kills = time.monotonic() - began, np.random.default_rng(), itertools.count(1)
    while next(kills) <= 50:
        process = start()
        process.join(rng.uniform(0, took))
        process.kill()
        process.join()
        if process.exitcode == 0:
            np.testing.assert_array_equal(np.load(result), expected)
    result.unlink()
    start().join()
    np.testing.assert_array_equal(np.load(result), expected)
    assert not any(path.parent.iterdir())

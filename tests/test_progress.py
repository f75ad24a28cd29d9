"""What verbose shows, and scikit-learn's callbacks."""

import contextlib
import io
import pickle
import re
import time
import types
import warnings
from itertools import count

import numpy as np
import pytest
import sklearn
from skorch.callbacks import Checkpoint

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._training import progress
from sklearn_ae._training.progress import Progress, duration
from sklearn_ae.architectures import Dense
from tests.helpers import QUICK


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown_in_terminal(model, X):
    """What a fit writes to a terminal that takes the place of stderr."""
    with (
        contextlib.redirect_stderr(Terminal()) as terminal,
        contextlib.suppress(FloatingPointError),
    ):
        model.fit(X)
    return terminal.getvalue()


def test_training_is_silent_by_default(table, capsys):
    assert shown_in_terminal(AutoencoderTransformer(2, **QUICK), table) == ""
    AutoencoderTransformer(2, **QUICK).partial_fit(table)
    assert capsys.readouterr() == ("", "")


def test_verbose_2_prints_a_line_an_epoch_and_how_it_ended(table, capsys):
    AutoencoderTransformer(2, verbose=2, **QUICK).fit(table)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[:3]] == [
        f"AutoencoderTransformer: epoch {i}/3" for i in (1, 2, 3)
    ]
    assert all(" loss " in line and "validation loss" in line for line in lines[:3])
    assert "3 epochs in" in lines[3]
    assert lines[3].endswith(" kept")
    assert len(lines) == 4


def test_lines_say_which_epoch_is_the_best(table, capsys):
    random_start = Dense((8,), linear_path=False)  # that every epoch improves on
    model = AutoencoderTransformer(
        2, architecture=random_start, verbose=2, max_epochs=10, random_state=0
    ).fit(table)
    lines, curve = capsys.readouterr().out.splitlines(), model.validation_loss_curve_
    for n, line in enumerate(lines[:10], 1):
        assert f", best: epoch {np.argmin(curve[:n]) + 1}" in line


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.01, ""), (1.0, ", 2.0 s left"), (60.0, ", 2 min left")]
)
def test_the_time_left_is_shown_from_a_second_on(seconds, shown, table, capsys, monkeypatch):
    clock = count(0, seconds)
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    AutoencoderTransformer(2, verbose=2, early_stopping=False, **QUICK).fit(table)
    first = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(rf"AutoencoderTransformer: epoch 1/3, loss \d+\.\d+{shown}", first)


def test_lines_name_no_validation_where_there_is_none(table, capsys):
    AutoencoderTransformer(2, verbose=2, early_stopping=False, **QUICK).fit(table)
    out = capsys.readouterr().out
    assert "validation" not in out
    assert out.strip().endswith("epoch 3 kept")


def test_without_a_terminal_there_is_a_line_for_each_tenth_of_the_epochs(table, capsys):
    AutoencoderTransformer(2, verbose=1, max_epochs=40, random_state=0).fit(table)
    out, err = capsys.readouterr()
    assert [line.split(",")[0].split()[-1] for line in out.splitlines()[:-1]] == [
        f"{i}/40" for i in range(4, 40, 4)
    ]
    assert "40 epochs in" in out.splitlines()[-1]
    assert "\x1b" not in out
    assert err == ""


def test_slow_epochs_have_lines_in_between(table, capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINES_APART", 0.0)
    AutoencoderTransformer(2, verbose=1, max_epochs=40, random_state=0).fit(table)
    assert len(capsys.readouterr().out.splitlines()) == 41


def test_a_terminal_has_one_bar_with_losses_and_time_left(table, capsys, monkeypatch):
    monkeypatch.setattr(progress, "BAR_APART", 0.0)
    monkeypatch.setenv("COLUMNS", "150")
    shown = shown_in_terminal(AutoencoderTransformer(2, verbose=1, **QUICK), table)
    pictures = shown.split("\r")
    assert capsys.readouterr().out == ""
    assert shown.count("\n") == 1  # each picture is over the last
    assert any("epoch 2/3" in p and "validation loss" in p and "best: " in p for p in pictures)
    assert "epoch 3/3" in pictures[-1]
    assert "kept" in pictures[-1]


def test_a_bar_is_drawn_ten_times_a_second_at_most(table, monkeypatch):
    monkeypatch.setattr(progress, "BAR_APART", 1e6)
    shown = shown_in_terminal(
        AutoencoderTransformer(2, verbose=1, max_epochs=30, random_state=0), table
    )
    assert 2 <= shown.count("\r") <= 4  # the first picture, the last, and tqdm's as it closes


def test_workers_of_a_search_print_lines(table, monkeypatch, capsys):
    monkeypatch.setattr(
        progress, "current_process", lambda: types.SimpleNamespace(name="LokyProcess-1")
    )
    assert shown_in_terminal(AutoencoderTransformer(2, verbose=1, **QUICK), table) == ""
    assert "3 epochs in" in capsys.readouterr().out


def test_without_any_stderr_lines_are_printed(table, capsys):
    with contextlib.redirect_stderr(None):
        AutoencoderTransformer(2, verbose=1, **QUICK).fit(table)
    assert "3 epochs in" in capsys.readouterr().out


def test_a_notebook_has_a_widget(table, monkeypatch):
    made = []

    class Widget:
        def __init__(self, **options):
            made.append(options)

        def set_postfix_str(self, text, refresh):
            self.text = text

        def refresh(self):
            pass

        def close(self):
            made.append(self.text)

        def status_printer(self):
            pass

    monkeypatch.setattr("tqdm.auto.tqdm", Widget)
    AutoencoderTransformer(2, verbose=1, **QUICK).fit(table)
    assert made[0]["total"] == 3
    assert "kept" in made[1]


def test_a_bar_is_closed_when_training_fails(table):
    model = AutoencoderTransformer(
        2,
        optimizer="sgd",
        learning_rate=1e6,
        learning_rate_schedule="constant",
        max_epochs=50,
        verbose=1,
    )
    assert shown_in_terminal(model, table).endswith("\n")
    assert "net_" not in vars(model)


def test_a_stream_prints_its_chunks(table, capsys):
    model = AutoencoderTransformer(2, verbose=2, random_state=0)
    for _ in range(2):
        model.partial_fit(table)
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        "AutoencoderTransformer: chunk 1",
        "AutoencoderTransformer: chunk 2",
    ]


def test_verbose_does_not_change_the_fit(table, capsys):
    silent = AutoencoderTransformer(2, **QUICK).fit(table)
    shown = AutoencoderTransformer(2, verbose=1, **QUICK).fit(table)
    np.testing.assert_array_equal(silent.transform(table), shown.transform(table))
    assert shown.net_.watchers == ()


def test_checkpoints_of_a_net_leave_the_bar_behind(table, tmp_path):
    checkpoint = Checkpoint(f_pickle="net.pkl", dirname=tmp_path, monitor=None)
    shown_in_terminal(AutoencoderTransformer(2, verbose=1, callbacks=[checkpoint], **QUICK), table)
    net = pickle.loads((tmp_path / "net.pkl").read_bytes())
    assert not any(isinstance(watcher, Progress) for watcher in net.watchers)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59, "59 s"), (90, "2 min"), (5400, "1.5 h")],
)
def test_times_are_short(seconds, text):
    assert duration(seconds) == text


# scikit-learn's callbacks

# three epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
has_callbacks = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 9)
needs_callbacks = pytest.mark.skipif(
    not has_callbacks, reason="scikit-learn has callbacks from 1.9 on"
)
ESTIMATORS = [
    AutoencoderTransformer(2, **QUICK),
    AutoencoderTransformer(2, validation_fraction=0.2, **QUICK),
    AutoencoderOutlierDetector(2, n_estimators=4, **QUICK),
    AutoencoderOutlierDetector(2, n_estimators=1, **QUICK),
]


class Recorder:
    """Keeps what it is told, and stops where it is asked to."""

    max_propagation_depth = None

    def __init__(self, stop_after=None):
        self.stop_after, self.calls = stop_after, []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.calls.append(("begin", context.task_name, context.task_id, context.max_subtasks))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.calls.append(
            ("end", context.task_name, context.task_id, X, y, metadata, fitted_estimator)
        )
        return context.task_name == "epoch" and context.task_id == self.stop_after

    def ended(self, name="epoch"):
        return [call for call in self.calls if call[:2] == ("end", name)]


@pytest.fixture(params=ESTIMATORS, ids=["auto", "held-out", "ensemble", "single"])
def estimator(request):
    return sklearn.clone(request.param)


@needs_callbacks
def test_callbacks_are_told_of_the_fit_and_of_each_epoch(estimator, table):
    recorder = Recorder()
    estimator.set_callbacks(recorder).fit(table)
    told = [call if isinstance(call, str) else call[:3] for call in recorder.calls]
    epochs = [(when, "epoch", i) for i in range(3) for when in ("begin", "end")]
    assert told == ["setup", ("begin", "fit", 0), *epochs, ("end", "fit", 0), "teardown"]
    assert recorder.calls[1] == ("begin", "fit", 0, 3)


@needs_callbacks
def test_callbacks_get_the_rows_as_their_target_and_the_weights(table):
    recorder, weights = Recorder(), np.arange(1.0, 121.0)
    AutoencoderTransformer(2, **QUICK).set_callbacks(recorder).fit(table, sample_weight=weights)
    _, _, _, X, y, metadata, _ = recorder.ended()[0]
    np.testing.assert_array_equal(X, table)
    assert y is X
    assert metadata["sample_weight"] is weights


@needs_callbacks
def test_callbacks_get_labels_where_there_are_some(table):
    recorder, labels = Recorder(), np.where(np.arange(120) < 5, -1, 1)
    AutoencoderOutlierDetector(2, **QUICK).set_callbacks(recorder).fit(table, labels)
    assert recorder.ended()[0][4] is labels


@needs_callbacks
def test_snapshots_are_estimators_of_their_epochs(estimator, table):
    plain = sklearn.clone(estimator).fit(table)
    recorder = Recorder()
    estimator.set_callbacks(recorder).fit(table)
    # nothing was disturbed
    np.testing.assert_array_equal(estimator.score_samples(table), plain.score_samples(table))
    snapshots = [call[-1] for call in recorder.ended()]
    first, _, last = (snapshot.score_samples(table) for snapshot in snapshots)
    assert (first != last).any()
    assert [snapshot.n_iter_ for snapshot in snapshots] == [1, 2, 3]
    if not estimator._stops_early():  # then the last epoch is what is kept
        np.testing.assert_array_equal(last, plain.score_samples(table))
        assert snapshots[-1].offset_ == plain.offset_
        assert snapshots[0].offset_ != plain.offset_


@needs_callbacks
def test_the_estimator_stays_as_it_was_while_it_is_fitted(table):
    seen = []

    class Looks(Recorder):
        def on_fit_task_begin(self, estimator, context):
            seen.append(hasattr(estimator, "net_"))

    model = AutoencoderTransformer(2, **QUICK).set_callbacks(Looks()).fit(table)
    assert not any(seen)
    assert "_callback_fit_ctx" not in vars(model)


@needs_callbacks
def test_training_stops_when_told(estimator, table):
    estimator.set_callbacks(Recorder(stop_after=1)).fit(table)
    assert estimator.n_iter_ == 2


@needs_callbacks
def test_callbacks_are_torn_down_when_a_fit_fails(table):
    recorder = Recorder()
    model = AutoencoderTransformer(
        2, optimizer="sgd", learning_rate=1e6, learning_rate_schedule="constant", max_epochs=50
    )
    with pytest.raises(FloatingPointError):
        model.set_callbacks(recorder).fit(table)
    assert recorder.calls[-1] == "teardown"
    assert "net_" not in vars(model)


@needs_callbacks
def test_a_search_over_a_pipeline_passes_its_callbacks_on(table):
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    recorder = Recorder()
    pipeline = make_pipeline(StandardScaler(), AutoencoderTransformer(2, **QUICK))
    search = GridSearchCV(pipeline, {"autoencodertransformer__n_components": [1, 2]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # steps that know no callbacks
        search.set_callbacks(recorder).fit(table)
    # two candidates on two folds and the refit, three epochs each
    assert len(recorder.ended()) == 5 * 3


@needs_callbacks
def test_scores_are_monitored_epoch_by_epoch(table):
    from sklearn.callback import ScoringMonitor

    from sklearn_ae.metrics import reconstruction_r2_scorer

    monitor = ScoringMonitor(scoring={"r2": reconstruction_r2_scorer})
    model = AutoencoderTransformer(
        1, architecture=Dense((8,), linear_path=False), learning_rate=0.1, **QUICK
    )
    model.set_callbacks(monitor).fit(table)
    deadline = time.monotonic() + 10  # the log is written by a thread
    while len(monitor.get_logs().data) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    scores = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 3
    assert scores[-1] > scores[0]


@pytest.mark.skipif(has_callbacks, reason="scikit-learn has callbacks from 1.9 on")
def test_older_versions_have_no_callbacks(table):
    assert not hasattr(AutoencoderTransformer(2, **QUICK).fit(table), "set_callbacks")

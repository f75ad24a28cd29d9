"""Whatever surrounds a call: torch's modes and defaults, threads, forks."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae import _defaults as rules
from sklearn_ae._torch import libraries, plain_torch, threads, torch_seed
from sklearn_ae.architectures import Convolutional, Custom, Dense
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Contractive, Variational
from sklearn_ae.persistence import load, save
from tests.helpers import QUICK, Decoder, Encoder

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        assert torch.get_default_dtype() is torch.float64
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        assert torch.empty(0).device.type == "meta"
        torch.set_default_device(None)


SURROUNDINGS = {
    "default_dtype": default_dtype,
    "default_device": default_device,
    "device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
}
MODELS = {
    "plain": lambda: AutoencoderTransformer(2, **QUICK),
    "held out": lambda: AutoencoderTransformer(
        2, validation_fraction=0.2, corruption=GaussianNoise(), **QUICK
    ),
    "variational": lambda: AutoencoderTransformer(
        2, architecture=Dense((8,), dropout=0.1), latent=Variational(), **QUICK
    ),
    "contractive": lambda: AutoencoderTransformer(
        2, architecture=Convolutional((1, 6)), latent=Contractive(), **QUICK
    ),
    "sgd": lambda: AutoencoderTransformer(
        2, architecture=Custom(Encoder, Decoder), optimizer="sgd", **QUICK
    ),
    "modules": lambda: AutoencoderTransformer(
        2, architecture=Custom(modules()[0], modules()[1]), **QUICK
    ),
    "ensemble": lambda: AutoencoderOutlierDetector(n_estimators=3, **QUICK),
}


def modules():
    generator = np.random.RandomState(0)
    with torch.device("cpu"):
        pair = nn.Sequential(nn.Linear(6, 2), nn.BatchNorm1d(2)).float(), nn.Linear(2, 6).float()
    for parameter in [p for module in pair for p in module.parameters()]:
        parameter.data = torch.from_numpy(
            generator.normal(size=tuple(parameter.shape)).astype(np.float32)
        )
    return pair


def answers(model, X):
    codes = model.transform(X)
    return [
        codes,
        model.inverse_transform(codes),
        model.score_samples(X),
        model.reconstruct(X),
        model.reconstruction_errors(X),
        model.sample(4, random_state=0),
    ]


def same(a, b):
    for one, other in zip(a, b, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


# every fifth, so that each one, and each model, is met; by default, and another fifth if slow
EACH = [(one, model) for one in SURROUNDINGS for model in MODELS]
EACH = [*EACH[::5], *(pytest.param(*pair, marks=pytest.mark.slow) for pair in EACH[2::5])]


@pytest.mark.parametrize(("surroundings", "model"), EACH)
def test_surroundings_change_nothing(surroundings, model, table):
    make, around = lambda: MODELS[model]().set_params(warm_start=True), SURROUNDINGS[surroundings]
    plain = make().fit(table)
    kept = pickle.dumps(plain)
    expected = answers(plain, table)
    with around():
        fitted = make().fit(table)
        same(answers(fitted, table), expected)
        same(answers(plain, table), expected)
        loaded = pickle.loads(kept)
        same(answers(loaded, table), expected)
        kept_here = pickle.dumps(fitted)
        fitted.fit(table)
    assert fitted.loss_curve_[:3] == plain.loss_curve_
    same(answers(loaded, table), expected)
    same(answers(pickle.loads(kept_here), table), expected)
    plain.fit(table)
    loaded.fit(table)
    same(answers(fitted, table), answers(plain, table))
    same(answers(loaded, table), answers(plain, table))


def test_two_threads_share_the_default_type():
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with plain_torch():
            inside.set()
            leave.wait(10)

    with default_dtype():
        other = threading.Thread(target=stay)
        other.start()
        inside.wait(10)
        with plain_torch():
            leave.set()
            other.join()
            assert torch.get_default_dtype() is torch.float32  # although the first has left


# Threads


class Calls(Callback):
    """At the end of each epoch, calls a function in another thread and waits for it."""

    def __init__(self, function):
        self.function = function

    def on_epoch_end(self, net, **kwargs):
        done = []
        thread = threading.Thread(target=lambda: done.append(self.function()), daemon=True)
        thread.start()
        thread.join(30)
        assert done, "waits for the fit that waits for it"


@pytest.mark.parametrize("model", ["plain", "modules", "ensemble"])
def test_other_threads_need_not_wait_for_a_fit(model, table):
    other = MODELS[model]().fit(table)
    kept = pickle.dumps(other)
    plain = MODELS["held out"]().fit(table)

    def use():
        other.sample(3)
        return pickle.loads(kept).score_samples(table)

    busy = MODELS["held out"]().set_params(callbacks=[Calls(use)]).fit(table)
    same(answers(busy, table), answers(plain, table))  # whose random numbers are its own


def test_new_threads_keep_torch_thread_count():
    def found():
        other = []
        thread = threading.Thread(target=lambda: other.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return other[0]

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threads(1):
            assert torch.get_num_threads() == 1
            assert found() == 3
        assert torch.get_num_threads() == found() == 3
        meanwhile = []

        class Scored(nn.Module):
            def forward(self, x):
                meanwhile.append(torch.get_num_threads())
                return x

        architecture = Custom(nn.Sequential(Scored(), nn.Linear(6, 2)), nn.Linear(2, 6))
        X = np.random.default_rng(0).normal(size=(9_000, 6))
        model = AutoencoderTransformer(
            2, architecture=architecture, max_epochs=1, random_state=0
        ).fit(X)
        meanwhile.clear()
        model.score_samples(X)
        assert set(meanwhile) == {1}
        assert torch.get_num_threads() == found() == 3
    finally:
        torch.set_num_threads(before)


class NotesThreads(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.found = torch.get_num_threads()


@pytest.mark.parametrize("model", ["plain", "ensemble"])
@pytest.mark.parametrize("large", [False, True])
def test_only_very_large_steps_use_several_threads(large, model, table, monkeypatch):
    monkeypatch.setattr(rules, "THREADED_WORK", 1 if large else 2**34)
    # as in a container with a quota, where torch sees all processors
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    before, notes = torch.get_num_threads(), NotesThreads()
    torch.set_num_threads(5)
    try:
        fitted = MODELS[model]().set_params(callbacks=[notes]).fit(table)
        assert notes.found == fitted.net_.n_threads == (3 if large else 1)
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)


def test_linear_algebra_of_the_start_has_one_thread(table):
    def threads_of_blas():
        return {
            library["num_threads"]
            for library in libraries().info()
            if library["user_api"] == "blas"
        }

    class Notes(Dense):
        def start(self, *args):
            found.append(threads_of_blas())
            super().start(*args)

    found, before = [], threads_of_blas()
    AutoencoderTransformer(2, architecture=Notes((8,)), **QUICK).fit(table)
    assert found[0] == {1}
    assert threads_of_blas() == before


def test_a_fit_leaves_torchs_generator_as_it_is(table):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    model = MODELS["variational"]().fit(table)
    model.sample(3)
    pickle.loads(pickle.dumps(model)).score_samples(table)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_several_fits_at_once(backend, table):
    models = [make() for make in MODELS.values()]
    one_by_one = [model.fit(table).score_samples(table) for model in models]
    at_once = joblib.Parallel(2, backend)(
        joblib.delayed(fit_and_score)(model, table) for model in models
    )
    same(at_once, one_by_one)


def fit_and_score(model, X):
    return model.fit(X).score_samples(X)


# Processes


def run(script, **environment):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", **environment}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(
        command, env=environment, timeout=120, capture_output=True, text=True, check=True
    ).stdout


forks = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there are no forks here"
)
one_of_several_threads = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


@contextmanager
def threads_of_torch(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        torch.ones(100_000).sum()  # torch starts its threads, which a fork does not take along
        yield
    finally:
        torch.set_num_threads(before)


def run_in_fork(function):
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    process.join(60)
    process.kill()
    process.join()
    assert process.exitcode == 0


def every_answer(model, X, path):
    found = answers(model, X)
    if isinstance(model, AutoencoderOutlierDetector):
        found += [model.predict(X), model.p_values(X), model.feature_contributions(X)]
    save(model, path)
    streamed = copy.deepcopy(model).partial_fit(X).partial_fit(X)
    others = [
        load(path),
        pickle.loads(pickle.dumps(model)),
        streamed,
        pickle.loads(pickle.dumps(streamed)),
    ]
    return found + [other.score_samples(X) for other in others]


FORKED = {
    "plain": lambda: AutoencoderTransformer(2, **QUICK),
    "wide": lambda: AutoencoderTransformer(64, architecture=Dense((600,)), **QUICK),
    "probabilities": lambda: AutoencoderTransformer(2, loss="binary_cross_entropy", **QUICK),
    "ensemble": lambda: AutoencoderOutlierDetector(n_estimators=3, **QUICK),
    "one": lambda: AutoencoderOutlierDetector(n_estimators=1, **QUICK),
    "novelty": lambda: AutoencoderOutlierDetector(novelty=True, **QUICK),
}


@pytest.mark.slow
def test_sixteen_threads_give_what_one_gives(tmp_path):
    X = np.random.default_rng(0).uniform(size=(300, 20))
    models = {name: make().fit(X) for name, make in FORKED.items()}

    def fit_score_and_load(i, name):
        fitted = FORKED[name]().fit(X)
        return [fitted.score_samples(X), *every_answer(models[name], X, tmp_path / f"model{i}")]

    expected = {name: fit_score_and_load(0, name) for name in FORKED}
    names = [*FORKED] * 4
    found = joblib.Parallel(16, "threading")(
        joblib.delayed(fit_score_and_load)(i, name) for i, name in enumerate(names)
    )
    for name, answers_of_a_thread in zip(names, found, strict=True):
        same(answers_of_a_thread, expected[name])


@forks
@one_of_several_threads
@pytest.mark.parametrize(
    "model", ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in [*FORKED][1:])]
)
def test_every_method_ends_in_a_fork(model, tmp_path):
    # torch uses several threads for over 32,768 numbers
    X = np.random.default_rng(0).uniform(size=(1_800, 20))
    make, path = FORKED[model], tmp_path / "model"
    with threads_of_torch(2):
        fitted = make().fit(X)
        expected = every_answer(fitted, X, path)

        def use():
            same(every_answer(fitted, X, path), expected)
            same(every_answer(make().fit(X), X, path), expected)
            assert torch.get_num_threads() == 2

        run_in_fork(use)


@forks
@one_of_several_threads
def test_very_large_steps_use_one_thread_in_a_fork(table, monkeypatch):
    monkeypatch.setattr(rules, "THREADED_WORK", 1)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)

    def n_threads():
        notes = NotesThreads()
        AutoencoderTransformer(2, callbacks=[notes], **QUICK).fit(table)
        return notes.found

    def check():
        assert n_threads() == 1

    with threads_of_torch(3):
        assert n_threads() == 3
        run_in_fork(check)


@forks
@pytest.mark.slow
def test_a_fork_during_a_fit_of_another_thread():
    out = run("""
        import os, signal, threading
        import numpy as np
        import torch
        from skorch.callbacks import Callback
        from sklearn_ae import AutoencoderTransformer

        class Waits(Callback):
            def on_epoch_end(self, net, **kwargs):
                fitting.set()
                forked.wait(60)

        X = np.random.default_rng(0).normal(size=(60, 4))
        fitting, forked = threading.Event(), threading.Event()
        before = AutoencoderTransformer(2, max_epochs=2, random_state=0).fit(X)
        waiting = AutoencoderTransformer(2, max_epochs=2, callbacks=[Waits()])
        thread = threading.Thread(target=waiting.fit, args=(X,))
        thread.start()
        fitting.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            again = AutoencoderTransformer(2, max_epochs=2, random_state=0).fit(X)
            same = np.array_equal(again.score_samples(X), before.score_samples(X))
            os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)
        forked.set()
        thread.join()
        print("child", status)
    """)
    assert out.strip() == "child 0"


@pytest.mark.slow
def test_more_threads_asked_for_than_there_are_processors(table):
    script = """
        import hashlib
        import joblib, numpy as np
        from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer

        X = np.random.default_rng(0).normal(size=(600, 8))
        quick = {"random_state": 0, "max_epochs": 3}
        models = [
            AutoencoderTransformer(2, **quick),
            AutoencoderOutlierDetector(n_estimators=8, **quick),
        ]
        fit_and_score = joblib.delayed(lambda model: model.fit(X).score_samples(X))
        found = joblib.Parallel(2, "threading")(fit_and_score(model) for model in models)
        print(hashlib.sha256(np.concatenate(found).tobytes()).hexdigest())
    """
    assert run(script, OMP_NUM_THREADS="64") == run(script, OMP_NUM_THREADS="1")


def test_torch_seed_is_put_back_where_an_error_ends_it():
    before = torch.get_rng_state()
    with pytest.raises(TypeError), torch_seed(0):
        torch.rand(3) + None
    assert torch.equal(torch.get_rng_state(), before)

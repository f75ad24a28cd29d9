"""Files: what was saved comes back to the last bit, and nothing else comes back."""

import errno
import hashlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._configuration import same_value
from sklearn_ae._data.scaling import KINDS as SCALINGS
from sklearn_ae._files import read_state, write_state
from sklearn_ae._losses import LOSSES
from sklearn_ae._records import Decoder as RecordDecoder
from sklearn_ae._records import Encoder as RecordEncoder
from sklearn_ae._training.state import as_arrays
from sklearn_ae.architectures import Custom, Dense
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Latent, Ordered, Sparse, Variational
from sklearn_ae.persistence import load, save
from tests.helpers import ARCHITECTURES, CORRUPTIONS, LATENTS, QUICK, Decoder, Encoder, pairwise

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = {
    "transformer": lambda **params: AutoencoderTransformer(2, **QUICK | params),
    "single": lambda **params: AutoencoderOutlierDetector(2, n_estimators=1, **QUICK | params),
    "ensemble": lambda **params: AutoencoderOutlierDetector(2, n_estimators=3, **QUICK | params),
    "novelty": lambda **params: AutoencoderOutlierDetector(2, novelty=True, **QUICK | params),
}


def saved_and_loaded(model, folder):
    save(model, folder / "model.safetensors")
    return load(folder / "model.safetensors")


def assert_equal(a, b, X):
    """Every attribute and every method gives the same bits."""
    assert type(a) is type(b)
    assert repr(a.get_params()) == repr(b.get_params())
    for name, value in vars(a).items():
        if name.endswith("_") and name != "net_":
            assert same_value(value, getattr(b, name)), name
    methods = ["transform", "reconstruct", "score_samples", "reconstruction_errors"]
    if isinstance(a, AutoencoderOutlierDetector):
        methods += ["predict", "decision_function", "p_values", "feature_contributions"]
    for method in methods:
        for rows in (X, X.astype(np.float32)):
            results = getattr(a, method)(rows), getattr(b, method)(rows)
            np.testing.assert_array_equal(*results, err_msg=method)
    Z = np.asarray(a.transform(X))
    np.testing.assert_array_equal(a.inverse_transform(Z), b.inverse_transform(Z))
    np.testing.assert_array_equal(a.sample(7, random_state=3), b.sample(7, random_state=3))
    np.testing.assert_array_equal(a.get_feature_names_out(), b.get_feature_names_out())


@pytest.fixture(params=KINDS)
def model(request, table):
    return KINDS[request.param]().fit(table)


# What comes back


def test_all_comes_back(model, table, tmp_path):
    assert_equal(model, saved_and_loaded(model, tmp_path), table)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "architecture", "corruption", "latent", "loss"),
    pairwise(
        KINDS,
        sorted(set(ARCHITECTURES) - {"Custom"}),
        [None, *CORRUPTIONS],
        [None, *LATENTS],
        LOSSES,
    ),
)
def test_any_two_parts(kind, architecture, corruption, latent, loss, table, tmp_path):
    X = (table - table.min(0)) / np.ptp(table, axis=0)
    fitted = KINDS[kind](
        architecture=ARCHITECTURES[architecture](6),
        corruption=corruption and CORRUPTIONS[corruption](),
        latent=latent and LATENTS[latent](),
        loss=loss,
        max_epochs=1,
    ).fit(X)
    assert_equal(fitted, saved_and_loaded(fitted, tmp_path), X)


@pytest.mark.parametrize("scaling", [None, *SCALINGS])
def test_every_scaling(scaling, table, tmp_path):
    model = AutoencoderTransformer(scaling=scaling, **QUICK).fit(table / 10)
    assert_equal(model, saved_and_loaded(model, tmp_path), table / 10)


def test_names_and_output_config(model, table, tmp_path):
    X = pd.DataFrame(table, columns=[f"column {i}" for i in range(5)] + ["größe"])
    model = clone(model).set_output(transform="pandas").fit(X)
    copy = saved_and_loaded(model, tmp_path)
    assert_equal(model, copy, X)
    assert isinstance(copy.transform(X), pd.DataFrame)
    assert copy.feature_names_in_.dtype == object


@pytest.mark.parametrize(
    "params",
    [
        {"n_components": 0.9, "latent": Ordered()},
        {"n_components": np.int64(2), "tol": 0.0, "learning_rate": np.float32(0.01)},
        {"optimizer": torch.optim.RMSprop, "weight_decay": 1e-300},
        {"architecture": Dense(np.array([5, 4]), activation=nn.PReLU), "random_state": None},
        {"architecture": Dense([5], normalization="batch", dropout=0.1), "early_stopping": False},
        {"device": torch.device("cpu"), "latent": Variational(0.5)},
    ],
)
def test_parameters_of_all_types(params, table, tmp_path):
    model = AutoencoderTransformer(**{"max_epochs": 2, "random_state": 0} | params)
    for one in (model, model.fit(table)):
        copy = saved_and_loaded(one, tmp_path)
        for name, value in params.items():
            found = getattr(copy, name)
            assert repr(found) == repr(value) or found in (value, str(value))
    np.testing.assert_array_equal(model.transform(table), copy.transform(table))


@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_start_goes_on_from_a_file(kind, table, tmp_path):
    model = KINDS[kind](warm_start=True).fit(table)
    copy = saved_and_loaded(model, tmp_path)
    assert_equal(model.fit(table), copy.fit(table), table)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_goes_on_from_a_file_as_if_nothing_had_been(kind, table, tmp_path):
    table[::3, 2] = np.nan
    model = KINDS[kind]().partial_fit(table[:60])
    copy = saved_and_loaded(model, tmp_path)
    assert_equal(model, copy, table)
    assert_equal(model.partial_fit(table[60:]), copy.partial_fit(table[60:]), table)


def test_a_random_state_goes_on_where_it_stood(table, tmp_path):
    model = KINDS["transformer"](random_state=np.random.RandomState(3)).fit(table)
    copy = saved_and_loaded(model, tmp_path)
    np.testing.assert_array_equal(model.sample(5), copy.sample(5))
    np.testing.assert_array_equal(model.fit_transform(table), copy.fit_transform(table))


def test_a_second_save_writes_the_same_bytes(model, tmp_path):
    copy = saved_and_loaded(model, tmp_path)
    save(copy, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_files_are_small(tmp_path, rng):
    X = rng.normal(size=(200, 64))
    for kind in KINDS.values():
        model = kind(max_epochs=1).fit(X)
        save(model, tmp_path / "model")
        n_bytes = sum(tensor.nbytes for tensor in model._model.score.state_dict().values())
        assert (tmp_path / "model").stat().st_size < 1.2 * n_bytes + 10_000


def test_other_tools_read_the_tensors(model, tmp_path):
    safetensors = pytest.importorskip("safetensors")
    save(model, tmp_path / "model.safetensors")
    with safetensors.safe_open(tmp_path / "model.safetensors", "np") as file:
        for name, tensor in model.net_.module_.state_dict().items():
            np.testing.assert_array_equal(
                file.get_tensor(f"_fitted.weights.network.{name}"), tensor
            )
        assert json.loads(file.metadata()["versions"])["torch"] == torch.__version__


def test_a_model_of_a_gpu_comes_to_a_machine_without_one(table, tmp_path, monkeypatch):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    model.device = "cuda"  # as if it had been fitted there
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    copy = saved_and_loaded(model, tmp_path)
    assert copy.device == "cuda"
    np.testing.assert_array_equal(copy.transform(table), model.transform(table))


def test_a_training_state_comes_back(tmp_path):
    """What a checkpoint holds: nested values with numbers as names, and arrays of all types."""
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    arrays = [np.array([[1, 0], [2, 3]]).astype(dtype) for dtype in "?bBhHiIlLefd"]
    arrays += [np.empty((0, 3)), np.array(2.0), np.asfortranarray(arrays[0]), np.arange(4)[::-2]]
    state = {"optimizer": as_arrays(optimizer.state_dict()), "arrays": arrays}
    state |= {"best": (np.inf, np.nan, None), "random": torch.get_rng_state().numpy()}
    encoder = RecordEncoder()
    write_state(tmp_path / "state", encoder.encode(state), encoder.arrays)
    plain, arrays = read_state(tmp_path / "state")
    np.testing.assert_equal(RecordDecoder(arrays).decode(plain), state)
    with pytest.raises(ValueError, match="no estimator"):
        load(tmp_path / "state")


# Pipelines


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_comes_back(kind, table, tmp_path):
    table[::5, 1] = np.nan
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), PCA(4), KINDS[kind]()).fit(table)
    copy = saved_and_loaded(pipeline, tmp_path)
    np.testing.assert_array_equal(pipeline.score_samples(table), copy.score_samples(table))
    copy.fit(table)
    np.testing.assert_array_equal(pipeline.score_samples(table), copy.score_samples(table))


def test_columns_and_labels_of_all_types_come_back(table, tmp_path):
    X = pd.DataFrame(table, columns=list("abcdef"))
    X["kind"] = np.where(X["a"] > 0, "x", "y")
    y = np.where(X["b"] > 0, "yes", "no")
    codes = make_union(AutoencoderTransformer(2, **QUICK), "passthrough")
    columns = make_column_transformer(
        (make_pipeline(StandardScaler(), codes), make_column_selector(dtype_include=np.number)),
        (OneHotEncoder(), ["kind"]),
        ("drop", ["a"]),
    )
    pipeline = make_pipeline(columns, LogisticRegression()).fit(X, y)
    copy = saved_and_loaded(pipeline, tmp_path)
    np.testing.assert_array_equal(pipeline.predict(X), copy.predict(X))
    np.testing.assert_array_equal(pipeline.predict_proba(X), copy.predict_proba(X))
    names = (one[0].get_feature_names_out() for one in (pipeline, copy))
    np.testing.assert_array_equal(*names)
    assert copy.predict(X).dtype == pipeline.predict(X).dtype


@pytest.mark.parametrize(
    ("step", "place"),
    [
        (FunctionTransformer(np.log1p), r"steps\.0\.1\.func"),
        (RandomForestClassifier(), r"steps\.0\.1="),
    ],
)
def test_a_step_that_holds_other_things_is_named(step, place, tmp_path):
    with pytest.raises(TypeError, match=f"{place}.*pickle or joblib"):
        save(make_pipeline(step, AutoencoderTransformer()), tmp_path / "model")


@pytest.mark.parametrize("kind", KINDS)
def test_skops_keeps_pipelines(kind, table):
    sio = pytest.importorskip("skops.io")
    table[::5, 1] = np.nan
    last = KINDS[kind](latent=Variational(), corruption=GaussianNoise())
    pipeline = make_pipeline(StandardScaler(), last).fit(table)
    data = sio.dumps(pipeline)
    types = sio.get_untrusted_types(data=data)
    assert all(name.startswith("sklearn_ae.") for name in types)
    copy = sio.loads(data, trusted=types)
    np.testing.assert_array_equal(pipeline.score_samples(table), copy.score_samples(table))


# Code


class OwnLatent(Latent):
    pass


class OwnOptimizer(torch.optim.SGD):
    pass


class Spy(nn.Tanh):
    pass


@pytest.mark.parametrize(
    "params",
    [
        {"architecture": Custom(Encoder, Decoder)},
        {"architecture": Custom(nn.Linear(6, 2), nn.Linear(2, 6))},
        {"architecture": Dense((3,), activation=Spy)},
        {"latent": OwnLatent()},
        {"loss": nn.HuberLoss()},
    ],
)
def test_code_that_predictions_need_is_refused(params, table, tmp_path):
    model = AutoencoderTransformer(2, **params, **QUICK).fit(table)
    (name,) = params
    for one in (model, clone(model)):
        with pytest.raises(TypeError, match=f"^{name}.*pickle or joblib .*runs any code"):
            save(one, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_code_that_training_needs_is_left_out(table, tmp_path):
    from skorch.callbacks import EpochTimer

    params = {
        "callbacks": [EpochTimer()],
        "learning_rate_schedule": lambda t: 1.0,
        "optimizer": OwnOptimizer,
        "corruption": lambda x: x,
    }
    model = AutoencoderTransformer(2, max_epochs=2, **params).fit(table)
    with pytest.warns(UserWarning, match="Predictions do not need them") as caught:
        save(model, tmp_path / "model")
    assert all(name in str(caught[0].message) for name in params)
    assert caught[0].filename == __file__
    copy = load(tmp_path / "model")
    np.testing.assert_array_equal(model.transform(table), copy.transform(table))
    assert (copy.callbacks, copy.corruption) == (None, None)
    assert (copy.learning_rate_schedule, copy.optimizer) == ("one_cycle", "adamw")


@pytest.mark.parametrize("thing", [None, {"a": 1}, np.zeros(3), AutoencoderTransformer])
def test_other_things_are_refused(thing, tmp_path):
    with pytest.raises(TypeError, match="save takes an estimator"):
        save(thing, tmp_path / "model")


def test_subclasses_are_refused(tmp_path):
    class Own(AutoencoderTransformer):
        pass

    Own.__name__ = "AutoencoderTransformer"
    with pytest.raises(TypeError, match="cannot be saved"):
        save(Own(), tmp_path / "model")


def test_invalid_parameters_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="n_components"):
        save(AutoencoderTransformer(-1), tmp_path / "model")
    assert not list(tmp_path.iterdir())


# Writing


def test_paths_of_all_kinds(tmp_path):
    for path in (str(tmp_path / "a"), tmp_path / "ü b"):
        save(AutoencoderTransformer(7), path)
        assert load(path).n_components == 7
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        save(AutoencoderTransformer(), tmp_path / "no folder" / "model")
    with pytest.raises(IsADirectoryError):
        save(AutoencoderTransformer(), tmp_path)


def test_links_and_permissions_stay(tmp_path):
    save(AutoencoderTransformer(2), tmp_path / "model")
    (tmp_path / "plain").touch()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "model").chmod(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "model")
    save(AutoencoderTransformer(7), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o640
    assert load(tmp_path / "model").n_components == 7


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file(broken, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    save(AutoencoderTransformer(3), tmp_path / "model")
    monkeypatch.setattr(f"os.{broken}", full)
    with pytest.raises(OSError, match="No space left"):
        save(AutoencoderTransformer(4), tmp_path / "model")
    assert load(tmp_path / "model").n_components == 3
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")
    save(AutoencoderTransformer(3), tmp_path / "model")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # the system writes no more
    try:
        with pytest.raises(OSError, match="File too large"):
            save(AutoencoderTransformer(4), tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load(tmp_path / "model").n_components == 3
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_must_not_be_written_to(tmp_path):
    save(AutoencoderTransformer(3), tmp_path / "model")
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(PermissionError):
        save(AutoencoderTransformer(4), tmp_path / "model")
    assert load(tmp_path / "model").n_components == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_kill_while_writing_leaves_the_old_file(place, tmp_path, monkeypatch):
    save(AutoencoderTransformer(3), tmp_path / "model")
    if not (child := os.fork()):
        monkeypatch.setattr(f"os.{place}", lambda *args: os.kill(os.getpid(), signal.SIGKILL))
        try:
            save(AutoencoderTransformer(4), tmp_path / "model")
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert load(tmp_path / "model").n_components == 3


@pytest.mark.slow
def test_a_kill_at_any_time_leaves_a_whole_file(tmp_path):
    """Processes that save again and again are killed at random."""
    script = (
        "import sys\nimport numpy as np\nfrom sklearn_ae import AutoencoderTransformer\n"
        "from sklearn_ae.persistence import save\n"
        "model = AutoencoderTransformer(max_epochs=1).fit(np.random.rand(50, 300))\n"
        "while True:\n"
        "    model.n_iter_ += 1\n    save(model, sys.argv[1])\n    print('x', flush=True)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "model")]
    rng = np.random.default_rng(0)
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 0.1))
            process.kill()
        assert load(tmp_path / "model").n_iter_ > 1


@pytest.mark.slow
def test_loading_does_not_import_torchs_compiler(table, tmp_path):
    """It would take a second in a new process."""
    paths = [str(tmp_path / kind) for kind in KINDS]
    for path, make in zip(paths, KINDS.values(), strict=True):
        save(make().fit(table), path)
    code = (
        "import sys\nfrom sklearn_ae.persistence import load\n"
        "for path in sys.argv[1:]:\n    load(path)\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, *paths], check=True)


# Damaged, edited and foreign files


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of files of two small models by name, and rows for them."""
    path = tmp_path_factory.mktemp("small") / "model"
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=["a", "b", "c"])
    parts = {"architecture": Dense((2,)), "latent": Sparse(), "corruption": GaussianNoise()}
    models = {
        "detector": AutoencoderOutlierDetector(1, n_estimators=2, max_epochs=1, **parts),
        "stream": AutoencoderTransformer(1, random_state=np.random.RandomState(0), **parts),
    }
    files = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(models["detector"].fit(X), path)
        files["detector"] = path.read_bytes()
        save(models["stream"].partial_fit(X), path)
        files["stream"] = path.read_bytes()
    return files, X


def parsed(data):
    """The header of a file, the content in it, and the tensors."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    return header, json.loads(header["__metadata__"]["content"]), data[end:-32]


def assembled(header, content, tensors):
    """A file with a right checksum."""
    metadata = {**header["__metadata__"], "content": json.dumps(content)}
    text = json.dumps({**header, "__metadata__": metadata}, separators=(",", ":")).encode()
    data = len(text).to_bytes(8, "little") + text + tensors
    return data + hashlib.sha256(data).digest()


def refused(data, path, match=None):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as caught:
        load(path)
    assert repr(str(path)) in str(caught.value)
    assert not any(word in str(caught.value) for word in ("MemoryError", "allocate"))


@contextmanager
def limited_memory(n_bytes):
    """Inside the block the process gets no more than so many bytes."""
    resource = pytest.importorskip("resource")
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_an_assembled_file_loads(small, tmp_path):
    for data in small[0].values():
        (tmp_path / "model").write_bytes(assembled(*parsed(data)))
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda data: b"", "was not written by sklearn_ae"),
        (lambda data: b"hello, world", "was not written by sklearn_ae"),
        (lambda data: pickle.dumps({"a": 1}), "was not written by sklearn_ae.*joblib.load"),
        (lambda data: data.replace(b"sklearn_ae 1", b"sklearn_ae 9", 1), "or by one after"),
        (lambda data: data[:-1], "cut off"),
        (lambda data: data + b"\0", "was changed"),
        (lambda data: data[: len(data) // 10], "cut off"),
        (lambda data: b"\xff" * 8 + data[8:], "was changed"),
        (lambda data: assembled(*parsed(data))[:-32] + bytes(32), "was changed"),
    ],
)
def test_the_message_says_what_is_wrong(make, match, small, tmp_path):
    refused(make(small[0]["detector"]), tmp_path / "model", match)


def test_no_random_change_is_loaded(small, tmp_path):
    """Bytes that are changed, taken away or put in, and ends that are missing."""
    generator = random.Random(0)
    for i in range(400):
        data = bytearray(small[0]["detector"])
        at, byte = generator.randrange(len(data)), generator.randrange(256)
        if i % 4 == 0:
            data[at] ^= byte or 1
        elif i % 4 == 1:
            data.insert(at, byte)
        elif i % 4 == 2:
            del data[at]
        else:
            del data[at:]
        refused(data, tmp_path / "model")


def places(plain, path=()):
    """All places in nested JSON."""
    yield path
    if isinstance(plain, (dict, list)):
        for key, one in plain.items() if isinstance(plain, dict) else enumerate(plain):
            yield from places(one, (*path, key))


def replaced(plain, path, value):
    """A copy of nested JSON with another value in one place; `...` takes it away."""
    plain = inner = json.loads(json.dumps(plain))
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return plain


STRANGE = [..., None, True, -1, 0, 1_000, 10**6, 10**12, 1e308, np.nan, "x", "os.system", [], {}]
STRANGE += [
    {"tuple": [1] * 1000},
    {"tuple": [10**5] * 3},
    {"array": "_fitted.codes"},
    {"array": "?"},
]
STRANGE += [{"Latent": {}}, {"Scaling": {}}, {"type": "torch.nn.ReLU"}, {"type": "os.system"}]
STRANGE += [{"strings": ["a"]}, {"dict": []}, {"sklearn.decomposition.PCA": {}}, {"os.system": {}}]


@pytest.mark.parametrize("n_changes", [40, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["detector", "stream"])
def test_no_edited_content_is_loaded_as_something_broken(name, n_changes, small, tmp_path):
    """One place has another value, and the checksum is right.

    The file is refused, or what comes back works: what only training reads may be any valid value.
    """
    files, X = small
    header, content, tensors = parsed(files[name])
    everywhere, generator = list(places(content))[1:], random.Random(0)
    loaded, messages = [], []
    with limited_memory(2**30):
        for _ in range(n_changes):
            edited = replaced(content, generator.choice(everywhere), generator.choice(STRANGE))
            (tmp_path / "model").write_bytes(assembled(header, edited, tensors))
            try:
                loaded.append(load(tmp_path / "model"))
            except ValueError as error:
                messages.append(str(error))
    assert len(messages) > n_changes / 2
    assert not [text for text in messages if "MemoryError" in text or "allocate" in text]
    for model in loaded:
        if hasattr(model, "net_"):
            vars(model).pop("feature_names_in_", None)
            assert model.score_samples(X.to_numpy()).shape == (40,)


def test_no_edited_header_is_loaded(small, tmp_path):
    header, content, tensors = parsed(small[0]["detector"])
    for name in set(header) - {"__metadata__", "__sha256__"}:
        begin, end = header[name]["data_offsets"]
        edits = [{"dtype": one} for one in ("BF16", "C64", "", None)]
        edits += [{"shape": one} for one in ([2**62, 4], [-1, -1], "x", None, [1 + (end - begin)])]
        edits += [{"data_offsets": one} for one in ([begin, end + 8], [end, begin], [begin], None)]
        for edit in (*edits, {"more": 1}):
            edited = {**header, name: {**header[name], **edit}}
            if edited != header:
                refused(assembled(edited, content, tensors), tmp_path / "model", "not valid")
        left = {key: one for key, one in header.items() if key != name}
        refused(assembled(left, content, tensors), tmp_path / "model", "not valid")


@pytest.mark.parametrize(
    "edit",
    [
        {"n_components": 10**15},
        {"n_components": 10**9},
        {"n_features": 10**15},
        {"n_features": 10**9},
        {"architecture": {"Dense": {"hidden_layer_sizes": {"tuple": [10**5] * 50}}}},
        {"n_networks": 10**5},
        {"n_networks": 10**12},
    ],
)
def test_sizes_that_a_file_declares_are_not_allocated(edit, small, tmp_path):
    header, content, tensors = parsed(small[0]["detector"])
    model = dict(content["AutoencoderOutlierDetector"]["_fitted"]["dict"])
    model["configuration"]["Configuration"].update(edit)
    with limited_memory(2**30):
        refused(assembled(header, content, tensors), tmp_path / "model", "not valid")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("random_state", {"os.system": {}}),
        ("random_state", {"sklearn.pipeline.clone": {}}),
        ("random_state", {"sklearn.utils.Bunch": {}}),
        ("random_state", {"type": "builtins.eval"}),
        ("random_state", {"tuple": 5}),
        ("transform", "x"),
        ("__class__", "x"),
        ("net_", None),
        ("n_components", -1),
        ("n_features_in_", 10**12),
        ("architecture", {"Dense": {"hidden_layer_sizes": -1}}),
    ],
)
def test_what_a_file_cannot_hold(name, value, small, tmp_path):
    header, content, tensors = parsed(small[0]["detector"])
    content["AutoencoderOutlierDetector"][name] = value
    refused(assembled(header, content, tensors), tmp_path / "model", "not valid")


@pytest.mark.parametrize("position", [-1, 625, 10**9, None, "x"])
def test_a_random_state_does_not_read_beyond_its_key(position, small, tmp_path):
    header, content, tensors = parsed(small[0]["stream"])
    text = json.dumps(content)
    assert '["pos", ' in text
    edited = json.loads(text.replace('["pos", ', f'["pos", {json.dumps(position)}], ["x", '))
    refused(assembled(header, edited, tensors), tmp_path / "model", "not valid")


def test_deep_nesting_is_refused(small, tmp_path):
    header, _, tensors = parsed(small[0]["detector"])
    metadata = {**header["__metadata__"], "content": "[" * 100_000}
    text = json.dumps({**header, "__metadata__": metadata}, separators=(",", ":")).encode()
    data = len(text).to_bytes(8, "little") + text + tensors
    refused(data + hashlib.sha256(data).digest(), tmp_path / "model", "not valid")

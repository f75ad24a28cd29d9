"""Files: what was saved comes back to the last bit, and nothing else comes back."""

import errno
import itertools
import json
import pickle
import struct
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save as to_safetensors
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._component import Part
from sklearn_ae._network.values import same_value
from sklearn_ae.architectures import Custom, Dense
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Latent, Ordered, Sparse, Variational
from sklearn_ae.persistence import _file, _safetensors, load, save
from tests.helpers import QUICK, Decoder, Encoder

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # three epochs

KINDS = {
    "transformer": lambda **params: AutoencoderTransformer(2, **QUICK | params),
    "single": lambda **params: AutoencoderOutlierDetector(2, n_estimators=1, **QUICK | params),
    "ensemble": lambda **params: AutoencoderOutlierDetector(2, n_estimators=3, **QUICK | params),
    "novelty": lambda **params: AutoencoderOutlierDetector(2, novelty=True, **QUICK | params),
}


def saved_and_loaded(model, path):
    save(model, path / "model.safetensors")
    return load(path / "model.safetensors")


def assert_equal(a, b, X):
    """Every attribute and every method gives the same bits."""
    assert type(a) is type(b)
    assert same_params(a, b)
    for name, value in vars(a).items():
        if name.endswith("_") and name != "net_":
            assert same_value(value, getattr(b, name)), name
    methods = ["transform", "reconstruct", "score_samples", "reconstruction_errors"]
    if isinstance(a, AutoencoderOutlierDetector):
        methods += ["predict", "decision_function", "p_values", "feature_contributions"]
    for method in methods:
        np.testing.assert_array_equal(getattr(a, method)(X), getattr(b, method)(X), err_msg=method)
    Z = np.asarray(a.transform(X))
    np.testing.assert_array_equal(a.inverse_transform(Z), b.inverse_transform(Z))
    np.testing.assert_array_equal(a.sample(7, random_state=3), b.sample(7, random_state=3))
    np.testing.assert_array_equal(a.get_feature_names_out(), b.get_feature_names_out())


def same_params(a, b):
    a, b = a.get_params(deep=False), b.get_params(deep=False)
    return a.keys() == b.keys() and all(repr(a[name]) == repr(b[name]) and type(a[name]) is type(b[name]) for name in a)


@pytest.fixture(params=KINDS)
def model(request, table):
    return KINDS[request.param]().fit(table)


# What comes back


def test_all_comes_back(model, table, tmp_path):
    assert_equal(model, saved_and_loaded(model, tmp_path), table)


def test_float32_rows_give_the_same_bits(model, table, tmp_path):
    assert_equal(model, saved_and_loaded(model, tmp_path), table.astype(np.float32))


def scalings():
    from sklearn_ae._data.scaling import KINDS as SCALINGS

    return [None, *SCALINGS]


@pytest.mark.parametrize("scaling", scalings())
def test_every_scaling(scaling, table, tmp_path):
    for kind in ("transformer", "ensemble"):
        fitted = KINDS[kind](scaling=scaling).fit(table / 10)
        assert_equal(fitted, saved_and_loaded(fitted, tmp_path), table / 10)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values(kind, table, tmp_path):
    table[::3, 2] = np.nan
    fitted = KINDS[kind]().fit(table)
    assert_equal(fitted, saved_and_loaded(fitted, tmp_path), table)


def test_defaults(table, tmp_path):
    for default in (AutoencoderTransformer, AutoencoderOutlierDetector, partial(AutoencoderTransformer, latent=Ordered())):
        fitted = default(random_state=0).fit(table)
        assert_equal(fitted, saved_and_loaded(fitted, tmp_path), table)


def test_names_and_output_config(model, table, tmp_path):
    X = pd.DataFrame(table, columns=[f"column {i}" for i in range(5)] + ["größe"])
    model = clone(model).set_output(transform="pandas").fit(X)
    copy = saved_and_loaded(model, tmp_path)
    assert_equal(model, copy, X)
    assert isinstance(copy.transform(X), pd.DataFrame)
    assert copy.feature_names_in_.dtype == object


def test_unfitted_estimators(tmp_path):
    before = AutoencoderTransformer(
        3, architecture=Dense([4, 2], activation=nn.PReLU), latent=Variational(0.5), device=torch.device("cpu")
    )
    after = saved_and_loaded(before, tmp_path)
    assert same_params(before, after)
    assert after.architecture.activation is nn.PReLU
    assert not hasattr(after, "net_")


@pytest.mark.parametrize(
    "params",
    [
        {"tol": 0.0, "learning_rate": np.float32(0.01), "n_components": np.int64(2)},
        {"optimizer": torch.optim.RMSprop, "weight_decay": 1e-300},
        {"architecture": Dense(np.array([5, 4])), "random_state": None},
        {"architecture": Dense((5,), normalization="batch", dropout=0.1), "early_stopping": False},
    ],
)
def test_params_of_all_types(params, table, tmp_path):
    model = AutoencoderTransformer(**{"max_epochs": 2, "random_state": 0} | params).fit(table)
    copy = saved_and_loaded(model, tmp_path)
    for name in params:
        assert type(getattr(copy, name)) is type(getattr(model, name))
    assert_equal(model, copy, table)


def test_arrays_keep_their_order_in_memory(table, tmp_path):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    model._codes = np.asfortranarray(model._codes)
    copy = saved_and_loaded(model, tmp_path)
    assert copy._codes.flags.f_contiguous
    assert_equal(model, copy, table)


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_a_file(kind, table, tmp_path):
    model = KINDS[kind]().set_params(warm_start=True).fit(table)
    copy = saved_and_loaded(model, tmp_path)
    assert_equal(model.fit(table), copy.fit(table), table)


def test_random_states_are_saved_where_they_stand(table, tmp_path):
    model = AutoencoderTransformer(2, max_epochs=3, random_state=np.random.RandomState(3)).fit(table)
    copy = saved_and_loaded(model, tmp_path)
    np.testing.assert_array_equal(model.sample(5), copy.sample(5))
    np.testing.assert_array_equal(model.random_state.rand(3), copy.random_state.rand(3))
    assert_equal_states(model.fit(table), copy.fit(table), table)


def assert_equal_states(a, b, X):
    np.testing.assert_array_equal(a.transform(X), b.transform(X))


@pytest.mark.parametrize("kind", KINDS)
def test_streams_go_on_as_from_a_pickle_with_a_new_optimizer(kind, table, tmp_path):
    table[::3, 2] = np.nan
    model = KINDS[kind]().partial_fit(table[:60])
    copy, pickled = saved_and_loaded(model, tmp_path), pickle.loads(pickle.dumps(model))
    assert_equal(model, copy, table)
    pickled.net_.resume_from = None  # a file has no state of the optimizer
    assert_equal(pickled.partial_fit(table[60:]), copy.partial_fit(table[60:]), table)


def test_random_states_that_are_one_stay_one(table, tmp_path):
    model = AutoencoderTransformer(2, random_state=np.random.RandomState(0)).partial_fit(table[:60])
    copy = saved_and_loaded(model, tmp_path)
    assert copy._stream.random_state is copy.random_state


def test_a_second_save_writes_the_same_bytes(model, tmp_path):
    copy = saved_and_loaded(model, tmp_path)
    save(copy, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_files_are_small(tmp_path, rng):
    X = rng.normal(size=(200, 64))
    for model in (
        AutoencoderTransformer(2, random_state=0, max_epochs=1),
        AutoencoderOutlierDetector(random_state=0, max_epochs=1),
        AutoencoderOutlierDetector(novelty=True, random_state=0, max_epochs=1),
    ):
        save(model.fit(X), tmp_path / "model")
        n_bytes = sum(tensor.nbytes for tensor in model.net_.module_.state_dict().values())
        assert (tmp_path / "model").stat().st_size < 1.2 * n_bytes
        assert len(pickle.dumps(model)) < 1.2 * n_bytes


def test_other_tools_read_the_tensors(model, tmp_path):
    save(model, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "np") as file:
        names = {name for name in file.keys() if name.startswith("_weights.")}  # noqa: SIM118
        assert names == {f"_weights.{name}" for name in model.net_.module_.state_dict()}
        assert json.loads(file.metadata()["versions"])["torch"] == torch.__version__


def test_models_of_a_gpu_come_to_machines_without_one(table, tmp_path, monkeypatch):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    model.device = "cuda"  # as if it had been fitted there
    data = pickle.dumps(model)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for copy in (saved_and_loaded(model, tmp_path), pickle.loads(data)):
        assert copy.device == "cuda"
        assert copy.net_.device == torch.device("cpu")
        np.testing.assert_array_equal(copy.transform(table), model.transform(table))


# Code


def schedule(t):
    return 1.0


class OwnLatent(Latent):
    pass


class OwnArchitecture(Dense):
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
        {"architecture": OwnArchitecture((3,))},
        {"latent": OwnLatent()},
        {"loss": nn.HuberLoss()},
    ],
)
def test_code_that_predictions_need_is_refused(params, table, tmp_path):
    model = AutoencoderTransformer(2, **params, **QUICK).fit(table)
    for one in (model, clone(model)):
        with pytest.raises(TypeError, match=f"{next(iter(params))}.*pickle or joblib .*runs any code"):
            save(one, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_code_that_training_needs_is_left_out(table, tmp_path):
    from skorch.callbacks import EpochTimer

    params = {
        "callbacks": [EpochTimer()],
        "learning_rate_schedule": schedule,
        "optimizer": OwnOptimizer,
        "corruption": lambda x: x,
        "random_state": np.random.RandomState(np.random.PCG64(0)),
    }
    model = AutoencoderTransformer(2, max_epochs=2, **params).fit(table)
    with pytest.warns(UserWarning, match="Predictions do not need them") as caught:
        save(model, tmp_path / "model")
    assert all(name in str(caught[0].message) for name in params)
    assert caught[0].filename == __file__
    copy = load(tmp_path / "model")
    assert_equal_states(model, copy, table)
    assert (copy.callbacks, copy.corruption, copy.learning_rate_schedule, copy.optimizer) == (None, None, "one_cycle", "adamw")
    copy.set_params(corruption=params["corruption"]).fit(table)


@pytest.mark.parametrize("thing", [make_pipeline(AutoencoderTransformer()), None, {"a": 1}, Part()])
def test_other_things_are_refused(thing, tmp_path):
    with pytest.raises(TypeError, match="save takes AutoencoderTransformer or AutoencoderOutlierDetector"):
        save(thing, tmp_path / "model")


def test_subclasses_are_refused(table, tmp_path):
    class AutoencoderTransformer2(AutoencoderTransformer):
        pass

    AutoencoderTransformer2.__name__ = "AutoencoderTransformer"
    with pytest.raises(TypeError, match="save takes"):
        save(AutoencoderTransformer2(), tmp_path / "model")


def test_invalid_parameters_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="n_components"):
        save(AutoencoderTransformer(-1), tmp_path / "model")
    assert not list(tmp_path.iterdir())


# Writing


def test_paths_of_all_kinds(table, tmp_path):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    for path in (str(tmp_path / "a"), tmp_path / "ü b"):
        save(model, path)
        assert_equal_states(model, load(path), table)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        save(model, tmp_path / "no folder" / "model")
    with pytest.raises(IsADirectoryError):
        save(model, tmp_path)


def test_links_stay_and_permissions_too(tmp_path):
    model = AutoencoderTransformer(2)
    save(model, tmp_path / "model")
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o666 & ~_safetensors.umask()
    (tmp_path / "model").chmod(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "model")
    save(model.set_params(n_components=7), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o640
    assert load(tmp_path / "model").n_components == 7


@pytest.mark.parametrize("broken", ["fsync", "replace", "chmod"])
def test_a_write_that_fails_leaves_the_old_file(broken, tmp_path, monkeypatch):
    save(AutoencoderTransformer(3), tmp_path / "model")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"sklearn_ae.persistence._safetensors.os.{broken}", full)
    with pytest.raises(OSError, match="No space left"):
        save(AutoencoderTransformer(4), tmp_path / "model")
    monkeypatch.undo()
    assert load(tmp_path / "model").n_components == 3
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path):
    """Processes that save again and again are killed at random; a full file is there always."""
    script = (
        "import sys\nfrom sklearn_ae import AutoencoderTransformer\nfrom sklearn_ae.persistence import save\n"
        "import numpy as np\nmodel = AutoencoderTransformer(2, max_epochs=1, random_state=0).fit(np.random.rand(50, 300))\n"
        "while True:\n    model.n_iter_ += 1\n    save(model, sys.argv[1])\n    print('x', flush=True)\n"
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "model")], stdout=subprocess.PIPE)
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.0, 0.1))
        process.kill()
        process.wait()
        process.stdout.close()
        assert load(tmp_path / "model").n_iter_ > 1


# Damaged, edited and foreign files


@pytest.fixture(scope="module")
def small():
    """The bytes of a small detector's file, and its scores."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, 3)), columns=["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoencoderOutlierDetector(
            1, n_estimators=2, architecture=Dense((2,)), latent=Sparse(), corruption=GaussianNoise(), max_epochs=1, random_state=0
        ).fit(X)
        model._codes = model._codes[:3]
    return _file.to_bytes(model), model, X


def parsed(data):
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:end]), data[end:]


def assembled(header, body, with_sum=True):
    if with_sum:
        header = {**header, "__metadata__": {**header["__metadata__"], "sha256": _safetensors.NO_SUM}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = struct.pack("<Q", len(text)) + text + body
    return _safetensors.with_sum(data) if with_sum else data


def refused(data, path, match=None):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as caught:
        load(path)
    assert repr(str(path)) in str(caught.value)
    return str(caught.value)


def scores_of(model, X):
    """Scores, whatever names the columns have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return model.score_samples(X.to_numpy())


def test_assembled_files_load(small):
    header, body = parsed(small[0])
    assert isinstance(_file.from_bytes(assembled(header, body)), AutoencoderOutlierDetector)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda data: b"", "no safetensors file"),
        (lambda data: b"hello, world", "no safetensors file"),
        (lambda data: pickle.dumps({"a": 1}), "pickle.*only those you trust"),
        (lambda data: b"PK\x03\x04" + data, "zip archive"),
        (lambda data: to_safetensors({"a": np.zeros(3)}), "not one that sklearn_ae"),
        (lambda data: to_safetensors({"a": np.zeros(3)}, {"format": "pt"}), "not one that sklearn_ae"),
        (lambda data: data[:-1], "checksum|damaged"),
        (lambda data: data + b"\0", "checksum|damaged"),
        (lambda data: data[: len(data) // 10], "truncated"),
        (lambda data: struct.pack("<Q", 2**63) + data[8:], "truncated or damaged"),
        (lambda data: data.replace(b'"format_version":"1"', b'"format_version":"7"'), "format 7.*upgrade sklearn-ae"),
        (lambda data: data.replace(b'"format_version":"1"', b'"format_version":"x"'), "format number is damaged"),
    ],
)
def test_the_message_says_what_is_wrong(make, match, small, tmp_path):
    refused(make(small[0]), tmp_path / "model", match)


def test_no_truncated_file_is_loaded(small, tmp_path):
    data = small[0]
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header, _ = parsed(data)
    ends = [end + at for name, one in header.items() if name != "__metadata__" for at in one["data_offsets"]]
    lengths = {*range(0, 20), *range(0, end, 97), *ends, *(one - 1 for one in ends), end - 1, len(data) - 1} - {len(data)}
    for n in sorted(lengths):
        refused(data[:n], tmp_path / "model")


def places(plain, path=()):
    """All places in nested JSON."""
    yield path
    if isinstance(plain, dict):
        for key, one in plain.items():
            yield from places(one, (*path, key))
    if isinstance(plain, list):
        for i, one in enumerate(plain):
            yield from places(one, (*path, i))


def replaced(plain, path, value):
    """A copy of nested JSON with another value in one place; `...` takes it away."""
    plain = json.loads(json.dumps(plain))
    if not path:
        return value
    inner = plain
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return plain


STRANGE = [..., None, True, -1, 0, 10**12, 1e308, "x", "os.system", [], {}, [[[]]], {"part": "Latent", "params": {"dict": {}}}]
STRANGE += [{"array": "_codes"}, {"record": "Scaling", "fields": {}}, {"float": "nan"}, {"tuple": [1] * 1000}]


@pytest.mark.parametrize("step", [pytest.param(3, marks=pytest.mark.slow), 16])
def test_no_edited_field_is_loaded_as_something_broken(step, small):
    """Each place of the JSON is given each of some strange values, with a checksum that is right.

    Either the file is refused, or what comes back works: a parameter that training alone reads may be any valid one.
    """
    data, _model, X = small
    header, body = parsed(data)
    estimator = json.loads(header["__metadata__"]["estimator"])
    n_loaded = n_refused = 0
    for i, path in enumerate(places(estimator)):
        for value in STRANGE[i % step :: step]:
            metadata = header["__metadata__"] | {
                "estimator": json.dumps(replaced(estimator, path, value) if path or value is not ... else None)
            }
            try:
                loaded = _file.from_bytes(assembled(header | {"__metadata__": metadata}, body))
            except ValueError:
                n_refused += 1
                continue
            n_loaded += 1
            assert type(loaded) in _file.ESTIMATORS.values()
            if hasattr(loaded, "net_"):
                assert np.shape(scores_of(loaded, X)) == (40,)
    assert n_loaded + n_refused > 3_000 / step
    assert n_refused > n_loaded


def test_no_edited_header_is_loaded_as_something_broken(small):
    data, _model, _X = small
    header, body = parsed(data)
    tensors = [name for name in header if name != "__metadata__"]
    other = {
        "dtype": ["F64", "F32", "I64", "BF16", "U8", "C64", "", None, 3],
        "shape": [[], [0], [2**62, 4], [-1], [1, 1], "x", None],
    }
    for name in tensors:
        start, end = header[name]["data_offsets"]
        mutated = [{**header[name], key: value} for key, values in other.items() for value in values if value != header[name][key]]
        mutated += [
            {**header[name], "data_offsets": one} for one in ([start, end + 8], [end, start], [0, 2**63], [-8, 8], [start], None)
        ]
        mutated += [{}, None, 3, []]
        for one in mutated:
            with pytest.raises(ValueError, match="valid|damaged|unknown type|tensors|no safetensors"):
                _file.from_bytes(assembled(header | {name: one}, body))
        with pytest.raises(ValueError, match="missing|damaged"):
            _file.from_bytes(assembled({key: one for key, one in header.items() if key != name}, body))


def test_swapped_tensors_are_not_loaded(small):
    """The checksum tells; with a new one shapes and types do, where they differ."""
    data, _, _ = small
    header, body = parsed(data)
    tensors = [name for name in header if name != "__metadata__"]
    for a, b in itertools.pairwise(tensors):
        swapped = header | {a: header[b], b: header[a]}
        with pytest.raises(ValueError, match="checksum"):
            _file.from_bytes(assembled(swapped, body, with_sum=False))
        if header[a]["shape"] != header[b]["shape"] and {"_codes", "_calibration.values"}.isdisjoint({a, b}):
            with pytest.raises(ValueError, match="valid"):
                _file.from_bytes(assembled(swapped, body))


@pytest.mark.parametrize(
    "make",
    [
        lambda e: e["state"]["_blueprint"]["fields"].update(n_components=10**15),
        lambda e: e["state"]["_blueprint"]["fields"].update(n_features=10**15),
        lambda e: e["state"]["_blueprint"]["fields"]["architecture"]["params"].update(hidden_layer_sizes={"tuple": [10**6, 10**6]}),
        lambda e: e["state"]["_blueprint"]["fields"]["architecture"]["params"].update(hidden_layer_sizes={"tuple": [10**5] * 50}),
        lambda e: e["state"]["_blueprint"]["fields"].update(active={"tuple": [1] * 10**5}),
        lambda e: e["state"]["_blueprint"]["fields"].update(active={"tuple": [1, 10**12]}),
    ],
)
def test_huge_declared_sizes_are_not_allocated(make, small):
    header, body = parsed(small[0])
    estimator = json.loads(header["__metadata__"]["estimator"])
    make(estimator)
    metadata = header["__metadata__"] | {"estimator": json.dumps(estimator)}
    with pytest.raises(ValueError, match="content is not valid"):
        _file.from_bytes(assembled(header | {"__metadata__": metadata}, body))


def test_deep_nesting_is_refused(small, tmp_path):
    header, body = parsed(small[0])
    metadata = header["__metadata__"] | {"estimator": "[" * 100_000 + "]" * 100_000}
    refused(assembled(header | {"__metadata__": metadata}, body), tmp_path / "model", "not valid")
    deep = b"[" * 100_000
    refused(struct.pack("<Q", len(deep) + 1) + b"{" + deep, tmp_path / "model")


@pytest.mark.parametrize("name", ["transform", "predict", "__class__", "_apply", "score", "a b", "_n_features_out", "get_params"])
def test_methods_cannot_be_hidden(name, small, tmp_path):
    header, body = parsed(small[0])
    estimator = json.loads(header["__metadata__"]["estimator"])
    estimator["state"][name] = "x"
    metadata = header["__metadata__"] | {"estimator": json.dumps(estimator)}
    refused(assembled(header | {"__metadata__": metadata}, body), tmp_path / "model", "no fitted attribute")


@pytest.mark.slow
def test_random_bytes(small, monkeypatch):
    """10,000 files with a few random bytes changed, taken away or put in: none loads, and none runs code."""
    data, _, _ = small
    rng = np.random.default_rng(0)

    def forbidden(*args, **kwargs):
        raise AssertionError("code was run")

    for name in ("builtins.eval", "builtins.exec", "os.system", "pickle.loads", "pickle.load", "subprocess.Popen"):
        monkeypatch.setattr(name, forbidden)
    for i in range(10_000):
        mutated = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            at, byte = int(rng.integers(len(mutated))), int(rng.integers(256))
            if i % 3 == 0:
                mutated[at] = byte
            elif i % 3 == 1:
                mutated.insert(at, byte)
            else:
                del mutated[at]
        if mutated == data:
            continue
        with pytest.raises(ValueError, match="."):
            _file.from_bytes(bytes(mutated))


@pytest.mark.slow
def test_random_bytes_with_a_right_checksum(small, monkeypatch):
    """1,000 changes of the header, which somebody has given a new checksum: refused, or a model that works."""
    data, _, X = small
    rng = np.random.default_rng(1)
    end = _safetensors.header_end(data)
    stated = json.loads(data[8:end])["__metadata__"]["sha256"].encode()
    zeroed = data.replace(stated, _safetensors.NO_SUM.encode())
    n_loaded = 0
    for _ in range(1_000):
        mutated = bytearray(zeroed)
        mutated[int(rng.integers(8, end))] = int(rng.integers(32, 127))
        try:
            loaded = _file.from_bytes(_safetensors.with_sum(bytes(mutated)))
        except ValueError:
            continue
        n_loaded += 1
        assert scores_of(loaded, X).shape == (40,)
    assert n_loaded < 500


# skops

SKOPS_TRUSTS = "sklearn_ae."


@pytest.mark.parametrize("kind", KINDS)
def test_skops_keeps_pipelines(kind, table):
    sio = pytest.importorskip("skops.io")
    table[::5, 1] = np.nan
    pipeline = make_pipeline(StandardScaler(), KINDS[kind](latent=Variational(), corruption=GaussianNoise()))
    pipeline.set_params(**{f"{pipeline.steps[-1][0]}__warm_start": True}).fit(table)
    data = sio.dumps(pipeline)
    types = sio.get_untrusted_types(data=data)
    assert types
    assert all(name.startswith(SKOPS_TRUSTS) for name in types), types
    copy = sio.loads(data, trusted=types)
    assert_equal(pipeline[-1], copy[-1], StandardScaler().fit_transform(table))
    np.testing.assert_array_equal(pipeline.score_samples(table), copy.score_samples(table))


@pytest.mark.parametrize("kind", KINDS)
def test_skops_keeps_streams(kind, table):
    sio = pytest.importorskip("skops.io")
    model = KINDS[kind]().partial_fit(table[:60])
    data = sio.dumps(model)
    types = sio.get_untrusted_types(data=data)
    assert all(name.startswith(SKOPS_TRUSTS) for name in types), types
    copy = sio.loads(data, trusted=types)
    pickled = pickle.loads(pickle.dumps(model))
    assert_equal_states(pickled.partial_fit(table[60:]), copy.partial_fit(table[60:]), table)


# Released files

DATA = Path(__file__).parent / "data"


def rows_of_released_files():
    return np.linspace(-1, 1, 40).reshape(10, 4) ** 3


@pytest.mark.parametrize("name", ["transformer", "detector"])
def test_files_of_this_release_load(name):
    X = rows_of_released_files()
    models = [load(DATA / f"{name}_0.1.0.safetensors")]
    if int(np.__version__.partition(".")[0]) >= 2:  # pickles of arrays that a later numpy wrote cannot be read by an earlier one
        with open(DATA / f"{name}_0.1.0.pickle", "rb") as file:
            models.append(pickle.load(file))
    expected = json.loads((DATA / f"{name}_0.1.0.json").read_text())
    for model in models:
        np.testing.assert_allclose(model.score_samples(X), expected["scores"], rtol=1e-5)
        np.testing.assert_allclose(model.transform(X), expected["codes"], rtol=1e-4, atol=1e-5)
        assert model.sample(3).shape == (3, 4)

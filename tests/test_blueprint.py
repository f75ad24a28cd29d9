"""Blueprints: equal where they build the same network, and written as JSON and read back."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data.sources import ArraySource
from sklearn_ae._losses import LOSSES
from sklearn_ae._network.blueprint import Blueprint, EnsembleBlueprint
from sklearn_ae._torch import torch_seed
from sklearn_ae.architectures import Convolutional, Custom, Dense
from sklearn_ae.corruptions import GaussianNoise, Masking
from sklearn_ae.latents import Sparse, Variational
from tests.helpers import ARCHITECTURES, CORRUPTIONS, LATENTS, Decoder, Encoder

N_FEATURES = 6


def blueprint(n_estimators=None, seed=0, **parameters):
    """What an estimator of these parameters would build; a single autoencoder, or an ensemble if a number of members is given."""
    estimator = AutoencoderTransformer(2)
    if n_estimators is not None:
        estimator = AutoencoderOutlierDetector(n_estimators=n_estimators)
    return estimator.set_params(**parameters)._make_blueprint(ArraySource(np.zeros((1, N_FEATURES))), np.random.RandomState(seed))


def linear(value):
    layer = nn.Linear(N_FEATURES, 2)
    nn.init.constant_(layer.weight, value)
    nn.init.zeros_(layer.bias)
    return layer


def custom(value):
    return Custom(linear(value), nn.Identity())


# Equality

WHOLE = {"n_estimators": 4, "n_components": 2, "architecture": Dense()}


@pytest.mark.parametrize(
    "make",
    [
        dict,
        lambda: {"loss": nn.HuberLoss(delta=2)},
        lambda: {"architecture": Dense((8, 4), dropout=0.1), "latent": Variational(0.5), "corruption": Masking(0.2)},
        lambda: {"architecture": custom(1.0)},
        lambda: {"architecture": Custom(Encoder, Decoder)},
        lambda: {"corruption": torch.relu},
        lambda: {"n_estimators": 4},
    ],
    ids=["default", "loss", "parts", "modules", "factories", "function", "ensemble"],
)
def test_what_builds_the_same_network_is_equal(make):
    a, b = blueprint(**make()), blueprint(**make())
    assert a is not b
    assert a == b
    assert a.differences(b) == {}


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ({"loss": nn.HuberLoss(delta=1)}, {"loss": nn.HuberLoss(delta=2)}, {"loss"}),
        ({"loss": nn.HuberLoss()}, {"loss": "huber"}, {"loss"}),
        ({"architecture": custom(1.0)}, {"architecture": custom(2.0)}, {"architecture"}),
        ({"architecture": Dense((8,))}, {"architecture": Dense((9,))}, {"architecture"}),
        ({"architecture": Dense((8,))}, {"architecture": Convolutional((1, 6))}, {"architecture"}),
        ({"latent": None}, {"latent": Sparse()}, {"latent"}),
        ({"latent": Sparse(0.1)}, {"latent": Sparse(0.2)}, {"latent"}),
        ({"corruption": torch.relu}, {"corruption": torch.sigmoid}, {"corruption"}),
        ({"n_components": 3, "scaling": "robust"}, {}, {"n_components", "scaling"}),
        ({"n_estimators": 4, "max_samples": 16}, {"n_estimators": 4}, {"max_samples"}),
        ({"n_estimators": 4, "n_components": 2, "architecture": Dense(), "seed": 1}, WHOLE, set()),  # nothing is drawn
        ({"n_estimators": 4, "n_components": 2, "seed": 1}, {"n_estimators": 4, "n_components": 2}, {"features"}),
        ({"n_estimators": 4, "seed": 1}, {"n_estimators": 4}, {"features", "active"}),
    ],
)
def test_differences_are_those_of_values(a, b, names):
    a, b = blueprint(**a), blueprint(**b)
    found = a.differences(b)
    assert set(found) == names
    assert (a == b) == (not names)
    for name, (one, other) in found.items():
        assert one is getattr(a, name)
        assert other is getattr(b, name)


def test_one_autoencoder_is_not_an_ensemble():
    one, many = blueprint(n_estimators=1), blueprint(n_estimators=4)
    assert one != many
    assert one.differences(many) == {"n_estimators": (1, 4)}
    assert one != "a blueprint"


def test_parts_set_later_do_not_reach_it():
    latent = Variational(0.5)
    made = blueprint(latent=latent)
    latent.set_params(beta=2.0)
    assert made == blueprint(latent=Variational(0.5))


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        blueprint().n_components = 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(blueprint())


# JSON

COMBINATIONS = list(itertools.product(ARCHITECTURES, [None, *CORRUPTIONS], [None, *LATENTS], LOSSES))
WRITABLE = [combination for combination in COMBINATIONS if combination[0] != "Custom"]


def parts_of(architecture, corruption, latent, loss):
    return {
        "architecture": ARCHITECTURES[architecture](N_FEATURES),
        "corruption": corruption and CORRUPTIONS[corruption](),
        "latent": latent and LATENTS[latent](),
        "loss": loss,
    }


@pytest.mark.parametrize("n_estimators", [None, 3])
@pytest.mark.parametrize("combination", WRITABLE, ids=str)
def test_every_combination_is_written_and_read_back(combination, n_estimators):
    original = blueprint(n_estimators, n_components=2, **parts_of(*combination))
    again = Blueprint.from_json(json.loads(json.dumps(original.to_json())))
    assert type(again) is type(original)
    assert again == original
    check_rebuilt(original, again)


def check_rebuilt(original, again):
    """A network built from what was read takes the weights of the other's, and gives the same numbers."""
    with torch_seed(0):
        module = original.build().eval()
        rebuilt = again.build().eval()
    rebuilt.load_state_dict(module.state_dict())
    x = torch.rand(5, N_FEATURES, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(rebuilt.encode(x), module.encode(x))
        assert torch.equal(rebuilt.decode(rebuilt.encode(x)), module.decode(module.encode(x)))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_estimators": 5},
        {"n_estimators": 5, "max_samples": 0.5},
        {"n_estimators": 1},
        {"architecture": Dense([np.int64(8)], dropout=np.float64(0.5), activation="relu", normalization="layer")},
        {"architecture": Convolutional((1, 2, 3), channels=(3,), kernel_size=2, hidden_layer_sizes=(4,))},
        {"corruption": GaussianNoise(np.float32(0.5))},
    ],
    ids=str,
)
def test_sizes_and_options_are_written_and_read_back(parameters):
    original = blueprint(**parameters)
    again = Blueprint.from_json(json.loads(json.dumps(original.to_json())))
    assert again == original
    check_rebuilt(original, again)
    if isinstance(original, EnsembleBlueprint):
        assert again.features.dtype == original.features.dtype
        assert type(again.active) is tuple


class Mine(Sparse):
    """A part of a user's own."""


def my_activation():
    return nn.ReLU()


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"loss": nn.HuberLoss()}, r"loss=HuberLoss\(\)"),
        ({"corruption": torch.relu}, r"corruption=FunctionCorruption|corruption__function="),
        ({"latent": Mine()}, r"latent=Mine\(\)"),
        ({"architecture": custom(1.0)}, "architecture__decoder=Identity"),
        ({"architecture": Custom(Encoder, Decoder)}, "architecture__decoder=<class"),
        ({"architecture": Dense(activation=nn.PReLU)}, "architecture__activation=<class"),
        ({"architecture": Dense(activation=my_activation)}, "architecture__activation=<function my_activation"),
    ],
)
def test_code_of_ones_own_is_refused_by_name(parameters, name):
    with pytest.raises(TypeError, match=rf"({name}).* is code of your own, which cannot be written as plain values; pickle"):
        blueprint(**parameters).to_json()


def changed(**values):
    return {**blueprint(n_estimators=3).to_json(), **values}


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (changed(kind="forest"), r"no blueprint of kind 'forest'; there are \['autoencoder', 'ensemble', 'novelty'\]"),
        ({}, "no blueprint of kind None"),
        (changed(kind="autoencoder"), "A blueprint of kind 'autoencoder' has .* got .*'active'"),
        (changed(colour="red"), "A blueprint of kind 'ensemble' has .* got .*'colour'"),
        ({k: v for k, v in changed().items() if k != "loss"}, "A blueprint of kind 'ensemble' has .*'loss'"),
        (changed(latent={"part": "os.system", "params": {}}), r"no part 'os.system'; there are \['Contractive', 'Convolutional'"),
        (changed(latent={"call": "print"}), r"Not a value that was written by to_json: \{'call': 'print'\}"),
        (changed(active={"tuple": [{}]}), r"Not a value that was written by to_json: \{\}"),
    ],
    ids=["kind", "nothing", "other kind", "more", "less", "part", "value", "nested"],
)
def test_what_was_not_written_by_it_is_refused(plain, message):
    with pytest.raises(ValueError, match=message):
        Blueprint.from_json(plain)


@pytest.mark.parametrize("params", [{"gamma": 1}, {"alpha": {"call": "print"}}])
def test_unknown_parameters_of_a_part_are_refused(params):
    with pytest.raises(ValueError, match=r"Sparse has no parameters \['gamma'\]|Not a value"):
        Blueprint.from_json(changed(latent={"part": "Sparse", "params": params}))

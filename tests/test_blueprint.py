"""Blueprints: equal where they build the same network."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data.sources import ArraySource
from sklearn_ae.architectures import Convolutional, Custom, Dense
from sklearn_ae.corruptions import Masking
from sklearn_ae.latents import Sparse, Variational
from tests.helpers import Decoder, Encoder

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

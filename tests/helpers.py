"""One of every part, short trainings, and few combinations in which every two things meet."""

import itertools
from collections.abc import Hashable, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ae import architectures, corruptions, latents
from sklearn_ae._data.sources import ArraySource
from sklearn_ae._design import make_net, start_model
from sklearn_ae._torch import torch_seed

QUICK = {"max_epochs": 3, "random_state": 0}
STEADY = {**QUICK, "early_stopping": False}  # which epoch is the best may depend on the last bit
EXPORTS_WARN = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:(torch|onnxscript|onnx|onnx_ir|skl2onnx|copyreg).*"
    ),
    pytest.mark.filterwarnings("ignore::FutureWarning:(torch|onnxscript|onnx|copyreg).*"),
]


class Encoder(nn.Sequential):
    def __init__(self, n_features, n_outputs):
        super().__init__(nn.Linear(n_features, 7), nn.Tanh(), nn.Linear(7, n_outputs))


class Decoder(nn.Sequential):
    def __init__(self, n_components, n_features):
        super().__init__(nn.Linear(n_components, 7), nn.Tanh(), nn.Linear(7, n_features))


# A new part without an entry here fails test_composition before its author remembers the tests.
ARCHITECTURES = {
    "Dense": lambda n: architectures.Dense((8,)),
    "Convolutional": lambda n: architectures.Convolutional((1, n), channels=(2,)),
    "Custom": lambda n: architectures.Custom(Encoder, Decoder),
}
CORRUPTIONS = {
    "GaussianNoise": corruptions.GaussianNoise,
    "Masking": corruptions.Masking,
    "SaltAndPepper": corruptions.SaltAndPepper,
}
LATENTS = {
    "Contractive": latents.Contractive,
    "Ordered": latents.Ordered,
    "Quantized": latents.Quantized,
    "Sparse": latents.Sparse,
    "Variational": latents.Variational,
}


def pairwise(*axes: Sequence[Hashable]) -> list[tuple]:
    """Few rows with one value of each axis, such that any two values of different axes stand
    together in one of them.

    Each row is the one of all combinations with the most pairs that have not been seen yet.
    """
    rows = list(itertools.product(*axes))
    pairs = {row: set(itertools.combinations(enumerate(row), 2)) for row in rows}
    missing, chosen = set().union(*pairs.values()), []
    while missing:
        chosen.append(max(rows, key=lambda row: len(missing & pairs[row])))
        missing -= pairs[chosen[-1]]
    return chosen


def check_p_values(p_values: np.ndarray, n_held_out: int) -> None:
    """Check p-values of new rows, (n_fits, n_rows): each fit's rate of those up to t is a draw of a
    beta distribution.

    Its mean is floor(t (n + 1)) / (n + 1) with n rows held out; that of all fits may be three
    standard deviations off.
    """
    assert ((p_values > 0) & (p_values <= 1)).all()
    for t in (0.01, 0.05, 0.1, 0.3):
        expected = np.floor(t * (n_held_out + 1) + 1e-9) / (n_held_out + 1)
        variance = expected * (1 - expected) * (1 / (n_held_out + 2) + 1 / p_values.shape[1])
        assert (
            abs((p_values <= t).mean() - expected) <= 3 * np.sqrt(variance / len(p_values)) + 1e-12
        ), t


def build_net(estimator, X, seed=0):
    """The net of an estimator, ready to train on X, and the model with its rows: `fit` up to
    training.
    """
    random_state, device = np.random.RandomState(seed), torch.device("cpu")
    with torch_seed(seed):
        source = ArraySource(X)
        validation = estimator.validation_fraction if estimator._stops_early() else None
        started = start_model(
            estimator._configure(source), source, None, validation, device, random_state
        )
        return make_net(estimator, started), started

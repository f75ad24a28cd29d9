"""Rows held out that a fit never learns from, and stacks of networks that can be taken apart,
shared and pickled.
"""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data.sources import ArraySource
from sklearn_ae._network.filling import GapFiller
from sklearn_ae._network.stack import Stack
from sklearn_ae._scores.single import build_autoencoder
from sklearn_ae.architectures import Convolutional, Dense
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Sparse, Variational
from tests.helpers import QUICK, build_net

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Held-out rows


@pytest.mark.parametrize("n", [2, 9, 53, 400])
def test_held_out_rows_are_not_trained_on(n):
    X = np.arange(float(n))[:, None] * [1, -1]  # rows can be told apart
    _, (model, _, train, held_out) = build_net(AutoencoderTransformer(1, scaling=None), X)
    learnt, judged = (
        source.take(slice(None)).x[:, 0]
        for source in (train, held_out or train.subset(np.empty(0, int)))
    )
    assert not set(learnt.tolist()) & set(judged.tolist())
    assert set(learnt.tolist()) | set(judged.tolist()) == set(range(n))
    assert len(judged) == round(max(n / 10, min(100, n / 5)))
    # where PCA starts
    assert model.network.decoder.linear.bias[0].item() == pytest.approx(learnt.mean().item())


# Stacks


def autoencoder(seed=0, architecture=None, latent=None, corruption=None):
    model = AutoencoderTransformer(
        2, architecture=architecture or Dense((8,)), latent=latent, corruption=corruption
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_autoencoder(
            model._configure(ArraySource(np.zeros((1, 4)))), GapFiller, checked=False
        ).eval()


@pytest.mark.parametrize(
    ("parts", "mode"),
    [
        ({}, "together"),
        ({"architecture": Dense((8,), normalization="batch")}, "vmap"),
        ({"architecture": Convolutional((1, 4), channels=(3,))}, "vmap"),
        ({"latent": Variational()}, "vmap"),
        ({"corruption": GaussianNoise()}, "vmap"),
    ],
    ids=["together", "batch norm", "convolutional", "variational", "corruption"],
)
def test_each_network_of_a_stack_can_be_taken_out(parts, mode):
    networks = [autoencoder(seed, **parts) for seed in range(3)]
    stack = Stack(copy.deepcopy(networks), 4, 2, whitens=False).eval()
    assert stack.mode == mode
    x = torch.rand(3, 7, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = stack.each("reconstruct", x)
        for i, network in enumerate(networks):
            alone = autoencoder(9, **parts)
            alone.load_state_dict(stack.state_of(i))
            torch.testing.assert_close(
                alone.reconstruct(x[i]), network.reconstruct(x[i]), rtol=0, atol=0
            )
            torch.testing.assert_close(together[i], network.reconstruct(x[i]), rtol=1e-5, atol=1e-6)


def test_the_weights_of_a_stack_are_one_networks_with_an_axis_before():
    networks = [autoencoder(seed) for seed in range(3)]
    stack = Stack(networks, 4, 2, whitens=False)
    own = dict(networks[0].named_parameters())
    stacked = dict(stack.named_parameters())
    assert stacked.keys() == {f"network.{name}" for name in own}
    assert all(stacked[f"network.{name}"].shape == (3, *p.shape) for name, p in own.items())
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in stacked.values())


def test_stacking_leaves_the_networks_as_they_are():
    networks = [autoencoder(seed, Dense((8,), normalization="batch")) for seed in range(3)]
    before = copy.deepcopy([network.state_dict() for network in networks])
    stack = Stack(networks, 4, 2, whitens=False)
    with torch.no_grad():
        for p in stack.parameters():
            p.zero_()
    assert stack.train().learning is False
    for network, state in zip(networks, before, strict=True):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, state[name]), name


ENSEMBLES = {
    "together": {},
    "vmap": {"latent": Sparse(), "architecture": Dense((8,), normalization="batch")},
}


@pytest.fixture(params=ENSEMBLES)
def ensemble(request, table):
    detector = AutoencoderOutlierDetector(
        2, n_estimators=4, **ENSEMBLES[request.param], **QUICK
    ).fit(table)
    assert detector.net_.module_.mode == request.param
    return detector


def test_the_net_of_an_ensemble_can_be_pickled(ensemble, table):
    scores = ensemble.score_samples(table)
    ensemble.net_ = pickle.loads(pickle.dumps(ensemble.net_))
    np.testing.assert_array_equal(ensemble.score_samples(table), scores)


def test_threads_may_score_with_an_ensemble_at_the_same_time(ensemble, table):
    parts = [table[i::7] for i in range(7)] * 3
    expected = [ensemble.score_samples(part) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        for scores, right in zip(pool.map(ensemble.score_samples, parts), expected, strict=True):
            np.testing.assert_array_equal(scores, right)

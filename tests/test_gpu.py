"""The same code on a CUDA device; skipped without one."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data import batches, sources
from sklearn_ae._data.scaling import fit_scaling
from sklearn_ae._data.sources import ArraySource, Scaled
from sklearn_ae._training.steps import GraphedStep
from sklearn_ae.architectures import Convolutional
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Contractive, Variational

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture
def X(rng):
    return (
        rng.normal(size=(2_000, 3)) @ rng.normal(size=(3, 12)) + 0.1 * rng.normal(size=(2_000, 12))
    ).astype(np.float32)


@pytest.mark.parametrize(
    "slots",
    [
        {},
        {"latent": Variational(), "corruption": GaussianNoise()},
        {"latent": Contractive()},
        {"architecture": Convolutional((1, 3, 4))},
        {"optimizer": "sgd", "learning_rate": 1e-2},
        {"loss": nn.HuberLoss()},
        {"mixed_precision": True},
    ],
)
def test_training_lowers_the_loss_and_pickles_come_back(slots, X):
    model = AutoencoderTransformer(3, device="cuda", max_epochs=10, random_state=0, **slots).fit(X)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert next(model.net_.module_.parameters()).is_cuda
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(copy.transform(X), model.transform(X), rtol=1e-4, atol=1e-5)


def test_graphs_take_the_steps_that_eager_code_takes(X):
    def fit():
        return (
            AutoencoderTransformer(3, device="cuda", max_epochs=5, random_state=0)
            .fit(X)
            .loss_curve_
        )

    graphed = fit()
    replaced = GraphedStep.__call__
    GraphedStep.__call__ = lambda self, batch: self.step(batch)
    try:
        np.testing.assert_allclose(graphed, fit(), rtol=1e-3)
    finally:
        GraphedStep.__call__ = replaced


@pytest.mark.parametrize("shuffle", [False, True])
def test_streamed_batches_are_those_of_resident_rows(shuffle, X, monkeypatch):
    """In the same order: that of resident rows is drawn on the device, so here it is replaced by a
    fixed one.
    """
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(X)))
    monkeypatch.setattr(batches.torch, "randperm", lambda n, device=None: order.to(device))

    def epoch():
        source = Scaled(
            ArraySource(X), fit_scaling("standard", ArraySource(X), None), torch.device("cuda")
        )
        return source, [batch.x.clone() for batch in batches.Batches(source, 100, shuffle)]

    resident, expected = epoch()
    monkeypatch.setattr(sources, "room", lambda device: 0)
    monkeypatch.setattr(batches, "DEVICE_BLOCK_BYTES", 2**14)  # several blocks
    streamed, found = epoch()
    assert resident.resident is not None
    assert streamed.resident is None
    assert len(expected) == 20
    for a, b in zip(found, expected, strict=True):
        assert a.is_cuda
        assert torch.equal(a, b)


def test_training_on_streamed_rows_reaches_the_same_loss(X, monkeypatch):
    model = AutoencoderTransformer(3, device="cuda", max_epochs=5, random_state=0)
    expected = model.fit(X).loss_curve_
    monkeypatch.setattr(sources, "room", lambda device: 0)
    monkeypatch.setattr(batches, "DEVICE_BLOCK_BYTES", 2**14)
    # batches in another order
    np.testing.assert_allclose(model.fit(X).loss_curve_, expected, rtol=0.1)


def test_the_detector(X):
    on_gpu = AutoencoderOutlierDetector(device="cuda", random_state=0).fit(X)
    assert (on_gpu.predict(X) == 1).mean() > 0.9
    assert (on_gpu.predict(X[:, ::-1] * 5) == -1).mean() > 0.9


def test_scores_agree_with_the_cpus(X):
    model = AutoencoderTransformer(3, device="cuda", max_epochs=3, random_state=0).fit(X)
    scores = model.score_samples(X)
    model.net_.module_.cpu()
    model.net_.device = "cpu"
    np.testing.assert_allclose(model.score_samples(X), scores, rtol=1e-2)

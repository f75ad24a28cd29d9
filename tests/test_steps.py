"""Kinds of steps: the same numbers, and a way back where nothing compiles."""

import os
import shutil

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Freezer
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.architectures import Custom, Dense
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Sparse, Variational
from tests.helpers import QUICK


def test_without_a_compiler_training_goes_on_with_one_warning(table, monkeypatch):
    def no_compiler(function):
        def fail(x):
            raise RuntimeError("no compiler here")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    model = AutoencoderTransformer(
        2, compile=True, learning_rate_schedule="one_cycle", max_epochs=20, random_state=0
    )
    with pytest.warns(
        RuntimeWarning,
        match=r"compile=True has no effect: torch.compile failed here \(no compiler here\)",
    ) as caught:
        model.fit(table)
    assert len([w for w in caught if w.category is RuntimeWarning]) == 1
    np.testing.assert_allclose(
        model.loss_curve_, model.set_params(compile=False).fit(table).loss_curve_, rtol=1e-4
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
@pytest.mark.skipif(
    "ATEN_CPU_CAPABILITY" in os.environ,
    reason="compiled code takes the processor's own instructions",
)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::sklearn.exceptions.ConvergenceWarning"
)
def test_compiled_training_gives_the_same_numbers(table):
    # nothing random within the network
    parts = {
        "architecture": Dense((8,), linear_path=False),
        "early_stopping": False,
    }
    eager, fast = (
        AutoencoderTransformer(2, compile=c, **parts, **QUICK).fit(table).loss_curve_
        for c in (False, True)
    )
    np.testing.assert_allclose(fast, eager, rtol=1e-3)


class TellsItsType(nn.Linear):
    """A layer that notes the type of what it computes."""

    types: set = set()

    def forward(self, x):
        result = super().forward(x)
        TellsItsType.types.add((result.dtype, self.weight.dtype))
        return result


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("mixed_precision", [True, False])
def test_mixed_precision_trains_in_bfloat16_and_scores_in_float32(mixed_precision, table):
    architecture = Custom(TellsItsType(6, 2), nn.Linear(2, 6))
    model = AutoencoderTransformer(
        2, architecture=architecture, mixed_precision=mixed_precision, early_stopping=False
    )
    model.set_params(learning_rate=0.05, batch_size=20, max_epochs=20, random_state=0)
    TellsItsType.types = set()
    model.fit(table)
    plain = (torch.float32, torch.float32)  # sizes are checked, and codes kept, in float32
    assert TellsItsType.types == (
        {plain, (torch.bfloat16, torch.float32)} if mixed_precision else {plain}
    )
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]
    TellsItsType.types = set()
    scores = model.score_samples(table)
    assert TellsItsType.types == {plain}
    assert scores.dtype == np.float64
    module = model.net_.module_
    x = torch.from_numpy((table - table.mean(0)) / table.std(0)).float()
    with torch.no_grad():
        by_hand = (module.decoder(module.encoder(x)) - x).square().mean(1)
    np.testing.assert_allclose(-scores, by_hand, rtol=1e-4)


KINDS = {
    "default": ({}, "WrittenOutStep"),
    "tanh": (
        {"architecture": Dense((16, 8), linear_path=False, activation="tanh")},
        "WrittenOutStep",
    ),
    "relu": (
        {"architecture": Dense((16,), activation="relu", decoder_hidden_layer_sizes=(8, 8))},
        "WrittenOutStep",
    ),
    "huber": ({"loss": "huber", "corruption": GaussianNoise(0.1)}, "WrittenOutStep"),
    "gelu": ({"architecture": Dense((8,), activation="gelu")}, "EagerStep"),
    "tanh code": ({"architecture": Dense((8,), latent_activation="tanh")}, "EagerStep"),
    "dropout": ({"architecture": Dense((8,), dropout=0.1)}, "EagerStep"),
    "sparse": ({"latent": Sparse(active=0.5)}, "EagerStep"),
    "variational": ({"latent": Variational()}, "EagerStep"),
    "gaps": ({}, "WrittenOutStep"),
    "gaps, huber": ({"loss": "huber", "corruption": GaussianNoise(0.1)}, "WrittenOutStep"),
}


class Kind(Callback):
    """Notes the kinds of steps."""

    def on_epoch_end(self, net, **kwargs):
        self.kind = type(net.trainer_.step).__name__


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_fast_steps_give_what_autograd_and_torchs_optimizer_give(name, weighted, table, rng):
    parameters, expected = KINDS[name]
    weights = rng.uniform(0.5, 2.0, len(table)) if weighted else None
    kinds, curves = [Kind(), Kind()], []
    if name.startswith("gaps"):
        table = np.where(rng.random(table.shape) < 0.2, np.nan, table)
    for optimizer, kind in zip(("adam", torch.optim.Adam), kinds, strict=True):
        model = AutoencoderTransformer(
            2, optimizer=optimizer, callbacks=[kind], batch_size=20, **parameters, **QUICK
        )
        curves.append(model.fit(table, sample_weight=weights).loss_curve_)
    np.testing.assert_allclose(*curves, rtol=1e-3)
    assert [one.kind for one in kinds] == [expected, "EagerStep"]


@pytest.mark.parametrize("n_features", [6, 300])  # beyond 256 each gap adds to its feature only
@pytest.mark.parametrize("gaps", [True, False])
def test_fast_steps_of_a_masked_autoencoder_give_what_autograd_gives(n_features, gaps, rng):
    X = rng.normal(size=(60, n_features))
    if gaps:
        X[rng.random(X.shape) < 0.2] = np.nan
    weights, kinds, learnt = rng.uniform(0.5, 2.0, len(X)), [Kind(), Kind()], []
    for optimizer, kind in zip(("adam", torch.optim.Adam), kinds, strict=True):
        model = AutoencoderOutlierDetector(
            novelty=True, optimizer=optimizer, callbacks=[kind], batch_size=20, **QUICK
        )
        network = model.fit(X, sample_weight=weights).net_.module_
        learnt.append(network.filler.weight.detach().numpy())
    assert np.abs(learnt[0]).max() > 0
    np.testing.assert_allclose(*learnt, rtol=1e-2, atol=1e-5)
    assert [one.kind for one in kinds] == ["WrittenOutStep", "EagerStep"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_steps_follow_what_callbacks_freeze_and_free(table):
    kinds = []

    class Thaws(Freezer):
        def on_epoch_end(self, net, **kwargs):
            kinds.append(type(net.trainer_.step).__name__)
            if len(kinds) == 2:
                net.module_.requires_grad_(True)

    AutoencoderTransformer(2, callbacks=[Thaws("encoder.*")], random_state=0, max_epochs=4).fit(
        table
    )
    assert kinds == ["EagerStep"] * 2 + ["WrittenOutStep"] * 2

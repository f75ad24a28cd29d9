"""Compiled steps: the same numbers, and a way back where nothing compiles."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._data.batch import Batch
from sklearn_ae._training import loop
from sklearn_ae._training.written_out import WrittenOut
from sklearn_ae.architectures import Custom, Dense
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Variational
from tests.helpers import QUICK


def test_without_a_compiler_training_goes_on_with_one_warning(table, monkeypatch):
    def no_compiler(function):
        def fail(x):
            raise RuntimeError("no compiler here")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    model = AutoencoderTransformer(2, compile=True, learning_rate_schedule="one_cycle", max_epochs=20, random_state=0)
    with pytest.warns(
        RuntimeWarning, match=r"compile=True has no effect: torch.compile failed here \(no compiler here\)"
    ) as caught:
        model.fit(table)
    assert len([w for w in caught if w.category is RuntimeWarning]) == 1
    np.testing.assert_allclose(model.loss_curve_, model.set_params(compile=False).fit(table).loss_curve_, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
def test_compiled_training_gives_the_same_numbers(table):
    parts = {"architecture": Dense((8,), linear_path=False), "early_stopping": False}  # nothing random within the network
    eager, fast = (AutoencoderTransformer(2, compile=c, **parts, **QUICK).fit(table).loss_curve_ for c in (False, True))
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
    model = AutoencoderTransformer(2, architecture=architecture, mixed_precision=mixed_precision, early_stopping=False)
    model.set_params(learning_rate=0.05, batch_size=20, max_epochs=20, random_state=0)
    TellsItsType.types = set()
    model.fit(table)
    plain = (torch.float32, torch.float32)  # sizes are checked, and codes kept, in float32
    assert TellsItsType.types == ({plain, (torch.bfloat16, torch.float32)} if mixed_precision else {plain})
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


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"architecture": Dense((16, 8), linear_path=False, activation="tanh")},
        {"architecture": Dense((16,), activation="relu", decoder_hidden_layer_sizes=(8, 8, 8))},
        {"loss": "huber", "corruption": GaussianNoise(0.1)},
    ],
    ids=["default", "tanh", "relu", "huber"],
)
def test_gradients_written_out_are_those_of_autograd(parameters, masked, weighted, table):
    net = AutoencoderTransformer(2, max_epochs=20, random_state=0, **parameters).fit(table).net_
    module, optimizer = net.module_.train(), net.optimizer_
    module.learning = True
    x, weight, mask = torch.randn(50, 6), torch.rand(50) if weighted else None, torch.rand(50, 6) > 0.2 if masked else None
    batch = Batch(x if mask is None else torch.where(mask, x, 0), weight, mask)
    torch.manual_seed(0)
    mean, raw = WrittenOut(module)(batch)
    ours = [p.grad.clone() for p in module.parameters()]
    optimizer.zero_grad()
    torch.manual_seed(0)
    output = module(x) if mask is None else module(batch.x, mask)
    expected = batch.weighted(module.objective(batch, *output)).mean()
    expected.backward()
    torch.testing.assert_close(raw, output[0])
    torch.testing.assert_close(mean, expected)
    for gradient, p in zip(ours, module.parameters(), strict=True):
        torch.testing.assert_close(gradient, p.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, True),
        ({"architecture": Dense((8,), dropout=0.1)}, False),
        ({"architecture": Dense((8,), latent_activation="tanh")}, False),
        ({"architecture": Dense((8,), activation="gelu")}, False),
        ({"latent": Variational()}, False),
        ({"optimizer": "sgd"}, False),
    ],
)
def test_only_what_is_known_is_written_out(parameters, expected, table, monkeypatch):
    seen = []
    known = loop.can_be_written_out
    monkeypatch.setattr(loop, "can_be_written_out", lambda *args: seen.append(known(*args)) or seen[-1])
    AutoencoderTransformer(2, **parameters, **QUICK).fit(table)
    assert set(seen) == {expected}

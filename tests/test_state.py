"""What training keeps: optimisers that are torch's, the state that can be saved and gone on with,
averages, rules and schedules.
"""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._defaults import last_epochs
from sklearn_ae._torch import torch_seed
from sklearn_ae._training.optimizers import Adam, AdamW
from sklearn_ae._training.schedules import last_steps, one_cycle
from sklearn_ae._training.state import TrainingState, improved_significantly
from sklearn_ae.architectures import Dense
from sklearn_ae.latents import Variational
from tests.helpers import build_net

PAIRS = [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)]
RATE = {"lr": 0.05, "weight_decay": 0.01}


# Optimisers


def network():
    with torch_seed(0):
        return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()]).clone()


def gradients_of_step(module, i):
    """A backward pass on rows of its own for each step, whose gradients differ much in size."""
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(i))
    (10.0 ** (i % 3) * (module(x) - x[:, :3]).square().mean()).backward()


def take_steps(module, optimizer, steps, clear=None):
    for i in steps:
        optimizer.zero_grad() if clear is None else clear()
        gradients_of_step(module, i)
        optimizer.step()


def after_ten_steps_of(optimizer_class, **options):
    module = network()
    take_steps(module, optimizer_class(module.parameters(), **{**RATE, **options}), range(10))
    return weights(module)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"betas": (0.8, 0.9), "eps": 1e-3}], ids=str
)
def test_steps_are_those_of_torch(pair, options):
    ours, torchs = (after_ten_steps_of(one, **options) for one in pair)
    torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "pair", [*PAIRS, *(pair[::-1] for pair in PAIRS)], ids=lambda pair: f"{pair[0].__module__}"
)
@pytest.mark.parametrize("through_a_file", [False, True])
def test_state_goes_from_one_class_to_the_other(pair, through_a_file):
    first, second = pair
    module, other = network(), network()
    optimizer = first(module.parameters(), **RATE)
    take_steps(module, optimizer, range(5))
    state = optimizer.state_dict()
    if through_a_file:
        state = saved_and_loaded(state)
    other.load_state_dict(module.state_dict())
    loaded = second(other.parameters(), **RATE)
    loaded.load_state_dict(state)
    take_steps(other, loaded, range(5, 10))
    torchs = after_ten_steps_of(next(one for one in pair if one.__module__.startswith("torch")))
    torch.testing.assert_close(weights(other), torchs, rtol=0, atol=1e-6)


def test_state_that_is_loaded_is_not_shared_with_where_it_came_from():
    module, other = network(), network()
    optimizer, loaded = Adam(module.parameters(), **RATE), Adam(other.parameters(), **RATE)
    take_steps(module, optimizer, range(3))
    loaded.load_state_dict(optimizer.state_dict())
    take_steps(other, loaded, range(3))
    assert all(state["step"] == 3 for state in optimizer.state_dict()["state"].values())


def test_hooks_are_called_at_each_step():
    module, called = network(), []
    optimizer = Adam(module.parameters(), **RATE)
    before = [optimizer.register_step_pre_hook(lambda *_: called.append("before"))]
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    take_steps(module, optimizer, range(2))
    assert called == ["before", "after"] * 2
    before[0].remove()
    take_steps(module, optimizer, range(1))
    assert called[4:] == ["after"]


def forget_gradients(module):
    for p in module.parameters():
        p.grad = None


@pytest.mark.parametrize(
    "clear",
    [forget_gradients, nn.Module.zero_grad, lambda module: module.zero_grad(set_to_none=False)],
)
def test_gradients_may_be_cleared_by_others(clear):
    module = network()
    take_steps(module, Adam(module.parameters(), **RATE), range(10), lambda: clear(module))
    torch.testing.assert_close(
        weights(module), after_ten_steps_of(torch.optim.Adam), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))],
    ids=["deepcopy", "pickle"],
)
def test_copies_go_on_by_themselves(copied):
    module = network()
    optimizer = AdamW(module.parameters(), **RATE)
    take_steps(module, optimizer, range(5))
    before = weights(module)
    other, others = copied((module, optimizer))
    take_steps(other, others, range(5, 10))
    torch.testing.assert_close(
        weights(other), after_ten_steps_of(torch.optim.AdamW), rtol=0, atol=1e-6
    )
    assert torch.equal(weights(module), before)


def test_parameters_may_be_added_later():
    results = []
    for optimizer_class in PAIRS[0]:
        module = network()
        optimizer = optimizer_class(module[0].parameters(), **RATE)
        take_steps(module, optimizer, range(5), module.zero_grad)
        optimizer.add_param_group({"params": module[2].parameters(), "lr": 0.2})
        take_steps(module, optimizer, range(5, 10), module.zero_grad)
        results.append(weights(module))
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)


def test_norms_are_clipped_as_torch_clips_them():
    module, reference = network(), network()
    take_steps(module, Adam(module.parameters(), max_norm=1.0, **RATE), range(10))
    torchs = torch.optim.Adam(reference.parameters(), **RATE)
    norms = []
    for i in range(10):
        torchs.zero_grad()
        gradients_of_step(reference, i)
        norms.append(nn.utils.clip_grad_norm_(reference.parameters(), 1.0))
        torchs.step()
    assert min(norms) < 1 < max(norms)  # both cases
    torch.testing.assert_close(weights(module), weights(reference), rtol=0, atol=1e-5)
    assert not torch.allclose(weights(module), after_ten_steps_of(torch.optim.Adam), atol=1e-2)


def test_a_closure_is_called_with_gradients_on():
    module, reference = network(), network()
    for one, optimizer in (
        (module, Adam(module.parameters(), **RATE)),
        (reference, torch.optim.Adam(reference.parameters(), **RATE)),
    ):

        def closure(one=one):
            loss = one(torch.ones(2, 5)).square().mean()
            loss.backward()
            return loss

        assert optimizer.step(closure) > 0
    torch.testing.assert_close(weights(module), weights(reference), rtol=0, atol=1e-6)


# Saving and going on


def saved_and_loaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer)


class Saves(Callback):
    """Keeps the training state as it is at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch, self.states, self.lowered = epoch, [], False

    def on_epoch_end(self, net, **kwargs):
        if net.state_.epoch == self.epoch:
            self.states = [net.state_.state_dict(), saved_and_loaded(net.state_.state_dict())]
            self.lowered = net.optimizer_.param_groups[0]["lr"] < net.lr


RANDOM = {"architecture": Dense((8,), dropout=0.2), "latent": Variational()}
TRAININGS = {
    "adam": AutoencoderTransformer(2, optimizer="adam"),
    "adamw, no validation": AutoencoderTransformer(
        2, optimizer="adamw", early_stopping=False, weight_decay=0.1
    ),
    "sgd": AutoencoderTransformer(2, optimizer="sgd", learning_rate=1e-2),
    "torch's": AutoencoderTransformer(2, optimizer=torch.optim.NAdam, validation_fraction=0.2),
    "random, held out": AutoencoderTransformer(
        2, validation_fraction=0.2, learning_rate_schedule="constant", **RANDOM
    ),
    "random": AutoencoderTransformer(2, optimizer="sgd", learning_rate=1e-3, **RANDOM),
    "batch norm": AutoencoderTransformer(
        2, architecture=Dense((8,), normalization="batch"), early_stopping=False
    ),
    "plateau": AutoencoderTransformer(
        2, learning_rate=0.1, learning_rate_schedule="plateau", n_iter_no_change=2
    ),
    "ensemble": AutoencoderOutlierDetector(2, n_estimators=4, max_samples=60),
    "ensemble, held out": AutoencoderOutlierDetector(
        2, n_estimators=4, max_samples=60, early_stopping=True, **RANDOM
    ),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_training_goes_on_bit_for_bit_from_a_file(name, table):
    saves = Saves(epoch=5)
    estimator = TRAININGS[name].set_params(max_epochs=10, batch_size=40, callbacks=[saves])
    net, prepared = build_net(estimator, table)
    with torch_seed(1):
        net.fit(prepared.train)
    resumed, prepared = build_net(estimator, table)
    resumed.resume_from = saves.states[1]
    with torch_seed(2), torch.no_grad():
        # neither the weights nor the seed that it finds matter
        for p in resumed.module.parameters():
            p.add_(1)
        with torch.enable_grad():
            resumed.fit(prepared.train)
    assert len(net.history) == 10
    assert resumed.history[:, "train_loss"] == net.history[5:, "train_loss"]
    if net.keep_best:
        assert resumed.history[:, "valid_loss"] == net.history[5:, "valid_loss"]
    assert resumed.best_epoch_ == net.best_epoch_
    assert saves.lowered == (name == "plateau" or net.schedule == "one_cycle")
    for key, tensor in net.module_.state_dict().items():
        assert torch.equal(resumed.module_.state_dict()[key], tensor), key


def test_a_saved_state_does_not_change_with_the_training_it_came_from(table):
    saves = Saves(epoch=2)
    net, prepared = build_net(AutoencoderTransformer(2, max_epochs=6, callbacks=[saves]), table)
    with torch_seed(1):
        net.fit(prepared.train)
    kept, written = saves.states
    assert_same_nested(kept, written)
    assert kept["losses"] == net.history[:2, "train_loss"]


def assert_same_nested(a, b):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same_nested(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same_nested(one, other)
    else:
        assert a == b


# Averages, rules, schedules


def test_the_average_of_weights_has_its_closed_form():
    module = nn.Linear(1, 1, bias=False)
    state = TrainingState(module, torch.optim.SGD(module.parameters(), lr=1.0))
    values = [3.0, -1.0, 4.0, 10.0]
    with torch.no_grad():
        module.weight.fill_(values[0])
        state.start_average()
        for value in values[1:]:
            module.weight.fill_(value)
            state.update_average()
    expected = 0.98**3 * 3.0 + 0.02 * (0.98**2 * -1.0 + 0.98 * 4.0 + 10.0)
    with state.averaged():
        assert module.weight.item() == pytest.approx(expected, rel=1e-6)
        with state.averaged():  # inside, nothing is swapped back
            assert module.weight.item() == pytest.approx(expected, rel=1e-6)
    assert module.weight.item() == 10.0


def test_an_average_that_ends_takes_the_place_of_the_weights():
    module = network()
    state = TrainingState(module, torch.optim.SGD(module.parameters()))
    state.start_average()
    average = weights(module)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(1.0)
    state.end_average()
    state.update_average()
    torch.testing.assert_close(weights(module), average, rtol=0, atol=0)
    with state.averaged():
        torch.testing.assert_close(weights(module), average, rtol=0, atol=0)


def test_without_an_average_weights_stay_themselves():
    module = nn.Linear(1, 1)
    state = TrainingState(module, torch.optim.SGD(module.parameters(), lr=1.0))
    before = weights(module)
    state.update_average()
    with state.averaged():
        assert torch.equal(weights(module), before)


def alternating(mean, deviation, n=100):
    return mean + deviation * torch.tensor([1.0, -1.0]).repeat(n // 2)


@pytest.mark.parametrize(
    ("fall", "improved"),
    [
        (torch.ones(10), True),
        (torch.zeros(10), False),
        (-torch.ones(10), False),
        (alternating(0.09, 1.0), False),  # a standard error of 100 rows is 0.1
        (alternating(0.11, 1.0), True),
        # one row far out does not make it better
        (
            torch.cat([torch.full((99,), -0.01), torch.tensor([100.0])]),
            False,
        ),
        # nor may it be hidden
        (
            torch.cat([torch.full((99,), 0.01), torch.tensor([-100.0])]),
            False,
        ),
        (torch.cat([torch.full((99,), 1.0), torch.tensor([-10.0])]), True),
        # nor does it widen the error
        (
            torch.cat([torch.full((99,), 0.5), torch.tensor([100.0])]),
            True,
        ),
    ],
    ids=[
        "all fall",
        "none",
        "all rise",
        "within error",
        "beyond error",
        "one falls far",
        "one rises far",
        "one rises",
        "all fall, one far",
    ],
)
def test_an_improvement_is_one_of_more_than_a_standard_error(fall, improved):
    before = torch.full_like(fall, 5.0)
    assert improved_significantly(before, before - fall) is improved


def test_one_cycle_rises_to_its_peak_at_30_percent_and_falls_to_nothing():
    np.testing.assert_allclose(
        [one_cycle(t) for t in (0, 0.15, 0.3, 0.65, 1)],
        [1 / 25, (1 + 1 / 25) / 2, 1, 0.5, 0],
        atol=1e-12,
    )
    assert np.all(np.diff([one_cycle(t) for t in np.linspace(0, 0.3, 20)]) > 0)
    assert np.all(np.diff([one_cycle(t) for t in np.linspace(0.3, 1, 20)]) < 0)


def test_the_last_steps_rise_to_three_tenths_and_fall_to_nothing():
    np.testing.assert_allclose(
        [last_steps(t) for t in (0, 0.1, 0.2, 0.5, 1)], [0, 0.146329, 0.271353, 0.15, 0], atol=1e-6
    )


@pytest.mark.parametrize(
    ("share", "n"), [(0.1, 0), (0.29, 0), (0.3, 8), (0.4, 10), (0.48, 12), (1.0, 12)]
)
def test_the_last_epochs_follow_the_best_one(share, n):
    assert last_epochs(100, share) == n

"""Modules of users' own: what works in place, shares weights, or keeps count."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._network.stack import Stack
from sklearn_ae.architectures import Convolutional, Custom, Dense
from sklearn_ae.corruptions import Corruption
from sklearn_ae.latents import Contractive, Latent, Sparse
from tests.helpers import QUICK, build_net

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SEEN = 6  # features of `table`


class Half(nn.Module):
    """Halves its input, in place or not; where it reads values, vmap cannot be used."""

    def __init__(self, in_place, reads=False):
        super().__init__()
        self.in_place, self.reads = in_place, reads

    def forward(self, x):
        if self.reads and not torch.isfinite(x).all():
            raise ValueError("not finite")
        return x.mul_(0.5) if self.in_place else x * 0.5


def halving(in_place, reads=False):
    torch.manual_seed(0)
    encoder = nn.Sequential(Half(in_place, reads), nn.Linear(SEEN, 2), nn.Tanh())
    return Custom(encoder, nn.Sequential(Half(in_place, reads), nn.Linear(2, SEEN)))


def bounded():
    torch.manual_seed(0)
    # whose gradient needs its output
    return Custom(nn.Linear(SEEN, 2), nn.Sequential(nn.Linear(2, SEEN), nn.Tanh()))


class Shifted(Corruption):
    def __init__(self, in_place):
        self.in_place = in_place

    def corrupt(self, x):
        return x.add_(0.1) if self.in_place else x + 0.1


class Distance(nn.Module):
    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place

    def forward(self, raw, x):
        return raw.sub_(x).abs_() if self.in_place else (raw - x).abs()


class EncodesTwice(Latent):
    def cost(self, h, x, encoder):
        return 0.01 * (encoder(x) - h.detach()).square().sum(1) + 0.01 * h.abs().sum(1)


def own_activation(in_place):
    return lambda: Half(in_place)


class Halved(Dense):
    """A part of ours whose modules somebody has changed."""

    def __init__(self, in_place):
        super().__init__((8,))
        self.in_place = in_place

    def build(self, n_features, n_outputs, n_components):
        encoder, decoder = Dense((8,), linear_path=False).build(n_features, n_outputs, n_components)
        return nn.Sequential(Half(self.in_place), encoder), decoder

    def start(self, *args):
        pass


IN_PLACE = {
    "custom": lambda p: {"architecture": halving(p)},
    "subclass": lambda p: {"architecture": Halved(p)},
    "contractive": lambda p: {"architecture": halving(p), "latent": Contractive(0.1)},
    "sparse": lambda p: {"architecture": halving(p), "latent": Sparse(0.1)},
    "latent": lambda p: {"architecture": halving(p), "latent": EncodesTwice()},
    "dense": lambda p: {
        "architecture": Dense(
            (8,), activation=own_activation(p), latent_activation=own_activation(p)
        )
    },
    "convolutional": lambda p: {
        "architecture": Convolutional((1, SEEN), channels=(2,), activation=own_activation(p))
    },
    "corruption": lambda p: {"corruption": Shifted(p)},
    "loss": lambda p: {"loss": Distance(p)},
    "loss of an activation": lambda p: {"architecture": bounded(), "loss": Distance(p)},
}
MODELS = {
    "held out": lambda slots: AutoencoderTransformer(2, **slots, validation_fraction=0.2, **QUICK),
    "one batch": lambda slots: AutoencoderTransformer(
        2, **slots, early_stopping=False, batch_size=1_000, **QUICK
    ),
    "ensemble": lambda slots: AutoencoderOutlierDetector(
        2, **slots, n_estimators=3, early_stopping=True, **QUICK
    ),
}


@pytest.mark.parametrize(
    "model",
    ["held out", *(pytest.param(one, marks=pytest.mark.slow) for one in ("one batch", "ensemble"))],
)
@pytest.mark.parametrize("slots", IN_PLACE)
def test_in_place_modules_give_equal_results(slots, model, table):
    a, b = (MODELS[model](IN_PLACE[slots](in_place)).fit(table) for in_place in (True, False))
    assert a.loss_curve_ == b.loss_curve_
    assert a.validation_loss_curve_ == b.validation_loss_curve_
    before = table.copy()
    for method in ("score_samples", "transform", "reconstruct", "reconstruction_errors"):
        np.testing.assert_array_equal(getattr(a, method)(table), getattr(b, method)(table))
    codes = a.transform(table)
    np.testing.assert_array_equal(a.inverse_transform(codes), b.inverse_transform(codes))
    np.testing.assert_array_equal(a.sample(5), b.sample(5))
    np.testing.assert_array_equal(table, before)


@pytest.mark.parametrize("model", ["ensemble"])
def test_looped_and_batched_members_agree(model, table):
    a, b, c = (
        MODELS[model]({"architecture": halving(p, reads)}).fit(table)
        for p, reads in ((1, 1), (0, 1), (0, 0))
    )
    np.testing.assert_array_equal(a.score_samples(table), b.score_samples(table))
    np.testing.assert_allclose(b.score_samples(table), c.score_samples(table), rtol=1e-4)


# Tied weights


class Transposed(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.weight = encoder.weight
        self.bias = nn.Parameter(torch.zeros(encoder.in_features))

    def forward(self, z):
        return z @ self.weight + self.bias


def tied():
    torch.manual_seed(0)
    encoder = nn.Linear(SEEN, 2)
    return Custom(encoder, Transposed(encoder))


def both_weights(model):
    weights = model.net_.module_.state_dict()
    names = [
        name
        for name in weights
        if name.endswith("weight") and ("encoder" in name or "decoder" in name)
    ]
    return [weights[name] for name in names]


@pytest.mark.parametrize("model", MODELS)
def test_tied_weights_stay_tied(model, table):
    architecture = tied()
    model = clone(
        MODELS[model]({"architecture": architecture}).set_params(max_epochs=2, warm_start=True)
    ).fit(table)
    for one in (
        model,
        pickle.loads(pickle.dumps(model)),
        clone(model).fit(table),
        copy.deepcopy(model),
    ):
        a, b = both_weights(one)
        assert a.data_ptr() == b.data_ptr()
        assert one.architecture.encoder.weight is one.architecture.decoder.weight
        n_networks = getattr(one.net_.module_, "n_networks", 1)
        assert sum(p.numel() for p in one.net_.module_.parameters()) == n_networks * (
            SEEN * 2 + 2 + SEEN
        )
    start = both_weights(model)[0].clone()
    model.fit(table)
    a, b = both_weights(model)
    assert a.data_ptr() == b.data_ptr()
    assert not torch.equal(a, start)
    assert not torch.equal(a.flatten()[:12], architecture.encoder.weight.flatten())


def test_a_clone_copies_what_it_is_given():
    architecture = tied()
    assert clone(architecture).encoder is not architecture.encoder
    assert clone(Custom(nn.Linear, nn.Linear)).encoder is nn.Linear


# Buffers


class Counts(nn.Module):
    """Counts its calls in training by setting a buffer anew, and notes the largest value."""

    def __init__(self, reads=False):
        super().__init__()
        self.reads = reads
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("largest", torch.zeros(SEEN), persistent=True)

    def forward(self, x):
        if self.reads:
            float(x.sum())
        if self.training:
            self.count = self.count + 1
            self.largest = torch.maximum(self.largest, x.detach().amax(0))
        return x


@pytest.mark.parametrize("reads", [False, True], ids=["vmap", "loop"])
@pytest.mark.parametrize("model", MODELS)
def test_buffers_that_are_set_anew_are_kept(model, reads, table):
    architecture = Custom(nn.Sequential(Counts(reads), nn.Linear(SEEN, 2)), nn.Linear(2, SEEN))
    model = MODELS[model]({"architecture": architecture}).set_params(
        early_stopping=False, batch_size=32
    )
    if isinstance(model, AutoencoderTransformer):
        model.set_params(early_stopping=True, tol=0.0, learning_rate=1e-2)
    model.fit(table)
    module = model.net_.module_
    state = module.state_dict()
    (count,) = (state[name] for name in state if name.endswith("count"))
    (largest,) = (state[name] for name in state if name.endswith("largest"))
    if isinstance(module, Stack):
        assert module.mode == ("loop" if reads else "vmap")
    assert (count > 0).all()
    assert (count == count.max()).all()
    assert (count % model.best_epoch_ == 0).all()  # as many in each epoch, and none of the trials'
    assert (largest > 0.5).all()


def test_checks_of_modules_leave_their_statistics_unchanged():
    model = AutoencoderOutlierDetector(
        2, n_estimators=3, architecture=Dense((8,), normalization="batch")
    )
    stack = build_net(model, np.zeros((9, SEEN)))[1].model.network
    assert stack.mode == "vmap"
    state = stack.network.state_dict()
    assert all(
        (state[name] == 0).all()
        for name in state
        if name.endswith(("running_mean", "num_batches_tracked"))
    )
    assert all((state[name] == 1).all() for name in state if name.endswith("running_var"))
    assert all(module.training for module in stack.modules())


# Rows that depend on one another


def around(module):
    return Custom(nn.Sequential(nn.Linear(SEEN, 4), module, nn.Linear(4, 2)), nn.Linear(2, SEEN))


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class AcrossRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.TransformerEncoderLayer(4, 1, 8, batch_first=False)

    def forward(self, x):
        return self.attention(x.unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (
            around(nn.BatchNorm1d(4, track_running_stats=False)),
            r"encoder of Custom has 1: BatchNorm1d\(4.*track_running_stats=True",
        ),
        (around(Centred()), "encoder of Custom gives a row another result"),
        (around(AcrossRows()), "encoder of Custom gives a row another result"),
        (
            Custom(nn.Linear(SEEN, 2), nn.Sequential(nn.Linear(2, SEEN), Centred())),
            "decoder of Custom gives a row another",
        ),
        (
            Dense((8,), activation=lambda: nn.BatchNorm1d(8, track_running_stats=False)),
            "encoder of Dense has layers.1: BatchNorm1d",
        ),
    ],
)
@pytest.mark.parametrize("estimator", [AutoencoderTransformer, AutoencoderOutlierDetector])
def test_modules_that_mix_rows_are_refused(estimator, architecture, message, table):
    with pytest.raises(ValueError, match=message):
        estimator(2, architecture=architecture, **QUICK).fit(table)


def test_instance_normalisation_is_of_one_row(table):
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, SEEN)), nn.InstanceNorm1d(1), nn.Flatten(), nn.Linear(SEEN, 2)
    )
    AutoencoderTransformer(2, architecture=Custom(encoder, nn.Linear(2, SEEN)), **QUICK).fit(table)


@pytest.mark.parametrize("validation_fraction", ["auto", 0.2])
def test_batches_of_one_row_and_batch_normalisation(validation_fraction, table):
    model = AutoencoderTransformer(
        2, architecture=Dense((8,), normalization="batch"), batch_size=1, **QUICK
    )
    model.set_params(validation_fraction=validation_fraction)
    with pytest.raises(
        ValueError,
        match=r"batch_size=1 .*batch normalisation \(.*BatchNorm1d\(8.*at least 2.*layer",
    ):
        model.fit(table)
    model.set_params(architecture__normalization="layer", max_epochs=1).fit(table)
    with pytest.raises(ValueError, match="one training row"):
        AutoencoderTransformer(2, architecture=Dense((8,), normalization="batch"), **QUICK).fit(
            table[:1]
        )
    images = nn.Sequential(
        nn.Unflatten(1, (1, SEEN)), nn.BatchNorm1d(1), nn.Flatten(), nn.Linear(SEEN, 2)
    )
    architecture = Custom(images, nn.Linear(2, SEEN))  # several values of a channel in one row
    AutoencoderTransformer(2, architecture=architecture, batch_size=1, max_epochs=1).fit(table[:20])


# Caches


def test_equal_modules_have_equal_hashes():
    architecture = around(nn.BatchNorm1d(4))
    assert (
        joblib.hash(architecture)
        == joblib.hash(clone(architecture))
        == joblib.hash(pickle.loads(pickle.dumps(architecture)))
    )
    other = clone(architecture)
    with torch.no_grad():
        other.encoder[0].weight[0, 0] += 1
    assert joblib.hash(architecture) != joblib.hash(other)
    assert joblib.hash(Dense(activation=nn.PReLU())) == joblib.hash(Dense(activation=nn.PReLU()))


class Noted(AutoencoderTransformer):
    fits = []

    def fit(self, X, y=None):
        self.fits.append(len(X))
        return super().fit(X)


def test_a_pipelines_memory_is_found_again(table, tmp_path):
    Noted.fits.clear()
    pipeline = make_pipeline(
        Noted(2, architecture=tied(), **QUICK), "passthrough", memory=str(tmp_path)
    )
    first = pipeline.fit_transform(table)
    again = clone(pipeline).fit_transform(table)
    np.testing.assert_array_equal(first, again)
    assert len(Noted.fits) == 1


@pytest.mark.parametrize(
    "encoder",
    [
        nn.Linear(SEEN, 2, dtype=torch.float64),
        nn.Linear(SEEN, 2, dtype=torch.bfloat16),
        nn.Linear(SEEN, 2).requires_grad_(False),
    ],
    ids=["float64", "bfloat16", "frozen"],
)
def test_pickles_give_the_same_modules(encoder):
    kept = pickle.loads(pickle.dumps(Custom(encoder, nn.Linear(2, SEEN)))).encoder
    assert isinstance(kept.weight, nn.Parameter)
    assert kept.weight.dtype == encoder.weight.dtype
    assert kept.weight.requires_grad == encoder.weight.requires_grad
    assert torch.equal(kept.weight, encoder.weight)

"""Shapes, the linear path, and messages."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from sklearn_ae import AutoencoderTransformer
from sklearn_ae._layers import ACTIVATIONS, FAR, WithLinearPath, start_at_pca
from sklearn_ae.architectures import Convolutional, Custom, Dense
from tests.helpers import QUICK


def round_trip(architecture, n_features, n_outputs=3, n_components=3):
    encoder, decoder = architecture.build(n_features, n_outputs, n_components)
    h = encoder(torch.randn(5, n_features))
    return h.shape, decoder(torch.randn(5, n_components)).shape


@pytest.mark.parametrize("sizes", [(), (8,), (16, 8), (16, 8, 4)])
@pytest.mark.parametrize("linear_path", [True, False])
def test_dense_takes_any_sizes(sizes, linear_path):
    assert round_trip(Dense(sizes, linear_path=linear_path), 10, n_outputs=6) == ((5, 6), (5, 10))


@pytest.mark.parametrize(("n_features", "gain"), [(3, 1.75), (8, 1.25), (20, 1.0)])
def test_hidden_layers_of_few_features_start_with_larger_weights(n_features, gain):
    encoder, decoder = Dense((300, 300)).build(n_features, 2, 2)
    for half, n_inputs in ((encoder, n_features), (decoder, 2)):
        first, second, last = (one for one in half.layers if isinstance(one, nn.Linear))
        for layer, n in ((first, n_inputs), (second, 300)):
            # torch draws up to 1 / sqrt(n)
            assert 0.95 * gain < n**0.5 * float(layer.weight.detach().abs().max()) <= 1.0001 * gain
        assert not last.weight.any()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_by_name(name):
    encoder, _ = Dense((8,), activation=name, latent_activation=name).build(10, 3, 3)
    assert sum(type(m) is ACTIVATIONS[name] for m in encoder.modules()) >= 2


def test_dense_mirrors_its_decoder_unless_told_otherwise():
    def widths(module):
        return [m.out_features for m in module.modules() if isinstance(m, nn.Linear)]

    _, mirrored = Dense((16, 8), linear_path=False).build(10, 3, 3)
    _, own = Dense((16, 8), linear_path=False, decoder_hidden_layer_sizes=(5,)).build(10, 3, 3)
    assert widths(mirrored) == [8, 16, 10]
    assert widths(own) == [5, 10]


def test_dropout_and_normalization_are_off_by_default():
    kinds = (nn.Dropout, nn.BatchNorm1d, nn.LayerNorm)
    plain, _ = Dense((8,)).build(10, 3, 3)
    full, _ = Dense((8,), dropout=0.5, normalization="batch").build(10, 3, 3)
    assert not any(isinstance(m, kinds) for m in plain.modules())
    assert sum(isinstance(m, kinds) for m in full.modules()) == 2


@pytest.mark.parametrize(
    "shape",
    [(1, 28, 28), (1, 5, 7), (3, 8, 8), (2, 1, 9), (1, 64), (3, 17), (1, 1, 1)],
    ids=lambda shape: "x".join(map(str, shape)),
)
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 2), (3, 1), (5, 3), (4, 2)])
@pytest.mark.parametrize("linear_path", [True, False])
def test_convolutions_restore_the_input_size(shape, kernel_size, stride, linear_path):
    architecture = Convolutional(
        shape, channels=(3, 4), kernel_size=kernel_size, stride=stride, linear_path=linear_path
    )
    n_features = int(np.prod(shape))
    assert round_trip(architecture, n_features) == ((5, 3), (5, n_features))


def test_convolutions_may_have_dense_layers_behind_them():
    assert round_trip(Convolutional((1, 6, 6), hidden_layer_sizes=(12, 9)), 36) == ((5, 3), (5, 36))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (
            Convolutional((1, 28, 28)),
            r"image_shape=\(1, 28, 28\) holds 784 values, but X has 36 features",
        ),
        (Convolutional((36,)), r"must be \(channels, height, width\) or \(channels, length\)"),
        (Convolutional((1, 6, 6), channels=()), "at least one convolution"),
        (
            Convolutional((1, 6, 6), channels=(0,)),
            "channels must be a sequence of positive whole numbers",
        ),
        (Dense((8, 0.5)), "hidden_layer_sizes must be a sequence of positive whole numbers"),
        (Dense(8), "hidden_layer_sizes must be a sequence of positive whole numbers"),
    ],
)
def test_sizes_that_do_not_fit_raise_value_error(architecture, message):
    with pytest.raises(ValueError, match=message):
        architecture.build(36, 2, 2)


def test_custom_copies_modules_and_calls_functions():
    mine = nn.Linear(6, 2)
    encoder, decoder = Custom(
        mine, lambda n_components, n_features: nn.Linear(n_components, n_features)
    ).build(6, 2, 2)
    assert encoder is not mine
    assert torch.equal(encoder.weight, mine.weight)
    assert decoder.out_features == 6


def test_custom_refuses_what_is_not_a_module():
    with pytest.raises(
        TypeError, match="encoder must be an nn.Module or a function that gives one"
    ):
        Custom(lambda *_: 3, nn.Linear(2, 6)).build(6, 2, 2)


@pytest.mark.parametrize(
    "architecture", [Dense((8,)), Convolutional((1, 3, 4))], ids=["Dense", "Convolutional"]
)
def test_training_starts_at_pca(architecture, rng):
    X = (rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12))).astype(np.float32)
    x = torch.from_numpy(X)
    encoder, decoder = architecture.build(12, 4, 4)
    architecture.start(encoder, decoder, lambda: (x, x), 4, False, 0.0)
    pca = PCA(4).fit(X)
    with torch.no_grad():
        np.testing.assert_allclose(
            decoder(encoder(x)), pca.inverse_transform(pca.transform(X)), atol=1e-3
        )


class StartsByHand(Dense):
    def start(self, encoder, decoder, data, *rest):
        x, target = data()
        assert x.shape == target.shape == (120, 6)
        nn.init.zeros_(encoder[0].weight)
        super().start(encoder, decoder, data, *rest)


def test_a_start_method_of_a_subclass_is_called(table):
    architecture = StartsByHand((), latent_activation="relu", linear_path=False)
    model = AutoencoderTransformer(
        2, architecture=architecture, learning_rate=1e-9, early_stopping=False, **QUICK
    ).fit(table)
    assert (model.net_.module_.encoder[0].weight.abs() < 1e-6).all()


def test_a_start_of_unit_variance_reconstructs_the_same(rng):
    x = torch.from_numpy((rng.normal(size=(200, 5)) * [5, 1, 2, 3, 0.1]).astype(np.float32))
    encoder, decoder = nn.Linear(5, 2), nn.Linear(2, 5)
    start_at_pca(encoder, decoder, x, x, 2, True)
    with torch.no_grad():
        z = encoder(x)
        np.testing.assert_allclose(z.std(0), [1, 1], rtol=1e-3)
        pca = PCA(2).fit(x.numpy())
        np.testing.assert_allclose(
            decoder(z), pca.inverse_transform(pca.transform(x.numpy())), atol=1e-3
        )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_components_beyond_the_rank_start_at_zero(n, rng):
    x = torch.from_numpy(rng.normal(size=(n, 6)).astype(np.float32))
    encoder, decoder = nn.Linear(6, 5), nn.Linear(5, 6)
    start_at_pca(encoder, decoder, x, x, 5, True)
    with torch.no_grad():
        np.testing.assert_allclose(decoder(encoder(x)), x, atol=1e-4)


# The input range


def with_path(rng, n_inputs=3):
    """A module with a linear path whose layers no longer give nothing."""
    encoder, _ = Dense((8,)).build(n_inputs, 2, 2)
    for p in encoder.parameters():
        nn.init.uniform_(p, generator=torch.Generator().manual_seed(1))
    return encoder.eval(), torch.from_numpy(
        rng.uniform(-1, 1, size=(50, n_inputs)).astype(np.float32)
    )


def test_layers_clip_their_input_and_the_linear_path_does_not(rng):
    encoder, x = with_path(rng)
    encoder.set_input_range(x)
    low, high = x.amin(0), x.amax(0)
    outside = 5 * x
    assert (outside > high).any()
    assert (outside < low).any()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(outside), encoder.layers(outside.clamp(low, high)) + encoder.linear(outside)
        )
        torch.testing.assert_close(encoder(x), encoder.layers(x) + encoder.linear(x))
        far = torch.full((1, 3), 1e6)
        torch.testing.assert_close(
            encoder(2 * far) - encoder(far), encoder.linear(2 * far) - encoder.linear(far)
        )


def test_a_margin_widens_the_range_by_its_width(rng):
    encoder, x = with_path(rng)
    encoder.set_input_range(x, margin=1.0)
    width = x.amax(0) - x.amin(0)
    torch.testing.assert_close(encoder.low, x.amin(0) - width)
    torch.testing.assert_close(encoder.high, x.amax(0) + width)


def test_a_constant_input_is_not_cut_off(rng):
    encoder, x = with_path(rng)
    x[:, 1] = 4.0
    encoder.set_input_range(x)
    assert encoder.low[1] == -torch.inf
    assert encoder.high[1] == torch.inf
    assert torch.isfinite(encoder.low[[0, 2]]).all()


def test_noise_is_added_to_the_layers_input_in_training_only(rng):
    encoder, x = with_path(rng)
    x = x * torch.tensor([1.0, 10.0, 100.0])
    encoder.set_input_range(x, noise=0.2)
    torch.testing.assert_close(encoder.noise, 0.2 * x.std(0, correction=0))
    seen = []
    encoder.layers.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    many = x.mean(0).expand(5_000, -1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        encoder.train()(many)
        encoder.eval()(many)
    torch.testing.assert_close(seen[0].std(0), encoder.noise, rtol=0.05, atol=0)
    assert torch.equal(seen[1], many)


def test_the_start_sets_the_range_of_both_halves(rng):
    x = torch.from_numpy(rng.normal(size=(200, 6)).astype(np.float32))
    encoder, decoder = Dense((8,)).build(6, 2, 2)
    Dense((8,)).start(encoder, decoder, lambda: (x, x), 2, False, 0.1)
    torch.testing.assert_close(encoder.low, x.amin(0))
    assert encoder.noisy
    assert not decoder.noisy
    z = encoder.eval()(x)
    torch.testing.assert_close(decoder.high, 2 * z.amax(0) - z.amin(0))


def test_far_rows_follow_the_initial_linear_path():
    path = WithLinearPath(nn.Sequential(nn.Linear(2, 1)), 2, 1)
    path.set_input_range(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    start = path.linear.weight.detach().clone()
    with torch.no_grad():
        path.linear.weight.add_(1.0)
        near, far, farther = (
            path.eval()(torch.tensor([[v, 0.5]])) for v in (5.0, FAR + 1, FAR + 3)
        )
    torch.testing.assert_close(farther - far, 2 * start[:, :1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        far - near, (FAR - 4) * path.linear.weight.detach()[:, :1], rtol=1e-4, atol=1e-4
    )

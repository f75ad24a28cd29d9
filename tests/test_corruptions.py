"""What each corruption does to a batch, by its statistics."""

import numpy as np
import pytest
import torch

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.corruptions import GaussianNoise, Masking, SaltAndPepper
from sklearn_ae.latents import Variational


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.rand(4_000, 10) + 1


def test_noise_has_its_deviation(x):
    noise = GaussianNoise(0.3)(x) - x
    assert abs(float(noise.mean())) < 0.01
    np.testing.assert_allclose(noise.std(), 0.3, rtol=0.02)


def test_masked_share_is_zero_and_the_rest_untouched(x):
    corrupted = Masking(0.25)(x)
    masked = corrupted == 0
    np.testing.assert_allclose(masked.float().mean(), 0.25, atol=0.01)
    assert torch.equal(corrupted[~masked], x[~masked])


def test_salt_and_pepper_are_the_extremes_in_equal_shares(x):
    corrupted = SaltAndPepper(0.2)(x)
    changed = corrupted != x
    np.testing.assert_allclose(changed.float().mean(), 0.2, atol=0.01)
    for extreme in (x.amin(0), x.amax(0)):
        np.testing.assert_allclose(
            ((corrupted == extreme) & changed).float().mean(), 0.1, atol=0.01
        )


@pytest.mark.parametrize("corruption", [GaussianNoise(0.0), Masking(0.0), SaltAndPepper(0.0)])
def test_no_corruption_at_strength_zero(corruption, x):
    assert torch.equal(corruption(x), x)


@pytest.mark.parametrize("corruption", [GaussianNoise(), Masking(), SaltAndPepper()])
def test_the_clean_batch_is_left_alone(corruption, x):
    before = x.clone()
    corruption(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("corruption", [GaussianNoise(-1), Masking(1.5), SaltAndPepper("some")])
def test_strengths_out_of_range_are_named(corruption):
    with pytest.raises(ValueError, match=f"of {type(corruption).__name__} must be"):
        corruption.validate()


@pytest.mark.parametrize("part", [{"corruption": Masking(0.1)}, {"latent": Variational()}])
def test_noise_in_training_gets_larger_batches_and_fewer_steps(part, rng):
    X = rng.normal(size=(1_000, 4))
    nets = []
    for parts in ({}, part):
        model = AutoencoderTransformer(2, **parts, n_iter_no_change=1, tol=1e9).fit(X)
        nets.append(model.net_)  # which planned more epochs than it took
    plain, noisy = (
        net.max_epochs * -(-900 // net.batch_size)  # batches of the rows not held out
        for net in nets
    )
    assert nets[1].batch_size == 4 * nets[0].batch_size
    assert 0.4 < noisy / plain < 0.6

"""Losses against formulas by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn
from torch.distributions import Laplace, Normal

from sklearn_ae._losses import LOSSES, make_loss

RAW = torch.tensor([[0.0, 2.0, -1.0], [1.0, 1.0, 1.0]])
X = torch.tensor([[0.5, 0.0, 1.0], [1.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("squared_error", [[0.25, 4.0, 4.0], [0.0, 1.0, 0.0]]),
        ("absolute_error", [[0.5, 2.0, 2.0], [0.0, 1.0, 0.0]]),
        ("huber", [[0.125, 1.5, 1.5], [0.0, 0.5, 0.0]]),
    ],
)
def test_losses_of_entries_by_hand(name, expected):
    loss = make_loss(name)
    np.testing.assert_allclose(loss.elementwise(RAW, X), expected)
    np.testing.assert_allclose(loss(RAW, X), np.mean(expected, axis=1))


def test_cross_entropy_is_that_of_the_probabilities():
    loss = make_loss("binary_cross_entropy")
    probability = loss.inverse_link(RAW).numpy()
    x = (X > 0.5).float()
    expected = [log_loss(x[i].numpy(), probability[i], labels=[0, 1]) for i in range(2)]
    np.testing.assert_allclose(loss(RAW, x), expected, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_links_undo_each_other(name):
    loss = make_loss(name)
    x = torch.tensor([[0.1, 0.5, 0.9]])
    np.testing.assert_allclose(loss.inverse_link(loss.link(x)), x, rtol=1e-5)


def test_negative_log_likelihood_of_squared_errors_are_a_normal_likelihood_at_its_best_scale():
    loss = make_loss("squared_error")
    errors = (RAW - X).square()
    expected = -Normal(0.0, math.sqrt(errors.mean())).log_prob(RAW - X).sum(1)
    np.testing.assert_allclose(loss.negative_log_likelihood(loss(RAW, X), 3), expected, rtol=1e-5)


def test_negative_log_likelihood_of_absolute_errors_are_a_laplace_likelihood_at_its_best_scale():
    loss = make_loss("absolute_error")
    scale = (RAW - X).abs().mean()
    expected = -Laplace(0.0, scale).log_prob(RAW - X).sum(1)
    np.testing.assert_allclose(loss.negative_log_likelihood(loss(RAW, X), 3), expected, rtol=1e-5)


def test_gradient_of_negative_log_likelihood_is_that_of_the_loss_over_twice_its_mean():
    raw = RAW.clone().requires_grad_()
    loss = make_loss("squared_error")
    loss.negative_log_likelihood(loss(raw, X), 3).mean().backward()
    # d sum of squares / (2 s^2), mean of two rows
    expected = 2 * (RAW - X) / (2 * (RAW - X).square().mean()) / 2
    np.testing.assert_allclose(raw.grad, expected, rtol=1e-5)


def test_a_users_loss_may_be_torchs_own():
    loss = make_loss(nn.SmoothL1Loss())
    np.testing.assert_allclose(loss(RAW, X), make_loss("huber")(RAW, X))


class PerSample(nn.Module):
    def forward(self, raw, x):
        return (raw - x).square().sum(1)


class Reduced(nn.Module):
    def forward(self, raw, x):
        return (raw - x).square().mean()


def test_a_users_loss_may_give_one_number_per_sample_but_then_has_none_of_entries():
    loss = make_loss(PerSample())
    assert loss(RAW, X).shape == (2,)
    with pytest.raises(ValueError, match="not one per sample and feature"):
        loss.elementwise(RAW, X)


def test_a_users_loss_must_not_reduce_over_samples():
    with pytest.raises(ValueError, match=r"one number per sample .* got shape \(\)"):
        make_loss(Reduced())(RAW, X)

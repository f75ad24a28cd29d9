"""Costs of codes against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.architectures import Dense
from sklearn_ae.latents import (
    Contractive,
    Latent,
    Ordered,
    Sparse,
    Variational,
    squared_gradient_norms,
)
from tests.helpers import LATENTS

# few epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def h():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_plain_code_is_the_encoders_output_and_costs_nothing(h):
    latent = Latent()
    assert latent.n_outputs(4) == 4
    assert latent.code(h, sample=True) is h
    assert latent.cost(h, h, nn.Identity()) is None


def test_a_sparse_code_keeps_the_largest_entries_of_each_row():
    h = torch.tensor([[3.0, -4.0, 1.0, 0.5], [0.1, 0.2, -0.3, 0.25]])
    latent = Sparse(active=0.5)
    np.testing.assert_array_equal(
        latent.code(h, sample=True), [[3, -4, 0, 0], [0, 0, np.float32(-0.3), 0.25]]
    )
    np.testing.assert_array_equal(
        latent.code(1e-6 * h, sample=False) == 0, latent.code(h, sample=False) == 0
    )
    np.testing.assert_array_equal(Sparse().code(h, sample=False) != 0, [[0, 1, 0, 0], [0, 0, 1, 0]])
    assert Sparse(active=1e-3).code(h, sample=False).count_nonzero() == 2  # one in each row
    assert Sparse(active=1).code(h, sample=False) is h
    assert Sparse(active=0.5).cost(h, h, None) is None


def test_l1_is_the_sum_of_magnitudes_in_units_of_their_root_mean_square(h):
    expected = np.abs(h.numpy()) / np.sqrt((h.numpy() ** 2).mean(0))
    np.testing.assert_allclose(Sparse(0.5, active=1).cost(h, h, None), 0.5 * expected.sum(1))
    kept = np.where(np.abs(h.numpy()) >= np.sort(np.abs(h.numpy()))[:, [-2]], h.numpy(), 0)
    expected = np.abs(kept) / np.sqrt((kept**2).mean(0) + 1e-12)
    np.testing.assert_allclose(Sparse(0.5, active=0.5).cost(h, h, None), 0.5 * expected.sum(1))


@pytest.mark.parametrize(
    "latent", [Sparse(0.5, active=1), Sparse(0.5, active=0.5), Contractive(0.5)], ids=str
)
def test_shrinking_a_code_saves_no_cost(latent):
    """Else the code shrinks and the decoder grows, and nothing else changes."""
    encoder = nn.Linear(7, 4).double()
    x = torch.randn(20, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cost = latent.cost(encoder(x), x, encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(0.01)
    np.testing.assert_allclose(
        latent.cost(encoder(x), x, encoder).detach(), cost.detach(), rtol=1e-5
    )


def test_sparse_kl_is_the_divergence_of_two_coins(h):
    cost = Sparse(2.0, penalty="kl", target=0.1).cost(h, h, None)
    rate = torch.sigmoid(h).mean(0)
    expected = kl_divergence(
        torch.distributions.Bernoulli(torch.full_like(rate, 0.1)),
        torch.distributions.Bernoulli(rate),
    ).sum()
    assert cost.shape == (5,)
    np.testing.assert_allclose(cost, 2.0 * expected.expand(5))
    np.testing.assert_allclose(Sparse(penalty="kl", target=0.1).cost(h, h, None), cost / 2)


def test_sparse_kl_gives_codes_that_are_rates(h):
    z = Sparse(penalty="kl").code(h, sample=False)
    assert ((z > 0) & (z < 1)).all()


def test_contractive_cost_of_a_linear_encoder_is_its_squared_norms_over_variances():
    encoder = nn.Linear(7, 3).double()
    x = torch.randn(9, 7, dtype=torch.float64)
    h, weight = encoder(x).detach().numpy(), encoder.weight.detach().numpy()
    expected = 0.3 * ((weight**2).sum(1) / h.var(0)).sum()
    np.testing.assert_allclose(
        Contractive(0.3).cost(encoder(x), x, encoder).detach(), np.full(9, expected)
    )
    np.testing.assert_array_equal(
        Contractive(0.3).cost(encoder(x[:7]), x[:7], encoder).detach(), np.zeros(7)
    )


def test_gradients_of_a_sigmoid_encoder_have_rifais_closed_form():
    encoder = nn.Sequential(nn.Linear(7, 3), nn.Sigmoid()).double()
    x = torch.randn(5, 7, dtype=torch.float64)
    h = encoder(x).detach()
    expected = (h * (1 - h)).square() * encoder[0].weight.detach().square().sum(1)
    np.testing.assert_allclose(squared_gradient_norms(encoder, x).detach(), expected)


def test_contractive_cost_is_there_without_gradients_and_teaches_the_encoder():
    encoder = nn.Linear(3, 2)
    x = torch.randn(9, 3)
    with torch.no_grad():
        assert Contractive(1.0).cost(encoder(x), x, encoder).mean() > 0
    Contractive(1.0).cost(encoder(x), x, encoder).mean().backward()
    weight = encoder.weight.detach().clone().requires_grad_()
    (weight.square().sum(1) / (x @ weight.T).var(0, correction=0)).sum().backward()
    np.testing.assert_allclose(encoder.weight.grad, weight.grad, rtol=1e-3, atol=1e-5)


def test_ordered_codes_are_cut_off_in_training_only(h):
    assert Ordered().code(h, sample=False) is h
    cut = Ordered().code(h.expand(3, 5, 4), sample=True)  # networks side by side
    lengths = (cut != 0).sum(-1)
    np.testing.assert_array_equal(cut, torch.where(torch.arange(4) < lengths[..., None], h, 0))
    assert (lengths >= 1).all()


@pytest.mark.parametrize("full", [0.0, 0.5, 1.0])
def test_lengths_of_ordered_codes_are_as_frequent_as_asked_for(full):
    lengths = (Ordered(full).code(torch.ones(1_000, 4), sample=True) != 0).sum(1)
    expected = (1 - full) / 4 + full * np.array([0, 0, 0, 1])
    # spread evenly: no more noise
    np.testing.assert_allclose(np.bincount(lengths, minlength=5)[1:] / 1_000, expected, atol=0.002)


def test_variational_cost_is_the_divergence_from_a_standard_normal(h):
    mean, log_variance = h.chunk(2, 1)
    expected = kl_divergence(Normal(mean, torch.exp(log_variance / 2)), Normal(0.0, 1.0)).sum(1)
    np.testing.assert_allclose(Variational(beta=1.5).cost(h, h, None), 1.5 * expected)


def test_variational_code_is_the_mean_unless_sampled():
    torch.manual_seed(0)
    h = torch.tensor([[1.0, -2.0, math.log(4.0), math.log(0.25)]]).expand(100_000, 4)
    latent = Variational()
    np.testing.assert_array_equal(latent.code(h, sample=False)[0], [1.0, -2.0])
    z = latent.code(h, sample=True)
    np.testing.assert_allclose(z.mean(0), [1.0, -2.0], atol=0.03)
    np.testing.assert_allclose(z.std(0), [2.0, 0.5], rtol=0.02)


def test_free_bits_make_small_divergences_cost_a_constant():
    h = torch.zeros(6, 4, requires_grad=True)  # no divergence at all
    cost = Variational(free_bits=0.25).cost(h, h, None)
    np.testing.assert_allclose(cost.detach(), np.full(6, 0.5))  # two components
    cost.sum().backward()
    assert not h.grad.any()


def test_warm_up_raises_the_weight_from_nothing():
    latent = Variational(warm_up=0.5)
    assert [latent.cost_weight(t) for t in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    assert Variational().cost_weight(0.0) == 1.0


# Draws


@pytest.fixture
def correlated():
    """Encoder's outputs of 500 rows whose four components are correlated, skewed and of means of
    their own.
    """
    rng = np.random.default_rng(0)
    h = rng.gamma(2.0, size=(500, 4)) @ rng.normal(size=(4, 4)) + [0, 1, 10, -5]
    return torch.from_numpy(h.astype(np.float32))


def draw(latent, h, n=40_000):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(h), (n,), generator=generator)
    return latent.sample_codes(h, rows, generator).double().numpy()


def test_draws_have_the_mean_and_the_covariance_of_the_codes(correlated):
    z, h = draw(Latent(), correlated), correlated.double().numpy()
    # four standard errors
    np.testing.assert_allclose((z.mean(0) - h.mean(0)) / h.std(0), np.zeros(4), atol=0.02)
    np.testing.assert_allclose(z.std(0) / h.std(0), np.ones(4), atol=0.04)
    np.testing.assert_allclose(np.corrcoef(z.T), np.corrcoef(h.T), atol=0.02)


def test_draws_stand_around_the_codes():
    h = torch.tensor([[1.0], [2.0]]).repeat(50, 1)
    bandwidth = 75 ** (-1 / 5)  # Silverman's, of 100 points
    z = Latent().sample_codes(
        h, torch.zeros(4_000, dtype=torch.long), torch.Generator().manual_seed(0)
    )
    np.testing.assert_allclose(z.mean(), 1.5 - 0.5 / (1 + bandwidth**2) ** 0.5, atol=0.01)
    np.testing.assert_allclose(z.std(), 0.5 * bandwidth / (1 + bandwidth**2) ** 0.5, rtol=0.05)


def test_draws_of_components_that_depend_on_one_another_do_too(correlated):
    h = torch.cat([correlated, correlated[:, :1] - correlated[:, 1:2], torch.zeros(500, 1)], 1)
    z = draw(Latent(), h)
    np.testing.assert_allclose(z[:, 4], z[:, 0] - z[:, 1], atol=1e-4)
    assert (z[:, 5] == 0).all()


def test_sparse_draws_have_the_zeros_of_the_codes(correlated):
    latent = Sparse(active=0.5)
    h = correlated - correlated.mean(0)
    z, codes = draw(latent, h), latent.code(h, sample=False).double().numpy()
    np.testing.assert_allclose((z == 0).mean(0), (codes == 0).mean(0), atol=0.01)
    assert ((z == 0).sum(1) == 2).all()
    np.testing.assert_allclose((z.mean(0) - codes.mean(0)) / codes.std(0), np.zeros(4), atol=0.02)
    np.testing.assert_allclose(z.std(0) / codes.std(0), np.ones(4), atol=0.04)
    np.testing.assert_allclose(np.corrcoef(z.T), np.corrcoef(codes.T), atol=0.1)


def test_draws_of_activation_rates_are_rates(correlated):
    z = draw(Sparse(penalty="kl"), correlated)
    assert ((z >= 0) & (z <= 1)).all()


def test_variational_draws_are_from_the_posteriors():
    h = torch.tensor([[-1.0, 2 * math.log(0.5)], [1.0, 2 * math.log(2.0)]])
    z = draw(Variational(), h)
    np.testing.assert_allclose(z.mean(), 0, atol=0.04)
    np.testing.assert_allclose(z.var(), 1 + (0.25 + 4) / 2, rtol=0.05)


@pytest.mark.parametrize("k", [2, 10, 30])
def test_rows_drawn_from_linear_codes_have_the_moments_of_the_reconstructions(k):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 30)) @ rng.normal(size=(30, 30)) + rng.normal(size=30)
    model = AutoencoderTransformer(k, architecture=Dense(()), max_epochs=1, random_state=0).fit(X)
    drawn, R = model.sample(20_000, random_state=0), model.reconstruct(X)
    np.testing.assert_allclose(drawn.var(0).sum() / R.var(0).sum(), 1, atol=0.04)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(R.T), atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("latent", [None, *LATENTS])
def test_drawn_rows_have_the_moments_of_the_data(latent, table):
    latent = latent and LATENTS[latent]()
    drawn = (
        AutoencoderTransformer(4, latent=latent, max_epochs=40, random_state=0)
        .fit(table)
        .sample(4_000, random_state=0)
    )
    np.testing.assert_allclose(
        (drawn.mean(0) - table.mean(0)) / table.std(0), np.zeros(6), atol=0.2
    )
    np.testing.assert_allclose(drawn.std(0) / table.std(0), np.ones(6), atol=0.25)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(table.T), atol=0.2)

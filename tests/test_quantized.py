"""Codes that are one of a few vectors."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.latents import Quantized

# few epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CODES = np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]])


def codebook(**parameters):
    """What a network has for codes at the corners of a square."""
    module = Quantized(n_codes=4, **parameters).build(2)
    module.start(lambda: torch.tensor(CODES, dtype=torch.float32))
    return module


def near(corners, seed=0):
    """Encoder's outputs near some of the corners, float64."""
    return CODES[corners] + np.random.default_rng(seed).normal(size=(len(corners), 2))


def test_gradients_go_straight_through():
    h = torch.tensor(near([0, 1, 3, 3]), dtype=torch.float32, requires_grad=True)
    z = codebook().code(h, sample=True)
    np.testing.assert_allclose(z.detach(), CODES[[0, 1, 3, 3]])
    target = torch.randn(4, 2)
    (z - target).square().sum().backward()
    np.testing.assert_allclose(h.grad, 2 * (CODES[[0, 1, 3, 3]] - target.numpy()), rtol=1e-6)


def test_the_cost_is_the_squared_distance_from_the_code_over_the_features():
    h, x = near([0, 2, 2]), torch.zeros(3, 5)
    tensor = torch.tensor(h, dtype=torch.float32, requires_grad=True)
    cost = codebook(commitment=0.5).cost(tensor, x, None)
    distance = h - CODES[[0, 2, 2]]
    np.testing.assert_allclose(cost.detach(), 0.5 / 5 * (distance**2).sum(1), rtol=1e-5)
    cost.sum().backward()
    np.testing.assert_allclose(tensor.grad, 0.5 / 5 * 2 * distance, rtol=1e-4)


def test_codes_are_moving_averages_of_the_outputs_that_have_them():
    """A row of weight 2 counts as two, one of weight 0 not at all."""
    module = codebook(decay=0.9)
    share, total = np.full(4, 0.25), CODES * 0.25
    for seed in range(3):
        corners = np.array([0, 1, 2, 3, 0, 0, 2])
        h, weight = near(corners, seed), np.array([1, 1, 2, 1, 1, 0, 1.0])
        module.update(torch.tensor(h, dtype=torch.float32), torch.tensor(weight).float())
        for k in range(4):
            mine = weight * (corners == k) / 7
            share[k] = 0.9 * share[k] + 0.1 * mine.sum()
            total[k] = 0.9 * total[k] + 0.1 * mine @ h
    np.testing.assert_allclose(module.codes, total / share[:, None], rtol=1e-4, atol=1e-5)


def test_codes_that_no_row_has_are_drawn_from_the_outputs():
    module = codebook(decay=0.5)
    h = near([0, 0, 1, 1, 1, 1, 2, 2])
    weight = np.array([1, 1, 1, 1, 1, 0, 1, 1.0])
    steps = [torch.tensor(one, dtype=torch.float32) for one in (h, weight)]
    for _ in range(20):
        module.update(*steps)
    codes = module.codes.numpy()
    assert np.linalg.norm(codes - CODES[3], axis=1).min() > 5
    assert np.linalg.norm(codes[:, None] - h[weight > 0], axis=2).min(1).max() < 2


def test_it_starts_at_k_means():
    X = load_iris().data
    module = Quantized(n_codes=8).build(4)
    torch.manual_seed(0)
    h = torch.tensor(X[np.random.default_rng(0).permutation(150)], dtype=torch.float32)
    module.start(lambda: h)
    error = (module.code(h, sample=False) - h).square().sum().item()
    assert error < 1.55 * KMeans(8, n_init=10, random_state=0).fit(X).inertia_


@pytest.mark.parametrize("n_codes", [1, 5, 500])
def test_as_many_different_codes_as_asked_for_at_most(n_codes, table):
    model = AutoencoderTransformer(2, latent=Quantized(n_codes), max_epochs=5, random_state=0)
    Z = model.fit_transform(table)
    n_different = len(np.unique(Z, axis=0))
    assert n_different <= n_codes
    assert n_different > min(n_codes, 120) / 3
    np.testing.assert_allclose(model.inverse_transform(Z), model.reconstruct(table), rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1e6])
def test_rows_that_are_all_alike(value):
    X = np.full((50, 3), value)
    model = AutoencoderTransformer(2, latent=Quantized(8), max_epochs=5, random_state=0).fit(X)
    np.testing.assert_allclose(model.reconstruct(X), X)


@pytest.mark.parametrize(
    "estimator",
    [AutoencoderTransformer(2), AutoencoderOutlierDetector(2, n_estimators=3)],
    ids=["transformer", "ensemble"],
)
def test_a_code_does_not_depend_on_the_rows_beside_it(estimator, table):
    model = clone(estimator).set_params(latent=Quantized(8), max_epochs=5, random_state=0)
    Z = model.fit(table).transform(table)
    np.testing.assert_array_equal(model.transform(table[7:8]), Z[7:8])


def test_drawn_rows_are_decoded_codes(table):
    model = AutoencoderTransformer(2, latent=Quantized(8), max_epochs=5, random_state=0).fit(table)
    rows = np.unique(model.reconstruct(table), axis=0)
    drawn = model.sample(300, random_state=0)
    distance = np.abs((drawn[:, None] - rows) / table.std(0)).max(2)
    assert distance.min(1).max() < 1e-4
    # each as often as training rows have it, up to four standard errors
    counts = [np.bincount(distance.argmin(1), minlength=len(rows))]
    nearest = np.abs((model.reconstruct(table)[:, None] - rows) / table.std(0)).max(2).argmin(1)
    counts.append(np.bincount(nearest, minlength=len(rows)))
    np.testing.assert_allclose(counts[0] / 300, counts[1] / 120, atol=4 * 0.5 / 300**0.5)


def test_rows_of_hardly_any_weight_have_no_codes(table):
    X = np.vstack([table, table + 20 * table.std(0)])
    weight = np.repeat([1.0, 1e-4], 120)
    model = AutoencoderTransformer(
        6, latent=Quantized(8), max_epochs=5, random_state=0, early_stopping=False
    ).fit(X, sample_weight=weight)
    far = model.reconstruct(X)[120:]
    assert (np.abs(far - table.mean(0)) < 8 * table.std(0)).all()
    assert model.score_samples(X)[120:].max() < model.score_samples(X)[:120].min()


def test_a_stream_goes_on_from_a_pickle(table):
    chunks = np.array_split(np.tile(table, (4, 1)), 4)
    one = AutoencoderTransformer(2, latent=Quantized(8), random_state=0)
    for chunk in chunks[:2]:
        one.partial_fit(chunk)
    other = pickle.loads(pickle.dumps(one))
    for chunk in chunks[2:]:
        one.partial_fit(chunk)
        other.partial_fit(chunk)
    np.testing.assert_array_equal(one.transform(table), other.transform(table))


@pytest.mark.slow
@pytest.mark.parametrize("n_codes", [16])
def test_about_as_good_as_k_means(n_codes):
    X = load_digits().data[:1000] / 16
    train, test = X[:700], X[700:]
    model = AutoencoderTransformer(16, latent=Quantized(n_codes), scaling=None, random_state=0).fit(
        train
    )
    k_means = KMeans(n_codes, n_init=3, random_state=0).fit(train)
    error = ((model.reconstruct(test) - test) ** 2).mean()
    assert error < 1.1 * ((k_means.cluster_centers_[k_means.predict(test)] - test) ** 2).mean()

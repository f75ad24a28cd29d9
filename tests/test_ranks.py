"""Tables whose columns depend on one another exactly, and codes that are longer than their rank."""

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.architectures import Dense
from tests.helpers import LATENTS

# few epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def random_table(seed):
    """A table of random size, rank, units, means and precision, and a length of its codes that is
    at least its rank.
    """
    rng = np.random.default_rng(seed)
    n, d = rng.integers(20, 300), rng.integers(2, 12)
    rank = rng.integers(1, d + 1)
    X = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d))
    if seed % 3 == 0:
        X, rank = np.eye(d)[rng.integers(0, d, n)], d - 1
    X = (X + rng.normal(size=d) * 10 ** rng.uniform(-1, 2)) * 10 ** rng.uniform(-3, 3, size=d)
    return X.astype(rng.choice(["f", "d"])), int(rng.integers(rank, d + 4))


def everyday_tables():
    rng = np.random.default_rng(0)
    iris, wine = load_iris().data, load_wine().data
    return {
        "one-hot": (np.eye(8)[rng.integers(0, 8, 1_000)], 8),
        "three one-hot": (np.hstack([np.eye(4)[rng.integers(0, 4, 1_000)] for _ in range(3)]), 10),
        "three one-hot, float32": (
            np.hstack([np.eye(4, dtype="f")[rng.integers(0, 4, 1_000)] for _ in range(3)]),
            10,
        ),
        "iris and its sum": (np.c_[iris, iris.sum(1)], 5),
        "iris in cm and inches, float32": (np.c_[iris, iris / 2.54].astype("f"), 8),
        "wine and the sum of two": (np.c_[wine, wine[:, 0] + wine[:, 1]], 14),
    }


def in_deviations(X, Y):
    """The mean squared difference of two tables, over the variance of the first one's columns."""
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    scale = X.std(0)
    return (((X - Y) / np.where(scale > 0, scale, 1)) ** 2).mean()


def rounding(X):
    """The mean square of ten roundings of the largest values in float32, in squared deviations of
    the columns.
    """
    X = X.astype(np.float64)
    return (
        10 * np.finfo(np.float32).eps * np.abs(X).max(0) / np.where(X.std(0) > 0, X.std(0), 1)
    ).max() ** 2


@pytest.mark.parametrize("seed", range(20))
def test_codes_as_long_as_the_rank_reconstruct_exactly(seed):
    X, k = random_table(seed)
    model = AutoencoderTransformer(k, random_state=seed, max_epochs=3).fit(X)
    assert in_deviations(X, model.reconstruct(X)) < rounding(X)
    linear = AutoencoderTransformer(k, architecture=Dense(()), random_state=seed, max_epochs=3).fit(
        X
    )
    assert in_deviations(X, linear.reconstruct(X)) < rounding(X)


@pytest.mark.parametrize("name", everyday_tables())
def test_everyday_tables_are_reconstructed_exactly(name):
    X, k = everyday_tables()[name]
    model = AutoencoderTransformer(k, random_state=0, max_epochs=5).fit(X)
    assert in_deviations(X, model.reconstruct(X)) < rounding(X)
    spread = model.transform(X).std(0)
    assert ((spread == 0) | (spread > 1e-3)).all()  # components beyond the rank are zero


@pytest.mark.slow
@pytest.mark.parametrize("name", everyday_tables())
def test_everyday_tables_are_reconstructed_exactly_by_default(name):
    X, k = everyday_tables()[name]
    model = AutoencoderTransformer(k, random_state=0).fit(X)
    assert in_deviations(X, model.reconstruct(X)) < rounding(X)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("latent", LATENTS)
def test_surplus_components_do_no_harm(latent, seed):
    X, k = random_table(seed)
    model = AutoencoderTransformer(
        k + 2, latent=LATENTS[latent](), random_state=seed, max_epochs=5
    ).fit(X)
    assert in_deviations(X, model.reconstruct(X)) < 0.5
    drawn = model.sample(1_000, random_state=0)
    varies = X.std(0) > 0
    assert (drawn.std(0)[varies] < 2 * X.std(0)[varies]).all()

"""Codes in order of importance: every length from one fit, and a length chosen by the variance it
explains.
"""

import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from torch import nn

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._network.lengths import enough_components
from sklearn_ae.architectures import Custom, Dense
from sklearn_ae.latents import Ordered, Sparse
from tests.helpers import QUICK

# short trainings
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def axes_of(latent):
    """Cosines between PCA's axes and the components of a linear network that starts at random,
    (n_components, n_components).
    """
    rng = np.random.default_rng(0)
    X = (
        rng.normal(size=(1_500, 6))
        * [4, 3, 2, 0.5, 0.5, 0.5]
        @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    )
    architecture = Custom(lambda n, k: nn.Linear(n, k), lambda k, n: nn.Linear(k, n))
    model = AutoencoderTransformer(
        3, latent=latent, architecture=architecture, scaling=None, random_state=0
    )
    model.set_params(learning_rate=0.05, max_epochs=100).fit(X)
    weight = model.net_.module_.encoder.weight.detach().numpy()
    return weight @ PCA(3).fit(X).components_.T / np.linalg.norm(weight, axis=1, keepdims=True)


@pytest.mark.slow
def test_a_linear_ordered_code_finds_pcas_axes_in_their_order():
    np.testing.assert_allclose(np.abs(axes_of(Ordered())), np.eye(3), atol=0.1)
    assert np.abs(np.abs(axes_of(None)) - np.eye(3)).max() > 0.3  # a plain code only their span


@pytest.fixture(scope="module")
def digits():
    X = load_digits().data
    return X[::2], X[1::2]


@pytest.fixture(scope="module")
def model(digits):
    return AutoencoderTransformer(
        8, latent=Ordered(), scaling="standard", random_state=0, max_epochs=40
    ).fit(digits[0])


def test_each_component_lowers_the_error(model, digits):
    errors = [
        ((model.reconstruct(digits[1], n_components=k) - digits[1]) ** 2).mean()
        for k in range(1, 9)
    ]
    assert (np.diff(errors) < 0).all()
    np.testing.assert_array_equal(
        model.reconstruct(digits[1], n_components=8), model.reconstruct(digits[1])
    )


def test_a_prefix_is_the_code_with_zeros_for_the_rest(model, digits):
    Z = model.transform(digits[1])
    Z[:, 3:] = 0
    np.testing.assert_allclose(
        model.reconstruct(digits[1], n_components=3),
        model.inverse_transform(Z),
        rtol=1e-5,
        atol=1e-5,
    )


def test_explained_variance_ratios_sum_to_the_explained_share(digits):
    X = digits[0]
    model = AutoencoderTransformer(
        8, latent=Ordered(), scaling=None, early_stopping=False, **QUICK
    ).fit(X)
    explained = 1 - ((model.reconstruct(X) - X) ** 2).sum() / ((X - X.mean(0)) ** 2).sum()
    assert model.explained_variance_ratio_.shape == (8,)
    np.testing.assert_allclose(model.explained_variance_ratio_.sum(), explained, rtol=1e-4)


def test_explained_variance_of_a_start_at_pca_is_pcas(digits):
    X = digits[0]
    model = AutoencoderTransformer(
        5,
        latent=Ordered(),
        architecture=Dense(()),
        scaling=None,
        early_stopping=False,
        random_state=0,
    )
    model.set_params(learning_rate=1e-12, max_epochs=1).fit(X)
    np.testing.assert_allclose(
        model.explained_variance_ratio_, PCA(5).fit(X).explained_variance_ratio_, rtol=1e-4
    )


def test_explained_variance_follows_weights_and_gaps(rng):
    X = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 5))
    X[200:] = rng.normal(size=(200, 5))  # no structure, and no weight
    weight = np.repeat([1.0, 1e-6], 200)
    parameters = {"latent": Ordered(), "early_stopping": False, **QUICK}
    model = AutoencoderTransformer(2, **parameters).fit(X, sample_weight=weight)
    assert model.explained_variance_ratio_.sum() > 0.95
    X[rng.random(X.shape) < 0.1] = np.nan
    model.fit(X, sample_weight=weight)
    assert 0.5 < model.explained_variance_ratio_.sum() < 1


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_share_of_the_variance_keeps_the_shortest_code_that_explains_it(early_stopping, digits):
    X = digits[0]
    model = AutoencoderTransformer(
        0.7, random_state=0, max_epochs=30, early_stopping=early_stopping
    ).fit(X)
    k = model.n_components_
    assert model.transform(X).shape == (len(X), k)
    assert model.get_feature_names_out().shape == model.explained_variance_ratio_.shape == (k,)
    assert model.explained_variance_ratio_.sum() >= 0.7 > model.explained_variance_ratio_[:-1].sum()
    np.testing.assert_array_equal(model.reconstruct(X), model.inverse_transform(model.transform(X)))
    np.testing.assert_array_equal(model.reconstruct(X, n_components=k), model.reconstruct(X))
    np.testing.assert_allclose(
        model.reconstruction_errors(X).mean(1), -model.score_samples(X), rtol=1e-5
    )
    assert model.sample(3).shape == (3, 64)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    np.testing.assert_array_equal(again.explained_variance_ratio_, model.explained_variance_ratio_)
    assert model.latent is None  # parameters stay as they were


def test_a_share_goes_on_in_warm_starts_and_streams(digits):
    model = AutoencoderTransformer(0.5, warm_start=True, **QUICK).fit(digits[0])
    n_built = model._model.configuration.n_components
    model.fit(digits[0][:500])
    assert model._model.configuration.n_components == n_built
    k = model.n_components_
    assert model.partial_fit(digits[1]).transform(digits[1]).shape == (len(digits[1]), k)
    assert model.explained_variance_ratio_.shape == (k,)


def test_a_share_that_is_not_reached_keeps_all_and_says_so(rng):
    # no structure: what explains the training rows does not explain others
    X = rng.normal(size=(60, 30))
    with pytest.warns(
        UserWarning,
        match=r"n_components=0.99: \d+ components explain .* of the variance of rows held out; all "
        r"are kept",
    ):
        model = AutoencoderTransformer(0.99, **QUICK).fit(X)
    assert model.n_components_ == model._model.configuration.n_components


def test_a_share_asks_for_few_more_components_than_pca():
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [3.0, 2.0, 1.0, 0.1]
    )
    assert [enough_components(x, share, 10) for share in (0.5, 0.7, 0.95, 0.9999)] == [1, 2, 3, 4]
    assert enough_components(x, 0.9999, 3) == 3
    assert enough_components(torch.ones(5, 4), 0.9, 3) == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda X: AutoencoderTransformer(0.9, latent=Sparse()).fit(X),
            ValueError,
            r"n_components=0.9.*latent is Sparse\(\); pass",
        ),
        (
            lambda X: AutoencoderTransformer(0.9).partial_fit(X),
            ValueError,
            "n_components=0.9.* partial_fit needs a whole number",
        ),
        (lambda X: AutoencoderTransformer(1.0).fit(X), ValueError, "'n_components' parameter"),
        (lambda X: AutoencoderOutlierDetector(0.9).fit(X), ValueError, "'n_components' parameter"),
        (
            lambda X: AutoencoderTransformer(latent=Ordered(2)).fit(X),
            ValueError,
            "'full' parameter of Ordered",
        ),
        (
            lambda X: fitted(X).reconstruct(X, n_components=0),
            ValueError,
            "from 1 to 2, the length of the code, got 0",
        ),
        (
            lambda X: fitted(X).reconstruct(X, n_components=3),
            ValueError,
            "from 1 to 2, the length of the code, got 3",
        ),
        (
            lambda X: fitted(X).reconstruct(X, n_components=0.5),
            ValueError,
            "from 1 to 2, the length of the code, got 0.5",
        ),
        (
            lambda X: fitted(X, None).reconstruct(X, n_components=1),
            ValueError,
            r"pass latent=Ordered\(\).* latent is Latent\(\)",
        ),
        (
            lambda X: fitted(X, Sparse).reconstruct(X, n_components=1),
            ValueError,
            r"latent=Ordered\(\).* is Sparse\(\)",
        ),
        (
            lambda X: fitted(X, None).explained_variance_ratio_,
            AttributeError,
            r"pass latent=Ordered\(\)",
        ),
        (
            lambda X: AutoencoderTransformer().explained_variance_ratio_,
            NotFittedError,
            "not fitted",
        ),
        (lambda X: AutoencoderTransformer().n_components_, NotFittedError, "not fitted"),
    ],
)
def test_invalid_lengths_are_refused(make, error, message, table):
    with pytest.raises(error, match=message):
        make(table)


def fitted(X, make_latent=Ordered):
    return AutoencoderTransformer(2, latent=make_latent and make_latent(), **QUICK).fit(X)


def test_fitting_again_with_another_latent_forgets_the_ratios(table):
    model = fitted(table)
    assert model.explained_variance_ratio_.shape == (2,)
    assert not hasattr(model.set_params(latent=None).fit(table), "explained_variance_ratio_")
    assert model.n_components_ == 2


def test_a_stream_judges_each_chunk_before_it_learns_from_it(table):
    model = AutoencoderTransformer(2, latent=Ordered(), random_state=0).partial_fit(table)
    first = model.explained_variance_ratio_
    model.partial_fit(table)
    assert first.shape == model.explained_variance_ratio_.shape == (2,)
    assert (first != model.explained_variance_ratio_).all()


@pytest.mark.parametrize(
    "architecture",
    [None, Dense(), Custom(lambda n, k: nn.Linear(n, k), lambda k, n: nn.Linear(k, n))],
)
def test_ensembles_reconstruct_at_every_length(architecture, table):
    detector = AutoencoderOutlierDetector(
        3, n_estimators=3, latent=Ordered(), architecture=architecture, **QUICK
    ).fit(table)
    whole, part = detector.reconstruct(table), detector.reconstruct(table, n_components=1)
    np.testing.assert_array_equal(detector.reconstruct(table, n_components=3), whole)
    assert (part != whole).any()
    Z = detector.transform(table).reshape(len(table), 3, 3)
    Z[:, :, 1:] = 0
    np.testing.assert_allclose(
        detector.inverse_transform(Z.reshape(len(table), 9)), part, rtol=1e-4, atol=1e-5
    )
    assert detector.n_components_ == 3

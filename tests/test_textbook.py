"""The textbook's examples, on real data bundled with scikit-learn, with the figures they must
reach.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.architectures import Convolutional, Dense
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Variational

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def digits():
    """Pixels in [0, 1], split, with labels."""
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, random_state=0)


def mnist(n=6_000):
    """MNIST's test images where SKLEARN_AE_MNIST names a file of them; nothing is downloaded."""
    path = Path(os.environ.get("SKLEARN_AE_MNIST", ""))
    if not path.is_file():
        pytest.skip("set SKLEARN_AE_MNIST to an .npz file with X (n, 784) and y")
    data = np.load(path)
    return train_test_split(data["X"][:n].astype(np.float32) / 255, data["y"][:n], random_state=0)


def squared_error(X, reconstruction):
    return ((X - reconstruction) ** 2).mean()


def pca_error(k, X_train, X_test):
    pca = PCA(k, random_state=0).fit(X_train)
    return squared_error(X_test, pca.inverse_transform(pca.transform(X_test)))


@pytest.mark.slow
def test_points_near_a_line_are_reconstructed(rng):
    X = rng.normal(size=(300, 1)) * [2.0, -1.0] + 0.05 * rng.normal(size=(300, 2)) + [10, 3]
    model = AutoencoderTransformer(1, random_state=0).fit(X)
    assert model.transform(X).shape == (300, 1)
    assert r2_score(X, model.inverse_transform(model.transform(X))) > 0.99


@pytest.mark.slow
def test_points_near_a_curve_are_reconstructed_better_than_by_pca(rng):
    t = rng.uniform(-2, 2, size=500)
    X = np.column_stack([t, t**2]) + 0.05 * rng.normal(size=(500, 2))
    model = AutoencoderTransformer(1, random_state=0).fit(X)
    # 0.92 to 0.998 with ten seeds; PCA explains half
    assert r2_score(X, model.reconstruct(X)) > 0.8
    assert pca_error(1, StandardScaler().fit_transform(X), StandardScaler().fit_transform(X)) > 0.3


@pytest.mark.slow
def test_iris_through_two_numbers():
    X = load_iris().data
    model = AutoencoderTransformer(2, random_state=0).fit(X)
    scaled = StandardScaler().fit_transform(X)
    assert r2_score(X, model.reconstruct(X), multioutput="variance_weighted") > 0.93
    assert -model.score(X) <= 1.1 * pca_error(2, scaled, scaled)


@pytest.mark.slow
def test_digits_through_the_usual_cross_entropy_network(digits):
    X, X_test, *_ = digits
    architecture = Dense((), latent_activation="relu", linear_path=False)
    model = AutoencoderTransformer(
        32, architecture=architecture, loss="binary_cross_entropy", random_state=0
    ).fit(X)
    assert r2_score(X_test, model.reconstruct(X_test), multioutput="variance_weighted") > 0.9
    assert (model.transform(X_test) >= 0).all()


@pytest.mark.slow
def test_mnist_through_the_usual_cross_entropy_network():
    X, X_test, *_ = mnist(10_000)
    architecture = Dense((), latent_activation="relu", linear_path=False)
    model = AutoencoderTransformer(
        32, architecture=architecture, loss="binary_cross_entropy", max_epochs=50, random_state=0
    ).fit(X)
    assert -model.score(X_test) < 0.105  # the usual example reaches 0.107 in its 50 epochs


@pytest.mark.slow
def test_denoising_beats_pca(digits):
    """PSNR of noisy digits against the clean ones, PCA at its best number of components, which it
    knows from the test rows.
    """
    X, X_test, *_ = digits
    noisy = X_test + 0.3 * np.random.default_rng(0).normal(size=X_test.shape)

    def psnr(reconstruction):
        return -10 * np.log10(squared_error(X_test, reconstruction))

    pcas = [PCA(k).fit(X) for k in range(4, 33)]
    best = max(psnr(pca.inverse_transform(pca.transform(noisy))) for pca in pcas)
    model = AutoencoderTransformer(
        32, corruption=GaussianNoise(0.3), scaling=None, random_state=0
    ).fit(X)
    assert psnr(model.reconstruct(noisy)) > best + 2.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", [None, Convolutional((1, 28, 28))], ids=["Dense", "Convolutional"]
)
def test_compression_of_mnist(architecture):
    X, X_test, *_ = mnist(10_000)
    model = AutoencoderTransformer(32, architecture=architecture, scaling=None, random_state=0).fit(
        X
    )
    assert squared_error(X_test, model.reconstruct(X_test)) <= 0.6 * pca_error(32, X, X_test)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", [None, Convolutional((1, 8, 8))], ids=["Dense", "Convolutional"]
)
def test_compression_of_digits(architecture, digits):
    X, X_test, *_ = digits
    model = AutoencoderTransformer(8, architecture=architecture, scaling=None, random_state=0).fit(
        X
    )
    assert squared_error(X_test, model.reconstruct(X_test)) <= 0.7 * pca_error(8, X, X_test)


@pytest.mark.slow
@pytest.mark.parametrize("standardised", [False, True], ids=["pixels", "standardised"])
def test_generation(standardised, digits):
    """All components are used, held-out digits come back, and a classifier of real digits
    recognises what is drawn.
    """
    X, X_test, y, _ = digits
    scaler = StandardScaler(with_mean=standardised, with_std=standardised).fit(X)
    model = AutoencoderTransformer(8, latent=Variational(), random_state=0).fit(scaler.transform(X))
    Z = model.transform(scaler.transform(X_test))
    assert (Z.var(0) > 0.5).all()
    R = model.reconstruct(scaler.transform(X_test))
    if standardised:
        R = R[:, X.std(0) > 0]
        assert (
            r2_score(scaler.transform(X_test)[:, X.std(0) > 0], R, multioutput="variance_weighted")
            > 0.8
        )
    else:  # .79 to .80 over three seeds
        assert r2_score(X_test, R, multioutput="variance_weighted") > 0.77

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000)).fit(X, y)

    def recognised(rows):
        return (classifier.predict_proba(rows).max(1) > 0.95).mean()

    gaussian = np.random.default_rng(0).multivariate_normal(X.mean(0), np.cov(X.T), size=1_000)
    assert recognised(scaler.inverse_transform(model.sample(1_000))) >= 2 * recognised(gaussian)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "margin", "n_splits"), [(2, 0.05, 2), (8, -0.02, 3)])
def test_features_for_a_classifier(k, margin, n_splits):
    """A linear classifier gains much by few components; with eight PCA is as good. One split is
    right or wrong by a hundredth.
    """
    X, y = load_digits(return_X_y=True)

    def gain(seed):
        X_train, X_test, y_train, y_test = train_test_split(
            X / 16, y, test_size=0.4, random_state=seed
        )

        def accuracy(reducer):
            classifier = make_pipeline(
                reducer, StandardScaler(), LogisticRegression(max_iter=2_000)
            )
            return classifier.fit(X_train, y_train).score(X_test, y_test)

        return accuracy(AutoencoderTransformer(k, random_state=seed)) - accuracy(PCA(k))

    assert np.mean([gain(seed) for seed in range(n_splits)]) > margin


@pytest.mark.slow
def test_the_line_of_the_readme_denoises_digits(digits):
    """README's own line, evaluated as it stands there; and with default scaling the noise does at
    least not grow.
    """
    line = re.search(
        r"denoising.*`(AutoencoderTransformer\(.*\))`, then", (ROOT / "README.md").read_text()
    )[1]
    X, X_test, *_ = digits
    noisy = X_test + 0.3 * np.random.default_rng(0).normal(size=X_test.shape)
    model = eval(line).set_params(random_state=0).fit(X)
    assert squared_error(X_test, model.reconstruct(noisy)) < 0.5 * squared_error(X_test, noisy)
    default = model.set_params(scaling="auto").fit(X)
    assert squared_error(X_test, default.reconstruct(noisy)) < 0.7 * squared_error(X_test, noisy)

"""The product of the parts: every architecture with every corruption, latent and loss."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer, architectures, corruptions, latents
from sklearn_ae._losses import LOSSES
from tests.helpers import ARCHITECTURES, CORRUPTIONS, LATENTS, QUICK


def test_every_public_part_is_in_the_product():
    assert set(ARCHITECTURES) == set(architectures.__all__)
    assert set(CORRUPTIONS) == set(corruptions.__all__)
    assert set(LATENTS) == set(latents.__all__)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # three epochs
@pytest.mark.parametrize(
    ("architecture", "corruption", "latent", "loss"),
    list(itertools.product(ARCHITECTURES, [None, *CORRUPTIONS], [None, *LATENTS], LOSSES)),
)
def test_parts_compose(architecture, corruption, latent, loss, table):
    X = (table - table.min(0)) / np.ptp(table, axis=0)
    parts = {
        "architecture": ARCHITECTURES[architecture](X.shape[1]),
        "corruption": corruption and CORRUPTIONS[corruption](),
        "latent": latent and LATENTS[latent](),
        "loss": loss,
    }
    model = AutoencoderTransformer(2, **parts, **QUICK)
    Z = clone(model).fit_transform(X)
    again = model.fit(X)
    assert Z.shape == (120, 2)
    np.testing.assert_array_equal(again.transform(X), Z)
    assert again.reconstruct(X).shape == again.inverse_transform(Z).shape == again.sample(120).shape == X.shape
    scores = again.score_samples(X)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(again.reconstruction_errors(X).mean(1), -scores, rtol=1e-5, atol=1e-7)
    check_ensemble(X, parts)


def check_ensemble(X, parts):
    detector = AutoencoderOutlierDetector(2, n_estimators=3, **parts, **QUICK).fit(X)
    Z = detector.transform(X)
    assert detector.net_.module_.mode != "loop"
    assert Z.shape == (120, 6)
    assert detector.inverse_transform(Z).shape == detector.sample(120).shape == detector.reconstruction_errors(X).shape == X.shape
    np.testing.assert_allclose(detector.inverse_transform(Z), detector.reconstruct(X), rtol=1e-4, atol=1e-5)
    contributions = detector.feature_contributions(X)
    assert (contributions >= 0).all()
    np.testing.assert_allclose(contributions.sum(1), -detector.score_samples(X), rtol=1e-4)

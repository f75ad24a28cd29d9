"""scikit-learn's own checks, with the defaults and with every slot filled."""

import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.architectures import Architecture, Convolutional, Custom, Dense
from sklearn_ae.corruptions import GaussianNoise, Masking, SaltAndPepper
from sklearn_ae.latents import Contractive, Sparse, Variational
from tests.helpers import Decoder, Encoder

# What training in mini-batches cannot hold, and nothing else.
EXPECTED_FAILURES = {
    f"check_sample_weight_equivalence_on_{kind}_data": "mini-batches, held-out rows and subsamples are drawn at random"
    for kind in ("dense", "sparse")
}


class AnyConvolutional(Architecture):
    """A convolution over a table's columns as a sequence, since the checks choose the number of columns themselves."""

    def build(self, n_features, n_outputs, n_components):
        return Convolutional((1, n_features), channels=(2,)).build(n_features, n_outputs, n_components)

    def start(self, *args):
        Convolutional((1, 1)).start(*args)


FEW = [
    AutoencoderTransformer(1, max_epochs=3),
    AutoencoderTransformer(1, architecture=Dense((4,)), corruption=Masking(), latent=Variational(), loss="huber", max_epochs=3),
    AutoencoderOutlierDetector(1, n_estimators=2, max_epochs=3),
]
SLOTS = [
    {"architecture": Dense((4,), normalization="layer", dropout=0.1)},
    {"architecture": AnyConvolutional()},
    {"architecture": Custom(Encoder, Decoder)},
    {"corruption": GaussianNoise()},
    {"corruption": Masking()},
    {"corruption": SaltAndPepper()},
    {"latent": Sparse()},
    {"latent": Sparse(penalty="kl")},
    {"latent": Contractive()},
    {"latent": Variational()},
    {"loss": "absolute_error"},
    {"loss": "huber", "scaling": "robust"},
    {"scaling": None},
]


def estimators():
    transformers = [AutoencoderTransformer(1, max_epochs=5, **slots) for slots in SLOTS]
    detectors = [AutoencoderOutlierDetector(1, n_estimators=3, max_epochs=5, **slots) for slots in SLOTS]
    single = AutoencoderOutlierDetector(n_estimators=1, max_epochs=5, contamination=0.1)
    novelty = [AutoencoderOutlierDetector(novelty=True, max_epochs=5, **slots) for slots in ({}, {"latent": Variational()})]
    return [AutoencoderTransformer(), *transformers, AutoencoderOutlierDetector(), single, *detectors, *novelty]


def run(check, estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # five epochs
        warnings.filterwarnings("ignore", category=pytest.PytestWarning)
        check(estimator)


@parametrize_with_checks(FEW, expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
def test_scikit_learn_checks(estimator, check):
    run(check, estimator)


@pytest.mark.slow
@parametrize_with_checks(estimators(), expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
def test_scikit_learn_checks_with_every_slot_filled(estimator, check):
    run(check, estimator)

"""scikit-learn's own checks, with the defaults and with every slot filled."""

import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ae import (
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    AutoencoderTransformer,
    ReconstructionTransformer,
)
from sklearn_ae.architectures import Architecture, Convolutional, Custom, Dense
from sklearn_ae.corruptions import GaussianNoise, Masking, SaltAndPepper
from sklearn_ae.latents import Contractive, Ordered, Sparse, Variational
from tests.helpers import Decoder, Encoder

# What training in mini-batches cannot hold.
EXPECTED_FAILURES = {
    f"check_sample_weight_equivalence_on_{kind}_data": "mini-batches, held-out rows and subsamples "
    "are drawn at random"
    for kind in ("dense", "sparse")
}


class AnyConvolutional(Architecture):
    """A convolution over a table's columns as a sequence, since the checks choose the number of
    columns themselves.
    """

    def build(self, n_features, n_outputs, n_components):
        return Convolutional((1, n_features), channels=(2,)).build(
            n_features, n_outputs, n_components
        )

    def start(self, *args):
        Convolutional((1, 1)).start(*args)


SLOTS = [  # every part once
    {"corruption": Masking(), "latent": Variational(), "loss": "huber", "scaling": "robust"},
    {
        "architecture": Dense((4,), normalization="layer", dropout=0.1),
        "latent": Sparse(),
        "loss": "absolute_error",
    },
    {"architecture": AnyConvolutional(), "corruption": GaussianNoise(), "latent": Ordered()},
    {
        "architecture": Custom(Encoder, Decoder),
        "corruption": SaltAndPepper(),
        "latent": Contractive(),
    },
    {"latent": Sparse(penalty="kl"), "scaling": None},
]
QUICK_ONES = [
    AutoencoderTransformer(1, max_epochs=3),
    AutoencoderOutlierDetector(1, n_estimators=2, max_epochs=3),
    AutoencoderImputer(max_epochs=3),
    ReconstructionTransformer(AutoencoderTransformer(1, max_epochs=3, random_state=0)),
]
SLOW_ONES = [
    AutoencoderTransformer(),
    AutoencoderOutlierDetector(),
    AutoencoderOutlierDetector(n_estimators=1, max_epochs=3),
    AutoencoderOutlierDetector(novelty=True, max_epochs=3),
    AutoencoderImputer(max_epochs=3, missing_values=-1, add_indicator=True),
    *(AutoencoderTransformer(1, max_epochs=3, **slots) for slots in SLOTS[::2]),
    *(
        AutoencoderOutlierDetector(1, n_estimators=2, max_epochs=3, **slots)
        for slots in SLOTS[1::2]
    ),
]


def expected_failures(estimator):
    return EXPECTED_FAILURES


def run(check, estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # three epochs
        warnings.filterwarnings("ignore", category=pytest.PytestWarning)
        check(estimator)


@parametrize_with_checks(QUICK_ONES, expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    run(check, estimator)


@pytest.mark.slow
@parametrize_with_checks(SLOW_ONES, expected_failed_checks=expected_failures)
def test_scikit_learn_checks_with_every_part(estimator, check):
    run(check, estimator)

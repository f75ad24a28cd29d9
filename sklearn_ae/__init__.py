"""Autoencoders that drop straight into scikit-learn."""

from sklearn_ae._detector import AutoencoderOutlierDetector
from sklearn_ae._imputer import AutoencoderImputer
from sklearn_ae._reconstruction import ReconstructionTransformer
from sklearn_ae._transformer import AutoencoderTransformer
from sklearn_ae._version import __version__

__all__ = [
    "AutoencoderImputer",
    "AutoencoderOutlierDetector",
    "AutoencoderTransformer",
    "ReconstructionTransformer",
    "__version__",
]

"""Autoencoders that drop straight into scikit-learn."""

from sklearn_ae._detector import AutoencoderOutlierDetector
from sklearn_ae._transformer import AutoencoderTransformer
from sklearn_ae._version import __version__

__all__ = ["AutoencoderOutlierDetector", "AutoencoderTransformer", "__version__"]

"""The affine layer at both ends of the network, computed from the training data."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

LIMIT = 1e15  # scaled entries beyond it are cut off, so that their squares stay finite in float32
CHUNK_BYTES = 2**24
QUANTILE_ROWS = 20_000  # enough for quantiles to be known to a hundredth


@dataclass(frozen=True)
class Scaling:
    """``(x - center) / scale``, feature by feature.

    Attributes
    ----------
    center, scale : ndarray of shape (n_features,), float64, or None for no scaling
    """

    center: np.ndarray | None
    scale: np.ndarray | None

    def forward(self, x: Tensor) -> Tensor:
        """From data units, in the data's own precision, to float32 in scaled units."""
        if self.scale is None:
            return x.clamp(-LIMIT, LIMIT).to(torch.float32)
        center, scale = (torch.as_tensor(a, dtype=x.dtype, device=x.device) for a in (self.center, self.scale))
        return torch.sub(x, center).div_(scale).clamp_(-LIMIT, LIMIT).to(torch.float32)

    def inverse(self, x: Tensor) -> Tensor:
        """From scaled units to data units, in float64."""
        x = x.double()
        if self.scale is None:
            return x
        return x * torch.as_tensor(self.scale, device=x.device) + torch.as_tensor(self.center, device=x.device)


def fit_scaling(kind: str | None, X: np.ndarray, random_state: np.random.RandomState) -> Scaling:
    """Compute a scaling from data.

    Parameters
    ----------
    kind : {"standard", "robust"} or None
        Mean and standard deviation, or median and a tenth to nine tenths of the range; or no scaling.
    X : ndarray of shape (n_samples, n_features)
    random_state : RandomState
        Chooses the rows from which quantiles are taken when there are many.
    """
    if kind is None:
        return Scaling(None, None)
    center, scale = standard(X) if kind == "standard" else robust(X, random_state)
    return Scaling(center, scale)


def standard(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations, chunk by chunk; 1 for constant features."""
    scaler = StandardScaler()
    rows = max(1, CHUNK_BYTES // (8 * X.shape[1]))
    for start in range(0, len(X), rows):
        scaler.partial_fit(X[start : start + rows])
    return np.asarray(scaler.mean_, np.float64), np.asarray(scaler.scale_, np.float64)


def robust(X: np.ndarray, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Medians and the spread between the 10% and the 90% quantile, as a normal distribution's standard deviation.

    Where that spread is zero (a feature most of whose values are one) the standard deviation stands in; a constant feature has 1.
    """
    if len(X) > QUANTILE_ROWS:
        X = X[np.sort(random_state.choice(len(X), QUANTILE_ROWS, replace=False))]
    low, center, high = np.quantile(X.astype(np.float64, copy=False), [0.1, 0.5, 0.9], axis=0)
    spread = (high - low) / 2.5631  # the same range of a standard normal distribution
    _, deviation = standard(X)
    return center, np.where(spread > 1e-9 * deviation, spread, deviation)

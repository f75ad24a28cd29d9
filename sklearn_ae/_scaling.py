"""The affine layer at both ends of the network, computed from the training data."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import Tensor

LIMIT = 1e15  # far enough, and squares stay finite in float32
CHUNK_BYTES = 2**24
QUANTILE_ROWS = 10_000  # enough for quantiles to be known to a hundredth
MOST_WHITENED = 1_000  # with more features than this, a whitening is computed from as many rows
HALF_WHITENED = 64  # features with which data are whitened by half


@dataclass(frozen=True)
class Scaling:
    """``(x - center) / scale``, feature by feature.

    Attributes
    ----------
    center, scale : ndarray of shape (n_features,), float64, or None for no scaling
    """

    center: np.ndarray | None
    scale: np.ndarray | None
    limits: tuple[float, float] = field(default=(-LIMIT, LIMIT), kw_only=True)  # scaled entries beyond are cut off

    def on(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The map from rows in data units, of this type and free to be overwritten, to float32 in scaled units."""
        if self.scale is None:
            return lambda x: x.clamp_(*self.limits).to(torch.float32)
        center, scale = (as_tensor(a).to(dtype) for a in (self.center, self.scale))
        low, high = self.limits
        return lambda x: x.sub_(center).div_(scale).clamp_(low, high).float()

    def inverse(self, x: Tensor) -> Tensor:
        """From scaled units to data units, in float64."""
        x = x.double()
        if self.scale is None:
            return x
        return x * as_tensor(self.scale).to(x) + as_tensor(self.center).to(x)


@dataclass(frozen=True)
class Whitening(Scaling):
    r"""A scaling, then whitened in part and squashed: ``arcsinh(scaled @ W)``.

    :math:`W = \Sigma^{-p/2}`, symmetric, so that column j is still feature j, relieved of some of what the others tell about
    it. The power :math:`p = d / (d + 64)` grows with the number of features: few are left almost as they are, hundreds nearly
    whitened. ``arcsinh`` leaves the bulk as it is and draws the tails in.

    Attributes
    ----------
    directions : ndarray of shape (n_features, n_directions), float32
        Principal directions of the scaled data.
    gains : ndarray of shape (n_directions,), float32
        What each is multiplied with.
    rest : float
        What all that lies outside of them is multiplied with.
    """

    directions: np.ndarray
    gains: np.ndarray
    rest: float

    def on(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        scale = super().on(dtype)
        return lambda x: torch.asinh(self._mix(scale(x), self.gains, self.rest))

    def inverse(self, x: Tensor) -> Tensor:
        return super().inverse(self._mix(torch.sinh(x), 1 / self.gains, 1 / self.rest))

    def _mix(self, x: Tensor, gains: np.ndarray, rest: float) -> Tensor:
        directions, gains = as_tensor(self.directions).to(x), as_tensor(gains).to(x)
        along = directions.T @ x.T  # rows as columns: see _linear
        return x * rest + (directions @ (along * (gains - rest)[:, None])).T


def fit_scaling(kind: str | None, X: np.ndarray, rows: np.ndarray | None, random_state: np.random.RandomState) -> Scaling:
    """Compute a scaling from data.

    Parameters
    ----------
    kind : {"standard", "robust", "whitened"} or None
        Mean and standard deviation; median and spread of the middle; that and whitened in part; or no scaling.
    X : ndarray of shape (n_samples, n_features)
    rows : ndarray of int or None
        Which rows to look at; all if None.
    random_state : RandomState
        Chooses the rows from which quantiles are taken when there are many.
    """
    if kind is None:
        return Scaling(None, None)
    if kind == "standard":
        return Scaling(*standard(X, rows))
    some = few_rows(X, rows, random_state)
    center, scale = robust(some)
    return Scaling(center, scale) if kind == "robust" else whitening(some, center, scale)


def standard(X: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations, chunk by chunk; 1 for constant features."""
    scaler = StandardScaler()
    n = len(X) if rows is None else len(rows)
    step = max(1, CHUNK_BYTES // (8 * X.shape[1]))
    for start in range(0, n, step):
        chosen = slice(start, start + step)
        scaler.partial_fit(X[chosen] if rows is None else X[rows[chosen]])
    return np.asarray(scaler.mean_, np.float64), np.asarray(scaler.scale_, np.float64)


def robust(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians, and the spread from the 10% to the 90% quantile, as a normal distribution's standard deviation.

    The spread is at least 0.3 standard deviations, so that a feature most of whose values are one does not explode, and 1 for
    constant features.
    """
    low, center, high = np.quantile(X.astype(np.float64, copy=False), [0.1, 0.5, 0.9], axis=0)
    _, deviation = standard(X)
    return center, np.maximum((high - low) / 2.5631, 0.3 * np.where(high > low, deviation, deviation / 0.3))


def whitening(X: np.ndarray, center: np.ndarray, scale: np.ndarray) -> Whitening:
    """Whiten scaled data in part; a tenth of the covariance is taken to be round, so that no direction is blown up."""
    x = torch.from_numpy(X)
    Z = Scaling(center, scale).on(x.dtype)(x.clone()).numpy()
    if Z.shape[1] > MOST_WHITENED:
        Z = Z[:MOST_WHITENED]  # its rows are in random order
    n_directions = min(len(Z) - 1, Z.shape[1])
    if n_directions < 1 or not np.ptp(Z, axis=0).any():
        return Whitening(center, scale, np.zeros((Z.shape[1], 0), np.float32), np.zeros(0, np.float32), 1.0)
    pca = PCA(n_directions, svd_solver="full" if Z.shape[1] > len(Z) else "covariance_eigh").fit(Z)
    variances = np.append(pca.explained_variance_, 0) / Z.var(0).mean()
    power = Z.shape[1] / (Z.shape[1] + HALF_WHITENED)
    gains = ((0.9 * variances + 0.1) ** (-power / 2)).astype(np.float32)
    return Whitening(center, scale, np.ascontiguousarray(pca.components_.T, np.float32), gains[:-1], float(gains[-1]))


def few_rows(X: np.ndarray, rows: np.ndarray | None, random_state: np.random.RandomState) -> np.ndarray:
    """The rows in random order, or a random choice of them where they are many."""
    n = len(X) if rows is None else len(rows)
    chosen = random_state.permutation(n)[:QUANTILE_ROWS]
    return X[chosen if rows is None else rows[chosen]]


def as_tensor(X: np.ndarray) -> Tensor:
    """A view of an array, read-only ones and memory maps included."""
    if any(stride < 0 or stride % X.itemsize for stride in X.strides):  # which torch does not take
        X = X.copy()
    if X.flags.writeable:
        return torch.from_numpy(X)
    with warnings.catch_warnings():  # torch warns that a read-only array must not be written to; nothing here writes
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.asarray(X))

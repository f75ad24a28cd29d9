"""The affine layer at both ends of the network, computed from the training data."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sklearn_ae._records import record

if TYPE_CHECKING:
    from sklearn_ae._data.sources import Source

LIMIT = 1e15  # far enough, and squares stay finite in float32
QUANTILE_ROWS, QUANTILE_VALUES = 10_000, 2**25  # enough for quantiles to be known to a hundredth; fewer rows where they are wide
MOST_WHITENED = 1_000  # with more features than this, a whitening is computed from as many rows
HALF_WHITENED = 64  # features with which data are whitened by half
EPS = np.finfo(np.float64).eps
KINDS = ("standard", "robust", "uniform", "whitened")


@record
@dataclass(frozen=True)
class Scaling:
    """``(x - center) / scale``, feature by feature.

    Attributes
    ----------
    center, scale : ndarray of shape (n_features,), float64, or None for no scaling
    limits : tuple of float
        Scaled values beyond these are cut off.
    """

    center: np.ndarray | None = None
    scale: np.ndarray | None = None
    limits: tuple[float, float] = field(default=(-LIMIT, LIMIT), kw_only=True)

    def __init_subclass__(cls):
        record(cls)

    def within(self, limits: tuple[float, float]) -> "Scaling":
        """The same, with scaled values cut off beyond these limits, where they are finite."""
        return replace(self, limits=limits) if np.isfinite(limits).all() else self

    def transform_for(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The map from rows of this type in data units to float32 in scaled units. It leaves its input as it is."""
        if self.scale is None:
            return lambda x: x.clamp(*self.limits).to(torch.float32)
        center, scale = (as_tensor(a).to(dtype) for a in (self.center, self.scale))
        low, high = self.limits
        return lambda x: x.sub(center).div_(scale).clamp_(low, high).float()

    def inverse(self, x: Tensor) -> Tensor:
        """From scaled units to data units, in float64."""
        x = x.double()
        if self.scale is None:
            return x
        return x * as_tensor(self.scale).to(x) + as_tensor(self.center).to(x)


@dataclass(frozen=True)
class Whitening(Scaling):
    r"""A scaling, then whitened in part and squashed: ``arcsinh(scaled @ W)``.

    :math:`W = \Sigma^{-p/2}`, symmetric, so that column j is still feature j, partly decorrelated from the others. The power
    :math:`p = d / (d + 64)` grows with the number of features: few are left almost as they are, hundreds nearly whitened.
    ``arcsinh`` leaves the bulk as it is and draws the tails in.

    Attributes
    ----------
    directions : ndarray of shape (n_features, n_directions), float32
        Principal directions of the scaled data.
    gains : ndarray of shape (n_directions,), float32
        The factor of each direction.
    rest : float
        The factor of all that lies outside of them.
    """

    directions: np.ndarray = field(kw_only=True)
    gains: np.ndarray = field(kw_only=True)
    rest: float = field(kw_only=True)

    def transform_for(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        scale = super().transform_for(dtype)
        return lambda x: torch.asinh(self._mix(scale(x), self.gains, self.rest))

    def inverse(self, x: Tensor) -> Tensor:
        return super().inverse(self._mix(torch.sinh(x), 1 / self.gains, 1 / self.rest))

    def _mix(self, x: Tensor, gains: np.ndarray, rest: float) -> Tensor:
        directions, gains = as_tensor(self.directions).to(x), as_tensor(gains).to(x)
        along = directions.T @ x.T  # rows as columns: see _network.layers
        return x * rest + (directions @ (along * (gains - rest)[:, None])).T


def fit_scaling(kind: str | None, source: "Source", random_state: np.random.RandomState) -> Scaling:
    """Compute a scaling from data.

    Parameters
    ----------
    kind : {"standard", "robust", "uniform", "whitened"} or None
        Mean and standard deviation; median and spread of the middle; one factor for all features, so that zeros stay zeros; the
        second and whitened in part; or no scaling.
    source : Source
        Rows in the data's own units.
    random_state : RandomState
        Chooses the rows from which quantiles are taken when there are many.
    """
    if kind is None:
        return Scaling()
    if kind == "standard":
        return Scaling(*standard(source))
    if kind == "uniform":
        return Scaling(*uniform(source))
    some = few_rows(source, random_state)
    center, scale = robust(some)
    return Scaling(center, scale) if kind == "robust" else whitening(some, center, scale)


@record
@dataclass
class RunningScaling:
    """A scaling that follows a stream: of all rows so far, or of about the last `memory`.

    ``"standard"`` and ``"uniform"`` follow the moments of the rows, ``"robust"`` moves towards each chunk's quantiles, and
    ``"whitened"`` stays that of the first chunk.

    Parameters
    ----------
    kind : str or None
    memory : int
        Rows after which earlier ones begin to be forgotten.
    """

    kind: str | None
    memory: int
    n_rows: int = 0
    center: np.ndarray | None = None
    variance: np.ndarray | None = None

    @classmethod
    def after(cls, scaling: Scaling | None, kind: str | None, n_rows: int, memory: int) -> "RunningScaling":
        """What goes on from a scaling that was computed from `n_rows` rows; None begins anew."""
        if scaling is None or scaling.scale is None:
            return cls(kind, memory)
        return cls(kind, memory, n_rows, scaling.center, scaling.scale**2)

    def follow(self, scaling: Scaling | None, source: "Source", random_state: np.random.RandomState) -> Scaling:
        """The scaling after another chunk.

        Parameters
        ----------
        scaling : Scaling or None
            That before it; None for the first chunk.
        source : Source
            The chunk, in the data's own units.
        random_state : RandomState
        """
        if self.kind is None or self.kind == "whitened":
            return fit_scaling(self.kind, source, random_state) if scaling is None else scaling
        if self.kind == "robust":
            robust_scaling = fit_scaling("robust", source, random_state)
            center, variance = robust_scaling.center, robust_scaling.scale**2
        else:
            center, variance = source.moments()
        if self.center is None:
            self.center, self.variance = center, variance
        share = source.n_rows / (min(self.n_rows, self.memory) + source.n_rows)
        share = np.where(np.isnan(center), 0.0, share)  # where a chunk has no observed value
        move = np.nan_to_num(center - self.center)
        self.variance = (1 - share) * self.variance + share * np.nan_to_num(variance)
        if self.kind != "robust":
            self.variance += share * (1 - share) * move**2
        self.center = self.center + share * move
        self.n_rows += source.n_rows
        if self.kind == "uniform":
            return Scaling(np.zeros_like(self.center), uniform_scale(self.center, self.variance))
        return Scaling(self.center, positive_scale(self.center, self.variance, self.n_rows))


def standard(source: "Source") -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations; 1 for constant features."""
    mean, variance = source.moments()
    return mean, positive_scale(mean, variance, source.n_rows)


def positive_scale(mean: np.ndarray, variance: np.ndarray, n: float) -> np.ndarray:
    """Standard deviations; 1 where a variance is no more than rounding makes it."""
    error = n * EPS * variance + (n * EPS * mean) ** 2  # of a variance in two passes (Chan et al., 1983)
    return np.where(variance > error, np.sqrt(variance), 1.0)


def uniform(source: "Source") -> tuple[np.ndarray, np.ndarray]:
    """Zeros, and for all features the root of their mean square."""
    mean, variance = source.moments()
    return np.zeros_like(mean), uniform_scale(mean, variance)


def uniform_scale(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    scale = np.sqrt((mean**2 + variance).mean())
    return np.full_like(mean, scale if scale > 0 else 1.0)


def robust(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians, and the spread from the 10% to the 90% quantile, as a normal distribution's standard deviation.

    The spread is at least 0.3 standard deviations, so that a feature most of whose values are one does not explode, and 1 for
    constant features.
    """
    quantile = np.nanquantile if np.isnan(X).any() else np.quantile
    low, center, high = quantile(X.astype(np.float64, copy=False), [0.1, 0.5, 0.9], axis=0)
    deviation = StandardScaler().fit(X).scale_
    return center, np.maximum((high - low) / 2.5631, 0.3 * np.where(high > low, deviation, deviation / 0.3))


def whitening(X: np.ndarray, center: np.ndarray, scale: np.ndarray) -> Whitening:
    """Whiten scaled data in part; a tenth of the covariance is taken to be round, so that no direction is blown up."""
    x = torch.from_numpy(X)
    Z = Scaling(center, scale).transform_for(x.dtype)(x).nan_to_num_(0.0).numpy()
    if Z.shape[1] > MOST_WHITENED:
        Z = Z[:MOST_WHITENED]  # its rows are in random order
    n_directions = min(len(Z) - 1, Z.shape[1])
    if n_directions < 1 or not np.ptp(Z, axis=0).any():
        return Whitening(center, scale, directions=np.zeros((Z.shape[1], 0), np.float32), gains=np.zeros(0, np.float32), rest=1.0)
    pca = PCA(n_directions, svd_solver="full" if Z.shape[1] > len(Z) else "covariance_eigh").fit(Z)
    variances = np.append(pca.explained_variance_, 0) / Z.var(0).mean()
    power = Z.shape[1] / (Z.shape[1] + HALF_WHITENED)
    gains = ((0.9 * variances + 0.1) ** (-power / 2)).astype(np.float32)
    directions = np.ascontiguousarray(pca.components_.T, np.float32)
    return Whitening(center, scale, directions=directions, gains=gains[:-1], rest=float(gains[-1]))


def few_rows(source: "Source", random_state: np.random.RandomState) -> np.ndarray:
    """The rows in random order, or a random choice of them where they are many; NaN where a value is missing."""
    n = min(QUANTILE_ROWS, max(100, QUANTILE_VALUES // source.n_features))
    batch = source.take(torch.from_numpy(source.representative(n, random_state)))
    return (batch.x if batch.mask is None else torch.where(batch.mask, batch.x, torch.nan)).numpy()


def as_tensor(X: np.ndarray) -> Tensor:
    """A view of an array, read-only ones and memory maps included."""
    if any(stride < 0 or stride % X.itemsize for stride in X.strides):  # which torch does not take
        X = X.copy()
    if X.flags.writeable:
        return torch.from_numpy(X)
    with warnings.catch_warnings():  # torch warns that a read-only array must not be written to; nothing here writes
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.asarray(X))

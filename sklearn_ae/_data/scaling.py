"""The affine layer at both ends of the network, computed from the training data."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sklearn_ae._records import record

if TYPE_CHECKING:
    from sklearn_ae._data.sources import Source

LIMIT = 1e15  # far enough, and squares stay finite in float32
# enough for quantiles to be known to a hundredth; fewer rows where they are wide
QUANTILE_ROWS, QUANTILE_VALUES = 10_000, 2**25
COMMON = 0.9  # share of the rows that have the same value where a feature counts as nearly constant
BOUND = 2.0  # largest scaled value of such a feature
SQUARABLE = 1e-140, 1e140  # magnitudes whose squares, and sums of them, are exact in float64
FLOAT32 = 1e-36, 1e36  # magnitudes that are safe in float32
EPS = np.finfo(np.float64).eps
LEVELS_APART = 0.5  # robust units between the values of a feature that has two of them
ZERO_ONE = 0.5  # what columns of zeros and ones are divided by: their greatest standard deviation
KINDS = ("standard", "mixed", "bounded", "robust", "uniform")


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

    def transform_for(self, dtype: torch.dtype) -> Callable[..., Tensor]:
        """The map from rows of this type in data units to float32 in scaled units. It leaves its
        input as it is.

        It may be given a mask of what was observed. Values in gaps then change no others; what it
        gives for gaps means nothing.
        """
        if self.center is None or self.scale is None:
            return lambda x, mask=None: x.clamp(*self.limits).to(torch.float32)
        if dtype is not torch.float64 and not fits_float32(self.center, self.scale):
            dtype = torch.float64
        center, scale = (as_tensor(a).to(dtype) for a in (self.center, self.scale))
        low, high = self.limits
        return lambda x, mask=None: x.sub(center).div_(scale).clamp_(low, high).float()

    def inverse(self, x: Tensor) -> Tensor:
        """From scaled units to data units, in float64."""
        x = x.double()
        if self.center is None or self.scale is None:
            return x
        return x * as_tensor(self.scale).to(x) + as_tensor(self.center).to(x)


def fit_scaling(kind: str | None, source: "Source", random_state: np.random.RandomState) -> Scaling:
    """Compute a scaling from data.

    Parameters
    ----------
    kind : {"standard", "mixed", "bounded", "robust", "uniform"} or None
        Mean and standard deviation; that, but one half for columns of zeros and ones; the first,
        nearly constant features bounded; median and spread of the middle; one factor for all
        features, so that zeros stay zeros; or no scaling.
    source : Source
        Rows in the data's own units.
    random_state : RandomState
        Chooses the rows from which quantiles are taken when there are many.
    """
    if kind is None:
        check_moderate(source)
        return Scaling()
    if kind == "standard":
        moments = source.moments()
        return Scaling(moments.mean, moments.scale)
    if kind == "mixed":
        return Scaling(*mixed(source.moments()))
    if kind == "uniform":
        return Scaling(*uniform(source.moments()))
    some = few_rows(source, random_state)
    if kind == "bounded":
        return Scaling(*bounded(some, source.moments()))
    return Scaling(*robust(some))


@record
@dataclass
class RunningScaling:
    """A scaling that follows a stream: of all rows so far, or of about the last `memory`.

    ``"standard"``, ``"mixed"``, ``"bounded"`` and ``"uniform"`` follow the moments of the rows,
    ``"robust"`` moves towards each chunk's quantiles.

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
    deviation: np.ndarray | None = None

    @classmethod
    def after(
        cls, scaling: Scaling | None, kind: str | None, n_rows: int, memory: int
    ) -> "RunningScaling":
        """What goes on from a scaling that was computed from `n_rows` rows; None begins anew."""
        if scaling is None or scaling.center is None or scaling.scale is None:
            return cls(kind, memory)
        center, deviation = scaling.center, scaling.scale
        if kind == "mixed":
            zero_one = (deviation == ZERO_ONE) & (center > 0) & (center < 1)
            deviation = np.where(
                zero_one,
                np.sqrt(center * (1 - center), where=zero_one, out=np.zeros_like(center)),
                deviation,
            )
        return cls(kind, memory, n_rows, center, deviation)

    def follow(
        self, scaling: Scaling | None, source: "Source", random_state: np.random.RandomState
    ) -> Scaling:
        """The scaling after another chunk.

        Parameters
        ----------
        scaling : Scaling or None
            That before it; None for the first chunk.
        source : Source
            The chunk, in the data's own units.
        random_state : RandomState
        """
        if self.kind is None:
            return fit_scaling(self.kind, source, random_state) if scaling is None else scaling
        if self.kind == "robust":
            center, deviation = robust(few_rows(source, random_state))
        else:
            moments = source.moments()
            center, deviation = moments.mean, moments.deviation
            if self.kind == "bounded":
                _, deviation = bounded(few_rows(source, random_state), moments)
        if self.center is None or self.deviation is None:
            self.center, self.deviation = center, deviation
        share = np.full(
            len(center), source.n_rows / (min(self.n_rows, self.memory) + source.n_rows)
        )
        share[np.isnan(center)] = 0.0  # where a chunk has no observed value
        move = np.nan_to_num(center - self.center)
        between = 0.0 if self.kind == "robust" else move
        terms = (
            (1 - share, self.deviation),
            (share, np.nan_to_num(deviation)),
            (share * (1 - share), between),
        )
        self.deviation = root_of_squares(terms)
        self.center = self.center + share * move
        self.n_rows += source.n_rows
        if self.kind == "uniform":
            return Scaling(*uniform(Moments(self.center, self.deviation)))
        moments = Moments(self.center, self.deviation)
        return (
            Scaling(*mixed(moments))
            if self.kind == "mixed"
            else Scaling(moments.mean, moments.scale)
        )


def root_of_squares(terms) -> np.ndarray:
    """The root of a sum of weighted squares, with no square out of range."""
    unit = np.max([np.abs(value) * np.ones_like(weight) for weight, value in terms], axis=0)
    unit = np.where(unit > 0, unit, 1.0)
    return unit * np.sqrt(sum(weight * (value / unit) ** 2 for weight, value in terms))


def arrays(source: "Source") -> Iterable[np.ndarray]:
    return (block.x.numpy(force=True) for block in source.blocks())


def fits_float32(center: np.ndarray, scale: np.ndarray) -> bool:
    """Whether a center and a scale lie within float32's normal range."""
    smallest, largest = FLOAT32
    return scale.min() >= smallest and max(scale.max(), np.abs(center).max()) <= largest


def check_moderate(source: "Source") -> None:
    """Raise ValueError if values are too large or too small for a network that computes with them
    as they are.
    """
    low, high = np.full(source.n_features, np.inf), np.full(source.n_features, -np.inf)
    for X in arrays(source):
        low, high = (
            np.fmin(low, np.fmin.reduce(X, axis=0)),
            np.fmax(high, np.fmax.reduce(X, axis=0)),
        )
    feature = np.argmax(np.fmax(-low, high))
    value = max(low[feature], high[feature], key=abs)
    if 1 / LIMIT <= abs(value) <= LIMIT or value == 0:
        return
    raise ValueError(
        f"The largest value of X, in column {feature}, is {value:g}. Without scaling the network "
        f"computes with X as it is, in float32, and needs values from {1 / LIMIT:g} to {LIMIT:g}. "
        "Put a scaler such as sklearn.preprocessing.StandardScaler before it, or leave "
        "scaling='auto'."
    )


@dataclass(frozen=True)
class Moments:
    """What a source says of each feature, over what was observed.

    Attributes
    ----------
    mean, deviation : ndarray of shape (n_features,), float64
        Means, and standard deviations: 0 where they are no more than rounding makes them.
    low, high : ndarray of shape (n_features,) or float
        The smallest and largest values.
    """

    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray | float = -np.inf
    high: np.ndarray | float = np.inf

    @property
    def scale(self) -> np.ndarray:
        """Standard deviations; 1 for constant features."""
        return np.where(self.deviation > 0, self.deviation, 1.0)


def moments_of(blocks: Callable[[], Iterable[tuple[np.ndarray, np.ndarray | None]]]) -> Moments:
    """The moments of blocks of rows, whatever their units.

    Parameters
    ----------
    blocks : callable
        Gives the blocks anew at each call: rows (n, n_features), NaN where a value is missing, and
        their weights (n,) or None.
    """
    low, high, scaler = np.inf, -np.inf, StandardScaler()
    with np.errstate(all="ignore"):  # squares out of range are computed again below
        for X, weight in blocks():
            low, high = (
                np.fmin(low, np.fmin.reduce(X, axis=0)),
                np.fmax(high, np.fmax.reduce(X, axis=0)),
            )
            scaler.partial_fit(X, sample_weight=weight)
    mean, deviation = scaler.mean_, positive_deviation(scaler)
    largest = np.fmax(-low, high).astype(np.float64)
    far = (largest > SQUARABLE[1]) | ((largest > 0) & (largest < SQUARABLE[0]))
    if far.any():
        unit = np.exp2(np.floor(np.log2(largest, where=far, out=np.zeros_like(largest))))
        scaler = StandardScaler()
        for X, weight in blocks():
            scaler.partial_fit(X / unit, sample_weight=weight)
        mean, deviation = scaler.mean_ * unit, positive_deviation(scaler) * unit
    return Moments(np.asarray(mean, np.float64), deviation, low, high)


def positive_deviation(scaler: StandardScaler) -> np.ndarray:
    """Standard deviations; 0 where a variance is no more than the rounding of two passes makes it
    (Chan et al., 1983).
    """
    n, mean, variance = (
        scaler.n_samples_seen_,
        np.asarray(scaler.mean_, np.float64),
        np.asarray(scaler.var_, np.float64),
    )
    with np.errstate(all="ignore"):
        return np.where(
            variance > n * EPS * variance + (n * EPS * mean) ** 2, np.sqrt(variance), 0.0
        )


def uniform(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Zeros, and for all features the root of their mean square."""
    share = np.full(len(moments.mean), 1 / len(moments.mean))
    unit = max(np.abs(moments.mean).max(), moments.deviation.max())
    scale = (
        unit
        * np.sqrt((share * ((moments.mean / unit) ** 2 + (moments.deviation / unit) ** 2)).sum())
        if unit > 0
        else 1.0
    )
    return np.zeros_like(moments.mean), np.full_like(moments.mean, scale)


def mixed(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations, but one half for columns of zeros and ones, so that rare ones
    do not weigh more than numbers.

    These are known by their moments: only for zeros and ones is the mean of the squares that of the
    values.
    """
    mean = moments.mean.clip(0, 1)
    variance = mean * (1 - mean)
    zero_one = (variance > 0) & np.isclose(
        moments.deviation.clip(max=1) ** 2, variance, rtol=1e-6, atol=0
    )
    return moments.mean, np.where(zero_one, ZERO_ONE, moments.scale)


def bounded(X: np.ndarray, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Center and scale, the latter at least half of the largest deviation where nine tenths of the
    rows have the same value.

    Divided by its standard deviation, such a feature is zero nearly always and dozens now and then;
    noise of the size that other features have would be hundreds.
    """
    low, high = quantiles(X, [(1 - COMMON) / 2, (1 + COMMON) / 2])
    reach = np.fmax(moments.mean - moments.low, moments.high - moments.mean)
    return moments.mean, np.maximum(moments.scale, np.where(high > low, 0, reach / BOUND))


def robust(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians, and the spread from the 10% to the 90% quantile, as a normal distribution's standard
    deviation.

    The spread is at least 0.3 standard deviations, so that a feature most of whose values are one
    does not explode, and 1 for constant features. Where a feature has two values only, they are
    half a unit apart: a category that a fifth of the rows have is not far out.
    """
    low, center, high = quantiles(X.astype(np.float64, copy=False), [0.1, 0.5, 0.9])
    deviation = moments_of(lambda: [(X, None)]).scale
    scale = np.maximum(
        (high - low) / 2.5631, 0.3 * np.where(high > low, deviation, deviation / 0.3)
    )
    least, most = np.fmin.reduce(X, axis=0), np.fmax.reduce(X, axis=0)
    two = ((least == X) | (most == X) | np.isnan(X)).all(axis=0) & (most > least)
    return center, np.where(two, (most - least) / LEVELS_APART, scale)


def quantiles(X: np.ndarray, shares: list[float]) -> np.ndarray:
    """Quantiles of what was observed in each column; NaN where nothing was."""
    if not np.isnan(X).any():
        return np.quantile(X, shares, axis=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        return np.nanquantile(X, shares, axis=0)


def few_rows(source: "Source", random_state: np.random.RandomState) -> np.ndarray:
    """The rows in random order, or a random choice of them where they are many; NaN where a value
    is missing.
    """
    n = min(QUANTILE_ROWS, max(100, QUANTILE_VALUES // source.n_features))
    batch = source.take(torch.from_numpy(source.representative(n, random_state)))
    return (batch.x if batch.mask is None else torch.where(batch.mask, batch.x, torch.nan)).numpy(
        force=True
    )


def as_tensor(X: np.ndarray) -> Tensor:
    """A view of an array, read-only ones and memory maps included."""
    if any(stride < 0 or stride % X.itemsize for stride in X.strides):  # which torch does not take
        X = X.copy()
    if X.flags.writeable:
        return torch.from_numpy(X)
    # torch warns that a read-only array must not be written to; nothing here writes
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.asarray(X))

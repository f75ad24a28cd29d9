"""Reconstruction losses: one number per sample, and the link between the data and the network's raw
output.

A loss is a mean over features in scaled units. The table at the bottom names them all.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_ae._torch import plain_torch

ROUNDING = 1e-6  # by which a scaler may miss the ends of a range


class Loss(nn.Module):
    """Base of the losses; what differs from a squared error is overridden."""

    scales = True  # whether the data may be standardised before it is compared
    range = (-math.inf, math.inf)  # where the data must lie

    def elementwise(self, raw: Tensor, x: Tensor) -> Tensor:
        """The loss of each entry.

        Parameters
        ----------
        raw : Tensor of shape (n_samples, n_features)
            The network's output, before the inverse link.
        x : Tensor of shape (n_samples, n_features)
            The clean input, scaled.

        Returns
        -------
        Tensor of shape (n_samples, n_features)
        """
        raise NotImplementedError

    def forward(self, raw: Tensor, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of each row (n_samples,): the mean over its entries, or over those that were
        observed; 0 if none was.

        Parameters
        ----------
        raw, x : Tensor of shape (n_samples, n_features)
        mask : Tensor of shape (n_samples, n_features), bool, or None
            True where a value was observed. None: everywhere.
        """
        return mean_of_observed(self.elementwise(raw, x), mask)

    def inverse_link(self, raw: Tensor) -> Tensor:
        """From raw output to (scaled) data space."""
        return raw

    def link(self, x: Tensor) -> Tensor:
        """From (scaled) data space to the raw output that would reproduce it."""
        return x

    def negative_log_likelihood(self, loss: Tensor, n_features: int | Tensor) -> Tensor:
        r"""The rows' negative log-likelihoods, in nats, from their losses over `n_features` entries
        (of each row).

        The scale of the noise stands at its optimum for the batch. For a normal likelihood with
        :math:`\sigma^2` the batch's mean squared error, :math:`\frac d2(\log 2\pi\sigma^2 +
        \text{loss}_i/\sigma^2)`.
        """
        variance = loss.detach().mean().clamp_min(1e-6)
        return 0.5 * n_features * (torch.log(2 * math.pi * variance) + loss / variance)


class SquaredError(Loss):
    def elementwise(self, raw: Tensor, x: Tensor) -> Tensor:
        return (raw - x).square()


class AbsoluteError(Loss):
    def elementwise(self, raw: Tensor, x: Tensor) -> Tensor:
        return (raw - x).abs()

    def negative_log_likelihood(self, loss: Tensor, n_features: int | Tensor) -> Tensor:
        """Those of a Laplace distribution."""
        scale = loss.detach().mean().clamp_min(1e-6)
        return n_features * (torch.log(2 * scale) + loss / scale)


class Huber(Loss):
    """Half the squared error up to one scaled unit, the absolute error less a half beyond."""

    def elementwise(self, raw: Tensor, x: Tensor) -> Tensor:
        return F.huber_loss(raw, x, reduction="none")

    def negative_log_likelihood(self, loss: Tensor, n_features: int | Tensor) -> Tensor:
        return super().negative_log_likelihood(2 * loss, n_features)


class BinaryCrossEntropy(Loss):
    """Logits inside the network, probabilities outside."""

    scales = False
    range = (0.0, 1.0)

    def elementwise(self, raw: Tensor, x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(raw, x, reduction="none")

    def inverse_link(self, raw: Tensor) -> Tensor:
        return torch.sigmoid(raw)

    def link(self, x: Tensor) -> Tensor:
        return torch.logit(x.clamp(0.02, 0.98))  # saturated pixels would ask for infinite logits

    def negative_log_likelihood(self, loss: Tensor, n_features: int | Tensor) -> Tensor:
        """A cross-entropy is a log-likelihood already."""
        return n_features * loss


class UserLoss(Loss):
    """A user's module or function: ``module(raw, x)`` gives one number per entry, or one per
    sample.
    """

    def __init__(self, module: nn.Module | Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        if isinstance(module, type):
            raise ValueError(
                f"loss takes an instance or a function, not a class: pass {module.__name__}(...)."
            )
        if isinstance(module, (nn.BCELoss, nn.BCEWithLogitsLoss, nn.CrossEntropyLoss, nn.NLLLoss)):
            raise ValueError(
                f"{type(module).__name__} does not compare scaled data; use "
                "loss='binary_cross_entropy'."
            )
        self.module = copy.deepcopy(module)
        self.name = getattr(module, "__name__", type(module).__name__)
        if hasattr(self.module, "reduction"):
            self.module.reduction = "none"  # torch's own losses reduce to one number by default

    def elementwise(self, raw: Tensor, x: Tensor) -> Tensor:
        values = self._values(raw, x)
        if values.shape != x.shape:
            raise ValueError(
                f"{self.name} gives losses of shape {tuple(values.shape)}, not one per sample and "
                f"feature {tuple(x.shape)}, so there are no errors per feature."
            )
        return values

    def forward(self, raw: Tensor, x: Tensor, mask: Tensor | None = None) -> Tensor:
        values = self._values(raw, x if mask is None else torch.where(mask, x, raw.detach()))
        if values.shape == x.shape:
            return mean_of_observed(values, mask)
        if values.shape != x.shape[:1]:
            raise ValueError(
                f"The loss {self.name} must give one number per sample {tuple(x.shape[:1])} or per "
                f"sample and feature {tuple(x.shape)}, got shape {tuple(values.shape)}. Do not "
                "reduce over samples: torch's own functions take reduction='none'."
            )
        return values

    def _values(self, raw: Tensor, x: Tensor) -> Tensor:
        values = self.module(raw.clone(), x.clone())  # which may work in place
        if not isinstance(values, Tensor):
            raise ValueError(
                f"The loss {self.name} must give a tensor, one number per sample, got "
                f"{type(values).__name__}."
            )
        return values


def mean_of_observed(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of each row's values (n_samples, n_features) where `mask` is True; 0 if it is
    nowhere.
    """
    if mask is None:
        return values.mean(1)
    return torch.where(mask, values, 0).sum(1) / mask.sum(1).clamp_min(1)


LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "binary_cross_entropy": BinaryCrossEntropy,
}


def make_loss(loss: str | nn.Module | Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The loss of that name, or a user's module or function as one."""
    return LOSSES[loss]() if isinstance(loss, str) else UserLoss(loss)


@plain_torch()
def check_range(loss: Loss, name: str | nn.Module | Callable, source) -> None:
    """Raise ValueError if a source of rows has values outside what the loss can compare."""
    low, high = loss.range
    if math.isinf(low) and math.isinf(high):
        return
    smallest, largest = source.range()
    if smallest < low - ROUNDING or largest > high + ROUNDING:
        raise ValueError(
            f"loss={name!r} needs data in [{low:g}, {high:g}], but X ranges over [{smallest:.7g}, "
            f"{largest:.7g}]. Put sklearn.preprocessing.MinMaxScaler(clip=True) before it, or use "
            "another loss."
        )

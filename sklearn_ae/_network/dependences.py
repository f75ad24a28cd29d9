"""How far each value is from what the other features say of it."""

import torch
from torch import Tensor, nn

from sklearn_ae._network.filling import FILL_STEPS

MOST_DEPENDENT = 256  # features; with more, what few of them say of one another is lost in the sum
RIDGE = 1e-3  # of a variance, added to it: features may be copies of one another
FARTHEST = 20  # usual residuals; what is farther out counts as much


class Dependences(nn.Module):
    r"""The residual of each feature from the linear map by which the others tell it best: a linear autoencoder in closed form.

    .. math:: w_j \min\Big(20, \frac{|(P (x - \mu))_j|}{P_{jj} \sigma_j}\Big), \quad P = \Sigma^{-1}

    The weight :math:`w_j = -\log(1 - R_j^2)` is twice what the others tell of feature j, if all are normal: nothing if it does not
    depend on them. :math:`\sigma_j` is a robust scale of its residuals.

    Parameters
    ----------
    n_features : int
    """

    mean: Tensor
    precision: Tensor
    usual: Tensor
    weight: Tensor

    def __init__(self, n_features: int):
        super().__init__()
        n_known = n_features if n_features <= MOST_DEPENDENT else 0
        self.register_buffer("mean", torch.zeros(n_known))
        self.register_buffer("precision", torch.zeros(n_known, n_known))
        self.register_buffer("usual", torch.ones(n_known))  # size of a feature's entry in P (x - mean)
        self.register_buffer("weight", torch.zeros(n_known))

    @torch.no_grad()
    def learn(self, x: Tensor) -> None:
        """Take means, covariance and usual residuals from these rows (n_rows, n_features), which have no gaps."""
        n, d = x.shape
        if n <= d or d > MOST_DEPENDENT:
            return
        mean = x.double().mean(0)
        centred = x.double() - mean
        covariance = centred.T @ centred / n
        variance = covariance.diagonal()
        covariance = covariance + (RIDGE * variance + 1e-6).diag()
        precision = torch.linalg.inv(covariance)
        unexplained = 1 / (precision.diagonal() * (variance + 1e-6)) * (n / (n - d))
        residuals = (centred @ precision).abs()
        usual = 1.4826 * residuals.median(0).values + 0.1 * residuals.square().mean(0).sqrt()
        self.mean.copy_(mean)
        self.precision.copy_(precision)
        self.usual.copy_(usual.clamp_min(1e-6))
        self.weight.copy_(-unexplained.clamp_max(1).log())

    def closeness(self) -> Tensor:
        """How closely the features depend on one another: their mean weight, 1 at most."""
        return self.weight.sum().div(max(1, len(self.weight))).clamp_max(1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The weighted residuals of rows (n_samples, n_features); nothing for what is missing."""
        if not len(self.precision):
            return torch.zeros_like(x)
        x = (x - self.mean).T  # rows as columns: see _layers
        if mask is not None:
            x = self._filled(torch.where(mask.T, x, 0), (~mask.T).to(x.dtype))
        residuals = (self.precision @ x).T.abs() / self.usual
        residuals = residuals.clamp_max(FARTHEST) * self.weight
        return residuals if mask is None else torch.where(mask, residuals, 0)

    def _filled(self, x: Tensor, gaps: Tensor) -> Tensor:
        """With what the others say of them in the gaps, by conjugate gradients; both of shape (n_features, n_samples)."""
        left = -gaps * (self.precision @ x)
        direction, power = left, left.square().sum(0)
        for _ in range(min(FILL_STEPS, len(x))):
            image = gaps * (self.precision @ direction)
            step = power / (direction * image).sum(0).clamp_min(1e-30)
            x = x + step * direction
            left = left - step * image
            before, power = power, left.square().sum(0)
            direction = left + power / before.clamp_min(1e-30) * direction
        return x

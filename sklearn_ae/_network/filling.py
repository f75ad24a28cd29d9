"""What stands in the gaps of rows: values that the other values of a row make likely."""

from typing import Any

import torch
from torch import Tensor, nn

from sklearn_ae._layers import Linear

MOST_MIXED = (
    1_000  # features up to which every gap may change every feature for a member of an ensemble
)
MOST_DIRECTIONS = (
    64  # of a covariance that are kept; with more features than that it is not computed exactly
)
FILL_STEPS = 16  # of conjugate gradients at most; as many as there are features solve any system
SHORT = 32  # features up to which training solves the systems exactly
FILL_GAIN = 3.0  # times torch's random weights for the values of a row: units bend from the start
FILL_UNITS = 128  # of the layer that corrects what is filled in
# rounds, and multiplications of one at most: rows beyond that are left out
EM_ROUNDS, EM_WORK = 25, 2**30
WIDE_ROUNDS, WIDE_WORK = 5, 2**34  # the same with more than `MOST_DIRECTIONS` features
EM_BLOCK = 2**21  # numbers in a block of matrices
EM_TOL = 1e-3  # largest change of a covariance of scaled features at which it ends
MOST_HIDDEN = 0.3  # of the values of a row that are hidden in training, where data have gaps
AS_OTHERS = 0.5  # of the rows in training hide what another row lacks, for gaps that go together
# share of a row's values that a masked autoencoder predicts in training
LEAST_MASKED, MOST_MASKED = 0.1, 0.7
LEAST_NOISE = 1e-5  # variance of what a feature has of its own
ROUNDING = 3e-6  # share of a variance that is added to it, so that float32 can decompose a matrix
PRIOR_ROWS = 1.0  # as many rows of independent features are added to a covariance


class Filler(nn.Module):
    """Base of what fills gaps. In training more values are hidden, to learn to fill them."""

    def hidden(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """A mask for rows `x` in training, in which more is hidden; None is a mask without gaps."""
        return self.hide(torch.ones_like(x, dtype=torch.bool) if mask is None else mask)

    def hide(self, mask: Tensor) -> Tensor:
        """A mask (..., n_samples, n_features) in which more of each row is hidden: a random share,
        or what another row lacks.
        """
        share, which = (torch.rand_like(mask[..., :1], dtype=torch.float32) for _ in range(2))
        kept = torch.rand_like(mask, dtype=torch.float32) >= MOST_HIDDEN * share
        return mask & torch.where(which < AS_OTHERS, mask.roll(1, -2), kept)

    def start(self, x: Tensor, mask: Tensor) -> None:
        """Compute starting values from scaled rows in random order; by default there are none."""


class MeanFiller(Filler):
    """Fills the gaps of a row for the encoder: ``x + (1 - mask) @ weight``, with learnt weights
    that start at zero.

    Gaps arrive as zeros, which is the mean of a standardised feature. What is added depends on
    which values are missing. With many features each gap adds to its own feature only.

    Parameters
    ----------
    n_features : int
    """

    supports_batched_weights = True  # see Linear
    most_mixed = MOST_MIXED

    def __init__(self, n_features: int):
        super().__init__()
        full = n_features <= self.most_mixed
        self.weight = nn.Parameter(
            torch.zeros(n_features, n_features) if full else torch.zeros(n_features)
        )

    def forward(self, x: Tensor, mask: Tensor, loss: nn.Module) -> tuple[Tensor, None]:
        gaps = (~mask).to(x.dtype)
        if self.weight.shape[-2:] == (x.shape[-1], x.shape[-1]):
            return x + (self.weight.mT @ gaps.mT).mT, None  # rows as columns: see _layers
        return x + gaps * self.weight.unsqueeze(-2), None


class MaskFiller(MeanFiller):
    """Tells the encoder of a masked autoencoder what is hidden: in training a tenth to seven tenths
    of each row.
    """

    most_mixed = 256

    def hide(self, mask: Tensor) -> Tensor:
        share = LEAST_MASKED + (MOST_MASKED - LEAST_MASKED) * torch.rand_like(
            mask[..., :1], dtype=torch.float32
        )
        return mask & (torch.rand_like(mask, dtype=torch.float32) >= share)


class GapFiller(Filler):
    r"""Fills the gaps of a row by what its other values make likely.

    First by the conditional mean of a normal distribution, :math:`\mu_m + \Sigma_{mo}
    \Sigma_{oo}^{-1} (x_o - \mu_o)`, whose mean and covariance come from all rows, gaps included.
    The system is solved by a fixed number of steps of conjugate gradients. A layer that sees the
    row so filled, and where its gaps are, adds what is not linear; it learns from values that are
    hidden in training, and starts at zero.

    Parameters
    ----------
    n_features : int

    Attributes
    ----------
    mean : Tensor of shape (n_features,)
    factor : Tensor of shape (n_features, n_directions)
    noise : Tensor of shape ()
        The covariance is ``factor @ factor.T`` plus `noise` on the diagonal.
    share : Tensor of shape (n_features,)
        How far the decoder's value, and not the filler's, is given for a gap.
    """

    mean: Tensor
    factor: Tensor
    noise: Tensor

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("factor", torch.zeros(n_features, min(n_features, MOST_DIRECTIONS)))
        self.register_buffer("noise", torch.ones(()))
        first, last = Linear(2 * n_features, FILL_UNITS), Linear(FILL_UNITS, n_features)
        self.layers = nn.Sequential(first, nn.SiLU(), last)
        self.share = nn.Parameter(torch.zeros(n_features))
        with torch.no_grad():
            first.weight[:, :n_features] *= FILL_GAIN
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, mask: Tensor, loss: Any) -> tuple[Tensor, Tensor]:
        """Rows without gaps, and the raw output for them; the encoder's gradient does not reach the
        filler.
        """
        inputs, raw = self.layers_input(self.conditional_mean(x, mask), mask, loss)
        values = raw + self.layers(inputs)
        return torch.where(mask, x, loss.inverse_link(values).detach()), values

    def layers_input(self, first: Tensor, mask: Tensor, loss: Any) -> tuple[Tensor, Tensor]:
        """What the layers see of rows that hold conditional means, and the raw output that they add
        to.
        """
        first = first.clamp(*loss.range)
        return torch.cat([first, mask.to(first.dtype)], -1), loss.link(first)

    def joined(self, values: Tensor, raw: Tensor) -> Tensor:
        """The filler's values and the decoder's in one."""
        return values + self.share * (raw.detach() - values.detach())

    @torch.no_grad()
    def conditional_mean(self, x: Tensor, mask: Tensor) -> Tensor:
        """Rows whose gaps hold the mean of a normal distribution, given what was observed of the
        row.
        """
        # rows as columns: see _layers
        observed, mean = mask.mT.to(x.dtype), self.mean.unsqueeze(-1)
        left = observed * (x.mT - mean)
        solution, direction = torch.zeros_like(left), left
        power = left.square().sum(0)
        for _ in range(min(FILL_STEPS, len(self.mean) + 1)):
            image = observed * self._covariance_times(direction)
            step = power / (direction * image).sum(0).clamp_min(1e-30)
            solution = torch.addcmul(solution, step, direction)
            left = torch.addcmul(left, step, image, value=-1)
            before, power = power, left.square().sum(0)
            direction = torch.addcmul(left, power / before.clamp_min(1e-30), direction)
        return torch.where(mask, x, (mean + self.factor @ (self.factor.mT @ solution)).mT)

    @torch.no_grad()
    def exact_mean(self, x: Tensor, mask: Tensor) -> Tensor:
        """The same by a Cholesky decomposition for each row, which is faster where rows are short
        but has no place in a graph.
        """
        observed = mask.to(x.dtype)
        covariance = torch.addmm(
            self.noise * torch.eye(len(self.mean)), self.factor, self.factor.mT
        )
        covariance.diagonal().mul_(1 + ROUNDING)
        own = covariance * (observed[:, :, None] * observed[:, None, :])
        lower = torch.linalg.cholesky_ex(own + torch.diag_embed(1 - observed))[0]
        left = observed * (x - self.mean)
        solution = torch.cholesky_solve(left[:, :, None], lower)[:, :, 0]
        return torch.where(mask, x, self.mean + solution @ covariance)

    def _covariance_times(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.factor @ (self.factor.mT @ x), self.noise, x)

    @torch.no_grad()
    def start(self, x: Tensor, mask: Tensor) -> None:
        """Set mean and covariance from scaled rows in random order, by maximum likelihood with a
        little shrinkage.
        """
        d, n_directions = self.factor.shape
        if d == n_directions:
            mean, covariance = normal_of(x.double().cpu(), mask.cpu())
            variances, directions = torch.linalg.eigh(covariance)
            self._set(mean, directions, variances, variances[0])
            return
        n = max(2 * d, WIDE_WORK // (4 * FILL_STEPS * d * n_directions))
        x, mask = x[:n], mask[:n]
        for _ in range(WIDE_ROUNDS):
            filled = self.conditional_mean(x, mask)
            mean = filled.mean(0)
            _, values, directions = torch.pca_lowrank(
                filled, min(n_directions, len(x) - 1), center=True, niter=2
            )
            variances = values.square() / len(x)
            noise = ((filled - mean).square().mean(0).sum() - variances.sum()) / (
                d - len(variances)
            )
            self._set(mean, directions, variances, noise)

    def _set(self, mean: Tensor, directions: Tensor, variances: Tensor, noise: Tensor) -> None:
        noise = noise.clamp_min(LEAST_NOISE)
        self.mean.copy_(mean)
        self.factor.zero_()
        self.factor[:, : len(variances)] = directions * (variances - noise).clamp_min(0).sqrt()
        self.noise.copy_(noise)


def normal_of(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the normal distribution under which what was observed is most likely,
    by EM, in float64.
    """
    d = x.shape[1]
    most = max(2 * d, int(EM_WORK / (4 * d**3)))
    x, mask = x[:most], mask[:most]
    n = len(x)
    mean, covariance = x.new_zeros(d), torch.eye(d, dtype=x.dtype)
    rows = max(1, EM_BLOCK // d**2)
    for _ in range(EM_ROUNDS):
        before = covariance
        total, square = x.new_zeros(d), x.new_zeros(d, d)
        for part, seen in zip(x.split(rows), mask.split(rows), strict=True):
            filled, rest = expected(part - mean, seen.to(x.dtype), covariance)
            total += filled.sum(0)
            square += filled.T @ filled + rest
        shift = total / n
        mean = mean + shift
        covariance = (
            square - n * torch.outer(shift, shift) + PRIOR_ROWS * torch.eye(d, dtype=x.dtype)
        ) / (n + PRIOR_ROWS)
        if (covariance - before).abs().max() < EM_TOL:
            break
    return mean, covariance


def expected(x: Tensor, seen: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Centred rows with the conditional means in their gaps, and the sum of the covariances of what
    is in the gaps.
    """
    cross = seen[:, :, None] * covariance
    lower = torch.linalg.cholesky(cross * seen[:, None, :] + torch.diag_embed(1 - seen))
    half = torch.linalg.solve_triangular(
        lower, torch.cat([cross, (x * seen)[:, :, None]], 2), upper=False
    )
    half, right = half[:, :, :-1], half[:, :, -1:]
    gaps = 1 - seen
    filled = x * seen + gaps * (half.mT @ right).squeeze(2)
    half = (half * gaps[:, None, :]).flatten(0, 1)
    return filled, covariance * (gaps.T @ gaps) - half.T @ half

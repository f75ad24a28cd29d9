"""How far out a value is among the values of its feature."""

import torch
from torch import Tensor, nn

ROUNDING = 1e-5  # values that differ by no more, absolutely and relatively, may be one value that was rounded differently
N_POINTS = 64  # on either side; the probabilities of their tails are spaced evenly in their logarithms


class Margins(nn.Module):
    r"""Minus the logarithm of twice the smaller tail's probability, feature by feature; nothing in the middle.

    .. math:: \max(0, -\log(2 \min(P(X_j \le x_j), P(X_j \ge x_j))))

    Probabilities are those of some rows, known at 64 of their quantiles on either side (Li et al., 2022, ECOD, has one side of it).
    Values within rounding of a quantile count as the quantile: where many rows share a value, that is a step by itself.

    Parameters
    ----------
    n_features : int
    """

    edges: Tensor
    values: Tensor

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("edges", torch.full((n_features, 4 * N_POINTS), torch.inf))
        self.register_buffer("values", torch.zeros(n_features, 4 * N_POINTS + 1))  # up to each edge, and beyond the last

    @torch.no_grad()
    def learn(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Take the quantiles of these rows (n_rows, n_features)."""
        x = x if mask is None else torch.where(mask, x, torch.inf)
        ordered = x.T.sort(1).values.contiguous()
        n = torch.full((len(ordered), 1), len(x), device=x.device) if mask is None else mask.sum(0)[:, None]
        steps = torch.linspace(0, 1, N_POINTS, device=x.device)
        ranks = ((n / 2).clamp_min(1) ** steps).round().long()  # from 1 to the middle
        points = ordered.gather(1, torch.cat([ranks - 1, n - ranks], 1).clamp_min(0)).sort(1).values
        edges = torch.cat([points - reach(points), points + reach(points)], 1).sort(1).values
        at_most = torch.searchsorted(ordered, edges + 2 * reach(edges), right=True).minimum(n)
        at_least = n - torch.searchsorted(ordered, edges).minimum(n)
        share = (torch.minimum(at_most, at_least) + 1) / (n + 1)
        first = 1 / (n + 1)
        self.edges.copy_(edges)
        self.values.copy_(-(2 * torch.cat([first, share], 1)).clamp_max(1).log())

    def forward(self, x: Tensor) -> Tensor:
        """The margins of rows (n_samples, n_features)."""
        which = torch.searchsorted(self.edges, x.T.contiguous(), right=True)
        return self.values.gather(1, which).T


def reach(values: Tensor) -> Tensor:
    """How far from a value another may be and still be the same."""
    return ROUNDING * values.abs().clamp(1, 1e20)  # finite where a quantile is infinite, since nothing was observed

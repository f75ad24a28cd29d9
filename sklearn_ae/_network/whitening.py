"""Rows decorrelated in part, for ensembles whose members measure distances."""

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

HALF = 64  # number of features with which rows are whitened by half
MOST_ROWS = 1_000  # from which a whitening of more features than that is computed
LEAST_SHARE = 0.1  # of the mean variance, added to each direction's


class Whitening(nn.Module):
    r"""``x @ W`` and its inverse, for scaled rows.

    :math:`W = \Sigma^{-p/2}` is symmetric, so that column j is still feature j, decorrelated in
    part from the others. The power :math:`p = d / (d + 64)` grows with the number of features d.

    Parameters
    ----------
    n_features : int
    enabled : bool
        False leaves rows as they are.
    """

    matrix: Tensor
    inverse_matrix: Tensor

    def __init__(self, n_features: int, enabled: bool):
        super().__init__()
        self.enabled = enabled
        n_features = n_features if enabled else 0
        for name in ("matrix", "inverse_matrix"):
            self.register_buffer(name, torch.zeros(n_features, n_features))
            # torch.eye on the meta device, where files are checked, imports torch's compiler
            getattr(self, name).diagonal().fill_(1)

    @torch.no_grad()
    def learn(self, x: Tensor) -> None:
        """Compute W from scaled rows (n_samples, n_features) in random order."""
        if not self.enabled:
            return
        Z = x.double().numpy(force=True)
        d = Z.shape[1]
        Z = Z[:MOST_ROWS] if d > MOST_ROWS else Z
        n_directions = min(len(Z) - 1, d)
        if n_directions < 1 or not np.ptp(Z, axis=0).any():
            return
        pca = PCA(n_directions, svd_solver="full" if d > len(Z) else "covariance_eigh").fit(Z)
        variances = np.append(pca.explained_variance_, 0) / Z.var(0).mean()
        gains = ((1 - LEAST_SHARE) * variances + LEAST_SHARE) ** (-0.5 * d / (d + HALF))
        directions, rest = pca.components_.T, gains[-1]
        for matrix, factors, other in (
            (self.matrix, gains[:-1], rest),
            (self.inverse_matrix, 1 / gains[:-1], 1 / rest),
        ):
            along = (directions * (factors - other)) @ directions.T
            matrix.copy_(torch.from_numpy(along + other * np.eye(d)))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Whitened rows; where values are missing, `x` is zero."""
        x = x if mask is None else torch.where(mask, x, 0)
        if not self.enabled:
            return x
        return (self.matrix @ x.mT).mT  # rows as columns: see _layers

    def inverse(self, x: Tensor) -> Tensor:
        """The rows that `forward` was given."""
        if not self.enabled:
            return x
        return (self.inverse_matrix @ x.mT).mT

"""How long a code must be: the variance that codes of each length explain, and a length that is enough."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._data.sources import Members, Scaled

BLOCK_ROWS = 1_024


@torch.no_grad()
def explained_variance(module: Any, rows: Scaled | Members) -> np.ndarray:
    """The share of the rows' variance, in scaled units, that comes back from ordered codes of each length (n_components,).

    Parameters
    ----------
    module : Autoencoder or Folds
        A trained network.
    rows : Scaled or Members
        The rows to judge it by. Those of copies that have seen all are passed over.
    """
    module.eval()
    errors: Any = 0.0
    count: Any = 0.0
    total: Any = 0.0
    squares: Any = 0.0
    for x, weight, mask in rows.blocks(BLOCK_ROWS):
        error = module.squared_errors_by_length(x, mask).double()  # (..., n_rows, n_components)
        judged = slice(None) if x.dim() == 2 else slice(len(error))
        x = x[judged].double().flatten(0, -2)
        each = torch.ones_like(x[:, :1]) if weight is None else weight[judged].double().flatten()[:, None]
        seen = each.expand_as(x) if mask is None else each * mask[judged].flatten(0, -2)
        errors = errors + (each * error.flatten(0, -2)).sum(0)
        count, total, squares = count + seen.sum(0), total + (seen * x).sum(0), squares + (seen * x.square()).sum(0)
    variance = (squares - total.square() / count.clamp_min(1e-300)).sum()
    return (1 - errors / variance.clamp_min(1e-300)).cpu().numpy()


def enough_components(x: Tensor, share: float, most: int) -> int:
    """How many principal components explain `share` of the variance of rows (n_samples, n_features), at most `most`."""
    variances = torch.linalg.svdvals((x - x.mean(0)).double()).square()
    if not variances.sum() > 0:
        return 1
    reached = (variances.cumsum(0) / variances.sum()).cpu().numpy()
    return int(np.clip(np.searchsorted(reached, share) + 1, 1, min(most, *x.shape)))

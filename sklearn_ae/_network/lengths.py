"""How long a code must be: the variance that codes of each length explain, and a length that is
enough.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._data.sources import Source
from sklearn_ae._network.autoencoder import Autoencoder

BLOCK_ROWS = 1_024
SMALLEST = 1e-300


@torch.no_grad()
def explained_variance(module: Autoencoder, rows: Source) -> np.ndarray:
    """The share of the rows' variance, in scaled units, that comes back from ordered codes of each
    length (n_components,).

    Parameters
    ----------
    module : Autoencoder
        A trained network.
    rows : Source
        Scaled rows to judge it by.
    """
    module.eval()
    errors: Any = 0.0
    moments: Any = 0.0
    for x, weight, mask in rows.blocks(BLOCK_ROWS):
        error, x = module.squared_errors_by_length(x, mask).double(), x.double()
        each = torch.ones_like(x[:, :1]) if weight is None else weight.double()[:, None]
        seen = each.expand_as(x) if mask is None else each * mask
        errors = errors + (each * error).sum(0)
        moments = moments + torch.stack([seen, seen * x, seen * x.square()]).sum(1)
    weight, total, squares = moments
    variance = (squares - total.square() / weight.clamp_min(SMALLEST)).sum()
    return (1 - errors / variance.clamp_min(SMALLEST)).cpu().numpy()


def enough_components(x: Tensor, share: float, most: int) -> int:
    """How many principal components explain `share` of the variance of rows (n_samples,
    n_features), at most `most`.
    """
    variances = torch.linalg.svdvals((x - x.mean(0)).double()).square()
    if not variances.sum() > 0:
        return 1
    reached = (variances.cumsum(0) / variances.sum()).cpu().numpy()
    return int(np.clip(np.searchsorted(reached, share) + 1, 1, min(most, *x.shape)))

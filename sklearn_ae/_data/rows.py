"""Which rows train a network, which validate it, and which each of several networks learns from."""

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.utils.random import sample_without_replacement
from torch import Tensor

from sklearn_ae import _defaults
from sklearn_ae._data.sources import Scaled, Source, all_but


def split(
    rows: Scaled, validation: float | str | np.ndarray | None, random_state: RandomState
) -> tuple[Scaled, Scaled | None]:
    """The rows to train on, and those held out to choose the best epoch by."""
    if not isinstance(validation, np.ndarray):
        n_held_out = 0 if validation is None else _defaults.n_held_out(validation, rows.n_rows)
        validation = np.sort(random_state.permutation(rows.n_rows)[:n_held_out])
    if not len(validation):
        return rows, None
    return rows.subset(all_but(validation, rows.n_rows)), rows.subset(validation)


def held_out_by_position(seed: int, n: int, share: float) -> np.ndarray:
    """Positions held out of n rows, about that share and one at least; longer tables hold out the
    same ones and more.
    """
    drawn = np.random.RandomState(seed).random_sample(n)
    chosen = np.flatnonzero(drawn < share)
    return chosen if len(chosen) else np.array([drawn.argmin()])


def random_positions(rows: Source, n: int) -> Tensor:
    """Positions of about `n` rows in random order, the more often the more they weigh; torch's
    generator draws them.
    """
    if rows.weight is None:
        return torch.randperm(rows.n_rows)[:n]
    return torch.from_numpy(rows.representative(n, RandomState(int(torch.randint(2**31, ())))))


def subsample_rows(
    rows: Source, n_drawn: int, n_networks: int, random_state: RandomState
) -> np.ndarray:
    """Which rows each network learns from, of shape (n_networks, n_drawn), in random order; the
    more often, the more they weigh.
    """
    n = rows.n_rows
    if rows.weight is not None:
        share = rows.weight.double().numpy()
        return np.array(
            [
                random_state.choice(n, n_drawn, replace=True, p=share / share.sum())
                for _ in range(n_networks)
            ]
        )
    draws = (
        sample_without_replacement(n, n_drawn, random_state=random_state) for _ in range(n_networks)
    )
    # a draw of nearly all rows comes in their order
    return np.array([random_state.permutation(rows) for rows in draws])

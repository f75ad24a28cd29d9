"""Which rows train a network, which validate it, which it starts from, and which each member of an ensemble learns from."""

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.utils.random import sample_without_replacement
from torch import Tensor

from sklearn_ae._data.sources import Scaled, Source, all_but
from sklearn_ae._network.ensemble import margin_sums, margin_weight
from sklearn_ae._network.margins import Margins
from sklearn_ae._network.nearest import Hands, itself, typical
from sklearn_ae._training import rules


def split(rows: Scaled, validation: float | str | np.ndarray | None, random_state: RandomState) -> tuple[Scaled, Scaled | None]:
    """The rows to train on, and those held out to choose the best epoch by."""
    if not isinstance(validation, np.ndarray):
        n_held_out = 0 if validation is None else rules.n_held_out(validation, rows.n_rows)
        validation = np.sort(random_state.permutation(rows.n_rows)[:n_held_out])
    if not len(validation):
        return rows, None
    return rows.subset(all_but(validation, rows.n_rows)), rows.subset(validation)


@torch.no_grad()
def likely_inliers(rows: Scaled, n: int, random_state: RandomState) -> Scaled:
    """Some `n` of the rows but for the fifth that lies farthest out, by the nearest of a few drawn rows and by margins."""
    pool = rows if rows.n_rows <= n else rows.subset(random_state.permutation(rows.n_rows)[:n])
    batch = pool.take(slice(None))
    drawn = subsample_rows(pool, min(rules.ROUGH_HAND_ROWS, pool.n_rows), rules.ROUGH_HANDS, random_state)
    hands, margins = Hands(rows.n_features, rules.ROUGH_HANDS).to(rows.device), Margins(rows.n_features).to(rows.device)
    dealt = torch.from_numpy(drawn).to(rows.device)
    hands.deal(batch.x, dealt)
    some = pool.take(random_positions(pool, pool.n_rows))
    margins.learn(some.x, some.mask)
    distances, sums = hands(batch.x, batch.mask, itself(dealt, pool.n_rows)), margin_sums(margins, batch.x, batch.mask)
    far_out = distances / typical(distances) + margin_weight(rows.n_features) * sums / typical(sums).clamp_min(0.05)
    order = far_out.argsort().cpu()
    weight = torch.ones(pool.n_rows) if pool.weight is None else pool.weight
    below = weight[order].double().cumsum(0) - weight[order]  # of each row, the weight of those that are less far out
    kept = order[below < (1 - rules.DROPPED) * weight.double().sum()]
    return pool.subset(np.sort(kept.numpy()))


def start_positions(rows: Scaled) -> Tensor:
    """Positions of the rows that starting weights are computed from."""
    return random_positions(rows, min(rules.START_ROWS, max(100, rules.START_VALUES // rows.n_features)))


def random_positions(rows: Scaled, n: int) -> Tensor:
    """Positions of about `n` rows in random order, the more often the more they weigh; torch's generator draws them."""
    if rows.weight is None:
        return torch.randperm(rows.n_rows)[:n]
    return torch.from_numpy(rows.representative(n, RandomState(int(torch.randint(2**31, ())))))


def subsample_rows(rows: Source, n_drawn: int, n_members: int, random_state: RandomState) -> np.ndarray:
    """Which rows each member learns from, of shape (n_members, n_drawn), in random order; the more often, the more they weigh."""
    n = rows.n_rows
    if rows.weight is not None:
        share = rows.weight.double().numpy()
        return np.array([random_state.choice(n, n_drawn, replace=True, p=share / share.sum()) for _ in range(n_members)])
    draws = (sample_without_replacement(n, n_drawn, random_state=random_state) for _ in range(n_members))
    return np.array([random_state.permutation(rows) for rows in draws])  # a draw of nearly all rows comes in their order

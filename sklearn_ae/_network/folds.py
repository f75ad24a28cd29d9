"""Cross-validation within a fit: copies of a network that each leave a part of the rows out, and one that sees all.

All are trained side by side, for the same steps. The copies' losses on the rows they left out say for how long the last one is
worth training, and whether at all; every row has a say, which matters where rows are few.
"""

import copy

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.sources import Members, Scaled
from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.stack import Stack


class Folds(Stack):
    """Copies of one autoencoder, the last of which sees all rows."""

    def __init__(self, copies: list[Autoencoder], n_features: int):
        super().__init__(copies, n_features)
        self._last = [copies[-1]]  # in a list, so that its own weights are not parameters of this module

    def objective(self, batch: Batch, raw: Tensor, cost: Tensor | None = None) -> Tensor:
        """Loss and cost of each copy's rows; in validation, of the copies that left rows out."""
        loss = self.losses_and_costs(batch, raw, cost)
        return loss if self.training else loss[:-1]

    def full_data_model(self) -> Autoencoder:
        """The autoencoder that has seen all rows."""
        autoencoder = self._last[0]
        autoencoder.load_state_dict(self.state_of(-1))
        return autoencoder.to(self.cost_weight.device).eval()


def make_copies(autoencoder: Autoencoder, n_copies: int) -> list[Autoencoder]:
    """As many copies with the same weights."""
    return [autoencoder, *(copy.deepcopy(autoencoder) for _ in range(n_copies - 1))]


def fold_positions(n: int, n_folds: int, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Which rows each copy learns from, of shape (n_folds + 1, n), and which it is validated on, (n_folds + 1, n // n_folds).

    A copy that leaves rows out sees some of the others twice, so that all see as many. The last sees all, and is not validated.
    """
    order = random_state.permutation(n)
    folds = order[: n - n % n_folds].reshape(n_folds, -1)
    learnt = []
    for fold in folds:
        rest = np.setdiff1d(order, fold)
        learnt.append(np.append(rest, random_state.choice(rest, len(fold))))
    return np.array([*learnt, order]), np.array([*folds, folds[0]])


def fold_sources(rows: Scaled, learnt: np.ndarray, left_out: np.ndarray) -> tuple[Members, Members]:
    """The sources of rows to learn from and to validate on."""
    features = torch.arange(rows.n_features).expand(len(learnt), -1)
    return Members(rows, torch.from_numpy(learnt), features), Members(rows, torch.from_numpy(left_out), features)

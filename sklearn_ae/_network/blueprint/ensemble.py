"""The blueprint of an ensemble: what each member sees, and how all are built and calibrated."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.random import RandomState
from torch import nn

from sklearn_ae._data.sources import Members, Scaled
from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.blueprint.rows import likely_inliers, random_positions, split, subsample_rows
from sklearn_ae._network.blueprint.single import Blueprint, Prepared
from sklearn_ae._network.ensemble import SCALE_ROWS, Ensemble, Mask
from sklearn_ae._network.filling import MeanFiller
from sklearn_ae._training import rules
from sklearn_ae.architectures import Dense
from sklearn_ae.latents import Latent


@dataclass(frozen=True, eq=False)
class EnsembleBlueprint(Blueprint):
    """Many small autoencoders, each of some rows and some features.

    Attributes
    ----------
    features : ndarray of shape (n_members, n_seen), integer
        Which features each member sees.
    active : tuple of int
        How many components of its code each member uses.
    max_samples : int, float or "auto"
        Rows for each member, a share of all rows, or 32.
    trained_share : float
        The trained networks' part in the score, beside that of the hands of rows.
    """

    features: np.ndarray
    active: tuple[int, ...]
    max_samples: int | float | str
    trained_share: float

    kind: ClassVar[str] = "ensemble"
    filler: ClassVar[type[nn.Module]] = MeanFiller  # whitened features say little about one another

    def __post_init__(self):
        if len(self.features) != len(self.active):
            raise ValueError(f"There are features for {len(self.features)} members, but components for {len(self.active)}.")
        if not all(0 <= n <= self.n_components for n in self.active):
            raise ValueError(f"Members use 0 to {self.n_components} components, got {self.active}.")

    redrawn: ClassVar[bool] = True

    def with_members_of(self, other: Blueprint) -> "EnsembleBlueprint":
        """The same, whose members see what those of another blueprint see, if there are as many with as many features."""
        if not isinstance(other, EnsembleBlueprint) or other.features.shape != self.features.shape:
            return self
        return replace(self, features=other.features, active=other.active)

    def build(self, checked: bool = False) -> Ensemble:
        members: list[Autoencoder] = []
        for n_active in self.active:
            member = self._autoencoder(self.features.shape[1], checked or bool(members))
            member.decoder = nn.Sequential(Mask(self.n_components, n_active), member.decoder)
            members.append(member)
        n_hands = len(members) * rules.MEMBER_HANDS
        return Ensemble(members, torch.tensor(self.features), list(self.active), self.n_features, n_hands, self.trained_share)

    def prepare(
        self, rows: Scaled, validation: float | str | np.ndarray | None, previous: nn.Module | None, random_state: RandomState
    ) -> Prepared:
        """As for a single autoencoder, but members start at random, for their variety."""
        module = self.build()
        if previous is not None:
            module.load_state_dict(previous.state_dict())
        train, left = split(rows, validation, random_state)
        features = torch.tensor(self.features)
        n_samples = self._n_samples(train.n_rows)
        train = likely_inliers(train, max(rules.pool_rows(self.n_features), n_samples), random_state)
        positions = subsample_rows(train, min(n_samples, train.n_rows), len(features), random_state)
        held_out = None
        if left is not None:
            held_out = Members(left, torch.arange(left.n_rows).expand(len(features), -1), features)
        return Prepared(module, Members(train, torch.from_numpy(positions), features), held_out)

    def restart(self, module: Ensemble, rows: Scaled) -> None:
        """Members stay as they are, since they start at random."""

    def finish(self, module: Any, train: Any) -> None:
        rows = train.source
        some = random_positions(rows, rules.pool_rows(self.n_features))
        n_dealt = min(rules.HAND_ROWS if self.max_samples == "auto" else min(train.n_rows, rules.MOST_HAND_ROWS), len(some))
        hands = torch.stack([torch.randperm(len(some))[:n_dealt] for _ in range(module.hands.n_hands)])
        module.calibrate(train.take(slice(SCALE_ROWS)), rows.take(some), hands.to(rows.device))

    def _n_samples(self, n: int) -> int:
        if isinstance(self.max_samples, str):  # "auto"
            return min(rules.MEMBER_ROWS, n)
        if isinstance(self.max_samples, float):
            return max(1, round(self.max_samples * n))
        return min(self.max_samples, n)

    def learning_rate(self) -> float:
        return rules.MEMBER_RATE

    def batch_size(self, n: int) -> int:
        return min(n, rules.MEMBER_BATCH)

    def max_epochs(self, n: int, batch_size: int) -> int:
        return rules.auto_epochs(rules.MEMBER_STEPS, n, batch_size)

    def n_codes(self, n_weights: int) -> int:
        n_outputs = self.latent.n_outputs(self.n_components)
        return int(np.clip(rules.SAMPLE_SHARE * n_weights / (len(self.active) * n_outputs), *rules.FEWEST_AND_MOST_CODES))

    @property
    def n_features_out(self) -> int:
        return sum(self.active)

    @property
    def n_values(self) -> int:
        dealt = rules.HAND_ROWS if self.max_samples == "auto" else rules.MOST_HAND_ROWS
        return 2 * self.features.size + 4 * len(self.active) * rules.MEMBER_HANDS * dealt  # which are best kept in the cache

    @property
    def n_networks(self) -> int:
        return len(self.active)


def make_members(parts: dict, n_components: int | str, n_members: int, small: bool, random_state: RandomState) -> dict:
    """What each member sees and how much of its code it uses: the rest of an ensemble's blueprint.

    Parameters
    ----------
    parts : dict
        What ``make_parts`` gave.
    n_components : int or "auto"
        With ``"auto"`` each member draws its own.
    n_members : int
    small : bool
        Whether members see some of the features in a small network, or all of them in the user's architecture.
    random_state : RandomState
    """
    n_seen = n_features = parts["n_features"]
    if small:
        n_seen = int(np.ceil(np.clip(rules.SEEN_SHARE * n_features, 1, rules.MOST_SEEN)))
        architecture = Dense((int(np.clip(2 * n_seen, 16, 64)),), activation="relu", linear_path=False)
        parts = {**parts, "architecture": architecture}
    if n_components == "auto":
        n_components = int(np.clip(n_features // 2, 1, rules.MOST_COMPONENTS))
        active = random_state.randint(1, n_components + 1, size=n_members)
        active[:: rules.EVERY_WITHOUT_CODE] = 0
    else:
        active = np.full(n_members, n_components)
    features = assign_features(n_features, n_seen, n_members, random_state)
    plain = small and type(parts["latent"]) is Latent and parts["corruption"] is None and parts["loss"] == "squared_error"
    share = rules.TRAINED_SHARE if plain else rules.CHOSEN_SHARE
    return {**parts, "n_components": n_components, "active": tuple(active.tolist()), "features": features, "trained_share": share}


def assign_features(n_features: int, n_seen: int, n_members: int, random_state: RandomState) -> np.ndarray:
    """Which features each member sees (n_members, n_seen): all are seen about equally often, and no member has one twice.

    Each member takes the next features of a random order; when that is used up, another order is drawn.
    """
    seen, order = [], np.empty(0, np.int64)
    for _ in range(n_members):
        own, order = order[:n_seen], order[n_seen:]
        if len(own) < n_seen:
            order = random_state.permutation(n_features)
            fresh = order[~np.isin(order, own)][: n_seen - len(own)]
            own, order = np.append(own, fresh), order[~np.isin(order, fresh)]
        seen.append(np.sort(own))
    return np.array(seen)

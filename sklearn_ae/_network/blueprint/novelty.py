"""The blueprint of a masked autoencoder beside a memory."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.random import RandomState
from torch import nn

from sklearn_ae._data.sources import Scaled
from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.blueprint.rows import random_positions
from sklearn_ae._network.blueprint.single import Blueprint, Prepared
from sklearn_ae._network.novelty import MaskFiller, NoveltyNetwork
from sklearn_ae._training import rules


@dataclass(frozen=True, eq=False)
class NoveltyBlueprint(Blueprint):
    """An autoencoder that tells hidden features from the others, and a memory of training rows."""

    kind: ClassVar[str] = "novelty"
    network: ClassVar[type[Autoencoder]] = NoveltyNetwork
    filler: ClassVar[type[nn.Module]] = MaskFiller
    redrawn: ClassVar[bool] = True

    def prepare(
        self, rows: Scaled, validation: float | str | np.ndarray | None, previous: nn.Module | None, random_state: RandomState
    ) -> Prepared:
        """As for a single autoencoder, but with no more rows than the planned steps take."""
        prepared = super().prepare(rows, validation, previous, random_state)
        module: Any = prepared.module
        train: Any = prepared.train
        if previous is None:
            module.draw_partitions()
        enough = rules.masked_steps(self.n_features) * rules.MASKED_BATCH
        if train.n_rows > enough:
            train = train.subset(np.sort(random_state.permutation(train.n_rows)[:enough]))
        return Prepared(module, train, prepared.held_out)

    def finish(self, module: Any, train: Any) -> None:
        n = min(rules.memory_rows(self.n_features), train.n_rows)
        batch = train.take(random_positions(train, n))
        module.calibrate(batch.x, batch.mask)

    def learning_rate(self) -> float:
        return rules.MASKED_RATE * rules.width_factor(self.n_features)

    def batch_size(self, n: int) -> int:
        return min(n, rules.MASKED_BATCH)

    def max_epochs(self, n: int, batch_size: int) -> int:
        return max(1, round(rules.masked_steps(self.n_features) * batch_size / n))

    @property
    def n_values(self) -> int:
        return 4 * rules.memory_rows(self.n_features)

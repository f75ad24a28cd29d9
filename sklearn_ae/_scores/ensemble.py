"""The residuals of an ensemble of small autoencoders, each trained on a few rows."""

from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor, nn

from sklearn_ae import _defaults
from sklearn_ae._configuration import Configuration
from sklearn_ae._data.batch import Batch
from sklearn_ae._data.members import Members
from sklearn_ae._data.rows import random_positions, split, subsample_rows
from sklearn_ae._data.sources import Scaled, Source
from sklearn_ae._network.codebook import Codebook
from sklearn_ae._network.filling import MeanFiller
from sklearn_ae._network.stack import Stack
from sklearn_ae._scores.single import (
    Plan,
    Prepared,
    Single,
    build_autoencoder,
    continue_from,
    or_default,
    start_autoencoder,
    warn_of_long_code,
)
from sklearn_ae.architectures import Dense

SCALE_ROWS = 1_024  # rows from which the scale of the score is computed
MOST = 0.9  # share of them, those less far out, whose residuals are drawn anew by `sample`


def member_rows(max_samples: int | float | str, n: int) -> int:
    """How many of n rows each network learns from."""
    if isinstance(max_samples, str):  # "auto"
        return min(_defaults.MEMBER_ROWS, n)
    if isinstance(max_samples, float):
        return max(1, round(max_samples * n))
    return min(max_samples, n)


class Ensemble(Single):
    """The sum of a row's absolute residuals, in the mean over the networks, over what is typical of
    training rows.
    """

    filler = MeanFiller  # whitened features say little about one another
    stops_early = False
    unused = ()
    scale: Tensor
    shift: Tensor
    factor: Tensor
    spread: Tensor

    def __init__(self, configuration: Configuration, checked: bool = False):
        super().__init__(configuration, checked)
        self.register_buffer("scale", torch.ones(()))
        for name in ("shift", "factor", "spread"):  # of what is drawn anew
            self.register_buffer(name, torch.zeros(configuration.n_features))

    @classmethod
    def configure(cls, detector: Any, parts: dict, source: Source) -> dict:
        n_components, n_features = detector.n_components, source.n_features
        quantises = parts["architecture"] is None and parts["latent"] is None
        if n_components == "auto":
            n_learnt = member_rows(detector.max_samples, source.n_rows)
            n_components = (
                _defaults.codebook_rows(n_learnt)
                if quantises
                else _defaults.detector_code(n_features)
            )
        if quantises:
            parts = {**parts, "architecture": Codebook()}
        else:
            warn_of_long_code(parts, n_components, n_features)
        if parts["architecture"] is None:
            parts = {**parts, "architecture": Dense((int(np.clip(2 * n_features, 16, 64)),))}
        return {
            **or_default(parts),
            "n_components": n_components,
            "fills_gaps": source.has_gaps,
            "n_networks": detector.n_estimators,
            "max_samples": detector.max_samples,
        }

    @classmethod
    def build_network(cls, configuration: Configuration, checked: bool) -> Stack:
        networks = [
            build_autoencoder(configuration, cls.filler, checked or i > 0)
            for i in range(configuration.n_networks)
        ]
        whitens = configuration.scaling is not None  # otherwise rows stay as they are
        return Stack(networks, configuration.n_features, configuration.n_components, whitens)

    def prepare(
        self,
        rows: Scaled,
        validation: np.ndarray | float | str | None,
        previous: nn.Module | None,
        random_state: RandomState,
    ) -> Prepared:
        learnt, left = split(rows, validation, random_state)
        if previous is None:
            train = self._start_members(learnt, random_state)
        else:
            continue_from(self.network, previous, learnt)
            train = self.chunk(learnt, random_state)
        held_out = None
        if left is not None:
            held_out = Members(
                left,
                torch.arange(left.n_rows).expand(self.configuration.n_networks, -1),
                self.network.whitening,
            )
        return Prepared(self, train, held_out)

    def _start_members(self, rows: Scaled, random_state: RandomState) -> Members:
        """Start each network from rows of its own, which are then those that it learns from."""
        network = self.network.to(rows.device)
        some = rows.take(random_positions(rows, _defaults.whitening_rows(rows.n_features)))
        network.whitening.learn(some.x)
        members = self.chunk(rows, random_state)
        batch = members.take(slice(None))
        for i in range(network.n_networks):
            own = Batch(*(None if part is None else part[i] for part in batch))  # type: ignore[arg-type]  # x is there
            start_autoencoder(network.network_of(i), self.configuration, own)
        network.load_state_dict(network.state_dict())  # modules may note something of their weights
        return members

    def restart(self, rows: Scaled) -> None:
        """Networks stay as they are: each has started from few rows anyway."""

    def chunk(self, rows: Scaled, random_state: RandomState) -> Members:
        n = member_rows(self.configuration.max_samples, rows.n_rows)
        positions = subsample_rows(rows, n, self.configuration.n_networks, random_state)
        return Members(rows, torch.from_numpy(positions), self.network.whitening)

    def plan(self, n: int, batch_size: int | str) -> Plan:
        size = min(
            n,
            _defaults.member_batch(self.configuration.n_features)
            if isinstance(batch_size, str)
            else batch_size,
        )
        return Plan(
            _defaults.MEMBER_RATE, size, _defaults.auto_epochs(_defaults.MEMBER_STEPS, n, size)
        )

    @torch.no_grad()
    def learn(self, train: Members, rows: Scaled) -> None:
        batch = rows.take(random_positions(rows, SCALE_ROWS))
        self.scale.fill_(1.0)
        outlyingness = self.outlyingness(batch.x, batch.mask)
        self.scale.copy_(typical(outlyingness))
        most = outlyingness <= outlyingness.quantile(MOST)
        self._learn_moments(batch.x[most], None if batch.mask is None else batch.mask[most])

    def _learn_moments(self, x: Tensor, mask: Tensor | None) -> None:
        """How reconstructions and residuals are scaled so that their sum has the rows' means and
        variances.
        """
        x, mask = self.network.shared(x, mask)
        reconstructed = self.network.each("reconstruct", x, mask)
        x = x if mask is None else torch.where(mask, x, reconstructed)
        mean, centre = x.mean((0, 1)), reconstructed.mean((0, 1))
        residual = (x - reconstructed).square().mean((0, 1))
        variance = (reconstructed - centre).square().mean((0, 1)) + residual
        self.factor.copy_((x - mean).square().mean((0, 1)).div(variance.clamp_min(1e-30)).sqrt())
        self.shift.copy_(mean - self.factor * centre)
        self.spread.copy_(self.factor * residual.sqrt())

    def outlyingness(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return for_all_features(self.network.residuals(x, mask).mean(0), mask).sum(1) / self.scale

    def contributions(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The row's outlyingness, shared out in proportion to the differences between the row and
        its reconstruction.
        """
        difference = (x - self.network.reconstruct(x, mask)).abs()
        return self.outlyingness(x, mask)[:, None] * shares(difference, mask)

    def sample(self, codes: Tensor, which: Tensor, generator: torch.Generator) -> Tensor:
        """Each row from one of the networks, with a normal residual, and the moments of the rows
        that lie less far out.
        """
        network = self.network
        z = (
            network.sample_codes(codes, which, generator)
            .unflatten(1, (network.n_networks, -1))
            .transpose(0, 1)
            .contiguous()
        )
        one = torch.randint(network.n_networks, (len(which),), generator=generator)
        rows = network.each("decode", z)[one, torch.arange(len(which))]
        rows = (
            self.shift
            + self.factor * rows
            + self.spread * torch.randn(rows.shape, generator=generator)
        )
        return network.whitening.inverse(rows)

    @property
    def n_codes(self) -> int:
        n_weights = sum(p.numel() for p in self.network.parameters())
        n_outputs = self.configuration.latent.n_outputs(self.configuration.n_components)
        n_codes = _defaults.SAMPLE_SHARE * n_weights / (self.configuration.n_networks * n_outputs)
        return int(np.clip(n_codes, _defaults.FEWEST_CODES, _defaults.MOST_CODES))

    @property
    def n_values(self) -> int:
        return (
            2
            * self.configuration.n_networks
            * (self.configuration.n_features + self.configuration.n_components)
        )


def typical(values: Tensor) -> Tensor:
    """The median; where most rows are duplicates that have nothing, a share of the mean. Never
    zero.
    """
    least = torch.maximum(0.1 * values.mean(), torch.full_like(values.mean(), 1e-2))
    return values.median().maximum(least)


def for_all_features(values: Tensor, mask: Tensor | None) -> Tensor:
    """Values (n_samples, n_features), scaled so that the sum over those observed stands for the sum
    over all.
    """
    if mask is None:
        return values
    return torch.where(mask, values, 0) * (mask.shape[-1] / mask.sum(-1, keepdim=True).clamp_min(1))


def shares(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Values at least 0 (n_samples, n_features), divided by their sum over what was observed; all
    alike where that is 0.
    """
    values = values if mask is None else torch.where(mask, values, 0)
    total = values.sum(1, keepdim=True)
    return torch.where(total > 0, values / total.clamp_min(1e-30), 1 / values.shape[1])

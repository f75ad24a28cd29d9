"""The reconstruction loss of one autoencoder, and what all scores have to say."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor, nn

from sklearn_ae import _defaults
from sklearn_ae._configuration import Configuration
from sklearn_ae._data.members import Members
from sklearn_ae._data.rows import random_positions, split
from sklearn_ae._data.sources import Scaled, Source
from sklearn_ae._messages import warn
from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.checks import check_output, check_rows_apart, kept_buffers
from sklearn_ae._network.filling import Filler, GapFiller
from sklearn_ae.architectures import Dense
from sklearn_ae.latents import Latent


class Prepared(NamedTuple):
    """A score with a network to train, the rows to train it on, and those to validate it on."""

    score: Any
    train: Scaled | Members
    held_out: Scaled | Members | None


class Plan(NamedTuple):
    """What ``"auto"`` is, of the parameters of a training."""

    learning_rate: float
    batch_size: int
    max_epochs: int


class Single(nn.Module):
    """The score of one autoencoder: its reconstruction loss. The other scores derive from it.

    Parameters
    ----------
    configuration : Configuration
    checked : bool
        Whether the modules of the architecture need not be tried again.
    """

    auto_scaling = "robust"  # what scaling="auto" is in a detector
    filler: type[Filler] = GapFiller
    stops_early = True  # what early_stopping="auto" is
    unused: tuple[str, ...] = ("max_samples",)  # parameters of a detector that have no effect

    def __init__(self, configuration: Configuration, checked: bool = False):
        super().__init__()
        self.configuration = configuration
        self.network: Any = self.build_network(configuration, checked)

    # Before training

    @classmethod
    def configure(cls, detector: Any, parts: dict, source: Source) -> dict:
        """What a detector leaves open: the parts in its slots and the length of a code."""
        n_components = detector.n_components
        if n_components == "auto":
            n_components = _defaults.detector_code(source.n_features)
        warn_of_long_code(parts, n_components, source.n_features)
        return {**or_default(parts), "n_components": n_components, "fills_gaps": source.has_gaps}

    @classmethod
    def build_network(cls, configuration: Configuration, checked: bool) -> Any:
        """The network, with random weights."""
        return build_autoencoder(configuration, cls.filler, checked)

    def prepare(
        self,
        rows: Scaled,
        validation: np.ndarray | float | str | None,
        previous: nn.Module | None,
        random_state: RandomState,
    ) -> Prepared:
        """The network with its starting weights, the rows to train it on and those to validate it
        on.

        Parameters
        ----------
        rows : Scaled
        validation : float, "auto", ndarray of integers or None
            The share of rows held out, or which; None for no validation.
        previous : nn.Module or None
            The network of the last fit, to go on from. None starts from what the architecture
            computes from the rows.
        random_state : RandomState
        """
        train, held_out = split(rows, validation, random_state)
        if previous is None:
            self.start(self.network, train)
        else:
            continue_from(self.network, previous, train)
        return Prepared(self, train, held_out)

    def start(self, network: Any, rows: Scaled) -> None:
        """Set the starting weights of an autoencoder."""
        start_autoencoder(
            network.to(rows.device), self.configuration, rows.take(start_positions(rows))
        )

    def restart(self, rows: Scaled) -> None:
        """Start again from all rows, where training on some of them has found nothing better than
        its start.
        """
        self.start(self.network, rows)
        self.network.eval()

    def chunk(self, rows: Scaled, random_state: RandomState) -> Scaled | Members:
        """The rows of a chunk of a stream, as the network is trained on them."""
        return rows

    def plan(self, n: int, batch_size: int | str) -> Plan:
        """Learning rate, batch size and epochs for n rows; `batch_size` may be given."""
        configuration = self.configuration
        noisy = configuration.corruption is not None or configuration.latent.stochastic
        size = batch_size
        if isinstance(size, str):
            size = _defaults.auto_batch_size(n) * (_defaults.NOISY_BATCH if noisy else 1)
        size = min(size, n)
        n_steps = (
            _defaults.LINEAR_STEPS
            if configuration.architecture.is_linear()
            else _defaults.auto_steps(n)
        )
        if noisy:
            n_steps *= _defaults.NOISY_STEPS
        factor = _defaults.width_factor(configuration.n_features)
        return Plan(_defaults.RATE * factor, size, _defaults.auto_epochs(n_steps, n, size, factor))

    # After training

    def learn(self, train: Any, rows: Scaled) -> None:
        """Compute what the score needs besides trained weights.

        Parameters
        ----------
        train : Scaled or Members
            The rows that the network was trained on.
        rows : Scaled
            All rows of the fit, or of a chunk of a stream.
        """

    def outlyingness(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """How far each row lies from what is usual (n_samples,), at least 0."""
        return self.network.loss(self.network.raw_output(x, mask), x, mask)

    def contributions(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The part of each feature in it (n_samples, n_features); the sum over a row is its
        outlyingness.
        """
        losses = self.network.loss.elementwise(self.network.raw_output(x, mask), x)
        if mask is None:
            return losses / x.shape[1]
        return torch.where(mask, losses, 0) / mask.sum(1, keepdim=True).clamp_min(1)

    def sample(self, codes: Tensor, which: Tensor, generator: torch.Generator) -> Tensor:
        """New rows (n_draws, n_features) near some of those whose `codes` the encoder has given."""
        return self.network.decode(self.network.sample_codes(codes, which, generator))

    @property
    def n_codes(self) -> int:
        """How many training rows' codes are kept for `sample`."""
        return _defaults.MOST_CODES

    @property
    def n_values(self) -> int:
        """Numbers that stand for a row within the network."""
        return self.configuration.n_features

    @property
    def n_features_out(self) -> int:
        """Columns of what `transform` gives."""
        return self.configuration.n_networks * (
            self.configuration.n_components - self.configuration.n_unused
        )


def or_default(parts: dict) -> dict:
    """Parts with `Dense` and a plain code where nothing was chosen."""
    architecture, latent = parts["architecture"], parts["latent"]
    return {
        **parts,
        "architecture": Dense() if architecture is None else architecture,
        "latent": Latent() if latent is None else latent,
    }


def warn_of_long_code(parts: dict, n_components: int, n_features: int) -> None:
    """Warn if a plain code is as long as the row."""
    if n_components >= n_features and parts["latent"] is parts["corruption"] is None:
        warn(
            f"n_components={n_components} for {n_features} feature(s): an autoencoder whose code "
            "is as long as the row reconstructs any row, outliers too. Pass fewer components, a "
            "latent or a corruption, or leave n_estimators and architecture at their defaults."
        )


def build_autoencoder(
    configuration: Configuration, filler: type[Filler], checked: bool
) -> Autoencoder:
    """One autoencoder; its modules are tried first, unless an equal one was `checked`."""
    architecture, latent = configuration.architecture, configuration.latent
    n_features, n_components = configuration.n_features, configuration.n_components
    n_outputs = latent.n_outputs(n_components)
    encoder, decoder = (
        half.float() for half in architecture.build(n_features, n_outputs, n_components)
    )
    for name, half, n_in, n_out in (
        ("encoder", encoder, n_features, n_outputs),
        ("decoder", decoder, n_components, n_features),
    ):
        if not checked:
            with kept_buffers(half):
                check_output(architecture, name, half, n_in, n_out)
                check_rows_apart(architecture, name, half, n_in)
    if not any(p.requires_grad for half in (encoder, decoder) for p in half.parameters()):
        raise ValueError(
            f"architecture={architecture!r} has no parameters to train: requires_grad is False for "
            "all of them."
        )
    return Autoencoder(
        encoder,
        decoder,
        latent.build(n_components),
        configuration.make_loss(),
        configuration.corruption,
        copies_input=not architecture.accepts_strided_input,
        filler=filler(n_features) if configuration.fills_gaps else None,
        n_unused=configuration.n_unused,
    )


def start_positions(rows: Scaled) -> Tensor:
    """Positions of the rows that starting weights are computed from."""
    return random_positions(
        rows, min(_defaults.START_ROWS, max(100, _defaults.START_VALUES // rows.n_features))
    )


def start_autoencoder(network: Autoencoder, configuration: Configuration, batch: Any) -> None:
    """Set starting weights from a batch of rows, as the architecture and the latent do."""

    def data() -> tuple[Tensor, Tensor]:
        x = batch.x if batch.mask is None else network.filler(batch.x, batch.mask, network.loss)[0]
        return x, network.loss.link(x)

    start_filler(network, batch)
    noise = _defaults.input_noise(batch.n_rows)
    architecture, latent = configuration.architecture, configuration.latent
    architecture.start(
        network.encoder, network.decoder, data, configuration.n_components, latent.stochastic, noise
    )

    @torch.no_grad()
    def outputs() -> Tensor:
        network.encoder.eval()
        h = network.encoder_output(batch.x, batch.mask)
        network.encoder.train()
        return h

    network.latent.start(outputs)


def start_filler(network: Autoencoder, batch: Any) -> None:
    """Let the filler, if there is one, begin with what a batch of rows makes likely."""
    if network.filler is not None:
        network.filler.start(
            batch.x,
            torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask,
        )


def continue_from(network: Any, previous: nn.Module, rows: Scaled) -> None:
    """Take over a network's weights; the filler, if gaps are new, starts from the rows."""
    missing, _ = network.load_state_dict(previous.state_dict(), strict=False)
    if missing:
        network.to(rows.device)
        start_filler(network, rows.take(start_positions(rows)))

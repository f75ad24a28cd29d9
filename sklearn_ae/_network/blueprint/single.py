"""The blueprint of a single autoencoder, from which the others derive.

What differs between kinds of networks (how they are built and started, what trains and what validates, which rules the ``"auto"``
parameters follow, what is kept) are the methods of their blueprints.
"""

import copy
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.base import clone
from torch import Tensor, nn

from sklearn_ae._data.sources import Members, Scaled, Source
from sklearn_ae._losses import Loss, make_loss
from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.blueprint.rows import split, start_positions
from sklearn_ae._network.checks import check_output, check_rows_apart, kept_buffers
from sklearn_ae._network.filling import GapFiller
from sklearn_ae._network.values import from_json, same_value, to_json
from sklearn_ae._training import rules
from sklearn_ae.architectures import Architecture, Dense
from sklearn_ae.corruptions import Corruption, FunctionCorruption
from sklearn_ae.latents import Latent

KINDS: dict[str, type["Blueprint"]] = {}  # by the names under which they are written to files


class Prepared(NamedTuple):
    """A network that is ready to be trained, and the rows for it."""

    module: nn.Module
    train: Scaled | Members
    held_out: Scaled | Members | None


@dataclass(frozen=True, eq=False)
class Blueprint:
    """A single autoencoder.

    Two blueprints are equal if they build the same network: parts, losses and modules are compared by value.

    Attributes
    ----------
    architecture, latent, corruption : Part
        Copies, so that a later ``set_params`` does not reach them.
    loss : str or nn.Module
    scaling : str or None
        The kind of scaling, ``"auto"`` resolved.
    n_features, n_components : int
    fills_gaps : bool
        Whether the network learns to fill gaps, since training rows have some.
    n_unused : int
        How many of the last components are not in use, since fewer explain as much as was asked for. It is known after training
        only, and blueprints that differ in nothing else are equal.
    """

    architecture: Architecture
    latent: Latent
    corruption: Corruption | None
    loss: str | nn.Module
    scaling: str | None
    n_features: int
    n_components: int
    fills_gaps: bool
    n_unused: int = field(default=0, kw_only=True, compare=False)

    kind: ClassVar[str] = "autoencoder"
    network: ClassVar[type[Autoencoder]] = Autoencoder
    filler: ClassVar[type[nn.Module]] = GapFiller
    redrawn: ClassVar[bool] = False  # whether a stream is followed by fits to its recent rows, and not by training on each chunk

    def __init_subclass__(cls):
        KINDS[cls.kind] = cls

    # Building and starting

    def build(self, checked: bool = False) -> Any:
        """The network, with random weights; modules are tried first, unless a fit has `checked` them."""
        return self._autoencoder(self.n_features, checked)

    def make_loss(self) -> Loss:
        return make_loss(self.loss)

    def prepare(
        self, rows: Scaled, validation: float | str | np.ndarray | None, previous: nn.Module | None, random_state: RandomState
    ) -> Prepared:
        """A network to train, the rows to train it on and those to validate it on.

        Parameters
        ----------
        rows : Scaled
        validation : float, "auto", ndarray of integers or None
            The share of rows held out, or which; None for no validation.
        previous : nn.Module or None
            The network of the last fit to go on with. None starts from what the architecture makes of the rows.
        random_state : RandomState
        """
        module = self.build()
        train, held_out = split(rows, validation, random_state)
        if previous is None:
            self._start(module, train, start_positions(train))
        else:
            missing, _ = module.load_state_dict(previous.state_dict(), strict=False)
            if missing:  # nothing was missing in the rows so far
                self._start_filler(module, train, start_positions(train))
        return Prepared(module, train, held_out)

    def restart(self, module: Any, rows: Scaled) -> None:
        """Start again, from all rows, where training on some of them has found nothing better than its start."""
        self._start(module, rows, start_positions(rows))
        module.eval()

    def finish(self, module: Any, train: Any) -> None:
        """Set what a trained network needs besides its weights."""
        module.n_unused = self.n_unused

    def _start(self, module: Autoencoder, rows: Scaled, positions: Tensor) -> None:
        """Set starting weights from the rows at some positions, as the architecture does."""

        def data() -> tuple[Tensor, Tensor]:
            batch = rows.take(positions)
            x = batch.x if batch.mask is None else module.filler(batch.x, batch.mask, module.loss)[0]
            return x, module.loss.link(x)

        module.to(rows.device)
        self._start_filler(module, rows, positions)
        noise = rules.input_noise(len(positions))
        self.architecture.start(module.encoder, module.decoder, data, self.n_components, self.latent.stochastic, noise)

    def _start_filler(self, module: Autoencoder, rows: Scaled, positions: Tensor) -> None:
        """Let the filler, if there is one, begin with what the rows at some positions make likely."""
        if module.filler is not None:
            batch = rows.take(positions)
            module.filler.start(batch.x, torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask)

    def _autoencoder(self, n_features: int, checked: bool = False) -> Autoencoder:
        """One autoencoder; its modules are tried first, unless an equal one was `checked`."""
        architecture, latent = self.architecture, self.latent
        n_outputs = latent.n_outputs(self.n_components)
        encoder, decoder = (half.float() for half in architecture.build(n_features, n_outputs, self.n_components))
        for name, half, n_in, n_out in (
            ("encoder", encoder, n_features, n_outputs),
            ("decoder", decoder, self.n_components, n_features),
        ):
            if not checked:
                with kept_buffers(half):
                    check_output(architecture, name, half, n_in, n_out)
                    check_rows_apart(architecture, name, half, n_in)
        if not any(p.requires_grad for half in (encoder, decoder) for p in half.parameters()):
            raise ValueError(f"architecture={architecture!r} has no parameters to train: requires_grad is False for all of them.")
        copies_input = not architecture.accepts_strided_input
        filler = self.filler(n_features) if self.fills_gaps else None
        latent = latent.build(self.n_components)
        return self.network(encoder, decoder, latent, self.make_loss(), self.corruption, copies_input, filler, self.n_unused)

    # Rules behind "auto"

    def learning_rate(self) -> float:
        return rules.RATE * rules.width_factor(self.n_features)

    def batch_size(self, n: int) -> int:
        return rules.auto_batch_size(n)

    def max_epochs(self, n: int, batch_size: int) -> int:
        n_steps = rules.LINEAR_STEPS if self.architecture.is_linear() else rules.auto_steps(n)
        if self.latent.stochastic:
            n_steps *= rules.STOCHASTIC
        return rules.auto_epochs(n_steps, n, batch_size, rules.width_factor(self.n_features))

    def n_codes(self, n_weights: int) -> int:
        """How many training rows' codes are kept for `sample`."""
        return rules.FEWEST_AND_MOST_CODES[1]

    # What it gives

    @property
    def n_features_out(self) -> int:
        """Columns of what ``transform`` gives."""
        return self.n_components - self.n_unused

    @property
    def n_values(self) -> int:
        """Numbers that stand for a row within the network."""
        return self.n_features

    # Comparing and writing

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and not self.differences(other)

    __hash__ = None  # type: ignore[assignment]  # parts are mutable

    def differences(self, other: "Blueprint") -> dict[str, tuple]:
        """The attributes in which another blueprint differs, each with both values."""
        if type(self) is not type(other):
            return {"n_estimators": (self.n_networks, other.n_networks)}
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self) if f.compare}
        return {name: (a, b) for name, (a, b) in pairs.items() if not same_value(a, b)}

    @property
    def n_networks(self) -> int:
        return 1

    def to_json(self) -> dict:
        """Plain values, from which ``from_json`` makes an equal blueprint.

        Raises
        ------
        TypeError
            If a part or the loss is a user's own module, function or class, which JSON cannot hold.
        """
        return {"kind": self.kind} | {f.name: to_json(getattr(self, f.name), f.name) for f in fields(self)}

    @staticmethod
    def from_json(plain: dict) -> "Blueprint":
        """The blueprint that ``to_json`` wrote.

        Raises
        ------
        ValueError
            If a kind, a part or a value is unknown.
        """
        values = dict(plain)
        kind = values.pop("kind", None)
        if kind not in KINDS:
            raise ValueError(f"There is no blueprint of kind {kind!r}; there are {sorted(KINDS)}.")
        names = {f.name for f in fields(KINDS[kind])}
        if set(values) != names:
            raise ValueError(f"A blueprint of kind {kind!r} has {sorted(names)}, got {sorted(values)}.")
        return KINDS[kind](**{name: from_json(value) for name, value in values.items()})


KINDS[Blueprint.kind] = Blueprint


def make_parts(estimator, source: Source) -> dict:
    """Copies of an estimator's parts, and what a source of rows says: what any blueprint has."""
    corruption = estimator.corruption
    if corruption is not None and not isinstance(corruption, Corruption):
        corruption = FunctionCorruption(corruption)
    return {
        "architecture": Dense() if estimator.architecture is None else clone(estimator.architecture),
        "latent": Latent() if estimator.latent is None else clone(estimator.latent),
        "corruption": clone(corruption, safe=False),
        "loss": copy.deepcopy(estimator.loss),
        "n_features": source.n_features,
        "fills_gaps": source.has_gaps,
    }

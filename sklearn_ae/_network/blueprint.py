"""Blueprints: all that is needed to build a network again, and to say so in JSON.

There is one for a single autoencoder and one for an ensemble. What differs between the two (how they are built and started, what
trains and what validates, which rules the ``"auto"`` parameters follow, what is kept) are their methods.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.base import clone
from sklearn.utils.random import sample_without_replacement
from torch import Tensor, nn

from sklearn_ae._data.sources import Members, Scaled, Source, all_but
from sklearn_ae._losses import Loss, make_loss
from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.ensemble import SCALE_ROWS, Ensemble, Mask, margin_sums, margin_weight
from sklearn_ae._network.filling import GapFiller, MeanFiller
from sklearn_ae._network.margins import Margins
from sklearn_ae._network.nearest import Hands, itself, typical
from sklearn_ae._network.novelty import MaskFiller, NoveltyNetwork
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

    def build(self) -> Any:
        """The network, with random weights."""
        return self._autoencoder(self.n_features)

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
            module.load_state_dict(previous.state_dict())
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
        if module.filler is not None:
            batch = rows.take(positions)
            module.filler.start(batch.x, torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask)
        noise = rules.input_noise(len(positions))
        self.architecture.start(module.encoder, module.decoder, data, self.n_components, self.latent.stochastic, noise)

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

    def build(self) -> Ensemble:
        members: list[Autoencoder] = []
        for n_active in self.active:
            member = self._autoencoder(self.features.shape[1], checked=bool(members))
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


def split(rows: Scaled, validation: float | str | np.ndarray | None, random_state: RandomState) -> tuple[Scaled, Scaled | None]:
    """The rows to train on, and those held out to choose the best epoch by."""
    if not isinstance(validation, np.ndarray):
        n_held_out = 0 if validation is None else rules.n_held_out(validation, rows.n_rows)
        validation = np.sort(random_state.permutation(rows.n_rows)[:n_held_out])
    if not len(validation):
        return rows, None
    return rows.subset(all_but(validation, rows.n_rows)), rows.subset(validation)


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


@contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """Put a module's mode and its buffers back as they were, whether it changes those in place or by assignment."""
    modes = [(one, one.training) for one in module.modules()]
    buffers = [(one, name, buffer) for one, _ in modes for name, buffer in one._buffers.items() if buffer is not None]
    before = [(*place, place[-1].clone()) for place in buffers]
    try:
        yield
    finally:
        for one, training in modes:
            one.training = training
        with torch.no_grad():
            for one, name, buffer, values in before:
                one._buffers[name] = buffer.copy_(values)


def check_rows_apart(architecture: Architecture, name: str, module: nn.Module, n_inputs: int) -> None:
    """Refuse a module that, outside of training, gives a row another result when another row stands beside it.

    Scores would depend on what else is scored, and on the zeros with which the last rows are filled up.
    """
    whose = f"The {name} of {type(architecture).__name__}"
    for path, one in module.named_modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.running_mean is None:
            raise ValueError(
                f"{whose} has {f'{path}: ' if path else ''}{one!r}, by which a row's result depends on the rows beside it. "
                "Use track_running_stats=True, its default, or nn.LayerNorm."
            )
    if architecture.accepts_strided_input:
        return
    rows = torch.zeros(2, n_inputs)
    others = torch.cat([rows[:1], torch.linspace(0.5, 1.5, n_inputs)[None]])
    try:
        with torch.no_grad():
            alike, again, beside = (module.eval()(x.clone())[0].float() for x in (rows, rows, others))
    except Exception:  # a module that takes some values only
        return
    if torch.equal(alike, again) and not torch.allclose(alike, beside, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise ValueError(
            f"{whose} gives a row another result when another row stands beside it, so scores would depend on what else is scored. "
            "A row's result may depend on its own values only: mind sums, means and attention over the first axis, which is rows."
        )


def check_batch_norm(module: nn.Module, train: Scaled | Members, batch_size: int) -> None:
    """Refuse batches of one row where batch normalisation has nothing else to compare it with.

    Raises
    ------
    ValueError
        With the layer's name and the ways out.
    """
    norms = [(path, one) for path, one in module.named_modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    if batch_size > 1 or not norms:
        return
    with kept_buffers(module), torch.no_grad():
        try:
            module.train()(train.take(slice(0, 1)).x)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            path, norm = norms[0]
            raise ValueError(
                f"batch_size=1 is too small for batch normalisation ({path}: {norm!r}), which compares the rows of a batch"
                f"{'; there is but one training row' if train.n_rows == 1 else ''}. Use a batch_size of at least 2, "
                "or layer normalisation: Dense(normalization='layer'), nn.LayerNorm."
            ) from error


def check_output(architecture: Architecture, name: str, module: nn.Module, n_inputs: int, n_outputs: int) -> None:
    """Try a module on two rows, so that sizes that do not fit are reported with the part's name."""
    message = f"The {name} of {type(architecture).__name__} must take (n_samples, {n_inputs}) and give (n_samples, {n_outputs})"
    try:
        with torch.no_grad():
            result = module.eval()(torch.zeros(2, n_inputs))
            shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
    except Exception as error:  # whatever a user's module raises
        raise ValueError(f"{message}, but it failed on two rows: {error}") from error
    if isinstance(shape, str):
        raise ValueError(f"{message}, but it gave a {shape}.")
    if shape != (2, n_outputs):
        raise ValueError(f"{message}, but it gave {('n_samples', *shape[1:])} from ('n_samples', {n_inputs}).".replace("'", ""))

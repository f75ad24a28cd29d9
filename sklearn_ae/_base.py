"""What the estimators share: parameters, their constraints, and how a network is built and fitted."""

import inspect
import warnings
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, _fit_context, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data
from torch import nn

from sklearn_ae._building import auto_epochs, build_autoencoder, check_same, start, width_factor
from sklearn_ae._component import parts_of, validate_slot
from sklearn_ae._fitted import DTYPES, FittedAutoencoder
from sklearn_ae._folds import Folds, fold_positions, fold_sources, make_copies
from sklearn_ae._losses import LOSSES, check_range, make_loss
from sklearn_ae._net import OPTIMIZERS, SCHEDULES, AutoencoderNet
from sklearn_ae._rows import ArrayRows
from sklearn_ae._scaling import Scaling, fit_scaling
from sklearn_ae._stack import Stack
from sklearn_ae._torch import find_device, torch_seed
from sklearn_ae.architectures import Architecture, Dense
from sklearn_ae.corruptions import Corruption, FunctionCorruption
from sklearn_ae.latents import Latent

SLOTS = {"architecture": Architecture, "corruption": Corruption, "latent": Latent}

AUTO_RATE = 1e-2
N_FOLDS = 5
FEW_ROWS, FEW_FEATURES = 1_000, 256  # with fewer of both, all rows validate by folds
MOST_HELD_OUT = 10_000  # rows with validation_fraction="auto"
START_ROWS = 20_000  # rows from which starting weights are computed
SAMPLE_CODES = 1_000  # training rows whose codes are kept for `sample`
ONE_THREAD_WORK = 2**24  # multiplications, and more for each entry of a row: a smaller training step keeps to one thread
STILL_FALLING = 0.05  # relative fall of the loss in the last epoch of an annealed schedule that counts as not converged


class BaseAutoencoder(FittedAutoencoder):
    """Base of the estimators."""

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "architecture": "no_validation",  # the slots have messages of their own
        "corruption": "no_validation",
        "latent": "no_validation",
        "loss": [StrOptions(set(LOSSES)), nn.Module],
        "scaling": [StrOptions({"auto", "standard", "robust"}), None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), type],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions(set(SCHEDULES)), callable],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "compile": ["boolean"],
        "mixed_precision": ["boolean"],
        "callbacks": [list, tuple, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    # Parameters

    def set_params(self, **params) -> Self:
        """Set the parameters of this estimator and of its parts.

        Parameters
        ----------
        **params : dict
            ``n_components=4``, or ``latent__beta=2`` for a parameter of the part in a slot.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter of a part is set while its slot is empty.
        """
        for name in params:
            slot, _, parameter = name.partition("__")
            if parameter and slot in SLOTS and params.get(slot, getattr(self, slot)) is None:
                raise ValueError(no_part_message(slot, parameter))
        return super().set_params(**params)

    def _validate_parts(self) -> None:
        for slot, base in SLOTS.items():
            validate_slot(slot, getattr(self, slot), base, function=slot == "corruption")

    # Fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, in any units.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If X or a parameter is not valid; the estimator is then as it was before.
        FloatingPointError
            If training diverges.
        """
        with all_or_nothing(self):
            self._validate_parts()
            X = validate_data(self, X, dtype=DTYPES)
            with torch.enable_grad():
                self._fit(X, None, check_random_state(self.random_state))
        self._warn_if_not_converged()
        return self

    def _fit(self, X: np.ndarray, chosen: np.ndarray | None, random_state: np.random.RandomState) -> None:
        """Train on the chosen rows of X, all if None."""
        seed = random_state.randint(np.iinfo(np.int32).max)
        device = find_device(self.device)
        previous = getattr(self, "net_", None) if self.warm_start else None
        spec = self._make_spec(X.shape[1], random_state)
        if previous is not None:
            check_same(self._spec, spec)
        kind = self._scaling_kind(spec["loss"])
        check_range(spec["loss"], self.loss, X)
        with torch_seed(seed, device):
            scaling = self._scaling if previous else fit_scaling(kind, X, chosen, random_state)
            if np.isfinite(spec["loss"].range).all():
                scaling = replace(scaling, limits=spec["loss"].range)  # what rounding has put beyond the range
            rows = ArrayRows(X, scaling, device, chosen)
            module, train, held_out = self._prepare(spec, rows, previous, random_state)
            net = self._make_net(spec, module.to(device), train, held_out, device)
            net.fit(train)
            net.keep(self._finish(net.module_, train))
        self._keep_fitted(spec, scaling, net, rows)

    def _prepare(self, spec: dict, rows: ArrayRows, previous: AutoencoderNet | None, random_state: np.random.RandomState):
        """What is trained, what it is trained on, and what it is validated on.

        By default, few rows are divided into folds and many have some held out. Weights start from the last fit, or from what the
        architecture makes of the rows.
        """
        module = self._build(spec)
        if previous is None and self._uses_folds(rows):
            learnt, left_out = fold_positions(len(rows), N_FOLDS, random_state)
            copies = make_copies(module, N_FOLDS + 1)
            for one, positions in zip(copies, learnt, strict=True):
                start(one, spec, rows, torch.from_numpy(positions))
            return Folds(copies, rows.X.shape[1]), *fold_sources(rows, learnt, left_out)
        train, held_out = self._split(rows, random_state)
        if previous is None:
            start(module, spec, train, torch.randperm(len(train))[:START_ROWS])
        else:
            module.load_state_dict(previous.module_.state_dict())
        return module, train, held_out

    def _uses_folds(self, rows: ArrayRows) -> bool:
        n, d = len(rows), rows.X.shape[1]
        return self.early_stopping and self.validation_fraction == "auto" and 2 * N_FOLDS <= n < FEW_ROWS and d <= FEW_FEATURES

    def _finish(self, module: nn.Module, train) -> nn.Module:
        """What is kept of what was trained."""
        return module.kept() if isinstance(module, Folds) else module

    def _make_spec(self, n_features: int, random_state: np.random.RandomState) -> dict:
        """All that is needed to build the network again: copies, so that later set_params do not reach it."""
        return {
            "architecture": Dense() if self.architecture is None else clone(self.architecture),
            "latent": Latent() if self.latent is None else clone(self.latent),
            "corruption": self._corruption(),
            "loss": make_loss(self.loss),
            "loss_name": str(self.loss),
            "scaling": self.scaling,
            "n_features": n_features,
            "n_components": self.n_components,
        }

    def _corruption(self) -> Corruption | None:
        if self.corruption is None or isinstance(self.corruption, Corruption):
            return clone(self.corruption, safe=False)
        return FunctionCorruption(self.corruption)

    def _build(self, spec: dict) -> nn.Module:
        """The network of a spec."""
        return build_autoencoder(spec, spec["n_features"])

    def _scaling_kind(self, loss) -> str | None:
        if self.scaling == "auto":
            return self._auto_scaling if loss.scales else None
        if self.scaling is not None and not loss.scales:
            raise ValueError(
                f"loss={self.loss!r} compares with the data as they are; scaling={self.scaling!r} must be None or 'auto'."
            )
        return self.scaling

    _auto_scaling = "standard"

    def _split(self, rows: ArrayRows, random_state: np.random.RandomState) -> tuple[ArrayRows, ArrayRows | None]:
        """The rows to train on, and those held out to choose the best epoch by."""
        n = len(rows)
        n_held_out = self._n_held_out(n) if self.early_stopping else 0
        if n_held_out < 1:
            return rows, None
        order = random_state.permutation(n)
        return rows.subset(np.sort(order[n_held_out:])), rows.subset(np.sort(order[:n_held_out]))

    def _n_held_out(self, n: int) -> int:
        if self.validation_fraction != "auto":
            n_held_out = round(self.validation_fraction * n)
            if not 0 < n_held_out < n:
                raise ValueError(
                    f"validation_fraction={self.validation_fraction} of {n} samples leaves {n_held_out} to validate on."
                )
            return n_held_out
        return round(min(0.1 * n, MOST_HELD_OUT))

    def _make_net(self, spec: dict, module: nn.Module, rows, held_out, device: torch.device) -> AutoencoderNet:
        batch_size = self._batch_size(len(rows))
        return AutoencoderNet(
            module,
            criterion=nn.Identity,  # the module's objective takes its place
            lr=self._learning_rate(spec["n_features"]),
            max_epochs=self._max_epochs(spec, len(rows), batch_size),
            batch_size=batch_size,
            train_split=None if held_out is None else lambda dataset, y=None: (rows, held_out),
            callbacks=None if self.callbacks is None else list(self.callbacks),
            verbose=int(self.verbose),
            device=device,
            compile_step=self.compile,
            mixed_precision=self.mixed_precision,
            schedule=self.learning_rate_schedule,
            patience=self._patience(held_out is not None),
            tol=self.tol,
            keep_best=held_out is not None,
            max_norm=self.max_grad_norm,
            threads=self._n_threads(module, batch_size, spec["n_features"]),
            **self._optimizer_params(),
        )

    def _n_threads(self, module: nn.Module, batch_size: int, n_features: int) -> int | None:
        """Threads to train in, None for as many as torch has: between small steps they wait for one another."""
        work = batch_size * (sum(p.numel() for p in module.parameters()) + 32 * n_features)
        return 1 if work < ONE_THREAD_WORK and not isinstance(module, Stack) else None

    def _optimizer_params(self) -> dict:
        if isinstance(self.optimizer, str):
            optimizer, options = OPTIMIZERS[self.optimizer]
        else:
            optimizer, options = self.optimizer, {}
            if not issubclass(optimizer, torch.optim.Optimizer) or issubclass(optimizer, torch.optim.LBFGS):
                raise ValueError(f"optimizer must be a name or a class of torch.optim that takes mini-batches, got {optimizer!r}.")
        offers = {"weight_decay": self.weight_decay, "max_norm": self.max_grad_norm}
        takes = inspect.signature(optimizer).parameters
        options = {**options, **{name: value for name, value in offers.items() if name in takes}}
        return {"optimizer": optimizer, **{f"optimizer__{name}": value for name, value in options.items()}}

    def _batch_size(self, n: int) -> int:
        if self.batch_size != "auto":
            return min(self.batch_size, n)
        return min(n, 2 ** round(np.log2(np.clip(n / 8, 64, max(128, n / 1_000)))))

    def _learning_rate(self, n_features: int) -> float:
        return AUTO_RATE * width_factor(n_features) if self.learning_rate == "auto" else self.learning_rate

    def _max_epochs(self, spec: dict, n: int, batch_size: int) -> int:
        if self.max_epochs != "auto":
            return self.max_epochs
        return auto_epochs(spec["architecture"].n_steps(), n, batch_size, width_factor(spec["n_features"]))

    def _patience(self, held_out: bool) -> int | None:
        if self.learning_rate_schedule == "plateau":
            return self.n_iter_no_change or 10
        return self.n_iter_no_change if held_out else None

    def _keep_fitted(self, spec: dict, scaling: Scaling, net: AutoencoderNet, rows: ArrayRows) -> None:
        before = (self.loss_curve_, self.validation_loss_curve_) if self.warm_start and hasattr(self, "loss_curve_") else ([], None)
        history = [epoch for epoch in net.history if "train_loss" in epoch]  # a callback may have ended an epoch before its time
        self._spec, self._scaling = spec, scaling
        self.loss_curve_ = [*before[0], *(epoch["train_loss"] for epoch in history)]
        self.validation_loss_curve_ = None
        if net.keep_best:
            self.validation_loss_curve_ = [*(before[1] or []), *(epoch["valid_loss"] for epoch in history if "valid_loss" in epoch)]
        self.n_iter_ = len(history)
        net.train_split = None
        self.net_ = net
        with torch.inference_mode():
            x = rows.take(torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: self._n_codes()])
            self._codes = net.module_.hidden(x).cpu().numpy()

    def _n_codes(self) -> int:
        return SAMPLE_CODES

    def _warn_if_not_converged(self) -> None:
        if self.max_epochs == "auto":  # planned, with a schedule that comes to rest
            return
        net, curve = self.net_, self.loss_curve_
        anneals = net.schedule in ("one_cycle", "cosine")
        fall = STILL_FALLING if anneals else self.tol
        before = min(curve[-4:-1], default=np.inf)
        if self.n_iter_ < net.max_epochs or curve[-1] >= before - fall * abs(before):
            return
        warnings.warn(
            f"The training loss was still falling when training reached max_epochs={net.max_epochs}; "
            "raise max_epochs or learning_rate.",
            ConvergenceWarning,
            stacklevel=4,
        )


def no_part_message(slot: str, parameter: str) -> str:
    having = [name for name, part in sorted(parts_of(SLOTS[slot]).items()) if parameter in part._get_param_names()]
    if not having:
        return f"{slot} is None, and no part for it has a parameter {parameter!r}."
    return (
        f"{slot} is None, so {slot}__{parameter} cannot be set; pass {' or '.join(f'{slot}={name}(...)' for name in having)} first."
    )


@contextmanager
def all_or_nothing(estimator: BaseEstimator):
    """Whatever goes wrong inside the block, Ctrl-C included, the estimator is left as it was."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise

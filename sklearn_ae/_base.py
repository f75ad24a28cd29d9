"""What both estimators share: public methods, and the story of a fit."""

from __future__ import annotations  # so that help() shows the names of types

import copy
from abc import ABCMeta, abstractmethod
from dataclasses import replace
from numbers import Integral
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._set_output import _get_container_adapter
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_sample_weight,
    check_is_fitted,
)
from torch import nn

from sklearn_ae import _defaults
from sklearn_ae._component import DOCUMENTATION, all_or_nothing
from sklearn_ae._configuration import Configuration
from sklearn_ae._dask import by_partition, fit_dask, is_dask
from sklearn_ae._data.inputs import as_source, codes_source
from sklearn_ae._data.rows import held_out_by_position
from sklearn_ae._data.scaling import RunningScaling
from sklearn_ae._data.sources import Scaled, Source
from sklearn_ae._design import Started, make_net, start_model
from sklearn_ae._losses import check_range
from sklearn_ae._messages import warn
from sklearn_ae._model import Model
from sklearn_ae._network.checks import check_batch_norm
from sklearn_ae._parameters import SharedParameters
from sklearn_ae._records import record
from sklearn_ae._scores import SCORES
from sklearn_ae._scores.single import Plan, Single
from sklearn_ae._torch import find_device, plain_torch, torch_seed
from sklearn_ae._training.callbacks import CallbackSupportMixin, FitCallbacks, fit_callbacks
from sklearn_ae._training.checkpoint import Checkpoint, open_checkpoint
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.processes import Processes
from sklearn_ae._training.schedules import first_part, last_steps
from sklearn_ae._training.state import as_tensors


@record
class Stream(NamedTuple):
    """What ``partial_fit`` goes on from, besides the model."""

    random_state: RandomState
    scaling: RunningScaling


@by_partition(
    "transform", "inverse_transform", "reconstruct", "reconstruction_errors", "score_samples"
)
class BaseAutoencoder(
    CallbackSupportMixin,
    SharedParameters,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Base of the estimators. A fitted one holds a `Model`, which answers, and skorch's net, which
    has trained it.
    """

    __metadata_request__inverse_transform = {"Z": UNUSED}  # codes are no metadata
    _doc_link_module = "sklearn_ae"
    _doc_link_template = DOCUMENTATION

    _model: Model
    _stream: Stream | None = None
    _split_seed: int | None = None  # of the rows held out by position, in warm starts
    net_: AutoencoderNet
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None

    @abstractmethod
    def _configure(self, source: Source) -> Configuration:
        """The resolved choices for these rows."""

    # Fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Train on X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, in any units. NaN stands for a missing value.
            A Dask array or data frame is trained on by the workers of the current client, each of
            which keeps its rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0. Only their ratios count. A weight of 0 leaves a row
            out; a weight of 2 counts for two equal rows, in expectation. None weighs all rows the
            same.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If X or a parameter is not valid; the estimator is then as it was before.
        FloatingPointError
            If training diverges.
        MemoryError
            If the machine's or the GPU's memory runs out in training; the message names a smaller
            batch.
        KeyboardInterrupt
            If Ctrl-C is pressed. After the first epoch the estimator then keeps the best weights so
            far; before that it is left as it was.
        """
        if is_dask(X):
            return fit_dask(self, X, y, sample_weight)
        callbacks = fit_callbacks(self, X, y, sample_weight)
        with all_or_nothing(self), plain_torch(), torch.enable_grad():
            self._validate_parts()
            source = as_source(self, X, sample_weight, reset=True)
            source.forget_equal_weights()
            random_state = check_random_state(self.random_state)
            alone = Processes(alone=True)
            checkpoint = open_checkpoint(self.checkpoint, self, source, random_state, alone)
            self._fit(source, checkpoint.random_state, callbacks, checkpoint)
            if callbacks is not None:
                callbacks.end_fit()
        self._raise_if_interrupted()
        checkpoint.remove()
        self._warn_if_not_converged()
        return self

    def _fit(
        self,
        source: Source,
        random_state: RandomState,
        callbacks: FitCallbacks | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Start a model from all rows of a source, train it, and keep it."""
        seed, device = random_state.randint(np.iinfo(np.int32).max), find_device(self.device)
        configuration = self._configure(source)
        previous = self._model if self.warm_start and hasattr(self, "net_") else None
        with torch_seed(seed, device):
            validation = self._validation(source.n_rows, random_state)
            started = start_model(configuration, source, previous, validation, device, random_state)
            net = make_net(self, started)
            if callbacks is not None:
                callbacks.watch(net, lambda twin, now: twin._keep_so_far(started, now))
            if checkpoint is not None:
                checkpoint.watch(net)
            net.fit(started.train)
            net.watchers = ()
            self._choose_length(started)
            if previous is None and net.best_epoch_ == 0:
                started.model.score.restart(started.rows)
            elif self._refits_on_all_rows(started, net):
                self._refit_on_all_rows(started, net, random_state)
            self._keep(started, net)

    def _validation(self, n: int, random_state: RandomState) -> float | str | np.ndarray | None:
        """What is held out to choose the best epoch by; in warm starts by position, so that it
        stays held out.
        """
        if not self._stops_early():
            return None
        if not self.warm_start:
            return self.validation_fraction
        return self._held_out(n, random_state, _defaults.n_held_out(self.validation_fraction, n))

    def _held_out(self, n: int, random_state: RandomState, n_held_out: int) -> np.ndarray:
        """Positions that are held out in every warm start, of rows that keep their places."""
        if self._split_seed is None:
            if hasattr(self, "net_"):
                raise ValueError(
                    "warm_start=True must be set before the first fit: rows that would be held out "
                    "now may have been learnt by the last one. Set it, and fit anew."
                )
            self._split_seed = int(random_state.randint(np.iinfo(np.int32).max))
        return held_out_by_position(self._split_seed, n, n_held_out / n)

    def _stops_early(self) -> bool:
        return bool(self.early_stopping)

    def _plan(self, score: Single, n: int) -> Plan:
        """Learning rate, batch size and epochs for n rows, where they are not given."""
        return score.plan(n, self.batch_size)

    def _choose_length(self, started: Started) -> None:
        """Drop components that are not needed, judged by rows held out if there are any."""

    def _refits_on_all_rows(self, started: Started, net: AutoencoderNet) -> bool:
        """Whether rows are so few that those held out are learnt too, once they have judged."""
        return False

    def _refit_on_all_rows(
        self, started: Started, net: AutoencoderNet, random_state: RandomState
    ) -> None:
        """Train again on all rows, from a new start up to the best epoch. Where that takes long, go
        on from the best weights for a few steps.
        """
        model, rows, share = started.model, started.rows, net.best_epoch_ / net.max_epochs
        anew = rows.n_all <= _defaults.MAX_ROWS_TO_TRAIN_AGAIN
        score = SCORES[model.configuration.score](model.configuration)
        prepared = score.prepare(rows, None, None if anew else model.network, random_state)
        again = make_net(self, Started(Model(model.scaling, score), rows, prepared.train, None))
        if anew:
            again.max_epochs = max(1, round(share * again.max_epochs))
            again.schedule = first_part(again.schedule, share)
        else:
            again.max_epochs = _defaults.last_epochs(again.max_epochs, share)
            again.schedule = last_steps
        if not again.max_epochs:
            return
        again.keep_average, again.watchers = True, ()
        try:
            again.fit(prepared.train)
        except FloatingPointError:  # the best weights so far are kept, and so after Ctrl-C
            return
        except KeyboardInterrupt as interrupt:  # before the end of an epoch
            net.interrupted_ = interrupt
            return
        net.interrupted_ = again.interrupted_
        if net.interrupted_ is None:
            net.module_.load_state_dict(again.module_.state_dict())

    def _keep(self, started: Started, net: AutoencoderNet) -> None:
        """Keep a model that has been trained."""
        before = (
            (self.loss_curve_, self.validation_loss_curve_)
            if self.warm_start and hasattr(self, "loss_curve_")
            else ([], None)
        )
        # a callback may have ended an epoch before its time
        history = [epoch for epoch in net.history if "train_loss" in epoch]
        self.loss_curve_ = [*before[0], *(epoch["train_loss"] for epoch in history)]
        self.validation_loss_curve_ = None
        if net.keep_best:
            self.validation_loss_curve_ = [
                *(before[1] or []),
                *(epoch["valid_loss"] for epoch in history if "valid_loss" in epoch),
            ]
        self.n_iter_ = len(history)
        self.best_epoch_ = net.best_epoch_
        net.train_split = None
        self.net_, self._model, self._stream = net, started.model, None
        self._n_rows = started.rows.n_all
        started.model.score.learn(started.train, started.rows)
        started.model.keep_codes(started.rows)

    def _keep_so_far(self, started: Started, net: AutoencoderNet) -> None:
        """Keep what a fit in progress has learnt so far, without a change to its course."""
        rows, score = started.rows, started.model.score
        devices = [rows.device] if rows.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            net = net.as_if_ended()
            score = copy.deepcopy(score)
            score.network = net.module_
            started = started._replace(model=Model(started.model.scaling, score))
            self._choose_length(started)
            self._keep(started, net)

    def _raise_if_interrupted(self) -> None:
        """Raise the Ctrl-C that ended training, so that a search stops too; the estimator is fitted
        all the same.
        """
        interrupt, self.net_.interrupted_ = self.net_.interrupted_, None
        if interrupt is not None:
            kept = (
                f"epoch {self.best_epoch_}"
                if self.best_epoch_
                else "the start, which no epoch has improved on"
            )
            interrupt.add_note(
                f"{type(self).__name__} was interrupted after {self.n_iter_} epochs and keeps the "
                f"weights of {kept}: it is fitted."
            )
            raise interrupt

    def _warn_if_not_converged(self) -> None:
        if self.max_epochs == "auto":  # planned, with a schedule that ends at a rate of zero
            return
        net, curve = self.net_, self.loss_curve_
        anneals = net.schedule in ("one_cycle", "cosine")
        fall = _defaults.STILL_FALLING if anneals else self.tol
        before = min(curve[-4:-1], default=np.inf)
        if self.n_iter_ < net.max_epochs or curve[-1] >= before - fall * abs(before):
            return
        warn(
            "The training loss was still falling when training reached "
            f"max_epochs={net.max_epochs}; raise max_epochs or learning_rate.",
            ConvergenceWarning,
        )

    # Streams

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train on a chunk of a stream: one pass over its rows.

        The first chunk builds the network and starts it; further ones go on from there, and so does
        a call after ``fit``. Before a chunk is trained on, its loss is noted in
        ``validation_loss_curve_`` (progressive validation). The scaling follows the rows so far,
        and forgets those more than about 100,000 rows back. The learning rate rises over 100 steps
        and then stays; the other methods use a moving average of the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The chunk. The first one should have some hundred rows, from which the scaling and the
            start are computed.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, as in ``fit``; only their ratios within the chunk count.

        Returns
        -------
        self : object
        """
        first = not self.__sklearn_is_fitted__()
        with all_or_nothing(self), plain_torch(), torch.enable_grad():
            self._validate_parts()
            source = as_source(self, X, sample_weight, reset=first)
            self._partial_fit(source)
        return self

    def _partial_fit(self, source: Source) -> None:
        """Train on all rows of a chunk, once."""
        if self._stream is None:
            self._stream = self._begin_stream(source)
        else:  # copies, so that an error leaves what was
            self._stream = Stream(
                copy.deepcopy(self._stream.random_state), replace(self._stream.scaling)
            )
        random_state, running = self._stream
        device, before = find_device(self.device), cast(Any, getattr(self, "_model", None))
        configuration = self._configure(source) if before is None else before.configuration
        if source.has_gaps and not configuration.fills_gaps:
            configuration = replace(configuration, fills_gaps=True)
        loss = configuration.make_loss()
        check_range(loss, configuration.loss, source)
        with torch_seed(random_state.randint(np.iinfo(np.int32).max), device):
            scaling = running.follow(before and before.scaling, source, random_state).within(
                loss.range
            )
            rows = Scaled(source, scaling, device)
            net: Any = getattr(self, "net_", None)
            is_same = before is not None and before.configuration is configuration
            # otherwise a first chunk, or one after a fit or a file
            goes_on = net is not None and net.state_ is not None
            if is_same:
                score = before.score if goes_on else copy.deepcopy(before.score)
                train = score.chunk(rows, random_state)
            else:
                score, goes_on = SCORES[configuration.score](configuration), False
                train = score.prepare(rows, None, before and before.network, random_state).train
            started = Started(Model(scaling, score), rows, train, None)
            if not goes_on:
                resume_from = net.resume_from if is_same else None
                net = make_net(self, started, stream=True)
                net.resume_from = resume_from
            self._choose_length(started)  # judged by the chunk before it is learnt
            check_batch_norm(net.module, train, min(net.batch_size, train.n_rows))
            net.train_on_chunk(train)
            self.net_, self._model = net, started.model
            self._model.score.learn(train, rows)
            self._model.keep_codes(rows)
        losses, earlier = net.history[-1], self.validation_loss_curve_ or []
        self.loss_curve_ = [*self.loss_curve_, losses["train_loss"]]
        self.validation_loss_curve_ = [*earlier, losses["valid_loss"]]
        self.n_iter_ = self.best_epoch_ = len(self.loss_curve_)

    def _begin_stream(self, source: Source) -> Stream:
        """What a stream goes on from: the last fit, or nothing. The curves begin anew."""
        random_state, model = check_random_state(self.random_state), getattr(self, "_model", None)
        kind = self._configure(source).scaling if model is None else model.configuration.scaling
        n_rows = 0 if model is None else self._n_rows
        scaling = None if model is None else model.scaling
        self.loss_curve_, self.validation_loss_curve_ = [], []
        return Stream(
            random_state, RunningScaling.after(scaling, kind, n_rows, _defaults.STREAM_MEMORY)
        )

    # Rows through the network

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Encode rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            The codes, in X's precision. Nothing random: a variational code is its posterior mean.
        """
        source = self._check(X)
        return source.result(self._model.encode(source).astype(source.dtype, copy=False))

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Reconstructions in the data's own units (probabilities for binary cross-entropy).

        Raises
        ------
        ValueError
            If the decoder gives NaN or infinity for a code.
        """
        check_is_fitted(self)
        source = codes_source(Z, self._n_features_out)
        return self._named(source.result(within_type(self._model.decode(source), source.dtype)), Z)

    def reconstruct(self, X: ArrayLike, n_components: int | None = None) -> np.ndarray:
        """Encode and decode rows: their denoised, compressed selves.

        ``np.where(np.isnan(X), model.reconstruct(X), X)`` fills in what is missing, if the
        estimator was fitted on rows with gaps; `AutoencoderImputer` does so in one step.
        `ReconstructionTransformer` makes this method a step of a pipeline.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN stands for a missing value.
        n_components : int or None, default=None
            Use the first components of the code only, as many; the latent must be `Ordered`. None
            uses all.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            In the data's own units, nothing missing. Where a value of X is missing, this is what
            the others make likely.

        Raises
        ------
        ValueError
            If the code is not ordered, or has not as many components.
        """
        source, k = self._check(X), self._check_length(n_components)
        X_reconstructed = within_type(self._model.reconstruct(source, k), source.dtype)
        return self._named(source.result(X_reconstructed), X)

    def _check_length(self, n_components: int | None) -> int | None:
        """Check that codes can be cut off after as many components."""
        latent, most = self._model.configuration.latent, self.n_components_
        if n_components is None:
            return None
        if not latent.is_ordered:
            raise ValueError(
                f"n_components={n_components!r} needs a code in order of importance; pass "
                f"latent=Ordered() to the estimator and fit it again. Its latent is {latent}."
            )
        if not isinstance(n_components, Integral) or not 1 <= n_components <= most:
            raise ValueError(
                f"n_components must be a whole number from 1 to {most}, the length of the code, "
                f"got {n_components!r}."
            )
        return int(n_components)

    def reconstruction_errors(self, X: ArrayLike) -> np.ndarray:
        """The loss of each entry; for a single autoencoder, the mean over a row is minus its score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        errors : ndarray of shape (n_samples, n_features), float64
            In units of the loss, on scaled data.
        """
        source = self._check(X)
        return self._named(source.result(self._model.elementwise(source).astype(np.float64)), X)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Minus the reconstruction loss of each row: higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
        """
        source = self._check(X)
        return source.result(self._score_rows(source))

    def _score_rows(self, source: Source) -> np.ndarray:
        return np.negative(self._model.outlyingness(source), dtype=np.float64)

    def score(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """The mean of `score_samples`, so that a search needs no labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        score : float
        """
        scores, weights = np.asarray(self.score_samples(X)), None
        if sample_weight is not None:
            weights = _check_sample_weight(
                sample_weight, scores, dtype=np.float64, ensure_non_negative=True
            )
        return float(np.average(scores, weights=weights))

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> np.ndarray:
        """Draw new rows.

        A random training row's code (of at most 1,000 that are kept) is drawn from its posterior if
        the latent is variational, taken as it is if it is quantised, else moved by a normal kernel
        of Silverman's bandwidth, and decoded. Drawing from the codes that really occur, and not
        from the prior, leaves out the regions between them, where the decoder is unreliable.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows to draw.
        random_state : int, RandomState instance or None, default=None
            None takes the estimator's own ``random_state``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            In the data's own units.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be a whole number of at least 1, got {n_samples!r}.")
        random_state = check_random_state(
            self.random_state if random_state is None else random_state
        )
        return self._named(self._model.sample(int(n_samples), random_state))

    @property
    def n_components_(self) -> int:
        check_is_fitted(self)
        return self._model.configuration.n_components - self._model.configuration.n_unused

    @property
    def _n_features_out(self) -> int:
        return self._model.n_features_out

    def _named(self, values: Any, X: Any = None) -> Any:
        """A column for each feature in the container that ``set_output`` asks for, with X's index.

        Answers of one number a row stay arrays, as those of scikit-learn's ``predict`` do.
        """
        adapter = _get_container_adapter("transform", self)
        if adapter is None:
            return values
        return adapter.create_container(values, X, columns=_check_feature_names_in(self))

    def _check(self, X: Any) -> Source:
        check_is_fitted(self)
        return as_source(self, X)

    # Pickling: numpy arrays and plain values, the network built again on load

    @plain_torch()
    def __getstate__(self):
        state = super().__getstate__().copy()
        net = state.pop("net_", None)
        if net is not None:
            state["_fitted"] = state.pop("_model").state()
            if (training := net.stream_state()) is not None:
                state["_training"] = training
        return state

    @plain_torch()
    def __setstate__(self, state):
        state = state.copy()
        training, fitted = state.pop("_training", None), state.pop("_fitted", None)
        super().__setstate__(state)
        if fitted is not None:
            self._model = Model.from_state(fitted, self.device)
            self.net_ = wrapped(self._model)
            self.net_.resume_from = as_tensors(training)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


def wrapped(model: Model) -> AutoencoderNet:
    """skorch's net around a model's network that has been trained."""
    net = AutoencoderNet(
        model.network, criterion=nn.Identity, device=model.device, train_split=None, verbose=0
    )
    net.initialize()
    return net


def within_type(X: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """X in a precision whose largest numbers stand for those beyond them."""
    if X.dtype == dtype:
        return X
    most = np.finfo(dtype).max
    return X.clip(-most, most).astype(dtype)

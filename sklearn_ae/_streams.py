"""How a network is trained on the chunks of a stream."""

from __future__ import annotations  # so that help() shows the names of types and not what they stand for

import copy
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import _fit_context
from sklearn.utils import check_random_state

from sklearn_ae._base import BaseAutoencoder, Stream, all_or_nothing
from sklearn_ae._data.inputs import as_source
from sklearn_ae._data.scaling import RunningScaling
from sklearn_ae._data.sources import Scaled, Source
from sklearn_ae._losses import check_range
from sklearn_ae._network.blueprint.single import Prepared
from sklearn_ae._network.checks import check_batch_norm
from sklearn_ae._torch import find_device, plain_torch, torch_seed
from sklearn_ae._training import rules
from sklearn_ae._training.net import AutoencoderNet


class StreamedAutoencoder(BaseAutoencoder):
    """An estimator that also learns chunk by chunk."""

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Train on a chunk of a stream: one pass over its rows.

        The first chunk builds the network and starts it; further ones go on from there, and so does a call after ``fit``. Before a
        chunk is trained on, its loss is noted in ``validation_loss_curve_`` (progressive validation). The scaling follows the
        rows so far, and forgets those more than about 100,000 rows back. The learning rate rises over 100 steps and then stays;
        the other methods use a moving average of the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The chunk. The first one should have some hundred rows, from which the scaling and the start are computed.
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
        """Train on all rows of a chunk: scaling, network, training, and what is kept of it."""
        if self._stream is None:
            self._begin_stream(source)
        else:  # copies, so that an error leaves what was
            self._stream = Stream(copy.deepcopy(self._stream.random_state), replace(self._stream.scaling))
        stream: Any = self._stream
        blueprint, device = self._blueprint, find_device(self.device)
        loss = blueprint.make_loss()
        check_range(loss, blueprint.loss, source)
        with torch_seed(stream.random_state.randint(np.iinfo(np.int32).max), device):
            self._scaling = stream.scaling.follow(self._scaling, source, stream.random_state).within(loss.range)
            rows = Scaled(source, self._scaling, device)
            self.net_ = self._net_for(rows, stream.random_state)
            blueprint = self._blueprint
            module: Any = getattr(self.net_, "module_", self.net_.module)
            self._judge(blueprint, module, rows)
            check_batch_norm(module, rows, min(self.net_.batch_size, rows.n_rows))
            self.net_.train_on_chunk(rows)
            self._keep_codes(rows)
        self.loss_curve_ = [*self.loss_curve_, self.net_.history[-1]["train_loss"]]
        self.validation_loss_curve_ = [*(self.validation_loss_curve_ or []), self.net_.history[-1]["valid_loss"]]
        self.n_iter_ = self.best_epoch_ = len(self.loss_curve_)

    def _net_for(self, rows: Scaled, random_state: RandomState) -> AutoencoderNet:
        """The net that learns from a chunk: that of the last one, or a new one if there is none, it was loaded, or gaps are new."""
        previous = getattr(self, "net_", None)
        gaps_are_new = rows.has_gaps and not self._blueprint.fills_gaps
        if previous is not None and previous.state_ is not None and not gaps_are_new:
            return previous
        if gaps_are_new:
            self._blueprint = replace(self._blueprint, fills_gaps=True)
        loaded = None if previous is None or gaps_are_new else previous.resume_from
        if previous is None or loaded is None:
            prepared = self._blueprint.prepare(rows, None, previous and previous.module_, random_state)
        else:
            prepared = Prepared(copy.deepcopy(previous.module_), rows, None)
        net = self._make_net(self._blueprint, prepared, rows.device, stream=True)
        net.resume_from = loaded
        return net

    def _begin_stream(self, source: Source) -> Stream:
        """Set what a stream goes on from: the last fit, or a blueprint for this chunk's rows."""
        random_state = check_random_state(self.random_state)
        if not hasattr(self, "net_"):
            self._blueprint, self._n_rows = self._make_blueprint(source, random_state), 0
            self._scaling = None  # type: ignore[assignment]  # until the chunk is scaled
        self._stream = Stream(
            random_state, RunningScaling.after(self._scaling, self._blueprint.scaling, self._n_rows, rules.STREAM_MEMORY)
        )
        self.loss_curve_, self.validation_loss_curve_ = [], []
        return self._stream

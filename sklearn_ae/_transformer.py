"""AutoencoderTransformer."""

from __future__ import annotations  # so that help() shows the names of types

import math
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_ae import _defaults
from sklearn_ae._base import BaseAutoencoder, Stream
from sklearn_ae._configuration import Configuration, copied_parts
from sklearn_ae._data.scaling import fit_scaling
from sklearn_ae._data.sources import Scaled, Source
from sklearn_ae._design import Started, scaling_kind
from sklearn_ae._messages import warn
from sklearn_ae._network.lengths import enough_components, explained_variance
from sklearn_ae._parameters import describe
from sklearn_ae._scores.single import Plan, Single, or_default
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae.latents import Ordered


@describe(
    architecture="None is ``Dense()``: two hidden layers of 128 units with a linear path beside "
    "them.",
    scaling='``"uniform"`` with sparse X, ``"bounded"`` with a corruption, ``"mixed"``',
    optimizer="adamw",
    learning_rate="0.01 times the root of 256 / n_features if that is under 1",
    max_grad_norm=1.0,
    max_epochs='``"auto"`` plans 1,250 batches for 1,000 rows, growing with the power 0.6 of the '
    "rows to at most 1,800; half as many with a corruption or random codes; fewer for "
    "over 256 features or without hidden layers; in 2 to 500 epochs.",
    batch_size='``"auto"`` is a thirty-second of the rows, from 64 to 128, and a thousandth from '
    "128,000 rows on, evened out; four times as many with a corruption or random codes.",
    early_stopping=True,
    validation_fraction='``"auto"`` is a tenth, at most 10,000 rows. Where that is under 100 rows '
    "it is 100 of them, or a fifth if "
    'that is less. Up to 1,000 rows, and with `max_epochs` at ``"auto"``, those held out are '
    "learnt too: up to 400 rows in a second training on all of them up to the best epoch, beyond "
    "in a few last steps after it, unless it came early. Not where "
    "codes are ordered or random, or there are `callbacks`, a plateau or a `warm_start`.",
)
class AutoencoderTransformer(BaseAutoencoder):
    r"""Dimensionality reduction by an autoencoder.

    An encoder maps each row to a code of `n_components` numbers, a decoder maps the code back, and
    both are trained so that the row comes back as it was:

    .. math::

        \min \frac1n \sum_i \big[\text{loss}(\text{decoder}(z_i), x_i) + \text{cost}(z_i)\big],
        \quad z_i = \text{encoder}(x_i)

    By default training starts at the solution of PCA. That solution is kept if the trained network
    is not significantly better on rows held out. Architecture, corruption and latent are chosen by
    parts in slots, which can all be combined.

    Parameters
    ----------
    n_components : int or float in (0, 1), default=2
        Length of a code. A float is a share of the variance, as in PCA: the code is an `Ordered`
        one, and the shortest length is kept that explains as much of rows held out (of the training
        rows, without `early_stopping`), in scaled units.
    <parameters>

    Attributes
    ----------
    explained_variance_ratio_ : ndarray of shape (n_components_,), float64
        The share of the variance, in scaled units, that each further component explains of rows
        held out (of the training rows, without `early_stopping`; of the last chunk before it was
        trained on, in a stream). Only where the latent is `Ordered`.
    <attributes>

    See Also
    --------
    AutoencoderOutlierDetector : Outlier detection by an ensemble of small autoencoders.
    AutoencoderImputer : Missing values filled in.
    sklearn.decomposition.PCA : The linear case.

    Notes
    -----
    <notes>

    References
    ----------
    .. [1] Hinton and Salakhutdinov (2006), "Reducing the Dimensionality of Data with Neural
       Networks", Science 313.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderTransformer
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = AutoencoderTransformer(2, random_state=0).fit(X)
    >>> model.transform(X).shape
    (150, 2)
    >>> bool(((model.reconstruct(X) - X) ** 2).mean() < 0.05)
    True
    """

    _explained_variance_ratio: np.ndarray | None = None
    _fills_gaps: bool = False  # learn to fill gaps, even if the training rows have none

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
        ],
    }

    @property
    def explained_variance_ratio_(self) -> np.ndarray:
        check_is_fitted(self)
        if self._explained_variance_ratio is None:
            raise AttributeError(
                "explained_variance_ratio_ is there for codes in order of importance only; pass "
                "latent=Ordered() and fit again."
            )
        return self._explained_variance_ratio

    @property
    def _asks_for_share(self) -> bool:
        return not isinstance(self.n_components, Integral)

    def _configure(self, source: Source) -> Configuration:
        auto = "uniform" if source.is_sparse else "mixed" if self.corruption is None else "bounded"
        parts = or_default(copied_parts(self))
        shared: dict[str, Any] = {
            "scaling": scaling_kind(self, auto),
            "n_features": source.n_features,
            "fills_gaps": source.has_gaps or self._fills_gaps,
        }
        if not self._asks_for_share:
            return Configuration("single", **parts, **shared, n_components=self.n_components)
        latent = Ordered() if self.latent is None else parts["latent"]
        if not latent.is_ordered:
            raise ValueError(
                f"n_components={self.n_components!r}, a share of the variance, needs a code in "
                f"order of importance, but latent is {self.latent!r}; pass latent=None or "
                "Ordered(), or a whole number of components."
            )
        configuration = Configuration(
            "single", **{**parts, "latent": latent}, **shared, n_components=1
        )
        return replace(configuration, n_components=self._enough_components(configuration, source))

    def _enough_components(self, configuration: Configuration, source: Source) -> int:
        """How many components explain the share that is asked for, and somewhat more, if the
        network does no better than PCA.
        """
        if self.warm_start and hasattr(self, "net_"):
            return self._model.configuration.n_components
        random_state = RandomState(0)  # of its own, so that nothing else depends on it
        scaling = fit_scaling(configuration.scaling, source, random_state).within(
            configuration.make_loss().range
        )
        some = random_state.permutation(source.n_rows)[: _defaults.ORDERED_START_ROWS]
        rows = Scaled(source.subset(np.sort(some)), scaling, torch.device("cpu"))
        most = max(1, min(_defaults.MOST_ORDERED, source.n_rows - 1))
        return enough_components(rows.take(slice(None)).x, (1 + self.n_components) / 2, most)

    def _begin_stream(self, source: Source) -> Stream:
        if self._asks_for_share and not hasattr(self, "net_"):
            raise ValueError(
                f"n_components={self.n_components!r}, a share of the variance, is known only at "
                "the end of fit; partial_fit needs a whole number of components."
            )
        return super()._begin_stream(source)

    def _plan(self, score: Single, n: int) -> Plan:
        if not self._fills_gaps:
            return super()._plan(score, n)
        batch_size = self.batch_size
        if isinstance(batch_size, str):
            batch_size = _defaults.NOISY_BATCH * _defaults.auto_batch_size(n)
        rate, batch_size, max_epochs = score.plan(n, batch_size)
        return Plan(
            _defaults.IMPUTER_RATE * rate,
            batch_size,
            math.ceil(_defaults.IMPUTER_STEPS * max_epochs),
        )

    def _refits_on_all_rows(self, started: Started, net: AutoencoderNet) -> bool:
        chosen = (
            self.validation_fraction,
            self.max_epochs,
            self.callbacks,
            self.learning_rate_schedule == "plateau",
        )
        latent = started.model.configuration.latent
        plain = chosen == ("auto", "auto", None, False) and not (
            self.warm_start or latent.is_ordered or latent.stochastic
        )
        few = started.rows.n_all <= _defaults.MAX_ROWS_TO_REFIT
        return plain and few and net.keep_best and net.best_epoch_ > 0 and net.interrupted_ is None

    def _choose_length(self, started: Started) -> None:
        """Of ordered codes, keep as many components as explain the share of the variance that was
        asked for.
        """
        self._explained_variance_ratio = None
        configuration = started.model.configuration
        if not configuration.latent.is_ordered:
            return
        explained = explained_variance(
            started.model.network, started.train if started.held_out is None else started.held_out
        )
        n_kept = len(explained)
        if self._asks_for_share and not configuration.n_unused:
            enough = np.flatnonzero(explained >= self.n_components)
            if len(enough):
                n_kept = int(enough[0]) + 1
            else:
                message = (
                    f"n_components={self.n_components!r}: {n_kept} components explain "
                    f"{explained.max():.3g} of the variance of rows held out; all are kept. Pass a "
                    "whole number for a longer code, or ask for less."
                )
                warn(message)
        self._explained_variance_ratio = np.diff(explained[:n_kept], prepend=0.0)
        started.model.drop_components(configuration.n_components - n_kept)

"""How a detector is fitted and calibrated, and how it follows a stream."""

from __future__ import annotations  # so that help() shows the names of types and not what they stand for

import copy
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import check_random_state

from sklearn_ae._calibration import ENOUGH_SCORES, Scores, auto_offset, folds
from sklearn_ae._data.held_out import HeldOutRows
from sklearn_ae._data.inputs import reversing_labels
from sklearn_ae._data.recent import Recent, Rows
from sklearn_ae._data.sources import Source, all_but
from sklearn_ae._network.blueprint import Blueprint, EnsembleBlueprint, NoveltyBlueprint
from sklearn_ae._network.blueprint.ensemble import make_members
from sklearn_ae._network.blueprint.single import make_parts
from sklearn_ae._streams import StreamedAutoencoder
from sklearn_ae._training import rules
from sklearn_ae._training.callbacks import FitCallbacks
from sklearn_ae.architectures import Dense


class BaseDetector(StreamedAutoencoder):
    """An estimator with a threshold on its scores, and rows held out that calibrate it."""

    contamination: float | str
    novelty: bool
    n_estimators: int
    max_samples: int | float | str
    offset_: float
    _calibration: Scores
    _calibration_memory: HeldOutRows | None
    _recent: Recent | None = None
    _reversing_labels: str | None = None  # of y in the last fit

    def _fit(self, source: Source, random_state: RandomState, callbacks: FitCallbacks | None = None) -> None:
        self._recent = None
        self._fit_without(self._calibration_rows(source, random_state), source, random_state, callbacks)

    def _fit_without(
        self, held_out: np.ndarray, source: Source, random_state: RandomState, callbacks: FitCallbacks | None = None
    ) -> None:
        """Train on the other rows of a source; those held out calibrate."""
        learnt = all_but(held_out, source.n_rows)
        if callbacks is not None:
            callbacks.then(lambda twin, _: twin._calibrate(source, learnt, held_out, copy.deepcopy(random_state)))
        super()._fit(source.subset(learnt) if len(held_out) else source, random_state, callbacks)
        self._calibrate(source, learnt, held_out, random_state)

    def _calibrate(self, source: Source, learnt: np.ndarray, held_out: np.ndarray, random_state: RandomState) -> None:
        """Keep the scores that p-values compare with, and set the threshold."""
        self._calibration = self._scored(source, held_out)
        self.offset_ = self._offset(source, learnt, random_state)

    def _calibration_rows(self, source: Source, random_state: RandomState) -> np.ndarray:
        """Which rows are held out; in warm starts those from which no earlier fit has learnt."""
        n = source.n_rows
        n_held_out = rules.n_held_out(self.validation_fraction, n, rules.CALIBRATION_SHARE, rules.MOST_CALIBRATION)
        n_held_out = min(n_held_out, n - 1)
        if not self.warm_start:
            self._calibration_memory = None
            return random_state.permutation(n)[:n_held_out]
        memory = self._memory("_calibration_memory", "warm_start=True")
        held_out, self._calibration_memory = memory.choose(source, n_held_out, random_state)
        return held_out

    def _offset(self, source: Source, learnt: np.ndarray, random_state: RandomState) -> float:
        """The threshold on scores."""
        if not isinstance(self.contamination, str):  # "auto"
            return self._scored(source).percentiles([100 * self.contamination])[0]
        scores = self._calibration
        if len(scores.values) < ENOUGH_SCORES and self._recent is None:
            scores = scores.joined(self._cross_fitted_scores(source, learnt, random_state))
        enough = len(scores.values) >= (1 if self._recent is None else ENOUGH_SCORES)  # a single row has none to be compared with
        return auto_offset(scores if enough else self._scored(source))

    def _scored(self, source: Source, positions: np.ndarray | None = None) -> Scores:
        """The scores of some rows, all if None, with their weights."""
        source = source if positions is None else source.subset(positions)
        values = self._score_rows(source) if source.n_rows else np.empty(0)
        return Scores(values, None if source.weight is None else source.weight.double().numpy())

    def _cross_fitted_scores(self, source: Source, learnt: np.ndarray, random_state: RandomState) -> Iterator[Scores]:
        """Scores of the rows that were learnt, by models like this one that have not seen them."""
        for others, left_out in folds(learnt, source.n_rows, random_state):
            if self.net_.interrupted_ is not None:
                return
            model = clone(self).set_params(warm_start=False, callbacks=None, verbose=0)
            super(BaseDetector, model)._fit(source.subset(others), random_state)
            self.net_.interrupted_ = model.net_.interrupted_
            yield model._scored(source, left_out)

    def _stops_early(self) -> bool:
        return self.n_estimators == 1 and not self.novelty if self.early_stopping == "auto" else self.early_stopping

    def _make_blueprint(self, source: Source, random_state: RandomState) -> Blueprint:
        parts = make_parts(self, source)
        if self.novelty:
            n_components = self.n_components
            if isinstance(n_components, str):  # "auto"
                n_components = min(source.n_features, rules.MOST_MASKED_COMPONENTS)
            parts |= {"fills_gaps": True} | ({"architecture": Dense((rules.MASKED_UNITS,))} if self.architecture is None else {})
            return NoveltyBlueprint(**parts, scaling=self._scaling_kind("standard_whitened"), n_components=n_components)
        if self.n_estimators == 1:
            n_components = int(np.ceil(np.sqrt(source.n_features))) if self.n_components == "auto" else self.n_components
            return Blueprint(**parts, scaling=self._scaling_kind("robust"), n_components=n_components)
        members = make_members(parts, self.n_components, self.n_estimators, self.architecture is None, random_state)
        blueprint = EnsembleBlueprint(**members, scaling=self._scaling_kind("whitened"), max_samples=self.max_samples)
        return blueprint.with_members_of(self._blueprint) if self.warm_start and hasattr(self, "net_") else blueprint

    # Streams

    def partial_fit(self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from a chunk of a stream, and follow the stream's most recent rows.

        A fifth of all rows (or `validation_fraction`) is held out for good. The newest 2,500 of these are kept; they calibrate
        `p_values` and ``contamination="auto"``. No network ever learns from them, so that p-values hold in a stream whose
        distribution stays just as they do after ``fit``. Of the other rows the newest 10,000 are kept, fewer if they have more than
        3,000 features. The ensemble, whose members see few rows each, is drawn from them anew, in the time of a ``fit`` of as many
        rows, when a quarter of them are new or when the stream has changed: scores of new rows then differ from scores of the rows
        held out by more than chance would have it once in a million times (Kolmogorov and Smirnov's test). After a change the older
        half of all rows kept is forgotten at once, so that scores and thresholds follow within a few chunks. So rows that lie
        sorted must be shuffled, and one chunk should hold rows of every kind that is normal.

        With ``n_estimators=1`` only the rows held out are kept, and the network is trained by one pass over each chunk, as the
        transformer is. After ``fit``, whose rows are not kept, an ensemble stays until the chunks have brought as many rows (at
        most 10,000), or the stream has changed. A number for `contamination` is the share of outliers among the rows kept.

        A chunk's mean outlyingness, before anything is learnt from it, is noted in ``validation_loss_curve_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The chunk, of any number of rows. Scores mean little before some hundred rows have come.
        y : array-like of shape (n_samples,) or None
            Not used in training, as in ``fit``.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, which count beside those of other chunks; rows of a chunk without weights have 1.

        Returns
        -------
        self : object
        """
        super().partial_fit(X, sample_weight=sample_weight)
        self._reversing_labels = reversing_labels(y)
        return self

    def _partial_fit(self, source: Source) -> None:
        """Score a chunk, keep its rows, and learn from those that are not held out."""
        fitted, before = hasattr(self, "net_"), self._recent
        curves = ([], []) if before is None else (self.loss_curve_, self.validation_loss_curve_ or [])
        recent = self._recent = self._begin_recent(source) if before is None else before.copy()
        share = rules.CALIBRATION_SHARE if isinstance(self.validation_fraction, str) else self.validation_fraction
        held_out, learnt = recent.divide(source.n_rows, share)
        scores = self._scored(source) if fitted else None
        changed = scores is not None and recent.has_changed(scores.values[learnt], self._calibration.values)
        if changed:
            recent.forget()
            self._calibration = self._calibration.newest(len(self._calibration.values) // 2)
        recent.add(source, held_out, learnt)
        if scores is not None:
            self._calibration = self._calibration.joined([scores.at(held_out)]).newest(recent.most_held_out)
        if not fitted:
            self._blueprint = self._make_blueprint(source, copy.deepcopy(recent.random_state))
        if not self._blueprint.redrawn:
            self._train_on(source.subset(learnt))
        elif not fitted or recent.is_due(changed, rules.REDRAWN_SHARE):
            self._redraw(recent)
        self._set_offset(source)
        progress = self._scored(source) if scores is None else scores
        self.loss_curve_ = [*curves[0], self.loss_curve_[-1]]
        self.validation_loss_curve_ = [*curves[1], -float(np.average(progress.values, weights=progress.weight))]
        self.n_iter_ = self.best_epoch_ = len(self.loss_curve_)

    def _begin_recent(self, source: Source) -> Recent:
        most = int(np.clip(rules.RECENT_VALUES // source.n_features, rules.FEWEST_RECENT, rules.RECENT_ROWS))
        none = Rows(np.empty((0, source.n_features), source.dtype))
        return Recent.of(none, most, check_random_state(self.random_state), self._n_rows if hasattr(self, "net_") else 0)

    def _redraw(self, recent: Recent) -> None:
        """Fit an ensemble to the rows that are kept."""
        source, held_out = recent.source()
        model = copy.copy(self)
        model.warm_start = False  # it starts anew
        model._fit_without(held_out, source, recent.random_state)
        model._raise_if_interrupted()
        self.__dict__.update(model.__dict__ | {"warm_start": self.warm_start})
        recent.note_drawn()

    def _train_on(self, source: Source) -> None:
        """One pass over rows of a chunk; those that are held out are scored by the network as it is then."""
        before = getattr(self, "_calibration", Scores(np.empty(0)))
        if source.n_rows:
            super()._partial_fit(source)
        recent: Any = self._recent
        held_out = recent.held_out
        self._calibration = self._scored(held_out.source()) if len(held_out.values) >= ENOUGH_SCORES else before

    def _set_offset(self, source: Source) -> None:
        """The threshold on scores, after a chunk; the redrawing of an ensemble has set one from the rows that are kept."""
        scores, redrawn = self._calibration, self._blueprint.redrawn
        if len(scores.values) < ENOUGH_SCORES:
            if redrawn:
                return
            scores = self._scored(source)
        if isinstance(self.contamination, str):  # "auto"
            self.offset_ = auto_offset(scores)
        elif not redrawn:
            self.offset_ = scores.percentiles([100 * self.contamination])[0]

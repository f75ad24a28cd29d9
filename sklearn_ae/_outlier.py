"""AutoencoderOutlierDetector."""

from __future__ import annotations  # so that help() shows the names of types and not what they stand for

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sklearn_ae._base import BaseAutoencoder
from sklearn_ae._calibration import ENOUGH_SCORES, Scores, auto_offset, folds
from sklearn_ae._data.recent import Recent, Rows
from sklearn_ae._data.sources import Source
from sklearn_ae._docs import describe
from sklearn_ae._network.blueprint import Blueprint, EnsembleBlueprint, NoveltyBlueprint, make_members, make_parts
from sklearn_ae._training import rules
from sklearn_ae._training.callbacks import FitCallbacks
from sklearn_ae.architectures import Architecture, Dense
from sklearn_ae.corruptions import Corruption
from sklearn_ae.latents import Latent

FEW_OUTLIERS = 0.4  # share of rows; classes of about equal size are not labels of outliers


@describe(
    architecture="None is, in an ensemble, one hidden layer of 16 to 64 units; with `novelty` ``Dense((128,))``; for a single "
    "autoencoder ``Dense()``.",
    scaling='``"whitened"`` for an ensemble, ``"standard_whitened"`` with `novelty`, ``"robust"`` for a single autoencoder',
    optimizer="adam",
    learning_rate="0.015 for an ensemble, otherwise 0.003 with `novelty` and 0.01 without, times the root of 256 / n_features if "
    "that is under 1",
    max_grad_norm=None,
    max_epochs='``"auto"`` plans 75 batches for an ensemble, 1,000 with `novelty`, 2,000 for a single autoencoder.',
    batch_size='``"auto"`` is all rows of a member up to 256; 128 with `novelty`; for a single autoencoder as in the transformer.',
    early_stopping='"auto", which is True for a single autoencoder',
    validation_fraction='Those that calibrate `p_values` and ``contamination="auto"`` are held out always; ``"auto"`` is a '
    "fifth, at most 10,000 rows. With `early_stopping`, a tenth of the others is held out too, or the share that is given.",
)
class AutoencoderOutlierDetector(OutlierMixin, BaseAutoencoder):
    r"""Outlier detection by autoencoders, in two regimes: training rows may hold outliers, or are known to be clean.

    **Training rows may hold outliers** (``novelty=False``). The fifth of the rows that lies farthest out is left out of training.
    An ensemble then looks at a row in three ways. Each member has 16 hands of 16 rows, and the mean distance to the nearest
    row of a hand is the first part [3]_: a hand is an autoencoder whose code is which row is nearest. The second are the residuals
    of the members' trained autoencoders, each divided by a robust scale. Each of them learns from a few rows and some features,
    without the quarter of the rows that it reconstructs worst [1]_. The third are the margins: how rare it is to be as far out in a
    feature [4]_.

    .. math::
        s(x) = \frac1c \Big(0.9 \sum_h \frac{\lVert x - x_h \rVert}{t_1}
        + 0.1 \sum_m \sum_j \frac{|x_j - \hat x_{mj}|}{\sigma_{mj}}
        + \frac{8}{d + 16} \sum_j \frac{\max(0, -\log 2 P_j(x_j))}{t_3} \Big)

    Here :math:`P_j` is the smaller tail beyond :math:`x_j` in feature j, and the divisors make 1 a typical row. Where a part of
    the autoencoders has been chosen (architecture, corruption, latent or loss), 0.9 and 0.1 are both 0.5.

    **Training rows are clean** (``novelty=True``). One masked autoencoder learns to tell hidden features from the others [5]_,
    and a memory keeps at most 8,192 rows (16 MB). Let :math:`a` be the sum of the residuals that each feature has when it is
    hidden together with a fifth of the others, and :math:`m` the sum of the residuals from the mean of the 3 nearest kept rows
    [6]_, divided by the root of what is usual among the 10 nearest. Then :math:`s(x) = m^{2/3} a^{1/3}`, divided so that 1 is a
    typical row.

    In both, the outlyingness is a sum over features: ``feature_contributions`` tells which of them made a row an outlier.
    `transform`, `inverse_transform`, `reconstruct`, `reconstruction_errors` and `sample` are those of the trained autoencoders.
    With ``n_estimators=1`` and without `novelty` this is one plain autoencoder, trained on all rows, whose outlyingness is its
    reconstruction loss.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Length of a code. With ``"auto"`` each member draws its own, from 1 to half the features (at most 32), but every
        fourth has none and measures distances from the middle; with `novelty` it is the number of
        features, at most 64; a single autoencoder has the square root of the number of features.
    contamination : float in (0, 0.5] or "auto", default="auto"
        How `offset_` is chosen. A number is the share of outliers in the training data, and ``predict`` of these data calls that
        share outliers. Of new rows it calls more, since they are reconstructed worse than rows that were learnt: with an
        ensemble a tenth to a fifth more from 200 rows on, two or three times as many with fewer rows or ``n_estimators=1``.
        For a share of false alarms that holds for new rows take ``p_values(X) <= 0.05``.

        ``"auto"`` looks at no row that was trained on. It draws the upper whisker of a box plot: a row is an outlier if its
        outlyingness is over :math:`Q_3 + 1.5\,(Q_3 - Q_1)`, the quartiles being those of rows that were held out, or if it is
        among the hundredth that is the most outlying. How many rows that makes depends on the tails: one to five in a
        hundred, up to a tenth where they are heavy or rows are fewer than 100, and a whole group of rows if they are fewer than
        a quarter and are all reconstructed much worse than the others. With fewer than 20 rows held out (fewer than 100 in
        all), four more models are fitted, each without a part of the rows, which it then scores; that takes five times as long.
    novelty : bool, default=False
        As in `LocalOutlierFactor`. False: training rows may hold outliers, which are to be found among them or in new rows. True:
        every training row is trusted and remembered, and only new rows are to be judged. ``predict`` and ``fit_predict`` then also
        work on the training rows, but say little there: a row that is remembered is its own nearest, so that it seems more
        normal than it would if it were new. For the same reason a number for `contamination` makes more alarms among new
        rows than it says; ``"auto"`` and `p_values` look only at rows held out, and hold for new rows.
    n_estimators : int, default=4
        Members of the ensemble. Has no effect with `novelty`.
    max_samples : int, float in (0, 1] or "auto", default="auto"
        Rows for each member, drawn without replacement from those that were not left out: a number, a share of the training rows,
        or 32 for its autoencoder and 16 for each of its hands. A hand has at most 256. Has no effect with `novelty`.
    <parameters>

    Attributes
    ----------
    offset_ : float
        ``decision_function(X) = score_samples(X) - offset_``.
    <attributes>

    See Also
    --------
    AutoencoderTransformer : Dimensionality reduction by an autoencoder.
    sklearn.ensemble.IsolationForest : An ensemble of random trees.
    sklearn.neighbors.LocalOutlierFactor : Distances to the nearest rows, beside their own.

    Notes
    -----
    <notes>

    References
    ----------
    .. [1] Chen, Sathe, Aggarwal and Turaga (2017), "Outlier Detection with Autoencoder Ensembles", SDM.
    .. [2] Bates, Candes, Lei, Romano and Sesia (2023), "Testing for Outliers with Conformal p-values", Annals of Statistics 51.
    .. [3] Aggarwal and Sathe (2017), "Outlier Ensembles", Springer: nearest neighbours in many small subsamples.
    .. [4] Li, Zhao, Hu, Botta, Ionescu and Chen (2022), "ECOD: Unsupervised Outlier Detection Using Empirical Cumulative
       Distribution Functions", IEEE TKDE.
    .. [5] Yin, Qiao, Zhou, Wang and Zhang (2024), "MCM: Masked Cell Modeling for Anomaly Detection in Tabular Data", ICLR.
    .. [6] Livernoche, Jain, Hezaveh and Ravanbakhsh (2024), "On Diffusion Modeling for Anomaly Detection", ICLR, where nearest
       neighbours are among the best in this regime.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import AutoencoderOutlierDetector
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 1)) * [1, 2, 3] + 0.1 * rng.normal(size=(300, 3))
    >>> detector = AutoencoderOutlierDetector(novelty=True, random_state=0).fit(X)
    >>> x = np.array([[1.0, -2.0, 3.0]])  # no value is unusual by itself
    >>> detector.predict(x)
    array([-1])
    >>> detector.feature_contributions(x).argmax(axis=1)
    array([1])
    """

    _calibration: Scores
    _recent: Recent | None = None
    _reversing_labels: str | None = None  # of y in the last fit

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "novelty": ["boolean"],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), Interval(Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        contamination: float | str = "auto",
        novelty: bool = False,
        n_estimators: int = 4,
        max_samples: int | float | str = "auto",
        architecture: Architecture | None = None,
        corruption: Corruption | Callable[[torch.Tensor], torch.Tensor] | None = None,
        latent: Latent | None = None,
        loss: str | nn.Module | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = "squared_error",
        scaling: str | None = "auto",
        optimizer: str | type[torch.optim.Optimizer] = "adam",
        learning_rate: float | str = "auto",
        learning_rate_schedule: str | Callable[[float], float] = "one_cycle",
        weight_decay: float = 0.0,
        max_grad_norm: float | None = None,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        early_stopping: bool | str = "auto",
        validation_fraction: float | str = "auto",
        n_iter_no_change: int | None = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        device: str | torch.device = "auto",
        compile: bool = False,
        mixed_precision: bool = False,
        callbacks: Sequence | None = None,
        verbose: int = 0,
        random_state: int | RandomState | None = None,
    ):
        super().__init__(
            n_components,  # type: ignore[arg-type]  # also "auto"
            architecture=architecture,
            corruption=corruption,
            latent=latent,
            loss=loss,
            scaling=scaling,
            optimizer=optimizer,
            learning_rate=learning_rate,
            learning_rate_schedule=learning_rate_schedule,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            max_epochs=max_epochs,
            batch_size=batch_size,
            early_stopping=early_stopping,  # type: ignore[arg-type]  # also "auto"
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            device=device,
            compile=compile,
            mixed_precision=mixed_precision,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
        self.contamination = contamination
        self.novelty = novelty
        self.n_estimators = n_estimators
        self.max_samples = max_samples

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> AutoencoderOutlierDetector:
        """Train on X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, in any units; outliers among them do little harm, unless `novelty` says that there are none.
        y : array-like of shape (n_samples,) or None
            Not used in training. For a search by labels of any kind see ``sklearn_ae.metrics.make_outlier_scorer``;
            scikit-learn's ``scoring="roc_auc"`` needs 1 for inliers and -1 for outliers.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0; only their ratios count.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid; the estimator is then as it was before.
        FloatingPointError
            If training diverges.
        """
        super().fit(X, y, sample_weight=sample_weight)
        self._reversing_labels = reversing_labels(y)
        return self

    def fit_transform(self, X: ArrayLike, y: ArrayLike | None = None) -> np.ndarray:
        """Train on X and encode it; y, a target of steps that follow in a pipeline, is ignored.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
            The members' codes, side by side; with `novelty`, the codes of the one autoencoder.
        """
        return self.fit(X).transform(X)

    # Answers

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Tell inliers from outliers. With `novelty`, only the labels of new rows mean something.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            1 for inliers, -1 for outliers.
        """
        source = self._check(X, scored=True)
        return source.result(np.where(self._score_rows(source) - self.offset_ >= 0, 1, -1))

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Scores from which `offset_` is taken away: negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decisions : ndarray of shape (n_samples,), float64

        Warns
        -----
        UserWarning
            If ``fit`` was given labels that scikit-learn's scorers, which call this method, would take the wrong way round.
        """
        if self._reversing_labels is not None:
            warnings.warn(
                f"fit was given y of {self._reversing_labels}. It does not use them, but scikit-learn's scorers take the greater "
                "label for the positive class, which must be the inliers, so that a search by scoring='roc_auc' would prefer the "
                "worst detector. Use scoring=sklearn_ae.metrics.make_outlier_scorer('roc_auc', outlier_label=...), or give 1 for "
                "inliers and -1 for outliers.",
                UserWarning,
                stacklevel=2,
            )
        return self.score_samples(X) - self.offset_

    def p_values(self, X: ArrayLike) -> np.ndarray:
        r"""Conformal p-values: how often a row of the training distribution would be as outlying as this one.

        .. math:: p(x) = \frac{1 + \#\{i : s(x_i) \ge s(x)\}}{n + 1}

        over the `n` rows that were held out. If a row comes from the same distribution as those, :math:`P(p \le t) \le t` for
        every t, exactly and whatever the model has learnt [2]_; outliers among the rows held out make p-values larger. With
        ``warm_start=True`` that holds too, whether rows come again, are added or are replaced; if equal rows occur often and the
        second fit's are other rows, it holds only about. The smallest value is 1 / (n + 1).

        To bound the share of false alarms among all alarms by q, apply Benjamini and Hochberg's procedure:
        ``scipy.stats.false_discovery_control(detector.p_values(X)) <= q``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        p_values : ndarray of shape (n_samples,), float64
            In (0, 1].
        """
        source = self._check(X, scored=True)
        return source.result(self._calibration.p_values(self._score_rows(source)))

    def feature_contributions(self, X: ArrayLike) -> np.ndarray:
        """Which features made a row outlying.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        contributions : ndarray of shape (n_samples, n_features), float64
            At least 0; the sum over a row is its outlyingness, minus its score.
        """
        source = self._check(X, scored=True)
        return source.result(self._apply(self.net_.module_.contributions, source).astype(np.float64))

    # Fitting

    def _fit(self, source: Source, random_state: RandomState, callbacks: FitCallbacks | None = None) -> None:
        self._recent = None
        self._fit_without(self._calibration_rows(source, random_state), source, random_state, callbacks)

    def _fit_without(
        self, held_out: np.ndarray, source: Source, random_state: RandomState, callbacks: FitCallbacks | None = None
    ) -> None:
        """Train on the other rows of a source; those held out calibrate."""
        learnt = np.setdiff1d(np.arange(source.n_rows), held_out)
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
            super(AutoencoderOutlierDetector, model)._fit(source.subset(others), random_state)
            self.net_.interrupted_ = model.net_.interrupted_
            yield model._scored(source, left_out)

    # Streams

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> AutoencoderOutlierDetector:
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
        return Recent(none, most, check_random_state(self.random_state), self._n_rows if hasattr(self, "net_") else 0)

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


def reversing_labels(y: ArrayLike | None) -> str | None:
    """The two labels in y, if outliers seem to be the greater one: they are few, and the labels are not -1 and 1.

    scikit-learn's scorers take the greater of two labels for the positive class, so inliers must have it: 1, with -1 for outliers.
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "USObiuf":
        return None
    found = sorted(set(labels.tolist()), key=str if labels.dtype.kind in "USO" else None)
    if len(found) != 2 or found == [-1, 1] or (labels == found[1]).mean() >= FEW_OUTLIERS:
        return None
    return f"{found[0]!r} and {found[1]!r}, of which few are {found[1]!r}"

"""AutoencoderOutlierDetector."""

from __future__ import annotations  # so that help() shows the names of types and not what they stand for

import copy
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sklearn_ae import _defaults
from sklearn_ae._base import BaseAutoencoder
from sklearn_ae._calibration import AUTO_LEVEL, Scores
from sklearn_ae._configuration import Configuration, copied_parts
from sklearn_ae._data.inputs import reversing_labels
from sklearn_ae._data.recent import HeldOut
from sklearn_ae._data.sources import Source, all_but
from sklearn_ae._design import scaling_kind
from sklearn_ae._messages import warn
from sklearn_ae._parameters import describe, suggests_names
from sklearn_ae._scores import SCORES
from sklearn_ae._training.callbacks import FitCallbacks
from sklearn_ae.architectures import Architecture
from sklearn_ae.corruptions import Corruption
from sklearn_ae.latents import Latent

UNUSED_DEFAULTS = {"n_estimators": 32, "max_samples": "auto"}


@describe(
    architecture="None is, in an ensemble, one hidden layer of 16 to 64 units; with `novelty` ``Dense((128,))``; for a single "
    "autoencoder ``Dense()``.",
    scaling='``"whitened"`` for an ensemble, ``"standard_whitened"`` with `novelty`, ``"robust"`` for a single autoencoder',
    optimizer="adam",
    learning_rate="0.015 for an ensemble, otherwise 0.003 with `novelty` and 0.01 without, times the root of 256 / n_features if "
    "that is under 1",
    max_grad_norm=None,
    max_epochs='``"auto"`` plans 75 batches for an ensemble, 1,000 with `novelty` (fewer over 256 features), and for a single '
    "autoencoder as in the transformer.",
    batch_size='``"auto"`` is all rows of a member up to 256; 128 with `novelty`; for a single autoencoder as in the transformer.',
    early_stopping='"auto", which is True for a single autoencoder',
    validation_fraction='Those that calibrate `p_values` and ``contamination="auto"`` are held out always; ``"auto"`` is a '
    "fifth, at most 10,000 rows. With `early_stopping`, a tenth of the others is held out too, or the share that is given.",
)
class AutoencoderOutlierDetector(OutlierMixin, BaseAutoencoder):
    r"""Outlier detection by autoencoders, in two regimes: training rows may hold outliers, or are known to be clean.

    **Training rows may hold outliers** (``novelty=False``). The fifth of the rows that lies farthest out is left out of training.
    An ensemble then looks at a row in four ways. Each member has 16 hands of 16 rows, and the mean distance to the nearest
    row of a hand is the first part [3]_: a hand is an autoencoder whose code is which row is nearest. The second are the residuals
    of the members' trained autoencoders, each divided by a robust scale. Each of them learns from a few rows and some features,
    without the quarter of the rows that it reconstructs worst [1]_. The third are the margins: how rare it is to be as far out in a
    feature [4]_. The fourth are the dependences: how far each value is from what the other features say of it, linearly, where they
    say much; they count where features depend on one another closely, and not beyond 256 features.

    .. math::
        s(x) = \frac1c \Big(0.9 \sum_h \frac{\lVert x - x_h \rVert}{t_1}
        + 0.1 \sum_m \sum_j \frac{|x_j - \hat x_{mj}|}{\sigma_{mj}}
        + \frac{8}{d + 16} \sum_j \Big[ \frac{\max(0, -\log 2 P_j(x_j))}{t_3}
        + w_j \frac{|x_j - \mathrm{E}(x_j \mid x_{-j})|}{t_4 \sigma_j} \Big] \Big)

    Here :math:`P_j` is the smaller tail beyond :math:`x_j` in feature j, :math:`w_j` grows with the share of its variance that the
    others explain, and the divisors make 1 a typical row. Where a part of the autoencoders has been chosen (architecture,
    corruption, latent or loss), 0.9 and 0.1 are both 0.5.

    **Training rows are clean** (``novelty=True``). One masked autoencoder learns to tell hidden features from the others [5]_,
    and a memory keeps at most 8,192 rows (16 MB). Let :math:`a` be the sum of the residuals that each feature has when it is
    hidden together with a fifth of the others, and :math:`m` the sum of the residuals from the mean of the 3 nearest kept rows
    [6]_. Let :math:`r` be the root of the sum of squares of what the autoencoder does not give back, with nothing hidden. All are
    divided by the root of what is usual among the 10 nearest. Then :math:`s(x)` is :math:`(m^{2/3} a^{1/3})^{1 - c} r^c` and a
    fifth of an ensemble's margins, divided so that 1 is a typical row. The power c is the square of the share of the features'
    spread that the others explain: r counts where rows follow closely from a few causes.

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
        outlyingness is over :math:`Q_3 + 2.2\,(Q_3 - Q_1)` [7]_, the quartiles being those of rows that were held out, or if it is
        among the hundredth that is the most outlying. How many rows that makes depends on the tails: one to four in a
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
    .. [7] Hoaglin and Iglewicz (1987), "Fine-Tuning Some Resistant Rules for Outlier Labeling", Journal of the American Statistical
       Association 82.

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

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "novelty": ["boolean"],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), Interval(Real, 0, 1, closed="right")],
    }

    _calibration: Scores
    _held_out_rows: HeldOut | None = None  # of a stream
    _n_streamed: int = 0
    _reversing_labels: str | None = None  # of y in the last fit

    @suggests_names
    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        contamination: float | str = "auto",
        novelty: bool = False,
        n_estimators: int = 32,
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
        source = self._check(X)
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
            warn(
                f"fit was given y of {self._reversing_labels}. It does not use them, but scikit-learn's scorers take the greater "
                "label for the positive class, which must be the inliers, so that a search by scoring='roc_auc' would prefer the "
                "worst detector. Use scoring=sklearn_ae.metrics.make_outlier_scorer('roc_auc', outlier_label=...), or give 1 for "
                "inliers and -1 for outliers.",
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
        source = self._check(X)
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
        source = self._check(X)
        return source.result(self._model.contributions(source).astype(np.float64))

    # Fitting and calibration

    @property
    def _score_name(self) -> str:
        return "novelty" if self.novelty else "single" if self.n_estimators == 1 else "ensemble"

    def _stops_early(self) -> bool:
        return SCORES[self._score_name].stops_early if self.early_stopping == "auto" else self.early_stopping

    def _configure(self, source: Source) -> Configuration:
        name = self._score_name
        score = SCORES[name]
        self._check_unused(name)
        parts = score.configure(self, copied_parts(self), source)
        scaling = scaling_kind(self, score.auto_scaling)
        return Configuration(name, **parts, scaling=scaling, n_features=source.n_features)

    def _check_unused(self, name: str) -> None:
        """Raise ValueError if a parameter was set that this score does not use."""
        regime = "novelty=True" if self.novelty else "n_estimators=1"
        for parameter in SCORES[name].unused:
            value, default = getattr(self, parameter), UNUSED_DEFAULTS[parameter]
            if value not in (default, 1 if parameter == "n_estimators" else default):
                raise ValueError(
                    f"{parameter}={value!r} has no effect with {regime}, which trains one autoencoder; leave {parameter} at its "
                    f"default, {default!r}."
                )

    def _fit(self, source: Source, random_state: RandomState, callbacks: FitCallbacks | None = None) -> None:
        """Train on all rows but for those held out, which calibrate."""
        self._held_out_rows = None
        n = source.n_rows
        n_held_out = min(_defaults.n_calibration(self.validation_fraction, n), n - 1)
        if self.warm_start and n > 1:
            held_out = self._held_out(n, random_state, n_held_out)
        else:
            held_out = random_state.permutation(n)[:n_held_out]
        if callbacks is not None:
            callbacks.then(lambda twin, _: twin._calibrate(source, held_out))
        learnt = source.subset(all_but(held_out, n)) if len(held_out) else source
        super()._fit(learnt, random_state, callbacks)
        self._calibrate(source, held_out)

    def _calibrate(self, source: Source, held_out: np.ndarray) -> None:
        """Keep the scores that p-values compare with, and set the threshold."""
        self._calibration = self._scored(source.subset(held_out))
        self._set_offset(source)

    def _set_offset(self, source: Source) -> None:
        """The threshold on scores: a share of these rows, or a rule on the p-values of rows held out."""
        if isinstance(self.contamination, str):  # "auto"
            scores = self._calibration if len(self._calibration.values) else self._scored(source)
            self.offset_ = scores.offset(AUTO_LEVEL)
        else:
            self.offset_ = self._scored(source).percentiles([100 * self.contamination])[0]

    def _scored(self, source: Source) -> Scores:
        """The scores of rows, with their weights."""
        values = self._score_rows(source) if source.n_rows else np.empty(0)
        return Scores(values, None if source.weight is None else source.weight.double().numpy())

    # Streams

    def partial_fit(self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Train on a chunk of a stream: one pass over its rows.

        The first chunk builds the model and starts it; further ones go on from there, and so does a call after ``fit``. A fifth of
        all rows (or `validation_fraction`) is held out for good, and the newest 2,500 of these calibrate `p_values` and
        ``contamination="auto"`` by their scores under the present model. It has learnt from none of them, so p-values hold exactly
        while the distribution of the rows stays as it is. A number for `contamination` is the share of outliers among the rows
        held out. With `novelty`, the newest rows are those that new ones are compared with.

        Models move slowly. After a change of the distribution, ``fit`` anew on recent rows; many small p-values are the alarm.

        The objective of a chunk before it is trained on is noted in ``validation_loss_curve_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The chunk. The first one should have some hundred rows, from which the scaling and the start are computed.
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
        if self._stream is None:
            self._stream, self._n_streamed, self._held_out_rows = self._begin_stream(source), 0, None
        random_state = copy.deepcopy(self._stream.random_state)  # so that an error leaves what was
        self._stream = self._stream._replace(random_state=random_state)
        n_before = self._n_streamed
        share = _defaults.CALIBRATION_SHARE if isinstance(self.validation_fraction, str) else self.validation_fraction
        n_held_out = int((n_before + source.n_rows) * share) - int(n_before * share)
        order = random_state.permutation(source.n_rows)
        held_out, learnt = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
        if len(learnt) or not hasattr(self, "net_"):
            super()._partial_fit(source.subset(learnt) if len(held_out) else source)
        self._n_streamed = n_before + source.n_rows
        rows = HeldOut.of(source.subset(held_out)).after(self._held_out_rows, _defaults.MOST_RECENT)
        self._held_out_rows = rows
        if len(rows.values):
            self._calibration = self._scored(rows.source())
            self._set_offset(rows.source())
        elif not hasattr(self, "offset_"):
            self._calibration = Scores(np.empty(0))
            self._set_offset(source)

"""AutoencoderOutlierDetector."""

from __future__ import annotations  # so that help() shows the names of types

import copy
import os
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
from sklearn_ae._calibration import LEVEL, ROBUST_LEVEL, Scores
from sklearn_ae._configuration import Configuration, copied_parts
from sklearn_ae._dask import by_partition
from sklearn_ae._data.inputs import reversing_labels
from sklearn_ae._data.recent import HeldOut
from sklearn_ae._data.sources import Source, all_but
from sklearn_ae._design import scaling_kind
from sklearn_ae._messages import warn
from sklearn_ae._parameters import describe, suggests_names
from sklearn_ae._scores import SCORES
from sklearn_ae._training.callbacks import FitCallbacks
from sklearn_ae._training.checkpoint import Checkpoint
from sklearn_ae.architectures import Architecture
from sklearn_ae.corruptions import Corruption
from sklearn_ae.latents import Latent

UNUSED_DEFAULTS = {"n_estimators": 32, "max_samples": "auto"}


@by_partition("predict", "p_values", "feature_contributions")
@describe(
    architecture="None is, in an ensemble, a codebook (see the Notes), or ``Dense`` with one "
    "hidden layer of 16 to 64 units if `latent` is set; with `novelty` ``Dense((128,))``; for a "
    "single autoencoder ``Dense()``.",
    scaling='``"standard"`` with `novelty`, ``"robust"``',
    optimizer="adam",
    learning_rate="0.015 for an ensemble, otherwise 0.003 with `novelty` and 0.01 without, times "
    "the root of 256 / n_features if that is under 1",
    max_grad_norm=None,
    max_epochs='``"auto"`` plans 75 batches for an ensemble, 1,000 with `novelty` (fewer over 256 '
    "features), and for a single "
    "autoencoder as in the transformer.",
    batch_size='``"auto"`` is all rows of a member (fewer over 256 features); 128 with `novelty`; '
    "for a single autoencoder as in "
    "the transformer.",
    early_stopping='"auto", which is True for a single autoencoder',
    validation_fraction='Those that calibrate `p_values` and ``contamination="auto"`` are always '
    'held out; ``"auto"`` is a '
    "fifth, at most 10,000 rows. With `early_stopping`, a tenth of the others is held out too, or "
    "the share that is given.",
)
class AutoencoderOutlierDetector(OutlierMixin, BaseAutoencoder):
    r"""Find outliers and novelties by the residuals of autoencoders.

    A row is an outlier if autoencoders that were trained on the data reconstruct it badly. The
    detector gives labels, scores, conformal p-values, and the contribution of each feature to a
    score.

    - The training rows may hold outliers: take the default, an ensemble of 32 small autoencoders.
      Each is trained on few rows.
    - The training rows are clean: take ``novelty=True``, one masked autoencoder with a memory of
      the training rows. It also finds rows whose values do not fit together in a few correlated
      columns, though each value is usual. The default is weak at those.
    - One plain autoencoder, trained on all rows: take ``n_estimators=1``.
    - Pixels, counts, spectra, whose features share a unit: take ``scaling=None`` with any of these.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Length of a code. ``"auto"`` is 16 for a codebook, the number of its rows; with `novelty`
        the number of features, at most 64; otherwise the root of the number of features, rounded
        up, but less than that number.
    contamination : float in (0, 0.5] or "auto", default="auto"
        How the threshold `offset_` is chosen. A number is the share of outliers in the training
        data: ``predict`` calls that share of them outliers. It may call more of new rows outliers,
        since rows that were trained on are reconstructed better.

        ``"auto"`` takes the threshold from the scores of rows held out, a fifth of all. With
        `novelty` it is their 0.03 quantile: on average three false alarms in a hundred rows.
        Without it, it is their 0.02 quantile, after those that are clearly outliers have been left
        out. Few rows held out have a rule of their own. See the Notes.
    novelty : bool, default=False
        As in `LocalOutlierFactor`. False: training rows may hold outliers. True: training rows are
        clean, and new rows are judged. The labels and scores of the training rows then mean little,
        since each is remembered and is its own nearest row. For the same reason take
        ``contamination="auto"`` or `p_values`, which look at rows held out only.
    n_estimators : int, default=32
        Members of the ensemble. 1 is one plain autoencoder. ValueError is raised if it is set with
        `novelty`, where it has no effect.
    max_samples : int, float in (0, 1] or "auto", default="auto"
        Rows for each member, drawn without replacement: a number, a share of the training rows, or
        128. ValueError is raised if it is set with `novelty` or ``n_estimators=1``, where it has no
        effect.
    <parameters>

    Attributes
    ----------
    offset_ : float
        ``decision_function(X) = score_samples(X) - offset_``. It lies up to 0.1% below the score
        at which it was found, and above the next lower one, so that rows with that very score are
        inliers whatever their dtype.
    <attributes>

    See Also
    --------
    AutoencoderTransformer : Dimensionality reduction by an autoencoder.
    sklearn.ensemble.IsolationForest : An ensemble of random trees.
    sklearn.neighbors.LocalOutlierFactor : Distances to the nearest rows, beside their own.

    Notes
    -----
    **The ensemble.** Each member is a codebook, a quantising autoencoder [1]_: the encoder gives a
    one-hot code, which of 16 rows is nearest; the decoder gives that row. The codebook starts from
    random rows of a subsample of 128 rows (of fewer rows it has one for every eight), and gradient
    steps on the reconstruction loss move it. In each batch the half of the rows with the largest
    loss is not learnt from, so that outliers are not [2]_. Members see all features, scaled
    robustly and partly decorrelated. Decorrelation grows with the number of features d, by the
    power d / (d + 64). ``scaling=None`` leaves rows as they are. Over M members and features j, the
    outlyingness is

    .. math::
        s(x) = \frac{1}{c M} \sum_{m,j} \lvert x_j - \hat x_{mj} \rvert

    where c makes a typical row 1. `feature_contributions` share it out in proportion to the
    differences between x and ``reconstruct(x)``. If `architecture` or `latent` is set, members are
    such autoencoders. `loss` and `corruption` are what any member is trained with.

    **Novelty.** At most 8,192 training rows are kept. A row has two errors. :math:`e_1` is the sum
    of absolute differences from the mean of the 3 nearest kept rows [4]_. :math:`e_2` is the root
    of the sum of the squared errors by which an autoencoder reconstructs the row, which has learnt
    to predict hidden features from the others [3]_. With :math:`u_k` the mean of :math:`e_k` over
    the 10 nearest kept rows,

    .. math::
        s(x) = \frac{1}{c} \sqrt{\frac{e_1}{\sqrt{u_1}} \, \frac{e_2}{\sqrt{u_2}}}

    A value that a constant feature never had in training adds 100. `feature_contributions` share s
    out by each feature's mean share in the two errors.

    **A single autoencoder.** The outlyingness is its reconstruction loss.

    **The threshold** of ``contamination="auto"`` is chosen by the outlyingness of the rows held
    out, with quartiles :math:`Q_1` and :math:`Q_3`. Without `novelty`, rows beyond :math:`Q_3 +
    5\,(Q_3 - Q_1)` are left out first. If rows are too few for the quantile (under 33 with
    `novelty`, 50 without), the threshold is the upper whisker of a box plot, :math:`Q_3 +
    2.2\,(Q_3 - Q_1)` [5]_, but never below the largest outlyingness.

    <notes>

    References
    ----------
    .. [1] van den Oord, Vinyals and Kavukcuoglu (2017), "Neural Discrete Representation Learning",
       NeurIPS.
    .. [2] Chen, Sathe, Aggarwal and Turaga (2017), "Outlier Detection with Autoencoder Ensembles",
       SDM.
    .. [3] Yin, Qiao, Zhou, Wang and Zhang (2024), "MCM: Masked Cell Modeling for Anomaly Detection
       in Tabular Data", ICLR.
    .. [4] Livernoche, Jain, Hezaveh and Ravanbakhsh (2024), "On Diffusion Modeling for Anomaly
       Detection", ICLR, where nearest neighbours are among the best in this regime.
    .. [5] Hoaglin and Iglewicz (1987), "Fine-Tuning Some Resistant Rules for Outlier Labeling",
       Journal of the American Statistical Association 82.
    .. [6] Bates, Candes, Lei, Romano and Sesia (2023), "Testing for Outliers with Conformal
       p-values", Annals of Statistics 51.

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
        "max_samples": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="right"),
        ],
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
        loss: str
        | nn.Module
        | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = "squared_error",
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
        checkpoint: str | os.PathLike | None = None,
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
            checkpoint=checkpoint,
            verbose=verbose,
            random_state=random_state,
        )
        self.contamination = contamination
        self.novelty = novelty
        self.n_estimators = n_estimators
        self.max_samples = max_samples

    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> AutoencoderOutlierDetector:
        """Train on X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, in any units; outliers among them do little harm, unless `novelty` says
            that there are none.
            A Dask array or data frame is trained on by the workers of the current client, each of
            which keeps its rows.
        y : array-like of shape (n_samples,) or None
            Not used in training. For a search by labels of any kind see
            ``sklearn_ae.metrics.make_outlier_scorer``; scikit-learn's ``scoring="roc_auc"`` needs 1
            for inliers and -1 for outliers.
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
        MemoryError
            If the machine's or the GPU's memory runs out in training; the message names a smaller
            batch.
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
            If ``fit`` was given labels that scikit-learn's scorers, which call this method, would
            take the wrong way round.
        """
        if self._reversing_labels is not None:
            warn(
                f"fit was given y of {self._reversing_labels}. It does not use them, but "
                "scikit-learn's scorers take the greater label for the positive class, which must "
                "be the inliers, so that a search by scoring='roc_auc' would prefer the worst "
                "detector. Use scoring=sklearn_ae.metrics.make_outlier_scorer('roc_auc', "
                "outlier_label=...), or give 1 for inliers and -1 for outliers.",
            )
        return self.score_samples(X) - self.offset_

    def p_values(self, X: ArrayLike) -> np.ndarray:
        r"""Conformal p-values: how often a row of the training distribution would be as outlying as
        this one.

        .. math:: p(x) = \frac{1 + \#\{i : s(x_i) \ge s(x)\}}{n + 1}

        over the `n` rows that were held out, with s the outlyingness. Values of s that differ by
        less than 0.1% count as equal. If a row comes from the same distribution as those,
        :math:`P(p \le t) \le t` for every t, exactly and whatever the model has learnt [6]_.
        Outliers among the rows held out make p-values larger. With ``warm_start=True`` this holds
        as long as rows keep their places and new ones are appended. The smallest value is
        1 / (n + 1).

        To bound the share of false alarms among all alarms by q, apply Benjamini and Hochberg's
        procedure: ``scipy.stats.false_discovery_control(detector.p_values(X)) <= q``.

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
        return self._named(source.result(self._model.contributions(source).astype(np.float64)), X)

    # Fitting and calibration

    @property
    def _score_name(self) -> str:
        return "novelty" if self.novelty else "single" if self.n_estimators == 1 else "ensemble"

    def _stops_early(self) -> bool:
        return (
            SCORES[self._score_name].stops_early
            if self.early_stopping == "auto"
            else self.early_stopping
        )

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
                    f"{parameter}={value!r} has no effect with {regime}, which trains one "
                    f"autoencoder; leave {parameter} at its default, {default!r}."
                )

    def _fit(
        self,
        source: Source,
        random_state: RandomState,
        callbacks: FitCallbacks | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
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
        super()._fit(learnt, random_state, callbacks, checkpoint)
        self._calibrate(source, held_out)

    def _calibrate(self, source: Source, held_out: np.ndarray) -> None:
        """Keep the scores that p-values compare with, and set the threshold."""
        self._calibration = self._scored(source.subset(held_out))
        self._set_offset(source)

    def _set_offset(self, source: Source) -> None:
        """The threshold on scores: a share of these rows, or a rule on the p-values of rows held
        out.
        """
        if isinstance(self.contamination, str):  # "auto"
            scores = self._calibration if len(self._calibration.values) else self._scored(source)
            if self.novelty:
                offset = scores.offset(LEVEL)
            else:
                offset = scores.without_far().offset(ROBUST_LEVEL)
        else:
            scores = self._scored(source)
            offset = scores.percentiles([100 * self.contamination])[0]
        self.offset_ = scores.lowered(offset)

    def _scored(self, source: Source) -> Scores:
        """The scores of rows, with their weights."""
        values = self._score_rows(source) if source.n_rows else np.empty(0)
        return Scores(values, None if source.weight is None else source.weight.double().numpy())

    # Streams

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train on a chunk of a stream: one pass over its rows.

        The first chunk builds the model and starts it; further ones go on from there, and so does a
        call after ``fit``. A fifth of all rows (or `validation_fraction`) is held out for good, and
        the newest 2,500 of these calibrate `p_values` and ``contamination="auto"`` by their scores
        under the present model. It has learnt from none of them, so p-values hold exactly while the
        distribution of the rows stays as it is. A number for `contamination` is the share of
        outliers among the rows held out. With `novelty`, the newest rows are those that new ones
        are compared with.

        Models move slowly. After a change of the distribution, ``fit`` anew on recent rows; many
        small p-values are the alarm.

        The objective of a chunk before it is trained on is noted in ``validation_loss_curve_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The chunk. The first one should have some hundred rows, from which the scaling and the
            start are computed.
        y : array-like of shape (n_samples,) or None
            Not used in training, as in ``fit``.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, which count beside those of other chunks; rows of a chunk without
            weights have 1.

        Returns
        -------
        self : object
        """
        super().partial_fit(X, sample_weight=sample_weight)
        self._reversing_labels = reversing_labels(y)
        return self

    def _partial_fit(self, source: Source) -> None:
        if self._stream is None:
            self._stream, self._n_streamed, self._held_out_rows = (
                self._begin_stream(source),
                0,
                None,
            )
        random_state = copy.deepcopy(self._stream.random_state)  # so that an error leaves what was
        self._stream = self._stream._replace(random_state=random_state)
        n_before = self._n_streamed
        share = (
            _defaults.CALIBRATION_SHARE
            if isinstance(self.validation_fraction, str)
            else self.validation_fraction
        )
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

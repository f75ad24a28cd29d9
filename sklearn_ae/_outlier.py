"""AutoencoderOutlierDetector."""

from collections.abc import Callable, Sequence
from numbers import Integral, Real

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.random import sample_without_replacement
from torch import nn

from sklearn_ae._base import BaseAutoencoder
from sklearn_ae._building import auto_epochs, build_autoencoder
from sklearn_ae._docs import describe
from sklearn_ae._ensemble import Ensemble, Mask
from sklearn_ae._rows import ArrayRows, MemberRows
from sklearn_ae.architectures import Architecture, Dense
from sklearn_ae.corruptions import Corruption
from sklearn_ae.latents import Latent

# Defaults of an ensemble; benchmarks/README.md has what each was measured against.
SEEN_SHARE, MOST_SEEN = 0.7, 64  # features that a member sees
MOST_COMPONENTS = 32
CODELESS = 4  # every so many members have no code at all, and measure the distance from a trimmed middle
MEMBER_ROWS = 32
MOST_BATCH = 256
MEMBER_STEPS, MEMBER_RATE = 75, 1.5e-2
CALIBRATION_ROWS = 1_024
HELD_OUT = 0.2
MOST_HELD_OUT = 10_000
CODE_VALUES = 200_000  # numbers kept for `sample`


@describe(
    architecture="None is, in an ensemble, one hidden layer of 16 to 64 units; for a single autoencoder ``Dense()``.",
    scaling='for an ensemble ``"robust"`` followed by a partial whitening and arcsinh, for a single autoencoder ``"robust"``',
    optimizer="adam",
    learning_rate="0.015 for an ensemble, otherwise 0.01 times the root of 256 / n_features if that is under 1",
    max_grad_norm=None,
    max_epochs='``"auto"`` plans 75 batches for an ensemble, 2,000 for a single autoencoder.',
    batch_size='``"auto"`` is all rows of a member up to 256; for a single autoencoder as in the transformer.',
    early_stopping=False,
    validation_fraction='Those that calibrate `p_values` and ``contamination="auto"`` are held out always; ``"auto"`` is a '
    "fifth, at most 10,000 rows. With `early_stopping`, as many again.",
)
class AutoencoderOutlierDetector(OutlierMixin, BaseAutoencoder):
    r"""Outlier detection by an ensemble of small autoencoders.

    As in an isolation forest, each member sees a few rows and some of the features; it learns to reconstruct them, all but
    the quarter that it reconstructs worst, so that outliers are not learnt. A row's outlyingness is the mean over members of
    its absolute residuals, each divided by a robust scale of that feature's residuals, and their sum by its median:

    .. math:: s(x) = \frac1t\sum_m \frac{1}{t_m}\sum_j \frac{|x_j - \hat x_{mj}|}{\sigma_{mj}}

    and the whole by the median over rows, so that 1 is a typical row. It is a sum over features: ``feature_contributions``
    tells which of them made a row an outlier. All members are trained together as one batched network. With
    ``n_estimators=1`` this is one plain autoencoder, trained on all rows, whose outlyingness is its reconstruction loss.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Length of a code. With ``"auto"`` each member draws its own, from 1 to half the features (at most 32), but every
        fourth has none and measures distances from the middle; a single autoencoder has the square root of the number of
        features.
    contamination : float in (0, 0.5] or "auto", default="auto"
        Share of outliers in the training data, from which `offset_` follows. ``"auto"`` draws the upper whisker of a box
        plot: a row is an outlier if its outlyingness is over :math:`Q_3 + 1.5\,(Q_3 - Q_1)`, the quartiles being those of rows
        that were held out, or if it is over their 99% quantile.
    n_estimators : int, default=128
        Members of the ensemble.
    max_samples : int, float in (0, 1] or "auto", default="auto"
        Rows for each member, drawn without replacement: a number, a share, or 32.
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

    References
    ----------
    .. [1] Chen, Sathe, Aggarwal and Turaga (2017), "Outlier Detection with Autoencoder Ensembles", SDM.
    .. [2] Bates, Candes, Lei, Romano and Sesia (2023), "Testing for Outliers with Conformal p-values", Annals of Statistics 51.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import AutoencoderOutlierDetector
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 1)) * [1, 2, 3] + 0.1 * rng.normal(size=(300, 3))
    >>> detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    >>> x = np.array([[1.0, -2.0, 3.0]])  # no value is unusual by itself
    >>> detector.predict(x)
    array([-1])
    >>> detector.feature_contributions(x).argmax(axis=1)
    array([1])
    """

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), Interval(Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        contamination: float | str = "auto",
        n_estimators: int = 128,
        max_samples: int | float | str = "auto",
        architecture: Architecture | None = None,
        corruption: Corruption | Callable[[torch.Tensor], torch.Tensor] | None = None,
        latent: Latent | None = None,
        loss: str | nn.Module = "squared_error",
        scaling: str | None = "auto",
        optimizer: str | type[torch.optim.Optimizer] = "adam",
        learning_rate: float | str = "auto",
        learning_rate_schedule: str | Callable[[float], float] = "one_cycle",
        weight_decay: float = 0.0,
        max_grad_norm: float | None = None,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        early_stopping: bool = False,
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
        self.n_components = n_components
        self.contamination = contamination
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.architecture = architecture
        self.corruption = corruption
        self.latent = latent
        self.loss = loss
        self.scaling = scaling
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.compile = compile
        self.mixed_precision = mixed_precision
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> "AutoencoderOutlierDetector":
        """Train on X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, in any units; outliers among them do little harm.
        y : array-like of shape (n_samples,) or None
            Not used in training. For a search by labels, ``GridSearchCV(..., scoring="roc_auc")``, give 1 for inliers and -1 for
            outliers.

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
        check_labels(y)
        return super().fit(X)

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
            The members' codes, side by side.
        """
        return self.fit(X).transform(X)

    # Answers

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Tell inliers from outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            1 for inliers, -1 for outliers.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Scores from which `offset_` is taken away: negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decisions : ndarray of shape (n_samples,), float64
        """
        return self.score_samples(X) - self.offset_

    def p_values(self, X: ArrayLike) -> np.ndarray:
        r"""Conformal p-values: how often a row of the training distribution would be as outlying as this one.

        .. math:: p(x) = \frac{1 + \#\{i : s(x_i) \ge s(x)\}}{n + 1}

        over the `n` rows that were held out. If a row comes from the same distribution as those, :math:`P(p \le t) \le t` for
        every t, exactly and whatever the model has learnt [2]_; outliers among the rows held out make p-values larger. Their
        smallest value is 1 / (n + 1). To bound the share of false alarms among all alarms by q, apply Benjamini and Hochberg's
        procedure: ``scipy.stats.false_discovery_control(detector.p_values(X)) <= q``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        p_values : ndarray of shape (n_samples,), float64
            In (0, 1].
        """
        scores = self.score_samples(X)
        as_outlying = np.searchsorted(self._calibration_scores, scores, side="right")
        return (as_outlying + 1) / (len(self._calibration_scores) + 1)

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
        X = self._check(X, scored=True)
        return self._through(self.net_.module_.contributions, X).astype(np.float64)

    # Fitting

    def _fit(self, X: np.ndarray, chosen: np.ndarray | None, random_state: RandomState) -> None:
        held_out = self._calibration_rows(len(X), random_state)
        learnt = np.delete(np.arange(len(X)), held_out)
        super()._fit(X, learnt if len(held_out) else None, random_state)
        self._calibration = {"n": len(X), "rows": held_out}
        self._calibration_scores = np.sort(self._score_samples(X[held_out])) if len(held_out) else np.empty(0)
        self.offset_ = self._offset(X)

    def _calibration_rows(self, n: int, random_state: RandomState) -> np.ndarray:
        """Which rows are held out; the same again in a warm start, since the last fit has learnt from the others."""
        if self.warm_start and hasattr(self, "_calibration") and self._calibration["n"] == n:
            return self._calibration["rows"]
        return random_state.permutation(n)[: min(self._n_held_out(n), n - 1)]

    def _offset(self, X: np.ndarray) -> float:
        if self.contamination != "auto":
            return float(np.percentile(self._score_samples(X), 100 * self.contamination))
        scores = self._calibration_scores
        if len(scores) < 20:  # quartiles need some rows
            scores = self._score_samples(X)
        return auto_offset(scores)

    def _n_held_out(self, n: int) -> int:
        if self.validation_fraction == "auto":
            return min(round(HELD_OUT * n), MOST_HELD_OUT)
        return super()._n_held_out(n)

    def _scaling_kind(self, loss) -> str | None:
        if self.scaling == "auto" and loss.scales:
            return "robust" if self.n_estimators == 1 else "whitened"
        return super()._scaling_kind(loss)

    def _make_spec(self, n_features: int, random_state: RandomState) -> dict:
        spec = {**super()._make_spec(n_features, random_state), "n_estimators": self.n_estimators}
        if self.n_estimators > 1:
            return {**spec, **self._make_members(spec, n_features, random_state)}
        if self.n_components == "auto":
            spec["n_components"] = int(np.ceil(np.sqrt(n_features)))
        return spec

    def _make_members(self, spec: dict, n_features: int, random_state: RandomState) -> dict:
        """What each member sees and how much of its code it uses."""
        n_seen, architecture = n_features, spec["architecture"]
        if self.architecture is None:
            n_seen = int(np.ceil(np.clip(SEEN_SHARE * n_features, 1, MOST_SEEN)))
            architecture = Dense((int(np.clip(2 * n_seen, 16, 64)),), activation="relu", linear_path=False)
        n_components = self.n_components
        active = [n_components] * self.n_estimators
        if n_components == "auto":
            n_components = int(np.clip(n_features // 2, 1, MOST_COMPONENTS))
            active = random_state.randint(1, n_components + 1, size=self.n_estimators)
            active[::CODELESS] = 0
            active = active.tolist()
        members = {"architecture": architecture, "n_components": n_components, "active": active}
        members["features"] = deal(n_features, n_seen, self.n_estimators, random_state)
        if self.warm_start and self._spec_of_members(members) is not None:
            members |= self._spec_of_members(members)
        return members

    def _spec_of_members(self, members: dict) -> dict | None:
        """What the last fit's members saw, if there were as many with as long codes of as many features."""
        last = getattr(self, "_spec", {})
        if "features" in last and last["features"].shape == members["features"].shape:
            return {name: last[name] for name in ("features", "active")}
        return None

    def _build(self, spec: dict) -> nn.Module:
        if "features" not in spec:
            return super()._build(spec)
        members = []
        for n_active in spec["active"]:
            member = build_autoencoder(spec, spec["features"].shape[1])
            member.decoder = nn.Sequential(Mask(spec["n_components"], n_active), member.decoder)
            members.append(member)
        return Ensemble(members, torch.tensor(spec["features"]), spec["active"], spec["n_features"])

    def _prepare(self, spec: dict, rows: ArrayRows, previous, random_state: RandomState):
        """As for a single autoencoder, but the members of an ensemble start at random, for their variety."""
        if "features" not in spec:
            return super()._prepare(spec, rows, previous, random_state)
        module = self._build(spec)
        if previous is not None:
            module.load_state_dict(previous.module_.state_dict())
        train, held_out = self._split(rows, random_state)
        features, n = torch.tensor(spec["features"]), self._n_samples(len(train))
        positions = draw(len(train), n, len(features), random_state)
        if held_out is not None:
            held_out = MemberRows(held_out, torch.arange(len(held_out)).expand(len(features), -1), features)
        return module, MemberRows(train, torch.from_numpy(positions), features), held_out

    def _n_samples(self, n: int) -> int:
        if self.max_samples == "auto":
            return min(MEMBER_ROWS, n)
        if isinstance(self.max_samples, Integral):
            return min(self.max_samples, n)
        return max(1, round(self.max_samples * n))

    def _batch_size(self, n: int) -> int:
        if self.n_estimators > 1 and self.batch_size == "auto":
            return min(n, MOST_BATCH)
        return super()._batch_size(n)

    def _max_epochs(self, spec: dict, n: int, batch_size: int) -> int:
        if self.n_estimators > 1 and self.max_epochs == "auto":
            return auto_epochs(MEMBER_STEPS, n, batch_size)
        return super()._max_epochs(spec, n, batch_size)

    def _learning_rate(self, n_features: int) -> float:
        if self.n_estimators > 1 and self.learning_rate == "auto":
            return MEMBER_RATE
        return super()._learning_rate(n_features)

    def _finish(self, module: nn.Module, train) -> nn.Module:
        if isinstance(module, Ensemble):
            rows = torch.randperm(len(train.source))[:CALIBRATION_ROWS]
            module.calibrate(train.take(torch.arange(min(len(train), CALIBRATION_ROWS))), train.source.take(rows))
        return super()._finish(module, train)

    def _n_codes(self) -> int:
        if "features" not in self._spec:
            return super()._n_codes()
        return max(50, min(super()._n_codes(), CODE_VALUES // (len(self._spec["active"]) * self._spec["n_components"])))

    def _n_values(self) -> int:
        return 2 * self._spec["features"].size if "features" in self._spec else super()._n_values()

    @property
    def _n_features_out(self) -> int:
        return sum(self._spec["active"]) if "features" in self._spec else super()._n_features_out


def auto_offset(scores: np.ndarray) -> float:
    """Minus the upper whisker of a box plot of the outlyingness (Tukey, 1977), but never beyond its most outlying hundredth."""
    lowest, third, first = np.percentile(scores, [1, 25, 75])  # scores are minus the outlyingness
    return float(max(third - 1.5 * (first - third), lowest))


def draw(n: int, n_drawn: int, n_members: int, random_state: RandomState) -> np.ndarray:
    """Which of n rows each member learns from, of shape (n_members, n_drawn), in random order."""
    draws = (sample_without_replacement(n, n_drawn, random_state=random_state) for _ in range(n_members))
    return np.array([random_state.permutation(rows) for rows in draws])  # a draw of nearly all rows comes in their order


def deal(n_features: int, n_seen: int, n_members: int, random_state: RandomState) -> np.ndarray:
    """Deal features like cards, so that all are seen about equally often: (n_members, n_seen), no member twice the same."""
    hands, deck = [], np.empty(0, np.int64)
    for _ in range(n_members):
        hand, deck = deck[:n_seen], deck[n_seen:]
        if len(hand) < n_seen:
            deck = random_state.permutation(n_features)
            fresh = deck[~np.isin(deck, hand)][: n_seen - len(hand)]
            hand, deck = np.append(hand, fresh), deck[~np.isin(deck, fresh)]
        hands.append(np.sort(hand))
    return np.array(hands)


def check_labels(y: ArrayLike | None) -> None:
    """Refuse labels by which a search would be silently reversed.

    scikit-learn's scorers take the greater of two labels for the positive class, so inliers must have it: 1, with -1 for outliers.
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "USOb":
        return
    found = sorted(set(labels.tolist()), key=str)
    if len(found) == 2:
        raise ValueError(f"y must be 1 for inliers and -1 for outliers, got {found}: scorers would not know which is which.")

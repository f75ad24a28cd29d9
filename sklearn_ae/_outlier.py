"""AutoencoderOutlierDetector."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import OutlierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_ae._base import BaseAutoencoder, build_autoencoder, chunk_rows
from sklearn_ae._ensemble import Ensemble, Mask
from sklearn_ae._rows import ArrayRows, MemberRows
from sklearn_ae.architectures import Dense

SEEN_SHARE, MOST_SEEN = 0.7, 64  # features a member sees
MOST_COMPONENTS = 32
AUTO_SAMPLES = 64
AUTO_STEPS = 75  # optimiser steps of an ensemble that max_epochs="auto" plans
CODE_VALUES = 200_000  # numbers kept for `sample`


class AutoencoderOutlierDetector(OutlierMixin, BaseAutoencoder):
    """Outlier detection by an ensemble of small autoencoders."""

    _parameter_constraints: dict = {
        **BaseAutoencoder._parameter_constraints,
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), Interval(Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        contamination="auto",
        n_estimators=100,
        max_samples="auto",
        architecture=None,
        corruption=None,
        latent=None,
        loss="squared_error",
        scaling="auto",
        optimizer="adam",
        learning_rate=5e-3,
        learning_rate_schedule="one_cycle",
        weight_decay=0.0,
        max_epochs="auto",
        batch_size="auto",
        early_stopping=False,
        validation_fraction="auto",
        n_iter_no_change=None,
        tol=1e-4,
        warm_start=False,
        device="auto",
        compile=False,
        callbacks=None,
        verbose=0,
        random_state=None,
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
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.compile = compile
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def predict(self, X):
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def decision_function(self, X):
        return self.score_samples(X) - self.offset_

    def feature_contributions(self, X):
        X = self._check(X, scored=True)
        return self._through(self.net_.module_.contributions, X).astype(np.float64)

    def p_values(self, X):
        scores = self.score_samples(X)
        below = np.searchsorted(self._calibration_scores, scores, side="right")
        return (below + 1) / (len(self._calibration_scores) + 1)

    def _fit(self, X, chosen, random_state):
        held_out = self._hold_out(len(X), random_state)
        learn = None if held_out is None else np.setdiff1d(np.arange(len(X)), held_out)
        super()._fit(X, learn, random_state)
        scores = np.empty(0) if held_out is None else self._score_samples(X[held_out])
        self._calibration_scores = np.sort(scores)
        if self.contamination == "auto":
            self.offset_ = -1.5
        else:
            self.offset_ = float(np.percentile(self._score_samples(X), 100 * self.contamination))

    def _hold_out(self, n, random_state):
        return None

    def _make_spec(self, n_features, random_state):
        spec = super()._make_spec(n_features, random_state)
        if self.n_estimators == 1:
            if self.n_components == "auto":
                spec["n_components"] = int(np.ceil(np.sqrt(n_features)))
            return spec
        if self.warm_start and hasattr(self, "_spec"):
            return {**spec, **{name: self._spec[name] for name in ("features", "active", "n_components")}}
        n_seen = n_features
        if self.architecture is None:
            n_seen = int(np.ceil(np.clip(SEEN_SHARE * n_features, 1, MOST_SEEN)))
            spec["architecture"] = Dense((int(np.clip(2 * n_seen, 16, 64)),), activation="relu", linear_path=False)
        n_components = self.n_components
        if n_components == "auto":
            n_components = int(np.clip(n_features // 2, 1, MOST_COMPONENTS))
        active = [n_components] * self.n_estimators
        if self.n_components == "auto":
            active = random_state.randint(1, n_components + 1, size=self.n_estimators).tolist()
        features = [np.sort(random_state.permutation(n_features)[:n_seen]) for _ in range(self.n_estimators)]
        return {**spec, "n_components": n_components, "features": np.array(features), "active": active}

    def _build(self, spec):
        if "features" not in spec:
            return super()._build(spec)
        features = torch.from_numpy(spec["features"])
        members = []
        for n_active in spec["active"]:
            member = build_autoencoder(spec, features.shape[1])
            member.decoder = nn.Sequential(Mask(spec["n_components"], n_active), member.decoder)
            members.append(member)
        return Ensemble(members, features, spec["active"], spec["n_features"])

    def _scaling_kind(self, loss):
        if self.scaling == "auto" and loss.scales:
            return "robust" if self.n_estimators == 1 else "whitened"
        return super()._scaling_kind(loss)

    def _start(self, module, spec, rows, previous):
        if previous is not None or "features" not in spec:
            super()._start(module, spec, rows, previous)

    def _split(self, rows, spec, random_state):
        train, held_out = super()._split(rows, spec, random_state)
        if "features" not in spec:
            return train, held_out
        n, n_members = self._n_samples(len(train)), len(spec["active"])
        features = torch.from_numpy(spec["features"])
        positions = np.array([random_state.choice(len(train), n, replace=False) for _ in range(n_members)])
        members = MemberRows(train, torch.from_numpy(positions), features)
        if held_out is not None:
            held_out = MemberRows(held_out, torch.arange(len(held_out)).expand(n_members, -1), features)
        return members, held_out

    def _n_samples(self, n):
        if self.max_samples == "auto":
            return min(AUTO_SAMPLES, n)
        if isinstance(self.max_samples, Integral):
            return min(self.max_samples, n)
        return max(1, round(self.max_samples * n))

    def _batch_size(self, n):
        if self.n_estimators > 1 and self.batch_size == "auto":
            return min(n, 256)
        return super()._batch_size(n)

    def _max_epochs(self, n, batch_size):
        if self.n_estimators > 1 and self.max_epochs == "auto":
            return max(5, int(np.ceil(AUTO_STEPS * batch_size / n)))
        return super()._max_epochs(n, batch_size)

    def _calibrate(self, module, train):
        if isinstance(module, Ensemble):
            module.calibrate(train.take(torch.arange(min(len(train), 1024))))

    def _n_codes(self):
        spec = self._spec
        values = len(spec.get("active", [1])) * spec["n_components"]
        return max(50, min(super()._n_codes(), CODE_VALUES // values))

    def _chunk_rows(self):
        if "features" in self._spec:
            return chunk_rows(2 * self._spec["features"].size)
        return super()._chunk_rows()

    @property
    def _n_features_out(self):
        return sum(self._spec["active"]) if "features" in self._spec else self._spec["n_components"]

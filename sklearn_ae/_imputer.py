"""AutoencoderImputer."""

from __future__ import annotations  # so that help() shows the names of types

from collections.abc import Callable
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.impute import MissingIndicator
from sklearn.utils._missing import is_scalar_nan
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data
from torch import nn

from sklearn_ae._component import DOCUMENTATION, all_or_nothing
from sklearn_ae._data.columns import refuse_columns
from sklearn_ae._data.inputs import plain_array
from sklearn_ae._messages import validate_params
from sklearn_ae._parameters import suggests_names
from sklearn_ae._transformer import AutoencoderTransformer
from sklearn_ae.architectures import Architecture
from sklearn_ae.corruptions import Corruption
from sklearn_ae.latents import Latent

PASSED_ON = (  # to the autoencoder
    "architecture",
    "corruption",
    "latent",
    "loss",
    "scaling",
    "learning_rate",
    "max_epochs",
    "batch_size",
    "device",
    "verbose",
    "random_state",
)


class AutoencoderImputer(TransformerMixin, BaseEstimator):
    """Fill in missing values by an autoencoder.

    A missing value becomes what the observed values of its row make likely: a conditional mean of a
    normal distribution, and a layer that adds what is not linear. What was observed stays as it is.
    Rows to fit on need not have gaps: some of their values are hidden in training.

    Parameters
    ----------
    n_components : int, float in (0, 1) or "auto", default="auto"
        Length of the autoencoder's code, as in `AutoencoderTransformer`. It hardly matters here;
        ``"auto"`` is half of the features.
    missing_values : int, float or np.nan, default=np.nan
        What stands for a missing value. If it is a number, NaN in X is an error. None and ``pd.NA``
        count as NaN.
    add_indicator : bool, default=False
        Append a column for each feature that had missing values in fit: 1 where a value is missing
        (`sklearn.impute.MissingIndicator`).
    keep_empty_features : bool, default=False
        Whether features without any value in fit are kept, filled with 0. Otherwise they are left
        out of the result.
    architecture, corruption, latent, loss, scaling, learning_rate, max_epochs, batch_size, \
device, verbose, random_state
        As in `AutoencoderTransformer`, but ``"auto"`` plans 1.5 times the learning rate, batches
        of four times as many rows, and 0.15 of the steps.

    Attributes
    ----------
    autoencoder_ : AutoencoderTransformer
        Fitted on the features that have values.
    indicator_ : sklearn.impute.MissingIndicator or None
        None without `add_indicator`.
    n_features_in_ : int
        Features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if X had any.

    See Also
    --------
    AutoencoderTransformer : Takes missing values as they are; nothing needs to be imputed before.
    sklearn.impute.KNNImputer : Means of the nearest rows.
    sklearn.impute.IterativeImputer : Regressions of each feature on the others.

    Notes
    -----
    Imputed values are means, not draws: they vary less than the values that are missing.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import AutoencoderImputer
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 1)) * [1, 2, 3] + 0.1 * rng.normal(size=(200, 3))
    >>> imputer = AutoencoderImputer(random_state=0).fit(X)
    >>> imputer.transform([[1.0, np.nan, 3.0]]).round()
    array([[1., 2., 3.]])
    """

    _doc_link_module = "sklearn_ae"
    _doc_link_template = DOCUMENTATION

    _parameter_constraints: dict = {
        "n_components": [
            StrOptions({"auto"}),
            *AutoencoderTransformer._parameter_constraints["n_components"],
        ],
        "missing_values": [Real],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        **{name: AutoencoderTransformer._parameter_constraints[name] for name in PASSED_ON},
    }

    @suggests_names
    def __init__(
        self,
        n_components: float | str = "auto",
        *,
        missing_values: float = np.nan,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        architecture: Architecture | None = None,
        corruption: Corruption | Callable[[torch.Tensor], torch.Tensor] | None = None,
        latent: Latent | None = None,
        loss: str
        | nn.Module
        | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = "squared_error",
        scaling: str | None = "auto",
        learning_rate: float | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: int | RandomState | None = None,
    ):
        self.n_components = n_components
        self.missing_values = missing_values
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.architecture = architecture
        self.corruption = corruption
        self.latent = latent
        self.loss = loss
        self.scaling = scaling
        self.learning_rate = learning_rate
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def _validate_params(self) -> None:
        validate_params(self)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train the autoencoder on X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With or without missing values.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If X or a parameter is not valid, or X has no value at all; the imputer is then as it
            was before.
        FloatingPointError
            If training diverges.
        """
        with all_or_nothing(self):
            X = self._checked(X, reset=True)
            self._has_values = ~np.isnan(X).all(axis=0)
            n_features = int(self._has_values.sum())
            if not n_features:
                raise ValueError("X has only missing values, so there is nothing to learn from.")
            self.indicator_ = None
            if self.add_indicator:
                self.indicator_ = MissingIndicator(error_on_new=False).fit(X)
            n_components = self.n_components
            autoencoder = AutoencoderTransformer(
                max(1, n_features // 2) if isinstance(n_components, str) else n_components,
                **{name: getattr(self, name) for name in PASSED_ON},
            )
            autoencoder._fills_gaps = True
            self.autoencoder_ = autoencoder.fit(X.compress(self._has_values, axis=1))
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Fill in the missing values of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Any value may be missing, also of a feature that had none missing in fit.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features_out)
            What was observed, as it was, and the values filled in; the indicators, if there are
            any.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        blocks = [] if self.indicator_ is None else [self.indicator_.transform(X)]
        filled = X.compress(self._has_values, axis=1)
        gaps = np.isnan(filled)
        rows = np.flatnonzero(gaps.any(axis=1))
        if len(rows):
            likely = np.asarray(self.autoencoder_.reconstruct(filled[rows]))
            filled[rows] = np.where(gaps[rows], likely, filled[rows])
        if self.keep_empty_features:
            X = np.zeros_like(X)
            X[:, self._has_values] = filled
            filled = X
        return np.hstack([filled, *blocks])

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the columns that ``transform`` gives.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the features; None takes those of fit, or x0, x1, ...

        Returns
        -------
        names : ndarray of str
            The features', then ``missingindicator_`` and the name of a feature for each indicator.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        kept = names if self.keep_empty_features else names[self._has_values]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)])

    def _checked(self, X: Any, reset: bool) -> np.ndarray:
        """X with NaN where a value is missing."""
        refuse_columns(X)
        gaps_are_nan = is_scalar_nan(self.missing_values)
        X = validate_data(
            self,
            plain_array(X),
            dtype=(np.float64, np.float32),
            ensure_all_finite="allow-nan" if gaps_are_nan else True,
            reset=reset,
        )
        return X if gaps_are_nan else np.where(self.missing_values == X, np.nan, X).astype(X.dtype)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = is_scalar_nan(self.missing_values)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

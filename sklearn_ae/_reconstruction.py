"""ReconstructionTransformer."""

from __future__ import annotations  # so that help() shows the names of types

from typing import Any, Self

from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_ae._component import DOCUMENTATION
from sklearn_ae._messages import validate_params
from sklearn_ae.pipelines import reconstructed


class ReconstructionTransformer(
    OneToOneFeatureMixin, MetaEstimatorMixin, TransformerMixin, BaseEstimator
):
    """Replace rows by their reconstructions, as a step of a pipeline.

    ``transform`` is the ``reconstruct`` of another estimator: rows denoised, in their own units and
    under their own names.

    Parameters
    ----------
    estimator : estimator
        `AutoencoderTransformer`, or anything else with ``reconstruct``, or with ``transform`` and
        ``inverse_transform``, such as PCA; or a Pipeline that ends in one, whose other steps can be
        undone. It is cloned and fitted in fit; ``sklearn.frozen.FrozenEstimator(model)`` stands for
        one that is fitted already.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone.
    n_features_in_ : int
        Features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if X had any.

    See Also
    --------
    AutoencoderTransformer : Its ``transform`` gives codes, its ``reconstruct`` rows.
    sklearn_ae.pipelines.reconstruct : The same of a pipeline that is fitted already.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_ae import AutoencoderTransformer, ReconstructionTransformer
    >>> from sklearn_ae.corruptions import GaussianNoise
    >>> X, y = load_iris(return_X_y=True)
    >>> denoise = ReconstructionTransformer(
    ...     AutoencoderTransformer(2, corruption=GaussianNoise(0.1), random_state=0)
    ... )
    >>> model = make_pipeline(denoise, LogisticRegression(max_iter=1000)).fit(X, y)
    >>> model[:-1].transform(X).shape
    (150, 4)
    """

    _doc_link_module = "sklearn_ae"
    _doc_link_template = DOCUMENTATION
    _parameter_constraints: dict = {"estimator": [HasMethods(["fit"])]}

    def __init__(self, estimator: Any):
        self.estimator = estimator

    def _validate_params(self) -> None:
        validate_params(self)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit a clone of the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or None, default=None
            Passed to the estimator's ``fit``.

        Returns
        -------
        self : object
        """
        validate_data(self, X, skip_check_array=True)
        self.estimator_ = clone(self.estimator).fit(X, y)
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Reconstruct rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            In the units of X.

        Raises
        ------
        TypeError
            If the estimator cannot reconstruct, or is a Pipeline with a step that cannot be undone.
        """
        check_is_fitted(self)
        return reconstructed(self.estimator_, X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        if inner.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = inner.transformer_tags.preserves_dtype
        return tags

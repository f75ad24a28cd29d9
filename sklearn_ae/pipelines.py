"""Answers of a fitted pipeline that ends in one of our estimators, in the columns of its input.

``pipeline.predict`` and ``pipeline.score_samples`` pass on what scikit-learn knows. The functions
here do so for what only our estimators have: rows go forward through all steps, and answers go
back to the columns of X, in its units. If X is a DataFrame of pandas or polars, so are answers with
a column for each of its columns, with its index.

Examples
--------
>>> import numpy as np
>>> import pandas as pd
>>> from sklearn.compose import make_column_transformer
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import OneHotEncoder, StandardScaler
>>> from sklearn_ae import AutoencoderOutlierDetector
>>> from sklearn_ae.pipelines import feature_contributions
>>> rng = np.random.default_rng(0)
>>> kind = rng.choice(["bike", "car"], 300)
>>> X = pd.DataFrame({"kind": kind, "wheels": np.where(kind == "car", 4, 2)})
>>> encode = make_column_transformer((OneHotEncoder(), ["kind"]), (StandardScaler(), ["wheels"]))
>>> pipeline = make_pipeline(encode, AutoencoderOutlierDetector(random_state=0)).fit(X)
>>> feature_contributions(pipeline, X).columns.tolist()
['kind', 'wheels']
"""

import copy
import re
import warnings
from collections.abc import Callable
from functools import partial, singledispatch
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
)
from sklearn.utils import _safe_indexing
from sklearn.utils._missing import is_scalar_nan
from sklearn.utils._set_output import ADAPTERS_MANAGER
from sklearn.utils.validation import _num_features

from sklearn_ae._data.inputs import with_nan

__all__ = ["feature_contributions", "p_values", "reconstruct"]


def p_values(pipeline: Any, X: Any) -> np.ndarray:
    """Conformal p-values of a pipeline that ends in a detector.

    Parameters
    ----------
    pipeline : Pipeline or search
        Fitted, and ends in an `AutoencoderOutlierDetector`. Of a search, the best estimator.
    X : {array-like, DataFrame} of shape (n_samples, n_features)
        As the first step takes it.

    Returns
    -------
    p_values : ndarray of shape (n_samples,), float64
        In (0, 1]; small for outliers. See `AutoencoderOutlierDetector.p_values`.
    """
    *before, last = flat_steps(pipeline)
    return last.p_values(_after(before, X))


def feature_contributions(pipeline: Any, X: Any) -> Any:
    """Which columns of X made a row outlying.

    The detector's contributions belong to the columns that it sees. Each is added to the column of
    X that its column was made from: those of a one-hot encoded category are summed. Where columns
    come from is known from the output names of the steps (``get_feature_names_out``).

    Parameters
    ----------
    pipeline : Pipeline or search
        Fitted, and ends in an `AutoencoderOutlierDetector`, or in an `AutoencoderTransformer`,
        whose outlyingness is its reconstruction loss. Of a search, the best estimator.
    X : {array-like, DataFrame} of shape (n_samples, n_features)
        As the first step takes it.

    Returns
    -------
    contributions : ndarray or DataFrame of shape (n_samples, n_features), float64
        At least 0; the sum over a row is its outlyingness, minus its score. 0 in columns that are
        dropped on the way.

    Raises
    ------
    ValueError
        If a column that the last step sees was made from several columns, as by PCA.
    TypeError
        If a step does not name its columns, or the last one has no contributions.
    """
    *before, last = flat_steps(pipeline)
    names, n_features = _columns_of([*before, last], X)
    sources = np.eye(n_features, dtype=bool)
    for step in before:
        sources = sources @ links_of(step, sources.shape[1])
        mixed = np.flatnonzero(sources.sum(axis=0) > 1)
        if len(mixed):
            mixed_names = [str(names[j]) for j in np.flatnonzero(sources[:, mixed[0]])]
            raise ValueError(
                f"{type(step).__name__} makes a column from several ({', '.join(mixed_names[:5])}"
                f"{', ...' if len(mixed_names) > 5 else ''}), so its contribution belongs to none "
                "of them. Leave that step out, or take the contributions of the columns that the "
                "last step sees: pipeline[-1].feature_contributions(pipeline[:-1].transform(X))."
            )
    return like(X, contributions_of(last, _after(before, X)) @ sources.T, names)


def reconstruct(pipeline: Any, X: Any) -> Any:
    """Reconstructions in the units of X: from the last step, back through all others.

    Steps are undone by their ``inverse_transform``, a ColumnTransformer block by block. Values
    between the codes of a category become the nearest category. What an imputer has filled in stays
    filled in.

    Parameters
    ----------
    pipeline : estimator, Pipeline or search
        Fitted. The last step has ``reconstruct``, or ``transform`` and ``inverse_transform``. Of a
        search, the best estimator.
    X : {array-like, DataFrame} of shape (n_samples, n_features)
        As the first step takes it.

    Returns
    -------
    X_reconstructed : ndarray or DataFrame of shape (n_samples, n_features)
        NaN in columns that a ColumnTransformer drops, or an imputer because they had no value.

    Raises
    ------
    TypeError
        If a step cannot be undone, or the last one cannot reconstruct.
    """
    names, _ = _columns_of(flat_steps(pipeline), X)
    return like(X, reconstructed(pipeline, X), names)


def reconstructed(pipeline: Any, X: Any) -> Any:
    """What ``reconstruct`` gives, without the container."""
    *before, last = flat_steps(pipeline)
    _, seen, inverses = way_back(before, X, comparable=False)
    if len(inverses) < len(before):
        raise TypeError(
            f"{type(before[-1 - len(inverses)]).__name__} cannot be undone: it needs an "
            "inverse_transform (a FunctionTransformer an inverse_func, a ColumnTransformer one for "
            "each block). For the columns that the last step sees take "
            "pipeline[-1].reconstruct(pipeline[:-1].transform(X))."
        )
    return _through(inverses, reconstructed_by(last, seen))


# Steps


def flat_steps(estimator: Any) -> list[Any]:
    """The steps of a pipeline, those of pipelines inside it among them; of a search, the best
    estimator's.
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    return [
        one
        for _, step in estimator.steps
        if step not in (None, "passthrough")
        for one in flat_steps(step)
    ]


def reconstructed_by(estimator: Any, X: Any) -> Any:
    """An estimator's reconstruction, or what its ``inverse_transform`` makes of its codes."""
    if hasattr(estimator, "reconstruct"):
        return estimator.reconstruct(X)
    if hasattr(estimator, "transform") and hasattr(estimator, "inverse_transform"):
        return estimator.inverse_transform(estimator.transform(X))
    raise TypeError(
        f"{type(estimator).__name__} cannot reconstruct: it needs a method reconstruct, or "
        "transform and inverse_transform. In a pipeline, the last step needs them."
    )


def contributions_of(estimator: Any, X: Any) -> np.ndarray:
    """The part of each feature in the outlyingness (n_samples, n_features)."""
    if hasattr(estimator, "feature_contributions"):
        return np.asarray(estimator.feature_contributions(X))
    if hasattr(estimator, "reconstruction_errors"):  # their mean is minus the score
        return np.asarray(estimator.reconstruction_errors(X)) / X.shape[1]
    raise TypeError(
        f"{type(estimator).__name__} has neither feature_contributions nor reconstruction_errors; "
        "pass an estimator of sklearn_ae, or a pipeline that ends in one."
    )


def _after(steps: list[Any], X: Any) -> Any:
    for step in steps:
        X = step.transform(X)
    return X


def _through(functions: list[Callable], values: Any) -> Any:
    for function in functions:
        values = function(values)
    return values


# Names


def _columns_of(steps: list[Any], X: Any) -> tuple[Any, int]:
    """Names and number of the columns that the first step was fitted on: it may find them in a
    DataFrame that has others too, or in another order.
    """
    n_features = getattr(steps[0], "n_features_in_", None)
    n_features = _num_features(X) if n_features is None else n_features
    unnamed = getattr(X, "columns", range(n_features))
    return getattr(steps[0], "feature_names_in_", unnamed), n_features


def like(X: Any, values: Any, names: Any) -> Any:
    """Values in a DataFrame of X's kind with its index; as they are if X is none."""
    adapter = ADAPTERS_MANAGER.adapters.get(type(X).__module__.partition(".")[0])
    if adapter is None or not hasattr(X, "columns"):
        return values
    values = np.asarray(values)
    if values.dtype == object:  # so that each column has a type of its own
        values = {name: column.tolist() for name, column in zip(names, values.T, strict=True)}
    return adapter.create_container(values, X, columns=list(names))


# Which columns are made from which


@singledispatch
def links_of(step: Any, n_features: int) -> np.ndarray:
    """Which inputs of a step each of its outputs is made from.

    Unnamed outputs are taken to be made from all inputs. An output's name holds those of its
    inputs, for which marks are put in.

    Parameters
    ----------
    step : transformer
        Fitted.
    n_features : int
        Number of its inputs.

    Returns
    -------
    links : ndarray of shape (n_features, n_features_out), bool
    """
    if not hasattr(step, "get_feature_names_out"):
        raise TypeError(
            f"{type(step).__name__} does not name its columns (get_feature_names_out), so it is "
            "not known which columns they are made from. If it keeps columns as they are, pass "
            "FunctionTransformer(..., feature_names_out='one-to-one')."
        )
    _, outputs = _marked_names(step, n_features)
    links = np.zeros((n_features, len(outputs)), dtype=bool)
    for k, name in enumerate(outputs):
        inputs = [int(j) for j in re.findall("\ue000(\\d+)\ue001", str(name))]
        links[inputs or slice(None), k] = True
    return links


def _marked_names(step: Any, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Marks as names of a step's inputs, and the names that its outputs have then."""
    marks = np.array([f"\ue000{j}\ue001" for j in range(n_features)], dtype=object)
    step = copy.copy(step)
    if hasattr(step, "feature_names_in_"):
        step.feature_names_in_ = marks
    return marks, step.get_feature_names_out(marks)


@links_of.register
def _(step: OneHotEncoder, n_features: int) -> np.ndarray:
    return np.repeat(np.eye(n_features, dtype=bool), step._n_features_outs, axis=1)


@links_of.register
def _(step: FeatureUnion, n_features: int) -> np.ndarray:
    parts = [part for _, part in step.transformer_list if part != "drop"]
    return np.hstack([_links_through(part, n_features) for part in parts])


@links_of.register
def _(step: ColumnTransformer, n_features: int) -> np.ndarray:
    n_outputs = max(outputs.stop for outputs in step.output_indices_.values())
    links = np.zeros((step.n_features_in_, n_outputs), dtype=bool)
    for part, columns, outputs in _blocks_of(step):
        links[columns, outputs] = _links_through(part, len(columns))
    return links


def _links_through(estimator: Any, n_features: int) -> np.ndarray:
    links = np.eye(n_features, dtype=bool)
    for step in flat_steps(estimator):
        links = links @ links_of(step, links.shape[1])
    return links


def _blocks_of(step: ColumnTransformer) -> list[tuple[Any, list[int], slice]]:
    """The fitted transformers, each with the positions of its inputs and outputs."""
    blocks = [
        (part, step._transformer_to_input_indices[name], step.output_indices_[name])
        for name, part, _ in step.transformers_
    ]
    return [block for block in blocks if block[0] != "drop" and len(block[1])]


# The way back


def way_back(steps: list[Any], X: Any, comparable: bool = True) -> tuple[Any, Any, list[Callable]]:
    """The rows as they were before the steps that can be undone, the rows after all steps, and the
    functions that lead back, in their order.

    Parameters
    ----------
    steps : list of transformers
        Fitted.
    X : array-like of shape (n_samples, n_features)
    comparable : bool, default=True
        Go back only as far as rows are numbers of which all come back, to compare the two.
    """
    seen = [X]
    for step in steps:
        in_place = not getattr(step, "copy", True)
        seen.append(step.transform(copy.deepcopy(seen[-1]) if in_place else seen[-1]))
    original, inverses = seen[-1], []
    for step, before, after in zip(reversed(steps), seen[-2::-1], seen[:0:-1], strict=True):
        inverse = _inverse_of(step, before, after, comparable)
        if inverse is None or (comparable and not is_table(before)):
            break
        original = before
        inverses.append(inverse)
    return original, seen[-1], inverses


def _inverse_of(step: Any, before: Any, after: Any, comparable: bool) -> Callable | None:
    """A function that undoes a step; None if there is none."""
    if np.ndim(before) != 2:  # texts
        return None
    if hasattr(step, "add_indicator"):
        return _inverse_of_imputer(step, before.shape[1], comparable)
    if isinstance(step, ColumnTransformer):
        return _inverse_of_blocks(step, before, comparable)
    # without an inverse_func, a FunctionTransformer's inverse_transform would change nothing
    if hasattr(step, "inverse_transform") and getattr(step, "inverse_func", step) is not None:
        return partial(_undone, step)
    if before is after or _keeps_entries(before, after):
        n_features = before.shape[1]
        return lambda values: np.asarray(values)[:, :n_features]
    return None


def _inverse_of_imputer(step: Any, n_features: int, comparable: bool) -> Callable | None:
    """What it filled in stays; indicators go, and columns without any value in fit are NaN."""
    marks, outputs = _marked_names(step, n_features)
    kept = np.flatnonzero(np.isin(marks, outputs))
    if comparable and (len(kept) < n_features or not is_scalar_nan(step.missing_values)):
        return None  # what is missing in the rows before does not show

    def inverse(values: Any) -> np.ndarray:
        values = np.asarray(values)
        X = np.full((len(values), n_features), np.nan, float if is_table(values) else object)
        X[:, kept] = values[:, : len(kept)]
        return X

    return inverse


def _undone(step: BaseEstimator, values: Any) -> Any:
    with warnings.catch_warnings():  # the inverses of some releases of scikit-learn look for names
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return step.inverse_transform(nearest_codes(step, np.asarray(values)))


def _inverse_of_blocks(step: ColumnTransformer, X: Any, comparable: bool) -> Callable | None:
    names, ways = getattr(step, "feature_names_in_", None), []
    if any(isinstance(columns, str | int) for _, _, columns in step.transformers_):
        return None  # one column as a list of texts
    for part, columns, outputs in _blocks_of(step):
        parts = flat_steps(part)
        which = columns if names is None else [names[j] for j in columns]
        _, _, inverses = way_back(parts, _safe_indexing(X, which, axis=1), comparable)
        if len(inverses) < len(parts):
            return None
        ways.append((columns, outputs, inverses))
    if comparable and len({j for columns, _, _ in ways for j in columns}) < step.n_features_in_:
        return None  # a column is dropped

    def inverse(values: Any) -> np.ndarray:
        values = np.asarray(values)
        blocks = [(columns, _through(way, values[:, outputs])) for columns, outputs, way in ways]
        numbers = all(is_table(block) for _, block in blocks)
        X = np.full((len(values), step.n_features_in_), np.nan, float if numbers else object)
        for columns, block in blocks:
            X[:, columns] = np.asarray(block)
        return X

    return inverse


@singledispatch
def nearest_codes(step: Any, values: np.ndarray) -> np.ndarray:
    """What a step can give that is nearest to these values, where it gives codes of categories."""
    return values


@nearest_codes.register
def _(step: OneHotEncoder, values: np.ndarray) -> np.ndarray:
    codes = np.zeros_like(values)
    for j, columns in enumerate(links_of(step, len(step.categories_))):
        block = values[:, columns]
        best = block == block.max(axis=1, initial=-np.inf, keepdims=True)
        if step.drop_idx_ is not None and step.drop_idx_[j] is not None:
            best &= block >= 0.5  # otherwise the category without a column is nearer
        codes[:, columns] = best
    return codes


@nearest_codes.register
def _(step: OrdinalEncoder, values: np.ndarray) -> np.ndarray:
    nearest = np.empty_like(values)
    for j, codes in enumerate(_codes_of(step).T):
        distance = np.abs(values[:, [j]] - codes)
        nearest[:, j] = codes[np.where(np.isnan(codes), np.inf, distance).argmin(axis=1)]
    return nearest


def _codes_of(step: OrdinalEncoder) -> np.ndarray:
    """The codes of each feature's categories in a column; rare ones and gaps share codes."""
    length = max(len(one) for one in step.categories_)
    # each category once, then from the first again
    X = np.column_stack([np.resize(one.astype(object), length) for one in step.categories_])
    return np.asarray(step.transform(X), dtype=np.float64)


@nearest_codes.register
def _(step: KBinsDiscretizer, values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, step.n_bins_ - 1) if step.encode == "ordinal" else values


def is_table(X: Any) -> bool:
    """Whether X is a matrix of numbers, and not texts or words."""
    return issparse(X) or (np.ndim(X) == 2 and np.asarray(X).dtype.kind in "fiub")


def _keeps_entries(before: Any, after: Any) -> bool:
    """Whether a step left all that was observed as it was, and at most appended columns."""
    if issparse(before) or issparse(after):
        return False
    before, after = np.asarray(before), np.asarray(after)
    if not before.shape[1] <= after.shape[1] or len(before) != len(after):
        return False
    if not (is_table(before) and is_table(after)):
        before, after = with_nan(before.astype(object)), after.astype(object)
    after = after[:, : before.shape[1]]
    return bool(np.all((before == after) | (before != before)))

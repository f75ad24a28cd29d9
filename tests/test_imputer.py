"""AutoencoderImputer: gaps are filled, and nothing else is changed."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_ae import AutoencoderImputer, AutoencoderTransformer
from sklearn_ae.latents import Sparse
from sklearn_ae.persistence import load, save
from tests.helpers import QUICK

# three epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 2)) @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(200, 5))


@pytest.fixture(scope="module")
def holed(table):
    return np.where(np.random.default_rng(1).random(table.shape) < 0.2, np.nan, table)


def error(filled, table, holed):
    return np.sqrt(np.mean((filled - table)[np.isnan(holed)] ** 2))


def test_what_was_observed_stays_as_it_was(holed):
    before = holed.copy()
    filled = AutoencoderImputer(**QUICK).fit_transform(holed)
    np.testing.assert_array_equal(holed, before)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[~np.isnan(holed)], holed[~np.isnan(holed)])


def test_it_fills_as_reconstruct_does(holed):
    training = {**QUICK, "batch_size": 50, "learning_rate": 0.01}
    model = AutoencoderTransformer(2, **training).fit(holed)
    np.testing.assert_array_equal(
        AutoencoderImputer(**training).fit_transform(holed),
        np.where(np.isnan(holed), model.reconstruct(holed), holed),
    )


@pytest.mark.slow
def test_by_default_few_steps_with_large_batches_are_planned(holed):
    net = AutoencoderImputer(random_state=0).fit(holed).autoencoder_.net_
    alone = AutoencoderTransformer(2, random_state=0).fit(holed).net_
    assert net.batch_size == 160 > alone.batch_size  # all that are not held out
    assert net.max_epochs < 0.2 * alone.max_epochs * 160 / alone.batch_size
    given = AutoencoderImputer(batch_size=9, max_epochs=1).fit(holed)
    assert given.autoencoder_.net_.batch_size == 9


def test_correlated_columns_are_filled_better_than_by_the_mean(table, holed):
    # the ratio of the errors is 0.21 over 20 seeds, with a deviation of 0.06
    ours = error(AutoencoderImputer(**QUICK).fit_transform(holed), table, holed)
    assert ours < 0.5 * error(SimpleImputer().fit_transform(holed), table, holed)


def test_dependent_columns_of_large_numbers_are_filled_without_scaling(rng):
    table = 1e3 * rng.normal(size=(200, 3)) @ rng.normal(size=(3, 20))
    holed = np.where(rng.random(table.shape) < 0.2, np.nan, table)
    filled = AutoencoderImputer(scaling=None, **QUICK).fit_transform(holed)
    assert error(filled, table, holed) < 0.01 * table.std()


def test_gaps_are_filled_after_a_fit_on_complete_rows(table, holed):
    # 0.20 with a deviation of 0.06; a transformer that was fitted so has 0.56
    ours = error(AutoencoderImputer(**QUICK).fit(table).transform(holed), table, holed)
    assert ours < 0.4 * error(SimpleImputer().fit(table).transform(holed), table, holed)


def test_a_column_may_be_missing_that_was_not_in_fit(table, holed):
    imputer = AutoencoderImputer(**QUICK).fit(np.c_[table[:, 0], holed[:, 1:]])
    X = table.copy()
    X[:, 0] = np.nan
    filled = imputer.transform(X)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[:, 1:], table[:, 1:])
    assert np.corrcoef(filled[:, 0], table[:, 0])[0, 1] > 0.9


def test_complete_rows_come_back_as_they_are(table, holed):
    np.testing.assert_array_equal(AutoencoderImputer(**QUICK).fit(holed).transform(table), table)


def test_a_row_is_filled_alike_alone_and_among_others(holed):
    imputer = AutoencoderImputer(**QUICK).fit(holed)
    np.testing.assert_array_equal(imputer.transform(holed[:1]), imputer.transform(holed)[:1])


def test_a_row_without_any_value(holed):
    filled = AutoencoderImputer(**QUICK).fit(holed).transform(np.full((1, 5), np.nan))
    assert np.isfinite(filled).all()


def test_one_row_to_fit_on():
    imputer = AutoencoderImputer(**QUICK).fit([[1.0, 2.0]])
    np.testing.assert_array_equal(imputer.transform([[1.0, np.nan]])[:, 0], [1.0])


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("indicator", [False, True])
def test_an_empty_column_is_left_out_or_zero_as_in_scikit_learn(holed, keep, indicator):
    X = holed.copy()
    X[:, 1] = np.nan
    new = X.copy()
    new[:, 1] = 7.0  # it is no longer empty, but nothing is known of it
    options = {"keep_empty_features": keep, "add_indicator": indicator}
    ours = AutoencoderImputer(**options, **QUICK).fit(X)
    theirs = KNNImputer(**options).fit(X)
    assert ours.transform(X).shape == theirs.transform(X).shape == (200, 4 + keep + 5 * indicator)
    assert len(ours.get_feature_names_out()) == 4 + keep + 5 * indicator
    if keep:
        np.testing.assert_array_equal(ours.transform(new)[:, 1], 0)
    with pytest.raises(ValueError, match="only missing values"):
        ours.fit(np.full((3, 5), np.nan))
    assert ours.n_features_in_ == 5  # as it was


def test_indicators_are_scikit_learns(holed, table):
    X = holed.copy()
    X[:, 0] = table[:, 0]  # complete in fit
    imputer = AutoencoderImputer(add_indicator=True, **QUICK).fit(X)
    filled = imputer.transform(holed)
    np.testing.assert_array_equal(
        filled[:, 5:], MissingIndicator(error_on_new=False).fit(X).transform(holed)
    )
    assert list(imputer.get_feature_names_out()[4:]) == [
        "x4",
        *(f"missingindicator_x{j}" for j in range(1, 5)),
    ]


def test_a_number_may_stand_for_what_is_missing(holed):
    X = np.where(np.isnan(holed), -999, holed)
    imputer = AutoencoderImputer(missing_values=-999, **QUICK).fit(X)
    np.testing.assert_array_equal(
        imputer.transform(X), AutoencoderImputer(**QUICK).fit_transform(holed)
    )
    with pytest.raises(ValueError, match="contains NaN"):
        imputer.transform(holed)


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_frames_in_and_out(holed, output):
    pytest.importorskip(output)
    X = pd.DataFrame(holed, columns=list("abcde"), index=range(3, 203))
    imputer = AutoencoderImputer(add_indicator=True, **QUICK).set_output(transform=output)
    filled = imputer.fit_transform(X)
    assert list(filled.columns) == [*"abcde", *(f"missingindicator_{c}" for c in "abcde")]
    if output == "pandas":
        assert list(filled.index) == list(X.index)
    np.testing.assert_array_equal(
        filled, AutoencoderImputer(add_indicator=True, **QUICK).fit_transform(holed)
    )


def test_missing_values_of_pandas(holed):
    X = pd.DataFrame(holed).astype("Float64")
    assert X.isna().any(axis=None)
    np.testing.assert_array_equal(
        AutoencoderImputer(**QUICK).fit_transform(X),
        AutoencoderImputer(**QUICK).fit_transform(holed),
    )


def test_sparse_rows_and_text_are_refused(holed):
    with pytest.raises(TypeError, match="[Ss]parse"):
        AutoencoderImputer(**QUICK).fit(csr_array(np.nan_to_num(holed)))
    with pytest.raises(ValueError, match="not numbers.*'kind'"):
        AutoencoderImputer(**QUICK).fit(pd.DataFrame({"kind": ["a", "b"], "x": [1.0, np.nan]}))


def test_precision_is_kept(holed):
    assert AutoencoderImputer(**QUICK).fit_transform(holed.astype(np.float32)).dtype == np.float32


def test_in_a_search_over_its_parameters(holed, table):
    model = make_pipeline(AutoencoderImputer(latent=Sparse(), **QUICK), LogisticRegression(C=1e3))
    grid = {"autoencoderimputer__latent__active": [0.3, 0.6]}
    search = GridSearchCV(model, grid, cv=2).fit(holed, table[:, 0] > 0)
    assert search.best_score_ > 0.7


def test_pickles_and_files_fill_alike(holed, tmp_path):
    imputer = AutoencoderImputer(add_indicator=True, **QUICK).fit(holed)
    save(imputer, tmp_path / "imputer")
    for again in (pickle.loads(pickle.dumps(imputer)), load(tmp_path / "imputer")):
        np.testing.assert_array_equal(again.transform(holed), imputer.transform(holed))


def test_wrong_parameters_are_told():
    X, _ = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="'missing_values'"):
        AutoencoderImputer(missing_values="none").fit(X)
    with pytest.raises(ValueError, match="Did you mean 'squared_error'"):
        AutoencoderImputer(loss="mse").fit(X)
    with pytest.raises(TypeError, match="Did you mean max_epochs"):
        AutoencoderImputer(epochs=3)
    with pytest.raises(TypeError, match="latent must be None or one of"):
        AutoencoderImputer(latent="sparse").fit(X)
    assert not hasattr(clone(AutoencoderImputer()), "autoencoder_")

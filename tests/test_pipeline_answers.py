"""sklearn_ae.pipelines: answers of a pipeline in the columns of its input."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
)

from sklearn_ae import AutoencoderImputer, AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.metrics import reconstruction_r2_scorer
from sklearn_ae.pipelines import feature_contributions, p_values, reconstruct
from tests.helpers import QUICK

# three epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def flats():
    """A table with a category, a category in the name of another, an order, numbers and a number
    of no use.
    """
    rng = np.random.default_rng(0)
    kind = rng.choice(["attic", "house", "loft"], 200)
    size = np.where(kind == "house", 150.0, 60.0) * rng.lognormal(0, 0.1, 200)
    return pd.DataFrame(
        {
            "kind": kind,
            "kind_old": rng.choice(["no", "yes"], 200),
            "state": rng.choice(["good", "bad", "ruin"], 200),
            "size": size,
            "rent": 12 * size,
            "number": np.arange(200.0),
        },
        index=[f"flat {i}" for i in range(200)],
    )


def detector():
    return AutoencoderOutlierDetector(n_estimators=3, **QUICK)


def by_blocks(*more, **options):
    """Numbers are filled in and scaled, categories encoded; "number" is dropped."""
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), PowerTransformer()), ["rent", "size"]),
        (OneHotEncoder(handle_unknown="ignore"), ["kind", "kind_old"]),
        (OrdinalEncoder(), ["state"]),
        *more,
        **options,
    )


def seen_by_last(pipeline, X):
    return pipeline[:-1].transform(X)


# Contributions and p-values


def test_contributions_of_encoded_columns_are_added_up(flats):
    pipeline = make_pipeline(by_blocks(), detector()).fit(flats)
    found = feature_contributions(pipeline, flats)
    assert found.columns.equals(flats.columns)
    assert found.index.equals(flats.index)
    each = pipeline[-1].feature_contributions(seen_by_last(pipeline, flats))
    expected = np.c_[
        each[:, 2:5].sum(axis=1), each[:, 5:7].sum(axis=1), each[:, 7], each[:, [1, 0]],
        np.zeros(200),
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), -pipeline.score_samples(flats), rtol=1e-5)


def test_p_values_are_the_detectors(flats):
    pipeline = make_pipeline(by_blocks(), detector()).fit(flats)
    p = p_values(pipeline, flats)
    np.testing.assert_array_equal(p, pipeline[-1].p_values(seen_by_last(pipeline, flats)))


def scaled(*columns):
    return ("scale", StandardScaler(), list(columns))


TRACED = {  # steps before the detector, and which of three columns their outputs are made from
    "no step": ([], [0, 1, 2]),
    "scalers": ([StandardScaler(), QuantileTransformer(n_quantiles=9)], [0, 1, 2]),
    "imputer": ([SimpleImputer(add_indicator=True)], [0, 1, 2, 0]),
    "our imputer": ([AutoencoderImputer(add_indicator=True, **QUICK)], [0, 1, 2, 0]),
    "function": ([FunctionTransformer(np.abs, feature_names_out="one-to-one")], [0, 1, 2]),
    "splines": ([SplineTransformer(2, degree=1, include_bias=False)], [0, 1, 2]),
    "selection": ([VarianceThreshold(0.5)], [0, 2]),
    "columns": ([ColumnTransformer([scaled(2, 0), ("no", "drop", [1])])], [2, 0]),
    "remainder": ([ColumnTransformer([scaled(1)], remainder="passthrough")], [1, 0, 2]),
    "slice": ([ColumnTransformer([scaled(2), ("s", MinMaxScaler(), slice(0, 2))])], [2, 0, 1]),
    "mask": ([ColumnTransformer([("s", MinMaxScaler(), [True, False, True])])], [0, 2]),
    "union": ([make_union(MinMaxScaler(), StandardScaler())], [0, 1, 2, 0, 1, 2]),
    "nested": (
        [
            make_pipeline(
                make_column_transformer(
                    (make_pipeline(MinMaxScaler(), make_union(PowerTransformer(), "passthrough")),
                     make_column_selector()),
                ),
                FeatureUnion([("a", StandardScaler()), ("b", "drop")]),
            )
        ],
        [0, 1, 2, 0, 1, 2],
    ),
    "one column, many outputs": ([ColumnTransformer([("p", PolynomialFeatures(3), [1])])], [1] * 4),
}  # fmt: skip


@pytest.mark.parametrize("name", TRACED)
def test_outputs_are_traced_to_inputs(name):
    steps, sources = TRACED[name]
    X = np.random.default_rng(0).normal(size=(100, 3)) * [1, 0.1, 1]
    if "imputer" in name:
        X[:9, 0] = np.nan
    X = pd.DataFrame(X, columns=["a", "a_b", "b"])  # a name in another
    pipeline = make_pipeline(*steps, detector()).fit(X)
    each = pipeline[-1].feature_contributions(seen_by_last(pipeline, X) if steps else X)
    expected = np.zeros((100, 3))
    np.add.at(expected, (slice(None), sources), each)
    found = feature_contributions(pipeline, X)
    np.testing.assert_allclose(found, expected)
    assert found.columns.equals(X.columns)
    if name != "nested":  # whose columns are chosen from a frame
        X = X.to_numpy()
        found = feature_contributions(make_pipeline(*steps, detector()).fit(X), X)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, expected)


def test_all_that_is_made_of_one_column_of_text_is_its_own(flats):
    X = flats[["kind", "size"]]
    words = make_pipeline(TfidfVectorizer(analyzer="char"), TruncatedSVD(2, random_state=0))
    encode = make_column_transformer((words, "kind"), (StandardScaler(), ["size"]))
    pipeline = make_pipeline(encode, detector()).fit(X)
    each = pipeline[-1].feature_contributions(seen_by_last(pipeline, X))
    found = feature_contributions(pipeline, X)
    np.testing.assert_allclose(found, np.c_[each[:, :2].sum(axis=1), each[:, 2]])


@pytest.mark.parametrize("step", [PCA(2), PolynomialFeatures(2, include_bias=False)])
def test_columns_made_from_several_cannot_be_traced(step, flats):
    encode = make_column_transformer((step, ["size", "rent"]), (OneHotEncoder(), ["kind"]))
    pipeline = make_pipeline(encode, detector()).fit(flats)
    with pytest.raises(ValueError, match=r"several \(size, rent\).*pipeline\[-1\]"):
        feature_contributions(pipeline, flats)


def test_steps_without_names_cannot_be_traced(flats):
    X = flats[["size", "rent"]]
    pipeline = make_pipeline(FunctionTransformer(np.log1p), detector()).fit(X)
    with pytest.raises(TypeError, match="FunctionTransformer.*feature_names_out='one-to-one'"):
        feature_contributions(pipeline, X)


def test_one_hot_columns_of_any_name_are_traced(flats):
    X = flats[["kind", "kind_old"]]
    encode = OneHotEncoder(sparse_output=False, feature_name_combiner=lambda name, value: value)
    pipeline = make_pipeline(encode, detector()).fit(X)
    each = pipeline[-1].feature_contributions(seen_by_last(pipeline, X))
    found = feature_contributions(pipeline, X)
    np.testing.assert_allclose(found, np.c_[each[:, :3].sum(axis=1), each[:, 3:].sum(axis=1)])


def test_a_transformers_errors_are_contributions_too(flats):
    X = flats[["rent", "size"]]
    pipeline = make_pipeline(StandardScaler(), AutoencoderTransformer(1, **QUICK)).fit(X)
    found = feature_contributions(pipeline, X)
    np.testing.assert_allclose(found.sum(axis=1), -pipeline.score_samples(X), rtol=1e-5)
    with pytest.raises(TypeError, match="neither feature_contributions nor"):
        feature_contributions(make_pipeline(StandardScaler(), PCA(1)).fit(X), X)


def test_frames_with_other_columns_in_another_order(flats):
    pipeline = make_pipeline(by_blocks(), detector()).fit(flats)
    other = flats.assign(new=1.0)[[*flats.columns[::-1], "new"]]
    pd.testing.assert_frame_equal(
        feature_contributions(pipeline, other), feature_contributions(pipeline, flats)
    )
    pd.testing.assert_frame_equal(reconstruct(pipeline, other), reconstruct(pipeline, flats))


def test_the_best_of_a_search_answers(flats):
    scoring = make_scorer(lambda y, p: 0.0)
    search = GridSearchCV(
        make_pipeline(by_blocks(), detector()),
        {"autoencoderoutlierdetector__max_samples": [32]},
        scoring=scoring,
        cv=2,
    ).fit(flats, np.ones(200))
    best = search.best_estimator_
    pd.testing.assert_frame_equal(
        feature_contributions(search, flats), feature_contributions(best, flats)
    )
    np.testing.assert_array_equal(p_values(search, flats), p_values(best, flats))
    pd.testing.assert_frame_equal(reconstruct(search, flats), reconstruct(best, flats))


def test_polars(flats):
    pl = pytest.importorskip("polars")
    X = pl.DataFrame({name: flats[name].tolist() for name in flats})
    pipeline = make_pipeline(by_blocks(), detector()).fit(X)
    found, back = feature_contributions(pipeline, X), reconstruct(pipeline, X)
    assert type(found) is type(back) is pl.DataFrame
    assert found.columns == back.columns == X.columns
    assert back["kind"].dtype == pl.String
    assert back["rent"].dtype == pl.Float64


# Reconstructions


@pytest.fixture
def exact(monkeypatch):
    """An autoencoder that gives rows back as they are, so that the way back is seen alone."""
    monkeypatch.setattr(AutoencoderTransformer, "reconstruct", lambda self, X: np.asarray(X))
    return AutoencoderTransformer(1, **QUICK)


def test_rows_come_back_in_their_units(flats, exact):
    back = reconstruct(make_pipeline(by_blocks(sparse_threshold=0), exact).fit(flats), flats)
    assert back["number"].isna().all()  # it was dropped
    pd.testing.assert_frame_equal(
        back.drop(columns="number"), flats.drop(columns="number"), check_dtype=False
    )
    assert back["rent"].dtype == float


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        PowerTransformer(),
        QuantileTransformer(n_quantiles=200),
        PCA(2),
        FunctionTransformer(np.log, np.exp),
        FunctionTransformer(),
        SimpleImputer(add_indicator=True),
        AutoencoderImputer(**QUICK),
        make_pipeline(MinMaxScaler(), PCA(2)),
        make_column_transformer((MinMaxScaler(), ["rent"]), (StandardScaler(), ["size"])),
    ],
)
def test_steps_are_undone(step, flats, exact):
    X = flats[["size", "rent"]]
    pipeline = make_pipeline(step, exact).fit(X)
    pd.testing.assert_frame_equal(reconstruct(pipeline, X), X)


def test_what_an_imputer_has_filled_in_stays(flats, exact):
    X = flats[["size", "rent"]].copy()
    X.iloc[3, 0] = np.nan
    back = reconstruct(make_pipeline(SimpleImputer(), StandardScaler(), exact).fit(X), X)
    assert back.iloc[3, 0] == pytest.approx(X["size"].mean())
    pd.testing.assert_series_equal(back["rent"], X["rent"])


@pytest.mark.parametrize("drop", [None, "first", "if_binary"])
def test_values_between_codes_become_the_nearest_category(drop, flats, monkeypatch):
    X = flats[["kind", "kind_old", "state"]]
    noise = np.random.default_rng(0).uniform(-0.45, 0.45, size=(200, 9))
    monkeypatch.setattr(
        AutoencoderTransformer, "reconstruct", lambda self, X: X + noise[:, : X.shape[1]]
    )
    encode = make_column_transformer(
        (OneHotEncoder(drop=drop, sparse_output=False), ["kind_old", "kind"]),
        (OrdinalEncoder(), ["state"]),
    )
    pipeline = make_pipeline(encode, AutoencoderTransformer(1, **QUICK)).fit(X)
    pd.testing.assert_frame_equal(reconstruct(pipeline, X), X, check_dtype=False)


def test_values_between_bins_become_the_middle_of_the_nearest(flats, monkeypatch):
    monkeypatch.setattr(AutoencoderTransformer, "reconstruct", lambda self, X: X + 0.4)
    bins = KBinsDiscretizer(3, encode="ordinal", strategy="uniform").fit(flats[["size"]])
    pipeline = make_pipeline(bins, AutoencoderTransformer(1, **QUICK)).fit(flats[["size"]])
    np.testing.assert_array_equal(
        reconstruct(pipeline, flats[["size"]]),
        bins.inverse_transform(bins.transform(flats[["size"]])),
    )


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("imputer", [SimpleImputer, KNNImputer])
def test_imputers_for_numbers_that_stand_for_gaps_are_undone(imputer, indicator, flats, exact):
    X = flats[["size", "rent"]].copy()
    X.iloc[3, 0] = -1
    step = imputer(missing_values=-1, add_indicator=indicator)
    back = reconstruct(make_pipeline(step, StandardScaler(), exact).fit(X), X)
    assert back.iloc[3, 0] == pytest.approx(step.fit_transform(X)[3, 0])
    back.iloc[3, 0] = -1
    pd.testing.assert_frame_equal(back, X)


@pytest.mark.parametrize("place", [0, 2])
def test_columns_without_any_value_stay_so(place, flats, exact):
    X = flats[["size", "rent"]].copy()
    X.iloc[::5, 0] = np.nan
    X.insert(place, "empty", np.nan)
    step = KNNImputer(add_indicator=True)
    back = reconstruct(make_pipeline(step, MinMaxScaler(), exact).fit(X), X)
    assert back[["size", "rent"]].notna().all(axis=None)
    pd.testing.assert_frame_equal(back.where(X["size"].notna(), X), X)


@pytest.mark.parametrize(
    ("step", "mark"),
    [(SimpleImputer(missing_values=-1), -1), (KNNImputer(add_indicator=True), np.nan)],
    ids=["number for gaps", "empty column"],
)
def test_what_is_missing_is_not_scored(step, mark, flats):
    """Scores then compare rows as the imputer gives them."""
    X = flats[["size", "rent"]].assign(number=np.arange(200.0) if mark == -1 else np.nan)
    X.iloc[::5, 0] = mark
    pipeline = make_pipeline(step, AutoencoderTransformer(1, **QUICK)).fit(X)
    assert reconstruction_r2_scorer(pipeline, X) == reconstruction_r2_scorer(
        pipeline[-1], pipeline[0].transform(X)
    )


@pytest.mark.parametrize("row", [[0.0, 0.0], [np.nan, np.nan]], ids=["zeros", "gaps"])
def test_a_row_that_a_scaler_does_not_change_comes_back_in_its_units(row):
    X = np.random.default_rng(0).poisson(1, (200, 2)) * [10.0, 30.0]
    X[0] = row
    pipeline = make_pipeline(MinMaxScaler(), AutoencoderTransformer(1, **QUICK)).fit(X)
    np.testing.assert_allclose(reconstruct(pipeline, X[:1]), reconstruct(pipeline, X)[:1])


def test_sparse_rows_that_a_step_passes_on_are_undone(flats):
    X = csr_array(flats[["size", "rent"]].to_numpy())
    pipeline = make_pipeline(FunctionTransformer(), AutoencoderTransformer(1, **QUICK)).fit(X)
    np.testing.assert_array_equal(reconstruct(pipeline, X), reconstruct(pipeline[-1], X))


def test_steps_that_work_in_place_are_undone(flats):
    X = np.array(flats[["size", "rent"]])
    last = AutoencoderTransformer(1, **QUICK)
    expected, pipeline = (
        make_pipeline(StandardScaler(copy=copy), last).fit(X.copy()) for copy in (True, False)
    )
    before = X.copy()
    np.testing.assert_allclose(reconstruct(pipeline, X), reconstruct(expected, X))
    assert reconstruction_r2_scorer(pipeline, X) == reconstruction_r2_scorer(expected, X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("options", "between", "expected"),
    [
        ({}, [-3.0, 1.4, 2.6, 9.0], ["bad", "good", "ruin", "ruin"]),
        ({"encoded_missing_value": -1}, [-0.6, 0.4, 2.6], ["missing", "bad", "ruin"]),
        ({"encoded_missing_value": 9}, [-0.6, 5.0, 6.5], ["bad", "ruin", "missing"]),
    ],
)
def test_values_between_codes_become_the_nearest_that_the_encoder_gives(
    options, between, expected, flats, monkeypatch
):
    X = flats[["state"]].copy()
    X.iloc[:3] = np.nan
    pipeline = make_pipeline(OrdinalEncoder(**options), AutoencoderTransformer(1, **QUICK)).fit(X)
    values = np.array(between)[:, np.newaxis]
    monkeypatch.setattr(AutoencoderTransformer, "reconstruct", lambda self, X: values)
    back = reconstruct(pipeline, X.iloc[3 : 3 + len(between)])
    assert back["state"].fillna("missing").tolist() == expected


def test_rare_categories_share_a_code_and_come_back_together(flats, monkeypatch):
    X = flats[["state"]]
    most = X["state"].value_counts()
    encode = OrdinalEncoder(max_categories=2)
    pipeline = make_pipeline(encode, AutoencoderTransformer(1, **QUICK)).fit(X)
    monkeypatch.setattr(AutoencoderTransformer, "reconstruct", lambda self, X: X + 1.4)
    back = reconstruct(pipeline, X)["state"]
    assert back.tolist() == ["infrequent_sklearn"] * 200
    monkeypatch.setattr(AutoencoderTransformer, "reconstruct", lambda self, X: X - 1.4)
    assert reconstruct(pipeline, X)["state"].tolist() == [most.index[0]] * 200


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_steps_that_give_frames_are_undone(flats, exact, output):
    pytest.importorskip(output)
    X = flats[["size", "rent"]]
    pipeline = make_pipeline(SimpleImputer(add_indicator=True), PowerTransformer(), exact)
    plain = reconstruct(pipeline.fit(X), X)
    pd.testing.assert_frame_equal(plain, X)
    pipeline = make_pipeline(SimpleImputer(), MinMaxScaler(), AutoencoderTransformer(1, **QUICK))
    expected = reconstruct(pipeline.fit(X), X)
    pipeline.set_output(transform=output)
    pd.testing.assert_frame_equal(reconstruct(pipeline.fit(X), X), expected)
    pd.testing.assert_frame_equal(
        feature_contributions(pipeline, X).sum(axis=1).to_frame(),
        -pd.DataFrame(pipeline.score_samples(X), X.index),
        rtol=1e-5,
    )


def test_a_column_with_one_category_and_none_encoded(flats, exact):
    X = flats[["kind"]].assign(country="here")
    encode = OneHotEncoder(drop="first", sparse_output=False)
    back = reconstruct(make_pipeline(encode, exact).fit(X), X)
    pd.testing.assert_frame_equal(back, X, check_dtype=False)


def test_steps_that_cannot_be_undone_are_named(flats):
    X = flats[["size", "rent"]]
    last = AutoencoderTransformer(1, **QUICK)
    for step in (SplineTransformer(2), make_column_transformer((SplineTransformer(2), ["size"]))):
        pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), step, last)
        with pytest.raises(TypeError, match=f"{type(step).__name__} cannot be undone"):
            reconstruct(pipeline.fit(X), X)
    words = make_column_transformer((TfidfVectorizer(), "kind"), (StandardScaler(), ["size"]))
    with pytest.raises(TypeError, match="ColumnTransformer cannot be undone"):
        reconstruct(make_pipeline(words, last).fit(flats), flats)


def test_an_estimator_alone_is_a_pipeline_of_one_step(flats):
    X = flats[["size", "rent"]]
    model = AutoencoderTransformer(1, **QUICK).fit(X)
    np.testing.assert_array_equal(reconstruct(model, X), model.reconstruct(X))
    assert reconstruct(model, X).index.equals(X.index)
    sparse = csr_array(X.to_numpy())
    assert type(reconstruct(model.fit(sparse), sparse)) is np.ndarray


def test_scores_compare_in_the_units_of_the_blocks(flats):
    """A column transformer of numbers is undone; one that encodes words is not."""
    X = flats[["size", "rent"]]
    last = AutoencoderTransformer(1, **QUICK)
    blocks = make_column_transformer((MinMaxScaler(), ["rent"]), (StandardScaler(), ["size"]))
    pipeline = make_pipeline(blocks, last).fit(X)
    back = reconstruct(pipeline, X)
    expected = np.mean(1 - ((X - back) ** 2).sum() / ((X - X.mean()) ** 2).sum())
    assert reconstruction_r2_scorer(pipeline, X) == pytest.approx(expected)
    pipeline = make_pipeline(by_blocks(sparse_threshold=0), last).fit(flats)
    assert reconstruction_r2_scorer(pipeline, flats) < 1

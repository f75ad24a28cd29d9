"""Scorers: formulas against closed forms, units, labels of all kinds, and their use in searches."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
)

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae import metrics as metrics_file
from sklearn_ae.metrics import (
    make_outlier_scorer,
    outlier_average_precision_scorer,
    outlier_roc_auc_scorer,
    reconstruction_r2_score,
    reconstruction_r2_scorer,
)
from tests.helpers import QUICK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Halve(BaseEstimator):
    """Gives back half of each value."""

    def fit(self, X, y=None):
        return self

    def reconstruct(self, X):
        return np.asarray(X) / 2


class Column(BaseEstimator):
    """A detector whose score is a column."""

    def __init__(self, column=0):
        self.column = column

    def fit(self, X, y=None, sample_weight=None):
        return self

    def score_samples(self, X):
        return np.asarray(X)[:, self.column]


# scikit-learn before 1.7 does not
SEARCH_HANDS_ON_WEIGHTS = hasattr(GridSearchCV, "_check_scorers_accept_sample_weight")


# Reconstruction


def test_r2_of_a_complete_table_is_scikit_learns(table, rng):
    reconstructed = table + table.std(axis=0) * rng.normal(size=table.shape)
    np.testing.assert_allclose(
        reconstruction_r2_score(table, reconstructed), r2_score(table, reconstructed)
    )
    weight = rng.uniform(size=len(table))
    np.testing.assert_allclose(
        reconstruction_r2_score(table, reconstructed, sample_weight=weight),
        r2_score(table, reconstructed, sample_weight=weight),
    )


def test_r2_does_not_change_with_units(table, rng):
    reconstructed = table + table.std(axis=0) * rng.normal(size=table.shape)
    units, middle = np.array([1e3, 1, 1e-3, 7, 1, 1]), 5
    changed = reconstruction_r2_score(table * units + middle, reconstructed * units + middle)
    np.testing.assert_allclose(changed, reconstruction_r2_score(table, reconstructed))


def test_r2_leaves_out_what_was_not_observed(rng):
    X = rng.normal(size=(50, 2))
    reconstructed = X + 0.3 * rng.normal(size=X.shape)
    holes = X.copy()
    holes[10:20, 0] = np.nan
    seen = np.r_[0:10, 20:50]
    by_hand = np.mean(
        [r2_score(X[seen, 0], reconstructed[seen, 0]), r2_score(X[:, 1], reconstructed[:, 1])]
    )
    np.testing.assert_allclose(reconstruction_r2_score(holes, reconstructed), by_hand)
    reconstructed[10:20, 0] = np.nan  # what stands there does not matter
    np.testing.assert_allclose(reconstruction_r2_score(holes, reconstructed), by_hand)


def test_a_gap_in_the_reconstruction_of_an_observed_entry_is_not_hidden(rng):
    X = rng.normal(size=(50, 2))
    reconstructed = X.copy()
    reconstructed[3, 1] = np.nan
    assert np.isnan(reconstruction_r2_score(X, reconstructed))


def test_r2_leaves_out_constant_columns(rng):
    X = rng.normal(size=(50, 2))
    reconstructed = 0.5 * X
    constant = np.c_[X, np.full(50, 0.1 + 0.2), np.full(50, np.nan)]
    constant[::2, 2] = 0.3  # differs by rounding
    wrong = np.c_[reconstructed, np.full((50, 2), 9.0)]
    np.testing.assert_allclose(
        reconstruction_r2_score(constant, wrong), reconstruction_r2_score(X, reconstructed)
    )


def test_r2_of_constant_data_is_refused():
    with pytest.raises(ValueError, match=r"No column of X varies over its 5 rows.*give more rows"):
        reconstruction_r2_score(np.ones((5, 2)), np.ones((5, 2)))


def test_r2_of_different_shapes_is_refused():
    with pytest.raises(ValueError, match=r"\(5, 2\).*\(5, 3\)"):
        reconstruction_r2_score(np.eye(5)[:, :2], np.eye(5)[:, :3])


def test_r2_of_the_mean_is_zero_and_of_all_is_one(table):
    np.testing.assert_allclose(
        reconstruction_r2_score(table, np.tile(table.mean(axis=0), (120, 1))), 0, atol=1e-12
    )
    assert reconstruction_r2_score(csr_matrix(table), table) == 1


def test_r2_scorer_takes_reconstruct_or_there_and_back(table):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    expected = r2_score(table, model.reconstruct(table))
    np.testing.assert_allclose(reconstruction_r2_scorer(model, table), expected)
    pca = PCA(2).fit(table)
    np.testing.assert_allclose(
        reconstruction_r2_scorer(pca, table),
        r2_score(table, pca.inverse_transform(pca.transform(table))),
    )


@pytest.mark.parametrize(
    "model",
    [
        AutoencoderTransformer(2, **QUICK),
        PCA(2),
        AutoencoderOutlierDetector(n_estimators=3, **QUICK),
    ],
)
def test_r2_scorer_of_a_pipeline_speaks_the_datas_units(model, table):
    pipeline = make_pipeline(
        QuantileTransformer(n_quantiles=50), "passthrough", StandardScaler(), model
    ).fit(table)
    expected = r2_score(table, pipeline.inverse_transform(pipeline.transform(table)))
    np.testing.assert_allclose(reconstruction_r2_scorer(pipeline, table), expected, rtol=1e-5)


def test_r2_scorer_of_a_pipeline_in_a_pipeline(table):
    pipeline = make_pipeline(
        QuantileTransformer(n_quantiles=50), make_pipeline(StandardScaler(), PCA(2))
    ).fit(table)
    expected = r2_score(table, pipeline.inverse_transform(pipeline.transform(table)))
    np.testing.assert_allclose(reconstruction_r2_scorer(pipeline, table), expected)


@pytest.mark.parametrize("imputer", [SimpleImputer(), KNNImputer()])
def test_r2_scorer_does_not_count_what_an_imputer_filled_in(imputer, table, rng):
    X = np.where(rng.uniform(size=table.shape) < 0.2, np.nan, table)
    pipeline = make_pipeline(imputer, Halve()).fit(X)
    np.testing.assert_allclose(
        reconstruction_r2_scorer(pipeline, X), reconstruction_r2_score(X, np.nan_to_num(X) / 2)
    )


def test_r2_scorer_stops_where_a_step_cannot_be_inverted(table):
    X = np.exp(table / table.std(axis=0))
    # its inverse_transform does nothing
    pipeline = make_pipeline(FunctionTransformer(np.log), Halve()).fit(X)
    np.testing.assert_allclose(
        reconstruction_r2_scorer(pipeline, X), r2_score(np.log(X), np.log(X) / 2)
    )
    inner = make_pipeline(
        StandardScaler(), make_pipeline(FunctionTransformer(np.log1p), Halve())
    ).fit(np.abs(X))
    seen = np.log1p(inner[0].transform(np.abs(X)) + 9)
    inner[-1].steps[0] = ("log", FunctionTransformer(lambda X: np.log1p(X + 9)))
    np.testing.assert_allclose(reconstruction_r2_scorer(inner, np.abs(X)), r2_score(seen, seen / 2))
    words = pd.DataFrame({"a": list("xyxyxyxx"), "b": list("uuvvuvuv")})
    pipeline = make_pipeline(OneHotEncoder(sparse_output=False), PCA(1)).fit(words)
    assert 0 < reconstruction_r2_scorer(pipeline, words) < 1
    texts = ["one two", "two three", "three one", "one one two"]
    pipeline = make_pipeline(CountVectorizer(), TruncatedSVD(2)).fit(texts)
    assert 0 < reconstruction_r2_scorer(pipeline, texts) < 1


def test_r2_scorer_refuses_what_cannot_reconstruct(table):
    y = np.arange(120) % 2
    with pytest.raises(
        TypeError, match=r"LogisticRegression cannot reconstruct: it needs .* the last step"
    ):
        reconstruction_r2_scorer(make_pipeline(PCA(2), LogisticRegression()).fit(table, y), table)


def test_r2_scorer_in_a_search_compares_losses_and_scalings(table):
    grid = {"loss": ["squared_error", "absolute_error"], "scaling": ["standard", None]}
    search = GridSearchCV(
        AutoencoderTransformer(2, **QUICK), grid, scoring=reconstruction_r2_scorer, cv=2
    ).fit(table)
    scores = search.cv_results_["mean_test_score"]
    assert (scores <= 1).all()
    assert search.best_score_ > 0.5


def test_r2_scorer_among_several(table):
    scoring = {"r2": reconstruction_r2_scorer, "auc": outlier_roc_auc_scorer}
    y = np.where(np.arange(120) % 6 == 0, -1, 1)
    result = cross_validate(
        PCA(2).set_output(transform="pandas"), table, scoring=reconstruction_r2_scorer, cv=3
    )
    assert (result["test_score"] > 0.9).all()
    forest = make_pipeline(StandardScaler(), AutoencoderOutlierDetector(n_estimators=3, **QUICK))
    result = cross_validate(forest, table, y, scoring=scoring, cv=2)
    assert np.isfinite(result["test_r2"]).all()
    assert np.isfinite(result["test_auc"]).all()


# Outliers

LABELS = {
    "the convention": (None, lambda o: np.where(o, -1, 1)),
    "the convention in floats": (None, lambda o: np.where(o, -1.0, 1.0)),
    "1 is the outlier": (1, lambda o: o.astype(int)),
    "0 is the outlier": (0, lambda o: 1 - o.astype(int)),
    "booleans": (True, lambda o: o),
    "a word first in the alphabet": ("bad", lambda o: np.where(o, "bad", "good")),
    "a word last in the alphabet": ("fraud", lambda o: np.where(o, "fraud", "fine")),
    "a list": ("fraud", lambda o: np.where(o, "fraud", "fine").tolist()),
    "a series": ("fraud", lambda o: pd.Series(np.where(o, "fraud", "fine"))),
    "a category": ("fraud", lambda o: pd.Series(np.where(o, "fraud", "fine"), dtype="category")),
    "several kinds of inliers": (
        "fraud",
        lambda o: np.where(o, "fraud", np.where(np.arange(len(o)) % 2, "fine", "new")),
    ),
}


@pytest.mark.parametrize("named", LABELS)
@pytest.mark.parametrize(
    ("metric", "function"),
    [("roc_auc", roc_auc_score), ("average_precision", average_precision_score)],
)
def test_outlier_scorer_understands_labels(named, metric, function, rng):
    outlier_label, label = LABELS[named]
    outliers = np.arange(60) % 5 == 0
    X = rng.normal(size=(60, 1)) - outliers[:, np.newaxis]
    scorer = make_outlier_scorer(metric, outlier_label=outlier_label)
    np.testing.assert_allclose(
        scorer(Column().fit(X), X, label(outliers)), function(outliers, -X[:, 0])
    )


@pytest.mark.parametrize(
    "y", [[0, 1, 0], [False, True, False], ["a", "b", "a"], [1, 2, 2], [1, True, 0]]
)
def test_labels_without_a_name_are_refused_and_the_way_out_is_shown(y):
    with pytest.raises(ValueError, match=r"not clear which is the outlier.*outlier_label="):
        outlier_roc_auc_scorer(
            Column(), np.zeros((3, 1)), np.array(y, dtype=object if y[1] is True else None)
        )


def test_a_label_that_does_not_occur_is_refused():
    with pytest.raises(
        ValueError, match=r"label 'Fraud', but y holds \['fine', 'fraud'\].*StratifiedKFold"
    ):
        make_outlier_scorer(outlier_label="Fraud")(
            Column(), np.zeros((3, 1)), ["fine", "fraud", "fine"]
        )


@pytest.mark.parametrize("y", [[1, 1, 1], [-1, -1, -1]])
def test_labels_of_one_class_are_refused(y):
    with pytest.raises(ValueError, match="both outliers and inliers are needed"):
        outlier_average_precision_scorer(Column(), np.zeros((3, 1)), y)


def test_missing_labels_are_refused():
    with pytest.raises(ValueError, match="missing labels"):
        outlier_roc_auc_scorer(Column(), np.zeros((3, 1)), [1, -1, np.nan])
    with pytest.raises(ValueError, match="needs labels: pass y"):
        outlier_roc_auc_scorer(Column(), np.zeros((3, 1)), None)


def test_unknown_metrics_are_refused():
    with pytest.raises(ValueError, match=r"\['average_precision', 'roc_auc'\], got 'auc'"):
        make_outlier_scorer("auc")


def test_outlier_scorer_refuses_what_cannot_rank(table):
    y = np.where(np.arange(120) % 6 == 0, -1, 1)
    with pytest.raises(TypeError, match=r"LogisticRegression is a classifier"):
        outlier_roc_auc_scorer(LogisticRegression(), table, y)
    with pytest.raises(
        TypeError, match=r"StandardScaler has neither score_samples nor decision_function"
    ):
        outlier_roc_auc_scorer(StandardScaler().fit(table), table, y)


def test_outlier_scorer_takes_weights(rng):
    X, y = rng.normal(size=(40, 1)), np.where(np.arange(40) % 4 == 0, -1, 1)
    weight = rng.uniform(size=40)
    expected = roc_auc_score(y == -1, -X[:, 0], sample_weight=weight)
    np.testing.assert_allclose(
        outlier_roc_auc_scorer(Column(), X, y, sample_weight=weight), expected
    )


def test_outlier_scorer_ranks_by_any_detector(table):
    X = np.r_[
        table,
        table.mean(axis=0)
        + 5 * table.std(axis=0) * np.where(np.arange(6) % 2, 1, -1)[np.newaxis].repeat(12, 0),
    ]
    y = np.r_[np.ones(120), -np.ones(12)]
    detectors = [
        AutoencoderOutlierDetector(n_estimators=3, **QUICK),
        AutoencoderTransformer(2, **QUICK),
        IsolationForest(random_state=0),
        make_pipeline(StandardScaler(), AutoencoderOutlierDetector(n_estimators=3, **QUICK)),
        make_pipeline(StandardScaler(), KernelDensity()),
    ]
    for detector in detectors:
        assert outlier_roc_auc_scorer(detector.fit(table), X, y) > 0.9


def test_a_search_by_words_finds_the_detector_that_is_not_reversed(rng):
    outliers = np.arange(100) % 5 == 0
    # the second column is low for outliers
    X = np.c_[rng.normal(size=100) + 3 * outliers, rng.normal(size=100) - 3 * outliers]
    y = np.where(outliers, "fraud", "good")
    scorer = make_outlier_scorer(outlier_label="fraud")
    search = GridSearchCV(Column(), {"column": [0, 1]}, scoring=scorer, cv=StratifiedKFold(2)).fit(
        X, y
    )
    assert search.best_params_ == {"column": 1}
    assert search.best_score_ > 0.9
    wrong = GridSearchCV(
        Column(), {"column": [0, 1]}, scoring=make_outlier_scorer(outlier_label="good"), cv=2
    ).fit(X, y)
    assert wrong.best_params_ == {"column": 0}


@pytest.mark.parametrize(
    "named", ["the convention", "booleans", "a word last in the alphabet", "a category"]
)
def test_a_search_of_our_detector_by_labels_of_any_kind(named, rng):
    """Without a warning, though ``fit`` is given them too."""
    outlier_label, label = LABELS[named]
    outliers = np.arange(60) % 10 == 0
    X = rng.normal(size=(60, 3)) + 8 * outliers[:, np.newaxis]
    scorer = make_outlier_scorer("roc_auc", outlier_label=outlier_label)
    detector = AutoencoderOutlierDetector(n_estimators=8, **QUICK)
    search = GridSearchCV(
        detector, {"max_samples": [8, 16]}, scoring=scorer, cv=StratifiedKFold(2)
    ).fit(X, label(outliers))
    assert search.best_score_ > 0.9
    assert search.score(X, label(outliers)) > 0.9


def test_a_search_of_our_detector_by_its_convention():
    X, y = load_iris(return_X_y=True)
    X, y = X[:110][::2], np.where(y[:110] == 2, -1, 1)[::2]
    assert (y == -1).sum() == 5
    search = GridSearchCV(
        AutoencoderOutlierDetector(**QUICK),
        {"n_estimators": [2, 4]},
        scoring={"auc": outlier_roc_auc_scorer, "precision": outlier_average_precision_scorer},
        refit="auc",
        cv=StratifiedKFold(2),
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_precision"]).all()


def test_a_search_hands_on_the_weights_that_it_was_given(rng):
    """The outlier that is ranked wrongly weighs nothing."""
    X, y = rng.normal(size=(40, 1)), np.where(np.arange(40) % 4 == 0, -1, 1)
    X[y == -1] -= 9
    X[0] = 9
    weight = np.ones(40)
    weight[0] = 0
    for scoring in (outlier_roc_auc_scorer, {"auc": outlier_roc_auc_scorer}):
        search = GridSearchCV(
            Column(), {"column": [0]}, scoring=scoring, refit="auc", cv=StratifiedKFold(2)
        )
        assert search.fit(X, y).best_score_ < 1
        weighted = search.fit(X, y, sample_weight=weight).best_score_
        assert weighted == 1 or not SEARCH_HANDS_ON_WEIGHTS


def test_scorers_work_under_metadata_routing(table):
    with config_context(enable_metadata_routing=True):
        result = cross_validate(
            PCA(2), table, scoring={"r2": reconstruction_r2_scorer}, cv=2, params={}
        )
    assert np.isfinite(result["test_r2"]).all()


SCORERS = [
    (reconstruction_r2_scorer, "reconstruction_r2_scorer"),
    (outlier_roc_auc_scorer, "make_outlier_scorer('roc_auc')"),
    (outlier_average_precision_scorer, "make_outlier_scorer('average_precision')"),
    (
        make_outlier_scorer(outlier_label="fraud"),
        "make_outlier_scorer('roc_auc', outlier_label='fraud')",
    ),
]


@pytest.mark.parametrize(("scorer", "text"), SCORERS)
def test_scorers_are_pickled_cloned_and_printed(scorer, text):
    assert repr(scorer) == text
    assert eval(text, vars(metrics_file)) == scorer
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    assert clone(GridSearchCV(PCA(), {}, scoring=scorer)).scoring == scorer
    assert text in repr(GridSearchCV(PCA(), {}, scoring=scorer))


@pytest.mark.slow
def test_scorers_work_in_several_processes(table):
    y = np.where(np.arange(120) % 6 == 0, "odd", "even")
    scoring = {"auc": make_outlier_scorer(outlier_label="odd")}
    result = cross_validate(
        IsolationForest(n_estimators=5), table, y, scoring=scoring, cv=StratifiedKFold(2), n_jobs=2
    )
    assert np.isfinite(result["test_auc"]).all()

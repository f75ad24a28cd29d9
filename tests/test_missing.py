"""Missing values: in every method, with every part, and as an imputer."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data.scaling import KINDS, Scaling, fit_scaling
from sklearn_ae._data.sources import ArraySource
from sklearn_ae._losses import LOSSES, SquaredError
from sklearn_ae._network.filling import MOST_DIRECTIONS, Filler, GapFiller, normal_of
from sklearn_ae.latents import Variational
from tests.helpers import ARCHITECTURES, CORRUPTIONS, LATENTS, QUICK, pairwise

MODELS = {
    "transformer": AutoencoderTransformer(2, **QUICK),
    "variational": AutoencoderTransformer(2, latent=Variational(), **QUICK),
    "detector": AutoencoderOutlierDetector(n_estimators=5, **QUICK),
    "single": AutoencoderOutlierDetector(n_estimators=1, **QUICK),
}
# three epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def methods(model):
    names = ["transform", "reconstruct", "score_samples", "reconstruction_errors"]
    return names + ["predict", "decision_function", "p_values", "feature_contributions"] * hasattr(
        model, "predict"
    )


def with_gaps(X, rng, share=0.2):
    return np.where(rng.random(X.shape) < share, np.nan, X)


@pytest.fixture
def holed(table, rng):
    return with_gaps(table, rng)


@pytest.fixture(params=MODELS)
def model(request):
    return clone(MODELS[request.param])


def test_gaps_in_every_method(model, holed):
    model.fit(holed)
    for name in methods(model):
        result = getattr(model, name)(holed)
        assert len(result) == len(holed)
        missing = (
            np.isnan(holed) if name == "reconstruction_errors" else np.zeros(result.shape, bool)
        )
        np.testing.assert_array_equal(np.isnan(result), missing)
    assert np.isfinite(model.score(holed))
    assert np.isfinite(model.sample(10)).all()


def test_a_row_gives_the_same_result_in_any_batch(model, holed, rng):
    model.fit(holed)
    X = with_gaps(np.nan_to_num(holed)[rng.integers(len(holed), size=5_000)], rng)
    order = rng.permutation(len(X))
    for name in methods(model):
        method = getattr(model, name)
        result = method(X)
        np.testing.assert_array_equal(method(X[order]), result[order])
        np.testing.assert_array_equal(method(X[7:8]), result[7:8])


def test_complete_rows_beside_rows_with_gaps_give_equal_results(model, holed, table):
    model.fit(holed)
    both = np.vstack([holed, table])
    for name in methods(model):
        # beside masks, rounding decides on which side of a step a row is: of a margin, or of one of
        # the 24 held-out scores
        step = 1 / 25 if name == "p_values" else 0
        found, expected = getattr(model, name)(both)[len(holed) :], getattr(model, name)(table)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 + step)


def test_scores_are_means_over_what_was_observed(holed):
    model = clone(MODELS["transformer"]).fit(holed)
    np.testing.assert_allclose(
        -model.score_samples(holed),
        np.nanmean(model.reconstruction_errors(holed), axis=1),
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", ["detector", "single"])
def test_contributions_sum_to_the_score_and_gaps_contribute_nothing_of_their_own(name, holed):
    model = clone(MODELS[name]).fit(holed)
    contributions = model.feature_contributions(holed)
    np.testing.assert_allclose(contributions.sum(1), -model.score_samples(holed), rtol=1e-4)
    assert (contributions[np.isnan(holed)] == 0).all()


# What stands for a gap


def with_junk(X):
    x, mask = torch.from_numpy(np.nan_to_num(X)), torch.from_numpy(~np.isnan(X))
    return x, torch.where(mask, x, 1e4), mask


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_a_gap_does_not_change_the_scaling_of_others(kind, holed):
    x, junk, mask = with_junk(holed)
    scale = fit_scaling(kind, ArraySource(holed), np.random.RandomState(0)).transform_for(x.dtype)
    assert torch.equal(
        torch.where(mask, scale(x, mask), 0), torch.where(mask, scale(junk, mask), 0)
    )


def test_what_stands_in_a_gap_does_not_reach_the_network(model, holed):
    score = model.fit(holed)._model.score
    x, junk, mask = (
        part.float() if part.is_floating_point() else part for part in with_junk(holed)
    )
    with torch.inference_mode():
        for method in (
            score.network.encode,
            score.network.reconstruct,
            score.outlyingness,
            score.contributions,
        ):
            assert torch.equal(method(x, mask), method(junk, mask))


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean"])
def test_pandas_nullable_columns(dtype, rng):
    values = rng.integers(2, size=(60, 4))
    gone = rng.random(values.shape) < 0.2
    frame = pd.DataFrame(values).astype(dtype).mask(gone)
    assert frame.isna().to_numpy().any()
    X = np.where(gone, np.nan, values)
    model = AutoencoderTransformer(2, **QUICK).fit(frame)
    plain = AutoencoderTransformer(2, **QUICK).fit(X)
    np.testing.assert_array_equal(model.transform(frame), plain.transform(X))
    assert np.isfinite(model.reconstruct(frame)).all()


@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")
@pytest.mark.parametrize("nothing", [None, pd.NA, np.nan])
@pytest.mark.parametrize("frame", [False, True])
def test_none_in_object_arrays_is_missing(nothing, frame, holed):
    objects = holed.astype(object)
    objects[np.isnan(holed)] = nothing
    given = pd.DataFrame(objects, columns=list("abcdef")) if frame else objects
    model = AutoencoderTransformer(2, **QUICK).fit(given)
    np.testing.assert_array_equal(
        model.transform(given), AutoencoderTransformer(2, **QUICK).fit(holed).transform(holed)
    )


def test_polars_nulls(holed):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(holed, schema=list("abcdef")).fill_nan(None)
    assert frame["a"].null_count()
    model = AutoencoderTransformer(2, **QUICK).fit(frame)
    np.testing.assert_array_equal(
        model.transform(frame), AutoencoderTransformer(2, **QUICK).fit(holed).transform(holed)
    )


def test_float32_stays_float32(holed):
    model = AutoencoderTransformer(2, **QUICK).fit(holed.astype(np.float32))
    assert model.reconstruct(holed.astype(np.float32)).dtype == np.float32


# Where gaps are


def test_gaps_in_new_rows_only(model, table, holed):
    model.fit(table)
    for name in methods(model):
        result = getattr(model, name)(holed)
        assert name == "reconstruction_errors" or np.isfinite(result).all()


def test_gaps_in_training_rows_only(model, table, holed):
    model.fit(holed)
    for name in methods(model):
        assert np.isfinite(getattr(model, name)(table)).all()


def test_a_row_without_any_value_gets_finite_answers(model, holed):
    holed[3] = np.nan
    model.fit(holed)
    for name in methods(model):
        assert name == "reconstruction_errors" or np.isfinite(getattr(model, name)(holed)).all()
    assert hasattr(model, "predict") or model.score_samples(holed)[3] == 0


def test_a_column_without_any_value_is_refused(model, holed):
    holed[:, [1, 4]] = np.nan
    with pytest.raises(ValueError, match="only missing values in column 1, 4"):
        model.fit(holed)


def test_a_constant_column_and_a_column_with_one_value(holed):
    holed[:, 0] = np.where(np.isnan(holed[:, 0]), np.nan, 5.0)
    holed[1:, 1] = np.nan
    holed[0, 1] = 7.0
    model = AutoencoderTransformer(2, **QUICK).fit(holed)
    filled = model.reconstruct(holed)
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[:, 0], 5.0, atol=0.5)
    np.testing.assert_allclose(filled[:, 1], 7.0, atol=0.5)


def test_few_rows():
    X = np.array([[1.0, np.nan], [np.nan, 2.0], [3.0, 4.0]])
    assert np.isfinite(AutoencoderTransformer(1, **QUICK).fit(X).reconstruct(X)).all()


def test_sparse_rows_with_gaps(rng):
    sparse = pytest.importorskip("scipy.sparse")
    X = np.where(rng.random((80, 7)) < 0.5, 0, rng.normal(size=(80, 7)))
    X[::5, 2] = np.nan
    model = AutoencoderTransformer(2, **QUICK).fit(sparse.csr_array(X))
    np.testing.assert_allclose(
        model.reconstruct(sparse.csr_array(X)), model.reconstruct(X), rtol=1e-6
    )


def test_sparse_rows_of_which_those_learnt_from_have_no_gaps(rng):
    sparse = pytest.importorskip("scipy.sparse")
    X = np.where(rng.random((1_200, 4)) < 0.5, 0, rng.normal(size=(1_200, 4)))
    X[5, 2] = np.nan
    for seed in range(8):  # in some of them the gap is held out
        model = AutoencoderTransformer(2, max_epochs=1, random_state=seed).fit(sparse.csr_array(X))
        assert np.isfinite(model.reconstruct(X)).all()


# Together with the rest


def test_sample_weight(holed, rng):
    weight = rng.integers(0, 3, size=len(holed))
    model = AutoencoderTransformer(2, **QUICK).fit(holed, sample_weight=weight)
    assert np.isfinite(model.reconstruct(holed)).all()
    other = holed.copy()
    other[weight == 0] = 1e6 * rng.normal(size=(int((weight == 0).sum()), 6))
    again = AutoencoderTransformer(2, **QUICK).fit(other, sample_weight=weight)
    np.testing.assert_array_equal(again.reconstruct(holed), model.reconstruct(holed))


def test_pickling(model, holed):
    model.fit(holed)
    again = pickle.loads(pickle.dumps(model))
    for name in methods(model):
        np.testing.assert_array_equal(getattr(again, name)(holed), getattr(model, name)(holed))


def test_warm_start(holed):
    model = AutoencoderTransformer(2, warm_start=True, **QUICK).fit(holed)
    filler = model.net_.module_.filler.factor.clone()
    model.fit(holed[:100])
    assert torch.equal(model.net_.module_.filler.factor, filler)
    assert np.isfinite(model.reconstruct(holed)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "corruption", "latent", "loss"),
    pairwise(ARCHITECTURES, CORRUPTIONS, [None, *LATENTS], LOSSES),
)
def test_parts_with_gaps(architecture, corruption, latent, loss, table, rng):
    X = with_gaps((table - table.min(0)) / np.ptp(table, axis=0), rng)
    parts = {
        "architecture": ARCHITECTURES[architecture](X.shape[1]),
        "corruption": CORRUPTIONS[corruption](),
        "latent": latent and LATENTS[latent](),
        "loss": loss,
    }
    model = AutoencoderTransformer(2, **parts, max_epochs=1, random_state=0).fit(X)
    filled = model.reconstruct(X)
    assert np.isfinite(filled).all()
    if loss == "binary_cross_entropy":
        assert ((filled >= 0) & (filled <= 1)).all()
    assert np.isfinite(model.transform(X)).all()
    np.testing.assert_allclose(
        np.nanmean(model.reconstruction_errors(X), axis=1),
        -model.score_samples(X),
        rtol=1e-4,
        atol=1e-7,
    )
    detector = AutoencoderOutlierDetector(
        2, n_estimators=3, **parts, max_epochs=1, random_state=0
    ).fit(X)
    assert detector.net_.module_.mode != "loop"
    assert np.isfinite(detector.score_samples(X)).all()


def test_complete_data_have_no_filler_and_an_empty_mask_changes_no_bit(table):
    model = AutoencoderTransformer(2, **QUICK).fit(table)
    module = model.net_.module_
    assert module.filler is None
    assert not any("filler" in name for name in module.state_dict())
    x = Scaling().transform_for(torch.float64)(torch.from_numpy(table / 100))
    mask = torch.ones_like(x, dtype=torch.bool)
    with torch.no_grad():
        for method in (module.encode, module.reconstruct, module.raw_output):
            assert torch.equal(method(x), method(x, mask))


def test_detector_and_whitening_of_complete_rows_change_no_bit(table):
    detector = AutoencoderOutlierDetector(n_estimators=3, **QUICK).fit(table)
    x = torch.from_numpy(table)
    scale = detector._model.scaling.transform_for(x.dtype)
    assert torch.equal(scale(x), scale(x, torch.ones_like(x, dtype=torch.bool)))


# Closed forms


def normal_rows(rng, n=2_000, d=6):
    factor = rng.normal(size=(d, 3))
    covariance = factor @ factor.T + 0.2 * np.eye(d)
    covariance /= np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    return rng.multivariate_normal(np.zeros(d), covariance, size=n), covariance


def conditional_means(X, mean, covariance):
    filled = X.copy()
    for row in filled:
        gone = np.isnan(row)
        if gone.any():
            weights = np.linalg.solve(
                covariance[np.ix_(~gone, ~gone)], covariance[np.ix_(~gone, gone)]
            )
            row[gone] = mean[gone] + (row[~gone] - mean[~gone]) @ weights
    return filled


def test_em_finds_the_covariance(rng):
    X, covariance = normal_rows(rng, n=4_000)
    holed = with_gaps(X, rng, 0.3)
    found = normal_of(torch.from_numpy(np.nan_to_num(holed)), torch.from_numpy(~np.isnan(holed)))
    np.testing.assert_allclose(found[0], 0, atol=0.08)
    np.testing.assert_allclose(found[1], covariance, atol=0.08)


def test_em_of_complete_rows_is_their_covariance(rng):
    X, _ = normal_rows(rng)
    mean, covariance = normal_of(torch.from_numpy(X), torch.ones(X.shape, dtype=torch.bool))
    np.testing.assert_allclose(mean, X.mean(0), atol=1e-8)
    np.testing.assert_allclose(covariance, np.cov(X.T, bias=True), atol=2e-3)


def test_the_filler_gives_conditional_means(rng):
    X, _ = normal_rows(rng)
    holed = with_gaps(X, rng, 0.4)
    holed[0] = np.nan
    filler = GapFiller(X.shape[1])
    x, mask = torch.from_numpy(np.nan_to_num(holed)).float(), torch.from_numpy(~np.isnan(holed))
    filler.start(x, mask)
    covariance = (
        (filler.factor @ filler.factor.T + filler.noise * torch.eye(X.shape[1])).double().numpy()
    )
    expected = conditional_means(holed, filler.mean.double().numpy(), covariance)
    np.testing.assert_allclose(filler.conditional_mean(x, mask).numpy(), expected, atol=2e-3)
    np.testing.assert_allclose(
        filler(x, mask, SquaredError())[0].numpy(force=True), expected, atol=2e-3
    )
    np.testing.assert_allclose(filler.exact_mean(x, mask).numpy(), expected, atol=1e-4)


@pytest.mark.slow
def test_imputation_of_normal_data_comes_close_to_the_conditional_mean(rng):
    X, covariance = normal_rows(rng)
    holed = with_gaps(X, rng)
    gone = np.isnan(holed)
    model = AutoencoderTransformer(3, max_epochs=30, random_state=0).fit(holed)
    best = np.mean((conditional_means(holed, np.zeros(6), covariance) - X)[gone] ** 2)
    assert np.mean((model.reconstruct(holed) - X)[gone] ** 2) < 1.06 * best


def test_imputation_of_rank_three_rows(rng):
    X = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 10)) + 0.1 * rng.normal(size=(600, 10))
    holed = with_gaps(X, rng)
    model = AutoencoderTransformer(3, max_epochs=10, random_state=0).fit(holed)
    assert np.sqrt(np.mean((model.reconstruct(holed) - X)[np.isnan(holed)] ** 2)) < 0.2


def test_imputation_of_wide_rows(rng):
    d = MOST_DIRECTIONS + 40
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, d)) + 0.1 * rng.normal(size=(300, d))
    holed = with_gaps(X, rng)
    model = AutoencoderTransformer(3, **QUICK).fit(holed)
    assert np.sqrt(np.mean((model.reconstruct(holed) - X)[np.isnan(holed)] ** 2)) < 0.5


def test_a_filler_that_was_not_started_gives_zeros():
    filler = GapFiller(3)
    x, mask = torch.tensor([[1.0, 0, 0]]), torch.tensor([[True, False, False]])
    assert torch.equal(filler(x, mask, SquaredError())[0], x)


def test_masking_hides_observed_values_only(rng):
    torch.manual_seed(0)
    mask = torch.from_numpy(rng.random((4_000, 8)) < 0.8)
    hidden = Filler().hide(mask)
    assert not (hidden & ~mask).any()
    assert 0.1 < (mask & ~hidden).float().mean() < 0.3

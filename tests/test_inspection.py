"""Displays: what is drawn is what was computed, with names, units, and errors that show the way
out.
"""

import inspect as python_inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer, inspection
from sklearn_ae.inspection import (
    ExplainedVarianceDisplay,
    FeatureContributionDisplay,
    LatentSpaceDisplay,
    LatentTraversalDisplay,
    LossCurveDisplay,
    OutlierScoreDisplay,
    ReconstructionDisplay,
)
from sklearn_ae.metrics import reconstruction_r2_scorer
from tests.helpers import QUICK

mpl = pytest.importorskip("matplotlib")
plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DISPLAYS = [getattr(inspection, name) for name in inspection.__all__]
NAMES = ["red", "green", "blue", "near", "far", "up"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(120, 6))
    return pd.DataFrame(X * [1, 10, 100, 0.1, 1, 5] + [0, 5, -100, 3, 0, 1], columns=NAMES)


@pytest.fixture(scope="module")
def model(X):
    return AutoencoderTransformer(2, **QUICK).fit(X)


@pytest.fixture(scope="module")
def detector(X):
    return AutoencoderOutlierDetector(n_estimators=4, **QUICK).fit(X)


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def tick_names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


# All of them


@pytest.mark.parametrize("display", DISPLAYS)
def test_arguments_are_kept_as_they_are(display):
    names = list(python_inspect.signature(display).parameters)
    values = {name: object() for name in names}
    made = display(**values)
    assert vars(made) == values


@pytest.mark.parametrize("display", DISPLAYS)
def test_without_matplotlib_the_error_names_the_extra(display, monkeypatch, X, model):
    made = {"LossCurveDisplay": [model], "ReconstructionDisplay": [model, X]}
    arguments = made.get(display.__name__, [None, X])  # what cannot be computed is not reached
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    error = rf"{display.__name__} needs matplotlib.*pip install sklearn-ae\[plot\]"
    with pytest.raises(ImportError, match=error):
        display.from_estimator(*arguments)


def test_what_is_computed_already_needs_matplotlib_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="LossCurveDisplay needs matplotlib"):
        LossCurveDisplay(train_loss=[1.0]).plot()
    with pytest.raises(ImportError, match="OutlierScoreDisplay needs matplotlib"):
        OutlierScoreDisplay.from_predictions([1.0])


@pytest.mark.slow
def test_matplotlib_is_imported_only_when_plotting():
    code = "import sys, sklearn_ae.inspection; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_display_is_drawn_into_axes_of_ones_own_and_again(X, model):
    figure, ax = plt.subplots()
    display = LatentSpaceDisplay.from_estimator(model, X, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    again = display.plot()
    assert again is display
    assert display.ax_ is not ax
    np.testing.assert_array_equal(
        display.ax_.collections[0].get_offsets(), ax.collections[0].get_offsets()
    )


def test_one_ax_is_divided_and_many_are_taken(X):
    codes = PCA(3).fit_transform(X)
    figure, axes = plt.subplots(1, 2)
    divided = LatentSpaceDisplay.from_predictions(codes, ax=axes[0])
    assert divided.axes_.shape == (3, 3)
    assert divided.figure_ is figure
    _, grid = plt.subplots(3, 3)
    taken = LatentSpaceDisplay.from_predictions(codes, ax=grid)
    assert (taken.axes_ == grid).all()
    with pytest.raises(ValueError, match="ax holds 2 axes, but 9 are needed"):
        LatentSpaceDisplay.from_predictions(codes, ax=axes)
    with pytest.raises(ValueError, match=r"make it by plt\.subplots"):
        LatentSpaceDisplay.from_predictions(codes, ax=figure.add_axes((0, 0, 1, 1)))


def test_a_hundred_classes_are_told_apart_by_colour_and_marker(rng):
    display = LatentSpaceDisplay.from_predictions(
        rng.normal(size=(100, 2)), np.arange(100), kind="class"
    )
    looks = {
        (*points.get_facecolor()[0], *points.get_paths()[0].vertices.ravel())
        for points in display.ax_.collections
    }
    assert len(looks) == 100


def test_many_classes_are_named_beside_the_panel(rng):
    y = [f"class {k:03d} of those that have a very long name, number {k}" for k in range(50)]
    display = LatentSpaceDisplay.from_predictions(rng.normal(size=(50, 2)), y)
    legend = display.ax_.get_legend()
    assert texts(legend)[0] == "class 000 of t…ame, number 0"  # names differ at either end
    assert [*texts(legend)[19:]] == ["class 019 of t…me, number 19", "… and 30 more"]
    display.figure_.canvas.draw()
    assert legend.get_window_extent().x0 >= display.ax_.get_window_extent().x1


def test_text_is_smaller_in_small_panels(X, detector):
    _, axes = plt.subplots(2, 2, figsize=(6, 5))
    small = OutlierScoreDisplay.from_estimator(detector, X, ax=axes[0, 0])
    large = OutlierScoreDisplay.from_estimator(detector, X)
    for text in (
        lambda ax: ax.xaxis.label,
        lambda ax: ax.get_legend().get_texts()[0],
        lambda ax: ax.get_yticklabels()[0],
    ):
        assert text(small.ax_).get_fontsize() < text(large.ax_).get_fontsize()
    before = small.ax_.xaxis.label.get_fontsize()
    assert small.plot(ax=small.axes_).ax_.xaxis.label.get_fontsize() == before


@pytest.mark.parametrize(
    "style", ["default", pytest.param("dark_background", marks=pytest.mark.slow)]
)
def test_all_that_is_drawn_is_seen_on_its_background(style, X, model, detector):
    with plt.style.context(style):
        y = np.arange(120) % 10
        displays = [
            LossCurveDisplay.from_estimator(model, start_loss=1.0),
            LatentSpaceDisplay.from_estimator(model, X, y),
            OutlierScoreDisplay.from_estimator(detector, X, y),
            ReconstructionDisplay.from_estimator(model, X),
            FeatureContributionDisplay.from_estimator(detector, X),
        ]
        for display in displays:
            display.figure_.canvas.draw()
            for ax in display.axes_.flat:
                background = np.array(mpl.colors.to_rgb(ax.get_facecolor()))
                colors = [line.get_color() for line in ax.lines]
                colors += [patch.get_edgecolor() for patch in ax.patches] * (display is displays[2])
                colors += [points.get_facecolor()[0] for points in ax.collections]
                for color in colors:
                    assert np.abs(np.array(mpl.colors.to_rgb(color)) - background).max() > 0.2


# Training


def test_loss_curves_are_the_estimators(X):
    model = AutoencoderTransformer(2, **QUICK).fit(X)
    # an estimator that does not tell: the lowest loss is marked
    vars(model).pop("best_epoch_", None)
    display = LossCurveDisplay.from_estimator(
        make_pipeline(StandardScaler(), model), start_loss=0.7
    )
    np.testing.assert_array_equal(display.train_line_.get_ydata(), model.loss_curve_)
    np.testing.assert_array_equal(display.train_line_.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(
        display.validation_line_.get_ydata(), model.validation_loss_curve_
    )
    assert display.start_line_.get_ydata()[0] == 0.7
    best = int(np.argmin(model.validation_loss_curve_))
    assert display.best_line_.get_xdata()[0] == best + 1
    assert display.best_line_.get_ydata()[0] == model.validation_loss_curve_[best]
    assert texts(display.ax_.get_legend()) == [
        "training",
        "validation",
        "before training (validation)",
        f"best: epoch {best + 1}",
    ]
    assert display.ax_.get_xlabel() == "Epoch"


@pytest.mark.parametrize(
    ("best_epoch_", "drawn", "label"), [(0, 0, "best: the start"), (1, 1, "best: epoch 1")]
)
def test_the_epoch_that_the_estimator_kept_is_marked(best_epoch_, drawn, label, X):
    model = AutoencoderTransformer(2, **QUICK).fit(X)
    model.best_epoch_ = best_epoch_
    display = LossCurveDisplay.from_estimator(model, start_loss=0.7)
    assert display.best_line_.get_xdata()[0] == drawn
    assert label in texts(display.ax_.get_legend())
    assert display.plot().best_line_.get_ydata()[0] == (
        0.7 if drawn == 0 else model.validation_loss_curve_[0]
    )
    unknown = LossCurveDisplay.from_estimator(model)
    assert unknown.best_line_.get_xdata()[0] == drawn


def test_after_a_warm_start_epochs_are_counted_from_the_first_fit(X):
    model = AutoencoderTransformer(2, warm_start=True, **QUICK).fit(X).fit(X)
    model.best_epoch_ = 1
    display = LossCurveDisplay.from_estimator(model)
    assert len(display.train_loss) == 6
    assert display.best_epoch == 4


def test_no_validation_no_line(detector):
    detector.best_epoch_ = 3  # the last one, which nothing has chosen
    display = LossCurveDisplay.from_estimator(detector)
    assert display.validation_line_ is None
    assert display.best_line_ is None
    assert texts(display.ax_.get_legend()) == ["training"]


@pytest.mark.parametrize(
    ("losses", "log", "scale"),
    [
        ([20, 1], "auto", "log"),
        ([2, 1], "auto", "linear"),
        ([20, -1], "auto", "linear"),
        ([20, 1], False, "linear"),
    ],
)
def test_losses_over_decades_are_drawn_on_a_logarithmic_axis(losses, log, scale):
    assert LossCurveDisplay(train_loss=losses).plot(log=log).ax_.get_yscale() == scale


# Codes


def test_classes_have_a_colour_and_a_marker_each(X, model):
    y = np.where(np.arange(120) < 50, "small", "large")
    display = LatentSpaceDisplay.from_estimator(model, X, y, target_name="size")
    Z = model.transform(X)
    large, small = display.ax_.collections  # in the order of the alphabet
    np.testing.assert_allclose(large.get_offsets(), Z[50:])
    np.testing.assert_allclose(small.get_offsets(), Z[:50])
    assert not np.array_equal(large.get_facecolors(), small.get_facecolors())
    assert not np.array_equal(large.get_paths()[0].vertices, small.get_paths()[0].vertices)
    legend = display.ax_.get_legend()
    assert texts(legend) == ["large", "small"]
    assert legend.get_title().get_text() == "size"
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("component 0", "component 1")


def test_values_have_a_colour_bar_with_their_name(X, model):
    display = LatentSpaceDisplay.from_estimator(model, X, X["far"])
    (points,) = display.ax_.collections
    np.testing.assert_array_equal(points.get_array(), X["far"])
    assert display.target_kind == "value"
    assert [bar.get_ylabel() for bar in display.ax_.child_axes] == ["far"]


def test_codes_are_coloured_by_their_score(X, model):
    display = LatentSpaceDisplay.from_estimator(model, X, "score")
    np.testing.assert_allclose(display.ax_.collections[0].get_array(), model.score_samples(X))
    with pytest.raises(ValueError, match="or 'score', got 'scores'"):
        LatentSpaceDisplay.from_estimator(model, X, "scores")


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (np.arange(30) % 3, "class"),
        (np.arange(30) % 2 == 0, "class"),
        (np.where(np.arange(30) < 3, np.nan, np.arange(30) % 2), "class"),
        (np.arange(30), "value"),
        (np.arange(30) % 3 + 0.5, "value"),
    ],
)
def test_classes_and_values_are_told_apart(y, kind, rng):
    display = LatentSpaceDisplay.from_predictions(rng.normal(size=(30, 2)), y)
    assert display.target_kind == kind
    other = "class" if kind == "value" else "value"
    assert (
        LatentSpaceDisplay.from_predictions(rng.normal(size=(30, 2)), y, kind=other).target_kind
        == other
    )


def test_rows_without_a_label_are_drawn_and_named(rng):
    y = np.array(["a", None] * 15, dtype=object)
    display = LatentSpaceDisplay.from_predictions(rng.normal(size=(30, 2)), y)
    assert texts(display.ax_.get_legend()) == ["a", "not labelled"]
    assert [len(points.get_offsets()) for points in display.ax_.collections] == [15, 15]


@pytest.mark.slow
def test_many_components_are_a_matrix_of_pairs(rng):
    codes = rng.normal(size=(40, 7)) * [1, 9, 8, 2, 7, 6, 5]
    display = LatentSpaceDisplay.from_predictions(codes, np.arange(40) % 2)
    # the largest variances
    assert display.component_names == [f"component {k}" for k in (1, 2, 4, 5, 6)]
    assert display.axes_.shape == (5, 5)
    np.testing.assert_array_equal(
        display.axes_[3, 1].collections[0].get_offsets(), codes[::2][:, [2, 5]]
    )
    assert display.axes_[4, 1].get_xlabel() == "component 2"
    assert display.axes_[3, 0].get_ylabel() == "component 5"
    assert not display.axes_[0, 1].axison
    assert texts(display.axes_[0, -1].get_legend()) == ["0", "1"]
    three = LatentSpaceDisplay.from_predictions(codes, components=[0, 3, 6])
    np.testing.assert_array_equal(three.codes, codes[:, [0, 3, 6]])
    with pytest.raises(ValueError, match="from 0 to 6: a code has 7"):
        LatentSpaceDisplay.from_predictions(codes, components=[7])


def test_a_single_component_is_a_histogram(rng):
    codes = rng.normal(size=(40, 1))
    display = LatentSpaceDisplay.from_predictions(codes)
    heights = [patch.get_height() for patch in display.ax_.patches]
    np.testing.assert_array_equal(heights, np.histogram(codes, bins=20)[0])


def test_many_rows_are_thinned(X, model):
    display = LatentSpaceDisplay.from_estimator(model, X, np.arange(120) % 2, max_samples=30)
    assert display.codes.shape == (30, 2)
    Z = model.transform(X)
    rows = [int(np.flatnonzero((Z == code).all(axis=1))[0]) for code in display.codes]
    assert len(set(rows)) == 30
    np.testing.assert_array_equal(display.target, np.array(rows) % 2)  # labels go with their rows


def test_labels_of_another_length_are_refused(X, model):
    assert LatentSpaceDisplay.from_estimator(model, X, np.zeros((120, 1), int)).target.shape == (
        120,
    )
    with pytest.raises(ValueError, match=r"one value for each of the 120 rows, got shape \(3,\)"):
        LatentSpaceDisplay.from_estimator(model, X, [1, 2, 3])


# Traversals


def test_a_traversal_of_pca_is_its_components(X):
    """Decoded along component j, PCA gives mean + t s_j times the component."""
    pca = PCA(2).fit(X)
    display = LatentTraversalDisplay.from_estimator(pca, X, n_steps=3, span=1.5, standardize=False)
    deviation = pca.transform(X).std(axis=0)
    for j in range(2):
        expected = X.mean().to_numpy() + np.outer([-1.5, 0, 1.5], deviation[j] * pca.components_[j])
        np.testing.assert_allclose(display.decoded[j], expected, rtol=1e-6)
        drawn = [line.get_ydata() for line in display.axes_[j, 0].lines]
        np.testing.assert_allclose(drawn, expected, rtol=1e-6)
        assert display.axes_[j, 0].get_title(loc="left") == f"component {j}"
    assert tick_names(display.axes_[-1, 0].xaxis) == NAMES
    assert texts(display.axes_[0, 0].get_legend()) == ["1.5", "0", "−1.5"]


def test_profiles_are_standardized_so_that_units_do_not_matter(X):
    pca = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    display = LatentTraversalDisplay.from_estimator(pca, X)
    scaled = X * [1e3, 1e-3, 7, 1, 1, 1]
    other = LatentTraversalDisplay.from_estimator(
        make_pipeline(StandardScaler(), PCA(2)).fit(scaled), scaled
    )
    for one, two in zip(display.axes_[:, 0], other.axes_[:, 0], strict=True):
        drawn = [np.array([line.get_ydata() for line in panel.lines]) for panel in (one, two)]
        assert len(drawn[0]) == 5
        np.testing.assert_allclose(*drawn, atol=1e-8)
        np.testing.assert_allclose(drawn[0][2], 0, atol=1e-12)


def test_a_plane_moves_two_components(X):
    pca = PCA(3).fit(X)
    display = LatentTraversalDisplay.from_estimator(
        pca, X, plane=True, components=[0, 2], n_steps=3, span=1, standardize=False
    )
    deviation = pca.transform(X).std(axis=0)
    expected = X.mean() + deviation[0] * pca.components_[0] - deviation[2] * pca.components_[2]
    # the second component is down, the first to the right
    np.testing.assert_allclose(display.decoded[0, 2], expected)
    assert display.ax_.get_ylabel() == "component 2"
    assert display.ax_.get_xlabel().startswith("component 0")
    profiles = [line for line in display.ax_.lines if len(line.get_xdata()) == 6]
    assert len(profiles) == 9
    low, high = display.decoded.min(), display.decoded.max()
    np.testing.assert_allclose(
        profiles[2].get_ydata(), 0.84 * ((expected - low) / (high - low) - 0.5), atol=1e-9
    )


@pytest.mark.parametrize("plane", [False, True])
@pytest.mark.parametrize("image_shape", [(2, 3), (1, 2, 3)])
def test_images_lie_where_their_ticks_are(plane, image_shape, X):
    pca = PCA(2).fit(X)
    display = LatentTraversalDisplay.from_estimator(
        pca, X, image_shape=image_shape, plane=plane, n_steps=3, span=1
    )
    picture = display.ax_.images[0].get_array()
    ticks_x, ticks_y = display.ax_.get_xticks(), display.ax_.get_yticks()
    names = ["1", "0", "−1"] if plane else ["component 0", "component 1"]
    assert tick_names(display.ax_.yaxis) == names
    assert tick_names(display.ax_.xaxis) == ["−1", "0", "1"]
    for i, up in enumerate(ticks_y):
        for j, across in enumerate(ticks_x):
            top, left = int(up - 0.5), int(across - 1)
            decoded = display.decoded[len(ticks_y) - 1 - i if plane else i, j]
            np.testing.assert_allclose(
                picture[top : top + 2, left : left + 3], decoded.reshape(2, 3)
            )


def test_an_estimator_that_is_not_inverted_all_the_way_is_shown_in_its_last_steps_input(X):
    class NoInverse(StandardScaler):
        inverse_transform = property()  # raises AttributeError

    pipeline = make_pipeline(NoInverse(), PCA(2)).fit(X)
    display = LatentTraversalDisplay.from_estimator(pipeline, X)
    np.testing.assert_allclose(display.middle, 0, atol=1e-9)
    assert display.decoded.shape == (2, 5, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": [2]}, r"components=\[2\] must be from 0 to 1: a code has 2"),
        ({"components": [0], "plane": True}, r"A plane needs two components, got components=\[0\]"),
        ({"n_steps": 1}, "n_steps must be at least 2"),
        ({"span": 0}, "span over 0"),
        ({"image_shape": (2, 2)}, r"image_shape=\(2, 2\) has 4 values, but a row has 6"),
        ({"image_shape": (2, 3, 1)}, r"\(3, height, width\), channels first, got \(2, 3, 1\)"),
    ],
)
def test_traversals_that_cannot_be(options, message, X, model):
    with pytest.raises(ValueError, match=message):
        LatentTraversalDisplay.from_estimator(model, X, **options)


def test_a_plane_of_one_component_is_refused(X):
    with pytest.raises(ValueError, match=r"two components, got components=\[0\]; .* plane=False"):
        LatentTraversalDisplay.from_estimator(PCA(1).fit(X), X, plane=True)


# Reconstructions


def test_profiles_of_rows_and_their_errors(X, model):
    display = ReconstructionDisplay.from_estimator(model, X, rows=[4, 7], standardize=False)
    original, reconstructed = X.to_numpy()[[4, 7]], model.reconstruct(X)[[4, 7]]
    for i in range(2):
        above, below = display.axes_[:, i]
        np.testing.assert_allclose(
            [line.get_ydata() for line in above.lines], [original[i], reconstructed[i]]
        )
        np.testing.assert_allclose(
            [bar.get_height() for bar in below.patches], reconstructed[i] - original[i]
        )
        assert above.get_title() == f"row {[4, 7][i]}"
    assert texts(display.figure_.legends[0]) == ["original", "reconstructed"]
    assert tick_names(display.axes_[1, 0].xaxis) == NAMES


def test_profiles_in_standard_deviations(X, model):
    display = ReconstructionDisplay.from_estimator(model, X)
    drawn = display.axes_[0, 2].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, StandardScaler().fit_transform(X)[2])
    errors = [bar.get_height() for bar in display.axes_[1, 2].patches]
    np.testing.assert_allclose(errors, (model.reconstruct(X)[2] - X.to_numpy()[2]) / X.std(ddof=0))
    assert display.axes_[0, 0].get_ylabel() == "value (sd)"


def test_what_is_reconstructed_is_what_was_corrupted(X, model, rng):
    noisy = X + X.std().to_numpy() * rng.normal(size=X.shape)
    display = ReconstructionDisplay.from_estimator(model, X, X_corrupted=noisy, standardize=False)
    np.testing.assert_allclose(display.reconstructed, model.reconstruct(noisy)[:3])
    drawn = [line.get_ydata() for line in display.axes_[0, 0].lines]
    np.testing.assert_allclose(drawn, [X.iloc[0], noisy.iloc[0], model.reconstruct(noisy)[0]])


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_images_stand_one_above_the_other(channels, rng):
    n_features = 20 * (channels[0] if channels else 1)
    X = rng.uniform(size=(9, n_features))
    X_corrupted, X_reconstructed = X + 0.5, X - 0.1 * rng.uniform(size=X.shape)
    display = ReconstructionDisplay.from_predictions(
        X, X_reconstructed, X_corrupted=X_corrupted, image_shape=(*channels, 4, 5)
    )
    above, below = display.axes_[:, 0]
    assert tick_names(above.yaxis) + tick_names(below.yaxis) == [
        "original",
        "corrupted",
        "reconstructed",
        "error",
    ]
    assert display.original.shape == (8, n_features)
    first = above.images[0].get_array()[10:14, :5]  # images are 4 pixels high, and a gap
    limits = X[:8].min(), X[:8].max()
    expected = X_reconstructed[0].reshape(*channels, 4, 5)
    if channels == (3,):
        expected = np.moveaxis(
            np.clip((expected - limits[0]) / (limits[1] - limits[0]), 0, 1), 0, -1
        )
        first = first[..., :3]  # without opacity
    np.testing.assert_allclose(first, expected.reshape(first.shape))
    error = below.images[0]
    np.testing.assert_allclose(
        error.get_array()[:4, -5:], (X_reconstructed - X)[7].reshape(-1, 4, 5).mean(axis=0)
    )
    assert error.norm.vmin == -error.norm.vmax  # white is no error


def test_images_have_gaps_of_one_pixel():
    X = np.arange(12.0).reshape(2, 6)
    display = ReconstructionDisplay.from_predictions(X, X, image_shape=(2, 3))
    picture = display.ax_.images[0].get_array().filled(np.nan)[:2]
    np.testing.assert_array_equal(
        picture, [[0, 1, 2, np.nan, 6, 7, 8], [3, 4, 5, np.nan, 9, 10, 11]]
    )


def test_reconstructions_of_other_shapes_are_refused(X):
    with pytest.raises(
        ValueError, match=r"X_reconstructed must have the shape of X, \(120, 6\), got \(120, 5\)"
    ):
        ReconstructionDisplay.from_predictions(X, X.iloc[:, :5])
    with pytest.raises(ValueError, match="has 8 values, but a row has 6"):
        ReconstructionDisplay.from_predictions(X, X, image_shape=(2, 4))


# Lengths


def test_explained_variance_is_the_scorers_on_rows_held_out(X):
    model = AutoencoderTransformer(**QUICK)
    display = ExplainedVarianceDisplay.from_estimator(
        model, X, n_components=[1, 3, 9], random_state=3
    )
    train, test = train_test_split(X, test_size=0.25, random_state=3)
    pca = make_pipeline(StandardScaler(), PCA(3)).fit(train)
    np.testing.assert_allclose(display.pca_scores[1], reconstruction_r2_scorer(pca, test))
    assert np.isnan(display.pca_scores[2])  # PCA has no 9 components of 6 columns
    ours = AutoencoderTransformer(3, **QUICK).fit(train)
    np.testing.assert_allclose(display.scores[1], reconstruction_r2_scorer(ours, test))
    np.testing.assert_allclose(display.line_.get_ydata(), display.scores)
    np.testing.assert_array_equal(display.line_.get_xdata(), [1, 3, 9])
    assert texts(display.ax_.get_legend()) == ["PCA", "AutoencoderTransformer"]
    assert not hasattr(model, "net_")
    error = display.plot(kind="error")
    np.testing.assert_allclose(error.line_.get_ydata(), 1 - display.scores, atol=1e-6)
    np.testing.assert_allclose(error.pca_line_.get_ydata()[:2], 1 - display.pca_scores[:2])
    assert error.ax_.get_yscale() == "log"
    with pytest.raises(ValueError, match="kind must be 'explained' or 'error', got 'loss'"):
        display.plot(kind="loss")


def test_curves_of_many_lengths_have_few_ticks_and_no_zero_on_a_logarithmic_axis():
    lengths = np.arange(1, 31)
    display = ExplainedVarianceDisplay(n_components=lengths, scores=lengths / 30).plot(kind="error")
    assert 5 <= len(display.ax_.get_xticks()) <= 8
    assert tick_names(display.ax_.xaxis)[-1] == "30"
    assert display.line_.get_ydata()[-1] == 1e-6


def test_gaps_are_refused_before_anything_is_trained(X):
    holes = X.copy()
    holes.iloc[::4, 2] = np.nan
    with pytest.raises(ValueError, match="pass pca=False, or a pipeline with an imputer"):
        ExplainedVarianceDisplay.from_estimator(AutoencoderTransformer(**QUICK), holes)
    pipeline = make_pipeline(SimpleImputer(), PCA())
    assert (
        ExplainedVarianceDisplay.from_estimator(pipeline, holes, n_components=[3]).scores[0] > 0.8
    )


def test_pca_of_sparse_rows_is_pca_of_dense_ones(X):
    dense = np.where(X > X.mean(), X, 0.0)
    scores = [
        ExplainedVarianceDisplay.from_estimator(TruncatedSVD(), rows, n_components=[2])
        for rows in (dense, csr_matrix(dense))
    ]
    np.testing.assert_allclose(*(display.pca_scores for display in scores), rtol=1e-5)


def test_a_traversal_goes_back_through_an_imputer(X):
    holes = X.copy()
    holes.iloc[::4, 2] = np.nan
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), PCA(2)).fit(holes)
    display = LatentTraversalDisplay.from_estimator(pipeline, holes)
    np.testing.assert_allclose(display.middle, holes.mean(), rtol=1e-6)
    np.testing.assert_allclose(display.scale, holes.std(ddof=0))
    assert list(display.feature_names) == NAMES


def test_rows_with_gaps_are_drawn_with_gaps(X):
    holes = X.to_numpy().copy()
    holes[1, 2] = np.nan
    display = ReconstructionDisplay.from_predictions(holes, X)
    assert np.isnan(display.axes_[0, 1].lines[0].get_ydata()[2])
    assert np.isfinite(display.axes_[0, 1].lines[1].get_ydata()).all()
    ReconstructionDisplay.from_predictions(holes, X, image_shape=(2, 3))


def test_reconstructions_in_one_ax_of_a_figure(X, model):
    figure, axes = plt.subplots(1, 2, figsize=(12, 4))
    display = ReconstructionDisplay.from_estimator(model, X, rows=[0, 1], ax=axes[1])
    assert display.axes_.shape == (2, 2)
    assert not figure.legends
    assert texts(display.axes_[0, -1].get_legend()) == ["original", "reconstructed"]


def test_in_a_pipeline_pca_takes_the_last_steps_place(X):
    pipeline = make_pipeline(FunctionTransformer(np.arcsinh, np.sinh), "passthrough", PCA())
    display = ExplainedVarianceDisplay.from_estimator(
        pipeline, X, n_components=[1, 2], name="plain"
    )
    train, test = train_test_split(X, test_size=0.25, random_state=0)
    expected = make_pipeline(
        FunctionTransformer(np.arcsinh, np.sinh), StandardScaler(), PCA(2)
    ).fit(train)
    np.testing.assert_allclose(display.pca_scores[1], reconstruction_r2_scorer(expected, test))
    plain = make_pipeline(FunctionTransformer(np.arcsinh, np.sinh), PCA(2)).fit(train)
    np.testing.assert_allclose(display.scores[1], reconstruction_r2_scorer(plain, test))
    assert texts(display.ax_.get_legend()) == ["PCA", "plain"]


def test_lengths_double_by_default(X):
    display = ExplainedVarianceDisplay.from_estimator(PCA(), X, pca=False)
    np.testing.assert_array_equal(display.n_components, [1, 2, 4])
    assert display.pca_line_ is None
    with pytest.raises(ValueError, match=r"at least 1, got \[0, 2\]"):
        ExplainedVarianceDisplay.from_estimator(PCA(), X, n_components=[0, 2])


# Outliers


def test_the_histogram_and_the_threshold_are_the_detectors(X, detector):
    display = OutlierScoreDisplay.from_estimator(detector, X)
    outlyingness = -detector.score_samples(X)
    (shape,) = display.ax_.patches
    heights, edges = np.histogram(outlyingness, bins=21)
    np.testing.assert_array_equal(shape.get_xy()[1:43:2, 1], heights)
    np.testing.assert_allclose(shape.get_xy()[0:44:2, 0], edges)
    assert display.threshold_line_.get_xdata()[0] == -detector.offset_
    n_beyond = (detector.predict(X) == -1).sum()
    assert f"({n_beyond} beyond)" in texts(display.ax_.get_legend())[-1]
    np.testing.assert_array_equal(display.p_values, detector.p_values(X))


def test_p_values_are_drawn_as_the_share_of_rows_below(X, detector):
    display = OutlierScoreDisplay.from_estimator(detector, X)
    curve, uniform = display.axes_[0, 1].lines
    np.testing.assert_array_equal(uniform.get_ydata(), [0, 1])
    p_values = detector.p_values(X)
    for t in (0.05, 0.3, 0.8):
        drawn = curve.get_ydata()[curve.get_xdata() <= t][-1]  # a step function
        np.testing.assert_allclose(drawn, (p_values <= t).mean())


def test_each_label_has_an_outline_of_its_own(X, detector):
    y = np.where(np.arange(120) < 5, "fraud", "fine")
    display = OutlierScoreDisplay.from_estimator(detector, X, y)
    assert texts(display.ax_.get_legend())[:2] == ["fine (115)", "fraud (5)"]
    fine, fraud = display.ax_.patches
    assert fine.get_linestyle() != fraud.get_linestyle()
    assert fine.get_edgecolor() != fraud.get_edgecolor()
    curves = display.axes_[0, 1].lines
    assert [mpl.colors.to_rgba(line.get_color()) for line in curves[:2]] == [
        fine.get_edgecolor(),
        fraud.get_edgecolor(),
    ]
    assert display.ax_.get_yscale() == (
        "log" if "logarithmic" in display.ax_.get_ylabel() else "linear"
    )


def test_other_detectors_and_pipelines(X, detector):
    forest = IsolationForest(n_estimators=10, random_state=0).fit(X)
    display = OutlierScoreDisplay.from_estimator(forest, X)
    assert display.axes_.shape == (1, 1)
    assert display.threshold_line_.get_xdata()[0] == -forest.offset_
    pipeline = make_pipeline(
        StandardScaler(), AutoencoderOutlierDetector(n_estimators=4, **QUICK)
    ).fit(X)
    display = OutlierScoreDisplay.from_estimator(pipeline, X)
    np.testing.assert_array_equal(display.scores, pipeline.score_samples(X))
    np.testing.assert_array_equal(
        display.p_values, pipeline[-1].p_values(pipeline[:-1].transform(X))
    )
    assert OutlierScoreDisplay.from_estimator(detector, X, p_values=False).axes_.shape == (1, 1)


def test_scores_alone_are_enough_and_long_tails_are_logarithmic():
    display = OutlierScoreDisplay.from_predictions([-1.0] * 50 + [-1_000.0])
    assert display.threshold_line_ is None
    assert display.ax_.get_xscale() == "log"
    assert OutlierScoreDisplay.from_predictions(np.linspace(-2, 1, 20)).ax_.get_xscale() == "linear"
    with pytest.raises(ValueError, match=r"p_values must hold one value for each of the 3 rows"):
        OutlierScoreDisplay.from_predictions([1, 2, 3], p_values=[1])


# Contributions


def written(ax):
    """What stands beside the bars, column by column, from the top."""
    texts = sorted(ax.texts, key=lambda text: (text.get_position(), text.xy[1]))
    return [text.get_text() for text in texts]


def test_contributions_are_sorted_with_what_was_seen_and_expected(X, detector):
    row = int(detector.score_samples(X).argmin())
    display = FeatureContributionDisplay.from_estimator(detector, X, row=row, max_features=4)
    contributions = detector.feature_contributions(X)[row]
    order = np.argsort(-contributions)
    np.testing.assert_array_equal(display.shown_, order[:4])
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], contributions[order[:4]])
    assert tick_names(display.ax_.yaxis) == [*(NAMES[j] for j in order[:4]), "2 other columns"]
    expected = detector.reconstruct(X)[row]
    np.testing.assert_allclose(display.seen, X.iloc[row])
    np.testing.assert_allclose(display.expected, expected, rtol=1e-6)
    rest, largest = contributions[order[4:]].sum(), contributions[order[4]]
    columns = [X.iloc[row].to_numpy()[order[:4]], expected[order[:4]]]
    seen, expected = ([f"{x:.4g}".replace("-", "−") for x in column] for column in columns)
    others = f"{rest:.3g} in all, {largest:.2g} at most"
    assert written(display.ax_) == [others, "seen", *seen, "expected", *expected]
    title = display.ax_.get_title(loc="left")
    outlyingness = f"{contributions.sum():.3g}"
    start = f"Row {row}: outlyingness {outlyingness}\nthreshold {-detector.offset_:.3g}, p = "
    assert title.startswith(start)


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_contributions_of_an_image_lie_on_its_pixels(channels, rng):
    X = rng.uniform(size=(60, 12 * (channels[0] if channels else 1)))
    detector = AutoencoderOutlierDetector(n_estimators=4, **QUICK).fit(X)
    display = FeatureContributionDisplay.from_estimator(
        detector, X, row=7, image_shape=(*channels, 4, 3)
    )
    contributions, expected = detector.feature_contributions(X)[7], detector.reconstruct(X)[7]
    np.testing.assert_allclose(
        display.image_.get_array(), contributions.reshape(-1, 4, 3).sum(axis=0)
    )
    assert [ax.get_xlabel() for ax in display.axes_[0]] == ["seen", "expected", "contribution"]
    drawn = [ax.images[0].get_array() for ax in display.axes_[0, :2]]
    if channels != (3,):
        np.testing.assert_allclose(drawn, [X[7].reshape(4, 3), expected.reshape(4, 3)])
        assert {ax.images[0].get_clim() for ax in display.axes_[0, :2]} == {
            (X[7].min(), max(X[7].max(), expected.max()))
        }
    assert display.shown_[0] == contributions.argmax()
    with pytest.raises(ValueError, match="has 20 values, but a row has"):
        FeatureContributionDisplay.from_estimator(detector, X, image_shape=(4, 5))


def test_contributions_of_a_transformer_add_up_to_its_loss(X, model):
    display = FeatureContributionDisplay.from_estimator(model, X, row=-1, max_features=6)
    np.testing.assert_allclose(display.contributions.sum(), -model.score_samples(X)[-1], rtol=1e-5)
    assert len(display.bars_) == 6
    assert display.row_name == 119


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_contributions_in_a_pipeline_have_the_datas_names_and_units(X):
    pipeline = make_pipeline(
        StandardScaler(), AutoencoderOutlierDetector(n_estimators=4, **QUICK)
    ).fit(X)
    display = FeatureContributionDisplay.from_estimator(pipeline, X, row=3)
    np.testing.assert_allclose(display.seen, X.iloc[3])
    np.testing.assert_allclose(
        display.expected, pipeline.inverse_transform(pipeline.transform(X.iloc[[3]]))[0], rtol=1e-4
    )
    np.testing.assert_array_equal(display.feature_names, NAMES)
    np.testing.assert_allclose(
        display.contributions,
        pipeline[-1].feature_contributions(pipeline[:-1].transform(X))[3],
        rtol=1e-5,
    )
    # its columns are others
    mixed = make_pipeline(PCA(), AutoencoderOutlierDetector(n_estimators=4, **QUICK)).fit(X)
    display = FeatureContributionDisplay.from_estimator(mixed, X, row=3)
    np.testing.assert_allclose(display.seen, mixed[:-1].transform(X)[3], rtol=1e-5)
    assert list(display.feature_names) == [f"pca{j}" for j in range(6)]


def test_contributions_of_missing_values_and_rows(X, detector):
    with pytest.raises(IndexError, match="row=120 must be from -120 to 119"):
        FeatureContributionDisplay.from_estimator(detector, X, row=120)
    with pytest.raises(
        TypeError, match="PCA has neither feature_contributions nor reconstruction_errors"
    ):
        FeatureContributionDisplay.from_estimator(PCA(2).fit(X), X)
    display = FeatureContributionDisplay(
        contributions=np.array([1.0, 2.0]), seen=np.array([np.nan, -3.0])
    ).plot()
    assert written(display.ax_) == ["seen", "−3", "missing"]
    assert display.ax_.get_title(loc="left") == "Outlyingness 3"
    with pytest.raises(ValueError, match="max_features must be at least 1, got max_features=0"):
        display.plot(max_features=0)


def test_the_best_of_a_search_is_looked_at():
    X, _ = load_iris(return_X_y=True)
    search = GridSearchCV(AutoencoderTransformer(**QUICK), {"n_components": [1, 2]}, cv=2).fit(X)
    best = search.best_estimator_
    np.testing.assert_array_equal(
        LossCurveDisplay.from_estimator(search).train_loss, best.loss_curve_
    )
    np.testing.assert_allclose(
        LatentSpaceDisplay.from_estimator(search, X, components=[0]).codes, best.transform(X)[:, :1]
    )
    np.testing.assert_allclose(
        FeatureContributionDisplay.from_estimator(search, X).expected,
        best.reconstruct(X)[0],
        rtol=1e-6,
    )

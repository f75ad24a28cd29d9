"""What people see of an estimator in a notebook and at a prompt, and what a release holds."""

import importlib.metadata
import inspect
import re
import tomllib
from pathlib import Path

import pytest
import sklearn
from sklearn.utils._testing import ignore_warnings

import sklearn_ae
from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.architectures import Dense
from sklearn_ae.latents import Variational
from tests.helpers import QUICK

ROOT = Path(__file__).parent.parent
METHODS = {
    "fit",
    "fit_transform",
    "get_feature_names_out",
    "get_metadata_routing",
    "get_params",
    "inverse_transform",
    "partial_fit",
    "reconstruct",
    "reconstruction_errors",
    "sample",
    "score",
    "score_samples",
    "set_fit_request",
    "set_output",
    "set_params",
    "set_partial_fit_request",
    "set_score_request",
    "transform",
}
FITTED = {
    "best_epoch_",
    "n_components_",
    "loss_curve_",
    "n_features_in_",
    "n_iter_",
    "net_",
    "validation_loss_curve_",
}
OF_THE_DETECTOR = {
    "decision_function",
    "feature_contributions",
    "fit_predict",
    "offset_",
    "p_values",
    "predict",
}
has_tooltips = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 9)


@pytest.fixture(params=[AutoencoderTransformer, AutoencoderOutlierDetector])
def estimator(request):
    return request.param(2, **QUICK)


@ignore_warnings()
def test_tab_completion_shows_what_people_call(estimator, table):
    names = [
        name
        for name in dir(estimator.fit(table))
        if not name.startswith("_") and hasattr(estimator, name)
    ]
    shown = set(names) - set(estimator.get_params())
    expected = (
        METHODS
        | FITTED
        | (OF_THE_DETECTOR if isinstance(estimator, AutoencoderOutlierDetector) else set())
    )
    assert shown - {"set_callbacks"} == expected


@ignore_warnings()
def test_every_fitted_attribute_is_described(estimator, table):
    attributes = {
        name
        for name in vars(estimator.fit(table))
        if name.endswith("_") and not name.startswith("_")
    }
    text = inspect.getdoc(type(estimator)).split("Attributes\n")[1]
    assert not {name for name in attributes if f"\n{name} : " not in text}


def test_every_parameter_is_described(estimator):
    text = inspect.getdoc(type(estimator)).split("Attributes\n")[0]
    assert [name for name in estimator.get_params(deep=False) if f"\n{name} : " not in text] == []


def test_reprs_show_what_was_set_only():
    assert (
        repr(AutoencoderTransformer(2, random_state=0)) == "AutoencoderTransformer(random_state=0)"
    )
    assert (
        repr(AutoencoderTransformer(latent=Variational(beta=2)))
        == "AutoencoderTransformer(latent=Variational(beta=2))"
    )
    assert repr(AutoencoderOutlierDetector("auto")) == "AutoencoderOutlierDetector()"


def test_a_notebook_shows_parts_and_their_page():
    shown = AutoencoderTransformer(2, architecture=Dense((8,)), latent=Variational())._repr_html_()
    assert "Variational" in shown
    assert "sklearn_ae.AutoencoderTransformer.html" in shown
    assert Variational()._get_doc_link().endswith("sklearn_ae.latents.Variational.html")


@pytest.mark.skipif(not has_tooltips, reason="scikit-learn shows descriptions from 1.9 on")
def test_a_notebook_tells_what_each_parameter_means(estimator):
    shown = estimator._repr_html_()
    assert "Length of a code" in shown
    assert [
        name for name in estimator.get_params(deep=False) if f"--doc-link-{name};" not in shown
    ] == []


def test_a_page_exists_for_every_class_that_links_to_one():
    text = (ROOT / "docs" / "api.rst").read_text()
    for name in (
        sklearn_ae.architectures.__all__
        + sklearn_ae.latents.__all__
        + ["AutoencoderTransformer", "AutoencoderOutlierDetector"]
    ):
        assert re.search(rf"^   {name}$", text, re.MULTILINE), name


def test_the_version_comes_from_one_place():
    if "site-packages" in sklearn_ae.__file__:
        assert importlib.metadata.version("sklearn-ae") == sklearn_ae.__version__
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]
    assert f"## {sklearn_ae.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def versions(text):
    return {
        name: tuple(map(int, number.split(".")))
        for name, number in re.findall(r"^([\w-]+)==([\d.]+)", text, re.MULTILINE)
    }


def test_the_oldest_versions_tested_are_the_oldest_allowed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = dict(
        re.findall(
            r"([\w-]+)>=([\d.]+)",
            " ".join([*project["dependencies"], *project["optional-dependencies"]["plot"]]),
        )
    )
    tested = versions((ROOT / "constraints-oldest.txt").read_text())
    for name in allowed.keys() - {"torch"}:  # of which an older one is not tested
        lowest = tuple(map(int, allowed[name].split(".")))
        assert tested[name][: len(lowest)] == lowest, name


def test_old_and_new_constraints_differ_but_for_torch():
    old, new = (
        versions((ROOT / name).read_text())
        for name in ("constraints-oldest.txt", "constraints.txt")
    )
    assert old["torch"] == new["torch"]
    assert all(old[name] < new[name] for name in (old.keys() & new.keys()) - {"torch"})

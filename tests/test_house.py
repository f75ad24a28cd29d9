"""Imports go one way: what estimators are made of knows no estimator, and skorch stays behind one
file.
"""

import ast
from pathlib import Path

import pytest

import sklearn_ae

HOUSE = Path(sklearn_ae.__file__).parent
FILES = {
    ".".join(path.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in HOUSE.rglob("*.py")
}
ESTIMATORS = {"_base", "_detector", "_transformer"}
INNER = ("_data", "_network", "_scores", "_training")


def imported(path):
    """What a file imports, but for what only a type checker reads."""
    tree = ast.parse(path.read_text())
    for_types = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    unread = {child for node in for_types for child in ast.walk(node)}
    for node in ast.walk(tree):
        if node in unread:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of_the_house(path):
    """The files of the package that a file imports, by their names."""
    for name in imported(path):
        name = name.removeprefix("sklearn_ae.") if name.startswith("sklearn_ae.") else ""
        while name and name not in FILES:
            name = name.rpartition(".")[0]
        if name:
            yield name


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.startswith(INNER)))
def test_what_estimators_are_made_of_imports_none(name):
    assert not ESTIMATORS & set(of_the_house(FILES[name]))


def test_only_the_net_imports_skorch():
    users = [
        name
        for name, path in FILES.items()
        if any(module.startswith("skorch") for module in imported(path))
    ]
    assert users == ["_training.net"]


def test_defaults_import_nothing_of_the_house():
    assert not set(of_the_house(FILES["_defaults"]))


def test_no_file_imports_itself_in_a_circle():
    graph = {
        name: set(of_the_house(path)) - {name} for name, path in FILES.items() if name != "__init__"
    }
    while graph:
        free = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert free, f"a circle within {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}

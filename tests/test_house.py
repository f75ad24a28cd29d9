"""The house's rule: imports go one way, and skorch stays behind one file."""

import ast
from collections import Counter
from pathlib import Path

import pytest

import sklearn_ae

HOUSE = Path(sklearn_ae.__file__).parent
FILES = {".".join(path.relative_to(HOUSE).with_suffix("").parts): path for path in sorted(HOUSE.rglob("*.py"))}

# What each may import of the house. A name stands for a file, or for all files of a folder.
FOUNDATION = {"_component", "_layers", "_messages", "_records", "_torch", "_version"}
PARTS = {"architectures", "corruptions", "latents"}
STAGES = {"_data", "_network", "_training"}
ALLOWED = {
    **{name: set() for name in FOUNDATION | {"_docs"}},
    "_component": {"_messages", "_torch"},
    **{name: {"_component", "_layers"} for name in PARTS},
    "_losses": FOUNDATION,
    "_calibration": {"_records"},
    "_data": FOUNDATION | PARTS | {"_losses", "_data"},
    "_network": FOUNDATION | PARTS | STAGES | {"_losses"},
    "_training": FOUNDATION | PARTS | STAGES | {"_losses"},
    "_fitted": FOUNDATION | PARTS | STAGES | {"_losses"},
    "_parameters": FOUNDATION | PARTS | STAGES | {"_losses"},
    "_base": FOUNDATION | PARTS | STAGES | {"_losses", "_fitted", "_parameters"},
    "_streams": FOUNDATION | PARTS | STAGES | {"_losses", "_fitted", "_base"},
    "_transformer": FOUNDATION | PARTS | STAGES | {"_losses", "_fitted", "_base", "_streams", "_docs"},
    "_outlier_base": FOUNDATION | PARTS | STAGES | {"_losses", "_fitted", "_base", "_streams", "_calibration"},
    "_outlier": FOUNDATION | PARTS | STAGES | {"_outlier_base", "_parameters", "_docs"},
    "metrics": FOUNDATION | PARTS | STAGES | {"_losses", "_fitted"},
    "inspection": FOUNDATION | {"_fitted", "inspection", "metrics"},
    "persistence": FOUNDATION
    | PARTS
    | STAGES
    | {"_losses", "_fitted", "_base", "_outlier", "_transformer", "_calibration", "persistence"},
    "__init__": {"_transformer", "_outlier", "_version"},
}
LIBRARIES_OF_PARTS = {"torch", "numpy", "sklearn"}


def imported(path):
    """The modules that a file imports, but for those that only a type checker reads: (name, is from this package)."""
    tree = ast.parse(path.read_text())
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    hidden = {child for node in for_types for child in ast.walk(node)}
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            if node.module == "sklearn_ae":
                yield from (f"sklearn_ae.{alias.name}" for alias in node.names)
            else:
                yield node.module


def of_the_house(path):
    return {name.split(".")[1] for name in imported(path) if name.startswith("sklearn_ae.")}


def libraries(path):
    return {name.split(".")[0] for name in imported(path)} - {"sklearn_ae"}


@pytest.mark.parametrize("name", FILES)
def test_imports_go_one_way(name):
    place = name.split(".")[0]
    assert place in ALLOWED, f"{name} has no place in the house; give it one here and in CONTRIBUTING.md"
    assert of_the_house(FILES[name]) <= ALLOWED[place]


@pytest.mark.parametrize("name", FILES)
def test_only_the_net_imports_skorch(name):
    assert ("skorch" in libraries(FILES[name])) == (name == "_training.net")


@pytest.mark.parametrize("name", sorted(PARTS))
def test_parts_import_torch_numpy_and_scikit_learn_only(name):
    standard = {"collections", "copy", "itertools", "math", "numbers", "typing"}
    assert libraries(FILES[name]) - standard <= LIBRARIES_OF_PARTS


def test_no_file_imports_itself_in_a_circle():
    graph, files = {}, {name.removesuffix(".__init__"): name for name in FILES}
    for name, path in FILES.items():
        wanted = {module.removeprefix("sklearn_ae.") for module in imported(path) if module.startswith("sklearn_ae")}
        graph[name] = {files[module] for module in wanted if module in files}
    while graph:
        free = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert free, f"a circle within {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}


def test_the_map_in_contributing_names_every_file():
    text = (HOUSE.parent / "CONTRIBUTING.md").read_text()
    names = Counter(path.name for path in FILES.values() if path.name != "__init__.py")
    missing = [name for name, n in names.items() if text.count(f"`{name}`") < n]
    assert not missing

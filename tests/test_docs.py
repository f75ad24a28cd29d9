"""Every Python block of the README and of the documentation's pages runs as it is written.

The blocks of a page run in order, in one namespace. What a page takes for granted, such as an X,
stands in a comment that readers do not see: ``<!-- setup`` ... ``-->``. So do assertions about what
a block claims. Code of other libraries stands in a directive, ``{code-block} python``, and does not
run.
"""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^(?:```python|<!-- setup)\n(.*?)^(?:```|-->)$", re.MULTILINE | re.DOTALL)
PAGES = sorted(
    path
    for path in (ROOT / "docs").rglob("*.md")
    if not {"_build", "auto_examples", "generated"} & set(path.parts)
)


def blocks(path):
    """The code of each block of a page, moved down to the line that it has in the file, so that
    tracebacks are right.
    """
    text = path.read_text()
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in BLOCK.finditer(text)]


def shown(path):
    return str(path.relative_to(ROOT))


# some blocks set a small max_epochs
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "path",
    [
        ROOT / "README.md",
        *(pytest.param(page, marks=pytest.mark.slow) for page in PAGES if blocks(page)),
    ],
    ids=shown,
)
def test_code_on_a_page_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.random.seed(0)  # where a block has no random_state
    namespace = {"__name__": "page"}
    for code in blocks(path):
        exec(compile(code, str(path), "exec"), namespace)


@pytest.mark.parametrize("path", PAGES, ids=shown)
def test_a_page_refers_to_examples_that_exist(path):
    for name in re.findall(
        r"auto_examples/(?:images/sphx_glr_)?((?:plot_|quickstart)\w*?)(?:_\d{3})?[.`>]",
        path.read_text(),
    ):
        assert (ROOT / "examples" / f"{name}.py").is_file()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("plot_*.py")), ids=shown)
def test_an_example_ends_in_a_picture_and_a_conclusion(path):
    text = path.read_text()
    assert "plt.show()" in text.partition("**What this run showed.**")[0]
    assert len(text.partition("**What this run showed.**")[2].split()) > 20

"""Every Python block of the README and of the documentation's pages runs as it is written.

The blocks of a page run in order, in one namespace. What a page takes for granted, such as an X,
stands in a comment that readers do not see: ``<!-- setup`` ... ``-->``. So do assertions about what
a block claims. Code of other libraries stands in a directive, ``{code-block} python``, and does not
run.

What a block prints stands right after it, in a block of ``text``. Nobody writes it by hand:
``python tests/test_docs.py`` fills it in, on the pages that are named or on all. A ``...`` in it is
left there, and stands for anything.
"""

import contextlib
import io
import re
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(
    r"^(?:```python|<!-- setup)\n(?P<code>.*?)^(?:```|-->)\n(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
DECIMAL = r"-?\d+\.\d*(?:e[-+]\d+)?"
PAGES = sorted(
    path
    for path in (ROOT / "docs").rglob("*.md")
    if not {"_build", "auto_examples", "generated"} & set(path.parts)
)


def run(path):
    """Run the blocks of a page; yield for each where it is, and what it printed."""
    text = path.read_text()
    namespace = {"__name__": "page"}
    np.random.seed(0)  # where a block has no random_state
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in BLOCK.finditer(text):
            # moved down to the line that it has in the file, so that tracebacks are right
            code = "\n" * text.count("\n", 0, block.start("code")) + block["code"]
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, str(path), "exec"), namespace)
            yield block, printed.getvalue()


def agrees(output, printed):
    """Whether what a page shows is what was printed.

    Processors round differently: decimals agree within a tenth, or by one in the last digit shown.
    Everything else is equal, but for spaces and what stands for a ``...``.
    """
    words = [
        re.escape(" ".join(part.split())).replace(r"\.\.\.", ".*")
        for part in re.split(DECIMAL, output)
    ]
    found = re.fullmatch(rf"\s*({DECIMAL})\s*".join(words), " ".join(printed.split()), re.DOTALL)
    return found is not None and all(
        abs(float(shown) - float(value))
        <= max(abs(float(shown)) / 10, 1.01 * 10.0 ** -len(shown.partition(".")[2]))
        for shown, value in zip(re.findall(DECIMAL, output), found.groups(), strict=True)
    )


def write_outputs(path):
    """Put what the blocks of a page print after them, where it is not there already."""
    parts, end, text = [], 0, path.read_text()
    for block, printed in run(path):
        if not agrees(block["output"] or "", printed):
            after = f"\n```text\n{printed}```\n" if printed else ""
            parts += [text[end : block.end("code")], "```\n", after]
            end = block.end()
    path.write_text("".join([*parts, text[end:]]))


def shown(path):
    return str(path.relative_to(ROOT))


# some blocks set a small max_epochs
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "path",
    [
        ROOT / "README.md",
        *(
            pytest.param(page, marks=pytest.mark.slow)
            for page in PAGES
            if BLOCK.search(page.read_text())
        ),
    ],
    ids=shown,
)
def test_code_on_a_page_runs_and_prints_what_the_page_shows(path):
    for block, printed in run(path):
        assert agrees(block["output"] or "", printed), (block["code"], block["output"], printed)


@pytest.mark.parametrize(
    ("output", "printed", "agreed"),
    [
        ("share 0.50 of row 121", "share 0.54 of row 121", True),
        ("share 0.50 of row 121", "share 0.56 of row 121", False),
        ("share 0.50 of row 121", "share 0.50 of row 122", False),
        ("[0.01 -1.50]", "[ 0.02\n -1.60]", True),
        ("[0.01 -1.50]", "[0.01 1.50]", False),
        ("0.01 1.50", "0.01", False),
        ("epoch ... of 20", "epoch 3 of 20", True),
        ("epoch ... of 20", "epoch 3 of 30", False),
        ("", "anything", False),
    ],
)
def test_an_output_agrees_in_words_and_nearly_in_decimals(output, printed, agreed):
    assert agrees(output, printed) == agreed


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


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for page in [Path(name).resolve() for name in sys.argv[1:]] or [ROOT / "README.md", *PAGES]:
        write_outputs(page)

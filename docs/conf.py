"""How the documentation is built: ``sphinx-build -W docs docs/_build/html``, without a network."""

import os
import re
import sys
import warnings
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the gallery's examples are small
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import matplotlib as mpl
import torch

import sklearn_ae

mpl.use("agg")
torch.set_num_threads(1)
warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")

project = "sklearn-ae"
author = "the sklearn-ae developers"
copyright = "the sklearn-ae developers, BSD 3-Clause"
release = version = sklearn_ae.__version__

extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
if os.environ.get(
    "DOCS_INTERSPHINX"
):  # links to other projects' pages need a network
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "skorch": ("https://skorch.readthedocs.io/en/stable", None),
    }

exclude_patterns = ["_build", "_diagrams", "_templates", "**/README*"]
templates_path = ["_templates"]
root_doc = "index"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = [
    "colon_fence",
    "dollarmath",
    "deflist",
    "html_image",
]
myst_heading_anchors = 3
html_math_renderer = "mathml"

autosummary_generate = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_|/quickstart",
    "within_subsection_order": "gallery_order.place",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sklearn_ae",),
    "reference_url": {"sklearn_ae": None},
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "matplotlib_animations": False,
    "abort_on_example_error": True,
    "plot_gallery": True,
    "parallel": 2,
    "thumbnail_size": (400, 280),
    "min_reported_time": 1_000,
    "show_signature": False,
    "default_thumb_file": str(
        Path(__file__).parent / "_static" / "logo.svg"
    ),
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-ae"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {
        "text": "sklearn-ae",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
    },
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "back_to_top_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {
    "index": [],
    "getting_started": [],
    "faq": [],
    "changes": [],
    "benchmarks": [],
    "comparison": [],
    "from_other_libraries": [],
}


def mend_for_html(app, what, name, obj, options, lines):
    """Docstrings are written to be read in a terminal; some of what they hold means something else to docutils."""
    for i, line in enumerate(lines):
        line = re.sub(
            r"(?<![`\w])(n_\w+)_(?=[,)])", r"\1\\_", line
        )  # a name with an underscore is not a link
        line = re.sub(
            r":class:`~(sklearn\.[\w.]+)`",
            lambda m: f"``{m[1].rpartition('.')[2]}``",
            line,
        )
        if what == "method":
            line = re.sub(
                r" \[\d+\]_", "", line
            )  # references stand in the class's docstring
        lines[i] = line
    if what == "class" and any("max_epochs :" in line for line in lines):
        at = lines.index("Parameters")
        lines[at:at] = [
            "Words such as epoch, batch and loss are in the :doc:`glossary </glossary>`.",
            "",
        ]


def setup(app):
    app.connect(
        "autodoc-process-docstring", mend_for_html, priority=400
    )  # before numpydoc

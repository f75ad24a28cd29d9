"""Formulas as MathML, which browsers draw by themselves: no script, no network, no LaTeX."""

from html import escape

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.errors import ExtensionError


def to_mathml(latex, node, display):
    try:
        return convert(latex, display=display)
    except Exception as error:
        raise ExtensionError(
            f"{node.source}:{node.line}: cannot convert the formula {latex!r}"
        ) from error


def visit_math(self, node):
    self.body.append(to_mathml(node.astext(), node, "inline"))
    raise nodes.SkipNode


def visit_math_block(self, node):
    formula = to_mathml(node.astext().strip(), node, "block")
    self.body.append(
        f'<div class="formula" role="math" aria-label="{escape(node.astext().strip())}">{formula}</div>\n'
    )
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(visit_math, None),
        block_renderers=(visit_math_block, None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Formulas as MathML, which browsers draw themselves: no script, no network, and the text's own colour."""

import latex2mathml.converter
from docutils import nodes


def _mathml(node, display):
    return latex2mathml.converter.convert(node.astext(), display=display)


def inline(translator, node):
    translator.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def block(translator, node):
    translator.body.append(f'<div class="math">{_mathml(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

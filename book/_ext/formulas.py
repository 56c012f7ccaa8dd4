"""Typeset formulas when the book is built, so that no reader waits for them.

MathJax runs here, in a JavaScript engine without a browser, and a page holds what it would have made: text in MathJax's
fonts, with MathML beside it for those who listen. A page needs no script, and nothing moves when it is there. The width
of a formula is known, too, so the style sheet can set it smaller where it would not fit. The engine has a process of
its own, which is told of the formulas of a page as soon as the page is read, long before it is written.
"""

import html
import importlib
import json
import re
import shutil
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import quickjs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext import mathjax
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)
PARTS = (
    "loader.js",
    "core.js",
    "adaptors/liteDOM.js",
    "input/tex-base.js",
    "input/tex/extensions/ams.js",
    "input/tex/extensions/newcommand.js",
    "output/chtml.js",
    "output/chtml/fonts/tex.js",
    "a11y/assistive-mml.js",
)
FORMULA = re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)


def _mathjax() -> Path:
    return Path(importlib.import_module("sphinx-mathjax-offline").__file__).parent / "static/mathjax"


@cache
def _engine() -> quickjs.Context:
    engine = quickjs.Context()
    engine.eval("var MathJax = {loader: {load: []}, startup: {typeset: false, document: ''}}; var window = this;")
    for path in (*(_mathjax() / part for part in PARTS), Path(__file__).with_suffix(".js")):
        engine.eval(path.read_text(encoding="utf-8"))
    return engine


@cache
def typeset(formula: str, display: bool) -> str:
    """Return a formula in TeX as HTML; one that stands alone tells its width in em to the style sheet."""
    made, width = json.loads(_engine().eval(f"typeset({json.dumps(formula)}, {json.dumps(display)})"))
    return made.replace('style="', f'style="--width: {width:.2f}; ', 1) if display else made


def styles() -> str:
    """Return the style sheet of all formulas typeset so far."""
    return json.loads(_engine().eval("styles()"))


@cache
def _worker() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))


@cache
def _begun(formula: str, display: bool) -> Future:
    return _worker().submit(typeset, formula, display)


def begin(app: Sphinx, doctree: nodes.document) -> None:
    """Have the formulas of a page typeset while other pages are read."""
    for node in doctree.findall(nodes.math):
        _begun(node.astext(), False)
    for node in doctree.findall(nodes.math_block):
        text = node.astext()
        _begun(rf"\begin{{split}}{text}\end{{split}}" if r"\\" in text else text, True)  # as Sphinx will write it


def _write(self: HTML5Translator, node: nodes.Element, visit) -> None:
    start = len(self.body)
    try:
        visit(self, node)
    finally:  # a node is skipped by an exception
        written = FORMULA.sub(
            lambda found: _begun(html.unescape(found[1] or found[2]), found[1] is None).result(),
            "".join(self.body[start:]),
        )
        self.body[start:] = [written]
        if "<mjx-merror" in written or "<mjx-container" not in written:
            LOGGER.warning("MathJax cannot typeset %s", node.astext(), location=node)


def inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    _write(self, node, mathjax.html_visit_math)


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula that stands alone, with its number."""
    _write(self, node, mathjax.html_visit_displaymath)


def add_fonts(app: Sphinx, error: Exception | None) -> None:
    """Write the style sheet and the fonts that the pages name."""
    if error is None and app.builder.format == "html":
        there = Path(app.outdir) / "_static"
        (there / "formulas.css").write_text(_worker().submit(styles).result(), encoding="utf-8")
        shutil.copytree(_mathjax() / "output/chtml/fonts/woff-v2", there / "mathjax", dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer, which `html_math_renderer` names, and its style sheet."""
    app.add_html_math_renderer("typeset", (inline, None), (block, None))
    app.config.html_math_renderer = "typeset"
    app.add_css_file("formulas.css")
    app.connect("doctree-read", begin)
    app.connect("build-finished", add_fonts)
    return {"parallel_read_safe": True, "parallel_write_safe": False}

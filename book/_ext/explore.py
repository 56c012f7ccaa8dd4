"""The Sphinx side of the explorables: figures with exact numbers that readers move, in plain JavaScript.

`explorables` computes the numbers when the book is built. They stand in the page, so that it asks for nothing; the
scripts in `book/_static/explore` draw. Without scripts, and in the printed book, a sentence is there.
"""

import json
from functools import cache
from html import escape

from docutils import nodes
from docutils.parsers.rst import directives
from explorables import EXPLORABLES
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rlhf_lab.plots import COLORS

SHARED = ("exact.js", "draw.js")
SHOWN = ("pretrained", "exact", "best_of_n", "ppo", "dpo", "learned")  # methods whose colours they use


@cache
def figure(name: str) -> str:
    """Return the place where an explorable is drawn, with its numbers, as HTML."""
    known = EXPLORABLES[name]
    numbers = known.numbers()
    colours = "".join(f"--of-{method.replace('_', '-')}:{COLORS[method]};" for method in SHOWN)
    data = json.dumps(numbers, separators=(",", ":")).replace("</", "<\\/")
    return (
        f'<div class="explore" data-explore="{known.script.removesuffix(".js")}" style="{colours}">'
        f'<p class="still">{escape(known.still(numbers))}</p>'
        f'<script type="application/json">{data}</script></div>'
    )


class Explore(SphinxDirective):
    """```{explore} beta``` puts an explorable into the page, below what its text says to try; `:folded:` closes it."""

    required_arguments = 1
    has_content = True
    option_spec = {"folded": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return a box that opens and closes."""
        name = self.arguments[0]
        asked = nodes.container(classes=["explore-asked"], explores=name)
        self.state.nested_parse(self.content, self.content_offset, asked)
        opened = "" if "folded" in self.options else " open"
        title = f"<summary>Try it: {EXPLORABLES[name].title}</summary>"
        head = f'<details class="explore-box" id="explore-{name}"{opened}>{title}'
        around = [nodes.raw("", text, format="html") for text in (head, figure(name), "</details>")]
        return [around[0], asked, around[1], around[2]]


def scripts(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Load what the explorables of a page need, on that page only."""
    boxes = doctree.findall(nodes.container) if doctree else []
    if names := [box["explores"] for box in boxes if "explores" in box]:
        app.add_css_file("explore.css")
        for script in dict.fromkeys([*SHARED, *(EXPLORABLES[name].script for name in names)]):
            app.add_js_file(f"explore/{script}", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.connect("html-page-context", scripts)
    app.add_directive("explore", Explore)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

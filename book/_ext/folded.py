"""What the bar of a folded cell says is in it, where the chapter does not say so itself."""

import re

from docutils import nodes
from sphinx.application import Sphinx

CELLS = {
    r"plt\.show\(\)": "Show the code of this figure",
    r"\A(?:import|from) ": "Show the imports",
    r"\bprint\(": "Show the code of these numbers",
    r"^def ": "Show these functions",
    "": "Show this step",
}


def prompt(code: str) -> str:
    """Return what a bar says of this code: the first kind of `CELLS` that it is."""
    return next(told for pattern, told in CELLS.items() if re.search(pattern, code.strip(), re.MULTILINE))


def name(app: Sphinx, doctree: nodes.document) -> None:
    """Give each folded cell without a prompt of its own the one that fits."""
    for cell in doctree.findall(nodes.container):
        if cell.get("prompt_show") == app.config.nb_code_prompt_show:
            cell["prompt_show"] = prompt(cell.next_node(nodes.literal_block).astext())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it."""
    app.connect("doctree-read", name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

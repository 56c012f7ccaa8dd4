"""Names of code in tables of names break where a reader would break them: behind an underscore, a dot or a bracket."""

import re

from sphinx.application import Sphinx

TABLE = re.compile(r'<div class="rosetta.*?</table>', re.DOTALL)
WORD = re.compile(r'(?<=<span class="pre">)[^<]+(?=</span>)')
JOINT = re.compile(r"(?<=\w[_.(=])(?=[^\d\s)])")  # numbers stay whole


def breakable(body: str) -> str:
    """Return the HTML of a page in which code in the tables of class `rosetta` may break at its joints."""
    return TABLE.sub(lambda table: WORD.sub(lambda word: JOINT.sub("<wbr/>", word[0]), table[0]), body)


def page(app: Sphinx, name: str, template: str, context: dict, doctree: object) -> None:
    """Write the breaks into a page."""
    if "body" in context:
        context["body"] = breakable(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the function."""
    app.connect("html-page-context", page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The Sphinx side of the answer key: links between equations, functions, tests and figures.

Docstrings are plain text: `x` in backticks is code, (eq-label) is a link to an equation, and nothing else is markup.
"""

import re
from pathlib import Path

import book_index
from book_index import REFERENCE
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOGGER = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
INDEX = "book/equations"
HOUSE = "book/api"
PLACE = re.compile(r"^```\{(house|rules|rooms|room)\}\n```$", re.MULTILINE)


class equation_index(nodes.General, nodes.Element):
    """Where the index of equations will stand."""


class EquationIndex(SphinxDirective):
    """Mark the place of the index."""

    def run(self) -> list[nodes.Node]:
        """Return the mark."""
        return [equation_index()]


def theme(app: Sphinx, config) -> None:
    """Show repository, edit, Binder and Colab buttons only if the public address of the repository is set.

    Theme options stand here: in `_config.yml` they would replace those that Jupyter Book works out, the address too.
    """
    options = config.html_theme_options
    options |= {"navbar_persistent": [], "show_toc_level": 2}
    there = bool(options.get("repository_url"))
    for name in ("use_repository_button", "use_edit_page_button", "use_issues_button"):
        options[name] = there
    launch = {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}
    options["launch_buttons"] = {"notebook_interface": "jupyterlab"} | launch if there else {}


def docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn a plain docstring into RST."""
    text = "" if lines and lines[0].startswith("Alias for field number") else "\n".join(lines)
    text = re.sub(r"(?<=\S) {3,}(?=\S)", " · ", text)  # a legend keeps its letters apart
    parts = re.split(r"(`[^`]+`|\(eq-[\w-]+\))", text)
    lines[:] = "".join(_rst(part) for part in parts).split("\n")


def _rst(part: str) -> str:
    if part.startswith("`"):
        return f"``{part.strip('`')}``"
    if re.fullmatch(r"\(eq-[\w-]+\)", part):
        return f"(:eq:`{part[1:-1]}`)"
    return re.sub(r"([*|_])", r"\\\1", part)


def reference_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Write what only the package knows: the picture of the house, the list of rooms, the modules of a room."""
    if docname == HOUSE or docname.startswith(REFERENCE):
        room = docname.removeprefix(REFERENCE)
        written = {"house": _house, "rules": _rules, "rooms": _rooms, "room": lambda: _modules(room)}
        source[0] = PLACE.sub(lambda place: written[place[1]](), source[0])


def _summary(name: str) -> str:
    return book_index.summary(book_index.source(ROOT, name))


def _house() -> str:
    floors = ["\n".join(map(_box, floor)) for floor in reversed(book_index.floors(ROOT))]
    return "\n".join(["::::{container} house", *[f":::{{container}} floor\n{floor}\n:::" for floor in floors], "::::"])


def _box(room: str) -> str:
    return f"```{{container}} room\n[`{room}`](reference/{room})\n\n{_summary(room)}\n```"


def _rules() -> str:
    return "\n".join(f"- {rule}." for rule in book_index.rules(ROOT))


def _rooms() -> str:
    told = []
    for room in (room for floor in book_index.floors(ROOT) for room in floor):
        rows = [f"- {{py:mod}}`{name} <rlhf_lab.{name}>`: {_summary(name)}" for name in book_index.inside(ROOT, room)]
        told.append(f"## [`{room}`](reference/{room})\n\n{_summary(room)}\n\n" + "\n".join(rows))
    return "\n\n".join(told)


def _modules(room: str) -> str:
    sections = [f"## `{name}`\n\n{_documented(name)}" for name in book_index.inside(ROOT, room)]
    return "\n".join([_documented(room), *sections])


def _documented(name: str) -> str:
    return f"```{{eval-rst}}\n.. automodule:: rlhf_lab.{name}\n   :members:\n```\n"


def prepare(app: Sphinx) -> None:
    """Read package, tests and figures once."""
    app.env.answer_key = {
        "functions": book_index.functions(ROOT),
        "tests": book_index.markers(ROOT),
        "figures": book_index.figures(ROOT),
        "equations": list(book_index.equations(ROOT)),
    }


def without_thebe(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Leave out the scripts of thebe, a service on the network that this book does not use."""
    names = ("thebe", "THEBE")
    files = context.get("script_files", [])
    context["script_files"] = [
        f
        for f in files
        if not any(n in str(getattr(f, "filename", "")) + str(getattr(f, "attributes", "")) for n in names)
    ]


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put a line below each labelled equation, and the index on its page."""
    for block in list(doctree.findall(nodes.math_block)):
        if block.get("label", "").startswith("eq-"):
            block.parent.insert(block.parent.index(block) + 1, _line(app, docname, block["label"]))
    for place in list(doctree.findall(equation_index)):
        place.replace_self(_table(app, docname))


def _line(app: Sphinx, docname: str, label: str) -> nodes.paragraph:
    key = app.env.answer_key
    line = nodes.paragraph(classes=["answer-key"])
    for k, function in enumerate(key["functions"].get(label, [])):
        line += nodes.Text(", " if k else "In code: ")
        line += _function(app, docname, function)
    count = len(key["tests"].get(label, []))
    if len(line):
        line += nodes.Text(" · ")
    words = f"asserted by {count} test{'s' * (count != 1)}"
    line += nodes.reference("", words, internal=True, refuri=_uri(app, docname, INDEX) + f"#row-{label}")
    return line


def _uri(app: Sphinx, docname: str, target: str) -> str:
    return app.builder.get_relative_uri(docname, target)


def _function(app: Sphinx, docname: str, name: str) -> nodes.Node:
    objects = app.env.get_domain("py").objects
    code = nodes.literal("", name.removeprefix("rlhf_lab."), classes=["py"])
    if name not in objects:
        return code
    return nodes.reference("", "", code, internal=True, refuri=_uri(app, docname, objects[name].docname) + f"#{name}")


def _table(app: Sphinx, docname: str) -> nodes.table:
    table = nodes.table(classes=["answer-key-index"])
    group = nodes.tgroup("", *[nodes.colspec(colwidth=w) for w in (10, 30, 45, 15)], cols=4)
    group += nodes.thead("", _row([[nodes.Text(title)] for title in ("Equation", "Code", "Tests", "Figures")]))
    group += nodes.tbody("", *[_entry(app, docname, label) for label in app.env.answer_key["equations"]])
    table += group
    return table


def _entry(app: Sphinx, docname: str, label: str) -> nodes.row:
    key = app.env.answer_key
    math = app.env.get_domain("math")
    page = math.equations[label][0]
    number = math.get_equation_number_for(label)
    link = nodes.reference("", f"({number})", internal=True, refuri=_uri(app, docname, page) + f"#equation-{label}")
    code = [[_function(app, docname, name)] for name in key["functions"].get(label, [])]
    tests = [
        [nodes.literal("", name.removeprefix("tests/").replace("::", " :: "))] for name in key["tests"].get(label, [])
    ]
    shown = [[_figure(app, docname, name)] for name in key["figures"].get(label, [])]
    row = _row([[link], code, tests, shown])
    row["ids"] = [f"row-{label}"]
    return row


def _figure(app: Sphinx, docname: str, name: str) -> nodes.Node:
    labels = app.env.get_domain("std").labels
    if name not in labels:
        LOGGER.warning("%s was not drawn", name)
        return nodes.Text(name)
    page, anchor, _ = labels[name]
    number = ".".join(map(str, app.env.toc_fignumbers[page]["figure"][anchor]))
    return nodes.reference("", f"Fig. {number}", internal=True, refuri=_uri(app, docname, page) + f"#{anchor}")


def _row(columns: list[list]) -> nodes.row:
    row = nodes.row()
    for column in columns:
        entry = nodes.entry()
        for item in column:
            entry += nodes.paragraph("", "", *(item if isinstance(item, list) else [item]))
        row += entry
    return row


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything."""
    app.add_node(equation_index)
    app.add_directive("equation-index", EquationIndex)
    app.connect("config-inited", theme, priority=900)
    app.connect("builder-inited", prepare)
    app.connect("source-read", reference_page)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("doctree-resolved", resolve, priority=900)
    app.connect("html-page-context", without_thebe, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

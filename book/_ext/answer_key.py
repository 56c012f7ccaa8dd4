"""The Sphinx side of the answer key: links between equations, functions, tests and figures.

Docstrings are plain text: `x` in backticks is code, (eq-label) is a link to an equation, and nothing else is markup.
"""

import re
import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import book_index
import sources
from book_index import REFERENCE
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge
from sphinx.util import logging

import rlhf_lab

LOGGER = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
INDEX = "book/equations"
FRONT = "book/preface"
HOUSE = "book/api"
TESTS = "book/tests/"
PLACE = re.compile(r"^```\{(house|rules|rooms|room|equation-index|wheel)\}\n```$", re.MULTILINE)


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
    """Write what only the package knows: the house, the list of rooms, the modules of a room, the index, the wheel."""
    if docname in (FRONT, HOUSE, INDEX) or docname.startswith(REFERENCE):
        room = docname.removeprefix(REFERENCE)
        written = {"house": _house, "rules": _rules, "rooms": _rooms, "room": lambda: _modules(room)}
        written |= {"equation-index": lambda: _index(app), "wheel": _wheel}
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


def _wheel() -> str:
    name = f"rlhf_lab-{rlhf_lab.__version__}-py3-none-any.whl"
    return f'<a href="../{name}">{name}</a>'


def _index(app: Sphinx) -> str:
    formulas = book_index.formulas(ROOT)
    chapters = [(page, title) for page, title in book_index.titles(ROOT).items() if formulas.get(page)]
    return "\n\n".join(
        f"## {title}\n\n" + "\n\n".join(_card(app, label, formula) for label, formula in formulas[page].items())
        for page, title in chapters
    )


def _card(app: Sphinx, label: str, formula: str) -> str:
    key = app.env.answer_key
    code = [f"{{py:obj}}`{name.removeprefix('rlhf_lab.')} <{name}>`" for name in key["functions"].get(label, [])]
    shown = [f"{{numref}}`{name}`" for name in key["figures"].get(label, [])]
    rows = {
        "Source": key["sources"].get(label, []),
        "Code": code,
        "Figures": shown,
        "Tests": [_test(name) for name in key["tests"].get(label, [])],
    }
    told = "\n".join(f"- {name}: {', '.join(entries)}" for name, entries in rows.items() if entries)
    return (
        f"(row-{label})=\n::::{{container}} equation-card\n{{eq}}`{label}`\n\n"
        f"```{{math}}\n{formula}\n```\n\n{told}\n::::"
    )


def _test(name: str) -> str:
    path, test = name.split("::")
    page = path.removesuffix(".py")
    return f'<a href="{page}.html#{test}">{test.removeprefix("test_").replace("_", " ")}</a>'


def test_pages(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    """Yield a page with the code of each file of tests that the index names."""
    highlight = PygmentsBridge("html", app.config.pygments_style).highlight_block
    named = sorted({name for names in app.env.answer_key["tests"].values() for name in names})
    for path, names in groupby(named, lambda name: name.split("::")[0]):
        code = (ROOT / path).read_text(encoding="utf-8")
        places = {f"def {name.split('::')[1]}(": name.split("::")[1] for name in names}
        lines = highlight(code, "python").splitlines()
        for k, line in enumerate(code.splitlines()):
            if test := places.get(line.split("(")[0] + "("):
                lines[k] = f'<span class="test" id="{test}"></span>{lines[k]}'
        page = f"{TESTS}{path.removeprefix('tests/').removesuffix('.py')}"
        yield page, {"title": path, "body": f"<h1>{path}</h1>\n" + "\n".join(lines)}, "page.html"


def wrong_numbers(app: Sphinx, env) -> list[str]:
    """Warn of each label that the site numbers in another way than the notebooks do."""
    kinds = {"displaymath": "({})", "figure": "Fig. {}", "theorem": "Theorem {}", "exercise": "Exercise {}"}
    rendered = {
        anchor.removeprefix("equation-"): form.format(".".join(map(str, number)))
        for figures in env.toc_fignumbers.values()
        for kind, form in kinds.items()
        for anchor, number in figures.get(kind, {}).items()
    }
    for label, number in book_index.numbers(ROOT).items():
        if rendered.get(label) != number:
            LOGGER.warning("%s is %s in the notebooks and %s on the site", label, number, rendered.get(label))
    return []


def prepare(app: Sphinx) -> None:
    """Read package, tests and figures once."""
    app.env.answer_key = {
        "functions": book_index.functions(ROOT),
        "tests": book_index.markers(ROOT),
        "figures": book_index.figures(ROOT),
        "sources": sources.sources(ROOT),
    }


def notebook(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Offer the plain notebook of a chapter for download."""
    stored = ROOT / f"{page}.ipynb"
    if stored.exists():
        context["ipynb_source"] = f"{page}.ipynb"
        copy = Path(app.outdir) / "_sources" / f"{page}.ipynb"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stored, copy)


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
    """Put a line below each labelled equation."""
    for block in list(doctree.findall(nodes.math_block)):
        if (block.get("label") or "").startswith("eq-"):
            block.parent.insert(block.parent.index(block) + 1, _line(app, docname, block["label"]))


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


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything."""
    app.connect("config-inited", theme, priority=900)
    app.connect("builder-inited", prepare)
    app.connect("source-read", reference_page)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("env-check-consistency", wrong_numbers)
    app.connect("doctree-resolved", resolve, priority=900)
    app.connect("html-collect-pages", test_pages)
    app.connect("html-page-context", notebook, priority=400)
    app.connect("html-page-context", without_thebe, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

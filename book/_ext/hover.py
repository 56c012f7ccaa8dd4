"""The Sphinx side of the cards that appear when the reader points at a link, or moves to it with the keyboard.

A card shows a term of the glossary, an equation, a figure, a box or the beginning of a section. The cards of a page
are in a script, `cards/<page>.js`, which is loaded when the first of them is wanted, so they need no server;
`book/_static/hover.js` shows them. Chapters say nothing of the glossary: the first use of a term in each section
becomes a link here.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import book_index
import everybody
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx_exercise.nodes import exercise_enumerable_node, solution_node
from sphinx_proof.directive import NODE_TYPES

ROOT = Path(__file__).parents[2]
GLOSSARY = "book/glossary"
FOLDER = "cards"
COMMON = {"accuracy", "advantage", "comparison", "preference", "ranking", "return", "token", "value"}
UNTOUCHED = (nodes.reference, nodes.literal, nodes.math, nodes.title, nodes.term, nodes.citation, solution_node)


def names(app: Sphinx) -> dict[str, str]:
    """Return the anchor of each name in the glossary that consists of words, and not of one with an everyday sense."""
    objects = app.env.get_domain("std").objects
    return {
        name: anchor
        for (kind, name), (page, anchor) in objects.items()
        if kind == "term" and page == GLOSSARY and name not in COMMON and re.fullmatch(r"[\w' -]+", name)
    }


def pattern(known: dict[str, str]) -> re.Pattern:
    """Return what finds a name in a text, the longest first; capitals count in abbreviations, and a plural is a use."""
    written = []
    for name in sorted(known, key=len, reverse=True):
        first, rest = re.escape(name[0]), re.escape(name[1:])
        start = first if name != name.lower() else f"[{name[0]}{name[0].upper()}]"
        written.append(f"{start}{rest}")
    return re.compile(rf"(?<![\w-])({'|'.join(written)})s?(?![\w-])")


def link_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Link the first use of each term in each section of a chapter to the glossary."""
    if ROOT / f"{docname}.md" not in {pages[0] for pages in book_index.numbered(ROOT).values()}:
        return
    known = names(app)
    find = pattern(known)
    anchors = {name[0].lower() + name[1:]: anchor for name, anchor in known.items()} | known
    uri = app.builder.get_relative_uri(docname, GLOSSARY)
    for section in doctree.next_node(nodes.section).children:
        used: set[str] = set()
        for text in list(section.findall(nodes.Text)) if isinstance(section, nodes.section) else []:
            if isinstance(text.parent, nodes.paragraph | nodes.emphasis) and not _within(text, UNTOUCHED):
                text.parent.replace(text, list(linked(str(text), find, anchors, uri, used)))


def _within(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node := node.parent:
        if isinstance(node, kinds) or "answer-key" in node.get("classes", []) or "facts" in node.get("classes", []):
            return True
    return False


def linked(text: str, find: re.Pattern, anchors: dict[str, str], uri: str, used: set[str]) -> Iterator[nodes.Node]:
    """Yield the text with a link at each name whose anchor is not in `used`, which then has it."""
    end = 0
    for found in find.finditer(text):
        name = found[1] if found[1] in anchors else found[1][0].lower() + found[1][1:]
        if anchors[name] in used:
            continue
        used.add(anchors[name])
        yield nodes.Text(text[end : found.start()])
        yield nodes.reference("", found[0], internal=True, refuri=f"{uri}#{anchors[name]}", classes=["term"])
        end = found.end()
    yield nodes.Text(text[end:])


def cards(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Remember the cards of a page."""
    if doctree is not None:
        for anchor, shown in _shown(doctree):
            html = "".join(app.builder.render_partial(node)["fragment"] for node in shown)
            html = re.sub(r'<a class="headerlink".*?</a>', "", html)
            html = re.sub(r"</?a\b[^>]*>| (?:id|name)=\"[^\"]*\"|<span></span>", "", html)
            html = re.sub(r'(src=")(?:\.\./)+', r"\1", html)
            app.env.cards.setdefault(page, {})[anchor] = everybody.light(html.strip())


def _shown(doctree: nodes.document) -> Iterator[tuple[str, list[nodes.Node]]]:
    """Yield an anchor of a page, and what its card shows; the anchor of the page itself is empty."""
    numbers = _numbers()
    for node in doctree.findall(nodes.Element):
        if isinstance(node, nodes.math_block) and node.get("label"):
            yield f"equation-{node['label']}", [node]
        elif isinstance(node, nodes.figure):
            yield from ((anchor, [node]) for anchor in node["ids"])
        elif isinstance(node, (exercise_enumerable_node, NODE_TYPES["theorem"])):
            yield node["label"], [_title(numbers[node["label"]]), *filter(_says, node.findall())]
        elif isinstance(node, nodes.section) and isinstance(node.next_node(), nodes.title):
            first = [child for child in node.children if isinstance(child, nodes.paragraph)][:2]
            opening = [
                _title(node.next_node().astext()),
                *first[: 2 if first and "facts" in first[0]["classes"] else 1],
            ]
            yield from ((anchor, opening) for anchor in node["ids"] if anchor.startswith("sec-"))
            if node.parent is doctree:
                yield "", opening
        elif isinstance(node, nodes.definition_list_item) and isinstance(node.parent.parent, addnodes.glossary):
            terms = list(node.findall(nodes.term))
            told = [_title(terms[0].astext()), *node.findall(nodes.paragraph)]
            yield from ((term["ids"][0], told) for term in terms)


@cache
def _numbers() -> dict[str, str]:
    return book_index.numbers(ROOT)


def _title(text: str) -> nodes.paragraph:
    return nodes.paragraph("", "", nodes.strong("", text))


def _says(node: nodes.Node) -> bool:
    if isinstance(node, nodes.paragraph):
        return not {"answer-key", "facts"} & set(node["classes"])
    return isinstance(node, nodes.math_block)


def begin(app: Sphinx) -> None:
    """Start with no cards."""
    app.env.cards = {}


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the cards of each page to a script of its own."""
    if error is None:
        for page, shown in app.env.cards.items():
            path = Path(app.outdir, FOLDER, f"{page}.js")
            path.parent.mkdir(parents=True, exist_ok=True)
            told = json.dumps(shown, ensure_ascii=False, indent=0)
            path.write_text(f"(window.CARDS ??= {{}})[{json.dumps(page)}] = {told};\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything."""
    app.connect("builder-inited", begin)
    app.connect("doctree-resolved", link_terms, priority=850)
    app.connect("html-page-context", cards)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": False}

"""The Sphinx side of search: what each section of the book says, without code and without TeX, in one file.

The page `search.html` loads that file as a script, so it needs no server and no network; `book/_static/search.js`
reads the query, ranks and shows. Sections and terms of the glossary come before functions.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import book_index
from docutils import nodes
from docutils.utils.math import tex2unichar
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx_exercise.nodes import solution_node

ROOT = Path(__file__).parents[2]
FILE = "sections.js"
SKIPPED = (
    nodes.comment,
    nodes.literal_block,
    nodes.math_block,
    nodes.raw,
    nodes.title,
    nodes.thead,
    addnodes.index,
    addnodes.toctree,
    solution_node,
)
LETTERS = tex2unichar.mathalpha | tex2unichar.mathbin | tex2unichar.mathrel | tex2unichar.mathord
FONTS = {"mathbb", "mathcal", "mathrm", "text", "operatorname"}
LONGEST_FORMULA = 16  # characters
INDICES = ("book/exercises", "book/equations", "book/in_the_wild", "book/ledger")  # they repeat what chapters say
ENDS = ("What to remember", "Exercises", "In the wild", "Sources")  # sections of every chapter, which say things again


def plain_formula(tex: str) -> str:
    """Return a short formula as plain letters, and an ellipsis for another one."""
    if set(re.findall(r"\\([A-Za-z]+)", tex)) - set(LETTERS) - FONTS:
        return "…"
    text = re.sub(r"\\([A-Za-z]+)\s*", lambda name: LETTERS.get(name[1], ""), tex)
    text = re.sub(r"[{}\\$]|\^(?=\*)", "", text).strip()
    return text if len(text) <= LONGEST_FORMULA else "…"


def words(node: nodes.Node) -> str:
    """Return the text of a paragraph or a title on one line."""
    if isinstance(node, nodes.math):
        return plain_formula(node.astext())
    if isinstance(node, nodes.Text):
        return node.astext()
    if isinstance(node, SKIPPED) or set(node.get("classes", [])) & {"answer-key", "facts"}:
        return ""
    gap = " · " if isinstance(node, nodes.row) else ""
    return gap.join(words(child) for child in node.children).replace("\n", " ")


def paragraphs(node: nodes.Element, inner: tuple[type, ...]) -> Iterator[str]:
    """Yield what the paragraphs, captions and rows of a node say, without its subsections and other `inner` nodes."""
    for child in node.children:
        if isinstance(child, (*SKIPPED, *inner)) or (isinstance(child, nodes.section) and child.next_node(nodes.title)):
            continue
        if isinstance(child, nodes.row | nodes.TextElement):
            if text := words(child).strip(" ·"):
                yield text
        elif isinstance(child, nodes.Element):
            yield from paragraphs(child, inner)


def sections(doctree: nodes.document, page: str, chapters: set[str]) -> Iterator[dict]:
    """Yield the sections of a page: where they are, their title and text, and how much they weigh."""
    whole = words_of_title(next(doctree.findall(nodes.section)))
    share = 1.0 if page in chapters else 0.15 if page in INDICES else 0.6
    for section in doctree.findall(nodes.section):
        if not isinstance(section.next_node(), nodes.title):
            continue
        title = words_of_title(section)
        first = title == whole
        inside = (addnodes.desc, addnodes.glossary)
        weight = 1.3 if first else 0.5 if title in ENDS else 1.0
        yield {
            "page": page,
            "anchor": "" if first else section["ids"][0],
            "title": title,
            "of": "" if first else whole,
            "text": "\n".join(paragraphs(section, inside)),
            "weight": share * weight,
            "kind": "package" if page.startswith(book_index.REFERENCE) else "book",
        }


def words_of_title(section: nodes.section) -> str:
    """Return the title of a section."""
    return "".join(words(child) for child in section.next_node(nodes.title).children)


def terms(doctree: nodes.document, page: str) -> Iterator[dict]:
    """Yield the terms of the glossary with all their names."""
    for glossary in doctree.findall(addnodes.glossary):
        for item in glossary.findall(nodes.definition_list_item):
            names = [words(term) for term in item.findall(nodes.term)]
            anchor = next(item.findall(nodes.term))["ids"][0]
            text = "\n".join(words(paragraph) for paragraph in item.findall(nodes.paragraph))
            told = {"page": page, "anchor": anchor, "title": names[0], "of": "Glossary", "text": text}
            yield told | {"weight": 0.5, "kind": "book", "names": names}


def objects(doctree: nodes.document, page: str) -> Iterator[dict]:
    """Yield the documented functions and classes of a page of the reference."""
    for block in doctree.findall(addnodes.desc):
        signature = block.next_node(addnodes.desc_signature)
        if signature is None or not signature["ids"]:
            continue
        text = "\n".join(paragraphs(block.next_node(addnodes.desc_content), (addnodes.desc, nodes.field_list)))
        name = signature["ids"][0].removeprefix("rlhf_lab.")
        told = {"page": page, "anchor": signature["ids"][0], "title": name, "of": "", "text": text}
        yield told | {"weight": 1.0, "kind": "package"}


def collect(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Remember what a page says."""
    if doctree is not None and doctree.next_node(nodes.section) is not None:
        chapters = {
            pages[0].relative_to(ROOT).with_suffix("").as_posix() for pages in book_index.numbered(ROOT).values()
        }
        for found in (sections(doctree, page, chapters), terms(doctree, page), objects(doctree, page)):
            app.env.said += [entry for entry in found if entry["text"] or entry["of"] == ""]


def begin(app: Sphinx) -> None:
    """Start with nothing said."""
    app.env.said = []


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the sections in a fixed order, a line each."""
    if error is None:
        entries = sorted(app.env.said, key=lambda entry: entry["page"])
        lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
        Path(app.outdir, FILE).write_text(f"const SECTIONS = [\n{lines}\n];\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything."""
    app.connect("builder-inited", begin)
    app.connect("html-page-context", collect)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": False}

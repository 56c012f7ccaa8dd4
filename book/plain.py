"""A chapter in plain markdown: what JupyterLab, VS Code, GitHub and Colab show without any extension.

The MyST text of a chapter is the source. From it this module makes the notebook that readers open: equations with the
numbers of the site, boxes as quotes, references and citations as words, captions below figures, solutions folded.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jupytext
import nbformat
from pybtex.database import Entry, parse_file

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
import book_index
import course

FENCE = re.compile(r"(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:-]+)\}\s*(?P<argument>.*)")
OPTION = re.compile(r":(\w+):\s*(.*)")
ROLE = re.compile(r"\{(?P<name>[\w:]+)\}`(?P<text>[^`]+)`")
NAMED = re.compile(r"(?P<text>.*?)\s*<(?P<target>[^>]+)>")
TITLES = {"note": "Note", "prf:theorem": "Theorem", "prf:proof": "Proof"}
WELCOME = (
    "> A chapter of the book RLHF Lab. It needs the package `rlhf_lab`. In a clone of the book, `make lab` installs it "
    "and opens a copy of this notebook that is yours. Without a clone, install the wheel that the book's front page "
    "offers: `pip install` and the name of the file."
)


@dataclass(frozen=True)
class Book:
    """What a chapter refers to: the numbers of labels, titles of sections, and the bibliography."""

    chapter: Path
    numbers: dict[str, str]
    sections: dict[str, tuple[Path, str]]
    bibliography: dict[str, Entry]


def notebook_of(text: Path, root: Path) -> nbformat.NotebookNode:
    """Return the plain notebook of a chapter, not executed; cells get ids that depend on nothing but their place."""
    entries = parse_file(str(root / "book/references.bib")).entries
    book = Book(text, book_index.numbers(root), book_index.sections(root), dict(entries))
    notebook = jupytext.read(text)
    notebook.cells = list(_cells(notebook.cells, book))
    title, rest = notebook.cells[0].source.split("\n", 1)
    notebook.cells[0].source = f"{title}\n\n{WELCOME}\n{rest}"
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place:03d}"
    # No word of jupytext: where it is installed, saving a notebook that it pairs writes over the text beside it.
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def out_of_step(text: Path, root: Path) -> list[str]:
    """Say where a stored notebook differs from its MyST text."""
    notebook, source = nbformat.read(text.with_suffix(".ipynb"), as_version=4), notebook_of(text, root)
    stored, written = ([(c.cell_type, c.source, c.metadata) for c in n.cells] for n in (notebook, source))
    if len(stored) != len(written):
        return [f"{text.name}: the notebook has {len(stored)} cells, the text {len(written)}; run make notebooks"]
    wrong = [k for k, (a, b) in enumerate(zip(stored, written, strict=True), start=1) if a != b]
    return [f"{text.name}: cell {k} differs between notebook and text; run make notebooks" for k in wrong]


def _cells(cells: list[nbformat.NotebookNode], book: Book) -> Iterator[nbformat.NotebookNode]:
    """Yield the plain cells: the text around folded solutions, and captions after figures."""
    solution: list[str] | None = None  # what stands in the solution that is open
    for cell in cells:
        if cell.cell_type == "code":
            if solution is None:
                yield from _code(cell, book)
            else:
                solution.append(f"```python\n{cell.source}\n```")
            continue
        for part in re.split(r"^(?=```\{solution-(?:start|end)\})", cell.source, flags=re.MULTILINE):
            opening, closing = part.startswith("```{solution-start}"), part.startswith("```{solution-end}")
            if opening:
                solution, part = [], part.split("\n```\n", 1)[-1] if "\n```\n" in part else ""
            elif closing:
                yield nbformat.v4.new_markdown_cell(_folded("Solution", "\n\n".join(solution or [])))
                solution, part = None, part.split("\n```", 1)[1]
            if not (written := _markdown(part, book).strip()):
                continue
            if solution is None:
                yield nbformat.v4.new_markdown_cell(written)
            else:
                solution.append(written)


def _code(cell: nbformat.NotebookNode, book: Book) -> Iterator[nbformat.NotebookNode]:
    options, tags = cell.metadata.get("mystnb", {}), cell.metadata.get("tags", [])
    metadata = {"mystnb": options} if options else {}
    if "hide-input" in tags:
        metadata |= {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}  # for JupyterLab, and for others
    if re.search(r"^def \w+\(.*\):\n    return None", cell.source, re.MULTILINE):
        metadata["tags"] = ["nbval-skip"]  # the reader's own code is not the project's to test
    yield nbformat.v4.new_code_cell(cell.source, metadata=metadata)
    if figure := options.get("figure"):
        yield nbformat.v4.new_markdown_cell(_markdown(f"**{{numref}}`{figure['name']}`** {figure['caption']}", book))


def _folded(title: str, body: str) -> str:
    return f"<details>\n<summary><b>{title}</b></summary>\n\n{body}\n\n</details>"


def _markdown(source: str, book: Book) -> str:
    """Translate a piece of MyST."""
    lines = iter(source.splitlines())
    written = []
    for line in lines:
        if (fence := FENCE.fullmatch(line)) is None:
            if not re.fullmatch(r"\([\w-]+\)=", line):
                written.append(_words(line, book))
            continue
        inside = list(iter(partial(next, lines), fence["fence"]))
        options = {}
        while inside and (option := OPTION.fullmatch(inside[0])):
            options[option[1]] = option[2]
            inside.pop(0)
        body = "\n".join(inside).strip("\n")
        written.append(_box(fence["name"], _words(fence["argument"], book), options, body, book))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(written))


def _box(name: str, argument: str, options: dict[str, str], body: str, book: Book) -> str:
    number = book.numbers.get(options.get("label", ""), "")
    if name == "math":
        tag = rf" \tag{{{number.strip('()')}}}" if number else ""
        aligned = rf"\begin{{aligned}} {body} \end{{aligned}}" if r"\\" in body else body
        return f"$$ {' '.join(aligned.split())}{tag} $$"
    inside = _markdown(body, book)
    if name in ("solution", "dropdown"):
        return _folded("Solution" if name == "solution" else argument, inside)
    if name in ("exercise", "exercise-start"):
        head = f"**{number}{f' ({argument})' if argument else ''}.**{_asked(options.get('class', ''))}"
        return _quote(f"{head} {inside}") if name == "exercise" else head
    if name == "exercise-end":
        return ""
    if name == "explore":
        return _quote(f"**Try it on this chapter's page of the book.** {inside}")
    if name == "admonition":
        return _quote(f"**{argument}**\n\n{inside}")
    title = number or TITLES[name]
    return _quote(f"**{title}{f' ({argument})' if argument else ''}.** {inside}")


def _asked(classes: str) -> str:
    """Return the difficulty and the minutes of an exercise, if its classes name them."""
    known = dict(re.findall(r"(difficulty|minutes)-(\d+)", classes))
    return f" {course.dots(int(known['difficulty']))}, {known['minutes']} minutes." if known else ""


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _words(line: str, book: Book) -> str:
    return ROLE.sub(lambda role: _role(role["name"], role["text"], book), line)


def _role(name: str, content: str, book: Book) -> str:
    named = NAMED.fullmatch(content)
    words, target = (named["text"], named["target"]) if named else ("", content)
    if name == "cite":
        return "(" + "; ".join(_citation(key.strip(), book) for key in content.split(",")) + ")"
    if name.startswith("py:"):
        return f"`{words or target.lstrip('~')}`"
    if name == "ref" and target not in book.numbers:
        page, title = book.sections[target]
        words = words or title
        return words if page == book.chapter or page.parent != book.chapter.parent else f"[{words}]({page.stem}.ipynb)"
    return words or book.numbers[target]


def _citation(key: str, book: Book) -> str:
    entry = book.bibliography[key]
    names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
    names = [re.sub(r"[{}]", "", name) for name in names]
    who = names[0] if len(names) == 1 else f"{names[0]} and {names[1]}" if len(names) == 2 else f"{names[0]} et al."
    fields = entry.fields
    where = f"https://doi.org/{fields['doi']}" if "doi" in fields else fields.get("url")
    said = f"{who}, {fields['year']}"
    return f"[{said}]({where})" if where else said

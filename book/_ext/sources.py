"""Where the book's equations come from: what the docstrings cite, found again in the bibliography.

Pure functions of a project's root, as in `book_index`.
"""

import ast
import re
from pathlib import Path

import book_index
from pybtex.database import Entry, parse_file

NAME = r"(?:Van )?[A-Z][\w-]+"
WORK = (
    rf"RLHF Deciphered|Theory to Algorithm for RLHF|ILHF(?=, )|{NAME}(?:(?:, {NAME})*(?: and {NAME}| et al\.))? \d{{4}}"
)
PLACE = r"(?:eq\. |section |appendix |algorithm |lemma |table )[\w.-]*\w"
CITED = re.compile(rf"(?P<work>{WORK})(?:, (?P<place>{PLACE}))?")
SHORT = {
    "RLHF Deciphered": "chaudhari2024rlhf",
    "ILHF": "xu2023shattering",
    "Theory to Algorithm for RLHF": "xiong2024theory",
}


def sources(root: Path) -> dict[str, list[str]]:
    """Return, for each label, what the docstrings of its functions cite, as MyST."""
    entries = dict(parse_file(str(root / "book/references.bib")).entries)
    found: dict[str, dict[str, None]] = {}
    for module in book_index.modules(root):
        docstrings = _docstrings(book_index.source(root, module), f"rlhf_lab.{module}")
        for label, function in book_index.named_in(root, module):
            told = [_told(match, entries) for match in CITED.finditer(docstrings[function])]
            found.setdefault(label, {}).update(dict.fromkeys(told))
    return {label: list(cited) for label, cited in found.items() if cited}


def _docstrings(module: Path, name: str) -> dict[str, str]:
    """Return the docstrings of a module's functions and classes, each in one line."""
    found = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                found[f"{prefix}.{child.name}"] = " ".join((ast.get_docstring(child) or "").split())
                visit(child, f"{prefix}.{child.name}")

    visit(ast.parse(module.read_text(encoding="utf-8")), name)
    return found


def _told(match: re.Match[str], entries: dict[str, Entry]) -> str:
    work, place = match["work"], match["place"]
    key = SHORT.get(work) or _key(work, entries)
    return (f"{{cite:t}}`{key}`" if key else work) + (f", {place}" if place else "")


def _key(work: str, entries: dict[str, Entry]) -> str | None:
    """Return the entry with these authors and this year, if there is one."""
    names, year = re.findall(NAME, work), work[-4:]
    found = [
        key
        for key, entry in entries.items()
        if entry.fields["year"].startswith(year)
        and all(f" {name} " in f" {have} " for have, name in zip(_names(entry), names, strict=False))
        and (len(entry.persons["author"]) > 2 if "et al." in work else len(names) == len(entry.persons["author"]))
    ]
    return found[0] if len(found) == 1 else None


def _names(entry: Entry) -> list[str]:
    names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
    return [re.sub(r"[^\w -]", "", name) for name in names]

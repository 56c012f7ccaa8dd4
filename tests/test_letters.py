"""The table of letters: what the sources call what this book writes, the same from both sides."""

import re
from pathlib import Path

import pytest

NOTATION, LETTERS = (Path(__file__).parents[1] / "book/notation.md").read_text("utf-8").split("(sec-letters)=")
SOURCES = {"ILHF": "ILHF", "survey": "The survey", "CS188": "CS 188", "Xiong": "Xiong", "Brantley": "Brantley"}
SYMBOL = re.compile(r"\$([^$]+)\$(?: \(([a-z -]+)\))?")  # and in parentheses the beginning of a table's title


def rows(text):
    """The cells of a page's tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    found = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in found if row[0] not in ("symbol", "here", "there")]


def apart(cell):
    """The groups of a cell, between semicolons that stand outside of formulas."""
    return re.split(r"; (?=[^$]*(?:\$[^$]*\$[^$]*)*$)", cell)


def pairs(there, here):
    """Letters of a source and ours: group by group, or all of theirs for one of ours."""
    theirs, ours = apart(there), apart(here)
    return list(zip([", ".join(theirs)] if len(ours) == 1 else theirs, ours, strict=True))


def ours(cell):
    return ", ".join(match[0] for match in SYMBOL.finditer(cell))


TABLES = {title: rows(text) for title, text in re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", NOTATION, re.M)}
(FROM_HERE, *_), LISTS = (
    re.split(r"^### .+\n", LETTERS, flags=re.M),
    {
        name: rows(re.split(rf"^### {title}\n", LETTERS, flags=re.M)[1].split("\n### ")[0])
        for name, title in SOURCES.items()
    },
)


def known(symbol, place):
    """Whether a symbol stands in the first column of a table whose title begins with a place, or of any."""
    for title, table in TABLES.items():
        if place and place not in title.lower():
            continue
        for row in table:
            for found in re.findall(r"\$([^$]+)\$", row[0]):
                if symbol in {part.strip() for part in (found, *re.split(r" = |\(|\\mid|\\succ", found))}:
                    return True
    return False


@pytest.mark.parametrize("name", SOURCES)
def test_each_letter_of_a_source_is_there_once_and_ours_has_a_row(name):
    letters = [there for there, _, _ in LISTS[name]]
    assert len(letters) == len(set(letters)) > 30
    for _, _, here in LISTS[name]:
        for symbol, place in SYMBOL.findall(here):
            assert known(symbol, place), (symbol, place)


def test_both_sides_say_the_same():
    from_sources = {}
    for name, table in LISTS.items():
        for there, _, here in table:
            for theirs, own in pairs(there, here):
                if ours(own):
                    from_sources.setdefault(ours(own), {}).setdefault(name, []).append(theirs)
    told = rows(FROM_HERE)
    assert len({here for here, _ in told}) == len(told)
    from_here = {here: dict(part.split(": ", 1) for part in apart(cell)) for here, cell in told}
    assert from_here == {own: {n: ", ".join(t) for n, t in by.items()} for own, by in from_sources.items()}

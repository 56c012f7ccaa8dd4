"""Comparisons of named items, read from the files that people have."""

import csv
import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from rlhf_lab.numerics.checks import BoolArray, IntArray

COLUMNS = ("winner", "loser", "tie", "annotator")
TIES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
NOBODY = "(no name)"
SHOWN = 5  # wrong lines that a message lists


class Comparisons(NamedTuple):
    """Comparisons of named items: indices into `items`, one entry a comparison; in a tie the order means nothing."""

    items: tuple[str, ...]
    winner: IntArray
    loser: IntArray
    tie: BoolArray
    annotator: IntArray | None = None
    annotators: tuple[str, ...] = ()


def read(path: str | os.PathLike[str]) -> Comparisons:
    """Read comparisons from a CSV file with a header, or from JSON lines (.jsonl, .ndjson, .json), in UTF-8.

    The columns are winner, loser, and if you like tie (true/false, yes/no, 1/0, empty) and annotator; others are
    ignored, and so are spaces around names. Raises `ValueError` with the numbers of the lines that are wrong.
    """
    path = Path(path)
    raw: dict[str, int] = {}
    raw_ties, raw_people = dict(TIES), dict[str, int]()
    items, people = dict[str, int](), dict[str, int]()
    winners, losers, ties, annotators = list[int](), list[int](), list[bool](), list[int]()
    problems, wrong = list[str](), 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = _json_rows(file) if path.suffix.lower() in (".jsonl", ".ndjson", ".json") else _csv_rows(file)
        try:
            for line, row in rows:
                try:
                    if isinstance(row, str):
                        raise ValueError(row)
                    first, second, tie, person = row
                    # Names are cleaned and checked once for each spelling: a row costs a few look-ups.
                    if first not in raw:
                        raw[first] = items.setdefault(_name("winner", first), len(items))
                    if second not in raw:
                        raw[second] = items.setdefault(_name("loser", second), len(items))
                    if raw[first] == raw[second]:
                        raise ValueError(f"{first.strip()!r} is compared with itself")
                    if tie not in raw_ties:
                        raw_ties[tie] = _tie(tie)
                    if person not in raw_people:
                        raw_people[person] = people.setdefault(
                            _name("annotator", person.strip() or NOBODY), len(people)
                        )
                except ValueError as error:
                    wrong += 1
                    problems += [f"line {line}: {error}"] if wrong <= SHOWN else []
                    continue
                winners.append(raw[first])
                losers.append(raw[second])
                ties.append(raw_ties[tie])
                annotators.append(raw_people[person])
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    if wrong:
        more = [f"and {wrong - SHOWN:,} more"] if wrong > SHOWN else []
        raise ValueError("\n  ".join([f"{path} cannot be read:", *problems, *more]))
    if not winners:
        raise ValueError(f"{path} holds no comparisons: each needs a row with a winner and a loser")
    compared = Comparisons(tuple(items), np.array(winners), np.array(losers), np.array(ties))
    if list(people) == [NOBODY]:
        return compared
    return compared._replace(annotator=np.array(annotators), annotators=tuple(people))


def _name(role: str, raw: str) -> str:
    name = " ".join(raw.split())
    if not name:
        raise ValueError(f"the {role} is missing")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise ValueError(f"the {role} {name!r} has a control character in its name")
    return name


def _tie(raw: str) -> bool:
    if raw.strip().lower() not in TIES:
        raise ValueError(f"tie is {raw!r}; it must be true, false, yes, no, 1, 0 or empty")
    return TIES[raw.strip().lower()]


def _csv_rows(file: TextIO) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(file, strict=True)
    width = line = last = won = lost = tie = by = 0
    try:
        for row in reader:
            line, last = last + 1, reader.line_num
            if not row:
                continue
            if not width:
                header = [name.strip().lower() for name in row]
                if not {"winner", "loser"} <= set(header) or any(header.count(name) > 1 for name in COLUMNS):
                    text = f"the header is {','.join(row)[:80]!r}; it must name the columns winner and loser once each"
                    yield line, f"{text} (tie and annotator at most once), separated by commas"
                    return
                # A column that is not there is read from the empty field that is put behind every row.
                width = len(header)
                won, lost, tie, by = (header.index(name) if name in header else width for name in COLUMNS)
            elif len(row) != width:
                yield line, f"has {len(row)} fields, but the header has {width}"
            else:
                row.append("")
                yield line, (row[won], row[lost], row[tie], row[by])
    except csv.Error as error:
        yield last + 1, f"is not CSV from here on: {error}"


def _json_rows(file: TextIO) -> Iterator[tuple[int, Any]]:
    decode = json.JSONDecoder(parse_constant=int).decode  # NaN and Infinity are no JSON, and int refuses them
    for line, text in enumerate(file, 1):
        if text.isspace():
            continue
        try:
            data = decode(text)
        except (ValueError, RecursionError) as error:
            yield line, f"is not JSON: {error}"
            continue
        if not isinstance(data, dict):
            yield line, f"is not a JSON object with winner and loser, but {type(data).__name__}"
            continue
        row = ["" if data.get(name) is None else data[name] for name in COLUMNS]
        bad = [
            name
            for name, value in zip(COLUMNS, row, strict=True)
            if name != "tie" and type(value) not in (str, int, float)
        ]
        yield line, f"{bad[0]} is {data[bad[0]]!r}; a name is text or a number" if bad else tuple(map(str, row))

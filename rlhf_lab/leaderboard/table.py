"""A board as text for a terminal, and as CSV for other programs."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import Any

import numpy as np

from rlhf_lab.leaderboard import names, scale
from rlhf_lab.leaderboard.standings import Annotator, Board, Row
from rlhf_lab.numerics.files import write_text

WIDTH = 80  # of the notes, in letters
NAME = 40  # of a name, in columns of a terminal
PEOPLE = 30  # annotators that are shown


def format_table(board: Board) -> str:
    """Return the board as text: the items, the notes, and the annotators if they are known.

    Long names lose their middle, and of more than 30 annotators those who agree least are shown.
    """
    several = board.rows[-1].group > 1
    robust = board.rows[0].robust_low is not None
    head = [["group"] * several + ["rank", "item", "strength", "low", "high"] + ["low*", "high*"] * robust]
    head[0] += ["wins", "losses", "ties", "P(win)"]
    body = [_cells(row, board.scale.digits, robust)[not several :] for row in board.rows]
    text = _aligned(head + body, left=1 + several)
    about = [f"{scale.told(board.scale, board.level)}; P(win): against an item of average strength."]
    if robust:
        about.append("low* to high*: the same without trust in the model (sandwich): comparisons are independent.")
    text += "".join(f"\n{fill(note, WIDTH)}\n" for note in (" ".join(about), *board.notes))
    if board.annotators:
        head = [["annotator", "comparisons", "agreement", "expected"]]
        people = [
            [names.isolated(names.short(person.name, NAME)), *map(_number, person[1:])]
            for person in board.annotators[:PEOPLE]
        ]
        text += "\n" + _aligned(head + people, left=0)
        about = ["Agreement: share of decisions for the stronger item; expected: the share if the model holds."]
        if (more := len(board.annotators) - PEOPLE) > 0:
            about.append(f"{more:,} more agree better.")
        text += f"\n{fill(' '.join(about), WIDTH)}\n"
    return text


def _cells(row: Row, digits: int, robust: bool) -> list[str]:
    interval = [row.strength, row.low, row.high, *((row.robust_low, row.robust_high) if robust else ())]
    name = names.isolated(names.short(row.item, NAME))
    counts = [_number(value) for value in (row.wins, row.losses, row.ties, row.beats_average)]
    return [str(row.group), str(row.rank), name, *(_number(value, digits) for value in interval), *counts]


def _number(value: Any, digits: int = 2) -> str:
    if isinstance(value, float):
        return f"{value:z.{digits}f}" if np.isfinite(value) else "-"
    return str(value)


def _aligned(table: list[list[str]], left: int) -> str:
    widths = [max(map(names.width, column)) for column in zip(*table, strict=True)]
    lines = list[str]()
    for row in table:
        gaps = [" " * (width - names.width(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [cell + gap if k == left else gap + cell for k, (cell, gap) in enumerate(zip(row, gaps, strict=True))]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def csv_text(board: Board) -> str:
    """Return the rows of the board as CSV; robust intervals are columns if the board has them."""
    robust = bool(board.rows) and board.rows[0].robust_low is not None
    width = len(Row._fields) - 2 * (not robust)
    return _csv(Row._fields[:width], [row[:width] for row in board.rows])


def write_csv(board: Board, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write the rows of the board as CSV, whole or not at all. Raises `FileExistsError` unless `overwrite`."""
    write_text(path, csv_text(board), overwrite=overwrite)


def write_annotators(board: Board, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write the annotators of the board as CSV, whole or not at all. Raises `ValueError` if there are none."""
    if not board.annotators:
        raise ValueError("the comparisons have no column annotator; name it with --annotator")
    write_text(path, _csv(Annotator._fields, board.annotators), overwrite=overwrite)


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(["" if value is None else _exact(value) for value in row] for row in rows)
    return file.getvalue()


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:z.6f}" if np.isfinite(value) else ""
    return value

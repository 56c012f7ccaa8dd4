"""Comparisons of named items, read from the files that people have."""

import os
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.feedback import records, verdicts
from rlhf_lab.leaderboard import names
from rlhf_lab.leaderboard.columns import AS_NAMED, Columns, find
from rlhf_lab.leaderboard.readers import rows
from rlhf_lab.numerics.checks import BoolArray, FloatArray, IntArray, tally

NOBODY = "(no name)"
SHOWN = 5  # wrong lines that a message lists
LISTED = 10  # names that a note lists
NUMBER = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
LEAST, MOST = 1e-6, 1e9  # comparisons that a row may stand for, if not none


class Comparisons(NamedTuple):
    """Comparisons of named items: indices into `items`, one entry a comparison; in a tie the order means nothing.

    `times` (N,) says how many comparisons an entry stands for; None: one. `notes` are what to know of the reading,
    `left_out` the lines that were not read, and why.
    """

    items: tuple[str, ...]
    winner: IntArray
    loser: IntArray
    tie: BoolArray
    annotator: IntArray | None = None
    annotators: tuple[str, ...] = ()
    times: FloatArray | IntArray | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class _Names:
    """Names by their spelling: an index for each, and how it was spelled."""

    def __init__(self) -> None:
        self.index = dict[str, int]()
        self.spellings = list[set[str]]()

    def add(self, name: str) -> int:
        index = self.index.setdefault(names.key(name), len(self.index))
        if index == len(self.spellings):
            self.spellings.append(set())
        self.spellings[index].add(name)
        return index

    @property
    def shown(self) -> tuple[str, ...]:
        """The shortest spelling of each."""
        return tuple(min(each, key=lambda name: (len(name), name)) for each in self.spellings)


def read(
    source: str | os.PathLike[str] | Any,
    columns: Columns = AS_NAMED,
    skip_bad: bool = False,
) -> Comparisons:
    """Read comparisons from a path, or from a stream of bytes: CSV with a header, JSON lines, a JSON array, parquet.

    CSV is parted by commas, semicolons, tabs or bars; text is UTF-8; a file packed with gzip is unpacked; parquet needs
    pyarrow. Two layouts are read, whatever the case of the names of columns. Either winner and loser, and if you like
    tie (true, yes, 1, tie, ...). Or two items, model_a and model_b, and winner: model_a, a, left, tie, tie (bothbad),
    ..., or the name of the item that won; or winner_model_a, winner_model_b, winner_tie. Both may have annotator (or
    judge), and count (or weight): how many comparisons the row stands for. `columns` names columns that are called
    something else. Spellings that look alike, and 2 and 2.0, are one name. Raises `ValueError` with the numbers of the
    lines that are wrong; with `skip_bad` they are left out, and listed.
    """
    shown, taken = records.name_of(source), _Taken()
    known, order = dict[tuple[Any, ...], int](), list[int]()
    problems, unused = list[str](), dict[str, None]()
    last = None
    try:
        for line, layout, row in rows(source, _finder(columns)):
            index = known.get(row)  # rows are looked at once for each spelling: one more costs a look-up
            if index is None:
                try:
                    if layout is None:
                        raise ValueError(row)
                    known[row] = index = taken.add(layout.roles, row)
                except ValueError as error:
                    problems.append(f"line {line}: {error}")
                    continue
            if layout is not last and layout is not None:
                last = layout
                unused.update(dict.fromkeys(layout.unused))
            order.append(index)
    except ValueError as error:
        told = str(error)
        raise ValueError(told if told.startswith(shown) else f"{shown} cannot be read:\n  {told}") from None
    if problems and not (skip_bad and order):
        more = [f"and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        raise ValueError("\n  ".join([f"{shown} cannot be read:", *problems[:SHOWN], *more]))
    notes = _notes(taken.items, list(unused), len(problems))
    return _comparisons(shown, taken, order)._replace(notes=notes, left_out=tuple(problems))


class _Taken:
    """What was read: the names, and each different row as (first, second, who won, annotator, count)."""

    def __init__(self) -> None:
        self.items, self.people = _Names(), _Names()
        self.rows = list[tuple[int, int, int, int, float]]()
        # Each word is looked at once.
        self.item, self.person = dict[str, int](), dict[str | None, int]()
        self.ended, self.count = dict[tuple[Any, ...], int](), dict[str | None, float]()

    def add(self, roles: tuple[str, ...], row: tuple[Any, ...]) -> int:
        first, second, tie, by, count, *verdict = row
        one = self.item[first] if first in self.item else self._named(roles[0], first)
        two = self.item[second] if second in self.item else self._named(roles[1], second)
        if one == two:
            raise ValueError(f"{names.shown(names.spelling(first))} is compared with itself")
        which = (one, two, tie, *verdict)
        if which not in self.ended:
            self.ended[which] = _ended(tie, verdict, self.items, one, two)
        if by not in self.person:
            spelled = names.spelling(by or "")
            name = names.checked("annotator", spelled, item=False) if spelled else NOBODY
            self.person[by] = self.people.add(name)
        if count not in self.count:
            self.count[count] = _count(count)
        self.rows.append((one, two, self.ended[which], self.person[by], self.count[count]))
        return len(self.rows) - 1

    def _named(self, role: str, raw: str) -> int:
        self.item[raw] = self.items.add(names.checked(role, raw))
        return self.item[raw]


def _finder(columns: Columns) -> Callable[..., Any]:
    seen = cache(lambda header: find(header, columns))
    return lambda header: seen(tuple(header))


def _comparisons(shown: str, taken: _Taken, order: list[int]) -> Comparisons:
    items, people = taken.items, taken.people
    table = np.array(taken.rows, dtype=float).reshape(-1, 5)[order]
    first, second, ended, person = table[:, :4].astype(np.intp).T
    count = table[:, 4]
    rows = np.flatnonzero(count)
    if not len(rows):
        raise ValueError(f"{shown} holds no comparisons: each needs a row with a winner and a loser")
    won, lost = np.where(ended < 0, (second, first), (first, second))
    compared = Comparisons(items.shown, won[rows], lost[rows], ended[rows] == 0)
    if (count != 1).any():
        whole = (count == np.rint(count)).all()
        compared = compared._replace(times=count[rows].astype(np.intp) if whole else count[rows])
    if people.shown == (NOBODY,):
        return compared
    return compared._replace(annotator=person[rows], annotators=people.shown)


def _ended(tie: str | None, verdict: list[str | None], items: _Names, one: int, two: int) -> int:
    """Return 1 if the first item won, -1 if the second did, 0 for a tie."""
    if tie is not None and verdicts.tied(tie):
        return 0
    if not verdict:
        return 1
    if len(verdict) > 1:
        flags = [verdicts.tied(flag) for flag in verdict]
        if sum(flags) != 1:
            raise ValueError(f"one of the columns that say who won must be 1, and the others 0; got {verdict}")
        return (1, -1, 0)[flags.index(True)]
    said = verdict[0] or ""
    by_word, named = verdicts.side(said), items.index.get(names.key(names.spelling(said)))
    by_name = {one: 1, two: -1}.get(-1 if named is None else named)
    if verdicts.plain(said) in verdicts.MISSING and by_name is None:
        raise ValueError("the winner is missing; it must be model_a, model_b, tie, or the name of the item that won")
    if by_word is None and by_name is None:
        raise ValueError(
            f"the winner is {names.shown(said)}, which is neither of the two items; it must be model_a, model_b, tie, "
            "or the name of the item that won"
        )
    if by_word is not None and by_name is not None and by_word != by_name:
        raise ValueError(
            f"the winner {names.shown(said)} names one item and stands for the other: write model_a, model_b or tie"
        )
    return by_word if by_name is None else by_name  # type: ignore[return-value]


def _count(raw: str | None) -> float:
    if raw is None:
        return 1.0
    text = raw.strip()
    if not NUMBER.fullmatch(text) or not (float(text) == 0 or LEAST <= float(text) <= MOST):
        told = f"is {names.shown(text)}; it must be 0, or from {LEAST:g} to {MOST:g}" if text else "is missing"
        raise ValueError(f"the count of comparisons {told}")
    return float(text)


def _notes(items: _Names, unused: list[str], wrong: int) -> tuple[str, ...]:
    notes = list[str]()
    if wrong:
        notes.append(f"Left out: {wrong:,} {'line that' if wrong == 1 else 'lines that'} cannot be read.")
    if unused:
        notes.append(f"Columns that are not used: {_listed(unused)}.")
    if several := [" = ".join(sorted(each)) for each in items.spellings if len(each) > 1]:
        notes.append(f"Spellings that count as one item: {_listed(several)}.")
    if twins := [" and ".join(each) for each in names.alike(items.shown)]:
        notes.append(f"Different items, though they differ in case or width only: {_listed(twins)}.")
    return tuple(notes)


def _listed(told: list[str]) -> str:
    more = f" and {len(told) - LISTED:,} more" if len(told) > LISTED else ""
    return ", ".join(told[:LISTED]) + more


def at_least(compared: Comparisons, least: float) -> Comparisons:
    """Leave out items with fewer than `least` comparisons, and theirs, until all that are left have as many."""
    keep, rows = np.ones(len(compared.items), bool), np.arange(len(compared.winner))
    while True:
        count = None if compared.times is None else compared.times[rows]
        sides = (compared.winner[rows], compared.loser[rows])
        met = sum(tally(side, count, len(keep)) for side in sides)
        if (met[keep] >= least).all():
            break
        keep &= met >= least
        rows = rows[keep[compared.winner[rows]] & keep[compared.loser[rows]]]
    if keep.all():
        return compared
    if not keep.any():
        raise ValueError(f"no item has {least:g} comparisons with others that have as many; ask for fewer")
    gone = [compared.items[index] for index in np.flatnonzero(~keep)]
    note = f"Left out, with fewer than {least:g} comparisons among the others: {_listed(gone)}."
    place = np.cumsum(keep) - 1
    return compared._replace(
        items=tuple(name for name, there in zip(compared.items, keep, strict=True) if there),
        winner=place[compared.winner[rows]],
        loser=place[compared.loser[rows]],
        tie=compared.tie[rows],
        annotator=None if compared.annotator is None else compared.annotator[rows],
        times=None if compared.times is None else compared.times[rows],
        notes=(*compared.notes, note),
    )

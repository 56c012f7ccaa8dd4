"""Rank named items from comparisons: Bradley-Terry strengths, Davidson's ties, their errors, and what they hide.

Item i has a strength r_i in nats; m = r_i - r_j. Without ties P(i beats j) = sigmoid(m). With ties (Davidson 1970)
win, loss and tie have the weights e^{m/2}, e^{-m/2} and nu = e^delta, divided by their sum.
"""

import csv
import json
import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.sparse.csgraph import NegativeCycleError, bellman_ford, connected_components
from scipy.special import expit
from threadpoolctl import threadpool_limits

from .checks import FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PRIOR_DEVIATION = 3.0  # nats; used only where the comparisons alone give no finite strengths
MOST_ITEMS = 5_000  # the Hessian is dense: 200 MB at this size
FIGURE_SUFFIXES = (".svg", ".png")
_COLUMNS = ("winner", "loser", "tie", "annotator")
_TIES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
_NOBODY = "(no name)"
_STEPS, _SHOWN, _NAMED, _HALF_FIGURE, _MOST_DRAWN = 500, 5, 10, 30, 240


class Comparisons(NamedTuple):
    """Comparisons of named items: indices into `items`, one entry a comparison; in a tie the order means nothing."""

    items: tuple[str, ...]
    winner: IntArray
    loser: IntArray
    tie: NDArray[np.bool_]
    annotator: IntArray | None = None
    annotators: tuple[str, ...] = ()


class Fit(NamedTuple):
    """Strengths (n,) that sum to zero, their covariance (n, n), nu (0 without ties), comparisons of each item (n,)."""

    strength: FloatArray
    covariance: FloatArray
    tie: float
    comparisons: IntArray


class Row(NamedTuple):
    """An item on the board; strength, low and high are nats above the mean of its group."""

    group: int
    rank: int
    item: str
    strength: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    beats_average: float


class Annotator(NamedTuple):
    """The share of an annotator's decisions that agree with the strengths, and the share that the model expects."""

    name: str
    comparisons: int
    agreement: float
    expected: float


class Board(NamedTuple):
    """Items by group and rank, what to know before believing them, and annotators, those who agree least first."""

    rows: tuple[Row, ...]
    level: float
    notes: tuple[str, ...]
    annotators: tuple[Annotator, ...]


class _Pairs(NamedTuple):
    items: int
    first: IntArray
    second: IntArray
    wins: IntArray
    losses: IntArray
    ties: IntArray


def read_comparisons(path: str | os.PathLike[str]) -> Comparisons:
    """Read comparisons from a CSV file with a header, or from JSON lines (.jsonl, .ndjson, .json), in UTF-8.

    The columns are winner, loser, and if you like tie (true/false, yes/no, 1/0, empty) and annotator; others are
    ignored, and so are spaces around names. Raises `ValueError` with the numbers of the lines that are wrong.
    """
    path = Path(path)
    raw: dict[str, int] = {}
    raw_ties, raw_people = dict(_TIES), dict[str, int]()
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
                            _name("annotator", person.strip() or _NOBODY), len(people)
                        )
                except ValueError as error:
                    wrong += 1
                    problems += [f"line {line}: {error}"] if wrong <= _SHOWN else []
                    continue
                winners.append(raw[first])
                losers.append(raw[second])
                ties.append(raw_ties[tie])
                annotators.append(raw_people[person])
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    if wrong:
        more = [f"and {wrong - _SHOWN:,} more"] if wrong > _SHOWN else []
        raise ValueError("\n  ".join([f"{path} cannot be read:", *problems, *more]))
    if not winners:
        raise ValueError(f"{path} holds no comparisons: each needs a row with a winner and a loser")
    compared = Comparisons(tuple(items), np.array(winners), np.array(losers), np.array(ties))
    if list(people) == [_NOBODY]:
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
    if raw.strip().lower() not in _TIES:
        raise ValueError(f"tie is {raw!r}; it must be true, false, yes, no, 1, 0 or empty")
    return _TIES[raw.strip().lower()]


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
                if not {"winner", "loser"} <= set(header) or any(header.count(name) > 1 for name in _COLUMNS):
                    text = f"the header is {','.join(row)[:80]!r}; it must name the columns winner and loser once each"
                    yield line, f"{text} (tie and annotator at most once), separated by commas"
                    return
                # A column that is not there is read from the empty field that is put behind every row.
                width = len(header)
                won, lost, tie, by = (header.index(name) if name in header else width for name in _COLUMNS)
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
        row = ["" if data.get(name) is None else data[name] for name in _COLUMNS]
        bad = [
            name
            for name, value in zip(_COLUMNS, row, strict=True)
            if name != "tie" and type(value) not in (str, int, float)
        ]
        yield line, f"{bad[0]} is {data[bad[0]]!r}; a name is text or a number" if bad else tuple(map(str, row))


def groups(
    winner: IntArray, loser: IntArray, tie: NDArray[np.bool_] | None = None, items: int | None = None
) -> list[IntArray]:
    """Return the items that chains of comparisons link, largest group first: only inside a group can you compare."""
    winner, loser, tie, items = _checked(winner, loser, tie, items)
    return _parts(csr_array((np.ones(len(winner)), (winner, loser)), shape=(items, items)), "weak")


def fit(
    winner: IntArray,
    loser: IntArray,
    tie: NDArray[np.bool_] | None = None,
    items: int | None = None,
    prior_precision: float = 0.0,
) -> Fit:
    """Maximise the likelihood of strengths r, and of delta = log nu if there are ties.

    `winner`, `loser` (N,) are indices of items, `tie` (N,) says which comparisons had no winner. A Gaussian prior
    around 0 with `prior_precision` (0: none; otherwise at least 1e-6) lies on each strength and on delta. The
    covariance is the inverse of the observed information, with delta profiled out, of strengths that sum to zero.
    Raises `ValueError` if there is no maximum and no prior: then some items never lost, or never won, to the rest.
    """
    if prior_precision != 0 and not 1e-6 <= prior_precision < np.inf:
        raise ValueError(f"prior_precision must be 0 (no prior) or finite and at least 1e-6; got {prior_precision}")
    pairs = _count(*_checked(winner, loser, tie, items))
    reason = _unbounded(pairs, [f"item {index}" for index in range(pairs.items)])
    if reason and not prior_precision:
        raise ValueError(f"no finite strengths fit best: {reason}; collect more comparisons or pass prior_precision")
    with _threads(pairs.items):
        return _newton(pairs, prior_precision)


def _checked(
    winner: IntArray, loser: IntArray, tie: NDArray[np.bool_] | None, items: int | None
) -> tuple[IntArray, IntArray, NDArray[np.bool_], int]:
    winner, loser = np.asarray(winner), np.asarray(loser)
    tie = np.zeros(winner.shape, bool) if tie is None else np.asarray(tie, bool)
    if winner.ndim != 1 or not winner.shape == loser.shape == tie.shape or not winner.size:
        shapes = f"{winner.shape}, {loser.shape} and {tie.shape}"
        raise ValueError(f"winner, loser and tie must have one shape (N,) with N at least 1; got {shapes}")
    if not (np.issubdtype(winner.dtype, np.integer) and np.issubdtype(loser.dtype, np.integer)):
        raise ValueError(f"winner and loser must be integers, the indices of items; got {winner.dtype}, {loser.dtype}")
    least, most = min(winner.min(), loser.min()), max(winner.max(), loser.max())
    items = int(most) + 1 if items is None else items
    if least < 0 or most >= items:
        raise ValueError(f"item {least if least < 0 else most} is not among the {items} items, 0 to {items - 1}")
    if (winner == loser).any():
        raise ValueError(
            f"comparison {(winner == loser).argmax()} compares item {winner[winner == loser][0]} with itself"
        )
    return winner.astype(np.int64, copy=False), loser.astype(np.int64, copy=False), tie, items


def _count(winner: IntArray, loser: IntArray, tie: NDArray[np.bool_], items: int) -> _Pairs:
    if items > MOST_ITEMS:
        raise ValueError(
            f"{items:,} items are more than {MOST_ITEMS:,}, the most that fit in memory; rank fewer at once"
        )
    upset = winner > loser
    key = np.where(upset, loser * items + winner, winner * items + loser)
    total = np.bincount(key)
    met = np.flatnonzero(total)
    ties = np.bincount(key[tie], minlength=len(total))[met] if tie.any() else np.zeros(len(met), np.int64)
    losses = np.bincount(key[upset & ~tie], minlength=len(total))[met]
    return _Pairs(items, met // items, met % items, total[met] - losses - ties, losses, ties)


def _parts(graph: csr_array, connection: str) -> list[IntArray]:
    _, label = connected_components(graph, directed=True, connection=connection)
    parts = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label))[:-1])
    return sorted(parts, key=lambda part: (-len(part), part[0]))


def _unbounded(pairs: _Pairs, names: Sequence[str]) -> str:
    """Return why the likelihood has no maximum, or nothing if it has one."""
    # A win is an edge of weight -1 from the winner to the loser, a tie an edge of weight 1 both ways.
    forth = np.where(pairs.wins > 0, -1.0, pairs.ties > 0)
    back = np.where(pairs.losses > 0, -1.0, pairs.ties > 0)
    weight = np.concatenate([forth, back])
    tail, head = np.concatenate([pairs.first, pairs.second]), np.concatenate([pairs.second, pairs.first])
    edge = weight != 0
    graph = csr_array((weight[edge], (tail[edge], head[edge])), shape=(pairs.items, pairs.items))
    largest, *others = _parts(graph, "weak")
    if others:
        return f"no chain of comparisons links {_listed(names, largest)} with {_listed(names, np.concatenate(others))}"
    parts = _parts(graph, "strong")
    if len(parts) > 1:
        part_of = np.empty(pairs.items, np.int64)
        for number, part in enumerate(parts):
            part_of[part] = number
        across = edge & (part_of[tail] != part_of[head])
        never_lost = np.flatnonzero(~np.isin(part_of, part_of[head[across]]))
        never_won = np.flatnonzero(~np.isin(part_of, part_of[tail[across]]))
        even = " or tied" if pairs.ties.any() else ""
        lost, won = _listed(names, never_lost), _listed(names, never_won)
        return f"never lost{even} against the rest: {lost}; never won{even} against the rest: {won}"
    if not pairs.ties.any() or (pairs.wins * pairs.losses).any():
        return ""
    # Strengths and delta can grow together without end unless some cycle holds more wins than ties.
    try:
        bellman_ford(graph, indices=0)
    except NegativeCycleError:
        return ""
    return "no item won against one that is as good or better, so that ties say nothing about how far items are apart"


def _threads(items: int) -> Any:
    # On a busy machine the threads of a small factorisation wait for each other many times longer than they work.
    return threadpool_limits(limits=1 if items <= 1_000 else None)


def _newton(pairs: _Pairs, prior_precision: float) -> Fit:
    n, first, second, wins, losses, ties = pairs
    total = (wins + losses + ties).astype(float)
    davidson = int(ties.any())
    theta = np.zeros(n + davidson)

    def by_item(values: FloatArray, sign: int) -> FloatArray:
        return np.asarray(np.bincount(first, values, n) + sign * np.bincount(second, values, n), float)

    hessian = np.zeros((n + davidson, n + davidson))
    for _ in range(_STEPS):
        strength, delta = theta[:n], theta[n] if davidson else -np.inf
        half = (strength[first] - strength[second]) / 2
        peak = np.maximum(np.abs(half), delta)
        win, loss, even = np.exp(half - peak), np.exp(-half - peak), np.exp(delta - peak)
        scale = win + loss + even
        win, loss, even = win / scale, loss / scale, even / scale
        gradient = -prior_precision * theta
        gradient[:n] += by_item((wins - losses - total * (win - loss)) / 2, -1)
        curvature = total * (win * loss + even * (win + loss) / 4)
        # The strengths' mean is free, or held by the prior alone: a curvature along it changes nothing else.
        hessian[:n, :n] = 1 / n
        hessian[first, second] -= curvature
        hessian[second, first] -= curvature
        hessian[np.arange(n), np.arange(n)] += by_item(curvature, 1) + prior_precision
        if davidson:
            gradient[n] += (ties - total * even).sum()
            hessian[n, :n] = hessian[:n, n] = by_item(-total * even * (win - loss) / 2, -1)
            hessian[n, n] = (total * even * (1 - even)).sum() + prior_precision
        factor = cho_factor(hessian, check_finite=False)
        step = cho_solve(factor, gradient, check_finite=False)
        # Along the step the curvature changes by at most a factor e^reach, so that this length never overshoots.
        lead = np.abs(step[first] - step[second]).max()
        reach = lead / 2 + max(lead / 2, abs(step[n]) if davidson else 0)
        theta += step * (np.log1p(reach) / reach if reach else 1)
        if reach < 1e-8:
            break
    else:
        raise ValueError(f"the fit has not converged after {_STEPS} steps; pass a larger prior_precision")
    covariance = cho_solve(factor, np.eye(n + davidson), check_finite=False)[:n, :n] - 1 / (n * (1 + prior_precision))
    met = by_item(total, 1).astype(np.int64)
    return Fit(theta[:n] - theta[:n].mean(), covariance, float(np.exp(theta[n])) if davidson else 0.0, met)


def _listed(names: Sequence[str], which: IntArray) -> str:
    more = f" and {len(which) - _NAMED:,} more" if len(which) > _NAMED else ""
    return ", ".join(names[index] for index in which[:_NAMED]) + more


def leaderboard(comparisons: Comparisons, level: float = 0.95) -> Board:
    """Rank the items of each group by strength, with normal intervals of coverage `level`.

    A group whose likelihood has no maximum gets a Gaussian prior with a standard deviation of 3 nats
    (`PRIOR_DEVIATION`); the notes say so, and why. `beats_average` is sigmoid(strength), the probability to win a
    decided comparison with an item of average strength. Annotators are judged on the comparisons that they decided,
    with strengths that their own decisions helped to fit.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is the probability that an interval covers the strength, between 0 and 1; got {level}")
    names = comparisons.items
    winner, loser, tie, n = _checked(comparisons.winner, comparisons.loser, comparisons.tie, len(names))
    linked = sorted(groups(winner, loser, tie, n), key=lambda part: (-len(part), min(names[i] for i in part)))
    alone = [names[part[0]] for part in linked if len(part) == 1]
    linked = [part for part in linked if len(part) > 1]
    group_of, place, strength, error = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n), np.zeros(n)
    for group, part in enumerate(linked):
        group_of[part], place[part] = group, np.arange(len(part))
    order = np.argsort(group_of[winner], kind="stable")
    ends = np.cumsum(np.bincount(group_of[winner]))
    won, lost = np.bincount(winner[~tie], minlength=n), np.bincount(loser[~tie], minlength=n)
    tied = np.bincount(winner[tie], minlength=n) + np.bincount(loser[tie], minlength=n)
    rows, notes = list[Row](), list[str]()
    if alone:
        notes.append(f"Never compared, so not ranked: {_listed(alone, np.arange(len(alone)))}.")
    if len(linked) > 1:
        text = "which cannot be compared with each other: no chain of comparisons links them. Ranks and strengths count"
        notes.append(f"There are {len(linked):,} groups, {text} inside a group only.")
    found_by_group = []
    with _threads(len(linked[0])):
        for part, mine in zip(linked, np.split(order, ends[:-1]), strict=True):
            pairs = _count(place[winner[mine]], place[loser[mine]], tie[mine], len(part))
            reason = _unbounded(pairs, [names[index] for index in part])
            found_by_group.append((part, reason, _newton(pairs, PRIOR_DEVIATION**-2 if reason else 0.0)))
    for group, (part, reason, found) in enumerate(found_by_group, 1):
        strength[part] = found.strength
        error[part] = np.sqrt(found.covariance.diagonal()) * NormalDist().inv_cdf((1 + level) / 2)
        # Equal strengths differ by rounding; their order is that of the names, however the file is sorted.
        ranked = sorted(part.tolist(), key=lambda index: (-round(float(strength[index]), 9), names[index]))
        for rank, i in enumerate(ranked, 1):
            r, e = float(strength[i]), float(error[i])
            counts = int(won[i]), int(lost[i]), int(tied[i])
            rows.append(Row(group, rank, names[i], r, r - e, r + e, *counts, float(expit(r))))
        if reason:
            prior = (
                f"a Gaussian prior with standard deviation {PRIOR_DEVIATION:g} nats pulls its strengths to their mean"
            )
            notes.append(f"Group {group} has no finite strengths by itself ({reason}); {prior}.")
        if found.tie:
            chance = found.tie / (2 + found.tie)
            text = f"two equal items tie with probability nu / (2 + nu) = {chance:.2f}"
            notes.append(f"Group {group} has ties: nu = {found.tie:.2f}, {text}.")
    return Board(tuple(rows), level, tuple(notes), _annotators(comparisons, strength))


def _annotators(comparisons: Comparisons, strength: FloatArray) -> tuple[Annotator, ...]:
    if comparisons.annotator is None:
        return ()
    lead = np.round(strength[comparisons.winner] - strength[comparisons.loser], 9)
    decided, size = ~comparisons.tie, len(comparisons.annotators)
    person = comparisons.annotator[decided]
    agreed = np.bincount(person, (1 + np.sign(lead[decided])) / 2, size)
    hoped = np.bincount(person, expit(np.abs(lead[decided])), size)
    with np.errstate(invalid="ignore"):
        share, expected = np.array([agreed, hoped]) / np.bincount(person, minlength=size)
    total = np.bincount(comparisons.annotator, minlength=size)
    columns = comparisons.annotators, total.tolist(), share.tolist(), expected.tolist()
    found = [Annotator(*values) for values in zip(*columns, strict=True)]
    return tuple(sorted(found, key=lambda a: (np.nan_to_num(a.agreement - a.expected, nan=2), a.name)))


def format_table(board: Board) -> str:
    """Return the board as text: the items, the notes, and the annotators if they are known."""
    several = board.rows[-1].group > 1
    head = [
        ["group"] * several + ["rank", "item", "strength", "low", "high", "wins", "losses", "ties", "P(beats average)"]
    ]
    body = [[_cell(value) for value in (row if several else row[1:])] for row in board.rows]
    text = _aligned(head + body, left=1 + several)
    text += f"\nStrengths in nats, relative to the mean of the group; low to high: {100 * board.level:g}% interval.\n"
    text += "".join(f"{note}\n" for note in board.notes)
    if board.annotators:
        head = [["annotator", "comparisons", "agreement", "expected"]]
        text += "\n" + _aligned(head + [[_cell(value) for value in person] for person in board.annotators], left=0)
        text += "\nAgreement: share of decisions for the stronger item; expected: the share if the model holds.\n"
    return text


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:z.2f}" if np.isfinite(value) else "-"
    return str(value)


def _aligned(table: list[list[str]], left: int) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if k == left else cell.rjust(width) for k, (cell, width) in enumerate(sized))
        for sized in (list(zip(row, widths, strict=True)) for row in table)
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def write_csv(board: Board, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write the rows of the board as CSV, whole or not at all. Raises `FileExistsError` unless `overwrite`."""
    with _whole(path, overwrite) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(
            [f"{value:z.6f}" if isinstance(value, float) else value for value in row] for row in board.rows
        )


@contextmanager
def _whole(path: str | os.PathLike[str], overwrite: bool) -> Iterator[Path]:
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; pass overwrite to replace it")
    fresh = path.with_name(path.name + ".partial")
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def figure_suffix(path: str | os.PathLike[str]) -> str:
    """Return the end of `path` that names the format of a figure. Raises `ValueError` if it is not supported."""
    suffix = Path(path).suffix.lower()
    if suffix not in FIGURE_SUFFIXES:
        raise ValueError(f"a figure is a file that ends in {' or '.join(FIGURE_SUFFIXES)}; got {Path(path).name}")
    return suffix


def draw(board: Board, target: "str | os.PathLike[str] | Axes", overwrite: bool = False) -> None:
    """Draw one interval for each item, the best on top, into `target`: a path (.svg, .png) or matplotlib axes.

    Of a group with more than 60 items the best 30 and the worst 30 are drawn, of all groups at most 240 rows.
    """
    if not isinstance(target, str | os.PathLike):
        _draw(board, target)
        return
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    from . import plots

    suffix = figure_suffix(target)
    with _whole(target, overwrite) as fresh, plt.rc_context():
        plots.use_style()
        figure = Figure(layout="constrained")
        ax = figure.subplots()
        figure.set_size_inches(8, 1.2 + 0.3 * _draw(board, ax))
        figure.savefig(fresh, format=suffix[1:], metadata={"Date": None} if suffix == ".svg" else None)


def _draw(board: Board, ax: "Axes") -> int:
    from . import plots

    sizes = {row.group: row.rank for row in board.rows}
    near_an_end = [row for row in board.rows if min(row.rank, sizes[row.group] - row.rank + 1) <= _HALF_FIGURE]
    drawn = near_an_end[:_MOST_DRAWN]
    labels, lines = list[str](), list[int]()
    for row in drawn:
        if row.rank == 1 and len(sizes) > 1:
            labels.append(f"group {row.group}")
        lines.append(len(labels))
        labels.append(row.item if len(row.item) <= 40 else row.item[:39] + "\u2026")
    strength, low, high = np.array([(row.strength, row.low, row.high) for row in drawn]).T
    color = plots.COLORS["human"]
    ax.errorbar(strength, lines, xerr=[strength - low, high - strength], fmt="o", color=color, markersize=4)
    ax.axvline(0, color=plots.COLORS["pretrained"], linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
    ax.tick_params("y", length=0)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    which = (
        f"\n{len(drawn)} of {len(board.rows):,} items: the best 30 and the worst 30 of a group"
        if drawn != [*board.rows]
        else ""
    )
    ax.set_xlabel(f"strength in nats, {100 * board.level:g}% interval; 0 is the mean of the group{which}")
    return len(labels)

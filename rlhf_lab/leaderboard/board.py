"""A leaderboard of items that were compared: ranks with intervals, what they hide, as text, as a table, as a figure."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit

from rlhf_lab.leaderboard import ranking
from rlhf_lab.leaderboard.comparisons import Comparisons
from rlhf_lab.numerics.checks import FloatArray, tally
from rlhf_lab.numerics.files import whole

if TYPE_CHECKING:
    import matplotlib.axes

PRIOR_DEVIATION = 3.0  # nats; used only where the comparisons alone give no finite strengths
FIGURE_SUFFIXES = (".svg", ".png")
WIDTH = 80  # of the notes, in letters
NOTED = 10  # groups with notes of their own; the largest come first
HALF_FIGURE, MOST_DRAWN = 30, 240  # rows at each end of a group, and in all


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
    winner, loser, tie, n = ranking.checked(comparisons.winner, comparisons.loser, comparisons.tie, len(names))
    linked = sorted(ranking.groups(winner, loser, items=n), key=lambda part: (-len(part), min(names[i] for i in part)))
    alone = [names[part[0]] for part in linked if len(part) == 1]
    linked = [part for part in linked if len(part) > 1]
    group_of, place, strength, error = np.zeros(n, np.intp), np.zeros(n, np.intp), np.zeros(n), np.zeros(n)
    for group, part in enumerate(linked):
        group_of[part], place[part] = group, np.arange(len(part))
    order = np.argsort(group_of[winner])
    ends = np.cumsum(tally(group_of[winner]))
    won, lost = tally(winner[~tie], size=n), tally(loser[~tie], size=n)
    tied = tally(winner[tie], size=n) + tally(loser[tie], size=n)
    rows, notes = list[Row](), list[str]()
    if alone:
        notes.append(f"Never compared, so not ranked: {ranking.listed(alone, np.arange(len(alone)))}.")
    if len(linked) > 1:
        text = "which cannot be compared with each other: no chain of comparisons links them. Ranks and strengths count"
        notes.append(f"There are {len(linked):,} groups, {text} inside a group only.")
    found_by_group = []
    with ranking.few_threads(len(linked[0])):
        for part, mine in zip(linked, np.split(order, ends[:-1]), strict=True):
            pairs = ranking.counted(place[winner[mine]], place[loser[mine]], tie[mine], len(part))
            reason = ranking.unbounded(pairs, [names[index] for index in part])
            found_by_group.append((part, reason, ranking.fit_pairs(pairs, PRIOR_DEVIATION**-2 if reason else 0.0)))
    for group, (part, _, found) in enumerate(found_by_group, 1):
        strength[part] = found.strength
        error[part] = np.sqrt(found.covariance.diagonal()) * NormalDist().inv_cdf((1 + level) / 2)
        # Equal strengths differ by rounding; their order is that of the names, however the file is sorted.
        ranked = sorted(part.tolist(), key=lambda index: (-round(float(strength[index]), 9), names[index]))
        for rank, i in enumerate(ranked, 1):
            r, e = float(strength[i]), float(error[i])
            counts = int(won[i]), int(lost[i]), int(tied[i])
            rows.append(Row(group, rank, names[i], r, r - e, r + e, *counts, float(expit(r))))
    notes += _notes([(reason, found.tie) for _, reason, found in found_by_group])
    return Board(tuple(rows), level, tuple(notes), _annotators(comparisons, strength))


def _notes(groups: list[tuple[str, float]]) -> Iterator[str]:
    for group, (reason, tie) in enumerate(groups[:NOTED], 1):
        if reason:
            prior = (
                f"a Gaussian prior with standard deviation {PRIOR_DEVIATION:g} nats pulls its strengths to their mean"
            )
            also = ", and log nu to 0" if tie else ""
            yield f"Group {group} has no finite strengths by itself ({reason}); {prior}{also}."
        if tie:
            text = f"two equal items tie with probability nu / (2 + nu) = {tie / (2 + tie):.2f}"
            yield f"Group {group} has ties: nu = {tie:.2f}, {text}."
    if rest := groups[NOTED:]:
        held, tying = (sum(map(bool, column)) for column in zip(*rest, strict=True))
        yield (
            f"Groups {NOTED + 1} to {len(groups):,}: {held:,} have no finite strengths by themselves and get the same "
            f"prior, {tying:,} have ties."
        )


def _annotators(comparisons: Comparisons, strength: FloatArray) -> tuple[Annotator, ...]:
    if comparisons.annotator is None:
        return ()
    lead = np.round(strength[comparisons.winner] - strength[comparisons.loser], 9)
    decided, size = ~comparisons.tie, len(comparisons.annotators)
    person = comparisons.annotator[decided]
    agreed = tally(person, (1 + np.sign(lead[decided])) / 2, size)
    hoped = tally(person, expit(np.abs(lead[decided])), size)
    with np.errstate(invalid="ignore"):
        share, expected = np.array([agreed, hoped]) / tally(person, size=size)
    total = tally(comparisons.annotator, size=size)
    columns = comparisons.annotators, total.tolist(), share.tolist(), expected.tolist()
    found = [Annotator(*values) for values in zip(*columns, strict=True)]
    return tuple(sorted(found, key=lambda a: (np.nan_to_num(a.agreement - a.expected, nan=2), a.name)))


def format_table(board: Board) -> str:
    """Return the board as text: the items, the notes, and the annotators if they are known."""
    several = board.rows[-1].group > 1
    head = [["group"] * several + ["rank", "item", "strength", "low", "high", "wins", "losses", "ties", "P(win)"]]
    body = [[_cell(value) for value in (row if several else row[1:])] for row in board.rows]
    text = _aligned(head + body, left=1 + several)
    about = (
        f"Strengths in nats, relative to the mean of the group; low to high: {100 * board.level:g}% interval; P(win): "
    )
    text += "".join(
        f"\n{fill(note, WIDTH)}\n" for note in (about + "against an item of average strength.", *board.notes)
    )
    if board.annotators:
        head = [["annotator", "comparisons", "agreement", "expected"]]
        text += "\n" + _aligned(head + [[_cell(value) for value in person] for person in board.annotators], left=0)
        about = "Agreement: share of decisions for the stronger item; expected: the share if the model holds."
        text += f"\n{fill(about, WIDTH)}\n"
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
    with whole(path, overwrite) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(
            [f"{value:z.6f}" if isinstance(value, float) else value for value in row] for row in board.rows
        )


def figure_suffix(path: str | os.PathLike[str]) -> str:
    """Return the end of `path` that names the format of a figure. Raises `ValueError` if it is not supported."""
    suffix = Path(path).suffix.lower()
    if suffix not in FIGURE_SUFFIXES:
        raise ValueError(f"a figure is a file that ends in {' or '.join(FIGURE_SUFFIXES)}; got {Path(path).name}")
    return suffix


def draw(board: Board, target: "str | os.PathLike[str] | matplotlib.axes.Axes", overwrite: bool = False) -> None:
    """Draw one interval for each item, the best on top, into `target`: a path (.svg, .png) or matplotlib axes.

    Of a group with more than 60 items the best 30 and the worst 30 are drawn, of all groups at most 240 rows. A letter
    that the font lacks is drawn as its code.
    """
    if not isinstance(target, str | os.PathLike):
        _draw(board, target)
        return
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    from rlhf_lab import plots

    suffix = figure_suffix(target)
    with whole(target, overwrite) as fresh, plt.rc_context():
        plots.use_style()
        figure = Figure(layout="constrained")
        ax = figure.subplots()
        figure.set_size_inches(8, 1.2 + 0.3 * _draw(board, ax))
        figure.savefig(fresh, format=suffix[1:], metadata={"Date": None} if suffix == ".svg" else None)


def _draw(board: Board, ax: "matplotlib.axes.Axes") -> int:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    from rlhf_lab import plots

    font = get_font(findfont(FontProperties()))
    sizes = {row.group: row.rank for row in board.rows}
    near_an_end = [row for row in board.rows if min(row.rank, sizes[row.group] - row.rank + 1) <= HALF_FIGURE]
    drawn = near_an_end[:MOST_DRAWN]
    labels, lines = list[str](), list[int]()
    for row in drawn:
        if row.rank == 1 and len(sizes) > 1:
            labels.append(f"group {row.group}")
        lines.append(len(labels))
        known = ((letter, font.get_char_index(ord(letter))) for letter in row.item)
        name = "".join(
            letter if there else letter.encode("ascii", "backslashreplace").decode() for letter, there in known
        )
        labels.append(name if len(name) <= 40 else name[:39] + "\u2026")
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

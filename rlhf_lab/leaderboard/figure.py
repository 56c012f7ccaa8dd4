"""A board as a figure: one interval for each item."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlhf_lab.leaderboard import names
from rlhf_lab.leaderboard.standings import Board, Row
from rlhf_lab.numerics.files import whole

if TYPE_CHECKING:
    import matplotlib.axes

FIGURE_SUFFIXES = (".svg", ".png")
HALF_FIGURE, MOST_DRAWN = 30, 240  # rows at each end of a group, and in all


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

    def drawable(text: str) -> str:
        known = ((letter, font.get_char_index(ord(letter))) for letter in text)
        return "".join(
            letter if there else letter.encode("ascii", "backslashreplace").decode() for letter, there in known
        )

    by_group = dict[int, list[Row]]()
    for row in board.rows:
        by_group.setdefault(row.group, []).append(row)
    near_an_end = [
        row
        for rows in by_group.values()
        for place, row in enumerate(rows)
        if min(place, len(rows) - 1 - place) < HALF_FIGURE
    ]
    drawn = near_an_end[:MOST_DRAWN]
    labels, lines = list[str](), list[int]()
    for row in drawn:
        if row is by_group[row.group][0] and len(by_group) > 1:
            labels.append(f"group {row.group}")
        lines.append(len(labels))
        name = drawable(row.item)
        labels.append(name if len(name) <= 40 else name[:39] + "\u2026")
    scale = board.scale
    strength, low, high = np.array([(row.strength, row.low, row.high) for row in drawn]).T
    color = plots.COLORS["human"]
    ax.errorbar(strength, lines, xerr=[strength - low, high - strength], fmt="o", color=color, markersize=4)
    ax.axvline(scale.at if scale.anchor else scale.middle, color=plots.COLORS["pretrained"], linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
    ax.tick_params("y", length=0)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    which = (
        f"\n{len(drawn)} of {len(board.rows):,} items: the best 30 and the worst 30 of a group"
        if drawn != [*board.rows]
        else ""
    )
    middle = f"{scale.middle:g} is the mean of the group"
    if scale.anchor:
        middle = f"{scale.at:g} is {drawable(names.short(scale.anchor))}"
    ax.set_xlabel(f"strength in {scale.unit}, {100 * board.level:g}% interval; {middle}{which}", parse_math=False)
    return len(labels)

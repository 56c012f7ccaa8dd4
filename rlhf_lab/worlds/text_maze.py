"""A maze in words: you say where to go and are told what is there, and perhaps where you are.

A plan is a list of rows: `#` wall, `.` floor, `G` goal. Rows and columns are counted from 0, top left.
"""

from collections.abc import Sequence

import numpy as np

from rlhf_lab.worlds.dialogues import Game

PLAN = (
    "#######",
    "#.....#",
    "#.#.#.#",
    "#.#G#.#",
    "#######",
)
MOVES = {"move up": (-1, 0), "move down": (1, 0), "move left": (0, -1), "move right": (0, 1)}
SIDES = ("above you", "below you", "to your left", "to your right")
GOAL = "you are at the goal"


def game(plan: Sequence[str] = PLAN, seen: bool = True, horizon: int = 12) -> Game:
    """Return the maze: a move costs 1, a move into a wall leads nowhere, and the goal ends the dialogue.

    You begin on any other floor, each as likely. You are told of the walls around you, and if the maze is `seen`, where
    you are. Raises `ValueError` unless the plan is a rectangle of `#`, `.` and one `G`, with walls around it.
    """
    grid = _grid(plan)
    cells = [tuple(int(x) for x in cell) for cell in np.argwhere(grid != "#")]
    told = [_told(grid, cell, seen) for cell in cells]
    replies = (*dict.fromkeys(told),)
    said = [replies.index(each) for each in told]
    n = len(cells)
    turn = np.zeros((4, n, len(replies), n))
    for line, (down, right) in enumerate(MOVES.values()):
        for s, (row, column) in enumerate(cells):
            there = (row + down, column + right)
            to = cells.index(there) if there in cells else s
            turn[line, s, said[to], to] = 1
    opening = np.zeros((len(replies), n))
    begins = np.array([grid[cell] != "G" for cell in cells])
    opening[said, np.arange(n)] = begins / begins.sum()
    ends = np.array([each == GOAL for each in replies])
    return Game(tuple(MOVES), replies, opening, turn, -np.ones((4, len(replies))), ends, ends, horizon)


def _grid(plan: Sequence[str]) -> np.ndarray:
    shown = "; ".join(plan)
    if not plan or len({len(row) for row in plan}) > 1:
        raise ValueError(f"the rows of a plan have one length; got {shown}")
    grid = np.array([list(row) for row in plan])
    edge = np.concatenate([grid[0], grid[-1], grid[:, 0], grid[:, -1]])
    if not np.isin(grid, list("#.G")).all() or (grid == "G").sum() != 1 or (edge != "#").any() or "." not in grid:
        raise ValueError(f"a plan has walls # around it, floor . and one goal G; got {shown}")
    return grid


def _told(grid: np.ndarray, cell: tuple[int, ...], seen: bool) -> str:
    if grid[cell] == "G":
        return GOAL
    walls = [
        side
        for side, (down, right) in zip(SIDES, MOVES.values(), strict=True)
        if grid[cell[0] + down, cell[1] + right] == "#"
    ]
    around = f"there are walls {', '.join(walls)}" if walls else "there are no walls"
    return f"you are at {cell[0]}, {cell[1]}; {around}" if seen else around

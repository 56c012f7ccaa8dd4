"""What a board holds: rows of items, annotators, and what to know before believing them."""

from typing import NamedTuple

from rlhf_lab.leaderboard.scale import NATS, Scale


class Row(NamedTuple):
    """An item on the board; strength, low and high are on the scale of the board.

    Items of equal strength have one rank. `robust_low` to `robust_high` is the interval that does not trust the model,
    if it was asked for.
    """

    group: int
    rank: int
    item: str
    strength: float
    low: float
    high: float
    wins: float
    losses: float
    ties: float
    beats_average: float
    robust_low: float | None = None
    robust_high: float | None = None


class Annotator(NamedTuple):
    """The share of an annotator's decisions that agree with the strengths, and the share that the model expects."""

    name: str
    comparisons: float
    agreement: float
    expected: float


class Board(NamedTuple):
    """Items by group and rank, what to know before believing them, and annotators, those who agree least first."""

    rows: tuple[Row, ...]
    level: float
    notes: tuple[str, ...]
    annotators: tuple[Annotator, ...]
    scale: Scale = NATS

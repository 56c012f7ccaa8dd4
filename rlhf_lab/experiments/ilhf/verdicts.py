"""What a verdict on a claim of a paper is made of: a row of the scoreboard, and the numbers that are compared.

A difference counts if it exceeds two standard errors of the mean over worlds.
"""

from typing import NamedTuple

import numpy as np

from rlhf_lab.numerics.autodiff import Array

YES, PARTLY, NO = "reproduced", "in part", "not reproduced"
ON_COIN, ON_MEMORY, ON_DIVERGENCE, ON_ENSEMBLES = "coin", "memory", "divergence", "ensembles"


class Row(NamedTuple):
    """A claim, the finding that it belongs to, where the paper makes it, its value, ours, a verdict and the reason."""

    finding: str
    claim: str
    where: str
    paper: str
    ours: str
    verdict: str
    why: str


def error(values: Array) -> float:
    """Return the standard error of the mean over seeds."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def brief(values: Array, digits: int = 3) -> str:
    """Return "mean ± standard error"."""
    return f"{values.mean():z.{digits}f} ± {error(values):.{digits}f}"


def told(values: Array, digits: int = 3) -> str:
    """Return "mean ± standard error [median]"."""
    return f"{brief(values, digits)} [{np.median(values):z.{digits}f}]"


def above(values: Array, limit: float = 0.0) -> bool:
    """Return whether the mean exceeds `limit` by more than two standard errors."""
    return bool(values.mean() - limit > 2 * error(values))


def change(curve: Array) -> Array:
    """Return by how much each seed's curve (S, K) rose from first to last, (S,)."""
    return curve[:, -1] - curve[:, 0]


def area(curve: Array) -> Array:
    """Return the mean height of each seed's curve (S, K), by the trapezoid rule, (S,): the slower, the larger."""
    return (curve[:, 1:] + curve[:, :-1]).mean(1) / 2


def left(curve: Array) -> float:
    """Return the mean at the end as a share of the mean at the beginning."""
    return float(curve[:, -1].mean() / curve[:, 0].mean())


def left_error(curve: Array) -> float:
    """Return the standard error of `left` over seeds, to first order."""
    return error(curve[:, -1] - left(curve) * curve[:, 0]) / float(curve[:, 0].mean())


def under(literal: bool, readings: list[str]) -> str:
    """Return the verdict on a claim that holds for the literal reading, or only under some others, or under none."""
    return YES if literal else f"only under reading: {', '.join(readings)}" if readings else NO

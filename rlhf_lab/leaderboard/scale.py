"""The units in which a board tells strengths: nats around the mean of a group, or Elo's, or from an anchor on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlhf_lab.leaderboard import names
from rlhf_lab.numerics.checks import FloatArray

ELO_NATS = 400 / np.log(10)  # points for one nat: 400 points are odds of 10 to 1


class Scale(NamedTuple):
    """A unit, how many of them are one nat, and `middle`, where the mean of a group stands.

    With an `anchor`, the item of that name stands at `at`, and the mean of its group where it falls.
    """

    unit: str = "nats"
    size: float = 1.0
    middle: float = 0.0
    digits: int = 2
    anchor: str = ""
    at: float = 0.0


NATS = Scale()
ELO = Scale("Elo points", ELO_NATS, 1000.0, digits=0)


def anchored(scale: Scale, text: str) -> Scale:
    """Return the scale on which an item stands at a number, given as NAME=NUMBER."""
    name, sign, number = text.rpartition("=")
    try:
        at = float(number)
    except ValueError:
        at = np.nan
    if not sign or not np.isfinite(at) or not names.spelling(name):
        raise ValueError(f"an anchor is an item and where it stands, NAME=NUMBER; got {text!r}")
    return scale._replace(anchor=names.spelling(name), at=at)


def anchor_among(scale: Scale, items: Sequence[str]) -> int | None:
    """Return the place of the anchor among items, or None if it is not one of them."""
    if not scale.anchor:
        return None
    wanted = names.key(scale.anchor)
    return next((place for place, item in enumerate(items) if names.key(item) == wanted), None)


def ratings(scale: Scale, strength: FloatArray, covariance: FloatArray, anchor: int | None) -> FloatArray:
    """Return strengths (n,) of a group on a scale, and their standard errors, (2, n).

    `covariance` (n, n) is that of strengths minus their mean. With an anchor (its index) the error is that of the
    difference to the anchor, whose own is 0.
    """
    variance = covariance.diagonal()
    if anchor is None:
        return np.array([scale.middle + scale.size * strength, scale.size * np.sqrt(variance)])
    variance = np.maximum(variance + variance[anchor] - 2 * covariance[anchor], 0.0)
    return np.array([scale.at + scale.size * (strength - strength[anchor]), scale.size * np.sqrt(variance)])


def told(scale: Scale, level: float) -> str:
    """Return in words what strengths and intervals of a board are."""
    unit = "nats" if scale.unit == "nats" else f"{scale.unit} (400 are odds of 10 to 1)"
    middle = "relative to the mean of the group" if not scale.middle else f"the mean of a group at {scale.middle:g}"
    where, of = middle, ""
    if scale.anchor:
        where, of = f"{names.short(scale.anchor)} at {scale.at:g}", " of the difference to it"
    return f"Strengths in {unit}, {where}; low to high: {100 * level:g}% interval{of}"

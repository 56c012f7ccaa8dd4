"""A row of the ledger, and how its verdict is made: of tests of numbers, of a cell in a chapter, or of neither.

The numbers are those of stored studies, or are computed on the spot, exactly or on small random worlds.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rlhf_lab.experiments.ilhf.verdicts import PARTLY, YES, under

ELSEWHERE = "not measurable here"
Test = bool | np.bool_
EXACT = 1e-9  # below which two numbers are the same but for rounding


class Claim(NamedTuple):
    """Where a source claims what, its value, what was found here, a verdict, the section of the book that tells it.

    `assertion` is the line of a chapter's cell that asserts the finding, if no function computes it.
    """

    place: str
    claim: str
    printed: str
    here: str
    verdict: str
    where: str
    assertion: str = ""


def measured(
    place: str,
    claim: str,
    printed: str,
    here: str,
    where: str,
    *held: Test,
    readings: Mapping[str, Test] | None = None,
) -> Claim:
    """Return the row of a claim whose parts were tested: reproduced if all of them `held`, in part if some did.

    `readings` says of other readings whether the claim holds under them; they count if no part held as printed.
    Raises `ValueError` without a test, `TypeError` if one found no truth value.
    """
    readings = {} if readings is None else readings
    if not held:
        raise ValueError(f"a verdict on {claim!r} needs at least one test")
    if strange := [test for test in (*held, *readings.values()) if not isinstance(test, Test)]:
        raise TypeError(f"a test on {claim!r} must find True or False; got {strange[0]!r}")
    if any(held) and not all(held):
        return Claim(place, claim, printed, here, PARTLY, where)
    return Claim(place, claim, printed, here, under(all(held), [name for name, ok in readings.items() if ok]), where)


def shown(place: str, claim: str, printed: str, here: str, where: str, assertion: str, verdict: str = YES) -> Claim:
    """Return the row of a claim on which a cell of a chapter decides, by an assertion.

    The build executes the cell, and a test looks for the assertion in it. Raises `ValueError` without one.
    """
    if not assertion:
        raise ValueError(f"a verdict on {claim!r} needs an assertion")
    return Claim(place, claim, printed, here, verdict, where, assertion)


def rounded(off: float) -> str:
    """Return how far two numbers are apart, in words if it is only what a computer's rounding leaves."""
    return "rounding errors" if abs(off) < EXACT else f"{off:.0e}"


def elsewhere(place: str, claim: str, printed: str, why: str) -> Claim:
    """Return the row of a claim that needs what this book does not have, people or large models, say."""
    return Claim(place, claim, printed, why, ELSEWHERE, "")

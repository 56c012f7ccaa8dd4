"""What an audit tells: a report in words, and where in the book to read on."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from rlhf_lab.audit.contracts import Shown
from rlhf_lab.audit.words import told
from rlhf_lab.numerics.autodiff import Array

PAGES = {  # of the book's sections
    "sec-dpo": "dpo",
    "sec-moving-reference": "online",
    "sec-smoothing": "kinds_of_feedback",
    "sec-preference-losses": "preference_losses",
    "sec-reward-modeling": "reward_modeling",
    "sec-length": "reward_modeling",
    "sec-pretraining": "pretraining",
    "sec-token-mdp": "token_mdp",
    "sec-ppo": "ppo",
    "sec-policy-gradients": "policy_gradients",
    "sec-ilhf-ensembles": "ilhf",
    "sec-online": "online",
    "sec-imitation": "imitation",
    "sec-dril": "dril",
}


@dataclass(frozen=True)
class Report:
    """What an audit found. `print(report)` tells it, `report.ok` is True if nothing is wrong."""

    audit: str
    function: str
    ok: bool
    verdict: str  # "right", the name of a bug, "unknown bug", or "not audited"
    told: str  # what is wrong, in words
    smallest: str = ""  # the smallest input that shows it
    where: str = ""  # section of the book
    identities: dict[str, str] = field(default_factory=dict)  # name: "holds", or what shows that it does not
    conventions: tuple[str, ...] = ()  # what is a matter of taste
    clues: tuple[str, ...] = ()  # where a function that nobody knows is right, and what it does not depend on

    def __bool__(self) -> bool:
        return self.ok

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as words, lists and dictionaries, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.audit}({self.function}): {self.verdict}"]
        lines += [f"  {text}" for text in (self.told, self.smallest) if text]
        lines += [f"  {text}" for text in self.clues]
        if self.where:
            lines.append(f"  In the book: {PAGES[self.where]}.html#{self.where}")
        width = max(map(len, self.identities), default=0)
        for name, state in self.identities.items():
            lines.append(f"  {name:{width}}  {state}")
        lines += [f"  Convention: {text}" for text in self.conventions]
        return "\n".join(lines)


def close(a: Array, b: Array, tolerance: tuple[float, float]) -> bool:
    """Return whether arrays agree, NaN with NaN."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.size == b.size == 1:  # most are, and numbers of Python are ten times as quick
        one, other = float(a.item()), float(b.item())
        near = math.isfinite(other) and abs(one - other) <= tolerance[0] * abs(other) + tolerance[1]
        return near or one == other or (one != one and other != other)
    with np.errstate(invalid="ignore"):  # of infinity less itself
        near = (np.abs(a - b) <= tolerance[0] * np.abs(b) + tolerance[1]) & np.isfinite(b)
    return bool(np.all(near | (a == b) | (np.isnan(a) & np.isnan(b))))


def worst(shown: Iterable[Shown], tolerance: tuple[float, float]) -> Shown | None:
    """Return the smallest case that shows a difference well, if there is one."""
    apart = [s for s in shown if not close(s.found, s.wanted, tolerance)]
    if not apart:
        return None
    gaps = np.array([np.max(np.abs(s.found - s.wanted)) for s in apart])
    gaps = np.where(np.isfinite(gaps), gaps, np.inf)
    return apart[int(np.argmax(gaps >= min(gaps.max(), 1e3) / 10))]


def in_words(shown: Shown) -> str:
    """Return what a function gives for a case, beside what it should."""
    return f"with {told(shown.case)} it gives {_number(shown.found)}; it should be {_number(shown.wanted)}"


def _number(values: Array) -> str:
    text = np.array2string(np.round(np.asarray(values, dtype=float), 4) + 0.0, separator=", ", threshold=12)
    return " ".join(str(text).split())

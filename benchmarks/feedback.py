"""Bradley-Terry strengths of many items, with ours and with choix: the contestants of one contest."""

from collections.abc import Callable

import choix
import numpy as np

from rlhf_lab import ranking

ITEMS, COMPARISONS = 100, 100_000


def contestants() -> dict[str, Callable[[], np.ndarray]]:
    """Return functions that all find the strengths, with mean 0, from the same comparisons.

    Each gets the data in the form that it wants: arrays for ours, a list of pairs for choix.
    """
    rng = np.random.default_rng(0)
    truth, first = rng.normal(size=ITEMS), rng.integers(ITEMS, size=COMPARISONS)
    second = (first + rng.integers(1, ITEMS, size=COMPARISONS)) % ITEMS
    upset = rng.random(COMPARISONS) > 1 / (1 + np.exp(truth[second] - truth[first]))
    winner, loser = np.where(upset, second, first), np.where(upset, first, second)
    pairs = list(zip(winner.tolist(), loser.tolist(), strict=True))
    return {
        "ours": lambda: ranking.fit(winner, loser, items=ITEMS).strength,
        "choix.opt_pairwise": lambda: _centred(choix.opt_pairwise(ITEMS, pairs, tol=1e-9)),
        "choix.ilsr_pairwise": lambda: _centred(choix.ilsr_pairwise(ITEMS, pairs)),
    }


def _centred(strength: np.ndarray) -> np.ndarray:
    return strength - strength.mean()

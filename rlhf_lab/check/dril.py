"""What the checkers of the chapter "When nobody answers" know: answer keys, cases and typical mistakes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs
from rlhf_lab.methods import dril
from rlhf_lab.numerics.autodiff import Array


def _cost_case(rng: Generator) -> Case:
    m, s, a = int(rng.integers(2, 5)), int(rng.integers(1, 4)), int(rng.integers(2, 4))
    return np.exp(log_probs(rng, m, s, a)), float(rng.choice([0.01, 0.03, 0.05]))


def _cost(probs: Array, threshold: float) -> Array:
    return dril.clipped(dril.disagreement(probs), threshold)


def _cost_mistakes(probs: Array, threshold: float) -> dict[str, Any]:
    variance = probs.var(0)
    wide = np.where(variance.max(1, keepdims=True) > threshold, 1.0, -1.0) + np.zeros(variance.shape)
    return {
        "The sign is flipped: disagreement costs +1, agreement -1.": -_cost(probs, threshold),
        "You return the variance itself; clip it to -1 and +1.": variance,
        "You clip to 0 and 1; agreement earns, it costs -1.": 1.0 * (variance > threshold),
        "You compare the standard deviation with the threshold; the cost is the variance.": dril.clipped(
            probs.std(0), threshold
        ),
        "You divide by M - 1; the cost is the variance of the ensemble itself, divided by M.": dril.clipped(
            probs.var(0, ddof=1), threshold
        ),
        "You take the variance over the actions; take it over the members, the first axis.": dril.clipped(
            probs.var(2), threshold
        ),
        "You give all actions of a state the cost of its worst; each action has its own.": wide,
    }


DRIL_COST = Exercise(
    "dril_cost",
    "one row for each state, one column for each action",
    _cost,
    _cost_case,
    _cost_mistakes,
    traits=lambda probs, threshold: {
        "there are two members": len(probs) == 2,
        "there is only one state": probs.shape[1] == 1,
    },
    hard=(
        (
            "A cost that equals the threshold is not above it: -1.",
            (np.array([[[0.25, 0.75]], [[0.75, 0.25]]]), 0.0625),
        ),
    ),
)


def _kappa_case(rng: Generator) -> Case:
    s, a = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    return rng.choice([0.0, 1.0, 1.2, 1.5, 2.0, 3.0, 8.0], size=s), rng.integers(5, 26, size=(s, a)) / 100


def _kappa(ratio: Array, variance: Array) -> float:
    return dril.kappa(ratio, variance).kappa


def _sets(states: int) -> Array:
    """Return all sets U of so many states, as masks: the first is empty, the last holds all."""
    return (np.arange(2**states)[:, None] >> np.arange(states) & 1).astype(bool)


def _kappa_mistakes(ratio: Array, variance: Array) -> dict[str, Any]:
    empty, *sets, _ = _sets(len(ratio))

    def least(factor: Callable[[Array], float], among: Sequence[Array] = sets) -> float:
        return float(min(map(factor, among)))

    def alpha(u: Array) -> float:
        return float(ratio[u].max(initial=1.0))

    return {
        "You leave the 1 out of the numerator: it is at least 1.": least(lambda u: ratio[u].max() / variance[~u].min()),
        "You let U be empty; it holds one state at least.": least(
            lambda u: alpha(u) / variance[~u].min(), [empty, *sets]
        ),
        "Numerator and denominator are exchanged, as in the printed lecture.": least(
            lambda u: variance[~u].min() / alpha(u)
        ),
        "You take the largest variance outside of U; v(U) is the smallest.": least(
            lambda u: alpha(u) / variance[~u].max()
        ),
        "You average the variance over the actions; v(U) is the smallest over states and actions.": least(
            lambda u: alpha(u) / variance[~u].mean(-1).min()
        ),
        "You take the smallest ratio inside U; alpha(U) is the largest.": least(
            lambda u: max(1.0, ratio[u].min()) / variance[~u].min()
        ),
        "You take the variance inside U; v(U) belongs to the states outside.": least(
            lambda u: alpha(u) / variance[u].min()
        ),
        "You return the worst of all sets; take the best.": -least(lambda u: -alpha(u) / variance[~u].min()),
    }


DRIL_KAPPA = Exercise(
    "dril_kappa",
    "one number",
    _kappa,
    _kappa_case,
    _kappa_mistakes,
    traits=lambda ratio, variance: {
        "there are only two states": len(ratio) == 2,
        "there is only one action": variance.shape[1] == 1,
        "some state cannot be reached": bool((ratio == 0).any()),
    },
)

"""What the checkers of "Several objectives, and rules in words" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.methods import objectives, principles
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax

LARGE = "It is right for small numbers, but large ones overflow: subtract the largest before you exponentiate."
ONE = np.ones(1)


def _experts_case(rng: Generator) -> Case:
    k, a = int(rng.integers(2, 4)), int(rng.integers(4, 7))
    return log_probs(rng, a), log_probs(rng, k, a), tenths(rng, k)


def _from_experts(log_pi_0: Array, experts: Array, weights: Array) -> Array:
    return np.asarray(log_softmax(log_pi_0 + weights @ (experts - log_pi_0)))


def _experts_mistakes(log_pi_0: Array, experts: Array, weights: Array) -> dict[str, Any]:
    tilted = log_pi_0 + weights @ (experts - log_pi_0)
    chances = np.abs(weights) @ np.exp(experts)
    shares = weights / np.where(weights.sum() == 0, 1.0, weights.sum())
    return {
        "You average the experts alone: that is right only if the weights sum to 1.": log_softmax(weights @ experts),
        "You divide the weights by their sum; a reward twice as large has another optimum.": log_softmax(
            log_pi_0 + shares @ (experts - log_pi_0)
        ),
        "The prior counts once too often: an expert has it already; take log pi_i - log pi_0.": log_softmax(
            log_pi_0 + weights @ experts
        ),
        "You forgot the prior: add log pi_0 to what the experts add to it.": log_softmax(
            weights @ (experts - log_pi_0)
        ),
        "You forgot to normalise.": tilted,
        "You return probabilities; the result is their logarithms.": np.exp(log_softmax(tilted)),
        "You average probabilities; average their logarithms.": np.log(chances / chances.sum()),
        "The sign of the experts' part is flipped.": log_softmax(log_pi_0 - weights @ (experts - log_pi_0)),
    }


FAR = np.array([[-2000.0, 0.0], [0.0, -2000.0]])
FROM_EXPERTS = Exercise(
    "from_experts",
    "one log-probability for each answer",
    _from_experts,
    _experts_case,
    _experts_mistakes,
    hard=((LARGE, (np.log([0.5, 0.5]), FAR, np.array([3.0, 1.0]))),),
)


def _floor_case(rng: Generator) -> Case:
    a = int(rng.integers(3, 8))
    log_pi_0, helpful, safe = log_probs(rng, a), tenths(rng, a), tenths(rng, a)
    safe[0], safe[1] = -1.0, 1.0
    floor = safe.max() - float(rng.choice([0.2, 0.5, 1.0, 3.0])) * (safe.max() - safe.min()) / 2
    return log_pi_0, helpful, safe, floor, float(rng.choice([0.5, 1.0, 2.0]))


def _floor_price(log_pi_0: Array, helpful: Array, safe: Array, floor: float, beta: float) -> float:
    return objectives.constrained(log_pi_0[None], helpful[None], safe[None], floor, beta, ONE).price


def _unclipped(log_pi_0: Array, helpful: Array, safe: Array, floor: float, beta: float) -> float:
    if floor <= safe.min():
        return -np.inf
    up = objectives.constrained(log_pi_0[None], helpful[None], safe[None], floor, beta, ONE).price
    return up or -objectives.constrained(log_pi_0[None], helpful[None], -safe[None], -floor, beta, ONE).price


def _floor_mistakes(log_pi_0: Array, helpful: Array, safe: Array, floor: float, beta: float) -> dict[str, Any]:
    price = _floor_price(log_pi_0, helpful, safe, floor, beta)
    level = np.zeros(log_pi_0.shape) - np.log(len(log_pi_0))
    at = objectives.dual(price, log_pi_0[None], helpful[None], safe[None], floor, beta, ONE)
    return {
        "Where the floor does not bind, the price is 0; yours is negative there.": _unclipped(
            log_pi_0, helpful, safe, floor, beta
        ),
        "You return lambda / beta: the price is in units of the helpful reward.": price / beta,
        "You return lambda times beta.": price * beta,
        "You forgot beta: rewards are divided by it.": _floor_price(log_pi_0, helpful, safe, floor, 1.0),
        "You multiply rewards by beta; they are divided by it.": _floor_price(log_pi_0, helpful, safe, floor, 1 / beta),
        "You forgot pi_0 in the policy.": _floor_price(level, helpful, safe, floor, beta),
        "You forgot the helpful reward: the policy earns both.": _floor_price(log_pi_0, 0 * helpful, safe, floor, beta),
        "You return the least value of the dual; the price is where it is.": at.value,
    }


FLOOR_PRICE = Exercise("floor_price", "one number", _floor_price, _floor_case, _floor_mistakes)


def _revised_case(rng: Generator) -> Case:
    a = int(rng.integers(3, 8))
    kept = rng.integers(0, a, size=2)
    clean = np.isin(np.arange(a), kept)
    return np.exp(log_probs(rng, a)), np.where(clean, np.arange(a), rng.choice(kept, size=a))


def _revised_law(pi_0: Array, revised: Array) -> Array:
    return checks.tally(revised, pi_0, len(pi_0))


def _revised_mistakes(pi_0: Array, revised: Array) -> dict[str, Any]:
    last, added = np.zeros(len(pi_0)), np.zeros(len(pi_0))
    last[revised] = pi_0
    added[revised] = added[revised] + pi_0
    clean = revised == np.arange(len(pi_0))
    kept = np.where(clean, pi_0, 0.0)
    return {
        "Only the last of the answers that are rewritten to the same one counts: numpy writes each place once: "
        "use np.add.at or np.bincount.": last,
        "You look up what the revision had before; the mass of each answer moves to its revision.": pi_0[revised],
        "You condition: what is broken is thrown away; here it moves to its revision.": kept / np.sum(kept),
        "You throw the broken answers away; their mass moves to their revisions.": kept,
        "You add what moves, and leave it where it was: the sum is above 1.": (
            np.where(clean, 0.0, pi_0) + _revised_law(pi_0, revised)
        ),
        "You count answers; add their probabilities.": checks.tally(revised, size=len(pi_0)) / len(pi_0),
        "You return logarithms; the result is probabilities.": np.log(np.maximum(_revised_law(pi_0, revised), 1e-300)),
    }


REVISED_LAW = Exercise("revised_law", "one probability for each answer", _revised_law, _revised_case, _revised_mistakes)


def _penalty_case(rng: Generator) -> Case:
    n = int(rng.integers(1, 6))
    share = rng.integers(20, 90, size=n) / 100
    return share, np.round(share * rng.choice([0.1, 0.5, 0.8], size=n), 3), float(rng.choice([0.5, 2.0, 3.0]))


def _log_odds(share: Array) -> Array:
    return np.log(share / (1 - share))


def _penalty_price(share: Array, target: Array, cost: float) -> Array:
    return cost / (_log_odds(share) - _log_odds(target))


def _penalty_mistakes(share: Array, target: Array, cost: float) -> dict[str, Any]:
    gap = _log_odds(share) - _log_odds(target)
    return {
        "The sign is flipped: log-odds fall.": -cost / gap,
        "You compare the shares; the penalty multiplies odds, and the rest is normalised.": (
            cost / (np.log(share) - np.log(target))
        ),
        "You forgot the cost: the log-odds fall by cost / beta.": 1 / gap,
        "You return 1 / beta.": gap / cost,
        "The cost divides; it multiplies: a larger one needs less pressure, so a higher beta will do.": 1
        / (cost * gap),
        "You compare odds; compare their logarithms.": cost / (share / (1 - share) - target / (1 - target)),
        "You compare the share of clean answers.": cost / (np.log(1 - target) - np.log(1 - share)),
    }


PENALTY_PRICE = Exercise("penalty_price", "one price for each share", _penalty_price, _penalty_case, _penalty_mistakes)


def _feedback_case(rng: Generator) -> Case:
    a, f = int(rng.integers(4, 7)), int(rng.integers(2, 4))
    bad = rng.random((f, a)) < 0.5
    bad[:, 0], bad[0, 1], bad[:, 2] = False, True, np.arange(f) == 1
    return np.exp(log_probs(rng, a)), np.where(bad.any(0), bad.argmax(0), -1), ~bad, int(rng.integers(2, 5))


def _feedback_round(pi_0: Array, fault: Array, free: Array, tries: int) -> Array:
    log_pi_0 = np.log(pi_0)[None]
    return np.exp(principles.refined(log_pi_0, log_pi_0, fault[None], free[:, None], tries))[0]


def _feedback_mistakes(pi_0: Array, fault: Array, free: Array, tries: int) -> dict[str, Any]:
    fine, named = fault < 0, np.array([pi_0[fault == f].sum() for f in range(len(free))])[:, None]
    missed = np.array([pi_0[~good].sum() for good in free])[:, None]
    series = sum(missed**k for k in range(tries))
    stay = pi_0 * fine

    def law(found: Array, otherwise: Array) -> Array:
        return stay + np.sum(named * pi_0 * np.where(free, found, otherwise), axis=0)

    best = np.broadcast_to(fine, free.shape)
    lost = np.full(free.shape, 1 - stay.sum())
    return {
        "An answer that is fine stays: you forgot those.": law(series, missed ** (tries - 1)) - stay,
        "The new answers are free of the fault always in yours: all tries may fail, and then the first is kept.": law(
            1 / (1 - missed), 0 * missed
        ),
        "You drop what is found when all tries fail; then the first of them is kept.": law(series, 0 * missed),
        "You have one try too many.": law(series + missed**tries, missed**tries),
        "You have one try too few.": law(series - missed ** (tries - 1), missed ** (tries - 2)),
        "You draw once; tries says how often.": law(1 + 0 * missed, 1 + 0 * missed),
        "A new answer must be free of every fault in yours; the person named one.": stay
        + np.sum(named * pi_0 * np.where(best, sum(lost**k for k in range(tries)), lost ** (tries - 1)), axis=0),
        "All tries have to fail before the first one is kept: q^(tries - 1), not q^tries.": law(series, missed**tries),
        "You weigh a fault by how often an answer has it; weigh by how often it is the one that is named.": stay
        + np.sum(missed * pi_0 * np.where(free, series, missed ** (tries - 1)), axis=0),
    }


FEEDBACK_ROUND = Exercise(
    "feedback_round", "one probability for each answer", _feedback_round, _feedback_case, _feedback_mistakes
)

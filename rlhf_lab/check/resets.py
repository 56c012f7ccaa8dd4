"""What the checkers of the chapter "Resets" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.methods import resets
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import lock


def _cost_case(rng: Generator) -> Case:
    n, v = int(rng.integers(1, 3)), int(rng.integers(3, 5))
    return tenths(rng, n, v), log_probs(rng, n, v), log_probs(rng, n, v), float(rng.choice([0.2, 0.5, 2.0]))


def _cost_mistakes(q: Array, log_pi: Array, log_pi_0: Array, price: float) -> dict[str, Any]:
    own, value = (np.sum(np.exp(p) * q, axis=-1, keepdims=True) for p in (log_pi, log_pi_0))
    paid = price * (log_pi - log_pi_0)
    return {
        "Your V is the mean under the policy; the teacher's V is the mean of q under pi_0.": own - q + paid,
        "You forgot the price of the token.": value - q,
        "The sign of the price is flipped: a token that the policy says more often than pi_0 costs more.": (
            value - q - paid
        ),
        "Yours is an advantage: a cost has the other sign.": q - value - paid,
        "The sign of the advantage is flipped: a token that earns more costs less.": q - value + paid,
        "You forgot V: measure the cost from what the teacher earns on average.": paid - q,
        "You measure from the best token; V is the mean of q under pi_0.": q.max(-1, keepdims=True) - q + paid,
        "You measure from the plain mean of q; V is the mean under pi_0.": q.mean(-1, keepdims=True) - q + paid,
        "You divide by the price; it multiplies the log-ratio.": value - q + (log_pi - log_pi_0) / price,
        "You forgot the price as a factor of the log-ratio.": value - q + log_pi - log_pi_0,
        "You charge for log pi alone; the price is on the log-ratio to pi_0.": value - q + price * log_pi,
        "You weigh the price with the policy: that is its mean; here each token has its own.": (
            value - q + np.exp(log_pi) * paid
        ),
    }


TOKEN_COST = Exercise(
    "token_cost", "one row for each state, one column for each token", resets.token_cost, _cost_case, _cost_mistakes
)


def _mixture_case(rng: Generator) -> Case:
    horizon, states = int(rng.integers(2, 4)), int(rng.integers(4, 6))
    start = np.eye(states)[rng.integers(states)]
    reached = rng.integers(1, 9, size=(horizon - 1, states)) * (1 - start)
    d = reached / reached.sum(1, keepdims=True) * rng.choice([0.5, 0.8, 1.0], size=(horizon - 1, 1))
    return np.concatenate([start[None], d]), float(rng.choice([0.2, 0.4, 0.9]))


def _mixture(occupancy: Array, share: float) -> Array:
    levels = [row[None] for row in occupancy]
    return np.sum(resets.starts(levels, share), axis=(0, 1))


def _mixture_mistakes(occupancy: Array, share: float) -> dict[str, Any]:
    horizon, total, start = len(occupancy), occupancy.sum(0), occupancy[0]
    return {
        "You exchanged the shares: resets have zeta, prompts 1 - zeta.": (
            (1 - share) * total / horizon + share * start
        ),
        "You forgot to divide by H: the step of a reset is drawn, one of H.": share * total + (1 - share) * start,
        "You forgot the prompts: a share 1 - zeta of the answers starts there.": share * total / horizon,
        "You leave out the share: these are the resets alone.": total / horizon,
        "Prompts have the share 1 - zeta: your shares sum to more than 1.": share * total / horizon + start,
        "Step 0 is one of the H steps, too: a reset may leave nothing to the teacher.": (
            share * occupancy[1:].sum(0) / (horizon - 1) + (1 - share) * start
        ),
        "You reset to the last step only; it is drawn, one of H.": share * occupancy[-1] + (1 - share) * start,
        "You normalise what the teacher reaches; an answer that has ended leaves nothing to write, and counts.": (
            share * total / total.sum() + (1 - share) * start
        ),
        "You add all steps and give all to the resets: prompts are where step 0 is, with 1 - zeta.": (
            share * total / horizon + (1 - share) * total
        ),
    }


RESET_MIXTURE = Exercise(
    "reset_mixture",
    "one number for each state",
    _mixture,
    _mixture_case,
    _mixture_mistakes,
    traits=lambda occupancy, share: {"no answer ends before H": np.allclose(occupancy.sum(1), 1)},
)


def _lock_case(rng: Generator) -> Case:
    teacher = rng.choice([0.15, 0.5, 0.8, 0.95, 1.0], size=int(rng.integers(1, 6)))
    return int(rng.integers(2, 7)), int(rng.integers(2, 6)), teacher


def _lock_wait(horizon: int, symbols: int, teacher: Array) -> Array:
    return 1 / lock.chance_to_open(horizon, 1 / symbols, teacher, 1.0)


def _lock_mistakes(horizon: int, symbols: int, teacher: Array) -> dict[str, Any]:
    h, p, q = np.arange(horizon)[:, None], 1 / symbols, teacher[None]
    chance = q**h * p ** (horizon - h)
    return {
        "You return the chance; the wait is one over it.": chance.mean(0),
        "You average the waits of the reset points; average their chances, then take one over that.": (
            (1 / chance).mean(0)
        ),
        "That is the wait without resets.": np.full(len(teacher), float(symbols) ** horizon),
        "You assume that the teacher is right; its h dials are right with q^h.": (
            1 / (q**0 * p ** (horizon - h)).mean(0)
        ),
        "You forgot to divide by H: each of the reset points has a chance of 1/H.": 1 / chance.sum(0),
        "The teacher sets h dials, h = 0 to H - 1; yours go from 1 to H.": (
            1 / (q ** (h + 1) * p ** (horizon - 1 - h)).mean(0)
        ),
        "You leave all dials to the teacher; that is the wait of a learner that starts as the teacher.": (
            teacher**-horizon
        ),
        "The learner sets one dial in yours; after a reset it sets all H - h that are left.": (1 / (q**h * p).mean(0)),
    }


LOCK_WAIT = Exercise("lock_wait", "one number for each teacher", _lock_wait, _lock_case, _lock_mistakes)


def _skill_case(rng: Generator) -> Case:
    horizon, symbols = int(rng.integers(3, 7)), int(rng.integers(2, 6))
    q = rng.choice([0.55, 0.7, 0.8, 0.9, 0.97], size=int(rng.integers(1, 5)))
    p = np.where(rng.random(q.shape) < 0.5, 1 / symbols, q)
    return horizon, symbols, 1 / lock.chance_to_open(horizon, p), 1 / lock.chance_to_open(horizon, p, q, 1.0)


def _solved(horizon: int, symbols: int, wait: Array) -> Array:
    low, high = np.zeros(wait.shape), np.ones(wait.shape)
    for _ in range(60):  # the wait falls in q
        middle = (low + high) / 2
        enough = wait * lock.chance_to_open(horizon, 1 / symbols, middle, 1.0) > 1
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def _uniform(horizon: int, symbols: int, plain: Array) -> Array:
    return np.isclose(plain, float(symbols) ** horizon)


def _skill(horizon: int, symbols: int, plain: Array, with_resets: Array) -> Array:
    uniform = _uniform(horizon, symbols, plain)
    return np.where(uniform, _solved(horizon, symbols, with_resets), plain ** (-1 / horizon))


def _skill_mistakes(horizon: int, symbols: int, plain: Array, with_resets: Array) -> dict[str, Any]:
    learner, right = plain ** (-1 / horizon), _skill(horizon, symbols, plain, with_resets)
    last = (symbols / with_resets) ** (1 / (horizon - 1))
    return {
        "You read the learner: plain^(-1/H) is the teacher only if the learner started as it.": learner,
        "Where the learner explores uniformly, with_resets^(-1/H) is a mixture of both: solve for q.": (
            with_resets ** (-1 / horizon)
        ),
        "You return the chance that an answer of the teacher opens the lock; q is that of one dial.": right**horizon,
        "You return what the resets gain, plain / with_resets, not the skill of the teacher.": plain / with_resets,
        "You assume that every learner explores uniformly; compare plain with A^H first.": (
            _solved(horizon, symbols, with_resets)
        ),
        "You take the teacher for perfect.": np.ones(plain.shape),
        "You solved for the last dial alone; a reset leaves any number of dials to the learner.": (
            np.where(_uniform(horizon, symbols, plain), last, learner)
        ),
    }


TEACHER_SKILL = Exercise(
    "teacher_skill",
    "one number for each learner",
    _skill,
    _skill_case,
    _skill_mistakes,
    traits=lambda horizon, symbols, plain, with_resets: {
        "all learners started as the teacher": not _uniform(horizon, symbols, plain).any(),
        "all learners explore uniformly": _uniform(horizon, symbols, plain).all(),
    },
)

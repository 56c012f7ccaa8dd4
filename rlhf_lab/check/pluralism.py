"""What the checkers of the chapter "Whose preferences?" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.feedback import clusters
from rlhf_lab.methods import pluralism
from rlhf_lab.models import gibbs
from rlhf_lab.models.lm import kl
from rlhf_lab.numerics.autodiff import Array

LARGE = "It is right for small values, but others underflow: subtract the largest before you exponentiate."


def _shares(rng: Generator, kinds: int) -> Array:
    weight = rng.permutation(np.arange(1, 10))[:kinds]
    return weight / weight.sum()


def _knowing_case(rng: Generator) -> Case:
    kinds, answers = int(rng.integers(2, 4)), int(rng.integers(4, 6))
    return log_probs(rng, kinds, answers), _shares(rng, kinds), float(rng.choice([0.2, 0.5, 2.0]))


def _knowing_mistakes(log_pi: Array, shares: Array, beta: float) -> dict[str, Any]:
    pi, value = np.exp(log_pi), pluralism.value_of_knowing(log_pi, shares, beta)
    even = np.full(len(shares), 1 / len(shares))
    return {
        "You forgot beta: a nat costs beta.": value / beta,
        "You divide by beta; a nat costs beta, so multiply.": value / beta**2,
        "The sign is flipped: the sum is at most 1, its logarithm at most 0.": -value,
        "That is the sum; the value is -beta times its logarithm.": np.exp(-value / beta),
        "You forgot the shares: each policy has the exponent w_z.": pluralism.value_of_knowing(log_pi, even, beta),
        "You multiply the policies without their exponents w_z.": -beta * np.log(np.prod(pi, axis=0).sum()),
        "You add the policies; that is the linear pool, whose sum is 1. Multiply them.": -beta
        * np.log(np.sum(shares @ pi)),
        "You measure from the linear pool; the best policy for all is the logarithmic one.": (
            beta * shares @ kl(pluralism.linear_pool(log_pi, shares), log_pi)
        ),
        "The divergences are the wrong way round: KL(pool || pi_z).": (
            beta * shares @ kl(log_pi, pluralism.log_pool(log_pi, shares))
        ),
        "That is the Jensen-Shannon divergence, which is about the linear pool.": (
            beta * pluralism.disagreement(log_pi, shares)
        ),
    }


VALUE_OF_KNOWING = Exercise(
    "value_of_knowing",
    "one number",
    pluralism.value_of_knowing,
    _knowing_case,
    _knowing_mistakes,
    hard=((LARGE, (np.array([[0.0, -2000.0], [-2000.0, 0.0]]), np.array([0.5, 0.5]), 1.0)),),
)


def _worst_case(rng: Generator) -> Case:
    answers = int(rng.integers(3, 9))
    first = tenths(rng, answers)
    second = np.round(rng.integers(-10, 11, size=answers) / 10 - first, 1)  # mostly at odds with the first
    return log_probs(rng, answers), np.stack([first, second]), float(rng.choice([0.5, 1.0, 2.0]))


def _lead(log_pi_0: Array, rewards: Array, weight: float, beta: float) -> Array:
    mixed = weight * rewards[0] + (1 - weight) * rewards[1]
    return np.exp(gibbs.log_policy(log_pi_0, mixed, beta)) @ (rewards[0] - rewards[1])


def _weight(log_pi_0: Array, rewards: Array, beta: float) -> Array:
    """Return the weight at which both get the same, or the side of the interval that is closest to it."""
    if _lead(log_pi_0, rewards, 0.0, beta) >= 0:
        return np.array(0.0)
    if _lead(log_pi_0, rewards, 1.0, beta) <= 0:
        return np.array(1.0)
    from scipy.optimize import brentq  # only this checker waits for it

    return np.array(brentq(lambda weight: _lead(log_pi_0, rewards, weight, beta), 0.0, 1.0, xtol=1e-15))


def _worst_mistakes(log_pi_0: Array, rewards: Array, beta: float) -> dict[str, Any]:
    weight = _weight(log_pi_0, rewards, beta)
    return {
        "That is the weight of the second kind.": 1 - weight,
        "You give all weight to the kind that is worse off by the reference; the policy changes who that is.": np.array(
            1.0 * (np.exp(log_pi_0) @ (rewards[0] - rewards[1]) < 0)
        ),
        "You give both the same weight: that is the mean reward.": np.array(0.5),
        "You forgot the price: the mixture is divided by beta.": _weight(log_pi_0, rewards, 1.0),
        "The price divides the reward; you multiply.": _weight(log_pi_0, rewards, 1 / beta),
        "You forgot the reference: all answers count the same in yours.": _weight(0 * log_pi_0, rewards, beta),
        "You anchor the rewards; here they are comparable as they are.": _weight(
            log_pi_0, pluralism.anchored(rewards, log_pi_0), beta
        ),
    }


WORST_OFF_WEIGHT = Exercise(
    "worst_off_weight",
    "one number",
    _weight,
    _worst_case,
    _worst_mistakes,
    traits=lambda log_pi_0, rewards, beta: {
        "both kinds have some weight": 0 < _weight(log_pi_0, rewards, beta) < 1,
        "beta is 1": beta == 1,
    },
)


def _em_case(rng: Generator) -> Case:
    people, kinds, questions = int(rng.integers(2, 4)), int(rng.integers(2, 4)), int(rng.integers(3, 5))
    asked = rng.integers(0, 5, size=(people, questions))
    p = rng.integers(1, 10, size=(kinds, questions)) / 10
    return rng.binomial(asked, 0.5), asked, p, _shares(rng, kinds)


def _em_step(wins: Array, asked: Array, p: Array, shares: Array) -> list[Array]:
    member = clusters.membership(clusters.log_likelihood(wins, asked, p), shares)
    return [member, clusters.group_shares(wins, asked, member)]


def _em_mistakes(wins: Array, asked: Array, p: Array, shares: Array) -> dict[str, Any]:
    log_p = clusters.log_likelihood(wins, asked, p)

    def step(member: Array) -> list[Array]:
        return [member, clusters.group_shares(wins, asked, member)]

    right = clusters.membership(log_p, shares)
    even = np.full(len(shares), 1 / len(shares))
    with np.errstate(invalid="ignore", divide="ignore"):
        bare = np.nan_to_num((right.T @ wins) / (right.T @ asked))
    hard = np.eye(len(shares))[np.argmax(right, axis=-1)]
    joint = shares * np.exp(log_p)
    return {
        "You forgot the shares: a likely group needs less evidence.": step(clusters.membership(log_p, even)),
        "You forgot to normalise memberships: they sum to 1 over the groups.": step(joint),
        "You normalise over people; memberships sum to 1 over the groups.": step(joint / joint.sum(0)),
        "You decide for one group; EM keeps probabilities.": step(hard),
        "You forgot the labels for the second answer, (asked - wins) log(1 - p).": step(
            clusters.membership(wins @ np.log(p).T, shares)
        ),
        "You count all that was asked as labels for the second answer: that is asked - wins.": step(
            clusters.membership(wins @ np.log(p).T + asked @ np.log1p(-p).T, shares)
        ),
        "You forgot the half label of either kind.": [right, bare],
        "A half label of either kind adds 1 to what was asked, not 1/2.": [
            right,
            (0.5 + right.T @ wins) / (0.5 + right.T @ asked),
        ],
        "You add a whole label of either kind; it is a half.": [right, (1 + right.T @ wins) / (2 + right.T @ asked)],
        "Everybody counts fully in each group in yours: weigh labels with the memberships.": [
            right,
            clusters.group_shares(wins, asked, np.ones_like(right)),
        ],
        "You return the old probabilities: the second step makes new ones.": [right, p],
    }


EM_STEP = Exercise(
    "em_step",
    "memberships (N, Z), then probabilities (Z, n)",
    _em_step,
    _em_case,
    _em_mistakes,
    hard=(
        (
            LARGE,
            (
                np.array([[3000, 0]]),
                np.array([[3000, 3000]]),
                np.array([[0.5, 0.4], [0.5, 0.401]]),
                np.array([0.5, 0.5]),
            ),
        ),
    ),
)


def _margin_case(rng: Generator) -> Case:
    pairs, asked = int(rng.integers(1, 4)), int(rng.integers(6, 9))
    return rng.integers(0, 2, size=(pairs, asked)), rng.integers(0, 2, size=(pairs, asked))


def _log_odds(wins: Array, losses: Array) -> Array:
    return np.log((wins + 0.5) / (losses + 0.5))


def _consistent_margin(first: Array, second: Array) -> Array:
    return _log_odds(np.sum(first * second, axis=-1), np.sum((1 - first) * (1 - second), axis=-1)) / 2


def _margin_mistakes(first: Array, second: Array) -> dict[str, Any]:
    both, neither = np.sum(first * second, axis=-1), np.sum((1 - first) * (1 - second), axis=-1)
    wins, losses = np.sum(first + second, axis=-1), np.sum(2 - first - second, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bare = np.nan_to_num(np.log(both / neither) / 2)
    return {
        "Consistent verdicts have the log-odds 2 m: take half of them.": 2 * _consistent_margin(first, second),
        "You use all verdicts: keep those that agree in both orders.": _log_odds(wins, losses),
        "You keep the verdicts that differ: keep those that agree.": _log_odds(
            np.sum(first * (1 - second), axis=-1), np.sum((1 - first) * second, axis=-1)
        )
        / 2,
        "You average log-odds of counts in each order; that uses inconsistent verdicts, too.": (
            _log_odds(first.sum(-1), (1 - first).sum(-1)) + _log_odds(second.sum(-1), (1 - second).sum(-1))
        )
        / 2,
        "You compare with all pairs of verdicts: losses are those where both orders say 0.": _log_odds(
            both, first.shape[-1] - both
        )
        / 2,
        "You forgot the half verdict on either side.": bare,
        "You add a whole verdict on either side; it is a half.": np.log((both + 1) / (neither + 1)) / 2,
        "That is the share of wins; the margin is half its log-odds.": (both + 0.5) / (both + neither + 1),
    }


CONSISTENT_MARGIN = Exercise(
    "consistent_margin",
    "one margin for each pair",
    _consistent_margin,
    _margin_case,
    _margin_mistakes,
)

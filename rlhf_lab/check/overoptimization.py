"""What the checkers of the chapter "Over-optimisation and ensembles" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths, wide
from rlhf_lab.methods import overoptimization
from rlhf_lab.numerics.autodiff import Array


def _overestimate(learned: Array, reward: Array, log_pi: Array, log_pi_0: Array) -> Any:
    error = overoptimization.centred(learned - reward, log_pi_0)
    return np.exp(log_pi) @ error


def _overestimate_case(rng: Generator) -> Case:
    answers = int(rng.integers(2, 6))
    return tenths(rng, answers), tenths(rng, answers), *log_probs(rng, 2, answers)


def _overestimate_mistakes(learned: Array, reward: Array, log_pi: Array, log_pi_0: Array) -> dict[str, Any]:
    error, pi, pi_0 = learned - reward, np.exp(log_pi), np.exp(log_pi_0)
    return {
        "You forgot to centre: subtract what pi_0 has of the error.": pi @ error,
        "You centre with the plain mean; weigh the answers with pi_0.": pi @ error - error.mean(),
        "The sign is flipped: learned minus reward.": pi_0 @ error - pi @ error,
        "You weigh with log-probabilities: exponentiate them.": log_pi @ error - log_pi_0 @ error,
        "You centre the learned reward only: the true one has a constant too.": pi @ error - pi_0 @ learned,
        "You take absolute errors: an answer that is judged too low counts against the others.": pi @ np.abs(error)
        - pi_0 @ np.abs(error),
        "You average over the answers; weigh them with the policy.": error.mean() - pi_0 @ error,
    }


OVERESTIMATE = Exercise("overestimate", "one number", _overestimate, _overestimate_case, _overestimate_mistakes)


def _ensemble_minimum(rewards: Array, log_pi_0: Array) -> Array:
    return overoptimization.minimum(overoptimization.centred(rewards, log_pi_0))


def _ensemble_minimum_case(rng: Generator) -> Case:
    members, answers = wide(rng)
    return tenths(rng, members + 1, answers + 1) + tenths(rng, members + 1, 1), log_probs(rng, answers + 1)


def _ensemble_minimum_mistakes(rewards: Array, log_pi_0: Array) -> dict[str, Any]:
    centred = overoptimization.centred(rewards, log_pi_0)
    return {
        "You forgot to centre: subtract from each member its mean under pi_0.": rewards.min(0),
        "You centre with the plain mean; weigh the answers with pi_0.": (rewards - rewards.mean(1, keepdims=True)).min(
            0
        ),
        "You centre after the minimum; each member has a constant of its own.": overoptimization.centred(
            rewards.min(0), log_pi_0
        ),
        "You take the minimum over the answers; take it over the members, the first axis.": centred.min(1),
        "You take the mean over the members; take the minimum.": centred.mean(0),
        "You take the maximum: that is the boldest member.": centred.max(0),
        "You take the member that is lowest on average: choose anew for each answer.": centred[
            rewards.mean(1).argmin()
        ],
        "You weigh with log-probabilities: exponentiate log_pi_0.": (rewards - (rewards @ log_pi_0)[:, None]).min(0),
    }


ENSEMBLE_MINIMUM = Exercise(
    "ensemble_minimum",
    "one number for each answer",
    _ensemble_minimum,
    _ensemble_minimum_case,
    _ensemble_minimum_mistakes,
)


def _weighted(rewards: Array, weight: float) -> Array:
    return overoptimization.uncertainty_weighted(rewards, weight)


def _weighted_case(rng: Generator) -> Case:
    members, answers = wide(rng)
    return tenths(rng, members + 1, answers + 1), float(rng.choice([0.0, 0.5, 2.0]))


def _weighted_mistakes(rewards: Array, weight: float) -> dict[str, Any]:
    mean, variance = rewards.mean(0), rewards.var(0)
    return {
        "You add the variance: that rewards disagreement. Subtract it.": mean + weight * variance,
        "You subtract the standard deviation; the charge is for its square.": mean - weight * np.sqrt(variance),
        "You divide by M - 1; this variance is divided by M.": mean - weight * rewards.var(0, ddof=1),
        "You forgot to divide the sum of squares by M.": mean - weight * variance * len(rewards),
        "You forgot lambda.": mean - variance,
        "You forgot the variance: that is the mean.": mean,
        "You subtract from the minimum; begin with the mean.": rewards.min(0) - weight * variance,
        "You take mean and variance over the answers; take them over the members, the first axis.": rewards.mean(1)
        - weight * rewards.var(1),
    }


UNCERTAINTY_WEIGHTED = Exercise(
    "uncertainty_weighted",
    "one number for each answer",
    _weighted,
    _weighted_case,
    _weighted_mistakes,
    traits=lambda rewards, weight: {"lambda is 0": weight == 0},
)


def _disagreement_case(rng: Generator) -> Case:
    members, answers = wide(rng)
    return tenths(rng, members + 1, answers + 1), log_probs(rng, answers + 1)


def _disagreement_mistakes(rewards: Array, log_pi: Array) -> dict[str, Any]:
    pi, apart = np.exp(log_pi), rewards.std(0)
    return {
        "You take the variance; disagreement is its root.": pi @ rewards.var(0),
        "You average over the answers first: members that differ on each answer may agree on average.": (
            rewards @ pi
        ).std(),
        "You weigh all answers alike; weigh them with the policy.": apart.mean(),
        "You weigh with log-probabilities: exponentiate log_pi.": log_pi @ apart,
        "You divide by M - 1; this deviation is divided by M.": pi @ rewards.std(0, ddof=1),
        "You take the range of the members; take their standard deviation.": pi @ np.ptp(rewards, axis=0),
        "You return one number for each answer: take the mean under the policy.": apart,
    }


DISAGREEMENT = Exercise(
    "disagreement",
    "one number",
    overoptimization.disagreement,
    _disagreement_case,
    _disagreement_mistakes,
)

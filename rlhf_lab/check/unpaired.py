"""What the checkers of the chapter "Losses without a reference, and without pairs" know: keys, cases and mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, tenths
from rlhf_lab.check.dpo import BETAS, sigmoid
from rlhf_lab.methods import unpaired
from rlhf_lab.numerics.autodiff import Array, log_softmax


def _simpo_policy_case(rng: Generator) -> Case:
    count = int(rng.integers(2, 7))
    length = rng.permutation(np.arange(count) % 5 + 1)  # two answers have two lengths
    return tenths(rng, count), length, float(rng.choice((0.5, 2.0, 5.0)))


def _simpo_policy_mistakes(reward: Array, length: Array, beta: float) -> dict[str, Any]:
    right = unpaired.simpo_end(reward, length, beta)
    return {
        "You add one constant to all log-probabilities; c stands inside, and counts once for each token.": log_softmax(
            length * reward / beta
        ),
        "You forgot the lengths: beta log pi(y) / |y| is the reward less a constant.": log_softmax(reward / beta),
        "You divide by the length; the mean is given, so log pi is |y| times it.": log_softmax(reward / length / beta),
        "You multiply by beta; divide by it.": unpaired.simpo_end(reward, length, 1 / beta),
        "That is the mean of a token; return log pi of the whole answer.": right / length,
        "You return probabilities; return their logarithms.": np.exp(right),
        "The sum is not 1: without c this is no policy.": length * reward / beta,
    }


SIMPO_POLICY = Exercise(
    "simpo_policy",
    "one number for each answer",
    unpaired.simpo_end,
    _simpo_policy_case,
    _simpo_policy_mistakes,
    hard=(
        (
            "It is right for small rewards, but large ones overflow: look for c near the rewards.",
            (np.array([900.0, 899.0, -900.0]), np.array([2, 3, 1]), 0.5),
        ),
    ),
)


def _kto_loss(u: Array, desirable: Array, z_ref: float, beta: float) -> Array:
    return unpaired.kto(u, desirable, z_ref, beta)


def _kto_loss_case(rng: Generator) -> Case:
    count = int(rng.integers(2, 7))
    desirable = rng.permutation(np.arange(count) % 2)
    return tenths(rng, count), desirable, float(rng.integers(1, 20)) / 10, float(rng.choice(BETAS))


def _kto_loss_mistakes(u: Array, desirable: Array, z_ref: float, beta: float) -> dict[str, Any]:
    sign = 2 * desirable - 1
    right = _kto_loss(u, desirable, z_ref, beta)
    return {
        "You return the value v; the loss is what it misses: 1 - v.": 1 - right,
        "You treat all as desirable: for the others the difference is turned around, z_ref - u.": sigmoid(
            beta * (z_ref - u)
        ),
        "You forgot z_ref, where gains begin.": sigmoid(-sign * beta * u),
        "You add z_ref; subtract it from u.": sigmoid(-sign * beta * (u + z_ref)),
        "You turn u around for what is undesirable, but not z_ref.": sigmoid(-beta * (sign * u - z_ref)),
        "You forgot beta: it multiplies the difference.": sigmoid(-sign * (u - z_ref)),
        "You multiply u by beta, but not z_ref.": sigmoid(-sign * (beta * u - z_ref)),
        "You divide by beta; multiply by it.": sigmoid(-sign * (u - z_ref) / beta),
        "That is the log-loss, as in DPO: KTO has no logarithm.": np.logaddexp(0.0, -sign * beta * (u - z_ref)),
        "You averaged over the batch; return the loss of each answer.": right.mean(),
    }


KTO_LOSS = Exercise(
    "kto_loss",
    "one number for each answer",
    _kto_loss,
    _kto_loss_case,
    _kto_loss_mistakes,
    hard=(
        (
            "It is right for small log-ratios, but large ones overflow: no exponential may be larger than 1.",
            (np.array([2e3, -2e3]), np.array([1, 1]), 0.5, 1.0),
        ),
    ),
)

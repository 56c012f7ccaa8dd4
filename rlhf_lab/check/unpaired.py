"""What the checkers of the chapter "Losses without a reference, and without pairs" know: keys, cases and mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, tenths
from rlhf_lab.check.dpo import BETAS, sigmoid
from rlhf_lab.methods import unpaired
from rlhf_lab.numerics.autodiff import Array, log_softmax

LARGE = np.array([2e3, -2e3])  # rewards or log-ratios that a careless exponential does not survive


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
            (LARGE, np.array([2, 3]), 0.5),
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
            (LARGE, np.ones(2), 0.5, 1.0),
        ),
    ),
)


def _kto_policy(up: Array, down: Array, desirable_weight: float, undesirable_weight: float) -> Array:
    pull = np.maximum(desirable_weight * up - undesirable_weight * down, 0)
    return pull / pull.sum()


def _kto_policy_case(rng: Generator) -> Case:
    count = int(rng.integers(3, 8))
    up, down = rng.integers(1, 20, size=(2, count))
    up[0], down[0] = 40, 2  # whatever the weights are, the first is kept and the second is dropped
    up[1], down[1] = 2, 40
    order = rng.permutation(count)
    good, bad = rng.choice((0.5, 1.0, 2.0), size=2, replace=False)
    return up[order], down[order], float(good), float(bad)


def _kto_policy_mistakes(up: Array, down: Array, desirable_weight: float, undesirable_weight: float) -> dict[str, Any]:
    good, bad = desirable_weight * up, undesirable_weight * down
    shares, seen = (good - bad) / (up + down), up + down
    pulls = {
        "You forgot the weights of both kinds of thumbs.": np.maximum(up - down, 0),
        "The weights are exchanged: desirable_weight belongs to thumbs up.": np.maximum(
            desirable_weight * -down + undesirable_weight * up, 0
        ),
        "You take the excess alone; an answer that the data show more often pulls harder.": np.maximum(shares, 0),
        "An answer with an excess below 0 gets nothing, not a negative probability.": good - bad,
        "You keep what a majority likes; the threshold depends on the weights.": (good - bad) * (up > down),
        "You take the size of the excess; below 0 an answer gets nothing.": np.abs(good - bad),
        "Those that are kept share by what their excess is, not by thumbs up alone.": good * (good > bad),
        "Those that are kept share by excess times data, not by data alone.": seen * (good > bad),
        "That is imitation of what got thumbs up; thumbs down count against it.": up,
    }
    right = _kto_policy(up, down, desirable_weight, undesirable_weight)
    return {told: pull / pull.sum() for told, pull in pulls.items()} | {
        "You forgot to divide by the sum.": np.maximum(good - bad, 0),
        "You divide by the number of thumbs; those that are dropped leave no share behind.": (
            np.maximum(good - bad, 0) / seen.sum()
        ),
        "You return log-probabilities; return probabilities.": np.log(np.maximum(right, 1e-300)),
    }


KTO_POLICY = Exercise(
    "kto_policy",
    "one probability for each answer",
    _kto_policy,
    _kto_policy_case,
    _kto_policy_mistakes,
    hard=(
        (
            "It is right where each answer has been judged; one without any thumb has no pull: do not divide by 0.",
            (np.array([1, 0]), np.zeros(2), 1.0, 1.0),
        ),
    ),
)

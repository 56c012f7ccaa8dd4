"""What the checkers of the chapter "Learning from demonstrations" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.methods import imitation
from rlhf_lab.numerics.autodiff import Array, log_prob_of, log_softmax
from rlhf_lab.worlds import gridworlds


def _cloning_case(rng: Generator) -> Case:
    n, a = int(rng.integers(1, 5)), int(rng.integers(2, 5))
    weight = rng.integers(4, size=n).astype(float)
    weight[0] = max(1.0, weight[0])
    return tenths(rng, n, a), rng.integers(a, size=n), weight


def _cloning_mistakes(logits: Array, action: Array, weight: Array) -> dict[str, Any]:
    log_pi = log_prob_of(logits, action)
    right, raw = -(weight * log_pi).sum() / weight.sum(), np.take_along_axis(logits, action[:, None], 1)[:, 0]
    return {
        "The sign is flipped: the loss falls when the expert's action becomes likelier.": -right,
        "You forgot the weights: a pair of weight 2 counts twice, one of weight 0 not at all.": -log_pi.mean(),
        "You divide by the number of pairs; divide by the sum of the weights.": -(weight * log_pi).mean(),
        "You return the sum; the loss is a weighted mean.": -(weight * log_pi).sum(),
        "You return one loss for each pair; sum over the pairs.": -weight * log_pi / weight.sum(),
        "You use logits as if they were log-probabilities: a log-softmax comes first.": (
            -(weight * raw).sum() / weight.sum()
        ),
        "You use probabilities; take their logarithms.": -(weight * np.exp(log_pi)).sum() / weight.sum(),
        "You use logarithms to base 2; the book uses natural ones.": right / np.log(2),
        "Your softmax runs over the pairs; it runs over the actions, the last axis.": -(
            weight * np.take_along_axis(np.asarray(log_softmax(logits.T)).T, action[:, None], 1)[:, 0]
        ).sum()
        / weight.sum(),
        "You take the likeliest action; the loss is about the expert's.": (
            -(weight * log_softmax(logits).max(1)).sum() / weight.sum()
        ),
    }


CLONING_LOSS = Exercise(
    "cloning_loss",
    "one number",
    imitation.cloning_loss,
    _cloning_case,
    _cloning_mistakes,
    traits=lambda logits, action, weight: {
        "a weight is 0": (weight == 0).any(),
        "all weights are equal": len(set(weight)) == 1,
    },
    hard=(
        (
            "It is right for small logits, but large ones overflow: subtract the largest before you exponentiate.",
            (np.array([[1e4, 0.0], [-1e4, -2e4]]), np.array([1, 0]), np.array([1.0, 2.0])),
        ),
    ),
)


def _grid_case(rng: Generator) -> Case:
    s, a, t = int(rng.integers(2, 4)), int(rng.integers(2, 4)), int(rng.integers(1, 5))
    start = rng.dirichlet(np.ones(s)) if rng.random() < 0.5 else np.eye(s)[0]
    return np.exp(log_probs(rng, s, a, s)), np.exp(log_probs(rng, s, a)), start, t


def _occupancy(transition: Array, policy: Array, start: Array, horizon: int) -> Array:
    return gridworlds.occupancy(gridworlds.Grid(transition, np.zeros(len(start)), start), policy, horizon)


def _occupancy_mistakes(transition: Array, policy: Array, start: Array, horizon: int) -> dict[str, Any]:
    right = _occupancy(transition, policy, start, horizon)
    later = _occupancy(transition, policy, start, horizon + 1)[1:]
    even = np.full(policy.shape, 1 / policy.shape[1])
    moves = np.einsum("sa,sax->sx", policy, transition)
    backwards = np.stack([np.linalg.matrix_power(moves, t) @ start for t in range(horizon)])
    return {
        "You begin one step too late: d_1 is the distribution of first states.": later,
        "You forgot the policy: weigh each action with pi(a | s), not evenly.": _occupancy(
            transition, even, start, horizon
        ),
        "You push values backwards: mass flows from s to s', so d stands on the left of the matrix.": backwards,
        "You return the sum over the steps; return one row for each step.": right.sum(0),
        "You return the mean over the steps; return one row for each step.": right.mean(0),
        "You return running totals; return the distribution at each step.": np.cumsum(right, axis=0),
        "You return states in the rows and steps in the columns.": right.T,
    }


STATE_OCCUPANCY = Exercise(
    "state_occupancy",
    "one row for each step, one column for each state",
    _occupancy,
    _grid_case,
    _occupancy_mistakes,
    traits=lambda transition, policy, start, horizon: {
        "the horizon is 1": horizon == 1,
        "the first state is certain": start.max() == 1,
    },
)


def _mixture_case(rng: Generator) -> Case:
    s, a = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    return (
        np.eye(a)[rng.integers(a, size=s)],
        np.exp(log_probs(rng, s, a)),
        float(rng.choice([0.0, 0.3, 0.5, 0.9, 1.0])),
        int(rng.integers(1, 5)),
    )


def _mixture(expert: Array, policy: Array, beta: float, round: int) -> Array:
    return beta**round * expert + (1 - beta**round) * policy


def _mixture_mistakes(expert: Array, policy: Array, beta: float, round: int) -> dict[str, Any]:
    def mixed(share: float) -> Array:
        return share * expert + (1 - share) * policy

    geometric = expert ** (beta**round) * policy ** (1 - beta**round)
    return {
        "You swapped expert and policy: beta_i is the expert's share.": mixed(1 - beta**round),
        "You forgot the round: beta_i = beta^i falls from round to round.": mixed(beta),
        "You are one round behind: in round i the share is beta^i.": mixed(beta ** (round - 1)),
        "You are one round ahead: in round i the share is beta^i.": mixed(beta ** (round + 1)),
        "You divide beta by the round; the share is a power, beta^i.": mixed(beta / round),
        "You multiply powers of the two policies; the mixture is a weighted sum.": geometric,
        "It does not sum to 1: the policy has the share 1 - beta^i.": beta**round * expert + policy,
        "The share of the policy is 1 - beta^i, not (1 - beta)^i.": beta**round * expert + (1 - beta) ** round * policy,
    }


DAGGER_MIXTURE = Exercise(
    "dagger_mixture",
    "one row for each state, one column for each action",
    _mixture,
    _mixture_case,
    _mixture_mistakes,
    traits=lambda expert, policy, beta, round: {
        "beta is 0": beta == 0,
        "beta is 1": beta == 1,
        "the round is 1": round == 1,
    },
)


def _asking_case(rng: Generator) -> Case:
    n, a = int(rng.integers(1, 5)), int(rng.integers(2, 5))
    return log_probs(rng, n, a), float(rng.choice([0.2, 0.5, 1.0, 2.0]))


def _asking_mistakes(log_pi: Array, b: float) -> dict[str, Any]:
    best = np.sort(log_pi, axis=1)
    margin, chance = best[:, -1] - best[:, -2], np.sort(np.exp(log_pi), axis=1)
    return {
        "You return the chance not to ask: small margins are the doubtful ones.": margin / (b + margin),
        "You forgot b in the numerator: without a margin, the chance is 1.": 1 / (b + margin),
        "You take the margin of the probabilities; take that of their logarithms.": b
        / (b + chance[:, -1] - chance[:, -2]),
        "You take the margin between the best and the worst; the second best is the rival.": (
            b / (b + best[:, -1] - best[:, 0])
        ),
        "You take the first two actions as they stand; sort them, best first.": b
        / (b + np.abs(log_pi[:, 0] - log_pi[:, 1])),
        "You use the best log-probability alone; its distance from the second best counts.": b / (b - best[:, -1]),
        "The chance falls too fast: it is b / (b + m), not exp(-m / b).": np.exp(-margin / b),
    }


QUERY_PROBABILITY = Exercise(
    "query_probability",
    "one number for each state",
    imitation.query_probability,
    _asking_case,
    _asking_mistakes,
    traits=lambda log_pi, b: {"there are two actions": log_pi.shape[1] == 2, "b is 1": b == 1},
)

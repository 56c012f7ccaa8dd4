"""What the checkers of "Kinds of feedback, kinds of people" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from rlhf_lab.check.diagnosis import Case, Exercise, tenths, wide
from rlhf_lab.feedback import hidden_context, likelihoods, linear_fits
from rlhf_lab.numerics.autodiff import Array


def _ranking_loss_case(rng: Generator) -> Case:
    rows, answers = wide(rng)
    return (tenths(rng, rows, answers + 1),)


def _ranking_loss_mistakes(reward: Array) -> dict[str, Any]:
    right = likelihoods.ranking_loss(reward)
    pairs = [
        likelihoods.bradley_terry_loss(reward[:, i] - reward[:, j])
        for i in range(reward.shape[1])
        for j in range(i + 1, reward.shape[1])
    ]
    every = np.log(np.exp(reward).sum(1))
    return {
        "You count every pair of the ranking; at each place one answer is chosen from all that are left.": sum(pairs),
        "You take the mean over all pairs of the ranking; at each place one answer is chosen from all that are left.": (
            sum(pairs) / len(pairs)
        ),
        "You keep the answers that were chosen already: at place k only y_k, y_(k+1), ... are left.": np.sum(
            every[:, None] - reward, axis=1
        ),
        "You stop after the first place; the ranking of the rest counts too.": every - reward[:, 0],
        "You read the ranking from the end: the best stands first.": likelihoods.ranking_loss(reward[:, ::-1]),
        "That is the log-probability; the loss is its negative.": -right,
        "You return the probability; return minus its logarithm.": np.exp(-right),
        "You take the mean over the places; the loss is their sum.": right / (reward.shape[1] - 1),
        "You sum over the batch; return one loss for each ranking.": right.sum(),
        "You average over the batch; return one loss for each ranking.": right.mean(),
    }


RANKING_LOSS = Exercise(
    "ranking_loss",
    "one number for each ranking",
    likelihoods.ranking_loss,
    _ranking_loss_case,
    _ranking_loss_mistakes,
    traits=lambda reward: {"there is only one ranking": len(reward) == 1},
    hard=(
        (
            "It is right for small rewards, but large ones overflow: subtract the largest reward of those that are "
            "left before you exponentiate.",
            (np.array([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4]]),),
        ),
    ),
)


def _misclick_loss(margin: Array, rate: float) -> Array:
    return likelihoods.misclick_loss(margin, rate=rate)


def _misclick_loss_case(rng: Generator) -> Case:
    return tenths(rng, int(rng.integers(1, 7))), float(rng.choice([0.05, 0.1, 0.2, 0.4]))


def _misclick_loss_mistakes(margin: Array, rate: float) -> dict[str, Any]:
    p, plain = expit(margin), likelihoods.bradley_terry_loss(margin)
    right = _misclick_loss(margin, rate)
    return {
        "A coin flip is right half of the time: add epsilon / 2, not epsilon.": -np.log((1 - rate) * p + rate),
        "The shares must add up: give the sigmoid the weight 1 - epsilon.": -np.log(p + rate / 2),
        "Epsilon is the share of coin flips, half of which are right; you take all of them as wrong.": -np.log(
            (1 - rate) * p + rate * (1 - p)
        ),
        "You mix the losses, which is label smoothing; mix the probabilities, then take the logarithm.": (1 - rate / 2)
        * plain
        + rate / 2 * likelihoods.bradley_terry_loss(-margin),
        "You forgot the mis-clicks: that is the plain Bradley-Terry loss.": plain,
        "The sign of the margin is flipped: a large margin makes the label likely.": _misclick_loss(-margin, rate),
        "You return the probability; return minus its logarithm.": np.exp(-right),
        "That is the log-probability; the loss is its negative.": -right,
        "You average over the comparisons; return one loss for each.": right.mean(),
    }


MISCLICK_LOSS = Exercise(
    "misclick_loss",
    "one number for each comparison",
    _misclick_loss,
    _misclick_loss_case,
    _misclick_loss_mistakes,
    traits=lambda margin, rate: {
        "there is only one comparison": len(margin) == 1,
        "every margin is positive": (margin > 0).all(),
    },
)


def _pooled_borda(matrix: Array, other: Array, w: float) -> Array:
    return np.asarray(w * hidden_context.borda(matrix) + (1 - w) * other)


def _shares(rng: Generator, count: int) -> Array:
    upper = np.triu(rng.integers(1, 20, size=(count, count)) / 20, 1)
    return np.asarray(upper + np.tril(1 - upper.T, -1) + np.eye(count) / 2)


def _pooled_borda_case(rng: Generator) -> Case:
    count = int(rng.integers(2, 6))
    other = np.round(hidden_context.borda(_shares(rng, count)), 3)
    return _shares(rng, count), other, float(rng.choice([0.2, 0.3, 0.75]))


def _pooled_borda_mistakes(matrix: Array, other: Array, w: float) -> dict[str, Any]:
    count, first = len(matrix), hidden_context.borda(matrix)
    majority = (matrix > 0.5) + 0.5 * (matrix == 0.5)
    return {
        "You average the columns: how often an answer loses. P[a, b] is the share that prefers a.": (
            w * matrix.mean(0) + (1 - w) * other
        ),
        "You leave the answer itself out; here the opponent is any of the A, and a tie with oneself counts 1/2.": (
            w * (matrix.sum(1) - 0.5) / (count - 1) + (1 - w) * other
        ),
        "You add up; the Borda count is the mean.": w * matrix.sum(1) + (1 - w) * other,
        "You count majorities; the Borda count is the mean of the shares.": w * majority.mean(1) + (1 - w) * other,
        "Both crowds count the same with you; the first is a share w of all people.": (first + other) / 2,
        "The shares are swapped: w belongs to the crowd whose matrix you have.": (1 - w) * first + w * other,
        "You add the counts of the two crowds; average them, with their shares.": first + other,
        "You forgot the second crowd, of whom you have only the counts.": first,
    }


POOLED_BORDA = Exercise(
    "pooled_borda",
    "one number for each answer",
    _pooled_borda,
    _pooled_borda_case,
    _pooled_borda_mistakes,
    traits=lambda matrix, other, w: {"there are two answers": len(matrix) == 2},
)


def _smooth(difference: Array, label: Array, step_size: float, rate: float, rounds: int, late: bool = False) -> Array:
    weights = np.zeros(difference.shape[1])
    for _ in range(rounds):
        p = expit(difference @ weights)
        weights = weights + step_size / len(label) * difference.T @ (label - p)
        label = linear_fits.smoothed(label, expit(difference @ weights) if late else p, rate)
    return weights


def _data_smoothing(difference: Array, label: Array, step_size: float, rate: float, rounds: int) -> Array:
    found = linear_fits.iterated_data_smoothing(difference, label, step_size=step_size, rate=rate, rounds=rounds)
    return found.weights[-1]


def _data_smoothing_case(rng: Generator) -> Case:
    rows, size = wide(rng)
    label = rng.integers(2, size=rows).astype(float)
    rounds = int(rng.integers(3, 7))
    return tenths(rng, rows, size), label, float(rng.choice([0.1, 0.5, 1.0])), float(rng.choice([0.1, 0.3])), rounds


def _data_smoothing_mistakes(
    difference: Array, label: Array, step_size: float, rate: float, rounds: int
) -> dict[str, Any]:
    given = (difference, label, step_size)
    return {
        "You never move the labels: that is plain gradient descent.": _smooth(*given, 0.0, rounds),
        "You smooth with the margins after the step; use those before it.": _smooth(*given, rate, rounds, late=True),
        "The shares are swapped: a label keeps 1 - s of itself.": _smooth(*given, 1 - rate, rounds),
        "You walk uphill on the loss: the step is minus its gradient.": _smooth(
            difference, label, -step_size, rate, rounds
        ),
        "You sum over the comparisons; the loss is their mean.": _smooth(
            difference, label, step_size * len(label), rate, rounds
        ),
        "You take one round too few.": _smooth(*given, rate, rounds - 1),
    }


DATA_SMOOTHING = Exercise(
    "data_smoothing",
    "one number for each weight",
    _data_smoothing,
    _data_smoothing_case,
    _data_smoothing_mistakes,
    traits=lambda difference, label, step_size, rate, rounds: {"every label is 1": (label == 1).all()},
)

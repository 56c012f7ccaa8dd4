"""What the checkers of rewards from people and kinds of feedback know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from rlhf_lab.check.diagnosis import Case, Exercise, tenths, wide
from rlhf_lab.feedback import annotators, evaluation, hidden_context, likelihoods, linear_fits
from rlhf_lab.numerics.autodiff import Array


def _bradley_terry_loss(first: Array, second: Array, label: Array) -> Array:
    return np.mean(likelihoods.bradley_terry_loss(first - second, label))


def _bradley_terry_loss_case(rng: Generator) -> Case:
    count = int(rng.integers(1, 7))
    return tenths(rng, count), tenths(rng, count), rng.choice([0.0, 0.5, 1.0], size=count, p=[0.4, 0.2, 0.4])


def _bradley_terry_loss_mistakes(first: Array, second: Array, label: Array) -> dict[str, Any]:
    margin = first - second
    loss, p = likelihoods.bradley_terry_loss(margin, label), expit(margin)
    return {
        "You sum over the comparisons; the loss is their mean.": loss.sum(),
        "You return one loss for each comparison; the loss is their mean.": loss,
        "That is the log-likelihood; the loss is its negative.": -loss.mean(),
        "Label 1 means that the first is preferred; you have it the other way around.": np.mean(
            likelihoods.bradley_terry_loss(-margin, label)
        ),
        "You ignore the labels, as if the first were always preferred.": np.mean(
            likelihoods.bradley_terry_loss(margin)
        ),
        "A tie is half a win of either; you count it as a loss of the first.": np.mean(
            likelihoods.bradley_terry_loss(margin, np.floor(label))
        ),
        "You forgot the term of the second: add (1 - l) times the logarithm of sigmoid(-m).": np.mean(
            label * np.logaddexp(0, -margin)
        ),
        "You forgot the logarithm: a likelihood multiplies, so its logarithm adds up.": np.mean(
            -label * p - (1 - label) * (1 - p)
        ),
        "That is the squared error of the probability; use the cross-entropy.": np.mean((p - label) ** 2),
        "You use logarithms to base 2; the book uses natural ones.": loss.mean() / np.log(2),
    }


BRADLEY_TERRY_LOSS = Exercise(
    "bradley_terry_loss",
    "one number, the mean over the comparisons",
    _bradley_terry_loss,
    _bradley_terry_loss_case,
    _bradley_terry_loss_mistakes,
    traits=lambda first, second, label: {
        "a label is 1/2": (label == 0.5).any(),
        "there is only one comparison": len(label) == 1,
    },
    hard=(
        (
            "It is right for small rewards, but large ones overflow: the loss of a margin is log(1 + exp(-m)), "
            "which np.logaddexp(0, -m) computes safely.",
            (np.array([1e4, -1e4]), np.array([0.0, 0.0]), np.array([0.0, 1.0])),
        ),
    ),
)


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


def _borda_case(rng: Generator) -> Case:
    count = int(rng.integers(2, 6))
    upper = np.triu(rng.integers(1, 20, size=(count, count)) / 20, 1)
    return (upper + np.tril(1 - upper.T, -1) + np.eye(count) / 2,)


def _borda_mistakes(matrix: Array) -> dict[str, Any]:
    count = len(matrix)
    return {
        "You average the columns: how often an answer loses. P[a, b] is the share that prefers a.": matrix.mean(0),
        "You leave the answer itself out; here the opponent is any of the A, and a tie with oneself counts 1/2.": (
            matrix.sum(1) - 0.5
        )
        / (count - 1),
        "You add up; the Borda count is the mean.": matrix.sum(1),
        "You count majorities; the Borda count is the mean of the shares.": (
            (matrix > 0.5) + 0.5 * (matrix == 0.5)
        ).mean(1),
        "You average log-odds; average the shares.": np.log(matrix / (1 - matrix)).mean(1),
        "You weigh all answers together: return one number for each answer.": matrix.mean(),
        "You return the utilities; the Borda count is the mean of a row.": hidden_context.fit_utility(matrix),
    }


BORDA = Exercise(
    "borda",
    "one number for each answer",
    hidden_context.borda,
    _borda_case,
    _borda_mistakes,
    traits=lambda matrix: {"there are two answers": len(matrix) == 2},
)


def _expected_calibration_error_case(rng: Generator) -> Case:
    count = int(rng.integers(2, 13))
    p = np.where(rng.random(count) < 0.08, 1.0, (2 * rng.integers(20, size=count) + 1) / 40)
    return p, rng.integers(2, size=count).astype(float), int(rng.choice([2, 4, 5, 10]))


def _expected_calibration_error_mistakes(p: Array, label: Array, bins: int) -> dict[str, Any]:
    found = evaluation.calibration(p, label, bins)
    gap, weight = found.predicted - found.observed, found.count / len(p)
    place = np.minimum((p * bins).astype(int), bins - 1)
    center = (np.unique(place) + 0.5) / bins
    sure = np.maximum(p, 1 - p)
    hit = ((p > 0.5) == (label == 1)).astype(float)
    return {
        "All bins count the same with you; weigh each with its number of comparisons.": np.abs(gap).mean(),
        "You divide by the number of bins; weigh each with its share of the comparisons.": np.abs(gap).sum() / bins,
        "You take the worst bin; the expected error is the weighted mean.": np.abs(gap).max(),
        "You forgot the absolute value: too high here and too low there do not cancel.": weight @ gap,
        "You square the distances; take their absolute values.": weight @ gap**2,
        "You compare with the middle of the bin; compare with the mean prediction in it.": weight
        @ np.abs(center - found.observed),
        "You compare confidence with accuracy; compare the prediction with the share of label 1.": (
            evaluation.expected_calibration_error(sure, hit, bins)
        ),
        "You average |p - l| over single comparisons; average within each bin first.": np.abs(p - label).mean(),
    }


EXPECTED_CALIBRATION_ERROR = Exercise(
    "expected_calibration_error",
    "one number",
    evaluation.expected_calibration_error,
    _expected_calibration_error_case,
    _expected_calibration_error_mistakes,
    traits=lambda p, label, bins: {"a prediction is 1": (p == 1).any()},
)


def _cohen_kappa(first: Array, second: Array) -> Array:
    return annotators.cohen_kappa(np.stack([first, second]))[0, 1]


def _cohen_kappa_case(rng: Generator) -> Case:
    first = np.append([1.0, 0.0], rng.integers(2, size=int(rng.integers(4, 11))))  # both labels: kappa is defined
    second = np.where(rng.random(len(first)) < 0.3, 1 - first, first)
    second[:2] = first[:2]
    return first, second


def _cohen_kappa_mistakes(first: Array, second: Array) -> dict[str, Any]:
    agreed, a, b = np.mean(first == second), first.mean(), second.mean()
    chance = a * b + (1 - a) * (1 - b)
    return {
        "That is the agreement; subtract what two would reach by chance.": agreed,
        "You subtract chance, but do not divide by 1 - chance: full agreement should be 1.": agreed - chance,
        "Chance is not 1/2: two people who both often say 1 agree more often than that.": 2 * agreed - 1,
        "You forgot that people also agree by chance on label 0.": (agreed - a * b) / (1 - a * b),
        "You count only the cases in which both say 1 as agreement.": (np.mean(first * second) - chance) / (1 - chance),
    }


COHEN_KAPPA = Exercise("cohen_kappa", "one number", _cohen_kappa, _cohen_kappa_case, _cohen_kappa_mistakes)


def _bradley_terry_gradient(difference: Array, label: Array, weights: Array) -> Array:
    return difference.T @ (expit(difference @ weights) - label) / len(label)


def _bradley_terry_gradient_case(rng: Generator) -> Case:
    rows, size = wide(rng)
    label = rng.choice([0.0, 0.5, 1.0], size=rows, p=[0.4, 0.2, 0.4])
    return tenths(rng, rows, size + 1), label, tenths(rng, size + 1)


def _bradley_terry_gradient_mistakes(difference: Array, label: Array, weights: Array) -> dict[str, Any]:
    p = expit(difference @ weights)
    right = _bradley_terry_gradient(difference, label, weights)
    return {
        "That is the direction of the step; the gradient of the loss is its negative.": -right,
        "You sum over the comparisons; the loss is their mean.": right * len(label),
        "You take the mean over the weights, too; divide by the number of comparisons.": right / len(weights),
        "You ignore the labels, as if the first were always preferred.": difference.T @ (p - 1) / len(label),
        "That is the gradient of a squared error: the slope p (1 - p) of the sigmoid cancels in the cross-entropy.": (
            difference.T @ ((p - label) * p * (1 - p)) / len(label)
        ),
        "You compare the label with the margin; compare it with the sigmoid of the margin.": difference.T
        @ (difference @ weights - label)
        / len(label),
    }


BRADLEY_TERRY_GRADIENT = Exercise(
    "bradley_terry_gradient",
    "one number for each weight",
    _bradley_terry_gradient,
    _bradley_terry_gradient_case,
    _bradley_terry_gradient_mistakes,
    traits=lambda difference, label, weights: {"a label is 1/2": (label == 0.5).any()},
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

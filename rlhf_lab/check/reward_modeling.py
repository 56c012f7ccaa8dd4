"""What the checkers of the chapter "Learning a reward from people" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from rlhf_lab.check.diagnosis import Case, Exercise, tenths, wide
from rlhf_lab.feedback import annotators, evaluation, likelihoods
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

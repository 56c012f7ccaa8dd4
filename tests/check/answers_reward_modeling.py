"""The exercises of the chapter "Learning a reward from people", solved and got wrong by a reader who likes loops."""

import math

import numpy as np


def sigmoid(m):
    return 1 / (1 + np.exp(-m))


def softplus(m):
    return max(m, 0) + math.log1p(math.exp(-abs(m)))


def losses(first, second, label):
    return [w * softplus(b - a) + (1 - w) * softplus(a - b) for a, b, w in zip(first, second, label, strict=True)]


def bradley_terry_loss(first, second, label):
    return sum(losses(first, second, label)) / len(label)


def bins_of(p, label, bins):
    """The members of each bin that has any: mean prediction, share of label 1, number, middle."""
    found = []
    for b in range(bins):
        inside = [k for k, x in enumerate(p) if b / bins <= x < (b + 1) / bins or (x == 1 and b == bins - 1)]
        if inside:
            found.append((np.mean(p[inside]), np.mean(label[inside]), len(inside), (b + 0.5) / bins))
    return found


def expected_calibration_error(p, label, bins):
    return sum(n * abs(said - was) for said, was, n, _ in bins_of(p, label, bins)) / len(p)


def each_bin(function):
    """Sum `function(mean prediction, share of label 1, share of comparisons, middle)` over the bins."""
    return lambda p, label, bins: sum(function(a, b, n / len(p), c) for a, b, n, c in bins_of(p, label, bins))


def gaps(p, label, bins):
    return [abs(said - was) for said, was, *_ in bins_of(p, label, bins)]


def counted(first, second):
    """How often two people say the same, say 1 both, and say 1 each."""
    n = len(first)
    same = sum(a == b for a, b in zip(first, second, strict=True)) / n
    return same, sum(first * second) / n, sum(first) / n, sum(second) / n


def cohen_kappa(first, second):
    same, _, a, b = counted(first, second)
    return 1 - (1 - same) / (a + b - 2 * a * b)


def by_chance(function):
    """Call `function(same, both say 1, first says 1, second says 1)`."""
    return lambda first, second: function(*counted(first, second))


def each_comparison(function):
    """Average `function(label, margin) * difference` over the comparisons."""
    return lambda difference, label, weights: (
        sum(function(w, sum(d * weights)) * d for d, w in zip(difference, label, strict=True)) / len(label)
    )


bradley_terry_gradient = each_comparison(lambda w, m: (1 - w) * sigmoid(m) - w * sigmoid(-m))


WRONG = {
    "bradley_terry_loss": [
        (lambda a, b, w: sum(losses(a, b, w)), "You sum over the comparisons; the loss"),
        (losses, "You return one loss for each comparison; the loss"),
        (lambda a, b, w: -bradley_terry_loss(a, b, w), "That is the log-likelihood; the loss"),
        (lambda a, b, w: bradley_terry_loss(b, a, w), "Label 1 means that the first is preferred; you"),
        (lambda a, b, w: bradley_terry_loss(a, b, 0 * w + 1), "You ignore the labels, as if the first"),
        (lambda a, b, w: bradley_terry_loss(a, b, 1.0 * (w == 1)), "A tie is half a win of either; you count it"),
        (lambda a, b, w: np.mean(-w * np.log(sigmoid(a - b))), "You forgot the term of the second: add"),
        (
            lambda a, b, w: -np.mean(w * sigmoid(a - b) + (1 - w) * sigmoid(b - a)),
            "You forgot the logarithm: a likelihood",
        ),
        (lambda a, b, w: np.mean((w - sigmoid(a - b)) ** 2), "That is the squared error of the probability; use"),
        (lambda a, b, w: math.log2(math.e) * bradley_terry_loss(a, b, w), "You use logarithms to base 2; the book"),
    ],
    "expected_calibration_error": [
        (lambda p, label, bins: np.mean(gaps(p, label, bins)), "All bins count the same with you; weigh"),
        (lambda p, label, bins: sum(gaps(p, label, bins)) / bins, "You divide by the number of bins; weigh"),
        (lambda p, label, bins: max(gaps(p, label, bins)), "You take the worst bin; the expected"),
        (each_bin(lambda said, was, n, middle: n * (said - was)), "You forgot the absolute value: too high"),
        (each_bin(lambda said, was, n, middle: n * (said - was) ** 2), "You square the distances; take"),
        (
            each_bin(lambda said, was, n, middle: n * abs(middle - was)),
            "You compare with the middle of the bin; compare",
        ),
        (
            lambda p, label, bins: expected_calibration_error(
                np.where(p > 0.5, p, 1 - p), 1.0 * ((p > 0.5) == label), bins
            ),
            "You compare confidence with accuracy; compare",
        ),
        (lambda p, label, bins: np.mean(abs(p - label)), "You average |p - l| over single comparisons; average"),
    ],
    "cohen_kappa": [
        (by_chance(lambda same, both, a, b: same), "That is the agreement; subtract"),
        (
            by_chance(lambda same, both, a, b: same - a * b - (1 - a) * (1 - b)),
            "You subtract chance, but do not divide",
        ),
        (by_chance(lambda same, both, a, b: (same - 0.5) / 0.5), "Chance is not 1/2: two"),
        (
            by_chance(lambda same, both, a, b: 1 - (1 - same) / (1 - a * b)),
            "You forgot that people also agree by chance",
        ),
        (by_chance(lambda same, both, a, b: 1 - (1 - both) / (a + b - 2 * a * b)), "You count only the cases in which"),
    ],
    "bradley_terry_gradient": [
        (lambda d, w, theta: -bradley_terry_gradient(d, w, theta), "That is the direction of the step; the gradient"),
        (lambda d, w, theta: len(w) * bradley_terry_gradient(d, w, theta), "You sum over the comparisons; the loss"),
        (
            lambda d, w, theta: bradley_terry_gradient(d, w, theta) / len(theta),
            "You take the mean over the weights, too; divide",
        ),
        (each_comparison(lambda w, m: -sigmoid(-m)), "You ignore the labels, as if"),
        (
            each_comparison(lambda w, m: (sigmoid(m) - w) * sigmoid(m) * sigmoid(-m)),
            "That is the gradient of a squared",
        ),
        (each_comparison(lambda w, m: m - w), "You compare the label with the margin; compare"),
    ],
}

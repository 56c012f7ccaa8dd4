"""Exercises on rewards from people and kinds of feedback, solved and got wrong by a reader who likes loops."""

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


def place(rewards, k):
    top = max(rewards[k:])
    return top + math.log(sum(math.exp(r - top) for r in rewards[k:])) - rewards[k]


def ranking_loss(reward):
    return [sum(place(row, k) for k in range(len(row))) for row in reward.tolist()]


def each_ranking(function):
    return lambda reward: [function(row) for row in reward]


def misclick_loss(margin, rate):
    return [-math.log((1 - rate) * sigmoid(m) + rate / 2) for m in margin]


def each_margin(function):
    return lambda margin, rate: [function(m, rate) for m in margin]


def borda(matrix):
    return [sum(row) / len(row) for row in matrix.tolist()]


def utilities(matrix):
    """Gradient ascent, slow and sure."""
    u = np.zeros(len(matrix))
    while True:
        step = (matrix - sigmoid(u[:, None] - u)).mean(1)
        u = u + 4 * step
        if abs(step).max() < 1e-13:
            return u


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


def data_smoothing(difference, label, step_size, rate, rounds, late=False):
    theta, label = np.zeros(difference.shape[1]), label.tolist()
    for _ in range(rounds):
        before = theta
        slope = bradley_terry_gradient(difference, label, theta)
        theta = theta - step_size * slope
        for k, d in enumerate(difference):
            label[k] += rate * (sigmoid(sum(d * (theta if late else before))) - label[k])
    return theta


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
    "ranking_loss": [
        (
            each_ranking(lambda r: sum(softplus(r[j] - r[i]) for j in range(len(r)) for i in range(j))),
            "You count every pair of the ranking; at each",
        ),
        (
            each_ranking(lambda r: np.mean([softplus(y - x) for i, x in enumerate(r) for y in r[i + 1 :]])),
            "You take the mean over all pairs of the ranking; at",
        ),
        (
            each_ranking(lambda r: sum(math.log(sum(np.exp(r))) - x for x in r)),
            "You keep the answers that were chosen already: at",
        ),
        (each_ranking(lambda r: place(list(r), 0)), "You stop after the first place; the ranking"),
        (lambda reward: ranking_loss(np.fliplr(reward)), "You read the ranking from the end: the best"),
        (lambda reward: [-x for x in ranking_loss(reward)], "That is the log-probability; the loss"),
        (lambda reward: [math.exp(-x) for x in ranking_loss(reward)], "You return the probability; return minus"),
        (
            each_ranking(lambda r: np.mean([place(list(r), k) for k in range(len(r) - 1)])),
            "You take the mean over the places; the loss",
        ),
        (lambda reward: sum(ranking_loss(reward)), "You sum over the batch; return one"),
        (lambda reward: np.mean(ranking_loss(reward)), "You average over the batch; return one"),
    ],
    "misclick_loss": [
        (each_margin(lambda m, e: -math.log((1 - e) * sigmoid(m) + e)), "A coin flip is right half of the time: add"),
        (each_margin(lambda m, e: -math.log(sigmoid(m) + e / 2)), "The shares must add up: give the sigmoid"),
        (
            each_margin(lambda m, e: -math.log((1 - e) * sigmoid(m) + e * sigmoid(-m))),
            "Epsilon is the share of coin flips, half of which are right; you",
        ),
        (
            each_margin(lambda m, e: (1 - e / 2) * softplus(-m) + e / 2 * softplus(m)),
            "You mix the losses, which is label smoothing; mix",
        ),
        (each_margin(lambda m, e: softplus(-m)), "You forgot the mis-clicks: that is"),
        (lambda margin, rate: misclick_loss(-margin, rate), "The sign of the margin is flipped: a large"),
        (each_margin(lambda m, e: (1 - e) * sigmoid(m) + e / 2), "You return the probability; return minus"),
        (lambda margin, rate: -np.array(misclick_loss(margin, rate)), "That is the log-probability; the loss"),
        (lambda margin, rate: np.mean(misclick_loss(margin, rate)), "You average over the comparisons; return"),
    ],
    "borda": [
        (lambda matrix: borda(matrix.T), "You average the columns: how often an answer loses."),
        (
            lambda matrix: [np.mean([x for b, x in enumerate(row) if b != a]) for a, row in enumerate(matrix.tolist())],
            "You leave the answer itself out; here the opponent",
        ),
        (lambda matrix: [sum(row) for row in matrix], "You add up; the Borda count"),
        (lambda matrix: borda((1 + np.sign(matrix - 0.5)) / 2), "You count majorities; the Borda count"),
        (lambda matrix: borda(np.log(matrix) - np.log(1 - matrix)), "You average log-odds; average the shares."),
        (lambda matrix: np.mean(borda(matrix)), "You weigh all answers together: return one"),
        (utilities, "You return the utilities; the Borda count"),
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
    "data_smoothing": [
        (lambda d, w, step, rate, rounds: data_smoothing(d, w, step, 0, rounds), "You never move the labels: that"),
        (
            lambda d, w, step, rate, rounds: data_smoothing(d, w, step, rate, rounds, late=True),
            "You smooth with the margins after the step; use",
        ),
        (lambda d, w, step, rate, rounds: data_smoothing(d, w, step, 1 - rate, rounds), "The shares are swapped: a"),
        (
            lambda d, w, step, rate, rounds: data_smoothing(d, w, -step, rate, rounds),
            "You walk uphill on the loss: the",
        ),
        (
            lambda d, w, step, rate, rounds: data_smoothing(d, w, len(w) * step, rate, rounds),
            "You sum over the comparisons; the loss",
        ),
        (lambda d, w, step, rate, rounds: data_smoothing(d, w, step, rate, rounds - 1), "You take one round too few."),
    ],
}

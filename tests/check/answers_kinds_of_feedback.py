"""The exercises of "Kinds of feedback, kinds of people", solved and got wrong by a reader who likes loops."""

import math

import numpy as np
from answers_reward_modeling import bradley_terry_gradient, sigmoid, softplus


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


def with_other(count):
    """Of both crowds, if the first is counted like this."""
    return lambda matrix, other, w: [w * b + (1 - w) * c for b, c in zip(count(matrix), other, strict=True)]


pooled_borda = with_other(borda)


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
    "pooled_borda": [
        (with_other(lambda matrix: borda(matrix.T)), "You average the columns: how often an answer loses."),
        (
            with_other(
                lambda m: [np.mean([x for b, x in enumerate(row) if b != a]) for a, row in enumerate(m.tolist())]
            ),
            "You leave the answer itself out; here the opponent",
        ),
        (with_other(lambda matrix: [sum(row) for row in matrix]), "You add up; the Borda count"),
        (with_other(lambda matrix: borda((1 + np.sign(matrix - 0.5)) / 2)), "You count majorities; the Borda count"),
        (lambda matrix, other, w: pooled_borda(matrix, other, 0.5), "Both crowds count the same with you;"),
        (lambda matrix, other, w: pooled_borda(matrix, other, 1 - w), "The shares are swapped: w belongs"),
        (lambda matrix, other, w: np.add(borda(matrix), other), "You add the counts of the two crowds;"),
        (lambda matrix, other, w: borda(matrix), "You forgot the second crowd, of whom"),
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

"""The exercises of the chapter "Over-optimisation and ensembles", solved and got wrong by a reader who likes loops."""

import math
from statistics import fmean, pstdev, pvariance, stdev, variance

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def centre(row, weights):
    return np.array([value - sum(row * weights) for value in row])


def ensemble_minimum(rewards, log_pi_0):
    rows = [centre(row, np.exp(log_pi_0)) for row in rewards]
    return [min(column) for column in zip(*rows, strict=True)]


def under(log_pi, values):
    return sum(math.exp(log_p) * value for log_p, value in zip(log_pi, values, strict=True))


def overestimate(learned, reward, log_pi, log_pi_0):
    first, second = (under(log_pi, r) - under(log_pi_0, r) for r in (learned, reward))
    return first - second


def columns(rewards):
    return [[float(value) for value in column] for column in zip(*rewards, strict=True)]


def uncertainty_weighted(rewards, weight):
    return [fmean(column) - weight * pvariance(column) for column in columns(rewards)]


def disagreement(rewards, log_pi):
    return under(log_pi, [pstdev(column) for column in columns(rewards)])


# Wrong solutions, written apart from those of the checkers, and how the sentence that names them begins.


def minimum(rows):
    return [min(column) for column in zip(*rows, strict=True)]


def charged(fine, base=fmean):
    return lambda r, w: [base(column) - fine(column, w) for column in columns(r)]


def apart(spread):
    return lambda r, p: under(p, [spread(column) for column in columns(r)])


WRONG = {
    "overestimate": [
        (lambda f, r, p, q: under(p, f - r), "You forgot to centre: subtract"),
        (lambda f, r, p, q: under(p, f - r) - fmean(f - r), "You centre with the plain mean; weigh"),
        (lambda f, r, p, q: under(q, f - r) - under(p, f - r), "The sign is flipped: learned"),
        (lambda f, r, p, q: sum((p - q) * (f - r)), "You weigh with log-probabilities: exponentiate"),
        (lambda f, r, p, q: under(p, f - r) - under(q, f), "You centre the learned reward only"),
        (lambda f, r, p, q: under(p, abs(f - r)) - under(q, abs(f - r)), "You take absolute errors"),
        (lambda f, r, p, q: fmean(f - r) - under(q, f - r), "You average over the answers; weigh"),
    ],
    "ensemble_minimum": [
        (lambda r, p: minimum(r), "You forgot to centre: subtract from each member"),
        (lambda r, p: minimum([row - sum(row) / len(row) for row in r]), "You centre with the plain mean; weigh"),
        (lambda r, p: centre(np.array(minimum(r)), np.exp(p)), "You centre after the minimum; each member"),
        (lambda r, p: [min(centre(row, np.exp(p))) for row in r], "You take the minimum over the answers; take it"),
        (
            lambda r, p: sum(centre(row, np.exp(p)) for row in r) / len(r),
            "You take the mean over the members; take the minimum.",
        ),
        (
            lambda r, p: [-x for x in minimum([-centre(row, np.exp(p)) for row in r])],
            "You take the maximum: that is the boldest",
        ),
        (
            lambda r, p: centre(min(r, key=lambda row: float(np.mean(row))), np.exp(p)),
            "You take the member that is lowest on average: choose",
        ),
        (lambda r, p: minimum([row - sum(row * p) for row in r]), "You weigh with log-probabilities: exponentiate"),
    ],
    "uncertainty_weighted": [
        (charged(lambda c, w: -w * pvariance(c)), "You add the variance: that"),
        (charged(lambda c, w: w * pstdev(c)), "You subtract the standard deviation; the"),
        (charged(lambda c, w: w * variance(c)), "You divide by M - 1; this variance"),
        (charged(lambda c, w: w * pvariance(c) * len(c)), "You forgot to divide the sum"),
        (charged(lambda c, w: pvariance(c)), "You forgot lambda."),
        (charged(lambda c, w: 0.0), "You forgot the variance: that"),
        (charged(lambda c, w: w * pvariance(c), min), "You subtract from the minimum; begin"),
        (
            lambda r, w: [fmean(row) - w * pvariance([float(x) for x in row]) for row in r],
            "You take mean and variance over the answers; take",
        ),
    ],
    "disagreement": [
        (apart(pvariance), "You take the variance; disagreement"),
        (lambda r, p: pstdev([under(p, row) for row in r]), "You average over the answers first"),
        (lambda r, p: fmean(pstdev(c) for c in columns(r)), "You weigh all answers alike"),
        (
            lambda r, p: sum(q * pstdev(c) for q, c in zip(p, columns(r), strict=True)),
            "You weigh with log-probabilities: exponentiate",
        ),
        (apart(stdev), "You divide by M - 1; this deviation"),
        (apart(lambda c: max(c) - min(c)), "You take the range of the members"),
        (lambda r, p: [pstdev(c) for c in columns(r)], "You return one number for each answer"),
    ],
}

"""The exercises of the chapter "Losses without a reference, and without pairs", solved and got wrong by a reader."""

import math

import numpy as np
from answers_dpo import on_average
from scipy.optimize import brentq
from scipy.special import logsumexp


def simpo_policy(reward, length, beta):
    def left_over(c):
        return logsumexp([t * (r - c) / beta for r, t in zip(reward, length, strict=True)])

    c = brentq(left_over, max(reward) - 1, max(reward) + beta * math.log(len(reward)) + 1, xtol=1e-13)
    return [t * (r - c) / beta for r, t in zip(reward, length, strict=True)]


def kto_loss(u, desirable, z_ref, beta):
    return [
        lost(beta * (x - z_ref)) if good else lost(beta * (z_ref - x)) for x, good in zip(u, desirable, strict=True)
    ]


def kto_policy(up, down, good, bad):
    return shared([max(good * u - bad * d, 0) for u, d in zip(up, down, strict=True)])


def shared(pull):
    return [x / sum(pull) for x in pull]


def thumbs(pull):
    """A policy in proportion to pull(thumbs up, thumbs down, and both with their weights)."""

    def policy(up, down, good, bad):
        return shared([pull(u, d, good * u, bad * d) for u, d in zip(up, down, strict=True)])

    return policy


def scaled(policy, factor):
    def wrong(up, down, good, bad):
        return [x * factor(up, down, good, bad) for x in policy(up, down, good, bad)]

    return wrong


def kept_sum(up, down, good, bad):
    return sum(max(good * u - bad * d, 0) for u, d in zip(up, down, strict=True))


def lost(gain):
    return 1 - 1 / (1 + math.exp(-gain)) if gain > -500 else 1.0


def each(term):
    return lambda u, desirable, z_ref, beta: [
        term(x, 1 if good else -1, z_ref, beta) for x, good in zip(u, desirable, strict=True)
    ]


def one_sum(log_weight):
    return [w - logsumexp(log_weight) for w in log_weight]


def bare(reward, length, beta):
    return [math.exp(w) for w in simpo_policy(reward, length, beta)]


WRONG = {
    "simpo_policy": [
        (lambda r, t, b: one_sum([x * n / b for x, n in zip(r, t, strict=True)]), "You add one constant to all"),
        (lambda r, t, b: one_sum([x / b for x in r]), "You forgot the lengths:"),
        (lambda r, t, b: one_sum([x / (n * b) for x, n in zip(r, t, strict=True)]), "You divide by the length;"),
        (lambda r, t, b: simpo_policy(r, t, 1 / b), "You multiply by beta; divide"),
        (lambda r, t, b: np.divide(simpo_policy(r, t, b), t), "That is the mean of a token;"),
        (bare, "You return probabilities; return"),
        (lambda r, t, b: [x * n / b for x, n in zip(r, t, strict=True)], "The sum is not 1:"),
    ],
    "kto_loss": [
        (each(lambda x, s, z, b: 1 - lost(s * b * (x - z))), "You return the value v; the loss"),
        (each(lambda x, s, z, b: lost(b * (x - z))), "You treat all as desirable:"),
        (each(lambda x, s, z, b: lost(s * b * x)), "You forgot z_ref, where"),
        (each(lambda x, s, z, b: lost(s * b * (x + z))), "You add z_ref; subtract"),
        (each(lambda x, s, z, b: lost(b * (s * x - z))), "You turn u around for what is undesirable, but"),
        (each(lambda x, s, z, b: lost(s * (x - z))), "You forgot beta: it multiplies"),
        (each(lambda x, s, z, b: lost(s * (b * x - z))), "You multiply u by beta, but not"),
        (each(lambda x, s, z, b: lost(s * (x - z) / b)), "You divide by beta; multiply"),
        (each(lambda x, s, z, b: math.log1p(math.exp(min(-s * b * (x - z), 500)))), "That is the log-loss, as in DPO:"),
        (on_average(kto_loss), "You averaged over the batch; return the loss"),
    ],
    "kto_policy": [
        (thumbs(lambda u, d, g, b: max(u - d, 0)), "You forgot the weights of both"),
        (lambda u, d, g, b: kto_policy(u, d, b, g), "The weights are exchanged:"),
        (thumbs(lambda u, d, g, b: max(g - b, 0) / (u + d)), "You take the excess alone;"),
        (thumbs(lambda u, d, g, b: g - b), "An answer with an excess below 0 gets nothing,"),
        (thumbs(lambda u, d, g, b: g - b if u > d else 0), "You keep what a majority likes;"),
        (thumbs(lambda u, d, g, b: abs(g - b)), "You take the size of the excess;"),
        (thumbs(lambda u, d, g, b: g if g > b else 0), "Those that are kept share by what their excess is,"),
        (thumbs(lambda u, d, g, b: u + d if g > b else 0), "Those that are kept share by excess times data,"),
        (thumbs(lambda u, d, g, b: u), "That is imitation of what got thumbs up;"),
        (scaled(kto_policy, kept_sum), "You forgot to divide by the sum"),
        (
            scaled(kto_policy, lambda u, d, g, b: kept_sum(u, d, g, b) / (sum(u) + sum(d))),
            "You divide by the number of thumbs;",
        ),
        (
            lambda u, d, g, b: [math.log(max(x, 1e-300)) for x in kto_policy(u, d, g, b)],
            "You return log-probabilities; return",
        ),
    ],
}

"""The exercises of the chapter "Several objectives, and rules in words", solved and got wrong by a reader."""

import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def from_experts(log_pi_0, experts, weights):
    found = [p + sum(w * (e[a] - p) for w, e in zip(weights, experts, strict=True)) for a, p in enumerate(log_pi_0)]
    top = max(found)
    total = top + math.log(sum(math.exp(v - top) for v in found))
    return [v - total for v in found]


def bisect(log_pi_0, helpful, safe, floor, beta, lowest=0.0):
    def earned(price):
        tilted = [p + (h + price * s) / beta for p, h, s in zip(log_pi_0, helpful, safe, strict=True)]
        weight = [math.exp(v - max(tilted)) for v in tilted]
        return sum(w * s for w, s in zip(weight, safe, strict=True)) / sum(weight)

    low, high = lowest, 1.0
    if earned(low) >= floor:
        return low
    while earned(high) < floor:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if earned(middle) < floor else (low, middle)
    return high


def floor_price(log_pi_0, helpful, safe, floor, beta):
    return bisect(log_pi_0, helpful, safe, floor, beta)


def revised_law(pi_0, revised):
    return [sum(p for p, u in zip(pi_0, revised, strict=True) if u == a) for a in range(len(pi_0))]


def penalty_price(share, target, cost):
    return [cost / math.log(q / (1 - q) * (1 - t) / t) for q, t in zip(share, target, strict=True)]


def feedback_round(pi_0, fault, free, tries):
    law = np.zeros(len(pi_0))
    for before, named in enumerate(fault):
        if named < 0:
            law[before] += pi_0[before]
            continue
        missed = sum(p for p, good in zip(pi_0, free[named], strict=True) if not good)
        for y, good in enumerate(free[named]):
            chance = sum(missed**k for k in range(tries)) if good else missed ** (tries - 1)
            law[y] += pi_0[before] * pi_0[y] * chance
    return law


# Wrong ones.


def normal(values):
    values = values - values.max()
    return values - np.log(np.exp(values).sum())


def added(p, e, w):
    return w @ (e - p)


def negative_too(log_pi_0, helpful, safe, floor, beta):
    return -np.inf if floor <= safe.min() else bisect(log_pi_0, helpful, safe, floor, beta, -200.0)


def least(log_pi_0, helpful, safe, floor, beta):
    price = bisect(log_pi_0, helpful, safe, floor, beta)
    tilted = log_pi_0 + (helpful + price * (safe - floor)) / beta
    return beta * (tilted.max() + np.log(np.exp(tilted - tilted.max()).sum()))


def last(pi_0, revised):
    law = np.zeros(len(pi_0))
    law[revised] = pi_0
    return law


def clean(pi_0, revised):
    return np.where(revised == np.arange(len(pi_0)), pi_0, 0.0)


def odds(q):
    return q / (1 - q)


def logit(q):
    return np.log(odds(q))


def told(pi_0, fault, free):
    return [(pi_0[fault == f].sum(), pi_0[~good].sum(), good) for f, good in enumerate(free)]


def stays(pi_0, fault):
    return np.where(fault < 0, pi_0, 0.0)


def round_of(pi_0, fault, free, found, otherwise):
    law = stays(pi_0, fault)
    for named, missed, good in told(pi_0, fault, free):
        law = law + named * pi_0 * np.where(good, found(missed), otherwise(missed))
    return law


def series(n):
    return lambda q: sum(q**k for k in range(n))


def strict_judge(p, c, g, n):
    q = p[c >= 0].sum()
    new = p * np.where(c < 0, series(n)(q), q ** (n - 1))
    return stays(p, c) + q * new


def by_having(p, c, g, n):
    law = stays(p, c)
    for _, missed, good in told(p, c, g):
        law = law + missed * p * np.where(good, series(n)(missed), missed ** (n - 1))
    return law


WRONG = {
    "from_experts": [
        (lambda p, e, w: normal(w @ e), "You average the experts alone"),
        (
            lambda p, e, w: normal(p + added(p, e, w / (w.sum() if w.sum() else 1))),
            "You divide the weights by their sum",
        ),
        (lambda p, e, w: normal(p + w @ e), "The prior counts once too often"),
        (lambda p, e, w: normal(added(p, e, w)), "You forgot the prior"),
        (lambda p, e, w: p + added(p, e, w), "You forgot to normalise"),
        (lambda p, e, w: np.exp(normal(p + added(p, e, w))), "You return probabilities"),
        (lambda p, e, w: np.log(abs(w) @ np.exp(e) / (abs(w) @ np.exp(e)).sum()), "You average probabilities"),
        (lambda p, e, w: normal(p - added(p, e, w)), "The sign of the experts' part"),
    ],
    "floor_price": [
        (negative_too, "Where the floor does not bind"),
        (lambda p, h, s, c, b: bisect(p, h, s, c, b) / b, "You return lambda / beta"),
        (lambda p, h, s, c, b: bisect(p, h, s, c, b) * b, "You return lambda times beta"),
        (lambda p, h, s, c, b: bisect(p, h, s, c, 1.0), "You forgot beta"),
        (lambda p, h, s, c, b: bisect(p, h, s, c, 1 / b), "You multiply rewards by beta"),
        (lambda p, h, s, c, b: bisect(0 * p, h, s, c, b), "You forgot pi_0"),
        (lambda p, h, s, c, b: bisect(p, 0 * h, s, c, b), "You forgot the helpful reward"),
        (least, "You return the least value"),
    ],
    "revised_law": [
        (last, "Only the last of the answers"),
        (lambda p, u: p[u], "You look up"),
        (lambda p, u: clean(p, u) / clean(p, u).sum(), "You condition"),
        (clean, "You throw the broken answers away"),
        (lambda p, u: revised_law(p, u) + p - clean(p, u), "You add what moves"),
        (lambda p, u: revised_law(np.ones(len(p)) / len(p), u), "You count answers"),
        (lambda p, u: np.log(np.maximum(revised_law(p, u), 1e-300)), "You return logarithms"),
    ],
    "penalty_price": [
        (lambda q, t, c: c / (logit(t) - logit(q)), "The sign is flipped"),
        (lambda q, t, c: c / np.log(q / t), "You compare the shares"),
        (lambda q, t, c: 1 / (logit(q) - logit(t)), "You forgot the cost"),
        (lambda q, t, c: (logit(q) - logit(t)) / c, "You return 1 / beta"),
        (lambda q, t, c: 1 / c / (logit(q) - logit(t)), "The cost divides"),
        (lambda q, t, c: c / (odds(q) - odds(t)), "You compare odds"),
        (lambda q, t, c: c / np.log((1 - t) / (1 - q)), "You compare the share of clean answers"),
    ],
    "feedback_round": [
        (lambda p, c, g, n: feedback_round(p, c, g, n) - stays(p, c), "An answer that is fine stays"),
        (
            lambda p, c, g, n: round_of(p, c, g, lambda q: 1 / (1 - q), lambda q: 0.0),
            "The new answers are free of the fault always",
        ),
        (lambda p, c, g, n: round_of(p, c, g, series(n), lambda q: 0.0), "You drop what is found"),
        (lambda p, c, g, n: feedback_round(p, c, g, n + 1), "You have one try too many"),
        (lambda p, c, g, n: feedback_round(p, c, g, n - 1), "You have one try too few"),
        (lambda p, c, g, n: feedback_round(p, c, g, 1), "You draw once"),
        (strict_judge, "A new answer must be free of every fault"),
        (lambda p, c, g, n: round_of(p, c, g, series(n), lambda q: q**n), "All tries have to fail"),
        (by_having, "You weigh a fault by how often"),
    ],
}

"""Right and wrong answers to the exercises of the chapter "When nobody answers", written without the package."""

from itertools import combinations

import numpy as np


def variance(values, less=0):
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / (len(values) - less)


def clip(table, threshold):
    return [[1 if c > threshold else -1 for c in row] for row in table]


def spread(probs, less=0):
    return [[variance(probs[:, s, a], less) for a in range(probs.shape[2])] for s in range(probs.shape[1])]


def dril_cost(probs, threshold):
    return clip(spread(probs), threshold)


def proper_sets(states):
    return [set(inside) for size in range(1, states) for inside in combinations(range(states), size)]


def dril_kappa(ratio, variance, sets=None, alpha=lambda inside: max(1, *inside, 1), v=min, choose=min, invert=False):
    values = []
    for inside in sets or proper_sets(len(ratio)):
        top = alpha([ratio[s] for s in inside])
        bottom = v([x for s in range(len(ratio)) if s not in inside for x in variance[s]])
        values.append(bottom / top if invert else top / bottom)
    return choose(values)


WRONG = {
    "dril_cost": [
        (lambda p, limit: -np.array(dril_cost(p, limit)), "The sign is flipped: disagreement costs"),
        (lambda p, limit: spread(p), "You return the variance itself; clip"),
        (lambda p, limit: [[int(c > limit) for c in row] for row in spread(p)], "You clip to 0 and 1; agreement earns"),
        (lambda p, limit: clip(np.sqrt(spread(p)), limit), "You compare the standard deviation with"),
        (lambda p, limit: clip(spread(p, 1), limit), "You divide by M - 1; the cost is"),
        (
            lambda p, limit: clip([[variance(row) for row in member] for member in p], limit),
            "You take the variance over the",
        ),
        (lambda p, limit: clip([[max(row)] * len(row) for row in spread(p)], limit), "You give all actions of a state"),
    ],
    "dril_kappa": [
        (lambda r, v: dril_kappa(r, v, alpha=max), "You leave the 1 out of the numerator"),
        (lambda r, v: dril_kappa(r, v, [set(), *proper_sets(len(r))]), "You let U be empty"),
        (lambda r, v: dril_kappa(r, v, invert=True), "Numerator and denominator are exchanged"),
        (lambda r, v: dril_kappa(r, v, v=max), "You take the largest variance outside"),
        (lambda r, v: dril_kappa(r, [[np.mean(row)] for row in v]), "You average the variance over the actions"),
        (lambda r, v: dril_kappa(r, v, alpha=lambda inside: max(1, min(inside))), "You take the smallest ratio inside"),
        (
            lambda r, v: min(
                max(1, *(r[s] for s in u), 1) / min(x for s in u for x in v[s]) for u in proper_sets(len(r))
            ),
            "You take the variance inside U",
        ),
        (lambda r, v: dril_kappa(r, v, choose=max), "You return the worst of all sets"),
    ],
}

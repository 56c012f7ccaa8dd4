"""The exercises of the chapter "A reward from behaviour", solved and got wrong by a reader who likes loops."""

import math

import numpy as np


def variance(values, less=0):
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / (len(values) - less)


def collected(transition, policy, start, features):
    rows, d = [], list(start)
    states, actions = policy[0].shape
    for pi in policy:
        rows.append([sum(d[s] * features[s, k] for s in range(states)) for k in range(features.shape[1])])
        moved = [
            (x, d[s] * pi[s, a] * transition[s, a, x])
            for s in range(states)
            for a in range(actions)
            for x in range(states)
        ]
        d = [sum(mass for y, mass in moved if y == x) for x in range(states)]
    return np.array(rows)


def moment_gradient(transition, policy, start, features, shown):
    return [m - sum(column) for m, column in zip(shown, collected(transition, policy, start, features).T, strict=True)]


def believed(difference, theta):
    return [[1 / (1 + math.exp(-sum(a * b for a, b in zip(d, w, strict=True)))) for w in theta] for d in difference]


def segment_doubt(difference, theta):
    return [variance(row) for row in believed(difference, theta)]


WRONG = {
    "moment_gradient": [
        (lambda p, pi, d, f, m: -np.array(moment_gradient(p, pi, d, f, m)), "The sign is flipped: it is what the dem"),
        (lambda p, pi, d, f, m: sum(collected(p, pi, d, f)), "You return what the policy collects; subtract"),
        (lambda p, pi, d, f, m: m - np.mean(collected(p, pi, d, f), axis=0), "You take the mean over the steps; mom"),
        (lambda p, pi, d, f, m: m - collected(p, pi, d, f)[-1], "You look at the last step only; sum"),
        (
            lambda p, pi, d, f, m: m - sum(collected(p, [*pi, pi[0]], d, f)[1:]),
            "You begin one step too late: the first states",
        ),
        (lambda p, pi, d, f, m: moment_gradient(p, [pi[0]] * len(pi), d, f, m), "You use the policy of the first step"),
        (lambda p, pi, d, f, m: moment_gradient(p, pi[::-1], d, f, m), "You use the policies from the last to the"),
        (lambda p, pi, d, f, m: moment_gradient(p, pi, np.ones(len(d)) / len(d), f, m), "You begin anywhere; begin"),
        (lambda p, pi, d, f, m: moment_gradient(p, pi * 0 + 1 / pi.shape[2], d, f, m), "You forgot the policy: weigh"),
        (lambda p, pi, d, f, m: m - collected(p, pi, d, f), "You return one row for each step; sum over"),
    ],
    "segment_doubt": [
        (lambda d, w: [variance(row) for row in d @ w.T], "You take the variance of the margins; it is"),
        (lambda d, w: [math.sqrt(v) for v in segment_doubt(d, w)], "You return the standard deviation; the"),
        (lambda d, w: [variance(row, 1) for row in believed(d, w)], "You divide by M - 1; the doubt is"),
        (
            lambda d, w: [variance(row) for row in zip(*believed(d, w), strict=True)],
            "You take the variance over the com",
        ),
        (lambda d, w: [np.mean(p) * (1 - np.mean(p)) for p in believed(d, w)], "You measure how unsure the mean is"),
        (believed, "You return what the members say; the"),
    ],
}

"""The exercises of the chapter "RLHF with policy gradients", solved and got wrong by a reader who likes loops."""

import statistics

import numpy as np


def reinforce_gradient(policy, drawn, advantage):
    found = np.zeros(len(policy))
    for y, a in zip(drawn, advantage, strict=True):
        for j in range(len(policy)):
            found[j] += a * ((j == y) - policy[j]) / len(drawn)
    return found


def normalised(a):
    return [(x - statistics.fmean(a)) / (statistics.pstdev(a) + 1e-8) for x in a]


def others(row, j):
    return [x for i, x in enumerate(row) if i != j]


def by_answer(function):
    """A function of f (G, k), from one of a row and a place in it."""
    return lambda f: np.array([[function(row, j) for j in range(len(row))] for row in f])


rloo_advantages = by_answer(lambda row, j: row[j] - statistics.fmean(others(row, j)))


def td(r, v, g, t):
    return r[t] + g * (v[t + 1] if t + 1 < len(v) else 0.0) - v[t]


def summed(error, decay):
    return lambda r, v, g, lam: [
        sum(decay(g, lam) ** k * error(r, v, g, t + k) for k in range(len(r) - t)) for t in range(len(r))
    ]


gae = summed(td, lambda g, lam: g * lam)


def drawn_mean(term):
    return lambda policy, drawn, advantage: (
        sum(term(policy, np.arange(len(policy)) == y, y, a) for y, a in zip(drawn, advantage, strict=True)) / len(drawn)
    )


WRONG = {
    "reinforce_gradient": [
        (drawn_mean(lambda p, hot, y, a: a * hot), "You forgot minus pi: the score of a softmax"),
        (lambda p, d, a: reinforce_gradient(p, d, a) * len(d), "You sum over the answers that were drawn; take"),
        (
            lambda p, d, a: reinforce_gradient(p, d, a) * len(d) / len(p),
            "You divide by the number of possible answers; divide",
        ),
        (lambda p, d, a: -reinforce_gradient(p, d, a), "The sign is flipped: this is the gradient of the loss"),
        (drawn_mean(lambda p, hot, y, a: p[y] * a * (hot - p)), "You weigh each answer with its probability; it was"),
        (drawn_mean(lambda p, hot, y, a: a * hot / p[y]), "That is the gradient in the probabilities; go on"),
        (drawn_mean(lambda p, hot, y, a: hot - p), "You forgot the advantages: this is the gradient of"),
        (
            lambda p, d, a: [x * ((np.arange(len(p)) == y) - p) for y, x in zip(d, a, strict=True)],
            "You return one row for each answer that was drawn",
        ),
        (lambda p, d, a: reinforce_gradient(p, d, a - statistics.fmean(a)), "You centre the advantages; here"),
        (lambda p, d, a: reinforce_gradient(p, d, normalised(a)), "You normalise the advantages; here"),
    ],
    "rloo_advantages": [
        (by_answer(lambda row, j: row[j] - statistics.fmean(row)), "Your mean holds the answer itself: leave it out"),
        (by_answer(lambda row, j: row[j] - sum(others(row, j)) / len(row)), "You leave the answer out of the sum, but"),
        (lambda f: f - np.sum(f) / f.size, "Your baseline is the mean of the whole batch; take"),
        (lambda f: f - sum(f) / len(f), "You average over the prompts; average over the answers"),
        (by_answer(lambda row, j: statistics.fmean(others(row, j))), "You return the baseline; subtract it from f."),
        (lambda f: -rloo_advantages(f), "The sign is flipped: an answer better than the others"),
        (
            by_answer(lambda row, j: (row[j] - statistics.fmean(row)) / statistics.stdev(row)),
            "You divide by the standard deviation: that is GRPO.",
        ),
        (by_answer(lambda row, j: row[j] - max(others(row, j))), "You subtract the best of the others; subtract"),
    ],
    "gae": [
        (summed(td, lambda g, lam: g), "You forgot lambda: you return the discounted return"),
        (summed(td, lambda g, lam: lam), "You forgot gamma in the sum: the weights are powers"),
        (
            summed(lambda r, v, g, t: td(r, v, 1.0, t), lambda g, lam: g * lam),
            "You forgot gamma in the TD error: it is",
        ),
        (
            summed(lambda r, v, g, t: td(r, v, g, t) + v[t], lambda g, lam: g * lam),
            "You forgot to subtract the values: a TD error",
        ),
        (
            summed(lambda r, v, g, t: r[t] + g * v[min(t + 1, len(v) - 1)] - v[t], lambda g, lam: g * lam),
            "Behind the last token there is no value; you count",
        ),
        (lambda r, v, g, lam: [td(r, v, g, t) for t in range(len(r))], "You return the TD errors: sum them up"),
        (lambda r, v, g, lam: np.add(gae(r, v, g, lam), v), "You return A + V, the targets of the critic."),
        (
            lambda r, v, g, lam: [
                sum((g * lam) ** k * td(r, v, g, t - k) for k in range(t + 1)) for t in range(len(r))
            ],
            "You sum over the past; A_t looks forward.",
        ),
        (lambda r, v, g, lam: [-a for a in gae(r, v, g, lam)], "The sign is flipped."),
        (lambda r, v, g, lam: [*gae(r, v, g, lam)[1:], 0.0], "Your advantages are one token late: A_t begins"),
        (lambda r, v, g, lam: gae(r, v, 1.0, lam), "You dropped gamma, in the TD error and"),
        (lambda r, v, g, lam: gae(r, 0 * v, g, lam), "You ignore the values: that sums rewards"),
        (lambda r, v, g, lam: gae(r, v, g, lam) - np.mean(gae(r, v, g, lam)), "You centre the advantages; that is"),
        (lambda r, v, g, lam: normalised(gae(r, v, g, lam)), "You normalise the advantages; that is"),
    ],
}

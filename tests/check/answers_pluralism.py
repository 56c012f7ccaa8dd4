"""The exercises of the chapter "Whose preferences?", solved and got wrong by a reader who likes loops."""

import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def value_of_knowing(log_pi, shares, beta):
    pooled = [sum(w * row[y] for w, row in zip(shares, log_pi, strict=True)) for y in range(len(log_pi[0]))]
    top = max(pooled)
    return -beta * (top + math.log(sum(math.exp(v - top) for v in pooled)))


def lead(log_pi_0, rewards, weight, beta):
    mixed = [weight * a + (1 - weight) * b for a, b in zip(*rewards, strict=True)]
    pi = np.exp(log_pi_0 + np.array(mixed) / beta)
    return float(np.sum(pi * (rewards[0] - rewards[1])))


def worst_off_weight(log_pi_0, rewards, beta):
    low, high = 0.0, 1.0
    if lead(log_pi_0, rewards, 0, beta) >= 0:
        return 0.0
    if lead(log_pi_0, rewards, 1, beta) <= 0:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if lead(log_pi_0, rewards, middle, beta) > 0:
            high = middle
        else:
            low = middle
    return low


def em_step(wins, asked, p, shares):
    people, questions = np.shape(wins)
    member = np.zeros((people, len(p)))
    for i in range(people):
        logs = []
        for z, row in enumerate(p):
            total = math.log(shares[z])
            for q in range(questions):
                total += wins[i][q] * math.log(row[q]) + (asked[i][q] - wins[i][q]) * math.log(1 - row[q])
            logs.append(total)
        weights = [math.exp(v - max(logs)) for v in logs]
        member[i] = [w / sum(weights) for w in weights]
    return [member, fresh(wins, asked, member)]


def fresh(wins, asked, member, extra=0.5, all_extra=1.0):
    new = np.zeros((member.shape[1], np.shape(wins)[1]))
    for z, q in np.ndindex(*new.shape):
        new[z, q] = (extra + sum(member[:, z] * wins[:, q])) / (all_extra + sum(member[:, z] * asked[:, q]))
    return new


def consistent_margin(first, second):
    found = []
    for one, two in zip(first, second, strict=True):
        same = [a for a, b in zip(one, two, strict=True) if a == b]
        found.append(math.log((sum(same) + 0.5) / (len(same) - sum(same) + 0.5)) / 2)
    return found


# Wrong ones.


def linear(log_pi, shares):
    return np.log(shares @ np.exp(log_pi))


def pool(log_pi, shares):
    mixed = shares @ log_pi
    return mixed - np.log(np.exp(mixed).sum())


def kl(log_p, log_q):
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


def even(shares):
    return np.full(len(shares), 1 / len(shares))


def after(wins, asked, member):
    return [member, fresh(wins, asked, member)]


def joint(wins, asked, p, shares):
    return shares * np.exp(wins @ np.log(p).T + (asked - wins) @ np.log(1 - p).T)


def divided(weight):
    return weight / weight.sum(-1, keepdims=True)


def right(*case):
    return em_step(*case)[0]


def bare(wins, asked, member):
    with np.errstate(all="ignore"):
        return np.nan_to_num((member.T @ wins) / (member.T @ asked))


def odds(wins, losses):
    return np.log((wins + 0.5) / (losses + 0.5))


def counts(a, b):
    return (a * b).sum(-1), ((1 - a) * (1 - b)).sum(-1)


WRONG = {
    "value_of_knowing": [
        (lambda p, w, c: value_of_knowing(p, w, 1), "You forgot beta: a nat costs beta."),
        (lambda p, w, c: value_of_knowing(p, w, 1 / c), "You divide by beta"),
        (lambda p, w, c: -value_of_knowing(p, w, c), "The sign is flipped: the sum is"),
        (lambda p, w, c: np.exp(w @ p).sum(), "That is the sum; the value"),
        (lambda p, w, c: value_of_knowing(p, even(w), c), "You forgot the shares: each policy"),
        (lambda p, w, c: -c * np.log(np.exp(p.sum(0)).sum()), "You multiply the policies without"),
        (lambda p, w, c: -c * np.log(np.exp(linear(p, w)).sum()), "You add the policies"),
        (lambda p, w, c: c * w @ kl(linear(p, w), p), "You measure from the linear pool"),
        (lambda p, w, c: c * w @ kl(p, pool(p, w)), "The divergences are the wrong way round"),
        (lambda p, w, c: c * w @ kl(p, linear(p, w)), "That is the Jensen-Shannon divergence"),
    ],
    "worst_off_weight": [
        (lambda p, r, c: 1 - worst_off_weight(p, r, c), "That is the weight of the second kind"),
        (lambda p, r, c: 1.0 * (np.exp(p) @ r[0] < np.exp(p) @ r[1]), "You give all weight to the kind that is worse"),
        (lambda p, r, c: 0.5, "You give both the same weight"),
        (lambda p, r, c: worst_off_weight(p, r, 1), "You forgot the price"),
        (lambda p, r, c: worst_off_weight(p, r, 1 / c), "The price divides the reward"),
        (lambda p, r, c: worst_off_weight(np.zeros(len(p)), r, c), "You forgot the reference"),
        (lambda p, r, c: worst_off_weight(p, r - (r @ np.exp(p))[:, None], c), "You anchor the rewards"),
    ],
    "em_step": [
        (lambda k, t, p, w: after(k, t, right(k, t, p, even(w))), "You forgot the shares: a likely group"),
        (lambda k, t, p, w: after(k, t, joint(k, t, p, w)), "You forgot to normalise memberships"),
        (lambda k, t, p, w: after(k, t, divided(joint(k, t, p, w).T).T), "You normalise over people"),
        (
            lambda k, t, p, w: after(k, t, np.eye(len(w))[right(k, t, p, w).argmax(-1)]),
            "You decide for one group",
        ),
        (lambda k, t, p, w: after(k, t, divided(w * np.exp(k @ np.log(p).T))), "You forgot the labels for the second"),
        (
            lambda k, t, p, w: after(k, t, divided(w * np.exp(k @ np.log(p).T + t @ np.log(1 - p).T))),
            "You count all that was asked",
        ),
        (lambda k, t, p, w: [right(k, t, p, w), bare(k, t, right(k, t, p, w))], "You forgot the half label"),
        (lambda k, t, p, w: [right(k, t, p, w), fresh(k, t, right(k, t, p, w), 0.5, 0.5)], "A half label of either"),
        (lambda k, t, p, w: [right(k, t, p, w), fresh(k, t, right(k, t, p, w), 1, 2)], "You add a whole label"),
        (
            lambda k, t, p, w: [right(k, t, p, w), fresh(k, t, np.ones((len(k), len(p))))],
            "Everybody counts fully in each group",
        ),
        (lambda k, t, p, w: [right(k, t, p, w), p], "You return the old probabilities"),
    ],
    "consistent_margin": [
        (lambda a, b: odds(*counts(a, b)), "Consistent verdicts have the log-odds 2 m"),
        (lambda a, b: odds((a + b).sum(-1), (2 - a - b).sum(-1)), "You use all verdicts"),
        (lambda a, b: odds(*counts(a, 1 - b)) / 2, "You keep the verdicts that differ"),
        (
            lambda a, b: (odds(a.sum(-1), (1 - a).sum(-1)) + odds(b.sum(-1), (1 - b).sum(-1))) / 2,
            "You average log-odds of counts",
        ),
        (lambda a, b: odds((a * b).sum(-1), (1 - a * b).sum(-1)) / 2, "You compare with all pairs of verdicts"),
        (lambda a, b: np.nan_to_num(np.log(np.divide(*counts(a, b))) / 2), "You forgot the half verdict"),
        (lambda a, b: np.log((counts(a, b)[0] + 1) / (counts(a, b)[1] + 1)) / 2, "You add a whole verdict"),
        (lambda a, b: (counts(a, b)[0] + 0.5) / (sum(counts(a, b)) + 1), "That is the share of wins"),
    ],
}

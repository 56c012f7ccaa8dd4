"""The exercises of the chapter "Learning from demonstrations", solved and got wrong by a reader who likes loops."""

import math

import numpy as np


def log_softmax(z):
    top = max(z)
    return [x - top - math.log(sum(math.exp(y - top) for y in z)) for x in z]


def cloning_loss(logits, action, weight):
    told = [w * log_softmax(z)[a] for z, a, w in zip(logits, action, weight, strict=True)]
    return -sum(told) / sum(weight)


def state_occupancy(transition, policy, start, horizon):
    rows = [list(start)]
    states, actions = policy.shape
    for _ in range(horizon - 1):
        rows.append(
            [
                sum(rows[-1][s] * policy[s, a] * transition[s, a, x] for s in range(states) for a in range(actions))
                for x in range(states)
            ]
        )
    return rows


def dagger_mixture(expert, policy, beta, round):
    share = math.prod([beta] * round)
    return [
        [share * e + (1 - share) * p for e, p in zip(*row, strict=True)] for row in zip(expert, policy, strict=True)
    ]


def margin(row):
    second, best = sorted(row)[-2:]
    return best - second


def query_probability(log_pi, b):
    return [b / (b + margin(row)) for row in log_pi]


def lost(logits, action):
    return np.array([-log_softmax(z)[a] for z, a in zip(logits, action, strict=True)])


def uniform(transition, policy, start, horizon):
    return state_occupancy(transition, np.ones_like(policy) / policy.shape[1], start, horizon)


def pushed_back(transition, policy, start, horizon):
    rows = [start]
    for _ in range(horizon - 1):
        rows.append([sum(policy[s] @ transition[s] * rows[-1]) for s in range(len(start))])
    return rows


def mixed(share):
    def mix(expert, policy, beta, round):
        w = share(beta, round)
        return w * expert + (1 - w) * policy

    return mix


def geometric(expert, policy, beta, round):
    w = beta**round
    rows = zip(expert, policy, strict=True)
    return [[math.pow(e, w) * math.pow(p, 1 - w) for e, p in zip(*row, strict=True)] for row in rows]


WRONG = {
    "cloning_loss": [
        (lambda z, a, w: -cloning_loss(z, a, w), "The sign is flipped: the loss falls"),
        (lambda z, a, w: np.mean(lost(z, a)), "You forgot the weights: a pair of weight 2"),
        (lambda z, a, w: sum(w * lost(z, a)) / len(w), "You divide by the number of pairs; divide"),
        (lambda z, a, w: w @ lost(z, a), "You return the sum; the loss is a weighted mean."),
        (lambda z, a, w: w / sum(w) * lost(z, a), "You return one loss for each pair; sum"),
        (lambda z, a, w: -np.average([z[n, a[n]] for n in range(len(a))], weights=w), "You use logits as if they were"),
        (lambda z, a, w: -np.average(np.exp(-lost(z, a)), weights=w), "You use probabilities; take their log"),
        (lambda z, a, w: math.log2(math.e) * cloning_loss(z, a, w), "You use logarithms to base 2; the book"),
        (
            lambda z, a, w: np.average(
                [math.log(sum(np.exp(z[:, a[n]]))) - z[n, a[n]] for n in range(len(a))], weights=w
            ),
            "Your softmax runs over the pairs; it runs",
        ),
        (lambda z, a, w: cloning_loss(z, [list(row).index(max(row)) for row in z], w), "You take the likeliest action"),
    ],
    "state_occupancy": [
        (lambda p, pi, d, t: state_occupancy(p, pi, d, t + 1)[1:], "You begin one step too late: d_1"),
        (uniform, "You forgot the policy: weigh each action"),
        (pushed_back, "You push values backwards: mass flows"),
        (lambda p, pi, d, t: np.sum(state_occupancy(p, pi, d, t), axis=0), "You return the sum over the steps; return"),
        (
            lambda p, pi, d, t: np.mean(state_occupancy(p, pi, d, t), axis=0),
            "You return the mean over the steps; return",
        ),
        (lambda p, pi, d, t: np.cumsum(state_occupancy(p, pi, d, t), axis=0), "You return running totals; return"),
        (lambda p, pi, d, t: np.transpose(state_occupancy(p, pi, d, t)), "You return states in the rows and steps"),
    ],
    "dagger_mixture": [
        (mixed(lambda beta, i: 1 - beta**i), "You swapped expert and policy: beta_i is"),
        (mixed(lambda beta, i: beta), "You forgot the round: beta_i = beta^i"),
        (mixed(lambda beta, i: beta ** (i - 1)), "You are one round behind: in round i"),
        (mixed(lambda beta, i: beta ** (i + 1)), "You are one round ahead: in round i"),
        (mixed(lambda beta, i: beta / i), "You divide beta by the round; the share"),
        (geometric, "You multiply powers of the two policies; the"),
        (lambda e, p, beta, i: p + beta**i * e, "It does not sum to 1: the policy has"),
        (lambda e, p, beta, i: beta**i * e + (1 - beta) ** i * p, "The share of the policy is 1 - beta^i, not"),
    ],
    "query_probability": [
        (lambda z, b: [1 - q for q in query_probability(z, b)], "You return the chance not to ask: small"),
        (lambda z, b: [1 / (b + margin(row)) for row in z], "You forgot b in the numerator: without"),
        (lambda z, b: query_probability(np.exp(z), b), "You take the margin of the probabilities; take"),
        (
            lambda z, b: [b / (b + max(row) - min(row)) for row in z],
            "You take the margin between the best and the worst",
        ),
        (lambda z, b: [b / (b + abs(row[1] - row[0])) for row in z], "You take the first two actions as they"),
        (lambda z, b: [b / (b - max(row)) for row in z], "You use the best log-probability alone"),
        (lambda z, b: [math.exp(-margin(row) / b) for row in z], "The chance falls too fast: it is"),
    ],
}

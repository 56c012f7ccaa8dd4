"""The exercises of the chapter "Soft values", solved and got wrong by a reader who likes loops."""

import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def lse(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def soft_backup(log_p, reward, following, price):
    return [
        [log_p[i][a] + reward[i][a] / price + lse(following[i][a]) for a in range(len(log_p[i]))]
        for i in range(len(log_p))
    ]


def psi_target(log_p, reward, psi, mask, price):
    found = np.zeros(log_p.shape)
    for i, row in enumerate(mask):
        length = int(sum(row))
        for t in range(length):
            found[i, t] = log_p[i, t] + (reward[i] / price if t == length - 1 else lse(psi[i, t + 1]))
    return found


def expectile_value(q, mu, tau):
    found = []
    for values, shares in zip(q, mu, strict=True):
        low, high = min(values), max(values)
        for _ in range(100):
            v = (low + high) / 2
            pull = sum(m * (1 - tau if x < v else tau) * (x - v) for x, m in zip(values, shares, strict=True))
            low, high = (v, high) if pull > 0 else (low, v)
        found.append((low + high) / 2)
    return found


def cql_loss(q, action, target, alpha):
    rows = [alpha * (lse(row) - row[a]) + (row[a] - y) ** 2 / 2 for row, a, y in zip(q, action, target, strict=True)]
    return sum(rows) / len(rows)


# Wrong ones.


def shifted(value):
    return np.concatenate([value[:, 1:], np.zeros((len(value), 1))], axis=1)


def ends(mask):
    return mask - shifted(mask)


def lse_last(values):
    return np.apply_along_axis(lse, -1, values)


def balance(q, mu, tau, steps):
    v = np.sum(mu * q, axis=-1)
    for _ in range(steps):
        weight = mu * np.where(q < v[:, None], 1 - tau, tau)
        v = np.sum(weight * q, axis=-1) / np.sum(weight, axis=-1)
    return v


def quantile(q, mu, tau):
    found = []
    for values, shares in zip(q, mu, strict=True):
        ranked = sorted(zip(values, shares, strict=True))
        below = np.cumsum([m for _, m in ranked])
        found.append(ranked[min(int(np.sum(below < tau)), len(ranked) - 1)][0])
    return found


def row(q, action):
    return q[np.arange(len(q)), action]


def paid(log_p, reward, mask, price):
    return mask * log_p + ends(mask) * reward[:, None] / price


def beyond(psi, mask):
    value = lse_last(psi)
    goes_on = np.concatenate([mask[:, 1:], np.ones((len(mask), 1))], axis=1)
    return mask * goes_on * np.concatenate([value[:, 1:], value[:, -1:]], axis=1)


def at_horizon(mask):
    return np.eye(mask.shape[1])[-1]


def error(q, action, target):
    return (row(q, action) - target) ** 2


def excess(q, action):
    return lse_last(q) - row(q, action)


WRONG = {
    "soft_backup": [
        (lambda p, r, f, c: p + r * c + lse_last(f), "The price divides the reward"),
        (lambda p, r, f, c: p + r + lse_last(f), "You forgot the price"),
        (lambda p, r, f, c: (p + r + lse_last(f)) / c, "You divide all of it"),
        (lambda p, r, f, c: r / c + lse_last(f), "You forgot the prior"),
        (lambda p, r, f, c: r / c + lse_last(f) - p, "The sign of log p"),
        (lambda p, r, f, c: p + r / c + f.max(-1), "You take the maximum"),
        (lambda p, r, f, c: p + r / c + f.mean(-1), "You take the mean"),
        (lambda p, r, f, c: p + r / c + np.exp(f).sum(-1), "You forgot the logarithm"),
        (lambda p, r, f, c: p + r / c + lse_last(f.swapaxes(-1, -2)), "You sum over the wrong axis"),
        (lambda p, r, f, c: p + r / c, "You forgot what follows"),
    ],
    "psi_target": [
        (
            lambda p, r, q, m, c: m * (paid(p, r, m, c) + shifted(lse_last(q))),
            "Something follows the last token in yours",
        ),
        (lambda p, r, q, m, c: paid(p, r, m, c) + beyond(q, m), "Something follows the horizon in yours"),
        (
            lambda p, r, q, m, c: p + paid(0, r, m, c) + shifted(m * lse_last(q)),
            "Behind the end the target is 0",
        ),
        (lambda p, r, q, m, c: paid(p, r, m, c) + shifted(m) * lse_last(q), "You use the value of the state itself"),
        (lambda p, r, q, m, c: paid(p, r, m, c) + shifted(m * q.max(-1)), "You take the maximum of the next values"),
        (
            lambda p, r, q, m, c: m * (p + r[:, None] / c) + shifted(m * lse_last(q)),
            "You pay the reward at every token",
        ),
        (
            lambda p, r, q, m, c: m * (p + at_horizon(m) * r[:, None] / c) + shifted(m * lse_last(q)),
            "You pay the reward at the horizon",
        ),
        (lambda p, r, q, m, c: paid(0, r, m, c) + shifted(m * lse_last(q)), "You forgot the prior"),
        (lambda p, r, q, m, c: paid(p, r, m, 1) + shifted(m * lse_last(q)), "You forgot the price"),
        (lambda p, r, q, m, c: (paid(p, r, m, 1) + shifted(m * lse_last(q))) / c, "You divide all of it"),
        (lambda p, r, q, m, c: paid(p, r, m, c), "You forgot what follows"),
    ],
    "expectile_value": [
        (lambda q, mu, tau: expectile_value(q, mu, 1 - tau), "Yours is the expectile of 1 - tau"),
        (lambda q, mu, tau: expectile_value(q, np.ones_like(mu), tau), "You forgot mu"),
        (lambda q, mu, tau: (mu * q).sum(-1), "You return the mean"),
        (quantile, "You return a quantile"),
        (lambda q, mu, tau: balance(q, mu, tau, 1), "One step from the mean is not enough"),
        (lambda q, mu, tau: q.max(-1), "You return the maximum"),
        (lambda q, mu, tau: (1 - tau) * (mu * q).sum(-1) + tau * q.max(-1), "You mix the mean with the maximum"),
    ],
    "cql_loss": [
        (lambda q, a, y, k: np.mean(k * excess(q, a) + error(q, a, y)), "You forgot the half"),
        (lambda q, a, y, k: np.mean(excess(q, a) + error(q, a, y) / 2), "You forgot alpha"),
        (lambda q, a, y, k: np.mean(error(q, a, y) / 2 - k * excess(q, a)), "The sign of the penalty is flipped"),
        (lambda q, a, y, k: np.mean(k * lse_last(q) + error(q, a, y) / 2), "You push everything down"),
        (lambda q, a, y, k: np.mean(k * (q.max(-1) - row(q, a)) + error(q, a, y) / 2), "You take the maximum"),
        (lambda q, a, y, k: np.mean(k * (q.mean(-1) - row(q, a)) + error(q, a, y) / 2), "You take the mean of Q"),
        (lambda q, a, y, k: np.sum(k * excess(q, a) + error(q, a, y) / 2), "You return the sum"),
        (lambda q, a, y, k: k * excess(q, a) + error(q, a, y) / 2, "You return one loss for each"),
        (lambda q, a, y, k: np.mean(k * excess(q, a)), "The penalty alone"),
        (lambda q, a, y, k: np.mean(excess(q, a) + k * error(q, a, y) / 2), "Alpha multiplies the penalty"),
        (
            lambda q, a, y, k: np.mean(k * excess(q, a) + (lse_last(q) - y) ** 2 / 2),
            "You regress log sum exp on the target",
        ),
    ],
}

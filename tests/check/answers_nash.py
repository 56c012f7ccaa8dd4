"""The exercises of the chapter "Preferences that no reward explains", solved and got wrong by a reader."""

import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def lse(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def earns(payoff, log_pi):
    return [sum(payoff[a][b] * math.exp(log_pi[b]) for b in range(len(log_pi))) for a in range(len(log_pi))]


def kl_of(p, q):
    return sum(math.exp(x) * (x - y) for x, y in zip(p, q, strict=True))


def exploitability(payoff, log_pi, log_pi_0, beta):
    f = earns(payoff, log_pi)
    opponent = beta * lse([prior + x / beta for prior, x in zip(log_pi_0, f, strict=True)])
    return opponent + beta * kl_of(log_pi, log_pi_0)


def mirror_step(payoff, log_pi, log_pi_0, beta, eta):
    f = earns(payoff, log_pi)
    moved = [log_pi[a] + eta * (f[a] / beta - log_pi[a] + log_pi_0[a]) for a in range(len(f))]
    return [x - lse(moved) for x in moved]


def circle_equilibrium(wins):
    found = []
    for ab, bc, ca in wins:
        total = ab + bc + ca - 1.5
        found.append([(bc - 0.5) / total, (ca - 0.5) / total, (ab - 0.5) / total])
    return found


def largest_step(payoff, log_pi, beta):
    root = np.diag(np.exp(np.asarray(log_pi) / 2))
    along = np.eye(len(log_pi)) - np.outer(root.diagonal(), root.diagonal())
    turn = along @ root @ payoff @ root @ along / beta  # antisymmetric: its norm is its spectral radius
    return 2 / (1 + np.linalg.norm(turn, 2) ** 2)


def kl_weights(log_ratio, mask):
    found = np.zeros(log_ratio.shape)
    for i, row in enumerate(log_ratio):
        length = int(mask[i].sum())
        for t in range(length):
            found[i, t] = sum(row[t:length])
    return found


# Mistakes.


def soft(log_pi_0, f, beta):
    return beta * lse(list(np.asarray(log_pi_0) + np.asarray(f) / beta))


def paid(p, q, beta):
    return beta * kl_of(p, q)


def normal(x):
    return np.asarray(x) - lse(list(x))


def best(g, p, q, beta):
    return normal(q + np.array(earns(g, p)) / beta)


def margins(w):
    return np.asarray(w) - 0.5


def shares(x):
    return x / x.sum(1)[:, None]


def radius(matrix):
    return max(abs(np.linalg.eigvals(matrix)))


def turning(g, p, beta):
    pi = np.exp(p)
    return (np.diag(pi) - pi[:, None] * pi) @ g / beta


def backwards(x, axis):
    return np.flip(np.cumsum(np.flip(x, axis), axis=axis), axis)


WRONG = {
    "exploitability": [
        (lambda g, p, q, b: soft(q, earns(g, p), b), "You forgot what the policy pays"),
        (lambda g, p, q, b: soft(q, earns(g, p), b) - paid(p, q, b), "The sign of the divergence"),
        (lambda g, p, q, b: soft(q, earns(g, p), b) + paid(q, p, b), "The divergence is the wrong way round"),
        (lambda g, p, q, b: soft(q, earns(g.T, p), b) + paid(p, q, b), "The opponent plays the wrong side"),
        (lambda g, p, q, b: max(earns(g, p)) + paid(p, q, b), "You take the maximum"),
        (lambda g, p, q, b: soft(q, earns(g, p), b) / b + paid(p, q, b), "You forgot beta before the logarithm"),
        (lambda g, p, q, b: soft(q, np.array(earns(g, p)) * b * b, b) + paid(p, q, b), "The price divides the payoff"),
        (lambda g, p, q, b: soft(q, np.array(earns(g, p)) * b, b) + paid(p, q, b), "You forgot the price inside"),
        (lambda g, p, q, b: soft(0 * q, earns(g, p), b) + paid(p, q, b), "You forgot pi_0 in the sum"),
        (lambda g, p, q, b: soft(q, earns(g, p), b) + kl_of(p, q), "You forgot beta before the divergence"),
        (lambda g, p, q, b: 2 * (soft(q, earns(g, p), b) + paid(p, q, b)), "That is both players'"),
    ],
    "mirror_step": [
        (lambda g, p, q, b, e: best(g, p, q, b), "You go all the way"),
        (lambda g, p, q, b, e: normal(e * p + (1 - e) * best(g, p, q, b)), "The shares are the wrong way round"),
        (
            lambda g, p, q, b, e: np.log((1 - e) * np.exp(p) + e * np.exp(best(g, p, q, b))),
            "You mix probabilities",
        ),
        (lambda g, p, q, b, e: (1 - e) * p + e * best(g, p, q, b), "You forgot to normalise"),
        (lambda g, p, q, b, e: normal((1 - e) * p + e * np.array(earns(g, p)) / b), "You forgot pi_0"),
        (lambda g, p, q, b, e: normal(p + e * np.array(earns(g, p)) / b), "That is a step without a price"),
        (lambda g, p, q, b, e: normal(p + e * best(g, p, q, b)), "You forgot that the old policy fades"),
        (lambda g, p, q, b, e: normal((1 - e) * p + e * best(g.T, p, q, b)), "The payoff is the wrong way round"),
        (lambda g, p, q, b, e: normal((1 - e) * p + e * best(g, p, q, 1)), "You forgot the price"),
        (lambda g, p, q, b, e: normal((1 - e) * p + e * best(g, q, q, b)), "Your opponent is pi_0"),
        (lambda g, p, q, b, e: np.exp(normal((1 - e) * p + e * best(g, p, q, b))), "You return probabilities"),
    ],
    "circle_equilibrium": [
        (lambda w: shares(margins(w)), "Each answer has its own margin over the next"),
        (lambda w: shares(margins(w)[:, [2, 0, 1]]), "Each answer has the margin by which it loses"),
        (lambda w: 0 * w + 1 / 3, "That is right for equal margins only"),
        (lambda w: shares(w[:, [1, 2, 0]]), "You weigh with the win rates"),
        (lambda w: shares(-np.log(1 / w - 1)[:, [1, 2, 0]]), "That is the equilibrium for log-odds"),
        (lambda w: margins(w)[:, [1, 2, 0]], "You forgot to normalise"),
        (lambda w: margins(w)[:, [1, 2, 0]] / margins(w).sum(), "You normalise over all circles"),
        (lambda w: np.eye(3)[np.argmax(w - w[:, [2, 0, 1]], axis=1)], "You give all to the answer"),
    ],
    "largest_step": [
        (lambda g, p, b: 1 / (1 + radius(turning(g, p, b)) ** 2), "That is the best step"),
        (lambda g, p, b: 2 / (1 + radius(turning(g, p, b))), "You forgot the square"),
        (lambda g, p, b: 2 / (1 + radius(turning(g, p, 1)) ** 2), "You forgot the price"),
        (lambda g, p, b: 2 / (1 + radius(turning(g, p, 1 / b)) ** 2), "You multiply the payoff by the price"),
        (lambda g, p, b: 2 / (1 + radius(np.exp(p)[:, None] * g / b) ** 2), "You forgot - pi pi'"),
        (lambda g, p, b: 2 / (1 + np.linalg.svd(turning(g, p, b))[1].max() ** 2), "You take the largest singular"),
        (lambda g, p, b: 2 / (1 + radius(g / b) ** 2), "You forgot pi:"),
        (lambda g, p, b: 2 / (1 - radius(turning(g, p, b)) ** 2), "Your eigenvalues count as real"),
    ],
    "kl_weights": [
        (lambda r, m: r * m, "That is the loss as it was"),
        (lambda r, m: backwards(r, 1), "You forgot the mask"),
        (lambda r, m: m * np.cumsum(r * m, axis=1), "You sum from the front"),
        (lambda r, m: m * backwards(r * m, 1) - r * m, "Its own log-ratio"),
        (lambda r, m: m * (r * m).sum(1)[:, None], "Each token gets the whole sum"),
        (lambda r, m: -m * backwards(r * m, 1), "The sign is flipped"),
        (lambda r, m: m * backwards(r * m, 1) / np.maximum(backwards(m, 1), 1), "You take the mean of what follows"),
        (lambda r, m: m * backwards(r * m, 0), "You sum over the batch"),
    ],
}

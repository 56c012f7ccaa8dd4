"""The exercises of "From a reward model to a better model", solved and got wrong by a reader who likes loops."""

import math

import numpy as np
from answers_ppo import high, softmax


def rows(function):
    """A function of (N, A) arrays and beta, from one of single rows."""
    return lambda *arguments: np.array([function(*row, arguments[-1]) for row in zip(*arguments[:-1], strict=True)])


def best(q, r, b):
    return np.log(softmax(q + r / b))


def value(p, q, r, b):
    return sum(math.exp(x) * (z - b * (x - y)) for x, y, z in zip(p, q, r, strict=True))


gibbs_gap = rows(lambda p, q, r, b: value(best(q, r, b), q, r, b) - value(p, q, r, b))


def best_of_n(policy, reward, n):
    """Walk through the answers from the worst to the best, and see how the chance that all draws lie below grows."""
    found, below = np.zeros(len(policy)), 0.0
    for i in np.argsort(reward):
        found[i] = (below + policy[i]) ** n - below**n
        below += policy[i]
    return found


def kl(p, q):
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def best_of_n_kl(policy, reward, n):
    return kl(best_of_n(policy, reward, n), policy)


WRONG = {
    "gibbs_gap": [
        (
            rows(lambda p, q, r, b: b * kl(np.exp(best(q, r, b)), np.exp(p))),
            "You computed KL(pi* || pi), the other direction",
        ),
        (lambda p, q, r, b: gibbs_gap(p, q, r, b) / b, "You forgot beta: the gap is in units of reward"),
        (rows(lambda p, q, r, b: b * kl(np.exp(p), np.exp(q))), "You measured the divergence from the reference"),
        (rows(lambda p, q, r, b: b * kl(np.exp(p), np.exp(q + r / b))), "Your pi* is not normalised: subtract log Z."),
        (rows(lambda p, q, r, b: b * kl(np.exp(p), softmax(q + r * b))), "Your pi* multiplies the reward by beta; div"),
        (rows(value), "You return the value of pi; subtract it from"),
        (rows(lambda p, q, r, b: value(best(q, r, b), q, r, b)), "You return the value of pi*; subtract the value"),
        (lambda p, q, r, b: -gibbs_gap(p, q, r, b), "The sign is flipped: no policy is better than"),
        (
            rows(lambda p, q, r, b: np.exp(best(q, r, b)) @ r - np.exp(p) @ r),
            "You compare rewards alone; the price of divergence",
        ),
    ],
    "best_of_n_kl": [
        (lambda p, r, n: math.log(n) - 1 + 1 / n, "You return the bound, log n - (n - 1) / n; the divergence"),
        (lambda p, r, n: math.log(n), "You return log n; that is more than"),
        (lambda p, r, n: kl(p, best_of_n(p, r, n)), "You computed KL(pi || pi_n), the other direction"),
        (lambda p, r, n: kl(best_of_n(p, -r, n), p), "You keep the worst of n; the best has a reward"),
        (lambda p, r, n: kl(n * p * high(p, r) ** (n - 1), p), "You took n pi F^(n - 1), which sums to more than 1:"),
        (lambda p, r, n: kl(softmax(n * np.log(p)), p), "You raise the policy to the power n and normalise"),
        (lambda p, r, n: sum(np.log(best_of_n(p, r, n)) - np.log(p)), "You forgot the weights: it is a mean under"),
        (lambda p, r, n: math.log2(math.exp(best_of_n_kl(p, r, n))), "You use logarithms to base 2; the book"),
        (lambda p, r, n: best_of_n_kl(p, r, n + 1), "You used one draw too many: F^(n + 1)"),
    ],
}

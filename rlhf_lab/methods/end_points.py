"""Where policy gradients with a changed price or credit come to rest: exact end points, by sweeps over the tree.

Beside the chapters "RLHF with policy gradients" and "PPO, and how to watch it"; functions stand in the order of
their equations.

    pi policy    pi_0 reference    R reward    beta KL weight    s state    Q what a token earns    V value

A policy that can be anything (a table) is at rest there in the mean over samples. Levels are those of `token_mdp`.
"""

from collections.abc import Callable

import numpy as np

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.weighted import expectation

Levels = list[Array]


def entropy_bonus(levels: Levels, rewards: Levels, beta: float, weight: float) -> Levels:
    """pi(a | s) prop. to (pi_0(a | s)^beta exp(Q(s, a)))^(1 / (beta + w)), Q with the price but no entropy to come.

    Where J_beta with w times the entropy of each next token ends (eq-entropy-bonus); for w = 0 the Gibbs policy.
    """
    full = checks.positive("beta", beta) + checks.not_negative("weight", weight, "w, what a nat of entropy is paid")

    def rest(t: int, q: Array) -> Array:
        return tilt(beta / full * levels[t], q, full)

    return _sweep(levels, rewards, rest, lambda t, log_pi, q: q - beta * (log_pi - levels[t]))


def forward_price(log_pi_0: Array, earned: Array, beta: float) -> Array:
    """log pi of pi = beta pi_0 / (lambda - R), lambda > max R from the sum, (..., A).

    The optimum of E_pi[R] - beta KL(pi_0 || pi), where k_3 of the answer as a loss ends (eq-k3-end).
    """
    low = np.max(earned + checks.positive("beta", beta) * np.exp(log_pi_0), axis=-1, keepdims=True)
    high = np.max(earned, axis=-1, keepdims=True) + beta
    for _ in range(60):  # the sum falls in lambda; it is at least 1 at `low` and at most 1 at `high`
        middle = (low + high) / 2
        above = np.sum(beta * np.exp(log_pi_0) / (middle - earned), axis=-1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return log_pi_0 + np.log(beta) - np.log(high - earned)


def tilt(log_pi_0: Array, earned: Array, beta: float) -> Array:
    """log pi of pi prop. to pi_0 exp(Q / beta), the best of E_pi[Q] - beta KL(pi || pi_0), (..., V)."""
    return log_softmax(log_pi_0 + earned / checks.positive("beta", beta))


def local_price(levels: Levels, rewards: Levels, beta: float, rest: Callable[..., Array] = tilt) -> Levels:
    """pi(a | s) prop. to pi_0(a | s) exp(Q(s, a) / beta), Q without the price to come.

    Where k_2 of each token as a loss ends, for no token answers for the divergence that follows it (eq-local-price).
    With `rest=forward_price` it is the end of k_3 of each token. Levels (K, W^t, V) of reference and rewards.
    """
    return _sweep(levels, rewards, lambda t, q: rest(levels[t], q, beta), lambda t, log_pi, q: q)


def without_price(log_pi_0: Array, reward: Array) -> Array:
    """log pi_0 given that the reward is the highest, (..., A) (eq-raft-end).

    The limit of exact RAFT, and of Gibbs policies for beta to 0. Of all policies that say only answers of the highest
    reward it is the nearest to pi_0, and to every Gibbs policy.
    """
    best = reward == np.max(reward, axis=-1, keepdims=True)
    return log_softmax(np.where(best, log_pi_0, -1e6))


def early_reward(levels: Levels, rewards: Levels, beta: float) -> Levels:
    """Return the end of a policy whose reward is paid one token early: the token that ends an answer earns nothing.

    Earlier tokens earn reward and price of what follows them.
    """

    def credit(t: int, q: Array) -> Array:
        last = t + 1 == len(levels)
        earned = np.zeros_like(q) if last else np.concatenate([q[..., :-1], np.zeros_like(q[..., -1:])], axis=-1)
        return tilt(levels[t], earned, beta)

    return _sweep(levels, rewards, credit, lambda t, log_pi, q: q - beta * (log_pi - levels[t]))


def late_advantages(levels: Levels, rewards: Levels, beta: float) -> Levels:
    """Return the end of a policy whose advantages come one token late: the first token never learns.

    All others follow the Gibbs policy, given the first.
    """

    def credit(t: int, q: Array) -> Array:
        return tilt(levels[t], q, beta) if t else levels[0]

    return _sweep(levels, rewards, credit, lambda t, log_pi, q: q - beta * (log_pi - levels[t]))


def _sweep(levels: Levels, rewards: Levels, rest: Callable[..., Array], earn: Callable[..., Array]) -> Levels:
    """From the last token to the first: `rest(t, q)` is the policy, the mean of `earn(t, log_pi, q)` its value."""
    found: Levels = []
    value = np.zeros(0)
    for t in reversed(range(len(levels))):
        q = rewards[t].copy()
        if found:
            words = value.reshape(*q.shape[:-1], -1)
            q[..., : words.shape[-1]] += words
        found.insert(0, rest(t, q))
        value = expectation(found[0], earn(t, found[0], q))
    return found

"""Sums over all texts that an automaton can write, too many to list: one sweep back, or one sweep forth.

    K automata, over the same states    S states, the first is 0    V symbols, the last ends a text    T horizon
    p(w, s) probability of a symbol    s' = following(s, w)    F(s) value of a text that ends in s    h values

The state is a function of the symbols, so each text has one path, and a sum over texts is a sum over paths. A text of T
symbols stops, too. Arrays are `log_p` (K, S, V) and `following` (K, S, V). Logarithms of sums are taken without
overflow, in float64. Automata are swept one after the other: what a sweep works on stays in the cache.
"""

from typing import NamedTuple

import numpy as np

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array


def product(first: Array, second: Array) -> Array:
    """Return `following` (K, S Q, V) of the pairs of states of two automata (K, S, V) and (K, Q, V): s Q + q."""
    (_, states, _), (automata, others, symbols) = np.shape(first), np.shape(second)
    pairs = np.asarray(first)[:, :, None, :] * others + np.asarray(second)[:, None, :, :]
    return np.reshape(pairs, (automata, states * others, symbols))


class Law(NamedTuple):
    """Where texts are and where they end: `reached` (K, T, S) before symbol t + 1, `ended` (K, T, S) with it.

    `cut` (K, S) is where texts stop that the horizon cuts off. `entropy` (K,) is that of the texts, `kl` (K,) their
    divergence from p, both in nats.
    """

    reached: Array
    ended: Array
    cut: Array
    entropy: Array
    kl: Array


def law(log_p: Array, following: Array, values: Array) -> Law:
    """Follow the probability of all texts at once: p tilted by `values` (K, T + 1, S), p itself where they are 0
    (eq-forward).

    After t symbols the tilted policy is p(w, s) e^h_(t+1)(s') over its sum, and p(end, s) e^h_T(s) for the end.
    Its entropy and its divergence from p are those of its choices, each weighted by how often it is made.
    """
    automata, levels, states = np.shape(values)
    texts = automata, levels - 1, states
    found = Law(np.zeros(texts), np.zeros(texts), np.zeros((automata, states)), np.zeros(automata), np.zeros(automata))
    for k, (h, p, after) in enumerate(zip(values, log_p, following, strict=True)):
        p, after = np.ascontiguousarray(p.T), np.ascontiguousarray(after.T)
        reached = _at_start(states)
        for t in range(levels - 1):
            weight = p + _ahead(h, after, t)
            weight -= weight.max(0)
            weight -= np.log(np.exp(weight).sum(0))
            flow = np.exp(weight) * reached
            found.reached[k, t], found.ended[k, t] = reached, flow[-1]
            found.entropy[k] -= np.vdot(flow, weight)
            found.kl[k] += np.vdot(flow, weight - p)
            reached = checks.tally(after[:-1].ravel(), flow[:-1].ravel(), states)
        found.cut[k] = reached
    return found


def soft_values(log_p: Array, following: Array, final: Array, cost: float, horizon: int) -> Array:
    """h_t(s): the log of the mean of e^(F - c n) over what may follow t symbols and the state s, (K, T + 1, S).

    h_T = F, and h_t(s) = log [p(end, s) e^F(s) + sum_w p(w, s) e^h_(t+1)(s')] - c (eq-soft-sweep). `final` is F (K, S),
    `cost` is c, n counts the symbols that follow, the last included. Baum et al. 1970 (the backward pass).
    """
    checks.horizon(horizon)
    values = np.empty((len(log_p), horizon + 1, np.shape(log_p)[1]))
    values[:, -1] = final
    for h, p, after in zip(values, log_p, following, strict=True):
        p, after = np.ascontiguousarray(p.T), np.ascontiguousarray(after.T)  # sums over a short last axis are slow
        for t in reversed(range(horizon)):
            weight = p + _ahead(h, after, t)
            top = weight.max(0)
            h[t] = np.log(np.exp(weight - top).sum(0)) + top - cost
    return values


def _at_start(states: int) -> Array:
    found = np.zeros(states)
    found[0] = 1.0
    return found


def _ahead(values: Array, after: Array, t: int) -> Array:
    onward = np.take(values[t + 1], after)
    onward[-1] = values[-1]
    return onward


def count(allowed: Array, following: Array, horizon: int) -> Array:
    """Return how many texts of at most `horizon` symbols come to an end by allowed symbols alone, (K,).

    `allowed` (K, S, V) is True where a symbol may be said. The end counts as a symbol. Exact up to 2^53.
    """
    found = np.zeros(len(allowed))
    for k, (may, after) in enumerate(zip(allowed, following, strict=True)):
        texts = _at_start(len(may))
        for _ in range(checks.horizon(horizon)):
            found[k] += texts @ may[:, -1]
            texts = checks.tally(after[:, :-1].ravel(), (texts[:, None] * may[:, :-1]).ravel(), len(texts))
    return found

"""Where GRPO with verified answers comes to rest, and what is counted on the way: exact, for rewards of 0 and 1.

Beside the chapters "Verifiable rewards" and "Answers that are no longer fresh"; functions stand in the order of their
equations.

    p chance to be right    k answers to a prompt    A advantage    w(p) weight of a prompt    beta KL weight
    pi policy    pi_0 reference    |y| tokens of an answer, its end included

A policy is a table here, one prompt at a time: levels (1, W^t, V) as in `token_mdp`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logsumexp

from rlhf_lab.methods import end_points
from rlhf_lab.methods.policy_gradient import Advantages
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.weighted import expectation
from rlhf_lab.worlds import token_mdp

Levels = list[Array]
Rest = Callable[[Array, Array, Array, float], Array]  # log pi_0, F, L and beta, to log pi, all (..., V)


class End(NamedTuple):
    """A point of rest: p, whether the flow comes back to it, and the policy, log pi of each answer (A,)."""

    p: float
    stable: bool
    log_pi: Array


def expected_advantage(advantages: Advantages, p: Array, k: int) -> tuple[Array, Array]:
    """E[A | the answer is right] and E[A | it is wrong] in groups of k, (...) to two (...) (eq-expected-advantage).

    How many of the k - 1 others are right follows the binomial. Raises `ValueError` for groups of one.
    """
    if k < 2:
        raise ValueError(f"a group has at least 2 answers; got {k}")
    from scipy.stats import binom  # only who takes an expectation waits for it

    a = advantages(np.tril(np.ones((k + 1, k)), -1))  # none right, one, ..., all k
    others = binom.pmf(np.arange(k), k - 1, np.asarray(checks.share("p", p))[..., None])
    return np.sum(others * a[1:, 0], axis=-1), np.sum(others * a[:-1, -1], axis=-1)


def difficulty_weight(advantages: Advantages, p: Array, k: int) -> Array:
    """w(p) with E[gradient] = w(p) grad p on fresh answers: what a prompt counts, (...) (eq-difficulty-weight).

    1 for RLOO, (k - 1) / k with the own answer in the mean.
    """
    right, wrong = expected_advantage(advantages, p, k)
    return right - wrong


def answer_ends(log_pi_0: Array, right: Array, advantages: Advantages, k: int, beta: float) -> list[End]:
    """Points of rest with the divergence of whole answers as the price: logit p = logit p_0 + w(p) / beta
    (eq-answer-end).

    Each is the reference, tilted towards right answers (A,). With RLOO it is the Gibbs policy. If advantages are
    divided by a deviation there may be several, some of them next to p = 1, which itself is none: w(1) is finite.
    Raises `ValueError` if the reference is never right, or always.
    """
    first = _odds(log_pi_0, right)
    if not np.isfinite(first):
        raise ValueError("the reference must be right sometimes, and sometimes wrong: nothing else can be learned from")

    def pull(z: Array) -> Array:
        return difficulty_weight(advantages, expit(z), k) / beta

    return [
        End(float(expit(z)), stable, end_points.tilt(log_pi_0, right * pull(np.array(z)), 1.0))
        for z, stable in _crossings(lambda z: first + pull(z))
    ]


def forward_rest(log_pi_0: Array, f: Array, length: Array, beta: float) -> Array:
    """log pi of pi = beta L pi_0 / (beta L + c - F), c from the sum: k_3 in the loss (eq-forward-rest)."""

    def policy(c: Array) -> Array:
        left = beta * length + c - f
        return log_pi_0 + np.log(beta * length) - np.log(np.where(left > 0, left, 1e-300))

    return _of_sum(policy, f)


def reverse_rest(log_pi_0: Array, f: Array, length: Array, beta: float) -> Array:
    """log pi of pi prop. to pi_0 exp((F - c) / (beta L)), c from the sum: k_3 times the ratio (eq-reverse-rest)."""
    return _of_sum(lambda c: log_pi_0 + (f - c) / (beta * length), f)


def _of_sum(policy: Callable[[Array], Array], f: Array) -> Array:
    """The policy whose probabilities sum to 1. They fall in c: none is above pi_0 at the largest F, none below it at
    the smallest.
    """
    low, high = np.min(f, axis=-1, keepdims=True), np.max(f, axis=-1, keepdims=True)
    for _ in range(60):
        middle = (low + high) / 2
        above = np.sum(np.exp(np.minimum(policy(middle), 300.0)), axis=-1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return policy(high)


def token_ends(
    levels: Levels, right: Array, advantages: Advantages, k: int, beta: float, rest: Rest, *, by_length: bool
) -> list[End]:
    """Points of rest with a price of each token in the loss; `by_length` means over the tokens of an answer
    (eq-token-end).

    `levels` is the reference, `right` (A,) the verdicts in the order of `lm.enumerate_responses`; `rest` is
    `forward_rest` for k_3 or `reverse_rest` for k_3 times the ratio. Given p, F(s, a) = E[A / |y|] and L(s, a) = E[1 /
    |y|] of what follows are known from the end backwards; p is then found so that the policy has it.
    """
    words, horizon = levels[-1].shape[-1] - 1, len(levels)
    length = np.concatenate([np.full(words**t, min(t + 1, horizon)) for t in range(horizon + 1)])
    share = 1 / length if by_length else np.ones(len(length))

    def swept(p: Array) -> Array:  # (G,) to (G, A)
        up, down = expected_advantage(advantages, p[:, None], k)
        paid = share * np.where(right == 1, up, down)
        value, weight = (
            token_mdp.terminal_rewards(each, words + 1, horizon, words)
            for each in (paid, np.broadcast_to(share, paid.shape))
        )
        found: Levels = []
        behind: tuple[Array, Array] = (np.zeros(0), np.zeros(0))
        for t in reversed(range(horizon)):
            f, size = value[t].copy(), weight[t].copy()
            if found:
                f[..., :words] = behind[0].reshape(*f.shape[:-1], words)
                size[..., :words] = behind[1].reshape(*f.shape[:-1], words)
            found.insert(0, rest(levels[t], f, size, beta))
            behind = expectation(found[0], f), expectation(found[0], size)
        return lm.answers_of_levels(found, words)

    crossings = _crossings(lambda z: _odds(swept(expit(z)), right))
    return [End(float(expit(z)), stable, swept(expit(np.array([z])))[0]) for z, stable in crossings]


def _odds(log_pi: Array, right: Array) -> Array:
    """log P(right) - log P(wrong), exact however near to 0 or 1 that is."""
    return np.asarray(logsumexp(log_pi, b=right, axis=-1) - logsumexp(log_pi, b=1 - right, axis=-1))


def _crossings(odds: Callable[[Array], Array]) -> list[tuple[float, bool]]:
    """All z with F(z) = z that a fine grid separates, F from and to log-odds, and whether F - z falls there.

    F is bounded, so that its points of rest lie between its least and its greatest value, however near p is to 1.
    """
    from scipy.optimize import brentq  # only who looks for crossings waits for it

    reach = odds(np.linspace(-40, 40, 33))
    grid = np.linspace(np.min(reach) - 1, np.max(reach) + 1, 97)
    gap = odds(grid) - grid
    above = gap > 0  # and not the sign, which is 0 where the grid meets a point of rest
    return [
        (float(brentq(lambda z: odds(np.array([z]))[0] - z, *grid[i : i + 2], xtol=1e-13)), bool(above[i]))
        for i in np.flatnonzero(above[:-1] != above[1:])
    ]


def pass_at_k(p: Array, k: int) -> Array:
    """1 - (1 - p)^k, the chance that one of k answers is right, (...) (eq-pass-at-k). Chen et al. 2021."""
    return 1 - (1 - checks.share("p", p)) ** checks.count("k", k, "the number of answers that are tried")


def pass_estimate(right: Array, n: int, k: int) -> Array:
    """1 - C(n - c, k) / C(n, k) from c right ones among n answers, unbiased for k <= n: (...) (eq-pass-estimate).

    Chen et al. 2021. Raises `ValueError` unless 0 <= c <= n and 1 <= k <= n.
    """
    right = np.asarray(right)
    if not 1 <= k <= n:
        raise ValueError(f"pass@k is estimated from at least k answers: 1 <= k <= n; got k = {k} and n = {n}")
    wrong = ~((right >= 0) & (right <= n) & (right == np.round(right)))
    if wrong.any():
        raise ValueError(f"of {n} answers between 0 and {n} are right, a whole number; got {right[wrong].flat[0]}")
    left = n - right[..., None] - np.arange(k)
    return 1 - np.prod(np.maximum(left, 0) / (n - np.arange(k)), axis=-1)


def effective_share(log_weight: Array) -> Array:
    """(sum w)^2 / (N sum w^2) in (0, 1]: the share of N weighted answers (..., N) that counts (eq-effective-share).

    Raises `ValueError` if a log-weight is NaN or infinite, or if all weights are 0.
    """
    most = np.max(log_weight, axis=-1, keepdims=True)
    if not np.isfinite(most).all():
        raise ValueError("log-weights must hold no NaN and no infinity, and one at least that is not -inf")
    w = np.exp(log_weight - most)
    return np.sum(w, axis=-1) ** 2 / (w.shape[-1] * np.sum(w**2, axis=-1))


def mixed_share(p: Array, k: int) -> Array:
    """1 - p^k - (1 - p)^k, the share of groups that are neither all right nor all wrong (eq-mixed-share)."""
    with np.errstate(divide="ignore"):
        return -np.expm1(k * np.log1p(-np.asarray(checks.share("p", p)))) - np.power(p, k)

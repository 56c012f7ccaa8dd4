"""Whose preferences? One policy for several kinds of people, what each of them loses, and three measures of pluralism.

Beside the chapter of the same name; functions stand in the order of its equations.

    z kind of person, one of Z    w_z its share    r_z its reward    pi_z Gibbs policy of r_z, what kind z should get
    pi_0 reference    beta price of a nat, above 0    p linear pool    s signal about a person    u utility
    c_z bar, the reward from which on an answer serves z

Rewards and log-probabilities are (Z, ..., A) over A answers, shares (Z,); the axes between (prompts, seeds) broadcast.
"""

from typing import NamedTuple

import numpy as np

from rlhf_lab.models import gibbs
from rlhf_lab.models.lm import kl
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax

STEPS = 1_000  # of the fixed-point iteration
STILL = 1e-12  # nats by which the policy may still move when it stops
NOTHING = 1e-200  # a probability that goes on falling


def mean_reward(rewards: Array, shares: Array) -> Array:
    """sum_z w_z r_z(y), (Z, ..., A) to (..., A): what a crowd of raters gives an answer on average."""
    return np.tensordot(of_kinds(shares, rewards), rewards, axes=1)


def of_kinds(shares: Array, values: Array) -> Array:
    """Return `shares` (Z,) as floats if they sum to 1 and there is one for each of the first axis of `values`."""
    shares = checks.probabilities("shares", shares)
    if shares.ndim != 1 or shares.shape != np.shape(values)[:1]:
        raise ValueError(
            f"shares must be (Z,), one for each kind of person, the first axis of the other argument; got "
            f"{shares.shape} for {np.shape(values)}"
        )
    return shares


def log_pool(log_pi: Array, shares: Array) -> Array:
    """log of prod_z pi_z(y)^w_z, normalised: (Z, ..., A) to (..., A) (eq-log-pool).

    The Gibbs policy of the mean reward, and of all policies q the one with the least sum_z w_z KL(q || pi_z).
    Genest and Zidek 1986.
    """
    return log_softmax(mean_reward(_log_probs(log_pi), shares))


def linear_pool(log_pi: Array, shares: Array) -> Array:
    """log of p(y) = sum_z w_z pi_z(y): what the population says, if each person says what suits it (eq-linear-pool)."""
    return np.log(mean_reward(np.exp(_log_probs(log_pi)), shares))


def value_of_knowing(log_pi: Array, shares: Array, beta: float) -> Array:
    """-beta log sum_y prod_z pi_z(y)^w_z, (...): what is gained if the policy is told who asks (eq-value-of-knowing).

    It is beta (sum_z w_z log Z_z - log Z of the mean reward), and beta sum_z w_z KL(log pool || pi_z), what the log
    pool loses. Any other q loses beta KL(q || log pool) more (eq-unsteered). `log_pi` are the Gibbs policies pi_z of
    price beta.
    """
    pooled = mean_reward(_log_probs(log_pi), shares)
    top = np.max(pooled, axis=-1)
    return -checks.positive("beta", beta) * (top + np.log(np.sum(np.exp(pooled - top[..., None]), axis=-1)))


def value_of_signal(log_pi: Array, shares: Array, channel: Array, beta: float) -> Array:
    """Return what a signal about the person is worth, (...): 0 if it tells nothing, all of the above if it tells all.

    The value of knowing, less its mean under what is left to know: posterior shares w_z P(s | z) / P(s)
    (eq-value-of-signal). `channel` (Z, S) is P(s | z), its rows sum to 1.
    """
    joint = _joint(of_kinds(shares, log_pi), channel)
    left = value_of_knowing(log_pi, shares, beta)
    for column in joint.T[joint.sum(0) > 0]:
        left = left - column.sum() * value_of_knowing(log_pi, column / column.sum(), beta)
    return left


def misheard(log_pi: Array, log_ideal: Array, shares: Array, channel: Array, beta: float) -> Array:
    """beta sum_z w_z sum_s P(s | z) KL(pi(. | s) || pi_z), (...): what people lose if the policy is told s, which may
    be wrong (eq-wrong-signal).

    `log_pi` (S, ..., A) is what the policy says when it is told s, `log_ideal` (Z, ..., A) is pi_z, `channel` (Z, S) is
    P(s | z). The log pools of the posterior shares lose least: the value of knowing less the value of the signal.
    """
    joint = _joint(of_kinds(shares, log_ideal), channel)
    if len(log_pi) != joint.shape[1]:
        raise ValueError(
            f"log_pi must be (S, ..., A), a policy for each of {joint.shape[1]} signals; got {len(log_pi)}"
        )
    far = kl(_log_probs(log_pi)[None], _log_probs(log_ideal)[:, None])
    return checks.positive("beta", beta) * np.tensordot(joint, far, axes=2)


def overton(log_pi: Array, rewards: Array, bars: Array, shares: Array) -> Array:
    """sum_y pi(y) sum_z w_z [r_z(y) >= c_z], (...): the share of people that an answer serves (eq-overton).

    `log_pi` (..., A) is one policy for all, or (Z, ..., A) if `rewards` (Z, ..., A) has as many axes: then each kind
    hears its own. `bars` (Z, ...) are c_z. After Sorensen et al. 2024.
    """
    served = np.where(rewards >= np.asarray(bars)[..., None], 1.0, 0.0)
    return mean_reward(np.sum(np.exp(log_pi) * served, axis=-1), shares)


def steerable(log_pi: Array, log_ideal: Array, shares: Array, beta: float) -> Array:
    """beta sum_z w_z KL(pi(. | z) || pi_z), (...): what people lose, on average, against their own best (eq-steerable).

    `log_pi` is (Z, ..., A) if the policy is told who asks, and (..., A) if it is not; `log_ideal` (Z, ..., A) is pi_z.
    """
    return checks.positive("beta", beta) * mean_reward(kl(log_pi, _log_probs(log_ideal)), shares)


def distributional(log_pi: Array, log_ideal: Array, shares: Array) -> Array:
    """KL(p || pi), (...), from the linear pool p to the policy (..., A): whom does it leave out? (eq-distributional)"""
    return kl(linear_pool(log_ideal, shares), log_pi)


def disagreement(log_pi: Array, shares: Array) -> Array:
    """sum_z w_z KL(pi_z || p), (...): the Jensen-Shannon divergence, how much who asks tells of the answer.

    sum_z w_z KL(pi_z || q) is this and KL(p || q), for every q (eq-jensen-shannon). Lin 1991.
    """
    return mean_reward(kl(log_pi, linear_pool(log_pi, shares)), shares)


def inclusive_rest(matrix: Array) -> Array:
    """Return log pi (A,) where ILHF is at rest, pi prop. to e^u with sum_b pi_b (P[a, b] - sigmoid(u_a - u_b)) = 0.

    That is eq-utility-borda with opponents that the policy itself draws (eq-inclusive-rest). If each of several kinds
    of people chooses as Bradley and Terry say, their mixture does not, and this is not the linear pool. The iteration
    is that of Hunter 2004. Raises `ValueError` if it does not come to rest: some answers always lose.
    """
    matrix = checks.preference_matrix(matrix)
    pi = np.full(len(matrix), 1 / len(matrix))
    for _ in range(STEPS):
        moved = matrix @ pi / np.sum(pi / (pi[:, None] + pi), axis=-1)
        moved = moved / np.sum(moved)
        far = np.abs(np.log(moved / pi)).max()
        pi = moved
        if far < STILL:
            return np.log(pi)
        if np.min(pi) < NOTHING:
            break
    raise ValueError(f"no rest: some answers (almost) always lose; their probability has fallen to {np.min(pi):.0e}")


def lower_quantile(rewards: Array, shares: Array, level: float) -> Array:
    """Return the least reward r such that a share of at least `level` of people give the answer r or less
    (eq-lower-quantile).

    (Z, ..., A) to (..., A). With a small level a policy avoids what some people dislike: Siththaranjan et al. 2024 call
    it risk-averse.
    """
    shares = of_kinds(shares, rewards)
    if not 0 < level <= 1:
        raise ValueError(f"level is a share of people, above 0 and at most 1; got {level}")
    order = np.argsort(rewards, axis=0)
    below = np.cumsum(shares[order], axis=0)
    place = np.argmax(below >= level - 1e-12, axis=0)
    return np.take_along_axis(np.take_along_axis(rewards, order, axis=0), place[None], axis=0)[0]


class MaxMin(NamedTuple):
    """The policy that is best for whoever is worst off: log pi (A,), weights (Z,) of the kinds, and its worth."""

    log_pi: Array
    weights: Array
    value: float


def max_min(log_pi_0: Array, rewards: Array, beta: float) -> MaxMin:
    """max_pi min_z E_pi[r_z] - beta KL(pi || pi_0) = min_w beta log sum_y pi_0 exp(sum_z w_z r_z / beta) (eq-max-min).

    The policy is the Gibbs policy of the least favourable mixture: kinds with w_z > 0 all get the same, others more.
    `log_pi_0` (A,), `rewards` (Z, A), and they have to be comparable between kinds: see `anchored`. Chakraborty
    et al. 2024.
    """
    rewards = np.asarray(rewards, dtype=float)
    if rewards.ndim != 2:
        raise ValueError(f"rewards must be (Z, A), a row for each kind of person; got {rewards.shape}")

    def dual(weights: Array) -> tuple[float, Array]:
        mixed = weights @ rewards
        pi = np.exp(gibbs.log_policy(log_pi_0, mixed, beta))
        return float(beta * gibbs.log_normaliser(log_pi_0, mixed, beta)), rewards @ pi

    from scipy.optimize import minimize  # only who solves waits for it

    found = minimize(
        dual,
        np.full(len(rewards), 1 / len(rewards)),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(rewards),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    weights = np.maximum(found.x, 0) / np.maximum(found.x, 0).sum()
    return MaxMin(gibbs.log_policy(log_pi_0, weights @ rewards, beta), weights, dual(weights)[0])


def anchored(rewards: Array, log_pi_0: Array) -> Array:
    """r_z(y) - E_pi_0[r_z], (Z, ..., A): rewards that count from what the reference earns (eq-anchored).

    Comparisons leave a constant open for each kind; what compares rewards between kinds needs it fixed.
    """
    return rewards - np.sum(np.exp(log_pi_0) * rewards, axis=-1, keepdims=True)


def _joint(shares: Array, channel: Array) -> Array:
    channel = checks.probabilities("channel", channel)
    if channel.ndim != 2 or len(channel) != len(shares):
        raise ValueError(f"channel must be (Z, S), a row for each of {len(shares)} kinds; got {channel.shape}")
    return shares[:, None] * channel


def _log_probs(log_pi: Array) -> Array:
    checks.log_probs("log_pi", log_pi)
    return np.asarray(log_pi)

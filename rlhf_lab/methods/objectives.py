"""Several rewards at once: the Pareto front, soups of experts, heads with a gate, and a floor with its price.

Beside the chapter "Several objectives, and rules in words"; functions stand in the order of its equations.

    r_i head    g_i(x) gate, its weight    f gated reward    w weights of a trade-off    pi_i expert, optimum of r_i
    beta KL weight    J_i value of head i    c floor    lambda price of the floor    s prefix    v_i features of a head

Heads are rewards (k, K, A) of all A answers to K prompts. `start` (K,) are the probabilities of the prompts.
"""

from typing import NamedTuple

import autograd.numpy as np

from rlhf_lab.feedback.linear_fits import fit_linear
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds.token_mdp import performance


def values(log_pi: Array, log_pi_0: Array, heads: Array, beta: float, start: Array) -> Array:
    """J_i(pi) = E_x [sum_y pi(y | x) r_i(x, y) - beta KL(pi || pi_0)], for policies (..., K, A): (..., k)
    (eq-objectives).
    """
    return np.stack([gibbs.objective(log_pi, log_pi_0, head, beta) @ start for head in heads], axis=-1)


def front(log_pi_0: Array, heads: Array, weights: Array, beta: float) -> Array:
    """log pi_w of policies on the Pareto front, pi_w ~ pi_0 exp(sum_i w_i r_i / beta): (..., K, A) (eq-pareto).

    `weights` (..., k) are not negative and sum to 1. No policy has a larger sum_i w_i J_i than pi_w: beta E log Z_w.
    """
    weights = checks.probabilities("weights", weights)
    return gibbs.log_policy(log_pi_0, gated(heads, weights[..., None, :]), beta)


def shortfall(log_pi: Array, log_front: Array, beta: float, start: Array) -> Array:
    """beta E_x KL(pi || pi_w) = sum_i w_i (J_i(pi_w) - J_i(pi)): how far pi is behind the front (eq-shortfall)."""
    return beta * lm.kl(log_pi, log_front) @ start


def answer_soup(experts: Array, weights: Array) -> Array:
    """log pi(y | x) = sum_i w_i log pi_i(y | x) - log normaliser, the optimum of sum_i w_i r_i (eq-answer-soup).

    `experts` (k, ..., A), `weights` (k,) that sum to 1.
    """
    weights = _shares(experts, weights)
    return log_softmax(sum(w * expert for w, expert in zip(weights, experts, strict=True)))


def token_soup(experts: list[list[Array]], weights: Array) -> list[Array]:
    """log pi(a | s) = sum_i w_i log pi_i(a | s) - log c(s), from the levels of each expert (eq-token-soup)."""
    weights = _shares(experts, weights)
    return [log_softmax(_sum(weights, level)) for level in zip(*experts, strict=True)]


def agreement(experts: list[list[Array]], weights: Array) -> list[Array]:
    """log c(s) = log sum_a prod_i pi_i(a | s)^w_i, at most 0, for each state and each token that leads on from it.

    Levels of the shape of the experts', so that `lm.answers_of_levels` sums them along an answer: log pi of the token
    soup plus that sum is, up to a constant, log pi of the answer soup (eq-soup-agreement).
    """
    weights = _shares(experts, weights)
    mixed = [_sum(weights, level) for level in zip(*experts, strict=True)]
    return [level - log_softmax(level) for level in mixed]


def weight_soup(experts: list[Params], weights: Array) -> Params:
    """theta = sum_i w_i theta_i: the average of the experts' parameters (eq-weight-soup). Rame et al. 2023."""
    weights = _shares(experts, weights)
    return {name: _sum(weights, [each[name] for each in experts]) for name in experts[0]}


def _sum(weights: Array, arrays: tuple[Array, ...] | list[Array]) -> Array:
    return sum(w * array for w, array in zip(weights, arrays, strict=True))


def _shares(experts: Array | list[list[Array]] | list[Params], weights: Array) -> Array:
    weights = checks.probabilities("weights", weights)
    if weights.shape != (len(experts),):
        raise ValueError(f"there must be one weight for each of {len(experts)} experts; got shape {weights.shape}")
    return weights


def gated(heads: Array, gate: Array) -> Array:
    """f(x, y) = sum_i g_i(x) r_i(x, y): heads (k, K, A) and a gate (..., K, k) give rewards (..., K, A) (eq-gate).

    A gate (k,) weighs all prompts alike. XIONG, multi-objective rewards. Raises `ValueError` if heads come without a
    gate, or if the gate has not one weight for each head and prompt.
    """
    heads, gate = np.asarray(heads), np.asarray(gate)
    if heads.ndim != 3:
        raise ValueError(f"heads must be (k, K, A), one reward for each head, prompt and answer; got {heads.shape}")
    if gate.ndim == 0:
        raise ValueError(f"{len(heads)} heads need a gate, one weight for each: several rewards are not yet one reward")
    if gate.shape[-1] != len(heads) or gate.shape[-2:-1] not in ((), (1,), heads.shape[1:2]):
        raise ValueError(
            f"the gate needs one weight for each of {len(heads)} heads, (k,), or for each of {heads.shape[1]} prompts "
            f"and each head, (..., K, k); got {gate.shape}"
        )
    return np.einsum("...xi,ixa->...xa", np.broadcast_to(gate, (*gate.shape[:-2], heads.shape[1], len(heads))), heads)


def fit_gate(difference: Array, label: Array, precision: float = 0.0) -> Array:
    """Find g(x) for P(first preferred | x) = sigmoid(sum_i g_i(x) (r_i(x, y) - r_i(x, y'))) (eq-gate-likelihood).

    `difference` (..., K, N, k) holds what the heads say of the first answer minus what they say of the second, `label`
    (..., K, N); `precision` is that of a normal prior. Returns the gate (..., K, k). Raises `ValueError` where some
    weight has no finite best value: a head that does not vary, or comparisons that it separates.
    """
    return fit_linear(difference, label, precision).mean


def fit_both(difference: Array, label: Array, heads: Array, precision: float, rounds: int) -> tuple[Array, Array]:
    """Fit gate and heads to comparisons alone, r_i = v_i . phi: the gate given the heads, then the heads, in turns.

    `difference` (K, N, D) holds differences of features phi, `label` (K, N), `heads` (k, D) the v_i to begin with. Any
    invertible M gives the same f with the gate g(x) M^-1 and the heads M v (eq-gate-free). Returns the gate (K, k) and
    the heads (k, D). Raises `ValueError` if a head has not one number for each feature.
    """
    heads = np.asarray(heads)
    if heads.ndim != 2 or heads.shape[1] != difference.shape[-1]:
        raise ValueError(f"heads must be (k, D) with D = {difference.shape[-1]} features; got {heads.shape}")
    rounds = checks.count("rounds", rounds, "how often gate and heads are fitted in turns")
    gate = fit_gate(difference @ heads.T, label, precision)
    for _ in range(rounds):
        joint = np.einsum("xi,xnd->xnid", gate, difference)
        flat = np.reshape(joint, (label.size, heads.size))
        heads = np.reshape(fit_linear(flat, label.ravel(), precision).mean, heads.shape)
        gate = fit_gate(difference @ heads.T, label, precision)
    return gate, heads


class Dual(NamedTuple):
    """The dual function at one price: its value, its slope and log pi of its policy, (K, A)."""

    value: float
    slope: float
    log_pi: Array


def dual(price: float, log_pi_0: Array, helpful: Array, safe: Array, floor: float, beta: float, start: Array) -> Dual:
    """g(lambda) = beta E_x log Z[r_h + lambda (r_s - c)], at least the best value under the floor (eq-dual).

    Its slope is E r_s - c under the policy pi_lambda ~ pi_0 exp((r_h + lambda r_s) / beta) (eq-dual-slope). Rewards
    (K, A).
    """
    checks.not_negative("price", price, "lambda, what a unit of the floor costs")
    reward = helpful + price * (safe - floor)
    log_pi = gibbs.log_policy(log_pi_0, reward, beta)
    value = gibbs.log_normaliser(log_pi_0, reward, beta) @ start * beta
    return Dual(float(value), float(performance(log_pi, safe, start) - floor), log_pi)


class Constrained(NamedTuple):
    """The best policy with E r_s >= c: the price lambda of the floor, log pi (K, A), its value E r_h - beta KL."""

    price: float
    log_pi: Array
    value: float


def constrained(log_pi_0: Array, helpful: Array, safe: Array, floor: float, beta: float, start: Array) -> Constrained:
    """Maximise E r_h - beta KL(pi || pi_0) subject to E r_s >= c: the least of the dual (eq-constrained).

    The price is 0 if the floor does not bind, else the zero of the slope. Raises `ValueError` if no policy meets the
    floor, and says how far the safest one is from it.
    """
    reach = np.where(log_pi_0 > -np.inf, safe, -np.inf)
    most = float(np.max(reach, axis=-1) @ start)
    if floor >= most:
        told = "needs that answer always, at a price that grows without end" if floor == most else "is met by no policy"
        raise ValueError(
            f"the floor {floor:.6g} {told}: always the safest answer that the reference can write has {most:.6g}, "
            f"{floor - most:.3g} too little. Lower the floor"
        )

    def slope(price: float) -> float:
        return dual(price, log_pi_0, helpful, safe, floor, beta, start).slope

    from scipy.optimize import brentq  # only who has a floor waits for it

    price, high = 0.0, 1.0
    if slope(0.0) < 0:
        while slope(high) < 0:
            high *= 2
        price = brentq(slope, 0.0, high)
    log_pi = dual(price, log_pi_0, helpful, safe, floor, beta, start).log_pi
    return Constrained(price, log_pi, float(gibbs.objective(log_pi, log_pi_0, helpful, beta) @ start))

"""Maximum-entropy inverse reinforcement learning: the reward for which demonstrations are a soft optimum's choices.

Beside the section "From demonstrations to a reward" of the chapter "Learning from demonstrations"; functions stand in
the order of its equations.

    s state    a action    f features    theta weights of the features    r reward, in units of the price    T horizon
    V, Q soft values    pi policy, one for each step    P transition    m moments of the demonstrations    lambda ridge
    Phi potential    D discriminator    p prior of answers

Policies and rewards of grids have a row for each step, (..., T, S, A). Leading axes (seeds) are carried along. After
Ziebart, Bagnell and Dey 2010.
"""

from collections.abc import Callable
from typing import NamedTuple

import autograd.numpy as np
from scipy.special import expit

from rlhf_lab.methods.soft_values import soft_maximum
from rlhf_lab.models import gibbs
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds.gridworlds import Grid

Solve = Callable[[Array], tuple[Array, Array]]  # theta (..., D) to the soft value (...) and the moments (..., D)


class Plan(NamedTuple):
    """The soft optimum of a reward on a grid: values `v` (..., T, S) and log-probabilities `log_pi` (..., T, S, A)."""

    v: Array
    log_pi: Array


def at_each_step(reward: Array, actions: int, horizon: int) -> Array:
    """Return rewards of states, (..., S), as rewards of each step, state and action, (..., T, S, A)."""
    shape = (*reward.shape[:-1], checks.horizon(horizon), reward.shape[-1], actions)
    return np.broadcast_to(reward[..., None, :, None], shape)


def soft_plan(grid: Grid, reward: Array) -> Plan:
    """Q_t(s, a) = r_t(s, a) + sum_s' P(s' | s, a) V_(t+1)(s'), V_t(s) = log sum_a exp Q_t(s, a) (eq-soft-plan).

    The policy is log pi_t(a | s) = Q_t(s, a) - V_t(s); behind the horizon V is 0. `reward` (..., T, S, A) is in units
    of the price. Chance is averaged, not chosen: the values of what may follow are weighed with P inside the soft
    maximum. Ziebart, Bagnell and Dey 2010.
    """
    if reward.ndim < 3 or reward.shape[-2:] != (grid.observations, grid.actions):
        raise ValueError(
            f"reward must be (..., T, S, A) with {grid.observations} states and {grid.actions} actions, see "
            f"`at_each_step`; got {reward.shape}"
        )
    onward = np.reshape(grid.transition, (-1, grid.observations)).T
    following, v, log_pi = np.zeros((*reward.shape[:-3], grid.observations)), [], []
    for step in reversed(range(reward.shape[-3])):
        here = reward[..., step, :, :]
        q = here + np.reshape(np.matmul(following, onward), here.shape)
        following = soft_maximum(q)
        v.append(following)
        log_pi.append(q - following[..., None])
    return Plan(np.stack(v[::-1], axis=-2), np.stack(log_pi[::-1], axis=-3))


def visits(grid: Grid, policy: Array) -> Array:
    """Return d_t(s), (..., T, S), of probabilities (..., T, S, A) that may change from step to step."""
    onward, lead = np.reshape(grid.transition, (-1, grid.observations)), policy.shape[:-3]
    d = [np.broadcast_to(grid.start, (*lead, grid.observations))]
    for step in range(policy.shape[-3] - 1):
        pairs = d[-1][..., None] * policy[..., step, :, :]
        d.append(np.matmul(np.reshape(pairs, (*lead, -1)), onward))
    return np.stack(d, axis=-2)


def log_likelihood(log_pi: Array, state: Array, action: Array) -> Array:
    """L(theta) = mean over drives of sum_t log pi_t(a_t | s_t), nats, (...) (eq-maxent-likelihood).

    `log_pi` (..., T, S, A); states and actions (N, T) of N drives.
    """
    return np.mean(np.sum(log_pi[..., np.arange(log_pi.shape[-3]), state, action], axis=-1), axis=-1)


def moments_on_grid(grid: Grid, features: Array, horizon: int) -> Solve:
    """Return theta -> E_rho[V_1], and its gradient E_pi[sum_t f(s_t)] (eq-maxent-gradient).

    `features` (S, D). `grid.start` must be where the *demonstrations* begin.
    """

    def solve(theta: Array) -> tuple[Array, Array]:
        reward = np.matmul(theta, features.T)
        plan = soft_plan(grid, at_each_step(reward, grid.actions, horizon))
        spent = np.sum(visits(grid, np.exp(plan.log_pi)), axis=-2)
        return np.matmul(plan.v[..., 0, :], grid.start), np.matmul(spent, features)

    return solve


def match_moments(solve: Solve, shown: Array, ridge: Array) -> Array:
    """Return the theta (..., D) that maximises theta . m - E[V_1] - lambda |theta|^2 / 2 (eq-maxent-dual).

    `shown` (..., D) are the moments m of the demonstrations, `ridge` is lambda > 0. There m - E_pi[f] = lambda theta.
    Without a ridge a maximum exists only if m lies inside the moments of all policies. Concave; by L-BFGS.
    """
    checks.positive("ridge", np.min(ridge))
    ridge = np.broadcast_to(ridge, shown.shape[:-1])[..., None]
    if not np.isfinite(shown).all():
        raise ValueError("the moments of the demonstrations hold NaN or infinity")

    def cost(flat: Array) -> tuple[float, Array]:
        theta = np.reshape(flat, shown.shape)
        value, moments = solve(theta)
        total = np.sum(value) - np.sum(theta * shown) + np.sum(ridge / 2 * theta**2)
        return total, np.ravel(moments - shown + ridge * theta)

    from scipy.optimize import minimize  # only who fits waits for it

    options = {"maxiter": 10_000, "maxfun": 20_000, "gtol": 1e-5, "ftol": 0.0, "maxcor": 20}
    found = minimize(cost, np.zeros(shown.size), jac=True, method="L-BFGS-B", options=options)
    return np.reshape(found.x, shown.shape)


def shaped(grid: Grid, reward: Array, potential: Array) -> Array:
    """r_t(s, a) + sum_s' P(s' | s, a) Phi_(t+1)(s') - Phi_t(s), with Phi = 0 behind the horizon (eq-grid-shaping).

    `reward` (T, S, A), `potential` (T, S). The soft optimum on this grid stays what it is, its values fall by Phi. Ng,
    Harada and Russell 1999.
    """
    if potential.shape != reward.shape[:-1]:
        raise ValueError(
            f"a potential has a number for each step and state, {reward.shape[:-1]}; got {potential.shape}"
        )
    later = np.concatenate([potential[1:], np.zeros((1, grid.observations))])
    return reward + np.einsum("sax,tx->tsa", grid.transition, later) - potential[..., None]


def moments_of_answers(log_p: Array, features: Array, start: Array) -> Solve:
    """Return theta -> E_rho[log Z], and its gradient E_pi[f(x, y)], pi = p exp(theta . f) / Z (eq-maxent-text).

    `log_p` (K, A), `features` (K, A, D), `start` (K,) the shares of the prompts among the demonstrations.
    """

    def solve(theta: Array) -> tuple[Array, Array]:
        reward = np.einsum("kad,...d->...ka", features, theta)
        pi = np.exp(gibbs.log_policy(log_p, reward, 1.0))
        value = np.matmul(gibbs.log_normaliser(log_p, reward, 1.0), start)
        return value, np.einsum("k,...ka,kad->...d", start, pi, features, optimize=True)

    return solve


def discriminator(total: Array, value: Array, log_pi: Array) -> Array:
    """D = e^(R - V) / (e^(R - V) + pi), the chance that a drive or an answer is the expert's (eq-discriminator).

    `total` (...) is its reward, `value` the soft value of where it starts, `log_pi` the policy's log-probability of
    its actions. Finn, Christiano, Abbeel and Levine 2016.
    """
    return expit(total - value - log_pi)


def discriminator_gradient(chance: Array, features: Array, shown: Array, own: Array) -> Array:
    """E_demo[(1 - D) f] - E_pi[D f]: the gradient of E_demo[log D] + E_pi[log (1 - D)] (eq-discriminator-gradient).

    Of N drives or answers, `features` (N, D) are sums over each, `chance` (N,) is its D, `shown` and `own` (N,) how
    likely it is among the demonstrations and under the policy. V is held still. At the soft optimum D is 1/2,
    and this is half of what `match_moments` brings to 0. Finn, Christiano, Abbeel and Levine 2016.
    """
    return np.matmul(shown * (1 - chance) - own * chance, features)

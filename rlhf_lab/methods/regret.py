"""What a policy loses that was learned from labels: exactly, in the long run, and at most.

Beside the chapter "Asking while learning"; functions stand in the order of its equations.

    theta* weights that people have in mind    theta_hat their estimate    pi Gibbs policy of the estimate
    pi* that of theta*    phi features, D of them    d difference of features    l label    lambda precision
    Sigma covariance    I information of a question    n labels    m labels a round    T rounds    beta KL weight

Axes in front are seeds: theta (..., D), differences (..., N, D), labels (..., N).
"""

import numpy as np
from scipy.special import expit

from rlhf_lab.methods.online import World, times
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array


def regret(world: World, theta: Array) -> Array:
    """<theta - theta*, phi(pi) - phi(pi*)>, pi the Gibbs policy of theta, (..., D) to (...) (eq-regret-identity).

    It is J(pi*) - J(pi) + beta KL(pi* || pi), and beta (KL(pi* || pi) + KL(pi || pi*)).
    """
    moved = world.mean(world.policy(theta)) - world.mean(world.policy(world.theta))
    return np.sum((theta - world.theta) * moved, axis=-1)


def lost(world: World, theta: Array) -> Array:
    """J(pi*) - J(pi) of the Gibbs policy pi of theta, (..., D) to (...), without the divergence of `regret`.

    It is F(theta*) - F(theta) - <theta* - theta, phi(pi)> with F(theta) = beta E_x log Z (eq-bregman).
    """
    best = world.policy(world.theta)
    return world.beta * lm.kl(world.policy(theta), best) @ world.start


def estimation_error(theta: Array, truth: Array, difference: Array, label: Array, precision: float) -> Array:
    """(H + lambda I)^-1 (sum_i eps_i d_i - lambda theta*), which is theta_hat - theta*, (..., D) (eq-sampled-error).

    eps_i = l_i - sigmoid(<theta*, d_i>), H = sum_i w_i d_i d_i' with w_i the slope of the chord of the sigmoid from
    <theta*, d_i> to <theta_hat, d_i>. `theta` is theta_hat, the most probable theta of these labels, `truth` theta*.
    """
    here, there = times(difference, theta), times(difference, truth)
    apart, middle = here - there, expit(there) * expit(-there)
    steep = np.divide(expit(here) - expit(there), apart, out=middle, where=np.abs(apart) > 1e-9)
    bent = np.matmul(np.swapaxes(difference, -1, -2), difference * steep[..., None])
    noise = np.sum(difference * (label - expit(there))[..., None], axis=-2) - precision * truth
    return np.asarray(np.linalg.solve(bent + precision * np.eye(truth.shape[-1]), noise[..., None])[..., 0])


def best_width(first: Array, last: Array, rounds: int, batch: int) -> Array:
    """sqrt(((det Sigma_T+1 / det Sigma_1)^(1/T) - 1) / m), (..., D, D) twice to (...) (eq-potential).

    Some round t <= T has a width ||phi(pi^2) - phi(pi^1)|| of at most this in the norm of Sigma_t^-1, if each round
    adds to Sigma at least m times the outer product of the mean difference. `rounds` is T, `batch` m.
    """
    checks.count("rounds", rounds, "T, the number of rounds"), checks.count("batch", batch, "m, the labels of a round")
    grown = np.linalg.slogdet(last)[1] - np.linalg.slogdet(first)[1]
    return np.asarray(np.sqrt(np.expm1(grown / rounds) / batch))


def regret_constant(world: World, information: Array) -> Array:
    """tr(Cov_pi*(phi) I^-1) / (2 beta), the limit of n E[J(pi*) - J(pi^1)], (..., D, D) to (...) (eq-regret-constant).

    `information` is I of the questions that a rule asks in the end. Directions that neither the questions nor the
    covariance see are left out.
    """
    pi = np.exp(world.policy(world.theta))
    away = world.features - np.einsum("...ka,...kad->...kd", pi, world.features)[..., None, :]
    covariance = np.einsum("k,...ka,...kad,...kae->...de", world.start, pi, away, away)
    inverse = np.linalg.pinv(information, rcond=1e-12, hermitian=True)
    return np.einsum("...de,...ed->...", covariance, inverse) / (2 * world.beta)

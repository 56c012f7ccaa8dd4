"""Optimism in the loss: the estimate of XPO, which expects more of its policy than the labels alone do.

Beside the chapter "Asking while learning".

    theta weights    pi_theta their Gibbs policy    pi_0 reference    phi features, D of them
    d difference of features    l label    lambda precision    alpha optimism    n labels    beta KL weight

Axes in front are seeds: theta (..., D), differences (..., N, D), labels (..., N).
"""

import autograd.numpy as anp
import numpy as np

from rlhf_lab.feedback import annotators, linear_fits
from rlhf_lab.feedback.likelihoods import bradley_terry_loss
from rlhf_lab.methods.online import Estimate, World, times
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax

STEPS = 100  # of Newton's method, in each round, from where the last one ended


def loss(world: World, theta: Array, difference: Array, label: Array, precision: float, alpha: float) -> Array:
    """sum_i (Bradley-Terry loss) + lambda |theta|^2 / 2 - n alpha E_x KL(pi_0 || pi_theta), (...) (eq-xpo).

    Xie et al. 2025; - KL is their mean of log pi over answers of pi_0, up to a constant, taken exactly. With `alpha` =
    0 its minimum is the most probable theta.
    """
    checks.not_negative("alpha", alpha, "how much optimism is worth")
    margin = anp.sum(difference * theta[..., None, :], axis=-1)
    reward = anp.sum(world.features * theta[..., None, None, :], axis=-1)
    optimism = anp.sum(world.start * lm.kl(world.log_pi_0, log_softmax(world.log_pi_0 + reward / world.beta)), axis=-1)
    labels = anp.sum(bradley_terry_loss(margin, label), axis=-1) + precision / 2 * anp.sum(theta**2, axis=-1)
    return labels - label.shape[-1] * alpha * optimism


def estimate(alpha: float) -> Estimate:
    """Return the estimate of XPO; the weight of optimism falls as alpha / sqrt(n). Its questions are `with_reference`.

    It goes on from the theta of the last round: steps of Newton for the part of the loss that is convex, each halved
    until the whole loss does not rise.
    """

    def fit(world: World, difference: Array, label: Array, precision: float, theta: Array) -> Array:
        weight, prior = alpha / label.shape[-1] ** 0.5, precision * np.eye(theta.shape[-1])
        told = (difference, label, precision, weight)
        for _ in range(STEPS):
            margin, moved = times(difference, theta), world.mean(world.policy(theta)) - world.mean(world.log_pi_0)
            surprise = np.sum(difference * (label - annotators.bradley_terry(margin))[..., None], axis=-2)
            uphill = surprise - precision * theta + label.shape[-1] * weight / world.beta * moved
            step = np.linalg.solve(linear_fits.fisher(difference, margin) + prior, uphill[..., None])[..., 0]
            here = loss(world, theta, *told)
            while (worse := loss(world, theta + step, *told) > here + 1e-9 * (1 + np.abs(here))).any():
                step = np.where(worse[..., None], step / 2, step)
            theta = theta + step
            if np.max(np.abs(step)) <= 1e-6:
                break
        return theta

    return fit

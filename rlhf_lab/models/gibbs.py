"""The exact optimum of the KL-regularised objective: the yardstick of the whole book.

    pi policy    pi_0 reference    r reward    beta KL weight, above 0    Z normaliser

Everything is an array over enumerated answers, last axis; the axes before it (seeds, prompts) broadcast.
"""

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.models.lm import kl
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.weighted import expectation


def objective(log_pi: Array, log_pi_0: Array, reward: Array, beta: float) -> Array:
    """J_beta(pi) = sum_y pi(y | x) r(x, y) - beta KL(pi || pi_0), for each prompt (eq-kl-objective)."""
    return expectation(log_pi, reward) - beta * kl(log_pi, log_pi_0)


def log_policy(log_pi_0: Array, reward: Array, beta: float) -> Array:
    """log pi*(y | x) = log pi_0(y | x) + r(x, y) / beta - log Z(x) (eq-gibbs). RLHF Deciphered, eq. 17."""
    return log_softmax(_tilted(log_pi_0, reward, beta))


def log_normaliser(log_pi_0: Array, reward: Array, beta: float) -> Array:
    """log Z(x) = log sum_y pi_0(y | x) exp(r(x, y) / beta); the optimum is worth beta log Z (eq-gibbs-value)."""
    weight = _tilted(log_pi_0, reward, beta)
    top = np.max(weight, axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.sum(np.exp(weight - top), axis=-1))


def _tilted(log_pi_0: Array, reward: Array, beta: float) -> Array:
    checks.positive("beta", beta)
    checks.answer_rewards(getval(reward), np.shape(log_pi_0))
    return np.add(log_pi_0, np.divide(reward, beta))


def gap(log_pi: Array, log_pi_0: Array, reward: Array, beta: float) -> Array:
    """J_beta(pi*) - J_beta(pi) = beta KL(pi || pi*): how much pi leaves on the table (eq-gibbs-gap)."""
    return beta * kl(log_pi, log_policy(log_pi_0, reward, beta))

"""More ways in which estimates of KL(pi || pi_ref) go wrong, by what they are used for.

l log-ratio log pi / pi_ref of samples of pi, (..., N)
"""

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.policies import k2, k3
from rlhf_lab.numerics.autodiff import Array


def k1(log_pi: Array, log_ref: Array) -> Array:
    """l, whose mean over samples of pi is KL(pi || pi_ref), and whose gradient is its own in the reward."""
    return log_pi - log_ref


def k2_as_number(log_pi: Array, log_ref: Array) -> Array:
    """The mean of l^2 / 2 is near the divergence only where that is small. As a number, take l or k3."""
    return (log_pi - log_ref) ** 2 / 2


def half_missing(log_pi: Array, log_ref: Array) -> Array:
    """Your k2 lacks its factor 1/2: the gradient is twice that of the divergence, as if beta were doubled. Take
    l^2 / 2."""
    return (log_pi - log_ref) ** 2


def k3_in_reward(log_pi: Array, log_ref: Array) -> Array:
    """k3 is right as a number, but in the reward its gradient is that of KL(pi || pi_ref) - KL(pi_ref || pi). Put the
    bare log-ratio into the reward."""
    log_ratio = getval(log_pi) - log_ref
    return np.exp(-log_ratio) - 1 + log_ratio


def k2_in_reward(log_pi: Array, log_ref: Array) -> Array:
    """k2 is right as a loss, but in the reward its gradient is not that of the divergence. Put the bare log-ratio into
    the reward."""
    return (getval(log_pi) - log_ref) ** 2 / 2


def one_missing(log_pi: Array, log_ref: Array) -> Array:
    """Your k3 lacks its -1, so that its mean is the divergence plus 1. Take exp(-l) - 1 + l."""
    return np.exp(log_ref - log_pi) - (log_ref - log_pi)


def negative_left_out(log_pi: Array, log_ref: Array) -> Array:
    """You count no negative log-ratio, so that the mean is larger than the divergence. Leave the sign, or take k3."""
    return np.maximum(log_pi - log_ref, 0.0)


BUGS = (
    bug("k2 as a number", "kl_estimate", k2_as_number, k3, "sec-policy-gradients"),
    bug("half missing", "kl_estimate", half_missing, k2, "sec-policy-gradients"),
    bug("k3 in the reward", "kl_estimate", k3_in_reward, k1, "sec-policy-gradients"),
    bug("k2 in the reward", "kl_estimate", k2_in_reward, k1, "sec-policy-gradients"),
    bug("1 missing in k3", "kl_estimate", one_missing, k3, "sec-policy-gradients"),
    bug("negative log-ratios left out", "kl_estimate", negative_left_out, k3, "sec-policy-gradients"),
)

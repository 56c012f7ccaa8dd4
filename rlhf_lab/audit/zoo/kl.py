"""Estimates of KL(pi || pi_ref), by what they are used for, and how they go wrong.

l log-ratio log pi / pi_ref of samples of pi, (..., N)
"""

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.numerics.autodiff import Array


def k3(log_pi: Array, log_ref: Array) -> Array:
    """exp(-l) - 1 + l >= 0, whose mean over samples of pi is KL(pi || pi_ref): right as a number."""
    return np.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)


def k2(log_pi: Array, log_ref: Array) -> Array:
    """l^2 / 2, whose gradient is on average over samples of pi that of KL(pi || pi_ref): right as a loss."""
    return (log_pi - log_ref) ** 2 / 2


def kl_sign_turned(log_pi: Array, log_ref: Array) -> Array:
    """Your estimate is minus the divergence. Take log_pi - log_ref."""
    return log_ref - log_pi


def kl_absolute(log_pi: Array, log_ref: Array) -> Array:
    """You take the absolute value of the log-ratio, whose mean is larger than the divergence. Leave the sign, or take
    k3."""
    return np.abs(log_pi - log_ref)


def k3_upside_down(log_pi: Array, log_ref: Array) -> Array:
    """Your k3 has policy and reference the wrong way round. On samples of pi it is exp(-l) - 1 + l."""
    return np.exp(log_pi - log_ref) - 1 - (log_pi - log_ref)


def weighted_again(log_pi: Array, log_ref: Array) -> Array:
    """You multiply by the probability of the sample, but samples of pi come that often already. Leave it out."""
    return np.exp(log_pi) * (log_pi - log_ref)


def k1_as_loss(log_pi: Array, log_ref: Array) -> Array:
    """The bare log-ratio is right as a number, but as a loss its gradient is 0 on average. Use k2 as a loss, or put the
    log-ratio into the reward."""
    return log_pi - log_ref


def k3_as_loss(log_pi: Array, log_ref: Array) -> Array:
    """k3 is right as a number, but its gradient is that of KL(pi_ref || pi). Use k2 as a loss."""
    return np.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)


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


def exponential_less_one(log_pi: Array, log_ref: Array) -> Array:
    """Your estimate is exp(-l) - 1, the part of k3 that is 0 on average: it says nothing of the divergence. Add l."""
    return np.exp(log_ref - log_pi) - 1


def logarithm_of_mean(log_pi: Array, log_ref: Array) -> Array:
    """You average the ratios pi_ref / pi, whose mean is 1, and take the logarithm then: it is 0 but for chance. Take
    logarithms first, and average then."""
    return -np.log(np.mean(np.exp(log_ref - log_pi), axis=-1, keepdims=True)) * np.ones(log_pi.shape)


BUGS = (
    bug("logarithm of the mean ratio", "kl_estimate", logarithm_of_mean, k3, "sec-policy-gradients"),
    bug("KL with its sign turned", "kl_estimate", kl_sign_turned, k3, "sec-policy-gradients"),
    bug("absolute log-ratio", "kl_estimate", kl_absolute, k3, "sec-policy-gradients"),
    bug("k3 upside down", "kl_estimate", k3_upside_down, k3, "sec-policy-gradients"),
    bug("weighted by the probability again", "kl_estimate", weighted_again, k3, "sec-policy-gradients"),
    bug("k1 as a loss", "kl_estimate", k1_as_loss, k2, "sec-policy-gradients"),
    bug("k3 as a loss", "kl_estimate", k3_as_loss, k2, "sec-policy-gradients"),
    bug("k2 as a number", "kl_estimate", k2_as_number, k3, "sec-policy-gradients"),
    bug("half missing", "kl_estimate", half_missing, k2, "sec-policy-gradients"),
    bug("k3 in the reward", "kl_estimate", k3_in_reward, k1, "sec-policy-gradients"),
    bug("k2 in the reward", "kl_estimate", k2_in_reward, k1, "sec-policy-gradients"),
    bug("1 missing in k3", "kl_estimate", one_missing, k3, "sec-policy-gradients"),
    bug("negative log-ratios left out", "kl_estimate", negative_left_out, k3, "sec-policy-gradients"),
    bug("exponential less 1", "kl_estimate", exponential_less_one, k3, "sec-policy-gradients"),
)

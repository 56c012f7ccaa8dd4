"""Advantages, the loss of a critic, and how they go wrong.

    r reward    V value    delta TD error    gamma discount    lambda trace
    G groups of k answers to one prompt

Arrays over tokens are (..., N, T) with a mask, those of groups (..., G, k); `...` are seeds.
"""

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.policies import masked_mean
from rlhf_lab.numerics.autodiff import Array

EPS = 1e-4


def shifted(x: Array) -> Array:
    """Return what stands one token later, and 0 behind the last one."""
    return np.concatenate([x[..., 1:], np.zeros(x[..., :1].shape)], axis=-1)


def swept(delta: Array, decay: float) -> Array:
    """Return A_t = delta_t + decay A_(t+1), from the end to the beginning."""
    advantages, carried = [], np.zeros(delta.shape[:-1])
    for t in reversed(range(delta.shape[-1])):
        carried = delta[..., t] + decay * carried
        advantages.append(carried)
    return np.stack(advantages[::-1], axis=-1)


def gae(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """A_t = sum_k (gamma lambda)^k delta_(t+k), delta_t = r_t + gamma V_(t+1) - V_t, with no value behind the end."""
    delta = (rewards + gamma * shifted(values * mask) - values) * mask
    return swept(delta, gamma * lam) * mask


def value_behind_the_end(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """You add the value of what stands behind the end of an answer, where nothing follows. Mask it before the shift."""
    delta = (rewards + gamma * shifted(values) - values) * mask
    return swept(delta, gamma * lam) * mask


def errors_of_padding(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """The TD errors of padding flow into the advantages of the answer. Mask them before the sweep."""
    delta = rewards + gamma * shifted(values * mask) - values
    return swept(delta, gamma * lam) * mask


def gamma_for_lambda(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """You have gamma and lambda the wrong way round. Gamma discounts the next value, lambda only the trace."""
    delta = (rewards + lam * shifted(values * mask) - values) * mask
    return swept(delta, gamma * lam) * mask


def next_value_missing(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your TD error does not hold the next value. It is r_t + gamma V_(t+1) - V_t."""
    delta = (rewards - values) * mask
    return swept(delta, gamma * lam) * mask


def gamma_forgotten(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """You do not use gamma. It multiplies the next value, and together with lambda the errors that come later."""
    delta = (rewards + shifted(values * mask) - values) * mask
    return swept(delta, lam) * mask


def rewards_late(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your rewards are one token late against the values, and the first one is lost. Pair r_t with V_t."""
    delta = (shifted(rewards) + gamma * shifted(values * mask) - values) * mask
    return swept(delta, gamma * lam) * mask


def swept_forward(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """You sweep from the beginning to the end: tokens are paid for what came before them. Begin at the end."""
    delta = (rewards + gamma * shifted(values * mask) - values) * mask
    return swept(delta[..., ::-1], gamma * lam)[..., ::-1] * mask


def rloo(rewards: Array) -> Array:
    """r_i less the mean of the others in its group."""
    k = rewards.shape[-1]
    others = (np.sum(rewards, axis=-1, keepdims=True) - rewards) / (k - 1)
    return rewards - others


def own_sample_in_baseline(rewards: Array) -> Array:
    """Your baseline holds the answer's own reward, which makes the gradient smaller, by 1 - 1/k. Leave it out."""
    return rewards - np.mean(rewards, axis=-1, keepdims=True)


def own_sample_in_sum(rewards: Array) -> Array:
    """Your baseline adds up all k rewards and divides by k - 1. Leave the answer's own reward out of the sum."""
    return rewards - np.sum(rewards, axis=-1, keepdims=True) / (rewards.shape[-1] - 1)


def divided_by_spread_of_others(rewards: Array) -> Array:
    """You divide a leave-one-out difference by the deviation of the others, which is near 0 when they agree: the odd
    one out gets an enormous advantage. Do not divide, or divide by the deviation of the whole group."""
    k = rewards.shape[-1]
    others = (np.sum(rewards, axis=-1, keepdims=True) - rewards) / (k - 1)
    squares = (np.sum(rewards**2, axis=-1, keepdims=True) - rewards**2) / (k - 1)
    return (rewards - others) / (np.sqrt(np.maximum(squares - others**2, 0.0)) + EPS)


def grpo(rewards: Array) -> Array:
    """(r_i - mean of the group) / (its standard deviation + 1e-4), 0 if all are equal."""
    mean = np.mean(rewards, axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean((rewards - mean) ** 2, axis=-1, keepdims=True))
    return (rewards - mean) / (deviation + EPS)


def deviation_without_eps(rewards: Array) -> Array:
    """You divide by the deviation alone: a group of equal rewards gives 0 / 0. Add a small number to it."""
    mean = np.mean(rewards, axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean((rewards - mean) ** 2, axis=-1, keepdims=True))
    return (rewards - mean) / deviation


def deviation_of_the_batch(rewards: Array) -> Array:
    """You divide by the deviation of the whole batch, between prompts and within. GRPO takes that of the group."""
    mean = np.mean(rewards, axis=-1, keepdims=True)
    deviation = np.sqrt(np.var(rewards, axis=(-1, -2), keepdims=True))
    return (rewards - mean) / (deviation + EPS)


def across_prompts(rewards: Array) -> Array:
    """You normalise across prompts, over the wrong axis. Compare the answers to one prompt with each other."""
    mean = np.mean(rewards, axis=-2, keepdims=True)
    deviation = np.sqrt(np.mean((rewards - mean) ** 2, axis=-2, keepdims=True))
    return (rewards - mean) / (deviation + EPS)


def value_loss(values: Array, returns: Array, mask: Array) -> Array:
    """(V_t - G_t)^2 / 2, the mean over tokens: (...)."""
    return masked_mean((values - returns) ** 2 / 2, mask)


def every_return(values: Array, returns: Array, mask: Array) -> Array:
    """Each value is compared with the returns of all answers, as when (N, 1) meets (N,): the critic learns only their
    mean. Give both the same shape."""
    errors = values[..., :, None, :] - returns[..., None, :, :]
    return masked_mean(np.mean(errors**2, axis=-2) / 2, mask)


def values_detached(values: Array, returns: Array, mask: Array) -> Array:
    """Your values carry no gradient, so the critic never learns. Detach the returns, not the values."""
    return masked_mean((getval(values) - returns) ** 2 / 2, mask)


def against_the_advantage(values: Array, returns: Array, mask: Array) -> Array:
    """You fit the values to the advantages. Fit them to the returns, advantages plus values."""
    advantage = returns - getval(values)
    return masked_mean((values - advantage) ** 2 / 2, mask)


def clipped_value_loss(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """The larger of the errors of V and of V held within epsilon of its old value."""
    near = old_values + np.clip(values - old_values, -clip_range, clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def smaller_error(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You take the smaller of the two errors, so that the clip holds nothing back. Take the larger one."""
    near = old_values + np.clip(values - old_values, -clip_range, clip_range)
    return masked_mean(np.minimum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def whiten(advantage: Array, mask: Array) -> Array:
    """(A - mean) / (standard deviation + 1e-8) over the tokens of the batch, 0 on padding: (..., N, T)."""
    count = np.sum(mask, axis=(-1, -2), keepdims=True)
    mean = np.sum(advantage * mask, axis=(-1, -2), keepdims=True) / count
    variance = np.sum((advantage - mean) ** 2 * mask, axis=(-1, -2), keepdims=True) / count
    return (advantage - mean) / (np.sqrt(variance) + 1e-8) * mask


def whitened_with_padding(advantage: Array, mask: Array) -> Array:
    """Mean and deviation count the padding, too. Take them over the tokens that the mask marks."""
    mean = np.mean(advantage * mask, axis=(-1, -2), keepdims=True)
    variance = np.mean((advantage * mask - mean) ** 2, axis=(-1, -2), keepdims=True)
    return (advantage - mean) / (np.sqrt(variance) + 1e-8) * mask


def whitened_alone(advantage: Array, mask: Array) -> Array:
    """You whiten each answer by itself, as in a batch of one: whether it was better than others is lost. Take mean and
    deviation over the whole batch."""
    count = np.sum(mask, axis=-1, keepdims=True)
    mean = np.sum(advantage * mask, axis=-1, keepdims=True) / count
    variance = np.sum((advantage - mean) ** 2 * mask, axis=-1, keepdims=True) / count
    return (advantage - mean) / (np.sqrt(variance) + 1e-8) * mask


BUGS = (
    bug("value behind the end", "gae", value_behind_the_end, gae, "sec-policy-gradients"),
    bug("errors of padding", "gae", errors_of_padding, gae, "sec-policy-gradients"),
    bug("gamma and lambda exchanged", "gae", gamma_for_lambda, gae, "sec-policy-gradients"),
    bug("next value missing", "gae", next_value_missing, gae, "sec-policy-gradients"),
    bug("gamma forgotten", "gae", gamma_forgotten, gae, "sec-policy-gradients"),
    bug("rewards one token late", "gae", rewards_late, gae, "sec-policy-gradients"),
    bug("swept forward", "gae", swept_forward, gae, "sec-policy-gradients"),
    bug("own sample in the baseline", "advantages", own_sample_in_baseline, rloo, "sec-policy-gradients"),
    bug("own sample in the sum", "advantages", own_sample_in_sum, rloo, "sec-policy-gradients"),
    bug("divided by the spread of others", "advantages", divided_by_spread_of_others, rloo, "sec-policy-gradients"),
    bug("spread of zero", "advantages", deviation_without_eps, grpo, "sec-policy-gradients"),
    bug("deviation of the batch", "advantages", deviation_of_the_batch, grpo, "sec-policy-gradients"),
    bug("normalised across prompts", "advantages", across_prompts, grpo, "sec-policy-gradients"),
    bug("every return for every value", "value_loss", every_return, value_loss, "sec-ppo"),
    bug("dead critic", "value_loss", values_detached, value_loss, "sec-ppo"),
    bug("values fitted to advantages", "value_loss", against_the_advantage, value_loss, "sec-ppo"),
    bug("smaller of the errors", "value_loss", smaller_error, clipped_value_loss, "sec-ppo"),
    bug("whitened with padding", "whiten", whitened_with_padding, whiten, "sec-ppo"),
    bug("whitened in a batch of one", "whiten", whitened_alone, whiten, "sec-ppo"),
)

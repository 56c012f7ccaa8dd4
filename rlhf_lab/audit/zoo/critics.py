"""More ways in which rewards of tokens and losses of critics go wrong.

    beta KL weight    epsilon clip range

Arrays are those of `zoo.returns`.
"""

import autograd.numpy as np

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.policies import masked_mean
from rlhf_lab.audit.zoo.returns import clipped_value_loss, shifted, token_rewards, value_loss
from rlhf_lab.numerics.autodiff import Array


def padding_in_value_loss(values: Array, returns: Array, mask: Array) -> Array:
    """Your critic is fitted on padding, too. Multiply by the mask, and divide by its sum."""
    return np.mean((values - returns) ** 2 / 2, axis=(-1, -2))


def error_not_squared(values: Array, returns: Array, mask: Array) -> Array:
    """You take the absolute error, which makes the critic learn a median. A value is a mean: square the error."""
    return masked_mean(np.abs(values - returns), mask)


def clipped_around_zero(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You hold the value itself between -epsilon and epsilon. Hold its change from the old value there."""
    near = np.clip(values, -clip_range, clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def clipped_around_returns(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You hold the value near the return that it should learn, so that the clip does nothing. Hold it near the old
    value."""
    near = returns + np.clip(values - returns, -clip_range, clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def kl_unweighted(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """Your KL term is not multiplied by beta. Multiply it."""
    last = mask - shifted(mask)
    return -(log_pi - log_ref) * mask + score[..., None] * last


def kl_by_k3(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You charge k3 with every token. In the reward, its gradient is not that of the divergence: charge the bare
    log-ratio."""
    last = mask - shifted(mask)
    kl = np.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)
    return -beta * kl * mask + score[..., None] * last


def kl_absolute(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You charge the absolute value of the log-ratio, which is more than the divergence. Leave its sign."""
    last = mask - shifted(mask)
    return -beta * np.abs(log_pi - log_ref) * mask + score[..., None] * last


def kl_at_the_end(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You charge for the divergence of the last token only. Charge for every token of the answer."""
    last = mask - shifted(mask)
    return (score[..., None] - beta * (log_pi - log_ref)) * last


def score_weighted(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You multiply the score by beta, too, so that beta changes nothing but the size. Multiply the KL term only."""
    last = mask - shifted(mask)
    return beta * (score[..., None] * last - (log_pi - log_ref) * mask)


def kl_of_padding(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You charge for what stands behind the end of an answer. Multiply the KL term by the mask."""
    last = mask - shifted(mask)
    return -beta * (log_pi - log_ref) + score[..., None] * last


def score_late(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You pay the score one place behind the last token, as an index that counts from 1 does. Pay it with the last
    token."""
    last = mask - shifted(mask)
    late = np.concatenate([np.zeros(last[..., :1].shape), last[..., :-1]], axis=-1)
    return -beta * (log_pi - log_ref) * mask + score[..., None] * late


def squared_after_the_mean(values: Array, returns: Array, mask: Array) -> Array:
    """You average the errors first, and square their mean: errors of other signs cancel. Square each, and average
    then."""
    return masked_mean(values - returns, mask) ** 2 / 2


def root_taken(values: Array, returns: Array, mask: Array) -> Array:
    """You take the root of the mean square, so that the gradient does not fall as the error does. Leave the root
    out."""
    return np.sqrt(masked_mean((values - returns) ** 2, mask))


def return_added(values: Array, returns: Array, mask: Array) -> Array:
    """You add the return, so that values become minus what they should be. Subtract it."""
    return masked_mean((values + returns) ** 2 / 2, mask)


def score_with_the_first(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You pay the score with the first token, before the answer is written: no later one hears of it. Pay it with the
    last."""
    first = np.concatenate([np.ones(mask[..., :1].shape), np.zeros(mask[..., 1:].shape)], axis=-1)
    return -beta * (log_pi - log_ref) * mask + score[..., None] * first


def kl_by_k2(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You charge k2 with every token. In the reward, its gradient is not that of the divergence: charge the bare
    log-ratio."""
    last = mask - shifted(mask)
    return -beta * (log_pi - log_ref) ** 2 / 2 * mask + score[..., None] * last


def negative_left_out(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You charge nothing where the log-ratio is negative, which charges more than the divergence. Leave its sign."""
    last = mask - shifted(mask)
    return -beta * np.maximum(log_pi - log_ref, 0.0) * mask + score[..., None] * last


def old_value_left_out(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You clip the change of the value, and do not add the old value again. Add it."""
    near = np.clip(values - old_values, -clip_range, clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def charge_by_length(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You divide the charges by the length of the answer, so that long answers may drift further. Charge each token in
    full."""
    last = mask - shifted(mask)
    charge = -beta * (log_pi - log_ref) * mask / np.sum(mask, axis=-1, keepdims=True)
    return charge + score[..., None] * last


BUGS = (
    bug("critic fitted on padding", "value_loss", padding_in_value_loss, value_loss, "sec-ppo"),
    bug("error not squared", "value_loss", error_not_squared, value_loss, "sec-ppo"),
    bug("value clipped around zero", "value_loss", clipped_around_zero, clipped_value_loss, "sec-ppo"),
    bug("value clipped around the returns", "value_loss", clipped_around_returns, clipped_value_loss, "sec-ppo"),
    bug("charge without beta", "token_rewards", kl_unweighted, token_rewards, "sec-ppo"),
    bug("k3 charged", "token_rewards", kl_by_k3, token_rewards, "sec-policy-gradients"),
    bug("absolute log-ratio charged", "token_rewards", kl_absolute, token_rewards, "sec-policy-gradients"),
    bug("charged at the end only", "token_rewards", kl_at_the_end, token_rewards, "sec-ppo"),
    bug("score times beta", "token_rewards", score_weighted, token_rewards, "sec-ppo"),
    bug("padding charged", "token_rewards", kl_of_padding, token_rewards, "sec-ppo"),
    bug("score one token late", "token_rewards", score_late, token_rewards, "sec-ppo"),
    bug("squared after the mean", "value_loss", squared_after_the_mean, value_loss, "sec-ppo"),
    bug("root of the mean square", "value_loss", root_taken, value_loss, "sec-ppo"),
    bug("return added", "value_loss", return_added, value_loss, "sec-ppo"),
    bug("score with the first token", "token_rewards", score_with_the_first, token_rewards, "sec-ppo"),
    bug("k2 charged", "token_rewards", kl_by_k2, token_rewards, "sec-policy-gradients"),
    bug("negative charges left out", "token_rewards", negative_left_out, token_rewards, "sec-policy-gradients"),
    bug("old value left out", "value_loss", old_value_left_out, clipped_value_loss, "sec-ppo"),
    bug("charge divided by the length", "token_rewards", charge_by_length, token_rewards, "sec-ppo"),
)

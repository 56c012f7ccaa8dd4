"""PPO's clipped loss, and how it goes wrong.

    u ratio pi / pi_old of a token    A advantage    epsilon clip range

Arrays over tokens are (..., N, T) with a mask; `...` are seeds.
"""

import autograd.numpy as np
import numpy as onp
from autograd.tracer import getval

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.numerics.autodiff import Array


def masked_mean(values: Array, mask: Array) -> Array:
    """The mean over the tokens that count, (..., N, T) to (...)."""
    return np.sum(values * mask, axis=(-1, -2)) / np.sum(mask, axis=(-1, -2))


def ppo_loss(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """- min(u A, clip(u, 1 - epsilon, 1 + epsilon) A), the mean over tokens."""
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def sign_turned(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You return what should be maximised, and an optimiser makes it small. Put a minus in front."""
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def max_for_min(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You take the larger of the two terms, so that the clip never holds the policy back. Take the smaller one."""
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.maximum(ratio * advantage, held * advantage), mask)


def min_missing(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You use the clipped ratio only: a token that went too far the wrong way has no gradient, and never comes back.
    Take the smaller of the two terms."""
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(held * advantage, mask)


def clipped_above(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """Your clip holds only from above: nothing stops the policy where the advantage is negative. Clip on both sides."""
    ratio = np.exp(log_pi - log_old)
    held = np.minimum(ratio, 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def clipped_below(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """Your clip holds only from below: nothing stops the policy where the advantage is positive. Clip on both sides."""
    ratio = np.exp(log_pi - log_old)
    held = np.maximum(ratio, 1 - clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def ratio_too_small(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You take the smaller of ratio and clipped ratio, and multiply then. For bad tokens that is the wrong one, and
    they are pushed down without end. Multiply both by the advantage first, and take the smaller product."""
    ratio = np.exp(log_pi - log_old)
    smaller = np.minimum(ratio, np.clip(ratio, 1 - clip_range, 1 + clip_range))
    return -masked_mean(smaller * advantage, mask)


def ratio_upside_down(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """Your ratio is pi_old / pi, and the gradient has the wrong sign. Take exp(log_pi - log_old)."""
    ratio = np.exp(log_old - log_pi)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def log_for_ratio(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """Your ratio is a log-ratio: it is 0, not 1, for the policy that wrote the answers, and the clip cuts off every
    token of negative advantage. Take the exponential."""
    ratio = log_pi - log_old
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def old_recomputed(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """Your old log-probabilities are those of the present policy, so that the ratio is always 1 and nothing is ever
    clipped. Store them when the answers are written."""
    ratio = np.exp(log_pi - getval(log_pi))
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def ratio_rounded(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """Your log-probabilities are rounded to 8 bits, as in bfloat16, before the ratio is taken: it is noise around 1.
    Subtract in float32."""
    ratio = np.exp(bfloat16(log_pi) - bfloat16(log_old))
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def bfloat16(x: Array) -> Array:
    """Round to 8 significant bits; the gradient passes as if nothing had been rounded."""
    fraction, exponent = onp.frexp(getval(x))
    return x + (onp.ldexp(onp.round(fraction * 256) / 256, exponent) - getval(x))


def advantage_late(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """Your advantages come one token late: each token is paid for what the one before it did. Align the two."""
    advantage = np.concatenate([np.zeros(advantage[..., :1].shape), advantage[..., :-1]], axis=-1)
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def mask_ignored(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """Your loss counts what stands behind the end of the answers. Multiply by the mask, and divide by its sum."""
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -np.mean(np.minimum(ratio * advantage, held * advantage), axis=(-1, -2))


def clip_missing(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You do not clip: from the second step on the same answers, nothing holds the policy near the one that wrote them.
    Take min(u A, clip(u) A)."""
    return -masked_mean(np.exp(log_pi - log_old) * advantage, mask)


def clipped_after_the_mean(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You average the two terms first, and take the smaller mean. Take the smaller term of each token, and average
    then."""
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -np.minimum(masked_mean(ratio * advantage, mask), masked_mean(held * advantage, mask))


def clipped_around_zero(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You clip the ratio to -epsilon and epsilon. It is near 1, not near 0: clip it to 1 - epsilon and 1 + epsilon."""
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, -clip_range, clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def advantage_absolute(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You take the size of the advantage, so that bad answers are taught like good ones. Keep its sign."""
    ratio, size = np.exp(log_pi - log_old), np.abs(advantage)
    return -masked_mean(np.minimum(ratio, np.clip(ratio, 1 - clip_range, 1 + clip_range)) * size, mask)


def log_clipped_near_one(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You clip the log-ratio to 1 - epsilon and 1 + epsilon, where the ratio belongs: the log-ratio is near 0. Take the
    exponential first."""
    step = log_pi - log_old
    held = np.exp(np.clip(step, 1 - clip_range, 1 + clip_range))
    return -masked_mean(np.minimum(np.exp(step) * advantage, held * advantage), mask)


def log_clipped_near_zero(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You clip the log-ratio to -epsilon and epsilon, which is another range than 1 - epsilon to 1 + epsilon of the
    ratio. Take the exponential first."""
    step = log_pi - log_old
    held = np.exp(np.clip(step, -clip_range, clip_range))
    return -masked_mean(np.minimum(np.exp(step) * advantage, held * advantage), mask)


def ratio_of_logs(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You divide log-probabilities. The ratio is that of the probabilities: exp(log_pi - log_old)."""
    ratio = log_pi / log_old
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def ratio_to_first_order(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """Your ratio is 1 plus the log-ratio, which is near it close to 1 only and may be negative. Take exp(log_pi -
    log_old)."""
    ratio = 1 + log_pi - log_old
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def ratio_missing(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You use -A log pi, without a ratio, as REINFORCE does: that is right for the first step on fresh answers only,
    and nothing is clipped. Take the ratio exp(log_pi - log_old)."""
    return -masked_mean(log_pi * advantage, mask)


def clipped_to_reciprocals(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You clip the ratio to 1 / (1 + epsilon) from below. Clip it to 1 - epsilon."""
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 / (1 + clip_range), 1 + clip_range)
    return -masked_mean(np.minimum(ratio * advantage, held * advantage), mask)


def answer_ratio_clipped(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """You clip the ratio of the whole answer, beside that of each token: the two terms are of different kinds. Take one
    ratio for both."""
    step = log_pi - log_old
    whole = np.exp(np.sum(step * mask, axis=-1, keepdims=True) / np.sum(mask, axis=-1, keepdims=True))
    held = np.clip(whole, 1 - clip_range, 1 + clip_range)
    return -masked_mean(np.minimum(np.exp(step) * advantage, held * advantage), mask)


BUGS = (
    bug("sign turned", "ppo_loss", sign_turned, ppo_loss, "sec-ppo"),
    bug("max in place of min", "ppo_loss", max_for_min, ppo_loss, "sec-ppo"),
    bug("clipped ratio only", "ppo_loss", min_missing, ppo_loss, "sec-ppo"),
    bug("clipped on one side", "ppo_loss", clipped_above, ppo_loss, "sec-ppo"),
    bug("clipped on one side, from below", "ppo_loss", clipped_below, ppo_loss, "sec-ppo"),
    bug("minimum before the advantage", "ppo_loss", ratio_too_small, ppo_loss, "sec-ppo"),
    bug("ratio upside down", "ppo_loss", ratio_upside_down, ppo_loss, "sec-ppo"),
    bug("log-ratio in place of the ratio", "ppo_loss", log_for_ratio, ppo_loss, "sec-ppo"),
    bug("old log-probabilities recomputed", "ppo_loss", old_recomputed, ppo_loss, "sec-ppo"),
    bug("ratio of rounded numbers", "ppo_loss", ratio_rounded, ppo_loss, "sec-ppo"),
    bug("advantage one token late", "ppo_loss", advantage_late, ppo_loss, "sec-policy-gradients"),
    bug("mask ignored", "ppo_loss", mask_ignored, ppo_loss, "sec-ppo"),
    bug("clip missing", "ppo_loss", clip_missing, ppo_loss, "sec-ppo"),
    bug("clipped after the mean", "ppo_loss", clipped_after_the_mean, ppo_loss, "sec-ppo"),
    bug("clipped around zero", "ppo_loss", clipped_around_zero, ppo_loss, "sec-ppo"),
    bug("size of the advantage", "ppo_loss", advantage_absolute, ppo_loss, "sec-ppo"),
    bug("log-ratio clipped around 1", "ppo_loss", log_clipped_near_one, ppo_loss, "sec-ppo"),
    bug("log-ratio clipped around 0", "ppo_loss", log_clipped_near_zero, ppo_loss, "sec-ppo"),
    bug("ratio of logarithms", "ppo_loss", ratio_of_logs, ppo_loss, "sec-ppo"),
    bug("ratio to first order", "ppo_loss", ratio_to_first_order, ppo_loss, "sec-ppo"),
    bug("ratio missing", "ppo_loss", ratio_missing, ppo_loss, "sec-ppo"),
    bug("clipped to 1 / (1 + epsilon)", "ppo_loss", clipped_to_reciprocals, ppo_loss, "sec-ppo"),
    bug("clipped ratio of the answer", "ppo_loss", answer_ratio_clipped, ppo_loss, "sec-ppo"),
)

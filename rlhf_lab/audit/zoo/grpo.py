"""GRPO's loss, and how it goes wrong.

    u ratio pi / pi_old of a token    A advantage    epsilon clip range    beta KL weight    l log-ratio log pi / pi_ref

Arrays over tokens are (..., N, T) with a mask; `...` are seeds.
"""

import autograd.numpy as np

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.numerics.autodiff import Array


def grpo_loss(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """- min(u A, clip(u) A) + beta (exp(-l) - 1 + l), the mean over the tokens of an answer, then over answers.

    One `advantage` (..., N) for all tokens of an answer.
    """
    kl = np.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_maximised(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your loss subtracts the divergence, and training drives the policy away from its reference. Add it."""
    kl = np.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) - beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_unweighted(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your divergence is not multiplied by beta. Multiply it."""
    kl = np.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_by_k1(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your divergence is the bare log-ratio. As a loss, its gradient is 0 on average, and nothing holds the policy
    back. Use k3, or k2, or put the log-ratio into the reward."""
    kl = log_pi - log_ref
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_to_old(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """You hold the policy near the one that wrote the answers, which moves along. Hold it near the reference."""
    kl = np.exp(log_old - log_pi) - 1 - (log_old - log_pi)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_on_padding(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your divergence counts what stands behind the end of the answers. Mask it, too."""
    kl = np.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) * mask + beta * kl
    return np.mean(np.sum(each, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def padding_in_grpo(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your loss counts what stands behind the end of the answers. Multiply by the mask, and divide by its sum."""
    kl = np.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return np.mean(-np.minimum(ratio * advantage, held * advantage) + beta * kl, axis=(-1, -2))


def kl_upside_down(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your k3 has policy and reference the wrong way round. On answers of pi it is exp(-l) - 1 + l."""
    kl = np.exp(log_pi - log_ref) - 1 - (log_pi - log_ref)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_by_minus_k1(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your divergence is minus the bare log-ratio. As a loss, its gradient is 0 on average, and nothing holds the
    policy back. Use k3, or k2, or put the log-ratio into the reward."""
    kl = log_ref - log_pi
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_by_distance(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your divergence is the absolute value of the log-ratio, whose gradient is that of no divergence. Use k3, or
    k2."""
    kl = np.abs(log_pi - log_ref)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_by_square(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your k2 lacks its factor 1/2: the pull is twice that of the divergence, as if beta were doubled. Take l^2 / 2."""
    kl = (log_pi - log_ref) ** 2
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_without_one(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your k3 lacks its -1: the gradient is right, and the loss is larger by beta. Take exp(-l) - 1 + l."""
    kl = np.exp(log_ref - log_pi) - (log_ref - log_pi)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_of_old(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """Your divergence is that of the old log-probabilities, which were stored: it has no gradient, and holds nothing.
    Take those of the policy that is trained."""
    kl = np.exp(log_ref - log_old) - 1 - (log_ref - log_old)
    ratio, advantage = np.exp(log_pi - log_old), advantage[..., None]
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * advantage, held * advantage) + beta * kl
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def kl_in_advantage(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """You subtract the divergence from the advantage, so that ratio and clip hold it, too: where they clip, nothing
    pulls. Add it to the loss."""
    kl = np.exp(log_ref - log_pi) - 1 - (log_ref - log_pi)
    ratio, less = np.exp(log_pi - log_old), advantage[..., None] - beta * kl
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    each = -np.minimum(ratio * less, held * less)
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def all_weighted(
    log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
) -> Array:
    """You multiply the whole loss by beta, so that it weighs nothing against something. Multiply the divergence
    only."""
    return beta * kl_unweighted(log_pi, log_old, log_ref, advantage, mask, clip_range, beta)


BUGS = (
    bug("KL maximised", "grpo_loss", kl_maximised, grpo_loss, "sec-policy-gradients"),
    bug("KL without its weight", "grpo_loss", kl_unweighted, grpo_loss, "sec-policy-gradients"),
    bug("k1 in the loss", "grpo_loss", kl_by_k1, grpo_loss, "sec-policy-gradients"),
    bug("KL to the old policy", "grpo_loss", kl_to_old, grpo_loss, "sec-moving-reference"),
    bug("KL on padding", "grpo_loss", kl_on_padding, grpo_loss, "sec-policy-gradients"),
    bug("padding in the loss", "grpo_loss", padding_in_grpo, grpo_loss, "sec-policy-gradients"),
    bug("KL of the wrong pair", "grpo_loss", kl_upside_down, grpo_loss, "sec-policy-gradients"),
    bug("minus k1 in the loss", "grpo_loss", kl_by_minus_k1, grpo_loss, "sec-policy-gradients"),
    bug("absolute log-ratio in the loss", "grpo_loss", kl_by_distance, grpo_loss, "sec-policy-gradients"),
    bug("k2 without its half", "grpo_loss", kl_by_square, grpo_loss, "sec-policy-gradients"),
    bug("k3 without its 1", "grpo_loss", kl_without_one, grpo_loss, "sec-policy-gradients"),
    bug("KL of the old log-probabilities", "grpo_loss", kl_of_old, grpo_loss, "sec-policy-gradients"),
    bug("KL in the advantage", "grpo_loss", kl_in_advantage, grpo_loss, "sec-policy-gradients"),
    bug("beta times the whole loss", "grpo_loss", all_weighted, grpo_loss, "sec-policy-gradients"),
)

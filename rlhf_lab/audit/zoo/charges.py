"""Rewards of tokens, and how they go wrong.

    beta KL weight

Arrays over tokens are (..., N, T) with a mask, scores (..., N); `...` are seeds.
"""

import autograd.numpy as np

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.returns import shifted
from rlhf_lab.numerics.autodiff import Array


def token_rewards(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """-beta log pi / pi_ref of each token, and the score (..., N) of the answer with its last one: (..., N, T)."""
    last = mask - shifted(mask)
    return -beta * (log_pi - log_ref) * mask + score[..., None] * last


def kl_rewarded(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You pay for divergence in place of charging for it. Turn the sign of the KL term."""
    last = mask - shifted(mask)
    return beta * (log_pi - log_ref) * mask + score[..., None] * last


def kl_charged_twice(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You charge for the divergence with every token, and again with the score. Charge once."""
    last = mask - shifted(mask)
    score = score - beta * np.sum((log_pi - log_ref) * mask, axis=-1)
    return -beta * (log_pi - log_ref) * mask + score[..., None] * last


def score_everywhere(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You pay the score with every token, so that longer answers earn more. Pay it once, with the last token."""
    return -beta * (log_pi - log_ref) * mask + score[..., None] * mask


def score_on_padding(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You pay the score at the last place of the row, which is padding for most answers: no token of theirs hears of
    it. Pay it with the last token that the mask marks."""
    last = np.concatenate([np.zeros(mask[..., 1:].shape), np.ones(mask[..., :1].shape)], axis=-1)
    return -beta * (log_pi - log_ref) * mask + score[..., None] * last


def score_early(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You pay the score one token early, so that <eos>, the token that ends the answer, does not hear of it."""
    last = shifted(mask - shifted(mask))
    return -beta * (log_pi - log_ref) * mask + score[..., None] * last


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


def score_spread(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You spread the score over the tokens of its answer, so that late tokens hear of a part only. Pay it once, with
    the last token."""
    count = np.sum(mask, axis=-1, keepdims=True)
    return -beta * (log_pi - log_ref) * mask + score[..., None] * mask / count


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


def charge_by_length(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You divide the charges by the length of the answer, so that long answers may drift further. Charge each token in
    full."""
    last = mask - shifted(mask)
    charge = -beta * (log_pi - log_ref) * mask / np.sum(mask, axis=-1, keepdims=True)
    return charge + score[..., None] * last


def last_not_charged(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """You put the score in place of the last token's charge, so that <eos> may drift for nothing. Add it to the
    charge."""
    last = mask - shifted(mask)
    return -beta * (log_pi - log_ref) * (mask - last) + score[..., None] * last


BUGS = (
    bug("KL paid for", "token_rewards", kl_rewarded, token_rewards, "sec-ppo"),
    bug("KL charged twice", "token_rewards", kl_charged_twice, token_rewards, "sec-ppo"),
    bug("score on every token", "token_rewards", score_everywhere, token_rewards, "sec-ppo"),
    bug("score on padding", "token_rewards", score_on_padding, token_rewards, "sec-ppo"),
    bug("score one token early", "token_rewards", score_early, token_rewards, "sec-policy-gradients"),
    bug("charge without beta", "token_rewards", kl_unweighted, token_rewards, "sec-ppo"),
    bug("k3 charged", "token_rewards", kl_by_k3, token_rewards, "sec-policy-gradients"),
    bug("absolute log-ratio charged", "token_rewards", kl_absolute, token_rewards, "sec-policy-gradients"),
    bug("charged at the end only", "token_rewards", kl_at_the_end, token_rewards, "sec-ppo"),
    bug("score times beta", "token_rewards", score_weighted, token_rewards, "sec-ppo"),
    bug("padding charged", "token_rewards", kl_of_padding, token_rewards, "sec-ppo"),
    bug("score one token late", "token_rewards", score_late, token_rewards, "sec-ppo"),
    bug("score spread over the tokens", "token_rewards", score_spread, token_rewards, "sec-ppo"),
    bug("score with the first token", "token_rewards", score_with_the_first, token_rewards, "sec-ppo"),
    bug("k2 charged", "token_rewards", kl_by_k2, token_rewards, "sec-policy-gradients"),
    bug("negative charges left out", "token_rewards", negative_left_out, token_rewards, "sec-policy-gradients"),
    bug("last token not charged", "token_rewards", last_not_charged, token_rewards, "sec-ppo"),
    bug("charge divided by the length", "token_rewards", charge_by_length, token_rewards, "sec-ppo"),
)

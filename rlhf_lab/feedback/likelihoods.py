"""How well a reward explains what people said: the losses that reward models are fitted with.

    m margin R(x, y) - R(x, y')    l label 0, 1/2 or 1    epsilon mis-click rate    nu weight of a tie

Losses are numbers in, numbers out: margins and labels (..., N) give one loss for each comparison, nats.
"""

from collections.abc import Callable
from typing import Any

import autograd.numpy as np

from rlhf_lab.feedback.reward_models import RewardModel
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import masked

SIDES = np.array([[1.0], [-1.0]])  # of a margin: chosen minus rejected


def bradley_terry_loss(margin: Array, label: Array = 1.0) -> Array:
    """- l log sigmoid(m) - (1 - l) log sigmoid(-m): cross-entropy of label and Bradley-Terry (eq-bt-loss).

    RLHF Deciphered, eq. 11; a label of 1/2 says that people saw no difference.
    """
    return np.logaddexp(0.0, margin) - label * margin


def preference_loss(model: RewardModel, loss: Callable[..., Array]) -> Callable[[Params, Any], Array]:
    """Return the mean of `loss(margin, label)` over a batch, as `optim.fit` wants it.

    A batch holds prompt, chosen, rejected and label, as in `Preferences.columns`.
    """

    def mean(params: Params, batch: Any) -> Array:
        prompt, chosen, rejected, label = batch
        both = np.concatenate([chosen, rejected], axis=-2)  # one call on twice the rows is faster than two
        reward = model.reward(params, np.concatenate([prompt, prompt], axis=-2), both)
        pairs = np.reshape(reward, (*reward.shape[:-1], 2, -1))
        return np.mean(loss(np.sum(pairs * SIDES, axis=-2), label), axis=-1)

    return mean


def squared_error(reward: Array, rating: Array) -> Array:
    """(R(x, y) - z)^2, for ratings z (eq-mse). RLHF Deciphered, eq. 7."""
    return (reward - rating) ** 2


def ranking_loss(reward: Array) -> Array:
    """- log probability of a ranking of K answers, their rewards (..., K) best first: (...) (eq-ranking-loss).

    Plackett-Luce: sum over places k of log sum_(j >= k) exp(R_j) - R_k. With K = 2 it is Bradley-Terry.
    """
    *better, rest = np.split(reward, reward.shape[-1], axis=-1)  # gradients of slices are slow
    total = 0.0 * rest
    for one in better[::-1]:
        rest = np.logaddexp(rest, one)
        total = total + rest - one
    return np.reshape(total, reward.shape[:-1])


def segment_reward(token_reward: Array, mask: Array) -> Array:
    """sum_t r_t over the tokens of a segment, (..., N, T) to (..., N): people judge the sum (eq-segments).

    Christiano et al. 2017. `mask` is 1 on the segment and 0 elsewhere, as from `lm.response_mask`. With the advantages
    A*(s_t, a_t) in the place of rewards, it is minus the regret of the segment (eq-regret).
    """
    return np.sum(masked(token_reward, mask), axis=-1)


def misclick_loss(margin: Array, label: Array = 1.0, *, rate: float) -> Array:
    """Cross-entropy of the label and (1 - epsilon) sigmoid(m) + epsilon / 2; `rate` is epsilon (eq-misclick-loss).

    At most - log(epsilon / 2): no comparison, however absurd, can cost more. Christiano et al. 2017.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate is the share of coin flips, in (0, 1); got {rate}; without any, use bradley_terry_loss")
    sure, flip = np.log(1 - rate), np.log(rate / 2)
    won = np.logaddexp(sure - np.logaddexp(0.0, -margin), flip)
    lost = np.logaddexp(sure - np.logaddexp(0.0, margin), flip)
    return -label * won - (1 - label) * lost


def ties_loss(margin: Array, label: Array, *, log_tie: Array) -> Array:
    """- log probability of label 0, 1/2 or 1 if ties are an answer of their own, `log_tie` = log nu (eq-ties-loss).

    Davidson 1970: the weights of loss, tie and win are exp(-m/2), nu and exp(m/2).
    """
    total = np.logaddexp(np.logaddexp(-margin / 2, margin / 2), log_tie)
    return total - (label - 0.5) * margin - (label == 0.5) * log_tie

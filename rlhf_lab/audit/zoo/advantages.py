"""More ways in which advantages go wrong.

    gamma discount    lambda trace    G groups of k answers to one prompt

Arrays are those of `zoo.returns`.
"""

import autograd.numpy as np

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.returns import EPS, gae, grpo, rloo, shifted, swept, whiten
from rlhf_lab.numerics.autodiff import Array


def ends_ignored(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Nothing stops at an end: values and TD errors of what stands behind it flow into the advantages. Cut both off."""
    return swept(rewards + gamma * shifted(values) - values, gamma * lam) * mask


def value_not_subtracted(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your TD error does not subtract the value of the token itself. It is r_t + gamma V_(t+1) - V_t."""
    delta = (rewards + gamma * shifted(values * mask)) * mask
    return swept(delta, gamma * lam) * mask


def lambda_missing(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """You do not use lambda: TD errors are added up with gamma alone. Let the trace decay by gamma lambda."""
    delta = (rewards + gamma * shifted(values * mask) - values) * mask
    return swept(delta, gamma) * mask


def trace_without_gamma(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your trace decays by lambda alone. Let it decay by gamma lambda."""
    delta = (rewards + gamma * shifted(values * mask) - values) * mask
    return swept(delta, lam) * mask


def trace_missing(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """You return TD errors, as if lambda were 0: each token hears of the next value only. Add them up, with
    gamma lambda for each step."""
    return (rewards + gamma * shifted(values * mask) - values) * mask


def bootstrap_forgotten(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """You leave out the value behind the last step, where a trajectory was cut and has no end. Bootstrap with it."""
    before = mask * shifted(mask)  # the last step that counts stands for what was cut off
    delta = (rewards + gamma * shifted(values * before) - values) * before
    return swept(delta, gamma * lam) * before


def dr_grpo(rewards: Array) -> Array:
    """r_i less the mean of its group."""
    return rewards - np.mean(rewards, axis=-1, keepdims=True)


def deviation_kept(rewards: Array) -> Array:
    """You divide by the standard deviation of the group, which Dr. GRPO leaves out. Subtract the mean only."""
    mean = np.mean(rewards, axis=-1, keepdims=True)
    return (rewards - mean) / (np.sqrt(np.mean((rewards - mean) ** 2, axis=-1, keepdims=True)) + EPS)


def divided_by_variance(rewards: Array) -> Array:
    """You divide by the variance of the group. Divide by the standard deviation, its root."""
    mean = np.mean(rewards, axis=-1, keepdims=True)
    return (rewards - mean) / (np.mean((rewards - mean) ** 2, axis=-1, keepdims=True) + EPS)


def mean_not_subtracted(rewards: Array) -> Array:
    """You divide by the standard deviation, and do not subtract the mean of the group. Subtract it first."""
    deviation = np.sqrt(np.var(rewards, axis=-1, keepdims=True))
    return rewards / (deviation + EPS)


def mean_of_the_batch(rewards: Array) -> Array:
    """You compare with the mean of the whole batch: answers to easy prompts look good, those to hard ones bad. Compare
    the answers to one prompt with each other."""
    mean = np.mean(rewards, axis=(-1, -2), keepdims=True)
    return (rewards - mean) / (np.sqrt(np.var(rewards, axis=(-1, -2), keepdims=True)) + EPS)


def batch_for_others(rewards: Array) -> Array:
    """Your baseline is the mean over the whole batch, other prompts with it. Take that of the other answers to the same
    prompt."""
    count = rewards.shape[-1] * rewards.shape[-2]
    return rewards - (np.sum(rewards, axis=(-1, -2), keepdims=True) - rewards) / (count - 1)


def cut_the_wrong_way(rewards: Array) -> Array:
    """You cut the flat rewards into k rows of G, so that groups hold answers to different prompts. Cut them into G rows
    of k."""
    turned = np.reshape(rewards, (*rewards.shape[:-2], rewards.shape[-1], rewards.shape[-2]))
    mean = np.mean(turned, axis=-2, keepdims=True)
    deviation = np.sqrt(np.mean((turned - mean) ** 2, axis=-2, keepdims=True))
    return np.reshape((turned - mean) / (deviation + EPS), rewards.shape)


def advantage_turned(rewards: Array) -> Array:
    """Your advantage is the baseline less the reward, and teaches what is worse than average. Turn it round."""
    k = rewards.shape[-1]
    return (np.sum(rewards, axis=-1, keepdims=True) - rewards) / (k - 1) - rewards


def grpo_turned(rewards: Array) -> Array:
    """Your advantage is the mean less the reward, and teaches what is worse than average. Turn it round."""
    mean = np.mean(rewards, axis=-1, keepdims=True)
    return (mean - rewards) / (np.sqrt(np.mean((rewards - mean) ** 2, axis=-1, keepdims=True)) + EPS)


def deviation_not_rooted(advantage: Array, mask: Array) -> Array:
    """You divide by the variance. Divide by the standard deviation, its root."""
    count = np.sum(mask, axis=(-1, -2), keepdims=True)
    mean = np.sum(advantage * mask, axis=(-1, -2), keepdims=True) / count
    variance = np.sum((advantage - mean) ** 2 * mask, axis=(-1, -2), keepdims=True) / count
    return (advantage - mean) / (variance + 1e-8) * mask


def whitened_by_place(advantage: Array, mask: Array) -> Array:
    """You whiten each place of the texts by itself, over the wrong axis. Take mean and deviation over all tokens of the
    batch."""
    count = np.maximum(np.sum(mask, axis=-2, keepdims=True), 1.0)
    mean = np.sum(advantage * mask, axis=-2, keepdims=True) / count
    variance = np.sum((advantage - mean) ** 2 * mask, axis=-2, keepdims=True) / count
    return (advantage - mean) / (np.sqrt(variance) + 1e-8) * mask


def mean_left_in(advantage: Array, mask: Array) -> Array:
    """You divide by the deviation and leave the mean in. Subtract it, unless these are rewards, whose mean says what
    they are worth."""
    count = np.sum(mask, axis=(-1, -2), keepdims=True)
    mean = np.sum(advantage * mask, axis=(-1, -2), keepdims=True) / count
    variance = np.sum((advantage - mean) ** 2 * mask, axis=(-1, -2), keepdims=True) / count
    return advantage / (np.sqrt(variance) + 1e-8) * mask


def deviation_missing(advantage: Array, mask: Array) -> Array:
    """You subtract the mean and do not divide by the deviation. Divide by it."""
    count = np.sum(mask, axis=(-1, -2), keepdims=True)
    return (advantage - np.sum(advantage * mask, axis=(-1, -2), keepdims=True) / count) * mask


def next_not_discounted(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your TD error does not discount the next value. It is r_t + gamma V_(t+1) - V_t."""
    delta = (rewards + shifted(values * mask) - values) * mask
    return swept(delta, gamma * lam) * mask


def both_discounted(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your TD error discounts both values, as where a bracket is wrong. It is r_t + gamma V_(t+1) - V_t."""
    delta = (rewards + gamma * (shifted(values * mask) - values)) * mask
    return swept(delta, gamma * lam) * mask


def next_subtracted(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your TD error subtracts the next value. Add it: r_t + gamma V_(t+1) - V_t."""
    delta = (rewards - gamma * shifted(values * mask) - values) * mask
    return swept(delta, gamma * lam) * mask


def value_added(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your TD error adds the value of the token itself. Subtract it: r_t + gamma V_(t+1) - V_t."""
    delta = (rewards + gamma * shifted(values * mask) + values) * mask
    return swept(delta, gamma * lam) * mask


def values_turned(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your TD error has the values the wrong way round. It is r_t + gamma V_(t+1) - V_t."""
    delta = (rewards - gamma * shifted(values * mask) + values) * mask
    return swept(delta, gamma * lam) * mask


def own_value_next(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Your TD error takes V_t in place of the next value, one index too early: what comes after a step is not seen. It
    is r_t + gamma V_(t+1) - V_t."""
    delta = (rewards + gamma * values * shifted(mask) - values) * mask
    return swept(delta, gamma * lam) * mask


def last_on_itself(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    """You put the last value of an answer behind itself, where nothing follows. Put 0 there."""
    own = values * (mask - shifted(mask))
    return swept((rewards + gamma * (shifted(values * mask) + own) - values) * mask, gamma * lam) * mask


def groups_tiled(rewards: Array) -> Array:
    """You repeat the means of the groups as a whole, 1 2 3 1 2 3, where the answers of a group stand together: 1 1 2 2
    3 3. Repeat each by itself, as repeat_interleave does."""
    groups, k = rewards.shape[-2:]
    whose = np.arange(groups * k).reshape(groups, k) % groups
    mean, deviation = np.mean(rewards, axis=-1), np.sqrt(np.var(rewards, axis=-1))
    return (rewards - mean[..., whose]) / (deviation[..., whose] + EPS)


def deviation_multiplied(advantage: Array, mask: Array) -> Array:
    """You multiply by the deviation. Divide by it."""
    count = np.sum(mask, axis=(-1, -2), keepdims=True)
    mean = np.sum(advantage * mask, axis=(-1, -2), keepdims=True) / count
    variance = np.sum((advantage - mean) ** 2 * mask, axis=(-1, -2), keepdims=True) / count
    return (advantage - mean) * np.sqrt(variance) * mask


def scaled_to_the_range(advantage: Array, mask: Array) -> Array:
    """You scale to the range from 0 to 1: no advantage is negative, and the extremes set the size. Subtract the mean,
    and divide by the standard deviation."""
    low = np.min(np.where(mask > 0, advantage, np.inf), axis=(-1, -2), keepdims=True)
    high = np.max(np.where(mask > 0, advantage, -np.inf), axis=(-1, -2), keepdims=True)
    return (advantage - low) / (high - low + 1e-8) * mask


BUGS = (
    bug("ends ignored", "gae", ends_ignored, gae, "sec-policy-gradients"),
    bug("value not subtracted", "gae", value_not_subtracted, gae, "sec-policy-gradients"),
    bug("lambda missing", "gae", lambda_missing, gae, "sec-policy-gradients"),
    bug("trace without gamma", "gae", trace_without_gamma, gae, "sec-policy-gradients"),
    bug("trace missing", "gae", trace_missing, gae, "sec-policy-gradients"),
    bug("bootstrap forgotten", "gae", bootstrap_forgotten, gae, "sec-policy-gradients"),
    bug("deviation kept", "advantages", deviation_kept, dr_grpo, "sec-policy-gradients"),
    bug("divided by the variance", "advantages", divided_by_variance, grpo, "sec-policy-gradients"),
    bug("mean not subtracted", "advantages", mean_not_subtracted, grpo, "sec-policy-gradients"),
    bug("mean of the batch", "advantages", mean_of_the_batch, grpo, "sec-policy-gradients"),
    bug("baseline of the batch", "advantages", batch_for_others, rloo, "sec-policy-gradients"),
    bug("leave-one-out turned round", "advantages", advantage_turned, rloo, "sec-policy-gradients"),
    bug("group advantage turned round", "advantages", grpo_turned, grpo, "sec-policy-gradients"),
    bug("whitened by the variance", "whiten", deviation_not_rooted, whiten, "sec-ppo"),
    bug("whitened place by place", "whiten", whitened_by_place, whiten, "sec-ppo"),
    bug("mean left in", "whiten", mean_left_in, whiten, "sec-ppo"),
    bug("deviation missing", "whiten", deviation_missing, whiten, "sec-ppo"),
    bug("groups cut the wrong way", "advantages", cut_the_wrong_way, grpo, "sec-policy-gradients"),
    bug("next value not discounted", "gae", next_not_discounted, gae, "sec-policy-gradients"),
    bug("both values discounted", "gae", both_discounted, gae, "sec-policy-gradients"),
    bug("next value subtracted", "gae", next_subtracted, gae, "sec-policy-gradients"),
    bug("value added", "gae", value_added, gae, "sec-policy-gradients"),
    bug("values the wrong way round", "gae", values_turned, gae, "sec-policy-gradients"),
    bug("own value in place of the next", "gae", own_value_next, gae, "sec-policy-gradients"),
    bug("last value behind itself", "gae", last_on_itself, gae, "sec-policy-gradients"),
    bug("means of groups tiled", "advantages", groups_tiled, grpo, "sec-policy-gradients"),
    bug("multiplied by the deviation", "whiten", deviation_multiplied, whiten, "sec-ppo"),
    bug("scaled to the range", "whiten", scaled_to_the_range, whiten, "sec-ppo"),
)

"""Losses of comparisons, and how they go wrong.

    h margin, the log-ratio of the chosen answer less that of the rejected one    beta, tau KL weights

Arguments and results are (..., N), one number for each comparison; `...` are seeds.
"""

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.numerics.autodiff import Array

SMOOTHING = 0.1


def log_sigmoid(x: Array) -> Array:
    """-log(1 + exp(-x)), without overflow."""
    return -np.logaddexp(0.0, -x)


def dpo_loss(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """-log sigmoid(beta h), from log-probabilities of whole answers."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(beta * h)


def beta_twice(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You multiply the margin by beta twice, as reward and again in the loss. Multiply once."""
    chosen = beta * (policy_chosen - reference_chosen)
    rejected = beta * (policy_rejected - reference_rejected)
    return -log_sigmoid(beta * (chosen - rejected))


def beta_missing(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You do not use beta. Multiply the margin by it."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(h)


def beta_divides(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You divide the margin by beta. Multiply by it: a larger beta keeps the policy nearer to the reference."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(h / beta)


def reference_missing(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You do not use the reference. Subtract its log-probabilities from those of the policy."""
    h = policy_chosen - policy_rejected
    return -log_sigmoid(beta * h)


def reference_not_frozen(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your reference is the policy itself: the margin is 0 and so is the gradient. Keep a frozen copy of the start."""
    h = (policy_chosen - policy_chosen) - (policy_rejected - policy_rejected)
    return -log_sigmoid(beta * h)


def reference_remade(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your reference is a copy of the policy of this very step, so the margin is always 0 and nothing holds the policy
    back. Copy it once, before training."""
    h = (policy_chosen - getval(policy_chosen)) - (policy_rejected - getval(policy_rejected))
    return -log_sigmoid(beta * h)


def reference_crossed(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You take the reference of the rejected answer from the chosen one, and the other way round, which is the same as
    adding its log-ratio. Subtract each from its own answer."""
    h = (policy_chosen - reference_rejected) - (policy_rejected - reference_chosen)
    return -log_sigmoid(beta * h)


def answers_swapped(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You have chosen and rejected the wrong way round, and train for what people reject. Exchange the two."""
    h = (policy_rejected - reference_rejected) - (policy_chosen - reference_chosen)
    return -log_sigmoid(beta * h)


def ratios_not_logs(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your margin is a difference of ratios of probabilities. Take the difference of log-ratios."""
    h = np.exp(policy_chosen - reference_chosen) - np.exp(policy_rejected - reference_rejected)
    return -log_sigmoid(beta * h)


def log_missing(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your loss is 1 - sigmoid(beta h), without the logarithm, so that the worst pairs get the smallest gradient. Take
    -log sigmoid."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return 1 - np.exp(log_sigmoid(beta * h))


def mean_inside(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You average the margins of the batch before the loss. Take the loss of each pair first, and average then."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(beta * np.mean(h, axis=-1, keepdims=True)) * np.ones(h.shape)


def logarithm_of_mean(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You average probabilities and take the logarithm of the mean: pairs that are right hide those that are wrong.
    Take logarithms first, and average then."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -np.log(np.mean(np.exp(log_sigmoid(beta * h)), axis=-1, keepdims=True)) * np.ones(h.shape)


def smoothing_reversed(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your label smoothing trusts the wrong side: the loss of the right label has to get 1 - smoothing, not
    smoothing."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -SMOOTHING * log_sigmoid(beta * h) - (1 - SMOOTHING) * log_sigmoid(-beta * h)


def ipo_loss(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """(h - 1 / (2 tau))^2."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (h - 1 / (2 * tau)) ** 2


def target_doubled(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """Your margin is pulled to 1 / tau, twice as far as it should be. The target is 1 / (2 tau)."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (h - 1 / tau) ** 2


def margin_scaled(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You multiply the margin by tau and still pull it to 1 / (2 tau). IPO takes the margin in nats, as it is."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (tau * h - 1 / (2 * tau)) ** 2


def reward_model_loss(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """-log sigmoid(R(y_w) - R(y_l))."""
    return -log_sigmoid(chosen_rewards - rejected_rewards)


def rewards_swapped(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """Your loss teaches to prefer the rejected answer. Subtract its reward from that of the chosen one."""
    return -log_sigmoid(rejected_rewards - chosen_rewards)


def averaged_twice(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You divide by the number of pairs in the loss of each pair, and the mean divides again: gradients shrink with the
    size of the batch. Divide once."""
    return -log_sigmoid(chosen_rewards - rejected_rewards) / chosen_rewards.shape[-1]


def sigmoid_twice(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You give a probability to a loss that expects a margin, so that the sigmoid is taken twice and the loss cannot
    fall below 0.31. Hand over the difference of the rewards."""
    return -log_sigmoid(np.exp(log_sigmoid(chosen_rewards - rejected_rewards)))


def each_by_itself(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You classify each answer as good or bad by itself. A comparison says only which of two is better: take the
    difference of the rewards before the sigmoid."""
    return -log_sigmoid(chosen_rewards) - log_sigmoid(-rejected_rewards)


BUGS = (
    bug("beta twice", "dpo_loss", beta_twice, dpo_loss, "sec-dpo"),
    bug("beta missing", "dpo_loss", beta_missing, dpo_loss, "sec-dpo"),
    bug("beta divides", "dpo_loss", beta_divides, dpo_loss, "sec-dpo"),
    bug("reference missing", "dpo_loss", reference_missing, dpo_loss, "sec-dpo"),
    bug("reference not frozen", "dpo_loss", reference_not_frozen, dpo_loss, "sec-dpo"),
    bug("reference re-made each step", "dpo_loss", reference_remade, dpo_loss, "sec-moving-reference"),
    bug("reference crossed", "dpo_loss", reference_crossed, dpo_loss, "sec-dpo"),
    bug("chosen and rejected swapped", "dpo_loss", answers_swapped, dpo_loss, "sec-dpo"),
    bug("ratios in place of log-ratios", "dpo_loss", ratios_not_logs, dpo_loss, "sec-dpo"),
    bug("logarithm missing", "dpo_loss", log_missing, dpo_loss, "sec-dpo"),
    bug("mean inside the loss", "dpo_loss", mean_inside, dpo_loss, "sec-dpo"),
    bug("logarithm of the mean in DPO", "dpo_loss", logarithm_of_mean, dpo_loss, "sec-dpo"),
    bug("smoothing reversed", "dpo_loss", smoothing_reversed, dpo_loss, "sec-smoothing"),
    bug("target twice as far", "ipo_loss", target_doubled, ipo_loss, "sec-preference-losses"),
    bug("margin scaled by tau", "ipo_loss", margin_scaled, ipo_loss, "sec-preference-losses"),
    bug("rewards swapped", "reward_model_loss", rewards_swapped, reward_model_loss, "sec-reward-modeling"),
    bug("averaged twice", "reward_model_loss", averaged_twice, reward_model_loss, "sec-reward-modeling"),
    bug("sigmoid twice", "reward_model_loss", sigmoid_twice, reward_model_loss, "sec-reward-modeling"),
    bug("each answer by itself", "reward_model_loss", each_by_itself, reward_model_loss, "sec-reward-modeling"),
)

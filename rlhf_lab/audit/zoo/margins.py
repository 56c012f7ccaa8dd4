"""More ways in which the margin and the loss of DPO go wrong; `pairs` has the right function."""

import autograd.numpy as np

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.pairs import dpo_loss, log_sigmoid
from rlhf_lab.numerics.autodiff import Array

CLIP = 2.0


def beta_on_policy(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You multiply only the policy's log-probabilities by beta. Multiply the whole margin, the reference's share of
    it, too."""
    h = beta * (policy_chosen - policy_rejected) - (reference_chosen - reference_rejected)
    return -log_sigmoid(h)


def beta_on_reference(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You multiply only the reference's log-probabilities by beta. Multiply the whole margin, the policy's share of
    it, too."""
    h = (policy_chosen - policy_rejected) - beta * (reference_chosen - reference_rejected)
    return -log_sigmoid(h)


def beta_on_chosen(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You multiply only the log-ratio of the chosen answer by beta. Multiply that of the rejected one, too."""
    h = beta * (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(h)


def beta_outside(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You multiply the loss by beta, not the margin: beta is then a step size and holds the policy nowhere. Put it
    inside."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -beta * log_sigmoid(h)


def half_reference(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You subtract the reference from the chosen answer only. Subtract it from the rejected one, too."""
    h = (policy_chosen - reference_chosen) - policy_rejected
    return -log_sigmoid(beta * h)


def ratios_added(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You add the log-ratios of the two answers, so that the rejected one is made likelier, too. Take their
    difference."""
    h = (policy_chosen - reference_chosen) + (policy_rejected - reference_rejected)
    return -log_sigmoid(beta * h)


def rejected_ignored(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your loss sees only the chosen answer. Subtract the log-ratio of the rejected one before the sigmoid."""
    return -log_sigmoid(beta * (policy_chosen - reference_chosen))


def ratios_apart(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You take the sigmoid of each log-ratio by itself. A comparison says only which of two is better: subtract
    first."""
    chosen, rejected = policy_chosen - reference_chosen, policy_rejected - reference_rejected
    return -log_sigmoid(beta * chosen) - log_sigmoid(-beta * rejected)


def hinge(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your loss is a hinge, max(0, 1 - beta h): that is SLiC, not DPO. Take -log sigmoid(beta h)."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return np.maximum(0.0, 1 - beta * h)


def square(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your loss is the square of IPO, (h - 1 / (2 beta))^2. That of DPO is -log sigmoid(beta h)."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (h - 1 / (2 * beta)) ** 2


def sigmoid_missing(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your loss is -beta h, without -log sigmoid: pairs that are right already pull as hard as wrong ones, without
    end."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -beta * h


def sigmoid_of_sigmoid(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You give a probability to a loss that expects a margin, so that the sigmoid is taken twice. Hand over beta
    h."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(np.exp(log_sigmoid(beta * h)))


def all_pairs(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your shapes broadcast: each chosen answer is compared with the rejected ones of all prompts. Compare within
    pairs."""
    chosen, rejected = policy_chosen - reference_chosen, policy_rejected - reference_rejected
    return np.mean(-log_sigmoid(beta * (chosen[..., :, None] - rejected[..., None, :])), axis=-1)


def loss_averaged_twice(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You divide by the number of pairs in the loss of each pair, and the mean divides again: gradients shrink with the
    size of the batch. Divide once."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(beta * h) / h.shape[-1]


def probabilities(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your margin is made of probabilities. Take log-probabilities: rare answers do not count otherwise."""
    chosen = np.exp(policy_chosen) - np.exp(reference_chosen)
    return -log_sigmoid(beta * (chosen - np.exp(policy_rejected) + np.exp(reference_rejected)))


def ratios_of_logs(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You divide log-probabilities by log-probabilities. The log of a ratio is a difference: subtract."""
    return -log_sigmoid(beta * (policy_chosen / reference_chosen - policy_rejected / reference_rejected))


def sum_inside(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You add up the margins of the batch before the loss, so that easy pairs hide hard ones. Take the loss of each
    pair first."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(beta * np.sum(h, axis=-1, keepdims=True)) * np.ones(h.shape)


def size_of_margin(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You take the size of the margin, so that it does not matter which answer is preferred. Keep its sign."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(beta * np.abs(h))


def half_of_beta(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You multiply the margin by half of beta. Multiply by beta."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(beta / 2 * h)


def double_beta(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You multiply the margin by 2 beta. Multiply by beta."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(2 * beta * h)


def brackets_missing(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You subtract both log-probabilities of the reference, as where brackets are missing: a - b - c - d. That of the
    rejected answer has to be added."""
    h = policy_chosen - policy_rejected - reference_chosen - reference_rejected
    return -log_sigmoid(beta * h)


def margin_clipped(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """You clip the margin: a pair that is wrong by more than that has no gradient, and is never put right. Leave it
    out."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(beta * np.clip(h, -CLIP, CLIP))


def exponential(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    """Your loss is exp(-beta h), so that one mis-click outweighs all other pairs. Take -log sigmoid(beta h)."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return np.exp(-beta * h)


BUGS = (
    bug("beta on the policy only", "dpo_loss", beta_on_policy, dpo_loss, "sec-dpo"),
    bug("beta on the reference only", "dpo_loss", beta_on_reference, dpo_loss, "sec-dpo"),
    bug("beta on the chosen answer only", "dpo_loss", beta_on_chosen, dpo_loss, "sec-dpo"),
    bug("beta outside the sigmoid", "dpo_loss", beta_outside, dpo_loss, "sec-dpo"),
    bug("reference of the chosen answer only", "dpo_loss", half_reference, dpo_loss, "sec-dpo"),
    bug("log-ratios added", "dpo_loss", ratios_added, dpo_loss, "sec-dpo"),
    bug("rejected answer ignored", "dpo_loss", rejected_ignored, dpo_loss, "sec-dpo"),
    bug("log-ratios apart", "dpo_loss", ratios_apart, dpo_loss, "sec-dpo"),
    bug("hinge in place of logistic", "dpo_loss", hinge, dpo_loss, "sec-dpo"),
    bug("square in place of logistic", "dpo_loss", square, dpo_loss, "sec-dpo"),
    bug("sigmoid missing", "dpo_loss", sigmoid_missing, dpo_loss, "sec-dpo"),
    bug("sigmoid twice in DPO", "dpo_loss", sigmoid_of_sigmoid, dpo_loss, "sec-dpo"),
    bug("every pair of the batch", "dpo_loss", all_pairs, dpo_loss, "sec-dpo"),
    bug("averaged twice in DPO", "dpo_loss", loss_averaged_twice, dpo_loss, "sec-dpo"),
    bug("probabilities in place of logs", "dpo_loss", probabilities, dpo_loss, "sec-dpo"),
    bug("ratios of logs", "dpo_loss", ratios_of_logs, dpo_loss, "sec-dpo"),
    bug("sum inside the loss", "dpo_loss", sum_inside, dpo_loss, "sec-dpo"),
    bug("size of the margin", "dpo_loss", size_of_margin, dpo_loss, "sec-dpo"),
    bug("half of beta", "dpo_loss", half_of_beta, dpo_loss, "sec-dpo"),
    bug("2 beta", "dpo_loss", double_beta, dpo_loss, "sec-dpo"),
    bug("brackets missing", "dpo_loss", brackets_missing, dpo_loss, "sec-dpo"),
    bug("margin clipped", "dpo_loss", margin_clipped, dpo_loss, "sec-dpo"),
    bug("exponential in place of logistic in DPO", "dpo_loss", exponential, dpo_loss, "sec-dpo"),
)

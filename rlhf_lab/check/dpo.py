"""What the checkers of the chapter "Direct preference optimisation" know: answer keys, cases and typical mistakes."""

from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths, wide
from rlhf_lab.methods import direct
from rlhf_lab.numerics.autodiff import Array, log_softmax

BETAS = (0.3, 0.5, 2.0)


def sigmoid(z: Array) -> Array:
    """Return the logistic function."""
    return np.exp(-np.logaddexp(0.0, -z))


def _centred(reward: Array) -> Array:
    return np.asarray(reward - reward.mean(axis=1, keepdims=True))


def _implicit_reward(log_pi: Array, log_pi_0: Array, beta: float) -> Array:
    return _centred(direct.implicit_reward(log_pi, log_pi_0, beta))


def _implicit_reward_case(rng: Generator) -> Case:
    shape = wide(rng)
    return log_probs(rng, *shape), log_probs(rng, *shape), float(rng.choice(BETAS))


def _implicit_reward_mistakes(log_pi: Array, log_pi_0: Array, beta: float) -> dict[str, Any]:
    ratio = log_pi - log_pi_0
    reward = beta * ratio
    return {
        "You forgot beta: multiply the log-ratio by it.": _centred(ratio),
        "You divide by beta; multiply by it.": _centred(ratio / beta),
        "The sign is flipped: it is log pi minus log pi_0.": -_centred(reward),
        "It is not centred: subtract from each row its mean.": reward,
        "You subtract the mean over the batch axis; each row has a mean of its own.": reward - reward.mean(0),
        "You subtract one mean from all prompts; each row has a mean of its own.": reward - reward.mean(),
        "You forgot the reference: subtract log pi_0.": _centred(beta * log_pi),
        "You divide logarithms; the logarithm of a ratio is their difference.": _centred(beta * log_pi / log_pi_0),
        "You take the ratio of probabilities; take its logarithm.": _centred(beta * np.exp(ratio)),
        "You centre under the policy, as an advantage is; subtract the plain mean of each row.": (
            reward - (np.exp(log_pi) * reward).sum(1, keepdims=True)
        ),
    }


IMPLICIT_REWARD = Exercise(
    "implicit_reward",
    "one number for each prompt and answer",
    _implicit_reward,
    _implicit_reward_case,
    _implicit_reward_mistakes,
    traits=lambda log_pi, log_pi_0, beta: {"there is only one prompt": len(log_pi) == 1},
)


def _four(rng: Generator) -> Case:
    count = int(rng.integers(1, 6))
    return (*(-rng.integers(1, 61, size=(4, count)) / 10), float(rng.choice(BETAS)))


def _dpo_loss(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    return direct.dpo(direct.margin(policy_chosen, policy_rejected, reference_chosen, reference_rejected), beta)


def _dpo_loss_mistakes(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> dict[str, Any]:
    policy, reference = policy_chosen - policy_rejected, reference_chosen - reference_rejected
    h, loss = policy - reference, partial(direct.dpo, beta=beta)
    return {
        "You averaged over the batch; return the loss of each comparison.": loss(h).mean(),
        "You summed over the batch; return the loss of each comparison.": loss(h).sum(),
        "The sign is flipped: a loss is minus the log-likelihood.": -loss(h),
        "Chosen and rejected are swapped: the loss must fall as the chosen gains.": loss(-h),
        "You forgot the reference: compare log-ratios, not log-probabilities.": loss(policy),
        "You add the reference's part; subtract it. Chosen stands against chosen.": loss(policy + reference),
        "You forgot beta: the margin is multiplied by it.": direct.dpo(h, 1.0),
        "You divide the margin by beta; multiply by it.": loss(h / beta**2),
        "You multiply the loss by beta; multiply the margin, inside the sigmoid.": beta * direct.dpo(h, 1.0),
        "That is the margin of the rewards: go on through the sigmoid and the logarithm.": beta * h,
        "That is the probability of the label: return minus its logarithm.": sigmoid(beta * h),
        "You use logarithms to base 2; the book uses natural ones.": loss(h) / np.log(2),
    }


DPO_LOSS = Exercise(
    "dpo_loss",
    "one number for each comparison",
    _dpo_loss,
    _four,
    _dpo_loss_mistakes,
    traits=lambda policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta: {
        "there is only one comparison": len(policy_chosen) == 1
    },
    hard=(
        (
            "It is right for small margins, but large ones overflow: np.logaddexp(0, -z) is -log sigmoid(z) for all z.",
            (np.array([-9e3, -1.0]), np.array([-1.0, -9e3]), np.array([-2.0, -2.0]), np.array([-2.0, -2.0]), 2.0),
        ),
    ),
)


def _dpo_weight(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    return direct.dpo_weight(direct.margin(policy_chosen, policy_rejected, reference_chosen, reference_rejected), beta)


def _dpo_weight_mistakes(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> dict[str, Any]:
    policy, reference = policy_chosen - policy_rejected, reference_chosen - reference_rejected
    h = policy - reference
    right = direct.dpo_weight(h, beta)
    return {
        "You forgot the factor beta in front, from the chain rule.": right / beta,
        "That is the derivative, which is negative; return its size.": -right,
        "The sign inside is flipped: the weight is large where the policy is wrong.": direct.dpo_weight(-h, beta),
        "You forgot beta inside the sigmoid.": beta * sigmoid(-h),
        "You forgot beta, inside the sigmoid and in front of it.": sigmoid(-h),
        "You differentiated the sigmoid; differentiate minus its logarithm.": right * sigmoid(beta * h),
        "You forgot the reference: compare log-ratios, not log-probabilities.": direct.dpo_weight(policy, beta),
        "You add the reference's part; subtract it.": direct.dpo_weight(policy + reference, beta),
        "That is the loss; return how fast it falls with the margin.": direct.dpo(h, beta),
        "You averaged over the batch; return the weight of each comparison.": right.mean(),
    }


DPO_WEIGHT = Exercise("dpo_weight", "one number for each comparison", _dpo_weight, _four, _dpo_weight_mistakes)


def _dpo_step(logits: Array, log_pi_0: Array, chosen: int, rejected: int, beta: float, step_size: float) -> Array:
    g_w, g_l = np.eye(len(logits))[[chosen, rejected]]  # less the policy, which cancels
    u = logits - log_pi_0
    return logits - step_size * direct.dpo_gradient(g_w, g_l, u[chosen] - u[rejected], beta)


def _dpo_step_case(rng: Generator) -> Case:
    count = int(rng.integers(3, 7))
    chosen, rejected = (int(k) for k in rng.permutation(count)[:2])
    beta, step_size = float(rng.choice(BETAS)), float(rng.choice((0.5, 1.5, 4.0)))
    return tenths(rng, count), log_probs(rng, count), chosen, rejected, beta, step_size


def _dpo_step_mistakes(
    logits: Array, log_pi_0: Array, chosen: int, rejected: int, beta: float, step_size: float
) -> dict[str, Any]:
    up, down = np.eye(len(logits))[[chosen, rejected]]
    u = logits - log_pi_0
    h = u[chosen] - u[rejected]
    step = step_size * beta * sigmoid(-beta * h) * (up - down)
    right = logits + step
    unanchored = beta * sigmoid(-beta * (logits[chosen] - logits[rejected]))
    return {
        "The sign is flipped: the chosen answer gains, and the rejected one loses.": logits - step,
        "You forgot the rejected answer: its logit falls as far as the chosen one's rises.": np.where(
            up, right, logits
        ),
        "You forgot the reference: the weight depends on the margin of log-ratios.": (
            logits + step_size * unanchored * (up - down)
        ),
        "You forgot the factor beta in front of the sigmoid.": logits + step / beta,
        "You forgot the weight: wrong comparisons move the policy more.": logits + step_size * (up - down),
        "The sign inside the sigmoid is flipped: a comparison that is right moves little.": (
            logits + step_size * beta * sigmoid(beta * h) * (up - down)
        ),
        "That is the step alone; return the new logits.": step,
        "You return log-probabilities; return logits: those of the other answers do not change.": log_softmax(right),
    }


DPO_STEP = Exercise("dpo_step", "one logit for each answer", _dpo_step, _dpo_step_case, _dpo_step_mistakes)

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


def _lost_reference(log_pi: Array, reward: Array, beta: float) -> Array:
    return np.asarray(log_softmax(log_pi - reward / beta))


def _lost_reference_case(rng: Generator) -> Case:
    shape = wide(rng)
    return log_probs(rng, *shape), tenths(rng, *shape), float(rng.choice(BETAS))


def _lost_reference_mistakes(log_pi: Array, reward: Array, beta: float) -> dict[str, Any]:
    left, right = log_pi - reward / beta, _lost_reference(log_pi, reward, beta)
    return {
        "You forgot beta: divide the reward by it.": log_softmax(log_pi - reward),
        "You multiply the reward by beta; divide by it.": log_softmax(log_pi - beta * reward),
        "The sign is flipped: the policy has the reward in it, so take it away.": log_softmax(log_pi + reward / beta),
        "It is not normalised: the probabilities of each row sum to 1.": left,
        "You normalise over the batch axis; each row sums to 1.": np.swapaxes(
            log_softmax(np.swapaxes(left, 0, 1)), 0, 1
        ),
        "You subtract from each row its mean; that does not make its probabilities sum to 1.": (
            left - left.mean(1, keepdims=True)
        ),
        "You return probabilities; return their logarithms.": np.exp(right),
        "You forgot the policy: subtract the reward from log pi.": log_softmax(-reward / beta),
    }


LOST_REFERENCE = Exercise(
    "lost_reference",
    "one number for each prompt and answer",
    _lost_reference,
    _lost_reference_case,
    _lost_reference_mistakes,
    traits=lambda log_pi, reward, beta: {"there is only one prompt": len(log_pi) == 1},
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

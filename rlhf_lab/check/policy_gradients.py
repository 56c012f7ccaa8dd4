"""What the checkers of the chapters on policy gradients and PPO know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths, wide
from rlhf_lab.methods import actor_critic, policy_gradient
from rlhf_lab.numerics.autodiff import Array


def scores(policy: Array, drawn: Array) -> Array:
    """Return the gradients of log pi of the answers drawn (N,) in the logits of a table, (N, A)."""
    return np.eye(len(policy))[drawn] - policy


def _reinforce_gradient(policy: Array, drawn: Array, advantage: Array) -> Array:
    return (advantage[:, None] * scores(policy, drawn)).mean(0)


def normalised(advantage: Array) -> Array:
    """Return advantages with mean 0 and deviation 1."""
    return np.asarray((advantage - advantage.mean()) / (advantage.std() + 1e-8))


def _reinforce_gradient_case(rng: Generator) -> Case:
    answers, count = int(rng.integers(2, 5)), int(rng.integers(5, 9))
    return np.exp(log_probs(rng, answers)), rng.integers(answers, size=count), tenths(rng, count)


def _reinforce_gradient_mistakes(policy: Array, drawn: Array, advantage: Array) -> dict[str, Any]:
    right, one_hot = _reinforce_gradient(policy, drawn, advantage), np.eye(len(policy))[drawn]
    return {
        "You forgot minus pi: the score of a softmax is the one-hot answer minus the probabilities.": (
            advantage[:, None] * one_hot
        ).mean(0),
        "You sum over the answers that were drawn; take their mean.": right * len(drawn),
        "You divide by the number of possible answers; divide by the number that was drawn.": (
            right * len(drawn) / len(policy)
        ),
        "The sign is flipped: this is the gradient of the loss, the way down.": -right,
        "You weigh each answer with its probability; it was drawn with that probability already.": (
            (policy[drawn] * advantage)[:, None] * scores(policy, drawn)
        ).mean(0),
        "That is the gradient in the probabilities; go on through the softmax to the logits.": (
            advantage[:, None] * one_hot / policy
        ).mean(0),
        "You forgot the advantages: this is the gradient of the plain log-likelihood.": scores(policy, drawn).mean(0),
        "You return one row for each answer that was drawn; take the mean over them.": (
            advantage[:, None] * scores(policy, drawn)
        ),
        "You centre the advantages; here they are used as they are.": _reinforce_gradient(
            policy, drawn, advantage - advantage.mean()
        ),
        "You normalise the advantages; here they are used as they are.": _reinforce_gradient(
            policy, drawn, normalised(advantage)
        ),
    }


REINFORCE_GRADIENT = Exercise(
    "reinforce_gradient",
    "one number for each possible answer",
    _reinforce_gradient,
    _reinforce_gradient_case,
    _reinforce_gradient_mistakes,
)


def _rloo_case(rng: Generator) -> Case:
    rows, columns = wide(rng)
    return (tenths(rng, rows + 1, columns + 2),)


def _rloo_mistakes(f: Array) -> dict[str, Any]:
    k = f.shape[1]
    own, right = f - f.mean(1, keepdims=True), policy_gradient.rloo_advantages(f)
    return {
        "Your mean holds the answer itself: leave it out, and divide by k - 1.": own,
        "You leave the answer out of the sum, but divide by k; there are k - 1 others.": (
            f - (f.sum(1, keepdims=True) - f) / k
        ),
        "Your baseline is the mean of the whole batch; take the others in the same group.": f - f.mean(),
        "You average over the prompts; average over the answers to one prompt, the last axis.": (f - f.mean(0)),
        "You return the baseline; subtract it from f.": f - right,
        "The sign is flipped: an answer better than the others has a positive advantage.": -right,
        "You divide by the standard deviation: that is GRPO.": own / f.std(1, ddof=1, keepdims=True),
        "You subtract the best of the others; subtract their mean.": f - _best_other(f),
    }


def _best_other(f: Array) -> Array:
    return np.stack([np.delete(f, j, axis=1).max(1) for j in range(f.shape[1])], axis=1)


RLOO_ADVANTAGES = Exercise(
    "rloo_advantages", "one number for each answer", policy_gradient.rloo_advantages, _rloo_case, _rloo_mistakes
)


def _gae(rewards: Array, values: Array, gamma: float, lam: float) -> Array:
    return actor_critic.gae(rewards, values, np.ones(rewards.shape), gamma, lam)


def _gae_case(rng: Generator) -> Case:
    length = int(rng.integers(2, 7))
    gamma, lam = float(rng.choice([0.5, 0.8, 0.9])), float(rng.choice([0.3, 0.6, 0.95]))
    return tenths(rng, length), tenths(rng, length), gamma, lam


def _gae_mistakes(rewards: Array, values: Array, gamma: float, lam: float) -> dict[str, Any]:
    right, length = _gae(rewards, values, gamma, lam), len(rewards)

    def sweep(errors: Array, decay: float) -> Array:
        gap = np.arange(length) - np.arange(length)[:, None]
        return np.where(gap >= 0, decay ** np.maximum(gap, 0), 0.0) @ errors

    following = np.append(values[1:], 0.0)
    errors = rewards + gamma * following - values
    past = np.array([sum((gamma * lam) ** (t - k) * errors[k] for k in range(t + 1)) for t in range(length)])
    return {
        "You forgot lambda: you return the discounted return minus the value, GAE of lambda = 1.": sweep(errors, gamma),
        "You forgot gamma in the sum: the weights are powers of gamma lambda.": sweep(errors, lam),
        "You forgot gamma in the TD error: it is r + gamma V(next) - V.": sweep(
            rewards + following - values, gamma * lam
        ),
        "You forgot to subtract the values: a TD error is r + gamma V(next) - V.": sweep(
            rewards + gamma * following, gamma * lam
        ),
        "Behind the last token there is no value; you count the last one twice.": sweep(
            errors + np.where(np.arange(length) == length - 1, gamma * values, 0.0), gamma * lam
        ),
        "You return the TD errors: sum them up, with weights (gamma lambda)^k.": errors,
        "You return A + V, the targets of the critic.": right + values,
        "You sum over the past; A_t looks forward.": past,
        "The sign is flipped.": -right,
        "Your advantages are one token late: A_t begins with the TD error of step t.": np.append(right[1:], 0.0),
        "You dropped gamma, in the TD error and in the weights.": sweep(rewards + following - values, lam),
        "You ignore the values: that sums rewards, not TD errors.": sweep(rewards, gamma * lam),
        "You centre the advantages; that is for the loss to do.": right - right.mean(),
        "You normalise the advantages; that is for the loss to do.": normalised(right),
    }


GAE = Exercise("gae", "one number for each token", _gae, _gae_case, _gae_mistakes)

"""What the checkers of the chapter "PPO, and how to watch it" know: answer keys, cases and typical mistakes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.check.policy_gradients import normalised, scores
from rlhf_lab.methods import actor_critic
from rlhf_lab.numerics.autodiff import Array, log_softmax


def _ppo_loss(log_pi: Array, log_old: Array, advantage: Array, clip_range: float) -> Array:
    return actor_critic.ppo_loss(
        log_pi[:, None], log_old[:, None], advantage[:, None], np.ones((len(log_pi), 1)), clip_range
    )


def _ppo_case(rng: Generator) -> Case:
    count = int(rng.integers(5, 9))
    log_old = -rng.integers(1, 30, size=count) / 10
    ratio = rng.choice([0.5, 0.7, 0.85, 0.95, 1.05, 1.15, 1.4, 1.8], size=count)
    advantage = rng.choice([-1, 1], size=count) * rng.integers(1, 30, size=count) / 10
    return log_old + np.log(ratio), log_old, advantage, float(rng.choice([0.1, 0.2, 0.3]))


def _ppo_mistakes(log_pi: Array, log_old: Array, advantage: Array, clip_range: float) -> dict[str, Any]:
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    plain, clipped = ratio * advantage, held * advantage
    wrong: dict[str, Any] = {
        "The sign is flipped: a loss goes down when good tokens become likelier.": np.minimum(plain, clipped).mean(),
        "You take the maximum of the two; the minimum is the cautious one.": -np.maximum(plain, clipped).mean(),
        "You forgot to clip the ratio.": -plain.mean(),
        "You always use the clipped ratio; take the minimum with the plain one, or mistakes cannot be undone.": (
            -clipped.mean()
        ),
        "Your ratio is upside down: it is pi / pi_old.": _ppo_loss(log_old, log_pi, advantage, clip_range),
        "You use the difference of log-probabilities as the ratio; exponentiate it.": -np.minimum(
            (log_pi - log_old) * advantage, np.clip(log_pi - log_old, 1 - clip_range, 1 + clip_range) * advantage
        ).mean(),
        "You clip to [-epsilon, epsilon]; clip to [1 - epsilon, 1 + epsilon].": -np.minimum(
            plain, np.clip(ratio, -clip_range, clip_range) * advantage
        ).mean(),
        "You clip the product; clip the ratio, then multiply by the advantage.": -np.minimum(
            plain, np.clip(plain, 1 - clip_range, 1 + clip_range)
        ).mean(),
        "You sum over the tokens; take the mean.": -np.minimum(plain, clipped).sum(),
        "You return one number for each token; take the mean.": -np.minimum(plain, clipped),
        "You take the minimum of the ratios, then multiply; where A is negative that is the larger product. "
        "Multiply first.": -(np.minimum(ratio, held) * advantage).mean(),
        "You normalise the advantages; here they are used as they are.": _ppo_loss(
            log_pi, log_old, normalised(advantage), clip_range
        ),
    }
    return wrong


PPO_LOSS = Exercise("ppo_loss", "one number, the mean over the tokens", _ppo_loss, _ppo_case, _ppo_mistakes)


def _passes(
    policy: Array,
    drawn: Array,
    advantage: Array,
    clip_range: float,
    step_size: float,
    passes: int,
    weight: Callable[[Array, Array], Array] | None = None,
    start: Callable[[Array, Array], Array] = lambda policy, now: policy,
    scores: Callable[[Array, Array, Array], Array] = lambda policy, now, drawn: scores(now, drawn),
) -> Array:
    def free(ratio: Array, advantage: Array) -> Array:
        return np.where(advantage > 0, ratio < 1 + clip_range, ratio > 1 - clip_range) * ratio * advantage

    now = policy
    for _ in range(passes):
        ratio = now[drawn] / start(policy, now)[drawn]
        step = (weight or free)(ratio, advantage) @ scores(policy, now, drawn) / len(drawn)
        now = np.exp(log_softmax(np.log(now) + step_size * step))
    return now


def _passes_case(rng: Generator) -> Case:
    answers, count = int(rng.integers(3, 6)), int(rng.integers(6, 10))
    advantage = rng.choice([-1, 1], size=count) * rng.integers(5, 30, size=count) / 10
    policy, drawn = np.exp(log_probs(rng, answers) / 2), rng.integers(answers, size=count)
    return policy / policy.sum(), drawn, advantage, 0.2, float(rng.choice([0.5, 1.0])), int(rng.integers(3, 6))


def _passes_mistakes(
    policy: Array, drawn: Array, advantage: Array, clip_range: float, step_size: float, passes: int
) -> dict[str, Any]:
    case = policy, drawn, advantage, clip_range, step_size, passes
    right = _passes(*case)

    def inside(ratio: Array, advantage: Array) -> Array:
        return (np.abs(ratio - 1) < clip_range) * ratio * advantage

    return {
        "You never clip: where the ratio has gone far enough, the gradient is zero.": _passes(
            *case, weight=lambda ratio, advantage: ratio * advantage
        ),
        "You forgot the ratio: the gradient of u A is u A times the score.": _passes(
            *case,
            weight=lambda ratio, advantage: (
                np.where(advantage > 0, ratio < 1 + clip_range, ratio > 1 - clip_range) * advantage
            ),
        ),
        "You clip on both sides; a token that moved the wrong way must be free to come back.": _passes(
            *case, weight=inside
        ),
        "You move pi_old along with the policy: the ratio is to the policy that wrote the answers.": _passes(
            *case, start=lambda policy, now: now
        ),
        "Your scores are those of the old policy: take them at the policy of this pass.": _passes(
            *case, scores=lambda policy, now, drawn: scores(policy, drawn)
        ),
        "You take one pass only.": _passes(*case[:-1], 1),
        "You sum over the answers; take their mean.": _passes(*case[:4], step_size * len(drawn), passes),
        "The sign is flipped: a step down the loss makes good answers likelier.": _passes(
            *case[:4], -step_size, passes
        ),
        "You return log-probabilities; return probabilities.": np.log(right),
    }


PPO_PASSES = Exercise("ppo_passes", "the probability of each answer", _passes, _passes_case, _passes_mistakes)


def _explained_variance(values: Array, returns: Array) -> Array:
    return 1 - np.var(returns - values) / np.var(returns)


def _explained_variance_case(rng: Generator) -> Case:
    count = int(rng.integers(4, 9))
    values = tenths(rng, count) + np.arange(count)
    return values, values + tenths(rng, count) / 2 + 1


def _explained_variance_mistakes(values: Array, returns: Array) -> dict[str, Any]:
    right, total = _explained_variance(values, returns), np.var(returns)
    return {
        "You return the share that is left; subtract it from 1.": 1 - right,
        "You count a constant error as unexplained: take the variance of G - V, not the mean of its square.": 1
        - np.mean((returns - values) ** 2) / total,
        "You compare the variance of the values with that of the returns; a wild critic would look good.": np.var(
            values
        )
        / total,
        "You return the squared correlation, which forgives a wrong scale.": np.corrcoef(values, returns)[0, 1] ** 2,
        "You divide by the variance of the values; divide by that of the returns.": 1
        - np.var(returns - values) / np.var(values),
        "You take standard deviations; take variances.": 1 - np.std(returns - values) / np.std(returns),
        "You forgot to divide by the variance of the returns.": total - np.var(returns - values),
    }


EXPLAINED_VARIANCE = Exercise(
    "explained_variance", "one number", _explained_variance, _explained_variance_case, _explained_variance_mistakes
)

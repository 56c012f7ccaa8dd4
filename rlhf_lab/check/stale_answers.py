"""What the checkers of the chapter "Answers that are no longer fresh" know: answer keys, cases, typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise
from rlhf_lab.methods import group_ends, group_losses
from rlhf_lab.numerics.autodiff import Array


def _effective_share(log_pi: Array, log_old: Array) -> Array:
    return group_ends.effective_share(log_pi - log_old)


def _effective_share_case(rng: Generator) -> Case:
    count = int(rng.integers(3, 8))
    log_old = -rng.integers(30, 60, size=count) / 10
    return log_old + rng.integers(-20, 21, size=count) / 10, log_old


def _effective_share_mistakes(log_pi: Array, log_old: Array) -> dict[str, Any]:
    w = np.exp(log_pi - log_old)
    right = _effective_share(log_pi, log_old)
    normal = w / w.sum()
    return {
        "You return the effective number of answers; divide by how many there are.": right * len(w),
        "Your weights are upside down: they are pi / pi_old.": _effective_share(log_old, log_pi),
        "You use log-ratios as weights; exponentiate them.": (log_pi - log_old).sum() ** 2
        / (len(w) * ((log_pi - log_old) ** 2).sum()),
        "You forgot to square the sum of the weights.": w.sum() / (len(w) * (w**2).sum()),
        "You return the variance of the weights.": w.var(),
        "That is the inverse of it.": 1 / right,
        "You use the entropy of the weights, another measure; here it is the sum of squares.": np.exp(
            -(normal * np.log(normal)).sum()
        )
        / len(w),
        "Your weights are probabilities of pi alone; divide by those of pi_old.": _effective_share(
            log_pi, np.zeros(len(w))
        ),
    }


EFFECTIVE_SHARE = Exercise(
    "effective_share", "one number", _effective_share, _effective_share_case, _effective_share_mistakes
)


def _free(ratio: Array, advantage: Array, low: float, high: float) -> Array:
    return np.where(advantage > 0, ratio < 1 + high, ratio > 1 - low)


def _pulls(ratio: Array, advantage: Array, low: float, high: float) -> Array:
    return _free(ratio, advantage, low, high) * ratio * advantage


def _pulls_case(rng: Generator) -> Case:
    count = int(rng.integers(4, 9))
    ratio = rng.choice([0.5, 0.7, 0.75, 0.81, 0.85, 0.95, 1.05, 1.15, 1.25, 1.32, 1.35, 1.45, 1.6], size=count)
    advantage = rng.choice([-1, 1], size=count) * rng.integers(2, 25, size=count) / 10
    return ratio, advantage, float(rng.choice([0.1, 0.2])), float(rng.choice([0.28, 0.3, 0.4]))


def _pulls_mistakes(ratio: Array, advantage: Array, low: float, high: float) -> dict[str, Any]:
    inside = (ratio < 1 + high) & (ratio > 1 - low)
    return {
        "You never clip.": ratio * advantage,
        "You forgot the ratio: the gradient of w A is w A grad log pi.": _free(ratio, advantage, low, high) * advantage,
        "You drop every token outside the range; one that moved the wrong way must be free to come back.": inside
        * ratio
        * advantage,
        "You use one epsilon for both sides, `low`.": _pulls(ratio, advantage, low, low),
        "You use one epsilon for both sides, `high`.": _pulls(ratio, advantage, high, high),
        "`low` and `high` are exchanged.": _pulls(ratio, advantage, high, low),
        "A clipped token keeps no gradient: you give it that of the bound, as CISPO does.": np.clip(
            ratio, 1 - low, 1 + high
        )
        * advantage,
        "The sign is flipped: return what the step adds to log pi, not the gradient of the loss.": -_pulls(
            ratio, advantage, low, high
        ),
        "You ask whether the ratio is above or below 1; the bounds are 1 - low and 1 + high.": np.where(
            advantage > 0, ratio < 1, ratio > 1
        )
        * ratio
        * advantage,
        "You hold the log-ratio within the bounds; they are bounds of the ratio, 1 - low and 1 + high.": np.where(
            advantage > 0, np.log(ratio) < high, np.log(ratio) > -low
        )
        * ratio
        * advantage,
        "You return what a token earns, min(w A, clip(w) A); asked is its slope, which is 0 where the clip holds.": (
            np.minimum(ratio * advantage, np.clip(ratio, 1 - low, 1 + high) * advantage)
        ),
        "You stop tokens that moved against their advantage; those that moved with it have gone far enough.": _free(
            ratio, -advantage, low, high
        )
        * ratio
        * advantage,
    }


PULLS = Exercise("pulls", "the pull at each token", _pulls, _pulls_case, _pulls_mistakes)


def _gspo_loss(log_pi: Array, log_old: Array, advantage: Array, mask: Array, epsilon: float) -> Array:
    each = group_losses.clipped(group_losses.mean_ratio, epsilon, epsilon)(log_pi, log_old, advantage, mask)
    return np.asarray(group_losses.sequence_mean(each, mask))


def _gspo_loss_case(rng: Generator) -> Case:
    n, longest = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    lengths = rng.permutation(np.append(rng.integers(1, longest, size=n - 1), longest))
    log_old = -rng.integers(7, 30, size=(n, longest)) / 10
    log_pi = log_old + rng.integers(-6, 7, size=(n, longest)) / 10
    advantage = rng.choice([-1, 1], size=n) * rng.integers(2, 25, size=n) / 10
    return log_pi, log_old, advantage, 1.0 * (np.arange(longest) < lengths[:, None]), float(rng.choice([0.05, 0.1]))


def _gspo_loss_mistakes(log_pi: Array, log_old: Array, advantage: Array, mask: Array, epsilon: float) -> dict[str, Any]:
    def of(log_ratio: Array, low: float = epsilon) -> Array:
        w = np.exp(log_ratio)
        return -np.minimum(w * advantage, np.clip(w, 1 - low, 1 + epsilon) * advantage).mean()

    step = ((log_pi - log_old) * mask).sum(1)
    count = mask.sum(1)
    w = np.exp(step / count)
    return {
        "You forgot the root: the log-ratio of the answer is divided by its length.": of(step),
        "You forgot the mask: what stands behind the end does not count.": of((log_pi - log_old).mean(1)),
        "You divide by the length of a row; divide by the number of tokens of the answer.": of(step / mask.shape[1]),
        "Your ratio is upside down: it is pi / pi_old.": of(-step / count),
        "The sign is flipped: a loss goes down when good answers become likelier.": -of(step / count),
        "You forgot to clip.": -(w * advantage).mean(),
        "You forgot the minimum: where w A is the smaller of the two, it counts.": -(
            np.clip(w, 1 - epsilon, 1 + epsilon) * advantage
        ).mean(),
        "You take the mean over tokens, so that long answers count more; it is a mean over answers.": (
            -(np.minimum(w * advantage, np.clip(w, 1 - epsilon, 1 + epsilon) * advantage) * count).sum() / count.sum()
        ),
        "You take the mean of the tokens' ratios; it is their geometric mean.": -np.minimum(
            _mean_of_ratios(log_pi, log_old, mask) * advantage,
            np.clip(_mean_of_ratios(log_pi, log_old, mask), 1 - epsilon, 1 + epsilon) * advantage,
        ).mean(),
        "You clip each token's ratio, as GRPO does; here the answer has one.": np.asarray(
            group_losses.sequence_mean(
                group_losses.clipped(low=epsilon, high=epsilon)(log_pi, log_old, advantage, mask), mask
            )
        ),
        "You sum over the answers; take their mean.": of(step / count) * len(w),
        "You return one number for each answer; take the mean.": -np.minimum(
            w * advantage, np.clip(w, 1 - epsilon, 1 + epsilon) * advantage
        ),
    }


def _mean_of_ratios(log_pi: Array, log_old: Array, mask: Array) -> Array:
    return np.asarray((np.exp(log_pi - log_old) * mask).sum(1) / mask.sum(1))


GSPO_LOSS = Exercise("gspo_loss", "one number, the mean over answers", _gspo_loss, _gspo_loss_case, _gspo_loss_mistakes)

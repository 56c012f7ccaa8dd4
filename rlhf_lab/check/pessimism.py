"""What the checkers of the chapter "Pessimism" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths, wide
from rlhf_lab.methods import pessimism
from rlhf_lab.numerics.autodiff import Array


def _elliptical_bonus_case(rng: Generator) -> Case:
    size, answers = wide(rng)
    compared = tenths(rng, size + 2, size)
    return tenths(rng, answers, size), tenths(rng, size), np.round(pessimism.offline_covariance(compared, 0.5), 2)


def _elliptical_bonus_mistakes(features: Array, reference: Array, covariance: Array) -> dict[str, Any]:
    away, inverse = features - reference, np.linalg.inv(covariance)
    squared, root = np.einsum("ad,de,ae->a", away, inverse, away), np.sqrt(np.diag(inverse))
    return {
        "You forgot the root: the bonus is a norm, not its square.": squared,
        "You forgot the reference: subtract phi(x, pi_0) first.": np.sqrt(
            np.einsum("ad,de,ae->a", features, inverse, features)
        ),
        "You forgot to invert Sigma: what was compared often is certain.": np.sqrt(
            np.einsum("ad,de,ae->a", away, covariance, away)
        ),
        "That is the plain length: use the norm of Sigma^-1.": np.linalg.norm(away, axis=1),
        "You use the diagonal of Sigma^-1 only; features are correlated.": np.linalg.norm(away * root, axis=1),
        "You multiply by Sigma^-1 and take the length: put it between the two vectors, once.": np.linalg.norm(
            away @ inverse, axis=1
        ),
        "You return one number for all answers: sum over the features, not over the answers.": np.sqrt(squared.sum()),
        "The sign is flipped: return the uncertainty itself, which is not negative.": -np.sqrt(squared),
    }


ELLIPTICAL_BONUS = Exercise(
    "elliptical_bonus",
    "one number for each answer",
    pessimism.uncertainty,
    _elliptical_bonus_case,
    _elliptical_bonus_mistakes,
    traits=lambda features, reference, covariance: {"there is one feature": features.shape[1] == 1},
)


def _lcb(features: Array, reference: Array, theta: Array, uncertainty: Array, c: float) -> Array:
    return (features - reference) @ theta - c * len(theta) ** 0.5 * uncertainty


def _lcb_case(rng: Generator) -> Case:
    size, answers = wide(rng)
    c = float(rng.choice([0.0, 0.5, 1.0, 2.0]))
    return tenths(rng, answers, size), tenths(rng, size), tenths(rng, size), np.abs(tenths(rng, answers)), c


def _lcb_mistakes(features: Array, reference: Array, theta: Array, uncertainty: Array, c: float) -> dict[str, Any]:
    reward, d = (features - reference) @ theta, len(theta)
    width = c * np.sqrt(d) * uncertainty
    return {
        "You add the bonus: that is optimism. Subtract it.": reward + width,
        "You forgot sqrt(d): the bonus grows with the number of features.": reward - c * uncertainty,
        "You multiply by d; multiply by its root.": reward - c * d * uncertainty,
        "You forgot c.": reward - np.sqrt(d) * uncertainty,
        "You forgot the uncertainty: that is the plain, centred reward.": reward,
        "You forgot the reference in the reward: subtract phi(x, pi_0) there too.": features @ theta - width,
        "d is the number of features, not of answers.": reward - c * np.sqrt(len(features)) * uncertainty,
        "You return the width of the bound only: subtract it from the reward.": width,
        "You square the uncertainty: subtract the norm itself.": reward - c * np.sqrt(d) * uncertainty**2,
    }


LCB_REWARD = Exercise(
    "lcb_reward",
    "one number for each answer",
    _lcb,
    _lcb_case,
    _lcb_mistakes,
    traits=lambda features, reference, theta, uncertainty, c: {
        "c is 0": c == 0,
        "there is one feature": len(theta) == 1,
    },
)


def _coverage(policy: Array, pretrained: Array, features: Array, difference: Array, precision: float) -> Array:
    covariance = pessimism.offline_covariance(difference, precision)
    reference = pessimism.expected_features(np.log(pretrained), features)
    return pessimism.coverage_coefficient(np.log(policy), features, reference, covariance, len(difference))


def _coverage_case(rng: Generator) -> Case:
    size, answers = wide(rng)
    answers, pairs = answers + 1, size + int(rng.integers(1, 4))  # without the prior, Sigma is invertible too
    policy, pretrained = np.exp(log_probs(rng, 2, answers))
    return policy, pretrained, tenths(rng, answers, size), tenths(rng, pairs, size), float(rng.choice([0.5, 1.0, 2.0]))


def _coverage_mistakes(
    policy: Array, pretrained: Array, features: Array, difference: Array, precision: float
) -> dict[str, Any]:
    count = len(difference)
    gram, ridge = difference.T @ difference, precision * np.eye(features.shape[1])

    def coefficient(covariance: Array, reference: Array, weights: Array = policy) -> Any:
        return count**0.5 * weights @ pessimism.uncertainty(features, reference, covariance)

    middle, right = pretrained @ features, coefficient(gram + ridge, pretrained @ features)
    inverse = np.linalg.inv(gram + ridge)
    away = policy @ features - middle
    return {
        "You forgot sqrt(n): without it the coefficient falls as data come in.": right / count**0.5,
        "You multiply by n; multiply by its root.": right * count**0.5,
        "You average over pi_0; C* asks where the optimum goes: weigh with policy.": coefficient(
            gram + ridge, middle, pretrained
        ),
        "You measure from the mean of policy; the reference is that of pretrained.": coefficient(
            gram + ridge, policy @ features
        ),
        "You took the norm of the mean difference; take the mean of the norms.": count**0.5
        * np.sqrt(away @ inverse @ away),
        "You forgot the prior: Sigma begins with lambda I.": coefficient(gram, middle),
        "You divide the sum in Sigma by n; the root of n stands outside already.": coefficient(
            gram / count + ridge, middle
        ),
        "You forgot the reference: subtract phi(x, pi_0) first.": coefficient(gram + ridge, np.zeros_like(middle)),
        "You forgot the root in the norm.": count**0.5
        * policy
        @ pessimism.uncertainty(features, middle, gram + ridge) ** 2,
    }


COVERAGE_COEFFICIENT = Exercise(
    "coverage_coefficient",
    "one number",
    _coverage,
    _coverage_case,
    _coverage_mistakes,
)


def _needed_caution(learned: Array, reward: Array, uncertainty: Array, size: int) -> Any:
    return max(0.0, float(np.max((learned - reward) / uncertainty)) / size**0.5)


def _needed_caution_case(rng: Generator) -> Case:
    answers = int(rng.integers(2, 6))
    low = float(rng.choice([0.0, 0.0, 3.0]))
    return tenths(rng, answers) - low, tenths(rng, answers), np.abs(tenths(rng, answers)) + 0.1, int(rng.integers(2, 6))


def _needed_caution_mistakes(learned: Array, reward: Array, uncertainty: Array, size: int) -> dict[str, Any]:
    ratio, root = (learned - reward) / uncertainty, size**0.5
    return {
        "You forgot sqrt(d): c is multiplied by it.": max(0.0, ratio.max()),
        "You divide by d; divide by its root.": max(0.0, ratio.max() / size),
        "You multiply by sqrt(d); divide by it.": max(0.0, ratio.max() * root),
        "You average over the answers; the bound must hold for each.": max(0.0, ratio.mean() / root),
        "You take the smallest ratio; the worst answer decides.": max(0.0, ratio.min() / root),
        "You forgot the uncertainty: divide the error of each answer by it.": max(0.0, (learned - reward).max() / root),
        "You count an answer that is judged too low as an error too: a lower bound may be low.": np.abs(ratio).max()
        / root,
        "You subtract the other way round: learned minus reward.": max(0.0, (-ratio).max() / root),
        "c is at least 0: where nothing is judged too high, no caution is needed.": ratio.max() / root,
    }


NEEDED_CAUTION = Exercise(
    "needed_caution",
    "one number",
    _needed_caution,
    _needed_caution_case,
    _needed_caution_mistakes,
    traits=lambda learned, reward, uncertainty, size: {
        "no answer is judged too high": bool((learned <= reward).all()),
    },
)

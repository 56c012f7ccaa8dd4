"""What the checkers of the chapter "Inclusive models" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import expit, logit

from rlhf_lab.check.diagnosis import Case, Exercise, tenths
from rlhf_lab.methods import ilhf
from rlhf_lab.numerics.autodiff import Array


def _loss_case(rng: Generator) -> Case:
    count = int(rng.integers(1, 7))
    return -abs(tenths(rng, count)), -abs(tenths(rng, count)), rng.integers(2, size=count).astype(float)


def _loss_mistakes(first: Array, second: Array, label: Array) -> dict[str, Any]:
    each = np.logaddexp(0, np.where(label == 1, second - first, first - second))
    chosen: Array = np.where(label == 1, first, second)
    return {
        "You sum over the pairs; the loss is their mean.": each.sum(),
        "You return one loss for each pair; the loss is their mean.": each,
        "The sign is flipped: the loss falls when the chosen answer becomes likelier.": -each.mean(),
        "Label 1 means that the first was chosen; you have it the other way around.": np.mean(
            np.logaddexp(0, np.where(label == 1, first - second, second - first))
        ),
        "You maximise the probability of the chosen answer; Q divides it by that of both.": -chosen.mean(),
        "You forgot the logarithm: the loss is - log Q, not 1 - Q.": np.mean(1 - np.exp(-each)),
        "You use log-probabilities as if they were probabilities: exponentiate before you divide.": np.mean(
            -np.log(np.abs(chosen) / (np.abs(first + second)) + 1e-300)
        ),
        "You use logarithms to base 2; the book uses natural ones.": each.mean() / np.log(2),
    }


ILHF_LOSS = Exercise(
    "ilhf_loss",
    "one number, the mean over the pairs",
    ilhf.loss,
    _loss_case,
    _loss_mistakes,
    traits=lambda first, second, label: {
        "every label is 1": (label == 1).all(),
        "there is only one pair": len(label) == 1,
    },
    hard=(
        (
            "It is right for likely answers, but the probability of a long text is 0 in floating point: work with the "
            "difference of the log-probabilities.",
            (np.array([-2000.0, -1500.0]), np.array([-2001.0, -3000.0]), np.array([1.0, 0.0])),
        ),
    ),
)


def _slope_case(rng: Generator) -> Case:
    return rng.integers(1, 20, size=int(rng.integers(1, 7))) / 20, float(rng.integers(1, 10) / 10)


def _slope_mistakes(p: Array, p_people: float) -> dict[str, Any]:
    differ = 2 * p * (1 - p)
    return {
        "The sign is flipped: above the people's share, the loss rises with the log-odds.": differ * (p_people - p),
        "The two answers can differ in two ways, (1, 0) and (0, 1): you count one.": differ / 2 * (p - p_people),
        "You forgot that equal answers tell nothing: the answers differ with probability 2 p (1 - p).": p - p_people,
        "That is the derivative by p; by the log-odds it has one factor p (1 - p) more.": 2 * (p - p_people),
        "You return the expected gradient for a single answer of REINFORCE; its reward is log l.": (
            -p * (1 - p) * logit(p_people)
        ),
        "You square the gap: the gradient keeps its sign.": differ * (p - p_people) ** 2,
        "You weigh with the chance that people's answers differ; the pairs are the policy's.": (
            2 * p_people * (1 - p_people) * (p - p_people)
        ),
    }


ILHF_COIN_SLOPE = Exercise(
    "ilhf_coin_slope",
    "one number for each probability",
    ilhf.coin_slope,
    _slope_case,
    _slope_mistakes,
    traits=lambda p, p_people: {
        "a probability is 1/2": (p == 0.5).any(),
        "every probability is below the people's share": (p < p_people).all(),
    },
)


def _beta_case(rng: Generator) -> Case:
    people = float(rng.choice([0.1, 0.2, 0.3, 0.4]))
    pre = people + rng.integers(1, 30, size=int(rng.integers(1, 6))) / 60 + 0.003
    return (pre, people) if rng.random() < 0.5 else (1 - pre, 1 - people)


def _beta(p_pre: Array, p_people: float) -> Array:
    return np.array([ilhf.matching_beta(p, p_people) for p in p_pre])


def _beta_mistakes(p_pre: Array, p_people: float) -> dict[str, Any]:
    pre, people = logit(p_pre), logit(p_people)
    gap = people - pre
    return {
        "The sign is flipped: a KL weight is positive.": -people / gap,
        "That is 1 / beta.": gap / people,
        "You use probabilities in place of log-odds.": p_people / (p_people - p_pre),
        "You use log-probabilities in place of log-odds: the other answer changes too.": np.log(p_people)
        / (np.log(p_people) - np.log(p_pre)),
        "You put the pretrained log-odds on top; the reward is the people's.": pre / gap,
        "You add the log-odds; their difference is what the reward must make up for.": people / (people + pre),
    }


MATCHING_BETA = Exercise(
    "matching_beta",
    "one number for each pretrained model",
    _beta,
    _beta_case,
    _beta_mistakes,
    traits=lambda p_pre, p_people: {
        "people want 1 less than half of the time": p_people < 0.5,
        "there is only one pretrained model": len(p_pre) == 1,
    },
)


def _member_case(rng: Generator) -> Case:
    members, pairs, units = (int(rng.integers(low, 5)) for low in (1, 1, 2))
    double = rng.random((members, pairs)) < 0.5
    eta = float(rng.choice([0.0, 0.5, 1.0, 3.0]))
    return abs(tenths(rng, pairs)) + 0.1, double, tenths(rng, members, units), tenths(rng, members, units), eta


def _member_losses(losses: Array, double: Array, phi: Array, start: Array, eta: float) -> Array:
    return np.mean(2.0 * double * losses, axis=-1) + ilhf.anchor(phi, start, eta)


def _member_mistakes(losses: Array, double: Array, phi: Array, start: Array, eta: float) -> dict[str, Any]:
    anchored, fit = eta * ((phi - start) ** 2).sum(-1), np.mean(2 * double * losses, axis=-1)
    return {
        "You weigh with 1 or 0; double is a weight of 2.": fit / 2 + anchored,
        "True means double and False nothing; you have it the other way around.": np.mean(
            2 * (1 - double) * losses, axis=-1
        )
        + anchored,
        "You ignore the coins: a pair counts twice or not at all.": losses.mean() + anchored,
        "You sum over the pairs; the loss is a mean.": np.sum(2 * double * losses, axis=-1) + anchored,
        "You forgot the anchor.": fit,
        "You forgot eta.": fit + ((phi - start) ** 2).sum(-1),
        "You take the mean of the squares; a squared distance is their sum.": fit + anchored / phi.shape[-1],
        "The anchor is a squared distance; you take the distance.": fit + eta * ((phi - start) ** 2).sum(-1) ** 0.5,
        "You pull towards 0; a member is held near its own start.": fit + eta * (phi**2).sum(-1),
        "You return the sum over the members; each has a loss of its own.": (fit + anchored).sum(),
    }


MEMBER_LOSSES = Exercise(
    "member_losses",
    "one number for each member",
    _member_losses,
    _member_case,
    _member_mistakes,
    traits=lambda losses, double, phi, start, eta: {
        "eta is 0": eta == 0,
        "there is only one member": len(double) == 1,
    },
)


def _ratio_case(rng: Generator) -> Case:
    count = int(rng.integers(1, 6))
    return tuple(-abs(tenths(rng, count)) for _ in range(4))


def _ratio(chosen: Array, rejected: Array, chosen_ref: Array, rejected_ref: Array) -> Array:
    return ilhf.score_ratios((chosen, rejected), (chosen_ref, rejected_ref)).geometric


def _ratio_mistakes(chosen: Array, rejected: Array, chosen_ref: Array, rejected_ref: Array) -> dict[str, Any]:
    q, q_ref = expit(chosen - rejected), expit(chosen_ref - rejected_ref)
    s, s_ref = np.log(q).mean(), np.log(q_ref).mean()
    return {
        "You have it the other way around: above 1, the first agent wins.": np.exp(s_ref - s),
        "That is the difference of the scores; exponentiate it.": s - s_ref,
        "That is the ratio of the scores; we take exp of their difference.": s / s_ref,
        "That is the ratio of mean probabilities, which rewards zealots: take means of logarithms.": q.mean()
        / q_ref.mean(),
        "You sum the logarithms; the score is a mean.": np.exp(np.log(q).sum() - np.log(q_ref).sum()),
        "You compare the probabilities of the chosen answers; Q divides by both.": np.exp((chosen - chosen_ref).mean()),
        "You score the rejected answers; people picked the others.": np.exp(
            np.log(1 - q).mean() - np.log(1 - q_ref).mean()
        ),
        "You return one ratio for each pair; take the mean of the logarithms first.": q / q_ref,
    }


INCLUSIVE_RATIO = Exercise(
    "inclusive_ratio",
    "one number",
    _ratio,
    _ratio_case,
    _ratio_mistakes,
    traits=lambda chosen, rejected, chosen_ref, rejected_ref: {
        "there is only one pair": len(chosen) == 1,
        "the first agent wins": float(_ratio(chosen, rejected, chosen_ref, rejected_ref)) > 1,
    },
    hard=(
        (
            "It is right for likely answers, but the probability of a long text is 0 in floating point: work with the "
            "difference of the log-probabilities.",
            (np.array([-2000.0]), np.array([-2001.0]), np.array([-1900.0]), np.array([-1903.0])),
        ),
    ),
)

"""What the checkers of the chapter "What a preference loss asks for" know: answer keys, cases and typical mistakes."""

from functools import partial
from typing import Any

import numpy as np
from autograd import elementwise_grad
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, Function, wants_function
from rlhf_lab.check.dpo import BETAS, sigmoid
from rlhf_lab.methods import direct, margins
from rlhf_lab.numerics.autodiff import Array


def _ipo_share(h: Array, tau: float) -> Array:
    return np.asarray(0.5 + tau * h)


def _ipo_share_case(rng: Generator) -> Case:
    p, tau = rng.integers(1, 20, size=int(rng.integers(1, 7))) / 20, float(rng.choice((0.1, 0.25, 2.0)))
    return margins.ipo_target(p, tau), tau


def _ipo_share_mistakes(h: Array, tau: float) -> dict[str, Any]:
    return {
        "You divide by tau; multiply by it: with a high tau a small margin tells much.": 0.5 + h / tau,
        "You are off by a factor: find the p for which p (h - a)^2 + (1 - p) (h + a)^2, a = 1 / (2 tau), has its "
        "minimum at h.": 0.5 + 2 * tau * h,
        "You add nothing: a margin of 0 says that people see no difference, p = 1/2.": tau * h,
        "That is half of it: add tau h to 1/2, not tau h / 2.": 0.5 + tau * h / 2,
        "That is the share for DPO: a sigmoid. IPO's is linear in h.": sigmoid(tau * h),
        "The sign is flipped: the share is that of people who prefer the first answer.": 0.5 - tau * h,
        "You return h itself; return the share that asked for it.": h,
    }


IPO_SHARE = Exercise("ipo_share", "one number for each comparison", _ipo_share, _ipo_share_case, _ipo_share_mistakes)


def _logistic(z: Array) -> Array:
    return np.logaddexp(0.0, -z)


def _squared(z: Array) -> Array:
    return (z - 1) ** 2


def _exponential(z: Array) -> Array:
    return np.exp(-z)


def _gpo_loss(f: Function, h: Array, p: Array, beta: float) -> Array:
    return direct.expected(lambda m: f(beta * m), h, p)


def _gpo_loss_case(rng: Generator) -> Case:
    f = (_logistic, _squared, _exponential)[int(rng.integers(3))]
    count = int(rng.integers(1, 6))
    return f, rng.integers(-30, 31, size=count) / 10, rng.integers(21, size=count) / 20, float(rng.choice(BETAS))


def _gpo_loss_mistakes(f: Function, h: Array, p: Array, beta: float) -> dict[str, Any]:
    up, down = f(beta * h), f(-beta * h)
    right = p * up + (1 - p) * down
    return {
        "You forgot those who prefer the other answer: they are a share 1 - p, and their margin is -h.": p * up,
        "You take all labels for certain: weigh f(beta h) with p.": up,
        "You turn the loss around, not the margin: the second term is f(-beta h).": p * up - (1 - p) * up,
        "The shares are swapped: p belongs to f(beta h).": (1 - p) * up + p * down,
        "You forgot beta: f takes beta h.": p * f(h) + (1 - p) * f(-h),
        "You divide the margin by beta; multiply by it.": p * f(h / beta) + (1 - p) * f(-h / beta),
        "You average the margins and apply f once; average the losses.": f(beta * (2 * p - 1) * h),
        "You averaged over the batch; return the loss of each comparison.": right.mean(),
    }


GPO_LOSS = Exercise(
    "gpo_loss",
    "one number for each comparison",
    _gpo_loss,
    _gpo_loss_case,
    _gpo_loss_mistakes,
    traits=lambda f, h, p, beta: {"f is the logistic loss": f is _logistic},
)


SHARES = np.array([0.6, 0.7, 0.75, 0.8, 0.9, 0.95])  # of people who prefer the first answer


_MARGINS = np.linspace(-5.0, 5.0, 21)


def own_loss(f: Function) -> str | None:
    """Return what keeps f(z), a loss of the reader's own, from ending at the Gibbs policy, or None if nothing does.

    There is no key: f must be a member of the family that asks for margins in proportion to logits, but not the
    logistic function.
    """
    wants_function("own_loss", f)
    with np.errstate(all="ignore"):
        try:
            value = f(_MARGINS)
        except Exception as error:
            return f"It raises {type(error).__name__}: it must take an array of margins, (N,)."
        if value is None:
            return "It returns None: your code goes where the starter returns None."
        if np.shape(value) != _MARGINS.shape:
            return f"For z of shape {_MARGINS.shape} it returns shape {np.shape(value)}: one number for each z."
        try:
            asked = margins.optimal_margin(margins.gpo(f, 1.0), SHARES)
        except ValueError as refused:
            return f"It is no member of the family: {refused}."
        except TypeError:
            return "It cannot be differentiated: write it with anp, autograd's numpy."
    if not np.isfinite(asked).all():
        return "It asks for infinite margins where people disagree: far to the left it must fall more steeply."
    logits = np.log(SHARES / (1 - SHARES))
    of_ipo, of_slic = 2 * SHARES - 1, np.ones(len(SHARES))
    for curve, told in ((of_ipo, "linear in the share, as those of IPO are"), (of_slic, "equal, as those of SLiC are")):
        if np.allclose(asked / asked[0], curve / curve[0], rtol=1e-6):
            return f"It asks for margins that are {told}; those of the Gibbs policy are logits."
    if not np.allclose(asked / asked[0], logits / logits[0], rtol=1e-6):
        return (
            f"A share of {SHARES[-1]} asks for {asked[-1] / asked[0]:.2f} times the margin of a share of {SHARES[0]}; "
            f"its logit is {logits[-1] / logits[0]:.2f} times as large."
        )
    slope, scale = elementwise_grad(f), logits[0] / asked[0]
    if np.allclose(slope(_MARGINS) / slope(np.zeros(1)), 2 * sigmoid(-scale * _MARGINS), rtol=1e-6):
        return "It is the logistic function, which is DPO: find another."
    return None


def _robust_loss_case(rng: Generator) -> Case:
    h = rng.integers(-30, 31, size=int(rng.integers(1, 6))) / 10
    return h, float(rng.choice(BETAS)), float(rng.choice((0.05, 0.1, 0.3)))


def _robust_loss_mistakes(h: Array, beta: float, flip: float) -> dict[str, Any]:
    loss = partial(direct.dpo, beta=beta)
    right = margins.robust_dpo(h, beta, flip)
    return {
        "That is label smoothing: subtract the second term, and divide by 1 - 2 s.": margins.smoothed_dpo(
            h, beta, flip
        ),
        "You forgot to divide by 1 - 2 s.": right * (1 - 2 * flip),
        "You divide by 1 - s; the two shares differ by 1 - 2 s.": right * (1 - 2 * flip) / (1 - flip),
        "The shares are swapped: 1 - s belongs to the label as it was given.": (
            (flip * loss(h) - (1 - flip) * loss(-h)) / (1 - 2 * flip)
        ),
        "You turn the loss around, not the margin: the second term is the loss at -h.": loss(h) / (1 - 2 * flip),
        "That is DPO, which takes every label for right.": loss(h),
        "You forgot beta: the margin is multiplied by it.": margins.robust_dpo(h, 1.0, flip),
        "You averaged over the batch; return the loss of each comparison.": right.mean(),
    }


ROBUST_LOSS = Exercise(
    "robust_loss", "one number for each comparison", margins.robust_dpo, _robust_loss_case, _robust_loss_mistakes
)

"""What the checkers of the chapter "Direct preference optimisation" know: answer keys, cases and typical mistakes."""

from functools import partial
from typing import Any

import numpy as np
from autograd import elementwise_grad
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, Function, log_probs, tenths, wide
from rlhf_lab.methods import direct
from rlhf_lab.numerics.autodiff import Array, log_softmax

BETAS = (0.3, 0.5, 2.0)


def _sigmoid(z: Array) -> Array:
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
        "That is the probability of the label: return minus its logarithm.": _sigmoid(beta * h),
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
        "You forgot beta inside the sigmoid.": beta * _sigmoid(-h),
        "You forgot beta, inside the sigmoid and in front of it.": _sigmoid(-h),
        "You differentiated the sigmoid; differentiate minus its logarithm.": right * _sigmoid(beta * h),
        "You forgot the reference: compare log-ratios, not log-probabilities.": direct.dpo_weight(policy, beta),
        "You add the reference's part; subtract it.": direct.dpo_weight(policy + reference, beta),
        "That is the loss; return how fast it falls with the margin.": direct.dpo(h, beta),
        "You averaged over the batch; return the weight of each comparison.": right.mean(),
    }


DPO_WEIGHT = Exercise("dpo_weight", "one number for each comparison", _dpo_weight, _four, _dpo_weight_mistakes)


def _ipo_target_case(rng: Generator) -> Case:
    return rng.integers(1, 20, size=int(rng.integers(1, 7))) / 20, float(rng.choice((0.1, 0.25, 2.0)))


def _ipo_target_mistakes(p: Array, tau: float) -> dict[str, Any]:
    return {
        "You multiply by tau; divide by it: a high tau keeps pi near pi_0.": (p - 0.5) * tau,
        "You are off by a factor: of p (h - a)^2 + (1 - p) (h + a)^2, a = 1 / (2 tau), find the minimum.": (
            (2 * p - 1) / tau
        ),
        "You forgot the rejected side: with probability 1 - p the label is turned around.": np.full(
            p.shape, 1 / (2 * tau)
        ),
        "You subtract nothing: people who see no difference, p = 1/2, want no margin.": p / tau,
        "That is half of it: divide p - 1/2 by tau, not by 2 tau.": (p - 0.5) / (2 * tau),
        "That is the target of DPO: a logit. IPO's is linear in p.": np.log(p / (1 - p)) / tau,
        "The sign is flipped: the preferred answer gains.": (0.5 - p) / tau,
        "You return p itself; return the margin that it asks for.": p,
    }


IPO_TARGET = Exercise(
    "ipo_target", "one number for each comparison", direct.ipo_target, _ipo_target_case, _ipo_target_mistakes
)


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
    if not callable(f):
        call = "check.own_loss(your_function)"
        raise TypeError(f"pass the function itself, {call}, not what it returns; got {type(f).__name__}")
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
            asked = direct.optimal_margin(direct.gpo(f, 1.0), SHARES)
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
    if np.allclose(slope(_MARGINS) / slope(np.zeros(1)), 2 * _sigmoid(-scale * _MARGINS), rtol=1e-6):
        return "It is the logistic function, which is DPO: find another."
    return None


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
    step = step_size * beta * _sigmoid(-beta * h) * (up - down)
    right = logits + step
    unanchored = beta * _sigmoid(-beta * (logits[chosen] - logits[rejected]))
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
            logits + step_size * beta * _sigmoid(beta * h) * (up - down)
        ),
        "That is the step alone; return the new logits.": step,
        "You return log-probabilities; return logits: those of the other answers do not change.": log_softmax(right),
    }


DPO_STEP = Exercise("dpo_step", "one logit for each answer", _dpo_step, _dpo_step_case, _dpo_step_mistakes)


def _robust_loss_case(rng: Generator) -> Case:
    h = rng.integers(-30, 31, size=int(rng.integers(1, 6))) / 10
    return h, float(rng.choice(BETAS)), float(rng.choice((0.05, 0.1, 0.3)))


def _robust_loss_mistakes(h: Array, beta: float, flip: float) -> dict[str, Any]:
    loss = partial(direct.dpo, beta=beta)
    right = direct.robust_dpo(h, beta, flip)
    return {
        "That is label smoothing: subtract the second term, and divide by 1 - 2 s.": direct.smoothed_dpo(h, beta, flip),
        "You forgot to divide by 1 - 2 s.": right * (1 - 2 * flip),
        "You divide by 1 - s; the two shares differ by 1 - 2 s.": right * (1 - 2 * flip) / (1 - flip),
        "The shares are swapped: 1 - s belongs to the label as it was given.": (
            (flip * loss(h) - (1 - flip) * loss(-h)) / (1 - 2 * flip)
        ),
        "You turn the loss around, not the margin: the second term is the loss at -h.": loss(h) / (1 - 2 * flip),
        "That is DPO, which takes every label for right.": loss(h),
        "You forgot beta: the margin is multiplied by it.": direct.robust_dpo(h, 1.0, flip),
        "You averaged over the batch; return the loss of each comparison.": right.mean(),
    }


ROBUST_LOSS = Exercise(
    "robust_loss", "one number for each comparison", direct.robust_dpo, _robust_loss_case, _robust_loss_mistakes
)

"""What the checkers of the chapter "Soft values" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.methods import offline, soft_values
from rlhf_lab.numerics.autodiff import Array

LARGE = "It is right for small values, but large ones overflow: subtract the largest before you exponentiate."


def _backup_case(rng: Generator) -> Case:
    n, v = int(rng.integers(1, 3)), int(rng.integers(2, 4))
    return log_probs(rng, n, v), tenths(rng, n, v), tenths(rng, n, v, v), float(rng.choice([0.2, 0.5, 2.0]))


def _soft_backup(log_p: Array, reward: Array, following: Array, price: float) -> Array:
    return log_p + reward / price + soft_values.soft_maximum(following)


def _backup_mistakes(log_p: Array, reward: Array, following: Array, price: float) -> dict[str, Any]:
    soft = soft_values.soft_maximum(following)
    wrong_axis = soft_values.soft_maximum(np.swapaxes(following, -1, -2))
    return {
        "The price divides the reward; you multiply.": log_p + reward * price + soft,
        "You forgot the price: the reward is divided by it.": log_p + reward + soft,
        "You divide all of it by the price; only the reward is.": (log_p + reward + soft) / price,
        "You forgot the prior: log p is earned beside the reward.": reward / price + soft,
        "The sign of log p is flipped.": -log_p + reward / price + soft,
        "You take the maximum; Psi needs the soft one, log sum exp.": log_p + reward / price + following.max(-1),
        "You take the mean of the next values; a soft maximum is log sum exp.": (
            log_p + reward / price + following.mean(-1)
        ),
        "You forgot the logarithm of the sum.": log_p + reward / price + np.exp(following).sum(-1),
        "You sum over the wrong axis: the last one holds the tokens that come next.": (
            log_p + reward / price + wrong_axis
        ),
        "You forgot what follows: the soft value of the next state.": log_p + reward / price,
    }


SOFT_BACKUP = Exercise(
    "soft_backup",
    "one row for each state, one column for each token",
    _soft_backup,
    _backup_case,
    _backup_mistakes,
    hard=((LARGE, (np.log([[0.5, 0.5]]), np.zeros((1, 2)), np.array([[[900.0, 800.0], [-900.0, -901.0]]]), 1.0)),),
)


def _target_case(rng: Generator) -> Case:
    n, t, v = int(rng.integers(1, 4)), int(rng.integers(1, 5)), int(rng.integers(2, 4))
    length = rng.integers(1, t + 1, size=n)
    mask = (np.arange(t) < length[:, None]).astype(float)
    return (
        log_probs(rng, n, t, v)[..., 0],
        tenths(rng, n),
        tenths(rng, n, t, v),
        mask,
        float(rng.choice([0.2, 0.5, 2.0])),
    )


def _parts(mask: Array, psi: Array) -> tuple[Array, Array, Array]:
    end = np.zeros((len(mask), 1))
    after = np.concatenate([mask[:, 1:], end], axis=1)
    value = soft_values.soft_maximum(psi)
    return after, mask - after, np.concatenate([value[:, 1:], end], axis=1)


def _psi_target(log_p: Array, reward: Array, psi: Array, mask: Array, price: float) -> Array:
    after, last, following = _parts(mask, psi)
    return mask * (log_p + last * reward[:, None] / price + after * following)


def _target_mistakes(log_p: Array, reward: Array, psi: Array, mask: Array, price: float) -> dict[str, Any]:
    after, last, following = _parts(mask, psi)
    paid, each = last * reward[:, None] / price, reward[:, None] / price
    own = soft_values.soft_maximum(psi)
    hard = np.concatenate([psi.max(-1)[:, 1:], np.zeros((len(mask), 1))], axis=1)
    beyond = np.concatenate([own[:, 1:], own[:, -1:]], axis=1)
    horizon = np.concatenate([mask[:, 1:], np.ones((len(mask), 1))], axis=1)
    return {
        "Something follows the last token in yours: behind <eos> there is nothing.": mask * (log_p + paid + following),
        "Something follows the horizon in yours: an answer that was cut off has ended, too.": (
            mask * (log_p + paid + horizon * mask * beyond)
        ),
        "Behind the end the target is 0: multiply by the mask.": log_p + paid + after * following,
        "You use the value of the state itself; the target has that of the next one.": (
            mask * (log_p + paid + after * own)
        ),
        "You take the maximum of the next values; Psi needs log sum exp.": mask * (log_p + paid + after * hard),
        "You pay the reward at every token; it is paid with the last one.": mask * (log_p + each + after * following),
        "You pay the reward at the horizon; it is paid with the last token of the answer.": (
            mask * (log_p + (np.arange(mask.shape[1]) == mask.shape[1] - 1) * each + after * following)
        ),
        "You forgot the prior: log p is earned beside the reward.": mask * (paid + after * following),
        "You forgot the price: the reward is divided by it.": mask * (log_p + price * paid + after * following),
        "You divide all of it by the price; only the reward is.": (
            mask * (log_p / price + paid + after * following / price)
        ),
        "You forgot what follows: the soft value of the next state.": mask * (log_p + paid),
    }


PSI_TARGET = Exercise(
    "psi_target",
    "one row for each answer, one column for each token",
    _psi_target,
    _target_case,
    _target_mistakes,
    traits=lambda log_p, reward, psi, mask, price: {
        "all answers reach the horizon": mask.all(),
        "answers have one token": mask.shape[1] == 1,
    },
    hard=(
        (
            LARGE,
            (
                np.array([[-1.0, -2.0]]),
                np.array([1.0]),
                np.array([[[0.0, 1.0], [900.0, 800.0]]]),
                np.ones((1, 2)),
                1.0,
            ),
        ),
    ),
)


def _expectile_case(rng: Generator) -> Case:
    n, v = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    return tenths(rng, n, v), np.exp(log_probs(rng, n, v)), float(rng.choice([0.1, 0.5, 0.7, 0.9]))


def _quantile(q: Array, mu: Array, tau: float) -> Array:
    order = np.argsort(q, axis=-1)
    below = np.cumsum(np.take_along_axis(mu, order, -1), axis=-1)
    place = np.minimum(np.sum(below < tau, axis=-1), q.shape[1] - 1)
    return np.take_along_axis(np.take_along_axis(q, order, -1), place[:, None], -1)[:, 0]


def _expectile_mistakes(q: Array, mu: Array, tau: float) -> dict[str, Any]:
    even = np.full(mu.shape, 1 / mu.shape[1])
    mean = np.sum(mu * q, axis=-1)
    weight = mu * np.where(q < mean[:, None], 1 - tau, tau)
    return {
        "Yours is the expectile of 1 - tau: values above v have the weight tau.": offline.expectiles(q, mu, 1 - tau),
        "You forgot mu: weigh each token with its share.": offline.expectiles(q, even, tau),
        "You return the mean, which is the expectile of 1/2.": mean,
        "You return a quantile: an expectile balances distances, not counts.": _quantile(q, mu, tau),
        "One step from the mean is not enough: go on until v stands still.": (weight * q).sum(-1) / weight.sum(-1),
        "You return the maximum, which is the limit of tau to 1.": q.max(-1),
        "You mix the mean with the maximum; an expectile is where weighted distances balance.": (
            (1 - tau) * mean + tau * q.max(-1)
        ),
    }


EXPECTILE_VALUE = Exercise(
    "expectile_value",
    "one number for each state",
    offline.expectiles,
    _expectile_case,
    _expectile_mistakes,
    traits=lambda q, mu, tau: {"tau is 1/2": tau == 0.5},
)


def _cql_case(rng: Generator) -> Case:
    n, v = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    return tenths(rng, n, v), rng.integers(v, size=n), tenths(rng, n), float(rng.choice([0.1, 0.5, 2.0]))


def _taken(q: Array, action: Array) -> Array:
    return np.take_along_axis(q, action[:, None], axis=-1)[:, 0]


def _cql_loss(q: Array, action: Array, target: Array, alpha: float) -> Array:
    excess = soft_values.soft_maximum(q) - _taken(q, action)
    return np.mean(alpha * excess + (_taken(q, action) - target) ** 2 / 2)


def _cql_mistakes(q: Array, action: Array, target: Array, alpha: float) -> dict[str, Any]:
    soft, taken = soft_values.soft_maximum(q), _taken(q, action)
    error = (taken - target) ** 2
    return {
        "You forgot the half of the squared error.": np.mean(alpha * (soft - taken) + error),
        "You forgot alpha.": np.mean(soft - taken + error / 2),
        "The sign of the penalty is flipped: log sum exp is pushed down, what was taken is pushed up.": np.mean(
            alpha * (taken - soft) + error / 2
        ),
        "You push everything down: the penalty takes Q of the token that was taken off.": np.mean(
            alpha * soft + error / 2
        ),
        "You take the maximum; the penalty has log sum exp.": np.mean(alpha * (q.max(-1) - taken) + error / 2),
        "You take the mean of Q; the penalty has log sum exp.": np.mean(alpha * (q.mean(-1) - taken) + error / 2),
        "You return the sum; the loss is a mean over the rows.": np.sum(alpha * (soft - taken) + error / 2),
        "You return one loss for each row; take their mean.": alpha * (soft - taken) + error / 2,
        "The penalty alone is not the loss: half the squared error is missing.": np.mean(alpha * (soft - taken)),
        "Alpha multiplies the penalty; you put it on the squared error.": np.mean(soft - taken + alpha * error / 2),
        "You regress log sum exp on the target; the squared error is that of the token that was taken.": np.mean(
            alpha * (soft - taken) + (soft - target) ** 2 / 2
        ),
    }


CQL_LOSS = Exercise(
    "cql_loss",
    "one number",
    _cql_loss,
    _cql_case,
    _cql_mistakes,
    hard=((LARGE, (np.array([[900.0, 899.0]]), np.array([0]), np.array([899.5]), 1.0)),),
)

"""What the checkers of the chapter "Preferences that no reward explains" know: answer keys, cases, typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.methods import nash, self_play
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array, log_softmax

LARGE = "It is right for small payoffs, but large ones overflow: subtract the largest before you exponentiate."
FAR = np.array([[0.0, 900.0, -800.0], [-900.0, 0.0, 700.0], [800.0, -700.0, 0.0]])
LEVEL = np.log(np.full(3, 1 / 3))


def _game_case(rng: Generator, least: int = 2) -> Case:
    count = int(rng.integers(least, least + 4))
    upper = np.triu(tenths(rng, count, count), 1)
    return upper - upper.T, log_probs(rng, count), log_probs(rng, count), float(rng.choice([0.2, 0.5, 2.0]))


def _exploitability(payoff: Array, log_pi: Array, log_pi_0: Array, beta: float) -> Array:
    return nash.exploitability(nash.Game(payoff, log_pi_0, beta), log_pi)


def _exploitability_mistakes(payoff: Array, log_pi: Array, log_pi_0: Array, beta: float) -> dict[str, Any]:
    f, price = nash.against(payoff, log_pi), beta * lm.kl(log_pi, log_pi_0)
    earned = beta * gibbs.log_normaliser(log_pi_0, f, beta)
    return {
        "You forgot what the policy pays for its own divergence, beta KL(pi || pi_0).": earned,
        "The sign of the divergence is flipped: the opponent gains by what the policy pays.": earned - price,
        "The divergence is the wrong way round: it is KL(pi || pi_0).": earned + beta * lm.kl(log_pi_0, log_pi),
        "The opponent plays the wrong side in yours: answer a earns sum_b G[a, b] pi(b).": (
            beta * gibbs.log_normaliser(log_pi_0, -f, beta) + price
        ),
        "You take the maximum; an opponent who pays a price gets beta log sum pi_0 exp(. / beta).": np.max(f) + price,
        "You forgot beta before the logarithm.": earned / beta + price,
        "The price divides the payoff; you multiply.": beta * gibbs.log_normaliser(log_pi_0, beta * f, 1.0) + price,
        "You forgot the price inside: the payoff is divided by it.": (
            beta * gibbs.log_normaliser(log_pi_0, f, 1.0) + price
        ),
        "You forgot pi_0 in the sum: the opponent pays for leaving it.": (
            beta * gibbs.log_normaliser(0 * log_pi_0, f, beta) + price
        ),
        "You forgot beta before the divergence: each nat costs beta.": earned + price / beta,
        "That is both players' exploitability together: take one half.": 2 * (earned + price),
    }


EXPLOITABILITY = Exercise(
    "exploitability",
    "one number",
    _exploitability,
    _game_case,
    _exploitability_mistakes,
    hard=((LARGE, (FAR, LEVEL, LEVEL, 1.0)),),
)


def _step_case(rng: Generator) -> Case:
    return *_game_case(rng), float(rng.choice([0.1, 0.25, 0.7]))


def _mirror_step(payoff: Array, log_pi: Array, log_pi_0: Array, beta: float, eta: float) -> Array:
    return nash.mirror_step(nash.Game(payoff, log_pi_0, beta), log_pi, eta)


def _step_mistakes(payoff: Array, log_pi: Array, log_pi_0: Array, beta: float, eta: float) -> dict[str, Any]:
    f = nash.against(payoff, log_pi)
    best = log_softmax(log_pi_0 + f / beta)
    return {
        "You go all the way to the best response: eta says which share of it.": best,
        "The shares are the wrong way round: eta belongs to the best response.": log_softmax(
            eta * log_pi + (1 - eta) * best
        ),
        "You mix probabilities; mix their logarithms, and normalise.": np.log(
            (1 - eta) * np.exp(log_pi) + eta * np.exp(best)
        ),
        "You forgot to normalise.": (1 - eta) * log_pi + eta * best,
        "You forgot pi_0: the best response is pi_0 exp(. / beta).": log_softmax((1 - eta) * log_pi + eta * f / beta),
        "That is a step without a price: nothing pulls back to pi_0 in yours.": log_softmax(log_pi + eta * f / beta),
        "You forgot that the old policy fades: it has the exponent 1 - eta.": log_softmax(log_pi + eta * best),
        "The payoff is the wrong way round: answer a earns sum_b G[a, b] pi(b).": log_softmax(
            (1 - eta) * log_pi + eta * (log_pi_0 - f / beta)
        ),
        "You forgot the price: the payoff is divided by it.": log_softmax((1 - eta) * log_pi + eta * (log_pi_0 + f)),
        "Your opponent is pi_0; it is the policy itself.": log_softmax(
            (1 - eta) * log_pi + eta * (log_pi_0 + nash.against(payoff, log_pi_0) / beta)
        ),
        "You return probabilities; the result is their logarithms.": np.exp(
            log_softmax((1 - eta) * log_pi + eta * best)
        ),
    }


MIRROR_STEP = Exercise(
    "mirror_step",
    "one log-probability for each answer",
    _mirror_step,
    _step_case,
    _step_mistakes,
    hard=((LARGE, (FAR, LEVEL, LEVEL, 1.0, 0.9)),),
)


def _circle_case(rng: Generator) -> Case:
    rows = int(rng.integers(1, 6))
    return (np.array([rng.permutation(np.arange(55, 100, 5))[:3] / 100 for _ in range(rows)]),)


def _shares(weight: Array) -> Array:
    return weight / np.sum(weight, axis=-1, keepdims=True)


def _circle_equilibrium(wins: Array) -> Array:
    return _shares(np.roll(wins - 0.5, -1, axis=-1))


def _circle_mistakes(wins: Array) -> dict[str, Any]:
    margin = wins - 0.5
    steep = np.log(wins / (1 - wins))
    often = wins - np.roll(wins, 1, axis=-1)
    return {
        "Each answer has its own margin over the next in yours. That leaves somebody who earns.": _shares(margin),
        "Each answer has the margin by which it loses in yours. That leaves somebody who earns.": (
            _shares(np.roll(margin, 1, axis=-1))
        ),
        "That is right for equal margins only.": np.full(wins.shape, 1 / 3),
        "You weigh with the win rates; the payoff is what they exceed 1/2 by.": _shares(np.roll(wins, -1, axis=-1)),
        "That is the equilibrium for log-odds; the payoff here is P - 1/2.": _shares(np.roll(steep, -1, axis=-1)),
        "You forgot to normalise: probabilities sum to 1.": np.roll(margin, -1, axis=-1),
        "You normalise over all circles: each row is one of its own.": np.roll(margin, -1, axis=-1) / margin.sum(),
        "You give all to the answer that wins most often; another one beats it.": np.eye(3)[np.argmax(often, axis=-1)],
    }


CIRCLE_EQUILIBRIUM = Exercise(
    "circle_equilibrium",
    "one row for each circle, one column for each answer",
    _circle_equilibrium,
    _circle_case,
    _circle_mistakes,
)


def _largest_case(rng: Generator) -> Case:
    payoff, _, log_pi, beta = _game_case(rng, 3)  # of two answers one is the better: s = 0
    return payoff, log_pi, beta


def _largest_step(payoff: Array, log_pi: Array, beta: float) -> Array:
    return 2 / (1 + nash.spectral_radius(nash.Game(payoff, log_pi, beta), log_pi) ** 2)


def _largest_mistakes(payoff: Array, log_pi: Array, beta: float) -> dict[str, Any]:
    game, pi = nash.Game(payoff, log_pi, beta), np.exp(log_pi)
    s = nash.spectral_radius(game, log_pi)
    spread = np.diag(pi) - np.outer(pi, pi)
    loose = np.abs(np.linalg.eigvals(np.diag(pi) @ payoff / beta)).max()
    norm = np.linalg.norm(spread @ payoff / beta, 2)
    return {
        "That is the best step; steps up to twice as long converge.": 1 / (1 + s**2),
        "You forgot the square: it is 2 / (1 + s^2).": 2 / (1 + s),
        "You forgot the price: the payoff is divided by beta.": 2 / (1 + (s * beta) ** 2),
        "You multiply the payoff by the price; divide.": 2 / (1 + (s * beta**2) ** 2),
        "You forgot - pi pi': probabilities that sum to 1 cannot all grow.": 2 / (1 + loose**2),
        "You take the largest singular value; it is the largest |eigenvalue|.": 2 / (1 + norm**2),
        "You forgot pi: the matrix is (diag pi - pi pi') G / beta.": (
            2 / (1 + np.abs(np.linalg.eigvals(payoff / beta)).max() ** 2)
        ),
        "Your eigenvalues count as real: their squares are negative, so take the absolute value.": 2 / (1 - s**2),
    }


LARGEST_STEP = Exercise("largest_step", "one number", _largest_step, _largest_case, _largest_mistakes)


def _weights_case(rng: Generator) -> Case:
    rows, length = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    ends = rng.integers(1, length + 1, size=rows)
    return tenths(rng, rows, length), (np.arange(length) < ends[:, None]).astype(float)


def _kl_weights(log_ratio: Array, mask: Array) -> Array:
    return mask * self_play.to_go(log_ratio * mask)


def _weights_mistakes(log_ratio: Array, mask: Array) -> dict[str, Any]:
    kept = log_ratio * mask
    after = self_play.to_go(kept)
    return {
        "That is the loss as it was: a token answers for its own log-ratio, not for those that follow from it.": kept,
        "You forgot the mask: what follows the end counts for nothing.": self_play.to_go(log_ratio),
        "You sum from the front: a token answers for what comes after it.": mask * np.cumsum(kept, axis=-1),
        "Its own log-ratio belongs to what a token answers for.": mask * (after - kept),
        "Each token gets the whole sum: that is right on average, but noisier. Leave out what came before.": (
            mask * kept.sum(-1, keepdims=True)
        ),
        "The sign is flipped: the loss adds the price.": -mask * after,
        "You take the mean of what follows; the divergence is a sum.": (
            mask * after / np.maximum(self_play.to_go(mask), 1)
        ),
        "You sum over the batch: each row is an answer of its own.": (
            mask * np.flip(np.cumsum(np.flip(kept, 0), axis=0), 0)
        ),
    }


KL_WEIGHTS = Exercise(
    "kl_weights",
    "one row for each answer, one column for each token",
    _kl_weights,
    _weights_case,
    _weights_mistakes,
    traits=lambda log_ratio, mask: {
        "all answers reach the horizon": mask.all(),
        "answers have one token": mask.shape[1] == 1,
    },
)

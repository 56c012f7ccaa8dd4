"""What the checkers of sums over automata know, in the chapter on a tiny GPT: answer keys, cases, typical mistakes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.numerics import automata
from rlhf_lab.numerics.autodiff import Array


def _machine(rng: Generator) -> tuple[Array, Array]:
    states, symbols = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    return log_probs(rng, states, symbols), rng.integers(states, size=(states, symbols))


def _forward(p: Array, following: Array, horizon: int) -> Array:
    log_p = np.log(p)[None]
    return automata.law(log_p, following[None], np.zeros((1, horizon + 1, len(p)))).reached[0]


def _forward_case(rng: Generator) -> Case:
    log_p, following = _machine(rng)
    return np.exp(log_p), following, int(rng.integers(3, 6))


def _forward_mistakes(p: Array, following: Array, horizon: int) -> dict[str, Any]:
    words = p.shape[1] - 1

    def flow(reached: Array, join: Callable[[Array, Array, Array], Any], width: int = words) -> Array:
        onward = np.zeros(len(p))
        join(onward, following[:, :width].ravel(), (reached[:, None] * p[:, :width]).ravel())
        return onward

    def swept(step: Callable[[Array], Array], start: Array | None = None) -> Array:
        rows = [np.eye(1, len(p))[0] if start is None else start]
        for _ in range(horizon - 1):
            rows.append(step(rows[-1]))
        return np.array(rows)

    def normalised(reached: Array) -> Array:
        onward = flow(reached, np.add.at)
        return onward / onward.sum()

    right = _forward(p, following, horizon + 1)
    return {
        "You follow the end as if it were a word: a text that has ended is in no state any more.": swept(
            lambda a: flow(a, np.add.at, words + 1)
        ),
        "You keep the likeliest way to each state; add up all ways that lead there.": swept(
            lambda a: flow(a, np.maximum.at)
        ),
        "Of two words that lead to the same state one overwrites the other; add them up.": swept(
            lambda a: flow(a, lambda onward, where, what: onward.__setitem__(where, what))
        ),
        "You normalise each row; what is missing from 1 are the texts that have ended.": swept(normalised),
        "You normalise the words of each state without the end; the end keeps its share.": swept(
            lambda a: flow(a / p[:, :words].sum(1), np.add.at)
        ),
        "Your first row is behind the first word; before it, every text is in state 0.": right[1:],
        "You start in all states alike; every text starts in state 0.": swept(
            lambda a: flow(a, np.add.at), np.full(len(p), 1 / len(p))
        ),
        "You sweep backward: from the state behind a word to that before it.": swept(
            lambda a: (p * a[following])[:, :words].sum(1)
        ),
    }


FORWARD_ALGORITHM = Exercise(
    "forward_algorithm",
    "for each number of words, one probability for each state",
    _forward,
    _forward_case,
    _forward_mistakes,
)


def _gibbs_values(log_p: Array, following: Array, final: Array, cost: float, beta: float, horizon: int) -> Array:
    return automata.soft_values(log_p[None], following[None], final[None] / beta, cost / beta, horizon)[0]


def _gibbs_case(rng: Generator) -> Case:
    log_p, following = _machine(rng)
    cost, beta = float(rng.choice((0.1, 0.2, 0.3))), float(rng.choice((0.3, 0.5, 2.0)))
    return log_p, following, tenths(rng, len(log_p)), cost, beta, int(rng.integers(2, 5))


def _gibbs_mistakes(
    log_p: Array, following: Array, final: Array, cost: float, beta: float, horizon: int
) -> dict[str, Any]:
    def swept(
        join: Callable[[Array], Array],
        of_end: Callable[[Array, Array], Array] = lambda last, h: last,
        cut: Array | None = None,
    ) -> Array:
        rows = [final / beta if cut is None else cut]
        for _ in range(horizon):
            ahead = rows[-1][following]
            ahead[:, -1] = of_end(final / beta, rows[-1][following[:, -1]])
            rows.append(join(ahead) - cost / beta)
        return np.array(rows[::-1])

    right = _gibbs_values(log_p, following, final, cost, beta, horizon)
    return {
        "You forgot what a token costs.": _gibbs_values(log_p, following, final, 0.0, beta, horizon),
        "You forgot to divide the cost by beta: it is part of the reward.": _gibbs_values(
            log_p, following, final, cost * beta, beta, horizon
        ),
        "You forgot beta: rewards and costs are divided by it.": _gibbs_values(
            log_p, following, final, cost, 1.0, horizon
        ),
        "You multiply by beta; divide by it.": _gibbs_values(log_p, following, final, cost, 1 / beta, horizon),
        "You take the best word; sum over all of them.": swept(lambda ahead: (log_p + ahead).max(1)),
        "You take the mean of what is ahead; take the log of the mean of its exponential.": swept(
            lambda ahead: (np.exp(log_p) * ahead).sum(1)
        ),
        "You forgot how likely each word is: add log p before you sum.": swept(lambda ahead: _log_sum(ahead)),
        "You go on behind the end: it is followed by F of the state, not by the next value.": swept(
            lambda ahead: _log_sum(log_p + ahead), lambda last, h: h
        ),
        "The end pays nothing in yours: it is followed by F of the state.": swept(
            lambda ahead: _log_sum(log_p + ahead), lambda last, h: 0 * last
        ),
        "A text that the horizon cuts off is paid, too: h_T is F / beta.": swept(
            lambda ahead: _log_sum(log_p + ahead), cut=0 * final
        ),
        "The end is a token, and costs as much as the others.": swept(
            lambda ahead: _log_sum(log_p + ahead), lambda last, h: last + cost / beta
        ),
        "You return beta h, which is in units of reward; h is asked for.": beta * right,
        "You return the rows in reverse, the horizon first.": right[::-1],
    }


def _log_sum(x: Array) -> Array:
    top = x.max(-1)
    return np.log(np.exp(x - top[:, None]).sum(-1)) + top


GIBBS_BY_DYNAMIC_PROGRAMMING = Exercise(
    "gibbs_by_dynamic_programming",
    "for each number of tokens so far, one value for each state",
    _gibbs_values,
    _gibbs_case,
    _gibbs_mistakes,
    hard=(
        (
            "It is right for small rewards, but large ones overflow: subtract the largest exponent of each state "
            "before you exponentiate.",
            (
                np.log([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]),
                np.array([[1, 0, 0], [0, 1, 1]]),
                np.array([500.0, -500.0]),
                0.1,
                0.5,
                3,
            ),
        ),
    ),
)

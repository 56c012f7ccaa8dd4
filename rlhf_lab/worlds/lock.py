"""The lock: H dials of A symbols, and a reward of 1 only if all are right, in order. How long until it first opens?

Beside the chapter "Resets"; functions stand in the order of its equations.

    H dials    A symbols on each    p chance that the learner sets a dial right    q chance that the teacher does
    zeta share of episodes that begin where the teacher stopped    P chance that an episode opens the lock

The trap: the lock tells nothing before the last dial. A learner that follows the reward has nothing to follow.
"""

import numpy as np
from numpy.random import Generator

from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds.token_mdp import TokenMDP

PROMPTS = np.zeros((1, 1), dtype=np.intp)
BATCH = 4096  # episodes at most, of each run, that are drawn at once


def mdp(combination: Array, symbols: int) -> TokenMDP:
    """Return a lock as an MDP of text: one prompt, H tokens, and a reward of 1 for the `combination` (H,).

    Raises `ValueError` if the combination is not one row of at least one symbol, each in [0, A).
    """
    right = _checked(combination, symbols)

    def reward(prompt: Array, response: Array) -> Array:
        return np.where((np.asarray(response) == right).all(-1), 1.0, 0.0)

    return TokenMDP(PROMPTS, np.ones(1), reward, symbols, len(right))


def model(horizon: int, symbols: int) -> Tabular:
    """Return the tabular model of a lock: it can be any policy."""
    return Tabular(symbols, horizon, ((0,),))


def skilled(combination: Array, symbols: int, chance: float) -> Params:
    """Return parameters of `model` that set each dial right with this chance, whatever stands before it.

    The other symbols share what is left. Raises `ValueError` unless the chance lies strictly between 0 and 1.
    """
    right = _checked(combination, symbols)
    if not 0 < chance < 1:
        raise ValueError(f"chance is that of a right symbol, strictly between 0 and 1; got {chance}")
    rows = np.full((len(right), symbols), (1 - chance) / (symbols - 1))
    rows[np.arange(len(right)), right] = chance
    levels = [np.broadcast_to(np.log(row), (1, symbols**t, symbols)) for t, row in enumerate(rows)]
    return model(len(right), symbols).of_levels(levels)


def _checked(combination: Array, symbols: int) -> Array:
    checks.sizes(symbols, None)
    if np.ndim(combination) != 1 or not len(combination):
        raise ValueError(f"a combination is one row of symbols, at least one; got shape {np.shape(combination)}")
    return checks.tokens("combination", [combination], symbols)[0]


def chance_to_open(horizon: int, learner: Array, teacher: Array = 0.0, share: Array = 0.0) -> Array:
    """P = (1 - zeta) p^H + (zeta / H) sum_h q^h p^(H - h), h = 0 ... H - 1: that an episode opens it (eq-lock-chance).

    A reset leaves h dials to the teacher, h uniform; the learner sets the others. 1 / P episodes are needed on average
    (eq-lock-wait). `learner` p, `teacher` q and `share` broadcast.
    """
    _settings(horizon, learner, teacher, share)
    p, q, share = (np.asarray(value, dtype=float) for value in (learner, teacher, share))
    handed = sum(q**h * p ** (horizon - h) for h in range(horizon)) / horizon
    return (1 - share) * p**horizon + share * handed


def wait(horizon: int, learner: float, teacher: float = 0.0, share: float = 0.0, *, runs: int, rng: Generator) -> Array:
    """Play episodes until each of `runs` locks opens, and return how many that took, integers (runs,).

    Raises `ValueError` if a number is not what `chance_to_open` takes, or if the lock can never open.
    """
    if not chance_to_open(horizon, learner, teacher, share):
        raise ValueError("this lock never opens: the learner is never right, and there is no end to wait for")
    taken, waiting = np.zeros(checks.count("runs", runs, "the number of locks"), dtype=np.intp), np.arange(runs)
    size = 16
    while len(waiting):
        episodes = len(waiting) * size
        left = np.where(rng.random(episodes) < share, rng.integers(horizon, size=episodes), 0)  # to the teacher
        alive = np.arange(episodes)
        for dial in range(horizon):
            alive = alive[rng.random(len(alive)) < np.where(dial < left[alive], teacher, learner)]
        run, first = np.divmod(alive, size)
        opened = np.full(len(waiting), size)
        np.minimum.at(opened, run, first)
        found = opened < size
        taken[waiting] += np.where(found, opened + 1, size)
        waiting, size = waiting[~found], min(2 * size, BATCH)
    return taken


def _settings(horizon: int, learner: Array, teacher: Array, share: Array) -> None:
    checks.horizon(horizon)
    for name, value in (("learner", learner), ("teacher", teacher), ("share", share)):
        checks.share(name, value)

"""Small random worlds on which the ledger tries what should hold in all: twenty trees of three tokens."""

from functools import cache
from typing import NamedTuple

import numpy as np

from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.worlds import token_mdp
from rlhf_lab.worlds.token_mdp import Levels

VOCAB, HORIZON, COUNT = 3, 3, 20
START = np.ones(1)


class Tree(NamedTuple):
    """A prior as levels (1, 3^t, 3), the same for all answers (27,), and rewards of answers (27,) and as levels."""

    prior: Levels
    log_pi_0: Array
    reward: Array
    paid: Levels


@cache
def trees() -> tuple[Tree, ...]:
    """Return twenty trees with normal logits and rewards."""
    return tuple(_tree(seed) for seed in range(COUNT))


def _tree(seed: int) -> Tree:
    rng = np.random.default_rng([seed, 27])
    prior = [log_softmax(rng.normal(size=(1, VOCAB**t, VOCAB))) for t in range(HORIZON)]
    reward = rng.normal(size=VOCAB**HORIZON)
    paid = token_mdp.terminal_rewards(reward[None], VOCAB, HORIZON, None)
    return Tree(prior, lm.answers_of_levels(prior, None)[0], reward, paid)


def other(seed: int) -> Levels:
    """Return a random policy on a tree."""
    rng = np.random.default_rng([seed, 28])
    return [log_softmax(rng.normal(size=(1, VOCAB**t, VOCAB))) for t in range(HORIZON)]


def mistaken(seed: int, scale: float = 1.0) -> Array:
    """Return a reward of a tree's 27 answers with normal errors, which are as large as the reward itself at scale 1."""
    errors: Array = np.random.default_rng([seed, 29]).normal(size=VOCAB**HORIZON)
    return trees()[seed].reward + scale * errors


def earned(log_pi: Array, tree: Tree) -> float:
    """Return the mean reward of log pi (27,)."""
    return float(np.exp(log_pi) @ tree.reward)


def answers(levels: Levels) -> Array:
    """Return log pi of the 27 answers."""
    log_pi: Array = lm.answers_of_levels(levels, None)[0]
    return log_pi


def left_on_the_table(beta: float) -> tuple[Array, Array]:
    """Return what a random policy of each tree earns less than the Gibbs policy, and beta KL to it, (20,) each."""
    lost, kl = np.empty((2, COUNT))
    for seed, tree in enumerate(trees()):
        world, log_pi = (tree.log_pi_0, tree.reward, beta), answers(other(seed))
        best = gibbs.log_policy(*world)
        lost[seed] = gibbs.objective(best, *world) - gibbs.objective(log_pi, *world)
        kl[seed] = beta * lm.kl(log_pi, best)
    return lost, kl

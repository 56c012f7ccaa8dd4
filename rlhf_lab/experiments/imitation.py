"""How many demonstrations does CartPole need? Clone, DAgger and DRIL on the same labels, over seeds.

For each seed there is one pool of demonstrations: a method that is given `count` of them takes the first. Networks
start from the same parameters, and policies are judged from the same first states, whatever the method and the count.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.feedback.demonstrations import Labels, draw_states
from rlhf_lab.methods import dril, imitation
from rlhf_lab.models import policies
from rlhf_lab.models.policies import Network
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds.control import CartPole, cartpole_expert, rollout

WORLD = CartPole()
NETWORK = Network(WORLD.observations, WORLD.actions, hidden=16, scale=WORLD.scale)
HORIZON = 500  # the time limit of CartPole-v1
COUNTS = (1, 2, 3, 4, 5, 7, 10, 20)
KEEP = 5  # labelled steps of each episode, so that a demonstration is not 500 pairs
MEMBERS, QUANTILE = 5, 0.98
TRAINING = {"rounds": 100, "step_size": 0.1}
STEP_SIZES = {"longer": 0.1, "dril": 0.05, "survival": 0.05}
DRIL = {"episodes": 8, "weight": 0.1, "discount": 0.99}
ROUNDS = 40  # of DRIL, and of what is compared with it
TESTS = 20  # episodes that judge a policy
POOL, START, TEST = 1, 2, 3  # chances that all methods and counts share
SETTINGS = {
    "counts": list(COUNTS),
    "hidden": NETWORK.hidden,
    "horizon": HORIZON,
    "keep": KEEP,
    "members": MEMBERS,
    "quantile": QUANTILE,
    "training": TRAINING,
    "dril": DRIL | {"rounds": ROUNDS, "step_sizes": STEP_SIZES},
    "tests": TESTS,
}


def chance(kind: int, seeds: Sequence[int]) -> Generator:
    """Return the generator of a kind of chance, `POOL`, `START` or `TEST`, that all methods and counts share."""
    return np.random.default_rng([kind, seeds[0], len(seeds)])


def demonstrations(count: int, seeds: Sequence[int]) -> Labels:
    """Return `KEEP` steps of each of the first `count` episodes of the pool, for each seed: (seeds, count * KEEP)."""
    rng = chance(POOL, seeds)
    pool = draw_states(rollout(WORLD, cartpole_expert, (len(seeds), COUNTS[-1]), HORIZON, rng), KEEP, rng)
    return Labels(*(part[:, : count * KEEP] for part in pool))


def train(labels: Labels, seeds: Sequence[int]) -> Params:
    """Clone from the first parameters that all methods share: DAgger in no round trains longer than the clone."""
    return _clone(labels, chance(START, seeds))


def _clone(labels: Labels, rng: Generator) -> Params:
    fresh = NETWORK.init(rng, labels.weight.shape[:-1])
    return imitation.clone(NETWORK, fresh, labels, **TRAINING)  # type: ignore[arg-type]


def judge(params: Params, seeds: Sequence[int]) -> Array:
    """Return the mean return of a policy for each seed, (seeds,)."""
    play = rollout(WORLD, policies.acting(NETWORK, params), (len(seeds), TESTS), HORIZON, chance(TEST, seeds))
    return play.returns.mean(-1)


class Clones(NamedTuple):
    """A clone for each seed, an ensemble of clones of bootstrap data, and the labels that they learned from."""

    labels: Labels
    params: Params
    ensemble: Params


def clones(count: int, seeds: Sequence[int], rng: Generator) -> Clones:
    """Clone the expert from `count` demonstrations, and `MEMBERS` times more for the ensemble."""
    labels = demonstrations(count, seeds)
    observation, action = (np.broadcast_to(part, (MEMBERS, *part.shape)) for part in labels[:2])
    resampled = Labels(observation, action, dril.bootstrap(labels.weight, MEMBERS, rng))
    return Clones(labels, train(labels, seeds), _clone(resampled, rng))


def limit(found: Clones) -> Array:
    """Return the disagreement that a share `QUANTILE` of the demonstrations does not exceed, for each seed."""
    return dril.threshold(dril.costs(NETWORK, found.ensemble, found.labels), found.labels.weight, QUANTILE)


def improve(found: Clones, at: Array, rng: Generator, step_size: float, rounds: int = ROUNDS) -> Params:
    """Run DRIL from clones, with a cost that is clipped `at` some disagreement, (seeds,)."""
    settings: Any = DRIL | {"rounds": rounds, "step_size": step_size, "rng": rng}
    return dril.dril(WORLD, NETWORK, found.params, found.ensemble, found.labels, at, horizon=HORIZON, **settings)


def offline(count: int, seeds: Sequence[int]) -> dict[str, Array]:
    """Return the returns, (seeds,), of a clone of `count` demonstrations, of DRIL from that clone, and of two controls.

    "longer" is the clone after as many further optimiser steps. "survival" is DRIL with a cost that is clipped at
    infinity, -1 at every step: it knows no ensemble, and is all that is left of DRIL if its cost only rewards an
    episode that goes on.
    """
    rng = np.random.default_rng([count, *seeds])
    found, size = clones(count, seeds, rng), STEP_SIZES
    better = {
        "clone": found.params,
        "longer": imitation.clone(NETWORK, found.params, found.labels, rounds=ROUNDS, step_size=size["longer"]),
        "dril": improve(found, limit(found), rng, size["dril"]),
        "survival": improve(found, np.full(len(seeds), np.inf), rng, size["survival"]),
    }
    return {name: judge(params, seeds) for name, params in better.items()}


def dagger(labels: Labels, rounds: int, seeds: Sequence[int]) -> list[imitation.Round]:
    """Run DAgger from the labels of one demonstration; each round labels `KEEP` states of one episode of its own."""
    rng = np.random.default_rng([0, *seeds])
    settings: Any = {"rounds": rounds, "episodes": 1, "keep": KEEP, "horizon": HORIZON, "beta": 0.0, "rng": rng}
    return imitation.dagger(
        WORLD,
        cartpole_expert,
        NETWORK,
        train(labels, seeds),
        labels,
        imitation.always(cartpole_expert),
        lambda params, labels, rng: train(labels, seeds),
        **settings,
    )


def interactive(counts: Sequence[int], seeds: Sequence[int]) -> dict[str, Array]:
    """Return the returns of DAgger and of the expert, (seeds, counts).

    They are those after as many labels as `counts` demonstrations hold: of the last round that these pay for. The first
    episode is the expert's, each further one the student's own, with `KEEP` of its states labelled.
    """
    rounds = dagger(demonstrations(1, seeds), max(counts) - 1, seeds)
    expert = rollout(WORLD, cartpole_expert, (len(seeds), TESTS), HORIZON, chance(TEST, seeds)).returns.mean(-1)
    learned = [judge(rounds[count - 1].params, seeds) for count in counts]
    return {"dagger": np.stack(learned, axis=-1), "expert": np.stack([expert] * len(counts), axis=-1)}


def run(seeds: Sequence[int]) -> Numbers:
    """Return the returns of each method, (seeds, counts)."""
    alone = [offline(count, seeds) for count in COUNTS]
    together = interactive(COUNTS, seeds)
    return {name: np.stack([each[name] for each in alone], axis=-1) for name in alone[0]} | together


STUDY: Study = in_blocks(run, 10, SETTINGS)

"""How many demonstrations does CartPole need? Clone, DAgger and DRIL on the same numbers of labels, over seeds.

A study is a function of its sizes and of chance, so that the chapter can run a small one and the command a full one.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.runner import Numbers, Piece, Study
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
COUNTS = (1, 3, 5, 10, 20)
KEEP = 5  # labelled steps of each episode, so that a demonstration is not 500 pairs
MEMBERS, QUANTILE = 5, 0.98
TRAINING = {"rounds": 100, "step_size": 0.03}
DRIL = {"episodes": 8, "weight": 0.1, "discount": 0.99, "step_size": 0.02}
ROUNDS = 70  # of DRIL
TESTS = 20  # episodes that judge a policy
SETTINGS = {
    "counts": list(COUNTS),
    "hidden": NETWORK.hidden,
    "horizon": HORIZON,
    "keep": KEEP,
    "members": MEMBERS,
    "quantile": QUANTILE,
    "training": TRAINING,
    "dril": DRIL | {"rounds": ROUNDS},
    "tests": TESTS,
}


def demonstrations(count: int, seeds: int, rng: Generator) -> Labels:
    """Return `KEEP` steps of each of `count` episodes of the expert, for each seed: (seeds, count * KEEP)."""
    return draw_states(rollout(WORLD, cartpole_expert, (seeds, count), HORIZON, rng), KEEP, rng)


def train(labels: Labels, rng: Generator) -> Params:
    """Clone from fresh parameters: no method trains longer than another."""
    fresh = NETWORK.init(rng, labels.weight.shape[:-1])
    return imitation.clone(NETWORK, fresh, labels, **TRAINING)  # type: ignore[arg-type]


def judge(params: Params, seeds: int, rng: Generator) -> Array:
    """Return the mean return of a policy for each seed, (seeds,)."""
    return rollout(WORLD, policies.acting(NETWORK, params), (seeds, TESTS), HORIZON, rng).returns.mean(-1)


class Clones(NamedTuple):
    """A clone for each seed, an ensemble of clones of bootstrap data, and the labels that they learned from."""

    labels: Labels
    params: Params
    ensemble: Params


def clones(count: int, seeds: int, rng: Generator) -> Clones:
    """Clone the expert from `count` demonstrations, and `MEMBERS` times more for the ensemble."""
    labels = demonstrations(count, seeds, rng)
    observation, action = (np.broadcast_to(part, (MEMBERS, *part.shape)) for part in labels[:2])
    resampled = Labels(observation, action, dril.bootstrap(labels.weight, MEMBERS, rng))
    return Clones(labels, train(labels, rng), train(resampled, rng))


def limit(found: Clones) -> Array:
    """Return the disagreement that a share `QUANTILE` of the demonstrations does not exceed, for each seed."""
    return dril.threshold(dril.costs(NETWORK, found.ensemble, found.labels), found.labels.weight, QUANTILE)


def improve(found: Clones, at: Array | None, rng: Generator, rounds: int = ROUNDS) -> Params:
    """Run DRIL from clones, with a cost that is clipped `at` some disagreement, (seeds,), or raw if that is None."""
    settings: Any = DRIL | {"rounds": rounds, "rng": rng}
    return dril.dril(WORLD, NETWORK, found.params, found.ensemble, found.labels, at, horizon=HORIZON, **settings)


def offline(count: int, seeds: int, rng: Generator) -> dict[str, Array]:
    """Return the returns, (seeds,), of a clone of `count` demonstrations, of DRIL, and of DRIL with other costs.

    "raw" is the variance itself. "survival" is clipped at infinity, -1 at every step: a control that knows no ensemble,
    and all that is left of DRIL if its cost only rewards an episode that goes on.
    """
    found = clones(count, seeds, rng)
    costs = {"dril": limit(found), "raw": None, "survival": np.full(seeds, np.inf)}
    better = {name: improve(found, at, rng) for name, at in costs.items()}
    return {name: judge(params, seeds, rng) for name, params in {"clone": found.params, **better}.items()}


def dagger(labels: Labels, rounds: int, rng: Generator) -> list[imitation.Round]:
    """Run DAgger from the labels of one demonstration; each round labels `KEEP` states of one episode of its own."""
    settings: Any = {"rounds": rounds, "episodes": 1, "keep": KEEP, "horizon": HORIZON, "beta": 0.0, "rng": rng}
    return imitation.dagger(
        WORLD,
        cartpole_expert,
        NETWORK,
        train(labels, rng),
        labels,
        imitation.always(cartpole_expert),
        lambda params, labels, rng: train(labels, rng),
        **settings,
    )


def interactive(counts: tuple[int, ...], seeds: int, rng: Generator) -> dict[str, Array]:
    """Return the returns of DAgger and of the expert, (seeds, counts).

    They are those after as many labels as `counts` demonstrations hold. The first episode is the expert's, each further
    one the student's own, with `KEEP` of its states labelled.
    """
    rounds = dagger(demonstrations(1, seeds, rng), max(counts) - 1, rng)
    expert = rollout(WORLD, cartpole_expert, (seeds, TESTS), HORIZON, rng).returns.mean(-1)
    learned = [judge(rounds[count - 1].params, seeds, rng) for count in counts]
    return {"dagger": np.stack(learned, axis=-1), "expert": np.stack([expert] * len(counts), axis=-1)}


def pieces(seeds: int, counts: tuple[int, ...] = COUNTS) -> dict[str, Piece]:
    """Return the pieces of the study, DAgger and each number of demonstrations: each has a chance of its own."""
    *each, last = np.random.default_rng(0).spawn(len(counts) + 1)
    every = tuple(range(seeds))
    alone = {
        f"of_{count}": Piece(every, partial(offline, count, seeds, rng))
        for count, rng in zip(counts, each, strict=True)
    }
    together = {"dagger": Piece(every, partial(interactive, counts, seeds, last))}
    return together | dict(reversed(alone.items()))


def join(found: list[Numbers]) -> Numbers:
    """Return the returns of each method, (seeds, counts), of what `pieces` found."""
    together, *alone = found
    return {name: np.stack([each[name] for each in reversed(alone)], axis=-1) for name in alone[0]} | together


STUDY = Study(pieces, join, SETTINGS)

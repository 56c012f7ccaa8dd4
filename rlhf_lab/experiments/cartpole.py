"""CartPole from compared segments: what does each part of the recipe of Christiano et al. 2017 buy, label for label?

    z observation in units of its bounds    f(s) features    theta_m weights of a member    M members
    n seeds    E episodes    T steps    N questions

Segments, questions, clicks and fits are those of `methods.segments`; the policy gradient is that of `methods.dril`, on
minus the learned reward. An episode that ends would tell the learner what it is to find out: here it never does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.runner import Numbers, Piece, Study
from rlhf_lab.feedback import linear_fits
from rlhf_lab.feedback.demonstrations import Labels
from rlhf_lab.methods import dril, segments
from rlhf_lab.models import policies
from rlhf_lab.models.policies import Network
from rlhf_lab.numerics.autodiff import Array, log_prob_of
from rlhf_lab.numerics.optim import Params, adam, fit
from rlhf_lab.worlds.control import CartPole, Rollout, rollout

BOUNDS = np.array([2.4, 2.0, 12 * np.pi / 180, 2.0])  # x and angle at which the pole counts as fallen; usual speeds
HORIZON, LENGTH = 200, 10  # of an episode, and of a segment
EPISODES, UPDATES, ROUNDS = 8, 40, 4  # of each update; updates; how often labels are asked for
DISCOUNT, MEMBERS, TESTS = 0.98, 5, 20
LABELS = (8, 16, 32, 64, 128)
PAIRS = np.triu_indices(4)


def upright(state: Array) -> Array:
    """Return where the pole stands and the cart is on its rails, (...), for states (..., 4)."""
    return np.all(np.abs(state[..., ::2]) <= BOUNDS[::2], axis=-1)


@dataclass(frozen=True)
class Lasting(CartPole):
    """CartPole whose episodes do not end: a fallen pole lies still where it fell, and pays nothing.

    A step in an upright state pays 1, so that the sum is what CartPole-v1 pays with the same time limit.
    """

    def step(self, state: Array, action: Array, rng: Generator) -> tuple[Array, Array, Array]:
        """Push if the pole stands; no episode is ever over."""
        stands = upright(state)
        after = np.where(stands[..., None], super().step(state, action, rng)[0], state * [1, 0, 1, 0])
        return after, 1.0 * stands, np.zeros(stands.shape, dtype=bool)


WORLD = Lasting()
NETWORK = Network(WORLD.observations, WORLD.actions, hidden=16, scale=WORLD.scale)


def features(observation: Array) -> Array:
    """Return f(s) = (z, z z^T), the 4 numbers and their 10 products, (..., 4) to (..., 14); z is cut at 2."""
    z = np.clip(observation / BOUNDS, -2, 2)
    return np.concatenate([z, z[..., PAIRS[0]] * z[..., PAIRS[1]]], axis=-1)


class Recipe(NamedTuple):
    """What is done about the labels, as in `segments.Recipe`; `people` is the rate at which people mis-click.

    Without `mean` the policy is trained on one model, fitted to all answers. Without `learned` it is trained on the
    true reward, and nobody is asked.
    """

    step_size: float
    precision: float = 0.0
    misclick: float = 0.1
    people: float = 0.1
    doubtful: bool = True
    mean: bool = True
    learned: bool = True


class Asked(NamedTuple):
    """Questions, differences of features and of the true pay (n, N, 15); labels (n, N); members (M, n, 14); reward.

    The policy is trained on `reward` (n, 14).
    """

    difference: Array
    label: Array
    theta: Array
    reward: Array


def ask(recipe: Recipe, known: Asked, observation: Array, reward: Array, count: int, rng: Generator) -> Asked:
    """Ask `count` questions about the segments of episodes (T, n, E, ...), and fit the ensemble to all answers."""
    paid = np.concatenate([features(observation), reward[..., None]], axis=-1)
    asked = segments.pairs(segments.visits(paid, LENGTH), rng)
    blind = np.concatenate([known.theta, np.zeros((*known.theta.shape[:-1], 1))], axis=-1)  # to what it pays
    new = segments.most_doubtful(asked, blind, count) if recipe.doubtful else asked[:, :count]
    said = segments.answers(new, np.eye(new.shape[-1])[-1], recipe.people, rng)
    difference, label = (np.concatenate(both, axis=1) for both in ((known.difference, new), (known.label, said)))
    fitted = segments.fit_ensemble(difference[..., :-1], label, MEMBERS, recipe.precision, recipe.misclick, rng)
    if recipe.mean:
        return Asked(difference, label, fitted, fitted.mean(0))
    one = linear_fits.fit_linear(difference[..., :-1], label, recipe.precision, recipe.misclick).mean
    return Asked(difference, label, fitted, one)


def train(params: Params, pay: Callable[[Rollout], Array], step_size: float, rng: Generator) -> Params:
    """Improve policies by the policy gradient: `UPDATES` steps of Adam on what `pay(play)` gives, (T, n, E)."""

    def collect(params: Params, rng: Generator) -> Iterable[tuple[Labels, Array]]:
        play = rollout(WORLD, policies.acting(NETWORK, params), (n, EPISODES), HORIZON, rng)
        reward = pay(play)
        advantage = dril.advantages(dril.costs_to_go(-reward, play.alive, DISCOUNT), play.alive)
        advantage = advantage / (np.std(advantage, axis=(0, 2), keepdims=True) + 1e-8)
        seen, action, alive = (
            np.reshape(np.moveaxis(part, 0, 2), (n, EPISODES * len(reward), *part.shape[3:]))
            for part in (play.observation, play.action, play.alive)
        )
        yield Labels(seen, action, alive), np.moveaxis(advantage, 0, -1)

    def loss(params: Params, batch: tuple[Labels, Array]) -> Array:
        rows, advantage = batch
        log_pi = log_prob_of(NETWORK.logits(params, rows.observation), rows.action)
        return dril.surrogate(log_pi.reshape(advantage.shape), advantage, HORIZON)

    n = len(next(iter(params.values())))
    return fit(loss, params, collect, rounds=UPDATES, optimizer=adam(step_size), rng=rng)[0]


def learn(recipe: Recipe, labels: int, seeds: Sequence[int], first: int = 0) -> tuple[Params, Asked]:
    """Train a policy for each seed while asking: its parameters, and all that was asked.

    `labels` come in `ROUNDS` equal parts; a part is at most the pairs of one update.
    """
    most = ROUNDS * (EPISODES * HORIZON // LENGTH // 2)
    if recipe.learned and (labels % ROUNDS or not 0 < labels <= most):
        raise ValueError(f"labels must be a multiple of {ROUNDS}, from {ROUNDS} to {most}; got {labels}")
    n, dim, rng = len(seeds), features(np.zeros(4)).size, np.random.default_rng([first, *seeds])
    nothing = np.zeros((n, 0, dim + 1)), np.zeros((n, 0)), np.zeros((MEMBERS, n, dim)), np.zeros((n, dim))
    known, update = Asked(*nothing), 0

    def pay(play: Rollout) -> Array:
        nonlocal known, update
        if not recipe.learned:
            return play.reward
        if update % (UPDATES // ROUNDS) == 0:
            known = ask(recipe, known, play.observation, play.reward, labels // ROUNDS, rng)
        update += 1
        return learned_reward(known.reward, play)

    return train(NETWORK.init(rng, (n,), 0.1), pay, recipe.step_size, rng), known


def learned_reward(theta: Array, play: Rollout) -> Array:
    """Return theta . f(s) at each step, (T, n, E), for one theta (n, 14) a seed."""
    return np.matmul(features(play.observation), theta[..., None])[..., 0]


def anew(theta: Array, step_size: float, seeds: Sequence[int]) -> Params:
    """Train a new policy for each seed on a learned reward (n, 14) that stays what it is: no more is asked."""
    rng = np.random.default_rng([2, *seeds])
    return train(NETWORK.init(rng, (len(seeds),), 0.1), partial(learned_reward, theta), step_size, rng)


def judge(params: Params, seeds: Sequence[int]) -> Array:
    """Return the true return of a policy for each seed, mean over `TESTS` episodes, (seeds,)."""
    rng = np.random.default_rng([99, *seeds])
    return rollout(WORLD, policies.acting(NETWORK, params), (len(seeds), TESTS), HORIZON, rng).returns.mean(-1)


CONTROLS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "random questions": {"doubtful": False},
    "one model": {"mean": False},
    "10% wrong": {"misclick": 0.2, "people": 0.2},
    "10% wrong, no term": {"misclick": 0.0, "people": 0.2},
}
STEP_SIZES, PRECISIONS = (0.005, 0.01, 0.02, 0.05), (10.0, 30.0, 100.0)
BEST = dict.fromkeys([*CONTROLS, "true reward"], (0.02, 30.0))  # by `tune("recipe")`; used for all rows


def run(name: str, best: tuple[float, float]) -> Recipe:
    """Return a row of the study, with its step size and its precision."""
    return Recipe(*best, **CONTROLS.get(name, {"learned": False}))


def tune(
    name: str, step_sizes: Sequence[float] = STEP_SIZES, labels: int = 32, seeds: Sequence[int] = range(20)
) -> dict[tuple[float, float], float]:
    """Return the mean return of a row with each step size and precision: how those of `BEST` were found.

    The seeds begin with a number of their own, so that they are none of those of the study.
    """
    precisions = PRECISIONS if name in CONTROLS else (0.0,)
    return {
        (step, each): float(judge(learn(run(name, (step, each)), labels, seeds, first=1)[0], seeds).mean())
        for step in step_sizes
        for each in precisions
    }


def with_labels(labels: int, seeds: Sequence[int]) -> Numbers:
    """Return the returns, (seeds,), of the recipe, its controls, and `anew` on the recipe's last reward."""
    found = {name: learn(run(name, BEST[name]), labels, seeds) for name in CONTROLS}
    again = anew(found["recipe"][1].reward, BEST["recipe"][0], seeds)
    return {name: judge(params, seeds) for name, (params, _) in found.items()} | {"anew": judge(again, seeds)}


def yardsticks(seeds: Sequence[int]) -> Numbers:
    """Return the returns, (seeds,), of a policy trained on the true reward, and of random play."""
    told = learn(run("true reward", BEST["true reward"]), 0, seeds)[0]
    chance = {name: 0 * value for name, value in told.items()}
    return {"true reward": judge(told, seeds), "random policy": judge(chance, seeds)}


def pieces(seeds: int) -> dict[str, Piece]:
    """Return a piece for each number of labels, and one for the yardsticks, all seeds side by side."""
    each = tuple(range(seeds))
    todo = {f"labels_{count}": partial(with_labels, count, each) for count in LABELS}
    return {name: Piece(each, work) for name, work in (todo | {"yardsticks": partial(yardsticks, each)}).items()}


def join(parts: list[Numbers]) -> Numbers:
    """Return the returns of each row, (seeds, labels), and those of the yardsticks, (seeds,)."""
    *counts, yard = parts
    return {name: np.stack([part[name] for part in counts], axis=1) for name in counts[0]} | yard


SETTINGS = {
    "labels": list(LABELS),
    "steps": [HORIZON, LENGTH, EPISODES, UPDATES, ROUNDS],
    "rest": [DISCOUNT, MEMBERS, TESTS],
    "runs": {name: list(run(name, best)) for name, best in BEST.items()},
}
STUDY = Study(pieces, join, SETTINGS)

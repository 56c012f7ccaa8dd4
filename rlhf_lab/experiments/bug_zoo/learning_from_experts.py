"""DAgger and DRIL on the track, with tables, each part of them exchangeable."""

from collections.abc import Callable
from functools import partial

import numpy as np

from rlhf_lab.audit.zoo import loops
from rlhf_lab.experiments.bug_zoo.world import POINTS, Seeds
from rlhf_lab.experiments.runner import Numbers
from rlhf_lab.methods import dril, imitation
from rlhf_lab.models import policies
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import gridworlds

WIDTH, STEPS, DEMONSTRATIONS, MEMBERS, PRIOR = 3, 32, 20, 10, 0.1
RATE, WEIGHT, STEP_SIZE = 0.01, 0.1, 5.0
GRID, STEERING = gridworlds.track(WIDTH, wind=0.05), gridworlds.drive(WIDTH)
EXPERT = gridworlds.table(STEERING, GRID.actions)
Function = Callable[..., Array]


def demonstrated() -> Array:
    """Return how often the demonstrations show each action in each state, (S, A): one state only."""
    counts = np.zeros(EXPERT.shape)
    counts[WIDTH, gridworlds.AHEAD] = DEMONSTRATIONS
    return counts


def along(found: list[Numbers]) -> Numbers:
    """Return curves, (seeds, points), from what was seen at each point, (seeds,)."""
    return {name: np.stack([each[name] for each in found], axis=-1) for name in found[0]}


def driving(seeds: Seeds, labels: Function = loops.dagger_labels) -> Numbers:
    """Return the curves of DAgger: each round drives one episode, and adds its labels to the counts."""
    runs = [_driving(np.random.default_rng([8, seed]), labels) for seed in seeds]
    return along(
        [{name: np.array([run[at][name] for run in runs]) for name in runs[0][0]} for at in range(len(POINTS))]
    )


def _driving(rng: np.random.Generator, labels: Function) -> list[Numbers]:
    counts, found = demonstrated(), []
    for round_ in range(1, POINTS[-1] + 1):
        policy = (counts + PRIOR) / np.sum(counts + PRIOR, axis=-1, keepdims=True)
        states, actions, state = [], [], GRID.reset((), rng)
        for _ in range(STEPS):
            action = policies.draw(policy[state], rng)
            states.append(state)
            actions.append(action)
            state, _, _ = GRID.step(state, action, rng)
        taken = np.array(actions)
        label = labels(np.array(states), lambda s: STEERING[s], lambda s, taken=taken: taken)
        np.add.at(counts, (np.array(states), label), 1)
        if round_ in POINTS:
            policy = (counts + PRIOR) / np.sum(counts + PRIOR, axis=-1, keepdims=True)
            told = {"loss": -np.sum(counts * np.log(policy)) / np.sum(counts), "accuracy": np.mean(taken == label)}
            return_ = np.sum(GRID.reward[states])
            gap = imitation.gap(GRID, EXPERT, policy, STEPS)
            found.append(told | {"return": return_, "gap": gap})
    return found


def staying(seeds: Seeds, cost: Function = loops.dril_cost) -> Numbers:
    """Return the curves of DRIL: exact natural gradient on the disagreement of tables that saw the demonstrations."""
    counts = np.broadcast_to(demonstrated(), (len(seeds), *EXPERT.shape))
    states, actions = np.divmod(np.arange(EXPERT.size), EXPERT.shape[1])
    costs = []
    for seed in seeds:
        members = dril.posterior_ensemble(demonstrated(), MEMBERS, np.random.default_rng([9, seed]), PRIOR)
        costs.append(np.reshape(cost(np.log(members[:, states]), actions), EXPERT.shape))
    solve = partial(dril.solve_table, horizon=STEPS, weight=WEIGHT, rate=RATE, step_size=STEP_SIZE)
    found = []
    for point in POINTS:
        policy = solve(GRID, counts, np.stack(costs), rounds=point)
        paid = dril.expected_cost(GRID, policies.trembling(policy, RATE), np.stack(costs), STEPS)
        shown = policy[:, WIDTH, gridworlds.AHEAD]
        gap = np.array([imitation.gap(GRID, EXPERT, each, STEPS) for each in policies.trembling(policy, RATE)])
        found.append({"cost": paid, "loss": -np.log(shown), "accuracy": shown, "gap": gap})
    return along(found)

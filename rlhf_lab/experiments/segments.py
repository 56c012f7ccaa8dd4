"""What does each ingredient of learning from compared segments buy? The whole recipe, and without one of them.

The world is the windy track; every run gets the same number of answers. A row of `RUNS` has a precision of the prior
that is best for it in `tune` within noise, on seeds that are not those of the study.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import segments
from rlhf_lab.methods.segments import Recipe
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import gridworlds
from rlhf_lab.worlds.gridworlds import Grid

WIDTH, WIND, HORIZON = 8, 0.1, 64
TRACK = gridworlds.track(WIDTH, WIND)
PRECISIONS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
SCALES = (1, 10)  # what a step in the middle pays
CONTROLS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "random questions": {"doubtful": False},
    "no mis-click term": {"misclick": 0.0},
    "one model": {"mean": False},
    "first policy drives": {"going_on": False},
}
BEST = {1: (10.0, 10.0, 30.0, 10.0, 30.0), 10: (3.0, 1.0, 30.0, 3.0, 10.0)}  # precision for each control, see `tune`
RUNS = {
    scale: {name: Recipe(each, **CONTROLS[name]) for name, each in zip(CONTROLS, best, strict=True)}
    for scale, best in BEST.items()
}


def lost(policy: Array, grid: Grid = TRACK) -> Array:
    """Return the share of what the best policy earns beyond a random one that policies (..., S, A) do not earn."""
    best = segments.best_policy(grid, grid.reward, HORIZON)
    chance = np.full(best.shape, 1 / grid.actions)
    top, bottom, now = (gridworlds.performance(grid, each, HORIZON) for each in (best, chance, policy))
    return (top - now) / (top - bottom)


def curve(recipe: Recipe, scale: float, seeds: Sequence[int], first: int = 0, **settings: Any) -> Array:
    """Return the share that is lost after each round, (seeds, rounds), if a step in the middle pays `scale`."""
    world, rng = replace(TRACK, reward=scale * TRACK.reward), np.random.default_rng([first, *seeds])
    return lost(segments.learn(world, recipe, len(seeds), rng, horizon=HORIZON, **settings)).T


def tune(scale: float, seeds: Sequence[int] = range(25)) -> dict[str, dict[float, float]]:
    """Return the loss, mean over rounds and seeds, of each control with each precision: how those of `RUNS` were found.

    The seeds begin with a number of their own, so that they are none of those of the study.
    """
    return {
        name: {each: float(curve(Recipe(each, **change), scale, seeds, first=1).mean()) for each in PRECISIONS}
        for name, change in CONTROLS.items()
    }


def study(seeds: Sequence[int]) -> Numbers:
    """Return the curves of all rows of `RUNS`, (seeds, rounds), by what a step in the middle pays."""
    return {
        f"pays_{scale}": {name: curve(run, scale, seeds) for name, run in runs.items()} for scale, runs in RUNS.items()
    }


SETTINGS = {
    "track": [WIDTH, WIND, HORIZON],
    "runs": {f"pays_{scale}": {name: list(run) for name, run in runs.items()} for scale, runs in RUNS.items()},
}
STUDY: Study = in_blocks(study, 50, SETTINGS)

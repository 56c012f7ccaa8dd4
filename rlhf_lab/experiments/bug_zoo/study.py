"""What does each bug look like while it trains, and what does it do? Every run beside one that lacks the bug.

A loop of `LOOPS` has parts; a bug takes the place of one, and all else is the same: samples, steps, step size, chance.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from rlhf_lab.audit.zoo import ZOO, pairs, returns
from rlhf_lab.experiments.bug_zoo import learning_from_experts as experts
from rlhf_lab.experiments.bug_zoo import learning_from_pairs as comparisons
from rlhf_lab.experiments.bug_zoo import learning_from_reward as rewards
from rlhf_lab.experiments.bug_zoo import world
from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.numerics.autodiff import Array

Parts = dict[str, tuple[str, ...]]  # which bugs take the place of a part
LOOPS: dict[str, tuple[Callable[..., Numbers], Parts]] = {
    "DPO": (
        comparisons.direct,
        {
            "loss": (
                "beta twice",
                "beta missing",
                "reference missing",
                "reference not frozen",
                "reference re-made each step",
                "reference crossed",
                "chosen and rejected swapped",
                "logarithm missing",
                "mean inside the loss",
                "smoothing reversed",
            ),
            "log_probs": (
                "not shifted",
                "prompt counts",
                "eos dropped",
                "padding counts",
                "mean over tokens",
            ),
        },
    ),
    "IPO": (
        partial(comparisons.direct, loss=pairs.ipo_loss),
        {"loss": ("target twice as far",)},
    ),
    "reward model": (
        comparisons.reward_model,
        {"loss": ("rewards swapped", "averaged twice", "sigmoid twice", "each answer by itself")},
    ),
    "SFT": (
        comparisons.imitation,
        {
            "loss": (
                "labels not shifted",
                "labels shifted twice",
                "labels without eos",
                "labels of the prompt",
                "padding in the mean",
            )
        },
    ),
    "RLOO": (
        rewards.reinforce,
        {"advantages": ("own sample in the baseline", "own sample in the sum", "divided by the spread of others")},
    ),
    "GRPO advantages": (
        partial(rewards.reinforce, advantages=returns.grpo),
        {"advantages": ("deviation of the batch", "normalised across prompts")},
    ),
    "RLOO, temperature 0.7": (
        rewards.at_temperature,
        {"log_probs": ("temperature ignored",)},
    ),
    "KL in the loss": (rewards.with_kl, {"kl": ("k1 as a loss", "k3 as a loss")}),
    "GRPO": (
        rewards.grpo,
        {"loss": ("KL maximised", "KL without its weight", "k1 in the loss", "KL to the old policy")},
    ),
    "PPO": (
        rewards.ppo,
        {
            "loss": (
                "sign turned",
                "max in place of min",
                "clipped on one side",
                "ratio upside down",
                "log-ratio in place of the ratio",
                "old log-probabilities recomputed",
                "ratio of rounded numbers",
                "advantage one token late",
            ),
            "rewards": (
                "KL paid for",
                "KL charged twice",
                "score on every token",
                "score on padding",
                "score one token early",
            ),
            "gae": (
                "value behind the end",
                "errors of padding",
                "next value missing",
                "swept forward",
            ),
            "value_loss": ("every return for every value", "dead critic", "values fitted to advantages"),
        },
    ),
    "PPO, whitened": (rewards.whitened, {"whiten": ("whitened in a batch of one",)}),
    "DAgger": (experts.driving, {"labels": ("labels of the student",)}),
    "DRIL": (experts.staying, {"cost": ("disagreement rewarded", "variance over actions")}),
}
HEALTHY = "healthy"
KEY = ("gap", "divergence", "true reward")  # what nobody sees in practice
BUGS = {bug.name: bug for bug in ZOO}


def runs(loop: str) -> dict[str, Callable[[tuple[int, ...]], Numbers]]:
    """Return the runs of a loop by name: the healthy one, and one for each bug."""
    run, parts = LOOPS[loop]
    broken = {name: partial(run, **{part: BUGS[name].function}) for part, names in parts.items() for name in names}
    return {HEALTHY: run} | broken


def study(seeds: Sequence[int]) -> Numbers:
    """Return the curves of all runs, by loop and name, (seeds, points) each."""
    return {loop: {name: rounded(run(tuple(seeds))) for name, run in runs(loop).items()} for loop in LOOPS}


def rounded(found: Numbers) -> Numbers:
    """Return numbers with four digits, for the file to be small."""
    return {name: np.vectorize(lambda number: float(f"{number:.4g}"))(value) for name, value in found.items()}


def strays(broken: Array, healthy: Array, errors: float = 3.0) -> Array:
    """Return where two curves (seeds, points) differ by more than `errors` standard errors and do so to the end.

    The seeds are pairs: both runs begin alike, and draw alike as long as they are alike. (points,), bools.
    """
    difference = broken - healthy
    error = np.std(difference, axis=0, ddof=1) / len(difference) ** 0.5
    apart = np.abs(np.mean(difference, axis=0)) > errors * error + 1e-9
    return np.logical_and.accumulate(apart[::-1])[::-1]


def first(broken: Array, healthy: Array, errors: float = 3.0) -> float:
    """Return the round of the first point from which on two curves differ, infinity if they do not at the end."""
    apart = strays(broken, healthy, errors)
    return float(world.POINTS[int(np.argmax(apart))]) if apart.any() else np.inf


def hides(broken: Numbers, healthy: Numbers, errors: float = 3.0) -> tuple[str, float, float]:
    """Return which watched curve shows a bug first, in which round, and in which round the exact distance does."""
    seen = {name: first(broken[name], healthy[name], errors) for name in broken if name not in KEY}
    earliest = min(seen, key=lambda name: seen[name])
    return earliest, seen[earliest], first(broken["gap"], healthy["gap"], errors)


SETTINGS: dict[str, Any] = {
    "points": list(world.POINTS),
    "task": [world.BETA, world.HORIZON, world.PAIRS],
    "pairs": [comparisons.BATCH, *comparisons.STEP_SIZES.values()],
    "answers": [
        rewards.PROMPTS,
        rewards.ANSWERS,
        rewards.PASSES,
        rewards.MINIBATCH,
        rewards.TEMPERATURE,
    ],
    "step_sizes": list(rewards.STEP_SIZES.values()),
    "ppo": [rewards.CLIP, rewards.LAMBDA, rewards.VALUE_WEIGHT],
    "track": [experts.WIDTH, experts.STEPS, experts.DEMONSTRATIONS, experts.MEMBERS, experts.PRIOR],
    "dril": [experts.RATE, experts.WEIGHT, experts.STEP_SIZE],
    "runs": {loop: list(runs(loop)) for loop in LOOPS},
}
STUDY: Study = in_blocks(study, 10, SETTINGS)

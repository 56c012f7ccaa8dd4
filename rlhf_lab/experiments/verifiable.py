"""Answers that are no longer fresh, on sums with a verifier: directions, noise, runs with a lag, clips, and children.

Every run writes 96 answers a round for 100 rounds and takes as many optimiser steps as the others of its table: one a
round with a lag, 16 where clips are compared, four for the children. Step sizes were tuned for each row, on seeds from
100 on, by the mean over the run of the chance to be right; where clips are compared it is one for all.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from autograd import grad
from numpy.random import Generator

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import group_losses, grpo, policy_gradient
from rlhf_lab.methods.rollouts import Collect, Task, every, stack
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import expectation
from rlhf_lab.worlds import sums

ROUNDS, ANSWERS, PROMPTS = 100, 8, 12
STEPS_BACK = (1, 2, 4, 8, 12, 16, 24, 32)  # exact steps since the answers were written
LAGS = (1, 2, 4, 8, 16)  # rounds
HIGHS = (0.05, 0.1, 0.2, 0.28, 0.5, 1.0, 2.0, 5.0)
WEIGHTS = {
    "none": group_losses.no_correction,
    "token": group_losses.token_ratio,
    "answer": group_losses.answer_ratio,
    "mean": group_losses.mean_ratio,
}
CAPPED = {
    "truncated": lambda log_ratio, mask: group_losses.truncated(group_losses.answer_ratio(log_ratio, mask), 2.0),
    "dropped": lambda log_ratio, mask: group_losses.dropped(group_losses.answer_ratio(log_ratio, mask), 2.0),
}
SUM = group_losses.by_constant(1.0)
FOUR = {"epochs": 2, "minibatch": 48}  # steps a round
CHILDREN: dict[str, dict[str, Any]] = {
    "RLOO": {"advantages": policy_gradient.rloo_advantages, "mean": SUM},
    "GRPO": {},
    "Dr. GRPO": {"advantages": group_losses.mean_advantages, "mean": group_losses.by_constant(sums.HORIZON)},
    "DAPO": {
        "surrogate": group_losses.clipped(high=0.28),
        "mean": group_losses.token_mean,
        "dynamic": 2,
        "prompts": PROMPTS // 2,
        "epochs": 4,
    },
    "GSPO, 0.0003": {"surrogate": group_losses.clipped(group_losses.mean_ratio, 3e-4, 4e-4)},
    "GSPO, 0.03": {"surrogate": group_losses.clipped(group_losses.mean_ratio, 0.03, 0.04)},
    "CISPO": {"surrogate": group_losses.cispo(5.0), "mean": group_losses.token_mean},
}
STEP_SIZE = 0.1  # where no other stands here
OTHERS = {
    0.02: [f"high {high}" for high in HIGHS],
    0.05: ["DAPO", "GSPO, 0.03", "CISPO", "lag 16, none"],
    0.2: ["lag 1, none"]
    + [f"lag {lag}, {name}" for lag in (2, 4) for name in (*WEIGHTS, *CAPPED)]
    + [f"lag {lag}, {name}" for lag in (8, 16) for name in (*WEIGHTS, *CAPPED) if name != "none"],
}
STEP_SIZES = {name: size for size, names in OTHERS.items() for name in names}


def task() -> Task:
    """Return the sums with the honest verifier; the price is not used here."""
    return Task(sums.mdp(), (sums.model(), sums.student()), 0.05)


def look(world: Task, params: Params) -> dict[str, Array]:
    """Return the chance to be right of each sum, (..., K), and the entropy, (...), exactly."""
    log_pi = world.log_pi(world.reference[0], params)
    return {"right": expectation(log_pi, world.rewards), "entropy": world.mean(lm.entropy(log_pi))}


def run(seeds: Sequence[int], step_size: float, lag: int = 0, **settings: Any) -> Numbers:
    """Return the mean of p over the sums after every tenth round (seeds, 10), p of each sum at the end (seeds, K), the
    entropy there, and means of telemetry over the run.
    """
    world = task()
    loss, collect = grpo.grpo(world, world.reference[0], **{"prompts": PROMPTS, "answers": ANSWERS} | settings)
    _, history = optim.fit(
        loss,
        stack([world.reference[1]] * len(seeds)),
        lagged(collect, lag),
        rounds=ROUNDS,
        optimizer=optim.adam(step_size),
        rng=np.random.default_rng(seeds),
        record=every(10, partial(look, world)),
    )
    looks = [record for record in history if "right" in record]
    told = {name: np.mean([r[name] for r in history], axis=0) for name in ("clip_fraction", "degenerate")}
    curve = np.stack([np.mean(r["right"], axis=-1) for r in looks], axis=1)
    return {"right": curve, "last": looks[-1]["right"], "entropy": looks[-1]["entropy"], **told}


def lagged(collect: Collect, lag: int) -> Collect:
    """Return a `collect` whose answers are written by the policy of `lag` rounds ago, or by the first."""
    written: list[Params] = []

    def stale(params: Params, rng: Generator) -> Iterable[Any]:
        written.append(params)
        return collect(written[max(0, len(written) - 1 - lag)], rng)

    return stale


def directions(seed: int) -> Numbers:
    """Return, for each weight and number of steps back, the cosine of the mean estimate with the exact gradient, and
    the noise over the signal of one from 96 answers; and the effective share of answers. The answers are those of a
    policy that has come 4 x `seed` exact steps.
    """
    world = task()
    model, params = world.reference
    climb = grad(lambda params: -world.mean(expectation(world.log_pi(model, params), world.rewards)))
    adam = optim.adam(0.03)
    state, path = adam.init(params), [params]
    for _ in range(4 * seed + STEPS_BACK[-1]):
        params, state = adam.update(params, climb(params), state)
        path.append(params)
    old = path[4 * seed]
    log_old = world.log_pi(model, old)
    found: dict[str, list[Any]] = {f"{what}, {name}": [] for name in WEIGHTS for what in ("cosine", "noise")}
    found["share"] = []
    for steps in STEPS_BACK:
        now = path[4 * seed + steps]
        exact = climb(now)["rows"].ravel()
        log_pi = world.log_pi(model, now)
        found["share"].append(world.mean(1 / np.sum(np.exp(2 * log_pi - log_old), axis=-1)))
        for name, weight in WEIGHTS.items():
            settings: dict[str, Any] = {
                "answers": ANSWERS,
                "advantages": policy_gradient.rloo_advantages,
                "surrogate": group_losses.weighted_tokens(weight),
                "mean": SUM,
            }
            mean = grad(grpo.expected_loss(world, model, old, **settings))(now)["rows"].ravel()
            found[f"cosine, {name}"].append(mean @ exact / np.sqrt((mean @ mean) * (exact @ exact)))
            loss, collect = grpo.grpo(world, model, prompts=PROMPTS, **settings)
            batch = next(iter(collect(stack([old] * 100), np.random.default_rng([seed, steps]))))
            drawn = grad(lambda params, batch=batch, loss=loss: np.sum(loss(params, batch).loss))(stack([now] * 100))
            found[f"noise, {name}"].append(policy_gradient.noise_over_signal(drawn["rows"].reshape(100, -1)))
    return {name: np.array([values]) for name, values in found.items()}


def rows() -> dict[str, dict[str, Any]]:
    """Return the settings of all runs."""
    plain = {"advantages": policy_gradient.rloo_advantages, "mean": SUM}
    late = {
        f"lag {lag}, {name}": plain | {"surrogate": group_losses.weighted_tokens(weight), "lag": lag}
        for lag in LAGS
        for name, weight in (WEIGHTS | CAPPED).items()
    }
    clips = {f"high {high}": FOUR | {"epochs": 8, "surrogate": group_losses.clipped(high=high)} for high in HIGHS}
    return late | clips | {name: FOUR | settings for name, settings in CHILDREN.items()}


def study(seeds: Sequence[int]) -> Numbers:
    """Return what all runs found, and the directions from one starting point a seed."""
    points = [directions(seed) for seed in seeds]
    return {
        "runs": {name: run(seeds, STEP_SIZES.get(name, STEP_SIZE), **settings) for name, settings in rows().items()},
        "directions": {name: np.concatenate([point[name] for point in points]) for name in points[0]},
    }


SETTINGS = {"rounds": ROUNDS, "prompts": PROMPTS, "answers": ANSWERS, "step_sizes": [STEP_SIZE, STEP_SIZES]}
STUDY: Study = in_blocks(study, 10, SETTINGS)

"""Sums with a verifier: answers that are no longer fresh, clips, children of GRPO, and a bonus for entropy.

Every run writes 96 answers a round for 100 rounds and takes as many optimiser steps as the others of its table: one a
round with a lag and with a bonus, 16 where clips are compared, four for the children. Step sizes were tuned for each
row, on seeds from 100 on, by the mean over the run of the chance to be right; where clips or bonuses are compared it is
one for all.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from autograd import grad
from numpy.random import Generator

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import group_losses, grpo, policy_gradient
from rlhf_lab.methods.rollouts import Collect, Loss, Task, every, stack
from rlhf_lab.models import lm
from rlhf_lab.models.lm import LanguageModel
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Outcome, Params, outcome
from rlhf_lab.numerics.weighted import expectation
from rlhf_lab.worlds import sums

ROUNDS, ANSWERS, PROMPTS = 100, 8, 12
STEPS_BACK = (1, 2, 4, 8, 12, 16, 24, 32)  # exact steps since the answers were written
LAGS = (1, 2, 3, 4, 6, 8, 12, 16)  # rounds
BONUSES = (0.0, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1)  # what a nat of entropy is paid
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
    0.05: ["DAPO", "GSPO, 0.03", "CISPO", "lag 12, none", "lag 16, none"],
    0.2: [f"lag {lag}, none" for lag in (1, 2, 4)]
    + [f"lag {lag}, {name}" for lag in LAGS[1:] for name in (*WEIGHTS, *CAPPED) if name != "none"],
}
STEP_SIZES = {name: size for size, names in OTHERS.items() for name in names}


def task(prompts: Array = sums.PROMPTS) -> Task:
    """Return the sums with the honest verifier; the price is not used here."""
    return Task(sums.mdp(prompts=prompts), (sums.model(prompts), sums.student()), 0.05)


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
    _, history = _fit(seeds, step_size, loss, lagged(collect, lag), record=every(10, partial(look, world)))
    looks = [record for record in history if "right" in record]
    told = {name: np.mean([r[name] for r in history], axis=0) for name in ("clip_fraction", "degenerate")}
    curve = np.stack([np.mean(r["right"], axis=-1) for r in looks], axis=1)
    return {"right": curve, "last": looks[-1]["right"], "entropy": looks[-1]["entropy"], **told}


def _fit(seeds: Sequence[int], step_size: float, *pair: Any, **settings: Any) -> tuple[Params, list[dict[str, Any]]]:
    rng, start = np.random.default_rng(seeds), stack([sums.student()] * len(seeds))
    loss, collect = pair
    return optim.fit(loss, start, collect, rounds=ROUNDS, optimizer=optim.adam(step_size), rng=rng, **settings)


def with_bonus(loss: Loss, model: LanguageModel, weight: float) -> Loss:
    """Return a loss of GRPO, less `weight` times the mean over answers of the entropy of their tokens
    (eq-entropy-bonus).
    """

    def less(params: Params, batch: Any) -> Outcome:
        found, logits = outcome(loss(params, batch)), model.logits(params, batch.prompt, batch.response)
        paid = np.mean(policy_gradient.token_entropy(logits, batch.mask), axis=-1)
        return found._replace(loss=found.loss - weight * paid)

    return less


def bonus(seeds: Sequence[int], weight: float) -> Numbers:
    """Return where GRPO with a bonus ends: the chance to be right of each sum of the training, `last`, and of the
    others, `held_out`, both (seeds, K), and the entropy (seeds,).
    """
    world = task()
    loss, collect = grpo.grpo(world, world.reference[0], prompts=PROMPTS, answers=ANSWERS)
    params, _ = _fit(seeds, STEP_SIZE, with_bonus(loss, world.reference[0], weight), collect)
    own, others = look(world, params), look(task(sums.HELD_OUT), params)
    return {"last": own["right"], "entropy": own["entropy"], "held_out": others["right"]}


def lagged(collect: Collect, lag: int) -> Collect:
    """Return a `collect` whose answers are written by the policy of `lag` rounds ago, or by the first."""
    written: list[Params] = []

    def stale(params: Params, rng: Generator) -> Iterable[Any]:
        written.append(params)
        return collect(written[max(0, len(written) - 1 - lag)], rng)

    return stale


def climb(world: Task, params: Params) -> Params:
    """Return the exact gradient of minus the chance to be right."""
    model = world.reference[0]
    found: Params = grad(lambda now: -world.mean(expectation(world.log_pi(model, now), world.rewards)))(params)
    return found


def path(steps: int) -> list[Params]:
    """Return the student, and where exact steps lead it."""
    world, adam = task(), optim.adam(0.03)
    found = [world.reference[1]]
    state = adam.init(found[0])
    for _ in range(steps):
        params, state = adam.update(found[-1], climb(world, found[-1]), state)
        found.append(params)
    return found


def directions(way: list[Params], seed: int) -> Numbers:
    """Return, for each weight and number of steps back, the cosine of the mean estimate with the exact gradient, and
    the noise over the signal of one from 96 answers; and the effective share of answers. The answers are those of a
    policy that has come 4 x `seed` exact steps of the `way`.
    """
    world, old = task(), way[4 * seed]
    model = world.reference[0]
    log_old = world.log_pi(model, old)
    plain: dict[str, Any] = {"answers": ANSWERS, "advantages": policy_gradient.rloo_advantages, "mean": SUM}
    kinds = {name: plain | {"surrogate": group_losses.weighted_tokens(weight)} for name, weight in WEIGHTS.items()}
    means = {name: grad(grpo.expected_loss(world, model, old, **kind)) for name, kind in kinds.items()}
    losses = {name: grpo.grpo(world, model, prompts=PROMPTS, **kind)[0] for name, kind in kinds.items()}
    _, collect = grpo.grpo(world, model, prompts=PROMPTS, **plain)
    found: dict[str, list[Any]] = {f"{what}, {name}": [] for name in WEIGHTS for what in ("cosine", "noise")}
    found["share"] = []
    for steps in STEPS_BACK:
        now = way[4 * seed + steps]
        exact = climb(world, now)["rows"].ravel()
        log_pi = world.log_pi(model, now)
        found["share"].append(world.mean(1 / np.sum(np.exp(2 * log_pi - log_old), axis=-1)))
        (batch,) = collect(stack([old] * 100), np.random.default_rng([seed, steps]))
        for name, loss in losses.items():
            mean = means[name](now)["rows"].ravel()
            found[f"cosine, {name}"].append(mean @ exact / np.sqrt((mean @ mean) * (exact @ exact)))
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
    way = path(4 * max(seeds) + STEPS_BACK[-1])
    points = [directions(way, seed) for seed in seeds]
    return {
        "runs": {name: run(seeds, STEP_SIZES.get(name, STEP_SIZE), **settings) for name, settings in rows().items()},
        "bonus": {str(weight): bonus(seeds, weight) for weight in BONUSES},
        "directions": {name: np.concatenate([point[name] for point in points]) for name in points[0]},
    }


SETTINGS = {"rounds": ROUNDS, "prompts": PROMPTS, "answers": ANSWERS, "step_sizes": [STEP_SIZE, STEP_SIZES]}
STUDY: Study = in_blocks(study, 10, SETTINGS)

"""What does it buy to use answers again? PPO with one pass and with four, beside methods that take as many steps.

Every run sees the same number of judged answers of PhraseWorld. A row of `RUNS` says how many optimiser steps it takes
on them; its step size is the best of `STEP_SIZES` on the seeds of `tune`, which are not those of the study.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import policy_gradient, ppo, rollouts
from rlhf_lab.methods.rollouts import Collect, Loss, Task
from rlhf_lab.models import critics, lm, recurrent
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import phrase_world

ANSWERS = 12_288  # of each run
POINTS = 8  # of each curve, behind the start
STEP_SIZES = (0.003, 0.01, 0.02, 0.04)
BETA = 0.5
NETWORK = recurrent.Recurrent(phrase_world.VOCAB, hidden=16, eos=phrase_world.EOS)
CRITIC = critics.ReaderCritic(NETWORK)


class Run(NamedTuple):
    """A method, its answers a round, answers an optimiser step, passes over them, and the step size that `tune` found.

    The optimiser takes `ANSWERS / batch * passes` steps.
    """

    method: str
    fresh: int
    batch: int
    passes: int
    step_size: float


RUNS = {
    "REINFORCE, 48 steps": Run("reinforce", 256, 256, 1, 0.02),
    "REINFORCE, 192 steps": Run("reinforce", 64, 64, 1, 0.02),
    "RLOO, 48 steps": Run("rloo", 256, 256, 1, 0.02),
    "RLOO, 192 steps": Run("rloo", 64, 64, 1, 0.02),
    "GRPO, 48 steps": Run("grpo", 256, 256, 1, 0.02),
    "GRPO, 192 steps": Run("grpo", 64, 64, 1, 0.01),
    "A2C, 48 steps": Run("a2c", 256, 256, 1, 0.02),
    "A2C, 192 steps": Run("a2c", 64, 64, 1, 0.01),
    "PPO, 1 pass, 48 steps": Run("ppo", 512, 256, 1, 0.02),
    "PPO, 1 pass, 192 steps": Run("ppo", 512, 64, 1, 0.01),
    "PPO, 4 passes, 192 steps": Run("ppo", 512, 256, 4, 0.01),
}
ADVANTAGES = {
    "reinforce": (policy_gradient.batch_mean, 1),
    "rloo": (policy_gradient.rloo_advantages, 4),
    "grpo": (policy_gradient.grpo_advantages, 4),
}


@cache
def pretrained() -> tuple[Task, Params]:
    """Return the task of the chapter and the parameters of its reference."""

    def imitate(params: Params, batch: Any) -> Array:
        return lm.negative_log_likelihood(NETWORK, params, *batch)

    texts = optim.minibatches(phrase_world.corpus(), 149)
    start = NETWORK.init(np.random.default_rng(4))
    adam = optim.adam(0.02)
    params, _ = optim.fit(imitate, start, texts, rounds=150, optimizer=adam, rng=np.random.default_rng(5))
    return Task(phrase_world.mdp(), (NETWORK, params), BETA), params


def pair(run: Run) -> tuple[Loss, Collect]:
    """Return loss and `collect` of a row of `RUNS`."""
    task, _ = pretrained()
    if run.method == "ppo":
        return ppo.ppo(task, CRITIC, prompts=run.fresh, minibatch=run.batch, epochs=run.passes, value_weight=0.1)
    if run.method == "a2c":
        return ppo.a2c(task, CRITIC, prompts=run.fresh, value_weight=0.1)
    advantages, k = ADVANTAGES[run.method]
    return policy_gradient.reinforce(task, NETWORK, advantages, prompts=run.fresh // k, answers=k)


def curve(run: Run, seeds: Sequence[int], first: int = 0, answers: int = ANSWERS, points: int = POINTS) -> Array:
    """Return the distance to the optimum, (seeds, points), after equal shares of the answers."""
    task, start = pretrained()
    many = rollouts.stack([CRITIC.head(start) if run.method in ("ppo", "a2c") else start] * len(seeds))
    loss, collect = pair(run)
    every = answers // run.fresh // points
    _, history = optim.fit(
        loss,
        many,
        collect,
        rounds=answers // run.fresh,
        optimizer=optim.adam(run.step_size),
        rng=np.random.default_rng([first, *seeds]),
        record=rollouts.every(every, lambda params: {"gap": task.each(NETWORK, params, task.gap)}),
    )
    return np.stack([record["gap"] for record in history if "gap" in record], axis=-1)


def tune(seeds: Sequence[int] = range(10)) -> dict[str, dict[float, float]]:
    """Return the distance at the end for each row of `RUNS` and each of `STEP_SIZES`: how those of `RUNS` were found.

    The seeds begin with a number of their own, so that they are none of those of the study.
    """
    return {
        name: {s: float(curve(run._replace(step_size=s), seeds, first=1, points=1).mean()) for s in STEP_SIZES}
        for name, run in RUNS.items()
    }


def study(seeds: Sequence[int]) -> Numbers:
    """Return the curves of all rows of `RUNS`, (seeds, points)."""
    return {name: curve(run, seeds) for name, run in RUNS.items()}


SETTINGS = {
    "answers": ANSWERS,
    "points": POINTS,
    "beta": BETA,
    "runs": {name: list(run) for name, run in RUNS.items()},
}
STUDY: Study = in_blocks(study, 10, SETTINGS)

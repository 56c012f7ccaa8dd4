"""What does a nat of divergence buy? RLOO at four prices, and RAFT and RRHF, which know no price and go on.

All begin at the reference of the chapter and draw groups of `ANSWERS` answers. Every point is the divergence from the
reference and the true reward, both exact.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from rlhf_lab.experiments.policy_gradients import NETWORK, pretrained
from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import best_of_n, policy_gradient, rollouts
from rlhf_lab.methods.rollouts import Collect, Loss, Task
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array

PRICES = (2.0, 1.0, 0.5, 0.25)
PRICED = 45  # rounds of RLOO
ROUNDS, POINTS = 96, 8  # of RAFT and RRHF
PROMPTS, ANSWERS, STEP_SIZE = 64, 4, 0.01
IMITATORS = {"RAFT": best_of_n.raft, "RRHF": best_of_n.rrhf}
TRIALS = {  # two rounds of RAFT: prompts a round, and steps on their answers
    "16 steps a round": (PROMPTS, 16),
    "and 16 times the answers": (16 * PROMPTS, 16),
    "and 48 steps a round": (16 * PROMPTS, 48),
}


def spot(task: Task, log_pi: Array) -> Array:
    """Return the divergence from the reference, nats, and the reward of a policy (K, A): two numbers."""
    reward = np.sum(np.exp(log_pi) * task.rewards, axis=-1)
    return task.mean(np.stack([lm.kl(log_pi, task.log_pi_0), reward]))


def rloo(beta: float) -> tuple[Loss, Collect]:
    """Return loss and `collect` of RLOO at a price."""
    task = rollouts.Task(pretrained()[0].mdp, pretrained()[0].reference, beta)
    return policy_gradient.reinforce(task, NETWORK, policy_gradient.rloo_advantages, prompts=PROMPTS, answers=ANSWERS)


def imitator(name: str, prompts: int = PROMPTS, steps: int = 1) -> tuple[Loss, Collect]:
    """Return loss and `collect` of RAFT or RRHF, which take `steps` steps on the answers of a round."""
    loss, collect = IMITATORS[name](pretrained()[0], NETWORK, prompts=prompts, n=ANSWERS)
    return loss, lambda params, rng: [*collect(params, rng)] * steps


def path(pair: tuple[Loss, Collect], seeds: Sequence[int], rounds: int, points: int = 1) -> Array:
    """Return where runs stand after equal numbers of rounds, (seeds, points, 2): divergence and reward."""
    task, start = pretrained()
    _, history = optim.fit(
        pair[0],
        rollouts.stack([start] * len(seeds)),
        pair[1],
        rounds=rounds,
        optimizer=optim.adam(STEP_SIZE),
        rng=np.random.default_rng(seeds),
        record=rollouts.every(
            rounds // points, lambda params: {"spot": task.each(NETWORK, params, partial(spot, task))}
        ),
    )
    return np.stack([record["spot"] for record in history if "spot" in record], axis=1)


def study(seeds: Sequence[int]) -> Numbers:
    """Return the paths of all rows, (seeds, points, 2)."""
    priced = {f"RLOO, {beta}": path(rloo(beta), seeds, PRICED) for beta in PRICES}
    imitated = {name: path(imitator(name), seeds, ROUNDS, POINTS) for name in IMITATORS}
    tried = {name: path(imitator("RAFT", *size), seeds, 2) for name, size in TRIALS.items()}
    return priced | imitated | tried


SETTINGS = {
    "prices": list(PRICES),
    "rounds": [PRICED, ROUNDS, POINTS],
    "sizes": [PROMPTS, ANSWERS, STEP_SIZE],
    "trials": {name: list(size) for name, size in TRIALS.items()},
}
STUDY: Study = in_blocks(study, 10, SETTINGS)

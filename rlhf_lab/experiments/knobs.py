"""The knobs of PPO: what each does to the distance from the optimum, one at a time, all else as in plain PPO.

Each row of `ROWS` changes one setting of `ppo`, each row of `OPTIMIZERS` the optimiser. All runs see as many answers;
the step size is that of plain PPO.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from rlhf_lab.experiments.policy_gradients import CRITIC, NETWORK, pretrained
from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import actor_critic, ppo, rollouts, telemetry
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params

ROUNDS, STEP_SIZE = 25, 0.01
PPO: dict[str, Any] = {"prompts": 512, "minibatch": 256, "epochs": 4, "value_weight": 0.1}
FARTHEST, TARGET, RATE = 0.01, 1.0, 0.5  # nats per token; nats, and how fast the price follows
ROWS: dict[str, dict[str, Any]] = {
    "plain PPO": {},
    "stopped early": {"target_kl": FARTHEST},
    "target 1 nat": {"control": partial(actor_critic.adapt_beta, target=TARGET, rate=RATE)},
    "normalised advantages": {"normalised": True},
    "clip range 0.05": {"clip_range": 0.05},
    "hardly any clipping": {"clip_range": 0.99},
    "value clip 0.2": {"value_clip": 0.2},
    "value weight 0": {"value_weight": 0.0},
    "value weight 0.5": {"value_weight": 0.5},
    "lambda 0": {"lam": 0.0},
    "lambda 1": {"lam": 1.0},
    "minibatch 64": {"minibatch": 64},
    "1 pass": {"epochs": 1},
}


def annealed(step_size: float, steps: int) -> optim.Optimizer:
    """Adam with a step size that falls in a straight line to 0 over `steps` steps."""
    adam = optim.adam(step_size)

    def update(params: Params, grads: Params, state: Any, moving: Any = True) -> tuple[Params, Any]:
        taken, inner = state
        fresh, inner = adam.update(params, grads, inner, moving)
        left = 1 - taken / steps
        return {name: value + left * (fresh[name] - value) for name, value in params.items()}, (taken + 1, inner)

    return optim.Optimizer(lambda params: (0, adam.init(params)), update)


OPTIMIZERS: dict[str, Callable[[int], optim.Optimizer]] = {
    "Adam's eps 1e-5": lambda steps: optim.adam(STEP_SIZE, eps=1e-5),
    "step size to 0": partial(annealed, STEP_SIZE),
}


def ends(name: str, seeds: Sequence[int], rounds: int = ROUNDS) -> dict[str, Array]:
    """Return distance and divergence at the end of the runs of a row, and the means of its telemetry."""
    task, start = pretrained()
    settings = PPO | ROWS.get(name, {})
    loss, collect = ppo.ppo(task, CRITIC, **settings)
    steps = rounds * settings["epochs"] * (settings["prompts"] // settings["minibatch"])
    params, history = optim.fit(
        loss,
        rollouts.stack([CRITIC.head(start)] * len(seeds)),
        collect,
        rounds=rounds,
        optimizer=OPTIMIZERS[name](steps) if name in OPTIMIZERS else optim.adam(STEP_SIZE),
        rng=np.random.default_rng(seeds),
    )

    def look(log_pi: Array) -> Array:
        return np.array([task.gap(log_pi), task.mean(lm.kl(log_pi, task.log_pi_0))])

    gap, nats = task.each(NETWORK, params, look).T
    return {"gap": gap, "nats": nats} | {key: curve.mean(0) for key, curve in telemetry.curves(history).items()}


def study(seeds: Sequence[int]) -> Numbers:
    """Return the ends of all rows, (seeds,) each."""
    return {name: ends(name, seeds) for name in (*ROWS, *OPTIMIZERS)}


SETTINGS = {
    "rounds": ROUNDS,
    "step_size": STEP_SIZE,
    "ppo": PPO,
    "knobs": [FARTHEST, TARGET, RATE],
    "rows": [*ROWS, *OPTIMIZERS],
}
STUDY: Study = in_blocks(study, 10, SETTINGS)

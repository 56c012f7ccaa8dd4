"""Two knobs of PPO: a policy that has moved too far waits for the next round, and a price that seeks a divergence."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from rlhf_lab.experiments.policy_gradients import CRITIC, NETWORK, pretrained
from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import actor_critic, ppo, rollouts
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array

ROUNDS, STEP_SIZE = 25, 0.01
PPO: dict[str, Any] = {"prompts": 512, "minibatch": 256, "epochs": 4, "value_weight": 0.1}
FARTHEST, TARGET, RATE = 0.01, 1.0, 0.5  # nats per token; nats, and how fast the price follows
ROWS: dict[str, dict[str, Any]] = {
    "plain PPO": {},
    "stopped early": {"target_kl": FARTHEST},
    "target 1 nat": {"control": partial(actor_critic.adapt_beta, target=TARGET, rate=RATE)},
}
TOLD = ("approximate_kl", "clip_fraction", "explained_variance", "entropy", "length")


def ends(name: str, seeds: Sequence[int], rounds: int = ROUNDS) -> dict[str, Array]:
    """Return distance and divergence at the end of the runs of a row, and the means of `TOLD` over its rounds."""
    task, start = pretrained()
    loss, collect = ppo.ppo(task, CRITIC, **PPO, **ROWS[name])
    params, history = optim.fit(
        loss,
        rollouts.stack([CRITIC.head(start)] * len(seeds)),
        collect,
        rounds=rounds,
        optimizer=optim.adam(STEP_SIZE),
        rng=np.random.default_rng(seeds),
    )

    def look(log_pi: Array) -> Array:
        return np.array([task.gap(log_pi), task.mean(lm.kl(log_pi, task.log_pi_0))])

    gap, nats = task.each(NETWORK, params, look).T
    return {"gap": gap, "nats": nats} | {key: np.mean([record[key] for record in history], axis=0) for key in TOLD}


def study(seeds: Sequence[int]) -> Numbers:
    """Return the ends of all rows, (seeds,) each."""
    return {name: ends(name, seeds) for name in ROWS}


SETTINGS = {"rounds": ROUNDS, "step_size": STEP_SIZE, "ppo": PPO, "knobs": [FARTHEST, TARGET, RATE], "rows": list(ROWS)}
STUDY: Study = in_blocks(study, 10, SETTINGS)

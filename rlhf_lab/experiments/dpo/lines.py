"""What the studies of DPO share: lines with knobs of their own, tuned on seeds that are not shown.

A line is {"far": (seeds, knobs, points), ...}; `far` is the distance from the Gibbs policy.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from rlhf_lab.experiments.runner import Numbers
from rlhf_lab.feedback.pairs import PreferenceBatch
from rlhf_lab.methods import direct
from rlhf_lab.models.lm import LanguageModel
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.optim import Params

BETA = 0.5
DPO = partial(direct.dpo, beta=BETA)


def tuned(line: Numbers) -> Numbers:
    """Return (seeds / 2, points) of the first half of the seeds, at the knob that ends nearest on the second half.

    The number of that knob is added as "knob".
    """
    half = len(line["far"]) // 2
    best = int(line["far"][half:, :, -1].mean(0).argmin())
    return {name: value[:half, best] for name, value in line.items()} | {"knob": best}


def stack(params: Sequence[Params]) -> Params:
    """Return parameters of several models as one set, along a new first axis."""
    return {name: np.stack([each[name] for each in params]) for name in params[0]}


def rows(batch: PreferenceBatch, which: Any) -> PreferenceBatch:
    """Return some of the comparisons of each seed."""
    texts, numbers = batch[:3], batch[3:]
    return PreferenceBatch(*(each[..., which, :] for each in texts), *(each[..., which] for each in numbers))


def train(loss: Any, start: Params, collect: Any, rounds: int, step_size: float) -> list[Params]:
    """Return the parameters before training, and after each round of Adam."""
    _, history = optim.fit(
        loss,
        start,
        collect,
        rounds=rounds,
        optimizer=optim.adam(step_size),
        rng=np.random.default_rng(1),
        record=lambda params: {"params": params},
    )
    return [start, *(row["params"] for row in history)]


def stop_early(model: LanguageModel, trail: list[Params], held: PreferenceBatch) -> tuple[Params, Any]:
    """Return for each seed the parameters of `trail` that fit held-out comparisons best, and their place, (seeds,)."""
    loss = direct.preference_loss(model, DPO)
    best = np.stack([loss(params, held) for params in trail]).argmin(0)
    every = stack(trail)
    return {name: value[best, np.arange(len(best))] for name, value in every.items()}, best

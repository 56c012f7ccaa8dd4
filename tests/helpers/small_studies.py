"""Every study at a size that takes moments, in this process, and in each worker of a cluster that loads this file."""

from dataclasses import replace
from functools import partial

from rlhf_lab.experiments import (
    cartpole,
    dialogue,
    frontier,
    imitation,
    knobs,
    mistakes,
    objectives,
    online,
    pluralism,
    policy_gradients,
    resets,
    segments,
    soft_values,
    verifiable,
)
from rlhf_lab.experiments.bug_zoo import learning_from_experts
from rlhf_lab.experiments.bug_zoo import world as bug_zoo
from rlhf_lab.experiments.dpo import fall, networks
from rlhf_lab.experiments.dpo import online as dpo_online
from rlhf_lab.experiments.gpt import measures, stages
from rlhf_lab.experiments.gpt import study as gpt
from rlhf_lab.experiments.ilhf import study as ilhf
from rlhf_lab.experiments.pluralism import Setting as Groups
from rlhf_lab.experiments.runner import Piece

SIZES = {
    "imitation": (
        imitation,
        {"HORIZON": 20, "COUNTS": (1, 2), "TRAINING": {"rounds": 2, "step_size": 0.1}, "ROUNDS": 2},
    ),
    "online": (online, {"OFFLINE": 16}),
    "segments": (segments, {"HORIZON": 16}),
    "cartpole": (cartpole, {"HORIZON": 40, "UPDATES": 4, "TESTS": 2, "LABELS": (8, 16)}),
    "policy gradients": (policy_gradients, {}),
    "soft values": (soft_values, {}),
    "resets": (resets, {"LENGTHS": (2, 3)}),
    "dialogue": (dialogue, {"SIZE": 50, "CHECKS": (10, 20), "SHARES": (0.5,), "PRICES": (0.3,)}),
    "mistakes": (mistakes, {}),
    "knobs": (knobs, {}),
    "pluralism": (pluralism, {"PEOPLE": 20, "SHARES": (0.5,), "THRESHOLD": {"wide": Groups(20, 10, 0.4, 0.5, (4,))}}),
    "objectives": (objectives, {"PRETRAIN": 2, "STEPS": 2, "WEIGHTS": (0.5,), "COUNTS": (10,), "ROUNDS": 2}),
    "frontier": (frontier, {"PRICED": 1, "ROUNDS": 1, "POINTS": 1, "TRIALS": {"two steps": (8, 2)}}),
    "verifiable": (
        verifiable,
        {"ROUNDS": 10, "STEPS_BACK": (1, 2), "LAGS": (1, 2), "BONUSES": (0.01,), "HIGHS": (0.2,)},
    ),
    "gpt": (gpt, {"TALK": 24, "ANSWERS": 24, "PAIRS": 32, "WRITTEN": 32, "FEW": 2, "MANY": 2, "LOOKS": 2, "ROUNDS": 2}),
    "bug zoo": (bug_zoo, {"POINTS": (1, 2)}),
    "dpo online": (dpo_online, {"ROUNDS": 2, "STEPS": 4}),
    "dpo prior": (dpo_online, {}),
    "dpo networks": (networks, {"JUDGED": (1, 2), "ALPHAS": (0.1,)}),
    "dpo fall": (fall, {}),
}
DEFAULTS = (  # sizes of functions, which are bound when their modules are loaded
    (imitation.improve, (2,)),
    (online.curve, (0, 2, 8)),
    (policy_gradients.curve, (0, 1024, 1)),
    (soft_values.curve, (0, 2, 1)),
    (resets.learn, (0, 1024, 1)),
    (mistakes.curve, (1, 1)),
    (knobs.ends, (1,)),
    (networks.run, ((0, 1),)),
    (fall.run, ((0, 1),)),
    (ilhf.on_coin, (10, 4, 5)),
    (ilhf.memory, (64, 200, 4)),
)
SETTING = {
    "length": 8,
    "episodes": 2,
    "every": 1,
    "pairs": 4,
    "documents": 16,
    "epochs": 1,
    "batch": 8,
    "evaluation": 8,
}
"""Of the studies of the ILHF paper, whose sizes travel with their pieces."""


def shrink(put=setattr):
    """Make all studies small; `put` sets an attribute, and may undo it later."""
    for module, sizes in SIZES.values():
        for name, value in sizes.items():
            put(module, name, value)
    put(learning_from_experts, "POINTS", bug_zoo.POINTS)
    put(measures, "CROWD", 64)
    put(stages, "GPT_SIZE", {"width": 8, "layers": 1, "heads": 2})
    put(segments.segments.learn, "__kwdefaults__", segments.segments.learn.__kwdefaults__ | {"rounds": 2})
    for function, defaults in DEFAULTS:
        put(function, "__defaults__", defaults)


def small(study):
    """Return a study with a piece for each seed, where it has blocks of them, and the sizes that its pieces carry."""

    def pieces(seeds):
        found, large = {}, study.pieces(seeds)
        blocks = all(piece.run.args == (piece.seeds,) for piece in large.values())
        for name, piece in large.items():
            run = piece.run
            if "setting" in run.keywords:
                run = partial(run, setting=replace(run.keywords["setting"], **SETTING))
            for each in [(seed,) for seed in piece.seeds] if blocks else [piece.seeds]:
                one = partial(run.func, each, **run.keywords) if blocks else run
                found[f"{name}_{each[0]}"] = Piece(each, one)
        return found

    return replace(study, pieces=pieces)


def dask_setup(worker):
    """Make the studies of a worker small: Dask calls this in each that it starts."""
    shrink()

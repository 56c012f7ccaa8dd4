"""How many labels does each way of asking need? Eight rules, two kinds of worlds, equal labels and equal priors.

Each seed has a world of its own: what the reference says, the features and what people want are drawn anew. Every rule
buys the same number of labels in the same number of rounds, and after each of them the policy is planned exactly. The
knobs of `RULES` are those that `tune` found best, on worlds that are not those of the study.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import online, regret, xpo
from rlhf_lab.methods.online import Ask, Estimate, World
from rlhf_lab.numerics.autodiff import Array, log_softmax

BETA, PRECISION, SPREAD = 0.2, 1.0, 2.0  # price; of the prior, which is that of the worlds; of the reference's logits
ROUNDS, BATCH, OFFLINE = 32, 32, 256  # rounds, labels a round, and those that "hybrid" buys offline
PROMPTS, ANSWERS, FEATURES, TABLE = 3, 12, 4, 16  # of a linear world; answers of a table
MEMBERS = 10  # of the ensemble


class Rule(NamedTuple):
    """What is asked, how theta is estimated, and the value of the knob, 0 for a rule without one."""

    ask: Callable[[float], Ask]
    estimate: Callable[[float], Estimate]
    knob: float = 0.0


def _plain(knob: float) -> Estimate:
    return online.most_probable


def _always(ask: Ask) -> Callable[[float], Ask]:
    return lambda knob: ask


KNOBS = {
    "option 1": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
    "best and worst": (2.0, 3.0, 4.0, 8.0, 16.0),
    "XPO": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
}
BEST = {  # by `tune`
    "linear": {"option 1": 0.3, "best and worst": 3.0, "XPO": 0.0003},
    "table": {"option 1": 10.0, "best and worst": 8.0, "XPO": 0.001},
}


def rules(kind: str) -> dict[str, Rule]:
    """Return all rules with the knobs that are best in one kind of world, "linear" or "table"."""
    best = BEST[kind]
    return {
        "offline": Rule(_always(online.offline), _plain),
        "hybrid": Rule(_always(online.hybrid(OFFLINE)), _plain),
        "option 1": Rule(online.optimistic, _plain, best["option 1"]),
        "option 2": Rule(_always(online.with_reference), _plain),
        "on policy": Rule(_always(online.on_policy), _plain),
        "best and worst": Rule(lambda n: online.best_and_worst(int(n)), _plain, best["best and worst"]),
        "ensemble": Rule(_always(online.ensemble(MEMBERS)), _plain),
        "XPO": Rule(_always(online.with_reference), xpo.estimate, best["XPO"]),
    }


def worlds(kind: str, seeds: Sequence[int], first: int = 0) -> World:
    """Return one world for each seed; seeds with another `first` have other worlds."""

    def of(seed: int) -> tuple[Array, Array, Array]:
        rng = np.random.default_rng([first, seed])
        if kind == "table":
            return SPREAD * rng.normal(size=(1, TABLE)), np.eye(TABLE)[None], rng.normal(size=TABLE)
        shape = PROMPTS, ANSWERS, FEATURES
        return SPREAD * rng.normal(size=shape[:2]), rng.normal(size=shape), rng.normal(size=FEATURES)

    logits, features, theta = (np.stack(part) for part in zip(*map(of, seeds), strict=True))
    prompts = logits.shape[1]
    return World(np.full(prompts, 1 / prompts), log_softmax(logits), features, theta, BETA)


def curve(
    rule: Rule, kind: str, seeds: Sequence[int], first: int = 0, rounds: int = ROUNDS, batch: int = BATCH
) -> dict[str, Array]:
    """Return regret, and what is lost without its divergence, before the first and after each round, (seeds, T + 1)."""
    world, rng = worlds(kind, seeds, first), np.random.default_rng([first, *seeds])
    settings: dict[str, Any] = {"batches": [batch] * rounds, "precision": PRECISION, "rng": rng}
    trail = online.learn(world, rule.ask(rule.knob), estimate=rule.estimate(rule.knob), **settings)
    measures = {"regret": regret.regret, "lost": regret.lost}
    return {name: np.stack([of(world, theta) for theta in trail.theta], axis=1) for name, of in measures.items()}


def tune(kind: str, seeds: Sequence[int] = range(20)) -> dict[str, dict[float, float]]:
    """Return the mean regret over rounds and worlds for each knob of `KNOBS`: how those of `BEST` were found."""
    named = rules(kind)
    return {
        name: {
            each: float(curve(named[name]._replace(knob=each), kind, seeds, first=1)["regret"].mean()) for each in all_
        }
        for name, all_ in KNOBS.items()
    }


def study(seeds: Sequence[int]) -> Numbers:
    """Return the curves of all rules in both kinds of worlds."""
    return {kind: {name: curve(rule, kind, seeds) for name, rule in rules(kind).items()} for kind in BEST}


SETTINGS: dict[str, Any] = {
    "beta": BETA,
    "precision": PRECISION,
    "spread": SPREAD,
    "rounds": [ROUNDS, BATCH, OFFLINE],
    "sizes": [PROMPTS, ANSWERS, FEATURES, TABLE],
    "members": MEMBERS,
    "best": BEST,
}
STUDY: Study = in_blocks(study, 5, SETTINGS)

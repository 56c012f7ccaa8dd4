"""What the lecture of Xiong claims on asking people while the policy learns."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import above, brief
from rlhf_lab.experiments.ledger.claims import Claim, measured
from rlhf_lab.experiments.online import worlds
from rlhf_lab.methods import online, pessimism, questions, regret
from rlhf_lab.methods.online import World
from rlhf_lab.numerics.autodiff import Array

EPSILON, WORLDS, BATCH, ROUNDS = 0.1, 20, 256, 4


def asking(load: Load) -> Iterator[Claim]:
    """Yield the rows on online learning."""
    worlds = load("online")
    ends = {kind: {name: run["regret"][:, -1] for name, run in runs.items()} for kind, runs in worlds.items()}
    tables, linear = ends["table"], ends["linear"]
    ways = ("on policy", "option 1", "option 2", "best and worst", "ensemble")
    gain = {kind: [name for name in ways if above(found["offline"] - found[name])] for kind, found in ends.items()}
    yield measured(
        "intuition, result 1",
        "asking about new answers is far more efficient than more answers of π_0",
        "a figure",
        "regret after 1,024 labels: "
        f"in linear worlds {brief(linear['offline'])} offline, below it by two errors "
        f"{', '.join(gain['linear']) or 'nobody'}; in tables {brief(tables['offline'])}, below it "
        f"{', '.join(gain['table']) or 'nobody'}",
        "sec-online",
        len(gain["table"]) > 0,
        set(gain["table"]) == set(ways),
        set(gain["linear"]) == set(ways),
    )
    best = {kind: runs["option 1"]["regret"].min(1) for kind, runs in worlds.items()}
    yield measured(
        "theorem 2, part 1",
        "with optimism some round t_0 has a regret of at most ε",
        "m = c d / ε², T = Ω̃(d)",
        f"for ε = 0.1: the best of 32 rounds of 32 labels has at most {best['linear'].max():.3f} in linear worlds and "
        f"{best['table'].max():.3f} in tables; the last {linear['option 1'].max():.3f} and "
        f"{tables['option 1'].max():.3f}",
        "sec-some-round",
        max(found.max() for found in best.values()) < 0.1,
    )


def hybrid(load: Load) -> Iterator[Claim]:
    """Yield the rows on offline data with which an online learner begins, from 256 labels offline and 768 online."""
    offline, ours, over = {}, {}, {}
    for kind in ("linear", "table"):
        world, rng = worlds(kind, range(WORLDS)), np.random.default_rng(14)
        trail = online.learn(world, online.hybrid(BATCH), batches=[BATCH] * ROUNDS, precision=1.0, rng=rng)
        alone = questions.independent(world.log_pi_0, world.log_pi_0)
        terms = [_coverage(world, trail.difference[:, : BATCH * t]) for t in range(1, 1 + ROUNDS)]
        ours[kind] = terms[-1]
        offline[kind] = _coverage(world, online.differences(world, alone, BATCH * ROUNDS, rng))
        over[kind] = np.array([regret.regret(world, theta) for theta in trail.theta[1:]]) - terms  # (ROUNDS, WORLDS)
    yield measured(
        "theorem 2, part 2",
        "with offline data and π_0 as second policy the regret is at most ε and a term of coverage",
        "ε + coverage",
        f"{ROUNDS} rounds of {BATCH} labels: the regret less that term is in the best round at most "
        f"{over['linear'].min(0).max():.2f} in {WORLDS} linear worlds and {over['table'].min(0).max():.2f} in {WORLDS} "
        f"tables, against ε = {EPSILON}; in the last {over['linear'][-1].max():.2f} and {over['table'][-1].max():.2f}",
        "sec-confidence-set",
        *(each.min(0).max() <= EPSILON for each in over.values()),
    )
    tables = {name: load("online")["table"][name]["regret"][:, -1] for name in ("offline", "hybrid")}
    yield measured(
        "offline against hybrid",
        "online data may cover (π*, π_0) better than offline data",
        "may",
        f"after as many labels the term of coverage is {brief(offline['linear'])} offline and {brief(ours['linear'])} "
        f"hybrid in linear worlds, {brief(offline['table'])} and {brief(ours['table'])} in tables. The regret there "
        f"falls by {brief(tables['offline'] - tables['hybrid'])}",
        "sec-online",
        *(above(offline[kind] - ours[kind]) for kind in ours),
    )


def _coverage(world: World, difference: Array) -> Array:
    """Return sqrt(d) |phi(pi*) - phi(pi_0)| in the inverse of Sigma, for each world, (S,)."""
    away = world.mean(world.policy(world.theta)) - world.mean(world.log_pi_0)
    inverse = np.linalg.inv(pessimism.offline_covariance(difference, 1.0))
    return np.sqrt(away.shape[-1] * np.einsum("sd,sde,se->s", away, inverse, away))

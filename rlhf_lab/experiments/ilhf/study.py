"""Every figure and table of the ILHF paper as a study: a function from seeds to numbers, one entry for each seed.

A study is run by `runner`, in blocks of seeds; what it returns are arrays whose first axis is the seed. The first
reading is the literal one: a temperature of 3 divides logits by 3, the prior scale 0.01 is a variance, phi alone is
tuned. Others have names of their own. Source: ILHF, section 5 and appendix F; REINFORCE's weights are ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from rlhf_lab.experiments.ilhf import didactic
from rlhf_lab.experiments.ilhf.agents import Agent, duel, finetune
from rlhf_lab.experiments.ilhf.texts import write
from rlhf_lab.experiments.ilhf.worlds import Apart, Setting, prepare, stack, uniform
from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import ilhf
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import coin, token_process

Load = Callable[[str], Numbers]  # the name of a study to what was stored of it
BETAS = (0, 1, 10, 100)
SIZES = (10, 15, 30, 50)
LITERAL = Agent(members=10, prior=0.01, eta=1.0, perturb=True)
BEST = "ensemble 50"
LAGS = 41
WARM, STEADY = 100, 8  # of the long texts that show memory: tokens that are left out, and how many texts

PAPER = {f"reinforce {beta}": Agent(beta=float(beta)) for beta in BETAS} | {"ilhf": Agent()}
PAPER |= {f"ensemble {members}": replace(LITERAL, members=members) for members in SIZES}
FEWER = {name: agent for name, agent in PAPER.items() if agent.members in (1, 10, 50)}

CONTROLS = {
    "ilhf": Agent(),
    "ilhf, 10 passes": Agent(passes=10),
    "ilhf, step 0.01": Agent(step_size=0.01),
    "ensemble": LITERAL,
    "ensemble, eta/64": replace(LITERAL, eta=1 / 64),
    "ensemble, eta 0": replace(LITERAL, eta=0.0),
    "ensemble, prior 0.0001": replace(LITERAL, prior=1e-4),
    "ensemble, moments passed": replace(LITERAL, optimizer="passed"),
    "all: reinforce 0": Agent(beta=0.0, tuned="all"),
    "all: ilhf": Agent(tuned="all"),
    "all: ilhf, 10 passes": Agent(tuned="all", passes=10),
    "all: ensemble, eta 0": replace(LITERAL, eta=0.0, tuned="all"),
    "all: one torso, eta 0": replace(LITERAL, eta=0.0, tuned="all", torso="shared"),
    "all: one torso, no diversity": Agent(members=10, tuned="all", torso="shared"),
}

READINGS = {
    "ilhf, batches of 16": Agent(minibatch=16),
    "ensemble, batches of 16": replace(LITERAL, minibatch=16),
    "all: one torso, all anchored": replace(LITERAL, tuned="all", torso="shared", anchored="all"),
    "ensemble, anchored at phi_pre": replace(LITERAL, centre="pretrained"),
}


def _joint() -> dict[str, Agent]:
    """Return ensembles with one Adam for each member or one for all, and controls that take as many or as long steps.

    One Adam for all steps each member M times an episode; the moves add up to about sqrt(M) steps.
    """
    found = {"ilhf": Agent()}
    for members in (10, 50):
        found[f"ilhf, {members} passes"] = Agent(passes=members)
        found[f"ilhf, step x sqrt {members}"] = Agent(step_size=round(0.001 * members**0.5, 5))
        for optimizer in ("own", "joint"):
            several = replace(LITERAL, members=members, optimizer=optimizer)
            for told, eta in (("1", 1.0), ("1/64", 1 / 64), ("0", 0.0)):
                found[f"{optimizer} {members}, eta {told}"] = replace(several, eta=eta)
        for told, eta in (("1", 1.0), ("0", 0.0)):
            found[f"joint {members}, eta {told}, no diversity"] = replace(several, eta=eta, prior=0.0, perturb=False)
    return found


JOINT = _joint()
JOINT_DUELS = [(f"joint {m}, eta 0", other) for m in (10, 50) for other in ("ilhf", f"joint {m}, eta 0, no diversity")]


class _Each:
    """A generator for each seed, which together draw arrays whose first axis is the seed."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.rngs = [np.random.default_rng([seed, 0]) for seed in seeds]

    def random(self, size: tuple[int, ...]) -> Array:
        return uniform(self.rngs, *size[1:])


def on_coin(seeds: Sequence[int], rounds: int = 1500, pairs: int = 64, every: int = 25) -> Numbers:
    """Fine-tune on the coin (ILHF, figures 1 and 3): the probability of saying 1 after each few episodes, (S, K).

    Seeds run side by side, and each draws from a generator of its own.
    """
    model, reference = coin.model(), (coin.model(), coin.params(coin.PRETRAINED))
    prompts = np.repeat(coin.PROMPTS, pairs, axis=0)
    objectives = {f"reinforce {beta}": ilhf.rewarded(reference, float(beta)) for beta in BETAS}
    curves = {}
    for name, objective in (objectives | {"ilhf": ilhf.inclusive}).items():
        _, history = ilhf.finetune(
            model,
            coin.params(np.full(len(seeds), coin.PRETRAINED)),
            objective,
            lambda rng: prompts,
            coin.reward,
            horizon=coin.HORIZON,
            rounds=rounds,
            optimizer=optim.adam(0.001),
            rng=_Each(seeds),  # type: ignore[arg-type]
            record=lambda params: {"p": coin.probability(params)},
        )
        curves[name] = np.stack([np.full(len(seeds), coin.PRETRAINED), *(entry["p"] for entry in history)], axis=-1)
    return {"p": {name: curve[:, ::every] for name, curve in curves.items()}}


def coin_kl(p: Array) -> Array:
    """Return KL(people || agent) on the coin, nats, for an agent that says 1 with probability p: exact."""
    people, agent = (np.log(np.stack([1 - np.asarray(q), np.asarray(q)], axis=-1)) for q in (coin.PEOPLE, p))
    return lm.kl(people, agent)


def memory(seeds: Sequence[int], length: int = 64, long: int = 4096, count: int = 500) -> Numbers:
    """Autocorrelations of the logits of ideal processes (ILHF, figure 2), for each temperature, `alpha` (S, lags).

    `printed` is the formula of the paper, `pearson` the plain one, both over texts of `length` tokens, and `long` the
    plain one over texts so long that its bias is small. `independent` is the plain one for shuffled logits. A text
    that stays in one state all the time has no autocorrelation and is left out. `constant` and `alternating` (S,) are
    the shares of the short texts whose second half is one token again and again, or two by turns (appendix C).
    """
    found: Numbers = {"alpha": {}, "constant": {}, "alternating": {}}
    for scale in (1 / 3, 1.0, 3.0):
        kinds: dict[str, list[Array]] = {"printed": [], "pearson": [], "long": [], "independent": []}
        stuck = []
        for seed in seeds:
            rng = np.random.default_rng([seed, 0])
            params = stack([token_process.draw(rng).ideal])
            values, tokens = _written(params, scale, rng.random((1, length, count)))
            stuck.append([_repeats(tokens[length // 2 :], period) for period in (1, 2)])
            kinds["printed"].append(_mean(token_process.autocorrelation_as_printed, values))
            kinds["pearson"].append(_mean(token_process.autocorrelation, values))
            shuffled = rng.permuted(values, axis=-1)
            kinds["independent"].append(_mean(token_process.autocorrelation, shuffled))
            steady = _written(params, scale, rng.random((1, long, STEADY)))[0][:, WARM:]
            kinds["long"].append(_mean(token_process.autocorrelation, steady))
        name, (one, two) = f"scale {scale:.3g}", np.transpose(stuck)
        found["alpha"][name] = {kind: np.stack(curves) for kind, curves in kinds.items()}
        found["constant"][name], found["alternating"][name] = one, two - one
    return found


def _mean(alpha: Callable[[Array, int], Array], values: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.nanmean(alpha(values, LAGS), axis=0)


def _repeats(tokens: Array, period: int) -> float:
    return float((tokens[period:] == tokens[:-period]).all(0).mean())


def _written(params: dict[str, Any], scale: float, chance: Array) -> tuple[Array, Array]:
    tokens, states, _ = write(params, scale, chance)
    return scale * np.einsum("d,dtb->bt", params["readout"][0], states[0]), tokens[0]


def on_tokens(
    seeds: Sequence[int], setting: Setting, agents: dict[str, Agent], duels: Sequence[tuple[str, str]] = ()
) -> Numbers:
    """Fine-tune agents in the same worlds: KL to the ideal after every few episodes (S, K), and duels, (S,) each.

    A duel is a pair of names, challenger and reference (ILHF, figures 4 to 7 and table 3).
    """
    worlds = prepare(setting, seeds)
    found = {name: finetune(agent, worlds, seeds) for name, agent in agents.items()}
    fought = {}
    with threadpool_limits(limits=1):
        for name, other in duels:
            both = found[name][0], found[other][0]
            fought[f"{name} vs {other}"] = duel(both[0], both[1], worlds, seeds, setting.evaluation)
        shadow = worlds.kl({name: value[:, None] for name, value in worlds.shadow.items()})
    return {"kl": {name: curve for name, (_, curve) in found.items()}, "shadow kl": shadow, "duels": fought}


def _tokens(setting: Setting, agents: dict[str, Agent], duels: Sequence[tuple[str, str]] = ()) -> Study:
    settings = asdict(setting) | {"agents": {name: asdict(agent) for name, agent in agents.items()}}
    return in_blocks(partial(on_tokens, setting=setting, agents=agents, duels=duels), 5, settings)


DUELS = [(name, BEST) for name in PAPER if name != BEST] + [(f"ensemble {members}", "ilhf") for members in SIZES]
FEWER_DUELS = [pair for pair in DUELS if set(pair) <= set(FEWER)]
THIRD = Setting(scale=1 / 3, every=10)
ALONE = {  # whose logits alone a temperature divides
    "process alone": Apart(scale=1 / 3, every=10),
    "agents alone": Apart(agents=1 / 3, every=10),
    "people alone": Apart(people=1 / 3, every=10),
}

STUDIES = {
    "coin": in_blocks(on_coin, 10, {"rounds": 1500, "pairs": 64, "step_size": 0.001, "betas": list(BETAS)}),
    "didactic": in_blocks(
        partial(didactic.run, setting=didactic.TABLE_1),
        20,
        asdict(didactic.TABLE_1) | {"agents": {name: asdict(agent) for name, agent in didactic.AGENTS.items()}},
    ),
    "memory": in_blocks(memory, 5, {"length": 64, "long": 4096, "count": 500, "lags": LAGS}),
    "tau64": _tokens(THIRD, PAPER, DUELS),
    "tau128": _tokens(replace(THIRD, length=128, episodes=150), PAPER),
    "tau256": _tokens(replace(THIRD, length=256, episodes=150), PAPER),
    "scale1": _tokens(replace(THIRD, scale=1.0), FEWER, FEWER_DUELS),
    "scale3": _tokens(replace(THIRD, scale=3.0), FEWER, FEWER_DUELS),
    **{name: _tokens(setting, FEWER) for name, setting in ALONE.items()},
    "controls": _tokens(THIRD, CONTROLS),
    "readings": _tokens(THIRD, READINGS),
    "narrow": _tokens(replace(THIRD, embed=0.316), FEWER),
    "joint": _tokens(THIRD, JOINT, JOINT_DUELS),
    "joint1": _tokens(replace(THIRD, scale=1.0), JOINT),
}
FIGURES = {
    "fig1": ("coin",),
    "fig2": ("memory",),
    "fig3": ("coin",),
    "table1": ("didactic",),
    "fig4a": ("tau64",),
    "fig4b": ("tau64",),
    "fig5": ("tau64",),
    "table3": ("tau64",),
    "fig6": ("tau128",),
    "fig7": ("tau256",),
    "scales": ("scale1", "scale3"),
    "alone": tuple(ALONE),
    "controls": ("controls", "readings"),
    "narrow": ("narrow",),
    "joint": ("joint", "joint1"),
}

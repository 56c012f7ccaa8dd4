"""The agents of the ILHF paper on the token process, with every reading that the paper leaves open as a setting.

    S worlds (one a seed)    M members    N pairs of an episode    T tokens of a response    D units of the agent
    phi `readout` (S, M, D), what algorithm 1 tunes    torso: `recurrent`, `embed` and `start`, (S, 1 or M, ...)

All agents of a world meet the same prompts and the same luck. Source: ILHF, section 4 and appendix E.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd import grad
from numpy.random import Generator
from threadpoolctl import threadpool_limits

from rlhf_lab.experiments.ilhf.texts import read, readout_log_prob, roll, write
from rlhf_lab.experiments.ilhf.worlds import Worlds, uniform
from rlhf_lab.feedback import annotators
from rlhf_lab.methods import ilhf
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks, optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params

TORSO = ("recurrent", "embed", "start")
READINGS = {
    "anchored": ("readout", "all"),
    "centre": ("own", "pretrained"),
    "tuned": ("readout", "all"),
    "torso": ("own", "shared"),
    "optimizer": ("own", "passed", "joint"),
}


@dataclass(frozen=True)
class Agent:
    """One agent of the paper, and its readings where the paper leaves a choice.

    `beta` None is ILHF, a number REINFORCE with that KL weight. `prior` is the variance of the start of members, and
    `perturb` double-or-nothing. `eta` is the weight of the anchor on a loss that is a mean over pairs, `anchored` says
    which arrays it pulls, "readout" or "all" that are tuned, and `centre` where to: each member's "own" start, or the
    "pretrained" readout. `tuned` is "readout" or "all", and `torso` then says whether members have their "own" or one
    that is "shared", which takes a step after each member's gradient. `optimizer` is an "own" Adam for each readout;
    moments that are "passed" from member to member; or one "joint" Adam over all members, which steps all of them at
    the turn of each, with a gradient of zero for the others. `minibatch` is the number of pairs of an optimiser step,
    None for all of an episode, and `passes` says how often an agent goes through them.
    """

    beta: float | None = None
    members: int = 1
    prior: float = 0.0
    eta: float = 0.0
    perturb: bool = False
    anchored: str = "readout"
    centre: str = "own"
    tuned: str = "readout"
    torso: str = "own"
    optimizer: str = "own"
    minibatch: int | None = None
    passes: int = 1
    step_size: float = 0.001

    def __post_init__(self) -> None:
        for name, allowed in READINGS.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        if self.tuned == "readout" and "all" in (self.anchored, "all" if self.torso == "shared" else ""):
            raise ValueError('torso="shared" and anchored="all" have a meaning with tuned="all" only')
        if self.tuned == "all" and self.optimizer != "own":
            raise ValueError(f"with all tuned, members have an optimizer of their own; got {self.optimizer!r}")
        if any(number is not None and number < 1 for number in (self.members, self.passes, self.minibatch)):
            raise ValueError(
                f"members, passes and minibatch are at least 1; got {self.members}, {self.passes} and {self.minibatch}"
            )
        if any(value is not None and not 0 <= value < np.inf for value in (self.prior, self.eta, self.beta)):
            raise ValueError(
                f"prior, eta and beta are finite and at least 0; got {self.prior}, {self.eta} and {self.beta}"
            )
        checks.positive("step_size", self.step_size)


class Episode(NamedTuple):
    """What one episode brought: prompts (S, T, N), answers (S, T, 2 N), first those of the first answer, then of the
    second, the states of the frozen agent (S, D, T, 2 N), labels (S, N), rewards (S, 2 N), and weights (S, M, N)."""

    prompt: Array
    answer: Array
    states: Array
    label: Array
    reward: Array
    weight: Array


def start(agent: Agent, worlds: Worlds, seeds: Sequence[int]) -> Params:
    """Draw the members, phi_m ~ N(phi_pre, prior I) (eq-ensemble-start); torsos are copies of the pretrained one."""
    noise = [np.random.default_rng([seed, 4]).normal(size=(agent.members, worlds.setting.hidden)) for seed in seeds]
    separate = agent.members if agent.tuned == "all" and agent.torso == "own" else 1
    params = {name: np.repeat(worlds.pretrained[name][:, None], separate, axis=1) for name in TORSO}
    return params | {"readout": worlds.pretrained["readout"][:, None] + agent.prior**0.5 * np.stack(noise)}


def respond(params: Params, scale: float, prompt: Array, member: Array, uniform: Array) -> tuple[Array, Array]:
    """Answer prompts (S, T, N) with the members (S, N) of an ensemble: answers (S, T, K N), states before each token.

    `uniform` (S, T, K N) is the chance of each token, for K answers to each prompt.
    """
    readout = np.take_along_axis(params["readout"], member[..., None], axis=1)
    chosen = {"readout": np.swapaxes(readout, 1, 2)}
    for name in TORSO:
        torso = params[name]
        if torso.shape[1] == 1:
            chosen[name] = torso[:, 0]
        else:
            each = np.take_along_axis(torso, member.reshape(*member.shape, *[1] * (torso.ndim - 2)), axis=1)
            chosen[name] = np.moveaxis(each, 1, -1)
    first = chosen["start"]
    begin = first if first.ndim == 3 else np.repeat(first[..., None], prompt.shape[-1], axis=-1)
    _, state = read(chosen, begin, prompt)
    times = uniform.shape[-1] // prompt.shape[-1]
    state, chosen["readout"] = (np.concatenate([part] * times, axis=-1) for part in (state, chosen["readout"]))
    if params["recurrent"].shape[1] > 1:
        chosen |= {name: np.concatenate([chosen[name]] * times, axis=-1) for name in TORSO}
    answer, states, _ = roll(chosen, scale, state, uniform)
    return answer, states


def interact(agent: Agent, params: Params, worlds: Worlds, luck: Sequence[Sequence[Generator]]) -> Episode:
    """Let the agent answer fresh shadow prompts twice each, and people choose (ILHF, section 4.2)."""
    setting = worlds.setting
    draws = uniform
    prompt, _, state = write(worlds.shadow, setting.scale, draws(luck[0], setting.length, setting.pairs))
    member = (agent.members * draws(luck[0], setting.pairs)).astype(int)
    chance = draws(luck[0], setting.length, 2 * setting.pairs)
    answer, states = respond(params, setting.agents, prompt, member, chance)
    reward = worlds.people(np.concatenate([state, state], axis=-1), answer)
    first, second = np.split(reward, 2, axis=-1)
    share = annotators.bradley_terry(first - second)
    label = (draws(luck[0], setting.pairs) < share).astype(float)
    shape = (agent.members, setting.pairs)
    weight = np.stack([ilhf.double_or_nothing(shape, rng) for rng in luck[1]]) if agent.perturb else np.ones(1)
    return Episode(prompt, answer, states, label, reward, weight)


def minibatches(episode: Episode, size: int | None) -> Iterator[Episode]:
    """Yield the pairs of an episode with all that belongs to them, `size` at a time; all at once if it is None."""
    if size is None:
        yield episode
        return
    pairs = episode.label.shape[1]
    for first in range(0, pairs, size):
        rows = np.arange(first, min(first + size, pairs))
        both = np.concatenate([rows, pairs + rows])
        weight = episode.weight if episode.weight.ndim == 1 else episode.weight[..., rows]
        prompt, label = (part[..., rows] for part in (episode.prompt, episode.label))
        answer, states, reward = (part[..., both] for part in (episode.answer, episode.states, episode.reward))
        yield Episode(prompt, answer, states, label, reward, weight)


def objective(agent: Agent, log_pi: Array, log_pi_0: Array, episode: Episode, weight: Array) -> Array:
    """The agent's loss, summed over worlds and members, of log pi (S, M, 2 N) of its answers."""
    pairs = log_pi.shape[-1] // 2
    first, second = log_pi[..., :pairs], log_pi[..., pairs:]
    if agent.beta is None:
        return anp.sum(ilhf.loss(first, second, episode.label[:, None], weight))
    constant = getattr(log_pi, "_value", log_pi)
    paid = ilhf.penalised(episode.reward[:, None], constant, log_pi_0[:, None], agent.beta)
    return anp.sum(ilhf.reinforce_loss(first, second, (paid[..., :pairs], paid[..., pairs:])))


class Learner:
    """Optimiser steps of one agent: on frozen states where only phi is tuned, through the network where all is.

    `params` are the agent's, and change with each episode that it learns from.
    """

    def __init__(self, agent: Agent, worlds: Worlds, params: Params) -> None:
        self.agent, self.worlds, self.params, self.first = agent, worlds, params, params
        if agent.centre == "pretrained":  # where all torsos start already
            centre = worlds.pretrained["readout"][:, None] + np.zeros_like(params["readout"])
            self.first = params | {"readout": centre}
        self.adam = optim.adam(agent.step_size)
        one = {"readout": params["readout"][:, 0]}
        self.state = self.adam.init(one if agent.optimizer == "passed" else params)
        self.own = [self.adam.init({"readout": params["readout"][:, :1]}) for _ in range(agent.members)]

    def learn(self, episode: Episode) -> None:
        """Take the steps of one episode."""
        for _ in range(self.agent.passes):
            for part in minibatches(episode, self.agent.minibatch):
                self._step(part)

    def _step(self, episode: Episode) -> None:
        if self.agent.torso == "shared":
            self._by_turns(episode)
        elif self.agent.tuned == "all":
            slopes = self._through(self.params, self.first, episode, episode.weight)
            self.params, self.state = self.adam.update(self.params, slopes, self.state)
        else:
            self._frozen(episode)

    def _frozen(self, episode: Episode) -> None:
        scale, agent = self.worlds.setting.agents, self.agent
        turn = np.broadcast_to(np.arange(agent.members), self.params["readout"].shape[:2])
        if agent.optimizer == "joint":
            self._coast(turn)
        phi = self.params["readout"]
        log_pi, vjp = readout_log_prob(phi, scale, episode.states, episode.answer)
        start = self.worlds.pretrained["readout"][:, None]
        log_pi_0 = log_pi if not agent.beta else readout_log_prob(start, scale, episode.states, episode.answer)[0]
        slope = vjp(grad(lambda value: objective(agent, value, log_pi_0[:, 0], episode, episode.weight))(log_pi))
        slope = slope + grad(lambda value: anp.sum(ilhf.anchor(value, self.first["readout"], agent.eta)))(phi)
        if agent.optimizer != "passed":
            found, self.state = self.adam.update({"readout": phi}, {"readout": slope}, self.state)
            self.params = self.params | found
            if agent.optimizer == "joint":
                self._coast(agent.members - 1 - turn)
            return
        moved = []
        for m in range(agent.members):
            found, self.state = self.adam.update({"readout": phi[:, m]}, {"readout": slope[:, m]}, self.state)
            moved.append(found["readout"])
        self.params = self.params | {"readout": np.stack(moved, axis=1)}

    def _coast(self, turns: Array) -> None:
        """Step each readout without a gradient, at the turns (S, M) of others: momentum carries it on."""
        still = {"readout": np.zeros_like(self.params["readout"])}
        for turn in range(self.agent.members - 1):
            now = {"readout": self.params["readout"]}
            found, self.state = self.adam.update(now, still, self.state, turn < turns)
            self.params = self.params | found

    def _by_turns(self, episode: Episode) -> None:
        for m in range(self.agent.members):
            now, first = (p | {"readout": p["readout"][:, m : m + 1]} for p in (self.params, self.first))
            weight = episode.weight[:, m : m + 1] if self.agent.perturb else episode.weight
            slopes = self._through(now, first, episode, weight)
            torso, steps = ({name: p[name] for name in TORSO} for p in (now, slopes))
            torso, self.state = self.adam.update(torso, steps, self.state)
            own, steps = ({"readout": p["readout"]} for p in (now, slopes))
            own, self.own[m] = self.adam.update(own, steps, self.own[m])
            readout = self.params["readout"].copy()
            readout[:, m : m + 1] = own["readout"]
            self.params = torso | {"readout": readout}

    def _through(self, params: Params, first: Params, episode: Episode, weight: Array) -> Params:
        model, agent = self.worlds.process(self.worlds.setting.hidden), self.agent
        prompt = np.concatenate([episode.prompt] * 2, axis=-1)
        texts = [np.swapaxes(part, 1, 2).astype(np.intp) for part in (prompt, episode.answer)]
        log_pi_0 = lm.log_prob(model, self.worlds.pretrained, *texts) if agent.beta else np.zeros(texts[0].shape[:2])

        pulled = ("readout",) if agent.anchored == "readout" else tuple(params)

        def value(params: Params) -> Any:
            log_pi = lm.log_prob(model, params, *(part[:, None] for part in texts))
            held = sum(anp.sum((params[name] - first[name]) ** 2) for name in pulled)
            return objective(agent, log_pi, log_pi_0, episode, weight) + agent.eta * held

        slopes: Params = grad(value)(params)
        return slopes


def finetune(agent: Agent, worlds: Worlds, seeds: Sequence[int]) -> tuple[Params, Array]:
    """Run algorithm 1 or 2, or REINFORCE: parameters, and KL(ideal || agent) after every few episodes, (S, K)."""
    luck = [[np.random.default_rng([seed, stream]) for seed in seeds] for stream in (1, 2)]
    setting = worlds.setting
    learner = Learner(agent, worlds, start(agent, worlds, seeds))
    with threadpool_limits(limits=1):
        curve = [_judge(agent, worlds, learner.params)]
        for episode in range(1, setting.episodes + 1):
            learner.learn(interact(agent, learner.params, worlds, luck))
            if episode % setting.every == 0:
                curve.append(_judge(agent, worlds, learner.params))
    return learner.params, np.stack(curve, axis=-1)


def _judge(agent: Agent, worlds: Worlds, params: Params) -> Array:
    return worlds.kl(params) if agent.tuned == "all" else worlds.frozen_kl(params["readout"])


def duel(challenger: Params, reference: Params, worlds: Worlds, seeds: Sequence[int], count: int) -> dict[str, Array]:
    """Let both answer `count` shadow prompts, and people choose: scores and their ratios in each world, (S,)."""
    rngs = [np.random.default_rng([seed, 3]) for seed in seeds]
    length, setting = worlds.setting.length, worlds.setting
    draws = uniform
    prompt, _, state = write(worlds.shadow, setting.scale, draws(rngs, length, count))
    texts, rewards = [], []
    for params in (challenger, reference):
        member = (params["readout"].shape[1] * draws(rngs, count)).astype(int)
        answer, _ = respond(params, setting.agents, prompt, member, draws(rngs, length, count))
        rewards.append(worlds.people(state, answer))
        texts.append(np.concatenate([prompt, answer], axis=1))
    label = (draws(rngs, count) < annotators.bradley_terry(rewards[0] - rewards[1])).astype(float)
    agents = []
    for params in (challenger, reference):
        first, second = (worlds.log_prob(params, text) for text in texts)
        agents.append((np.where(label, first, second), np.where(label, second, first)))
    found = {"inclusive score": ilhf.inclusive_score(*agents[0]), "reference score": ilhf.inclusive_score(*agents[1])}
    return found | ilhf.score_ratios(*agents)._asdict() | {"wins": ilhf.agglomerative_score(label)}

"""Worlds of the token process for the ILHF agents: many at once, one for each seed, with what all agents share.

    S worlds (one a seed)    M members    B texts    T tokens of a response    D units    phi, mu readouts
    S_t state before token t    x_t token, 0 or 1    z_t its logit

Each world draws its chance from a generator of its own, so that its numbers do not depend on which worlds run beside
it. Source: ILHF, section 4 and appendices C and D.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.ilhf.texts import begin, read, readout_log_prob, write
from rlhf_lab.methods import ilhf
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks, optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import token_process
from rlhf_lab.worlds.token_process import TokenProcess


@dataclass(frozen=True)
class Setting:
    """The numbers of the paper: lengths, the factor `scale` of all logits, episodes, and sizes of data.

    Agents are judged after each `every` episodes. An agent's first token weights are uniform within `embed`.
    """

    length: int = 64
    scale: float = 1.0
    embed: float = 1.0
    episodes: int = 100
    pairs: int = 64
    hidden: int = 10
    documents: int = 1000
    epochs: int = 20
    batch: int = 64
    evaluation: int = 500
    every: int = 5

    def __post_init__(self) -> None:
        for name in ("scale", "agents", "people", "embed"):
            checks.positive(name, getattr(self, name))
        for name, value in vars(self).items():
            if name not in ("scale", "embed", "agents", "people") and (value % 1 or value < 1):
                raise ValueError(f"{name} is a whole number, at least 1; got {value}")
        if self.batch > self.documents:
            raise ValueError(f"a batch of {self.batch} texts needs as many documents; got {self.documents}")
        if self.episodes % self.every:
            raise ValueError(f"every must divide episodes, to show the last; got {self.every} and {self.episodes}")

    @property
    def agents(self) -> float:
        """Return the factor of the agents' logits."""
        return self.scale

    @property
    def people(self) -> float:
        """Return the factor of the logits with which people judge."""
        return self.scale


@dataclass(frozen=True)
class Apart(Setting):
    """A setting whose `scale` is the process's alone: agents and people have factors of their own."""

    agents: float = 1.0
    people: float = 1.0


@dataclass(frozen=True)
class Worlds:
    """Several worlds of one setting: ideal and shadow process, the pretrained agent, and texts to judge by."""

    setting: Setting
    ideal: Params
    shadow: Params
    pretrained: Params
    tokens: Array  # (S, 2 T, B) written by the ideal process
    ideal_log_prob: Array  # (S, B) of the second half
    frozen: Array  # (S, D, T, B): the pretrained agent's states before each token of the second half

    def people(self, state: Array, answer: Array) -> Array:
        """Return log l_mu (S, B) of answers (S, T, B) after prompts that left the process in `state` (S, 2, B)."""
        states, _ = read(self.ideal, state, answer)
        return readout_log_prob(self.ideal["readout"][:, None], self.setting.people, states, answer)[0][:, 0]

    def log_prob(self, params: Params, texts: Array) -> Array:
        """Return an agent's log pi (S, B) of the second half of texts (S, 2 T, B), given the first."""
        half, members = texts.shape[1] // 2, []
        torsos = params["recurrent"].shape[1]
        for m in range(torsos):
            torso = {name: params[name][:, m] for name in ("recurrent", "embed", "start")}
            states, _ = read(torso, begin(torso, texts.shape[-1]), texts)
            readout = params["readout"][:, slice(m, m + 1) if torsos > 1 else slice(None)]
            log_pi, _ = readout_log_prob(readout, self.setting.agents, states[:, :, half:], texts[:, half:])
            members.append(np.moveaxis(log_pi, 1, 0))
        return ilhf.mixture(np.concatenate(members))

    def kl(self, params: Params) -> Array:
        """Estimate KL(ideal || agent), nats a response, (S,), from the texts to judge by (eq-kl-score).

        ILHF, section 4.3.
        """
        return (self.ideal_log_prob - self.log_prob(params, self.tokens)).mean(-1)

    def frozen_kl(self, readout: Array) -> Array:
        """Return what `kl` returns for members (S, M, D) whose torso is the pretrained one."""
        half = self.frozen.shape[2]
        log_pi, _ = readout_log_prob(readout, self.setting.agents, self.frozen, self.tokens[:, half:])
        return (self.ideal_log_prob - ilhf.mixture(np.moveaxis(log_pi, 1, 0))).mean(-1)

    def process(self, hidden: int) -> TokenProcess:
        """Return the agents' model."""
        return TokenProcess(hidden, self.setting.agents)


def stack(each: Sequence[Params]) -> Params:
    """Return one dict of arrays with a leading axis from many dicts of arrays."""
    return {name: np.stack([params[name] for params in each]) for name in each[0]}


def uniform(rngs: Sequence[Generator], *shape: int) -> Array:
    """Draw numbers in [0, 1), of this shape for each generator: (S, ...)."""
    return np.stack([rng.random(shape) for rng in rngs])


def prepare(setting: Setting, seeds: Sequence[int]) -> Worlds:
    """Draw one world for each seed, pretrain its agent on shadow text, and write ideal text to judge agents by."""
    rngs = [np.random.default_rng([seed, 0]) for seed in seeds]
    drawn = [token_process.draw(rng) for rng in rngs]
    ideal, shadow = stack([world.ideal for world in drawn]), stack([world.shadow for world in drawn])
    tokens, states, _ = write(ideal, setting.scale, uniform(rngs, 2 * setting.length, setting.evaluation))
    half = setting.length
    log_prob, _ = readout_log_prob(ideal["readout"][:, None], setting.scale, states[:, :, half:], tokens[:, half:])
    pretrained = pretrain(setting, shadow, rngs)
    states, _ = read(pretrained, begin(pretrained, setting.evaluation), tokens)
    frozen = np.ascontiguousarray(states[:, :, half:])
    return Worlds(setting, ideal, shadow, pretrained, tokens, log_prob[:, 0], frozen)


def first_weights(hidden: int, embed: float, rng: Generator) -> Params:
    """Draw an agent: the token's weights uniform within `embed`, others within 1 / sqrt(D), a start state of zeros."""
    params = TokenProcess(hidden).init(rng)
    bound = hidden**-0.5
    readout = rng.uniform(-bound, bound, hidden)
    return params | {"embed": embed * params["embed"], "readout": readout, "start": np.zeros(hidden)}


def pretrain(setting: Setting, shadow: Params, rngs: Sequence[Generator]) -> Params:
    """Fit one agent a world to `documents` shadow texts of twice the length, by Adam (ILHF, section 4.1).

    Each pass goes through them in a new order and leaves out those that do not fill a batch.
    """
    texts = write(shadow, setting.scale, uniform(rngs, 2 * setting.length, setting.documents))[0]
    texts = np.swapaxes(texts, 1, 2).astype(np.intp)
    model, empty = TokenProcess(setting.hidden, setting.agents), texts[0, : setting.batch, :0]

    def collect(params: Params, rng: Generator) -> Any:
        order = np.stack([each.permutation(setting.documents) for each in rngs])
        for first in range(0, setting.documents - setting.batch + 1, setting.batch):
            rows = order[:, first : first + setting.batch]
            yield np.take_along_axis(texts, rows[..., None], axis=1)

    def loss(params: Params, batch: Array) -> Array:
        return lm.negative_log_likelihood(model, params, empty, batch)

    start = stack([first_weights(setting.hidden, setting.embed, rng) for rng in rngs])
    adam = optim.adam(0.001)
    return optim.fit(loss, start, collect, rounds=setting.epochs, optimizer=adam, rng=rngs[0])[0]

"""Worlds of the token process for the ILHF agents: many at once, one for each seed, with what all agents share.

    S worlds (one a seed)    M members    B texts    T tokens of a response    D units    phi, mu readouts
    S_t state before token t    x_t token, 0 or 1    z_t its logit

Each world draws its chance from a generator of its own, so that its numbers do not depend on which worlds run beside
it. Source: ILHF, section 4 and appendices C and D.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import logit

from rlhf_lab.methods import ilhf
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks, optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import token_process
from rlhf_lab.worlds.token_process import TokenProcess

Vjp = Callable[[Array], Array]
BLOCK = 32_768  # numbers that are worked on at a time: they stay in the cache
TOGETHER = 512  # tokens whose factors, at most 2 each, are multiplied: no overflow


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


def read(params: Params, state: Array, tokens: Array) -> tuple[Array, Array]:
    """Read tokens (S, T, B) from `state` (S, D, B) on: states before each token, (S, D, T, B), and after the last.

    The torso is one for each world, `recurrent` (S, D, D), or one for each text, (S, D, D, B).
    """
    memory, follow = _memory(params, state, tokens.shape[1])
    memory[:-1, :, -1] = np.moveaxis(2 * tokens - 1, 1, 0)
    for before, after in itertools.pairwise(memory):
        follow(before, after)
    return _states(memory)


def roll(params: Params, scale: float, state: Array, uniform: Array) -> tuple[Array, Array, Array]:
    """Write texts: tokens (S, T, B), and states as in `read`; `uniform` (S, T, B) is the chance of each token.

    `readout` is (S, D, B), one for each text.
    """
    memory, follow = _memory(params, state, uniform.shape[1])
    tokens, odds = np.empty(uniform.shape), logit(uniform)
    for t, (before, after) in enumerate(itertools.pairwise(memory)):
        tokens[:, t] = odds[:, t] < scale * np.einsum("sdb,sdb->sb", params["readout"], before[:, :-1])
        before[:, -1] = 2 * tokens[:, t] - 1
        follow(before, after)
    return tokens, *_states(memory)


def _memory(params: Params, state: Array, length: int) -> tuple[Array, Callable[[Array, Array], None]]:
    """Return room for states with the signed token below each, (T + 1, S, D + 1, B), and what fills the next ones."""
    worlds, units, batch = state.shape
    memory = np.empty((length + 1, worlds, units + 1, batch))  # time first, so that each step works in one piece
    memory[0, :, :-1] = state
    weights = np.concatenate([params["recurrent"], params["embed"][:, :, None]], axis=2)

    def follow(before: Array, after: Array) -> None:
        state = after[:, :-1]
        if weights.ndim == 3:
            np.matmul(weights, before, out=state)
        else:
            np.einsum("sijb,sjb->sib", weights, before, out=state)
        np.tanh(state, out=state)

    return memory, follow


def _states(memory: Array) -> tuple[Array, Array]:
    return np.moveaxis(memory[:-1, :, :-1], 0, 2), memory[-1, :, :-1]


def readout_log_prob(readout: Array, scale: float, states: Array, tokens: Array) -> tuple[Array, Vjp]:
    """Return log pi of texts with known states, (S, M, B), and the function that maps its gradient to that of phi.

    log pi = sum_t x_t z_t - log(1 + exp z_t) with z_t = scale phi . S_t (eq-token-likelihood). `readout` (S, M, D),
    `states` (S, D, T, B), `tokens` (S, T, B). A few tokens at a time, so that the work stays in the cache.
    """
    worlds, members = readout.shape[:2]
    length, batch = tokens.shape[1:]
    # With v = (2 x - 1) z and h = tanh(v / 2), what x_t adds is log sigmoid(v) = min(v, 0) + log(1 + |h|) - log 2, and
    # how much it surprises is 1 - sigmoid(v) = (1 - h) / 2. One logarithm of a product serves several tokens.
    signed = np.swapaxes(scale / 2 * states * (2 * tokens[:, None] - 1), 1, 2)  # v / 2 = phi . signed
    total = signed.sum(1)
    log_pi = np.matmul(readout, total) - length * np.log(2)
    halves = np.empty((worlds, length, members, batch))
    step = min(max(1, BLOCK // (members * batch)), TOGETHER)
    blocks = [(s, slice(t, t + step)) for s in range(worlds) for t in range(0, length, step)]
    for s, t in blocks:
        h = np.matmul(readout[s], signed[s, t], out=halves[s, t])
        size = np.abs(h)
        log_pi[s] -= size.sum(0)
        np.tanh(h, out=h)
        np.abs(h, out=size)
        size += 1
        log_pi[s] += np.log(size.prod(0))

    def vjp(g: Array) -> Array:
        slopes = np.matmul(g, np.swapaxes(total, 1, 2))
        for s, t in blocks:
            slopes[s] -= np.matmul(halves[s, t] * g[s], np.swapaxes(signed[s, t], 1, 2)).sum(0)
        return slopes

    return log_pi, vjp


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
            states, _ = read(torso, _begin(torso, texts.shape[-1]), texts)
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


def _begin(params: Params, batch: int) -> Array:
    return np.repeat(params["start"][..., None], batch, axis=-1)


def _per_text(params: Params, batch: int) -> Params:
    return params | {"readout": np.repeat(params["readout"][..., None], batch, axis=-1)}


def write(params: Params, scale: float, uniform: Array) -> tuple[Array, Array, Array]:
    """Let each world's process write texts from its start; `uniform` (S, T, B), results as in `roll`."""
    batch = uniform.shape[-1]
    return roll(_per_text(params, batch), scale, _begin(params, batch), uniform)


def prepare(setting: Setting, seeds: Sequence[int]) -> Worlds:
    """Draw one world for each seed, pretrain its agent on shadow text, and write ideal text to judge agents by."""
    rngs = [np.random.default_rng([seed, 0]) for seed in seeds]
    drawn = [token_process.draw(rng) for rng in rngs]
    ideal, shadow = stack([world.ideal for world in drawn]), stack([world.shadow for world in drawn])
    tokens, states, _ = write(ideal, setting.scale, uniform(rngs, 2 * setting.length, setting.evaluation))
    half = setting.length
    log_prob, _ = readout_log_prob(ideal["readout"][:, None], setting.scale, states[:, :, half:], tokens[:, half:])
    pretrained = pretrain(setting, shadow, rngs)
    states, _ = read(pretrained, _begin(pretrained, setting.evaluation), tokens)
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

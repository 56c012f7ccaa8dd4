"""The didactic experiment with the numbers of ILHF's table 1: a network of two units, a prompt of ten ones.

The answer is one token. The torso is pretrained on 1,000 texts, ten ones and an answer, for 200 passes, and then only
the readout is tuned. The loss of pretraining is that of the answer (ILHF, section 2.2) or of the whole text (4.1).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import expit
from threadpoolctl import threadpool_limits

from rlhf_lab.experiments.ilhf.agents import Agent, Episode, Learner, start
from rlhf_lab.experiments.ilhf.worlds import Setting, Worlds, first_weights, stack, uniform
from rlhf_lab.experiments.runner import Numbers
from rlhf_lab.feedback import annotators
from rlhf_lab.methods import ilhf
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import coin
from rlhf_lab.worlds.token_process import TokenProcess

LENGTH = coin.PROMPTS.shape[1]
TABLE_1 = Setting(length=1, episodes=4500, hidden=2, epochs=200, every=75)
AGENTS = {f"reinforce {beta}": Agent(beta=float(beta)) for beta in (0, 1, 10, 100)} | {"ilhf": Agent()}
AGENTS["ensemble 10"] = Agent(members=10, prior=0.01, eta=1.0, perturb=True)


def run(seeds: Sequence[int], setting: Setting = TABLE_1) -> Numbers:
    """Return the probability of saying 1 before and after every few episodes, (S, K), for each agent and each loss."""
    with threadpool_limits(limits=1):
        return {loss: _finetuned(seeds, setting, loss) for loss in ("answers", "texts")}


def _finetuned(seeds: Sequence[int], setting: Setting, loss: str) -> Numbers:
    pretrained = _pretrain(setting, [np.random.default_rng([seed, 0]) for seed in seeds], loss)
    state, _ = TokenProcess(setting.hidden).start(pretrained, coin.PROMPTS)
    empty = np.empty((len(seeds), 0))
    worlds = Worlds(setting, {}, {}, pretrained, empty, empty, empty)
    return {name: _curve(agent, worlds, np.swapaxes(state, 1, 2), seeds) for name, agent in AGENTS.items()}


def _pretrain(setting: Setting, rngs: Sequence[Generator], loss: str) -> Params:
    texts = np.ones((len(rngs), setting.documents, LENGTH + 1), dtype=np.intp)
    texts[..., -1] = uniform(rngs, setting.documents) < coin.PRETRAINED
    read = LENGTH if loss == "answers" else 0
    model = TokenProcess(setting.hidden)

    def collect(params: Params, rng: Generator) -> Any:
        order = np.stack([each.permutation(setting.documents) for each in rngs])
        for first in range(0, setting.documents - setting.batch + 1, setting.batch):
            yield np.take_along_axis(texts, order[:, first : first + setting.batch, None], axis=1)

    def value(params: Params, batch: Array) -> Array:
        return lm.negative_log_likelihood(model, params, batch[..., :read], batch[..., read:])

    first = stack([first_weights(setting.hidden, setting.embed, rng) for rng in rngs])
    return optim.fit(value, first, collect, rounds=setting.epochs, optimizer=optim.adam(0.001), rng=rngs[0])[0]


def _curve(agent: Agent, worlds: Worlds, state: Array, seeds: Sequence[int]) -> Array:
    luck = [[np.random.default_rng([seed, stream]) for seed in seeds] for stream in (1, 2)]
    learner = Learner(agent, worlds, start(agent, worlds, seeds))
    curve = [_probability(learner.params, state)]
    for episode in range(1, worlds.setting.episodes + 1):
        learner.learn(_ask(agent, learner.params, worlds.setting.pairs, state, luck))
        if episode % worlds.setting.every == 0:
            curve.append(_probability(learner.params, state))
    return np.stack([p.mean(1) for p in curve], axis=-1)


def _probability(params: Params, state: Array) -> Array:
    """Return the probability (S, M) with which each member says 1 in the state (S, D, 1) after the prompt."""
    return expit(np.einsum("smd,sd->sm", params["readout"], state[..., 0]))


def _ask(agent: Agent, params: Params, pairs: int, state: Array, luck: Sequence[Sequence[Generator]]) -> Episode:
    member = (agent.members * uniform(luck[0], pairs)).astype(int)
    p = np.tile(np.take_along_axis(_probability(params, state), member, axis=1), 2)
    answer = (uniform(luck[0], 2 * pairs) < p).astype(float)
    reward = np.log(np.where(answer == 1, coin.PEOPLE, 1 - coin.PEOPLE))
    share = annotators.bradley_terry(reward[:, :pairs] - reward[:, pairs:])
    label = (uniform(luck[0], pairs) < share).astype(float)
    shape = (agent.members, pairs)
    weight = np.stack([ilhf.double_or_nothing(shape, rng) for rng in luck[1]]) if agent.perturb else np.ones(1)
    states = np.repeat(state[:, :, None], 2 * pairs, axis=-1)
    return Episode(np.empty((len(p), 0, pairs)), answer[:, None], states, label, reward, weight)

"""What a tiny GPT goes through before it is aligned: talk, answers, pairs that people compare, a reward model.

pi policy    pi* Gibbs policy    p language, the reference    R reward
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.feedback import annotators, likelihoods, pairs, preferences
from rlhf_lab.feedback.reward_models import Network
from rlhf_lab.methods.rollouts import Collect, Loss, Task
from rlhf_lab.models import lm
from rlhf_lab.models.gpt import GPT
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.batches import by_length
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import shop

GPT_SIZE = {"width": 64, "layers": 2, "heads": 4}
BATCH = 32  # texts, or pairs
STEP_SIZES = {  # of each pass over its share of the texts, or over all pairs
    "talk": [0.005, 0.0015],
    "answers": [0.003, 0.001, 0.0003],
    "reward": [0.001, 0.001, 0.0003],
    "pairs": [0.0003, 0.0001],
}


class Shop(NamedTuple):
    """The task, the language and its best policy as models with their parameters, and what the latter is worth."""

    task: Task
    language: tuple[lm.LanguageModel, Params]
    best: tuple[lm.LanguageModel, Params]
    worth: Array  # J* of each question


@cache
def world() -> Shop:
    """Return the shop as a task."""
    mdp = shop.mdp()
    language, best = (mdp.model, mdp.reference()), (mdp.model, mdp.gibbs(shop.BETA))
    return Shop(Task(shop.token_mdp(), language, shop.BETA), language, best, shop.BETA * best[1]["values"][:, 0, 0])


def model() -> GPT:
    """Return the GPT."""
    mdp = world().task.mdp
    width, layers, heads = GPT_SIZE.values()
    return GPT(mdp.vocab, width, layers, heads, context=mdp.prompts.shape[1] + mdp.horizon, eos=mdp.eos)


def length(response: Array) -> Array:
    """Return the number of tokens of each response (N, T), `<eos>` too: integers (N,)."""
    return lm.response_mask(response, shop.EOS).sum(-1).astype(int)


def train(
    loss: Loss, params: Params, collect: Collect, step_size: float, rng: Generator, rounds: int = 1, **settings: Any
) -> tuple[Params, list[dict[str, Any]]]:
    """Train as everything here is trained: with Adam, whose memory of squares is short, as there are few steps."""
    optimizer = optim.adam(step_size, b2=0.99)
    return optim.fit(loss, params, collect, rounds=rounds, optimizer=optimizer, rng=rng, **settings)


def cut(batch: Any) -> Any:
    """Return a batch, a named tuple, without the places behind the end of the longest of its answers.

    These are its `response` (N, T). Of all that is known of their tokens, (N, T), the same places are left out.
    """
    longest, shape = length(batch.response).max(), batch.response.shape
    known = batch._asdict().items()
    return batch._replace(**{name: value[:, :longest] for name, value in known if np.shape(value) == shape})


def read(params: Params, texts: tuple[Array, Array], step_sizes: Sequence[float], rng: Generator) -> Params:
    """Fit `texts`, questions and answers, with a step size for each share of them."""

    def loss(params: Params, batch: tuple[Array, Array]) -> Array:
        return lm.negative_log_likelihood(model(), params, *batch)

    for k, step_size in enumerate(step_sizes):
        prompt, response = (part[k :: len(step_sizes)] for part in texts)
        batch = partial(_cut, prompt, response)
        params, _ = train(loss, params, by_length(length(response), BATCH, batch), step_size, rng)
    return params


def _cut(prompt: Array, response: Array, rows: Array, longest: int) -> tuple[Array, Array]:
    return prompt[rows], response[rows, :longest]


def heard(size: int, rng: Generator) -> tuple[Array, Array]:
    """Return `size` questions, each equally often, and an answer of the language to each."""
    shown = world()
    prompt = np.repeat(shown.task.mdp.prompts, size // len(shown.worth), axis=0)
    return prompt, lm.sample(*shown.language, prompt, shop.HORIZON, rng)


def overheard(size: int, rng: Generator) -> tuple[Array, Array]:
    """Return answers behind questions that somebody else asked: talk from which only talking can be learned."""
    prompt, response = heard(size, rng)
    return prompt[rng.permutation(len(prompt))], response


class Pairs(NamedTuple):
    """Answers to compare, `chosen` preferred, and what the language says of them, as `pairs.compare` returns it."""

    batch: pairs.PreferenceBatch

    def some(self, rows: Array, longest: int) -> pairs.PreferenceBatch:
        """Return some of the comparisons, cut behind the end of the longest answer."""
        found = pairs.PreferenceBatch._make(column[rows] for column in self.batch)
        return found._replace(chosen=found.chosen[:, :longest], rejected=found.rejected[:, :longest])

    @property
    def longest(self) -> Array:
        """The number of tokens of the longer answer of each comparison, integers (N,)."""
        return np.maximum(length(self.batch.chosen), length(self.batch.rejected))

    def collect(self, batch: Callable[[Array, int], Any]) -> Collect:
        """Return a `collect` of batches of about one length."""
        return by_length(self.longest, BATCH, batch)


def asked(params: Params, size: int, judge: Callable[[Array, Array], Array], rng: Generator) -> Pairs:
    """Draw two answers to each of `size` questions, and let people who value them by `judge` choose one."""
    shown = world()
    prompt = shown.task.mdp.prompts[rng.integers(len(shown.worth), size=size)]
    first, second = preferences.draw_pairs(model(), params, prompt, shop.HORIZON, rng)
    margin = judge(prompt, first) - judge(prompt, second)
    label = annotators.sample_labels(annotators.bradley_terry(margin), rng)
    found = preferences.from_labels(prompt, first, second, label, shop.VOCAB)
    return Pairs(pairs.compare(*shown.language, found.prompt, found.chosen, found.rejected))


def reward_model(params: Params, compared: Pairs, rng: Generator) -> Params:
    """Fit a reward model that begins as the policy `params`."""
    network = Network(model())
    learned = params | {"head": np.zeros_like(params["norm"])}
    loss = likelihoods.preference_loss(network, likelihoods.bradley_terry_loss)

    def batch(rows: Array, longest: int) -> tuple[Array, ...]:
        found = compared.some(rows, longest)
        return found.prompt, found.chosen, found.rejected, found.label

    for step_size in STEP_SIZES["reward"]:
        learned, _ = train(loss, learned, compared.collect(batch), step_size, rng)
    return learned

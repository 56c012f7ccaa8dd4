"""PhraseWorld with answers of up to four tokens: short enough to hold every run against its exact optimum, often.

pi policy    pi_0 reference    pi* Gibbs policy    beta KL weight
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import NamedTuple

import autograd.numpy as np

from rlhf_lab.experiments.runner import Numbers
from rlhf_lab.feedback import annotators, preferences
from rlhf_lab.methods.rollouts import Collect, Loss, Task
from rlhf_lab.models import critics, lm, recurrent
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import EOS, PROMPTS, START, VOCAB
from rlhf_lab.worlds.token_mdp import TokenMDP

HORIZON, BETA = 4, 0.5
POINTS = (1, 2, 3, 4, 6, 9, 13, 18, 25, 33, 41, 50)  # rounds after which a run is looked at
PAIRS = 1024  # comparisons of a seed
NETWORK = recurrent.Recurrent(VOCAB, hidden=16, eos=EOS)
CRITIC = critics.ReaderCritic(NETWORK)
Seeds = tuple[int, ...]


def corpus() -> tuple[Array, Array]:
    """Return the pretraining text, prompts (N, 3) and answers (N, 4); the longest are cut off."""
    prompts, answers = phrase_world.corpus()
    return prompts, answers[:, :HORIZON]


@cache
def pretrained() -> tuple[Task, Params]:
    """Return the task, and the parameters of its reference, with which the policies begin."""
    params, _ = optim.fit(
        lambda params, batch: lm.negative_log_likelihood(NETWORK, params, *batch),
        NETWORK.init(np.random.default_rng(4)),
        optim.minibatches(corpus(), 149),
        rounds=100,
        optimizer=optim.adam(0.02),
        rng=np.random.default_rng(5),
    )
    mdp = TokenMDP(PROMPTS, START, phrase_world.reward, VOCAB, HORIZON, EOS)
    return Task(mdp, (NETWORK, params), BETA), params


class Pairs(NamedTuple):
    """Comparisons of answers of the reference, (seeds, N, ...) each."""

    prompt: Array
    chosen: Array
    rejected: Array


@cache
def compared(seeds: Seeds) -> Pairs:
    """Return comparisons for each seed, labelled by people who follow Bradley and Terry."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng([6, seed])
        prompt = PROMPTS[rng.choice(len(PROMPTS), PAIRS, p=START)]
        first, second = preferences.draw_pairs(NETWORK, pretrained()[1], prompt, HORIZON, rng)
        gain = phrase_world.reward(prompt, first) - phrase_world.reward(prompt, second)
        label = annotators.sample_labels(annotators.bradley_terry(gain), rng)[:, None]
        found.append((prompt, np.where(label, first, second), np.where(label, second, first)))
    return Pairs(*map(np.stack, zip(*found, strict=True)))


def read(params: Params, prompt: Array, response: Array) -> tuple[Array, Array, Array]:
    """Return logits (..., N, L, V), tokens and mask (..., N, L) of whole texts, as a trainer hands them to a loss."""
    texts = np.concatenate([prompt, response], axis=-1)
    mask = np.concatenate([np.zeros(prompt.shape), lm.response_mask(response, EOS)], axis=-1)
    following = np.concatenate([texts[..., 1:], texts[..., :1]], axis=-1)  # the last one is never asked for
    return NETWORK.logits(params, texts[..., :1], following), texts, mask


def law(log_pi: Array) -> Numbers:
    """Return what is known of a policy (K, A) exactly: the answer key."""
    task, _ = pretrained()
    pi = np.exp(log_pi)
    return {
        "gap": task.gap(log_pi),
        "divergence": task.mean(lm.kl(log_pi, task.log_pi_0)),
        "true reward": task.mean(np.sum(pi * task.rewards, axis=-1)),
    }


@cache
def lengths() -> Array:
    """Return the number of tokens of every answer, (A,), with <eos>."""
    return np.sum(lm.response_mask(lm.enumerate_responses(VOCAB, HORIZON, EOS), EOS), axis=-1)


def of_policy(params: Params) -> Numbers:
    """Return `law` of networks, (seeds,) each."""
    task, _ = pretrained()
    names = list(law(task.log_pi_0))
    found = task.each(NETWORK, params, lambda log_pi: np.array(list(law(log_pi).values())))
    return dict(zip(names, found.T, strict=True))


def curves(
    loss: Loss,
    start: Params,
    collect: Collect,
    seeds: Seeds,
    step_size: float,
    exact: Callable[[Params], Numbers] = of_policy,
) -> Numbers:
    """Train, and return what was seen at `POINTS`, (seeds, points): what a batch tells, and what is exact."""
    _, history = optim.fit(
        loss,
        start,
        collect,
        rounds=POINTS[-1],
        optimizer=optim.adam(step_size),
        rng=np.random.default_rng(seeds),
        record=at(POINTS, exact),
    )
    seen = [history[point - 1] for point in POINTS]
    return {name: np.stack([each[name] for each in seen], axis=-1) for name in seen[0]}


def at(points: Sequence[int], record: Callable[[Params], Numbers]) -> Callable[[Params], Numbers]:
    """Return a `record` for `optim.fit` that looks after these rounds only."""
    rounds = count(1)
    return lambda params: record(params) if next(rounds) in points else {}

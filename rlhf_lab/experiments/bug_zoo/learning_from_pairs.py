"""Losses of comparisons, and of imitation, in training."""

from collections.abc import Callable, Iterable
from typing import Any

import autograd.numpy as np
from autograd.tracer import getval
from numpy.random import Generator

from rlhf_lab.audit.zoo import pairs, tokens
from rlhf_lab.experiments.bug_zoo.world import (
    BETA,
    HORIZON,
    NETWORK,
    PAIRS,
    Seeds,
    compared,
    corpus,
    curves,
    law,
    lengths,
    pretrained,
    read,
)
from rlhf_lab.experiments.runner import Numbers
from rlhf_lab.feedback import reward_models
from rlhf_lab.methods.rollouts import stack
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Outcome, Params
from rlhf_lab.worlds.phrase_world import EOS, PROMPTS, VOCAB

BATCH = 128
STEP_SIZES = {"DPO": 0.01, "reward model": 0.02, "SFT": 0.05}
JUDGE = reward_models.Network(NETWORK)
Function = Callable[..., Array]
LOGGED: dict[Function, Callable[..., tuple[Array, ...]]] = {  # what its logger gets in place of policy and reference
    pairs.reference_missing: lambda chosen, rejected, *reference: (chosen, rejected, 0 * chosen, 0 * rejected),
    pairs.reference_not_frozen: lambda chosen, rejected, *reference: (chosen, rejected, chosen, rejected),
    pairs.reference_remade: lambda chosen, rejected, *reference: (chosen, rejected, chosen, rejected),
    pairs.reference_crossed: lambda chosen, rejected, chosen_0, rejected_0: (chosen, rejected, rejected_0, chosen_0),
    pairs.answers_swapped: lambda chosen, rejected, chosen_0, rejected_0: (rejected, chosen, rejected_0, chosen_0),
}


def batches(params: Params, rng: Generator) -> Iterable[Array]:
    """Draw which comparisons are looked at."""
    yield rng.choice(PAIRS, BATCH, replace=False)


def whole(log_probs: Function, *text: Array) -> Array:
    """Return log-probabilities of answers, (..., N), by a function that has them of tokens or of answers."""
    found = log_probs(*text)
    return np.sum(found, axis=-1) if np.ndim(found) == np.ndim(text[1]) else found


def told_of(margin: Array, chosen: Array, rejected: Array) -> Numbers:
    """Return what trainers log of comparisons (..., N), means of a batch; a margin of 0 counts as wrong."""
    told = {"accuracy": 1.0 * (margin > 0), "margin": margin, "chosen": chosen, "rejected": rejected}
    return {name: np.mean(value, axis=-1) for name, value in told.items()}


def direct(
    seeds: Seeds, loss: Function = pairs.dpo_loss, log_probs: Function = tokens.log_probs, strength: float = BETA
) -> Numbers:
    """Return the curves of direct preference optimisation, by a loss and by log-probabilities of answers."""
    data, start = compared(seeds), stack([pretrained()[1]] * len(seeds))

    def score(params: Params, rows: Array) -> list[Array]:
        prompt, chosen, rejected = (np.take(column, rows, axis=-2) for column in data)
        twice, answers = np.concatenate([prompt, prompt], axis=-2), np.concatenate([chosen, rejected], axis=-2)
        return list(np.split(whole(log_probs, *read(params, twice, answers)), 2, axis=-1))

    def mean(params: Params, rows: Array) -> Outcome:
        four = (*score(params, rows), *score(start, rows))
        logged = tuple(map(getval, four))
        chosen, rejected, chosen_0, rejected_0 = LOGGED[loss](*logged) if loss in LOGGED else logged
        told = told_of(chosen - chosen_0 - (rejected - rejected_0), chosen, rejected)
        return Outcome(np.mean(loss(*four, strength), axis=-1), told)

    return curves(mean, start, batches, seeds, STEP_SIZES["DPO"])


def reward_model(seeds: Seeds, loss: Function = pairs.reward_model_loss) -> Numbers:
    """Return the curves of a reward model; its answer key is that of the Gibbs policy of the rewards it has learned."""
    data, (task, body) = compared(seeds), pretrained()
    head = {name: value for name, value in body.items() if name != "readout"} | {"head": np.zeros(NETWORK.hidden)}

    def mean(params: Params, rows: Array) -> Outcome:
        prompt, chosen, rejected = (np.take(column, rows, axis=-2) for column in data)
        twice, answers = np.concatenate([prompt, prompt], axis=-2), np.concatenate([chosen, rejected], axis=-2)
        both = np.split(JUDGE.reward(params, twice, answers), 2, axis=-1)
        chosen, rejected = map(getval, both[::-1] if loss is pairs.rewards_swapped else both)
        return Outcome(np.mean(loss(*both), axis=-1), told_of(chosen - rejected, chosen, rejected))

    def exact(params: Params) -> Numbers:
        found = JUDGE.every_reward(params, PROMPTS, HORIZON)
        each = [law(gibbs.log_policy(task.log_pi_0, rewards, BETA)) for rewards in found]
        return {name: np.array([one[name] for one in each]) for name in each[0]}

    return curves(mean, stack([head] * len(seeds)), batches, seeds, STEP_SIZES["reward model"], exact)


def imitation(seeds: Seeds, loss: Function = tokens.sft_loss) -> Numbers:
    """Return the curves of supervised fine-tuning; its answer key is the divergence of what people wrote from it."""
    prompts, answers = corpus()
    rows = np.argmax(np.all(prompts[:, None] == PROMPTS, axis=-1), axis=-1)
    size = lm.count_responses(VOCAB, HORIZON, EOS)
    counts = checks.tally(rows * size + lm.answer_index(answers, VOCAB, EOS), size=len(PROMPTS) * size)
    counts, task = np.reshape(counts, (len(PROMPTS), size)), pretrained()[0]
    asked = np.sum(counts, axis=-1)
    with np.errstate(divide="ignore"):
        log_people = np.log(counts / asked[:, None])
    start = stack([NETWORK.init(np.random.default_rng([7, seed])) for seed in seeds])

    def mean(params: Params, chosen: Array) -> Outcome:
        logits, texts, mask = read(params, prompts[chosen], answers[chosen])
        return Outcome(loss(logits, texts, mask), {})

    def exact(params: Params) -> Numbers:
        def look(log_pi: Array) -> Array:
            nats = np.matmul(lm.kl(log_people, log_pi), asked / np.sum(asked))
            entropy, length = lm.entropy(log_pi), np.matmul(np.exp(log_pi), lengths())
            return np.array([nats, task.mean(entropy), task.mean(length), law(log_pi)["true reward"]])

        return dict(zip(("gap", "entropy", "length", "reward"), task.each(NETWORK, params, look).T, strict=True))

    def batches(params: Params, rng: Generator) -> Iterable[Any]:
        yield rng.choice(len(prompts), BATCH, replace=False)

    return curves(mean, start, batches, seeds, STEP_SIZES["SFT"], exact)

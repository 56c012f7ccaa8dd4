"""Does asking online repair DPO? Six lines with the same number of labels: two sources, with and without a remedy."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.experiments.dpo.lines import BETA, DPO, rows, stop_early, train
from rlhf_lab.experiments.runner import Numbers, in_blocks
from rlhf_lab.feedback import annotators, linear_fits, pairs
from rlhf_lab.feedback.pairs import PreferenceBatch
from rlhf_lab.methods import direct
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import EOS, HORIZON, PROMPTS, VOCAB

PHRASES, ROUNDS, ASKED, HELD_OUT, STEPS = 30, 12, 40, 8, 80
KNOBS: dict[str, tuple[float, ...]] = {  # a step size, or the precision of the prior
    "plain": (0.003, 0.01, 0.03, 0.1),
    "stopped early": (0.05, 0.1, 0.2, 0.4),
    "prior": (0.05, 0.1, 0.3, 0.6, 1.2),
}
SOURCES = ("online", "offline")


class Book(NamedTuple):
    """The likeliest answers to one question: log pi_0 and rewards (A,), and policies over them."""

    log_pi_0: Array
    reward: Array
    model: Tabular

    def gap(self, params: Params) -> Array:
        """Return the distance of each seed's policy, (seeds,)."""
        return gibbs.gap(log_softmax(params["logits"][:, 0, 0]), self.log_pi_0, self.reward, BETA)

    def prefer(self, prompt: Array, first: Array, second: Array) -> Array:
        """Return the share of people who prefer the first."""
        return annotators.bradley_terry(self.reward[first[..., 0]] - self.reward[second[..., 0]])


def phrase_book() -> Book:
    """Return the 30 answers to "is tea hot" that the pretrained table likes best."""
    log_all = lm.answer_log_probs(phrase_world.model(), phrase_world.pretrained(), PROMPTS[:1], HORIZON)[0]
    top = np.argsort(-log_all.round(9), kind="stable")[:PHRASES]  # many are equally likely
    texts = lm.enumerate_responses(VOCAB, HORIZON, EOS)[top]
    reward = phrase_world.reward(np.repeat(PROMPTS[:1], PHRASES, axis=0), texts)
    return Book(log_softmax(log_all[top]), reward, Tabular(vocab=PHRASES, horizon=1, prompts=((0,),)))


def labels_in_rounds(book: Book, source: str, remedy: str, knob: float, seeds: Sequence[int]) -> Array:
    """Return the distance after each round of 40 labels, (seeds, rounds).

    Offline, the reference writes what is compared; online, the policy as it is. "plain" goes on from the last round
    with 80 steps of DPO on all labels so far. "stopped early" begins anew with 80 steps, and keeps those parameters
    that fit a fifth of the labels, held out, best. "prior" is the exact end point of DPO with a Gaussian prior on
    implicit rewards.
    """
    first = {"logits": np.tile(book.log_pi_0, (len(seeds), 1, 1, 1))}
    ask = pairs.online(book.model, first, np.zeros((ASKED, 1), dtype=int), 1, book.prefer)
    loss = direct.preference_loss(book.model, DPO)
    rng, params, missed = np.random.default_rng([8, *seeds]), first, []
    told: list[PreferenceBatch] = []
    for _ in range(ROUNDS):
        told += ask(params if source == "online" else first, rng)
        every = pairs.join(told)
        if remedy == "prior":
            params = with_prior(book, every, knob)
        elif remedy == "plain":
            params = train(loss, params, lambda p, rng, every=every: [every], STEPS, knob)[-1]
        else:
            fit, held = (
                pairs.join([rows(each, part) for each in told]) for part in (slice(HELD_OUT, None), slice(HELD_OUT))
            )
            trail = train(loss, first, lambda p, rng, fit=fit: [fit], STEPS, knob)
            params, _ = stop_early(book.model, trail, held)
        missed.append(book.gap(params))
    return np.stack(missed, axis=1)


def with_prior(book: Book, told: PreferenceBatch, precision: float) -> Params:
    """Return the minimiser of sum dpo(h) + precision / 2 |r|^2, with r = beta (logits - log pi_0).

    In a table it is the Gibbs policy of the rewards that fit best under the same prior.
    """
    one_hot = np.eye(PHRASES)
    difference = one_hot[told.chosen[..., 0]] - one_hot[told.rejected[..., 0]]
    reward = linear_fits.fit_linear(difference, told.label, precision).mean
    return {"logits": gibbs.log_policy(book.log_pi_0, reward, BETA)[:, None, None]}


def run(seeds: Sequence[int], knobs: dict[str, tuple[float, ...]] = KNOBS) -> Numbers:
    """Return the distances of all six lines, each {"far": (seeds, knobs, rounds)}."""
    book = phrase_book()

    def line(source: str, remedy: str) -> Array:
        return np.stack([labels_in_rounds(book, source, remedy, knob, seeds) for knob in knobs[remedy]], axis=1)

    return {f"{source}, {remedy}": {"far": line(source, remedy)} for remedy in knobs for source in SOURCES}


SETTINGS: dict[str, Any] = {
    "beta": BETA,
    "phrases": PHRASES,
    "rounds": ROUNDS,
    "asked": ASKED,
    "held_out": HELD_OUT,
    "steps": STEPS,
    "knobs": {name: list(values) for name, values in KNOBS.items()},
}
STUDY = in_blocks(run, 10, SETTINGS)
# Both sources with one prior, for many groups: is online nearer?
PRIOR = in_blocks(partial(run, knobs={"prior": (0.3,)}), 10, SETTINGS | {"knobs": {"prior": [0.3]}})

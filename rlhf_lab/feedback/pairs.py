"""Comparisons beside what the reference says of them, and where they come from: a file, the policy itself, or pi*.

pi policy    pi_0 reference    pi* Gibbs policy    R reward    c ceiling, at least as high as any reward
beta KL weight
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.feedback.annotators import sample_labels
from rlhf_lab.feedback.preferences import draw_pairs
from rlhf_lab.models.lm import LanguageModel, log_prob, response_mask, sample
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params

TRIES = 1000  # how many answers to a prompt may be turned down before it is said that none is accepted


class PreferenceBatch(NamedTuple):
    """What a batch holds: prompt (..., N, P), two responses (..., N, T), their log-probabilities under pi_0 (..., N),
    the share of people who prefer the first, `label`, and how often the comparison counts, `weight` (..., N).
    """

    prompt: Array
    chosen: Array
    rejected: Array
    reference_chosen: Array
    reference_rejected: Array
    label: Array
    weight: Array


def compare(
    model: LanguageModel,
    reference: Params,
    prompt: Array,
    chosen: Array,
    rejected: Array,
    label: Array = 1.0,
    weight: Array = 1.0,
) -> PreferenceBatch:
    """Return the batch that `preference_loss` reads; the log-probabilities of the reference are computed once, here.

    A label of 1 is an ordinary comparison, 1/2 a tie, 0 says that the second is preferred, and numbers between are
    shares of people. Raises `ValueError` if there is no comparison, if a response is compared with itself (what follows
    `eos` does not count), or if a weight is negative.
    """
    prompt = checks.tokens("prompt", prompt, model.vocab)
    chosen, rejected = checks.tokens("chosen", chosen, model.vocab), checks.tokens("rejected", rejected, model.vocab)
    checks.same_batch(prompt, chosen)
    checks.same_batch(prompt, rejected)
    if chosen.shape[-1] != rejected.shape[-1]:
        raise ValueError(f"chosen has {chosen.shape[-1]} tokens, rejected {rejected.shape[-1]}: pad them to one length")
    if not chosen.size:
        raise ValueError("there are no comparisons; at least one is needed")
    for name, value in (("label", label), ("weight", weight)):
        if np.shape(value)[-1:] not in ((), chosen.shape[-2:-1]):
            raise ValueError(
                f"{name} is one number, or one for each of {chosen.shape[-2]} comparisons; got shape {np.shape(value)}"
            )
    behind = response_mask(chosen, model.eos) == 0  # the end of both, wherever they are equal up to there
    same = np.argwhere(((chosen == rejected) | behind).all(-1))
    if len(same):
        raise ValueError(
            f"row {same[0][-1]} compares a response with itself, and so do {len(same) - 1} more: such pairs tell "
            "nothing; leave them out"
        )
    first, second = (log_prob(model, reference, prompt, response) for response in (chosen, rejected))
    checks.log_probs("reference", first)
    checks.log_probs("reference", second)
    rows = np.broadcast_shapes(first.shape, np.shape(label), np.shape(weight))
    label, weight = (np.broadcast_to(np.asarray(value, dtype=float), rows) for value in (label, weight))
    checks.share("label", label)
    if not (np.isfinite(weight) & (weight >= 0)).all() or not weight.any(-1).all():
        raise ValueError("weight is how often a comparison counts: finite, not negative, and not 0 everywhere")
    return PreferenceBatch(prompt, chosen, rejected, first, second, label, weight)


def join(batches: Sequence[PreferenceBatch]) -> PreferenceBatch:
    """Return one batch with the comparisons of all `batches`, in their order."""
    texts, numbers = PreferenceBatch._fields[:3], PreferenceBatch._fields[3:]
    columns = [np.concatenate([getattr(b, name) for b in batches], axis=-2) for name in texts]
    columns += [np.concatenate([getattr(b, name) for b in batches], axis=-1) for name in numbers]
    return PreferenceBatch._make(columns)


def online(
    model: LanguageModel,
    reference: Params,
    prompt: Array,
    horizon: int,
    annotator: Callable[[Array, Array, Array], Array],
) -> Callable[[Params, Generator], list[PreferenceBatch]]:
    """Return a `collect` for `optim.fit` that draws two answers to each prompt from the current policy and asks.

    `annotator(prompt, first, second)` returns the share of people who prefer the first; one of them answers. Guo et al.
    2024.
    """

    def collect(params: Params, rng: Generator) -> list[PreferenceBatch]:
        first, second = draw_pairs(model, params, prompt, horizon, rng)
        label = sample_labels(annotator(prompt, first, second), rng)
        return [compare(model, reference, prompt, first, second, label)]

    return collect


def acceptance(reward: Array, ceiling: Array, beta: float) -> Array:
    """exp((R(x, y) - c) / beta): accept an answer of pi_0 this often, and what is left comes from pi* (eq-acceptance).

    Liu, Zhao et al. 2024, section 3. Raises `ValueError` if a reward lies above the ceiling, or is not finite.
    """
    for name, value in (("reward", reward), ("ceiling", ceiling)):
        if not np.isfinite(value).all():
            bad = np.size(value) - np.isfinite(value).sum()
            raise ValueError(f"{name} must be finite; {bad} of {np.size(value)} is NaN or infinite")
    if np.any(reward > ceiling):
        raise ValueError(
            "a reward lies above the ceiling, so that its answer could not be accepted often enough: raise the ceiling "
            "to the largest reward"
        )
    return np.exp((reward - ceiling) / checks.positive("beta", beta))


def acceptance_rate(log_pi_0: Array, reward: Array, ceiling: Array, beta: float) -> Array:
    """sum_y pi_0(y|x) exp((R(x, y) - c) / beta): the share of answers that is kept, last axis (eq-acceptance-rate)."""
    ceiling = np.asarray(ceiling)[..., None]
    return np.sum(np.exp(log_pi_0) * acceptance(reward, ceiling, beta), axis=-1)


def rejection_sample(
    model: LanguageModel,
    params: Params,
    prompt: Array,
    horizon: int,
    reward: Callable[[Array, Array], Array],
    ceiling: Array,
    beta: float,
    rng: Generator,
) -> Array:
    """Draw one response (N, T) to each prompt (N, P) from the Gibbs policy of pi_0, `params`, and `reward`.

    `reward(prompt, response)` gives (N,), the ceiling is a number or (N,). Raises `ValueError` if no answer to some
    prompt is accepted.
    """
    prompt = checks.tokens("prompt", prompt, model.vocab)
    response = np.zeros((len(prompt), checks.horizon(horizon)), dtype=int)
    ceiling, open_ = np.broadcast_to(ceiling, len(prompt)), np.arange(len(prompt))
    for _ in range(TRIES):
        drawn = sample(model, params, prompt[open_], horizon, rng)
        chance = acceptance(reward(prompt[open_], drawn), ceiling[open_], beta)
        kept = rng.random(len(open_)) < chance
        response[open_[kept]] = drawn[kept]
        open_ = open_[~kept]
        if not len(open_):
            return response
    raise ValueError(
        f"{len(open_)} prompt(s) got no answer in {TRIES:,} draws: raise beta, or lower the ceiling to the largest "
        "reward"
    )

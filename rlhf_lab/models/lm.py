"""A language model is a policy: what every model must do, and what can then be written once for all of them.

    x prompt    y response    y_t its t-th token    pi policy    T horizon    V vocabulary    N batch

Tokens are integers in [0, V). Prompts have shape (N, P), responses (N, T). `eos`, where a language has it, is the
last token, V - 1; what follows the first `eos` of a response is `eos` again and counts for nothing. Parameters may
carry leading axes `...` (seeds, ensemble members); results carry them too. Log-probabilities are natural logs.
Entropies and divergences are exact here, sums over all answers; `estimates` has what samples tell of them.
"""

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import autograd.numpy as np
import numpy as onp
from numpy.random import Generator

from rlhf_lab.numerics import checks, repeats
from rlhf_lab.numerics.autodiff import Array, log_prob_of, log_softmax
from rlhf_lab.numerics.draws import choose
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import expectation, masked

ENUMERABLE = 2_000_000  # answers of all prompts together; beyond that, a laptop waits


class LanguageModel(Protocol):
    """Sizes and pure functions.

    Two more speed sampling up where a model has them: `at_once` is how many texts are best sampled at a time, and
    `keep(cache, rows)` returns the cache of some of the texts of a batch.
    """

    @property
    def vocab(self) -> int:
        """Number of tokens, `eos` included."""

    @property
    def eos(self) -> int | None:
        """The token that ends a response, `vocab - 1`; None if all responses have the same length."""

    def init(self, rng: Generator) -> Params:
        """Return fresh parameters."""

    def logits(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return the logits (..., N, T, V) of every token of the response, given what stands before it."""

    def start(self, params: Params, prompt: Array) -> tuple[Any, Array]:
        """Read the prompt: return a cache and the logits (..., N, V) of the first token."""

    def step(self, params: Params, cache: Any, token: Array) -> tuple[Any, Array]:
        """Read one more token (..., N): return the new cache and the logits (..., N, V) of the next."""

    def repeat(self, cache: Any, times: int) -> Any:
        """Return the cache of a batch in which each text stands `times` times in a row."""


def response_mask(response: Array, eos: int | None) -> Array:
    """Return 1.0 for each token up to and including the first `eos`, 0.0 after it; shape of `response`."""
    response = np.asarray(response)
    if eos is None:
        return np.ones(response.shape)
    ended = np.cumsum(response == eos, axis=-1) - (response == eos)
    return np.where(ended == 0, 1.0, 0.0)


def token_log_prob(model: LanguageModel, params: Params, prompt: Array, response: Array) -> Array:
    """Return log pi(y_t | x, y_<t), nats, shape (..., N, T), 0 after the end of the response."""
    prompt, response, place = repeats.once(prompt, response, model.vocab)
    log_pi = log_prob_of(model.logits(params, prompt, response), response)
    log_pi = log_pi if model.eos is None else masked(log_pi, response_mask(response, model.eos).astype(log_pi.dtype))
    return repeats.spread(log_pi, place)


def log_prob(model: LanguageModel, params: Params, prompt: Array, response: Array) -> Array:
    """Return log pi(y | x), nats, shape (..., N): the sum of the log-probabilities of its tokens (eq-chain-rule)."""
    return np.sum(token_log_prob(model, params, prompt, response), axis=-1)


def sample(model: LanguageModel, params: Params, prompt: Array, horizon: int, rng: Generator) -> Array:
    """Draw one response for each prompt, token by token: integers (..., N, T), padded with `eos`."""
    return sample_with_log_prob(model, params, prompt, horizon, rng)[0]


def sample_with_log_prob(
    model: LanguageModel, params: Params, prompt: Array, horizon: int, rng: Generator
) -> tuple[Array, Array]:
    """Draw what `sample` draws; return also what `token_log_prob` says of it, (..., N, T): here it costs little."""
    prompt, horizon = checks.tokens("prompt", prompt, model.vocab), checks.horizon(horizon)
    checks.finite(params)
    batch, chances = prompt.shape[-2], list[Array]()
    size = getattr(model, "at_once", max(batch, 1))
    blocks = [slice(first, first + size) for first in range(0, max(batch, 1), size)]

    def chance(t: int, lead: tuple[int, ...], rows: slice) -> Array:
        if t == len(chances):
            chances.append(rng.random((*lead, batch)))
        return chances[t][..., rows]

    drawn = [_sample(model, params, prompt[..., rows, :], horizon, partial(chance, rows=rows)) for rows in blocks]
    return onp.concatenate([said for said, _ in drawn], axis=-2), onp.concatenate(
        [log_p for _, log_p in drawn], axis=-2
    )


def _sample(
    model: LanguageModel, params: Params, prompt: Array, horizon: int, chance: Callable[..., Array]
) -> tuple[Array, Array]:
    cache, logits = model.start(params, prompt)
    *lead, batch = logits.shape[:-1]
    response = onp.full((*lead, batch, horizon), model.eos or 0)
    log_pi, alive = onp.zeros(response.shape), onp.ones(response.shape[:-1], dtype=bool)
    rows: Any = slice(None)  # of the texts in the cache
    keep = getattr(model, "keep", None) if model.eos is not None else None
    for t in range(horizon):
        token, log_p = choose(logits, chance(t, tuple(lead))[..., rows])
        if model.eos is not None:
            token, log_p = onp.where(alive, token, model.eos), onp.where(alive, log_p, 0.0)
            alive = token != model.eos
        response[..., rows, t], log_pi[..., rows, t] = token, log_p
        if t + 1 == horizon or not alive.any():
            break
        if keep:
            speaking = onp.flatnonzero(alive.any(axis=tuple(range(len(lead)))))
            if 2 * len(speaking) <= alive.shape[-1]:
                cache, rows = keep(cache, speaking), onp.arange(batch)[rows][speaking]
                token, alive = token[..., speaking], alive[..., speaking]
        cache, logits = model.step(params, cache, token)
    return response, log_pi


def count_responses(vocab: int, horizon: int, eos: int | None) -> int:
    """Return how many different responses there are: (V - 1)^0 + ... + (V - 1)^T, or V^T without `eos`."""
    words = vocab if eos is None else vocab - 1
    return words**horizon if eos is None else sum(words**t for t in range(horizon + 1))


def enumerate_responses(vocab: int, horizon: int, eos: int | None) -> Array:
    """Return every response, integers (A, T) padded with `eos`: shortest first, then in the order of the tokens."""
    check_enumerable(vocab, horizon, eos, 1)
    words = vocab if eos is None else vocab - 1
    blocks = []
    for length in range(horizon + 1) if eos is not None else [horizon]:
        block = np.full((words**length, horizon), eos or 0)
        block[:, :length] = _every(words, length)
        blocks.append(block)
    return np.concatenate(blocks)


def answer_index(response: Array, vocab: int, eos: int | None) -> Array:
    """Return the place (..., N) of each response (..., N, T) among all, in the order of `enumerate_responses`.

    Raises `ValueError` if the last place is more than an index can hold: 2^31 - 1 where pointers have 32 bits.
    """
    response = checks.tokens("response", response, vocab)
    size = count_responses(vocab, response.shape[-1], eos)
    if size > sys.maxsize:
        raise ValueError(f"{_told(size)} responses are too many to number: the limit is {sys.maxsize:,}")
    words = vocab if eos is None else vocab - 1
    alive = response_mask(response, eos) * (response != eos) > 0  # the words before the end
    index = np.zeros(response.shape[:-1], dtype=int)
    for t in range(response.shape[-1]):
        index = np.where(alive[..., t], index * words + response[..., t], index)
    shorter = sum(alive[..., t] * words**t for t in range(response.shape[-1]))
    return index if eos is None else index + shorter


def _every(words: int, length: int) -> Array:
    return np.arange(words**length)[:, None] // words ** np.arange(length)[::-1] % words


def _told(size: int) -> str:
    return f"{size:,}" if size < 10**15 else f"about 10^{math.log10(size):.0f}"


def check_enumerable(vocab: int, horizon: int, eos: int | None, prompts: int) -> None:
    """Raise, and say how many there are, if all answers to `prompts` prompts are too many to list."""
    checks.horizon(horizon)
    size = count_responses(vocab, horizon, eos)
    if size * prompts > ENUMERABLE:
        raise ValueError(
            f"{prompts} prompt(s) with {_told(size)} answers each are too many to enumerate (the limit is "
            f"{ENUMERABLE:,} in all): lower the horizon, or use `sample` and the estimates of `models.estimates`"
        )


def policy_levels(model: LanguageModel, params: Params, prompt: Array, horizon: int) -> list[Array]:
    """Return log pi(a | s) for every state, level t holding the (N, W^t) prefixes of t words: (..., N, W^t, V).

    W is the number of words, tokens other than `eos`; the prefixes of a level stand in the order of the tokens.
    """
    prompt = checks.tokens("prompt", prompt, model.vocab)
    check_enumerable(model.vocab, horizon, model.eos, len(prompt))
    words = model.vocab if model.eos is None else model.vocab - 1
    cache, logits = model.start(params, prompt)
    levels = [log_softmax(logits)[..., None, :]]
    for t in range(1, horizon):
        following = np.tile(np.arange(words), len(prompt) * words ** (t - 1))
        cache, logits = model.step(params, model.repeat(cache, words), following)
        log_pi = log_softmax(logits)
        levels.append(np.reshape(log_pi, (*log_pi.shape[:-2], len(prompt), -1, model.vocab)))
    return levels


def answers_of_levels(levels: list[Array], eos: int | None) -> Array:
    """Return log pi(y | x) of every answer, (..., N, A), in the order of `enumerate_responses` (eq-chain-rule)."""
    carried, blocks = np.zeros((*levels[0].shape[:-2], 1)), []
    for level in levels:
        longer = np.expand_dims(carried, -1) + level
        if eos is not None:
            longer, ended = np.split(longer, [longer.shape[-1] - 1], axis=-1)  # gradients of slices are slow
            blocks.append(np.reshape(ended, ended.shape[:-1]))
        carried = np.reshape(longer, (*longer.shape[:-2], -1))
    return np.concatenate([*blocks, carried], axis=-1)


def answer_log_probs(model: LanguageModel, params: Params, prompt: Array, horizon: int) -> Array:
    """Return log pi(y | x) of every answer y to every prompt, (..., N, A), in the order of `enumerate_responses`."""
    return answers_of_levels(policy_levels(model, params, prompt, horizon), model.eos)


def kl(log_pi: Array, log_ref: Array) -> Array:
    """Return KL(pi || ref) = sum_y pi(y | x) (log pi(y | x) - log ref(y | x)), nats, over the last axis (eq-kl).

    Infinite if pi says what the reference never says; what pi never says adds nothing.
    """
    return expectation(log_pi, log_pi, log_ref)


def entropy(log_pi: Array) -> Array:
    """Return H(pi) = - sum_y pi(y | x) log pi(y | x), nats, over the last axis, 0 log 0 = 0 (eq-entropy)."""
    return -expectation(log_pi, log_pi)


def cross_entropy(log_p: Array, log_pi: Array) -> Array:
    """Return - sum_y p(y | x) log pi(y | x) = H(p) + KL(p || pi), nats, over the last axis (eq-cross-entropy)."""
    return -expectation(log_p, log_pi)


def negative_log_likelihood(model: LanguageModel, params: Params, prompt: Array, response: Array) -> Array:
    """Return - (1/N) sum_i log pi(y_i | x_i), nats for each text, shape (...): the loss of pretraining, of supervised
    fine-tuning and of behaviour cloning (eq-pretraining-loss). RLHF Deciphered, eq. 3.
    """
    return -np.mean(log_prob(model, params, prompt, response), axis=-1)

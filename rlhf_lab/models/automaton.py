"""A language whose state is a function of the words: a model without a network, whose sums over all texts are exact.

    K prompts    S states, the first is 0    V vocabulary, `eos` the last    T horizon    h values

With values of 0 it is the automaton itself. With the soft values of a reward it is the Gibbs policy, which looks ahead:
so the best policy of a language too large to list can be sampled, and asked for the probability of any text.
"""

from dataclasses import dataclass
from typing import NamedTuple

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, embedding
from rlhf_lab.numerics.optim import Params


class Place(NamedTuple):
    """Where the reader of a text stands: `row` (..., N) is k S + s, after `length` words."""

    row: Array
    length: int


@dataclass(frozen=True)
class Automaton:
    """log pi(y | x) = sum_t log pi(y_t | s_t, t) along the one path of a text (eq-automaton).

    log pi(w | s, t) = log p(w | s) + h_(t+1)(s') - log of the sum; `eos` is followed by h_T(s) (eq-automaton-gibbs).

    `following` (K, S, V) are the states s' behind each word, in the language of each of K `prompts` (K, P). Parameters:
    `logits` (..., K, S, V), which are log p but for a constant, and `values` h (..., K, T + 1, S). Raises `ValueError`
    if they do not fit, for unknown prompts, and for what stands behind the horizon.
    """

    prompts: Array
    following: Array
    horizon: int

    def __post_init__(self) -> None:
        checks.horizon(self.horizon)
        following = np.asarray(self.following)
        if following.ndim != 3 or len(following) != len(self.prompts):
            raise ValueError(
                f"following must have shape (K, S, V), a table for each of the {len(self.prompts)} prompts; got "
                f"{following.shape}"
            )
        checks.sizes(self.vocab, self.eos)
        checks.tokens("following", following, following.shape[1])
        checks.tokens("prompts", self.prompts, self.vocab)

    @property
    def vocab(self) -> int:
        """Number of tokens, `eos` included."""
        return int(np.shape(self.following)[-1])

    @property
    def eos(self) -> int:
        """The last token, which ends a response."""
        return self.vocab - 1

    @property
    def states(self) -> int:
        """Number S of states."""
        return int(np.shape(self.following)[1])

    def init(self, rng: Generator) -> Params:
        """Return logits and values of zero: every token is equally likely everywhere. An automaton needs no chance."""
        languages = len(self.prompts)
        return {
            "logits": np.zeros((languages, self.states, self.vocab)),
            "values": np.zeros((languages, self.horizon + 1, self.states)),
        }

    def logits(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return the logits (..., N, T, V) of every token of the response, given what stands before it."""
        response = checks.tokens("response", response, self.vocab)
        checks.same_batch(np.asarray(prompt), response)
        return self._look_up(params, self.rows(prompt, response), np.arange(response.shape[-1]))

    def rows(self, prompt: Array, response: Array) -> Array:
        """Return the row k S + s of the state before each token, integers (..., N, T). Behind the end it stays."""
        response = checks.tokens("response", response, self.vocab)
        row = np.broadcast_to(self._row(prompt), response.shape[:-1])
        columns = []
        for token in np.moveaxis(response, -1, 0):
            columns.append(row)
            row = self._next(row, token)
        return np.stack(columns, axis=-1)

    def start(self, params: Params, prompt: Array) -> tuple[Place, Array]:
        """Look the prompt up: return where the reader stands and the logits (..., N, V) of the first token."""
        return self._at(params, Place(self._row(prompt), 0))

    def step(self, params: Params, cache: Place, token: Array) -> tuple[Place, Array]:
        """Read one more token (..., N): return the new place and the logits (..., N, V) of the next."""
        return self._at(params, Place(self._next(cache.row, token), cache.length + 1))

    def repeat(self, cache: Place, times: int) -> Place:
        """Return the places with each one `times` times in a row."""
        return Place(np.repeat(cache.row, times, axis=-1), cache.length)

    def _row(self, prompt: Array) -> Array:
        return checks.place("prompt", prompt, self.prompts, self.vocab) * self.states

    def _next(self, row: Array, token: Array) -> Array:
        after = np.reshape(self.following, (-1, self.vocab))[row, token]
        return np.where(token == self.eos, row, row // self.states * self.states + after)

    def _at(self, params: Params, cache: Place) -> tuple[Place, Array]:
        found = self._look_up(params, cache.row[..., None], np.array([cache.length]))
        return cache, np.reshape(found, (*found.shape[:-2], self.vocab))

    def _look_up(self, params: Params, row: Array, length: Array) -> Array:
        """The logits (..., N, T, V) in the rows (..., N, T), before which `length` (T,) words were said."""
        languages, states, levels = len(self.prompts), self.states, self.horizon + 1
        checks.shapes(params, {"logits": (languages, states, self.vocab), "values": (languages, levels, states)})
        if length[-1] >= self.horizon:
            raise ValueError(
                f"the values end with the horizon of {self.horizon} tokens; asked for token {length[-1] + 1}"
            )
        ends = np.arange(self.vocab) == self.eos
        level = np.where(ends, self.horizon, length[:, None] + 1)
        after = np.where(ends, row[..., None] % states, np.reshape(self.following, (-1, self.vocab))[row])
        place = (row[..., None] // states * levels + level) * states + after
        values = np.reshape(params["values"], (*params["values"].shape[:-3], -1, 1))
        ahead = embedding(values, np.reshape(place, (*place.shape[:-2], row.shape[-1] * self.vocab)))
        logits = np.reshape(params["logits"], (*params["logits"].shape[:-3], -1, self.vocab))
        return embedding(logits, row) + np.reshape(ahead, (*ahead.shape[:-2], *place.shape[-2:]))

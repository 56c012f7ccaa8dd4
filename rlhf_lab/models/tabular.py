"""A tabular language model: a row of logits for every state, so that it can be any policy at all."""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.models.lm import count_responses
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, embedding
from rlhf_lab.numerics.optim import Params

Place = tuple[Array, int, Array]  # rows of the prompts, words so far, index among prefixes of that length


@dataclass(frozen=True)
class Tabular:
    """One row of V logits for each prompt and each prefix shorter than the horizon.

    `prompts` are the K prompts that the table knows, as tuples of tokens, all of one length. Parameters: `logits`
    (..., K, S, V), where the S prefixes stand shortest first, then in the order of the tokens.
    """

    vocab: int
    horizon: int
    prompts: tuple[tuple[int, ...], ...]
    eos: int | None = None

    def __post_init__(self) -> None:
        checks.sizes(self.vocab, self.eos)
        checks.horizon(self.horizon)
        checks.tokens("prompts", self.prompts, self.vocab)
        if len(set(self.prompts)) < len(self.prompts):
            raise ValueError("prompts: the same prompt stands twice in the table")

    @cached_property
    def words(self) -> int:
        """Number of tokens other than `eos`."""
        return self.vocab if self.eos is None else self.vocab - 1

    @cached_property
    def states(self) -> int:
        """Number S of prefixes shorter than the horizon."""
        return count_responses(self.words + 1, self.horizon - 1, self.words)

    def init(self, rng: Generator) -> Params:
        """Return logits of zero: every token is equally likely everywhere. The table needs no chance."""
        return {"logits": np.zeros((len(self.prompts), self.states, self.vocab))}

    def of_levels(self, levels: list[Array]) -> Params:
        """Return the parameters that hold `levels`, as `lm.policy_levels` returns them for all prompts."""
        return {"logits": np.concatenate(levels, axis=-2)}

    def logits(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return the logits (..., N, T, V) of every token of the response, given what stands before it."""
        return self.look_up(params["logits"], self.places(prompt, response))

    def places(self, prompt: Array, response: Array) -> Array:
        """Return which of the K S states stands before each token, integers (..., N, T)."""
        response = checks.tokens("response", response, self.vocab)
        if response.shape[-1] > self.horizon:
            raise ValueError(f"the table holds {self.horizon} tokens; the response has {response.shape[-1]}")
        rows = self.row(prompt)
        checks.same_batch(np.asarray(prompt), response)
        prefix, columns = np.zeros(response.shape[:-1], dtype=int), []
        for t in range(response.shape[-1]):
            columns.append(rows * self.states + self._offset(t) + prefix)
            prefix = prefix * self.words + np.minimum(response[..., t], self.words - 1)
        return np.stack(columns, axis=-1)

    def look_up(self, table: Array, places: Array) -> Array:
        """Return the rows of a table (..., K, S, W), W numbers for each state, at these places: (..., N, T, W)."""
        return embedding(np.reshape(table, (*table.shape[:-3], -1, table.shape[-1])), places)

    def start(self, params: Params, prompt: Array) -> tuple[Place, Array]:
        """Look the prompt up: return where the reader stands and the logits (..., N, V) of the first token."""
        rows = self.row(prompt)
        return self._at(params, (rows, 0, np.zeros_like(rows)))

    def step(self, params: Params, cache: Place, token: Array) -> tuple[Place, Array]:
        """Read one more token (..., N): return the new place and the logits (..., N, V) of the next."""
        return self._at(params, self.next_place(cache, token))

    def repeat(self, cache: Place, times: int) -> Place:
        """Return the places with each one `times` times in a row."""
        rows, length, prefix = cache
        return np.repeat(rows, times, axis=-1), length, np.repeat(prefix, times, axis=-1)

    def next_place(self, cache: Place, token: Array) -> Place:
        """Return where the reader stands after one more token (..., N)."""
        rows, length, prefix = cache
        return rows, length + 1, prefix * self.words + np.minimum(token, self.words - 1)

    def state(self, cache: Place) -> Array:
        """Return which of the K S states that is, (..., N). Raises `ValueError` behind the last token."""
        rows, length, prefix = cache
        if length >= self.horizon:
            raise ValueError(f"the table holds answers of {self.horizon} tokens and has no row behind the last of them")
        return rows * self.states + self._offset(length) + prefix

    def row(self, prompt: Array) -> Array:
        """Return which of the prompts (N, P) stands where in the table, (N,). Raises if one is not there."""
        return checks.place("prompt", prompt, self._known, self.vocab)

    @cached_property
    def _known(self) -> Array:
        return np.array(self.prompts)

    def _at(self, params: Params, cache: Place) -> tuple[Place, Array]:
        found = self.look_up(params["logits"], self.state(cache)[..., None])
        return cache, np.reshape(found, (*found.shape[:-2], self.vocab))

    def _offset(self, length: int) -> int:
        return sum(self.words**t for t in range(length))

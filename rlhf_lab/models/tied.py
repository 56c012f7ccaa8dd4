"""A tabular model whose states share rows, so that what is learned at one state changes what is said at others."""

from dataclasses import dataclass
from typing import Any

import autograd.numpy as np
import numpy as onp
from numpy.random import Generator

from rlhf_lab.models.tabular import Place, Tabular
from rlhf_lab.numerics.autodiff import Array, embedding
from rlhf_lab.numerics.optim import Params


@dataclass(frozen=True)
class Tied:
    """The logits of a state are the sum of J rows of a small table: logits(s) = sum_j w[rows[s, j]] (eq-tied).

    `table` says which states there are, prompt by prompt as in `Tabular`; `rows` (K S, J) which rows each state adds
    up. Parameters: `rows` (..., R, V). With a row of its own for each state it is the table. Raises `ValueError` if
    `rows` is not one line of row numbers for each state.
    """

    table: Tabular
    rows: Array

    def __post_init__(self) -> None:
        states = len(self.table.prompts) * self.table.states
        rows = onp.asarray(self.rows)
        if rows.ndim != 2 or len(rows) != states or not onp.issubdtype(rows.dtype, onp.integer) or rows.min() < 0:
            raise ValueError(
                f"rows must be ({states}, J), the numbers of the rows that each of {states} states adds up; got "
                f"{rows.dtype} of shape {rows.shape}"
            )
        object.__setattr__(self, "rows", rows.astype(onp.intp, copy=False))

    @property
    def vocab(self) -> int:
        """Number of tokens, `eos` included."""
        return self.table.vocab

    @property
    def eos(self) -> int | None:
        """The token that ends a response."""
        return self.table.eos

    def init(self, rng: Generator) -> Params:
        """Return rows of zero: every token is equally likely everywhere."""
        return {"rows": np.zeros((int(self.rows.max()) + 1, self.vocab))}

    def logits(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return the logits (..., N, T, V) of every token of the response, given what stands before it."""
        return self._sums(params, self.table.places(prompt, response))

    def start(self, params: Params, prompt: Array) -> tuple[Place, Array]:
        """Look the prompt up: return where the reader stands and the logits (..., N, V) of the first token."""
        first = self.table.row(prompt)
        return self._at(params, (first, 0, np.zeros_like(first)))

    def step(self, params: Params, cache: Place, token: Array) -> tuple[Place, Array]:
        """Read one more token (..., N): return the new place and the logits (..., N, V) of the next."""
        return self._at(params, self.table.next_place(cache, token))

    def repeat(self, cache: Place, times: int) -> Place:
        """Return the places with each one `times` times in a row."""
        return self.table.repeat(cache, times)

    def _at(self, params: Params, cache: Place) -> tuple[Place, Array]:
        found = self._sums(params, self.table.state(cache)[..., None])
        return cache, np.reshape(found, (*found.shape[:-2], self.vocab))

    def _sums(self, params: Params, places: Array) -> Array:
        rows: Any = self.rows[places]
        found = embedding(params["rows"], np.reshape(rows, (*rows.shape[:-2], -1)))
        return np.sum(np.reshape(found, (*found.shape[:-2], *rows.shape[-2:], self.vocab)), axis=-2)

"""A recurrent language model: the smallest network that reads a text of any length."""

from dataclasses import dataclass

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, embedding, rnn_logits
from rlhf_lab.numerics.optim import Params


@dataclass(frozen=True)
class Recurrent:
    """State h' = tanh(W h + E[token]), logits h R; `hidden` numbers of memory, float64.

    Parameters: W `recurrent` (..., D, D), E `embed` (..., V, D), R `readout` (..., D, V), `start` (..., D).
    """

    vocab: int
    hidden: int
    eos: int | None = None

    def __post_init__(self) -> None:
        checks.sizes(self.vocab, self.eos)
        if self.hidden < 1:
            raise ValueError(f"hidden is the number of units of the state, at least 1; got {self.hidden}")

    def init(self, rng: Generator) -> Params:
        """Return parameters drawn uniformly within 1 / sqrt(D), embeddings within 1, a start state of zeros."""
        bound = self.hidden**-0.5
        return {
            "recurrent": rng.uniform(-bound, bound, (self.hidden, self.hidden)),
            "embed": rng.uniform(-1, 1, (self.vocab, self.hidden)),
            "readout": rng.uniform(-bound, bound, (self.hidden, self.vocab)),
            "start": np.zeros(self.hidden),
        }

    @property
    def width(self) -> int:
        """Number D of units of a state: `hidden`."""
        return self.hidden

    def readout(self, params: Params) -> Array:
        """Return the projection (..., D, V) that makes logits of states."""
        checks.shapes(params, {"readout": (self.hidden, self.vocab)})
        return params["readout"]

    def logits(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return the logits (..., N, T, V) of every token of the response, given what stands before it."""
        response = checks.tokens("response", response, self.vocab)
        return self.project(params, prompt, response[..., :-1], self.readout(params))

    def project(self, params: Params, prompt: Array, response: Array, readout: Array) -> Array:
        """Return h R, (..., N, T + 1, O), for the states h behind the prompt and behind each token of the response.

        `readout` is R (..., D, O). It takes the place of the model's own, which `params` need not hold.
        """
        prompt = checks.tokens("prompt", prompt, self.vocab)
        response = checks.tokens("response", response, self.vocab)
        checks.same_batch(prompt, response)
        self._check(params)
        lead = np.broadcast_shapes(prompt.shape[:-2], response.shape[:-2])
        parts = [np.broadcast_to(part, lead + part.shape[-2:]) for part in (prompt, response)]
        read = np.concatenate(parts, axis=-1)
        return rnn_logits(params["recurrent"], params["embed"], readout, params["start"], read, prompt.shape[-1])

    def start(self, params: Params, prompt: Array) -> tuple[Array, Array]:
        """Read the prompt: return the state (..., N, D) and the logits (..., N, V) of the first token."""
        prompt = checks.tokens("prompt", prompt, self.vocab)
        self._check(params)
        readout = self.readout(params)
        state = params["start"][..., None, :] + np.zeros((prompt.shape[-2], 1))
        for t in range(prompt.shape[-1]):
            state = self._next(params, state, prompt[..., t])
        return state, np.matmul(state, readout)

    def step(self, params: Params, cache: Array, token: Array) -> tuple[Array, Array]:
        """Read one more token (..., N): return the new state and the logits (..., N, V) of the next."""
        state = self._next(params, cache, token)
        return state, np.matmul(state, params["readout"])

    def repeat(self, cache: Array, times: int) -> Array:
        """Return the states with each one `times` times in a row."""
        return np.repeat(cache, times, axis=cache.ndim - 2)  # autograd's gradient is wrong for a negative axis

    def _check(self, params: Params) -> None:
        hidden = self.hidden
        checks.shapes(params, {"recurrent": (hidden, hidden), "embed": (self.vocab, hidden), "start": (hidden,)})

    def _next(self, params: Params, state: Array, token: Array) -> Array:
        read = embedding(params["embed"], token[..., None])
        read = np.reshape(read, (*read.shape[:-2], self.hidden))  # autograd's gradient of an index is slow
        return np.tanh(np.matmul(state, np.swapaxes(params["recurrent"], -1, -2)) + read)

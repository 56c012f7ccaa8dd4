"""Reward models: a function of the parameters that judges whole responses.

R_phi reward model    phi parameters    f features    theta weights of a linear model
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.models.lm import answer_index, check_enumerable, count_responses, enumerate_responses, response_mask
from rlhf_lab.models.readers import Reader
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import checks, repeats
from rlhf_lab.numerics.autodiff import Array, embedding
from rlhf_lab.numerics.optim import Params


class RewardModel(Protocol):
    """A function of the parameters that judges whole responses; what a language model is to text, for rewards."""

    def init(self, rng: Generator) -> Params:
        """Return fresh parameters."""

    def reward(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return R_phi(x, y), shape (..., N), for prompts (N, P) and responses (N, T)."""


@dataclass(frozen=True)
class Linear:
    """R(x, y) = f(x, y) . theta with D features, `features(prompt, response)` (N, D), of texts of `vocab` tokens.

    Parameters: theta, `weights` (..., D).
    """

    features: Callable[[Array, Array], Array]
    size: int
    vocab: int

    def init(self, rng: Generator) -> Params:
        """Return weights of zero: every response is worth the same. The model needs no chance."""
        return {"weights": np.zeros(self.size)}

    def reward(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return R_phi(x, y), shape (..., N)."""
        prompt = checks.tokens("prompt", prompt, self.vocab)
        response = checks.tokens("response", response, self.vocab)
        checks.same_batch(prompt, response)
        checks.shapes(params, {"weights": (self.size,)})
        worth = np.matmul(self.features(prompt, response), np.expand_dims(params["weights"], -1))
        return np.reshape(worth, worth.shape[:-1])  # autograd's gradient of an index is slow


@dataclass(frozen=True)
class Table:
    """One reward for each prompt and answer that `language`, a table, knows. Parameters: `rewards` (..., K, A)."""

    language: Tabular

    def init(self, rng: Generator) -> Params:
        """Return rewards of zero. The table needs no chance."""
        return {"rewards": np.zeros(self._shape())}

    def _shape(self) -> tuple[int, int]:
        language = self.language
        return len(language.prompts), count_responses(language.vocab, language.horizon, language.eos)

    def reward(self, params: Params, prompt: Array, response: Array) -> Array:
        """Look R_phi(x, y) up, shape (..., N)."""
        language, rewards = self.language, params["rewards"]
        row, response = language.row(prompt), checks.tokens("response", response, language.vocab)
        checks.same_batch(np.asarray(prompt), response)
        checks.shapes(params, {"rewards": self._shape()})
        index = answer_index(response, language.vocab, language.eos)
        flat = np.reshape(rewards, (*rewards.shape[:-2], -1, 1))
        worth = embedding(flat, (row * rewards.shape[-1] + index)[..., None])
        return np.reshape(worth, worth.shape[:-2])


@dataclass(frozen=True)
class Network:
    """A reader whose state after the last token is projected to one number.

    A language model with another head, as reward models are made in practice.
    Parameters: those of `language`, and `head` (..., D) in place of its readout; where that is the embedding, it stays.
    RLHF Deciphered, section 7.5.
    """

    language: Reader

    def init(self, rng: Generator) -> Params:
        """Return the parameters of a fresh reader, and a head of zeros."""
        params = self.language.init(rng)
        head = np.zeros_like(self.language.readout(params)[..., 0])
        return {name: value for name, value in params.items() if name != "readout"} | {"head": head}

    def reward(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return R_phi(x, y), shape (..., N), read at the first `eos` or, if there is none, at the last token."""
        language = self.language
        prompt, response, place = repeats.once(prompt, response, language.vocab)
        checks.shapes(params, {"head": (language.width,)})
        begun = np.concatenate([prompt, response[..., :1]], axis=-1)
        each = language.project(params, begun, response[..., 1:], np.expand_dims(params["head"], -1))
        each = np.reshape(each, each.shape[:-1])
        alive = response_mask(response, language.eos).astype(each.dtype, copy=False)
        last = alive - np.concatenate([alive[..., 1:], np.zeros_like(alive[..., :1])], axis=-1)
        worth = repeats.spread(np.sum(each * last, axis=-1, keepdims=True), place)
        return np.reshape(worth, worth.shape[:-1])

    def every_reward(self, params: Params, prompt: Array, horizon: int) -> Array:
        """Return R_phi(x, y) of every answer, (..., N, A), in the order of `lm.enumerate_responses`.

        With a recurrent reader, answers that begin alike share their states: much faster than `reward`.
        """
        language = self.language
        prompt = checks.tokens("prompt", prompt, language.vocab)
        check_enumerable(language.vocab, horizon, language.eos, prompt.shape[-2])
        if not isinstance(language, Recurrent):
            answers = enumerate_responses(language.vocab, horizon, language.eos)
            texts = np.repeat(prompt, len(answers), axis=-2), np.tile(answers, (prompt.shape[-2], 1))
            worth = self.reward(params, *texts)
            return np.reshape(worth, (*worth.shape[:-1], prompt.shape[-2], len(answers)))
        state, _ = language.start(params | {"readout": np.zeros((language.hidden, language.vocab))}, prompt)
        turn, embed = np.swapaxes(params["recurrent"], -1, -2), params["embed"][..., None, :, :]
        head, lead = params["head"][..., None], state.shape[:-2]
        blocks, worth = [], state
        for _ in range(horizon):
            longer = np.tanh(np.matmul(state, turn)[..., None, :] + embed)  # each prefix with each token behind it
            worth = np.matmul(np.reshape(longer, (*lead, -1, language.hidden)), head)  # one product, not one a prefix
            worth = np.reshape(worth, longer.shape[:-1])
            if language.eos is not None:
                blocks.append(worth[..., -1])
                longer, worth = longer[..., :-1, :], worth[..., :-1]
            state = np.reshape(longer, (*lead, -1, language.hidden))
        blocks.append(worth)
        return np.concatenate([np.reshape(block, (*lead, prompt.shape[-2], -1)) for block in blocks], axis=-1)

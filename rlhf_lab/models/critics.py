"""Critics: language models with a second head that says what a prefix is worth.

    V(s) value of state s = (x, y_<t)    D hidden units    S prefixes

A critic wraps a language model and shares its body. Its parameters are those of the language model and one array more,
`value`; `lm.sample` and all else that reads a language model works on them unchanged.
"""

from dataclasses import dataclass
from typing import Protocol

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.models.lm import LanguageModel
from rlhf_lab.models.readers import Reader
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params


class Critic(Protocol):
    """A language model, and a value for each state beside its logits."""

    @property
    def language(self) -> LanguageModel:
        """The language model that is the policy."""

    def init(self, rng: Generator) -> Params:
        """Return fresh parameters of both heads."""

    def head(self, params: Params) -> Params:
        """Return the parameters of a language model with a value head of zeros added."""

    def judge(self, params: Params, prompt: Array, response: Array) -> tuple[Array, Array]:
        """Return the logits (..., N, T, V) and the values (..., N, T) of the state before each token."""


@dataclass(frozen=True)
class TabularCritic:
    """A value for each state of a table. Parameters: those of `language`, and `value` (..., K, S)."""

    language: Tabular

    def init(self, rng: Generator) -> Params:
        """Return logits of zero and values of zero."""
        return self.head(self.language.init(rng))

    def head(self, params: Params) -> Params:
        """Return the parameters of a language model with values of zero added."""
        return params | {"value": np.zeros(params["logits"].shape[:-1])}

    def judge(self, params: Params, prompt: Array, response: Array) -> tuple[Array, Array]:
        """Look up the logits (..., N, T, V) and the values (..., N, T) of the state before each token."""
        places = self.language.places(prompt, response)
        values = self.language.look_up(np.expand_dims(params["value"], -1), places)
        return self.language.look_up(params["logits"], places), np.reshape(values, values.shape[:-1])


@dataclass(frozen=True)
class ReaderCritic:
    """The value is a projection of the state of a network. Parameters: those of `language`, and `value` (..., D)."""

    language: Reader

    def init(self, rng: Generator) -> Params:
        """Return a fresh network whose values are zero."""
        return self.head(self.language.init(rng))

    def head(self, params: Params) -> Params:
        """Return the parameters of a language model with values of zero added."""
        return params | {"value": np.zeros_like(self.language.readout(params)[..., 0])}

    def judge(self, params: Params, prompt: Array, response: Array) -> tuple[Array, Array]:
        """Return the logits (..., N, T, V) and the values (..., N, T) of the state before each token, in one pass."""
        vocab = self.language.vocab
        response = checks.tokens("response", response, vocab)
        readout = np.concatenate([self.language.readout(params), np.expand_dims(params["value"], -1)], axis=-1)
        both = self.language.project(params, prompt, response[..., :-1], readout)
        logits, values = np.split(both, [vocab], axis=-1)  # gradients of slices and indices are slow
        return logits, np.reshape(values, values.shape[:-1])

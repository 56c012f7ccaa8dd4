"""Readers: language models whose states can be projected to anything, to logits, to a value or to a reward."""

from typing import Protocol

from rlhf_lab.models.lm import LanguageModel
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params


class Reader(LanguageModel, Protocol):
    """A language model with a state of `width` numbers behind each prefix; its logits are a projection of the state."""

    @property
    def width(self) -> int:
        """Number D of units of a state."""

    def readout(self, params: Params) -> Array:
        """Return the projection (..., D, V) that makes logits of states."""

    def project(self, params: Params, prompt: Array, response: Array, readout: Array) -> Array:
        """Return h R, (..., N, T + 1, O), for the states h behind the prompt and behind each token of the response.

        `readout` is R (..., D, O). It takes the place of the model's own, which `params` need not hold.
        """

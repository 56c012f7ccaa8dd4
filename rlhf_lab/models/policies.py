"""Policies of a few numbers: a small network from an observation to an action.

    pi policy    phi parameters    s observation, D numbers    a action, one of A    N observations
    eta chance of any action

Parameters and data may carry leading axes `...` (seeds, ensemble members); they do not touch each other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params

Act = Callable[[Array, Generator], Array]  # observations (..., D) and chance to actions (...)


@dataclass(frozen=True)
class Network:
    """pi(a | s) = softmax(tanh(s / scale W_1 + b_1) W_2 + b_2); without `hidden` units, softmax(s / scale W_2).

    `scale`, one number for each entry of an observation, brings them all to the order of 1. With `hidden` = 0 and
    one-hot observations this is a table. Parameters: `weights` and `bias` of the last layer, `hidden_weights` and
    `hidden_bias` of the one before.
    """

    observations: int
    actions: int
    hidden: int = 0
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.actions < 2:
            raise ValueError(f"a policy chooses among at least 2 actions; got {self.actions}")
        if self.scale and len(self.scale) != self.observations:
            raise ValueError(f"scale has {len(self.scale)} entries; observations have {self.observations}")

    def init(self, rng: Generator, lead: tuple[int, ...] = (), spread: float = 1.0) -> Params:
        """Return fresh parameters with leading axes `lead`: standard normal weights, scaled by 1 / sqrt(inputs).

        Those of the last layer are multiplied by `spread`: 0 makes all actions equally likely everywhere.
        """
        last = self.hidden or self.observations
        params = {"weights": spread * rng.normal(size=(*lead, last, self.actions)) / last**0.5}
        if self.hidden:
            shape = (*lead, self.observations, self.hidden)
            params["hidden_weights"] = rng.normal(size=shape) / self.observations**0.5
            params["hidden_bias"] = np.zeros((*lead, self.hidden))
            params["bias"] = np.zeros((*lead, self.actions))
        return params

    def logits(self, params: Params, observation: Array) -> Array:
        """Return the logits (..., N, A) of the actions at observations (..., N, D)."""
        if observation.shape[-1] != self.observations:
            raise ValueError(
                f"observations have {observation.shape[-1]} entries; this policy was made for {self.observations}"
            )
        read = observation / np.array(self.scale) if self.scale else observation
        if not self.hidden:
            return np.matmul(read, params["weights"])
        read = np.tanh(np.matmul(read, params["hidden_weights"]) + params["hidden_bias"][..., None, :])
        return np.matmul(read, params["weights"]) + params["bias"][..., None, :]

    def log_policy(self, params: Params, observation: Array) -> Array:
        """Return log pi(. | s), nats, (..., N, A)."""
        return log_softmax(self.logits(params, observation))


def softmax(logits: Array) -> Array:
    """Return probabilities, (..., A)."""
    return np.exp(log_softmax(logits))


def sample(log_pi: Array, rng: Generator) -> Array:
    """Draw one action (...) for each row of log-probabilities (..., A)."""
    return draw(np.exp(log_pi), rng)


def draw(policy: Array, rng: Generator) -> Array:
    """Draw one action (...) for each row of probabilities (..., A)."""
    cumulative = np.cumsum(policy, axis=-1)[..., :-1]
    return np.sum(rng.random(cumulative.shape[:-1])[..., None] > cumulative, axis=-1)


def trembling(policy: Array, rate: float) -> Array:
    """(1 - eta) pi(a | s) + eta / A: now and then, any action; `policy` (..., A), `rate` is eta (eq-trembling).

    Where `policy` does as a deterministic expert does, it then errs with probability eta (A - 1) / A.
    """
    return (1 - checks.share("rate", rate)) * policy + rate / policy.shape[-1]


def acting(network: Network, params: Params, rate: float = 0.0) -> Act:
    """Return a policy that draws its actions from a network, or, with probability `rate`, from all actions alike."""

    def act(observation: Array, rng: Generator) -> Array:
        return draw(trembling(softmax(network.logits(params, observation)), rate), rng)

    return act

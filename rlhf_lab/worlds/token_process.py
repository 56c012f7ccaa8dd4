"""The token process: a language of two tokens with a hidden state, whose every probability is known.

    S state, in R^2    W, U weights of the state    mu readout of the ideal process    theta of the shadow process

People write *shadow* text (theta); what they want is *ideal* text (mu). Agents are the same network with a larger
state. Token 0 stands for the paper's -1, token 1 for its 1. Source: ILHF, section 4.1 and appendix C.

The trap: the paper weighs tokens coded as {-1, 1} with formulas made for {0, 1}. Here the formulas get what they
were made for, and the network reads what it was made for.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.models import lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import expectation

PERTURBATION = 0.3  # variance of theta - mu in each coordinate


@dataclass(frozen=True)
class TokenProcess:
    """S' = tanh(W S + U x), and x' = 1 with probability sigmoid(scale mu . S') (eq-token-process).

    Parameters: W `recurrent` (..., D, D), U `embed` (..., D), mu `readout` (..., D), S_0 `start` (..., D). The
    process has D = `hidden` = 2. `scale` multiplies the logit: 1 leaves it as it is. ILHF, section 4.1.
    """

    hidden: int = 2
    scale: float = 1.0
    vocab: ClassVar[int] = 2
    eos: ClassVar[None] = None

    def __post_init__(self) -> None:
        checks.positive("scale", self.scale)
        Recurrent(self.vocab, self.hidden)

    def init(self, rng: Generator) -> Params:
        """Draw a process as appendix C does: W and U uniform within 1 / sqrt(D) and 1, mu and S_0 standard normal."""
        bound = self.hidden**-0.5
        return {
            "recurrent": rng.uniform(-bound, bound, (self.hidden, self.hidden)),
            "embed": rng.uniform(-1, 1, self.hidden),
            "readout": rng.normal(size=self.hidden),
            "start": rng.normal(size=self.hidden),
        }

    def logits(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return the logits (..., N, T, 2) of every token of the response: 0, and scale mu . S."""
        return self._network().logits(self._two_sided(params), prompt, response)

    def start(self, params: Params, prompt: Array) -> tuple[Array, Array]:
        """Read the prompt: return the state (..., N, D) and the logits (..., N, 2) of the first token."""
        return self._network().start(self._two_sided(params), prompt)

    def step(self, params: Params, cache: Array, token: Array) -> tuple[Array, Array]:
        """Read one more token (..., N): return the new state and the logits (..., N, 2) of the next."""
        return self._network().step(self._two_sided(params), cache, token)

    def repeat(self, cache: Array, times: int) -> Array:
        """Return the states with each one `times` times in a row."""
        return self._network().repeat(cache, times)

    def _network(self) -> Recurrent:
        return Recurrent(self.vocab, self.hidden)

    def _two_sided(self, params: Params) -> Params:
        embed, mu = params["embed"], params["readout"]
        return {
            "recurrent": params["recurrent"],
            "embed": np.stack([-embed, embed], axis=-2),
            "readout": np.stack([np.zeros_like(mu), self.scale * mu], axis=-1),
            "start": params["start"],
        }


class World(NamedTuple):
    """One language: the parameters of what people want to read, and of what they write."""

    ideal: Params
    shadow: Params


def draw(rng: Generator, hidden: int = 2) -> World:
    """Draw a world: an ideal process, and a shadow that differs in its readout, theta ~ N(mu, 0.3 I)."""
    ideal = TokenProcess(hidden).init(rng)
    theta = rng.normal(ideal["readout"], PERTURBATION**0.5)
    return World(ideal, ideal | {"readout": theta})


def series(process: TokenProcess, params: Params, tokens: Array) -> Array:
    """Return the logits (..., N, T) with which the process drew each token of `tokens` (..., N, T) from its start."""
    empty = np.zeros((*np.shape(tokens)[:-1], 0))
    return process.logits(params, empty, tokens)[..., 1]


def autocorrelation(values: Array, lags: int) -> Array:
    """alpha(k): the correlation of a_1 ... a_(T-k) with a_(k+1) ... a_T, for k < lags (eq-autocorrelation).

    `values` (..., T) give (..., lags).
    """
    return np.stack([_correlation(values, k, 0) for k in range(_lags(values, lags))], axis=-1)


def autocorrelation_as_printed(values: Array, lags: int) -> Array:
    """alpha(k) as ILHF, appendix C, prints it: means of n terms divided by n - 1, result divided by T - k.

    Shapes as for `autocorrelation` (eq-autocorrelation-printed).
    """
    length = values.shape[-1]
    terms = [_correlation(values, k, 1) / (length - k) for k in range(_lags(values, lags))]
    return np.stack(terms, axis=-1)


def short_context_loss(levels: list[Array]) -> Array:
    """Delta(k): what reading only the last k of n tokens costs the best prediction of the next (eq-short-context).

    Delta(k) = E[log p(x_(n+1) | x_1 ... x_n) - log p(x_(n+1) | x_(n-k+1) ... x_n)], nats, for k = 0 ... n: shape
    (..., N, n + 1), exact, a sum over all texts. `levels` are n + 1 levels (..., N, 2^t, 2) of `lm.policy_levels`.
    """
    joint = np.reshape(lm.answers_of_levels(levels, None), (*levels[-1].shape[:-1], 2))
    uncertainty = []
    for _ in levels:  # the longest context first; then forget its oldest token
        uncertainty.append(-np.sum(expectation(joint, log_softmax(joint)), axis=-1))
        half = joint.shape[-2] // 2
        joint = np.logaddexp(joint[..., :half, :], joint[..., half:, :])
    return np.stack(uncertainty[::-1], axis=-1) - uncertainty[0][..., None]


def _correlation(values: Array, lag: int, missing: int) -> Array:
    early, late = values[..., : values.shape[-1] - lag], values[..., lag:]
    early, late = (part - part.sum(-1, keepdims=True) / (part.shape[-1] - missing) for part in (early, late))
    return (early * late).sum(-1) / np.sqrt((early**2).sum(-1) * (late**2).sum(-1))


def _lags(values: Array, lags: int) -> int:
    if not 1 <= lags <= values.shape[-1] - 2:
        raise ValueError(f"a series of {values.shape[-1]} values has lags 0 to {values.shape[-1] - 3}; got {lags} lags")
    return lags

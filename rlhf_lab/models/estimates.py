"""What texts of a policy tell where answers are too many to list: entropies and divergences with their standard errors.

`lm` has the exact ones, sums over all answers. Prompts have shape (N, P), and `samples` texts are drawn to each.
"""

from typing import NamedTuple

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.models import lm
from rlhf_lab.models.lm import LanguageModel
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import masked


class Estimate(NamedTuple):
    """A Monte-Carlo mean and its standard error."""

    mean: Array
    standard_error: Array


def kl_estimate(
    policy: tuple[LanguageModel, Params],
    reference: tuple[LanguageModel, Params],
    prompt: Array,
    horizon: int,
    samples: int,
    rng: Generator,
) -> Estimate:
    """Estimate KL(pi || ref) for each prompt from `samples` responses drawn from pi; both shapes (..., N)."""
    repeated, response, log_pi = _draw(policy, prompt, horizon, samples, rng)
    return _mean(log_pi - lm.log_prob(*reference, repeated, response), samples)


def token_kl_estimate(
    policy: tuple[LanguageModel, Params],
    reference: tuple[LanguageModel, Params],
    prompt: Array,
    horizon: int,
    samples: int,
    rng: Generator,
) -> Estimate:
    """Estimate KL(pi || ref) as `kl_estimate` does, with the exact divergence of each choice: less noise, far less if
    the two are near to each other.

    It is the mean over texts of pi of sum_t KL(pi(. | s_t) || ref(. | s_t)), in nats (eq-token-kl); both shapes
    (..., N). The mean of log pi - log ref has a standard error of about sqrt(2 KL / samples) there, more than it
    measures if KL is small. Exchange policy and reference for the other direction, from texts of the reference.
    """
    repeated, response, _ = _draw(policy, prompt, horizon, samples, rng)
    log_pi, log_ref = (log_softmax(model.logits(params, repeated, response)) for model, params in (policy, reference))
    each = masked(lm.kl(log_pi, log_ref), lm.response_mask(response, policy[0].eos))
    return _mean(np.sum(each, axis=-1), samples)


def entropy_estimate(
    policy: tuple[LanguageModel, Params], prompt: Array, horizon: int, samples: int, rng: Generator
) -> Estimate:
    """Estimate H(pi) for each prompt from `samples` responses drawn from pi; both shapes (..., N)."""
    _, _, log_pi = _draw(policy, prompt, horizon, samples, rng)
    return _mean(-log_pi, samples)


def _draw(
    policy: tuple[LanguageModel, Params], prompt: Array, horizon: int, samples: int, rng: Generator
) -> tuple[Array, Array, Array]:
    if samples < 2:
        raise ValueError(f"a standard error needs at least 2 samples for each prompt; got {samples}")
    repeated = np.repeat(checks.tokens("prompt", prompt, policy[0].vocab), samples, axis=-2)
    response, log_pi = lm.sample_with_log_prob(*policy, repeated, horizon, rng)
    return repeated, response, np.sum(log_pi, axis=-1)


def _mean(values: Array, samples: int) -> Estimate:
    values = np.reshape(values, (*values.shape[:-1], -1, samples))
    return Estimate(values.mean(-1), values.std(-1, ddof=1) / samples**0.5)

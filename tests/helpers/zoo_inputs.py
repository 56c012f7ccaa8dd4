"""Generic inputs of the functions that the zoo holds right ones of, and wrong ones."""

import numpy as onp

from rlhf_lab.audit.zoo import advantages, charges, grpo, kl, loops, pairs, policies, returns, tokens
from rlhf_lab.models import lm

N, T, V, K = 6, 5, 4, 3


def mask(rng, *shape):
    """Answers of different lengths, none of them empty."""
    return 1.0 * (onp.arange(shape[-1]) < rng.integers(1, shape[-1], size=shape[:-1])[..., None])


def texts(rng, *lead):
    """Prompts of one token and more, answers of one and more, and padding of one and more."""
    place = onp.arange(9)
    begin, end = rng.integers(1, 4, (*lead, N, 1)), rng.integers(5, 8, (*lead, N, 1))
    return (
        rng.normal(size=(*lead, N, 9, V)),
        rng.integers(V, size=(*lead, N, 9)),
        1.0 * ((begin <= place) & (place < end)),
    )


def normal(rng, *shape):
    return rng.normal(size=shape)


def groups(rng, *lead):
    found = rng.normal(size=(*lead, N, K))
    found[..., 0, :] = 1.5  # a group that agrees
    return (found,)


def ensemble(rng, *lead):
    return lm.log_softmax(normal(rng, 5, N, V)), rng.integers(V, size=N)


def ratios(rng, *lead):
    return normal(rng, *lead, N, T), normal(rng, *lead, N, T)


INPUTS = {
    pairs.dpo_loss: lambda rng, *lead: (*(normal(rng, *lead, N) for _ in range(4)), 0.3),
    pairs.ipo_loss: lambda rng, *lead: (*(normal(rng, *lead, N) for _ in range(4)), 0.3),
    pairs.reward_model_loss: lambda rng, *lead: (normal(rng, *lead, N), normal(rng, *lead, N)),
    tokens.log_probs: texts,
    tokens.answer_log_probs: texts,
    tokens.sft_loss: texts,
    tokens.log_probs_at: lambda rng, *lead: (*texts(rng, *lead), 0.7),
    policies.ppo_loss: lambda rng, *lead: (*ratios(rng, *lead), normal(rng, *lead, N, T), mask(rng, *lead, N, T), 0.2),
    grpo.grpo_loss: lambda rng, *lead: (
        *ratios(rng, *lead), normal(rng, *lead, N, T), normal(rng, *lead, N), mask(rng, *lead, N, T), 0.2, 0.3,
    ),
    kl.k3: lambda rng, *lead: (normal(rng, *lead, N), normal(rng, *lead, N)),
    kl.k1: lambda rng, *lead: (normal(rng, *lead, N), normal(rng, *lead, N)),
    kl.k2: lambda rng, *lead: (normal(rng, *lead, N), normal(rng, *lead, N)),
    charges.token_rewards: lambda rng, *lead: (
        normal(rng, *lead, N), *ratios(rng, *lead), mask(rng, *lead, N, T), 0.3,
    ),
    returns.gae: lambda rng, *lead: (*ratios(rng, *lead), mask(rng, *lead, N, T), 0.9, 0.7),
    returns.rloo: groups,
    returns.grpo: groups,
    advantages.dr_grpo: groups,
    returns.value_loss: lambda rng, *lead: (*ratios(rng, *lead), mask(rng, *lead, N, T)),
    returns.clipped_value_loss: lambda rng, *lead: (
        *ratios(rng, *lead), normal(rng, *lead, N, T), mask(rng, *lead, N, T), 0.2,
    ),
    returns.whiten: lambda rng, *lead: (normal(rng, *lead, N, T), mask(rng, *lead, N, T)),
    loops.dril_cost: ensemble,
}  # fmt: skip

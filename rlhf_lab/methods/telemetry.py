"""What is watched while PPO runs and no optimum is known: seven numbers of a round, and the curves of a run.

    pi_old the policy that wrote the answers    u_t = pi / pi_old    epsilon clip range    G_t return    V(s_t) value

Arrays over tokens are (..., N, T) with a mask, as in `actor_critic`; `...` are seeds.
"""

from collections.abc import Sequence
from typing import Any

import autograd.numpy as np

from rlhf_lab.methods import actor_critic
from rlhf_lab.methods.rollouts import described
from rlhf_lab.numerics.autodiff import Array

TOLD = ("approximate_kl", "clip_fraction", "explained_variance", "entropy", "length")
EARNED = ("reward", "reward_deviation")


def of_rewards(reward: Array) -> dict[str, Array]:
    """Return what the rewards (..., N) of a round tell, numbers (...): `reward`, their mean, and `reward_deviation`.

    The deviation is that of all N answers, over all prompts. Where it is 0, no answer is better than another.
    """
    return {"reward": np.mean(reward, axis=-1), "reward_deviation": np.std(reward, axis=-1)}


def of_answers(log_old: Array, value_old: Array, returns: Array, mask: Array) -> dict[str, Array]:
    """Return what a batch tells of the policy and the critic that met it, numbers (...).

    `entropy` is the mean of - log pi_old(y | x), nats an answer; `length` the mean number of tokens;
    `explained_variance` the share of the variance of the returns that the critic foresaw. All arrays (..., N, T).
    """
    told = actor_critic.explained_variance(value_old, returns, mask)
    return described(np.sum(log_old, axis=-1), mask) | {"explained_variance": told}


def of_step(log_pi: Array, log_old: Array, mask: Array, clip_range: float) -> dict[str, Array]:
    """Return how far the policy has moved since it wrote the answers (..., N, T), numbers (...).

    `approximate_kl` is the mean of u_t - 1 - log u_t, nats per token; `clip_fraction` the share of tokens whose ratio
    lies outside 1 +- epsilon.
    """
    return {
        "approximate_kl": actor_critic.approximate_kl(log_pi, log_old, mask),
        "clip_fraction": actor_critic.clip_fraction(log_pi, log_old, mask, clip_range),
    }


def curves(history: Sequence[dict[str, Any]], names: Sequence[str] = TOLD) -> dict[str, Array]:
    """Return the curves of a run, one number a round (rounds, ...), from the history of `optim.fit`.

    Raises `ValueError` if the history is empty or if a round does not tell one of `names`.
    """
    if not len(history):
        raise ValueError("there is no round in the history: train for one at least")
    for index, record in enumerate(history):
        missing = [name for name in names if name not in record]
        if missing:
            raise ValueError(f"round {index} does not tell {', '.join(missing)}; it tells {', '.join(record)}")
    return {name: np.array([record[name] for record in history]) for name in names}

"""Psi in every state of PhraseWorld, with ours, with SciPy, and from the Gibbs policy over all answers.

`python -m benchmarks.soft_values` tells how long ours takes.
"""

import time
from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp

from rlhf_lab.methods import soft_values
from rlhf_lab.models import gibbs, lm
from rlhf_lab.worlds import phrase_world, token_mdp

PRICE = 0.5


def contestants() -> dict[str, Callable[[], list[np.ndarray]]]:
    """Return functions that all find the policy of the optimum in every state, levels (4, W^t, V)."""
    model, mdp = phrase_world.model(), phrase_world.mdp()
    prior = lm.policy_levels(model, phrase_world.pretrained(), phrase_world.PROMPTS, phrase_world.HORIZON)
    log_p, rewards, paid = lm.answers_of_levels(prior, mdp.eos), mdp.answer_rewards(), mdp.token_rewards()

    def with_scipy() -> list[np.ndarray]:
        earned = [p + r / PRICE for p, r in zip(prior, paid, strict=True)]
        return token_mdp.sweep(earned, 1.0, mdp.eos, lambda t, q: logsumexp(q, axis=-1)).advantage

    def from_answers() -> list[np.ndarray]:
        """Divide what begins with a prefix and a token by what begins with the prefix: sums over all answers."""
        weights = np.exp(gibbs.log_policy(log_p, rewards, PRICE))
        levels: list[np.ndarray] = []
        for worth in reversed(token_mdp.terminal_rewards(weights, mdp.vocab, mdp.horizon, mdp.eos)):
            if levels:
                worth[..., :-1] += levels[0].sum(-1).reshape(*worth.shape[:-1], -1)
            levels.insert(0, worth)
        return [np.log(level) - np.log(level.sum(-1, keepdims=True)) for level in levels]

    return {
        "ours": lambda: soft_values.psi_values(prior, paid, PRICE, eos=mdp.eos).advantage,
        "SciPy's logsumexp": with_scipy,
        "sums over answers": from_answers,
    }


def main() -> None:
    """Print the seconds of one sweep: the least and the median of fifty."""
    ours, found = contestants()["ours"], []
    for _ in range(50):
        began = time.perf_counter()
        ours()
        found.append(1000 * (time.perf_counter() - began))
    print(f"soft values of PhraseWorld: {min(found):.0f} ms, median {np.median(found):.0f} ms")


if __name__ == "__main__":
    main()

"""What the checkers of "From a reward model to a better model" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths, wide
from rlhf_lab.methods import best_of_n
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array


def _gibbs_gap_case(rng: Generator) -> Case:
    shape = wide(rng)
    return log_probs(rng, *shape), log_probs(rng, *shape), tenths(rng, *shape), float(rng.choice([0.4, 0.5, 2.0]))


def _gibbs_gap_mistakes(log_pi: Array, log_pi_0: Array, reward: Array, beta: float) -> dict[str, Any]:
    best, right = gibbs.log_policy(log_pi_0, reward, beta), gibbs.gap(log_pi, log_pi_0, reward, beta)
    tilted = log_pi_0 + reward / beta
    return {
        "You computed KL(pi* || pi), the other direction: weigh with pi, and subtract log pi*.": beta
        * lm.kl(best, log_pi),
        "You forgot beta: the gap is in units of reward, so multiply the divergence by it.": right / beta,
        "You measured the divergence from the reference; measure it from pi*.": beta * lm.kl(log_pi, log_pi_0),
        "Your pi* is not normalised: subtract log Z.": beta * lm.kl(log_pi, tilted),
        "Your pi* multiplies the reward by beta; divide by it.": beta
        * lm.kl(log_pi, gibbs.log_policy(log_pi_0, reward, 1 / beta)),
        "You return the value of pi; subtract it from the value of the best.": gibbs.objective(
            log_pi, log_pi_0, reward, beta
        ),
        "You return the value of pi*; subtract the value of pi.": beta * gibbs.log_normaliser(log_pi_0, reward, beta),
        "The sign is flipped: no policy is better than the best.": -right,
        "You compare rewards alone; the price of divergence counts on both sides.": (np.exp(best) * reward).sum(1)
        - (np.exp(log_pi) * reward).sum(1),
    }


GIBBS_GAP = Exercise("gibbs_gap", "one number for each prompt", gibbs.gap, _gibbs_gap_case, _gibbs_gap_mistakes)


def _best_of_n_kl(policy: Array, reward: Array, n: int) -> Array:
    log_pi = np.log(policy)
    return lm.kl(best_of_n.log_best_of_n(log_pi, reward, n), log_pi)


def _best_of_n_case(rng: Generator) -> Case:
    count = int(rng.integers(3, 7))
    reward = rng.choice(np.arange(-30, 31), size=count, replace=False) / 10
    return np.exp(log_probs(rng, count)), reward, int(rng.integers(2, 6))


def _best_of_n_mistakes(policy: Array, reward: Array, n: int) -> dict[str, Any]:
    at_most = np.array([policy[reward <= r].sum() for r in reward])
    below = at_most - policy

    def divergence(p: Array) -> Any:
        return (p * np.log(p / policy)).sum()

    right, power = at_most**n - below**n, policy**n / (policy**n).sum()
    return {
        "You return the bound, log n - (n - 1) / n; the divergence itself depends on the policy.": np.log(n)
        - (n - 1) / n,
        "You return log n; that is more than the divergence can be.": np.log(n),
        "You computed KL(pi || pi_n), the other direction: weigh with pi_n.": -(policy * np.log(right / policy)).sum(),
        "You keep the worst of n; the best has a reward that the other draws do not exceed.": divergence(
            (1 - below) ** n - (1 - at_most) ** n
        ),
        "You took n pi F^(n - 1), which sums to more than 1: the answer may be drawn more than once.": divergence(
            n * policy * at_most ** (n - 1)
        ),
        "You raise the policy to the power n and normalise; that knows nothing of the reward.": divergence(power),
        "You forgot the weights: it is a mean under pi_n.": np.log(right / policy).sum(),
        "You use logarithms to base 2; the book counts in nats.": divergence(right) / np.log(2),
        "You used one draw too many: F^(n + 1) is for n + 1 draws.": divergence(at_most ** (n + 1) - below ** (n + 1)),
    }


BEST_OF_N_KL = Exercise("best_of_n_kl", "one number", _best_of_n_kl, _best_of_n_case, _best_of_n_mistakes)

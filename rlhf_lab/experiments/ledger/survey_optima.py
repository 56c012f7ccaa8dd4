"""What the survey of Chaudhari and co-authors (DEC) says of policies of a learned reward, sections 4.3 to 6.2."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import Claim, measured
from rlhf_lab.experiments.ledger.survey_theory import BETA
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array

PRICES = np.geomspace(0.05, 20, 25)


def imperfect(load: Load) -> Iterator[Claim]:
    """Yield the rows on policies of a reward with errors."""
    rise, gain = np.transpose([_verified(seed) for seed in range(small.COUNT)])
    yield measured(
        "sec. 4.3",
        "that the learned reward has risen may tell nothing of the true one",
        "non-informative",
        f"errors twice as large as rewards: the learned reward rises on {np.sum(rise > 0)} of 20 trees, the true one "
        f"falls on {np.sum(gain < 0)} of them",
        "sec-coverage",
        bool((rise > 0).all()),
        bool((gain < 0).any()),
    )
    error, table, spread = _coverage((2, 4, 6, 8))
    yield measured(
        "sec. 5",
        "coverage and the function class determine how a reward generalises",
        "determine",
        "error outside the data with 2, 4, 6 and 8 of 27 answers seen: "
        + ", ".join(f"{value:.2f}" for value in error)
        + f" if eight weights are fitted, {table.mean():.1f} by a table. Which answers are seen "
        f"matters, too: with 4 of them the weights err by {spread[0]:.1f} to {spread[1]:.1f}",
        "sec-coverage",
        bool((np.diff(error) < 0).all()),
        bool((error < table).all()),
    )
    scales = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0])
    gap = np.array([[_lost(seed, scale) for scale in scales] for seed in range(small.COUNT)])
    steady = int(np.sum((np.diff(gap) > 0).all(1)))
    yield measured(
        "sec. 6.2",
        "the performance gap grows with the discrepancy of the rewards",
        "increases",
        "errors 0 to 4 times as large as rewards cost "
        + ", ".join(f"{value:.2f}" for value in gap.mean(0))
        + f" on average; it grows all the way on {steady} of 20 trees",
        "sec-coverage",
        bool((np.diff(gap.mean(0)) > 0).all()),
        steady == small.COUNT,
    )
    laws = [gibbs.log_policy(t.log_pi_0, t.reward, BETA) for t in small.trees()]
    places = [(int(law.argmax()), int(t.reward.argmax())) for law, t in zip(laws, small.trees(), strict=True)]
    rises = [float(law[k] - t.log_pi_0[k]) for law, t, (_, k) in zip(laws, small.trees(), places, strict=True)]
    same = sum(one == other for one, other in places)
    yield measured(
        "sec. 6.2",
        "the policy gives a high probability to highly rewarding outputs",
        "high",
        f"that of the best answer grows by a factor of {np.exp(np.min(rises)):.0f} to {np.exp(np.max(rises)):.0f} at "
        f"β = {BETA}; it is the likeliest answer on {same} of 20 trees",
        "sec-policy-gradients",
        min(rises) > 0,
        same == small.COUNT,
    )
    yield _prices()
    whole, half = np.transpose([_half_told(seed) for seed in range(small.COUNT)])
    yield measured(
        "sec. 7.8",
        "a reward that leaves out a part of what is wanted yields suboptimal or degenerate solutions",
        "can",
        f"if people want the sum of two rewards, the optimum of one of them earns {(whole - half).mean():.1f} less "
        f"than that of the sum, on {np.sum(half < whole)} of 20 trees",
        "sec-overoptimization",
        bool((whole > half).all()),
    )


def _verified(seed: int) -> tuple[float, float]:
    tree, learned = small.trees()[seed], small.mistaken(seed, 2.0)
    change = np.exp(gibbs.log_policy(tree.log_pi_0, learned, BETA)) - np.exp(tree.log_pi_0)
    return float(change @ learned), float(change @ tree.reward)


def _lost(seed: int, scale: float) -> float:
    tree = small.trees()[seed]
    both = (gibbs.log_policy(tree.log_pi_0, r, BETA) for r in (tree.reward, small.mistaken(seed, scale)))
    best, found = (small.earned(law, tree) for law in both)
    return best - found


def _coverage(counts: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Return the mean squared error outside the data for each number seen, of weights and of a table.

    The third is the 10 and 90% quantile of the first for four. A table says 0 of what it has not seen.
    """
    rng, errors, table = np.random.default_rng(16), {}, []
    features, theta = rng.normal(size=(27, 8)), rng.normal(size=8)
    for count in counts:
        found, zero = [], []
        for order in rng.permuted(np.tile(np.arange(27), (200, 1)), axis=1):
            seen, rest = features[order[:count]], features[order[count:]]
            found.append(np.mean((rest @ (np.linalg.pinv(seen) @ seen @ theta - theta)) ** 2))
            zero.append(np.mean((rest @ theta) ** 2))
        table.append(np.mean(zero))
        errors[count] = np.array(found)
    weights = np.array([errors[count].mean() for count in counts])
    return weights, np.array(table), np.quantile(errors[4], [0.1, 0.9])


def _half_told(seed: int) -> tuple[float, float]:
    """Return what the optima of two rewards together and of the first alone gain of both."""
    tree = small.trees()[seed]
    both = tree.reward + np.random.default_rng([seed, 32]).normal(size=27)
    laws = (np.exp(gibbs.log_policy(tree.log_pi_0, reward, BETA)) for reward in (both, tree.reward))
    whole, half = (float((law - np.exp(tree.log_pi_0)) @ both) for law in laws)
    return whole, half


def _prices() -> Claim:
    nearer, fell = [], []
    for seed, tree in enumerate(small.trees()):
        laws = [gibbs.log_policy(tree.log_pi_0, small.mistaken(seed), price) for price in PRICES]
        nearer.append(bool((np.diff([lm.kl(law, tree.log_pi_0) for law in laws]) < 0).all()))
        fell.append(bool((np.diff([small.earned(law, tree) for law in laws]) < 0).all()))
    return measured(
        "sec. 6.2",
        "a larger β brings the policy of a learned reward closer to π_pre, and lowers its performance",
        "a trade-off",
        f"errors as large as rewards: closer with every step of β from 0.05 to 20 on {sum(nearer)} of 20 trees; its "
        f"performance falls with every step on {sum(fell)}",
        "sec-coverage",
        all(nearer),
        all(fell),
    )

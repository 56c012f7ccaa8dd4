"""Chance, labels and costs in the loops around a loss, and how they go wrong."""

from collections.abc import Callable

import autograd.numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.numerics.autodiff import Array

Policy = Callable[[Array], Array]


def bootstrap_weights(rng: Generator, members: int, n: int) -> Array:
    """Draw 0 or 2, double or nothing, for each pair and each member of an ensemble: (members, n)."""
    return 2.0 * rng.integers(2, size=(members, n))


def one_coin(rng: Generator, members: int, n: int) -> Array:
    """You toss one coin for the whole batch of a member: it learns from all pairs or from none. Toss for each pair."""
    return 2.0 * rng.integers(2, size=(members, 1)) * np.ones(n)


def same_for_all(rng: Generator, members: int, n: int) -> Array:
    """All members get the same weights, and cannot disagree. Toss for each member."""
    return 2.0 * rng.integers(2, size=n) * np.ones((members, 1))


def single_or_nothing(rng: Generator, members: int, n: int) -> Array:
    """Your weights are 0 or 1, so that half of the data is gone on average. Double what is kept."""
    return 1.0 * rng.integers(2, size=(members, n))


def worker_rngs(seed: int, workers: int) -> list[Generator]:
    """Return a generator for each worker, with streams that have nothing in common."""
    return [default_rng(child) for child in SeedSequence(seed).spawn(workers)]


def one_seed(seed: int, workers: int) -> list[Generator]:
    """Every worker begins at the same seed and draws the same samples. Spawn a seed for each."""
    return [default_rng(seed) for _ in range(workers)]


def seeds_overlap(seed: int, workers: int) -> list[Generator]:
    """Worker 1 of seed 0 draws what worker 0 of seed 1 draws, so that runs are not independent. Spawn the seeds."""
    return [default_rng(seed + worker) for worker in range(workers)]


def dagger_labels(states: Array, expert: Policy, student: Policy) -> Array:
    """Return what the expert would do in the states that the student came to, (M,)."""
    return expert(states)


def labels_of_the_student(states: Array, expert: Policy, student: Policy) -> Array:
    """You label the states with what the student did: it learns to do what it does. Ask the expert."""
    return student(states)


def dril_cost(log_probs: Array, actions: Array) -> Array:
    """The variance over members of pi_k(a | s), (N,), from log-probabilities (members, N, A) and actions (N,)."""
    probs = np.exp(log_probs)[:, np.arange(len(actions)), actions]
    return np.mean((probs - np.mean(probs, axis=0)) ** 2, axis=0)


def cost_rewarded(log_probs: Array, actions: Array) -> Array:
    """Your cost is lowest where the members disagree most, and sends the policy there. Turn the sign."""
    probs = np.exp(log_probs)[:, np.arange(len(actions)), actions]
    return -np.mean((probs - np.mean(probs, axis=0)) ** 2, axis=0)


def variance_over_actions(log_probs: Array, actions: Array) -> Array:
    """Your variance runs over the actions, which says how sure the members are, not whether they agree. Take it over
    the members, for the action that was taken."""
    return np.var(np.mean(np.exp(log_probs), axis=0), axis=-1)


def seeded_inside(rng: Generator, members: int, n: int) -> Array:
    """You make a generator of your own inside, so that every call draws the same weights. Draw from the one that is
    given."""
    return 2.0 * default_rng(0).integers(2, size=(members, n))


def seed_ignored(seed: int, workers: int) -> list[Generator]:
    """You do not use the seed, so that every run is the same run. Spawn the streams from it."""
    return [default_rng(child) for child in SeedSequence(0).spawn(workers)]


def variance_of_logs(log_probs: Array, actions: Array) -> Array:
    """You take the variance of log-probabilities, which is largest for actions that all members find unlikely. Take
    that of the probabilities."""
    chosen = log_probs[:, np.arange(len(actions)), actions]
    return np.mean((chosen - np.mean(chosen, axis=0)) ** 2, axis=0)


def variance_of_best(log_probs: Array, actions: Array) -> Array:
    """You compare the members on the action that each finds likeliest. Compare them on the action that was taken."""
    return np.var(np.exp(np.max(log_probs, axis=-1)), axis=0)


def sum_to_one(rng: Generator, members: int, n: int) -> Array:
    """The weights of a member sum to 1, so that its loss is n times too small beside everything that is not weighted.
    Let their mean be 1."""
    weights = rng.exponential(size=(members, n))
    return weights / np.sum(weights, axis=1, keepdims=True)


def negative_weights(rng: Generator, members: int, n: int) -> Array:
    """Some of your weights are negative: members unlearn these pairs. Draw weights that are 0 or more."""
    return 4.0 * rng.integers(2, size=(members, n)) - 1


def not_repeatable(seed: int, workers: int) -> list[Generator]:
    """The same seed gives other numbers each time, so that no run can be repeated. Make every generator from the
    seed."""
    return [default_rng() for _ in range(workers)]


def labels_of_other_states(states: Array, expert: Policy, student: Policy) -> Array:
    """Your labels are the expert's, in another order than the states. Keep each beside its state."""
    return np.roll(expert(states), 1)


def variance_of_all(log_probs: Array, actions: Array) -> Array:
    """You average the variance over all actions. Take that of the action that was taken."""
    return np.mean(np.var(np.exp(log_probs), axis=0), axis=-1)


def mean_of_squares(log_probs: Array, actions: Array) -> Array:
    """You do not subtract the mean of the members, so that likely actions cost most even where all agree. Take the
    variance."""
    return np.mean(np.exp(log_probs[:, np.arange(len(actions)), actions]) ** 2, axis=0)


def range_of_members(log_probs: Array, actions: Array) -> Array:
    """You take the range over the members: one of them that is far off sets the cost. Take the variance."""
    chosen = np.exp(log_probs)[:, np.arange(len(actions)), actions]
    return np.max(chosen, axis=0) - np.min(chosen, axis=0)


def minus_log_of_mean(log_probs: Array, actions: Array) -> Array:
    """Your cost is minus the log-probability of the action, which is behaviour cloning: it does not ask whether the
    members agree. Take the variance of their probabilities."""
    return -np.log(np.mean(np.exp(log_probs[:, np.arange(len(actions)), actions]), axis=0))


def mean_not_one(rng: Generator, members: int, n: int) -> Array:
    """Your weights are not 1 on average: the loss of each member has another size beside what is not weighted. Divide
    by their mean."""
    return 4.0 * rng.integers(2, size=(members, n))


BUGS = (
    bug("one coin for the batch", "bootstrap_weights", one_coin, bootstrap_weights, "sec-ilhf-ensembles"),
    bug("same weights for all members", "bootstrap_weights", same_for_all, bootstrap_weights, "sec-ilhf-ensembles"),
    bug("single or nothing", "bootstrap_weights", single_or_nothing, bootstrap_weights, "sec-ilhf-ensembles"),
    bug("one seed for all workers", "worker_rngs", one_seed, worker_rngs, "sec-online"),
    bug("seeds of workers overlap", "worker_rngs", seeds_overlap, worker_rngs, "sec-online"),
    bug("labels of the student", "dagger_labels", labels_of_the_student, dagger_labels, "sec-imitation"),
    bug("disagreement rewarded", "dril_cost", cost_rewarded, dril_cost, "sec-dril"),
    bug("variance over actions", "dril_cost", variance_over_actions, dril_cost, "sec-dril"),
    bug("seeded inside", "bootstrap_weights", seeded_inside, bootstrap_weights, "sec-ilhf-ensembles"),
    bug("seed ignored", "worker_rngs", seed_ignored, worker_rngs, "sec-online"),
    bug("variance of logarithms", "dril_cost", variance_of_logs, dril_cost, "sec-dril"),
    bug("mean of squares", "dril_cost", mean_of_squares, dril_cost, "sec-dril"),
    bug("range over the members", "dril_cost", range_of_members, dril_cost, "sec-dril"),
    bug("minus log of the mean", "dril_cost", minus_log_of_mean, dril_cost, "sec-dril"),
    bug("variance of the likeliest", "dril_cost", variance_of_best, dril_cost, "sec-dril"),
    bug("weights sum to 1", "bootstrap_weights", sum_to_one, bootstrap_weights, "sec-ilhf-ensembles"),
    bug("negative weights", "bootstrap_weights", negative_weights, bootstrap_weights, "sec-ilhf-ensembles"),
    bug("run not repeatable", "worker_rngs", not_repeatable, worker_rngs, "sec-online"),
    bug("labels of other states", "dagger_labels", labels_of_other_states, dagger_labels, "sec-imitation"),
    bug("variance of all actions", "dril_cost", variance_of_all, dril_cost, "sec-dril"),
    bug("weights of another mean", "bootstrap_weights", mean_not_one, bootstrap_weights, "sec-ilhf-ensembles"),
)

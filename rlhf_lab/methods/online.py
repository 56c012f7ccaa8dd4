"""Asking while learning: comparisons are chosen by what was learned from those before.

Beside the chapter "Asking while learning"; functions stand in the order of its equations.

    theta* weights that people have in mind    theta_hat their estimate    pi^1 Gibbs policy of the estimate
    pi* that of theta*    pi_0 reference    phi features, D of them    d difference of features    l label
    Sigma covariance    lambda precision    beta KL weight    n labels    k rounds

Axes in front are seeds: theta (..., D), differences (..., N, D), labels (..., N). The estimate of XPO has a module of
its own, `xpo`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.feedback import annotators, linear_fits
from rlhf_lab.methods import pessimism, questions
from rlhf_lab.models import gibbs
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax


class World(NamedTuple):
    """Prompts rho, `start` (K,), log pi_0 (..., K, A), features (..., K, A, D), theta* (..., D) and beta."""

    start: Array
    log_pi_0: Array
    features: Array
    theta: Array
    beta: float

    def policy(self, theta: Array) -> Array:
        """Return log pi of the Gibbs policy of the weights theta (..., D), (..., K, A): the exact planner."""
        reward = np.einsum("...kad,...d->...ka", self.features, theta)
        return gibbs.log_policy(self.log_pi_0, reward, self.beta)

    def mean(self, log_pi: Array) -> Array:
        """phi(pi) = E_x sum_y pi(y | x) phi(x, y), (..., K, A) to (..., D)."""
        return np.einsum("k,...kad,...ka->...d", self.start, self.features, np.exp(log_pi))


class Known(NamedTuple):
    """What was told: differences (..., N, D) and labels (..., N); what was learned: theta_hat (..., D) and Sigma.

    `posterior` is the covariance (..., D, D) of the posterior of theta in the approximation of Laplace.
    """

    difference: Array
    label: Array
    theta: Array
    sigma: Array
    posterior: Array


Ask = Callable[[World, Known, Generator], Array]
Estimate = Callable[[World, Array, Array, float, Array], Array]


def most_probable(world: World, difference: Array, label: Array, precision: float, theta: Array) -> Array:
    """Return the most probable theta, whatever the last one was."""
    return linear_fits.fit_linear(difference, label, precision).mean


class Trail(NamedTuple):
    """The estimates of theta before the first and after each round, (T + 1, ..., D), and all that was asked."""

    theta: Array
    difference: Array
    label: Array


def learn(
    world: World,
    ask: Ask,
    *,
    batches: Sequence[int],
    precision: float,
    rng: Generator,
    estimate: Estimate = most_probable,
) -> Trail:
    """Learn a reward online: each round, ask by the rule, add the labels, and estimate theta anew (eq-online-loop).

    `batches` says how many labels each round buys. Seeds are the leading axes of theta* (..., D). Raises `ValueError`
    if no labels would ever arrive.
    """
    if not len(batches):
        raise ValueError(
            "batches says how many labels each round buys; without a round there are no labels to learn of"
        )
    checks.positive("precision", precision)
    _fits(world)
    *seeds, size = world.theta.shape
    theta, difference, label = np.zeros((*seeds, size)), np.zeros((*seeds, 0, size)), np.zeros((*seeds, 0))
    trail = [theta]
    for batch in batches:
        law = ask(world, known(difference, label, theta, precision), rng)
        asked = differences(world, law, batch, rng)
        told = annotators.sample_labels(annotators.bradley_terry(times(asked, world.theta)), rng)
        difference, label = np.concatenate([difference, asked], axis=-2), np.concatenate([label, told], axis=-1)
        theta = estimate(world, difference, label, precision, theta)
        trail.append(theta)
    return Trail(np.stack(trail), difference, label)


def known(difference: Array, label: Array, theta: Array, precision: float) -> Known:
    """Return what a rule may look at, with Sigma = lambda I + sum_i d_i d_i' and the posterior at theta."""
    sigma = pessimism.offline_covariance(difference, precision)
    bent = linear_fits.fisher(difference, times(difference, theta)) + precision * np.eye(theta.shape[-1])
    return Known(difference, label, theta, sigma, np.linalg.inv(bent))


def differences(world: World, law: Array, count: int, rng: Generator) -> Array:
    """Draw `count` questions for each seed of theta*, and return the differences of their features, (..., N, D)."""
    seeds = world.theta.shape[:-1]
    law = np.broadcast_to(law, (*seeds, *law.shape[-3:]))
    row, first, second = questions.draw(law, world.start, count, rng)
    features = np.broadcast_to(world.features, (*seeds, *world.features.shape[-3:]))
    flat = np.reshape(features, (*seeds, -1, features.shape[-1]))

    def of(answer: Array) -> Array:
        return np.take_along_axis(flat, (row * features.shape[-2] + answer)[..., None], axis=-2)

    return np.asarray(of(first) - of(second))


def _fits(world: World) -> None:
    prompts, size = np.shape(world.start), np.shape(world.theta)[-1:]
    if np.shape(world.log_pi_0)[-2:-1] != prompts or np.shape(world.features)[-3:] != (
        *np.shape(world.log_pi_0)[-2:],
        *size,
    ):
        raise ValueError(
            "a world has start (K,), log_pi_0 (..., K, A), features (..., K, A, D) and theta (..., D); got "
            + ", ".join(str(np.shape(part)) for part in world[:4])
        )


def offline(world: World, known: Known, rng: Generator) -> Array:
    """Compare two answers of pi_0."""
    return questions.independent(world.log_pi_0, world.log_pi_0)


def on_policy(world: World, known: Known, rng: Generator) -> Array:
    """Compare two answers of pi^1, as online DPO does."""
    main = world.policy(known.theta)
    return questions.independent(main, main)


def with_reference(world: World, known: Known, rng: Generator) -> Array:
    """Compare an answer of pi^1 with one of pi_0: option 2 of Xiong et al. 2024."""
    return questions.independent(world.policy(known.theta), world.log_pi_0)


def hybrid(count: int) -> Ask:
    """Return a rule that buys `count` labels offline, and goes on with option 2."""

    def ask(world: World, known: Known, rng: Generator) -> Array:
        return (offline if known.label.shape[-1] < count else with_reference)(world, known, rng)

    return ask


def optimistic(radius: float) -> Ask:
    """Return option 1: an answer of pi^1 against one of the most uncertain policy of the confidence set."""

    def ask(world: World, known: Known, rng: Generator) -> Array:
        main = world.policy(known.theta)
        sizes = {"radius": radius, "beta": world.beta}
        return questions.independent(
            main, questions.enhancer(main, world.start, world.features, known.sigma, **sizes).log_pi
        )

    return ask


def best_and_worst(n: int) -> Ask:
    """Return a rule that draws n answers of pi^1, and compares that which it likes best with that which it likes least.

    The reward that it goes by is the learned one. Before there are labels all answers are worth the same, and it
    compares two draws.
    """

    def ask(world: World, known: Known, rng: Generator) -> Array:
        if not known.label.size:
            return on_policy(world, known, rng)
        reward = np.einsum("...kad,...d->...ka", world.features, known.theta)
        return questions.different(questions.best_and_worst(world.policy(known.theta), reward, n))

    return ask


def ensemble(members: int) -> Ask:
    """Return a rule that compares answers of two of `members` draws of theta from the posterior.

    Members are drawn anew each round.
    """

    def ask(world: World, known: Known, rng: Generator) -> Array:
        noise = rng.normal(size=(members, *known.theta.shape))
        theta = known.theta + np.einsum("...de,m...e->m...d", np.linalg.cholesky(known.posterior), noise)
        return questions.different(questions.of_two_members(world.policy(theta)))

    return ask


def moving_reference(log_pi_0: Array, reward: Array, beta: float, rounds: int, anchor: float = 0.0) -> Array:
    """Solve `rounds` rounds of RLHF exactly, each with its own reference: log pi_0, ..., log pi_k, (k + 1, ..., A).

    The reference of a round is pi_0^a pi_(k-1)^(1-a), a = `anchor`. The k-th policy is the Gibbs policy of the price
    beta a / (1 - (1 - a)^k), and of beta / k where a = 0: the last policy is the reference (eq-moving-reference).
    """
    checks.count("rounds", rounds, "the number of times that the policy is trained"), checks.share("anchor", anchor)
    trail = [np.broadcast_to(log_pi_0, np.broadcast_shapes(np.shape(log_pi_0), np.shape(reward)))]
    for _ in range(rounds):
        reference = log_softmax(anchor * log_pi_0 + (1 - anchor) * trail[-1])
        trail.append(gibbs.log_policy(reference, reward, beta))
    return np.stack(trail)


def times(matrix: Array, vector: Array) -> Array:
    """Return the products of matrices (..., N, D) with vectors (..., D), (..., N)."""
    return np.matmul(matrix, vector[..., None])[..., 0]

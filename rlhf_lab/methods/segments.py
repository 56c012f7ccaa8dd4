"""A reward from comparisons of segments of drives, and a policy for it, while asking goes on. Christiano et al. 2017.

    s state    n(s) visits of a segment    d difference of two segments' visits    theta reward of each state
    M members    epsilon mis-click rate    lambda precision of the prior    eta chance of any action

The reward is linear in the counts of states, and the policy is the best one for it, by dynamic programming: nothing is
lost to an optimiser. Arrays carry leading axes `...` (seeds); those of an ensemble have the members first, (M, ..., S).
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from rlhf_lab.feedback import annotators, linear_fits
from rlhf_lab.models import policies
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import control
from rlhf_lab.worlds.gridworlds import Grid


class Recipe(NamedTuple):
    """What is done about the labels, what is asked, what is planned with, and who drives.

    `precision` is lambda, `misclick` the rate that the likelihood assumes. Without `doubtful` questions are drawn at
    random; without `mean` the policy is best for one model, fitted to all answers; without `going_on` the first policy
    drives in all rounds.
    """

    precision: float
    misclick: float = 0.1
    doubtful: bool = True
    mean: bool = True
    going_on: bool = True


def drive(grid: Grid, policy: Array, count: int, horizon: int, rng: Generator) -> Array:
    """Return the states, one-hot (T, ..., count, S), of `count` drives of each policy (..., S, A)."""

    def act(seen: Array, rng: Generator) -> Array:
        return policies.draw(np.matmul(seen, policy), rng)

    return control.rollout(grid, act, (*policy.shape[:-2], count), horizon, rng).observation


def visits(observation: Array, length: int) -> Array:
    """n(s) = sum over a segment of 1[s_t = s]: cut drives (T, ..., N, D) into segments, (..., N T / length, D).

    A reward that depends on the state sums to n . theta over a segment (eq-segment-visits).
    """
    steps = len(observation)
    if length < 1 or steps % length:
        raise ValueError(f"drives of {steps} steps cannot be cut into segments of {length}")
    cut = np.reshape(observation, (steps // length, length, *observation.shape[1:])).sum(1)
    found = np.moveaxis(cut, 0, -3)
    return np.reshape(found, (*found.shape[:-3], -1, found.shape[-1]))


def pairs(segment: Array, rng: Generator) -> Array:
    """Pair the segments (..., N, D) at random, each at most once: differences d = n - n', (..., N // 2, D).

    Each seed has pairs of its own. If seeds shared them, all would be asked about the same moments of their drives.
    """
    half = segment.shape[-2] // 2
    order = rng.permuted(np.broadcast_to(np.arange(segment.shape[-2]), segment.shape[:-1]), axis=-1)
    mixed = np.take_along_axis(segment, order[..., None], axis=-2)
    return mixed[..., :half, :] - mixed[..., half : 2 * half, :]


def disagreement(difference: Array, theta: Array) -> Array:
    """Var_m sigmoid(d . theta_m): how far members (M, ..., D) differ on comparisons (..., N, D) (eq-segment-doubt)."""
    return np.var(expit(np.matmul(difference, theta[..., None])[..., 0]), axis=0)


def most_doubtful(difference: Array, theta: Array, count: int) -> Array:
    """Return the `count` comparisons of greatest disagreement, (..., count, D); of equals the first ones."""
    order = np.argsort(-disagreement(difference, theta), axis=-1, kind="stable")[..., :count]
    return np.take_along_axis(difference, order[..., None], axis=-2)


def answers(difference: Array, reward: Array, misclick: float, rng: Generator) -> Array:
    """Draw labels (..., N): 1 if the first segment is preferred, by Bradley-Terry with mis-clicks."""
    p = annotators.with_misclicks(expit(np.matmul(difference, reward)), misclick)
    return 1.0 * (rng.random(p.shape) < p)


def fit_ensemble(
    difference: Array, label: Array, members: int, precision: float, misclick: float, rng: Generator
) -> Array:
    """Fit each member to a bootstrap sample of the comparisons by `linear_fits.fit_linear`, (M, ..., D)."""
    count = label.shape[-1]
    drawn = rng.integers(count, size=(members, *label.shape))
    sample = np.take_along_axis(difference[None], drawn[..., None], axis=-2)
    chosen = np.take_along_axis(label[None], drawn, axis=-1)
    return linear_fits.fit_linear(sample, chosen, precision, misclick).mean


def best_policy(grid: Grid, reward: Array, horizon: int) -> Array:
    """Return what is best with `horizon` steps left, for rewards (..., S): one action a state, (..., S, A)."""
    v = np.zeros_like(reward)
    for _ in range(checks.horizon(horizon)):
        q = reward[..., None] + np.einsum("sax,...x->...sa", grid.transition, v)
        v = np.max(q, axis=-1)
    return np.eye(grid.actions)[np.argmax(q, axis=-1)]


def learn(
    grid: Grid,
    recipe: Recipe,
    seeds: int,
    rng: Generator,
    *,
    rounds: int = 16,
    questions: int = 8,
    drives: int = 20,
    length: int = 8,
    horizon: int = 64,
    members: int = 5,
    misclick: float = 0.1,
    eta: float = 0.3,
) -> Array:
    """Drive, ask, fit, plan, and again: the policy after each round, (rounds, seeds, S, A).

    People compare by `grid.reward` and mis-click at the rate `misclick`. Drives, clicks, pairs and bootstrap samples
    have a chance of their own in each round, so that recipes given the same `rng` share them.
    """
    policy = np.full((seeds, grid.observations, grid.actions), 1 / grid.actions)
    theta = np.zeros((members, seeds, grid.observations))
    asked, label, learned = np.zeros((seeds, 0, grid.observations)), np.zeros((seeds, 0)), []
    for chance in rng.spawn(rounds):
        driving, pairing, clicking, sampling = chance.spawn(4)
        difference = pairs(visits(drive(grid, policy, drives, horizon, driving), length), pairing)
        doubtful = most_doubtful(difference, theta, questions) if recipe.doubtful else difference[:, :questions]
        asked = np.concatenate([asked, doubtful], axis=1)
        label = np.concatenate([label, answers(doubtful, grid.reward, misclick, clicking)], axis=1)
        theta = fit_ensemble(asked, label, members, recipe.precision, recipe.misclick, sampling)
        one = None if recipe.mean else linear_fits.fit_linear(asked, label, recipe.precision, recipe.misclick).mean
        learned.append(best_policy(grid, theta.mean(0) if one is None else one, horizon))
        policy = policies.trembling(learned[-1], eta) if recipe.going_on else policy
    return np.stack(learned)

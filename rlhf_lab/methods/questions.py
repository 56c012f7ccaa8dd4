"""Which two answers to compare: laws of questions, and what a question from such a law tells.

Beside the chapter "Asking while learning"; functions stand in the order of its equations.

    q(a, b) law of questions: probability that a prompt's answers a and b are compared    rho prompts, `start`
    pi^1 main policy    pi^2 its enhancer    phi features, D of them    Sigma covariance    r radius    beta KL weight
    v tilt    n draws    F mass of the rewards between two answers, m of one reward    I information of a question

A law is an array (..., K, A, A) over pairs of enumerated answers to each of K prompts, policies are log-probabilities
(..., K, A), features (..., K, A, D). Axes in front are seeds.
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from rlhf_lab.methods import overoptimization
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax

HALVINGS = 30  # of an interval; what is left is rounding
TRIES = 2  # steps of the enhancer from every start, before the best is chosen
CLIMBS = 100  # and from there on; no step makes it less uncertain
LONGEST = 2.0**40  # length of a tilt from where on it counts as the limit of all longer ones


def different(law: Array) -> Array:
    """q(a, b) given that a is not b, (..., A, A): pairs of equal answers are drawn again (eq-question-law).

    Raises `ValueError` if some prompt has no two different answers to compare.
    """
    apart = law * (1 - np.eye(law.shape[-1]))
    total = np.sum(apart, axis=(-1, -2), keepdims=True)
    if not (np.isfinite(total) & (total > 0)).all():
        raise ValueError(
            "some prompt has no two different answers to compare: one answer has all the probability; raise beta, or "
            "take a second policy that says something else"
        )
    return np.asarray(apart / total)


def independent(log_first: Array, log_second: Array) -> Array:
    """q(a, b) prop. to pi^1(a) pi^2(b) for a != b, (..., A) twice to (..., A, A) (eq-question-law)."""
    return different(np.exp(log_first)[..., :, None] * np.exp(log_second)[..., None, :])


def draw(law: Array, start: Array, count: int, rng: Generator) -> tuple[Array, Array, Array]:
    """Draw `count` questions: the numbers of prompt, first and second answer, integers (..., N) each.

    `law` (..., K, A, A), `start` (K,).
    """
    checks.count("count", count, "the number of labels of a round, of which none arrives otherwise;")
    *seeds, prompts, answers, _ = law.shape
    row = rng.choice(prompts, p=checks.probabilities("start", start), size=(*seeds, count))
    number = np.arange(int(np.prod(seeds))).reshape(*seeds, 1) * prompts
    with np.errstate(divide="ignore"):
        pair = overoptimization.draw(np.log(law).reshape(-1, answers**2), row + number, rng)
    return row, pair // answers, pair % answers


def of_two_members(log_pi: Array) -> Array:
    """Mean of pi_k(a) pi_l(b) over pairs k != l of members, (M, ..., A) to (..., A, A) (eq-ensemble-question)."""
    members = len(log_pi)
    if members < 2:
        raise ValueError(f"an ensemble that asks needs at least two members; got {members}")
    pi = np.exp(log_pi)
    total = np.sum(pi, axis=0)
    all_pairs = total[..., :, None] * total[..., None, :] - np.einsum("m...a,m...b->...ab", pi, pi)
    return np.asarray(all_pairs / (members * (members - 1)))


def in_confidence_set(width: Array, divergence: Array, radius: float, beta: float) -> Array:
    """r ||phi(pi') - phi(pi^1)|| >= beta KL(pi' || pi^1), the norm that of Sigma^-1 (eq-confidence-set).

    `width` (...) is the norm, `divergence` (...) the KL. Xiong et al. 2024. pi* belongs to it as soon as r is at least
    the error of theta in the norm of Sigma.
    """
    return _radius(radius) * np.asarray(width) >= checks.positive("beta", beta) * np.asarray(divergence)


def _radius(value: float) -> float:
    """Return the radius of a confidence set if it is finite and at least 0."""
    return checks.not_negative("radius", value, "r, how far theta may be from its estimate in the norm of Sigma")


class Enhancer(NamedTuple):
    """Log-probabilities of pi^2 (..., K, A), its `width` ||phi(pi^2) - phi(pi^1)|| and its `tilt` v (..., D)."""

    log_pi: Array
    width: Array
    tilt: Array


def enhancer(
    log_pi: Array, start: Array, features: Array, covariance: Array, *, radius: float, beta: float
) -> Enhancer:
    """Find the most uncertain policy of the confidence set around pi^1, `log_pi` (..., K, A) (eq-enhancer).

    It is a tilt pi^1 exp<v, phi>, v = s w (eq-tilt), so the search is over directions w, with ||w|| = 1 in the norm of
    Sigma. For a direction the length s follows from one equation (eq-tilt-length); the next direction is
    Sigma^-1 (phi(pi^2) - phi(pi^1)), which never makes the width smaller. The problem has many local maxima: the search
    tries each axis of `covariance` (..., D, D), forwards and backwards, and goes on from the best. That nearly always
    finds the most uncertain policy, and otherwise one that is a few percent less uncertain.
    """
    ratio = _radius(radius) / checks.positive("beta", beta)
    if np.shape(covariance)[-2:] != (features.shape[-1],) * 2:
        raise ValueError(
            f"covariance must be (..., D, D) for the D = {features.shape[-1]} features; got {np.shape(covariance)}"
        )
    root = np.linalg.inv(np.linalg.cholesky(covariance))  # of Sigma^-1 = root' root
    white = np.einsum("...de,...kae->...kad", root, features)
    away = white - np.einsum("...ka,...kad->...kd", np.exp(log_pi), white)[..., None, :]
    axes = np.linalg.eigh(np.matmul(np.swapaxes(root, -1, -2), root))[1]
    first = np.moveaxis(np.matmul(root, np.concatenate([axes, -axes], axis=-1)), -1, 0)  # (2 D, ..., D)
    tries = [_step(log_pi, start, away, w, ratio) for w in first / np.linalg.norm(first, axis=-1, keepdims=True)]
    for _ in range(TRIES):
        tries = [_step(log_pi, start, away, each.next, ratio) for each in tries]
    best = np.argmax([each.width for each in tries], axis=0)[..., None]
    found = _step(log_pi, start, away, np.choose(best, [each.next for each in tries]), ratio)
    for _ in range(CLIMBS):
        before, found = found, _step(log_pi, start, away, found.next, ratio)
        if np.max(found.width - before.width) <= 1e-9 * np.max(found.width):
            break
    return Enhancer(found.log_pi, found.width, np.einsum("...ed,...e->...d", root, found.tilt))


class _Step(NamedTuple):
    log_pi: Array
    width: Array
    tilt: Array
    next: Array


def _step(log_pi: Array, start: Array, away: Array, w: Array, ratio: float) -> _Step:
    """Tilt along w (..., D), |w| = 1, as far as the set allows; the next direction is the difference that was reached.

    All in coordinates in which Sigma is the identity; `away` (..., K, A, D) is phi - phi(pi^1), `ratio` r / beta.
    """
    along = np.einsum("...kad,...d->...ka", away, w)
    length = _length(log_pi, start, along, ratio)
    tilted = log_softmax(log_pi + length[..., None, None] * along)
    moved = np.einsum("k,...ka,...kad->...d", start, np.exp(tilted), away)
    width = np.linalg.norm(moved, axis=-1)
    onward = np.divide(moved, width[..., None], out=w.copy(), where=width[..., None] > 0)
    return _Step(tilted, width, length[..., None] * w, onward)


def _length(log_pi: Array, start: Array, along: Array, ratio: float) -> Array:
    """Return s with F(s) = (s - r / beta) F'(s), F = E_x log E_pi^1 exp(s <w, phi - phi(pi^1)>).

    Beyond r / beta the left side minus the right falls, so that halving an interval finds it; at infinity, `LONGEST`.
    """

    def inside(s: Array) -> Array:
        weight = log_pi + s[..., None, None] * along
        top = np.max(weight, axis=-1, keepdims=True)
        chance = np.exp(weight - top)
        total = np.sum(chance, axis=-1)
        cumulant = (np.log(total) + top[..., 0]) @ start
        slope = (np.sum(chance * along, axis=-1) / total) @ start
        return np.asarray(cumulant >= (s - ratio) * slope)

    low = np.full(along.shape[:-2], ratio)
    high = 2 * low + 1
    while (grow := inside(high) & (high < LONGEST)).any():
        low, high = np.where(grow, high, low), np.where(grow, 4 * high, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = inside(middle)
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return low


def best_and_worst(log_pi: Array, reward: Array, n: int) -> Array:
    """P(best = a, worst = b) of n draws from pi, (..., A) to (..., A, A), with a = b on the diagonal (eq-best-worst).

    Among equal rewards the first draw is kept, as in `best_of_n.keep_best`, for the best and for the worst: for
    R(a) > R(b) it is pi_a pi_b / (m_a m_b) (F^n - (F - m_a)^n - (F - m_b)^n + (F - m_a - m_b)^n), on the diagonal
    pi_a m_a^(n - 1), and 0 elsewhere. Raises `ValueError` unless n is a whole number from 2 on.
    """
    if checks.count("n", n, "the number of draws of which the best and the worst are kept") < 2:
        raise ValueError("n is the number of draws of which the best and the worst are kept, at least 2; got 1")
    checks.answer_rewards(reward, log_pi.shape)
    pi, reward = np.broadcast_arrays(np.exp(log_pi), reward)
    a, b = reward[..., :, None], reward[..., None, :]
    at_most, level = np.sum(pi[..., None, :] * (b <= a), axis=-1), np.sum(pi[..., None, :] * (b == a), axis=-1)
    share = np.divide(pi, level, out=np.zeros_like(level), where=level > 0)
    m_a, m_b = level[..., :, None], level[..., None, :]
    mass = at_most[..., :, None] - at_most[..., None, :] + m_b
    apart = mass**n - (mass - m_a) ** n - (mass - m_b) ** n + np.maximum(mass - m_a - m_b, 0.0) ** n
    law = share[..., :, None] * share[..., None, :] * np.maximum(apart, 0.0) * (a > b)
    return np.asarray(law + np.eye(pi.shape[-1]) * (pi * level ** (n - 1))[..., None])


def information(law: Array, start: Array, features: Array, theta: Array) -> Array:
    """I = E s'(<theta, d>) d d', what one label tells of theta, (..., D, D) (eq-question-information).

    The mean is over prompts and pairs, `law` (..., K, A, A); d is the difference of features (..., K, A, D).
    """
    reward = np.einsum("...kad,...d->...ka", features, theta)
    margin = reward[..., :, None] - reward[..., None, :]
    weight = np.asarray(start)[:, None, None] * law * expit(margin) * expit(-margin)
    both = weight + np.swapaxes(weight, -1, -2)
    alone = np.einsum("...kab,...kad,...kae->...de", both, features, features)
    return np.asarray(alone - np.einsum("...kab,...kad,...kbe->...de", both, features, features))

"""Pessimism: what a learned reward does not know should count against an answer, not for it.

    R* reward that people have in mind    r_hat learned or pessimistic reward    phi features, D of them, d in formulas
    theta weights    Sigma offline covariance    lambda precision    c caution    beta KL weight    n comparisons
    pi_0 reference    pi* Gibbs policy of R*    pi_hat Gibbs policy of r_hat    K members of an ensemble

Rewards are arrays over enumerated answers, (..., A), features (..., A, D). Every kind of pessimism here is a function
from rewards to a reward: whatever optimises a reward takes it without change. Ensembles have their members first,
(K, ..., A).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params

FAINT = 1e-290  # a probability below which a sum of exponentials may have lost digits


def merge(log_pi: Array, kind: Array) -> Array:
    """log pi(k) = log sum of pi(y) over the answers y of kind k, (..., A) to (..., G) (eq-kinds).

    `kind` (A,) holds each integer from 0 to G - 1 at least once. If rewards depend on the kind alone, so do Gibbs
    policies and best-of-n relative to pi_0, and their expectations and divergences from pi_0 are those over answers. Of
    a policy that also prefers some answers of a kind to others, the divergence over kinds is smaller.
    """
    kind, log_pi = np.asarray(kind), np.asarray(log_pi)
    if kind.ndim != 1 or not kind.size or kind.shape != log_pi.shape[-1:]:
        raise ValueError(
            f"kind (A,) must name the kind of each answer of log_pi (..., A), at least one; got {kind.shape} and "
            f"{log_pi.shape}"
        )
    numbered = np.issubdtype(kind.dtype, np.integer) and 0 <= kind.min() <= kind.max() < kind.size
    if not (numbered and checks.tally(kind).all()):
        names = np.unique(kind)
        raise ValueError(
            f"kind must hold integers, each from 0 to G - 1 at least once; got {len(names)} different ones of type "
            f"{kind.dtype}, {names[0]} to {names[-1]}. Number them with np.unique(..., return_inverse=True)"
        )
    checks.log_probs("log_pi", log_pi)
    total = np.stack([_log_mass(row, kind) for row in log_pi.reshape(-1, len(kind))])
    return total.reshape(*log_pi.shape[:-1], -1)


def _log_mass(log_pi: Array, kind: Array) -> Array:
    mass = checks.tally(kind, np.exp(log_pi))
    faint = mass < FAINT
    total = np.log(np.maximum(mass, FAINT))
    total[faint] = -np.inf
    again = faint[kind]  # exact for any numbers, and thirty times slower
    np.logaddexp.at(total, kind[again], log_pi[again])
    return total


def draw(log_pi: Array, row: Array, rng: Generator) -> Array:
    """Draw an answer (or kind) to the prompt `row` (...) from a policy over enumerated ones (K, A): integers (...).

    `log_pi` need not be normalised. Raises `ValueError` if `row` is none of the K prompts, or if some prompt has NaN in
    `log_pi` or no answer of any probability.
    """
    (prompts, answers), row = log_pi.shape, np.asarray(row)
    if row.size and not np.issubdtype(row.dtype, np.integer):
        raise ValueError(f"row must be integers, the numbers of prompts; got {row.dtype}")
    if row.size and (row.min() < 0 or row.max() >= prompts):
        wrong = row.max() if row.min() >= 0 else row.min()
        raise ValueError(f"row: there are {prompts} prompts, counted from 0; got {wrong}")
    likeliest = np.max(log_pi, axis=-1, keepdims=True)
    if not np.isfinite(likeliest).all():
        raise ValueError("log_pi: each prompt needs an answer with some probability, and none that is NaN or infinite")
    top = np.cumsum(np.exp(log_pi - likeliest), axis=-1)
    stairs = (top / top[:, -1:] + np.arange(prompts)[:, None]).ravel()
    place = np.searchsorted(stairs, row + rng.random(row.shape), side="right")
    return place - row.astype(np.intp) * answers


def centred(reward: Array, log_pi_0: Array) -> Array:
    """r(x, y) - sum_y' pi_0(y' | x) r(x, y'): measured from what the reference earns (eq-centred).

    Comparisons tell a reward only up to a constant for each prompt. Center before you compare reward models.
    """
    return reward - np.sum(np.exp(log_pi_0) * reward, axis=-1, keepdims=True)


def offline_covariance(difference: Array, precision: float) -> Array:
    """Sigma = lambda I + sum_i d_i d_i^T, (..., N, D) to (..., D, D): what was compared (eq-offline-covariance).

    `difference` holds the differences d of the features of two responses, `precision` is lambda >= 0. Raises
    `ValueError` if, measured against the others, some direction was hardly compared, and the prior does not make up
    for it. Xiong, Theory to Algorithm for RLHF.
    """
    difference = _finite("difference", difference)
    checks.not_negative("precision", precision, "lambda")
    if difference.ndim < 2 or not difference.shape[-1]:
        raise ValueError(
            f"difference must have shape (..., N, D), one row a comparison, one column a feature, at least one; got "
            f"{difference.shape}"
        )
    covariance = np.matmul(np.swapaxes(difference, -1, -2), difference) + precision * np.eye(difference.shape[-1])
    _invertible(covariance)
    return covariance


def expected_features(log_pi: Array, features: Array) -> Array:
    """phi(x, pi) = sum_y pi(y | x) phi(x, y), (..., A) and (..., A, D) to (..., D) (eq-expected-features)."""
    return np.matmul(np.exp(log_pi)[..., None, :], _finite("features", features))[..., 0, :]


def uncertainty(features: Array, reference: Array, covariance: Array) -> Array:
    """||phi(x, y) - phi(x, pi_0)|| in the norm of Sigma^-1, (..., A) (eq-elliptical-bonus).

    `features` (..., A, D), `reference` (..., D), `covariance` (..., D, D); leading axes broadcast. Raises `ValueError`
    if the covariance is not symmetric and positive definite.
    """
    away, covariance = _away(features, reference), _finite("covariance", covariance)
    size = away.shape[-1]
    if covariance.shape[-2:] != (size, size):
        raise ValueError(
            f"covariance must be (..., {size}, {size}), as there are {size} features; got {covariance.shape}"
        )
    if np.abs(covariance - np.swapaxes(covariance, -1, -2)).max() > 1e-9 * np.abs(covariance).max():
        raise ValueError("covariance is not symmetric; make it with offline_covariance")
    _invertible(covariance)
    try:
        root = np.linalg.inv(np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError:
        raise ValueError("covariance is not positive definite; make it with offline_covariance") from None
    return np.sqrt(np.sum(np.matmul(away, np.swapaxes(root, -1, -2)) ** 2, axis=-1))


def lower_confidence_bound(features: Array, reference: Array, theta: Array, covariance: Array, c: float) -> Array:
    """<theta, phi(x, y) - phi(x, pi_0)> - c sqrt(d) times the uncertainty, (..., A) (eq-lcb).

    At most the centred true reward, everywhere at once, if c sqrt(d) is at least the error of theta (..., D) in the
    norm of Sigma (eq-pointwise). `c` = 0 is the plain reward. Xiong, Theory to Algorithm for RLHF.
    """
    checks.not_negative("c", c, "how many times the uncertainty is subtracted")
    away, theta = _away(features, reference), _finite("theta", theta)
    if theta.shape[-1:] != away.shape[-1:]:
        raise ValueError(f"theta (..., D) must have a weight for each of {away.shape[-1]} features; got {theta.shape}")
    reward = np.matmul(away, theta[..., None])[..., 0]
    return reward - c * away.shape[-1] ** 0.5 * uncertainty(features, reference, covariance)


def confidence_radius(size: int, delta: float, slope: float, precision: float, norm: float) -> float:
    """(1/gamma) (sqrt(d + 2 sqrt(d t) + 2 t) / 2 + sqrt(lambda) ||theta*||), t = log 1/delta (eq-confidence-radius).

    With probability 1 - delta the error of the most probable theta, in the norm of Sigma, is at most this, if `slope`,
    gamma, is no more than p (1 - p) at any margin between those of theta* and of the fit. `size` is d, `norm` at least
    ||theta*||. After Zhu et al. 2023, lemma 3.1, with the constants worked out.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta is the probability to be wrong, in (0, 1); got {delta}")
    if not 0 < slope <= 0.25:
        raise ValueError(f"slope is the least p (1 - p), in (0, 1/4]; got {slope}")
    checks.count("size", size, "the number of features")
    checks.not_negative("precision", precision, "lambda")
    checks.not_negative("norm", norm, "at least ||theta*||")
    t = -np.log(delta)
    noise = 0.5 * np.sqrt(size + 2 * np.sqrt(size * t) + 2 * t)
    return float((noise + np.sqrt(precision) * norm) / slope)


def suboptimality(log_pi: Array, log_pi_0: Array, reward: Array, beta: float) -> Array:
    """J(pi*) - J(pi) + beta KL(pi* || pi), for each prompt: what the theorem bounds (eq-suboptimality)."""
    best = gibbs.log_policy(log_pi_0, reward, beta)
    return gibbs.gap(log_pi, log_pi_0, reward, beta) + beta * lm.kl(best, log_pi)


class Errors(NamedTuple):
    """How far a learned reward is too low, on average, where pi* goes and where its own optimum goes: (...) each."""

    target: Array
    own: Array


def errors(log_pi_0: Array, reward: Array, learned: Array, beta: float) -> Errors:
    """E[R* - r_hat] under pi* and under pi_hat; their difference is the suboptimality of pi_hat (eq-two-errors)."""
    policies = (gibbs.log_policy(log_pi_0, r, beta) for r in (reward, learned))
    return Errors(*(np.sum(np.exp(log_pi) * (reward - learned), axis=-1) for log_pi in policies))


def coverage_coefficient(log_pi: Array, features: Array, reference: Array, covariance: Array, count: int) -> Array:
    """C = sqrt(n) sum_y pi(y | x) ||phi(x, y) - phi(x, pi_0)|| in the norm of Sigma^-1 (eq-coverage-coefficient).

    For each prompt. It stays bounded as the number n of comparisons, `count`, grows if they cover where pi goes.
    """
    checks.count("count", count, "the number of comparisons")
    return count**0.5 * np.sum(np.exp(log_pi) * uncertainty(features, reference, covariance), axis=-1)


def guarantee(radius: float, coverage: Array, count: int) -> Array:
    """2 c sqrt(d) C* / sqrt(n), the most that can be lost if the radius covers the error of theta (eq-guarantee).

    `radius` is c sqrt(d), `coverage` C*, `count` n.
    """
    checks.not_negative("radius", radius, "c sqrt(d)")
    checks.count("count", count, "the number of comparisons")
    return 2 * radius * coverage / count**0.5


def ensemble(init: Callable[[Generator], Params], shape: tuple[int, ...], rng: Generator) -> Params:
    """Draw independent parameters with `init` and stack them: members (and seeds) are the leading axes `shape`."""
    _axes("(K,) or (K, seeds)", shape)
    drawn = [init(one) for one in rng.spawn(int(np.prod(shape)))]
    sizes = [{name: np.shape(value) for name, value in params.items()} for params in drawn]
    odd = next((each for each in sizes if each != sizes[0]), None)
    if odd is not None:
        raise ValueError(f"init: all members need the same shapes to be stacked; got {sizes[0]} and {odd}")
    return {name: np.stack([p[name] for p in drawn]).reshape(*shape, *np.shape(drawn[0][name])) for name in drawn[0]}


def bootstrap(shape: tuple[int, ...], rng: Generator) -> Array:
    """Draw n of n comparisons with replacement: indices (..., n) of `shape`, another draw for each member."""
    _axes("(K, ..., n)", shape)
    return rng.integers(shape[-1], size=shape)


def minimum(rewards: Array) -> Array:
    """min_k r_k(x, y) over the members of an ensemble, (K, ..., A) to (..., A) (eq-ensemble-minimum)."""
    return np.min(_members(rewards), axis=0)


def uncertainty_weighted(rewards: Array, weight: float) -> Array:
    """mean_k r_k - lambda var_k r_k, (K, ..., A) to (..., A); `weight` is lambda >= 0 (eq-uncertainty-weighted).

    Coste et al. 2024; the variance is that of the members, divided by K.
    """
    checks.not_negative("weight", weight, "lambda, how much variance costs")
    rewards = _members(rewards)
    return np.mean(rewards, axis=0) - weight * np.var(rewards, axis=0)


def disagreement(rewards: Array, log_pi: Array) -> Array:
    """sum_y pi(y | x) times the standard deviation of r_k(x, y) over k, (K, ..., A) to (...) (eq-disagreement)."""
    return np.sum(np.exp(log_pi) * np.std(_members(rewards), axis=0), axis=-1)


def _away(features: Array, reference: Array) -> Array:
    features, reference = _finite("features", features), _finite("reference", reference)
    if features.shape[-1:] != reference.shape[-1:]:
        raise ValueError(
            f"features (..., A, D) and reference (..., D) must have the same D; got {features.shape} and "
            f"{reference.shape}"
        )
    return features - reference[..., None, :]


def _finite(name: str, value: Array) -> Array:
    array = np.asarray(value, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity; check the features")
    return array


def _invertible(covariance: Array) -> None:
    if checks.ill_conditioned(covariance):
        raise ValueError(
            f"the covariance is singular, or nearly: its condition number is {np.max(np.linalg.cond(covariance)):.0e}. "
            "Some direction of the features was hardly compared; give a larger precision, or rescale the features"
        )


def _axes(meaning: str, shape: tuple[int, ...]) -> None:
    sizes = np.asarray(shape)
    if sizes.ndim != 1 or not np.issubdtype(sizes.dtype, np.integer) or sizes.min() < 1:
        raise ValueError(f"shape is {meaning}, whole numbers, at least one of each; got {shape}")


def _members(rewards: Array) -> Array:
    try:
        array = np.asarray(rewards)
    except ValueError:
        raise ValueError("rewards: the members have different shapes; judge the same answers with each") from None
    if array.ndim < 2 or not len(array):
        raise ValueError(f"rewards must have shape (K, ..., A), members first, at least one; got {array.shape}")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"rewards must be finite numbers, without NaN or infinity; got an array of {array.dtype}")
    return array.astype(float, copy=False)

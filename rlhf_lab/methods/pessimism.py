"""Pessimism: what a learned reward does not know should count against an answer, not for it.

    R* reward that people have in mind    r_hat learned or pessimistic reward    phi features, D of them, d in formulas
    theta weights    Sigma offline covariance    lambda precision    c caution    beta KL weight    n comparisons
    pi_0 reference    pi* Gibbs policy of R*    pi_hat Gibbs policy of r_hat

Rewards are arrays over enumerated answers, (..., A), features (..., A, D). The lower bound is a reward: whatever
optimises a reward takes it without change.
"""

from typing import NamedTuple

import numpy as np

from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array


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
    Xiong, Theory to Algorithm for RLHF.
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

"""How fast fitted rewards approach the truth: errors at six numbers of reports, and their slope in logarithms."""

from typing import NamedTuple

import numpy as np

from rlhf_lab.feedback import annotators, linear_fits
from rlhf_lab.numerics.autodiff import Array

COUNTS = (100, 200, 400, 800, 1600, 3200)
SIZE, SETS = 6, 16


class Rate(NamedTuple):
    """`slope` of log error in log n, and the error at the largest n over what Fisher information says."""

    slope: float
    ratio: float


def comparisons() -> Rate:
    """Return the rate of maximum likelihood on comparisons (Bradley-Terry)."""
    rng, error = np.random.default_rng(6), []
    theta = rng.normal(size=SIZE)
    for n in COUNTS:
        difference = rng.normal(size=(SETS, n, SIZE)) / 2
        label = annotators.sample_labels(annotators.bradley_terry(difference @ theta), rng)
        error.append(_distance(linear_fits.fit_linear(difference, label, precision=1e-3).mean, theta))
    told = np.linalg.inv(linear_fits.fisher(difference, difference @ theta))
    return Rate(_slope(COUNTS, error), error[-1] / _predicted(told))


def rankings(answers: int = 3) -> Rate:
    """Return the rate of maximum likelihood on rankings of three answers (Plackett-Luce)."""
    rng, counts, error = np.random.default_rng(24), COUNTS[:-2], []
    theta = rng.normal(size=SIZE)
    for n in counts:
        features = rng.normal(size=(SETS, n, answers, SIZE)) / 2
        order = annotators.sample_rankings(features @ theta, rng)
        ranked = annotators.in_rank_order(features, order)
        fitted = np.zeros((SETS, SIZE))
        for _ in range(6):  # of Newton's method
            score, information = _tells(ranked, fitted)
            fitted = fitted + np.linalg.solve(information, score[..., None])[..., 0]
        error.append(_distance(fitted, theta))
    told = np.linalg.inv(_tells(ranked, np.tile(theta, (SETS, 1)))[1])
    return Rate(_slope(counts, error), error[-1] / _predicted(told))


def _tells(ranked: Array, theta: Array) -> tuple[Array, Array]:
    """Return slope (S, D) and curvature (S, D, D) of the log-likelihood of rankings (S, n, K, D), best first."""
    weight = np.exp((ranked @ theta[:, None, :, None])[..., 0])
    score, information = np.zeros_like(theta), np.zeros((*theta.shape, theta.shape[-1]))
    for place in range(ranked.shape[2] - 1):
        left, p = ranked[:, :, place:], weight[:, :, place:]
        p = p / p.sum(-1, keepdims=True)
        mean = (p[..., None] * left).sum(2)
        away = (left - mean[:, :, None]) * p[..., None] ** 0.5
        flat = away.reshape(len(theta), -1, theta.shape[-1])
        score += (left[:, :, 0] - mean).sum(1)
        information += np.swapaxes(flat, 1, 2) @ flat
    return score, information


def _distance(fitted: Array, theta: Array) -> float:
    return float(np.sqrt(np.mean(np.sum((fitted - theta) ** 2, axis=-1))))


def _predicted(covariance: Array) -> float:
    return float(np.sqrt(np.mean(np.trace(covariance, axis1=1, axis2=2))))


def _slope(counts: tuple[int, ...], error: list[float]) -> float:
    return float(np.polyfit(np.log(counts), np.log(error), 1)[0])

"""Linear rewards fitted to the end: posteriors, ratings, and what smoothing labels comes to.

theta weights    d difference of features    m margin    l label 0, 1/2 or 1    lambda precision of the prior
epsilon mis-click rate    s share by which labels are smoothed    alpha step size
"""

from typing import NamedTuple

import autograd.numpy as np
from scipy.special import expit

from rlhf_lab.feedback.likelihoods import bradley_terry_loss, misclick_loss
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array

STEPS = 100  # of Newton's method; a maximum that exists is found in about ten


class Posterior(NamedTuple):
    """A normal distribution over the weights of a linear model: `mean` (..., D), `covariance` (..., D, D)."""

    mean: Array
    covariance: Array


def fisher(difference: Array, margin: Array, misclick: float = 0.0) -> Array:
    """F = sum_i w_i d_i d_i^T, what comparisons tell of theta, (..., D, D) (eq-fisher).

    `difference` (..., N, D) are the differences d of features, `margin` (..., N) their products with theta. The weight
    is p'(m)^2 / (p (1 - p)) with p the probability of label 1; without mis-clicks that is p (1 - p).
    """
    chances = _chances(margin, misclick)
    return _squares(difference, chances.slope * chances.share)


def fit_linear(difference: Array, label: Array, precision: float, misclick: float = 0.0) -> Posterior:
    """Find the most probable theta under the prior N(0, I / lambda) (eq-map), and a normal posterior (eq-laplace).

    `difference` (..., N, D) holds features of the first response minus those of the second, `label` (..., N) which was
    preferred, `precision` is lambda >= 0. Newton's method; where mis-clicks bend the posterior upwards, it climbs away.
    Raises `ValueError` if there is no finite maximum.
    """
    difference, label = _comparisons(difference, label)
    checks.not_negative("precision", precision, "lambda of the prior N(0, I / lambda)")
    checks.share("misclick", misclick)
    prior, theta = precision * np.eye(difference.shape[-1]), np.zeros(difference.shape[-1])
    here = _cost(theta, difference, label, precision, misclick)
    for _ in range(STEPS):
        margin = _times(difference, theta)
        p, q, slope, share = chances = _chances(margin, misclick)
        information = _squares(difference, slope * share) + prior
        if checks.ill_conditioned(information):
            break
        surprise = label * q - (1 - label) * p  # label - p, without rounding to 0 where a label is nearly certain
        score = _times(np.swapaxes(difference, -1, -2), surprise * share) - precision * theta
        curvature = _curvature(difference, label, margin, chances, prior) if misclick else information
        step = np.linalg.solve(curvature, score[..., None])[..., 0]
        if np.max(np.abs(step)) <= 1e-10 * max(1.0, np.max(np.abs(theta))):
            return Posterior(theta, np.linalg.inv(information))
        there = _cost(theta + step, difference, label, precision, misclick)
        while (worse := there > here + 1e-9 * (1 + here)).any():
            step = np.where(worse[..., None], step / 2, step)
            there = _cost(theta + step, difference, label, precision, misclick)
        theta, here = theta + step, there
    raise ValueError(
        "no finite maximum was found: some direction of the features separates the comparisons, or none of them "
        "measures it; give a prior, precision > 0"
    )


def _curvature(difference: Array, label: Array, margin: Array, chances: "Chances", prior: Array) -> Array:
    """Return minus the second derivative of the log-posterior, with the sizes of its eigenvalues if one is negative.

    Fisher scoring would need thousands of steps to leave a saddle.
    """
    p, q, slope, _ = chances
    bend = -slope * np.tanh(margin / 2)
    weight = label * ((slope / p) ** 2 - bend / p) + (1 - label) * ((slope / q) ** 2 + bend / q)
    found = _squares(difference, weight) + prior
    bends, axes = np.linalg.eigh(found)
    size = np.maximum(np.abs(bends), 1e-6 * np.max(np.abs(bends), axis=-1, keepdims=True))
    positive = np.matmul(axes * size[..., None, :], np.swapaxes(axes, -1, -2))
    return np.where(bends[..., :1, None] > 0, found, positive)


def _cost(theta: Array, difference: Array, label: Array, precision: float, misclick: float) -> Array:
    margin = _times(difference, theta)
    loss = misclick_loss(margin, label, rate=misclick) if misclick else bradley_terry_loss(margin, label)
    return np.sum(loss, axis=-1) + precision / 2 * np.sum(theta**2, axis=-1)


def _comparisons(difference: Array, label: Array) -> tuple[Array, Array]:
    difference, label = np.asarray(difference), checks.labels("label", label)
    if difference.ndim < 2 or difference.shape[-2] != label.shape[-1]:
        raise ValueError(
            f"difference (..., N, D) and label (..., N) must have one row for each comparison; got {difference.shape} "
            f"and {label.shape}"
        )
    if not np.isfinite(difference).all():
        raise ValueError("difference holds NaN or infinity; check the features")
    return difference, label


def _times(matrix: Array, vector: Array) -> Array:
    return np.matmul(matrix, vector[..., None])[..., 0]


def _squares(difference: Array, weight: Array) -> Array:
    return np.matmul(np.swapaxes(difference, -1, -2), difference * weight[..., None])


class Chances(NamedTuple):
    """p, q = 1 - p, the slope p' and `share`, p' / (p q), which is 1 without mis-clicks, however small p is."""

    p: Array
    q: Array
    slope: Array
    share: Array


def _chances(margin: Array, misclick: float) -> Chances:
    win, loss = expit(margin), expit(-margin)
    if not misclick:
        return Chances(win, loss, win * loss, 1.0)
    p, q = ((1 - misclick) * side + misclick / 2 for side in (win, loss))
    slope = (1 - misclick) * win * loss
    return Chances(p, q, slope, slope / (p * q))


class Ratings(NamedTuple):
    """A linear model of ratings: `weights` (..., D) of the reward, and the `intercept` (..., P, 1) of each person.

    With one intercept for all it has the shape (..., 1, 1).
    """

    weights: Array
    intercept: Array


def fit_ratings(features: Array, rating: Array, *, personal: bool) -> Ratings:
    """Find theta with the least mean of `squared_error` (eq-mse), where P people rate K answers each.

    `features` (..., P, K, D), `rating` (..., P, K). An intercept is added to the reward: one for all people, or with
    `personal` one for each, which takes up how high a person rates in general. Raises `ValueError` if a direction of
    the features is not measured.
    """
    features, rating = np.asarray(features), np.asarray(rating)
    if rating.ndim < 2 or features.shape[:-1] != rating.shape:
        raise ValueError(
            f"features (..., P, K, D) and rating (..., P, K) must have an entry for each answer that a person rates; "
            f"got {features.shape} and {rating.shape}"
        )
    if not (np.isfinite(features).all() and np.isfinite(rating).all()):
        raise ValueError("features and ratings must be finite; these hold NaN or infinity")
    over = (-1,) if personal else (-2, -1)
    level = np.mean(rating, axis=over, keepdims=True)
    usual = np.mean(features, axis=tuple(axis - 1 for axis in over), keepdims=True)
    x = np.reshape(features - usual, (*rating.shape[:-2], -1, features.shape[-1]))
    z = np.reshape(rating, (*rating.shape[:-2], -1))
    turned = np.swapaxes(x, -1, -2)
    information = np.matmul(turned, x)
    if checks.ill_conditioned(information):
        raise ValueError("a direction of the features does not vary: its weight cannot be told from the intercept")
    weights = np.linalg.solve(information, _times(turned, z)[..., None])[..., 0]
    return Ratings(weights, level - _times(usual, weights[..., None, :]))


def smoothed(label: Array, p: Array, rate: float) -> Array:
    """(1 - s) l + s p: move the labels towards what the model says, by a share s, `rate` (eq-smoothing).

    Zhu et al. 2024.
    """
    return (1 - rate) * label + rate * p


class Smoothing(NamedTuple):
    """Weights (rounds + 1, ..., D) of Iterated Data Smoothing from start to end, and the labels (..., N) at the end."""

    weights: Array
    label: Array


def iterated_data_smoothing(
    difference: Array, label: Array, *, step_size: float, rate: float, rounds: int
) -> Smoothing:
    """Each round, take a gradient step on the current labels, and smooth the labels. Zhu et al. 2024.

    A linear model that starts at zero; `difference` (..., N, D), `label` (..., N). With `rate` = 0 it is plain gradient
    descent. Otherwise it ends at the most probable theta under a prior of precision s N / alpha, with alpha the step
    size (eq-smoothing-limit): smoothing is that prior.
    """
    difference, label = _comparisons(difference, label)
    checks.share("rate", rate), checks.positive("step_size", step_size)
    rows, group, count = _distinct(difference)
    turned, mean = np.swapaxes(rows, -1, -2), _group_means(label, group, count)
    start, theta = mean, np.zeros(np.shape(_times(np.swapaxes(difference, -1, -2), label)))
    weights = [theta]
    for _ in range(rounds):
        p = expit(_times(rows, theta))
        theta = theta + step_size / label.shape[-1] * _times(turned, count * (mean - p))
        mean = smoothed(mean, p, rate)
        weights.append(theta)
    return Smoothing(np.array(weights), mean[..., group] + (1 - rate) ** rounds * (label - start[..., group]))


def _distinct(difference: Array) -> tuple[Array, Array, Array]:
    """Return the comparisons that differ from each other, which of them each is, and how often each was made.

    Labels of equal comparisons move together, so that their mean is enough.
    """
    columns = np.reshape(np.moveaxis(difference, -2, 0), (difference.shape[-2], -1))
    _, first, group, count = np.unique(columns, axis=0, return_index=True, return_inverse=True, return_counts=True)
    return difference[..., first, :], group.ravel(), count


def _group_means(label: Array, group: Array, count: Array) -> Array:
    flat = np.reshape(label, (-1, label.shape[-1]))
    place = group + len(count) * np.arange(len(flat))[:, None]
    total = checks.tally(place.ravel(), flat.ravel(), len(flat) * len(count))
    return np.reshape(total, (*label.shape[:-1], len(count))) / count

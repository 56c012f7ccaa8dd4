"""What people say about answers: simulated annotators, and how far they agree.

    R reward, nats    m = R(x, y) - R(x, y') margin    p probability that the first is preferred    a, b annotators
    tau scale of the noise in a judgement

Annotators are functions of rewards. A label is 1 if the first of two responses is preferred, 0 if the second is, and
1/2 for a tie. Rewards and labels are arrays (..., N), one entry a comparison.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array


def bradley_terry(margin: Array) -> Array:
    """P(y > y' | x) = 1 / (1 + exp(-m)), the share of people who prefer the first (eq-bradley-terry).

    Bradley and Terry 1952; RLHF Deciphered, eq. 8-10.
    """
    return expit(margin)


def with_noise(margin: Array, noise: float) -> Array:
    """sigmoid(m / tau): people whose judgement has noise of scale tau, `noise` > 0, are Bradley-Terry's of R / tau.

    The first is preferred if R(x, y) + tau g > R(x, y') + tau g', with g and g' standard Gumbel (eq-noise).
    """
    return bradley_terry(np.asarray(margin) / checks.positive("noise", noise))


def agreement(p: Array) -> Array:
    """Return how often annotators a and b agree, the mean of p_a p_b + (1 - p_a)(1 - p_b): (A, A) (eq-agreement).

    `p` (A, N) holds the labels 0 and 1 that A annotators gave to the same comparisons, or the probabilities of label
    1: then this is the agreement that one must expect, and the diagonal how often people agree with themselves.
    """
    p = _answers(p)
    return (p @ p.T + (1 - p) @ (1 - p).T) / p.shape[1]


def cohen_kappa(p: Array) -> Array:
    """Return (agreement - chance) / (1 - chance) for each two annotators, (A, A) (eq-kappa). Cohen 1960.

    Chance is the agreement of two who ignore the answers but keep their shares of label 1. `p` as in `agreement`.
    """
    p = _answers(p)
    ones = p.mean(-1)
    chance = np.outer(ones, ones) + np.outer(1 - ones, 1 - ones)
    if (chance > 1 - 1e-12).any():
        raise ValueError("an annotator gave the same label to every comparison: kappa is not defined (0 / 0)")
    return (agreement(p) - chance) / (1 - chance)


def sample_ratings(reward: Array, noise: float, rng: Generator) -> Array:
    """z = R(x, y) + tau xi with xi ~ N(0, 1), a rating on an open scale; `noise` is tau >= 0 (eq-rating)."""
    return reward + checks.not_negative("noise", noise, "a standard deviation") * rng.normal(size=np.shape(reward))


def likert(rating: Array, thresholds: Sequence[float]) -> Array:
    """Put ratings on a scale from 1 to K: 1 and the number of the K - 1 `thresholds` that lie below (eq-likert).

    One threshold makes the scale binary. Likert 1932.
    """
    if not len(thresholds) or (np.diff(thresholds) <= 0).any():
        raise ValueError(f"thresholds must rise, and there must be at least one; got {list(thresholds)}")
    return 1 + np.searchsorted(thresholds, rating)


def sample_rankings(reward: Array, rng: Generator) -> Array:
    """Draw rankings, best first, of K answers with rewards (..., K): indices (..., K) (eq-plackett-luce).

    Plackett 1975, Luce 1959: the best of all is chosen with softmax probabilities, then the best of the rest, and so
    on. Sorting by reward plus Gumbel noise draws from just that distribution.
    """
    return np.argsort(-(reward + rng.gumbel(size=np.shape(reward))))


def in_rank_order(answers: Array, order: Array) -> Array:
    """Put K answers (..., K, D), tokens or features, into the order (..., K) of a ranking, best first.

    Such orders are what `sample_rankings` draws. Raises `ValueError` unless each names each of its answers once.
    """
    answers, order = np.asarray(answers), np.asarray(order)
    if not np.issubdtype(order.dtype, np.integer) or order.shape != answers.shape[:-1]:
        raise ValueError(
            f"order must hold the indices (..., K) of answers (..., K, D); got {order.dtype} {order.shape} for "
            f"{answers.shape}"
        )
    count = order.shape[-1]
    wrong = (np.sort(order) != np.arange(count)).any(-1)
    if wrong.any():
        raise ValueError(
            f"a ranking of {count} answers names each of 0 to {count - 1} once, best first; got "
            f"{order[wrong][0].tolist()}"
        )
    return np.take_along_axis(answers, order[..., None], axis=-2)


def with_misclicks(p: Array, rate: float) -> Array:
    """(1 - epsilon) p + epsilon / 2: with probability epsilon, `rate`, the answer is a coin flip (eq-misclick).

    Christiano et al. 2017 take epsilon = 0.1. Half of the coin flips are right: a share epsilon / 2 is wrong.
    """
    return (1 - checks.share("rate", rate)) * checks.share("p", p) + rate / 2


def with_ties(margin: Array, tie: float) -> Array:
    """Probabilities of loss, tie and win of the first, in proportion to exp(-m/2), nu, exp(m/2): (..., N, 3) (eq-ties).

    `tie` is nu >= 0; two equal answers tie with probability nu / (2 + nu). Davidson 1970.
    """
    checks.not_negative("tie", tie, "the weight nu of a tie")
    half = np.abs(margin) / 2  # the largest of the three weights becomes 1
    weight = np.stack([np.exp(-margin / 2 - half), tie * np.exp(-half), np.exp(margin / 2 - half)], axis=-1)
    return weight / weight.sum(-1, keepdims=True)


def of_population(p: Array, shares: Array) -> Array:
    """sum_z share_z p_z: what a comparison tells if each is answered by whoever comes along (eq-population).

    `p` (Z, ..., N) holds the probability for each kind of person, `shares` (Z,) how many of each there are.
    """
    return np.tensordot(checks.probabilities("shares", shares), checks.share("p", p), axes=1)


def of_matrix(matrix: Array, first: Array, second: Array) -> Array:
    """Look up P(first > second), shape (..., N), in a matrix (A, A) of preferences between A answers.

    Such an annotator need not be transitive. Raises unless P(a > b) + P(b > a) = 1 for all pairs.
    """
    return checks.preference_matrix(matrix)[first, second]


def sample_labels(p: Array, rng: Generator) -> Array:
    """Draw labels, 1 with probability `p` and 0 otherwise, of the shape of `p`."""
    p = checks.share("p", np.asarray(p))
    return np.where(rng.random(p.shape) < p, 1.0, 0.0)


def sample_labels_with_ties(p: Array, rng: Generator) -> Array:
    """Draw labels 0, 1/2 and 1 with the probabilities (..., N, 3) that `with_ties` returns."""
    cumulative = np.cumsum(checks.probabilities("p", p), axis=-1)[..., :-1]
    return (rng.random(cumulative.shape[:-1])[..., None] > cumulative).sum(-1) / 2


def circle(wins: Array) -> Array:
    """Return the preferences (A, A) of people for A answers in a circle (eq-circle).

    `wins` (A,), A >= 3: answer a is preferred to the next one by wins[a], the last to the first; all other pairs are
    level. With all wins above 1/2 no reward puts the answers in an order that agrees with every majority.
    """
    wins = np.asarray(checks.share("wins", wins), dtype=float)
    if wins.ndim != 1 or len(wins) < 3:
        raise ValueError(f"a circle needs one share for each of at least 3 answers, shape (A,); got shape {wins.shape}")
    matrix, here = np.full((len(wins), len(wins)), 0.5), np.arange(len(wins))
    after = np.roll(here, -1)
    matrix[here, after], matrix[after, here] = wins, 1 - wins
    return matrix


def _answers(p: Array) -> Array:
    p = np.asarray(checks.share("p", p))
    if p.ndim != 2 or not p.size:
        raise ValueError(f"p must have shape (A, N), a row for each annotator; got {p.shape}")
    return p

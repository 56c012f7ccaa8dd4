"""How good is a reward model? Correlation, accuracy, calibration, coverage, and what its errors cost a policy.

p predicted probability that the first is preferred    l label    R reward    R_phi learned reward    rho prompts
k_z scale of a task    w_z its share    c common scale
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from rlhf_lab.models import gibbs
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array

HALVINGS = 60  # of an interval of logarithms; scipy.optimize would take longer to import


def correlation(reward: Array, learned: Array, weight: Array) -> float:
    """Return the correlation of two rewards (K, A) over answers, each less its mean over the answers to its prompt.

    `weight` (K, A) says how much each answer counts. A constant of a prompt changes nothing: no comparison tells it.
    """
    tables = reward, learned, weight = np.asarray(reward), np.asarray(learned), np.asarray(weight)
    if len({table.shape for table in tables}) > 1 or (weight < 0).any() or not weight.any(-1).all():
        raise ValueError("reward, learned and weight must have one shape (K, A), and each prompt a weight above 0")
    share = weight / weight.sum(-1, keepdims=True)
    a, b = (table - (share * table).sum(-1, keepdims=True) for table in (reward, learned))
    return float((weight * a * b).sum() / ((weight * a * a).sum() * (weight * b * b).sum()) ** 0.5)


class Coverage(NamedTuple):
    """Shares of prompts, and of the answers to the prompts that were seen, that stand in the data."""

    prompts: float
    answers: float


def coverage(prompt: Array, response: Array, prompts: int, answers: int) -> Coverage:
    """Return kappa and rho: the shares of all prompts, and of all answers to those, that people saw (eq-coverage).

    `prompt` (N, P) and `response` (N, T) are what was judged, out of `prompts` prompts with `answers` answers each.
    Raises `ValueError` if more was judged than there is. RLHF Deciphered, section 5.
    """
    prompt, response = np.asarray(prompt), np.asarray(response)
    checks.same_batch(prompt, response)
    if not len(prompt):
        raise ValueError("nothing was judged; coverage is a share of what was")
    pairs = np.unique(np.concatenate([prompt, response], axis=1), axis=0)
    judged = np.unique(pairs[:, : prompt.shape[1]], axis=0, return_counts=True)[1]  # answers to each prompt
    if len(judged) > prompts or judged.max() > answers:
        raise ValueError(
            f"{len(judged)} prompts were judged, and up to {judged.max()} answers to one of them; there cannot be only "
            f"{prompts} prompts with {answers} answers each"
        )
    return Coverage(len(judged) / prompts, len(pairs) / (len(judged) * answers))


class Gap(NamedTuple):
    """What errors of a reward model cost, in units of reward, on prompts that it saw and on others."""

    seen: float
    unseen: float


def performance_gap(log_pi_0: Array, reward: Array, learned: Array, beta: float, start: Array, seen: Array) -> Gap:
    """Return J(pi*) - J(pi_phi), split into prompts that were seen and others (eq-performance-gap).

    pi* and pi_phi are the Gibbs policies of the reward and of the learned one, (K, A) each, `log_pi_0` (K, A) the
    reference, `start` (K,) the distribution of prompts, `seen` (K,) True where people judged answers.
    RLHF Deciphered, section 6.2, with the normalisers that it leaves out.
    """
    start, seen = checks.probabilities("start", start), np.asarray(seen)
    if seen.dtype != bool:
        raise ValueError(f"seen must hold True and False, one for each prompt; got {seen.dtype}")
    log_pi_0, reward, learned = (np.asarray(table) for table in (log_pi_0, reward, learned))
    tables, prompts = {log_pi_0.shape, reward.shape, learned.shape}, {start.shape, seen.shape, log_pi_0.shape[:1]}
    if log_pi_0.ndim != 2 or len(tables) > 1 or len(prompts) > 1:
        raise ValueError(
            f"log_pi_0 {log_pi_0.shape}, reward {reward.shape} and learned {learned.shape} must have one shape (K, A), "
            f"start {start.shape} and seen {seen.shape} the shape (K,)"
        )
    best, found = (np.exp(gibbs.log_policy(log_pi_0, r, beta)) for r in (reward, learned))
    lost = start * np.sum((best - found) * reward, axis=1)
    return Gap(float(lost[seen].sum()), float(lost[~seen].sum()))


def accuracy(p: Array, label: Array) -> Array:
    """Return the share of decided comparisons whose label is the likelier one (eq-accuracy); p = 1/2 counts half.

    `p` and `label` (..., N); ties are left out.
    """
    p, label = _predictions(p, label)
    decided = label != 0.5
    if not decided.any(-1).all():
        raise ValueError("all labels are ties; accuracy needs decisions")
    right = (1 + np.sign(p - 0.5) * np.sign(label - 0.5)) / 2
    return np.sum(right * decided, axis=-1) / np.sum(decided, axis=-1)


def best_accuracy(p: Array) -> Array:
    """Return the mean of max(p, 1 - p) with p (..., N) the true probabilities: nobody foresees more (eq-ceiling)."""
    return np.mean(np.maximum(checks.share("p", p), 1 - p), axis=-1)


class Calibration(NamedTuple):
    """For each bin that is not empty: mean prediction, share of label 1, number of comparisons; all (B,)."""

    predicted: Array
    observed: Array
    count: Array


def calibration(p: Array, label: Array, bins: int = 10) -> Calibration:
    """Sort comparisons (N,) by prediction into `bins` bins of equal width on [0, 1], and compare within each."""
    p, label = _predictions(p, label)
    if bins < 1:
        raise ValueError(f"bins is the number of bins, at least 1; got {bins}")
    place = np.minimum((p * bins).astype(int), bins - 1)
    count = checks.tally(place, size=bins)
    full = count > 0
    predicted, observed = (checks.tally(place, v, bins)[full] / count[full] for v in (p, label))
    return Calibration(predicted, observed, count[full])


def expected_calibration_error(p: Array, label: Array, bins: int = 10) -> float:
    """Return sum_b (n_b / N) |mean p - mean l| over the bins of `calibration` (eq-ece)."""
    found = calibration(p, label, bins)
    return float(found.count @ np.abs(found.predicted - found.observed) / found.count.sum())


def calibration_bias(p: Array, bins: int = 10) -> float:
    """Return sum_b (n_b / N) sqrt(2 v_b / (pi n_b)): what (eq-ece) comes to if the model is right (eq-ece-bias).

    v_b is the mean of p (1 - p) in a bin, `p` (N,). It is what chance leaves of the distance in a bin, by the normal
    approximation: it falls as N to the power -1/2, and grows with the number of bins.
    """
    p = np.asarray(checks.share("p", p))
    place = np.minimum((p * bins).astype(int), bins - 1)
    return float(np.sqrt(2 / np.pi * checks.tally(place, p * (1 - p), bins)).sum() / len(p))


def common_scale(margin: Array, scales: Array, shares: Array) -> float:
    """Return the c with E[m sigmoid(c m)] = sum_z w_z E[m sigmoid(k_z m)], one scale for all tasks (eq-mixed-scale).

    Labels of task z, a share w_z of all, follow sigmoid(k_z m), k_z > 0 in `scales` (Z,). Of all rewards c R, this one
    has the least cross-entropy. `margin` (N,). Raises `ValueError` if no margin differs from 0.
    """
    margin, scales = np.asarray(margin), np.asarray(scales)
    shares = checks.probabilities("shares", shares)
    if not margin.any() or (scales <= 0).any():
        raise ValueError("a scale needs margins that differ from 0, and tasks whose scales are above 0")
    target = shares @ expit(scales[:, None] * margin) @ margin
    low, high = np.log(scales.min()) - 1e-9, np.log(scales.max()) + 1e-9
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if margin @ expit(np.exp(middle) * margin) < target:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def _predictions(p: Array, label: Array) -> tuple[Array, Array]:
    p, label = np.asarray(checks.share("p", p)), checks.labels("label", label)
    if p.shape != label.shape:
        raise ValueError(f"p {p.shape} and label {label.shape} must have one entry for each comparison")
    return p, label

"""Density ratios of long texts: what their mean says of coverage, and what it does not.

Beside the chapter "Asking while learning"; functions stand in the order of its equations.

    p, q distributions of texts, or of one token    T length of a text    k number of ones in it
"""

from typing import NamedTuple

import numpy as np

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array


def log_mean_ratio(p: Array, q: Array, length: int) -> float:
    """T log sum_a p(a)^2 / q(a) = log E_p[p(y) / q(y)] for texts of T independent tokens, (V,) twice (eq-mean-ratio).

    Infinite if p says what q never says. Under q the mean of p / q is p(support of q), at most 1 (eq-support).
    """
    p, q = checks.probabilities("p", p), checks.probabilities("q", q)
    checks.count("length", length, "the number of tokens in a text")
    said = p > 0
    with np.errstate(divide="ignore"):
        return float(length * np.log(np.sum(p[said] ** 2 / q[said])))


class RatioLaw(NamedTuple):
    """The values of log p(y) / q(y) of texts with 0, ..., T ones, and their probabilities under p and q, (T + 1,)."""

    value: Array
    under_p: Array
    under_q: Array


def ratio_law(p: float, q: float, length: int) -> RatioLaw:
    """log p(y) / q(y) = k log(p / q) + (T - k) log((1 - p) / (1 - q)), k binomial (eq-ratio-law).

    Texts are T = `length` throws of a coin that shows 1 with probability p or q, both inside (0, 1).
    """
    for name, value in (("p", p), ("q", q)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is the probability of a one, inside (0, 1); got {value}")
    from scipy.stats import binom  # only who asks for a law waits for it

    ones = np.arange(checks.count("length", length, "the number of tokens in a text") + 1)
    value = ones * np.log(p / q) + (length - ones) * np.log((1 - p) / (1 - q))
    return RatioLaw(value, binom.pmf(ones, length, p), binom.pmf(ones, length, q))

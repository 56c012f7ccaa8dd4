"""Products in which a weight of 0 leaves nothing, whatever it weighs: 0 log 0 = 0, and padding does not count.

    p probability    v value    w what is taken off it

Infinity and NaN times 0 are NaN. Here they are 0, in the value and in the gradient.
"""

import math

import autograd.numpy as anp
import numpy as np
from autograd.extend import defjvp, defvjp
from autograd.tracer import getval, isbox

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, kernel, sum_to

ROUNDING = 1e-13  # relative: the mean of equal numbers is this near to each, with room


def _weighted(log_p: Array, value: Array) -> Array:
    """Return p v, 0 where log p is minus infinity; an infinite v stays so wherever p is possible, however small."""
    value = np.asarray(value)
    if _finite(value):
        return np.exp(log_p) * value
    kept = np.where(np.isneginf(log_p), 0.0, value)
    return np.where(np.isinf(kept), kept, np.exp(log_p) * np.where(np.isinf(kept), 0.0, kept))


weighted = kernel(_weighted)
defvjp(
    weighted,
    lambda ans, log_p, value: lambda g: sum_to(g * ans, np.shape(log_p)),
    lambda ans, log_p, value: lambda g: sum_to(g * anp.exp(log_p), np.shape(value)),
)
defjvp(weighted, lambda g, ans, log_p, value: g * ans, lambda g, ans, log_p, value: g * anp.exp(log_p))


def masked(value: Array, mask: Array) -> Array:
    """Return v times its mask, 0 where the mask is 0 or False."""
    mask, value = kept(mask, value)
    return value * mask


def kept(mask: Array, *values: Array) -> list[Array]:
    """Return mask and values as arrays, 0 in place of what is infinite or NaN where the mask is 0 or False.

    Times the mask, they are 0 there. What is finite there stays: only functions that overflow need more care.
    """
    if not isbox(mask):
        mask = np.asarray(mask)
        mask = mask if np.issubdtype(mask.dtype, np.floating) else mask.astype(float)
    found = [value if isbox(value) else np.asarray(value) for value in values]
    return [mask, *(v if _finite(getval(v)) else anp.where(getval(mask) == 0, 0.0, v) for v in found)]


def expectation(log_p: Array, value: Array, less: Array | None = None) -> Array:
    """Return sum p v over the last axis, or sum p (v - w) if `less` is w, with the products of `weighted`."""
    with np.errstate(invalid="ignore"):
        value = value if less is None else anp.subtract(value, less)
        if not isbox(log_p) and not isbox(value):  # ask the sums, not every number, whether something is infinite
            total = np.sum(np.exp(log_p) * value, axis=-1)
            if _finite(total):
                return total
        return anp.sum(weighted(log_p, value), axis=-1)


def standardised(values: Array, mean: Array, deviation: Array, eps: float) -> Array:
    """Return (v - mean) / (deviation + eps), 0 where the deviation is no more than rounding leaves of equal numbers."""
    checks.not_negative("eps", eps, "what keeps a small deviation from blowing up")
    return (values - mean) / np.where(deviation > ROUNDING * np.abs(mean), deviation + eps, np.inf)


def _finite(value: Array) -> bool:
    return math.isfinite(np.vdot(value, value))  # faster than np.isfinite, and without its temporary array

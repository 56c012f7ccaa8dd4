"""Products in which a weight of 0 leaves nothing, whatever it weighs: 0 log 0 = 0, and padding does not count.

    p probability    v value    w what is taken off it

Infinity and NaN times 0 are NaN. Here they are 0, in the value and in the gradient.
"""

import math

import autograd.numpy as anp
import numpy as np
from autograd.extend import defjvp, defvjp
from autograd.tracer import isbox

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


def _masked(value: Array, mask: Array) -> Array:
    """Return v times its mask, 0 where the mask is 0 or False."""
    value, mask = np.asarray(value), np.asarray(mask)
    return value * mask if _finite(value) else np.where(mask == 0, 0.0, value) * mask


masked = kernel(_masked)
defvjp(
    masked,
    lambda ans, value, mask: lambda g: sum_to(g * mask, np.shape(value)),
    lambda ans, value, mask: lambda g: sum_to(g * value, np.shape(mask)),
)
defjvp(masked, lambda g, ans, value, mask: g * mask, lambda g, ans, value, mask: g * value)


def expectation(log_p: Array, value: Array, less: Array | None = None) -> Array:
    """Return sum p v over the last axis, or sum p (v - w) if `less` is w, with the products of `weighted`."""
    with np.errstate(invalid="ignore"):
        value = value if less is None else anp.subtract(value, less)
        if not isbox(log_p) and not isbox(value):  # ask the sums, not every number, whether something is infinite
            total = np.sum(np.exp(log_p) * value, axis=-1)
            if _finite(total):
                return total
        return anp.sum(weighted(log_p, value), axis=-1)


def standardised(centred: Array, deviation: Array, size: Array, eps: float) -> Array:
    """Return centred / (deviation + eps), 0 where numbers of this size differ by no more than rounding leaves."""
    checks.not_negative("eps", eps, "what keeps a small deviation from blowing up")
    differ = deviation > ROUNDING * size
    return np.where(differ, centred, 0.0) / np.where(differ, deviation + eps, 1.0)


def _finite(value: Array) -> bool:
    return math.isfinite(np.vdot(value, value))  # a third of the time of np.isfinite, and no number is left out

"""More ways in which losses of critics go wrong.

    epsilon clip range

Arrays are those of `zoo.returns`.
"""

import autograd.numpy as np

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.policies import masked_mean
from rlhf_lab.audit.zoo.returns import clipped_value_loss, value_loss
from rlhf_lab.numerics.autodiff import Array


def padding_in_value_loss(values: Array, returns: Array, mask: Array) -> Array:
    """Your critic is fitted on padding, too. Multiply by the mask, and divide by its sum."""
    return np.mean((values - returns) ** 2 / 2, axis=(-1, -2))


def error_not_squared(values: Array, returns: Array, mask: Array) -> Array:
    """You take the absolute error, which makes the critic learn a median. A value is a mean: square the error."""
    return masked_mean(np.abs(values - returns), mask)


def clipped_around_zero(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You hold the value itself between -epsilon and epsilon. Hold its change from the old value there."""
    near = np.clip(values, -clip_range, clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def clipped_around_returns(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You hold the value near the return that it should learn, so that the clip does nothing. Hold it near the old
    value."""
    near = returns + np.clip(values - returns, -clip_range, clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def squared_after_the_mean(values: Array, returns: Array, mask: Array) -> Array:
    """You average the errors first, and square their mean: errors of other signs cancel. Square each, and average
    then."""
    return masked_mean(values - returns, mask) ** 2 / 2


def root_taken(values: Array, returns: Array, mask: Array) -> Array:
    """You take the root of the mean square, so that the gradient does not fall as the error does. Leave the root
    out."""
    return np.sqrt(masked_mean((values - returns) ** 2, mask))


def return_added(values: Array, returns: Array, mask: Array) -> Array:
    """You add the return, so that values become minus what they should be. Subtract it."""
    return masked_mean((values + returns) ** 2 / 2, mask)


def old_value_left_out(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You clip the change of the value, and do not add the old value again. Add it."""
    near = np.clip(values - old_values, -clip_range, clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def clipped_from_above(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You clip the change of the value on one side, from above: it may fall as far as it likes. Clip on both sides."""
    near = old_values + np.minimum(values - old_values, clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def clipped_from_below(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You clip the change of the value on one side, from below: it may rise as far as it likes. Clip on both sides."""
    near = old_values + np.maximum(values - old_values, -clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


def change_added_twice(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """You add the clipped change to the new value, which holds the change already. Add it to the old value."""
    near = values + np.clip(values - old_values, -clip_range, clip_range)
    return masked_mean(np.maximum((values - returns) ** 2, (near - returns) ** 2) / 2, mask)


BUGS = (
    bug("clipped change added to the new value", "value_loss", change_added_twice, clipped_value_loss, "sec-ppo"),
    bug("critic fitted on padding", "value_loss", padding_in_value_loss, value_loss, "sec-ppo"),
    bug("error not squared", "value_loss", error_not_squared, value_loss, "sec-ppo"),
    bug("value clipped around zero", "value_loss", clipped_around_zero, clipped_value_loss, "sec-ppo"),
    bug("value clipped around the returns", "value_loss", clipped_around_returns, clipped_value_loss, "sec-ppo"),
    bug("squared after the mean", "value_loss", squared_after_the_mean, value_loss, "sec-ppo"),
    bug("root of the mean square", "value_loss", root_taken, value_loss, "sec-ppo"),
    bug("return added", "value_loss", return_added, value_loss, "sec-ppo"),
    bug("old value left out", "value_loss", old_value_left_out, clipped_value_loss, "sec-ppo"),
    bug("value clipped from above only", "value_loss", clipped_from_above, clipped_value_loss, "sec-ppo"),
    bug("value clipped from below only", "value_loss", clipped_from_below, clipped_value_loss, "sec-ppo"),
)

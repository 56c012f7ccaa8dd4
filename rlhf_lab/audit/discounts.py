"""One number where another belongs: advantages that discount the next value, or let the trace decay, by another number.

V value    gamma discount    lambda trace
"""

from collections.abc import Callable, Iterator
from functools import partial

import autograd.numpy as np

from rlhf_lab.audit.zoo import ZOO, Bug, advantages, returns
from rlhf_lab.numerics.autodiff import Array

Number = Callable[[float, float], float]  # of gamma and lambda
NUMBERS: dict[str, Number] = {
    "gamma": lambda gamma, lam: gamma,
    "lambda": lambda gamma, lam: lam,
    "gamma lambda": lambda gamma, lam: gamma * lam,
    "1": lambda gamma, lam: 1.0,
    "0": lambda gamma, lam: 0.0,
    "gamma squared": lambda gamma, lam: gamma**2,
    "lambda squared": lambda gamma, lam: lam**2,
    "gamma squared times lambda": lambda gamma, lam: gamma**2 * lam,
    "gamma times lambda squared": lambda gamma, lam: gamma * lam**2,
    "1 - gamma": lambda gamma, lam: 1 - gamma,
    "1 - lambda": lambda gamma, lam: 1 - lam,
    "gamma (1 - lambda)": lambda gamma, lam: gamma * (1 - lam),
    "gamma + lambda": lambda gamma, lam: gamma + lam,
}


def discounted() -> Iterator[Bug]:
    """Yield generalised advantage estimates with a wrong number in one of two places, or in both, or a wrong value."""
    yield from _own_values()
    places = [(value, "gamma lambda") for value in NUMBERS] + [("gamma", trace) for trace in NUMBERS]
    places += [(value, trace) for value in NUMBERS for trace in NUMBERS]
    for value, trace in dict.fromkeys(places):
        wrong = [f"{value} in place of gamma before the next value"] * (value != "gamma")
        wrong += [f"{trace} in place of gamma lambda in the trace"] * (trace != "gamma lambda")
        if wrong:
            told = "You discount the next value by {}, and let the trace decay by {}. Take gamma, and gamma lambda."
            function = partial(_gae, value=NUMBERS[value], trace=NUMBERS[trace])
            yield Bug("; ".join(wrong), "gae", told.format(value, trace), function, returns.gae, "", "")


def _own_values() -> Iterator[Bug]:
    """A value in place of the next, in more places or in fewer than in the zoo: where nothing comes next."""
    own = next(bug for bug in ZOO if bug.function is advantages.own_value_next)
    last = next(bug for bug in ZOO if bug.function is advantages.last_on_itself)
    yield own._replace(function=partial(_own, own=1.0, at_last=0.0))
    yield own._replace(function=partial(_own, own=1.0, at_last=1.0))
    yield last._replace(function=partial(_own, own=0.0, at_last=1.0))


def _own(rewards: Array, values: Array, mask: Array, gamma: float, lam: float, *, own: float, at_last: float) -> Array:
    """With V_t in place of the next value, or beside it, `own` times inside a row, and `at_last` times at its end."""
    following = (1 - own) * returns.shifted(values * mask)
    times = np.concatenate([own * np.ones(mask[..., 1:].shape), at_last * np.ones(mask[..., :1].shape)], axis=-1)
    return returns.swept((rewards + gamma * (following + times * values) - values) * mask, gamma * lam) * mask


def _gae(
    rewards: Array, values: Array, mask: Array, gamma: float, lam: float, *, value: Number, trace: Number
) -> Array:
    following = value(gamma, lam) * returns.shifted(values * mask)
    return returns.swept((rewards + following - values) * mask, trace(gamma, lam)) * mask

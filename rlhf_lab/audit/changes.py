"""What people do to an input before they use it: signs and shapes, one place off, a statistic over the wrong numbers.

x numbers of an input    mask 1 where they count
"""

from collections.abc import Callable, Iterator
from functools import partial

import autograd.numpy as np

from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.zoo.policies import bfloat16
from rlhf_lab.numerics.autodiff import Array


def _times(factor: float, x: float) -> float:
    return factor * x


def _clipped(bound: float, x: Array) -> Array:
    return np.clip(x, -bound, bound)


CHANGES: dict[str, Callable[[Array], Array]] = {
    "0": lambda x: 0.0 * x,
    "minus {}": lambda x: -x,
    "the size of {}": np.abs,
    "the sign of {}": np.sign,
    "the square of {}": lambda x: x**2,
    "twice {}": lambda x: 2 * x,
    "half of {}": lambda x: x / 2,
    "the exponential of {}": np.exp,
    "the sigmoid of {}": lambda x: 1 / (1 + np.exp(-x)),
    "the hyperbolic tangent of {}": np.tanh,
    "{} without what is negative": lambda x: np.maximum(x, 0.0),
    "{} one place late": lambda x: np.concatenate([0.0 * x[..., :1], x[..., :-1]], axis=-1),
    "{} one place early": lambda x: np.concatenate([x[..., 1:], 0.0 * x[..., :1]], axis=-1),
    "{} of the row before": lambda x: np.concatenate([x[-1:], x[:-1]]),
    "{} of the row behind": lambda x: np.concatenate([x[1:], x[:1]]),
    "{} from the end to the beginning": lambda x: x[..., ::-1],
    "sums of {} up to each place": lambda x: np.cumsum(x, axis=-1),
    "ranks of {}": lambda x: 1.0 * np.argsort(np.argsort(x, axis=-1), axis=-1),
    "{} rounded to 8 bits": bfloat16,
} | {f"{{}} clipped to {c:g}": partial(_clipped, c) for c in (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)}
NUMBERS: dict[str, Callable[[float], float]] = {
    "1": lambda x: 1.0,
    "0": lambda x: np.float64(0.0),
    "minus {}": lambda x: -x,
    "1 / {}": lambda x: 1 / x,
    "1 less {}": lambda x: 1 - x,
    "the square of {}": lambda x: x**2,
    "the root of {}": lambda x: x**0.5,
    "twice {}": lambda x: 2 * x,
    "half of {}": lambda x: x / 2,
    "the cube of {}": lambda x: x**3,
} | {f"{c:g} times {{}}": partial(_times, c) for c in (0.1, 0.25, 1 / 3, 0.75, 1.5, 3.0, 4.0, 5.0, 10.0, 100.0)}
MASKS: dict[str, Callable[[Array], Array]] = {
    "the mask one place early": lambda m: np.concatenate([m[:, 1:], 0.0 * m[:, :1]], axis=1),
    "the mask one place late": lambda m: np.concatenate([0.0 * m[:, :1], m[:, :-1]], axis=1),
    "a mask without the first token": lambda m: m * np.concatenate([0.0 * m[:, :1], m[:, :-1]], axis=1),
    "a mask with one place more": lambda m: np.maximum(m, np.concatenate([m[:, :1], m[:, :-1]], axis=1)),
    "1 less the mask": lambda m: 1.0 - m,
}
ENDS: dict[str, Callable[[Array], Array]] = {
    "flags one place early": lambda ends: np.concatenate([ends[:, 1:], 0.0 * ends[:, :1]], axis=1),
    "flags one place late": lambda ends: np.concatenate([0.0 * ends[:, :1], ends[:, :-1]], axis=1),
    "1 less the flags": lambda ends: 1.0 - ends,
}
Set = tuple[int, ...] | None
Change = Callable[[Array, Array], Array]


def _sets(x: Array, mask: Array) -> dict[str, tuple[Set, Array]]:
    """Over which numbers a statistic may be taken: axes, and what counts."""
    every = np.ones(x.shape)
    if x.ndim == 1:
        return {"the batch": (None, every)}
    return {
        "the batch": (None, mask),
        "the batch, padding with it": (None, every),
        "each answer by itself": ((-1,), mask),
        "each answer by itself, padding with it": ((-1,), every),
        "each place by itself": ((-2,), mask),
        "each place by itself, padding with it": ((-2,), every),
    }


def _moments(x: Array, axes: Set, counts: Array, ddof: int) -> tuple[Array, Array]:
    """The mean and the standard deviation over a set, NaN where it is of one number and has to be of two."""
    count = np.sum(counts, axis=axes, keepdims=True)
    mean = np.sum(x * counts, axis=axes, keepdims=True) / np.maximum(count, 1)
    return mean, np.sqrt(np.sum((x - mean) ** 2 * counts, axis=axes, keepdims=True) / (count - ddof))


def _range(x: Array, axes: Set, counts: Array) -> tuple[Array, Array]:
    """The smallest and the largest number of a set."""
    low = np.min(np.where(counts > 0, x, np.inf), axis=axes, keepdims=True)
    return low, np.max(np.where(counts > 0, x, -np.inf), axis=axes, keepdims=True)


SMALL = 1e-8  # what people add to a denominator
STATISTICS: dict[str, Callable[[Array, Set, Array], Array]] = {
    "the mean of {}": lambda x, s, c: _moments(x, s, c, 0)[0] + 0.0 * x,
    "{} less its mean": lambda x, s, c: x - _moments(x, s, c, 0)[0],
    "{} less its largest": lambda x, s, c: x - _range(x, s, c)[1],
    "{} whitened": lambda x, s, c: (x - _moments(x, s, c, 0)[0]) / (_moments(x, s, c, 0)[1] + SMALL),
    "{} whitened by the count less 1": lambda x, s, c: (
        (x - _moments(x, s, c, 1)[0]) / (_moments(x, s, c, 1)[1] + SMALL)
    ),
    "{} over its deviation": lambda x, s, c: x / (_moments(x, s, c, 0)[1] + SMALL),
    "{} over its deviation by the count less 1": lambda x, s, c: x / (_moments(x, s, c, 1)[1] + SMALL),
    "{} scaled to its range": lambda x, s, c: (
        (x - _range(x, s, c)[0]) / (_range(x, s, c)[1] - _range(x, s, c)[0] + SMALL)
    ),
    "the sum of {}": lambda x, s, c: np.sum(x * c, axis=s, keepdims=True) + 0.0 * x,
}


def _zeroed(statistic: Callable[[Array, Set, Array], Array], x: Array, mask: Array) -> Array:
    return statistic(x * mask, None, np.ones(x.shape))


def changed(x: Array, mask: Array) -> Iterator[tuple[str, Change]]:
    """Yield names, with {} for the input, and what makes of its numbers and their mask what is used in its place."""
    for name, change in CHANGES.items():
        yield name, partial(_by_number, change)
    if x.ndim < 3 and mask.ndim == 2:
        yield "{} over the length", _over_the_length
    if x.ndim < 3:
        for what in _sets(x, mask):
            for name, statistic in STATISTICS.items():
                usual = (what, name) == ("the batch", "the mean of {}")
                yield name if usual else f"{name}, over {what}", partial(_over, statistic, what)
    if x.ndim == 2 and not np.all(mask):
        for name, statistic in STATISTICS.items():
            yield f"{name}, over the batch with 0 for padding", partial(_zeroed, statistic)


def _by_number(change: Callable[[Array], Array], x: Array, mask: Array) -> Array:
    return change(x)


def _over(statistic: Callable[[Array, Set, Array], Array], what: str, x: Array, mask: Array) -> Array:
    return statistic(x, *_sets(x, mask)[what])


def _over_the_length(x: Array, mask: Array) -> Array:
    return x / np.sum(mask, axis=-1, keepdims=x.ndim == 2)


def mask_of(x: Array, case: Case) -> Array:
    """Return the mask of numbers: that of the case, or one where all count."""
    mask = case.get("mask")
    return np.ones(x.shape) if mask is None or (x.ndim == 2 and np.shape(mask) != x.shape) else np.asarray(mask)


class Difference:
    """A difference of inputs that goes into a function; what is put in its place changes one of them."""

    def __init__(self, name: str, plus: tuple[str, ...], minus: tuple[str, ...]) -> None:
        self.name, self.plus, self.minus = name, plus, minus

    def within(self, case: Case) -> bool:
        """Return whether a case holds all of it."""
        return all(name in case for name in (*self.plus, *self.minus))

    def read(self, case: Case) -> Array:
        """Return it."""
        return sum(case[name] for name in self.plus) - sum(case[name] for name in self.minus)

    def write(self, case: Case, value: Array) -> Case:
        """Return the case where it is another."""
        return case | {self.minus[0]: case[self.minus[0]] + self.read(case) - value}


DIFFERENCES = (
    Difference("log ratio to the old policy", ("log_pi",), ("log_old",)),
    Difference("log ratio to the reference", ("log_pi",), ("log_ref",)),
    Difference("difference of the rewards", ("chosen_rewards",), ("rejected_rewards",)),
    Difference("error", ("values",), ("returns",)),
    Difference(
        "log ratio of the chosen answer",
        ("policy_chosen",),
        ("reference_chosen",),
    ),
    Difference(
        "log ratio of the rejected answer",
        ("policy_rejected",),
        ("reference_rejected",),
    ),
    Difference(
        "margin",
        ("policy_chosen", "reference_rejected"),
        ("reference_chosen", "policy_rejected"),
    ),
)

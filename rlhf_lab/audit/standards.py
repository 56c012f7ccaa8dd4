"""Right advantages of groups, with every small number and either way to count, and the bugs among them.

r reward    G groups of k answers    eps what is added to a deviation
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit.contracts import Right
from rlhf_lab.audit.zoo import ZOO, Bug, returns
from rlhf_lab.audit.zoo.advantages import dr_grpo
from rlhf_lab.numerics.autodiff import Array

EPS = (0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3)


def standardised(
    rewards: Array, of: tuple[int, ...] | None, by: tuple[int, ...], ddof: int, eps: float, *, root: bool = True
) -> Array:
    """Return (r - mean over some axes) / (standard deviation over some axes + eps), 0 for 0 / 0; `of` None: no mean.

    The deviation of one number, if it is to divide by 0, is NaN, as it is in NumPy and PyTorch.
    """
    mean = np.mean(rewards, axis=of, keepdims=True) if of else 0.0
    count = np.prod([rewards.shape[axis] for axis in by])
    square = (rewards - np.mean(rewards, axis=by, keepdims=True)) ** 2
    with np.errstate(all="ignore"):
        variance = np.sum(square, axis=by, keepdims=True) / (count - ddof)
    scale = (np.sqrt(variance) if root else variance) + eps
    return (rewards - mean) / np.where(scale <= 1e-12, 1.0, scale)


def _rooted(rewards: Array, ddof: int, eps: float) -> Array:
    """Return GRPO's advantages with eps added to the variance, under the root."""
    centred = rewards - np.mean(rewards, axis=-1, keepdims=True)
    variance = np.sum(centred**2, axis=-1, keepdims=True) / (rewards.shape[-1] - ddof)
    return centred / np.sqrt(variance + eps)


def _no_zero(rewards: Array, ddof: int, eps: float) -> Array:
    with np.errstate(all="ignore"):
        centred = rewards - np.mean(rewards, axis=-1, keepdims=True)
        return centred / np.sqrt(np.sum(centred**2, axis=-1, keepdims=True) / (rewards.shape[-1] - ddof))


def _turned(rewards: Array, ddof: int, eps: float) -> Array:
    return -standardised(rewards, GROUP, GROUP, ddof, eps)


def _cut(rewards: Array, ddof: int, eps: float, axes: tuple[int, ...]) -> Array:
    groups, k = rewards.shape
    return standardised(rewards.reshape(k, groups), axes, axes, ddof, eps).reshape(groups, k)


def _tiled(rewards: Array, ddof: int, eps: float) -> Array:
    groups, k = rewards.shape
    whose = np.arange(groups * k).reshape(groups, k) % groups
    mean = np.mean(rewards, axis=-1)
    with np.errstate(all="ignore"):
        deviation = np.sqrt(np.sum((rewards - mean[:, None]) ** 2, axis=-1) / (k - ddof)) + eps
    return (rewards - mean[whose]) / deviation[whose]


GROUP, BATCH, PROMPTS = (-1,), (-2, -1), (-2,)
DIVIDES = ("k", "k - 1")
WAYS = [(ddof, eps) for eps in EPS for ddof in (0, 1)]


def _right(what: str, of: tuple[int, ...] | None, by: tuple[int, ...], whose: str) -> tuple[Right, ...]:
    return tuple(
        Right(
            f"{what}, {whose} (the variance divides by the count{' less 1' * ddof}; {eps:g} is added)",
            lambda rewards, ddof=ddof, eps=eps: standardised(rewards, of, by, ddof, eps),
        )
        for ddof, eps in WAYS
    )


def rloo_whitened(rewards: Array, ddof: int, eps: float) -> Array:
    """Return RLOO's advantages, whitened over the batch."""
    return standardised(returns.rloo(rewards), BATCH, BATCH, ddof, eps)


def _others_in_batch(rewards: Array) -> Array:
    return rewards - (np.sum(rewards) - rewards) / (rewards.size - 1) if rewards.size > 1 else rewards


RIGHTS = {
    "grpo": (
        *_right("GRPO: less the mean of the group, by its deviation", GROUP, GROUP, "that of the group"),
        *(
            Right(
                f"GRPO: {eps:g} is added to the variance, under the root (it divides by {DIVIDES[ddof]})",
                partial(_rooted, ddof=ddof, eps=eps),
            )
            for ddof, eps in WAYS[2:]
        ),
    ),
    "dr_grpo": (Right("Dr. GRPO: less the mean of the group (times k / (k - 1) this is RLOO)", dr_grpo),),
    "rloo": (Right("RLOO: less the mean of the others in the group", returns.rloo),),
    "reinforce": (
        Right("REINFORCE without a baseline", lambda rewards: 1.0 * rewards),
        Right("REINFORCE: less the mean of the batch", lambda rewards: rewards - np.mean(rewards)),
        Right("REINFORCE: less the mean of all others in the batch", _others_in_batch),
        *_right("REINFORCE: whitened over the batch", BATCH, BATCH, "by its deviation"),
    ),
}


def _by_others(rewards: Array, ddof: int, eps: float) -> Array:
    k = rewards.shape[-1]
    others = (np.sum(rewards, axis=-1, keepdims=True) - rewards) / (k - 1)
    squares = (np.sum(rewards**2, axis=-1, keepdims=True) - rewards**2) / (k - 1) - others**2
    squares = np.where(squares > 1e-12, squares, 0.0) * (k - 1) / max(k - 1 - ddof, 1)
    return (rewards - others) / (np.sqrt(squares) + eps)


VARIANTS: dict[str, Callable[[Array, int, float], Array]] = {
    "deviation of the batch": lambda r, ddof, eps: standardised(r, GROUP, BATCH, ddof, eps),
    "mean of the batch": lambda r, ddof, eps: standardised(r, BATCH, BATCH, ddof, eps),
    "mean not subtracted": lambda r, ddof, eps: standardised(r, None, GROUP, ddof, eps),
    "normalised across prompts": lambda r, ddof, eps: standardised(r, PROMPTS, PROMPTS, ddof, eps),
    "divided by the variance": lambda r, ddof, eps: standardised(r, GROUP, GROUP, ddof, eps, root=False),
    "group advantage turned round": _turned,
    "deviation kept": lambda r, ddof, eps: standardised(r, GROUP, GROUP, ddof, eps),
    "spread of zero": _no_zero,
    "divided by the spread of others": _by_others,
    "means of groups tiled": lambda r, ddof, eps: _tiled(r, ddof, eps),
    "groups cut the wrong way": lambda r, ddof, eps: _cut(r, ddof, eps, PROMPTS),
    "groups cut the wrong way ": lambda r, ddof, eps: _cut(r, ddof, eps, GROUP),
}


BASELINES: dict[str, Callable[[Array], Array]] = {
    "0": lambda r: 0.0 * r,
    "the mean of the group": lambda r: np.mean(r, axis=-1, keepdims=True),
    "the mean of the batch": lambda r: np.mean(r),
    "the mean across prompts": lambda r: np.mean(r, axis=-2, keepdims=True),
    "the mean of the others": lambda r: r - returns.rloo(r),
    "the sum of the others over k": lambda r: (r - returns.rloo(r)) * (r.shape[-1] - 1) / r.shape[-1],
    "the sum of the others": lambda r: (r - returns.rloo(r)) * (r.shape[-1] - 1),
    "the mean of all others in the batch": lambda r: r - _others_in_batch(r),
    "the median of the group": lambda r: np.array(np.median(r, axis=-1, keepdims=True)),
    "the largest of the group": lambda r: np.max(r, axis=-1, keepdims=True),
    "the smallest of the group": lambda r: np.min(r, axis=-1, keepdims=True),
    "the largest of the batch": lambda r: np.max(r),
    "the smallest of the batch": lambda r: np.min(r),
    "the first of the group": lambda r: r[..., :1],
    "the last of the group": lambda r: r[..., -1:],
    "the one before in the group": lambda r: np.roll(r, 1, axis=-1),
}
OVER = {"group": GROUP, "batch": BATCH, "rewards to the same place of all prompts": PROMPTS}


def _spread(rewards: Array, axes: tuple[int, ...], ddof: int, eps: float, power: int) -> Array:
    count = np.prod([rewards.shape[axis] for axis in axes])
    squares = (rewards - np.mean(rewards, axis=axes, keepdims=True)) ** 2
    with np.errstate(all="ignore"):
        variance = np.sum(squares, axis=axes, keepdims=True) / (count - ddof)
    return (variance if power == 2 else np.sqrt(variance)) + eps


def _range(rewards: Array, axes: tuple[int, ...], eps: float) -> Array:
    return np.max(rewards, axis=axes, keepdims=True) - np.min(rewards, axis=axes, keepdims=True) + eps


def _mean_size(rewards: Array, eps: float) -> Array:
    return np.abs(np.mean(rewards, axis=-1, keepdims=True)) + eps


SCALES: dict[str, tuple[Callable[[Array], Array], ...]] = {
    "": (lambda r: np.ones((1, 1)),),
    **{
        f"the deviation of the {whose}": tuple(partial(_spread, axes=axes, ddof=d, eps=e, power=1) for d, e in WAYS)
        for whose, axes in OVER.items()
    },
    "the variance of the group": tuple(partial(_spread, axes=GROUP, ddof=d, eps=e, power=2) for d, e in WAYS),
    "the mean of the group": tuple(partial(_mean_size, eps=e) for e in EPS),
    **{f"the range of the {w}": tuple(partial(_range, axes=OVER[w], eps=e) for e in EPS) for w in ("group", "batch")},
}


def _scaled(rewards: Array, baseline: Callable[[Array], Array], scale: Callable[[Array], Array]) -> Array:
    with np.errstate(all="ignore"):
        return (rewards - baseline(rewards)) / scale(rewards)


def _mixed() -> tuple[Bug, ...]:
    """Every baseline by every scale."""
    found = []
    for baseline, less in BASELINES.items():
        for scale, by in SCALES.items():
            name = f"less {baseline}" + f", by {scale}" * bool(scale)
            words = f"You subtract {baseline}" + (f" and divide by {scale}" if scale else ", and that is all")
            told = f"{words}. Take the baseline and the scale of this kind of advantage."
            found += [
                Bug(name, "advantages", told, partial(_scaled, baseline=less, scale=s), dr_grpo, "", "") for s in by
            ]
    for low in (0.0, -1.0):
        told = "You scale to the range of the group: its extremes set the size. Divide by the deviation, or not at all."
        by_range = (partial(_to_range, low=low, eps=eps) for eps in EPS)
        found += [
            Bug(f"scaled to the range from {low:g} to 1", "advantages", told, f, dr_grpo, "", "") for f in by_range
        ]
    return tuple(found)


def _to_range(rewards: Array, low: float, eps: float) -> Array:
    least = np.min(rewards, axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        return low + (1 - low) * (rewards - least) / (np.max(rewards, axis=-1, keepdims=True) - least + eps)


def bugs_of(right: Callable[..., Any] | None) -> tuple[Bug, ...]:
    """The bugs of a kind, with every eps and either way to count, and any mixture of baselines and scales."""
    known = [bug for bug in ZOO if bug.audit == "advantages" and bug.right is right]
    more = [
        bug._replace(function=lambda rewards, f=f, ddof=ddof, eps=eps: f(rewards, ddof, eps))
        for bug in known
        for name, f in VARIANTS.items()
        if bug.name == name.strip()
        for ddof, eps in (WAYS[:2] if bug.name == "spread of zero" else WAYS)
    ]
    return (*known, *more, *_mixed())

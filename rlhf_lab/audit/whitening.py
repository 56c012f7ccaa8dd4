"""The audit of whitening.

A advantage
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Right, Shown, near
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.standards import WAYS
from rlhf_lab.audit.zoo import ZOO, Bug, returns
from rlhf_lab.numerics.autodiff import Array

ADVANTAGE = batches.ADVANTAGE + "|x|values|xs|rewards|scores"


def _whiten_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = []
    for n, t in ((1, 2), (1, 3), (2, 2), (2, 3), (4, 5)):
        found.append({"advantage": rng.integers(-30, 31, (n, t)) / 10 + 0.4, "mask": batches.lengths(rng, n, t)})
    return tuple(found)


def _whitened(advantage: Array, mask: Array, ddof: int, eps: float, *, under: bool, back: bool) -> Array:
    count = np.sum(mask)
    mean = np.sum(advantage * mask) / count
    variance = np.sum((advantage - mean) ** 2 * mask) / max(count - ddof, 1)
    scale = np.sqrt(variance + eps) if under else np.sqrt(variance) + eps
    return ((advantage - mean) / scale + back * mean) * mask


def _standard(advantage: Array, mask: Array, axis: int | None, ddof: int, eps: float) -> tuple[Array, Array, Array]:
    """The mean, the variance and the deviation over an axis of what counts."""
    count = np.sum(mask, axis=axis, keepdims=True)
    mean = np.sum(advantage * mask, axis=axis, keepdims=True) / np.maximum(count, 1)
    variance = np.sum((advantage - mean) ** 2 * mask, axis=axis, keepdims=True) / np.maximum(count - ddof, 1)
    return mean, variance, np.sqrt(variance) + eps


def _with_padding(advantage: Array, mask: Array, ddof: int, eps: float, *, zeroed: bool) -> Array:
    """Whitened over all places, where padding is 0 or as it is."""
    every = np.ones(mask.shape)
    given = advantage * mask if zeroed else advantage
    mean, _, scale = _standard(given, every, None, ddof, eps)
    return (given - mean) / scale * mask


def _by_places(advantage: Array, mask: Array, ddof: int, eps: float, *, mean_too: bool) -> Array:
    """Whitened with sums over what counts that are divided by the number of all places: all, or that of the squares."""
    mean = np.sum(advantage * mask) / (np.size(mask) if mean_too else np.sum(mask))
    variance = np.sum((advantage - mean) ** 2 * mask) / max(np.size(mask) - ddof, 1)
    return (advantage - mean) / (np.sqrt(variance) + eps) * mask


VARIANTS: dict[str, Callable[..., Array]] = {
    "whitened by the variance": lambda a, m, ddof, eps: (
        (a - _standard(a, m, None, ddof, eps)[0]) / (_standard(a, m, None, ddof, eps)[1] + eps) * m
    ),
    "mean left in": lambda a, m, ddof, eps: a / _standard(a, m, None, ddof, eps)[2] * m,
    "multiplied by the deviation": lambda a, m, ddof, eps: (
        (a - _standard(a, m, None, ddof, eps)[0]) * _standard(a, m, None, ddof, eps)[2] * m
    ),
    "whitened in a batch of one": lambda a, m, ddof, eps: (
        (a - _standard(a, m, -1, ddof, eps)[0]) / _standard(a, m, -1, ddof, eps)[2] * m
    ),
    "whitened with padding": partial(_with_padding, zeroed=True),
    "whitened with padding ": partial(_with_padding, zeroed=False),
    "whitened with padding  ": partial(_by_places, mean_too=True),
    "whitened with padding   ": partial(_by_places, mean_too=False),
    "whitened place by place": lambda a, m, ddof, eps: (
        (a - _standard(a, m, -2, ddof, eps)[0]) / _standard(a, m, -2, ddof, eps)[2] * m
    ),
}


SIZES: dict[str, Callable[[Array, Array], Array]] = {  # of advantages, and of these less their mean
    "the root mean square": lambda a, centred: np.sqrt(np.mean(a**2)),
    "the mean distance from the mean": lambda a, centred: np.mean(np.abs(centred)),
    "the largest distance from the mean": lambda a, centred: np.max(np.abs(centred)),
    "the largest": lambda a, centred: np.max(np.abs(a)),
    "the mean size": lambda a, centred: np.mean(np.abs(a)),
}


def _mixed() -> tuple[Bug, ...]:
    """What is subtracted by another size."""
    found = []
    for less, centred in (("the mean", True), ("nothing", False)):
        for by, size in SIZES.items():
            told = f"You subtract {less} and divide by {by}. Subtract the mean, and divide by the standard deviation."
            function = partial(_by_size, size=size, centred=centred)
            found.append(Bug(f"less {less}, by {by}", "whiten", told, function, returns.whiten, "", ""))
    told = "You divide by the deviation, and subtract the mean of what was not divided yet. Subtract it first."
    return (*found, Bug("mean subtracted last", "whiten", told, _mean_last, returns.whiten, "", ""))


def _mean_last(advantage: Array, mask: Array) -> Array:
    mean, _, deviation = _standard(advantage, mask, None, 0, 1e-8)
    return (advantage / deviation - mean) * mask


def _by_size(advantage: Array, mask: Array, *, size: Callable[[Array, Array], Array], centred: bool) -> Array:
    each = advantage[mask > 0]
    mean = np.mean(each)
    return (advantage - mean * centred) / (size(each, each - mean) + 1e-8) * mask


def _bugs() -> tuple[Bug, ...]:
    """The bugs of the zoo, and these with every small number and either way to count."""
    known = [bug for bug in ZOO if bug.audit == "whiten"]
    more = [
        bug._replace(function=partial(variant, ddof=ddof, eps=eps))
        for bug in known
        for name, variant in VARIANTS.items()
        if bug.name == name.strip()
        for ddof, eps in WAYS
    ]
    return (*known, *more, *_mixed())


def _by(function: Callable[..., Any], case: Case) -> Array:
    """Call with what is under the mask only, and put 0 elsewhere."""
    return function(case["advantage"], case["mask"]) * case["mask"]


def _average(whiten: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        yield Shown(case, np.sum(whiten(case) * case["mask"]), np.zeros(()))


def _spread(whiten: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        count = np.sum(case["mask"])
        found = np.sum(whiten(case) ** 2 * case["mask"])
        wanted = min((count, count - 1), key=lambda n: abs(n - float(found)))
        yield Shown(case, near(found, np.array(wanted)), np.array(wanted))


def _any_scale(whiten: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        moved = case | {"advantage": 3 * case["advantage"] + 2}
        wanted = whiten(case) * case["mask"]
        yield Shown(moved, near(whiten(moved) * case["mask"], wanted), wanted)


def _whiten_key(whiten: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        found = whiten(case)
        either = [_whitened(**case, ddof=d, eps=1e-8, under=False, back=False) for d in (0, 1)]
        wanted = min(either, key=lambda w: float(np.max(np.abs(w - found))))
        yield Shown(case, near(found, wanted), wanted)


def _masked(values: Array, case: Case) -> Array:
    return np.where(case["mask"] > 0, values, 0.0) if values.shape == case["mask"].shape else values


def _whiten_rights(*, back: bool) -> tuple[Right, ...]:
    return tuple(
        Right(
            f"the variance divides by {('the count', 'the count less 1')[ddof]}, and {eps:g} is added to "
            f"{'it' if under else 'its root'}" + ("; the mean is put back, as for rewards" if back else ""),
            lambda advantage, mask, ddof=ddof, eps=eps, under=under: _whitened(
                advantage, mask, ddof, eps, under=under, back=back
            ),
        )
        for eps in (1e-8, 0.0, 1e-6, 1e-5, 1e-4, 1e-3)
        for under in (False, True)
        for ddof in (0, 1)
    )


def _all_of_it(cases: Sequence[Case]) -> list[Case]:
    return [case | {"mask": np.ones(case["mask"].shape)} for case in cases]


WHITEN = Contract(
    "whiten",
    (Input("advantage", ADVANTAGE), batches.mask_of("advantage")),
    "(A - mean) / standard deviation, both over the tokens of the whole batch that count",
    _whiten_rights(back=False),
    _whiten_cases(),
    (Form("", call=_by),),
    (
        Identity("its mean is 0", _average),
        Identity("its mean square is 1", _spread),
        Identity("any scale and shift of advantages gives the same", _any_scale),
        Identity(
            "padding changes nothing",
            partial(batches.padding, ("advantage",)),
            needs="mask",
            bug="whitened with padding",
        ),
        Identity("(A - mean) / deviation", _whiten_key),
    ),
    (),
    False,
    general=True,
    bugs=_bugs(),
    layouts=(
        Layout("", back=_masked),
        Layout(
            "flat, one number for each sample of a batch",
            lambda c: {"advantage": c["advantage"].ravel()},
            lambda v, c: v.reshape(c["advantage"].shape) if v.size == c["advantage"].size else v,
            (Input("advantage", ADVANTAGE),),
            _all_of_it,
        ),
    ),
)


WHITEN_REWARDS = WHITEN._replace(
    rights=_whiten_rights(back=True), identities=WHITEN.identities[3:4], bugs=(), strict=True
)


def whiten(function: Callable[..., Any]) -> Report:
    """Audit whitening: `function(advantage, mask)`, arrays (N, T), of which `mask` may be left out.

    The standard deviation may divide by the count or the count less 1, and a small number may be added to it.
    """
    return audit((WHITEN, WHITEN_REWARDS), function)

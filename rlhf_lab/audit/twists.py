"""What goes wrong in any function: its numbers have another sign or size, or are rounded inside, or averaged twice."""

from collections.abc import Callable, Sequence

import numpy as np

from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.contracts import Contract, Form, Right
from rlhf_lab.audit.exchanges import arrays_of, named
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.recognition import TOLERANCE, Match, Seen, recognised, result_of, unsloped
from rlhf_lab.audit.zoo.policies import bfloat16
from rlhf_lab.numerics.autodiff import Array

Twists = dict[tuple[str, str], Callable[[Array, Case], Array]]  # by their names, and what is told of them
SIGNS: Twists = {
    ("minus the right numbers", "You return minus what you should. Turn the sign."): lambda values, case: -values,
    ("sign lost", "You return sizes, without their sign. Leave out the absolute value."): lambda values, case: np.abs(
        values
    ),
}
TWICE = "You divide by the number of {}, and average besides: gradients shrink with the size of the batch. Divide once."
AVERAGED: Twists = {
    ("averaged twice over the batch", TWICE.format("rows of the batch")): lambda values, case: values / _rows(case),
    ("averaged twice over tokens", TWICE.format("tokens")): lambda values, case: values / np.sum(_counts(case)),
    ("averaged twice over places", TWICE.format("places")): lambda values, case: values / np.size(_counts(case)),
}
RESULTS: Twists = {
    (what, f"You return {what}. Leave that out."): turn
    for what, turn in {
        "sums of the right numbers up to each place": lambda values, case: np.cumsum(values, axis=-1),
        "sums of the right numbers up to each place, 0 on padding": lambda values, case: (
            np.cumsum(values, axis=-1) * (values != 0)
        ),
        "the right numbers one place late": lambda values, case: np.concatenate(
            [0 * values[..., :1], values[..., :-1]], axis=-1
        ),
        "the right numbers one place early": lambda values, case: np.concatenate(
            [values[..., 1:], 0 * values[..., :1]], axis=-1
        ),
        "the right numbers from the end to the beginning": lambda values, case: values[..., ::-1],
        "the right numbers without what is negative": lambda values, case: np.maximum(values, 0.0),
        "the right numbers clipped to 1": lambda values, case: np.clip(values, -1.0, 1.0),
        "the right numbers whitened row by row": lambda values, case: _whitened(values, case),
        "the right numbers discounted once more, by gamma for each step": lambda values, case: (
            values * case.get("gamma", 1.0) ** np.arange(values.shape[-1])
        ),
    }.items()
}
LENGTHS: Twists = {
    (
        "divided by the length twice",
        "You divide by the number of tokens of each answer twice, so that long ones count for little. Divide once.",
    ): lambda values, case: values / _lengths(values, case),
}
ROUNDED = (
    "half precision inside",
    "You compute in half precision, which holds two or three digits, and what you subtract is rounded before. Take "
    "differences, exponentials and means in single precision.",
)


def twisted(contract: Contract, rights: Sequence[Right], seen: Seen, cases: list[Case]) -> Match | None:
    """Return how a function equals a right one but for the sign of its numbers, or for a mean too many."""
    return _through_any(AVERAGED if contract.loss else SIGNS, _through, contract, rights, seen, cases)


def retold(contract: Contract, rights: Sequence[Right], seen: Seen, cases: list[Case]) -> Match | None:
    """Return how a function equals a right one but for what it does to its numbers at last, or to those of a row."""
    if recognised(contract, rights, (), seen._replace(slopes=unsloped), cases):
        return None  # its numbers are right as they are
    if contract.loss:
        return _through_any(LENGTHS, _within, contract, rights, seen, cases)
    if not np.ndim(seen.values[-1]):
        return None
    rows = contract._replace(
        forms=tuple(form for form in contract.forms if np.ndim(result_of(rights[0], form, cases[-1])))
    )
    return _through_any(RESULTS, _through, rows, rights, seen, cases)


def _through_any(
    twists: Twists,
    through: Callable[[Form, Callable[[Array, Case], Array]], Form],
    contract: Contract,
    rights: Sequence[Right],
    seen: Seen,
    cases: list[Case],
) -> Match | None:
    for (name, told), twist in twists.items():
        forms = {through(form, twist): form for form in contract.forms}
        match = recognised(contract._replace(forms=tuple(forms)), rights, (), seen._replace(slopes=unsloped), cases)
        if match:
            return named(contract, match._replace(form=forms[match.form]), name, told)
    return None


def sized(contract: Contract, rights: Sequence[Right], seen: Seen, cases: list[Case]) -> Match | None:
    """Return how a function equals a right one but for the size of its numbers, where that is no convention."""
    if contract.loss:
        return None
    match = recognised(contract._replace(loss=True), rights, (), seen._replace(slopes=unsloped), cases)
    if not match:
        return None
    as_it_is = match._replace(factor=1.0, shift=0.0)  # here they are no conventions: its numbers are wrong
    if match.factor == 1:
        return named(contract, as_it_is, "a constant added", f"You add {match.shift:.4g}. Leave it out.")
    told = f"You return {match.factor:.4g} times what you should" + f", and {match.shift:.4g}" * bool(match.shift)
    told += ". Turn the sign." if match.factor < 0 else ". Leave the factor out."
    return named(contract, as_it_is, "minus the right numbers" if match.factor < 0 else "of another size", told)


def _through(form: Form, twist: Callable[[Array, Case], Array]) -> Form:
    return form._replace(shape=lambda values, case: twist(form.shape(values, case), case))


def _within(form: Form, twist: Callable[[Array, Case], Array]) -> Form:
    return form._replace(shape=lambda values, case: form.shape(twist(values, case), case))


def _whitened(values: Array, case: Case) -> Array:
    """Numbers less the mean of their row, by its deviation, where a mask says which count."""
    mask = case["mask"] if np.shape(case.get("mask", 1.0)) == values.shape else np.ones(values.shape)
    count = np.sum(mask, axis=-1, keepdims=True)
    centred = (values - np.sum(values * mask, axis=-1, keepdims=True) / count) * mask
    return centred / np.sqrt(np.sum(centred**2, axis=-1, keepdims=True) / count + 1e-12)


def _lengths(values: Array, case: Case) -> Array:
    """The number of tokens of the answer of each number; 1 where numbers are not those of answers or tokens."""
    count = np.sum(case["mask"], axis=-1) if np.ndim(case.get("mask", 1.0)) == 2 else np.ones(len(values))
    return count[:, None] if np.ndim(values) == 2 else count if np.ndim(values) == 1 else 1.0


def _rows(case: Case) -> int:
    return next(len(x) for x in case.values() if np.ndim(x))


def _counts(case: Case) -> Array:
    return case["mask"] if "mask" in case else np.ones(_rows(case))


def rounded(
    contract: Contract, rights: Sequence[Right], subject: Subject, seen: Seen, cases: list[Case]
) -> Match | None:
    """Return which right function one is near to that does not hear of a millionth of its inputs."""
    names = arrays_of(cases[-1])
    return _as_rounded(contract, rights, seen, cases) if _holds(names, subject, seen, cases) else None


def partly_rounded(
    contract: Contract, rights: Sequence[Right], subject: Subject, seen: Seen, cases: list[Case]
) -> Match | None:
    """Return which right function one is near to that does not hear of a millionth of some of its inputs."""
    arrays = arrays_of(cases[-1])
    for names in (arrays, [name for name in arrays if name.startswith("log_")], *([name] for name in arrays)):
        if names and _holds(names, subject, seen, cases):
            for change in (np.array, _float16, bfloat16):
                held = [_changed_all(names, change, case) for case in cases]
                if match := _as_rounded(contract, rights, seen, held):
                    return match
    return None


def _as_rounded(contract: Contract, rights: Sequence[Right], seen: Seen, cases: list[Case]) -> Match | None:
    near = seen._replace(tolerance=TOLERANCE[16], slopes=unsloped)
    match = recognised(contract, rights, (), near, cases)
    return named(contract, match, *ROUNDED) if match else None


def _holds(names: Sequence[str], subject: Subject, seen: Seen, cases: list[Case]) -> bool:
    """Whether a function uses inputs and does not hear of a millionth of them."""
    return not _hears(names, _nudged, subject, seen, cases) and _hears(names, _moved, subject, seen, cases)


def _hears(
    names: Sequence[str], change: Callable[[Array], Array], subject: Subject, seen: Seen, cases: list[Case]
) -> bool:
    """Whether a function returns something else if some of its inputs are changed."""
    values = zip(cases, seen.values, strict=True)
    return any(not np.array_equal(subject(_changed_all(names, change, case)), value) for case, value in values)


def _moved(x: Array) -> Array:
    return x * 1.1


def _nudged(x: Array) -> Array:
    return x * (1 + 1e-6)


def _float16(x: Array) -> Array:
    return np.array(x, dtype="float16").astype(float)


def _changed_all(names: Sequence[str], change: Callable[[Array], Array], case: Case) -> Case:
    return case | {name: change(case[name]) for name in names}

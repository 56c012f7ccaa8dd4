"""Right functions of other inputs: one of them changed, or in place of another."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.changes import DIFFERENCES, ENDS, MASKS, NUMBERS, Difference, changed, mask_of
from rlhf_lab.audit.contracts import Contract, Form, Right
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.recognition import TOLERANCE, Match, Seen, result_of
from rlhf_lab.audit.report import close
from rlhf_lab.audit.zoo import Bug
from rlhf_lab.numerics.autodiff import Array


def named(contract: Contract, match: Match, name: str, told: str) -> Match:
    """Return a match as a bug of this name."""
    right = match.candidate.function
    return match._replace(candidate=Bug(name, contract.name, told, right, right, "", ""))


def arrays_of(case: Case) -> list[str]:
    """Names of the arrays of a case that hold numbers which can be changed; what is wrong with the others has names."""
    others = ("mask", "ends", "last_value")
    return [n for n, x in case.items() if n not in others and np.ndim(x) and x.dtype.kind == "f"]


def exchanged(
    contract: Contract, rights: Sequence[Right], subject: Subject, seen: Seen, cases: list[Case]
) -> Match | None:
    """Return which right function of other inputs one is: one of them changed, or in place of another."""
    fits = [(right, forms) for right in rights[:3] if (forms := _fitting(contract, right, seen, cases))]
    if any(_equal(forms, right, seen, cases, dict) for right, forms in fits):
        return None  # its numbers are right with the inputs as they are
    scaled: Match | None = None  # less to be trusted than what has the right size
    for name, told, change in _exchanges(contract, subject, cases[-1]) if fits else ():
        match = next((m for right, forms in fits if (m := _equal(forms, right, seen, cases, change))), None)
        if match:
            words = f"It is right but for its input {told}: there it uses {name}."
            found = named(contract, match, f"{name} in place of {told}", words)
            if match.factor == 1:
                return found
            scaled = scaled or found
    return scaled


Fit = tuple[Form, float]  # a form, and by what it is multiplied


def _fitting(contract: Contract, right: Right, seen: Seen, cases: list[Case]) -> list[Fit]:
    """The forms in which a right function returns the shape that was seen; a nameless one behind others is for bugs."""
    forms = [form for form in contract.forms if form.name or form is contract.forms[0]]
    forms = [form for form in forms if result_of(right, form, cases[-1]).shape == seen.values[-1].shape]
    return [(form, factor) for factor in ((1.0, 2.0, -1.0) if contract.loss else (1.0,)) for form in forms]


def _equal(
    alive: list[Fit], right: Right, seen: Seen, cases: Sequence[Case], change: Callable[[Case], Case | None]
) -> Match | None:
    """Return in which form a right function of other inputs is what was seen; large cases first, which tell most."""
    tolerance = max(seen.tolerance, TOLERANCE[32])
    for case, value in zip(cases[::-1], seen.values[::-1], strict=True):
        with np.errstate(all="ignore"):
            other = change(case)
            if other is None:
                continue
            called = {call: _of_what_is_left(call(right.function, other), other) for call in {f.call for f, _ in alive}}
            wanted = {form: form.shape(called[form.call], other) for form in dict(alive)}
        alive = [(form, factor) for form, factor in alive if wanted[form].shape == value.shape]
        alive = [(form, factor) for form, factor in alive if close(value, factor * wanted[form], tolerance)]
        if not alive:
            return None
    return Match(right, *alive[0])


def _of_what_is_left(values: Array, case: Case) -> Array:
    """0 for answers of which a mask leaves nothing."""
    mask = case.get("mask", 1.0)
    if np.ndim(mask) != 2 or np.ndim(values) == 0 or np.all(kept := np.sum(mask, axis=-1) > 0):
        return values
    return np.where(kept if values.ndim == 1 else kept[:, None], values, 0.0)


def _exchanges(
    contract: Contract, subject: Subject, case: Case
) -> Iterator[tuple[str, str, Callable[[Case], Case | None]]]:
    """Yield what stands in place of which input, and what that makes of a case."""
    arrays = arrays_of(case)
    numbers = [n for n, x in case.items() if np.ndim(x) == 0 and n in subject.given]
    for a in numbers:
        for what, turn in NUMBERS.items():
            yield what.format(_plain(a)), _plain(a), partial(_turned, a, turn)
        yield from ((_plain(b), _plain(a), partial(_replaced, a, b)) for b in numbers if a != b)
    if contract.loss and "mask" in subject.given and np.ndim(case["mask"]) == 2:
        for what, turn in MASKS.items():
            yield what, "mask", partial(_masked, turn)
    if "ends" in subject.given:
        yield from ((what, "ends", partial(_ended, turn)) for what, turn in ENDS.items())
    for a in arrays:
        for what, change in changed(case[a], mask_of(case[a], case)):
            yield what.format(_plain(a)), _plain(a), partial(_changed, a, change)
        alike = [b for b in arrays if a != b and case[a].shape == case[b].shape]
        yield from ((_plain(b), _plain(a), partial(_replaced, a, b)) for b in alike)
        turned = [b for b in alike if a < b]
        yield from (
            (f"{_plain(b)} and {_plain(a)}", f"{_plain(a)} and {_plain(b)}", partial(_swapped, a, b)) for b in turned
        )
    for difference in DIFFERENCES:
        if difference.within(case):
            values = difference.read(case)
            for what, change in changed(values, mask_of(values, case)):
                yield what.format(difference.name), difference.name, partial(_within, difference, change)
    for told, names in _groups(arrays):
        joined, mask = _joined(names, case)
        yield "exponentials", told, partial(_together, names, lambda x, mask: np.exp(x))
        for what, change in changed(joined, mask):
            yield what.format(told), told, partial(_together, names, change)


def _changed(name: str, change: Callable[[Array, Array], Array], case: Case) -> Case:
    return case | {name: change(case[name], mask_of(case[name], case))}


def _within(difference: Difference, change: Callable[[Array, Array], Array], case: Case) -> Case:
    values = difference.read(case)
    return difference.write(case, change(values, mask_of(values, case)))


def _turned(name: str, turn: Callable[[float], float], case: Case) -> Case:
    return case | {name: turn(case[name])}


def _groups(arrays: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Inputs of one kind, which people change alike."""
    logs = [a for a in arrays if a.startswith("log_")]
    four = [a for a in arrays if a.startswith(("policy_", "reference_"))]
    rewards = [a for a in arrays if a.endswith("_rewards")]
    for told, names in (("logarithms", logs), ("log-probabilities", four), ("rewards", rewards)):
        if len(names) > 1:
            yield told, names


def _joined(names: Sequence[str], case: Case) -> tuple[Array, Array]:
    """Inputs as one batch, with its mask."""
    values = np.concatenate([case[name] for name in names])
    return values, np.concatenate([mask_of(case[name], case) for name in names])


def _together(names: Sequence[str], change: Callable[[Array, Array], Array], case: Case) -> Case:
    parts = np.split(change(*_joined(names, case)), len(names))
    return case | dict(zip(names, parts, strict=True))


def _ended(turn: Callable[[Array], Array], case: Case) -> Case:
    return case | {"ends": turn(case["ends"])}


def _masked(turn: Callable[[Array], Array], case: Case) -> Case | None:
    """The case with another mask, if that leaves something of it."""
    mask = turn(case["mask"])
    return case | {"mask": mask} if np.sum(mask) else None


def _replaced(name: str, by: str, case: Case) -> Case:
    return case | {name: case[by]}


def _swapped(one: str, other: str, case: Case) -> Case:
    return case | {one: case[other], other: case[one]}


def _plain(name: str) -> str:
    return name.replace("_", " ")

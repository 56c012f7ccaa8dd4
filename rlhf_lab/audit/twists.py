"""What goes wrong in any function: the sign of its numbers is turned or lost, they are rounded inside, or an input is
something else."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.contracts import Contract, Form, Right
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.recognition import TOLERANCE, Match, Seen, recognised
from rlhf_lab.audit.zoo import Bug
from rlhf_lab.numerics.autodiff import Array

TWISTS: dict[tuple[str, str], Callable[[Array], Array]] = {
    ("minus the right numbers", "You return minus what you should. Turn the sign."): lambda values: -values,
    ("sign lost", "You return sizes, without their sign. Leave out the absolute value."): np.abs,
}
ROUNDED = (
    "half precision inside",
    "You compute in half precision, which holds two or three digits, and what you subtract is rounded before. Take "
    "differences, exponentials and means in single precision.",
)

CHANGES: dict[str, Callable[[Array], Array]] = {
    "0": lambda x: 0.0 * x,
    "minus {}": lambda x: -x,
    "the size of {}": np.abs,
    "the exponential of {}": np.exp,
    "{} one place late": lambda x: np.concatenate([0.0 * x[..., :1], x[..., :-1]], axis=-1),
    "{} one place early": lambda x: np.concatenate([x[..., 1:], 0.0 * x[..., :1]], axis=-1),
}
NUMBERS: dict[str, Callable[[float], float]] = {
    "1": lambda x: 1.0,
    "1 / {}": lambda x: 1 / x,
    "the square of {}": lambda x: x**2,
    "twice {}": lambda x: 2 * x,
    "half of {}": lambda x: x / 2,
}


def twisted(contract: Contract, rights: Sequence[Right], seen: Seen, cases: list[Case]) -> Match | None:
    """Return how a function equals a right one but for the sign of its numbers, where that is no convention."""
    if contract.loss:
        return None
    for (name, told), twist in TWISTS.items():
        forms = {_through(form, twist): form for form in contract.forms}
        match = recognised(contract._replace(forms=tuple(forms)), rights, (), seen, cases)
        if match:
            return _named(contract, match._replace(form=forms[match.form]), name, told)
    return None


def _through(form: Form, twist: Callable[[Array], Array]) -> Form:
    return form._replace(shape=lambda values, case: twist(form.shape(values, case)))


def _named(contract: Contract, match: Match, name: str, told: str) -> Match:
    right = match.candidate.function
    return match._replace(candidate=Bug(name, contract.name, told, right, right, "", ""))


def rounded(
    contract: Contract, rights: Sequence[Right], subject: Subject, seen: Seen, cases: list[Case]
) -> Match | None:
    """Return which right function one is near to that does not hear of a millionth of its inputs."""
    if any(not np.array_equal(subject(_moved(case)), value) for case, value in zip(cases, seen.values, strict=True)):
        return None
    near = seen._replace(tolerance=TOLERANCE[16], slopes=None)
    match = recognised(contract, rights, (), near, cases)
    return _named(contract, match, *ROUNDED) if match else None


def _moved(case: Case) -> Case:
    """The case with all numbers of its arrays a millionth larger."""
    return {
        name: value * (1 + 1e-6)
        if name not in ("mask", "ends") and np.ndim(value) and value.dtype.kind == "f"
        else value
        for name, value in case.items()
    }


def exchanged(
    contract: Contract, rights: Sequence[Right], subject: Subject, seen: Seen, cases: list[Case]
) -> Match | None:
    """Return which right function of other inputs one is: one of them changed, or in place of another."""
    if contract.strict:
        return None
    for name, told, change in _exchanges(subject, cases[-1]):
        forms = {_before(form, change): form for form in contract.forms}
        as_it_is = contract._replace(forms=tuple(forms), loss=False)  # without any factor
        match = recognised(as_it_is, rights[:3], (), seen._replace(slopes=None), cases)
        if match:
            words = f"It is right but for its input {told}: there it uses {name}."
            return _named(contract, match._replace(form=forms[match.form]), f"{name} in place of {told}", words)
    return None


def _exchanges(subject: Subject, case: Case) -> Iterator[tuple[str, str, Callable[[Case], Case]]]:
    """Yield what stands in place of which input, and what that makes of a case."""
    others = ("mask", "ends", "last_value")  # what is wrong with these has names
    arrays = [n for n, x in case.items() if n not in others and np.ndim(x) and x.dtype.kind == "f"]
    numbers = [n for n, x in case.items() if np.ndim(x) == 0 and n in subject.given]
    for a in arrays:
        for what, change in CHANGES.items():
            yield what.format(_plain(a)), _plain(a), partial(_changed, [a], change)
        yield f"the mean of {_plain(a)}", _plain(a), partial(_averaged, a)
        alike = [b for b in arrays if a != b and case[a].shape == case[b].shape]
        yield from ((_plain(b), _plain(a), partial(_replaced, a, b)) for b in alike)
    logs = [a for a in arrays if a.startswith("log_")]
    if len(logs) > 1:
        yield "exponentials", "logarithms", partial(_changed, logs, np.exp)
    for a in numbers:
        for what, turn in NUMBERS.items():
            yield what.format(_plain(a)), _plain(a), partial(_changed, [a], turn)
        yield from ((_plain(b), _plain(a), partial(_replaced, a, b)) for b in numbers if a != b)


def _changed(names: Sequence[str], change: Callable[[Any], Any], case: Case) -> Case:
    return case | {name: change(case[name]) for name in names}


def _averaged(name: str, case: Case) -> Case:
    values = case[name]
    mask = case["mask"] if np.shape(case.get("mask", 0.0)) == values.shape else np.ones(values.shape)
    return case | {name: np.sum(values * mask) / np.sum(mask) * np.ones(values.shape)}


def _replaced(name: str, by: str, case: Case) -> Case:
    return case | {name: case[by]}


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _before(form: Form, change: Callable[[Case], Case]) -> Form:
    return form._replace(call=lambda function, case: form.call(function, change(case)))

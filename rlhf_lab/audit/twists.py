"""What goes wrong in any function: the sign of its numbers is turned or lost, or they are rounded inside."""

from collections.abc import Callable, Sequence

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

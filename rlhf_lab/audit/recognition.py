"""Which function of a contract a stranger's function equals.

It is recognised when it returns in every case what one of these returns, in one of the forms that are only conventions:
one number for each item, their mean or their sum, with the other sign, times a constant.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from autograd import elementwise_grad

from rlhf_lab.audit.binding import Case, Trouble
from rlhf_lab.audit.contracts import Contract, Form, Right, Shown
from rlhf_lab.audit.functions import Made, Subject
from rlhf_lab.audit.report import close, in_words
from rlhf_lab.audit.words import told
from rlhf_lab.audit.zoo import Bug
from rlhf_lab.numerics.autodiff import Array

TOLERANCE = {64: (1e-7, 1e-9), 32: (3e-4, 3e-5), 16: (5e-2, 2e-2)}  # relative and absolute, by the bits of the result
Content = tuple[tuple[str, bytes], ...]


class Match(NamedTuple):
    """The function of a contract that a subject equals, and how: `factor` times it, plus `shift`, in a form."""

    candidate: Right | Bug
    form: Form
    factor: float = 1.0
    shift: float = 0.0
    sloped: bool = True  # whether the gradient is the same, too
    rough: bool = False  # whether only to four digits


Slopes = list[dict[str, Array]] | None  # by case and input, if a library finds them


class Seen(NamedTuple):
    """What a subject returned in every case, and its gradients, which are taken when they are asked for."""

    values: list[Array]
    slopes: Callable[[], Slopes]
    tolerance: tuple[float, float]
    into: Callable[[Case], Case]  # the subject's layout, in which its gradients are, too
    made: Made  # what functions of ours return, which many layouts and forms ask for: (function, how called, case)


def see(contract: Contract, subject: Subject, cases: list[Case]) -> Seen:
    """Call a subject with every case."""
    values = [subject(case) for case in cases]

    @cache
    def slopes() -> Slopes:
        try:
            return [subject.gradient(case, contract.trained) for case in cases] if contract.trained else None
        except Trouble:
            return None

    return Seen(values, slopes, TOLERANCE[subject.digits], subject.layout.into, subject.made)


def unsloped() -> None:
    """No gradients: numbers alone are compared."""


def recognised(
    contract: Contract, rights: Sequence[Right | Bug], bugs: Sequence[Right | Bug], seen: Seen, cases: list[Case]
) -> Match | None:
    """Return the first match: exact before scaled before rough, right before wrong, with its gradient first."""
    first: Match | None = None
    contents = [_content(case) for case in cases]
    rough = seen._replace(tolerance=TOLERANCE[32])
    ways = [(seen, False), (seen, True)] if contract.loss else [(seen, False)]
    ways += [(rough, False)] if seen.tolerance < rough.tolerance else []
    for view, loosely in ways:
        for candidate in (*rights, *bugs):
            for match in _equal(contract, candidate, view, cases, loosely, contents):
                found = match._replace(rough=view is rough)
                if _slopes_agree(found, view, cases):
                    return found
                first = first or found._replace(sloped=False)
    return first


def _equal(
    contract: Contract, candidate: Right | Bug, seen: Seen, cases: list[Case], loosely: bool, contents: list[Content]
) -> Iterator[Match]:
    for form in contract.forms:
        wanted: list[Array] = []
        with np.errstate(all="ignore"):
            for i, (case, value) in enumerate(zip(cases, seen.values, strict=True)):
                place = (candidate.function, form.call, contents[i])
                if place not in seen.made:
                    seen.made[place] = form.call(candidate.function, case)
                wanted.append(form.shape(seen.made[place], case))
                if value.shape != wanted[-1].shape:
                    break
                if not (_on_a_line(seen.values, wanted) if loosely else _near(contract, value, wanted[-1], seen)):
                    break
        if len(wanted) < len(cases) or wanted[-1].shape != seen.values[-1].shape:
            continue
        a, b = (np.concatenate([np.ravel(part) for part in parts]) for parts in (seen.values, wanted))
        if not loosely:
            signs = (1.0, -1.0) if contract.loss else (1.0,)
            yield from (Match(candidate, form, sign) for sign in signs if close(a, sign * b, seen.tolerance))
            continue
        fine = np.isfinite(a) & np.isfinite(b)
        if not fine.all() or np.ptp(b) < 1e-6 or np.ptp(a) < 1e-6:
            continue
        factor, shift = np.polyfit(b, a, 1)
        for line in ((float(a @ b / (b @ b)), 0.0), (1.0, float(np.mean(a - b))), (float(factor), float(shift))):
            if close(a, line[0] * b + line[1], seen.tolerance):
                yield Match(candidate, form, *line)


def _content(case: Case) -> Content:
    return tuple((name, np.asarray(value).tobytes()) for name, value in case.items())


def _on_a_line(values: Sequence[Array], wanted: Sequence[Array]) -> bool:
    """Whether the first numbers of two rows may be on one line, up to single precision."""
    if len(wanted) > 6 or sum(map(np.size, wanted)) < 3:
        return True
    a, b = (np.concatenate([np.ravel(part) for part in parts]) for parts in (values[: len(wanted)], wanted))
    if not (np.isfinite(a) & np.isfinite(b)).all() or np.ptp(b) < 1e-6:
        return True
    middle, apart = np.mean(a), b - np.mean(b)
    return close(middle + apart * (apart @ (a - middle)) / (apart @ apart), a, TOLERANCE[16])


def _near(contract: Contract, value: Array, wanted: Array, seen: Seen) -> bool:
    return close(value, wanted, seen.tolerance) or (contract.loss and close(value, -wanted, seen.tolerance))


def _slopes_agree(match: Match, seen: Seen, cases: list[Case]) -> bool:
    return not any(_slopes_apart(match, seen, cases))


def _slopes_apart(match: Match, seen: Seen, cases: list[Case]) -> Iterator[tuple[str, Shown]]:
    """Yield inputs in which the gradient differs, and what it is beside what it should be."""
    for case, slopes in zip(cases, seen.slopes() or [], strict=False):
        for name, slope in slopes.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # autograd warns of a result that does not depend on an input
                wanted = match.factor * elementwise_grad(
                    lambda x, c=case, n=name: result_of(match.candidate, match.form, c | {n: x})
                )(case[name])
            wanted = seen.into(case | {name: wanted})[name]
            if not close(slope, wanted, seen.tolerance):
                yield name, Shown(case, slope, wanted)


def gradient_told(match: Match, seen: Seen, cases: list[Case]) -> str:
    """Return how a gradient differs from that of the function whose numbers are the same, in words."""
    apart = list(_slopes_apart(match, seen, cases))
    names = list(dict.fromkeys(name for name, _ in apart))
    none = not any(np.any(shown.found) for _, shown in apart)
    what = "there is none" if none else "it is another"
    case = in_words(apart[0][1]).partition(" it gives ")
    return (
        f"Its numbers are right and its gradient is not: {what} in {' and '.join(names)}. Is something detached? "
        f"{case[0].capitalize()} the gradient in {names[0]} is {case[2]}"
    )


def result_of(candidate: Right | Bug, form: Form, case: Case) -> Array:
    """Return what a function of ours gives for a case, in a form."""
    with np.errstate(all="ignore"):
        return form.shape(form.call(candidate.function, case), case)


def likely(contract: Contract, rights: Sequence[Right], seen: Seen, cases: list[Case]) -> Form:
    """Return the form of the shape that was returned. Raises `Trouble` if there is none."""
    for form in contract.forms:
        if all(v.shape == result_of(rights[0], form, c).shape for v, c in zip(seen.values, cases, strict=True)):
            return form
    big = cases[-1]
    shapes = " or ".join(dict.fromkeys(str(result_of(rights[0], form, big).shape) for form in contract.forms))
    found = seen.values[-1].shape
    raise Trouble(f"With {told(big)} it returns shape {found}; it should be {shapes}: {contract.result}.")


def conventions_of(contract: Contract, match: Match) -> Iterator[str]:
    """Yield what is a matter of taste in a function that was recognised."""
    if isinstance(match.candidate, Right) and match.candidate.name:
        yield match.candidate.name
    if len(contract.forms) > 1 and match.form.name:
        yield match.form.name
    if match.factor == -1:
        yield "minus the loss: a number to be maximised"
    elif match.factor != 1:
        yield f"{match.factor:.4g} times the loss: a matter of the step size"
    if match.shift:
        yield f"a constant is added, {match.shift:.4g}: it has no gradient"

"""What a function of a kind has to do, and an audit: which identities hold, and which bug has this fingerprint.

A `Contract` is a right function, others that are as right, the bugs of the zoo, and identities. A function is
recognised when it returns in every case what one of these returns, in one of the forms that are only conventions: one
number for each item, their mean or their sum, with the other sign, times a constant.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from inspect import signature
from typing import Any, NamedTuple

import autograd.numpy as np
from autograd import elementwise_grad

from rlhf_lab.audit.functions import Case, Input, Subject, Trouble, told
from rlhf_lab.audit.zoo import ZOO, Bug
from rlhf_lab.numerics.autodiff import Array

Function = Callable[[Case], Array]
PAGES = {  # of the book's sections
    "sec-dpo": "dpo",
    "sec-moving-reference": "online",
    "sec-smoothing": "kinds_of_feedback",
    "sec-preference-losses": "preference_losses",
    "sec-reward-modeling": "reward_modeling",
}
TOLERANCE = {64: (1e-7, 1e-9), 32: (3e-4, 3e-5), 16: (5e-2, 2e-2)}  # relative and absolute, by the bits of the result


class Form(NamedTuple):
    """A way to hand over the same numbers; `shape` maps the numbers of the items, and the case, to it."""

    name: str
    shape: Callable[[Array, Case], Array]


class Shown(NamedTuple):
    """What a function returns for a case, and what it should."""

    case: Case
    found: Array
    wanted: Array


class Identity(NamedTuple):
    """What holds for every right function: `look` calls one and yields what it found beside what should be."""

    name: str
    look: Callable[[Function, Sequence[Case]], Iterable[Shown]]
    needs: str = ""  # an input without which there is nothing to see
    caution: bool = False  # what breaks it is no mistake in the formula, and still to be told


class Right(NamedTuple):
    """A function that is right; `name` says what kind of one it is, "" for the usual one."""

    name: str
    function: Callable[..., Any]


class Contract(NamedTuple):
    """What an audit knows; functions take the inputs by name."""

    name: str
    inputs: tuple[Input, ...]
    result: str  # what the numbers stand for
    rights: tuple[Right, ...]
    cases: tuple[Case, ...]  # small ones first
    forms: tuple[Form, ...]
    identities: tuple[Identity, ...]
    trained: tuple[str, ...] = ()  # inputs in which gradients count
    loss: bool = True  # whether sign and size of the result are conventions


@dataclass(frozen=True)
class Report:
    """What an audit found. `print(report)` tells it, `report.ok` is True if nothing is wrong."""

    audit: str
    function: str
    ok: bool
    verdict: str  # "right", the name of a bug, "unknown bug", or "not audited"
    told: str  # what is wrong, in words
    smallest: str = ""  # the smallest input that shows it
    where: str = ""  # section of the book
    identities: dict[str, str] = field(default_factory=dict)  # name: "holds", or what shows that it does not
    conventions: tuple[str, ...] = ()  # what is a matter of taste

    def __bool__(self) -> bool:
        return self.ok

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as words, lists and dictionaries, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.audit}({self.function}): {self.verdict}"]
        lines += [f"  {text}" for text in (self.told, self.smallest) if text]
        if self.where:
            lines.append(f"  In the book: {PAGES[self.where]}.html#{self.where}")
        width = max(map(len, self.identities), default=0)
        for name, state in self.identities.items():
            lines.append(f"  {name:{width}}  {state}")
        lines += [f"  Convention: {text}" for text in self.conventions]
        return "\n".join(lines)


class Match(NamedTuple):
    """The function of a contract that a subject equals, and how: `factor` times it, plus `shift`, in a form."""

    candidate: Right | Bug
    form: Form
    factor: float = 1.0
    shift: float = 0.0
    sloped: bool = True  # whether the gradient is the same, too


class Seen(NamedTuple):
    """What a subject returned in every case, and its gradients if its library finds them."""

    values: list[Array]
    slopes: list[dict[str, Array]] | None
    tolerance: tuple[float, float]


def audit(contract: Contract, function: Callable[..., Any], **fixed: Any) -> Report:
    """Return what is wrong with a function, or that it is right.

    `fixed` are inputs that the function does not take, because they are constants inside it.
    """
    name = getattr(function, "__name__", type(function).__name__)
    cases = [case | fixed for case in contract.cases]
    try:
        subject = Subject(function, contract.inputs, cases)
        for given in contract.inputs:
            if given.absent and given.name not in {*subject.given, *fixed}:
                cases = [case | {given.name: given.absent(subject, case)} for case in cases]
        return _judged(contract, name, subject, cases)
    except Trouble as trouble:
        return Report(contract.name, name, False, "not audited", str(trouble))


def _judged(contract: Contract, name: str, subject: Subject, cases: list[Case]) -> Report:
    bugs = [bug for bug in ZOO if bug.audit == contract.name]
    conventions = list(subject.notes)
    seen = _see(contract, subject, cases)
    match = _recognised(contract, bugs, seen, cases)
    form = match.form if match else _likely(contract, seen, cases)
    factor, shift = (match.factor, match.shift) if match else (1.0, 0.0)

    def plain(case: Case) -> Array:
        return (subject(case) - shift) / factor

    asked = [i for i in contract.identities if i.needs in {"", *subject.given}]
    found = {i: _worst(i.look(plain, cases), seen.tolerance) for i in asked}
    states = {i.name: _state(i, shown) for i, shown in found.items()}
    broken = [shown for i, shown in found.items() if shown and not i.caution]
    key = match.candidate if match and isinstance(match.candidate, Right) else contract.rights[0]
    gaps = [Shown(case, plain(case), _of(key, form, case)) for case in cases]
    shown = _worst(gaps, seen.tolerance) or next(iter(broken), None)
    if match:
        conventions = [*_conventions(contract, match), *conventions]
    if seen.slopes is None and contract.trained:
        conventions.append("not written for automatic differentiation: only its numbers are judged")

    def report(ok: bool, verdict: str, words: str, where: str = "") -> Report:
        smallest = f"Smallest input that shows it: {_words(shown)}" if shown and not ok else ""
        return Report(contract.name, name, ok, verdict, words, smallest, where, states, tuple(conventions))

    if match and isinstance(match.candidate, Bug):
        return report(False, match.candidate.name, match.candidate.told, match.candidate.where)
    if match and not match.sloped:
        return report(False, "wrong gradient", "Its numbers are right and its gradient is not: is something detached?")
    if match or not broken:
        return report(True, "right", "")
    if not all(np.isfinite(values).all() for values in seen.values):
        return report(False, "not finite", "It returns NaN or infinity for inputs that have a finite answer.")
    return report(False, "wrong", f"It should return {contract.result}. The zoo does not know this bug.")


def _state(identity: Identity, shown: Shown | None) -> str:
    if shown is None:
        return "holds"
    return f"{'CAUTION' if identity.caution else 'BROKEN'}: {_words(shown)}"


def _see(contract: Contract, subject: Subject, cases: list[Case]) -> Seen:
    values = [subject(case) for case in cases]
    slopes: list[dict[str, Array]] | None
    try:
        slopes = [subject.gradient(case, contract.trained) for case in cases]
    except Trouble:
        slopes = None
    return Seen(values, slopes if contract.trained else None, TOLERANCE[subject.digits])


def _recognised(contract: Contract, bugs: Sequence[Bug], seen: Seen, cases: list[Case]) -> Match | None:
    """Return the first match: right before wrong, exact before scaled, with its gradient before without."""
    every: list[Right | Bug] = [*contract.rights, *bugs]
    scaled = [False, True] if contract.loss else [False]
    for loosely in scaled:
        for group in (contract.rights, bugs):
            found = [m for c in group for m in _equal(contract, c, seen, cases, loosely)]
            for match in found:
                if _slopes_agree(contract, match, seen, cases):
                    return match
    loose = (m for c in every for loosely in scaled for m in _equal(contract, c, seen, cases, loosely))
    wrong = next(loose, None)
    return wrong._replace(sloped=False) if wrong else None


def _equal(contract: Contract, candidate: Right | Bug, seen: Seen, cases: list[Case], loosely: bool) -> Iterator[Match]:
    for form in contract.forms:
        wanted = [_of(candidate, form, case) for case in cases]
        if any(a.shape != b.shape for a, b in zip(seen.values, wanted, strict=True)):
            continue
        a, b = (np.concatenate([np.ravel(part) for part in parts]) for parts in (seen.values, wanted))
        if not loosely:
            signs = (1.0, -1.0) if contract.loss else (1.0,)
            yield from (Match(candidate, form, sign) for sign in signs if _close(a, sign * b, seen.tolerance))
            continue
        fine = np.isfinite(a) & np.isfinite(b)
        if not fine.all() or np.ptp(b) < 1e-6 or np.ptp(a) < 1e-6:
            continue
        factor, shift = np.polyfit(b, a, 1)
        for line in ((float(a @ b / (b @ b)), 0.0), (1.0, float(np.mean(a - b))), (float(factor), float(shift))):
            if _close(a, line[0] * b + line[1], seen.tolerance):
                yield Match(candidate, form, *line)


def _slopes_agree(contract: Contract, match: Match, seen: Seen, cases: list[Case]) -> bool:
    if seen.slopes is None:
        return True
    for case, slopes in zip(cases, seen.slopes, strict=True):
        for name, slope in slopes.items():
            wanted = elementwise_grad(lambda x, c=case, n=name: _of(match.candidate, match.form, c | {n: x}))(
                case[name]
            )
            if not _close(slope, match.factor * wanted, seen.tolerance):
                return False
    return True


def _of(candidate: Right | Bug, form: Form, case: Case) -> Array:
    names = signature(candidate.function).parameters
    with np.errstate(all="ignore"):
        values = candidate.function(**{name: case[name] for name in names if name in case})
        return form.shape(values, case)


def _likely(contract: Contract, seen: Seen, cases: list[Case]) -> Form:
    """Return the form of the shape that was returned. Raises `Trouble` if there is none."""
    for form in contract.forms:
        if all(v.shape == _of(contract.rights[0], form, c).shape for v, c in zip(seen.values, cases, strict=True)):
            return form
    big = cases[-1]
    shapes = " or ".join(dict.fromkeys(str(_of(contract.rights[0], form, big).shape) for form in contract.forms))
    found = seen.values[-1].shape
    raise Trouble(f"With {told(big)} it returns shape {found}; it should be {shapes}: {contract.result}.")


def _close(a: Array, b: Array, tolerance: tuple[float, float]) -> bool:
    return bool(np.allclose(a, b, *tolerance, equal_nan=True))


def _worst(shown: Iterable[Shown], tolerance: tuple[float, float]) -> Shown | None:
    """Return the smallest case that shows a difference well, if there is one."""
    apart = [s for s in shown if not _close(s.found, s.wanted, tolerance)]
    if not apart:
        return None
    gaps = np.array([np.max(np.abs(s.found - s.wanted)) for s in apart])
    gaps = np.where(np.isfinite(gaps), gaps, np.inf)
    return apart[int(np.argmax(gaps >= min(gaps.max(), 1e3) / 10))]


def _words(shown: Shown) -> str:
    return f"with {told(shown.case)} it gives {_number(shown.found)}; it should be {_number(shown.wanted)}"


def _number(values: Array) -> str:
    return str(np.array2string(np.round(np.asarray(values, dtype=float), 4) + 0.0, separator=", ", threshold=12))


def _conventions(contract: Contract, match: Match) -> Iterator[str]:
    if isinstance(match.candidate, Right) and match.candidate.name:
        yield match.candidate.name
    if len(contract.forms) > 1:
        yield match.form.name
    if match.factor == -1:
        yield "minus the loss: a number to be maximised"
    elif match.factor != 1:
        yield f"{match.factor:.4g} times the loss: a matter of the step size"
    if match.shift:
        yield f"a constant is added, {match.shift:.4g}: it has no gradient"

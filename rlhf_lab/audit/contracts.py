"""What a function of a kind has to do, and an audit: which identities hold, and which bug has this fingerprint.

A `Contract` is a right function, others that are as right, the bugs of the zoo, and identities. A function is
recognised when it returns in every case what one of these returns, in one of the forms that are only conventions: one
number for each item, their mean or their sum, with the other sign, times a constant.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from inspect import signature
from typing import Any, NamedTuple

import autograd.numpy as np
from autograd import elementwise_grad

from rlhf_lab.audit.functions import Case, Input, Layout, Misbehaved, Subject, Trouble, told
from rlhf_lab.audit.zoo import ZOO, Bug
from rlhf_lab.numerics.autodiff import Array

PAGES = {  # of the book's sections
    "sec-dpo": "dpo",
    "sec-moving-reference": "online",
    "sec-smoothing": "kinds_of_feedback",
    "sec-preference-losses": "preference_losses",
    "sec-reward-modeling": "reward_modeling",
    "sec-length": "reward_modeling",
    "sec-pretraining": "pretraining",
    "sec-token-mdp": "token_mdp",
    "sec-ppo": "ppo",
    "sec-policy-gradients": "policy_gradients",
    "sec-ilhf-ensembles": "ilhf",
    "sec-online": "online",
    "sec-imitation": "imitation",
    "sec-dril": "dril",
}
TOLERANCE = {64: (1e-7, 1e-9), 32: (3e-4, 3e-5), 16: (5e-2, 2e-2)}  # relative and absolute, by the bits of the result


def by_name(function: Callable[..., Any], case: Case) -> Array:
    """Call a function of ours with those inputs of a case that it takes."""
    names = signature(function).parameters
    values: Array = function(**{name: case[name] for name in names if name in case})
    return values


class Form(NamedTuple):
    """A way to hand over the same numbers; `shape` maps the numbers of the items, and the case, to it.

    `call` gets these numbers out of a function of ours. Identities do not see through an `opaque` form.
    """

    name: str
    shape: Callable[[Array, Case], Array] = lambda values, case: values
    call: Callable[[Callable[..., Any], Case], Array] = by_name
    opaque: bool = False


class Function:
    """A stranger's function as identities see it: without a shift and a factor that are only conventions."""

    def __init__(self, subject: Subject, factor: float = 1.0, shift: float = 0.0) -> None:
        self.subject, self.factor, self.shift = subject, factor, shift

    def __call__(self, case: Case) -> Array:
        """Return what it returns."""
        return (self.subject(case) - self.shift) / self.factor

    def slope(self, case: Case, name: str) -> Array:
        """Return the gradient of the sum of its result in an input, by finite differences if there is no other way."""
        try:
            return self.subject.gradient(case, [name])[name] / self.factor
        except Trouble:
            return self.subject.differences(case, [name])[name] / self.factor


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
    bug: str = ""  # of the zoo, which a function has that breaks it and is not recognised otherwise


class Right(NamedTuple):
    """A function that is right; `name` says what kind of one it is, "" for the usual one."""

    name: str
    function: Callable[..., Any]
    when: Callable[[Subject], bool] = lambda subject: True  # of which functions it can be the meaning


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
    fitted: Callable[[Function, Sequence[Case]], Iterable["Right | Bug"]] = lambda loss, cases: ()  # with its numbers
    layouts: tuple[Layout, ...] = (Layout(""),)
    bugs: tuple[Bug, ...] | None = None  # those of the zoo with this name, unless others are given
    general: bool = False  # whether identities hold for every right function, not only for the first
    strict: bool = False  # whether only what is recognised is right: identities alone would let too much pass
    patient: bool = False  # whether what is a bug here may be right by the next contract

    def known(self) -> tuple[Bug, ...]:
        """Return the bugs that a function of this kind may have."""
        return tuple(bug for bug in ZOO if bug.audit == self.name) if self.bugs is None else self.bugs


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


Made = dict[tuple[int, Callable[..., Array], int], Array]  # what functions of ours return: (which, how called, case)


class Match(NamedTuple):
    """The function of a contract that a subject equals, and how: `factor` times it, plus `shift`, in a form."""

    candidate: Right | Bug
    form: Form
    factor: float = 1.0
    shift: float = 0.0
    sloped: bool = True  # whether the gradient is the same, too
    rough: bool = False  # whether only to four digits


class Seen(NamedTuple):
    """What a subject returned in every case, and its gradients if its library finds them."""

    values: list[Array]
    slopes: list[dict[str, Array]] | None
    tolerance: tuple[float, float]
    into: Callable[[Case], Case]  # the subject's layout, in which its gradients are, too


def audit(contracts: Contract | Sequence[Contract], function: Callable[..., Any], **fixed: Any) -> Report:
    """Return what is wrong with a function, or that it is right: the best that is found by any contract and layout.

    `fixed` are inputs that the function does not take, because they are constants inside it.
    """
    found = []
    for contract in [contracts] if isinstance(contracts, Contract) else contracts:
        for layout in contract.layouts:
            rank, report = _tried(contract, layout, function, fixed)
            if report.ok or (rank == 0 and not contract.patient):
                return report
            broken = [state.startswith("BROKEN") for state in report.identities.values()]
            found.append((rank, float(np.mean(broken or [True])), report))
            if rank == 0:
                break
    return min(found, key=lambda each: each[:2])[2]


def near(found: Array, wanted: Array) -> Array:
    """Return what is wanted if what was found is near it, within a hundredth: where a small number makes no bug."""
    return wanted if found.shape == wanted.shape and np.allclose(found, wanted, 1e-2, 1e-2) else found


def one_of(option: str, given: str, known: Iterable[str]) -> None:
    """Raise ValueError unless an option is one of those that are known."""
    if given not in known:
        raise ValueError(f"{option} is one of {', '.join(known)}; got {given!r}")


def _tried(
    contract: Contract, layout: Layout, function: Callable[..., Any], fixed: dict[str, Any]
) -> tuple[int, Report]:
    """Return a report, and how much is known by it: 0 for a bug of the zoo, 3 if the function cannot be audited."""
    name = getattr(function, "__name__", type(function).__name__)
    cases = [case | fixed for case in layout.cases(contract.cases)]
    inputs = layout.inputs or contract.inputs
    try:
        subject = Subject(function, inputs, cases, layout)
        absent = [i for i in inputs if i.absent and i.name not in {*subject.given, *fixed}]
        known = list(subject.notes)
        for given in absent:
            cases = [case | {given.name: given.absent(subject, case)} for case in cases if given.absent]
        rank, report = _judged(contract, name, subject, cases)
        for missing, value in ((i, value) for i in absent for value in i.usual):
            if report.verdict == "wrong":
                subject.notes = [*known, f"no parameter {missing.name}: {value:.4g} is fixed inside it"]
                second, other = _judged(contract, name, subject, [case | {missing.name: value} for case in cases])
                if other.verdict not in ("wrong", "not finite"):
                    rank, report = second, other
        return rank, report
    except Trouble as trouble:
        rank = 1 if isinstance(trouble, Misbehaved) else 3
        return rank, Report(contract.name, name, False, "not audited", str(trouble))


def _judged(contract: Contract, name: str, subject: Subject, cases: list[Case]) -> tuple[int, Report]:
    rights = [right for right in contract.rights if right.when(subject)]
    bugs = contract.known()
    conventions = [text for text in (subject.layout.name, *subject.notes) if text]
    seen = _see(contract, subject, cases)
    match = _recognised(contract, rights, bugs, seen, cases)
    if not match and (fitted := list(contract.fitted(Function(subject), cases))):
        match = _recognised(contract, fitted, (), seen, cases)
    if match and match.rough:
        seen = seen._replace(tolerance=TOLERANCE[32])
        conventions.append("equal to four digits: a small number in a denominator, or single precision inside")
    form = match.form if match else _likely(contract, rights, seen, cases)
    plain = Function(subject, match.factor, match.shift) if match else Function(subject)
    key = match.candidate if match and isinstance(match.candidate, Right) else rights[0]
    usual = contract.general or key == contract.rights[0]
    asked = [i for i in contract.identities if usual and i.needs in {"", *subject.given} and not form.opaque]
    with np.errstate(all="ignore"):
        found = {i: _looked(i, plain, cases, seen.tolerance) for i in asked}
    states = {i.name: _state(i, shown) for i, shown in found.items()}
    broken = [shown for i, shown in found.items() if shown and not i.caution]
    gaps = [Shown(case, plain(case), _of(key, form, case)) for case in cases]
    if gaps[-1].found.shape != gaps[-1].wanted.shape:  # a bug of another shape than the right functions
        gaps = []
    shown = _worst(gaps, seen.tolerance) or next((s for s in broken if isinstance(s, Shown)), None)
    if match:
        conventions = [*_conventions(contract, match), *conventions]
    if seen.slopes is None and contract.trained:
        conventions.append("not written for automatic differentiation: only its numbers are judged")

    def report(ok: bool, verdict: str, words: str, where: str = "") -> Report:
        smallest = f"Smallest input that shows it: {_words(shown)}" if shown and not ok else ""
        return Report(contract.name, name, ok, verdict, words, smallest, where, states, tuple(conventions))

    if match and isinstance(match.candidate, Bug):
        return 0, report(False, match.candidate.name, match.candidate.told, match.candidate.where)
    if match and not match.sloped:
        return 1, report(False, "wrong gradient", _gradient_told(match, seen, cases))
    if match or not (broken or not usual or contract.strict):
        return 0, report(True, "right", "")
    if contract.strict:
        return 3, report(False, "wrong", f"It should return {contract.result}. The zoo does not know this bug.")
    if not all(np.isfinite(values).all() for values in seen.values):
        return 2, report(False, "not finite", "It returns NaN or infinity for inputs that have a finite answer.")
    meant = [bug for i in found if found[i] for bug in bugs if bug.name == i.bug]
    if meant:
        return 2, report(False, meant[0].name, meant[0].told, meant[0].where)
    return 2, report(False, "wrong", f"It should return {contract.result}. The zoo does not know this bug.")


def _looked(
    identity: Identity, loss: Function, cases: list[Case], tolerance: tuple[float, float]
) -> Shown | str | None:
    """Return what breaks an identity, in words if it is an error, or None."""
    try:
        return _worst(identity.look(loss, cases), tolerance)
    except Trouble as trouble:
        return str(trouble)


def _state(identity: Identity, shown: Shown | str | None) -> str:
    if shown is None:
        return "holds"
    words = _words(shown) if isinstance(shown, Shown) else shown
    return f"{'CAUTION' if identity.caution else 'BROKEN'}: {words}"


def _see(contract: Contract, subject: Subject, cases: list[Case]) -> Seen:
    values = [subject(case) for case in cases]
    slopes: list[dict[str, Array]] | None
    try:
        slopes = [subject.gradient(case, contract.trained) for case in cases]
    except Trouble:
        slopes = None
    return Seen(values, slopes if contract.trained else None, TOLERANCE[subject.digits], subject.layout.into)


def _recognised(
    contract: Contract, rights: Sequence[Right | Bug], bugs: Sequence[Right | Bug], seen: Seen, cases: list[Case]
) -> Match | None:
    """Return the first match: exact before scaled before rough, right before wrong, with its gradient first."""
    first: Match | None = None
    made: Made = {}
    rough = seen._replace(tolerance=TOLERANCE[32])
    ways = [(seen, False), (seen, True)] if contract.loss else [(seen, False)]
    ways += [(rough, False)] if seen.tolerance < rough.tolerance else []
    for view, loosely in ways:
        for candidate in (*rights, *bugs):
            for match in _equal(contract, candidate, view, cases, loosely, made):
                found = match._replace(rough=view is rough)
                if _slopes_agree(found, view, cases):
                    return found
                first = first or found._replace(sloped=False)
    return first


def _equal(
    contract: Contract, candidate: Right | Bug, seen: Seen, cases: list[Case], loosely: bool, made: Made
) -> Iterator[Match]:
    for form in contract.forms:
        wanted = []
        for i, (case, value) in enumerate(zip(cases, seen.values, strict=True)):
            place = (id(candidate), form.call, i)
            with np.errstate(all="ignore"):
                if place not in made:
                    made[place] = form.call(candidate.function, case)
                wanted.append(form.shape(made[place], case))
            if value.shape != wanted[-1].shape:
                break
            if not (_on_a_line(seen.values, wanted) if loosely else _near(contract, value, wanted[-1], seen)):
                break
        if len(wanted) < len(cases) or wanted[-1].shape != seen.values[-1].shape:
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


def _on_a_line(values: Sequence[Array], wanted: Sequence[Array]) -> bool:
    """Whether the first numbers of two rows may be on one line, up to single precision."""
    a, b = (np.concatenate([np.ravel(part) for part in parts]) for parts in (values[: len(wanted)], wanted))
    if len(b) < 3 or len(wanted) > 6 or not (np.isfinite(a) & np.isfinite(b)).all() or np.ptp(b) < 1e-6:
        return True
    return _close(np.polyval(np.polyfit(b, a, 1), b), a, TOLERANCE[16])


def _near(contract: Contract, value: Array, wanted: Array, seen: Seen) -> bool:
    return _close(value, wanted, seen.tolerance) or (contract.loss and _close(value, -wanted, seen.tolerance))


def _slopes_agree(match: Match, seen: Seen, cases: list[Case]) -> bool:
    return not any(_slopes_apart(match, seen, cases))


def _slopes_apart(match: Match, seen: Seen, cases: list[Case]) -> Iterator[tuple[str, Shown]]:
    """Yield inputs in which the gradient differs, and what it is beside what it should be."""
    for case, slopes in zip(cases, seen.slopes or [], strict=False):
        for name, slope in slopes.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # autograd warns of a result that does not depend on an input
                wanted = match.factor * elementwise_grad(
                    lambda x, c=case, n=name: _of(match.candidate, match.form, c | {n: x})
                )(case[name])
            wanted = seen.into(case | {name: wanted})[name]
            if not _close(slope, wanted, seen.tolerance):
                yield name, Shown(case, slope, wanted)


def _gradient_told(match: Match, seen: Seen, cases: list[Case]) -> str:
    apart = list(_slopes_apart(match, seen, cases))
    names = list(dict.fromkeys(name for name, _ in apart))
    none = not any(np.any(shown.found) for _, shown in apart)
    what = "there is none" if none else "it is another"
    case = _words(apart[0][1]).partition(" it gives ")
    return (
        f"Its numbers are right and its gradient is not: {what} in {' and '.join(names)}. Is something detached? "
        f"{case[0].capitalize()} the gradient in {names[0]} is {case[2]}"
    )


def _of(candidate: Right | Bug, form: Form, case: Case) -> Array:
    with np.errstate(all="ignore"):
        return form.shape(form.call(candidate.function, case), case)


def _likely(contract: Contract, rights: Sequence[Right], seen: Seen, cases: list[Case]) -> Form:
    """Return the form of the shape that was returned. Raises `Trouble` if there is none."""
    for form in contract.forms:
        if all(v.shape == _of(rights[0], form, c).shape for v, c in zip(seen.values, cases, strict=True)):
            return form
    big = cases[-1]
    shapes = " or ".join(dict.fromkeys(str(_of(rights[0], form, big).shape) for form in contract.forms))
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
    text = np.array2string(np.round(np.asarray(values, dtype=float), 4) + 0.0, separator=", ", threshold=12)
    return " ".join(str(text).split())


def _conventions(contract: Contract, match: Match) -> Iterator[str]:
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

"""An audit: which identities hold for a function, which bug has its fingerprint, and what is a matter of taste."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.audit.binding import Case, Input, Misbehaved, Trouble
from rlhf_lab.audit.clues import clues
from rlhf_lab.audit.contracts import Contract, Function, Identity, Right, Shown
from rlhf_lab.audit.exchanges import exchanged
from rlhf_lab.audit.functions import Layout, Made, Subject
from rlhf_lab.audit.recognition import (
    TOLERANCE,
    Match,
    Seen,
    conventions_of,
    gradient_told,
    likely,
    recognised,
    result_of,
    see,
)
from rlhf_lab.audit.report import Report, in_words, worst
from rlhf_lab.audit.twists import partly_rounded, retold, rounded, sized, twisted
from rlhf_lab.audit.zoo import Bug

UNKNOWN = ("wrong", "not finite")


def audit(contracts: Contract | Sequence[Contract], function: Callable[..., Any], **fixed: Any) -> Report:
    """Return what is wrong with a function, or that it is right: the best that is found by any contract and layout.

    `fixed` are inputs that the function does not take, because they are constants inside it.
    """
    each = [contracts] if isinstance(contracts, Contract) else contracts
    made: Made = {}
    found = _all_tried(each, function, fixed, made, deep=False)
    best = min(found, key=_by_rank)
    named_well = best.contract.general or best.contract.loss  # by an identity
    if best.rank == 3 and not (named_well and best.report.verdict not in UNKNOWN):
        usual = [one for one in found if one.rank == 3]  # strict ones are not
        near = [usual[0], *(one for one in usual[1:2] if one.broken < usual[0].broken)]  # where less breaks
        found += _all_tried([one.contract for one in near], function, fixed, made, deep=True)  # this takes longer
    best = min(found, key=_by_rank)
    return _with_clues(best, each, function, fixed, made) if best.rank == 3 else best.report


class Found(NamedTuple):
    """What is known of a function by a contract with one layout: how much, and what share of identities is broken."""

    rank: int
    broken: float
    report: Report
    contract: Contract


def _by_rank(found: Found) -> tuple[int, float]:
    return found.rank, found.broken


def _with_clues(
    found: Found, contracts: Sequence[Contract], function: Callable[..., Any], fixed: dict[str, Any], made: Made
) -> Report:
    """Return the report of a function that nobody knows, with what its special cases tell: any kind may be meant."""
    rights = dict.fromkeys(right for contract in contracts if not contract.strict for right in contract.rights)
    try:
        subject, cases, _ = _called(found.contract, found.contract.layouts[0], function, fixed, made)
        return replace(found.report, clues=clues(found.contract._replace(rights=tuple(rights)), subject, cases))
    except Trouble:  # which it does not make where it is judged
        return found.report


def _called(
    contract: Contract, layout: Layout, function: Callable[..., Any], fixed: dict[str, Any], made: Made
) -> tuple[Subject, list[Case], list[Input]]:
    """Return a function as an audit sees it, cases in which all inputs are, and those that it does not take."""
    cases = [case | fixed for case in layout.cases(contract.cases)]
    inputs = layout.inputs or contract.inputs
    subject = Subject(function, inputs, cases, layout, made)
    absent = [i for i in inputs if i.absent and i.name not in {*subject.given, *fixed}]
    for given in absent:
        cases = [case | {given.name: given.absent(subject, case)} for case in cases if given.absent]
    return subject, cases, absent


def _all_tried(
    contracts: Sequence[Contract], function: Callable[..., Any], fixed: dict[str, Any], made: Made, *, deep: bool
) -> list[Found]:
    """Return what is known by each contract and layout, or by one of them that tells all."""
    found: list[Found] = []
    for contract in contracts:
        for layout in contract.layouts:
            rank, report = _tried(contract, layout, function, fixed, made, deep=deep)
            states = [state.startswith("BROKEN") for state in report.identities.values()]
            broken = float(np.mean(states or [True])) if rank > 2 else 0.0
            found.append(Found(rank, broken, report, contract._replace(layouts=(layout,))))
            if report.ok or (rank == 0 and not contract.patient) or (deep and rank == 2):
                return [found[-1]]
            if rank == 0:
                break
    return found


def _tried(
    contract: Contract, layout: Layout, function: Callable[..., Any], fixed: dict[str, Any], made: Made, *, deep: bool
) -> tuple[int, Report]:
    """Return a report, and how much is known by it: 0 for a bug of the zoo, 4 if it cannot be audited."""
    name = getattr(function, "__name__", type(function).__name__)
    try:
        subject, cases, absent = _called(contract, layout, function, fixed, made)
        known = list(subject.notes)
        _, report = first = _judged(contract, name, subject, cases, deep=deep)
        if report.verdict == "wrong":
            for missing, value in ((i, value) for i in absent for value in i.usual):
                subject.notes = [*known, f"no parameter {missing.name}: {value:.4g} is fixed inside it"]
                usual = [case | {missing.name: value} for case in cases]
                found = _judged(contract, name, subject, usual, deep=deep)
                if found[1].ok:  # before a bug with another number: beta twice is right with twice the beta
                    return found
                if first[1] is report and found[1].verdict != "wrong":
                    first = found
        return first
    except Trouble as trouble:
        rank = 1 if isinstance(trouble, Misbehaved) else 4
        return rank, Report(contract.name, name, False, "not audited", str(trouble))


def _judged(contract: Contract, name: str, subject: Subject, cases: list[Case], *, deep: bool) -> tuple[int, Report]:
    rights = [right for right in contract.rights if right.when(subject)]
    bugs = contract.known()
    conventions = [text for text in (subject.layout.name, *subject.notes) if text]
    seen = see(contract, subject, cases)
    match = None if deep else _known(contract, rights, subject, seen, cases)
    if deep and not (match := _guessed(contract, rights, subject, seen, cases)):
        return 4, Report(contract.name, name, False, "wrong", "")
    form = match.form if match else likely(contract, rights, seen, cases)
    plain = Function(subject, match.factor, match.shift) if match else Function(subject)
    key = match.candidate if match and isinstance(match.candidate, Right) else rights[0]
    usual = contract.general or key == contract.rights[0]
    asked = [i for i in contract.identities if usual and {*i.needs.split()} <= subject.given and not form.opaque]
    found = _all_looked(asked, plain, cases, TOLERANCE[32] if match and match.rough else seen.tolerance)
    if match and isinstance(match.candidate, Right) and any(found[i] for i in asked if not i.caution):
        coarse = _all_looked(asked, plain, cases, TOLERANCE[32])  # numbers may be nearer than differences of them
        if not any(coarse[i] for i in asked if not i.caution):
            match, found = match._replace(rough=True), coarse
    if match and match.rough:
        seen = seen._replace(tolerance=max(seen.tolerance, TOLERANCE[32]))
        conventions.append("equal to four digits: a small number in a denominator, or single precision inside")
    states = {i.name: _state(i, shown) for i, shown in found.items()}
    broken = [shown for i, shown in found.items() if shown and not i.caution]
    gaps = [Shown(case, plain(case), result_of(key, form, case)) for case in cases]
    if gaps[-1].found.shape != gaps[-1].wanted.shape:  # a bug of another shape than the right functions
        gaps = []
    shown = worst(gaps, seen.tolerance) or next((s for s in broken if isinstance(s, Shown)), None)
    if match:
        conventions = [*conventions_of(contract, match), *conventions]
    if contract.trained and (match or (asked and not broken)) and seen.slopes() is None:
        conventions.append("not written for automatic differentiation: only its numbers are judged")

    def report(ok: bool, verdict: str, words: str, where: str = "") -> Report:
        smallest = f"Smallest input that shows it: {in_words(shown)}" if shown and not ok else ""
        return Report(contract.name, name, ok, verdict, words, smallest, where, states, tuple(conventions))

    if match and isinstance(match.candidate, Bug):
        bug = match.candidate
        return 0 if bug.where else 2, report(False, bug.name, bug.told, bug.where)
    if match and not match.sloped:
        return 1, report(False, "wrong gradient", gradient_told(match, seen, cases))
    if not broken and (match or (asked and not contract.strict)):
        return 0, report(True, "right", "")
    if contract.strict:
        return 4, report(False, "wrong", f"It should return {contract.result}. The zoo does not know this bug.")
    if not all(np.isfinite(values).all() for values in seen.values):
        return 3, report(False, "not finite", "It returns NaN or infinity for inputs that have a finite answer.")
    meant = [bug for i in found if found[i] for bug in bugs if bug.name == i.bug]
    if meant:
        return 3, report(False, meant[0].name, meant[0].told, meant[0].where)
    return 3, report(False, "wrong", f"It should return {contract.result}. The zoo does not know this bug.")


def _known(
    contract: Contract, rights: Sequence[Right], subject: Subject, seen: Seen, cases: list[Case]
) -> Match | None:
    match = recognised(contract, rights, contract.known(), seen, cases)
    if not match and (fitted := list(contract.fitted(Function(subject), cases))):
        match = recognised(contract, fitted, (), seen, cases)
    return match or twisted(contract, rights, seen, cases) or rounded(contract, rights, subject, seen, cases)


def _guessed(
    contract: Contract, rights: Sequence[Right], subject: Subject, seen: Seen, cases: list[Case]
) -> Match | None:
    match = sized(contract, rights, seen, cases) or partly_rounded(contract, rights, subject, seen, cases)
    return match or exchanged(contract, rights, subject, seen, cases) or retold(contract, rights, seen, cases)


def _all_looked(
    identities: list[Identity], loss: Function, cases: list[Case], tolerance: tuple[float, float]
) -> dict[Identity, Shown | str | None]:
    with np.errstate(all="ignore"):
        return {identity: _looked(identity, loss, cases, tolerance) for identity in identities}


def _looked(
    identity: Identity, loss: Function, cases: list[Case], tolerance: tuple[float, float]
) -> Shown | str | None:
    """Return what breaks an identity, in words if it is an error, or None."""
    try:
        return worst(identity.look(loss, cases), tolerance)
    except Trouble as trouble:
        return str(trouble)


def _state(identity: Identity, shown: Shown | str | None) -> str:
    if shown is None:
        return "holds"
    words = in_words(shown) if isinstance(shown, Shown) else shown
    return f"{'CAUTION' if identity.caution else 'BROKEN'}: {words}"

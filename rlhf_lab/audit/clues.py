"""What is told of a bug that nobody knows: where the function is right, and to which inputs it answers as it should."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from autograd import elementwise_grad

from rlhf_lab.audit.binding import Case, Trouble
from rlhf_lab.audit.contracts import Contract, Form, Right
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.places import PLACES, Place
from rlhf_lab.audit.recognition import Match, Seen, recognised, result_of, see, unsloped
from rlhf_lab.audit.report import close
from rlhf_lab.audit.special import first_row, first_token
from rlhf_lab.numerics.autodiff import Array

SAME = (1e-6, 1e-8)
CHOICES = {"tokens": "logits", "actions": "log_probs"}  # of how many


def clues(contract: Contract, subject: Subject, cases: Sequence[Case]) -> tuple[str, ...]:
    """Return in which special cases a function is right that is wrong in general, and what its inputs do to it.

    Where it is right nowhere, its gradients may be, and that is told; else all of its formula is wrong.
    """
    rights = [right for right in contract.rights if right.when(subject)]
    special = {place: made for place in PLACES if (made := _made(place, subject, cases))}
    found: dict[str, str] = {}
    for place, made in special.items():
        if not found.keys() & set(place.within) and (match := _right(contract, rights, subject, made)):
            factor = "" if abs(match.factor) == 1 else f", up to a factor of {match.factor:.4g}"
            found[place.where] = f"It is right where {place.where}{factor}: look at {place.look}."
    words = [*found.values(), *_answers(contract, rights, subject, cases)]
    words = words or _sized(contract, rights, subject, cases, special)
    if special and not words:
        words = ["No special case that leaves a part out is right: look at the formula itself."]
    return tuple(words)


def _made(place: Place, subject: Subject, cases: Sequence[Case]) -> list[Case]:
    """Cases of a special kind, if they are others than those that there were, and the function hears of the numbers."""
    if any(name not in cases[-1] for name in place.needs):
        return []
    pairs = [(special, case) for case in cases if (special := place.change(case))]
    changed = {name for special, case in pairs for name in case if not np.array_equal(special[name], case[name])}
    fixed = [name for name in changed if np.ndim(cases[-1][name]) == 0 and name not in subject.given]
    return [special for special, _ in pairs] if changed and not fixed else []


def _right(contract: Contract, rights: Sequence[Right], subject: Subject, cases: list[Case]) -> Match | None:
    """Which right function a function is in some cases, if these tell anything: not where all is the same."""
    try:
        seen = see(contract, subject, cases)
    except Trouble:
        return None
    values = np.concatenate([np.ravel(value) for value in seen.values])
    if values.size < 4 or not np.isfinite(values).all() or np.ptp(values) < 1e-6:
        return None
    return recognised(contract, rights, (), seen._replace(slopes=unsloped), cases)


def _answers(contract: Contract, rights: Sequence[Right], subject: Subject, cases: Sequence[Case]) -> list[str]:
    """Tell to which inputs a function answers as the right one that is nearest in this, and to which not at all."""
    some = cases[-2:]
    given = [name for name in some[0] if name in subject.given and _moves(name, some[0])]
    moved = {name: [_moved(name, case) for case in some] for name in given}
    usual = [subject(case) for case in some]
    steps = {name: [subject(other) - a for other, a in zip(moved[name], usual, strict=True)] for name in given}
    best: list[str] = []
    heard: set[str] = set()
    for right in rights:
        for form in contract.forms:
            first = [result_of(right, form, case) for case in some]
            if any(a.shape != b.shape for a, b in zip(first, usual, strict=True)):
                continue
            same = []
            for name in given:
                wanted = [result_of(right, form, other) - a for other, a in zip(moved[name], first, strict=True)]
                if any(np.any(np.abs(step) > 1e-6) for step in wanted):
                    heard.add(name)
                    same += [name] * all(close(a, b, SAME) for a, b in zip(steps[name], wanted, strict=True))
            best = max(best, same, key=len)
    deaf = [name for name in given if name in heard and not any(map(np.any, steps[name]))]
    words = [f"It does not depend on {name}, and it should." for name in deaf]
    if best:
        words.append(f"It answers to {_listed(best)} as it should: what is wrong has nothing to do with that.")
    return words


def _sized(
    contract: Contract,
    rights: Sequence[Right],
    subject: Subject,
    cases: Sequence[Case],
    special: dict[Place, list[Case]],
) -> list[str]:
    """Tell in which special case gradients are right, or what is right but for its size, another one in each case."""
    for place, made in special.items():
        factors = _factors(_slope, contract, rights, subject, made)
        if factors and close(np.array(factors), np.array(factors[0]), SAME):
            return [f"Its numbers are wrong, and its gradient is right where {place.where}: look at {place.look}."]
    single = [first_token(row) for case in cases if (row := first_row(case))]
    for some, each, look in ((cases, "In each case", "what you divide by"), (single, "Row by row", "what weighs them")):
        for what, of in (("numbers", _value), ("gradients", _slope)):
            if factors := _factors(of, contract, rights, subject, some):
                sizes = " and ".join(f"{factor:.4g}" for factor in factors)
                return [f"{each}, its {what} are right but for their size, {sizes} times that: look at {look}."]
    return []


Ratio = Callable[[Right, Form, Seen, int, Case], float]


def _factors(
    ratio: Ratio, contract: Contract, rights: Sequence[Right], subject: Subject, cases: Sequence[Case]
) -> list[float]:
    """By what those of a right function are multiplied in each of the largest cases, if all have such a number."""
    some = list(cases[-4:])
    try:
        seen = see(contract, subject, some)
    except Trouble:
        return []
    for right in rights:
        for form in contract.forms:
            factors = [ratio(right, form, seen, k, case) for k, case in enumerate(some)]
            if all(factors):
                return factors
    return []


def _value(right: Right, form: Form, seen: Seen, k: int, case: Case) -> float:
    return _times(seen.values[k], result_of(right, form, case))


def _slope(right: Right, form: Form, seen: Seen, k: int, case: Case) -> float:
    if (slopes := seen.slopes()) is None:
        return 0.0
    rows = {}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # autograd warns of a result that does not depend on an input
        for name in slopes[k]:
            rows[name] = elementwise_grad(lambda x, name=name: result_of(right, form, case | {name: x}))(case[name])
    wanted = seen.into(case | rows)
    return _times(*(np.concatenate([np.ravel(g[name]) for name in rows]) for g in (slopes[k], wanted)))


def _times(found: Array, wanted: Array) -> float:
    """By what numbers are multiplied, 0 if they are others, or too few to tell."""
    if found.shape != wanted.shape or np.count_nonzero(wanted) < 2:
        return 0.0
    factor = float(np.sum(found * wanted) / np.sum(wanted**2))
    return factor if close(found, factor * wanted, SAME) else 0.0


def _moves(name: str, case: Case) -> bool:
    """Whether an input may have any numbers."""
    return name in CHOICES or (np.asarray(case[name]).dtype.kind == "f" and name not in ("mask", "ends"))


def _moved(name: str, case: Case) -> Case:
    """The case with other numbers in an input."""
    if name in CHOICES:
        return case | {name: (case[name] + 1) % case[CHOICES[name]].shape[-1]}
    return case | {name: 1.1 * case[name] + 0.02}


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

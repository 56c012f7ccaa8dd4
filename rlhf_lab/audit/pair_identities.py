"""What holds for losses of comparisons.

h margin log pi(y_w)/pi_0(y_w) - log pi(y_l)/pi_0(y_l)    beta, tau KL weights
"""

from collections.abc import Callable, Iterator, Sequence

import autograd.numpy as np

from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.contracts import Function, Shown, by_name
from rlhf_lab.audit.pair_inputs import FOUR, one
from rlhf_lab.numerics.autodiff import Array


def singles(cases: Sequence[Case]) -> list[Case]:
    """Return the cases of one comparison."""
    return [case for case in cases if np.size(next(iter(case.values()))) == 1]


def moved_by(case: Case, **by: float) -> Case:
    """Return a case with something added to some inputs."""
    return case | {name: case[name] + step for name, step in by.items()}


def margin_of(case: Case) -> Array:
    """Return h of a case, added up."""
    return np.sum(
        case["policy_chosen"] - case["reference_chosen"] - (case["policy_rejected"] - case["reference_rejected"])
    )


def at_reference(value: Callable[[Case], float], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The policy is the reference."""
    for case in singles(cases):
        same = case | {f"policy_{y}": case[f"reference_{y}"] for y in ("chosen", "rejected")}
        yield Shown(same, np.sum(loss(same)), value(same))


def only_the_margin(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Both answers get less likely by as much."""
    for case in singles(cases):
        for who in ("policy", "reference"):
            moved = moved_by(case, **{f"{who}_chosen": -0.7, f"{who}_rejected": -0.7})
            yield Shown(moved, np.sum(loss(moved)), np.sum(loss(case)))


def reference_counts(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The reference moves down as far as the policy moves up."""
    for case in singles(cases):
        for which in ("chosen", "rejected"):
            down, up = moved_by(case, **{f"reference_{which}": -0.8}), moved_by(case, **{f"policy_{which}": 0.8})
            yield Shown(down, np.sum(loss(down)), np.sum(loss(up)))


def swapped(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The answers are exchanged."""
    for case in singles(cases):
        other = {
            "policy_chosen": case["policy_rejected"],
            "policy_rejected": case["policy_chosen"],
            "reference_chosen": case["reference_rejected"],
            "reference_rejected": case["reference_chosen"],
        }
        found = np.sum(loss(case)) - np.sum(loss(case | other))
        yield Shown(case, found, -case["beta"] * margin_of(case))


def weight_scales(weight: str, loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Log-probabilities are halved and the weight doubled."""
    for case in singles(cases):
        other = case | {name: case[name] / 2 for name in FOUR} | {weight: 2 * case[weight]}
        yield Shown(other, np.sum(loss(other)), np.sum(loss(case)))


def at_target(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The margin is 1 / (2 tau)."""
    for case in singles(cases):
        there = case | {"policy_chosen": case["policy_chosen"] + 0.5 / case["tau"] - margin_of(case)}
        yield Shown(there, np.sum(loss(there)), np.zeros(()))


def rows(names: Sequence[str], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The loss of a batch is made of the losses of its comparisons, by mean or sum."""
    for case in cases:
        size = np.size(case[names[0]])
        rows = [case | {name: case[name][i : i + 1] for name in names} for i in range(size)]
        each, found = np.array([np.sum(loss(row)) for row in rows]), np.asarray(loss(case))
        wholes = [each] if found.shape == each.shape else [np.mean(each), np.sum(each)]
        yield Shown(case, found, min(wholes, key=lambda whole: float(np.max(np.abs(whole - found)))))


def far_margins(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Margins of 2000 nats on either side."""
    for case in singles(cases)[:1]:
        for far in (-2000.0, 2000.0):
            away = one(min(far, 0.0), min(-far, 0.0), 0.0, 0.0, case["beta"])
            yield Shown(away, np.sum(loss(away)), max(0.0, -case["beta"] * far))


def clipped(
    right: Callable[..., Array], at: Callable[[float, Case], Case], loss: Function, cases: Sequence[Case]
) -> Iterator[Shown]:
    """A loss that does not look at how far a margin is on the wrong side, and has a slope up to there."""
    case = cases[0]

    def cost(margin: float) -> float:
        return float(np.sum(loss(at(margin, case))))

    inside, end, flat = 0.0, -40.0, cost(-45.0)
    if cost(end) != flat or cost(-0.1) == cost(0.1):
        return
    while inside - end > 1e-3:
        middle = (inside + end) / 2
        inside, end = (inside, middle) if cost(middle) == flat else (middle, end)
    if abs(cost(end) - cost(end + 0.1)) > 1e-3 * abs(cost(0.1) - cost(-0.1)):
        yield Shown(at(-45.0, case), np.array(flat), np.sum(by_name(right, at(-45.0, case))))


def with_margin(margin: float, case: Case) -> Case:
    """Return a case of one comparison with a margin."""
    return case | one(min(margin, 0.0), min(-margin, 0.0), 0.0, 0.0, case.get("beta", 0.0))


def singly(key: Callable[..., Array], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Single comparisons beside what a right function gives."""
    for case in singles(cases):
        weight = {name: case[name] for name in ("beta", "tau") if name in case}
        yield Shown(case, np.sum(loss(case)), np.sum(key(*(case[name] for name in FOUR), **weight)))

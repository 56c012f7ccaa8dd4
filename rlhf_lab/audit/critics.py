"""The audit of the loss of a critic, with clipping and without.

V value    G return    epsilon clip range
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input, names
from rlhf_lab.audit.contracts import Contract, Function, Identity, Right, Shown, positive
from rlhf_lab.audit.functions import Layout, Subject
from rlhf_lab.audit.policies import answers
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import ZOO, returns
from rlhf_lab.audit.zoo.policies import masked_mean
from rlhf_lab.numerics.autodiff import Array

VALUES = r"(new_?|cur(rent)?_?)?(values?|vals?|v_?preds?|v|preds?|value_preds?)(_(new|pred|preds|t))?"
NEW_VALUES = r"(new|cur(rent)?)_?(values?|v|vals?)|v_?preds?|values?_?(new|preds?)|pred(icted)?_values?"
OLD_VALUES = (
    r"(old_?|mb_old_|mb_|b_|prev_?|rollout_?)(values?|vals?|v|vpreds?|v_?preds?)|"
    r"(values?|v|vals?|v_?preds?)_?(old|0|prev)"
)
RETURNS = (
    r"(mb_|b_|value_?|v_)?(returns?|rets?|targets?|g|td_targets?|target_values?|"
    r"value_targets?|discounted_returns?)(_t)?"
)


def _value_cases(*, clipped: bool) -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = []
    for (n, t), clip in zip(
        ((1, 1),) * 5 + ((1, 3), (2, 3), (4, 5)), (0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.3, 0.2), strict=True
    ):
        values, target = (rng.integers(-30, 31, (n, t)) / 10 for _ in range(2))
        case = {"values": values, "returns": target + 0.05, "mask": batches.lengths(rng, n, t)}
        old = values + rng.integers(1, 9, (n, t)) * rng.choice([-0.1, 0.1], (n, t)) + 0.03
        found.append(case | ({"old_values": old, "clip_range": clip} if clipped else {}))
    if clipped:  # a value near its return, and far from the old one
        one = found[0]
        found.insert(1, one | {"values": one["returns"] + 0.05, "old_values": one["returns"] + 0.65})
    return tuple(found)


def _single(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if np.size(case["mask"]) == 1]


def _at_the_return(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _single(cases):
        there = case | {"values": case["returns"], "old_values": case["returns"]}
        yield Shown(there, np.sum(loss(there)), np.zeros(()))


def _twice_as_far(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """An error twice as large costs four times as much."""
    for case in _single(cases):
        far = case | {"values": 2 * case["values"] - case["returns"]}
        yield Shown(far, np.sum(loss(far)), 4 * np.sum(loss(case)))


def _only_difference(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _single(cases):
        moved = {name: case[name] + 0.7 for name in ("values", "returns", "old_values") if name in case}
        yield Shown(case | moved, np.sum(loss(case | moved)), np.sum(loss(case)))


def _either_way(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """A value that is too high costs as much as one that is as far too low, and something."""
    for case in _single(cases):
        other = case | {n: 2 * case["returns"] - case[n] for n in ("values", "old_values") if n in case}
        cost = np.sum(loss(case))
        usual = np.sum((case["values"] - case["returns"]) ** 2 / 2)
        yield Shown(other, np.sum(loss(other)), cost if cost else usual)


def _tokens(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The loss of one answer is made of those of its tokens, by mean or sum."""
    for case in cases:
        n, t = case["mask"].shape
        if n == 1 and t > 1 and np.all(case["mask"]):
            found = loss(case)
            each = [{k: v[:, i : i + 1] if np.ndim(v) == 2 else v for k, v in case.items()} for i in range(t)]
            values = np.array([np.sum(loss(one)) for one in each])
            wholes = [w for w in (np.mean(values), np.sum(values), values) if np.size(w) == np.size(found)]
            wholes = [np.reshape(w, found.shape) for w in wholes]
            yield Shown(case, found, min(wholes, key=lambda whole: float(np.max(np.abs(whole - found)))))


def _kept_by_clip(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """A value that moved too far towards its return is not pushed on, and one that moved away is pulled back."""
    for case in _single(cases):
        one = returns.clipped_value_loss(
            **{k: case[k] for k in ("values", "old_values", "returns", "mask", "clip_range")}
        )
        whole = loss(case | {"old_values": case["values"]})
        size = np.sum(whole) / np.sum((case["values"] - case["returns"]) ** 2 / 2)
        yield Shown(case, np.sum(loss(case)) / size, np.sum(one))


def _flat_pairs(values: Array, returns: Array, mask: Array) -> Array:
    """The error of every value against every return, where both are flat."""
    flat = (*values.shape[:-2], values.shape[-2] * values.shape[-1])
    errors = np.reshape(values, flat)[..., :, None] - np.reshape(returns, flat)[..., None, :]
    return np.mean(errors**2, axis=(-1, -2)) / 2


def _huber(values: Array, returns: Array, mask: Array) -> Array:
    size = np.abs(values - returns)
    return masked_mean(np.where(size < 1, size**2 / 2, size - 0.5), mask)


def _clipped_only(values: Array, old_values: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    near = old_values + np.clip(values - old_values, -clip_range, clip_range)
    return masked_mean((near - returns) ** 2 / 2, mask)


def _clip(subject: Subject, case: Case) -> float:
    """The clip range that is fixed inside a function: how far a value counts that moved towards its return."""
    one = np.ones((1, 1))
    at = {"values": 40 * one, "old_values": 0 * one, "returns": 100 * one, "mask": one, "clip_range": 0.2}
    far, free = (float(np.sum(subject(c))) for c in (at, at | {"old_values": 40 * one}))
    clip = 100 - 60 * np.sqrt(abs(far / free)) if free else np.nan
    if not 1e-3 < clip < 30:
        return 0.2
    subject.note(f"no parameter for the clip range: {clip:.4g}, worked out from its values, is fixed inside it")
    return float(f"{clip:.6g}")


CONSTANT = (
    Identity("0 where the value is the return", _at_the_return),
    Identity("only the difference matters", _only_difference),
    Identity("an error costs as much above as below", _either_way),
    Identity("an answer is made of its tokens", _tokens),
    Identity("a batch is made of its answers", answers),
    Identity(
        "padding changes nothing",
        partial(batches.padding, ("values", "returns")),
        needs="mask",
        bug="critic fitted on padding",
    ),
)
V, G, MASK = Input("values", VALUES), Input("returns", RETURNS), batches.mask_of("values")
PLAIN_VALUE = Contract(
    "value_loss",
    (V, G, MASK),
    "(V - G)^2 / 2, averaged or added up over tokens",
    (Right("", returns.value_loss),),
    _value_cases(clipped=False),
    batches.FORMS,
    (*CONSTANT, Identity("an error twice as large costs four times as much", _twice_as_far)),
    ("values",),
    bugs=(
        *(bug for bug in ZOO if bug.audit == "value_loss" and bug.right is returns.value_loss),
        *(bug._replace(function=_flat_pairs) for bug in ZOO if bug.function is returns.every_return),
    ),
)
CLIPPED_VALUE = Contract(
    "value_loss",
    (V, Input("old_values", OLD_VALUES), G, MASK, Input("clip_range", batches.CLIP + "|\\w*clip\\w*", _clip)),
    "the larger of the squared errors of V and of V held near its old value, averaged or added up over tokens",
    (Right("", returns.clipped_value_loss),),
    _value_cases(clipped=True),
    batches.FORMS,
    (*CONSTANT, Identity("the larger of the two errors", _kept_by_clip)),
    ("values",),
    bugs=tuple(bug for bug in ZOO if bug.audit == "value_loss" and bug.right is returns.clipped_value_loss),
)


HUBER = PLAIN_VALUE._replace(
    rights=(Right("the error is squared only where it is below 1 (Huber)", _huber),),
    identities=CONSTANT,
    bugs=(),
    strict=True,
)
CLIPPED_ONLY = CLIPPED_VALUE._replace(
    rights=(Right("the error of the clipped value alone, as in Stable-Baselines3", _clipped_only),),
    identities=CONSTANT,
    bugs=(),
    strict=True,
)


def value_loss(function: Callable[..., Any], *, clip_range: float | None = None) -> Report:
    """Audit the loss of a critic: `function(values, returns, mask)`, or with `old_values` and `clip_range`.

    Arrays (N, T), or one number for each of a batch; `mask` may be left out. It returns a loss for each token, or their
    mean or sum, with a factor of 1/2 or without. `clip_range` may be fixed inside: it is then worked out.
    """
    parameters = names(function)
    known = [name for name in parameters if re.fullmatch(f"{VALUES}|{OLD_VALUES}", name)]
    given = positive(clip_range=clip_range)
    if len(known) < 2 and len(parameters) != 5:
        return audit((PLAIN_VALUE, HUBER), function)
    contracts: tuple[Contract, ...] = (CLIPPED_VALUE, CLIPPED_ONLY)
    if any(re.fullmatch(NEW_VALUES, name) for name in parameters) and not any(
        re.fullmatch(OLD_VALUES, n) for n in parameters
    ):
        # `values` are the old ones, beside new predictions
        inputs = (Input("now", NEW_VALUES), Input("before", VALUES), *CLIPPED_VALUE.inputs[2:])
        layout = Layout("", lambda c: c | {"now": c["values"], "before": c["old_values"]}, inputs=inputs)
        contracts = tuple(contract._replace(layouts=(layout,)) for contract in contracts)
    return audit(contracts, function, **given)

"""Audits of generalised advantage estimates: of answers with a mask, or of trajectories that hold several episodes.

    N rows    T steps

`ends` marks the last step of each episode; behind the last step of an unfinished one stands `last_value`.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input, names
from rlhf_lab.audit.contracts import Contract, Right, by_name
from rlhf_lab.audit.discounts import discounted
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.traces import ANSWERS, EPISODES, NUMBERS, answer_cases, by_episode, forms, kept, trajectory_cases
from rlhf_lab.audit.zoo import returns
from rlhf_lab.numerics.autodiff import Array

REWARDS = r"(token_?level_?|step_)?(rewards?|rews?|r|rs)(_t)?|scores|rewards_?(buffer|list|seq)"
VALUES = r"(state_?|old_|baseline_?)?(values?|vals?|vf?|vs|critic|baselines?|v_preds?)(_t|_preds?|_estimates)?"
ENDS = r"(is_?)?(dones?|d|ends?|terminals?|terminat(ed|ions?)s?|dones?_(mask|flags?|t)|episode_ends?|truncat\w*)"
FIRSTS = r"(episode_)?(starts?|firsts?)|is_first"
LIVE = r"masks?|not_?dones?|non_?terminals?|continu\w*|alive|cont(s|inue)?|discounts?"
LAST_END = r"(next|last)_(dones?|terminals?|terminat\w*|ends?)"
LAST_VALUE = r"(next|last|final|bootstrap)_?(state_)?(values?|vals?|v)s?|v_?(last|next)|bootstrap|last_values"
Step = Callable[[Case], Case]


def _each_row(cases: Sequence[Case]) -> list[Case]:
    return [
        {k: v[i : i + 1] if np.ndim(v) else v for k, v in c.items()} for c in cases for i in range(len(c["rewards"]))
    ]


def _flat(case: Case) -> Case:
    return {k: v[0] if np.ndim(v) == 2 else float(v[0]) if np.ndim(v) == 1 else v for k, v in case.items()}


def _turned(case: Case) -> Case:
    return {k: np.swapaxes(v, 0, 1) if np.ndim(v) == 2 else v for k, v in case.items()}


SHAPES: tuple[tuple[str, Step, Callable[[Array], Array], Callable[[Sequence[Case]], Sequence[Case]]], ...] = (
    ("", dict, lambda values: values, list),
    ("time comes first, (T, N)", _turned, lambda values: np.swapaxes(values, 0, 1), list),
    ("one trajectory at a time, (T,)", _flat, lambda values: values[None], _each_row),
)


def _longer(case: Case) -> Case:
    last = case.get("last_value", np.zeros(len(case["values"])))
    return case | {"values": np.concatenate([case["values"], last[:, None]], axis=1)}


def _next(case: Case) -> Case:
    return case | {"last_value": _longer(case)["values"][:, 1:]}


def _starts(case: Case) -> Case:
    ends = case["ends"]
    return case | {"ends": np.concatenate([0 * ends[:, :1], ends[:, :-1]], axis=1), "last_end": ends[:, -1]}


def _layouts(
    values: Sequence[tuple[str, Step]], ends: tuple[str, Step], inputs: tuple[Input, ...], keep: Step
) -> tuple[Layout, ...]:
    """Layouts of every shape, for ways in which values and ends are handed over."""

    def cases(shape: Callable[[Sequence[Case]], Sequence[Case]], given: Sequence[Case]) -> Sequence[Case]:
        return shape([keep(case) for case in given])

    found = []
    for one, step in values:
        for two, turn, back, shape in SHAPES:
            name = "; ".join(text for text in (one, two, ends[0]) if text)
            into, result = partial(_handed, turn, ends[1], step), partial(_returned, back)
            found.append(Layout(name, into, result, inputs, partial(cases, shape)))
    return tuple(found)


def _handed(turn: Step, ends: Step, step: Step, case: Case) -> Case:
    return turn(ends(step(case)))


def _returned(back: Callable[[Array], Array], values: Array, case: Case) -> Array:
    return kept(back(values) if values.ndim else values, case)


def _contracts(function: Callable[..., Any]) -> tuple[Contract, ...]:
    """What is asked of a function, by the names of its parameters."""
    given = names(function)

    def takes(pattern: str) -> bool:
        return any(re.fullmatch(pattern, name) for name in given)

    both: tuple[Input, ...] = Input("rewards", REWARDS), Input("values", VALUES)
    long: tuple[str, Step] = ("values hold one more, behind the last step, (N, T + 1)", _longer)
    rights, result = (Right("", returns.gae),), "sum over k of (gamma lambda)^k delta_(t+k)"
    by_flag = takes(ENDS) or takes(FIRSTS) or takes(LAST_END)
    found = []
    inputs: tuple[Input, ...]
    if not by_flag and not takes(LAST_VALUE):
        inputs = (*both, batches.mask_of("rewards"), *NUMBERS)
        layouts = _layouts([("", dict), *([long] if takes(batches.MASK) else [])], ("", dict), inputs, dict)
        found.append(
            Contract(
                "gae",
                inputs,
                result,
                rights,
                answer_cases(),
                forms(by_name),
                ANSWERS,
                (),
                False,
                fitted=lambda loss, cases: discounted(),
                layouts=layouts,
            )
        )
    starts, live = takes(FIRSTS) or takes(LAST_END), takes(LIVE) and not takes(ENDS)
    known = takes(REWARDS) and takes(VALUES)
    marks: tuple[Input, ...] = (Input("ends", "|".join([ENDS, FIRSTS] if not live else [LIVE])),)
    ends: tuple[str, Step] = ("flags mark the last step of an episode", dict)
    if starts:
        late = [Input("last_end", LAST_END)] if takes(LAST_END) else []
        if takes(FIRSTS) and takes(ENDS):  # as in Stable-Baselines3: `dones` are those after the last step
            marks, late = (Input("ends", FIRSTS),), [Input("last_end", f"{ENDS}|{LAST_END}")]
        marks = (*marks, *late)
        ends = ("flags mark the first step of an episode, and what comes after the last one", _starts)
    elif live:
        ends = ("flags are 1 where the episode goes on", lambda c: c | {"ends": 1 - c["ends"]})
    elif known and not takes(ENDS):
        marks, ends = (), ("", dict)
    last = Input("last_value", LAST_VALUE)

    def keep(case: Case) -> Case:
        return (case if marks else _open(case)) | _none(case)

    if takes(LAST_VALUE) or not known:
        ways: list[tuple[str, Step]] = [("", dict), ("the next value of every step is handed over", _next)]
        inputs = (*both, *marks[:1], last, *marks[1:], *NUMBERS)
        found.append(_episodic(rights, result, _layouts(ways, ends, inputs, _open if not marks else dict)))
    if not takes(LAST_VALUE):
        inputs = (*both, *marks, *NUMBERS)
        found.append(_episodic(rights, result, _layouts([("", dict)], ends, inputs, keep)))
        found.append(_episodic(rights, result, _layouts([long], ends, inputs, _open if not marks else dict)))
    return tuple(found)


def _none(case: Case) -> Case:
    return {"last_value": 0 * case["last_value"]}


def _open(case: Case) -> Case:
    return case | {"ends": 0 * case["ends"]}


def _episodic(rights: tuple[Right, ...], result: str, layouts: tuple[Layout, ...]) -> Contract:
    return Contract(
        "gae",
        (),
        result,
        rights,
        trajectory_cases(),
        forms(by_episode),
        EPISODES,
        (),
        False,
        fitted=lambda loss, cases: discounted(),
        layouts=layouts,
    )


def gae(function: Callable[..., Any]) -> Report:
    """Audit generalised advantage estimates: `function(rewards, values, mask, gamma, lam)`.

    Arrays are (N, T), (T, N), or (T,) for one trajectory. In place of the mask of answers it may take flags of the last
    step of an episode (`dones`, or `episode_starts`, or 1 where it goes on), and the value behind the last step, by
    itself or at the end of `values`. It returns advantages (or first of all advantages), whitened or not. Parameters
    are read by name; gamma and lambda may be fixed inside: they are then worked out.
    """
    return audit(_contracts(function), function)

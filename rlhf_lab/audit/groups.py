"""Audits of advantages from groups of answers to one prompt: RLOO, GRPO, Dr. GRPO, REINFORCE.

r reward    A advantage    G groups of k answers    eps what is added to a deviation
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Right, Shown, near, one_of
from rlhf_lab.audit.functions import Layout, Subject
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.standards import RIGHTS, WAYS, bugs_of, rloo_whitened
from rlhf_lab.audit.zoo import returns
from rlhf_lab.audit.zoo.advantages import dr_grpo
from rlhf_lab.numerics.autodiff import Array

REWARDS = r"(group_?|batch_?|flat_?|token_?level_?)?(rewards?|rews?|r|rs|scores?|returns?|outcomes?)"
COUNT = (
    r"(num|n|k)_?(generations?|samples?|samples_per_prompt|responses?|rollouts?|completions?"
    r")?(_per_prompt)?|group_?size|g"
)
IDS = r"(group_?|prompt_?|batch_?)?(ids?|index|indices|uids?|idx)|groups?|prompts?|group_(of|by)"


def _cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = [
        {"rewards": rng.integers(-30, 31, (g, k)) / 10} for g, k in ((1, 2), (1, 3), (1, 4), (2, 3), (3, 4), (4, 2))
    ]
    found[4]["rewards"][1] = 1.5
    return (*found[:3], {"rewards": np.full((1, 3), 0.5)}, *found[3:])


def _moved(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        moved = {"rewards": case["rewards"] + 1.5}
        yield Shown(moved, advantage(moved), advantage(case))


def _twice(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        double = {"rewards": 2 * case["rewards"]}
        yield Shown(double, advantage(double), 2 * advantage(case))


def _any_size(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        double = {"rewards": 2 * case["rewards"]}
        yield Shown(double, near(advantage(double), advantage(case)), advantage(case))


def _scaled_by_spread(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Show something only if advantages are rewards less the mean of the group, by what doubles if they do."""
    apart = list(_twice(advantage, cases))
    for case in cases:
        centred = case["rewards"] - np.mean(case["rewards"], axis=-1, keepdims=True)
        found = advantage(case)
        size = np.sum(found * centred, axis=-1, keepdims=True) / np.maximum(
            np.sum(centred**2, axis=-1, keepdims=True), 1e-12
        )
        double = advantage({"rewards": 2 * case["rewards"]})
        if not (np.allclose(found, size * centred) and np.allclose(double, found, 1e-2, 1e-2) and np.all(size >= 0)):
            return
    yield from apart


def _own(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        more = {"rewards": case["rewards"] + np.eye(case["rewards"].shape[1])[0]}
        yield Shown(more, advantage(more)[:, 0], advantage(case)[:, 0] + 1)


def _balanced(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        found = np.mean(advantage(case), axis=-1)
        yield Shown(case, found, np.zeros(found.shape))


def _alone(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        if len(case["rewards"]) > 1:
            rows = [advantage({"rewards": row[None]}) for row in case["rewards"]]
            yield Shown(case, advantage(case), np.concatenate(rows))


def _all_equal(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        same = 0 * case["rewards"] + 0.5
        yield Shown({"rewards": same}, advantage({"rewards": same}), 0 * same)


def _all_equal_is_finite(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for shown in _all_equal(advantage, cases):
        if not np.isfinite(shown.found).all():
            yield shown


def _better(advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        rows = {"rewards": np.sort(case["rewards"], axis=-1)}
        found = advantage(rows)
        yield Shown(rows, found, np.sort(found, axis=-1))


def _key(rights: Sequence[Right], advantage: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        found = advantage(case)
        wanted = [right.function(case["rewards"]) for right in rights]
        yield Shown(case, found, min(wanted, key=lambda w: float(np.max(np.abs(w - found)))))


CONSTANT = Identity("a constant in all rewards cancels", _moved)
TWICE = "twice the rewards, twice the advantages"
ALONE = Identity("groups have nothing to do with each other", _alone)
BALANCED = Identity("0 on average in a group", _balanced)
EQUAL = Identity("0 where all rewards are equal", _all_equal)
SPREAD = Identity("and not the same ones", _scaled_by_spread, bug="deviation kept")
FINITE = Identity("and a number there", _all_equal_is_finite, bug="spread of zero")
IDENTITIES = {
    "rloo": (CONSTANT, EQUAL, FINITE, Identity("one more for an answer is one more for its advantage", _own)),
    "grpo": (
        CONSTANT,
        BALANCED,
        EQUAL,
        FINITE,
        ALONE,
        Identity("better rewards, larger advantages", _better),
        Identity("any size of rewards gives the same", _any_size),
    ),
    "dr_grpo": (CONSTANT, BALANCED, EQUAL, FINITE, ALONE, Identity(TWICE, _twice), SPREAD),
    "reinforce": (Identity("better rewards, larger advantages", _better),),
}


def _by_row(cases: Sequence[Case]) -> list[Case]:
    return sorted(
        ({"rewards": row[None]} for c in cases for row in c["rewards"]), key=lambda case: case["rewards"].size
    )


def _flat(case: Case) -> Case:
    groups, k = case["rewards"].shape
    return {"rewards": case["rewards"].ravel(), "k": k, "ids": np.repeat(np.arange(groups), k)}


def _at_the_end(case: Case) -> Case:
    """The reward of each answer with its last token."""
    flat = _flat(case)
    n = len(flat["rewards"])
    mask = 1.0 * (np.arange(4) < (np.arange(n) % 3 + 2)[:, None])
    return flat | {"rewards": flat["rewards"][:, None] * (mask - returns.shifted(mask)), "mask": mask}


def _regrouped(values: Array, case: Case) -> Array:
    return values.reshape(case["rewards"].shape) if values.size == case["rewards"].size else values


def _first_token(values: Array, case: Case) -> Array:
    return _regrouped(values[:, 0] if values.ndim == 2 else values, case)


def _nothing(subject: Subject, case: Case) -> int:
    return 0


PLAIN, NUMBER, WHOSE = Input("rewards", REWARDS), Input("k", COUNT, _nothing), Input("ids", IDS, _nothing)
LAYOUTS = (
    Layout(""),
    Layout(
        "one group at a time, (k,)", lambda c: {"rewards": c["rewards"][0]}, lambda v, c: v[None], (PLAIN,), _by_row
    ),
    Layout(
        "rewards are flat, with the number of answers of a group or the group of each",
        _flat,
        _regrouped,
        (PLAIN, NUMBER, WHOSE),
    ),
    Layout(
        "rewards of tokens, (N, T), added up for each answer",
        _at_the_end,
        _first_token,
        (PLAIN, Input("mask", batches.MASK), WHOSE),
    ),
)
RIGHT_OF = {"rloo": returns.rloo, "grpo": returns.grpo, "dr_grpo": dr_grpo, "reinforce": None}
KINDS = {
    kind: Contract(
        "advantages",
        (PLAIN,),
        rights[0].name,
        rights,
        _cases(),
        (Form(""),),
        (*IDENTITIES[kind], Identity("the advantages of this kind", partial(_key, rights))),
        (),
        False,
        general=True,
        layouts=LAYOUTS if kind != "reinforce" else LAYOUTS[:1],
        bugs=bugs_of(RIGHT_OF[kind]),
        patient=True,
    )
    for kind, rights in RIGHTS.items()
}
WHITENED = tuple(
    Right(
        f"RLOO: less the mean of the others in the group, then whitened over the batch ({eps:g} is added)",
        partial(rloo_whitened, ddof=ddof, eps=eps),
    )
    for ddof, eps in WAYS
)
RLOO_WHITENED = KINDS["rloo"]._replace(
    rights=WHITENED,
    identities=(CONSTANT, EQUAL, Identity("the advantages of this kind", partial(_key, WHITENED))),
    layouts=(LAYOUTS[0], LAYOUTS[2]),
    bugs=(),
    strict=True,
)
ORDER = ("grpo", "dr_grpo", "reinforce", "rloo")


def advantages(function: Callable[..., Any], *, kind: str | None = None) -> Report:
    """Audit advantages of groups of answers: `function(rewards)`, rewards (G, k) of k answers to each of G prompts.

    Rewards may be flat, (G k,), with the number of answers of a group or the group of each as second input, or (k,),
    one group at a time. `kind` is "rloo", "grpo", "dr_grpo" or "reinforce"; unless it is given, the function's name is
    asked, and else any of them passes. Raises ValueError for another `kind`.
    """
    if kind is None:
        name = getattr(function, "__name__", "").lower()
        named = [
            k
            for k, part in (("rloo", "rloo"), ("dr_grpo", "dr"), ("grpo", "grpo"), ("rloo", "leave_one"))
            if part in name
        ]
        return audit([c for k in named[:1] or ORDER for c in _of_kind(k)], function)
    one_of("kind", kind, KINDS)
    return audit(_of_kind(kind), function)


def _of_kind(kind: str) -> tuple[Contract, ...]:
    return (KINDS[kind], RLOO_WHITENED) if kind == "rloo" else (KINDS[kind],)

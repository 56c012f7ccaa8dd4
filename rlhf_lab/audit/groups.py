"""Audits of advantages from groups of answers to one prompt: RLOO, GRPO, Dr. GRPO, REINFORCE.

r reward    A advantage    G groups of k answers    eps what is added to a deviation
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Report, Right, Shown, audit, near, one_of
from rlhf_lab.audit.functions import Case, Input, Layout, Subject
from rlhf_lab.audit.zoo import ZOO, Bug, returns
from rlhf_lab.audit.zoo.advantages import dr_grpo
from rlhf_lab.numerics.autodiff import Array

REWARDS = r"(group_?|batch_?|flat_?|token_?level_?)?(rewards?|rews?|r|rs|scores?|returns?|outcomes?)"
COUNT = (
    r"(num|n|k)_?(generations?|samples?|samples_per_prompt|responses?|rollouts?|completions?"
    r")?(_per_prompt)?|group_?size|g"
)
IDS = r"(group_?|prompt_?|batch_?)?(ids?|index|indices|uids?|idx)|groups?|prompts?|group_(of|by)"
EPS = (0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3)


def _cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = [
        {"rewards": rng.integers(-30, 31, (g, k)) / 10} for g, k in ((1, 2), (1, 3), (1, 4), (2, 3), (3, 4), (4, 2))
    ]
    found[4]["rewards"][1] = 1.5
    return (*found[:3], {"rewards": np.full((1, 3), 0.5)}, *found[3:])


def standardised(
    rewards: Array, of: tuple[int, ...] | None, by: tuple[int, ...], ddof: int, eps: float, *, root: bool = True
) -> Array:
    """Return (r - mean over some axes) / (standard deviation over some axes + eps), 0 for 0 / 0; `of` None: no mean."""
    mean = np.mean(rewards, axis=of, keepdims=True) if of else 0.0
    count = np.prod([rewards.shape[axis] for axis in by])
    square = (rewards - np.mean(rewards, axis=by, keepdims=True)) ** 2
    variance = np.sum(square, axis=by, keepdims=True) / max(count - ddof, 1)
    scale = (np.sqrt(variance) if root else variance) + eps
    return (rewards - mean) / np.where(scale > 1e-12, scale, 1.0)


def _rooted(rewards: Array, ddof: int, eps: float) -> Array:
    """Return GRPO's advantages with eps added to the variance, under the root."""
    centred = rewards - np.mean(rewards, axis=-1, keepdims=True)
    variance = np.sum(centred**2, axis=-1, keepdims=True) / (rewards.shape[-1] - ddof)
    return centred / np.sqrt(variance + eps)


def _no_zero(rewards: Array, ddof: int, eps: float) -> Array:
    with np.errstate(all="ignore"):
        centred = rewards - np.mean(rewards, axis=-1, keepdims=True)
        return centred / np.sqrt(np.sum(centred**2, axis=-1, keepdims=True) / (rewards.shape[-1] - ddof))


def _turned(rewards: Array, ddof: int, eps: float) -> Array:
    return -standardised(rewards, GROUP, GROUP, ddof, eps)


def _cut(rewards: Array, ddof: int, eps: float, axes: tuple[int, ...]) -> Array:
    groups, k = rewards.shape
    return standardised(rewards.reshape(k, groups), axes, axes, ddof, eps).reshape(groups, k)


GROUP, BATCH, PROMPTS = (-1,), (-2, -1), (-2,)
DIVIDES = ("k", "k - 1")
WAYS = [(ddof, eps) for eps in EPS for ddof in (0, 1)]


def _right(what: str, of: tuple[int, ...] | None, by: tuple[int, ...], whose: str) -> tuple[Right, ...]:
    return tuple(
        Right(
            f"{what}, {whose} (the variance divides by the count{' less 1' * ddof}; {eps:g} is added)",
            lambda rewards, ddof=ddof, eps=eps: standardised(rewards, of, by, ddof, eps),
        )
        for ddof, eps in WAYS
    )


def _rloo_whitened(rewards: Array, ddof: int, eps: float) -> Array:
    return standardised(returns.rloo(rewards), BATCH, BATCH, ddof, eps)


def _others_in_batch(rewards: Array) -> Array:
    return rewards - (np.sum(rewards) - rewards) / (rewards.size - 1) if rewards.size > 1 else rewards


RIGHTS = {
    "grpo": (
        *_right("GRPO: less the mean of the group, by its deviation", GROUP, GROUP, "that of the group"),
        *(
            Right(
                f"GRPO: {eps:g} is added to the variance, under the root (it divides by {DIVIDES[ddof]})",
                partial(_rooted, ddof=ddof, eps=eps),
            )
            for ddof, eps in WAYS[2:]
        ),
    ),
    "dr_grpo": (Right("Dr. GRPO: less the mean of the group (times k / (k - 1) this is RLOO)", dr_grpo),),
    "rloo": (Right("RLOO: less the mean of the others in the group", returns.rloo),),
    "reinforce": (
        Right("REINFORCE without a baseline", lambda rewards: 1.0 * rewards),
        Right("REINFORCE: less the mean of the batch", lambda rewards: rewards - np.mean(rewards)),
        Right("REINFORCE: less the mean of all others in the batch", _others_in_batch),
        *_right("REINFORCE: whitened over the batch", BATCH, BATCH, "by its deviation"),
    ),
}


def _by_others(rewards: Array, ddof: int, eps: float) -> Array:
    k = rewards.shape[-1]
    others = (np.sum(rewards, axis=-1, keepdims=True) - rewards) / (k - 1)
    squares = (np.sum(rewards**2, axis=-1, keepdims=True) - rewards**2) / (k - 1) - others**2
    squares = np.where(squares > 1e-12, squares, 0.0) * (k - 1) / max(k - 1 - ddof, 1)
    return (rewards - others) / (np.sqrt(squares) + eps)


VARIANTS: dict[str, Callable[[Array, int, float], Array]] = {
    "deviation of the batch": lambda r, ddof, eps: standardised(r, GROUP, BATCH, ddof, eps),
    "mean of the batch": lambda r, ddof, eps: standardised(r, BATCH, BATCH, ddof, eps),
    "mean not subtracted": lambda r, ddof, eps: standardised(r, None, GROUP, ddof, eps),
    "normalised across prompts": lambda r, ddof, eps: standardised(r, PROMPTS, PROMPTS, ddof, eps),
    "divided by the variance": lambda r, ddof, eps: standardised(r, GROUP, GROUP, ddof, eps, root=False),
    "group advantage turned round": _turned,
    "deviation kept": lambda r, ddof, eps: standardised(r, GROUP, GROUP, ddof, eps),
    "spread of zero": _no_zero,
    "divided by the spread of others": _by_others,
    "groups cut the wrong way": lambda r, ddof, eps: _cut(r, ddof, eps, PROMPTS),
    "groups cut the wrong way ": lambda r, ddof, eps: _cut(r, ddof, eps, GROUP),
}


def _bugs(right: Callable[..., Any] | None) -> tuple[Bug, ...]:
    """The bugs of a kind, with every eps and either way to count."""
    known = [bug for bug in ZOO if bug.audit == "advantages" and bug.right is right]
    more = [
        bug._replace(function=lambda rewards, f=f, ddof=ddof, eps=eps: f(rewards, ddof, eps))
        for bug in known
        for name, f in VARIANTS.items()
        if bug.name == name.strip()
        for ddof, eps in (WAYS[:2] if bug.name == "spread of zero" else WAYS)
    ]
    return (*known, *more)


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
EQUAL = Identity("0 where all rewards are equal", _all_equal, bug="spread of zero")
IDENTITIES = {
    "rloo": (CONSTANT, EQUAL, Identity("one more for an answer is one more for its advantage", _own)),
    "grpo": (
        CONSTANT,
        BALANCED,
        EQUAL,
        ALONE,
        Identity("better rewards, larger advantages", _better, bug="group advantage turned round"),
        Identity("any size of rewards gives the same", _any_size),
    ),
    "dr_grpo": (CONSTANT, BALANCED, EQUAL, ALONE, Identity(TWICE, _twice, bug="deviation kept")),
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
        rights[0].name or "advantages",
        rights,
        _cases(),
        (Form(""),),
        (*IDENTITIES[kind], Identity("the advantages of this kind", partial(_key, rights))),
        (),
        False,
        general=True,
        layouts=LAYOUTS if kind != "reinforce" else LAYOUTS[:1],
        bugs=_bugs(RIGHT_OF[kind]),
        patient=True,
    )
    for kind, rights in RIGHTS.items()
}
WHITENED = tuple(
    Right(
        f"RLOO: less the mean of the others in the group, then whitened over the batch ({eps:g} is added)",
        partial(_rloo_whitened, ddof=ddof, eps=eps),
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
        name = getattr(function, "__name__", "").lower().replace("dr_grpo", "dr").replace("drgrpo", "dr")
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

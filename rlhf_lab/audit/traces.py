"""Audits of generalised advantage estimates: of answers with a mask, or of trajectories that hold several episodes.

    r reward    V value    delta TD error    gamma discount    lambda trace    N rows    T steps

`ends` marks the last step of each episode; behind the last step of an unfinished one stands `last_value`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Report, Right, Shown, audit, by_name
from rlhf_lab.audit.functions import Case, Input, Layout, Subject, names
from rlhf_lab.audit.zoo import returns
from rlhf_lab.numerics.autodiff import Array

REWARDS = r"(token_?level_?|step_)?(rewards?|rews?|r|rs)(_t)?|scores|rewards_?(buffer|list|seq)"
VALUES = r"(state_?|old_|baseline_?)?(values?|vals?|vf?|vs|critic|baselines?|v_preds?)(_t|_preds?|_estimates)?"
GAMMA = r"g(amma)?|discount(_factor|_rate)?|df"
LAM = r"lam(bda)?(_?(gae|_))?|gae_?(lam(bda)?|decay|coef)|lmbda|l|tau|lambd|trace_decay|λ"
ENDS = r"(is_?)?(dones?|d|ends?|terminals?|terminat(ed|ions?)s?|dones?_(mask|flags?|t)|episode_ends?|truncat\w*)"
FIRSTS = r"(episode_)?(starts?|firsts?)|is_first"
LIVE = r"masks?|not_?dones?|non_?terminals?|continu\w*|alive|cont(s|inue)?|discounts?"
LAST_END = r"(next|last)_(dones?|terminals?|terminat\w*|ends?)"
LAST_VALUE = r"(next|last|final|bootstrap)_?(state_)?(values?|vals?|v)s?|v_?(last|next)|bootstrap|last_values"


def _three(subject: Subject, rewards: Sequence[float], values: Sequence[float]) -> Array:
    """The advantages of a trajectory of three steps that ends there."""
    ends = {"mask": np.ones((1, 3)), "ends": np.array([[0.0, 0.0, 1.0]]), "last_value": np.zeros(1)}
    case = ends | {"gamma": 1.0, "lam": 1.0, "rewards": np.array([rewards]), "values": np.array([values])}
    return np.ravel(subject(case))


def _slant(a: Array) -> float:
    """(A_0 - A_1) / (A_1 - A_2), which is the same if advantages are whitened; 1 if all are equal."""
    return float((a[0] - a[1]) / (a[1] - a[2])) if abs(a[1] - a[2]) > 1e-9 else 1.0


def _trace(subject: Subject) -> float:
    """What advantages decay by, gamma lambda."""
    return _slant(_three(subject, [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]))


def _gamma(subject: Subject, case: Case) -> float:
    """The discount that is fixed inside a function."""
    of_value = _three(subject, [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    is_return = abs(of_value[1] - of_value[2]) < 1e-9
    gamma = _trace(subject) + (float(of_value[0]) if is_return else -_slant(of_value) - 1)
    subject.note(f"no parameter gamma: {gamma:.4g}, worked out from its values, is fixed inside it")
    return float(f"{gamma:.6g}")


def _lam(subject: Subject, case: Case) -> float:
    """The trace that is fixed inside a function."""
    gamma = case["gamma"] if "gamma" not in subject.given else 1.0
    lam = _trace(subject) / gamma if gamma else 1.0
    subject.note(f"no parameter lambda: {lam:.4g}, worked out from its values, is fixed inside it")
    return float(f"{lam:.6g}")


NUMBERS = (Input("gamma", GAMMA, _gamma), Input("lam", LAM, _lam))


def _drawn(rng: Any, n: int, t: int, gamma: float, lam: float) -> Case:
    """Numbers of one decimal, none of them 0."""
    rewards, values = (rng.integers(1, 20, (n, t)) * rng.choice([-1, 1], (n, t)) / 10 for _ in range(2))
    return {"rewards": rewards, "values": values, "gamma": gamma, "lam": lam}


def _answers() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = []
    for n, t, gamma, lam in ((1, 2, 0.9, 0.8), (1, 3, 0.9, 0.7), (2, 3, 0.8, 0.9), (4, 5, 0.9, 0.6)):
        case = _drawn(rng, n, t, gamma, lam) | {"mask": batches.lengths(rng, n, t)}
        if (n, t) == (1, 3):
            case["mask"] = np.array([[1.0, 1.0, 0.0]])
        found.append(case)
    return tuple(found)


def _trajectories() -> tuple[Case, ...]:
    rng = np.random.default_rng(1)
    found = []
    for n, t, gamma, lam, ends in (
        (1, 1, 0.9, 0.8, [[0]]),
        (1, 1, 0.9, 0.8, [[1]]),
        (1, 2, 0.9, 0.8, [[0, 0]]),
        (1, 2, 0.8, 0.7, [[0, 1]]),
        (1, 3, 0.9, 0.7, [[1, 0, 0]]),
        (2, 3, 0.9, 0.7, [[0, 1, 0], [0, 0, 0]]),
        (3, 6, 0.8, 0.9, [[0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]),
    ):
        case = _drawn(rng, n, t, gamma, lam) | {"ends": np.array(ends) * 1.0}
        found.append(case | {"last_value": rng.integers(3, 20, n) / 10})
    return tuple(found)


def by_episode(function: Callable[..., Any], case: Case) -> Array:
    """Call with each episode as an answer whose mask ends with it, and with all that comes behind it as padding.

    The last value is one more step, whose reward it is: its own TD error is 0.
    """
    found = np.zeros(case["rewards"].shape)
    for n, row in enumerate(case["ends"]):
        rewards, values = (np.append(case[name][n], case["last_value"][n]) for name in ("rewards", "values"))
        begin, steps = 0, len(row)
        while begin < steps:
            after = row[begin:].nonzero()[0]
            end = begin + int(after[0]) + 1 if len(after) else steps
            mask = 1.0 * (np.arange(steps + 1) < (end if len(after) else steps + 1))[None, begin:]
            one = {"rewards": rewards[None, begin:], "values": values[None, begin:], "mask": mask}
            found[n, begin:end] = by_name(function, case | one)[0, : end - begin]
            begin = end
    return found


def _whitened(values: Array, case: Case, ddof: int) -> Array:
    mask = case.get("mask", np.ones(values.shape))
    count = np.sum(mask)
    mean = np.sum(values * mask) / count
    variance = np.sum((values - mean) ** 2 * mask) / (count - ddof)
    return (values - mean) / np.sqrt(variance + 1e-8) * mask


def _kept(values: Array, case: Case) -> Array:
    return np.where(case["mask"] > 0, values, 0.0) if "mask" in case else values


def _forms(call: Callable[[Callable[..., Any], Case], Array]) -> tuple[Form, ...]:
    return (
        Form("", call=call),
        Form("advantages plus values: these are the returns", lambda v, c: _kept(v + c["values"], c), call, True),
        *(
            Form(f"whitened over the batch, by a variance that divides by {n}", partial(_whitened, ddof=d), call, True)
            for d, n in ((0, "the count"), (1, "the count less 1"))
        ),
    )


def _changed(case: Case, name: str, where: Array, by: float) -> Case:
    return case | {name: case[name] + by * where}


def _behind(name: str, gae: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """What stands behind the end of an answer, or of an episode, is changed; values are looked at without a trace."""
    for given in cases:
        case = given | {"lam": 0.0} if name == "values" and "lam" in gae.subject.given else given
        if "mask" in case:
            moved = _changed(case, name, 1 - case["mask"], 3.7)
            yield Shown(moved, gae(moved), gae(case))
            continue
        for row, end in zip(*np.nonzero(case["ends"]), strict=True):
            behind = np.zeros(case["ends"].shape)
            behind[row, end + 1 :] = 1.0
            moved = _changed(case, name, behind, 3.7) | {"last_value": case["last_value"] + 3.7}
            keep = np.zeros(behind.shape)
            keep[row, : end + 1] = 1.0
            yield Shown(moved, gae(moved) * keep, gae(case) * keep)


def _error(right: Callable[..., Array], gae: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        short = case | {"lam": 0.0}
        yield Shown(short, gae(short), right(returns.gae, short))


def _to_come(right: Callable[..., Array], gae: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        long = case | {"lam": 1.0, "gamma": 1.0}
        yield Shown(long, gae(long), right(returns.gae, long))


def _backwards(gae: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The first reward is changed: later advantages are not."""
    for case in cases:
        first = np.zeros(case["rewards"].shape)
        first[:, 0] = 1.0
        moved = _changed(case, "rewards", first, 2.3)
        yield Shown(moved, gae(moved) * (1 - first), gae(case) * (1 - first))


def _rows(gae: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        n = len(case["rewards"])
        if n > 1:
            each = [gae({k: v[i : i + 1] if np.ndim(v) else v for k, v in case.items()}) for i in range(n)]
            yield Shown(case, gae(case), np.concatenate(each))


def _last(gae: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        if case["rewards"].shape == (1, 1) and not case["ends"].any():
            moved = case | {"last_value": case["last_value"] + 1}
            yield Shown(moved, gae(moved), case["rewards"] + case["gamma"] * moved["last_value"] - case["values"])


def _key(right: Callable[..., Array], gae: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        yield Shown(case, gae(case), right(returns.gae, case))


def _identities(right: Callable[..., Array], *more: Identity) -> tuple[Identity, ...]:
    return (
        Identity("lambda = 0: the TD error", partial(_error, right), needs="lam"),
        Identity("gamma = lambda = 1: rewards to come less the value", partial(_to_come, right), needs="lam"),
        Identity("a reward is not heard of by what comes after it", _backwards, bug="swept forward"),
        Identity("rows have nothing to do with each other", _rows),
        *more,
        Identity("sum of (gamma lambda)^k delta_(t+k)", partial(_key, right)),
    )


ANSWERS = _identities(
    by_name,
    Identity(
        "values behind the end count for nothing", partial(_behind, "values"), needs="mask", bug="value behind the end"
    ),
    Identity(
        "rewards behind the end count for nothing", partial(_behind, "rewards"), needs="mask", bug="errors of padding"
    ),
)
EPISODES = _identities(
    by_episode,
    Identity("no value flows over an end", partial(_behind, "values"), needs="ends", bug="value behind the end"),
    Identity("no reward flows over an end", partial(_behind, "rewards"), needs="ends", bug="errors of padding"),
    Identity("the last value stands behind what was cut", _last, needs="last_value", bug="bootstrap forgotten"),
)
Step = Callable[[Case], Case]


def _each_row(cases: Sequence[Case]) -> list[Case]:
    rows = [
        {k: v[i : i + 1] if np.ndim(v) else v for k, v in c.items()} for c in cases for i in range(len(c["rewards"]))
    ]
    return sorted(rows, key=lambda case: np.size(case["rewards"]))


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
    return _kept(back(values) if values.ndim else values, case)


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
                _answers(),
                _forms(by_name),
                ANSWERS,
                (),
                False,
                general=True,
                layouts=layouts,
            )
        )
    starts, live = takes(FIRSTS) or takes(LAST_END), takes(LIVE) and not takes(ENDS)
    known = takes(REWARDS) and takes(VALUES)
    marks: tuple[Input, ...] = (Input("ends", "|".join([ENDS, FIRSTS] if not live else [LIVE])),)
    ends: tuple[str, Step] = ("flags mark the last step of an episode", dict)
    if starts:
        marks = (*marks, *([Input("last_end", LAST_END)] if takes(LAST_END) else []))
        ends = ("flags mark the first step of an episode, and what comes after the last one", _starts)
    elif live:
        ends = ("flags are 1 where the episode goes on", lambda c: c | {"ends": 1 - c["ends"]})
    elif known and not takes(ENDS):
        marks, ends = (), ("", dict)
    last = Input("last_value", LAST_VALUE)

    def keep(case: Case) -> Case:
        return case | ({} if marks else {"ends": 0 * case["ends"]}) | ({} if takes(LAST_VALUE) else _none(case))

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
        _trajectories(),
        _forms(by_episode),
        EPISODES,
        (),
        False,
        general=True,
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

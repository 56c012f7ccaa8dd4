"""What an audit of generalised advantage estimates knows: cases, forms, identities, numbers that are fixed inside.

    r reward    V value    delta TD error    gamma discount    lambda trace    N rows    T steps

`ends` marks the last step of each episode; behind the last step of an unfinished one stands `last_value`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Form, Function, Identity, Shown, by_name
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.zoo import returns
from rlhf_lab.numerics.autodiff import Array

GAMMA = r"g(amma)?|discount(_factor|_rate)?|df"
LAM = r"lam(bda)?(_?(gae|_))?|gae_?(lam(bda)?|decay|coef)|lmbda|l|tau|lambd|trace_decay|λ"


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
    if abs(gamma) < 1e-6:  # nobody means that: what comes after a step is forgotten
        return 1.0
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


def answer_cases() -> tuple[Case, ...]:
    """Return answers with a mask, small ones first."""
    rng = np.random.default_rng(0)
    found = []
    for n, t, gamma, lam in ((1, 2, 0.9, 0.8), (1, 3, 0.9, 0.7), (2, 3, 0.8, 0.9), (4, 5, 0.9, 0.6)):
        case = _drawn(rng, n, t, gamma, lam) | {"mask": batches.lengths(rng, n, t)}
        if (n, t) == (1, 3):
            case["mask"] = np.array([[1.0, 1.0, 0.0]])
        found.append(case)
    return tuple(found)


def trajectory_cases() -> tuple[Case, ...]:
    """Return trajectories with ends of episodes, small ones first."""
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


def _closed(function: Callable[..., Any], case: Case) -> Array:
    """Call with the reward of the last step that makes its advantage 0, where that depends on it."""
    rewards = case["rewards"]
    tried = [case | {"rewards": np.append(rewards[:, :-1], [[reward]], axis=1)} for reward in (0.0, 1.0)]
    none, one = (float(by_name(function, each)[0, -1]) for each in tried)
    if one == none:
        return by_name(function, case)
    return by_name(function, case | {"rewards": np.append(rewards[:, :-1], [[none / (none - one)]], axis=1)})


def by_episode(function: Callable[..., Any], case: Case) -> Array:
    """Call with each episode as an answer whose mask ends with it, and with all that comes behind it as padding.

    The last value is that of one more step, with the reward that makes its own advantage 0: for TD errors, the value.
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
            found[n, begin:end] = _closed(function, case | one)[0, : end - begin]
            begin = end
    return found


def _whitened(values: Array, case: Case, ddof: int) -> Array:
    mask = case.get("mask", np.ones(values.shape))
    count = np.sum(mask)
    mean = np.sum(values * mask) / count
    variance = np.sum((values - mean) ** 2 * mask) / (count - ddof)
    return (values - mean) / np.sqrt(variance + 1e-8) * mask


def kept(values: Array, case: Case) -> Array:
    """Return values with 0 on padding."""
    return np.where(case["mask"] > 0, values, 0.0) if "mask" in case else values


def forms(call: Callable[[Callable[..., Any], Case], Array]) -> tuple[Form, ...]:
    """Return the forms in which advantages are handed over, by a way to call our functions."""
    return (
        Form("", call=call),
        Form("advantages plus values: these are the returns", lambda v, c: kept(v + c["values"], c), call, True),
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
            more = gae(moved) - gae(case)
            yield Shown(moved, more, more if np.any(more) else case["gamma"] * np.ones(more.shape))


def _key(right: Callable[..., Array], gae: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        yield Shown(case, gae(case), right(returns.gae, case))


def _identities(right: Callable[..., Array], *more: Identity) -> tuple[Identity, ...]:
    return (
        Identity("lambda = 0: the TD error", partial(_error, right), needs="lam"),
        Identity("gamma = lambda = 1: rewards to come less the value", partial(_to_come, right), needs="gamma lam"),
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

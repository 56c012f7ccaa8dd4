"""Audits of rewards of tokens, the loss of a critic, and whitening.

V value    G return    A advantage    epsilon clip range    beta KL weight    l log-ratio log pi / pi_ref
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Report, Right, Shown, audit, near
from rlhf_lab.audit.functions import Case, Input, Layout, Subject
from rlhf_lab.audit.zoo import ZOO, returns
from rlhf_lab.audit.zoo.policies import masked_mean
from rlhf_lab.numerics.autodiff import Array

VALUES = r"(new_?|cur(rent)?_?)?(values?|vals?|v_?preds?|v|preds?|value_preds?)(_(new|pred|preds|t))?"
NEW_VALUES = r"(new|cur(rent)?)_?(values?|v|vals?)|v_?preds?|values?_?(new|preds?)|pred(icted)?_values?"
OLD_VALUES = r"(old_?|mb_old_|mb_|b_|prev_?|rollout_?)(values?|vals?|v|vpreds?|v_?preds?)|(values?|v|vals?|v_?preds?)_?(old|0|prev)"
RETURNS = r"(mb_|b_|value_?|v_)?(returns?|rets?|targets?|g|td_targets?|target_values?|value_targets?|discounted_returns?)(_t)?"
ADVANTAGE = batches.ADVANTAGE + "|x|values|xs|rewards|scores"
SCORE = r"(rm_|reward_?|final_|sequence_|seq_|r_)?(scores?|rewards?|r|rm)(_scores?)?"


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
    return tuple(found)


def _single(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if np.size(case["mask"]) == 1]


def _at_the_return(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _single(cases):
        there = case | {"values": case["returns"], "old_values": case["returns"]}
        yield Shown(there, np.sum(loss(there)), np.zeros(()))


def _twice_as_far(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """An error twice as large costs four times as much, where old values are those of now."""
    for case in _single(cases):
        near = case | {"old_values": case["values"]}
        values = 2 * case["values"] - case["returns"]
        far = near | {"values": values, "old_values": values}
        yield Shown(far, np.sum(loss(far)), 4 * np.sum(loss(near)))


def _only_difference(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _single(cases):
        moved = {name: case[name] + 0.7 for name in ("values", "returns", "old_values") if name in case}
        yield Shown(case | moved, np.sum(loss(case | moved)), np.sum(loss(case)))


def _padding(names: Sequence[str], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        off = 1 - case["mask"]
        if np.sum(off):
            moved = case | {name: case[name] - 0.7 * (i + 1) * off for i, name in enumerate(names)}
            there = case["mask"] if np.shape(loss(case)) == case["mask"].shape else 1.0
            yield Shown(moved, loss(moved) * there, loss(case) * there)


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
    clip = 100 - 60 * np.sqrt(abs(far / free)) if free else 0.2
    if not 1e-3 < clip < 30:
        return 0.2
    subject.note(f"no parameter for the clip range: {clip:.4g}, worked out from its values, is fixed inside it")
    return float(f"{clip:.6g}")


CONSTANT = (
    Identity("0 where the value is the return", _at_the_return),
    Identity("only the difference matters", _only_difference),
    Identity("an answer is made of its tokens", _tokens),
    Identity(
        "padding changes nothing",
        partial(_padding, ("values", "returns")),
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
    bugs=tuple(bug for bug in ZOO if bug.audit == "value_loss" and bug.right is returns.value_loss),
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
    rights=(Right("the error is squared only where it is below 1 (Huber)", _huber),), identities=CONSTANT, bugs=()
)
CLIPPED_ONLY = CLIPPED_VALUE._replace(
    rights=(Right("the error of the clipped value alone, as in Stable-Baselines3", _clipped_only),),
    identities=CONSTANT,
    bugs=(),
)


def _whiten_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = []
    for n, t in ((1, 2), (1, 3), (2, 2), (2, 3), (4, 5)):
        found.append({"advantage": rng.integers(-30, 31, (n, t)) / 10 + 0.4, "mask": batches.lengths(rng, n, t)})
    return tuple(found)


def _whitened(advantage: Array, mask: Array, ddof: int, eps: float, *, under: bool, back: bool) -> Array:
    count = np.sum(mask)
    mean = np.sum(advantage * mask) / count
    variance = np.sum((advantage - mean) ** 2 * mask) / max(count - ddof, 1)
    scale = np.sqrt(variance + eps) if under else np.sqrt(variance) + eps
    return ((advantage - mean) / scale + back * mean) * mask


def _by(function: Callable[..., Any], case: Case) -> Array:
    """Call with what is under the mask only, and put 0 elsewhere."""
    return function(case["advantage"], case["mask"]) * case["mask"]


def _average(whiten: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        yield Shown(case, np.sum(whiten(case) * case["mask"]), np.zeros(()))


def _spread(whiten: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        count = np.sum(case["mask"])
        found = np.sum(whiten(case) ** 2 * case["mask"])
        wanted = min((count, count - 1), key=lambda n: abs(n - float(found)))
        yield Shown(case, near(found, np.array(wanted)), np.array(wanted))


def _any_scale(whiten: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        moved = case | {"advantage": 3 * case["advantage"] + 2}
        wanted = whiten(case) * case["mask"]
        yield Shown(moved, near(whiten(moved) * case["mask"], wanted), wanted)


def _whiten_key(whiten: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        found = whiten(case)
        either = [_whitened(**case, ddof=d, eps=1e-8, under=False, back=False) for d in (0, 1)]
        wanted = min(either, key=lambda w: float(np.max(np.abs(w - found))))
        yield Shown(case, near(found, wanted), wanted)


def _masked(values: Array, case: Case) -> Array:
    return np.where(case["mask"] > 0, values, 0.0) if values.shape == case["mask"].shape else values


def _whiten_rights(*, back: bool) -> tuple[Right, ...]:
    return tuple(
        Right(
            f"the variance divides by {('the count', 'the count less 1')[ddof]}, and {eps:g} is added to "
            f"{'it' if under else 'its root'}" + ("; the mean is put back, as for rewards" if back else ""),
            lambda advantage, mask, ddof=ddof, eps=eps, under=under: _whitened(
                advantage, mask, ddof, eps, under=under, back=back
            ),
        )
        for eps in (1e-8, 0.0, 1e-6, 1e-5, 1e-4, 1e-3)
        for under in (False, True)
        for ddof in (0, 1)
    )


def _all_of_it(cases: Sequence[Case]) -> list[Case]:
    return [case | {"mask": np.ones(case["mask"].shape)} for case in cases]


WHITEN = Contract(
    "whiten",
    (Input("advantage", ADVANTAGE), batches.mask_of("advantage")),
    "(A - mean) / standard deviation, both over the tokens of the whole batch that count",
    _whiten_rights(back=False),
    _whiten_cases(),
    (Form("", call=_by),),
    (
        Identity("its mean is 0", _average),
        Identity("its mean square is 1", _spread),
        Identity("any scale and shift of advantages gives the same", _any_scale),
        Identity(
            "padding changes nothing", partial(_padding, ("advantage",)), needs="mask", bug="whitened with padding"
        ),
        Identity("(A - mean) / deviation", _whiten_key),
    ),
    (),
    False,
    general=True,
    layouts=(
        Layout("", back=_masked),
        Layout(
            "flat, one number for each sample of a batch",
            lambda c: {"advantage": c["advantage"].ravel()},
            lambda v, c: v.reshape(c["advantage"].shape) if v.size == c["advantage"].size else v,
            (Input("advantage", ADVANTAGE),),
            _all_of_it,
        ),
    ),
)


WHITEN_REWARDS = WHITEN._replace(rights=_whiten_rights(back=True), identities=WHITEN.identities[3:4], bugs=())


def _score_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = []
    for (n, t), beta in zip(((1, 1), (1, 2), (1, 3), (2, 3), (4, 5)), (0.3, 0.1, 0.2, 0.5, 0.1), strict=True):
        logs = -rng.integers(5, 31, (n, t)) / 10
        other = logs + rng.integers(1, 9, (n, t)) * rng.choice([-0.1, 0.1], (n, t)) + 0.03
        mask = np.array([[1.0, 1.0, 0.0]]) if (n, t) == (1, 3) else batches.lengths(rng, n, t)
        found.append(
            {"score": rng.integers(1, 31, n) / 10, "log_pi": logs, "log_ref": other, "mask": mask, "beta": beta}
        )
    return tuple(found)


def _weight(subject: Subject, case: Case) -> float:
    """The KL weight that is fixed inside a function."""
    one = np.full((1, 1), -1.0)
    at = {"score": np.zeros(1), "log_pi": one, "log_ref": one - 0.5, "mask": -one, "beta": 0.0}
    beta = abs(float(np.sum(subject(at)))) / 0.5
    subject.note(f"no parameter for the KL weight: {beta:.4g}, worked out from its values, is fixed inside it")
    return float(f"{beta:.6g}")


def _scored(rewards: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The reference is the policy: only the score is left."""
    for case in cases:
        same = case | {"log_ref": case["log_pi"]}
        last = case["mask"] - returns.shifted(case["mask"])
        yield Shown(same, rewards(same), case["score"][:, None] * last)


def _paid_once(rewards: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        more = case | {"score": case["score"] + 1}
        found = np.sum(rewards(more) - rewards(case), axis=-1)
        yield Shown(more, found, np.ones(found.shape))


def _charged(rewards: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        free = case | {"score": 0 * case["score"]}
        kl = np.sum((case["log_pi"] - case["log_ref"]) * case["mask"], axis=-1)
        yield Shown(free, np.sum(rewards(free) * case["mask"], axis=-1), -case["beta"] * kl)


def _score_key(rewards: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        yield Shown(case, rewards(case), returns.token_rewards(**case))


TOKEN_REWARDS = Contract(
    "token_rewards",
    (
        Input("score", SCORE),
        Input("log_pi", batches.POLICY),
        Input("log_ref", batches.REFERENCE),
        batches.mask_of("log_pi"),
        Input("beta", batches.WEIGHT, _weight),
    ),
    "-beta log pi / pi_ref of each token, and the score of the answer with its last token",
    (Right("", returns.token_rewards),),
    _score_cases(),
    (Form(""),),
    (
        Identity("the score with the last token, where the policy is the reference", _scored),
        Identity("a score is paid once", _paid_once, bug="score on every token"),
        Identity("charges add up to beta times the log-ratio", _charged),
        Identity("score and charge of every token", _score_key),
    ),
    (),
    False,
    layouts=(
        Layout(""),
        Layout("scores are columns, (N, 1)", lambda c: c | {"score": c["score"][:, None]}),
        Layout(
            "one answer at a time, (T,)",
            lambda c: {k: v[0] if np.ndim(v) == 2 else float(v[0]) if np.ndim(v) else v for k, v in c.items()},
            lambda v, c: v[None] if v.ndim == 1 else v,
            cases=lambda cases: [c for c in cases if len(c["score"]) == 1],
        ),
    ),
)


def token_rewards(function: Callable[..., Any], *, beta: float | None = None) -> Report:
    """Audit the rewards of tokens: `function(score, log_pi, log_ref, mask, beta)`, scores (N,), the rest (N, T).

    It returns (N, T): a charge for the divergence from the reference with every token, and the score with the last one.
    `beta` may be fixed inside: it is then worked out, or tell it here.
    """
    return audit(TOKEN_REWARDS, function, **({} if beta is None else {"beta": beta}))


def value_loss(function: Callable[..., Any], *, clip_range: float | None = None) -> Report:
    """Audit the loss of a critic: `function(values, returns, mask)`, or `(values, old_values, returns, mask, clip_range)`.

    Arrays (N, T), or one number for each of a batch; `mask` may be left out. It returns a loss for each token, or their
    mean or sum, with a factor of 1/2 or without. `clip_range` may be fixed inside: it is then worked out.
    """
    try:
        names = [name.lower() for name in inspect.signature(function).parameters]
    except (TypeError, ValueError):
        names = []
    known = [name for name in names if re.fullmatch(f"{VALUES}|{OLD_VALUES}", name)]
    given = {} if clip_range is None else {"clip_range": clip_range}
    if len(known) < 2 and len(names) != 5:
        return audit((PLAIN_VALUE, HUBER), function)
    contracts: tuple[Contract, ...] = (CLIPPED_VALUE, CLIPPED_ONLY)
    if any(re.fullmatch(NEW_VALUES, name) for name in names) and not any(re.fullmatch(OLD_VALUES, n) for n in names):
        # `values` are the old ones, beside new predictions
        inputs = (Input("now", NEW_VALUES), Input("before", VALUES), *CLIPPED_VALUE.inputs[2:])
        layout = Layout("", lambda c: c | {"now": c["values"], "before": c["old_values"]}, inputs=inputs)
        contracts = tuple(contract._replace(layouts=(layout,)) for contract in contracts)
    return audit(contracts, function, **given)


def whiten(function: Callable[..., Any]) -> Report:
    """Audit whitening: `function(advantage, mask)`, arrays (N, T), of which `mask` may be left out.

    The standard deviation may divide by the count or the count less 1, and a small number may be added to it.
    """
    return audit((WHITEN, WHITEN_REWARDS), function)

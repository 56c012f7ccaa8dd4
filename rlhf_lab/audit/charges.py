"""The audit of the rewards of tokens.

beta KL weight
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Right, Shown, positive
from rlhf_lab.audit.functions import Layout, Subject
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import ZOO, returns
from rlhf_lab.audit.zoo import charges as zoo
from rlhf_lab.numerics.autodiff import Array

SCORE = r"(rm_|reward_?|final_|sequence_|seq_|r_)?(scores?|rewards?|r|rm)(_scores?)?"


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


def _not_behind(rewards: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Nothing is paid one place behind the end of an answer that is not the last place."""
    for case in cases:
        behind = np.concatenate([0 * case["mask"][:, :1], case["mask"][:, :-1]], axis=1) * (1 - case["mask"])
        behind[:, -1] = 0.0
        yield Shown(case, (rewards(case | {"score": case["score"] + 1}) - rewards(case)) * behind, 0 * behind)


def _paid_once(rewards: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        more = case | {"score": case["score"] + 1}
        found = np.sum(rewards(more) - rewards(case), axis=-1)
        yield Shown(more, found, np.ones(found.shape))


def _paid_often(rewards: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Show something only if a score is paid as often as an answer has tokens, or places."""
    seen = list(_paid_once(rewards, cases))
    for every in (0.0, 1.0):
        often = [np.sum(np.maximum(shown.case["mask"], every), axis=-1) for shown in seen]
        if all(np.allclose(shown.found, count) for shown, count in zip(seen, often, strict=True)):
            yield from seen


def _charged(rewards: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        free = case | {"score": 0 * case["score"]}
        kl = np.sum((case["log_pi"] - case["log_ref"]) * case["mask"], axis=-1)
        yield Shown(free, np.sum(rewards(free) * case["mask"], axis=-1), -case["beta"] * kl)


def _score_key(rewards: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        yield Shown(case, rewards(case), zoo.token_rewards(**case))


def _last(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    charges = np.sum((log_pi - log_ref) * mask, axis=-1)
    return (score - beta * charges)[..., None] * (mask - returns.shifted(mask))


def _score_early_or_first(score: Array, log_pi: Array, log_ref: Array, mask: Array, beta: float) -> Array:
    """The score one token early, with the first where there is no earlier one."""
    alone = (np.sum(mask, axis=-1, keepdims=True) == 1) * (mask - returns.shifted(mask))
    return zoo.score_early(score, log_pi, log_ref, mask, beta) + score[..., None] * alone


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
    (
        Right("", zoo.token_rewards),
        Right(
            "the charges of an answer are added up with its last token, where the sum of its rewards is the same", _last
        ),
    ),
    _score_cases(),
    (Form(""),),
    (
        Identity("the score with the last token, where the policy is the reference", _scored),
        Identity("a score is paid once", _paid_once),
        Identity("and not with every token", _paid_often, bug="score on every token"),
        Identity("no score behind the end", _not_behind, bug="score one token late"),
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
    bugs=(
        *(bug for bug in ZOO if bug.audit == "token_rewards"),
        *(bug._replace(function=_score_early_or_first) for bug in ZOO if bug.function is zoo.score_early),
    ),
)


def token_rewards(function: Callable[..., Any], *, beta: float | None = None) -> Report:
    """Audit the rewards of tokens: `function(score, log_pi, log_ref, mask, beta)`, scores (N,), the rest (N, T).

    It returns (N, T): a charge for the divergence from the reference with every token, and the score with the last one.
    `beta` may be fixed inside: it is then worked out, or tell it here.
    """
    return audit(TOKEN_REWARDS, function, **positive(beta=beta))

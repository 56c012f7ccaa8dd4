"""Audits of the losses of policies that learn by reward: PPO and GRPO.

u ratio pi / pi_old of a token    A advantage    epsilon clip range    beta KL weight    l log-ratio log pi / pi_ref
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit import batches
from rlhf_lab.audit.contracts import Contract, Function, Identity, Report, Right, Shown, audit
from rlhf_lab.audit.functions import Case, Input, Layout, Subject
from rlhf_lab.audit.zoo import ZOO, Bug, policies
from rlhf_lab.numerics.autodiff import Array

STEPS = ((0.1, 0.4), (0.5, 0.7), (-0.5, 0.9), (0.6, -0.8), (-0.6, -1.1), (-0.1, -0.3), (0.15, 0.6))  # log u, A
CLIPS = (0.2, 0.1, 0.3, 0.2, 0.1, 0.3, 0.2)


def _cases(*, grpo: bool) -> tuple[Case, ...]:
    """One token with ratios inside the clip range, above and below, and batches of up to 5 answers of up to 4 tokens.

    The last of the single tokens is an unlikely one.
    """
    rng = np.random.default_rng(0)
    found = []
    for (step, advantage), clip in zip(STEPS, CLIPS, strict=True):
        old = -41.3 if step == 0.15 else -rng.integers(5, 31) / 10
        found.append(_batch(np.array([[old]]), np.array([[step]]), np.array([[advantage]]), np.ones((1, 1)), clip))
    for (n, t), clip in zip(((1, 3), (3, 2), (2, 4), (5, 4)), (0.2, 0.1, 0.3, 0.2), strict=True):
        old, step = (-rng.integers(5, 31, (n, t)) / 10, rng.permutation(n * t).reshape(n, t) * 1.7 / (n * t) - 0.83)
        found.append(_batch(old, step, rng.integers(-19, 20, (n, t)) / 10 + 0.03, batches.lengths(rng, n, t), clip))
    if grpo:
        found = [
            case
            | {
                "log_ref": case["log_pi"] + rng.integers(1, 9, case["log_pi"].shape) * rng.choice([-0.1, 0.1]) - 0.02,
                "advantage": case["advantage"][:, 0],
                "beta": beta,
            }
            for case, beta in zip(found, (0.1, 0.3, 0.2, 0.5, 0.1, 0.3, 0.2, 0.4, 0.1, 0.3, 0.2), strict=True)
        ]
    return tuple(found)


def _batch(old: Array, step: Array, advantage: Array, mask: Array, clip: float) -> Case:
    logs = {"log_pi": old + step, "log_old": old}
    return logs | {"advantage": advantage, "mask": mask, "clip_range": clip, "clip_high": clip}


def _clip(subject: Subject, case: Case) -> float:
    """The clip range that is fixed inside a function: what it makes of a ratio of 50, beside a ratio of 1."""
    one = {name: np.ones(np.shape(np.atleast_1d(value))[:0] or (1,) * np.ndim(value)) for name, value in case.items()}
    one = case | {name: value for name, value in one.items() if np.ndim(case[name])}
    at = [one | {name: one["log_old"] - 1 for name in ("log_old", "log_ref", "log_pi") if name in one}]
    at.append(at[0] | {"log_pi": at[0]["log_pi"] + np.log(50)})
    small, large = (abs(float(np.sum(subject(c | {"beta": 0.0} if "beta" in c else c)))) for c in at)
    clip = large / small - 1 if small > 1e-9 else np.inf
    if not 1e-3 < clip < 10:
        return 0.2
    subject.note(f"no parameter for the clip range: {clip:.4g}, worked out from its values, is fixed inside it")
    return float(f"{clip:.6g}")


def _no_step(subject: Subject, case: Case) -> Array:
    subject.note("takes no old log-probabilities: right for one step on fresh answers, where they are those of now")
    return np.array(case["log_pi"])


def _same_reference(subject: Subject, case: Case) -> Array:
    subject.note("takes no reference: no KL term in this loss")
    return np.array(case["log_pi"])


def _weight(subject: Subject, case: Case) -> float:
    """The KL weight that is fixed inside a function: what a small step from the reference costs where A = 0."""
    if "log_ref" not in subject.given:
        return 0.0
    step, one = 0.01, np.full((1, 1), -1.0)
    at = case | {"log_pi": one, "log_old": one, "advantage": np.zeros(1), "mask": np.ones((1, 1))}
    up, down = (float(np.sum(subject(at | {"log_ref": one - s}))) for s in (step, -step))
    beta = max(abs(up + down) / 2 / (np.cosh(step) - 1), abs(up - down) / (2 * step))
    subject.note(f"no parameter for the KL weight: {beta:.4g}, worked out from its values, is fixed inside it")
    return float(f"{beta:.4g}")


def _upper(subject: Subject, case: Case) -> float:
    return float(case["clip_range"])


def held(log_pi: Array, log_old: Array, advantage: Array, clip_range: float) -> Array:
    """- min(u A, clip(u) A), for each token."""
    ratio = np.exp(log_pi - log_old)
    near = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -np.minimum(ratio * advantage, near * advantage)


def _single(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if np.size(case["log_pi"]) == 1]


def _total(loss: Function, case: Case) -> Array:
    return np.sum(loss(case))


def _term(loss: Function, case: Case) -> Array:
    """The part of a loss that depends on the advantage."""
    return _total(loss, case) - _total(loss, case | {"advantage": 0 * case["advantage"]})


def _on_policy(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _single(cases):
        same = case | {"log_old": case["log_pi"]}
        yield Shown(same, _term(loss, same), -np.sum(case["advantage"]))


def _clipped(where: Callable[[float, float, float], bool], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _single(cases):
        ratio, advantage = float(np.exp(np.sum(case["log_pi"] - case["log_old"]))), float(np.sum(case["advantage"]))
        if where(ratio, advantage, case["clip_range"]):
            wanted = np.sum(held(case["log_pi"], case["log_old"], case["advantage"], case["clip_range"]))
            yield Shown(case, _term(loss, case), wanted)


def _padding(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        off = 1 - case["mask"]
        if np.sum(off):
            by = {"log_pi": 0.7, "log_old": 0.3, "log_ref": 0.4}
            moved = case | {name: case[name] - step * off for name, step in by.items() if name in case}
            there = case["mask"] if np.shape(loss(case)) == case["mask"].shape else 1.0
            yield Shown(moved, loss(moved) * there, loss(case) * there)


def _tokens(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The loss of one answer is made of those of its tokens, by mean or sum."""
    for case in cases:
        n, t = case["log_pi"].shape
        if n == 1 and t > 1 and np.all(case["mask"]):
            found = np.sum(loss(case)) if np.ndim(loss(case)) == 0 else loss(case)
            each = [{k: v[:, i : i + 1] if np.ndim(v) == 2 else v for k, v in case.items()} for i in range(t)]
            values = np.array([_total(loss, one) for one in each])
            wholes = [np.mean(values), np.sum(values), values[None]]
            wholes = [np.reshape(w, found.shape) for w in wholes if np.size(w) == np.size(found)]
            yield Shown(case, found, min(wholes, key=lambda whole: float(np.max(np.abs(whole - found)))))


def _key(rights: Sequence[Right], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _single(cases):
        found = _total(loss, case)
        wanted = [np.sum(batches.by_token(right.function, case)) for right in rights]
        yield Shown(case, found, min(wanted, key=lambda w: float(np.abs(w - found))))


def _inside(u: float, a: float, e: float) -> bool:
    return abs(u - 1) < e


def _too_far(u: float, a: float, e: float) -> bool:
    return (u - 1 > e) if a > 0 else (1 - u > e)


def _wrong_way(u: float, a: float, e: float) -> bool:
    return (1 - u > e) if a > 0 else (u - 1 > e)


RATIOS = (
    Identity("-A where the policy is the old one", _on_policy),
    Identity("-u A inside the clip range", partial(_clipped, _inside), needs="log_old"),
    Identity("clipped where the ratio went too far", partial(_clipped, _too_far), needs="log_old", bug="clip missing"),
    Identity("-u A where it went the wrong way", partial(_clipped, _wrong_way), needs="log_old"),
)
PPO_RIGHTS = (Right("", policies.ppo_loss),)
PPO = Contract(
    "ppo_loss",
    (
        Input("log_pi", batches.POLICY),
        Input("log_old", batches.OLD),
        Input("advantage", batches.ADVANTAGE),
        batches.mask_of("log_pi"),
        Input("clip_range", batches.CLIP, _clip),
        Input("clip_high", batches.CLIP_HIGH, _upper),
    ),
    "-min(u A, clip(u, 1 - epsilon, 1 + epsilon) A), for each token, averaged or added up",
    PPO_RIGHTS,
    _cases(grpo=False),
    batches.FORMS,
    (
        *RATIOS,
        Identity("an answer is made of its tokens", _tokens),
        Identity("padding changes nothing", _padding, needs="mask", bug="mask ignored"),
        Identity("-min(u A, clip(u) A)", partial(_key, PPO_RIGHTS)),
    ),
    ("log_pi",),
    general=True,
    layouts=(Layout(""), *batches.one_for_each_answer("advantage")),
)


def grpo(kl: Callable[[Array, Array], Array], ratio: str = "token") -> Callable[..., Array]:
    """Return GRPO's loss with an estimate `kl` of the divergence, from the log-ratio l and the ratio u."""

    def loss(
        log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
    ) -> Array:
        step, count = log_pi - log_old, np.sum(mask, axis=-1, keepdims=True)
        if ratio == "answer":
            step = np.sum(step * mask, axis=-1, keepdims=True) / count * np.ones(log_pi.shape)
        each = held(step, 0.0 * log_old, advantage[..., None], clip_range)
        each = each + beta * kl(log_pi - log_ref, np.exp(step))
        return np.mean(np.sum(each * mask, axis=-1) / count[..., 0], axis=-1)

    return loss


def _k3(log_ratio: Array, u: Array) -> Array:
    return np.exp(-log_ratio) - 1 + log_ratio


FORWARD, REVERSE = (f"its gradient is on average that of KL({pair})" for pair in ("pi_ref || pi", "pi || pi_ref"))
ESTIMATES: dict[str, Callable[[Array, Array], Array]] = {
    f"KL by k3: {FORWARD} of each next token": _k3,
    f"KL by k2: {REVERSE} of each next token": lambda l, u: l**2 / 2,
    f"KL by k3 times the ratio: on answers of the policy {REVERSE} of each next token": lambda l, u: _k3(l, u) * u,
    f"KL by k1 times the ratio: on answers of the policy {REVERSE} of each next token": lambda l, u: l * u,
    f"KL by k3 with the gradient of k2: {REVERSE} of each next token": (
        lambda l, u: getval(_k3(l, u)) + l**2 / 2 - getval(l**2 / 2)
    ),
}
GRPO_RIGHTS = tuple(
    Right("; ".join(text for text in (of_answer, name) if text), grpo(kl, ratio))
    for ratio, of_answer in (
        ("token", ""),
        ("answer", "the ratio is that of the whole answer, a geometric mean (GSPO)"),
    )
    for name, kl in ESTIMATES.items()
)


def _composed(bug: Bug) -> Bug:
    """A bug of PPO's ratio as it looks in GRPO, beside a right KL term."""

    def loss(
        log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
    ) -> Array:
        rows = (x[..., None, :] for x in (log_pi, log_old, advantage[..., None] * np.ones(log_pi.shape), mask))
        kl = np.sum(_k3(log_pi - log_ref, log_pi) * mask, axis=-1) / np.sum(mask, axis=-1)
        return np.mean(bug.function(*rows, clip_range) + beta * kl, axis=-1)

    return bug._replace(audit="grpo_loss", function=loss, right=policies.grpo_loss)


def _kl_near(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Where A = 0: half a chance each for two tokens, which the reference gives .51 and .49."""
    for case in _single(cases)[:1]:
        if case["beta"]:
            found, kl = np.zeros(()), 0.0
            for ref in (0.51, 0.49):
                one = np.full((1, 1), np.log(0.5))
                at = case | {"log_pi": one, "log_old": one, "log_ref": np.full((1, 1), np.log(ref))}
                found = found + _total(loss, at | {"advantage": np.zeros(1)}) / 2
                kl += np.log(0.5 / ref) / 2
            yield Shown(at, np.round(found / (case["beta"] * kl), 1), np.ones(()))


GRPO = Contract(
    "grpo_loss",
    (
        Input("log_pi", batches.POLICY),
        Input("log_old", batches.OLD, _no_step),
        Input("log_ref", batches.REFERENCE, _same_reference),
        Input("advantage", batches.ADVANTAGE),
        batches.mask_of("log_pi"),
        Input("clip_range", batches.CLIP, _clip),
        Input("beta", batches.WEIGHT, _weight),
        Input("clip_high", batches.CLIP_HIGH, _upper),
    ),
    "-min(u A, clip(u, 1 - epsilon, 1 + epsilon) A) + beta KL, averaged or added up over tokens",
    GRPO_RIGHTS,
    _cases(grpo=True),
    batches.FORMS,
    (
        *RATIOS,
        Identity("an answer is made of its tokens", _tokens),
        Identity("leaving the reference costs beta KL", _kl_near, needs="log_ref"),
        Identity("padding changes nothing", _padding, needs="mask", bug="padding in the loss"),
        Identity("-min(u A, clip(u) A) + beta KL", partial(_key, GRPO_RIGHTS)),
    ),
    ("log_pi",),
    general=True,
    layouts=(
        Layout(""),
        Layout(
            "one advantage for each token, (N, T)",
            lambda c: c | {"advantage": c["advantage"][:, None] + 0 * c["log_pi"]},
        ),
        Layout("one advantage for each answer, (N, 1)", lambda c: c | {"advantage": c["advantage"][:, None]}),
    ),
    bugs=(
        *(bug for bug in ZOO if bug.audit == "grpo_loss"),
        *(_composed(bug) for bug in ZOO if bug.audit == "ppo_loss" and bug.name not in ("mask ignored", "sign turned")),
    ),
)


def ppo_loss(function: Callable[..., Any], *, clip_range: float | None = None) -> Report:
    """Audit PPO's clipped loss: `function(log_pi, log_old, advantage, mask, clip_range)`.

    Arrays (N, T) over the tokens of answers, or one number for each of a batch; `mask` is 1 where a token counts, and
    may be left out. It may return a loss for each token, or their mean or sum. Parameters are read by name (`old_logprobs`,
    say) or taken in this order; `clip_range` may be fixed inside: it is then worked out, or tell it here.
    """
    return audit(PPO, function, **({} if clip_range is None else {"clip_range": clip_range}))


def grpo_loss(function: Callable[..., Any], *, clip_range: float | None = None, beta: float | None = None) -> Report:
    """Audit GRPO's loss: `function(log_pi, log_old, log_ref, advantage, mask, clip_range, beta)`.

    As `ppo_loss`, with one advantage for each answer, (N,), (N, 1) or (N, T). Without old log-probabilities the answers
    are fresh; without a reference there is no KL term. How tokens are averaged (over each answer, over all, by a
    constant) and how the divergence is estimated is told as a convention, with what its gradient is.
    """
    told = {"clip_range": clip_range, "beta": beta}
    return audit(GRPO, function, **{name: value for name, value in told.items() if value is not None})

"""The audit of GRPO's loss.

u ratio pi / pi_old of a token    A advantage    epsilon clip range    beta KL weight    l log-ratio log pi / pi_ref
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import batches
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Contract, Function, Identity, Right, Shown, near, one_of, positive
from rlhf_lab.audit.functions import Layout, Subject
from rlhf_lab.audit.grpo_bugs import DIVERGENCES, ESTIMATES, grpo, of_the_ratio
from rlhf_lab.audit.policies import (
    RATIOS,
    answers,
    cases_of,
    fixed_clip,
    key,
    padding,
    single,
    tokens,
    total,
    unpadded,
    upper,
)
from rlhf_lab.audit.report import Report
from rlhf_lab.numerics.autodiff import Array


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


def _rights(ratio: str, name: str) -> tuple[Right, ...]:
    """GRPO by every estimate of the divergence, and without one."""
    each = [
        Right("; ".join([name, text] if name else [text]), grpo(kl, ratio), _refers) for text, kl in ESTIMATES.items()
    ]
    return (*each, Right(name, grpo(lambda log_ratio, u: 0.0 * u, ratio), lambda subject: not _refers(subject)))


def _refers(subject: Subject) -> bool:
    return "log_ref" in subject.given


GRPO_RIGHTS = _rights("token", "")
GSPO_RIGHTS = _rights("answer", "the ratio is that of the whole answer, a geometric mean (GSPO)")


def _of_answers(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The loss of one answer, by mean or sum over its tokens."""
    for case in cases:
        n, t = case["mask"].shape
        if n == 1 and t > 1 and np.all(case["mask"]):
            found = total(loss, case)
            wanted = [size * np.sum(batches.by_answer(r.function, case)) for r in GSPO_RIGHTS for size in (1, t)]
            yield Shown(case, found, min(wanted, key=lambda w: float(np.abs(w - found))))


def _kl_near(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """Where A = 0: half a chance each for two tokens, which the reference gives .51 and .49."""
    for case in single(cases)[:1]:
        if case["beta"]:
            found, kl = np.zeros(()), 0.0
            for ref in (0.51, 0.49):
                one = np.full((1, 1), np.log(0.5))
                at = case | {"log_pi": one, "log_old": one, "log_ref": np.full((1, 1), np.log(ref))}
                found = found + total(loss, at | {"advantage": np.zeros(1)}) / 2
                kl += np.log(0.5 / ref) / 2
            yield Shown(at, near(found / (case["beta"] * kl), np.ones(())), np.ones(()))


GRPO = Contract(
    "grpo_loss",
    (
        Input("log_pi", batches.POLICY),
        Input("log_old", batches.OLD, _no_step),
        Input("log_ref", batches.REFERENCE, _same_reference),
        Input("advantage", batches.ADVANTAGE),
        batches.mask_of("log_pi"),
        Input("clip_range", batches.CLIP, fixed_clip),
        Input("beta", batches.WEIGHT, _weight),
        Input("clip_high", batches.CLIP_HIGH, upper),
    ),
    "-min(u A, clip(u, 1 - epsilon, 1 + epsilon) A) + beta KL, averaged or added up over tokens",
    GRPO_RIGHTS,
    cases_of(grpo=True),
    batches.FORMS,
    (
        *RATIOS,
        Identity("an answer is made of its tokens", tokens),
        Identity("a batch is made of its answers", answers),
        Identity("leaving the reference costs beta KL", _kl_near, needs="log_ref"),
        Identity("padding changes nothing", padding, needs="mask", bug="padding in the loss"),
        Identity("an answer costs as much without its padding", unpadded, needs="mask", bug="padding in the loss"),
        Identity("-min(u A, clip(u) A) + beta KL", partial(key, GRPO_RIGHTS)),
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
    bugs=DIVERGENCES,
    fitted=of_the_ratio,
)


GSPO = GRPO._replace(
    rights=GSPO_RIGHTS,
    identities=tuple(
        Identity("-min(s A, clip(s) A) + beta KL, s of the answer", _of_answers)
        if identity.look is tokens
        else identity
        for identity in GRPO.identities
    ),
    bugs=(),
    fitted=lambda loss, cases: (),
    strict=True,
)
AGGREGATIONS = {"token": batches.TOKENS, "sequence": batches.ANSWERS, "constant": batches.CONSTANT}


def grpo_loss(
    function: Callable[..., Any],
    *,
    aggregation: str | None = None,
    clip_range: float | None = None,
    beta: float | None = None,
) -> Report:
    """Audit GRPO's loss: `function(log_pi, log_old, log_ref, advantage, mask, clip_range, beta)`.

    As `ppo_loss`, with one advantage for each answer, (N,), (N, 1) or (N, T). Without old log-probabilities the answers
    are fresh; without a reference there is no KL term. How tokens are averaged and how the divergence is estimated is
    told as a convention, with what its gradient is. `aggregation` asks for one: "sequence" (over the tokens of each
    answer first, as published), "token" (over all, as DAPO) or "constant" (the sum, by a constant, as Dr. GRPO). Raises
    ValueError for another.
    """
    if aggregation is not None:
        one_of("aggregation", aggregation, AGGREGATIONS)
    by_layout = [contract._replace(layouts=(layout,)) for layout in GRPO.layouts for contract in (GRPO, GSPO)]
    report = audit(by_layout, function, **positive(clip_range=clip_range, beta=beta))
    if aggregation is None or not report.ok or AGGREGATIONS[aggregation].name in report.conventions:
        return report
    words = f"It is right, but aggregates otherwise: you asked for {AGGREGATIONS[aggregation].name}."
    return replace(report, ok=False, verdict="another aggregation", told=words)

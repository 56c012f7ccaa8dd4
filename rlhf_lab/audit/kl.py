"""Audits of estimates of KL(pi || pi_ref) from samples of pi: as a number, as a loss, and in the reward.

l log-ratio log pi / pi_ref    theta logits of a small distribution, of which all samples are enumerated
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit import batches
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Right, Shown, one_of
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import ZOO, Bug, policies
from rlhf_lab.audit.zoo.kl import k1
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.checks import tally

TENTHS = (  # chances of pi, and of pi_ref, in tenths
    ((5, 5), (2, 8)),
    ((1, 9), (4, 6)),
    ((2, 3, 5), (4, 5, 1)),
    ((1, 1, 2, 6), (3, 1, 4, 2)),
)


def _cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = [{name: -rng.integers(1, 31, size=n) / 10 for name in ("log_pi", "log_ref")} for n in (1, 1, 1, 2, 3, 5)]
    return tuple(case | {"mask": np.ones(case["log_pi"].shape)} for case in found)


def enumerated(of: Sequence[int], reference: Sequence[int]) -> tuple[Case, Array]:
    """Return a batch of 10 samples that holds each as often as pi says, and which sample each is, (10,)."""
    which = np.repeat(np.arange(len(of)), of)
    logs = (np.log(np.array(p) / 10)[which] for p in (of, reference))
    return dict(zip(("log_pi", "log_ref"), logs, strict=True)) | {"mask": np.ones(10)}, which


def _per_sample(estimate: Function, case: Case) -> float:
    """What a result has to be divided by so that it is a mean: 1, or the number of samples."""
    values = estimate(case)
    double = {name: np.concatenate([value, value]) for name, value in case.items()}
    added = values.ndim > 0 or (abs(float(values)) > 1e-9 and np.isclose(float(estimate(double)), 2 * float(values)))
    return float(len(case["log_pi"])) if added else 1.0


def divergence(case: Case, which: Array) -> tuple[float, Array]:
    """Return KL(pi || pi_ref) and its gradient in the logits of pi, pi (l - KL)."""
    log_ratio = np.array([np.mean((case["log_pi"] - case["log_ref"])[which == y]) for y in range(which[-1] + 1)])
    pi = tally(which) / len(which)
    kl = float(np.sum(pi * log_ratio))
    return kl, pi * (log_ratio - kl)


def _score(weights: Array, which: Array) -> Array:
    """The sum over samples of a weight times the gradient of log pi in the logits."""
    pi = tally(which) / len(which)
    return tally(which, weights) - pi * np.sum(weights)


def _mean(estimate: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for chances in TENTHS:
        case, which = enumerated(*chances)
        yield Shown(case, np.sum(estimate(case)) / _per_sample(estimate, case), np.array(divergence(case, which)[0]))


def _as_loss(estimate: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for chances in TENTHS:
        case, which = enumerated(*chances)
        slope = estimate.slope(case, "log_pi") / _per_sample(estimate, case)
        yield Shown(case, _score(slope.ravel(), which), divergence(case, which)[1])


def _in_reward(estimate: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for chances in TENTHS:
        case, which = enumerated(*chances)
        yield Shown(case, _score(estimate(case), which) / len(which), divergence(case, which)[1])


def _is_not(
    wrong: Callable[[Case, Array], Array],
    look: Callable[[Function, Sequence[Case]], Iterator[Shown]],
    estimate: Function,
    cases: Sequence[Case],
) -> Iterator[Shown]:
    """Show something only if all of what is seen is what a known mistake gives."""
    seen = list(look(estimate, cases))
    which = [enumerated(*chances)[1] for chances in TENTHS]
    same = [np.allclose(s.found, wrong(s.case, w), 1e-4, 1e-5) for s, w in zip(seen, which, strict=True)]
    yield from seen if all(same) else ()


def _forward(case: Case, which: Array) -> Array:
    """The gradient of KL(pi_ref || pi), pi - pi_ref."""
    pi = tally(which) / len(which)
    return pi - np.array([np.exp(np.mean(case["log_ref"][which == y])) for y in range(len(pi))])


def _rows(estimate: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in cases:
        n, found = len(case["log_pi"]), estimate(case)
        each = np.array([np.sum(estimate({k: v[i : i + 1] for k, v in case.items()})) for i in range(n)])
        wholes = [each] if found.shape == each.shape else [np.mean(each), np.sum(each)]
        yield Shown(case, found, min(wholes, key=lambda whole: float(np.max(np.abs(whole - found)))))


BATCH = Identity("a batch is made of its samples", _rows)
EACH = Form("an estimate for each sample")
FORMS = (
    EACH,
    Form("the mean over samples", lambda v, c: np.mean(v)),
    Form("the sum over samples", lambda v, c: np.sum(v)),
)


def _ratio(log_pi: Array) -> Array:
    return np.exp(log_pi - getval(log_pi))


def k1_times_ratio(log_pi: Array, log_ref: Array) -> Array:
    """l times a ratio that is 1 and carries the gradient."""
    return _ratio(log_pi) * (log_pi - log_ref)


def k3_times_ratio(log_pi: Array, log_ref: Array) -> Array:
    """k3 times a ratio that is 1 and carries the gradient."""
    return _ratio(log_pi) * policies.k3(log_pi, log_ref)


LAYOUTS = (
    Layout(""),
    Layout(
        "samples as columns, (N, 1)",
        lambda c: {name: value[:, None] for name, value in c.items()},
        lambda values, case: values[..., 0] if values.ndim == 2 else values,
    ),
)
RATIOS = (
    Layout(
        "takes the log-ratio log_pi - log_ref",
        lambda c: {"log_pi": c["log_pi"] - c["log_ref"]},
        inputs=(Input("log_pi", r"\w*ratio\w*|l|logr|diff|kl|x"),),
    ),
    Layout(
        "takes the log-ratio log_ref - log_pi",
        lambda c: {"log_pi": c["log_ref"] - c["log_pi"]},
        inputs=(Input("log_pi", r"\w*ratio\w*|l|logr|diff|kl|x"),),
    ),
)


def _bugs(*rights: Callable[..., Any]) -> tuple[Bug, ...]:
    found = [bug for bug in ZOO if bug.audit == "kl_estimate" and bug.right in rights]
    return tuple(sorted(found, key=lambda bug: rights.index(bug.right)))


def _contract(
    result: str,
    rights: tuple[Right, ...],
    forms: tuple[Form, ...],
    identities: tuple[Identity, ...],
    bugs: tuple[Bug, ...],
    trained: tuple[str, ...] = (),
) -> Contract:
    inputs = (
        Input("log_pi", batches.POLICY),
        Input("log_ref", batches.REFERENCE + "|" + batches.OLD),
        batches.mask_of("log_pi"),
    )
    return Contract(
        "kl_estimate",
        inputs,
        result,
        rights,
        _cases(),
        forms,
        identities,
        trained,
        False,
        general=True,
        layouts=LAYOUTS,
        bugs=bugs,
    )


LOSS, REWARD = (
    "its mean gradient is that of KL(pi || pi_ref)",
    "its score-function gradient is that of KL(pi || pi_ref)",
)
USES = {
    "number": _contract(
        "an estimate whose mean over samples of pi is KL(pi || pi_ref)",
        (
            Right("k1, the log-ratio: unbiased, negative at times", k1),
            Right("k3: unbiased and never negative", policies.k3),
        ),
        FORMS,
        (
            Identity("its mean over samples of pi is KL(pi || pi_ref)", _mean),
            BATCH,
            Identity(
                "and not minus the divergence",
                partial(_is_not, lambda c, w: -divergence(c, w)[0], _mean),
                bug="KL with its sign turned",
            ),
        ),
        _bugs(policies.k3),
    ),
    "loss": _contract(
        "a loss whose mean gradient over samples of pi is that of KL(pi || pi_ref)",
        (
            Right("k2, half of the squared log-ratio", policies.k2),
            Right("k1 times the ratio, which is 1 and carries the gradient", k1_times_ratio),
            Right("the number of k3 with the gradient of k2, as k3 times the ratio has it", k3_times_ratio),
        ),
        FORMS,
        (
            Identity(LOSS, _as_loss),
            BATCH,
            Identity("and not 0", partial(_is_not, lambda c, w: 0 * _forward(c, w), _as_loss), bug="k1 as a loss"),
            Identity("and not that of KL(pi_ref || pi)", partial(_is_not, _forward, _as_loss), bug="k3 as a loss"),
            Identity(
                "and not minus it",
                partial(_is_not, lambda c, w: -divergence(c, w)[1], _as_loss),
                bug="KL with its sign turned",
            ),
            Identity(
                "and not twice it",
                partial(_is_not, lambda c, w: 2 * divergence(c, w)[1], _as_loss),
                bug="half missing",
            ),
        ),
        tuple(bug for bug in _bugs(policies.k2, policies.k3) if bug.name != "k2 as a number"),
        ("log_pi",),
    ),
    "reward": _contract(
        "a number for each sample, (N,), whose product with the score has the gradient of KL(pi || pi_ref) as its mean",
        (Right("k1, the log-ratio", k1),),
        (EACH,),
        (
            Identity(REWARD, _in_reward),
            BATCH,
            Identity(
                "and not minus it",
                partial(_is_not, lambda c, w: -divergence(c, w)[1], _in_reward),
                bug="KL with its sign turned",
            ),
            Identity(
                "and not less that of KL(pi_ref || pi)",
                partial(_is_not, lambda c, w: divergence(c, w)[1] - _forward(c, w), _in_reward),
                bug="k3 in the reward",
            ),
        ),
        tuple(bug for bug in _bugs(k1, policies.k3) if bug.name != "k2 as a number"),
    ),
}


def kl_estimate(function: Callable[..., Any], *, use: str = "number") -> Report:
    """Audit an estimate of KL(pi || pi_ref): `function(log_pi, log_ref)`, from samples drawn from pi.

    Arrays (N,) hold log-probabilities of the samples; it returns an estimate for each, or their mean or sum. `use` says
    what for: as a "number" to look at, its mean has to be the divergence; as a "loss", its mean gradient that of the
    divergence; in the "reward", the mean of its product with the score. All are enumerated for small distributions, so
    that an estimate of your own passes if it is right. Raises ValueError for another `use`.
    """
    one_of("use", use, USES)
    usual = USES[use]
    ratios = [usual._replace(layouts=(layout,), patient=True) for layout in RATIOS]
    return audit([usual, *ratios], function)

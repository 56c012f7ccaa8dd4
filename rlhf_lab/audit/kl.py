"""Audits of estimates of KL(pi || pi_ref) from samples of pi: as a number, as a loss, and in the reward.

l log-ratio log pi / pi_ref    theta logits of a small distribution, of which all samples are enumerated
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit import batches
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.contracts import Contract, Form, Identity, Right, one_of
from rlhf_lab.audit.divergences import BATCH, as_loss, divergence, forward, in_reward, is_not, mean
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import ZOO, Bug
from rlhf_lab.audit.zoo.kl import k1, k2, k3
from rlhf_lab.numerics.autodiff import Array


def _cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    found = [{name: -rng.integers(1, 31, size=n) / 10 for name in ("log_pi", "log_ref")} for n in (1, 1, 1, 2, 3, 5)]
    return tuple(case | {"mask": np.ones(case["log_pi"].shape)} for case in found)


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
    return _ratio(log_pi) * k3(log_pi, log_ref)


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


OF_NUMBERS = ("k2 as a number", "1 missing in k3")  # that are no bugs, or others, in a gradient
LOSS, REWARD = (
    "its mean gradient is that of KL(pi || pi_ref)",
    "its score-function gradient is that of KL(pi || pi_ref)",
)
USES = {
    "number": _contract(
        "an estimate whose mean over samples of pi is KL(pi || pi_ref)",
        (
            Right("k1, the log-ratio: unbiased, negative at times", k1),
            Right("k3: unbiased and never negative", k3),
        ),
        FORMS,
        (
            Identity("its mean over samples of pi is KL(pi || pi_ref)", mean),
            BATCH,
            Identity(
                "and not minus the divergence",
                partial(is_not, lambda c, w: -divergence(c, w)[0], mean),
                bug="KL with its sign turned",
            ),
        ),
        _bugs(k3),
    ),
    "loss": _contract(
        "a loss whose mean gradient over samples of pi is that of KL(pi || pi_ref)",
        (
            Right("k2, half of the squared log-ratio", k2),
            Right("k1 times the ratio, which is 1 and carries the gradient", k1_times_ratio),
            Right("the number of k3 with the gradient of k2, as k3 times the ratio has it", k3_times_ratio),
        ),
        FORMS,
        (
            Identity(LOSS, as_loss),
            BATCH,
            Identity("and not 0", partial(is_not, lambda c, w: 0 * forward(c, w), as_loss), bug="k1 as a loss"),
            Identity("and not that of KL(pi_ref || pi)", partial(is_not, forward, as_loss), bug="k3 as a loss"),
            Identity(
                "and not minus it",
                partial(is_not, lambda c, w: -divergence(c, w)[1], as_loss),
                bug="KL with its sign turned",
            ),
            Identity(
                "and not twice it",
                partial(is_not, lambda c, w: 2 * divergence(c, w)[1], as_loss),
                bug="half missing",
            ),
        ),
        tuple(bug for bug in _bugs(k2, k3) if bug.name not in OF_NUMBERS),
        ("log_pi",),
    ),
    "reward": _contract(
        "a number for each sample, (N,), whose product with the score has the gradient of KL(pi || pi_ref) as its mean",
        (Right("k1, the log-ratio", k1),),
        (EACH,),
        (
            Identity(REWARD, in_reward),
            BATCH,
            Identity(
                "and not minus it",
                partial(is_not, lambda c, w: -divergence(c, w)[1], in_reward),
                bug="KL with its sign turned",
            ),
            Identity(
                "and not less that of KL(pi_ref || pi)",
                partial(is_not, lambda c, w: divergence(c, w)[1] - forward(c, w), in_reward),
                bug="k3 in the reward",
            ),
        ),
        tuple(bug for bug in _bugs(k1, k3) if bug.name not in OF_NUMBERS),
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

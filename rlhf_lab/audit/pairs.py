"""Audits of losses of comparisons by a policy: DPO and IPO.

h margin log pi(y_w)/pi_0(y_w) - log pi(y_l)/pi_0(y_l)    beta, tau KL weights
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit import names
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Right, by_name, positive
from rlhf_lab.audit.pair_identities import (
    at_reference,
    at_target,
    clipped,
    far_margins,
    margin_of,
    only_the_margin,
    reference_counts,
    rows,
    singly,
    swapped,
    weight_scales,
    with_margin,
)
from rlhf_lab.audit.pair_inputs import BETA, FOUR, FOUR_INPUTS, TAU, layouts
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.weights import weighed
from rlhf_lab.audit.zoo import ZOO, Bug, pairs
from rlhf_lab.numerics.autodiff import Array


def _cases(weight: str) -> tuple[Case, ...]:
    """One comparison, and batches of up to seven: log-probabilities from -3 to 0, weights of three sizes."""
    rng = np.random.default_rng(0)
    sizes = (1, 1, 1, 2, 2, 7, 7)  # of few kinds, since JAX compiles for each
    drawn = [{name: -rng.integers(1, 31, size=n) / 10 for name in FOUR} for n in sizes]
    return tuple(case | {weight: w} for case, w in zip(drawn, (0.5, 0.1, 2.0, 0.5, 0.1, 1.0, 0.3), strict=True))


MEAN = Form("the mean over the batch", lambda values, case: np.mean(values, axis=-1))
SUM = Form("the sum over the batch", lambda values, case: np.sum(values, axis=-1))
EACH = Form("a loss for each comparison", lambda values, case: values)
FORMS = (MEAN, SUM, EACH)


def _fitted(loss: Function, cases: Sequence[Case]) -> Iterator[Right | Bug]:
    """Label smoothing, labels that are robust to flips, and SFT terms; and factors in the wrong place."""
    yield from _smoothed(loss, cases)
    yield from weighed(pairs.dpo_loss)


def _smoothed(loss: Function, cases: Sequence[Case]) -> Iterator[Right | Bug]:
    """What has c beta h and a log pi(y_w) beside the loss."""
    rows = [
        case | {name: case[name][i : i + 1] for name in FOUR} for case in cases for i in range(np.size(case[FOUR[0]]))
    ]
    found = np.array([np.sum(loss(row)) for row in rows])
    parts = [
        [np.sum(by_name(pairs.dpo_loss, row)) for row in rows],
        [row["beta"] * margin_of(row) for row in rows],
        [-np.sum(row["policy_chosen"]) for row in rows],
    ]
    if not np.isfinite(found).all():
        return
    scale, c, a = np.linalg.lstsq(np.transpose(parts), found, rcond=None)[0]
    if abs(scale) < 1e-6:
        return
    c, a = (0.0 if abs(x / scale) < 1e-4 else float(x / scale) for x in (c, a))

    def loss_and_more(
        policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
    ) -> Array:
        h = policy_chosen - reference_chosen - (policy_rejected - reference_rejected)
        return -pairs.log_sigmoid(beta * h) + c * beta * h - a * policy_chosen

    reversed_ = next(bug for bug in ZOO if bug.function is pairs.smoothing_reversed)
    if 0.5001 < c < 1.0001 and not a:
        yield reversed_._replace(function=loss_and_more)
    flips = f"label smoothing of {c:.4g}" if c > 0 else f"robust to labels of which {-c / (1 - 2 * c):.4g} are flipped"
    sft = f"{a:.4g} times minus the log-probability of the chosen answer is added, an SFT term"
    if c < 0.4999 and a >= 0 and (c or a):  # at one half, nothing is learnt
        yield Right("; ".join([flips] * bool(c) + [sft] * bool(a)), loss_and_more)


def _times_tau_squared(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    return tau**2 * pairs.ipo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, tau)


def _in_other_units() -> Iterator[Bug]:
    """The bugs of the zoo, times tau squared: with tau times the margin inside the square."""
    for bug in ZOO:
        if bug.audit == "ipo_loss":
            yield bug._replace(function=partial(_scaled, bug.function))


def _scaled(
    loss: Callable[..., Array],
    policy_chosen: Array,
    policy_rejected: Array,
    reference_chosen: Array,
    reference_rejected: Array,
    tau: float,
) -> Array:
    return tau**2 * loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, tau)


def _without_constant(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    whole = pairs.ipo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, tau)
    return whole - 0.25 / tau**2


def _over_beta(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> Array:
    return pairs.dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta) / beta


DPO = Contract(
    "dpo_loss",
    (*FOUR_INPUTS, BETA),
    "log(1 + exp(-beta h)), for each comparison or averaged",
    (Right("", pairs.dpo_loss), Right("divided by beta: a matter of the step size", _over_beta)),
    _cases("beta"),
    FORMS,
    (
        Identity("log 2 where the policy is the reference", partial(at_reference, lambda case: float(np.log(2)))),
        Identity("only the margin matters", only_the_margin),
        Identity("the reference counts as much as the policy", reference_counts),
        Identity("exchanging the answers changes it by beta h", swapped),
        Identity("twice beta is twice the margin", partial(weight_scales, "beta"), needs="beta"),
        Identity("a batch is made of its comparisons", partial(rows, FOUR)),
        Identity("far margins still count", partial(clipped, pairs.dpo_loss, with_margin), bug="margin clipped"),
        Identity("finite at far margins", far_margins, caution=True),
        Identity("log(1 + exp(-beta h))", partial(singly, pairs.dpo_loss)),
    ),
    FOUR[:2],
    fitted=_fitted,
)

IPO = Contract(
    "ipo_loss",
    (*FOUR_INPUTS, TAU),
    "(h - 1 / (2 tau))^2, for each comparison or averaged",
    (
        Right("", pairs.ipo_loss),
        Right("times tau squared: a matter of the step size", _times_tau_squared),
        Right("without its constant, 1 / (4 tau^2), which has no gradient", _without_constant),
    ),
    _cases("tau"),
    FORMS,
    (
        Identity(
            "1 / (2 tau)^2 where the policy is the reference",
            partial(at_reference, lambda case: 0.25 / case["tau"] ** 2),
        ),
        Identity("only the margin matters", only_the_margin),
        Identity("the reference counts as much as the policy", reference_counts),
        Identity("0 where the margin is 1 / (2 tau)", at_target),
        Identity("a batch is made of its comparisons", partial(rows, FOUR)),
        Identity("far margins still count", partial(clipped, pairs.ipo_loss, with_margin), bug="margin clipped in IPO"),
        Identity("(h - 1 / (2 tau))^2", partial(singly, pairs.ipo_loss)),
    ),
    FOUR[:2],
    fitted=lambda loss, cases: (*_in_other_units(), *weighed(pairs.ipo_loss)),
)


def dpo_loss(function: Callable[..., Any], *, beta: float | None = None) -> Report:
    """Audit a loss of DPO: `function(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)`.

    Arrays (N,) hold log-probabilities of whole answers. It may return a loss for each comparison, their mean or their
    sum. Parameters are read by name (`ref_logps_chosen`, say) or taken in this order; `beta` may be fixed inside: it is
    then worked out, or tell it here.
    """
    contract = names.laid_out(DPO, function, layouts(BETA))
    return audit(contract, function, **positive(beta=beta))


def ipo_loss(function: Callable[..., Any], *, tau: float | None = None) -> Report:
    """Audit a loss of IPO: `function(policy_chosen, policy_rejected, reference_chosen, reference_rejected, tau)`.

    As `dpo_loss`; `tau` is the weight that many call beta.
    """
    contract = names.laid_out(IPO, function, layouts(TAU))
    return audit(contract, function, **positive(tau=tau))

"""GRPO's loss by every estimate of the divergence, and bugs of PPO's ratio and of the divergence as they look in it.

u ratio pi / pi_old of a token    A advantage    epsilon clip range    beta KL weight    l log-ratio log pi / pi_ref
"""

from collections.abc import Callable, Iterator, Sequence

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit.binding import Case
from rlhf_lab.audit.contracts import Function
from rlhf_lab.audit.policies import held, single, total
from rlhf_lab.audit.zoo import ZOO, Bug
from rlhf_lab.audit.zoo import grpo as zoo
from rlhf_lab.audit.zoo.kl import k1, k2, k3
from rlhf_lab.numerics.autodiff import Array


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
    f"KL by k2: {REVERSE} of each next token": lambda log_ratio, u: log_ratio**2 / 2,
    f"KL by k3 times the ratio: on answers of the policy {REVERSE} of each next token": lambda log_ratio, u: (
        _k3(log_ratio, u) * u
    ),
    f"KL by k1 times the ratio: on answers of the policy {REVERSE} of each next token": lambda log_ratio, u: (
        log_ratio * u
    ),
    f"KL by k3 with the gradient of k2: {REVERSE} of each next token": (
        lambda log_ratio, u: getval(_k3(log_ratio, u) - log_ratio**2 / 2) + log_ratio**2 / 2
    ),
}


def _estimated(bug: Bug, kl: Callable[[Array, Array], Array], *, stored: bool = False) -> Bug:
    """A wrong estimate of the divergence in GRPO's loss, or one of the log-probabilities that were stored."""

    def loss(
        log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
    ) -> Array:
        each = held(log_pi, log_old, advantage[..., None], clip_range) + beta * kl(
            log_old if stored else log_pi, log_ref
        )
        return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)

    return bug._replace(audit="grpo_loss", function=loss, right=zoo.grpo_loss)


def _composed(bug: Bug, estimate: Callable[[Array, Array], Array]) -> Bug:
    """A bug of PPO's ratio as it looks in GRPO, beside a right KL term."""

    def loss(
        log_pi: Array, log_old: Array, log_ref: Array, advantage: Array, mask: Array, clip_range: float, beta: float
    ) -> Array:
        rows = (x[..., None, :] for x in (log_pi, log_old, advantage[..., None] * np.ones(log_pi.shape), mask))
        each = estimate(log_pi - log_ref, np.exp(log_pi - log_old))
        kl = np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1)
        return np.mean(bug.function(*rows, clip_range) + beta * kl, axis=-1)

    return bug._replace(audit="grpo_loss", function=loss, right=zoo.grpo_loss)


RATIO_BUGS = [bug for bug in ZOO if bug.audit == "ppo_loss" and bug.name not in ("mask ignored", "sign turned")]
DIVERGENCES = (
    *(bug for bug in ZOO if bug.audit == "grpo_loss"),
    *(_estimated(bug, bug.function) for bug in ZOO if bug.audit == "kl_estimate" and bug.right is k3),
    *(_estimated(bug, kl, stored=True) for bug in ZOO if bug.function is zoo.kl_of_old for kl in (k1, k2)),
)


def of_the_ratio(loss: Function, cases: Sequence[Case]) -> Iterator[Bug]:
    """Yield the bugs of PPO's ratio, beside the estimates of the divergence that are left where the advantage is 0."""
    free = [case | {"advantage": 0 * case["advantage"]} for case in single(cases)]
    found = np.array([total(loss, case) for case in free])
    for estimate in ESTIMATES.values():
        wanted = np.array([_cost(estimate, case) for case in free])
        size = found @ wanted / max(wanted @ wanted, 1e-12)
        if np.allclose(found, size * wanted, 1e-3, 1e-6):
            yield from (_composed(bug, estimate) for bug in RATIO_BUGS)
            if not np.any(wanted):  # there is no divergence, and all estimates of it are the same
                return


def _cost(estimate: Callable[[Array, Array], Array], case: Case) -> float:
    ratio = np.exp(case["log_pi"] - case["log_old"])
    return float(np.sum(case["beta"] * estimate(case["log_pi"] - case["log_ref"], ratio)))

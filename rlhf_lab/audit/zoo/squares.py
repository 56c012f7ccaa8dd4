"""More ways in which the square of IPO goes wrong; `pairs` has the right function."""

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.pairs import ipo_loss, log_sigmoid
from rlhf_lab.numerics.autodiff import Array

CLIP = 2.0


def reference_missing(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You do not use the reference. Subtract its log-probabilities from those of the policy."""
    h = policy_chosen - policy_rejected
    return (h - 1 / (2 * tau)) ** 2


def not_frozen(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """Your reference is the policy itself: the margin is 0 and so is the gradient. Keep a frozen copy of the
    start."""
    h = (policy_chosen - policy_chosen) - (policy_rejected - policy_rejected)
    return (h - 1 / (2 * tau)) ** 2


def remade(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """Your reference is a copy of the policy of this very step: the margin is 0 and never arrives. Copy it once,
    before training."""
    h = (policy_chosen - getval(policy_chosen)) - (policy_rejected - getval(policy_rejected))
    return (h - 1 / (2 * tau)) ** 2


def crossed(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You take the reference of the rejected answer from the chosen one, and the other way round. Exchange the
    two."""
    h = (policy_chosen - reference_rejected) - (policy_rejected - reference_chosen)
    return (h - 1 / (2 * tau)) ** 2


def swapped(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You have chosen and rejected the wrong way round, and pull the margin to -1 / (2 tau). Exchange the two."""
    h = (policy_rejected - reference_rejected) - (policy_chosen - reference_chosen)
    return (h - 1 / (2 * tau)) ** 2


def logistic(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """Your loss is that of DPO, -log sigmoid(tau h). IPO takes the square (h - 1 / (2 tau))^2, which has a
    target."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -log_sigmoid(tau * h)


def distance(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You take the distance from the target, not its square: the pull is the same near and far. Square it."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return np.abs(h - 1 / (2 * tau))


def target_half(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You pull the margin to 1/2 whatever tau is. The target is 1 / (2 tau)."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (h - 0.5) ** 2


def target_upside_down(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You pull the margin to tau / 2. The target is 1 / (2 tau): a larger tau keeps the policy nearer to the
    reference."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (h - tau / 2) ** 2


def target_two_tau(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You pull the margin to 2 tau. The target is 1 / (2 tau): write the brackets."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (h - 2 * tau) ** 2


def target_missing(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You pull the margin to 0, back to the reference. The target is 1 / (2 tau)."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return h**2


def one_sided(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """Your square stops at the target. That of IPO also pulls back a margin that is too large, and this is its
    point."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return np.maximum(0.0, 1 / (2 * tau) - h) ** 2


def mean_inside(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You average the margins of the batch before the square. Take the square of each pair first, and average
    then."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (np.mean(h, axis=-1, keepdims=True) - 1 / (2 * tau)) ** 2 * np.ones(h.shape)


def ratios_not_logs(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """Your margin is a difference of ratios of probabilities. Take the difference of log-ratios."""
    h = np.exp(policy_chosen - reference_chosen) - np.exp(policy_rejected - reference_rejected)
    return (h - 1 / (2 * tau)) ** 2


def target_tau(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You pull the margin to tau. The target is 1 / (2 tau): a larger tau keeps the policy nearer to the reference."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (h - tau) ** 2


def target_one(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You pull tau times the margin to 1, twice as far as it should be: the target of the margin is 1 / (2 tau)."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (tau * h - 1) ** 2


def brackets_missing(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You subtract both log-probabilities of the reference, as where brackets are missing: a - b - c - d. That of the
    rejected answer has to be added."""
    h = policy_chosen - policy_rejected - reference_chosen - reference_rejected
    return (h - 1 / (2 * tau)) ** 2


def margin_clipped(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, tau: float
) -> Array:
    """You clip the margin: a pair that is wrong by more than that has no gradient, and is never put right. Leave it
    out."""
    h = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (np.clip(h, -CLIP, CLIP) - 1 / (2 * tau)) ** 2


BUGS = (
    bug("reference missing in IPO", "ipo_loss", reference_missing, ipo_loss, "sec-preference-losses"),
    bug("reference not frozen in IPO", "ipo_loss", not_frozen, ipo_loss, "sec-preference-losses"),
    bug("reference re-made each step in IPO", "ipo_loss", remade, ipo_loss, "sec-preference-losses"),
    bug("reference crossed in IPO", "ipo_loss", crossed, ipo_loss, "sec-preference-losses"),
    bug("chosen and rejected swapped in IPO", "ipo_loss", swapped, ipo_loss, "sec-preference-losses"),
    bug("logistic in place of square", "ipo_loss", logistic, ipo_loss, "sec-preference-losses"),
    bug("distance in place of square", "ipo_loss", distance, ipo_loss, "sec-preference-losses"),
    bug("target without tau", "ipo_loss", target_half, ipo_loss, "sec-preference-losses"),
    bug("target upside down", "ipo_loss", target_upside_down, ipo_loss, "sec-preference-losses"),
    bug("target of 2 tau", "ipo_loss", target_two_tau, ipo_loss, "sec-preference-losses"),
    bug("target missing", "ipo_loss", target_missing, ipo_loss, "sec-preference-losses"),
    bug("square on one side", "ipo_loss", one_sided, ipo_loss, "sec-preference-losses"),
    bug("mean inside the square", "ipo_loss", mean_inside, ipo_loss, "sec-preference-losses"),
    bug("ratios in place of log-ratios in IPO", "ipo_loss", ratios_not_logs, ipo_loss, "sec-preference-losses"),
    bug("target of tau", "ipo_loss", target_tau, ipo_loss, "sec-preference-losses"),
    bug("tau times the margin pulled to 1", "ipo_loss", target_one, ipo_loss, "sec-preference-losses"),
    bug("brackets missing in IPO", "ipo_loss", brackets_missing, ipo_loss, "sec-preference-losses"),
    bug("margin clipped in IPO", "ipo_loss", margin_clipped, ipo_loss, "sec-preference-losses"),
)

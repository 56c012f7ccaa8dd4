"""The relatives of DPO: what else a loss may ask of a margin, of several log-ratios, and of labels that may be wrong.

    pi policy    pi_0 reference    u log-ratio log pi(y|x) / pi_0(y|x)    h margin u_w - u_l    beta, tau KL weights
    p share that prefers the first    omega weights of K answers    s, epsilon wrong labels

Losses are numbers in, numbers out, as in `direct`: margins (..., N), in nats, give one loss for each comparison.
"""

from collections.abc import Callable

import autograd.numpy as np
from autograd import elementwise_grad

from rlhf_lab.methods import direct
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax

FAR = 1e3  # margins beyond this count as infinite


def ipo(h: Array, tau: float) -> Array:
    """(h - 1 / (2 tau))^2: a finite margin is enough (eq-ipo). Azar et al. 2024, eq. 17."""
    return (h - 1 / (2 * checks.positive("tau", tau))) ** 2


def ipo_target(p: Array, tau: float) -> Array:
    """(p - 1/2) / tau: the margin that minimises expected IPO, finite for every p (eq-ipo-target)."""
    return (checks.share("p", p) - 0.5) / checks.positive("tau", tau)


def gpo(f: Callable[[Array], Array], beta: float) -> direct.Loss:
    """Return the loss f(beta h), for a convex f that falls at 0 (eq-gpo). Tang et al. 2024.

    f takes and returns arrays, and is written with `autograd.numpy`. Raises `ValueError` if it is not convex, or does
    not fall at 0: it would not tell chosen from rejected.
    """
    checks.positive("beta", beta)
    slope = elementwise_grad(f)
    grid = slope(np.linspace(-20.0, 20.0, 401))
    at_zero = float(slope(np.zeros(1))[0])
    if not at_zero < 0:
        raise ValueError(f"f must fall at 0, f'(0) < 0, so that a tie is pushed apart; here f'(0) = {at_zero:g}")
    if not (np.diff(grid) >= -1e-9 * np.abs(grid[1:])).all():  # rounding, beside a slope that may be exp(20)
        raise ValueError("f must be convex; on [-20, 20] its slope falls somewhere")
    return lambda h: f(beta * h)


def slic(h: Array, beta: float) -> Array:
    """max(0, 1 - beta h): no pull at all once the margin is wide enough (eq-slic).

    The calibration loss of Zhao et al. 2023 on log-ratios, as in Liu, Zhao et al. 2024.
    """
    return np.maximum(0.0, 1 - checks.positive("beta", beta) * h)


def optimal_margin(loss: direct.Loss, p: Array) -> Array:
    """Return where p loss'(h) = (1 - p) loss'(-h), the margin that minimises the expected loss (eq-gpo-optimum).

    By bisection, for a convex loss and `p` of any shape. Of several such margins it is the one nearest to 0; infinite
    if the loss still falls at 1,000 nats.
    """
    p = checks.share("p", np.asarray(p))
    sure, slope = np.maximum(p, 1 - p), elementwise_grad(loss)
    low, high = np.zeros(p.shape), np.full(p.shape, FAR)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(80):
            middle = (low + high) / 2
            against = np.where(sure < 1, (1 - sure) * slope(-middle), 0.0)
            falls = sure * slope(middle) < against
            low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return np.sign(p - 0.5) * np.where(high == FAR, np.inf, high)


def info_nca(log_ratio: Array, weight: Array, beta: float) -> Array:
    """-sum_k omega_k log softmax(beta u)_k over K answers, their log-ratios and weights (..., K) (eq-info-nca).

    The weights sum to 1: a softmax of rewards, or (1, 0) for chosen and rejected, which is DPO. Chen et al. 2024.
    """
    return -np.sum(weight * log_softmax(checks.positive("beta", beta) * log_ratio), axis=-1)


def nca(log_ratio: Array, weight: Array, beta: float) -> Array:
    """-sum_k (omega_k log sigmoid(beta u_k) + (1/K) log sigmoid(-beta u_k)), arguments as `info_nca` (eq-nca).

    Each log-ratio counts by itself, not only their difference. Chen et al. 2024.
    """
    reward = checks.positive("beta", beta) * log_ratio
    up, down = np.logaddexp(0.0, -reward), np.logaddexp(0.0, reward)
    return np.sum(weight * up, axis=-1) + np.mean(down, axis=-1)


def smoothed_dpo(h: Array, beta: float, smoothing: float) -> Array:
    """(1 - s) dpo(h) + s dpo(-h): DPO that trusts no label by more than 1 - s (eq-smoothed-dpo)."""
    return direct.expected(lambda m: direct.dpo(m, beta), h, 1 - _below_half("smoothing", smoothing))


def robust_dpo(h: Array, beta: float, flip: float) -> Array:
    """((1 - s) dpo(h) - s dpo(-h)) / (1 - 2 s): if a share s of labels is flipped, its mean is that of DPO without
    flips (eq-robust-dpo). Convex, but not bounded below: dpo(h) - s beta h / (1 - 2 s). Chowdhury et al. 2024.
    """
    _below_half("flip", flip)
    return ((1 - flip) * direct.dpo(h, beta) - flip * direct.dpo(-h, beta)) / (1 - 2 * flip)


def misclick_dpo(h: Array, beta: float, rate: float) -> Array:
    """-log((1 - epsilon) sigmoid(beta h) + epsilon / 2): a share epsilon, `rate`, answers by coin (eq-misclick-dpo).

    Not convex: it is bounded on both sides, so that no comparison counts for more than a mis-click costs.
    Christiano et al. 2017.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate is the share of coin flips, in (0, 1); got {rate}; without any, use dpo")
    return -np.logaddexp(np.log1p(-rate) - direct.dpo(h, beta), np.log(rate / 2))


def _below_half(name: str, value: float) -> float:
    if not 0 <= value < 0.5:
        raise ValueError(f"{name} is a share of wrong labels, in [0, 0.5); got {value}")
    return value

"""Direct preference optimisation and its family: comparisons train the policy, with no reward model in between.

    pi policy    pi_0 reference    y_w chosen    y_l rejected    u log-ratio log pi(y|x) / pi_0(y|x)
    h margin u_w - u_l    beta, tau KL weights    p share that prefers the first    s, epsilon wrong labels
    omega weights of K answers    g_w, g_l gradients of log pi(y_w|x) and log pi(y_l|x) in the parameters

Losses are numbers in, numbers out: margins (..., N), in nats, give one loss for each comparison.
"""

from collections.abc import Callable
from typing import NamedTuple

import autograd.numpy as np
from autograd import elementwise_grad, grad

from rlhf_lab.feedback.pairs import PreferenceBatch
from rlhf_lab.models.lm import LanguageModel, kl, log_prob
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import masked

Loss = Callable[[Array], Array]  # of the margin

FAR = 1e3  # margins beyond this count as infinite


def implicit_reward(log_pi: Array, log_pi_0: Array, beta: float) -> Array:
    """beta log pi(y|x) / pi_0(y|x): the reward that pi is optimal for, but for a constant of x (eq-implicit-reward).

    Rafailov et al. 2023, eq. 5.
    """
    return checks.positive("beta", beta) * (log_pi - log_pi_0)


def margin(policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array) -> Array:
    """h = log pi(y_w)/pi_0(y_w) - log pi(y_l)/pi_0(y_l), nats, shape (..., N) (eq-margin).

    Four arrays of log-probabilities of whole responses (..., N), in the order that the field uses. Raises `ValueError`
    if one is positive, NaN or infinite, if they differ in length, or if there is no comparison.
    """
    chosen, rejected, chosen_0, rejected_0 = _four(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return chosen - chosen_0 - (rejected - rejected_0)


def _four(*given: Array) -> list[Array]:
    names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
    arrays = [np.array(array) for array in given]
    lengths = {array.shape[-1:] for array in arrays}
    if len(lengths) > 1 or lengths & {(), (0,)}:
        raise ValueError(
            f"{', '.join(names[:3])} and {names[3]} need one log-probability for each comparison, and at least one "
            f"comparison; got shapes {', '.join(str(array.shape) for array in arrays)}"
        )
    for name, array in zip(names, arrays, strict=True):
        checks.log_probs(name, array)
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{name} holds -inf: a response that a model rules out has no log-ratio")
    return arrays


def dpo(h: Array, beta: float) -> Array:
    """-log sigmoid(beta h): Bradley-Terry with the implicit reward (eq-dpo). Rafailov et al. 2023, eq. 7."""
    return np.logaddexp(0.0, -checks.positive("beta", beta) * h)


def expected(loss: Loss, h: Array, p: Array) -> Array:
    """p loss(h) + (1 - p) loss(-h): the loss if a share p prefers the first of the two (eq-expected-loss)."""
    return masked(loss(h), p) + masked(loss(-h), 1 - p)


def dpo_target(p: Array, beta: float) -> Array:
    """(1 / beta) log p / (1 - p): the margin that minimises expected DPO, infinite at p = 0 and 1 (eq-dpo-target)."""
    p = checks.share("p", np.asarray(p, dtype=float))
    with np.errstate(divide="ignore"):
        return (np.log(p) - np.log1p(-p)) / checks.positive("beta", beta)


def dpo_weight(h: Array, beta: float) -> Array:
    """beta sigmoid(-beta h) = -d dpo / d h: how hard DPO pulls at a comparison (eq-dpo-weight)."""
    return checks.positive("beta", beta) * np.exp(-np.logaddexp(0.0, beta * h))


def dpo_gradient(g_w: Array, g_l: Array, h: Array, beta: float) -> Array:
    """-w(h) (g_w - g_l): the gradient of DPO's loss of one comparison, g_w and g_l (..., D) (eq-dpo-gradient).

    w is `dpo_weight`, h (...) the margin. Rafailov et al. 2023, below eq. 7.
    """
    return -np.asarray(dpo_weight(h, beta))[..., None] * (g_w - g_l)


def preference_loss(model: LanguageModel, loss: Loss) -> Callable[[Params, PreferenceBatch], Array]:
    """Return the weighted mean of `expected(loss, h, label)` over a batch, one number for each seed, for `optim.fit`.

    `preference_loss(model, partial(dpo, beta=0.1))`; the batch is what `pairs.compare` returns.
    """

    def mean(params: Params, batch: PreferenceBatch) -> Array:
        chosen, rejected, label, weight = _log_ratios(model, params, batch)
        return _mean(_of_labels(loss, chosen - rejected, label), weight)

    return mean


def with_sft(model: LanguageModel, loss: Loss, alpha: float) -> Callable[[Params, PreferenceBatch], Array]:
    """Return the same for `loss` - alpha log pi(y_w|x): the chosen answers are imitated, too (eq-rpo).

    A share p of people is a share p of the imitation. Pang et al. 2024, there per token; Liu, Lu et al. 2024 ("RPO").
    """
    checks.positive("alpha", alpha)

    def mean(params: Params, batch: PreferenceBatch) -> Array:
        chosen, rejected, label, weight = _log_ratios(model, params, batch)
        log_pi_w, log_pi_l = chosen + batch.reference_chosen, rejected + batch.reference_rejected
        imitated = label * log_pi_w + (1 - label) * log_pi_l
        return _mean(_of_labels(loss, chosen - rejected, label) - alpha * imitated, weight)

    return mean


def _of_labels(loss: Loss, h: Array, label: Array) -> Array:
    return loss(h) if np.all(label == 1) else expected(loss, h, label)


def _log_ratios(model: LanguageModel, params: Params, batch: PreferenceBatch) -> tuple[Array, Array, Array, Array]:
    prompt, chosen, rejected, reference_chosen, reference_rejected, label, weight = batch
    twice, texts = np.concatenate([prompt, prompt], axis=-2), np.concatenate([chosen, rejected], axis=-2)
    log_pi_w, log_pi_l = np.split(log_prob(model, params, twice, texts), 2, axis=-1)  # one pass costs less than two
    return log_pi_w - reference_chosen, log_pi_l - reference_rejected, label, weight


def _mean(losses: Array, weight: Array) -> Array:
    return np.sum(losses * weight, axis=-1) / np.sum(weight, axis=-1)


def diagnostics(
    policy_chosen: Array, policy_rejected: Array, reference_chosen: Array, reference_rejected: Array, beta: float
) -> dict[str, Array]:
    """Return means over the last axis of what TRL's DPOTrainer logs, under its names; arguments as in `margin`.

    An accuracy counts comparisons whose chosen response has the higher implicit reward; equal ones count as wrong.
    """
    given = _four(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    chosen, rejected = (implicit_reward(*pair, beta) for pair in zip(given[:2], given[2:], strict=True))
    columns = {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/accuracies": 1.0 * (chosen > rejected),
        "rewards/margins": chosen - rejected,
        "logps/chosen": given[0],
        "logps/rejected": given[1],
    }
    return {name: np.mean(column, axis=-1) for name, column in columns.items()}


def mean_log_ratio(log_pi: Array, log_pi_0: Array) -> Array:
    """E_(y ~ pi_0) log pi(y|x) / pi_0(y|x) = -KL(pi_0 || pi), at most 0; answers on last axis (eq-mean-log-ratio)."""
    return -kl(log_pi_0, log_pi)


class Overlap(NamedTuple):
    """Inner products of the gradients of log pi(y_w) and log pi(y_l) in the parameters, (...)."""

    own: Array  # of the chosen's with itself
    shared: Array  # of the chosen's with the rejected's


def gradient_overlap(model: LanguageModel, params: Params, prompt: Array, chosen: Array, rejected: Array) -> Overlap:
    """Return g_w . g_w and g_w . g_l for one comparison, each text (..., 1, T): a small step along the margin's
    gradient changes log pi(y_w) in proportion to their difference (eq-overlap).

    Leading axes belong to texts and parameters alike. Raises `ValueError` if there is more than one comparison.
    """
    texts = [checks.tokens(name, y, model.vocab) for name, y in (("chosen", chosen), ("rejected", rejected))]
    if any(y.shape[-2] != 1 for y in texts):
        raise ValueError(
            f"one comparison at a time, texts of shape (..., 1, T); got {', '.join(str(y.shape) for y in texts)}"
        )
    g_w, g_l = (grad(lambda p, y=y: np.sum(log_prob(model, p, prompt, y)))(params) for y in texts)
    lead = texts[0].shape[:-2]
    own, shared = (sum(np.sum(np.reshape(g_w[n] * g[n], (*lead, -1)), axis=-1) for n in g_w) for g in (g_w, g_l))
    return Overlap(own, shared)


def ipo(h: Array, tau: float) -> Array:
    """(h - 1 / (2 tau))^2: a finite margin is enough (eq-ipo). Azar et al. 2024, eq. 17."""
    return (h - 1 / (2 * checks.positive("tau", tau))) ** 2


def ipo_target(p: Array, tau: float) -> Array:
    """(p - 1/2) / tau: the margin that minimises expected IPO, finite for every p (eq-ipo-target)."""
    return (checks.share("p", p) - 0.5) / checks.positive("tau", tau)


def gpo(f: Callable[[Array], Array], beta: float) -> Loss:
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


def optimal_margin(loss: Loss, p: Array) -> Array:
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


def contrastive_loss(
    model: LanguageModel, loss: Callable[[Array, Array], Array]
) -> Callable[[Params, PreferenceBatch], Array]:
    """Return the same for losses of log-ratios and weights: `contrastive_loss(model, partial(nca, beta=0.1))`."""

    def mean(params: Params, batch: PreferenceBatch) -> Array:
        chosen, rejected, label, weight = _log_ratios(model, params, batch)
        both, labels = np.stack([chosen, rejected], axis=-1), np.stack([label, 1 - label], axis=-1)
        return _mean(loss(both, labels), weight)

    return mean


def smoothed_dpo(h: Array, beta: float, smoothing: float) -> Array:
    """(1 - s) dpo(h) + s dpo(-h): DPO that trusts no label by more than 1 - s (eq-smoothed-dpo)."""
    return expected(lambda m: dpo(m, beta), h, 1 - _below_half("smoothing", smoothing))


def robust_dpo(h: Array, beta: float, flip: float) -> Array:
    """((1 - s) dpo(h) - s dpo(-h)) / (1 - 2 s): if a share s of labels is flipped, its mean is that of DPO without
    flips (eq-robust-dpo). Convex, but not bounded below: dpo(h) - s beta h / (1 - 2 s). Chowdhury et al. 2024.
    """
    _below_half("flip", flip)
    return ((1 - flip) * dpo(h, beta) - flip * dpo(-h, beta)) / (1 - 2 * flip)


def misclick_dpo(h: Array, beta: float, rate: float) -> Array:
    """-log((1 - epsilon) sigmoid(beta h) + epsilon / 2): a share epsilon, `rate`, answers by coin (eq-misclick-dpo).

    Not convex: it is bounded on both sides, so that no comparison counts for more than a mis-click costs.
    Christiano et al. 2017.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate is the share of coin flips, in (0, 1); got {rate}; without any, use dpo")
    return -np.logaddexp(np.log1p(-rate) - dpo(h, beta), np.log(rate / 2))


def _below_half(name: str, value: float) -> float:
    if not 0 <= value < 0.5:
        raise ValueError(f"{name} is a share of wrong labels, in [0, 0.5); got {value}")
    return value

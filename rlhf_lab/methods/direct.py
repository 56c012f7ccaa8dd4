"""Direct preference optimisation: comparisons train the policy, with no reward model in between.

    pi policy    pi_0 reference    y_w chosen    y_l rejected    u log-ratio log pi(y|x) / pi_0(y|x)
    h margin u_w - u_l    beta KL weight    p share that prefers the first
    g_w, g_l gradients of log pi(y_w|x) and log pi(y_l|x) in the parameters

Losses are numbers in, numbers out: margins (..., N), in nats, give one loss for each comparison.
"""

from collections.abc import Callable
from typing import NamedTuple

import autograd.numpy as np
from autograd import grad

from rlhf_lab.feedback.pairs import PreferenceBatch
from rlhf_lab.models.lm import LanguageModel, kl, log_prob
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import masked

Loss = Callable[[Array], Array]  # of the margin


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


def contrastive_loss(
    model: LanguageModel, loss: Callable[[Array, Array], Array]
) -> Callable[[Params, PreferenceBatch], Array]:
    """Return the same for losses of log-ratios and weights, such as `partial(margins.nca, beta=0.1)`."""

    def mean(params: Params, batch: PreferenceBatch) -> Array:
        chosen, rejected, label, weight = _log_ratios(model, params, batch)
        both, labels = np.stack([chosen, rejected], axis=-1), np.stack([label, 1 - label], axis=-1)
        return _mean(loss(both, labels), weight)

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

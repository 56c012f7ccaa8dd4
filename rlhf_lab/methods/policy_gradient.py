"""REINFORCE for text with a price on divergence, its baselines, and the exact gradient that it estimates.

Beside the chapters "RLHF with policy gradients" and "PPO, and how to watch it"; functions stand in the order of
their equations.

    pi policy    pi_0 reference    R reward    beta KL weight    f regularised reward    b baseline    A advantage
    G prompts    k answers to each    N = G k answers

Advantages and losses are numbers in, numbers out; `reinforce` is what touches a model. Shapes (..., N) are answers,
(..., N, T) tokens, (..., G, k) answers in groups; `...` are seeds.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import autograd.numpy as np
from autograd.tracer import getval
from numpy.random import Generator

from rlhf_lab.methods.rollouts import Collect, Loss, Task, described, rollout
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Outcome, Params
from rlhf_lab.numerics.weighted import kept, masked, standardised

Advantages = Callable[[Array], Array]


def regularised_reward(reward: Array, log_pi: Array, log_pi_0: Array, beta: float) -> Array:
    """f(x, y) = R(x, y) - beta log pi(y | x) / pi_0(y | x), all (..., N) (eq-regularised-reward).

    Its mean under pi is J_beta(pi); under the Gibbs policy it is beta log Z(x) for every answer (eq-flat-reward). The
    mean over beta is the evidence lower bound of log Z(x) (eq-evidence).
    """
    return reward - beta * (log_pi - log_pi_0)


def exact_loss(task: Task, model: lm.LanguageModel) -> tuple[Loss, Collect]:
    """Return a loss and a `collect` for `optim.fit` that climb J_beta by its exact gradient (eq-exact-gradient).

    The loss is - J_beta, over all answers to all prompts; the batch is ignored.
    """
    task.same_language("policy", model)
    return lambda params, batch: -task.objective(task.log_pi(model, params)), lambda params, rng: [None]


def reinforce_loss(log_pi: Array, advantage: Array) -> Array:
    """- (1/N) sum_i A_i log pi(y_i | x_i), (..., N) to (...); minus its gradient is REINFORCE (eq-reinforce).

    The advantages are constants. Williams 1992; RLHF Deciphered, section 6.3.
    """
    return -np.mean(advantage * log_pi, axis=-1)


def best_baseline(f: Array, policy: Array, squares: Array) -> Array:
    """b(x) = E[f |score|^2] / E[|score|^2], the baseline of least variance: (..., A) to (...) (eq-best-baseline).

    `policy` holds the probabilities of all answers to a prompt, `squares` the squared lengths of the gradients of
    log pi(y | x). Greensmith et al. 2004.
    """
    weight = policy * squares
    return np.sum(weight * f, axis=-1) / np.sum(weight, axis=-1)


def no_baseline(f: Array) -> Array:
    """A = f: the plain estimate."""
    return f


def batch_mean(f: Array) -> Array:
    """A_i = f_i - mean of the batch, (..., G, k): one constant for all prompts (eq-batch-baseline).

    The mean holds f_i itself, which makes the gradient too small by a factor 1 - 1/N.
    """
    return f - np.mean(f, axis=(-1, -2), keepdims=True)


def rloo_advantages(f: Array) -> Array:
    """A_i = f_i - mean of the others in its group, (..., G, k) (eq-rloo).

    Kool et al. 2019; Ahmadian et al. 2024. The others know nothing of y_i, so the estimate has no bias. Raises
    `ValueError` for groups of one.
    """
    k = group_size(f)
    return k / (k - 1) * (f - np.mean(f, axis=-1, keepdims=True))


def grpo_advantages(f: Array, eps: float = 1e-4) -> Array:
    """A_i = (f_i - mean of the group) / (standard deviation of the group + eps), (..., G, k) (eq-grpo).

    Shao et al. 2024. The deviation is that of a sample, with k - 1. In a group whose answers earn the same it is 0.
    Raises `ValueError` for groups of one.
    """
    group_size(f)
    return standardised(f, np.mean(f, axis=-1, keepdims=True), np.std(f, axis=-1, ddof=1, keepdims=True), eps)


def expected_advantages(advantages: Advantages, f: Array, policy: Array, k: int, groups: int, rng: Generator) -> Array:
    """sum over groups with y of P(group) A(y) / k, the weight of the score of y in the mean estimate, (A,) to (A,).

    `f` and `policy` hold f and the probability of all answers to a prompt. The mean is one over `groups` groups of k
    answers drawn from the policy. For RLOO it tends to pi(y) (f(y) - V), for (eq-grpo) to another weight.
    """
    cumulative = np.cumsum(policy)
    drawn = np.searchsorted(cumulative, rng.random((groups, k)) * cumulative[-1])
    return checks.tally(drawn.ravel(), advantages(f[drawn]).ravel(), len(f)) / drawn.size


def noise_over_signal(estimates: Array) -> float:
    """E|g - E g|^2 / |E g|^2 of independent estimates g of a gradient, (n, D) (eq-noise-over-signal).

    It does not change if all estimates are multiplied by a number. The square of the mean of n estimates is too large
    by an n-th of the variance, which is taken off. Raises `ValueError` for fewer than 2 estimates.
    """
    n = len(estimates)
    if n < 2:
        raise ValueError(f"a variance needs at least 2 estimates; got {n}")
    mean = np.mean(estimates, axis=0)
    variance = np.sum((estimates - mean) ** 2) / (n - 1)
    return float(variance / (np.sum(mean**2) - variance / n))


def group_size(f: Array) -> int:
    """Return k of rewards in groups (..., G, k). Raises `ValueError` for groups of one."""
    if f.shape[-1] < 2:
        raise ValueError("a group needs at least 2 answers to each prompt: pass answers=2 or more")
    return int(f.shape[-1])


def token_entropy(logits: Array, mask: Array) -> Array:
    """Sum over the tokens of an answer of H(pi(. | s_t)), nats, (..., N, T, V) to (..., N) (eq-entropy-bonus).

    Its mean over answers of pi is the entropy of the answers; the mean of its gradient is not the gradient of that.
    """
    _, logits = kept(np.asarray(mask)[..., None], logits)
    return np.sum(masked(lm.entropy(log_softmax(logits)), mask), axis=-1)


class AnswerBatch(NamedTuple):
    """Answers (..., N, T) to prompts (..., N, P) and their advantages (..., N)."""

    prompt: Array
    response: Array
    advantage: Array


def reinforce(
    task: Task,
    model: lm.LanguageModel,
    advantages: Advantages,
    *,
    prompts: int,
    answers: int = 1,
    entropy_weight: float = 0.0,
) -> tuple[Loss, Collect]:
    """Return a loss and a `collect` for `optim.fit`: REINFORCE with the advantages of one's choice.

    Each round draws `prompts` prompts and `answers` answers to each, and takes one step. `advantages` maps f, in
    groups (..., G, k), to advantages of that shape. `entropy_weight` w pays for the entropy of each next token: the
    loss is less w times the mean of (eq-entropy-bonus) on the answers that were drawn, as A2C and PPO have it. That
    makes each next token less certain, but no token earns the entropy of what it leads to, so that it is not the
    gradient of J_beta + w H(pi). For that, pay -w log pi(y | x) with the reward. The history of `fit` gets the
    diagnostics `entropy` and `length`.
    """
    task.same_language("policy", model)
    checks.not_negative("entropy_weight", entropy_weight, "w, what a nat of entropy is paid")

    def collect(params: Params, rng: Generator) -> Iterable[AnswerBatch]:
        seen = rollout(task, model, params, prompts, rng, answers)
        f = regularised_reward(seen.reward, seen.log_pi.sum(-1), seen.log_pi_0.sum(-1), task.beta)
        grouped = advantages(np.reshape(f, (*f.shape[:-1], prompts, answers)))
        yield AnswerBatch(seen.prompt, seen.response, np.reshape(grouped, f.shape))

    def loss(params: Params, batch: AnswerBatch) -> Outcome:
        mask = lm.response_mask(batch.response, model.eos)
        log_pi = lm.log_prob(model, params, batch.prompt, batch.response)
        found = reinforce_loss(log_pi, batch.advantage)
        if entropy_weight:
            entropy = token_entropy(model.logits(params, batch.prompt, batch.response), mask)
            found = found - entropy_weight * np.mean(entropy, axis=-1)
        return Outcome(found, described(log_pi, mask))

    return loss, collect


def k1(log_ratio: Array) -> Array:
    """k_1 = l, with l = log pi / pi_0 of answers drawn from pi: its mean is KL(pi || pi_0) (eq-k1). Schulman 2020."""
    return log_ratio


def k2(log_ratio: Array) -> Array:
    """k_2 = l^2 / 2: biased as a number, but the mean of its gradient is that of KL(pi || pi_0) (eq-k2).

    Schulman 2020.
    """
    return log_ratio**2 / 2


def k3(log_ratio: Array) -> Array:
    """k_3 = exp(-l) - 1 + l >= 0: unbiased as a number, but its gradient is that of KL(pi_0 || pi) (eq-k3).

    Schulman 2020.
    """
    return np.expm1(-log_ratio) + log_ratio


def surrogate(estimator: Callable[[Array], Array], log_pi: Array, log_pi_0: Array, *, in_reward: bool) -> Array:
    """Return a loss whose gradient is the KL term of an estimator, from answers drawn from pi, (..., N) to (...).

    As a loss, (1/N) sum k(log pi - log pi_0), or in the reward, (1/N) sum k log pi with k held constant.
    """
    value = estimator(log_pi - log_pi_0)
    return np.mean(getval(value) * log_pi if in_reward else value, axis=-1)

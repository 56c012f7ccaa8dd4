"""A reward model without reinforcement learning: best-of-n, fine-tuning on the best, ranking, weighted decoding.

Beside the chapter "From a reward model to a better model"; functions stand in the order of its equations.

    pi policy    pi_n best of n draws from pi    R reward    F, m probability under pi of a reward of at most, just R(y)

Exact functions work on all A answers to a prompt, log-probabilities and rewards (..., A).
"""

from collections.abc import Iterable

import autograd.numpy as anp
import numpy as np
from numpy.random import Generator

from rlhf_lab.methods.rollouts import Collect, Loss, Task, rollout
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params


def log_best_of_n(log_pi: Array, reward: Array, n: int) -> Array:
    """log pi_n(y | x) of every answer: n draws, of which the one with the highest reward is kept (eq-best-of-n).

    pi_n(y) = pi(y) (F^n - (F - m)^n) / m, where F is the probability of a reward of at most R(y) and m that of just
    R(y); among equal rewards the first draw is kept. Shapes (..., A). Nakano et al. 2021. Raises `ValueError` unless n
    is a whole number from 1 on.
    """
    _draws(n)
    at_most, equal = _distribution(log_pi, reward)
    share = equal / at_most
    few = share < 1e-12  # the limit, which also serves answers whose probability underflows to 0
    with np.errstate(divide="ignore", invalid="ignore"):
        won = np.log(-np.expm1(n * np.log1p(-share))) - np.log(share)
    return log_pi + (n - 1) * np.log(at_most) + np.where(few, np.log(n), won)


def kl_bound(n: int) -> float:
    """log n - (n - 1) / n, a bound of KL(pi_n || pi) (eq-best-of-n-kl).

    Reached in the limit of many unlikely answers of which no two are worth the same. Nats. Stiennon et al. 2020; that
    it is a bound, Beirami et al. 2024.
    """
    return float(np.log(_draws(n)) - (n - 1) / n)


def win_rate(log_p: Array, log_q: Array, reward: Array) -> Array:
    """P(R(y) > R(y')) + P(R(y) = R(y')) / 2 for y from p and y' from q, (..., A) to (...) (eq-win-rate).

    Best-of-n against one draw wins at most n / (n + 1) of the time, which is reached in the same limit as `kl_bound`.
    """
    at_most, equal = _distribution(log_q, reward)
    return np.sum(np.exp(log_p) * (at_most - equal / 2), axis=-1)


def _draws(n: int) -> int:
    return checks.count("n", n, "the number of draws of which the best is kept")


def _distribution(log_pi: Array, reward: Array) -> tuple[Array, Array]:
    """Return, for each answer, the probabilities of a reward of at most its own, and of just its own."""
    checks.answer_rewards(reward, log_pi.shape)
    log_pi, reward = np.broadcast_arrays(log_pi, reward)
    at_most, equal = np.empty(log_pi.shape), np.empty(log_pi.shape)
    for row in np.ndindex(log_pi.shape[:-1]):
        _, level = np.unique(reward[row], return_inverse=True)
        mass = checks.tally(level, np.exp(log_pi[row]))
        at_most[row], equal[row] = np.maximum(np.cumsum(mass), np.finfo(float).tiny)[level], mass[level]
    return at_most, equal


def keep_best(response: Array, reward: Array) -> Array:
    """Return from each group the answer with the highest reward, the first of equals: (..., G, n, T) to (..., G, T)."""
    response = np.asarray(response)
    checks.answer_rewards(reward, response.shape[:-1])
    best = np.argmax(reward, axis=-1)[..., None, None]
    return np.take_along_axis(response, best, axis=-2)[..., 0, :]


def raft(task: Task, model: lm.LanguageModel, *, prompts: int, n: int) -> tuple[Loss, Collect]:
    """Return a loss and a `collect` for `optim.fit`: fine-tune on the best of n answers of one's own (eq-raft).

    Each round draws n answers to each of `prompts` prompts; the loss is - (1/G) sum log pi(best). Dong et al. 2023.
    beta plays no part. Exact rounds end at pi_0 given the highest reward, which
    `end_points.without_price` computes; few rounds keep it nearer to the reference.
    """
    _draws(n)
    task.same_language("policy", model)

    def collect(params: Params, rng: Generator) -> Iterable[tuple[Array, Array]]:
        seen = rollout(task, model, params, prompts, rng, answers=n)
        response = np.reshape(seen.response, (*seen.response.shape[:-2], prompts, n, -1))
        reward = np.reshape(seen.reward, (*seen.reward.shape[:-1], prompts, n))
        yield seen.prompt[..., ::n, :], keep_best(response, reward)

    def loss(params: Params, batch: tuple[Array, Array]) -> Array:
        return lm.negative_log_likelihood(model, params, *batch)

    return loss, collect


def rrhf_loss(log_pi: Array, length: Array, reward: Array) -> Array:
    """sum over R_i < R_j of max(0, p_i - p_j), minus log pi of the best; p is log pi / length (eq-rrhf).

    `log_pi`, `length` and `reward` (..., n) of n answers to one prompt give (...). Yuan et al. 2023.
    """
    checks.answer_rewards(reward, log_pi.shape)
    p, reward = log_pi / length, np.asarray(reward)
    worse = reward[..., :, None] < reward[..., None, :]
    wrong = anp.sum(anp.maximum(0.0, p[..., :, None] - p[..., None, :]) * worse, axis=(-1, -2))
    best = anp.arange(reward.shape[-1]) == anp.argmax(reward, axis=-1)[..., None]
    return wrong - anp.sum(log_pi * best, axis=-1)


def rrhf(task: Task, model: lm.LanguageModel, *, prompts: int, n: int) -> tuple[Loss, Collect]:
    """Return a loss and a `collect` for `optim.fit`: the mean of (eq-rrhf) over groups of n answers of one's own.

    Each round draws n answers to each of `prompts` prompts. At rest in the mean are the policies whose answers to a
    prompt all earn the same, and no others: in the logits of a table, the term of the best lifts the answers of the
    highest reward and lowers those of the lowest, ranking adds to both, and what the normaliser takes off has one sign.
    """
    _draws(n)
    task.same_language("policy", model)

    def collect(params: Params, rng: Generator) -> Iterable[tuple[Array, Array, Array]]:
        seen = rollout(task, model, params, prompts, rng, answers=n)
        yield seen.prompt, seen.response, np.reshape(seen.reward, (*seen.reward.shape[:-1], prompts, n))

    def loss(params: Params, batch: tuple[Array, Array, Array]) -> Array:
        prompt, response, reward = batch
        log_pi = anp.reshape(lm.log_prob(model, params, prompt, response), reward.shape)
        length = np.reshape(np.sum(lm.response_mask(response, model.eos), axis=-1), reward.shape)
        return anp.mean(rrhf_loss(log_pi, length, reward), axis=-1)

    return loss, collect


def weighted_decoding(levels: list[Array], values: list[Array], weight: float) -> list[Array]:
    """log pi(a | s) = log pi_0(a | s) + w Q(s, a) - log Z(s): decode by what the prefixes promise (eq-rad).

    `levels` and `values` (..., K, W^t, V) as `lm.policy_levels` and `token_mdp.policy_evaluation` return them. Deng
    and Raffel 2023, without their restriction to the k likeliest tokens; their reward model sees prefixes and predicts
    the reward that is to come, which is Q of pi_0.
    """
    return [log_softmax(level + weight * q) for level, q in zip(levels, values, strict=True)]

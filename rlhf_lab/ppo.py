"""Actor-critic methods for text, token by token: A2C, GAE and PPO.

Beside the chapter "RLHF with policy gradients"; functions stand in the order of its equations.

    r_t reward of a token    V(s_t) value    delta_t TD error    gamma discount    lambda trace    A_t advantage
    pi_old the policy that wrote the answers    u_t = pi / pi_old    epsilon clip range    beta KL weight

Everything is an array over tokens (..., N, T) with a mask, 0 behind the end of an answer; `...` are seeds. Losses are
sums over the tokens of an answer and means over answers, so that their gradients are those of J_beta.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import autograd.numpy as np
from autograd.tracer import getval
from numpy.random import Generator

from . import checks, lm
from .autodiff import Array, log_prob_of
from .critics import Critic
from .optim import Params
from .rollouts import Collect, Loss, Rollout, Task, rollout


def kl_rewards(reward: Array, log_pi: Array, log_pi_0: Array, mask: Array, beta: Array) -> Array:
    """r_t = - beta log pi(y_t | s_t) / pi_0(y_t | s_t), plus R(x, y) with the last token (eq-kl-reward).

    `reward` (..., N), log-probabilities of tokens and `mask` (..., N, T), `beta` a number or one for each seed (...).
    The sum over t is the regularised reward of the answer. Ziegler et al. 2019.
    """
    last = mask - np.concatenate([mask[..., 1:], np.zeros_like(mask[..., :1])], axis=-1)
    return last * reward[..., None] - np.asarray(beta)[..., None, None] * (log_pi - log_pi_0) * mask


def td_errors(rewards: Array, values: Array, mask: Array, gamma: float = 1.0) -> Array:
    """delta_t = r_t + gamma V(s_(t+1)) - V(s_t), with no value behind the last token (eq-td-error)."""
    following = np.concatenate([values[..., 1:] * mask[..., 1:], 0 * values[..., :1]], axis=-1)
    return (rewards + checks.share("gamma", gamma) * following - values) * mask


def gae(rewards: Array, values: Array, mask: Array, gamma: float = 1.0, lam: float = 0.95) -> Array:
    """A_t = sum_k (gamma lambda)^k delta_(t+k), by one sweep from the end (eq-gae). Schulman et al. 2016.

    lambda = 1 is the return minus the value, lambda = 0 the TD error.
    """
    errors = td_errors(rewards, values, mask, gamma)
    decay, advantages = gamma * checks.share("lambda", lam), np.zeros(errors.shape)
    carried = np.zeros(errors.shape[:-1])
    for t in reversed(range(errors.shape[-1])):
        carried = errors[..., t] + decay * carried
        advantages[..., t] = carried
    return advantages


def actor_critic_loss(log_pi: Array, advantage: Array, mask: Array) -> Array:
    """- (1/N) sum_i sum_t A_t log pi(y_t | s_t): a policy gradient token by token (eq-actor-critic).

    Mnih et al. 2016.
    """
    return -np.mean(np.sum(advantage * log_pi * mask, axis=-1), axis=-1)


def value_loss(values: Array, returns: Array, mask: Array) -> Array:
    """(1/N) sum_i sum_t (V(s_t) - G_t)^2 / 2, (..., N, T) to (...) (eq-value-loss).

    The loss of an actor-critic is that of the policy plus c_V times this one (eq-weighted-loss).
    """
    return np.mean(np.sum((values - returns) ** 2 * mask, axis=-1), axis=-1) / 2


def clipped_value_loss(values: Array, old: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """The larger of the errors of V and of V held within epsilon of its old value (eq-value-clip).

    `clip_range` epsilon is in units of reward here, and any number above 0.
    """
    near = old + np.clip(values - old, -clip_range, clip_range)
    worse = np.maximum((values - returns) ** 2, (near - returns) ** 2)
    return np.mean(np.sum(worse * mask, axis=-1), axis=-1) / 2


def ppo_loss(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """- (1/N) sum_i sum_t min(u_t A_t, clip(u_t, 1 - epsilon, 1 + epsilon) A_t), (..., N, T) to (...) (eq-ppo).

    Schulman et al. 2017; RLHF Deciphered, eq. 16. Raises `ValueError` unless epsilon is in (0, 1).
    """
    _epsilon(clip_range)
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -np.mean(np.sum(np.minimum(ratio * advantage, held * advantage) * mask, axis=-1), axis=-1)


def _epsilon(clip_range: float) -> None:
    if not 0 < clip_range < 1:
        raise ValueError(f"clip_range is epsilon, in (0, 1); got {clip_range}")


def adapt_beta(beta: Array, kl: Array, *, target: float, rate: float = 0.1) -> Array:
    """beta <- beta (1 + alpha clip(KL / target - 1, -0.2, 0.2)), alpha is `rate` (eq-adaptive-beta).

    Dearer if the policy strays farther than `target` nats, cheaper if less. Ziegler et al. 2019, section 2.2. Raises
    `ValueError` unless `target` is above 0 and `rate` in (0, 5): from 5 on, a price could fall to 0 and below.
    """
    if not 0 < rate < 5:
        raise ValueError(f"rate must lie in (0, 5), so that the price stays above 0; got {rate}")
    return beta * (1 + rate * np.clip(kl / checks.positive("target", target) - 1, -0.2, 0.2))


def normalise(advantage: Array, mask: Array, eps: float = 1e-8) -> Array:
    """(A - mean) / (standard deviation + eps), over the tokens of a batch: (..., N, T)."""
    count = np.sum(mask, axis=(-1, -2), keepdims=True)
    centred = (advantage - np.sum(advantage * mask, axis=(-1, -2), keepdims=True) / count) * mask
    return centred / (np.sqrt(np.sum(centred**2, axis=(-1, -2), keepdims=True) / count) + eps)


class Batch(NamedTuple):
    """Answers and what PPO knows of their tokens: integers (..., N, P) and (..., N, T), all others (..., N, T)."""

    prompt: Array
    response: Array
    mask: Array
    log_old: Array
    value_old: Array
    advantage: Array
    returns: Array

    def rows(self, chosen: Array) -> "Batch":
        """Return some of the N answers."""
        return Batch(*(np.take(column, chosen, axis=-2) for column in self))


def advantages_of(critic: Critic, params: Params, seen: Rollout, beta: Array, gamma: float, lam: float) -> Batch:
    """Return answers with advantages (eq-gae) of their KL rewards, and A_t + V(s_t) as targets of the value."""
    _, values = critic.judge(params, seen.prompt, seen.response)
    rewards = kl_rewards(seen.reward, seen.log_pi, seen.log_pi_0, seen.mask, beta)
    advantage = gae(rewards, values, seen.mask, gamma, lam)
    returns = advantage + values * seen.mask
    return Batch(seen.prompt, seen.response, seen.mask, seen.log_pi, values, advantage, returns)


def a2c(
    task: Task, critic: Critic, *, prompts: int, gamma: float = 1.0, lam: float = 0.95, value_weight: float = 0.5
) -> tuple[Loss, Collect]:
    """Return a loss and a `collect` for `optim.fit`: advantage actor-critic, one step on fresh answers.

    Each round draws `prompts` answers. The loss is that of the policy plus `value_weight` c_V times that of the value
    (eq-weighted-loss). With lambda = 1 it is REINFORCE with a learned baseline.
    """
    task.same_language("policy", critic.language)
    prompts = _settings(prompts, gamma, lam, value_weight)

    def collect(params: Params, rng: Generator) -> Iterable[Batch]:
        seen = rollout(task, critic.language, params, prompts, rng)
        yield advantages_of(critic, params, seen, task.beta, gamma, lam)

    def loss(params: Params, batch: Batch) -> Array:
        log_pi, values = _judge(critic, params, batch)
        wrong = value_loss(values, batch.returns, batch.mask)
        return actor_critic_loss(log_pi, batch.advantage, batch.mask) + value_weight * wrong

    return loss, collect


def _settings(prompts: int, gamma: float, lam: float, value_weight: float) -> int:
    checks.share("gamma", gamma)
    checks.share("lambda", lam)
    checks.not_negative("value_weight", value_weight, "c_V, the weight of the value loss")
    return checks.count("prompts", prompts, "a number of texts to draw")


def _judge(critic: Critic, params: Params, batch: Batch) -> tuple[Array, Array]:
    logits, values = critic.judge(params, batch.prompt, batch.response)
    return log_prob_of(logits, batch.response) * batch.mask, values


def ppo(
    task: Task,
    critic: Critic,
    *,
    prompts: int,
    minibatch: int,
    epochs: int,
    clip_range: float = 0.2,
    gamma: float = 1.0,
    lam: float = 0.95,
    value_weight: float = 0.5,
    value_clip: float | None = None,
    stop_kl: float = np.inf,
    normalised: bool = False,
    control: Callable[[Array, Array], Array] | None = None,
) -> tuple[Loss, Collect]:
    """Return a loss and a `collect` for `optim.fit`: PPO.

    Each round draws `prompts` answers and goes through them `epochs` times, `minibatch` answers at a time. The loss is
    that of the policy plus `value_weight` c_V times that of the value (eq-weighted-loss). `normalised` gives each batch
    advantages of mean 0 and deviation 1. `control(beta, kl)` returns a new beta after each round, as `adapt_beta` does.

    A seed whose policy is found, on a minibatch, more than `stop_kl` nats per token away from the one that wrote the
    answers has loss 0 from there on to the end of the round. Train it with `optim.resting`, or the momentum of the
    optimiser carries it on. The pair that is returned remembers who has stopped, and the price: take a fresh one for
    each run. Raises `ValueError` if a setting is not one that can be meant.
    """
    task.same_language("policy", critic.language)
    prompts = _settings(prompts, gamma, lam, value_weight)
    minibatch = checks.count("minibatch", minibatch, "the number of answers in a batch")
    epochs = checks.count("epochs", epochs, "how often to go through the answers")
    _epsilon(clip_range)
    if value_clip is not None:
        checks.positive("value_clip", value_clip)
    if not stop_kl >= 0:
        raise ValueError(f"stop_kl is a divergence in nats, not below 0; got {stop_kl}")
    beta: Any = task.beta
    stopped: Any = False

    def collect(params: Params, rng: Generator) -> Iterable[Batch]:
        nonlocal beta, stopped
        stopped = False
        seen = rollout(task, critic.language, params, prompts, rng)
        batch = advantages_of(critic, params, seen, beta, gamma, lam)
        if control:
            beta = control(beta, np.mean(np.sum(seen.log_pi - seen.log_pi_0, axis=-1), axis=-1))
            if not (np.isfinite(beta) & np.greater(beta, 0)).all():
                raise ValueError(f"control must return a beta that is finite and above 0; got {beta}")
        if normalised:
            batch = batch._replace(advantage=normalise(batch.advantage, batch.mask))
        for _ in range(epochs):
            order = rng.permutation(prompts)
            for first in range(0, prompts, minibatch):
                yield batch.rows(order[first : first + minibatch])

    def loss(params: Params, batch: Batch) -> Array:
        nonlocal stopped
        log_pi, values = _judge(critic, params, batch)
        gain = ppo_loss(log_pi, batch.log_old, batch.advantage, batch.mask, clip_range)
        wrong = (
            value_loss(values, batch.returns, batch.mask)
            if value_clip is None
            else clipped_value_loss(values, batch.value_old, batch.returns, batch.mask, value_clip)
        )
        total = gain + value_weight * wrong
        if np.isinf(stop_kl):
            return total
        log_ratio = getval(log_pi) - batch.log_old
        strayed = np.sum(np.expm1(log_ratio) - log_ratio, axis=(-1, -2)) / np.sum(batch.mask, axis=(-1, -2))
        stopped = stopped | (strayed > stop_kl)
        return total * ~stopped

    return loss, collect


def with_pretraining(
    pair: tuple[Loss, Collect],
    model: lm.LanguageModel,
    texts: tuple[Array, Array],
    *,
    weight: float,
    size: int,
) -> tuple[Loss, Collect]:
    """Return loss and `collect` of PPO-ptx: the loss plus `weight` times that of pretraining (eq-ppo-ptx).

    Each batch comes with `size` rows of `texts`, prompts and answers. Ouyang et al. 2022, eq. 2. Raises `ValueError` if
    the texts are not prompts (M, P) with an answer each, (M, T), in the vocabulary of the model.
    """
    inner, gather = pair
    checks.not_negative("weight", weight, "eta, the weight of the pretraining loss")
    size = checks.count("size", size, "the number of texts that go with a batch")
    prompt, answer = (checks.tokens("texts", part, model.vocab) for part in texts)
    checks.same_batch(prompt, answer)
    if not len(prompt):
        raise ValueError("there is no text: PPO-ptx needs at least one prompt with its answer")

    def collect(params: Params, rng: Generator) -> Iterable[Any]:
        for batch in gather(params, rng):
            rows = rng.integers(len(prompt), size=size)
            yield batch, prompt[rows], answer[rows]

    def loss(params: Params, batch: Any) -> Array:
        own, *text = batch
        return inner(params, own) + weight * lm.negative_log_likelihood(model, params, *text)

    return loss, collect

"""Actor-critic methods as training loops: A2C and PPO.

Beside the chapter "PPO, and how to watch it"; their equations stand in `actor_critic`.

    V(s_t) value    gamma discount    lambda trace    epsilon clip range    c_V weight of the value loss
    beta KL weight
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import autograd.numpy as np
from autograd.tracer import getval
from numpy.random import Generator

from rlhf_lab.methods import actor_critic, telemetry
from rlhf_lab.methods.rollouts import Collect, Loss, Rollout, Task, rollout
from rlhf_lab.models import lm
from rlhf_lab.models.critics import Critic
from rlhf_lab.numerics import checks, repeats
from rlhf_lab.numerics.autodiff import Array, log_prob_of
from rlhf_lab.numerics.optim import Outcome, Params, outcome
from rlhf_lab.numerics.weighted import masked


class TokenBatch(NamedTuple):
    """Answers and what PPO knows of their tokens: integers (..., N, P) and (..., N, T), all others (..., N, T).

    `told` holds the numbers (...) of all answers of the round.
    """

    prompt: Array
    response: Array
    mask: Array
    log_old: Array
    value_old: Array
    advantage: Array
    returns: Array
    told: dict[str, Array]

    def rows(self, chosen: Array) -> "TokenBatch":
        """Return some of the N answers."""
        columns = (name for name in self._fields if name != "told")
        return self._replace(**{name: np.take(getattr(self, name), chosen, axis=-2) for name in columns})


def advantages_of(critic: Critic, params: Params, seen: Rollout, beta: Array, gamma: float, lam: float) -> TokenBatch:
    """Return answers with advantages (eq-gae) of their KL rewards, and A_t + V(s_t) as targets of the value."""
    _, values = critic.judge(params, seen.prompt, seen.response)
    rewards = actor_critic.kl_rewards(seen.reward, seen.log_pi, seen.log_pi_0, seen.mask, beta)
    advantage = actor_critic.gae(rewards, values, seen.mask, gamma, lam)
    returns = advantage + masked(values, seen.mask)
    told = telemetry.of_rewards(seen.reward)
    return TokenBatch(seen.prompt, seen.response, seen.mask, seen.log_pi, values, advantage, returns, told)


def a2c(
    task: Task, critic: Critic, *, prompts: int, gamma: float = 1.0, lam: float = 0.95, value_weight: float = 0.5
) -> tuple[Loss, Collect]:
    """Return a loss and a `collect` for `optim.fit`: advantage actor-critic, one step on fresh answers.

    Each round draws `prompts` answers. The loss is that of the policy plus `value_weight` c_V times that of the value
    (eq-weighted-loss). With lambda = 1 it is REINFORCE with a learned baseline. The history of `fit` gets the
    diagnostics `explained_variance`, `entropy` and `length`, and `reward` and `reward_deviation` of the answers.
    """
    task.same_language("policy", critic.language)
    prompts = _settings(prompts, gamma, lam, value_weight)

    def collect(params: Params, rng: Generator) -> Iterable[TokenBatch]:
        seen = rollout(task, critic.language, params, prompts, rng)
        yield advantages_of(critic, params, seen, task.beta, gamma, lam)

    def loss(params: Params, batch: TokenBatch) -> Outcome:
        log_pi, values = _judge(critic, params, batch)
        policy_loss = actor_critic.actor_critic_loss(log_pi, batch.advantage, batch.mask)
        value_loss = actor_critic.value_loss(values, batch.returns, batch.mask)
        return Outcome(policy_loss + value_weight * value_loss, _diagnostics(batch))

    return loss, collect


def _settings(prompts: int, gamma: float, lam: float, value_weight: float) -> int:
    checks.share("gamma", gamma)
    checks.share("lambda", lam)
    checks.not_negative("value_weight", value_weight, "c_V, the weight of the value loss")
    return checks.count("prompts", prompts, "a number of texts to draw")


def _judge(critic: Critic, params: Params, batch: TokenBatch) -> tuple[Array, Array]:
    prompt, response, place = repeats.once(batch.prompt, batch.response, critic.language.vocab)
    logits, values = critic.judge(params, prompt, response)
    log_pi = repeats.spread(log_prob_of(logits, response), place)
    return masked(log_pi, batch.mask), repeats.spread(values, place)


def _diagnostics(batch: TokenBatch) -> dict[str, Array]:
    return telemetry.of_answers(batch.log_old, batch.value_old, batch.returns, batch.mask) | batch.told


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
    target_kl: float = np.inf,
    normalised: bool = False,
    control: Callable[[Array, Array], Array] | None = None,
    write: Callable[..., Rollout] = rollout,
) -> tuple[Loss, Collect]:
    """Return a loss and a `collect` for `optim.fit`: PPO.

    Each round draws `prompts` answers and goes through them `epochs` times, `minibatch` answers at a time. The loss is
    that of the policy plus `value_weight` c_V times that of the value (eq-weighted-loss). `normalised` gives each batch
    advantages of mean 0 and deviation 1. `control(beta, kl)` returns a new beta after each round, as `adapt_beta` does.
    `write(task, model, params, prompts, rng)` returns the answers of a round; the mask says which tokens are trained.

    A seed whose policy is found, on a minibatch, more than `target_kl` nats per token away from the one that wrote the
    answers stops until the next round. With `control`, the pair that is returned remembers the price: take a fresh one
    for each run. The history of `fit` gets the diagnostics `approximate_kl` and `clip_fraction`, three of policy and
    critic as they were when the answers were written, `explained_variance`, `entropy` and `length`, and `reward` and
    `reward_deviation` of all answers of the round. Raises `ValueError` if a setting is not one that can be meant.
    """
    task.same_language("policy", critic.language)
    prompts = _settings(prompts, gamma, lam, value_weight)
    minibatch = checks.count("minibatch", minibatch, "the number of answers in a batch")
    epochs = checks.count("epochs", epochs, "how often to go through the answers")
    actor_critic.check_clip_range(clip_range)
    if value_clip is not None:
        checks.positive("value_clip", value_clip)
    if not target_kl >= 0:
        raise ValueError(f"target_kl is a divergence in nats, not below 0; got {target_kl}")
    beta: Any = task.beta

    def collect(params: Params, rng: Generator) -> Iterable[TokenBatch]:
        nonlocal beta
        seen = write(task, critic.language, params, prompts, rng)
        batch = advantages_of(critic, params, seen, beta, gamma, lam)
        if control:
            beta = control(beta, np.mean(np.sum(seen.log_pi - seen.log_pi_0, axis=-1), axis=-1))
            if not (np.isfinite(beta) & np.greater(beta, 0)).all():
                raise ValueError(f"control must return a beta that is finite and above 0; got {beta}")
        if normalised:
            batch = batch._replace(advantage=actor_critic.normalise(batch.advantage, batch.mask))
        for _ in range(epochs):
            order = rng.permutation(prompts)
            for first in range(0, prompts, minibatch):
                yield batch.rows(order[first : first + minibatch])

    def loss(params: Params, batch: TokenBatch) -> Outcome:
        log_pi, values = _judge(critic, params, batch)
        policy_loss = actor_critic.ppo_loss(log_pi, batch.log_old, batch.advantage, batch.mask, clip_range)
        value_loss = (
            actor_critic.value_loss(values, batch.returns, batch.mask)
            if value_clip is None
            else actor_critic.clipped_value_loss(values, batch.value_old, batch.returns, batch.mask, value_clip)
        )
        now = getval(log_pi)
        moved = telemetry.of_step(now, batch.log_old, batch.mask, clip_range)
        stop = moved["approximate_kl"] > target_kl
        return Outcome(policy_loss + value_weight * value_loss, _diagnostics(batch) | moved, stop=stop)

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

    def loss(params: Params, batch: Any) -> Outcome:
        own, *text = batch
        found = outcome(inner(params, own))
        return found._replace(loss=found.loss + weight * lm.negative_log_likelihood(model, params, *text))

    return loss, collect

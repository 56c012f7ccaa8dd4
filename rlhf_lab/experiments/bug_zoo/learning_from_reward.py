"""Policy gradients, GRPO and PPO in training, each part of them exchangeable."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import autograd.numpy as np
from autograd.tracer import getval
from numpy.random import Generator

from rlhf_lab.audit.zoo import charges, policies, returns, tokens
from rlhf_lab.audit.zoo.grpo import grpo_loss
from rlhf_lab.audit.zoo.kl import k2
from rlhf_lab.experiments.bug_zoo.world import BETA, CRITIC, NETWORK, Seeds, curves, of_policy, pretrained, read
from rlhf_lab.experiments.runner import Numbers
from rlhf_lab.methods import actor_critic, policy_gradient, telemetry
from rlhf_lab.methods.rollouts import Rollout, described, rollout, stack
from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import Array, log_prob_of
from rlhf_lab.numerics.optim import Outcome, Params

PROMPTS, ANSWERS, CLIP, LAMBDA, VALUE_WEIGHT, PASSES, MINIBATCH = 32, 4, 0.2, 0.95, 0.1, 2, 64
TEMPERATURE = 0.7
STEP_SIZES = {"RLOO": 0.02, "GRPO": 0.02, "PPO": 0.01}
Function = Callable[..., Array]


class Batch(NamedTuple):
    """Answers and what is known of them; rows are answers, (..., N, ...)."""

    prompt: Array
    response: Array
    mask: Array
    log_old: Array
    log_ref: Array
    value_old: Array
    advantage: Array
    returns: Array

    def rows(self, chosen: Array) -> "Batch":
        """Return some of the answers."""
        return Batch(*(np.take(column, chosen, axis=-2) for column in self))


def watched(seen: Rollout) -> Numbers:
    """Return what every trainer logs of the answers of a round."""
    log_ratio = np.sum(seen.log_pi - seen.log_pi_0, axis=-1)
    told = {"reward": np.mean(seen.reward, axis=-1), "KL": np.mean(log_ratio, axis=-1)}
    return told | described(np.sum(seen.log_pi, axis=-1), seen.mask)


def by_groups(values: Array) -> Array:
    """Return numbers of answers (..., N) in groups (..., G, k)."""
    return np.reshape(values, (*values.shape[:-1], PROMPTS, ANSWERS))


def reinforce(seeds: Seeds, advantages: Function = returns.rloo) -> Numbers:
    """Return the curves of REINFORCE with some advantages; the divergence is part of the reward."""
    task, start = pretrained()

    def collect(params: Params, rng: Generator) -> Iterable[Any]:
        seen = rollout(task, NETWORK, params, PROMPTS, rng, ANSWERS)
        f = seen.reward - BETA * np.sum(seen.log_pi - seen.log_pi_0, axis=-1)
        grouped = by_groups(f)
        equal = np.mean(np.ptp(grouped, axis=-1) < 1e-9, axis=-1)  # but for rounding
        yield seen, np.reshape(advantages(grouped), f.shape), watched(seen) | {"equal groups": equal}

    def loss(params: Params, batch: Any) -> Outcome:
        seen, advantage, told = batch
        log_pi = lm.log_prob(NETWORK, params, seen.prompt, seen.response)
        return Outcome(policy_gradient.reinforce_loss(log_pi, advantage), told)

    return curves(loss, stack([start] * len(seeds)), collect, seeds, STEP_SIZES["RLOO"])


def at_temperature(seeds: Seeds, log_probs: Function = tokens.log_probs_at) -> Numbers:
    """Return the curves of RLOO whose policy is sampled at a temperature; the distance is that of what is sampled."""
    task, start = pretrained()

    def sampled(params: Params) -> Params:
        return params | {"readout": params["readout"] / TEMPERATURE}

    def score(params: Params, seen: Rollout) -> Array:
        return np.sum(log_probs(*read(params, seen.prompt, seen.response), TEMPERATURE), axis=-1)

    def collect(params: Params, rng: Generator) -> Iterable[Any]:
        seen = rollout(task, NETWORK, sampled(params), PROMPTS, rng, ANSWERS)
        log_pi = score(params, seen)
        log_ratio = log_pi - np.sum(seen.log_pi_0, axis=-1)
        advantage = np.reshape(returns.rloo(by_groups(seen.reward - BETA * log_ratio)), log_pi.shape)
        told = {"reward": np.mean(seen.reward, axis=-1), "KL": np.mean(log_ratio, axis=-1)}
        yield seen, advantage, told | described(log_pi, seen.mask)

    def loss(params: Params, batch: Any) -> Outcome:
        seen, advantage, told = batch
        return Outcome(policy_gradient.reinforce_loss(score(params, seen), advantage), told)

    def exact(params: Params) -> Numbers:
        return of_policy(sampled(params))

    return curves(loss, stack([start] * len(seeds)), collect, seeds, STEP_SIZES["RLOO"], exact)


def with_kl(seeds: Seeds, kl: Function = k2) -> Numbers:
    """Return the curves of RLOO on the bare reward, with an estimate of the divergence in the loss."""
    task, start = pretrained()

    def collect(params: Params, rng: Generator) -> Iterable[Any]:
        seen = rollout(task, NETWORK, params, PROMPTS, rng, ANSWERS)
        yield seen, np.reshape(returns.rloo(by_groups(seen.reward)), seen.reward.shape), watched(seen)

    def loss(params: Params, batch: Any) -> Outcome:
        seen, advantage, told = batch
        log_pi = lm.log_prob(NETWORK, params, seen.prompt, seen.response)
        price = np.mean(kl(log_pi, np.sum(seen.log_pi_0, axis=-1)), axis=-1)
        return Outcome(policy_gradient.reinforce_loss(log_pi, advantage) + BETA * price, told)

    return curves(loss, stack([start] * len(seeds)), collect, seeds, STEP_SIZES["RLOO"])


def grpo(seeds: Seeds, loss: Function = grpo_loss) -> Numbers:
    """Return the curves of GRPO, `PASSES` steps on the answers of each round."""
    task, start = pretrained()

    def collect(params: Params, rng: Generator) -> Iterable[Any]:
        seen = rollout(task, NETWORK, params, PROMPTS, rng, ANSWERS)
        log_old, log_ref = (unmasked(model, seen) for model in (params, start))
        advantage = np.reshape(returns.grpo(by_groups(seen.reward)), seen.reward.shape)
        for _ in range(PASSES):
            yield seen, log_old, log_ref, advantage, watched(seen)

    def mean(params: Params, batch: Any) -> Outcome:
        seen, log_old, log_ref, advantage, told = batch
        log_pi = unmasked(params, seen)
        moved = telemetry.of_step(getval(log_pi), log_old, seen.mask, CLIP)
        return Outcome(loss(log_pi, log_old, log_ref, advantage, seen.mask, CLIP, BETA), told | moved)

    return curves(mean, stack([start] * len(seeds)), collect, seeds, STEP_SIZES["GRPO"])


def unmasked(params: Params, seen: Rollout) -> Array:
    """Return log-probabilities of all tokens, those behind the end with them, (..., N, T)."""
    return log_prob_of(NETWORK.logits(params, seen.prompt, seen.response), seen.response)


def ppo(
    seeds: Seeds,
    loss: Function = policies.ppo_loss,
    rewards: Function = charges.token_rewards,
    gae: Function = returns.gae,
    value_loss: Function = returns.value_loss,
    whiten: Function = lambda advantage, mask: advantage,
) -> Numbers:
    """Return the curves of PPO with a critic: `PASSES` over the answers of each round, in minibatches."""
    task, start = pretrained()
    count = PROMPTS * ANSWERS

    def collect(params: Params, rng: Generator) -> Iterable[Any]:
        seen = rollout(task, NETWORK, params, count, rng)
        logits, values = CRITIC.judge(params, seen.prompt, seen.response)
        log_old, log_ref = log_prob_of(logits, seen.response), unmasked(start, seen)
        paid = rewards(seen.reward, log_old, log_ref, seen.mask, BETA)
        advantage = gae(paid, values, seen.mask, 1.0, LAMBDA)
        target = advantage + values * seen.mask
        batch = Batch(
            seen.prompt, seen.response, seen.mask, log_old, log_ref, values, whiten(advantage, seen.mask), target
        )
        told = watched(seen) | {"explained variance": actor_critic.explained_variance(values, target, seen.mask)}
        for _ in range(PASSES):
            order = rng.permutation(count)
            for first in range(0, count, MINIBATCH):
                yield batch.rows(order[first : first + MINIBATCH]), told

    def total(params: Params, given: Any) -> Outcome:
        batch, told = given
        logits, values = CRITIC.judge(params, batch.prompt, batch.response)
        log_pi = log_prob_of(logits, batch.response)
        policy = loss(log_pi, batch.log_old, batch.advantage, batch.mask, CLIP)
        log_old = getval(log_pi) if loss is policies.old_recomputed else batch.log_old  # what its logger would see
        moved = telemetry.of_step(getval(log_pi), log_old, batch.mask, CLIP)
        both = policy + VALUE_WEIGHT * value_loss(values, batch.returns, batch.mask)
        return Outcome(both, told | moved)

    return curves(total, stack([CRITIC.head(start)] * len(seeds)), collect, seeds, STEP_SIZES["PPO"])


whitened = partial(ppo, whiten=returns.whiten)

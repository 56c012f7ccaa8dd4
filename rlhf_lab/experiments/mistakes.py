"""Where does policy-gradient code with one wrong line go? Runs that go on four times as long as a page has time for.

Each row of `ROWS` is the task of the chapter and 256 answers a round, one step each, with one thing changed. The runs
share the step size of the code that is right, for the line is all that differs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.policy_gradients import CRITIC, NETWORK, pretrained
from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import actor_critic, policy_gradient, ppo, rollouts
from rlhf_lab.methods.policy_gradient import AnswerBatch
from rlhf_lab.methods.rollouts import Collect, Loss, Task
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params

ROUNDS, POINTS, STEP_SIZE = 240, 8, 0.01
PROMPTS, ANSWERS = 64, 4  # of each round
Estimator = Callable[[Array], Array]
Pair = tuple[Loss, Collect]


def rloo(task: Task, sign: float = 1.0) -> Pair:
    """RLOO, with advantages times `sign`."""
    return policy_gradient.reinforce(
        task, NETWORK, lambda f: sign * policy_gradient.rloo_advantages(f), prompts=PROMPTS, answers=ANSWERS
    )


def moving(task: Task) -> Pair:
    """RLOO with the policy of the moment as its reference, so that divergence is free."""

    def collect(params: Params, rng: Generator) -> Iterable[Any]:
        return rloo(replace(task, reference=(NETWORK, params)))[1](params, rng)

    return rloo(task)[0], collect


def with_kl(estimator: Estimator, task: Task, *, in_reward: bool = False, by_token: bool = False) -> Pair:
    """RLOO with the divergence by an estimator of it: of answers or of each token, as a loss or in the reward."""
    plain, collect = rloo(replace(task, beta=1e-9))  # the divergence enters by the estimator only
    model, reference = task.reference

    def loss(params: Params, batch: AnswerBatch) -> Array:
        texts = batch.prompt, batch.response
        log_pi, log_pi_0 = lm.token_log_prob(NETWORK, params, *texts), lm.token_log_prob(model, reference, *texts)
        if by_token:
            price = np.mean(np.sum(estimator(log_pi - log_pi_0), axis=-1), axis=-1)  # behind the end both are 0
        else:
            whole = np.sum(log_pi, axis=-1), np.sum(log_pi_0, axis=-1)
            price = policy_gradient.surrogate(estimator, *whole, in_reward=in_reward)
        return plain(params, batch).loss + task.beta * price

    return loss, collect


def altered(change: Callable[[Task, Any], Any], task: Task) -> Pair:
    """A2C that learns from batches which were changed."""
    loss, gather = ppo.a2c(task, CRITIC, prompts=PROMPTS * ANSWERS, value_weight=0.1)
    return loss, lambda params, rng: map(partial(change, task), gather(params, rng))


def late(task: Task, batch: Any) -> Any:
    """Return the batch with its advantages one token late."""
    advantage = batch.advantage
    return batch._replace(advantage=np.concatenate([0 * advantage[..., :1], advantage[..., :-1]], axis=-1))


def early(task: Task, batch: Any) -> Any:
    """Return the batch with the reward paid one token early: the token that ends an answer does not hear of it."""
    reward, nothing = task.mdp.reward(batch.prompt, batch.response), 0 * batch.mask
    right = actor_critic.kl_rewards(reward, nothing, nothing, batch.mask, 0.0)
    moved = np.concatenate([right[..., 1:], 0 * right[..., :1]], axis=-1)
    change = actor_critic.gae(moved - right, nothing, batch.mask)
    return batch._replace(advantage=batch.advantage + change, returns=batch.returns + change)


def normalised(task: Task, batch: Any) -> Any:
    """Return the batch with normalised advantages."""
    return batch._replace(advantage=actor_critic.normalise(batch.advantage, batch.mask))


ROWS: dict[str, Callable[[Task], Pair]] = {
    "RLOO": rloo,
    "wrong sign": partial(rloo, sign=-1.0),
    "moving reference": moving,
    "k1 as a loss": partial(with_kl, policy_gradient.k1),
    "k2 as a loss": partial(with_kl, policy_gradient.k2),
    "k2 of each token": partial(with_kl, policy_gradient.k2, by_token=True),
    "k3 as a loss": partial(with_kl, policy_gradient.k3),
    "k3 of each token": partial(with_kl, policy_gradient.k3, by_token=True),
    "k3 in the reward": partial(with_kl, policy_gradient.k3, in_reward=True),
    "A2C": partial(altered, lambda task, batch: batch),
    "A2C, normalised": partial(altered, normalised),
    "A2C, late advantages": partial(altered, late),
    "A2C, early reward": partial(altered, early),
}


def curve(name: str, seeds: Sequence[int], rounds: int = ROUNDS, points: int = POINTS) -> dict[str, Array]:
    """Return the distance to the optimum and the reward of a row of `ROWS`, (seeds, points), at equal intervals."""
    task, start = pretrained()
    loss, collect = ROWS[name](task)

    def look(log_pi: Array) -> Array:
        return np.array([task.gap(log_pi), task.mean(np.sum(np.exp(log_pi) * task.rewards, axis=-1))])

    _, history = optim.fit(
        loss,
        rollouts.stack([CRITIC.head(start) if "A2C" in name else start] * len(seeds)),
        collect,
        rounds=rounds,
        optimizer=optim.adam(STEP_SIZE),
        rng=np.random.default_rng(seeds),
        record=rollouts.every(rounds // points, lambda params: {"seen": task.each(NETWORK, params, look)}),
    )
    gap, reward = np.moveaxis([record["seen"] for record in history if "seen" in record], 0, -1).swapaxes(0, 1)
    return {"gap": gap, "reward": reward}


def study(seeds: Sequence[int]) -> Numbers:
    """Return the curves of all rows of `ROWS`."""
    return {name: curve(name, seeds) for name in ROWS}


SETTINGS = {
    "rounds": ROUNDS,
    "points": POINTS,
    "prompts": PROMPTS,
    "answers": ANSWERS,
    "step_size": STEP_SIZE,
    "rows": list(ROWS),
}
STUDY: Study = in_blocks(study, 10, SETTINGS)

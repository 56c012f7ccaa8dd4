"""GRPO and its children as a training loop; their losses stand in `group_losses`.

Beside the chapter "Verifiable rewards".

    k answers to a prompt    A advantage    beta KL weight    u_t = pi / pi_old of a token
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import autograd.numpy as np
from autograd.tracer import getval
from numpy.random import Generator

from rlhf_lab.methods import actor_critic
from rlhf_lab.methods.group_ends import expected_advantage
from rlhf_lab.methods.group_losses import Mean, Surrogate, clipped, sequence_mean
from rlhf_lab.methods.policy_gradient import Advantages, grpo_advantages, regularised_reward
from rlhf_lab.methods.rollouts import Collect, Loss, Rollout, Task, described, rollout
from rlhf_lab.models import lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import checks, repeats
from rlhf_lab.numerics.autodiff import Array, embedding, log_prob_of
from rlhf_lab.numerics.optim import Outcome, Params
from rlhf_lab.numerics.weighted import masked

PUBLISHED = clipped()
TOKENS = ("prompt", "response", "mask", "log_old", "log_pi_0")  # of a batch: what has rows of tokens


class GroupBatch(NamedTuple):
    """Answers and what GRPO knows of them: integers (..., N, P) and (..., N, T), tokens (..., N, T), answers (..., N).

    `told` holds the numbers (...) of the answers when they were written.
    """

    prompt: Array
    response: Array
    mask: Array
    log_old: Array
    log_pi_0: Array
    advantage: Array
    told: dict[str, Array]

    def rows(self, chosen: Array) -> "GroupBatch":
        """Return some of the N answers."""
        tokens = {name: np.take(getattr(self, name), chosen, axis=-2) for name in TOKENS}
        return self._replace(**tokens, advantage=np.take(self.advantage, chosen, axis=-1))


def grpo(
    task: Task,
    model: lm.LanguageModel,
    *,
    prompts: int,
    answers: int,
    advantages: Advantages = grpo_advantages,
    surrogate: Surrogate = PUBLISHED,
    mean: Mean = sequence_mean,
    price: Callable[[Array, Array], Array] | None = None,
    in_reward: bool = False,
    epochs: int = 1,
    minibatch: int | None = None,
    dynamic: int = 1,
) -> tuple[Loss, Collect]:
    """Return a loss and a `collect` for `optim.fit`: GRPO, or one of its children.

    Each round draws `prompts` prompts and `answers` answers to each, and goes through them `epochs` times, `minibatch`
    answers at a time (all at once, if None). `price(log-ratio to the reference, u)` is an estimate of the divergence of
    each token that is added to the loss with the weight beta of the task; `in_reward` pays it with the reward instead,
    before advantages are taken. Neither is no price. `dynamic` > 1 writes answers to as many times more prompts and
    keeps the first `prompts` groups that are not all right or all wrong (DAPO's dynamic sampling); if there are fewer,
    others fill the batch.

    The history of `fit` gets the diagnostics `approximate_kl` and `clip_fraction` (share of weights outside 1 +- 0.2),
    `entropy`, `length`, `reward`, `reward_deviation` (the mean of those of the groups) and `degenerate` (the share of
    groups in which all answers earn the same, before any are left out). Raises `ValueError` if a setting is not one
    that can be meant. A ratio that overflows stops `fit` with a `FloatingPointError`.
    """
    task.same_language("policy", model)
    prompts = checks.count("prompts", prompts, "a number of texts to draw")
    answers = checks.count("answers", answers, "a number of texts to draw")
    dynamic = checks.count("dynamic", dynamic, "how many times more prompts are drawn than kept")
    epochs = checks.count("epochs", epochs, "how often to go through the answers")
    whole = prompts * answers
    size = whole if minibatch is None else checks.count("minibatch", minibatch, "the number of answers in a batch")
    if price is not None and in_reward:
        raise ValueError("a price in the reward and one in the loss would charge the divergence twice: choose one")

    def collect(params: Params, rng: Generator) -> Iterable[GroupBatch]:
        seen = rollout(task, model, params, prompts * dynamic, rng, answers)
        batch = _judged(seen, advantages, answers, task.beta if in_reward else 0.0)
        if dynamic > 1:
            batch = _with_spread(batch, seen.reward, prompts, answers)
        for _ in range(epochs):
            order = rng.permutation(whole)
            for first in range(0, whole, size):
                yield batch.rows(order[first : first + size])

    def loss(params: Params, batch: GroupBatch) -> Outcome:
        prompt, response, place = repeats.once(batch.prompt, batch.response, model.vocab)
        log_pi = repeats.spread(log_prob_of(model.logits(params, prompt, response), response), place)
        log_pi = masked(log_pi, batch.mask)
        each = surrogate(log_pi, batch.log_old, batch.advantage, batch.mask)
        if price is not None:
            u = np.exp(log_pi - batch.log_old)
            each = each + task.beta * price(log_pi - batch.log_pi_0, u)
        now = getval(log_pi)
        moved = {
            "approximate_kl": actor_critic.approximate_kl(now, batch.log_old, batch.mask),
            "clip_fraction": actor_critic.clip_fraction(now, batch.log_old, batch.mask, 0.2),
        }
        return Outcome(mean(each, batch.mask), batch.told | moved)

    return loss, collect


def _judged(seen: Rollout, advantages: Advantages, answers: int, beta: float) -> GroupBatch:
    earned = regularised_reward(seen.reward, seen.log_pi.sum(-1), seen.log_pi_0.sum(-1), beta)
    groups = np.reshape(earned, (*earned.shape[:-1], -1, answers))
    plain = np.reshape(seen.reward, groups.shape)
    told = described(seen.log_pi.sum(-1), seen.mask) | {
        "reward": np.mean(seen.reward, axis=-1),
        "reward_deviation": np.mean(np.std(plain, axis=-1), axis=-1),
        "degenerate": np.mean(np.ptp(plain, axis=-1) == 0, axis=-1),
    }
    advantage = np.reshape(advantages(groups), earned.shape)
    return GroupBatch(seen.prompt, seen.response, seen.mask, seen.log_pi, seen.log_pi_0, advantage, told)


def _with_spread(batch: GroupBatch, reward: Array, prompts: int, answers: int) -> GroupBatch:
    """The first groups whose answers do not all earn the same; where they are too few, others behind them."""
    groups = np.reshape(reward, (*reward.shape[:-1], -1, answers))
    order = np.argsort(np.ptp(groups, axis=-1) == 0, axis=-1, kind="stable")[..., :prompts]
    chosen = np.reshape(order[..., None] * answers + np.arange(answers), (*order.shape[:-1], -1))
    tokens = {name: np.take_along_axis(getattr(batch, name), chosen[..., None], axis=-2) for name in TOKENS}
    return batch._replace(**tokens, advantage=np.take_along_axis(batch.advantage, chosen, axis=-1))


def expected_loss(
    task: Task,
    model: lm.LanguageModel,
    old: Params,
    *,
    answers: int,
    advantages: Advantages = grpo_advantages,
    surrogate: Surrogate = PUBLISHED,
    mean: Mean = sequence_mean,
) -> Callable[[Params], Array]:
    """Return the mean of GRPO's loss over all groups that the policy `old` can write, a function of the parameters.

    Exact, for rewards that are 0 or 1: over groups, the advantage of an answer depends on whether it is right and on
    the chance of the others (eq-expected-advantage), and the loss of an answer is in proportion to its advantage. Its
    gradient is the mean of the estimate that `grpo` makes of it. `mean` must treat answers one by one, as
    `sequence_mean` and `by_constant` do. Raises `ValueError` for other rewards and another mean.
    """
    mdp = task.mdp
    right = task.rewards
    if not np.isin(right, (0.0, 1.0)).all():
        raise ValueError("the rewards must be 0 or 1: a verifier says right or wrong")
    _check_one_by_one(mean)
    log_old = task.log_pi(model, old)
    chance = np.sum(np.exp(log_old) * right, axis=-1)
    up, down = expected_advantage(advantages, chance, answers)
    advantage = np.where(right == 1, up[:, None], down[:, None])
    share = mdp.start[:, None] * np.exp(log_old) * right.size
    response = np.tile(mdp.answers(), (len(mdp.prompts), 1))
    mask = lm.response_mask(response, mdp.eos)
    table = Tabular(mdp.vocab, mdp.horizon, tuple(map(tuple, mdp.prompts.tolist())), mdp.eos)
    states = table.places(np.repeat(mdp.prompts, right.shape[1], axis=0), response)
    where = states * mdp.vocab + response

    def tokens(params: Params) -> Array:  # each state once, however many answers pass it
        levels = lm.policy_levels(model, params, mdp.prompts, mdp.horizon)
        found = embedding(np.reshape(np.concatenate(levels, axis=-2), (-1, 1)), where)
        return np.reshape(found, where.shape) * mask

    before = tokens(old)

    def loss(params: Params) -> Array:
        return mean(surrogate(tokens(params), before, np.ravel(share * advantage), mask), mask)

    return loss


def _check_one_by_one(mean: Mean) -> None:
    each, mask = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 0.0]])
    alone = [mean(each[i : i + 1], mask[i : i + 1]) for i in (0, 1)]
    if not np.isclose(mean(each, mask), np.mean(alone)):
        raise ValueError(
            "the mean must treat answers one by one, as sequence_mean and by_constant(L) do: in a mean over all tokens "
            "of a batch, what an answer counts depends on the lengths of the others"
        )

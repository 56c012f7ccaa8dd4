"""Soft values: how an optimiser that knows the price of leaving its prior uses that text is deterministic.

Beside the chapter "Soft values"; functions stand in the order of its equations.

    p prior    c price of a nat, above 0    gamma discount    r reward    s' the state after s and a    pi policy

Psi, G and Q are in units of the price: multiply them by c for units of reward. Levels are those of `worlds.token_mdp`,
shape (..., K, W^t, V); an answer that has ended has the value 0. `Values` hold v, the soft value of each state, and q.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.methods.rollouts import Collect, Loss, Task
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_prob_of, log_softmax
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import expectation, masked
from rlhf_lab.worlds.token_mdp import Levels, Values, sweep

Draw = Callable[[Params, Generator], tuple[Array, Array, Array]]


def soft_maximum(values: Array) -> Array:
    """log sum_a exp(v_a) over the last axis, at most log V above the maximum (eq-soft-maximum)."""
    top = np.max(values, axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.sum(np.exp(values - top), axis=-1))


def psi_values(prior: Levels, rewards: Levels, price: float, discount: float = 1.0, eos: int | None = None) -> Values:
    """Psi(s, a) = log p(a | s) + r / c + gamma log sum_a' exp Psi(s', a'), and the soft values (eq-psi).

    The policy is log pi(a | s) = Psi(s, a) - V(s), the `advantage`. CS188, generalised Psi-learning.
    """
    checks.positive("price", price)
    paid = [p + r / price for p, r in zip(prior, rewards, strict=True)]
    return sweep(paid, discount, eos, lambda t, q: soft_maximum(q))


def g_values(prior: Levels, rewards: Levels, price: float, discount: float = 1.0, eos: int | None = None) -> Values:
    """G(s, a) = r / c + gamma log sum_a' p(a' | s') exp G(s', a'): Psi without log p (eq-g).

    The policy is log pi(a | s) = log p(a | s) + G(s, a) - V(s). CS188, G-learning.
    """
    checks.positive("price", price)
    return sweep([r / price for r in rewards], discount, eos, lambda t, q: soft_maximum(prior[t] + q))


def token_kl(policy: Levels, other: Levels, eos: int | None = None) -> Array:
    """KL(pi || q) of answers as the sum of E_pi KL(pi(. | s) || q(. | s)) over states, nats, (..., K) (eq-token-kl)."""
    each = [lm.kl(a, b) for a, b in zip(policy, other, strict=True)]
    nothing = [np.zeros(level.shape) for level in policy]
    return sweep(nothing, 1.0, eos, lambda t, q: each[t] + expectation(policy[t], q)).v[0][..., 0]


def prior_q_values(
    prior: Levels, rewards: Levels, price: float, discount: float = 1.0, eos: int | None = None
) -> Values:
    """Q(s, a) = log p(a | s) + r / c + gamma max_a' Q(s', a'): Q-learning with a log prior (eq-prior-q).

    Its policy takes the largest Q. CS188, Q-learning augmented with log prior.
    """
    checks.positive("price", price)
    paid = [p + r / price for p, r in zip(prior, rewards, strict=True)]
    return sweep(paid, discount, eos, lambda t, q: np.max(q, axis=-1))


def greedy(levels: Levels, eos: int | None = None) -> Array:
    """Read the likeliest token, or that of the largest value, in each state from the root: (..., K, H), padded.

    Of tokens that are level, the first is taken.
    """
    place = np.zeros(levels[0].shape[:-2], dtype=int)
    taken: list[Array] = []
    alive = np.ones(place.shape, dtype=bool)
    for level in levels:
        token = np.argmax(np.take_along_axis(level, place[..., None, None], axis=-2)[..., 0, :], axis=-1)
        token = token if eos is None else np.where(alive, token, eos)
        taken.append(token)
        words = level.shape[-1] if eos is None else level.shape[-1] - 1
        alive = alive & (token != eos)
        place = np.where(alive, place * words + token, 0)
    return np.stack(taken, axis=-1)


class Backup(NamedTuple):
    """What a state is worth, (..., N, T), given its values and log p (..., N, T, V); and whether log p is earned."""

    value: Callable[[Array, Array], Array]
    prior: bool


PSI = Backup(lambda q, log_p: soft_maximum(q), True)
G = Backup(lambda q, log_p: soft_maximum(log_p + q), False)
PRIOR_Q = Backup(lambda q, log_p: np.max(q, axis=-1), True)


def td_targets(
    backup: Backup,
    values: Array,
    log_p: Array,
    response: Array,
    reward: Array,
    price: float,
    discount: float = 1.0,
    eos: int | None = None,
) -> Array:
    """What Psi, G or Q of each token should be, given the values (..., N, T, V) of all states: (..., N, T) (eq-td).

    [log p(y_t)] + r_t / c + gamma V(s_(t+1)). The reward (..., N) is paid with the last token of each response, and
    nothing comes after it: neither after `eos` nor after the horizon.
    """
    checks.positive("price", price)
    mask = lm.response_mask(response, eos)
    values, log_p = (masked(each, mask[..., None]) for each in (values, log_p))
    after = np.concatenate([mask[..., 1:], np.zeros((*mask.shape[:-1], 1))], axis=-1)
    following = backup.value(values, log_p)
    following = np.concatenate([following[..., 1:], np.zeros((*following.shape[:-1], 1))], axis=-1)
    earned = log_prob_of(log_p, np.asarray(response)) if backup.prior else 0.0
    return mask * (earned + (mask - after) * np.asarray(reward)[..., None] / price + discount * after * following)


def td(task: Task, model: lm.LanguageModel, backup: Backup, draw: Draw) -> tuple[Loss, Collect]:
    """Return `loss` and `collect` for `optim.fit`: temporal differences for a model whose logits are Psi, G or Q.

    `draw(params, rng)` returns prompts (..., N, P), responses (..., N, T) and rewards (..., N), of whatever policy.
    Targets are those of the parameters at the start of the round. The loss is the mean squared error of a token.
    """
    task.same_language("value model", model)

    def collect(params: Params, rng: Generator) -> Iterable[tuple[Array, Array, Array]]:
        prompt, response, reward = draw(params, rng)
        log_p = log_softmax(task.reference[0].logits(task.reference[1], prompt, response))
        values = model.logits(params, prompt, response)
        rules = task.beta, task.mdp.discount, task.mdp.eos
        yield prompt, response, td_targets(backup, values, log_p, response, reward, *rules)

    def loss(params: Params, batch: tuple[Array, Array, Array]) -> Array:
        prompt, response, target = batch
        mask = lm.response_mask(response, task.mdp.eos)
        logits = model.logits(params, prompt, response)
        found = np.sum(logits * (np.arange(task.mdp.vocab) == response[..., None]), axis=-1)
        return np.sum(masked(found - target, mask) ** 2, axis=(-1, -2)) / np.sum(mask, axis=(-1, -2))

    return loss, collect


def misplaced_price(
    prior: Levels, rewards: Levels, price: float, discount: float = 1.0, eos: int | None = None
) -> Values:
    """The fixed point of r + gamma log sum exp Q(s') + c (log p - log softmax Q): the price on the wrong term.

    V(s) = (1 + c) log sum_a p^(c / (1 + c)) exp((r + gamma V(s')) / (1 + c)); the policy is Q less V (eq-misplaced).
    """
    checks.positive("price", price)
    share = price / (1 + price)

    def backup(t: int, q: Array) -> Array:
        return (1 + price) * soft_maximum(share * prior[t] + q / (1 + price))

    found = sweep(rewards, discount, eos, backup)
    policy = [share * p + (q - v[..., None]) / (1 + price) for p, q, v in zip(prior, found.q, found.v, strict=True)]
    return Values(found.v, [pi + v[..., None] for pi, v in zip(policy, found.v, strict=True)], policy)


def misplaced_target(
    values: Levels, prior: Levels, rewards: Levels, price: float, discount: float = 1.0, eos: int | None = None
) -> Levels:
    """r + gamma log sum exp Q(s') + c (log p - log softmax Q), for every state at once: one update of that rule."""
    checks.positive("price", price)
    paid = [r + price * (p - log_softmax(q)) for r, p, q in zip(rewards, prior, values, strict=True)]
    return sweep(paid, discount, eos, lambda t, q: soft_maximum(values[t])).q


def other_direction(log_p: Array, rewards: Array, price: float) -> Array:
    """log pi of pi = c p / (lambda - R): best for E_pi[R] - c KL(p || pi), the divergence the other way round.

    `log_p` and `rewards` (..., A) of answers; lambda, above the largest R, makes the sum 1 (eq-other-direction).
    """
    checks.positive("price", price)
    checks.answer_rewards(rewards, log_p.shape)
    p = np.exp(log_p)
    rewards = np.where(p > 0, rewards, -np.inf)  # what the prior never writes is of no use
    low = np.max(rewards + price * p, axis=-1, keepdims=True)
    high = np.max(rewards, axis=-1, keepdims=True) + price
    for _ in range(60):
        middle = (low + high) / 2
        above = np.sum(price * p / (middle - rewards), axis=-1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.log(price) + log_p - np.log(high - rewards)


def soft_evaluation(
    policy: Levels, prior: Levels, rewards: Levels, price: float, discount: float = 1.0, eos: int | None = None
) -> Values:
    """Q(s, a) = r + gamma V(s'), V(s) = E_pi[Q(s, a)] - c KL(pi(. | s) || p(. | s)), units of reward (eq-soft-q).

    The prices that are still to be paid are in it. Step by step, the policy p exp(Q / c), normalised, is better.
    """
    checks.positive("price", price)
    left = [price * lm.kl(a, b) for a, b in zip(policy, prior, strict=True)]
    return sweep(rewards, discount, eos, lambda t, q: expectation(policy[t], q) - left[t])

"""Learning from a log of answers, without writing a single new one.

Beside the chapter "Soft values"; functions stand in the order of its equations.

    n(s, a) how often the log takes a in s    mu behaviour policy, n(s, a) / n(s)    r reward    c price

A log becomes counts on the tree of prefixes: levels (K, W^t, V), as in `worlds.token_mdp`. Where the log never was, it
knows nothing; each method has another idea of what to believe there.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import wrightomega

from rlhf_lab.methods.soft_values import soft_maximum
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds.token_mdp import Levels, Values, sweep

STEPS = 25  # of Newton's method, which doubles the number of right digits in each at the end


class Log(NamedTuple):
    """What is known of a log, levels (K, W^t, V): how often each token was taken, and the mean reward paid for it."""

    counts: Levels
    rewards: Levels


def read(row: Array, response: Array, reward: Array, prompts: int, vocab: int, eos: int | None = None) -> Log:
    """Count a log: the number of each prompt (N,), the answers (N, H) and their rewards (N,).

    Raises `ValueError` if a prompt has no answer, if a token is outside the vocabulary, or if there is not one prompt
    and one finite reward for each answer.
    """
    checks.sizes(vocab, eos)
    response = checks.tokens("response", response, vocab)
    row, reward = _for_each(response, row, reward)
    row = checks.actions("row", row, prompts)
    missing = np.setdiff1d(np.arange(prompts), row)
    if len(missing):
        raise ValueError(f"the log has no answer to prompt {missing[0]} of {prompts}: leave that prompt out")
    words, mask = vocab if eos is None else vocab - 1, lm.response_mask(response, eos)
    after = np.concatenate([mask[:, 1:], np.zeros((len(mask), 1))], axis=1)
    place, counts, rewards = np.zeros(len(row), dtype=int), [], []
    for t in range(response.shape[1]):
        size = prompts * words**t * vocab
        index = (row * words**t + place) * vocab + response[:, t]
        number = checks.tally(index, mask[:, t], size)
        paid = checks.tally(index, (mask - after)[:, t] * reward, size)
        counts.append(number.reshape(prompts, -1, vocab))
        rewards.append((paid / np.maximum(number, 1)).reshape(prompts, -1, vocab))
        place = np.where(mask[:, t] > 0, place * words + np.minimum(response[:, t], words - 1), 0)
    return Log(counts, rewards)


def behaviour(counts: Levels) -> Levels:
    """log mu(a | s) = log n(s, a) - log n(s), -inf for what the log never did (eq-behaviour).

    In states where the log never was, mu is uniform: it does not come there.
    """
    with np.errstate(divide="ignore"):
        return [np.log(np.where(np.any(n, -1, keepdims=True), n, 1)) - np.log(_total(n)) for n in counts]


def coverage_bound(log: Log, log_optimum: Array, eos: int | None = None) -> Array:
    """- log pi*(seen | x), (K,): no policy that writes only answers of the log is nearer to pi*, nats (eq-coverage).

    `log_optimum` (K, A) of all answers. What pi* becomes if it is restricted to the log is as near.
    """
    seen = np.isfinite(lm.answers_of_levels(behaviour(log.counts), eos))
    return -np.log(np.sum(np.exp(log_optimum), axis=-1, where=seen))


def batch_q(log: Log, unseen: Levels, discount: float = 1.0, eos: int | None = None) -> Values:
    """Q(s, a) = r + gamma max_a' Q(s', a') where the log has been, `unseen` elsewhere (eq-batch-q).

    `unseen` (K, W^t, V) is what the learner happens to say of pairs that it has no data for. The maximum finds it.
    Raises `ValueError` if its levels have other shapes than those of the log.
    """
    wanted, given = ([np.shape(level) for level in levels] for levels in (log.counts, unseen))
    if given != wanted:
        raise ValueError(f"unseen needs a guess for each pair of the log, levels {wanted}; got {given}")
    return _told(log, discount, eos, lambda t, q: np.where(log.counts[t] > 0, q, unseen[t]), _best)


def lower_bound(log: Log, unseen: list[Levels], discount: float = 1.0, eos: int | None = None) -> Values:
    """Batch Q with the least of several guesses at what was never seen (eq-lower-bound)."""
    return batch_q(log, [np.min(np.stack(level), axis=0) for level in zip(*unseen, strict=True)], discount, eos)


def filtered_q(log: Log, share: float, discount: float = 1.0, eos: int | None = None) -> Values:
    """Q with the maximum over tokens that are at least `share` times as frequent as the most frequent (eq-filtered-q).

    A share near 0 keeps all that was seen; 1 keeps the most frequent tokens. Others have Q = -inf. It is BCQ for
    discrete actions. Raises `ValueError` if the share is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share compares a token with the most frequent one and lies in (0, 1]; got {share}")
    kept = [(n > 0) & (n >= share * np.max(n, axis=-1, keepdims=True)) for n in log.counts]
    return _told(log, discount, eos, lambda t, q: np.where(kept[t], q, -np.inf), _best)


def implicit_q(log: Log, expectile: float, discount: float = 1.0, eos: int | None = None) -> Values:
    """Q(s, a) = r + gamma V(s'), V(s) the expectile of Q(s, a) over a ~ mu: it asks for no token that was not seen.

    At 1/2 the expectile is the mean, and Q is that of mu; towards 1 it goes to the best token in the log
    (eq-implicit-q). The policy is mu exp(w (Q - V)), normalised. Raises `ValueError` if it is outside (0, 1).
    """
    return _told(
        log,
        discount,
        eos,
        lambda t, q: np.where(log.counts[t] > 0, q, -np.inf),
        lambda t, q: expectiles(q, log.counts[t], expectile),
    )


def expectiles(values: Array, weights: Array, expectile: float) -> Array:
    """The v with sum_a w_a |tau - 1{q_a < v}| (q_a - v) = 0, over the last axis; -inf where all weights are 0.

    Raises `ValueError` if tau is outside (0, 1).
    """
    if not 0 < expectile < 1:
        raise ValueError(f"an expectile lies in (0, 1), and 1/2 is the mean; got {expectile}")
    seen = weights > 0
    values, v = np.where(seen, values, 0.0), np.zeros(values.shape[:-1])
    share = np.ones(values.shape)
    for _ in range(values.shape[-1] + 1):  # Newton's steps on a function of so many pieces
        weight = weights * share
        v = np.sum(weight * values, axis=-1) / np.where(seen.any(-1), np.sum(weight, axis=-1), 1.0)
        share = np.where(values < v[..., None], 1 - expectile, expectile)
    return np.where(seen.any(-1), v, -np.inf)


def implicit_policy(log: Log, values: Values, weight: float) -> Levels:
    """log pi(a | s) = log mu + w (Q - V) - log Z(s), -inf for what was never seen (eq-implicit-policy).

    For answers of one token and w = 1 / c it is the Gibbs policy of price c with the log as prior. Snell et al. 2023.
    """
    checks.positive("weight", weight)
    leaning = [m + weight * a for m, a in zip(behaviour(log.counts), values.advantage, strict=True)]
    return [level - _soft(level) for level in leaning]


def conservative_q(log: Log, alpha: float, discount: float = 1.0, eos: int | None = None) -> Values:
    """Q(s, a) = y - alpha (softmax Q(s)_a / mu(a | s) - 1), y = r + gamma max_a' Q(s', a'): CQL (eq-cql).

    It is where alpha (log sum_a exp Q - E_mu Q) + E_mu (Q - y)^2 / 2 is least in each state, over the tokens that were
    seen. For others there is no least value: Q falls without end, and is -inf here.
    """
    checks.positive("alpha", alpha)

    def shape(t: int, y: Array) -> Array:
        known = log.counts[t].any(-1)
        q = np.full(y.shape, -np.inf)
        q[known] = _conservative(y[known], log.counts[t][known], alpha)
        return q

    return _told(log, discount, eos, shape, _best)


def _conservative(y: Array, counts: Array, alpha: float) -> Array:
    """Solve for Q (N, V): given log sum_a exp Q, the excess alpha pi / mu of each token is a Wright omega function.

    Newton's steps, for the pi to sum to 1, start at E_mu Q, which is below, and never pass a convex function's zero.
    """
    seen = counts > 0
    mu = counts / _total(counts)
    steady = np.where(seen, y + alpha + np.log(alpha / np.where(seen, mu, 1.0)), 0.0)
    log_z, excess = np.sum(mu * y, axis=-1, keepdims=True), y
    for _ in range(STEPS):
        excess = wrightomega(steady - log_z)
        over = np.sum(mu * excess, axis=-1, keepdims=True) - alpha
        log_z = log_z + over / np.sum(mu * excess / (1 + excess), axis=-1, keepdims=True)
    return np.where(seen, y + alpha - excess, -np.inf)


def filtered_clone(
    row: Array, response: Array, reward: Array, threshold: float, prompts: int, vocab: int, eos: int | None = None
) -> Levels:
    """log pi(y | x) of a clone of the answers that earned at least a threshold (eq-filtered-clone).

    It is proportional to mu(y | x) P(R >= threshold | x, y), so luck beats a high mean. Arguments as for `read`. Raises
    `ValueError` if no answer to some prompt passes.
    """
    response = checks.tokens("response", response, vocab)
    row, reward = _for_each(response, row, reward)
    kept = reward >= threshold
    missing = np.setdiff1d(np.arange(prompts), row[kept])
    if len(missing):
        raise ValueError(
            f"no answer to prompt {missing[0]} of {prompts} earned {threshold} or more: lower the threshold"
        )
    return behaviour(read(row[kept], response[kept], reward[kept], prompts, vocab, eos).counts)


def _for_each(response: Array, row: Array, reward: Array) -> tuple[Array, Array]:
    row, reward = np.asarray(row), np.asarray(reward, dtype=float)
    checks.answer_rewards(reward, (len(response),))
    if row.shape != reward.shape:
        raise ValueError(f"there must be one prompt for each of the {len(response)} answers; got shape {row.shape}")
    return row, reward


def _total(counts: Array) -> Array:
    total = np.sum(counts, axis=-1, keepdims=True)
    return np.where(total > 0, total, counts.shape[-1])


def _best(t: int, q: Array) -> Array:
    return np.max(q, axis=-1)


def _soft(values: Array) -> Array:
    found = np.where(np.isfinite(values).any(-1, keepdims=True), values, 0.0)
    return soft_maximum(found)[..., None]


def _told(
    log: Log,
    discount: float,
    eos: int | None,
    shape: Callable[[int, Array], Array],
    backup: Callable[[int, Array], Array],
) -> Values:
    """Sweep over the rewards of the log, with Q(s, a) = shape(t, r + gamma V(s')) in place of what the sweep finds."""
    q: Levels = []
    v: Levels = []

    def at(t: int, found: Array) -> Array:
        q.insert(0, shape(t, found))
        v.insert(0, backup(t, q[0]))
        return np.where(v[0] > -np.inf, v[0], 0.0)  # what leads to such a state was never seen either

    sweep(log.rewards, discount, eos, at)
    known = [np.where(b > -np.inf, b, 0.0)[..., None] for b in v]
    return Values(v, q, [a - b for a, b in zip(q, known, strict=True)])

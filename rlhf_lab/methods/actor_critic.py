"""The equations of actor-critic methods for text, token by token: GAE, and the losses of A2C and PPO.

Beside the chapters "RLHF with policy gradients" and "PPO, and how to watch it"; functions stand in the order of
their equations.

    r_t reward of a token    V(s_t) value    delta_t TD error    gamma discount    lambda trace    A_t advantage
    pi_old the policy that wrote the answers    u_t = pi / pi_old    epsilon clip range    beta KL weight

Everything is an array over tokens (..., N, T) with a mask, 0 or False behind the end of an answer, where it does not
matter what stands; `...` are seeds. Losses are sums over the tokens of an answer and means over answers, so that their
gradients are those of J_beta.
"""

import autograd.numpy as np

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.weighted import kept, standardised


def kl_rewards(reward: Array, log_pi: Array, log_pi_0: Array, mask: Array, beta: Array) -> Array:
    """r_t = - beta log pi(y_t | s_t) / pi_0(y_t | s_t), plus R(x, y) with the last token (eq-kl-reward).

    `reward` (..., N), log-probabilities of tokens and `mask` (..., N, T), `beta` a number or one for each seed (...).
    The sum over t is the regularised reward of the answer. Ziegler et al. 2019.
    """
    mask, log_pi, log_pi_0 = kept(mask, log_pi, log_pi_0)
    paid = _last(mask) * np.asarray(reward)[..., None]
    return paid - np.asarray(beta)[..., None, None] * (log_pi - log_pi_0) * mask


def _last(mask: Array) -> Array:
    return np.greater(mask, np.concatenate([mask[..., 1:], np.zeros_like(mask[..., :1])], axis=-1))


def td_errors(rewards: Array, values: Array, mask: Array, gamma: float = 1.0, behind: Array | None = None) -> Array:
    """delta_t = r_t + gamma V(s_(t+1)) - V(s_t), with no value behind the last token (eq-td-error).

    An answer that was cut off, and did not end, goes on with `behind` (..., N), V of the state after its last token; it
    is 0 for answers that ended. Sutton and Barto 2018.
    """
    mask, rewards, values = kept(mask, rewards, values)
    following = np.concatenate([values[..., 1:] * mask[..., 1:], np.zeros_like(values[..., :1])], axis=-1)
    if behind is not None:
        following = following + _last(mask) * np.asarray(behind)[..., None]
    return (rewards + checks.share("gamma", gamma) * following - values) * mask


def gae(
    rewards: Array,
    values: Array,
    mask: Array,
    gamma: float = 1.0,
    lam: float = 0.95,
    behind: Array | None = None,
) -> Array:
    """A_t = sum_k (gamma lambda)^k delta_(t+k), by one sweep from the end (eq-gae). Schulman et al. 2016.

    lambda = 1 is the return minus the value, lambda = 0 the TD error. `behind` as in `td_errors`.
    """
    errors = td_errors(rewards, values, mask, gamma, behind)
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
    mask, log_pi, advantage = kept(mask, log_pi, advantage)
    return -np.mean(np.sum(advantage * log_pi * mask, axis=-1), axis=-1)


def value_loss(values: Array, returns: Array, mask: Array) -> Array:
    """(1/N) sum_i sum_t (V(s_t) - G_t)^2 / 2, (..., N, T) to (...) (eq-value-loss).

    The loss of an actor-critic is that of the policy plus c_V times this one (eq-weighted-loss).
    """
    mask, values, returns = kept(mask, values, returns)
    return np.mean(np.sum((values - returns) ** 2 * mask, axis=-1), axis=-1) / 2


def clipped_value_loss(values: Array, old: Array, returns: Array, mask: Array, clip_range: float) -> Array:
    """The larger of the errors of V and of V held within epsilon of its old value (eq-value-clip).

    `clip_range` epsilon is in units of reward here, and any number above 0.
    """
    mask, values, old, returns = kept(mask, values, old, returns)
    near = old + np.clip(values - old, -clip_range, clip_range)
    worse = np.maximum((values - returns) ** 2, (near - returns) ** 2)
    return np.mean(np.sum(worse * mask, axis=-1), axis=-1) / 2


def ppo_loss(log_pi: Array, log_old: Array, advantage: Array, mask: Array, clip_range: float) -> Array:
    """- (1/N) sum_i sum_t min(u_t A_t, clip(u_t, 1 - epsilon, 1 + epsilon) A_t), (..., N, T) to (...) (eq-ppo).

    Schulman et al. 2017; RLHF Deciphered, eq. 16. Raises `ValueError` unless epsilon is in (0, 1).
    """
    check_clip_range(clip_range)
    mask, log_pi, log_old, advantage = kept(mask, log_pi, log_old, advantage)
    ratio, advantage = np.exp((log_pi - log_old) * mask), advantage * mask
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    return -np.mean(np.sum(np.minimum(ratio * advantage, held * advantage), axis=-1), axis=-1)


def check_clip_range(clip_range: float) -> None:
    """Raise unless epsilon is in (0, 1)."""
    if not 0 < clip_range < 1:
        raise ValueError(f"clip_range is epsilon, in (0, 1); got {clip_range}")


def clip_fraction(log_pi: Array, log_old: Array, mask: Array, clip_range: float) -> Array:
    """Share of tokens whose ratio u_t lies outside 1 +- epsilon, (..., N, T) to (...): a diagnostic of PPO."""
    mask, log_pi, log_old = kept(mask, log_pi, log_old)
    outside = np.abs(np.expm1((log_pi - log_old) * mask)) > clip_range
    return np.sum(outside, axis=(-1, -2)) / np.sum(mask, axis=(-1, -2))


def approximate_kl(log_pi: Array, log_old: Array, mask: Array) -> Array:
    """Mean over tokens of u_t - 1 - log u_t, (..., N, T) to (...): an estimate of KL(pi_old || pi), nats per token.

    Never negative, and unbiased for tokens drawn from pi_old. Schulman 2020.
    """
    mask, log_pi, log_old = kept(mask, log_pi, log_old)
    log_ratio = (log_pi - log_old) * mask
    return np.sum(np.expm1(log_ratio) - log_ratio, axis=(-1, -2)) / np.sum(mask, axis=(-1, -2))


def explained_variance(values: Array, returns: Array, mask: Array) -> Array:
    """1 - Var(G_t - V(s_t)) / Var(G_t) over the tokens of a batch, (..., N, T) to (...): a diagnostic of the critic.

    1 is a perfect critic, 0 one that knows no more than the mean, and below 0 it is worse than that. If the returns do
    not vary, there is nothing to explain, and it is 0.
    """
    mask, values, returns = kept(mask, values, returns)
    count = np.sum(mask, axis=(-1, -2), keepdims=True)

    def variance(x: Array) -> Array:
        centred = x - np.sum(x * mask, axis=(-1, -2), keepdims=True) / count
        return np.sum(centred**2 * mask, axis=(-1, -2))

    total = variance(returns)
    return np.where(total > 0, 1 - variance(returns - values) / np.where(total > 0, total, 1.0), 0.0)


def adapt_beta(beta: Array, kl: Array, *, target: float, rate: float = 0.1) -> Array:
    """beta <- beta (1 + alpha clip(KL / target - 1, -0.2, 0.2)), alpha is `rate` (eq-adaptive-beta).

    Dearer if the policy strays farther than `target` nats, cheaper if less. Ziegler et al. 2019, section 2.2. Raises
    `ValueError` unless `target` is above 0 and `rate` in (0, 5): from 5 on, a price could fall to 0 and below.
    """
    if not 0 < rate < 5:
        raise ValueError(f"rate must lie in (0, 5), so that the price stays above 0; got {rate}")
    return beta * (1 + rate * np.clip(kl / checks.positive("target", target) - 1, -0.2, 0.2))


def normalise(advantage: Array, mask: Array, eps: float = 1e-8) -> Array:
    """(A - mean) / (standard deviation + eps), over the tokens of a batch: (..., N, T); 0 if all are equal."""
    mask, advantage = kept(mask, advantage)
    count = np.sum(mask, axis=(-1, -2), keepdims=True)
    mean = np.sum(advantage * mask, axis=(-1, -2), keepdims=True) / count
    deviation = np.sqrt(np.sum(((advantage - mean) * mask) ** 2, axis=(-1, -2), keepdims=True) / count)
    return standardised(advantage, mean, deviation, eps) * mask

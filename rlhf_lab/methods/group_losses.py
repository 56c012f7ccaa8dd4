"""The losses of GRPO and its children, token by token: ratios, clips, prices, and means over tokens.

Beside the chapters "Verifiable rewards" and "Answers that are no longer fresh"; functions stand in the order of their
equations.

    pi policy    pi_old the policy that wrote the answers    pi_0 reference    u_t = pi / pi_old of a token
    w what a token is weighted with    A advantage of an answer    epsilon clip range    |y| tokens of an answer

Everything is an array over tokens (..., N, T) with a mask, 0 behind the end of an answer; advantages are (..., N);
`...` are seeds. A loss is a surrogate of each token, made with a weight, and a mean over tokens; each is a function.
"""

from collections.abc import Callable

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.methods import actor_critic
from rlhf_lab.methods.policy_gradient import group_size
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.weighted import kept, masked

Weight = Callable[[Array, Array], Array]  # log-ratios of the tokens and their mask, to weights of the tokens
Surrogate = Callable[[Array, Array, Array, Array], Array]  # log_pi, log_old, advantage, mask, to a loss of each token
Mean = Callable[[Array, Array], Array]  # a loss of each token and the mask, to one number


def mean_advantages(f: Array) -> Array:
    """A_i = f_i - mean of the group, own answer included, (..., G, k): Dr. GRPO (eq-mean-advantages).

    Raises `ValueError` for groups of one.
    """
    group_size(f)
    return f - np.mean(f, axis=-1, keepdims=True)


def sequence_mean(each: Array, mask: Array) -> Array:
    """(1/N) sum_i (1/|y_i|) sum_t, the mean over the means of the answers: GRPO as published (eq-sequence-mean)."""
    mask, each = kept(mask, each)
    return np.mean(np.sum(each * mask, axis=-1) / np.sum(mask, axis=-1), axis=-1)


def token_mean(each: Array, mask: Array) -> Array:
    """Sum over all tokens, by their number: every token of the batch weighs the same, as in DAPO (eq-token-mean)."""
    mask, each = kept(mask, each)
    return np.sum(each * mask, axis=(-1, -2)) / np.sum(mask, axis=(-1, -2))


def by_constant(length: float) -> Mean:
    """Return (1 / (N L)) sum_i sum_t with a constant L, as in Dr. GRPO (eq-constant-mean). Liu et al. 2025."""
    checks.positive("length", length)

    def mean(each: Array, mask: Array) -> Array:
        mask, each = kept(mask, each)
        return np.mean(np.sum(each * mask, axis=-1), axis=-1) / length

    return mean


def k3_with_ratio(log_ratio: Array, u: Array) -> Array:
    """u_t k_3(l_t), u_t = pi / pi_old: on fresh answers its gradient is that of KL(pi || pi_0) of each next token
    (eq-k3-ratio).
    """
    return u * (np.expm1(-log_ratio) + log_ratio)


def weighted_tokens(weight: Weight) -> Surrogate:
    """Return the loss - w A of each token, whose gradient is - w A grad log pi(y_t | s_t) (eq-weighted-tokens)."""
    return lambda log_pi, log_old, advantage, mask: -_lifted(log_pi, log_old, mask, weight) * advantage[..., None]


def _lifted(log_pi: Array, log_old: Array, mask: Array, weight: Weight) -> Array:
    """The weights as numbers, with the gradient w grad log pi(y_t | s_t) at each token."""
    held = weight(getval(log_pi) - log_old, mask)
    return held * np.exp(masked(log_pi - getval(log_pi), mask))


def no_correction(log_ratio: Array, mask: Array) -> Array:
    """w = 1: the answers count as if the policy of now had written them (eq-no-correction)."""
    return np.ones(np.shape(log_ratio))


def token_ratio(log_ratio: Array, mask: Array) -> Array:
    """w_t = u_t = pi(y_t | s_t) / pi_old(y_t | s_t), the ratio of PPO and GRPO (eq-token-ratio)."""
    return np.exp(masked(log_ratio, mask))


def answer_ratio(log_ratio: Array, mask: Array) -> Array:
    """w = prod_t u_t = pi(y | x) / pi_old(y | x), for every token of the answer (eq-answer-ratio).

    The only one of the four that makes the mean over answers of pi_old the gradient of pi.
    """
    return np.exp(np.sum(masked(log_ratio, mask), axis=-1, keepdims=True)) * np.ones(np.shape(log_ratio))


def mean_ratio(log_ratio: Array, mask: Array) -> Array:
    """w = (pi(y | x) / pi_old(y | x))^(1 / |y|), for every token of the answer (eq-gspo-ratio).

    The ratio of GSPO: the geometric mean of u_t. Zheng et al. 2025.
    """
    count = np.sum(mask, axis=-1, keepdims=True)
    return np.exp(np.sum(masked(log_ratio, mask), axis=-1, keepdims=True) / count) * np.ones(np.shape(log_ratio))


def truncated(weight: Array, cap: float) -> Array:
    """min(w, cap): importance weights with a bound, for a sampler that is not the trainer (eq-truncated)."""
    return np.minimum(weight, checks.positive("cap", cap))


def dropped(weight: Array, cap: float) -> Array:
    """w where it is at most `cap`, else 0: what is too far off does not count at all (eq-dropped)."""
    return np.where(weight <= checks.positive("cap", cap), weight, 0.0)


def clipped(weight: Weight = token_ratio, low: float = 0.2, high: float = 0.2) -> Surrogate:
    """Return the loss - min(w A, clip(w, 1 - low, 1 + high) A) of each token (eq-grpo-clip).

    With one epsilon GRPO's, with `high` above `low` DAPO's "clip-higher", with `mean_ratio` GSPO's. Shao et al. 2024;
    Yu et al. 2025; Zheng et al. 2025. Raises `ValueError` unless `low` is in (0, 1) and `high` above 0.
    """
    actor_critic.check_clip_range(low)
    checks.positive("high", high)

    def loss(log_pi: Array, log_old: Array, advantage: Array, mask: Array) -> Array:
        w, advantage = _lifted(log_pi, log_old, mask, weight), advantage[..., None]
        return -np.minimum(w * advantage, np.clip(w, 1 - low, 1 + high) * advantage)

    return loss


def cispo(cap: float, weight: Weight = token_ratio) -> Surrogate:
    """Return the loss - min(w, cap) A log pi(y_t | s_t) of each token, w held constant (eq-cispo).

    MiniMax 2025. Where `clipped` drops a token, this one keeps its gradient, with a smaller weight.
    """
    checks.positive("cap", cap)

    def loss(log_pi: Array, log_old: Array, advantage: Array, mask: Array) -> Array:
        held = np.minimum(weight(getval(log_pi) - log_old, mask), cap)
        return -held * advantage[..., None] * log_pi

    return loss


def overlong_penalty(length: Array, longest: float, buffer: float) -> Array:
    """0 up to `longest` - `buffer` tokens, then in a straight line to -1 at `longest` (eq-overlong). Yu et al. 2025."""
    if not 0 < buffer <= longest:
        raise ValueError(f"the buffer is a part of the longest answer: 0 < buffer <= {longest}; got {buffer}")
    return 0.0 - np.clip((np.asarray(length) - (longest - buffer)) / buffer, 0.0, 1.0)

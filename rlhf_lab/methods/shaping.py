"""Dense rewards: potentials, rewards for partial answers, and the noise that they leave in a policy gradient.

Beside the chapter "Dense rewards"; functions stand in the order of its equations.

    s state    s' the state after s and a    Phi potential    F shaping term    gamma discount    beta KL weight
    p prior    r reward    h score of a state    G return    A advantage    d(s) how often a policy reaches s

Levels are those of `worlds.token_mdp`: numbers of states (K, W^t), of their tokens (K, W^t, V). A finished answer is a
state as well, in which nothing follows. It ends with `eos` or at the horizon; its numbers are (K, A), in the order of
`lm.enumerate_responses`.
"""

from typing import NamedTuple

import numpy as np

from rlhf_lab.methods import soft_values
from rlhf_lab.models.lm import count_responses
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.weighted import expectation
from rlhf_lab.worlds.token_mdp import Levels, occupancy, policy_evaluation, sweep, terminal_rewards


def shaping(
    potential: Levels, vocab: int, discount: float = 1.0, eos: int | None = None, end: Array | float = 0.0
) -> Levels:
    """F(s, a) = gamma Phi(s') - Phi(s) for each state and token, in units of the potential (eq-shaping).

    `end` is the potential of finished answers, a number or (K, A). Optima stay where they are if it is 0. Ng et al.
    1999; Grzes 2017. Raises `ValueError` unless the potential has a finite number for each state and `end` for each
    answer.
    """
    ahead = _ahead(potential, vocab, eos, end)
    return [discount * following - phi[..., None] for following, phi in zip(ahead, potential, strict=True)]


def _ahead(values: Levels, vocab: int, eos: int | None, end: Array | float) -> Levels:
    """Return the number of the state that each token leads to, levels (K, W^t, V)."""
    checks.sizes(vocab, eos)
    prompts, words = len(values[0]), vocab if eos is None else vocab - 1
    for t, level in enumerate(values):
        if np.shape(level) != (prompts, words**t) or not np.isfinite(level).all():
            raise ValueError(
                f"level {t} must have one finite number for each prompt and each prefix of {t} words, shape "
                f"{(prompts, words**t)}; got shape {np.shape(level)}"
            )
    answers = count_responses(vocab, len(values), eos)
    if np.shape(end) not in ((), (prompts, answers)) or not np.isfinite(end).all():
        raise ValueError(
            f"the end must be one finite number, or one for each finished answer, shape {(prompts, answers)}; got "
            f"shape {np.shape(end)}"
        )
    last = terminal_rewards(np.broadcast_to(end, (prompts, answers)), vocab, len(values), eos)
    return sweep(last, 1.0, eos, lambda t, q: values[t]).q


def potential_of(bonus: Levels, discount: float = 1.0, eos: int | None = None, atol: float = 1e-9) -> Levels:
    """Return the potential whose shaping terms, with 0 at the end, `bonus` is: levels (K, W^t) (thm-only-shaping).

    Raises `ValueError` if there is none, which means that the bonus moves the optimum.
    """
    found = sweep(bonus, discount, eos, lambda t, q: np.mean(q, axis=-1))
    off = [np.ptp(q, axis=-1) for q in found.q]
    t = int(np.argmax([np.max(level) for level in off]))
    if np.max(off[t]) > atol:
        k, place = np.unravel_index(np.argmax(off[t]), off[t].shape)
        raise ValueError(
            f"no potential that is 0 at the end has these terms: prompt {k}, prefix {place} of {t} words, where "
            f"continuations differ by {np.max(off[t]):.3g} in what they are paid; subtract what is paid for the end"
        )
    return [-v for v in found.v]


def soft_potential(
    prior: Levels, rewards: Levels, beta: float, discount: float = 1.0, eos: int | None = None
) -> Levels:
    """Phi = beta V_gamma, the soft value in units of reward; beta log Z(s) for gamma = 1 (eq-soft-potential)."""
    return [beta * v for v in soft_values.g_values(prior, rewards, beta, discount, eos).v]


def implicit_rewards(policy: Levels, prior: Levels, beta: float) -> Levels:
    """beta log pi(a | s) / p(a | s): what a policy says of each token, levels (K, W^t, V) (eq-token-implicit).

    Of the optimum it is r + F with the soft potential. Rafailov et al. 2024.
    """
    checks.positive("beta", beta)
    return [beta * (a - b) for a, b in zip(policy, prior, strict=True)]


def step_values(place: Array, label: Array, start: Array, weight: float) -> Array:
    """(sum of labels + w h_0) / (number of labels + w) for each state: a table of scores (S,) (eq-step-value).

    `place` (N,) says of which state each label in [0, 1] speaks, `start` (S,) what to believe of a state before its
    first label, `weight` w > 0 how many labels that is worth. Raises `ValueError` for labels outside [0, 1].
    """
    place, label = checks.actions("place", place, len(start)), np.asarray(checks.share("labels", label))
    if place.shape != label.shape or place.ndim != 1:
        raise ValueError(f"there must be one label for each place, shape (N,); got {label.shape} for {place.shape}")
    checks.positive("weight", weight)
    total = checks.tally(place, label, len(start)) + weight * np.asarray(start)
    return total / (checks.tally(place, None, len(start)) + weight)


def step_sum(values: Levels, vocab: int, eos: int | None = None, end: Array | float = 0.0) -> Levels:
    """r(s, a) = h(s'): each token is paid the score of the state that it leads to (eq-step-sum).

    `end` holds the scores of finished answers, a number or (K, A). Raises `ValueError` as `shaping` does.
    """
    return _ahead(values, vocab, eos, end)


def progress(values: Levels, vocab: int, eos: int | None = None, end: Array | float = 0.0) -> Levels:
    """r(s, a) = h(s') - h(s), what a token changes in the score (eq-progress).

    The sum over an answer is its score `end` less that of the prompt. With the reward for `end` it replaces the reward.
    Raises `ValueError` as `shaping` does.
    """
    return shaping(values, vocab, 1.0, eos, end)


class Noise(NamedTuple):
    """Of the gradient estimate from one answer: E|g - E g|^2 and |E g - gradient|^2, each over |gradient|^2."""

    noise: float
    bias: float


def gradient_noise(
    policy: Levels, rewards: Levels, start: Array, potential: Levels, lam: float = 1.0, eos: int | None = None
) -> Noise:
    """Noise and bias, exact, of the policy gradient of a table from one answer, with rewards shaped by a potential.

    g = sum_t A_t grad log pi(a_t | s_t), and A_t = sum_k lambda^k (r + F)_(t+k) are the shaped rewards from t on, which
    for lambda = 1 are G_t - Phi(s_t) (eq-shaped-return). Each state has its own logits, so squares add up over states
    (eq-token-noise). `start` (K,) are the probabilities of the prompts.
    """
    lam, vocab = checks.share("lambda", lam), rewards[0].shape[-1]
    shaped = [r + f for r, f in zip(rewards, shaping(potential, vocab, 1.0, eos), strict=True)]
    found, right = policy_evaluation(policy, shaped, lam, eos), policy_evaluation(policy, rewards, 1.0, eos)
    variance = return_variance(policy, shaped, lam, eos)
    second = mean = off = signal = 0.0
    for t, reached in enumerate(occupancy(policy, start, eos)):
        pi = np.exp(policy[t])
        weight = reached[..., None] * pi
        length = 1 - 2 * pi + np.sum(pi**2, axis=-1, keepdims=True)
        second += np.sum(weight * length * (found.q[t] ** 2 + variance[t]))
        mean += np.sum((weight * found.advantage[t]) ** 2)
        off += np.sum((weight * (found.advantage[t] - right.advantage[t])) ** 2)
        signal += np.sum((weight * right.advantage[t]) ** 2)
    return Noise(float((second - mean) / signal), float(off / signal))


def return_variance(policy: Levels, rewards: Levels, discount: float = 1.0, eos: int | None = None) -> Levels:
    """Var(G | s, a) = gamma^2 E[Var(G | s', a') + A(s', a')^2], levels (K, W^t, V) (eq-return-variance). Sobel 1982.

    Text is deterministic, so all of it comes from the tokens that are still to be drawn.
    """
    values = policy_evaluation(policy, rewards, discount, eos)

    def backup(t: int, variance: Array) -> Array:
        return expectation(policy[t], variance + values.advantage[t] ** 2)

    return sweep([np.zeros(level.shape) for level in rewards], discount**2, eos, backup).q

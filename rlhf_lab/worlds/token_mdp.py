"""Text generation as a Markov decision process, solved exactly on the tree of prefixes.

Beside the chapters "A language model is an MDP" and "Pretraining is imitation"; functions stand in the order of
their equations.

    s state: prompt and the tokens so far    a action: the next token    r reward    gamma discount
    rho distribution of prompts    H horizon    pi policy    Q, V, A values    J performance

Exact functions work on levels: `levels[t]` holds every state with t words after its prompt, shape (..., K, W^t,
...), K prompts, W words (tokens other than `eos`), prefixes in the order of the tokens. Policies are levels of
log-probabilities (..., K, W^t, V), as `lm.policy_levels` returns them for any language model.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import autograd.numpy as np

from rlhf_lab.models.lm import count_responses, enumerate_responses
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.weighted import expectation

Levels = list[Array]


@dataclass(frozen=True)
class TokenMDP:
    """<S, A, R, T, rho, H> of a language: prompts (K, P), their probabilities `start` (K,), a reward for each answer.

    `reward(prompt, response)` takes prompts (N, P) and complete responses (N, H) and returns (N,). It is paid with
    the last token: `eos`, or whatever token reaches the horizon. Raises `ValueError` if the sizes do not fit or the
    tree is too large to enumerate.
    """

    prompts: Array
    start: Array
    reward: Callable[[Array, Array], Array]
    vocab: int
    horizon: int
    eos: int | None = None
    discount: float = 1.0

    def __post_init__(self) -> None:
        checks.sizes(self.vocab, self.eos)
        checks.horizon(self.horizon)
        prompts = checks.tokens("prompts", self.prompts, self.vocab)
        start = checks.probabilities("start", self.start)
        if start.shape != (len(prompts),):
            raise ValueError(f"start needs one probability for each of the {len(prompts)} prompts; got {start.shape}")
        if not 0 < self.discount <= 1:
            raise ValueError(f"the discount lies in (0, 1]; got {self.discount}")
        object.__setattr__(self, "prompts", prompts)
        object.__setattr__(self, "start", start)

    @property
    def words(self) -> int:
        """Number W of tokens other than `eos`."""
        return self.vocab if self.eos is None else self.vocab - 1

    def transition(self, state: Array, action: int) -> Array:
        """T(s, a) = s followed by a, for one state of any length (eq-transition). RLHF Deciphered, table 1."""
        return np.append(state, action)

    def answers(self) -> Array:
        """Return every complete response (A, H) in the order of `lm.enumerate_responses`."""
        return enumerate_responses(self.vocab, self.horizon, self.eos)

    def answer_rewards(self) -> Array:
        """Return the reward of every answer to every prompt, (K, A)."""
        answers, prompts = self.answers(), np.asarray(self.prompts)
        rewards = self.reward(np.repeat(prompts, len(answers), axis=0), np.tile(answers, (len(prompts), 1)))
        if not np.isfinite(rewards).all():
            raise ValueError("the reward of some answers is NaN or infinite")
        return np.reshape(rewards, (len(prompts), len(answers)))

    def token_rewards(self) -> Levels:
        """Return r(s, a) for every state and token, levels (K, W^t, V): zero but for the token that ends the answer."""
        return terminal_rewards(self.answer_rewards(), self.vocab, self.horizon, self.eos)


def terminal_rewards(rewards: Array, vocab: int, horizon: int, eos: int | None) -> Levels:
    """Place the rewards (K, A) of complete answers on the tokens that complete them (eq-terminal-reward).

    Levels (K, W^t, V), zero elsewhere.
    """
    words = vocab if eos is None else vocab - 1
    if rewards.shape[1] != count_responses(vocab, horizon, eos):
        raise ValueError(
            f"{count_responses(vocab, horizon, eos)} answers are possible, but {rewards.shape[1]} rewards were given"
        )
    levels, first = [], 0
    for t in range(horizon):
        level = np.zeros((len(rewards), words**t, vocab))
        if eos is not None:
            level[..., eos] = rewards[:, first : first + words**t]
            first += words**t
        if t + 1 == horizon:
            level[..., :words] = rewards[:, first:].reshape(len(rewards), -1, words)
        levels.append(level)
    return levels


def return_to_go(rewards: Array, discount: float) -> Array:
    """G_t = r_t + gamma r_(t+1) + gamma^2 r_(t+2) + ..., for rewards (..., T) (eq-return).

    Sutton and Barto 2018.
    """
    steps = np.arange(rewards.shape[-1])
    gap = steps[None, :] - steps[:, None]
    weights = np.where(gap >= 0, discount ** np.maximum(gap, 0), 0.0)
    return np.matmul(rewards, weights.T)


class Values(NamedTuple):
    """Exact values of a policy, levels t = 0 ... H - 1: `v` (..., K, W^t); `q` and `advantage` (..., K, W^t, V)."""

    v: Levels
    q: Levels
    advantage: Levels


def policy_evaluation(policy: Levels, rewards: Levels, discount: float = 1.0, eos: int | None = None) -> Values:
    """V^pi, Q^pi and A^pi of every state by one sweep from the leaves to the root.

    V(s) = sum_a pi(a | s) Q(s, a) (eq-value), Q(s, a) = r(s, a) + gamma V(T(s, a)) (eq-action-value),
    A(s, a) = Q(s, a) - V(s) (eq-advantage). Sutton and Barto 2018.
    """
    return sweep(rewards, discount, eos, lambda t, q: expectation(policy[t], q))


def backward_induction(rewards: Levels, discount: float = 1.0, eos: int | None = None) -> Values:
    """V*, Q* and A* of every state: V*(s) = max_a Q*(s, a) (eq-optimal-value). Puterman 1994."""
    return sweep(rewards, discount, eos, lambda t, q: np.max(q, axis=-1))


def sweep(rewards: Levels, discount: float, eos: int | None, backup: Callable[[int, Array], Array]) -> Values:
    """Sweep from the leaves to the root: q(s, a) = r(s, a) + gamma v(T(s, a)), v = backup(t, q), advantage = q - v.

    `backup` makes the values (..., K, W^t) of level t of its q (..., K, W^t, V). Behind the end of an answer, v is 0.
    """
    v: Levels = []
    q: Levels = []
    for t in reversed(range(len(rewards))):
        here = rewards[t]
        if v:
            following = np.reshape(v[0], (*v[0].shape[:-1], here.shape[-2], -1))
            if eos is not None:
                following = np.concatenate([following, np.zeros((*following.shape[:-1], 1))], axis=-1)
            here = here + discount * following
        q.insert(0, here)
        v.insert(0, backup(t, here))
    return Values(v, q, [a - b[..., None] for a, b in zip(q, v, strict=True)])


def performance(answer_log_probs: Array, rewards: Array, start: Array) -> Array:
    """J(pi) = sum_x rho(x) sum_y pi(y | x) R(x, y), from log pi(y | x) and rewards (..., K, A) (eq-performance).

    RLHF Deciphered, eq. 12.
    """
    return np.sum(start * expectation(answer_log_probs, rewards), axis=-1)


def performance_by_token(policy: Levels, rewards: Levels, start: Array, eos: int | None = None) -> Array:
    """J(pi) = sum_t E[r(s_t, a_t)], token by token, from levels (eq-performance-by-token).

    RLHF Deciphered, eq. 13.
    """
    expected = [expectation(p, r) for p, r in zip(policy, rewards, strict=True)]
    return sum(np.sum(d * e, axis=(-1, -2)) for d, e in zip(occupancy(policy, start, eos), expected, strict=True))


def occupancy(policy: Levels, start: Array, eos: int | None = None) -> Levels:
    """d_t(s), the probability that the policy reaches state s: levels (..., K, W^t) (eq-occupancy)."""
    reached = [start[:, None]]
    for level in policy[:-1]:
        onward = reached[-1][..., None] * np.exp(level if eos is None else level[..., :-1])
        reached.append(np.reshape(onward, (*onward.shape[:-2], -1)))
    return reached


def log_prob_rewards(policy: Levels) -> Levels:
    """R_phi(s, a) = log pi_phi(a | s): the model as a reward function (eq-log-reward). ILHF, section 3.1."""
    return policy


def with_temperature(log_pi: Array, temperature: float) -> Array:
    """pi^(1/T), normalised over the last axis: of tokens (eq-temperature), or of answers (eq-answer-temperature).

    `log_pi` holds log-probabilities (..., V) of one level, or (..., A) of answers; the temperature T is above 0.
    """
    checks.positive("temperature", temperature)
    return log_softmax(log_pi / temperature)


def sft_gradient(policy: Array, target: Array) -> Array:
    """The gradient of E_target[log pi(y)] in the logits of the answers: target - pi (eq-sft-gradient).

    `policy` and `target` are probabilities of the answers, (..., A). RLHF Deciphered, section 6.3.
    """
    return target - policy


def policy_gradient(policy: Array, reward: Array) -> Array:
    """The gradient of E_pi[R(y)] in the logits of the answers: pi (R - E_pi[R]) (eq-policy-gradient).

    Shapes (..., A). RLHF Deciphered, section 6.3.
    """
    return policy * (reward - np.sum(policy * reward, axis=-1, keepdims=True))


def follow(gradient: Callable[[Array], Array], log_pi: Array, length: float, steps: int) -> Iterator[Array]:
    """Yield the probabilities (A,) of the answers before the first and after each step along `gradient`.

    Each step moves the logits by the same `length`, so that gradients in different units can be compared.
    """
    yield np.exp(log_pi)
    for _ in range(steps):
        direction = gradient(np.exp(log_pi))
        log_pi = log_softmax(log_pi + length * direction / np.sqrt(np.sum(direction**2)))
        yield np.exp(log_pi)

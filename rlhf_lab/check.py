"""Checkers of the exercises: `check.kl(your_function)` runs the answer key and says what is wrong, in words.

To add an exercise, write an `Exercise` (see `diagnosis`) and a public function whose docstring states it.
"""

from typing import Any

import numpy as np
from numpy.random import Generator

from . import gibbs as _gibbs
from . import lm as _lm
from . import token_mdp as _token_mdp
from .autodiff import Array
from .autodiff import log_prob_of as _log_prob_of
from .autodiff import log_softmax as _log_softmax
from .diagnosis import CASES, Case, Exercise, Function, diagnose


def _report(exercise: Exercise, function: Function) -> None:
    wrong = diagnose(exercise, function)
    print(f"{exercise.name}: " + (f"right on all {CASES} cases." if wrong is None else f"not yet. {wrong}"))


def _tenths(rng: Generator, *shape: int) -> Array:
    return rng.integers(-30, 31, size=shape) / 10


def _log_probs(rng: Generator, *shape: int) -> Array:
    return np.asarray(_log_softmax(_tenths(rng, *shape)))


def _wide(rng: Generator) -> tuple[int, int]:
    rows = int(rng.integers(1, 5))
    return rows, rows + int(rng.integers(1, 3))  # never square: a message about shapes tells the axes apart


def log_prob(function: Function) -> None:
    """Check f(logits, response, eos): log pi(y | x) of each response, nats, shape (N,).

    `logits` (N, T, V) come before the softmax; `response` (N, T) are integers in [0, V); `eos` is the token that ends
    a response, any of the V. The first `eos` counts; what follows it does not.
    """
    _report(LOG_PROB, function)


def _log_prob(logits: Array, response: Array, eos: int) -> Array:
    return np.sum(_log_prob_of(logits, response) * _lm.response_mask(response, eos), axis=1)


def _log_prob_case(rng: Generator) -> Case:
    n, t, v = (int(rng.integers(low, 6)) for low in (1, 1, 2))
    eos = v - 1 if rng.random() < 0.6 else int(rng.integers(v))
    response = rng.integers(v, size=(n, t))
    response[:, -1] = eos if rng.random() < 0.6 else response[:, -1]
    return _tenths(rng, n, t, v), np.where(_lm.response_mask(response, eos), response, eos), eos


def _log_prob_mistakes(logits: Array, response: Array, eos: int) -> dict[str, Any]:
    log_pi, mask = _log_prob_of(logits, response), _lm.response_mask(response, eos)
    right, raw = (log_pi * mask).sum(1), np.take_along_axis(logits, response[..., None], 2)[..., 0]
    return {
        "You summed over the batch axis; sum over the tokens of each response, the last axis.": (log_pi * mask).sum(0),
        "You summed over the batch too; sum over the tokens of each response, the last axis.": right.sum(),
        "You count the padding: what follows the first eos is not part of the response.": log_pi.sum(1),
        "You leave out the eos: stopping is an action too, and has a probability.": (log_pi * (response != eos)).sum(1),
        "You take the mean over the tokens; the log-probability of a response is their sum.": right / mask.sum(1),
        "You divide by T; the log-probability of a response is a sum.": right / mask.shape[1],
        "You add logits: make them log-probabilities first, with a log-softmax over V.": (raw * mask).sum(1),
        "You return the probability; return its logarithm.": np.exp(right),
        "You use logarithms to base 2; the book uses natural ones.": right / np.log(2),
    }


LOG_PROB = Exercise(
    "log_prob",
    "one number for each response",
    _log_prob,
    _log_prob_case,
    _log_prob_mistakes,
    traits=lambda logits, response, eos: {
        "a response has no eos": (response != eos).all(1).any(),
        "eos is not the last token of the vocabulary": eos != logits.shape[-1] - 1,
        "there is only one response": len(response) == 1,
    },
    hard=(
        (
            "It is right for small logits, but large ones overflow: subtract the largest before you exponentiate.",
            (np.array([[[1e4, 0.0], [0.0, 1e4]], [[-1e4, -2e4], [-1e4, -1e4]]]), np.array([[0, 1], [1, 1]]), 1),
        ),
    ),
)


def return_to_go(function: Function) -> None:
    """Check f(rewards, discount): the returns G_t = r_t + gamma G_(t+1) of an episode, shape (T,).

    `rewards` (T,) are r_0 ... r_(T-1); `discount` is gamma, a number in (0, 1].
    """
    _report(RETURN_TO_GO, function)


def _return_to_go_case(rng: Generator) -> Case:
    return _tenths(rng, int(rng.integers(1, 7))), float(rng.choice([0.5, 0.8, 0.9, 1.0]))


def _return_to_go_mistakes(rewards: Array, discount: float) -> dict[str, Any]:
    right = _token_mdp.return_to_go(rewards, discount)
    powers, later = discount ** np.arange(len(rewards)), np.append(right[1:], 0.0)
    past = _token_mdp.return_to_go(rewards[::-1], discount)[::-1]
    return {
        "You discount from the start of the episode; at step t, r_t itself counts in full.": right * powers,
        "You leave out the reward of step t itself: G_t begins with r_t.": discount * later,
        "You return G_(t+1) at step t, one step too late: G_t begins with r_t.": later,
        "You sum over the past; G_t looks forward, from step t to the end.": past,
        "You sum over the past, without discount; G_t looks forward, from step t to the end.": np.cumsum(rewards),
        "You sum over the past, discounted from the start; G_t looks forward.": np.cumsum(rewards * powers),
        "You forgot the discount.": _token_mdp.return_to_go(rewards, 1.0),
        "You return one number, the return of the whole episode.": right[0],
        "You return the returns in reverse order, the last step first.": right[::-1],
    }


RETURN_TO_GO = Exercise(
    "return_to_go",
    "one number for each step",
    _token_mdp.return_to_go,
    _return_to_go_case,
    _return_to_go_mistakes,
    traits=lambda rewards, discount: {"T is 1": len(rewards) == 1, "the discount is 1": discount == 1},
)


def state_values(function: Function) -> None:
    """Check f(policy, rewards, discount): the value of each state of a tree, a list over t of arrays (W^t,).

    One prompt, a language of W words without `eos`. `policy[t]` (W^t, W) are the log-probabilities of the words after
    each prefix of t words, `rewards[t]` (W^t, W) what they pay, `discount` is gamma; word a leads from prefix i of
    level t to prefix i * W + a of level t + 1. Nothing is paid after the last level.
    """
    _report(STATE_VALUES, function)


def _values(policy: list[Array], rewards: list[Array], discount: float) -> list[Array]:
    found = _token_mdp.evaluate([p[None] for p in policy], [r[None] for r in rewards], discount)
    return [v[0] for v in found.v]


def _tree(rng: Generator) -> Case:
    words, horizon = int(rng.integers(2, 4)), int(rng.integers(1, 4))
    policy = [_log_probs(rng, words**t, words) for t in range(horizon)]
    return policy, [_tenths(rng, *p.shape) for p in policy], float(rng.choice([0.5, 0.8, 0.9, 1.0]))


def _state_values_mistakes(policy: list[Array], rewards: list[Array], discount: float) -> dict[str, Any]:
    g = discount
    wrong: dict[str, Function] = {
        "You take the best word; V is the mean over the policy's words.": lambda p, r, v: (r + g * v).max(1),
        "You weigh with log-probabilities: exponentiate the policy.": lambda p, r, v: (np.log(p) * (r + g * v)).sum(1),
        "You forgot the discount.": lambda p, r, v: (p * (r + v)).sum(1),
        "You count only the future: add the reward of each word.": lambda p, r, v: (p * (g * v if v.any() else r)).sum(
            1
        ),
        "You count only the next reward: add gamma times the next value.": lambda p, r, v: (p * r).sum(1),
        "You mixed up the children: word a of prefix i leads to prefix i * W + a.": lambda p, r, v: (
            p * (r + g * v.reshape(p.shape[::-1]).T)
        ).sum(1),
        "You discount the reward of the word itself; discount only what follows.": lambda p, r, v: (
            p * g * (r + v)
        ).sum(1),
        "You average over the words; weigh them with the policy.": lambda p, r, v: (r + g * v).mean(1),
    }

    def sweep(backup: Function) -> list[Array]:
        values: list[Array] = []
        for p, r in zip(policy[::-1], rewards[::-1], strict=True):
            values.insert(0, backup(np.exp(p), r, values[0].reshape(p.shape) if values else np.zeros(p.shape)))
        return values

    return {sentence: sweep(backup) for sentence, backup in wrong.items()}


STATE_VALUES = Exercise(
    "state_values",
    "for each level, one value for each prefix",
    _values,
    _tree,
    _state_values_mistakes,
    traits=lambda policy, rewards, discount: {
        "there is only one level": len(policy) == 1,
        "there are more than two levels": len(policy) > 2,
    },
)


def kl(function: Function) -> None:
    """Check f(log_p, log_q): KL(p || q) of each row, nats, shape (N,).

    `log_p` and `log_q` (N, A) are the log-probabilities of A answers to each of N prompts.
    """
    _report(KL, function)


def _kl_case(rng: Generator) -> Case:
    shape = _wide(rng)
    return _log_probs(rng, *shape), _log_probs(rng, *shape)


def _kl_mistakes(log_p: Array, log_q: Array) -> dict[str, Any]:
    p, ratio, right = np.exp(log_p), log_p - log_q, _lm.kl(log_p, log_q)
    return {
        "You computed KL(q || p), the other direction: weigh with p, and subtract log q.": _lm.kl(log_q, log_p),
        "You weigh with q; KL(p || q) is a mean under p.": (np.exp(log_q) * ratio).sum(1),
        "You forgot the weights: multiply each log-ratio by p.": ratio.sum(1),
        "You forgot the weights: the mean of the log-ratios is the one under p.": ratio.mean(1),
        "The sign is flipped: it is log p minus log q.": -right,
        "You summed over the batch axis; sum over the answers, the last axis.": (p * ratio).sum(0),
        "You summed over the batch too; sum over the answers, the last axis.": right.sum(),
        "You averaged over the batch; return the divergence of each row.": right.mean(),
        "You square the log-ratios; take them as they are.": (p * ratio**2).sum(1),
        "You take absolute values; negative log-ratios count as negative.": (p * abs(ratio)).sum(1),
        "You use logarithms to base 2; the book counts in nats.": right / np.log(2),
        "That is the cross-entropy: subtract the entropy of p.": -(p * log_q).sum(1),
    }


KL = Exercise("kl", "one number for each row", _lm.kl, _kl_case, _kl_mistakes)


def gibbs(function: Function) -> None:
    """Check f(log_pi_0, reward, beta): log pi* of every answer, pi* = pi_0 exp(reward / beta) / Z, shape (N, A).

    `log_pi_0` (N, A) are the log-probabilities of the reference, `reward` (N, A) the rewards of A answers to each of N
    prompts, `beta` > 0 the weight of the KL term. Rewards can be large.
    """
    _report(GIBBS, function)


def _gibbs_case(rng: Generator) -> Case:
    shape = _wide(rng)
    return _log_probs(rng, *shape), _tenths(rng, *shape), float(rng.choice([0.3, 0.5, 2.0]))


def _gibbs_mistakes(log_pi_0: Array, reward: Array, beta: float) -> dict[str, Any]:
    tilted, times, flipped = log_pi_0 + reward / beta, log_pi_0 + reward * beta, log_pi_0 - reward / beta
    return {
        "You multiply the reward by beta; divide by it: a high beta keeps pi near pi_0.": _log_softmax(times),
        "You forgot beta: divide the reward by it.": _log_softmax(log_pi_0 + reward),
        "The sign of the reward is flipped: good answers become rare.": _log_softmax(flipped),
        "It is not normalised: subtract log Z, so that the probabilities of each row sum to 1.": tilted,
        "You normalise over the batch axis; normalise over the answers, the last axis.": _log_softmax(tilted.T).T,
        "You normalise over all prompts at once; each has its own Z.": tilted - np.log(np.exp(tilted).sum()),
        "You return probabilities; return their logarithms.": np.exp(_log_softmax(tilted)),
        "You forgot the reference: pi* is pi_0, tilted by the reward.": _log_softmax(reward / beta),
    }


GIBBS = Exercise(
    "gibbs",
    "one number for each prompt and answer",
    _gibbs.log_policy,
    _gibbs_case,
    _gibbs_mistakes,
    hard=(
        (
            "It is right for small rewards, but large ones overflow: before you exponentiate, subtract the "
            "largest exponent of each row, and take no logarithm of a probability that may have become 0.",
            (np.log([[0.25, 0.75], [0.5, 0.5]]), np.array([[1e4, 0.0], [-1e4, -1e4]]), 0.5),
        ),
    ),
)


def policy_gradient(function: Function) -> None:
    """Check f(policy, reward): the gradient of E_pi[R] in the logits of the answers, shape (A,).

    `policy` (A,) are the probabilities of the answers, `reward` (A,) their rewards.
    """
    _report(POLICY_GRADIENT, function)


def _policy_gradient_case(rng: Generator) -> Case:
    count = int(rng.integers(2, 6))
    return np.exp(_log_probs(rng, count)), _tenths(rng, count)


def _policy_gradient_mistakes(policy: Array, reward: Array) -> dict[str, Any]:
    advantage, best = reward - policy @ reward, np.arange(len(reward)) == reward.argmax()
    return {
        "You forgot the baseline: subtract the expected reward from each reward.": policy * reward,
        "You forgot the weight: multiply by the policy's own probability of the answer.": advantage,
        "The sign is flipped: this is the way down.": -policy * advantage,
        "The baseline is the mean under the policy, not the plain mean.": policy * (reward - reward.mean()),
        "That imitates the best answer: it is the gradient of supervised fine-tuning.": best - policy,
        "That is the gradient in the probabilities; go on through the softmax to the logits.": reward,
        "That is the expected reward itself; return its gradient.": policy @ reward,
    }


POLICY_GRADIENT = Exercise(
    "policy_gradient",
    "one number for each answer",
    _token_mdp.policy_gradient,
    _policy_gradient_case,
    _policy_gradient_mistakes,
)

"""What the checkers of the chapter "A language model is an MDP" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, Function, log_probs, tenths, wide
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array, log_prob_of, log_softmax
from rlhf_lab.worlds import token_mdp


def _log_prob(logits: Array, response: Array, eos: int) -> Array:
    return np.sum(log_prob_of(logits, response) * lm.response_mask(response, eos), axis=1)


def _picked(table: Array, response: Array) -> Array:
    return np.asarray(np.take_along_axis(table, response[..., None], 2)[..., 0])


def _log_prob_case(rng: Generator) -> Case:
    n, t, v = (int(rng.integers(low, 6)) for low in (1, 1, 2))
    eos = v - 1 if rng.random() < 0.6 else int(rng.integers(v))
    response = rng.integers(v, size=(n, t))
    response[:, -1] = eos if rng.random() < 0.6 else response[:, -1]
    return tenths(rng, n, t, v), np.where(lm.response_mask(response, eos), response, eos), eos


def _log_prob_mistakes(logits: Array, response: Array, eos: int) -> dict[str, Any]:
    log_pi, mask = log_prob_of(logits, response), lm.response_mask(response, eos)
    right, raw = (log_pi * mask).sum(1), _picked(logits, response)
    return {
        "You summed over the batch axis; sum over the tokens of each response, the last axis.": (log_pi * mask).sum(0),
        "You summed over the batch too; sum over the tokens of each response, the last axis.": right.sum(),
        "You count the padding: what follows the first eos is not part of the response.": log_pi.sum(1),
        "You leave out the eos: stopping is an action too, and has a probability.": (log_pi * (response != eos)).sum(1),
        "You take the mean over the tokens; the log-probability of a response is their sum.": right / mask.sum(1),
        "You divide by T; the log-probability of a response is a sum.": right / mask.shape[1],
        "You add logits: make them log-probabilities first, with a log-softmax over V.": (raw * mask).sum(1),
        "You return the probability; return its logarithm.": np.exp(right),
        "Your softmax runs over the places; it runs over the tokens of the vocabulary, the last axis.": (
            (_picked(np.asarray(log_softmax(np.swapaxes(logits, 1, 2))).swapaxes(1, 2), response) * mask).sum(1)
        ),
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
        (
            "It is right where only eos follows the first eos; nothing that follows it counts, words included.",
            (np.array([[[0.5, -0.5], [1.0, 0.0], [-1.0, 0.5], [0.0, 2.0]]]), np.array([[0, 1, 0, 0]]), 1),
        ),
    ),
)


def _return_to_go_case(rng: Generator) -> Case:
    return tenths(rng, int(rng.integers(1, 7))), float(rng.choice([0.5, 0.8, 0.9, 1.0]))


def _return_to_go_mistakes(rewards: Array, discount: float) -> dict[str, Any]:
    right = token_mdp.return_to_go(rewards, discount)
    powers, later = discount ** np.arange(len(rewards)), np.append(right[1:], 0.0)
    past = token_mdp.return_to_go(rewards[::-1], discount)[::-1]
    return {
        "You discount from the start of the episode; at step t, r_t itself counts in full.": right * powers,
        "You leave out the reward of step t itself: G_t begins with r_t.": discount * later,
        "You return G_(t+1) at step t, one step too late: G_t begins with r_t.": later,
        "You sum over the past; G_t looks forward, from step t to the end.": past,
        "You sum over the past, without discount; G_t looks forward, from step t to the end.": np.cumsum(rewards),
        "You sum over the past, discounted from the start; G_t looks forward.": np.cumsum(rewards * powers),
        "You forgot the discount.": token_mdp.return_to_go(rewards, 1.0),
        "You return one number, the return of the whole episode.": right[0],
        "You return the returns in reverse order, the last step first.": right[::-1],
    }


RETURN_TO_GO = Exercise(
    "return_to_go",
    "one number for each step",
    token_mdp.return_to_go,
    _return_to_go_case,
    _return_to_go_mistakes,
    traits=lambda rewards, discount: {"T is 1": len(rewards) == 1, "the discount is 1": discount == 1},
)


def _values(policy: list[Array], rewards: list[Array], discount: float) -> list[Array]:
    found = token_mdp.policy_evaluation([p[None] for p in policy], [r[None] for r in rewards], discount)
    return [v[0] for v in found.v]


def _tree(rng: Generator) -> Case:
    words, horizon = int(rng.integers(2, 4)), int(rng.integers(1, 4))
    policy = [log_probs(rng, words**t, words) for t in range(horizon)]
    return policy, [tenths(rng, *p.shape) for p in policy], float(rng.choice([0.5, 0.8, 0.9, 1.0]))


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


def _gibbs_case(rng: Generator) -> Case:
    shape = wide(rng)
    return log_probs(rng, *shape), tenths(rng, *shape), float(rng.choice([0.3, 0.5, 2.0]))


def _gibbs_mistakes(log_pi_0: Array, reward: Array, beta: float) -> dict[str, Any]:
    tilted, times, flipped = log_pi_0 + reward / beta, log_pi_0 + reward * beta, log_pi_0 - reward / beta
    return {
        "You multiply the reward by beta; divide by it: a high beta keeps pi near pi_0.": log_softmax(times),
        "You forgot beta: divide the reward by it.": log_softmax(log_pi_0 + reward),
        "The sign of the reward is flipped: good answers become rare.": log_softmax(flipped),
        "It is not normalised: subtract log Z, so that the probabilities of each row sum to 1.": tilted,
        "You normalise over the batch axis; normalise over the answers, the last axis.": log_softmax(tilted.T).T,
        "You normalise over all prompts at once; each has its own Z.": tilted - np.log(np.exp(tilted).sum()),
        "You return probabilities; return their logarithms.": np.exp(log_softmax(tilted)),
        "You forgot the reference: pi* is pi_0, tilted by the reward.": log_softmax(reward / beta),
    }


GIBBS = Exercise(
    "gibbs",
    "one number for each prompt and answer",
    gibbs.log_policy,
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

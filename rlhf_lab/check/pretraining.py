"""What the checkers of the chapter "Pretraining is imitation" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths, wide
from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.worlds import token_mdp


def _kl_case(rng: Generator) -> Case:
    shape = wide(rng)
    return log_probs(rng, *shape), log_probs(rng, *shape)


def _kl_mistakes(log_p: Array, log_q: Array) -> dict[str, Any]:
    p, ratio, right = np.exp(log_p), log_p - log_q, lm.kl(log_p, log_q)
    return {
        "You computed KL(q || p), the other direction: weigh with p, and subtract log q.": lm.kl(log_q, log_p),
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


KL = Exercise("kl", "one number for each row", lm.kl, _kl_case, _kl_mistakes)


def _policy_gradient_case(rng: Generator) -> Case:
    count = int(rng.integers(2, 6))
    return np.exp(log_probs(rng, count)), tenths(rng, count)


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
    token_mdp.policy_gradient,
    _policy_gradient_case,
    _policy_gradient_mistakes,
)


def _loss_floor(counts: Array) -> Array:
    seen, shares = counts > 0, counts / counts.sum(1, keepdims=True)
    return np.asarray(-np.sum(counts[seen] * np.log(shares[seen])) / counts.sum())


def _loss_floor_case(rng: Generator) -> Case:
    counts = rng.integers(0, 7, size=wide(rng))
    counts[:, 0] += 1
    return (counts,)


def _loss_floor_mistakes(counts: Array) -> dict[str, Any]:
    right, texts = _loss_floor(counts), counts.sum(1)
    rows = np.array([_loss_floor(row[None]) for row in counts])
    return {
        "You weigh all prompts alike; every text counts once, so weigh a prompt with its texts.": rows.mean(),
        "You return one number for each prompt; average them over the texts.": rows,
        "You forgot that the model sees the prompt: take shares among the texts of each prompt.": _loss_floor(
            counts.sum(0)[None]
        ),
        "That is the entropy of prompts and answers together; the prompts are given.": _loss_floor(
            counts.reshape(1, -1)
        ),
        "That is the sum over the texts; divide by their number.": right * counts.sum(),
        "The sign is flipped: an entropy is never negative.": -right,
        "You use logarithms to base 2; the book counts in nats.": right / np.log(2),
        "You weigh each log-share alike; weigh it with the share of the texts.": np.mean(
            [-np.log(row[row > 0] / n).mean() for row, n in zip(counts, texts, strict=True)]
        ),
    }


LOSS_FLOOR = Exercise("loss_floor", "one number", _loss_floor, _loss_floor_case, _loss_floor_mistakes)


def _temperature_of(log_pi: Array, cooled: Array) -> Array:
    return np.asarray(np.ptp(log_pi, axis=1) / np.ptp(cooled, axis=1))


def _temperature_of_case(rng: Generator) -> Case:
    rows, vocab = wide(rng)
    logits = np.array([rng.permutation(61)[:vocab] / 10 - 3 for _ in range(rows)])
    temperature = rng.choice([0.5, 0.8, 1.25, 2.0], size=(rows, 1))
    return log_softmax(logits), log_softmax(logits / temperature)


def _temperature_of_mistakes(log_pi: Array, cooled: Array) -> dict[str, Any]:
    right, p, q = _temperature_of(log_pi, cooled), np.exp(log_pi), np.exp(cooled)
    return {
        "That is 1/T: a sharper distribution has a lower temperature.": 1 / right,
        "You divide log-probabilities: the normaliser moves all of a row; divide differences.": (log_pi / cooled).mean(
            1
        ),
        "You divide variances: take the root, or divide differences.": right**2,
        "You compare probabilities; T divides logarithms.": np.ptp(p, axis=1) / np.ptp(q, axis=1),
        "You compare entropies; they do not grow in proportion to T.": lm.entropy(cooled) / lm.entropy(log_pi),
        "You return one number; each row has a temperature of its own.": right.mean(),
    }


TEMPERATURE_OF = Exercise(
    "temperature_of", "one number for each row", _temperature_of, _temperature_of_case, _temperature_of_mistakes
)

"""The exercises of the chapter "Pretraining is imitation", solved and got wrong by a reader who likes loops."""

import math

import numpy as np


def kl(log_p, log_q):
    return np.array([sum(math.exp(a) * (a - b) for a, b in zip(*rows, strict=True)) for rows in zip(log_p, log_q)])  # noqa: B905


def policy_gradient(policy, reward):
    return (np.diag(policy) - np.outer(policy, policy)) @ reward


def entropy(row):
    return -sum(n / sum(row) * math.log(n / sum(row)) for n in row if n)


def loss_floor(counts):
    return sum(sum(row) * entropy(row) for row in counts) / np.sum(counts)


def temperature_of(log_pi, cooled):
    return [(p[0] - p[1]) / (q[0] - q[1]) for p, q in zip(log_pi, cooled, strict=True)]


def each(function):
    """A function of rows, from one of a single row."""
    return lambda *arrays: np.array([function(*row) for row in zip(*arrays, strict=True)])


WRONG = {
    "kl": [
        (each(lambda p, q: np.exp(q) @ (q - p)), "You computed KL(q || p), the other direction: weigh with p"),
        (each(lambda p, q: np.exp(q) @ (p - q)), "You weigh with q; KL(p || q) is a mean under p."),
        (each(lambda p, q: sum(p - q)), "You forgot the weights: multiply each log-ratio by p."),
        (each(lambda p, q: np.mean(p - q)), "You forgot the weights: the mean of the log-ratios"),
        (each(lambda p, q: np.exp(p) @ (q - p)), "The sign is flipped: it is log p minus log q."),
        (lambda p, q: sum(np.exp(p) * (p - q)), "You summed over the batch axis; sum over the answers"),
        (lambda p, q: float(np.sum(np.exp(p) * (p - q))), "You summed over the batch too; sum over the answers"),
        (lambda p, q: np.mean(kl(p, q)), "You averaged over the batch; return the divergence"),
        (each(lambda p, q: np.exp(p) @ np.square(p - q)), "You square the log-ratios; take them"),
        (each(lambda p, q: np.exp(p) @ np.abs(q - p)), "You take absolute values; negative"),
        (each(lambda p, q: np.exp(p) @ np.log2(np.exp(p - q))), "You use logarithms to base 2; the book"),
        (each(lambda p, q: -np.exp(p) @ q), "That is the cross-entropy: subtract the entropy"),
    ],
    "policy_gradient": [
        (lambda p, r: [x * y for x, y in zip(p, r, strict=True)], "You forgot the baseline: subtract the expected"),
        (lambda p, r: [x - sum(p * r) for x in r], "You forgot the weight: multiply by the policy's"),
        (lambda p, r: -policy_gradient(p, r), "The sign is flipped: this is the way down."),
        (lambda p, r: p * (r - sum(r) / len(r)), "The baseline is the mean under the policy, not"),
        (
            lambda p, r: [(k == list(r).index(max(r))) - x for k, x in enumerate(p)],
            "That imitates the best answer: it is",
        ),
        (lambda p, r: r.copy(), "That is the gradient in the probabilities; go on"),
        (lambda p, r: sum(p * r), "That is the expected reward itself; return"),
    ],
    "loss_floor": [
        (lambda n: np.mean([entropy(row) for row in n]), "You weigh all prompts alike; every text"),
        (lambda n: [entropy(row) for row in n], "You return one number for each prompt; average"),
        (lambda n: entropy(sum(n)), "You forgot that the model sees the prompt"),
        (lambda n: entropy(n.ravel()), "That is the entropy of prompts and answers together"),
        (lambda n: sum(sum(row) * entropy(row) for row in n), "That is the sum over the texts; divide"),
        (lambda n: -loss_floor(n), "The sign is flipped: an entropy"),
        (lambda n: loss_floor(n) / math.log(2), "You use logarithms to base 2; the book"),
        (
            lambda n: np.mean([np.mean([-math.log(x / sum(row)) for x in row if x]) for row in n]),
            "You weigh each log-share alike; weigh",
        ),
    ],
    "temperature_of": [
        (lambda p, q: 1 / np.array(temperature_of(p, q)), "That is 1/T: a sharper"),
        (each(lambda p, q: np.mean(p / q)), "You divide log-probabilities: the normaliser"),
        (each(lambda p, q: np.var(p) / np.var(q)), "You divide variances: take the root"),
        (each(lambda p, q: np.ptp(np.exp(p)) / np.ptp(np.exp(q))), "You compare probabilities; T divides"),
        (each(lambda p, q: (np.exp(q) @ q) / (np.exp(p) @ p)), "You compare entropies; they do not grow"),
        (lambda p, q: np.mean(temperature_of(p, q)), "You return one number; each row"),
    ],
}

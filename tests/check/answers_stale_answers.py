"""The exercises of the chapter "Answers that are no longer fresh", solved and got wrong by a reader who likes loops."""

import math
import statistics

import numpy as np


def share(weights):
    return sum(weights) ** 2 / (len(weights) * sum(w * w for w in weights))


def ratios(log_pi, log_old):
    return [math.exp(a - b) for a, b in zip(log_pi, log_old, strict=True)]


def effective_share(log_pi, log_old):
    return share(ratios(log_pi, log_old))


def perplexity(log_pi, log_old):
    w = np.array(ratios(log_pi, log_old))
    w = w / w.sum()
    return math.exp(-sum(x * math.log(x) for x in w)) / len(w)


def pull(u, a, low, high):
    if a > 0:
        return u * a if u < 1 + high else 0.0
    return u * a if u > 1 - low else 0.0


def each(function):
    return lambda ratio, advantage, low, high: np.array(
        [function(u, a, low, high) for u, a in zip(ratio, advantage, strict=True)]
    )


pulls = each(pull)


def clip(x, low, high):
    return max(low, min(high, x))


def surrogate(w, a, e):
    return -min(w * a, clip(w, 1 - e, 1 + e) * a)


def answers(of, join=statistics.fmean, score=surrogate):
    """A loss of answers, each with one ratio from its tokens."""

    def loss(log_pi, log_old, advantage, mask, e):
        found = []
        for now, before, a, keep in zip(log_pi, log_old, advantage, mask, strict=True):
            steps = [x - y for x, y, m in zip(now, before, keep, strict=True) if m]
            found.append(score(of(steps, now - before), a, e))
        return join(found)

    return loss


gspo_loss = answers(lambda steps, row: math.exp(statistics.fmean(steps)))


def token_by_token(log_pi, log_old, advantage, mask, e):
    found = []
    for now, before, a, keep in zip(log_pi, log_old, advantage, mask, strict=True):
        tokens = [surrogate(math.exp(x - y), a, e) for x, y, m in zip(now, before, keep, strict=True) if m]
        found.append(statistics.fmean(tokens))
    return statistics.fmean(found)


WRONG = {
    "effective_share": [
        (lambda p, q: effective_share(p, q) * len(p), "You return the effective number of answers; divide"),
        (lambda p, q: effective_share(q, p), "Your weights are upside down: they are pi / pi_old."),
        (lambda p, q: share(p - q), "You use log-ratios as weights; exponentiate"),
        (lambda p, q: sum(ratios(p, q)) / len(p) / sum(w * w for w in ratios(p, q)), "You forgot to square the sum"),
        (lambda p, q: statistics.pvariance(ratios(p, q)), "You return the variance of the weights."),
        (lambda p, q: 1 / effective_share(p, q), "That is the inverse of it."),
        (perplexity, "You use the entropy of the weights, another"),
        (lambda p, q: share([math.exp(x) for x in p]), "Your weights are probabilities of pi alone; divide"),
    ],
    "pulls": [
        (each(lambda u, a, low, high: u * a), "You never clip."),
        (each(lambda u, a, low, high: pull(u, a, low, high) / u), "You forgot the ratio: the gradient of w A"),
        (
            each(lambda u, a, low, high: u * a if 1 - low < u < 1 + high else 0.0),
            "You drop every token outside the range; one",
        ),
        (each(lambda u, a, low, high: pull(u, a, low, low)), "You use one epsilon for both sides, `low`."),
        (each(lambda u, a, low, high: pull(u, a, high, high)), "You use one epsilon for both sides, `high`."),
        (each(lambda u, a, low, high: pull(u, a, high, low)), "`low` and `high` are exchanged."),
        (each(lambda u, a, low, high: clip(u, 1 - low, 1 + high) * a), "A clipped token keeps no gradient: you give"),
        (each(lambda u, a, low, high: -pull(u, a, low, high)), "The sign is flipped: return what the step"),
        (
            each(lambda u, a, low, high: u * a if (u < 1 if a > 0 else u > 1) else 0.0),
            "You ask whether the ratio is above or below 1; the bounds",
        ),
    ],
    "gspo_loss": [
        (answers(lambda steps, row: math.exp(sum(steps))), "You forgot the root: the log-ratio"),
        (answers(lambda steps, row: math.exp(statistics.fmean(row))), "You forgot the mask: what stands"),
        (
            answers(lambda steps, row: math.exp(sum(steps) / len(row))),
            "You divide by the length of a row; divide by the number",
        ),
        (answers(lambda steps, row: math.exp(-statistics.fmean(steps))), "Your ratio is upside down: it is pi"),
        (lambda *case: -gspo_loss(*case), "The sign is flipped: a loss goes down when good answers"),
        (
            answers(lambda steps, row: math.exp(statistics.fmean(steps)), score=lambda w, a, e: -w * a),
            "You forgot to clip.",
        ),
        (
            answers(lambda steps, row: statistics.fmean(math.exp(s) for s in steps)),
            "You take the mean of the tokens' ratios; it",
        ),
        (token_by_token, "You clip each token's ratio, as GRPO does; here"),
        (answers(lambda steps, row: math.exp(statistics.fmean(steps)), sum), "You sum over the answers; take their"),
        (
            answers(lambda steps, row: math.exp(statistics.fmean(steps)), np.array),
            "You return one number for each answer; take",
        ),
    ],
}

"""The exercises of the chapter "PPO, and how to watch it", solved and got wrong by a reader who likes loops."""

import math
import statistics

import numpy as np
from answers_policy_gradients import normalised


def softmax(z):
    return np.exp(z - np.max(z)) / np.sum(np.exp(z - np.max(z)))


def each_token(function):
    return lambda p, q, a, e: [function(math.exp(x - y), z, e) for x, y, z in zip(p, q, a, strict=True)]


def mean(function):
    return lambda *arguments: sum(function(*arguments)) / len(arguments[0])


def clip(x, low, high):
    return max(low, min(high, x))


def surrogate(ratio, a, e):
    if a > 0:
        return -min(ratio, 1 + e) * a
    return -max(ratio, 1 - e) * a


ppo_loss = mean(each_token(surrogate))


def descend(policy, drawn, advantage, e, size, passes, *, slope=None, old=None, score=None, divide=True):
    """Take the passes with loops over answers; the keywords break one thing each."""
    slope = slope or (lambda u, a: u * a if (u < 1 + e if a > 0 else u > 1 - e) else 0.0)
    logits = np.log(policy)
    for _ in range(passes):
        now = softmax(logits)
        before = now if old else policy
        step = np.zeros(len(policy))
        for y, a in zip(drawn, advantage, strict=True):
            step += slope(now[y] / before[y], a) * ((np.arange(len(policy)) == y) - (now if score is None else score))
        logits = logits + size * step / (len(drawn) if divide else 1)
    return softmax(logits)


ppo_passes = descend


def spread(numbers):
    return statistics.pvariance([float(x) for x in numbers])


def explained_variance(values, returns):
    return 1 - spread(returns - values) / spread(returns)


def high(policy, reward):
    return np.array([sum(p for p, s in zip(policy, reward, strict=True) if s <= r) for r in reward])


def surrogate_of(ratio, a, e):
    return -min(ratio * a, clip(ratio, 1 - e, 1 + e) * a)


WRONG = {
    "ppo_loss": [
        (lambda *case: -ppo_loss(*case), "The sign is flipped: a loss goes down when good tokens"),
        (
            mean(each_token(lambda ratio, a, e: -max(ratio * a, clip(ratio, 1 - e, 1 + e) * a))),
            "You take the maximum of the two; the minimum",
        ),
        (mean(each_token(lambda ratio, a, e: -ratio * a)), "You forgot to clip the ratio."),
        (
            mean(each_token(lambda ratio, a, e: -clip(ratio, 1 - e, 1 + e) * a)),
            "You always use the clipped ratio; take",
        ),
        (
            mean(each_token(lambda ratio, a, e: surrogate(1 / ratio, a, e))),
            "Your ratio is upside down: it is pi / pi_old.",
        ),
        (
            mean(each_token(lambda ratio, a, e: surrogate_of(math.log(ratio), a, e))),
            "You use the difference of log-probabilities as the ratio",
        ),
        (
            mean(each_token(lambda ratio, a, e: -min(ratio * a, clip(ratio, -e, e) * a))),
            "You clip to [-epsilon, epsilon]; clip to",
        ),
        (
            mean(each_token(lambda ratio, a, e: -min(ratio * a, clip(ratio * a, 1 - e, 1 + e)))),
            "You clip the product; clip the ratio, then",
        ),
        (lambda *case: sum(each_token(surrogate)(*case)), "You sum over the tokens; take the mean."),
        (each_token(surrogate), "You return one number for each token; take"),
        (
            mean(each_token(lambda ratio, a, e: -min(ratio, clip(ratio, 1 - e, 1 + e)) * a)),
            "You take the minimum of the ratios, then multiply; where",
        ),
        (lambda p, q, a, e: ppo_loss(p, q, normalised(a), e), "You normalise the advantages; here"),
    ],
    "ppo_passes": [
        (lambda *case: descend(*case, slope=lambda u, a: u * a), "You never clip: where the ratio has gone"),
        (
            lambda p, d, adv, e, size, n: descend(
                p, d, adv, e, size, n, slope=lambda u, a: a if (u < 1 + e if a > 0 else u > 1 - e) else 0.0
            ),
            "You forgot the ratio: the gradient of u A",
        ),
        (
            lambda p, d, adv, e, size, n: descend(
                p, d, adv, e, size, n, slope=lambda u, a: u * a if 1 - e < u < 1 + e else 0.0
            ),
            "You clip on both sides; a token that moved",
        ),
        (lambda *case: descend(*case, old=True), "You move pi_old along with the policy: the ratio"),
        (lambda p, *case: descend(p, *case, score=p), "Your scores are those of the old policy: take"),
        (lambda *case: descend(*case[:-1], 1), "You take one pass only."),
        (lambda *case: descend(*case, divide=False), "You sum over the answers; take their mean."),
        (lambda p, d, a, e, size, n: descend(p, d, a, e, -size, n), "The sign is flipped: a step down"),
        (lambda *case: np.log(descend(*case)), "You return log-probabilities; return"),
    ],
    "explained_variance": [
        (lambda v, g: spread(g - v) / spread(g), "You return the share that is left; subtract"),
        (lambda v, g: 1 - statistics.fmean((g - v) ** 2) / spread(g), "You count a constant error as unexplained"),
        (lambda v, g: spread(v) / spread(g), "You compare the variance of the values with"),
        (lambda v, g: statistics.correlation(list(v), list(g)) ** 2, "You return the squared correlation, which"),
        (lambda v, g: 1 - spread(g - v) / spread(v), "You divide by the variance of the values; divide"),
        (lambda v, g: 1 - math.sqrt(spread(g - v) / spread(g)), "You take standard deviations; take variances."),
        (lambda v, g: spread(g) - spread(g - v), "You forgot to divide by the variance of the returns."),
    ],
}

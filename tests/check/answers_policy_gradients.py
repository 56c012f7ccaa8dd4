"""The exercises of the chapter "RLHF with policy gradients", solved and got wrong by a reader who likes loops."""

import math
import statistics

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def softmax(z):
    return np.exp(z - np.max(z)) / np.sum(np.exp(z - np.max(z)))


def reinforce_gradient(policy, drawn, advantage):
    found = np.zeros(len(policy))
    for y, a in zip(drawn, advantage, strict=True):
        for j in range(len(policy)):
            found[j] += a * ((j == y) - policy[j]) / len(drawn)
    return found


def normalised(a):
    return [(x - statistics.fmean(a)) / (statistics.pstdev(a) + 1e-8) for x in a]


def others(row, j):
    return [x for i, x in enumerate(row) if i != j]


def by_answer(function):
    """A function of f (G, k), from one of a row and a place in it."""
    return lambda f: np.array([[function(row, j) for j in range(len(row))] for row in f])


rloo_advantages = by_answer(lambda row, j: row[j] - statistics.fmean(others(row, j)))


def td(r, v, g, t):
    return r[t] + g * (v[t + 1] if t + 1 < len(v) else 0.0) - v[t]


def summed(error, decay):
    return lambda r, v, g, lam: [
        sum(decay(g, lam) ** k * error(r, v, g, t + k) for k in range(len(r) - t)) for t in range(len(r))
    ]


gae = summed(td, lambda g, lam: g * lam)


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


def rows(function):
    """A function of (N, A) arrays and beta, from one of single rows."""
    return lambda *arguments: np.array([function(*row, arguments[-1]) for row in zip(*arguments[:-1], strict=True)])


def best(q, r, b):
    return np.log(softmax(q + r / b))


def value(p, q, r, b):
    return sum(math.exp(x) * (z - b * (x - y)) for x, y, z in zip(p, q, r, strict=True))


gibbs_gap = rows(lambda p, q, r, b: value(best(q, r, b), q, r, b) - value(p, q, r, b))


def best_of_n(policy, reward, n):
    """Walk through the answers from the worst to the best, and see how the chance that all draws lie below grows."""
    found, below = np.zeros(len(policy)), 0.0
    for i in np.argsort(reward):
        found[i] = (below + policy[i]) ** n - below**n
        below += policy[i]
    return found


def kl(p, q):
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def best_of_n_kl(policy, reward, n):
    return kl(best_of_n(policy, reward, n), policy)


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


# Wrong solutions, written apart from those of the checkers, and how the sentence that names them begins.


def drawn_mean(term):
    return lambda policy, drawn, advantage: (
        sum(term(policy, np.arange(len(policy)) == y, y, a) for y, a in zip(drawn, advantage, strict=True)) / len(drawn)
    )


def high(policy, reward):
    return np.array([sum(p for p, s in zip(policy, reward, strict=True) if s <= r) for r in reward])


WRONG = {
    "reinforce_gradient": [
        (drawn_mean(lambda p, hot, y, a: a * hot), "You forgot minus pi: the score of a softmax"),
        (lambda p, d, a: reinforce_gradient(p, d, a) * len(d), "You sum over the answers that were drawn; take"),
        (
            lambda p, d, a: reinforce_gradient(p, d, a) * len(d) / len(p),
            "You divide by the number of possible answers; divide",
        ),
        (lambda p, d, a: -reinforce_gradient(p, d, a), "The sign is flipped: this is the gradient of the loss"),
        (drawn_mean(lambda p, hot, y, a: p[y] * a * (hot - p)), "You weigh each answer with its probability; it was"),
        (drawn_mean(lambda p, hot, y, a: a * hot / p[y]), "That is the gradient in the probabilities; go on"),
        (drawn_mean(lambda p, hot, y, a: hot - p), "You forgot the advantages: this is the gradient of"),
        (
            lambda p, d, a: [x * ((np.arange(len(p)) == y) - p) for y, x in zip(d, a, strict=True)],
            "You return one row for each answer that was drawn",
        ),
        (lambda p, d, a: reinforce_gradient(p, d, a - statistics.fmean(a)), "You centre the advantages; here"),
        (lambda p, d, a: reinforce_gradient(p, d, normalised(a)), "You normalise the advantages; here"),
    ],
    "rloo_advantages": [
        (by_answer(lambda row, j: row[j] - statistics.fmean(row)), "Your mean holds the answer itself: leave it out"),
        (by_answer(lambda row, j: row[j] - sum(others(row, j)) / len(row)), "You leave the answer out of the sum, but"),
        (lambda f: f - np.sum(f) / f.size, "Your baseline is the mean of the whole batch; take"),
        (lambda f: f - sum(f) / len(f), "You average over the prompts; average over the answers"),
        (by_answer(lambda row, j: statistics.fmean(others(row, j))), "You return the baseline; subtract it from f."),
        (lambda f: -rloo_advantages(f), "The sign is flipped: an answer better than the others"),
        (
            by_answer(lambda row, j: (row[j] - statistics.fmean(row)) / statistics.stdev(row)),
            "You divide by the standard deviation: that is GRPO.",
        ),
        (by_answer(lambda row, j: row[j] - max(others(row, j))), "You subtract the best of the others; subtract"),
    ],
    "gae": [
        (summed(td, lambda g, lam: g), "You forgot lambda: you return the discounted return"),
        (summed(td, lambda g, lam: lam), "You forgot gamma in the sum: the weights are powers"),
        (
            summed(lambda r, v, g, t: td(r, v, 1.0, t), lambda g, lam: g * lam),
            "You forgot gamma in the TD error: it is",
        ),
        (
            summed(lambda r, v, g, t: td(r, v, g, t) + v[t], lambda g, lam: g * lam),
            "You forgot to subtract the values: a TD error",
        ),
        (
            summed(lambda r, v, g, t: r[t] + g * v[min(t + 1, len(v) - 1)] - v[t], lambda g, lam: g * lam),
            "Behind the last token there is no value; you count",
        ),
        (lambda r, v, g, lam: [td(r, v, g, t) for t in range(len(r))], "You return the TD errors: sum them up"),
        (lambda r, v, g, lam: np.add(gae(r, v, g, lam), v), "You return A + V, the targets of the critic."),
        (
            lambda r, v, g, lam: [
                sum((g * lam) ** k * td(r, v, g, t - k) for k in range(t + 1)) for t in range(len(r))
            ],
            "You sum over the past; A_t looks forward.",
        ),
        (lambda r, v, g, lam: [-a for a in gae(r, v, g, lam)], "The sign is flipped."),
        (lambda r, v, g, lam: [*gae(r, v, g, lam)[1:], 0.0], "Your advantages are one token late: A_t begins"),
        (lambda r, v, g, lam: gae(r, v, 1.0, lam), "You dropped gamma, in the TD error and"),
        (lambda r, v, g, lam: gae(r, 0 * v, g, lam), "You ignore the values: that sums rewards"),
        (lambda r, v, g, lam: gae(r, v, g, lam) - np.mean(gae(r, v, g, lam)), "You centre the advantages; that is"),
        (lambda r, v, g, lam: normalised(gae(r, v, g, lam)), "You normalise the advantages; that is"),
    ],
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
    "gibbs_gap": [
        (
            rows(lambda p, q, r, b: b * kl(np.exp(best(q, r, b)), np.exp(p))),
            "You computed KL(pi* || pi), the other direction",
        ),
        (lambda p, q, r, b: gibbs_gap(p, q, r, b) / b, "You forgot beta: the gap is in units of reward"),
        (rows(lambda p, q, r, b: b * kl(np.exp(p), np.exp(q))), "You measured the divergence from the reference"),
        (rows(lambda p, q, r, b: b * kl(np.exp(p), np.exp(q + r / b))), "Your pi* is not normalised: subtract log Z."),
        (rows(lambda p, q, r, b: b * kl(np.exp(p), softmax(q + r * b))), "Your pi* multiplies the reward by beta; div"),
        (rows(value), "You return the value of pi; subtract it from"),
        (rows(lambda p, q, r, b: value(best(q, r, b), q, r, b)), "You return the value of pi*; subtract the value"),
        (lambda p, q, r, b: -gibbs_gap(p, q, r, b), "The sign is flipped: no policy is better than"),
        (
            rows(lambda p, q, r, b: np.exp(best(q, r, b)) @ r - np.exp(p) @ r),
            "You compare rewards alone; the price of divergence",
        ),
    ],
    "best_of_n_kl": [
        (lambda p, r, n: math.log(n) - 1 + 1 / n, "You return the bound, log n - (n - 1) / n; the divergence"),
        (lambda p, r, n: math.log(n), "You return log n; that is more than"),
        (lambda p, r, n: kl(p, best_of_n(p, r, n)), "You computed KL(pi || pi_n), the other direction"),
        (lambda p, r, n: kl(best_of_n(p, -r, n), p), "You keep the worst of n; the best has a reward"),
        (lambda p, r, n: kl(n * p * high(p, r) ** (n - 1), p), "You took n pi F^(n - 1), which sums to more than 1:"),
        (lambda p, r, n: kl(softmax(n * np.log(p)), p), "You raise the policy to the power n and normalise"),
        (lambda p, r, n: sum(np.log(best_of_n(p, r, n)) - np.log(p)), "You forgot the weights: it is a mean under"),
        (lambda p, r, n: math.log2(math.exp(best_of_n_kl(p, r, n))), "You use logarithms to base 2; the book"),
        (lambda p, r, n: best_of_n_kl(p, r, n + 1), "You used one draw too many: F^(n + 1)"),
    ],
}


def surrogate_of(ratio, a, e):
    return -min(ratio * a, clip(ratio, 1 - e, 1 + e) * a)

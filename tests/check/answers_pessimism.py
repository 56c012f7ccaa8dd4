"""The exercises of the chapter "Pessimism", solved and got wrong by a reader who likes loops."""

import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def norm(vector, covariance):
    return math.sqrt(vector @ np.linalg.solve(covariance, vector))


def elliptical_bonus(features, reference, covariance):
    return [norm(row - reference, covariance) for row in features]


def lcb_reward(features, reference, theta, uncertainty, c):
    rows = zip(features, uncertainty, strict=True)
    return [sum((row - reference) * theta) - c * math.sqrt(len(theta)) * u for row, u in rows]


def sigma(difference, precision):
    return sum((np.outer(d, d) for d in difference), precision * np.eye(difference.shape[1]))


def mean(weights, features):
    return sum(w * row for w, row in zip(weights, features, strict=True))


def coverage_coefficient(policy, pretrained, features, difference, precision):
    norms = elliptical_bonus(features, mean(pretrained, features), sigma(difference, precision))
    return math.sqrt(len(difference)) * sum(p * u for p, u in zip(policy, norms, strict=True))


def needed_caution(learned, reward, uncertainty, size):
    errors = zip(learned, reward, uncertainty, strict=True)
    return max([0.0] + [(high - true) / u / math.sqrt(size) for high, true, u in errors])


# Wrong solutions, written apart from those of the checkers, and how the sentence that names them begins.


def diagonal(features, reference, covariance):
    inverse = np.linalg.inv(covariance)
    return [math.sqrt(sum(inverse[k, k] * x**2 for k, x in enumerate(row - reference))) for row in features]


def lcb(width):
    """The reward minus a width that depends on (c, d, u, number of answers)."""

    def solve(features, reference, theta, uncertainty, c):
        rows = zip(features, uncertainty, strict=True)
        return [sum((r - reference) * theta) - width(c, len(theta), u, len(features)) for r, u in rows]

    return solve


def coverage(power=0.5, at=None, scale=1.0, around=None, prior=True, square=False):
    def solve(policy, pretrained, features, difference, precision):
        n = len(difference)
        covariance = sigma(difference * math.sqrt(scale if scale == 1 else 1 / n), precision if prior else 0.0)
        reference = mean(pretrained, features) if around is None else around(policy, features)
        norms = np.array(elliptical_bonus(features, reference, covariance)) ** (2 if square else 1)
        return n**power * sum((policy if at is None else pretrained) * norms)

    return solve


def norm_of_mean(policy, pretrained, features, difference, precision):
    away = mean(policy - pretrained, features)
    return math.sqrt(len(difference)) * norm(away, sigma(difference, precision))


WRONG = {
    "elliptical_bonus": [
        (lambda f, r, s: np.square(elliptical_bonus(f, r, s)), "You forgot the root: the bonus is a norm"),
        (lambda f, r, s: elliptical_bonus(f, 0 * r, s), "You forgot the reference: subtract phi(x, pi_0)"),
        (lambda f, r, s: elliptical_bonus(f, r, np.linalg.inv(s)), "You forgot to invert Sigma: what was compared"),
        (lambda f, r, s: [math.sqrt(sum((x - r) ** 2)) for x in f], "That is the plain length: use the norm"),
        (diagonal, "You use the diagonal of Sigma^-1 only; features"),
        (
            lambda f, r, s: [math.sqrt(sum(np.linalg.solve(s, x - r) ** 2)) for x in f],
            "You multiply by Sigma^-1 and take the length: put",
        ),
        (
            lambda f, r, s: math.sqrt(sum(np.square(elliptical_bonus(f, r, s)))),
            "You return one number for all answers: sum over",
        ),
        (lambda f, r, s: [-u for u in elliptical_bonus(f, r, s)], "The sign is flipped: return the uncertainty"),
    ],
    "lcb_reward": [
        (lcb(lambda c, d, u, n: -c * math.sqrt(d) * u), "You add the bonus: that is optimism."),
        (lcb(lambda c, d, u, n: c * u), "You forgot sqrt(d): the bonus grows"),
        (lcb(lambda c, d, u, n: c * d * u), "You multiply by d; multiply by its root."),
        (lcb(lambda c, d, u, n: math.sqrt(d) * u), "You forgot c."),
        (lcb(lambda c, d, u, n: 0.0), "You forgot the uncertainty: that is the plain"),
        (
            lambda f, r, t, u, c: np.array(lcb_reward(f, r, t, u, c)) + sum(r * t),
            "You forgot the reference in the reward: subtract",
        ),
        (lcb(lambda c, d, u, n: c * math.sqrt(n) * u), "d is the number of features, not of answers."),
        (
            lambda f, r, t, u, c: [c * math.sqrt(len(t)) * x for x in u],
            "You return the width of the bound only: subtract",
        ),
        (lcb(lambda c, d, u, n: c * math.sqrt(d) * u * u), "You square the uncertainty: subtract the norm"),
    ],
    "coverage_coefficient": [
        (coverage(power=0), "You forgot sqrt(n): without it"),
        (coverage(power=1), "You multiply by n; multiply by its root."),
        (coverage(at="pretrained"), "You average over pi_0; C* asks where"),
        (coverage(around=mean), "You measure from the mean of policy; the reference"),
        (norm_of_mean, "You took the norm of the mean difference; take"),
        (coverage(prior=False), "You forgot the prior: Sigma begins with lambda I."),
        (coverage(scale=0), "You divide the sum in Sigma by n; the root"),
        (coverage(around=lambda p, f: 0 * f[0]), "You forgot the reference: subtract phi(x, pi_0)"),
        (coverage(square=True), "You forgot the root in the norm."),
    ],
    "needed_caution": [
        (lambda f, r, u, d: max(0, max((f - r) / u)), "You forgot sqrt(d): c is"),
        (lambda f, r, u, d: max(0, max((f - r) / u)) / d, "You divide by d; divide"),
        (lambda f, r, u, d: max(0, max((f - r) / u)) * math.sqrt(d), "You multiply by sqrt(d); divide"),
        (lambda f, r, u, d: max(0, sum((f - r) / u) / len(f) / math.sqrt(d)), "You average over the answers; the"),
        (lambda f, r, u, d: max(0, min((f - r) / u)) / math.sqrt(d), "You take the smallest ratio; the"),
        (lambda f, r, u, d: max(0, max(f - r)) / math.sqrt(d), "You forgot the uncertainty: divide"),
        (lambda f, r, u, d: max(abs(f - r) / u) / math.sqrt(d), "You count an answer that is judged too low"),
        (lambda f, r, u, d: max(0, max((r - f) / u)) / math.sqrt(d), "You subtract the other way round"),
        (lambda f, r, u, d: max((f - r) / u) / math.sqrt(d), "c is at least 0: where"),
    ],
}

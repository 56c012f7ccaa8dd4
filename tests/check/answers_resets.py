"""The exercises of the chapter "Resets", solved and got wrong by a reader who likes loops."""

import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def token_cost(q, log_pi, log_pi_0, price):
    found = np.zeros(q.shape)
    for i, row in enumerate(q):
        value = sum(math.exp(p) * x for p, x in zip(log_pi_0[i], row, strict=True))
        for a, x in enumerate(row):
            found[i, a] = value - x + price * (log_pi[i, a] - log_pi_0[i, a])
    return found


def reset_mixture(occupancy, share):
    found = [(1 - share) * x for x in occupancy[0]]
    for row in occupancy:
        for s, d in enumerate(row):
            found[s] += share * d / len(occupancy)
    return found


def lock_wait(horizon, symbols, teacher):
    return [one_wait(horizon, symbols, q) for q in teacher]


def one_wait(horizon, symbols, q):
    return horizon / sum(q**h / symbols ** (horizon - h) for h in range(horizon))


def teacher_skill(horizon, symbols, plain, with_resets):
    return [one_skill(horizon, symbols, *waits) for waits in zip(plain, with_resets, strict=True)]


def one_skill(horizon, symbols, plain, wait):
    return solve(horizon, symbols, wait) if math.isclose(plain, symbols**horizon) else plain ** (-1 / horizon)


def solve(horizon, symbols, wait):
    low, high = 0.0, 1.0
    while high - low > 1e-15:
        middle = (low + high) / 2
        low, high = (middle, high) if one_wait(horizon, symbols, middle) > wait else (low, middle)
    return low


# Wrong ones.


def mean(q, log_p):
    return np.sum(np.exp(log_p) * q, axis=-1, keepdims=True)


def ways(h, q, horizon, symbols):
    return q**h / float(symbols) ** (horizon - h)


def steps(horizon):
    return np.arange(horizon)[:, None]


def last_dial(n, a, plain, wait):
    return [
        (a / v) ** (1 / (n - 1)) if math.isclose(w, a**n) else w ** (-1 / n) for w, v in zip(plain, wait, strict=True)
    ]


WRONG = {
    "token_cost": [
        (lambda q, p, p0, c: mean(q, p) - q + c * (p - p0), "Your V is the mean under the policy"),
        (lambda q, p, p0, c: mean(q, p0) - q, "You forgot the price of the token"),
        (lambda q, p, p0, c: mean(q, p0) - q - c * (p - p0), "The sign of the price"),
        (lambda q, p, p0, c: q - mean(q, p0) - c * (p - p0), "Yours is an advantage"),
        (lambda q, p, p0, c: q - mean(q, p0) + c * (p - p0), "The sign of the advantage"),
        (lambda q, p, p0, c: c * (p - p0) - q, "You forgot V"),
        (lambda q, p, p0, c: q.max(-1)[:, None] - q + c * (p - p0), "You measure from the best token"),
        (lambda q, p, p0, c: q.mean(-1)[:, None] - q + c * (p - p0), "You measure from the plain mean"),
        (lambda q, p, p0, c: mean(q, p0) - q + (p - p0) / c, "You divide by the price"),
        (lambda q, p, p0, c: mean(q, p0) - q + p - p0, "You forgot the price as a factor"),
        (lambda q, p, p0, c: mean(q, p0) - q + c * p, "You charge for log pi alone"),
        (lambda q, p, p0, c: mean(q, p0) - q + c * np.exp(p) * (p - p0), "You weigh the price with the policy"),
    ],
    "reset_mixture": [
        (lambda d, z: reset_mixture(d, 1 - z), "You exchanged the shares"),
        (lambda d, z: z * d.sum(0) + (1 - z) * d[0], "You forgot to divide by H"),
        (lambda d, z: z * d.mean(0), "You forgot the prompts"),
        (lambda d, z: d.mean(0), "You leave out the share"),
        (lambda d, z: z * d.mean(0) + d[0], "Prompts have the share 1 - zeta"),
        (lambda d, z: z * d[1:].mean(0) + (1 - z) * d[0], "Step 0 is one of the H steps"),
        (lambda d, z: z * d[-1] + (1 - z) * d[0], "You reset to the last step only"),
        (lambda d, z: z * d.sum(0) / d.sum() + (1 - z) * d[0], "You normalise what the teacher reaches"),
        (lambda d, z: z * d.mean(0) + (1 - z) * d.sum(0), "You add all steps"),
    ],
    "lock_wait": [
        (lambda n, a, q: ways(steps(n), q, n, a).mean(0), "You return the chance"),
        (lambda n, a, q: (1 / ways(steps(n), q, n, a)).mean(0), "You average the waits"),
        (lambda n, a, q: np.full(q.shape, a**n), "That is the wait without resets"),
        (lambda n, a, q: 1 / ways(steps(n), np.ones(q.shape), n, a).mean(0), "You assume that the teacher is right"),
        (lambda n, a, q: 1 / ways(steps(n), q, n, a).sum(0), "You forgot to divide by H"),
        (lambda n, a, q: 1 / ways(steps(n) + 1, q, n, a).mean(0), "The teacher sets h dials"),
        (lambda n, a, q: q**-n, "You leave all dials to the teacher"),
        (lambda n, a, q: a / (q ** steps(n)).mean(0), "The learner sets one dial"),
    ],
    "teacher_skill": [
        (lambda n, a, w, v: w ** (-1 / n), "You read the learner: plain"),
        (lambda n, a, w, v: v ** (-1 / n), "Where the learner explores uniformly"),
        (lambda n, a, w, v: np.array(teacher_skill(n, a, w, v)) ** n, "You return the chance that an answer"),
        (lambda n, a, w, v: w / v, "You return what the resets gain"),
        (lambda n, a, w, v: [solve(n, a, one) for one in v], "You assume that every learner explores uniformly"),
        (lambda n, a, w, v: np.ones(w.shape), "You take the teacher for perfect"),
        (last_dial, "You solved for the last dial alone"),
    ],
}

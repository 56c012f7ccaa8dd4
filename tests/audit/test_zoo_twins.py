"""Bugs of the zoo by a second formula: their right function of something else, or arithmetic for each number."""

import numpy as np
import pytest

from rlhf_lab.audit.zoo import ZOO, charges, kl, pairs, policies, returns
from rlhf_lab.audit.zoo.grpo import grpo_loss

N, T, G, K = 4, 5, 3, 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mean(values, mask):
    return (values * mask).sum() / mask.sum()


def per_answer(values, mask):
    return ((values * mask).sum(-1) / mask.sum(-1)).mean()


def held(ratio, advantage, low, high):
    return -np.minimum(ratio * advantage, np.clip(ratio, low, high) * advantage)


def td(error):
    def found(r, v, m, g, lam):
        out = np.zeros(r.shape)
        for row, at in np.ndindex(r.shape):
            for t in range(at, T):
                after = v[row, t + 1] * m[row, t + 1] if t + 1 < T else 0.0
                out[row, at] += (g * lam) ** (t - at) * error(r[row, t], v[row, t], after, g) * m[row, t]
        return out * m

    return found


def tiled(rewards):
    out = np.zeros(rewards.size)
    for i, reward in enumerate(rewards.ravel()):
        group = rewards[i % G]
        out[i] = (reward - group.mean()) / (group.std() + 1e-4)
    return out.reshape(rewards.shape)


def ranged(a, m):
    seen = a[m > 0]
    return (a - seen.min()) / (np.ptp(seen) + 1e-8) * m


def multiplied(a, m):
    seen = a[m > 0]
    return (a - seen.mean()) * seen.std() * m


FOUR = {
    "brackets missing": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, c0, -r0, b),
    "margin clipped": lambda c, r, c0, r0, b: pairs.dpo_loss(np.clip(c - r - c0 + r0, -2, 2), 0, 0, 0, b),
    "exponential in place of logistic in DPO": lambda c, r, c0, r0, b: np.exp(b * (r + c0)) / np.exp(b * (c + r0)),
    "brackets missing in IPO": lambda c, r, c0, r0, b: pairs.ipo_loss(c, r, c0, -r0, b),
    "margin clipped in IPO": lambda c, r, c0, r0, b: pairs.ipo_loss(np.clip(c - r - c0 + r0, -2, 2), 0, 0, 0, b),
}
TWO = {
    "difference clipped": lambda c, r: -np.log(sigmoid(np.clip(c - r, -1, 1))),
    "1 missing in k3": lambda p, q: kl.k3(p, q) + 1,
    "negative log-ratios left out": lambda p, q: np.where(p > q, p - q, 0),
}
PPO = {
    "size of the advantage": lambda p, o, a, m, e: policies.ppo_loss(p, o, np.where(a < 0, -a, a), m, e),
    "log-ratio clipped around 1": lambda p, o, a, m, e: mean(held(np.exp(p - o), a, np.exp(1 - e), np.exp(1 + e)), m),
    "log-ratio clipped around 0": lambda p, o, a, m, e: mean(held(np.exp(p - o), a, np.exp(-e), np.exp(e)), m),
    "ratio of logarithms": lambda p, o, a, m, e: mean(held(p / o, a, 1 - e, 1 + e), m),
}


def with_kl(term):
    return lambda p, o, r, a, m, e, b: grpo_loss(p, o, r, a, m, e, 0.0) + b * per_answer(term(p, r), m)


GRPO = {
    "minus k1 in the loss": with_kl(lambda p, r: r - p),
    "absolute log-ratio in the loss": with_kl(lambda p, r: np.maximum(p - r, r - p)),
    "k2 without its half": with_kl(lambda p, r: 2 * kl.k2(p, r)),
    "k3 without its 1": with_kl(lambda p, r: kl.k3(p, r) + 1),
}
GAE = {
    "next value not discounted": td(lambda r, v, after, g: r + after - v),
    "both values discounted": td(lambda r, v, after, g: r + g * after - g * v),
    "next value subtracted": td(lambda r, v, after, g: r - g * after - v),
    "value added": td(lambda r, v, after, g: r + g * after + v),
    "values the wrong way round": td(lambda r, v, after, g: r - g * after + v),
}
CHARGES = {
    "score with the first token": lambda s, p, r, m, b: (
        charges.token_rewards(0 * s, p, r, m, b) + s[:, None] * (np.arange(T) == 0)
    ),
    "k2 charged": lambda s, p, r, m, b: charges.token_rewards(s, kl.k2(p, r), 0, m, b),
    "negative charges left out": lambda s, p, r, m, b: charges.token_rewards(s, np.maximum(p, r), r, m, b),
    "charge divided by the length": lambda s, p, r, m, b: charges.token_rewards(
        s, (p - r) / m.sum(-1)[:, None], 0, m, b
    ),
}
VALUES = {
    "squared after the mean": lambda v, g, m: (mean(v, m) - mean(g, m)) ** 2 / 2,
    "root of the mean square": lambda v, g, m: np.sqrt(2 * returns.value_loss(v, g, m)),
    "return added": lambda v, g, m: returns.value_loss(v, -g, m),
}
CLIPPED = {
    "old value left out": lambda v, o, g, m, e: mean(
        np.maximum(np.abs(v - g), np.abs(np.clip(v - o, -e, e) - g)) ** 2 / 2, m
    ),
}
REST = {
    "means of groups tiled": tiled,
    "multiplied by the deviation": multiplied,
    "scaled to the range": ranged,
}


def inputs(name, rng):
    wide, mask = (lambda: rng.normal(size=(N, T))), 1.0 * (np.arange(T) < rng.integers(1, T, size=N)[:, None])
    if name in FOUR:
        return (*rng.normal(size=(4, N)), 0.3)
    if name in TWO:
        return tuple(rng.normal(size=(2, N)))
    if name in PPO:
        return -np.abs(wide()), -np.abs(wide()), wide(), mask, 0.2
    if name in GRPO:
        return wide(), wide(), wide(), rng.normal(size=N), mask, 0.2, 0.3
    if name in GAE:
        return wide(), wide(), mask, 0.9, 0.7
    if name in CHARGES:
        return rng.normal(size=N), wide(), wide(), mask, 0.3
    if name in VALUES:
        return wide(), wide(), mask
    if name in CLIPPED:
        return wide(), wide(), wide(), mask, 0.2
    return (rng.normal(size=(G, K)),) if name == "means of groups tiled" else (wide(), mask)


TWINS = FOUR | TWO | PPO | GRPO | GAE | CHARGES | VALUES | CLIPPED | REST


@pytest.mark.parametrize("name", TWINS)
def test_what_a_bug_returns_by_a_second_formula(name):
    bug = next(bug for bug in ZOO if bug.name == name)
    for seed in range(3):
        given = inputs(name, np.random.default_rng(seed))
        np.testing.assert_allclose(bug.function(*given), TWINS[name](*given), rtol=1e-9, atol=1e-12)

"""What each bug of the zoo returns, written a second time: as its right function of other inputs, or in another way."""

import numpy as onp
import pytest
from zoo_inputs import INPUTS, K, N, T, V

from rlhf_lab.audit.zoo import ZOO, charges, grpo, kl, loops, pairs, policies, returns, tokens


def sigmoid(x):
    return 1 / (1 + onp.exp(-x))


def softmax(x):
    return onp.exp(x) / onp.exp(x).sum(-1, keepdims=True)


def averaged(*rows):
    return [onp.full(x.shape, x.mean()) for x in rows]


def summed(*rows):
    return [onp.full(x.shape, x.sum()) for x in rows]


def kept(values, weight):
    return values[weight > 0]


def rolled(x):
    return onp.concatenate([x[..., 1:], onp.zeros(x[..., :1].shape)], axis=-1)


def full(weight):
    return onp.ones(weight.shape)


def behind(weight):
    return 1.0 * (onp.cumsum(weight, axis=-1) > 0)


def without_last(weight):
    return weight * (rolled(weight) > 0)


def with_prompt(weight):
    return weight + (onp.cumsum(weight, axis=-1) == 0)


def without_first(weight):
    return weight * onp.roll(weight, 1, axis=-1)


def ends(weight):
    return onp.where((weight > 0) & (rolled(weight) == 0), 1.0, 0.0)


TWINS = {
    "beta twice": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, c0, r0, b**2),
    "beta missing": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, c0, r0, 1.0),
    "beta divides": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, c0, r0, 1 / b),
    "reference missing": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, 0, 0, b),
    "reference not frozen": lambda c, r, c0, r0, b: onp.full(c.shape, onp.log(2)),
    "reference re-made each step": lambda c, r, c0, r0, b: onp.full(c.shape, onp.log(2)),
    "reference crossed": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, r0, c0, b),
    "chosen and rejected swapped": lambda c, r, c0, r0, b: pairs.dpo_loss(r, c, r0, c0, b),
    "ratios in place of log-ratios": lambda c, r, c0, r0, b: pairs.dpo_loss(
        onp.exp(c) / onp.exp(c0), onp.exp(r) / onp.exp(r0), 0, 0, b
    ),
    "logarithm missing": lambda c, r, c0, r0, b: sigmoid(b * (r - r0 - c + c0)),
    "mean inside the loss": lambda c, r, c0, r0, b: pairs.dpo_loss(*averaged(c, r, c0, r0), b),
    "smoothing reversed": lambda c, r, c0, r0, b: (
        0.1 * pairs.dpo_loss(c, r, c0, r0, b) + 0.9 * pairs.dpo_loss(r, c, r0, c0, b)
    ),
    "target twice as far": lambda c, r, c0, r0, t: pairs.ipo_loss(c, r, c0, r0, t / 2),
    "margin scaled by tau": lambda c, r, c0, r0, t: pairs.ipo_loss(t * c, t * r, t * c0, t * r0, t),
    "rewards swapped": lambda c, r: pairs.reward_model_loss(r, c),
    "averaged twice": lambda c, r: pairs.reward_model_loss(c, r) / N,
    "sigmoid twice": lambda c, r: pairs.reward_model_loss(sigmoid(c - r), 0),
    "each answer by itself": lambda c, r: pairs.reward_model_loss(c, 0) + pairs.reward_model_loss(0, r),
    "not shifted": lambda z, y, m: tokens.log_probs(onp.roll(z, -1, axis=-2), y, m),
    "shifted twice": lambda z, y, m: tokens.log_probs(z, rolled(y).astype(int), rolled(m)),
    "mask not shifted": lambda z, y, m: tokens.log_probs(z, y, onp.roll(m, 1, axis=-1)),
    "prompt counts": lambda z, y, m: tokens.log_probs(z, y, with_prompt(m)),
    "eos dropped": lambda z, y, m: tokens.log_probs(z, y, without_last(m)),
    "padding counts": lambda z, y, m: tokens.log_probs(z, y, behind(m)),
    "softmax over positions": lambda z, y, m: (
        TWINS["softmax missing"](z, y, m) - m[:, 1:] * (onp.take_along_axis(onp.log(onp.exp(z).sum(-2)), y[:, 1:], -1))
    ),
    "softmax missing": lambda z, y, m: tokens.log_probs(z, y, m) + m[:, 1:] * onp.log(onp.exp(z[:, :-1]).sum(-1)),
    "likeliest token": lambda z, y, m: tokens.log_probs(z, onp.roll(z.argmax(-1), 1, axis=-1), m),
    "temperature ignored": lambda z, y, m, t: tokens.log_probs_at(z, y, m, 1.0),
    "temperature multiplies": lambda z, y, m, t: tokens.log_probs_at(z, y, m, 1 / t),
    "mean over tokens": lambda z, y, m: tokens.answer_log_probs(z, y, m) / m.sum(-1),
    "labels not shifted": lambda z, y, m: tokens.sft_loss(onp.roll(z, -1, axis=-2), y, m),
    "labels shifted twice": lambda z, y, m: tokens.sft_loss(onp.roll(z, 1, axis=-2), y, m * (onp.arange(9) > 1)),
    "labels without eos": lambda z, y, m: tokens.sft_loss(z, y, without_last(m)),
    "labels of the prompt": lambda z, y, m: tokens.sft_loss(z, y, with_prompt(m)),
    "padding in the mean": lambda z, y, m: tokens.sft_loss(z, y, m) * m.sum() / (8 * N),
    "sign turned": lambda p, o, a, m, e: -policies.ppo_loss(p, o, a, m, e),
    "max in place of min": lambda p, o, a, m, e: -policies.ppo_loss(p, o, -a, m, e),
    "clipped ratio only": lambda p, o, a, m, e: policies.ppo_loss(
        o + onp.log(onp.clip(onp.exp(p - o), 1 - e, 1 + e)), o, a, m, e
    ),
    "clipped on one side": lambda p, o, a, m, e: (
        -policies.masked_mean(onp.where((a > 0) & (p - o > onp.log1p(e)), 1 + e, onp.exp(p - o)) * a, m)
    ),
    "ratio upside down": lambda p, o, a, m, e: policies.ppo_loss(o, p, a, m, e),
    "log-ratio in place of the ratio": lambda p, o, a, m, e: (
        -policies.masked_mean(onp.where(a > 0, onp.minimum(p - o, 1 + e), onp.maximum(p - o, 1 - e)) * a, m)
    ),
    "old log-probabilities recomputed": lambda p, o, a, m, e: policies.ppo_loss(p, p, a, m, e),
    "ratio of rounded numbers": lambda p, o, a, m, e: policies.ppo_loss(
        policies.bfloat16(p), policies.bfloat16(o), a, m, e
    ),
    "advantage one token late": lambda p, o, a, m, e: policies.ppo_loss(p, o, rolled(a[:, ::-1])[:, ::-1], m, e),
    "mask ignored": lambda p, o, a, m, e: policies.ppo_loss(p, o, a, full(m), e),
    "KL maximised": lambda p, o, r, a, m, e, b: grpo.grpo_loss(p, o, r, a, m, e, -b),
    "KL without its weight": lambda p, o, r, a, m, e, b: grpo.grpo_loss(p, o, r, a, m, e, 1.0),
    "k1 in the loss": lambda p, o, r, a, m, e, b: (
        grpo.grpo_loss(p, o, r, a, m, e, 0.0) + b * (((p - r) * m).sum(-1) / m.sum(-1)).mean()
    ),
    "KL to the old policy": lambda p, o, r, a, m, e, b: grpo.grpo_loss(p, o, o, a, m, e, b),
    "KL on padding": lambda p, o, r, a, m, e, b: (
        grpo.grpo_loss(p, o, r, a, m, e, 0.0) + b * (kl.k3(p, r).sum(-1) / m.sum(-1)).mean()
    ),
    "KL with its sign turned": lambda p, r: r - p,
    "absolute log-ratio": lambda p, r: onp.maximum(p - r, r - p),
    "k3 upside down": lambda p, r: kl.k3(r, p),
    "weighted by the probability again": lambda p, r: p * onp.exp(p) - r * onp.exp(p),
    "k1 as a loss": lambda p, r: p - r,
    "k3 as a loss": lambda p, r: kl.k3(p, r),
    "KL paid for": lambda s, p, r, m, b: charges.token_rewards(s, p, r, m, -b),
    "KL charged twice": lambda s, p, r, m, b: charges.token_rewards(s - b * ((p - r) * m).sum(-1), p, r, m, b),
    "score on every token": lambda s, p, r, m, b: charges.token_rewards(0 * s, p - s[:, None] / b, r, m, b),
    "score on padding": lambda s, p, r, m, b: (
        charges.token_rewards(0 * s, p, r, m, b) + s[:, None] * (onp.arange(T) == T - 1)
    ),
    "score one token early": lambda s, p, r, m, b: (
        charges.token_rewards(0 * s, p, r, m, b) + s[:, None] * rolled(ends(m))
    ),
    "value behind the end": lambda r, v, m, g, d: returns.gae(r + g * ends(m) * rolled(v), v, m, g, d),
    "errors of padding": lambda r, v, m, g, d: m * returns.gae(r - (1 - m) * v, v * m, full(m), g, d),
    "gamma and lambda exchanged": lambda r, v, m, g, d: returns.gae(r, v, m, d, g),
    "next value missing": lambda r, v, m, g, d: returns.gae(r - g * rolled(v * m), v, m, g, d),
    "rewards one token late": lambda r, v, m, g, d: returns.gae(rolled(r), v, m, g, d),
    "swept forward": lambda r, v, m, g, d: (
        m
        * onp.stack(
            [sum((g * d) ** (t - u) * returns.gae(r, v, m, g, 0.0)[:, u] for u in range(t + 1)) for t in range(T)], -1
        )
    ),
    "own sample in the baseline": lambda f: returns.rloo(f) * (K - 1) / K,
    "own sample in the sum": lambda f: returns.rloo(f) - f / (K - 1),
    "divided by the spread of others": lambda f: onp.stack(
        [(f[:, i] - onp.delete(f, i, axis=1).mean(1)) / (onp.delete(f, i, axis=1).std(1) + 1e-4) for i in range(K)],
        axis=1,
    ),
    "spread of zero": lambda f: (f - f.mean(1, keepdims=True)) / f.std(1, keepdims=True),
    "deviation of the batch": lambda f: (f - f.mean(1, keepdims=True)) / (f.std() + 1e-4),
    "normalised across prompts": lambda f: returns.grpo(f.T).T,
    "every return for every value": lambda v, g, m: (
        sum(returns.value_loss(v, onp.broadcast_to(row, g.shape), m) for row in g) / N
    ),
    "dead critic": lambda v, g, m: returns.value_loss(v, g, m),
    "values fitted to advantages": lambda v, g, m: returns.value_loss(v, g - v, m),
    "smaller of the errors": lambda v, o, g, m, e: (
        returns.value_loss(v, g, m)
        + returns.value_loss(o + onp.clip(v - o, -e, e), g, m)
        - returns.clipped_value_loss(v, o, g, m, e)
    ),
    "whitened with padding": lambda a, m: (a - (a * m).mean()) / ((a * m).std() + 1e-8) * m,
    "whitened in a batch of one": lambda a, m: onp.concatenate(
        [returns.whiten(a[i : i + 1], m[i : i + 1]) for i in range(N)]
    ),
    "disagreement rewarded": lambda p, a: -loops.dril_cost(p, a),
    "variance over actions": lambda p, a: onp.square(onp.exp(p).mean(0)).mean(-1) - 1 / V**2,
    "minimum before the advantage": lambda p, o, a, m, e: (
        -policies.masked_mean(onp.minimum(onp.exp(p - o), 1 + e) * a, m)
    ),
    "clip missing": lambda p, o, a, m, e: policies.ppo_loss(p, o, a, m, onp.inf),
    "clipped after the mean": lambda p, o, a, m, e: onp.maximum(
        policies.ppo_loss(p, o, a, m, onp.inf), TWINS["clipped ratio only"](p, o, a, m, e)
    ),
    "clipped around zero": lambda p, o, a, m, e: (
        -policies.masked_mean(onp.where((a > 0) & (p - o > onp.log(e)), e, onp.exp(p - o)) * a, m)
    ),
    "padding in the loss": lambda p, o, r, a, m, e, b: grpo.grpo_loss(p, o, r, a, full(m), e, b),
    "KL of the wrong pair": lambda p, o, r, a, m, e, b: (
        grpo.grpo_loss(p, o, r, a, m, e, 0.0) + b * ((kl.k3(r, p) * m).sum(-1) / m.sum(-1)).mean()
    ),
    "gamma forgotten": lambda r, v, m, g, d: returns.gae(r, v, m, 1.0, d),
    "variance of logarithms": lambda p, a: onp.var([member[onp.arange(N), a] for member in p], axis=0),
    "variance of the likeliest": lambda p, a: onp.var(onp.exp(p).max(-1), axis=0),
    "beta on the policy only": lambda c, r, c0, r0, b: pairs.dpo_loss(b * c, b * r, c0, r0, 1.0),
    "beta on the chosen answer only": lambda c, r, c0, r0, b: pairs.dpo_loss(b * c, r, b * c0, r0, 1.0),
    "beta outside the sigmoid": lambda c, r, c0, r0, b: b * pairs.dpo_loss(c, r, c0, r0, 1.0),
    "reference of the chosen answer only": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, c0, 0, b),
    "log-ratios added": lambda c, r, c0, r0, b: pairs.dpo_loss(c, -r, c0, -r0, b),
    "rejected answer ignored": lambda c, r, c0, r0, b: pairs.dpo_loss(c, 0, c0, 0, b),
    "log-ratios apart": lambda c, r, c0, r0, b: pairs.dpo_loss(c, 0, c0, 0, b) + pairs.dpo_loss(0, r, 0, r0, b),
    "hinge in place of logistic": lambda c, r, c0, r0, b: onp.where(
        b * (c - c0 - r + r0) < 1, 1 - b * (c - c0 - r + r0), 0
    ),
    "square in place of logistic": lambda c, r, c0, r0, b: pairs.ipo_loss(c, r, c0, r0, b),
    "sigmoid missing": lambda c, r, c0, r0, b: b * (r - r0 - c + c0),
    "sigmoid twice in DPO": lambda c, r, c0, r0, b: pairs.dpo_loss(sigmoid(b * (c - c0 - r + r0)), 0, 0, 0, 1.0),
    "every pair of the batch": lambda c, r, c0, r0, b: (
        sum(pairs.dpo_loss(c, onp.roll(r, k), c0, onp.roll(r0, k), b) for k in range(N)) / N
    ),
    "averaged twice in DPO": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, c0, r0, b) / N,
    "probabilities in place of logs": lambda c, r, c0, r0, b: pairs.dpo_loss(*map(onp.exp, (c, r, c0, r0)), b),
    "ratios of logs": lambda c, r, c0, r0, b: pairs.dpo_loss(c / c0, r / r0, 0, 0, b),
    "sum inside the loss": lambda c, r, c0, r0, b: pairs.dpo_loss(*summed(c, r, c0, r0), b),
    "size of the margin": lambda c, r, c0, r0, b: onp.minimum(
        pairs.dpo_loss(c, r, c0, r0, b), pairs.dpo_loss(r, c, r0, c0, b)
    ),
    "half of beta": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, c0, r0, b / 2),
    "2 beta": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, c0, r0, 2 * b),
    "reference missing in IPO": lambda c, r, c0, r0, t: pairs.ipo_loss(c, r, 0, 0, t),
    "reference not frozen in IPO": lambda c, r, c0, r0, t: onp.full(c.shape, 1 / (4 * t**2)),
    "reference re-made each step in IPO": lambda c, r, c0, r0, t: onp.full(c.shape, 1 / (4 * t**2)),
    "reference crossed in IPO": lambda c, r, c0, r0, t: pairs.ipo_loss(c, r, r0, c0, t),
    "chosen and rejected swapped in IPO": lambda c, r, c0, r0, t: pairs.ipo_loss(r, c, r0, c0, t),
    "logistic in place of square": lambda c, r, c0, r0, t: pairs.dpo_loss(c, r, c0, r0, t),
    "distance in place of square": lambda c, r, c0, r0, t: onp.sqrt(pairs.ipo_loss(c, r, c0, r0, t)),
    "target without tau": lambda c, r, c0, r0, t: pairs.ipo_loss(c, r, c0, r0, 1.0),
    "target upside down": lambda c, r, c0, r0, t: pairs.ipo_loss(c, r, c0, r0, 1 / t),
    "target of 2 tau": lambda c, r, c0, r0, t: pairs.ipo_loss(c, r, c0, r0, 1 / (4 * t)),
    "target missing": lambda c, r, c0, r0, t: pairs.ipo_loss(c, r, c0, r0, onp.inf),
    "square on one side": lambda c, r, c0, r0, t: onp.where(
        c - r - c0 + r0 < 1 / (2 * t), pairs.ipo_loss(c, r, c0, r0, t), 0
    ),
    "mean inside the square": lambda c, r, c0, r0, t: pairs.ipo_loss(*averaged(c, r, c0, r0), t),
    "ratios in place of log-ratios in IPO": lambda c, r, c0, r0, t: pairs.ipo_loss(
        onp.exp(c) / onp.exp(c0), onp.exp(r) / onp.exp(r0), 0, 0, t
    ),
    "target of tau": lambda c, r, c0, r0, t: pairs.ipo_loss(c, r, c0, r0, 1 / (2 * t)),
    "tau times the margin pulled to 1": lambda c, r, c0, r0, t: pairs.ipo_loss(t * c, t * r, t * c0, t * r0, 0.5),
    "logarithm of the comparison missing": lambda c, r: sigmoid(r - c),
    "sigmoid of the comparison missing": lambda c, r: r - c,
    "hinge of the comparison": lambda c, r: onp.where(c - r < 1, 1 - c + r, 0),
    "regression to 1": lambda c, r: pairs.ipo_loss(c, r, 0, 0, 0.5),
    "margin of probabilities": lambda c, r: pairs.reward_model_loss(sigmoid(c), sigmoid(r)),
    "rewards added": lambda c, r: pairs.reward_model_loss(c, -r),
    "mean inside the comparison": lambda c, r: pairs.reward_model_loss(*averaged(c, r)),
    "rejected reward ignored": lambda c, r: pairs.reward_model_loss(c, 0),
    "every chosen against every rejected": lambda c, r: (
        sum(pairs.reward_model_loss(c, onp.roll(r, k)) for k in range(N)) / N
    ),
    "distance in place of difference": lambda c, r: onp.minimum(
        pairs.reward_model_loss(c, r), pairs.reward_model_loss(r, c)
    ),
    "exponential in place of logistic": lambda c, r: onp.exp(r) / onp.exp(c),
    "labels regressed": lambda c, r: c**2 - 2 * c + 1 + r**2,
    "sum inside the comparison": lambda c, r: pairs.reward_model_loss(*summed(c, r)),
    "perceptron": lambda c, r: onp.where(r > c, r - c, 0),
    "ratio of rewards": lambda c, r: pairs.reward_model_loss(c / r, 0),
    "mask left out": lambda z, y, m: tokens.log_probs(z, y, full(m)),
    "mask upside down": lambda z, y, m: tokens.log_probs(z, y, 1 - m),
    "shifted the wrong way": lambda z, y, m: tokens.log_probs(z[:, ::-1], y[:, ::-1], m[:, ::-1])[:, ::-1],
    "token that was read": lambda z, y, m: tokens.log_probs(z, onp.roll(y, 1, axis=-1), m),
    "probabilities, not logs": lambda z, y, m: onp.where(m[:, 1:], onp.exp(tokens.log_probs(z, y, m)), 0),
    "softmax twice": lambda z, y, m: tokens.log_probs(softmax(z), y, m),
    "minus the log-probabilities": lambda z, y, m: tokens.log_probs(z, y, -m),
    "softmax over the batch": lambda z, y, m: TWINS["softmax missing"](z - onp.log(onp.exp(z).sum(0)), y, m),
    "temperature outside": lambda z, y, m, t: tokens.log_probs(z, y, m) / t,
    "labels without a mask": lambda z, y, m: tokens.sft_loss(z, y, full(m)),
    "labels of the padding": lambda z, y, m: tokens.sft_loss(z, y, behind(m)),
    "labels upside down": lambda z, y, m: tokens.sft_loss(z, y, 1 - m),
    "mask of the labels not shifted": lambda z, y, m: tokens.sft_loss(z, y, onp.roll(m, 1, axis=-1)),
    "labels shifted the wrong way": lambda z, y, m: tokens.sft_loss(z[:, ::-1], y[:, ::-1], m[:, ::-1]),
    "label that was read": lambda z, y, m: tokens.sft_loss(z, onp.roll(y, 1, axis=-1), m),
    "logarithm missing in SFT": lambda z, y, m: -TWINS["probabilities, not logs"](z, y, m).sum() / m.sum(),
    "weighted by the probability in SFT": lambda z, y, m: (
        -sum(p * onp.log(p) for p in kept(TWINS["probabilities, not logs"](z, y, m), m[:, 1:])) / m.sum()
    ),
    "softmax twice in SFT": lambda z, y, m: tokens.sft_loss(softmax(z), y, m),
    "softmax missing in SFT": lambda z, y, m: -TWINS["softmax missing"](z, y, m).sum() / m.sum(),
    "softmax over positions in SFT": lambda z, y, m: -TWINS["softmax over positions"](z, y, m).sum() / m.sum(),
    "first token lost": lambda z, y, m: tokens.log_probs(z, y, without_first(m)),
    "first label lost": lambda z, y, m: tokens.sft_loss(z, y, without_first(m)),
    "perplexity": lambda z, y, m: onp.exp(tokens.sft_loss(z, y, m)),
    "prompt in the mean": lambda z, y, m: tokens.sft_loss(z, y, m) * m.sum() / with_prompt(m).sum(),
    "k2 as a number": lambda p, r: kl.k2(p, r),
    "half missing": lambda p, r: 2 * kl.k2(p, r),
    "k3 in the reward": lambda p, r: kl.k3(p, r),
    "k2 in the reward": lambda p, r: kl.k2(p, r),
    "critic fitted on padding": lambda v, g, m: returns.value_loss(v, g, full(m)),
    "error not squared": lambda v, g, m: policies.masked_mean(onp.where(v > g, v - g, g - v), m),
    "value clipped around zero": lambda v, o, g, m, e: returns.clipped_value_loss(v, 0 * o, g, m, e),
    "value clipped around the returns": lambda v, o, g, m, e: returns.clipped_value_loss(v, g, g, m, e),
    "charge without beta": lambda s, p, r, m, b: charges.token_rewards(s, p, r, m, 1.0),
    "k3 charged": lambda s, p, r, m, b: charges.token_rewards(s, kl.k3(p, r), 0, m, b),
    "absolute log-ratio charged": lambda s, p, r, m, b: charges.token_rewards(
        s, onp.maximum(p, r), onp.minimum(p, r), m, b
    ),
    "charged at the end only": lambda s, p, r, m, b: charges.token_rewards(s, p * ends(m), r * ends(m), m, b),
    "score times beta": lambda s, p, r, m, b: charges.token_rewards(b * s, p, r, m, b),
    "padding charged": lambda s, p, r, m, b: charges.token_rewards(s, p, r, m, b) - b * (p - r) * (1 - m),
    "score one token late": lambda s, p, r, m, b: (
        charges.token_rewards(0 * s, p, r, m, b) + s[:, None] * onp.roll(ends(m), 1, axis=-1)
    ),
    "ends ignored": lambda r, v, m, g, d: m * returns.gae(r, v, full(m), g, d),
    "value not subtracted": lambda r, v, m, g, d: returns.gae(r + v, v, m, g, d),
    "lambda missing": lambda r, v, m, g, d: returns.gae(r, v, m, g, 1.0),
    "trace without gamma": lambda r, v, m, g, d: returns.gae(r, v, m, g, d / g),
    "trace missing": lambda r, v, m, g, d: returns.gae(r, v, m, g, 0.0),
    "bootstrap forgotten": lambda r, v, m, g, d: returns.gae(r, v, without_last(m), g, d),
    "deviation kept": lambda f: returns.grpo(f),
    "divided by the variance": lambda f: (f - f.mean(1, keepdims=True)) / (f.var(1, keepdims=True) + 1e-4),
    "mean not subtracted": lambda f: f / (f.std(1, keepdims=True) + 1e-4),
    "mean of the batch": lambda f: returns.grpo(f.reshape(1, -1)).reshape(f.shape),
    "baseline of the batch": lambda f: returns.rloo(f.reshape(1, -1)).reshape(f.shape),
    "leave-one-out turned round": lambda f: returns.rloo(-f),
    "group advantage turned round": lambda f: returns.grpo(-f),
    "groups cut the wrong way": lambda f: returns.grpo(f.reshape(K, N).T).T.reshape(N, K),
    "whitened by the variance": lambda a, m: (a - onp.mean(kept(a, m))) / (onp.var(kept(a, m)) + 1e-8) * m,
    "whitened place by place": lambda a, m: onp.nan_to_num(
        onp.concatenate([returns.whiten(a[:, t : t + 1], m[:, t : t + 1]) for t in range(T)], axis=1)
    ),
    "mean left in": lambda a, m: a / (onp.std(kept(a, m)) + 1e-8) * m,
    "deviation missing": lambda a, m: (a - onp.mean(kept(a, m))) * m,
    "next value not discounted": lambda r, v, m, g, d: returns.gae(r + (1 - g) * rolled(v * m), v, m, g, d),
    "both values discounted": lambda r, v, m, g, d: returns.gae(r + (1 - g) * v, v, m, g, d),
    "next value subtracted": lambda r, v, m, g, d: returns.gae(r - 2 * g * rolled(v * m), v, m, g, d),
    "value added": lambda r, v, m, g, d: returns.gae(r + 2 * v, v, m, g, d),
    "values the wrong way round": lambda r, v, m, g, d: returns.gae(r, -v, m, g, d),
    "means of groups tiled": lambda f: (
        (f - onp.tile(f.mean(1), K).reshape(f.shape)) / (onp.tile(f.std(1), K).reshape(f.shape) + 1e-4)
    ),
    "multiplied by the deviation": lambda a, m: (a - onp.mean(kept(a, m))) * onp.std(kept(a, m)) * m,
    "scaled to the range": lambda a, m: (a - onp.min(kept(a, m))) / (onp.ptp(kept(a, m)) + 1e-8) * m,
    "squared after the mean": lambda v, g, m: onp.mean(kept(v - g, m)) ** 2 / 2,
    "root of the mean square": lambda v, g, m: onp.sqrt(2 * returns.value_loss(v, g, m)),
    "return added": lambda v, g, m: returns.value_loss(v, -g, m),
    "score with the first token": lambda s, p, r, m, b: (
        charges.token_rewards(0 * s, p, r, m, b) + s[:, None] * (onp.arange(T) == 0)
    ),
    "k2 charged": lambda s, p, r, m, b: charges.token_rewards(s, kl.k2(p, r), 0, m, b),
    "negative charges left out": lambda s, p, r, m, b: charges.token_rewards(s, onp.maximum(p, r), r, m, b),
    "1 missing in k3": lambda p, r: kl.k3(p, r) + 1,
    "negative log-ratios left out": lambda p, r: onp.where(p > r, p - r, 0),
    "variance of all actions": lambda p, a: onp.var(onp.exp(p), axis=0).mean(-1),
    "brackets missing": lambda c, r, c0, r0, b: pairs.dpo_loss(c, r, c0, -r0, b),
    "margin clipped": lambda c, r, c0, r0, b: pairs.dpo_loss(onp.clip(c - c0 - r + r0, -2, 2), 0, 0, 0, b),
    "brackets missing in IPO": lambda c, r, c0, r0, t: pairs.ipo_loss(c, r, c0, -r0, t),
    "margin clipped in IPO": lambda c, r, c0, r0, t: pairs.ipo_loss(onp.clip(c - c0 - r + r0, -2, 2), 0, 0, 0, t),
    "difference clipped": lambda c, r: pairs.reward_model_loss(onp.clip(c - r, -1, 1), 0),
    "beta on the reference only": lambda c, r, c0, r0, b: pairs.dpo_loss(c / b, r / b, c0, r0, b),
    "clipped on one side, from below": lambda p, o, a, m, e: (
        -policies.masked_mean(onp.where(a > 0, onp.exp(p - o), onp.maximum(onp.exp(p - o), 1 - e)) * a, m)
    ),
    "value clipped from above only": lambda v, o, g, m, e: policies.masked_mean(
        onp.maximum(onp.abs(v - g), onp.abs(onp.where(v > o + e, o + e, v) - g)) ** 2 / 2, m
    ),
    "value clipped from below only": lambda v, o, g, m, e: policies.masked_mean(
        onp.maximum(onp.abs(v - g), onp.abs(onp.where(v < o - e, o - e, v) - g)) ** 2 / 2, m
    ),
    "exponential less 1": lambda p, r: kl.k3(p, r) - (p - r),
    "softmax over the pairs": lambda c, r: -onp.log(onp.exp(c) / onp.exp(c).sum()),
    "score spread over the tokens": lambda s, p, r, m, b: (
        charges.token_rewards(0 * s, p, r, m, b) + s[:, None] * m / m.sum(-1, keepdims=True)
    ),
    "size of the advantage": lambda p, o, a, m, e: policies.ppo_loss(p, o, onp.abs(a), m, e),
    "log-ratio clipped around 1": lambda p, o, a, m, e: (
        -policies.masked_mean(onp.exp(onp.where(a > 0, onp.minimum(p - o, 1 + e), onp.maximum(p - o, 1 - e))) * a, m)
    ),
    "log-ratio clipped around 0": lambda p, o, a, m, e: (
        -policies.masked_mean(onp.exp(onp.where(a > 0, onp.minimum(p - o, e), onp.maximum(p - o, -e))) * a, m)
    ),
    "minus k1 in the loss": lambda p, o, r, a, m, e, b: TWINS["k1 in the loss"](p, o, r, a, m, e, -b),
    "absolute log-ratio in the loss": lambda p, o, r, a, m, e, b: (
        grpo.grpo_loss(p, o, r, a, m, e, 0.0) + b * ((onp.abs(p - r) * m).sum(-1) / m.sum(-1)).mean()
    ),
    "k2 without its half": lambda p, o, r, a, m, e, b: (
        grpo.grpo_loss(p, o, r, a, m, e, 0.0) + 2 * b * ((kl.k2(p, r) * m).sum(-1) / m.sum(-1)).mean()
    ),
    "k3 without its 1": lambda p, o, r, a, m, e, b: grpo.grpo_loss(p, o, r, a, m, e, b) + b,
    "charge divided by the length": lambda s, p, r, m, b: charges.token_rewards(
        s, p / m.sum(-1, keepdims=True), r / m.sum(-1, keepdims=True), m, b
    ),
    "exponential in place of logistic in DPO": lambda c, r, c0, r0, b: onp.exp(b * (r - r0)) / onp.exp(b * (c - c0)),
    "likeliest token in SFT": lambda z, y, m: tokens.sft_loss(z, onp.roll(z.argmax(-1), 1, axis=-1), m),
    "old value left out": lambda v, o, g, m, e: policies.masked_mean(
        onp.maximum(onp.abs(v - g), onp.abs(onp.clip(v - o, -e, e) - g)) ** 2 / 2, m
    ),
    "ratio of logarithms": lambda p, o, a, m, e: (
        -policies.masked_mean(onp.where(a > 0, onp.minimum(p / o, 1 + e), onp.maximum(p / o, 1 - e)) * a, m)
    ),
    "ratio to first order": lambda p, o, a, m, e: (
        -policies.masked_mean(onp.where(a > 0, onp.minimum(1 + p - o, 1 + e), onp.maximum(1 + p - o, 1 - e)) * a, m)
    ),
    "ratio missing": lambda p, o, a, m, e: -onp.mean(kept(p * a, m)),
    "clipped to 1 / (1 + epsilon)": lambda p, o, a, m, e: (
        -policies.masked_mean(
            onp.exp(onp.where(a > 0, onp.minimum(p - o, onp.log1p(e)), onp.maximum(p - o, -onp.log1p(e)))) * a, m
        )
    ),
    "clipped ratio of the answer": lambda p, o, a, m, e: (
        -policies.masked_mean(
            onp.minimum(
                onp.exp(p - o) * a,
                onp.array(
                    [onp.clip(onp.exp(onp.mean(kept(s, k))), 1 - e, 1 + e) for s, k in zip(p - o, m, strict=True)]
                )[:, None]
                * a,
            ),
            m,
        )
    ),
    "KL of the old log-probabilities": lambda p, o, r, a, m, e, b: (
        grpo.grpo_loss(p, o, r, a, m, e, 0.0) + b * ((kl.k3(o, r) * m).sum(-1) / m.sum(-1)).mean()
    ),
    "KL in the advantage": lambda p, o, r, a, m, e, b: onp.mean(
        [policies.ppo_loss(p[[i]], o[[i]], (a[i] - b * kl.k3(p, r))[[i]], m[[i]], e) for i in range(N)]
    ),
    "beta times the whole loss": lambda p, o, r, a, m, e, b: grpo.grpo_loss(p, o, r, b * a, m, e, b),
    "own value in place of the next": lambda r, v, m, g, d: returns.gae(
        r + g * (v * rolled(m) - rolled(v * m)), v, m, g, d
    ),
    "last value behind itself": lambda r, v, m, g, d: returns.gae(r + g * v * ends(m), v, m, g, d),
    "temperature in the normaliser only": lambda z, y, m, t: (
        tokens.log_probs_at(z, y, m, t) + (1 - 1 / t) * TWINS["softmax missing"](z, y, m)
    ),
    "temperature not in the normaliser": lambda z, y, m, t: (
        tokens.log_probs(z, y, m) + (1 / t - 1) * TWINS["softmax missing"](z, y, m)
    ),
    "mask shifted twice": lambda z, y, m: tokens.log_probs(z, y, rolled(m)),
    "logits masked": lambda z, y, m: tokens.log_probs(onp.where(m[..., None] > 0, z, 0), y, m),
    "logarithm of the mean in SFT": lambda z, y, m: (
        -onp.log(onp.mean(kept(TWINS["probabilities, not logs"](z, y, m), m[:, 1:])))
    ),
    "squared error in SFT": lambda z, y, m: onp.mean(
        kept((softmax(z)[:, :-1] ** 2).sum(-1) + 1 - 2 * TWINS["probabilities, not logs"](z, y, m), m[:, 1:])
    ),
    "entropy in SFT": lambda z, y, m: onp.mean(
        kept(-sum(softmax(z)[:, :-1, w] * onp.log(softmax(z)[:, :-1, w]) for w in range(V)), m[:, 1:])
    ),
    "margin on the wrong side": lambda c, r: pairs.reward_model_loss(c, r - 1),
    "logarithm of the mean": lambda c, r: onp.full(c.shape, onp.log(N / sigmoid(c - r).sum())),
    "logarithm of the mean in DPO": lambda c, r, c0, r0, b: onp.full(
        c.shape, onp.log(N / sigmoid(b * (c - c0 - r + r0)).sum())
    ),
    "logarithm of the mean ratio": lambda p, r: onp.full(p.shape, onp.log(p.size / (onp.exp(r) / onp.exp(p)).sum())),
    "last token not charged": lambda s, p, r, m, b: charges.token_rewards(s, onp.where(ends(m) > 0, r, p), r, m, b),
    "clipped change added to the new value": lambda v, o, g, m, e: policies.masked_mean(
        onp.maximum(onp.abs(v - g), onp.abs(onp.clip(2 * v - o, v - e, v + e) - g)) ** 2 / 2, m
    ),
    "mean of squares": lambda p, a: onp.mean([onp.exp(2 * member[onp.arange(N), a]) for member in p], axis=0),
    "range over the members": lambda p, a: onp.ptp([onp.exp(member[onp.arange(N), a]) for member in p], axis=0),
    "minus log of the mean": lambda p, a: (
        onp.log(len(p)) - onp.log(sum(onp.exp(member[onp.arange(N), a]) for member in p))
    ),
}


BUGS = [bug for bug in ZOO if bug.right in INPUTS]


def test_every_bug_without_chance_has_a_second_formula():
    assert {bug.name for bug in BUGS} == set(TWINS)


@pytest.mark.parametrize("seed", range(7, 13))
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_what_a_bug_returns_is_its_right_function_of_something_else(bug, seed):
    args = INPUTS[bug.right](onp.random.default_rng(seed))
    with onp.errstate(invalid="ignore", divide="ignore"):
        onp.testing.assert_allclose(bug.function(*args), TWINS[bug.name](*args), rtol=1e-9, atol=1e-12)

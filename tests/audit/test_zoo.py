"""Each bug differs from its right function and from every other bug, in value or gradient; the right ones are right."""

import inspect
import itertools
import re
import warnings
from pathlib import Path

import autograd.numpy as np
import numpy as onp
import pytest
from autograd import grad

from rlhf_lab.audit.zoo import ZOO, advantages, kl, loops, pairs, policies, returns, tokens
from rlhf_lab.methods import actor_critic, direct, margins, policy_gradient
from rlhf_lab.models import lm

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
N, T, V, K = 6, 5, 4, 3


def mask(rng, *shape):
    """Answers of different lengths, none of them empty."""
    return 1.0 * (onp.arange(shape[-1]) < rng.integers(1, shape[-1], size=shape[:-1])[..., None])


def texts(rng, *lead):
    """Prompts of 2 tokens and more, answers of one and more, and padding of one and more."""
    place = onp.arange(9)
    begin, end = rng.integers(2, 4, (*lead, N, 1)), rng.integers(5, 8, (*lead, N, 1))
    return (
        rng.normal(size=(*lead, N, 9, V)),
        rng.integers(V, size=(*lead, N, 9)),
        1.0 * ((begin <= place) & (place < end)),
    )


def normal(rng, *shape):
    return rng.normal(size=shape)


def groups(rng, *lead):
    found = rng.normal(size=(*lead, N, K))
    found[..., 0, :] = 1.5  # a group that agrees
    return (found,)


def ensemble(rng, *lead):
    return lm.log_softmax(normal(rng, 5, N, V)), rng.integers(V, size=N)


def ratios(rng, *lead):
    return normal(rng, *lead, N, T), normal(rng, *lead, N, T)


INPUTS = {
    pairs.dpo_loss: lambda rng, *lead: (*(normal(rng, *lead, N) for _ in range(4)), 0.3),
    pairs.ipo_loss: lambda rng, *lead: (*(normal(rng, *lead, N) for _ in range(4)), 0.3),
    pairs.reward_model_loss: lambda rng, *lead: (normal(rng, *lead, N), normal(rng, *lead, N)),
    tokens.log_probs: texts,
    tokens.answer_log_probs: texts,
    tokens.sft_loss: texts,
    tokens.log_probs_at: lambda rng, *lead: (*texts(rng, *lead), 0.7),
    policies.ppo_loss: lambda rng, *lead: (*ratios(rng, *lead), normal(rng, *lead, N, T), mask(rng, *lead, N, T), 0.2),
    policies.grpo_loss: lambda rng, *lead: (
        *ratios(rng, *lead), normal(rng, *lead, N, T), normal(rng, *lead, N), mask(rng, *lead, N, T), 0.2, 0.3,
    ),
    policies.k3: lambda rng, *lead: (normal(rng, *lead, N), normal(rng, *lead, N)),
    kl.k1: lambda rng, *lead: (normal(rng, *lead, N), normal(rng, *lead, N)),
    policies.k2: lambda rng, *lead: (normal(rng, *lead, N), normal(rng, *lead, N)),
    returns.token_rewards: lambda rng, *lead: (
        normal(rng, *lead, N), *ratios(rng, *lead), mask(rng, *lead, N, T), 0.3,
    ),
    returns.gae: lambda rng, *lead: (*ratios(rng, *lead), mask(rng, *lead, N, T), 0.9, 0.7),
    returns.rloo: groups,
    returns.grpo: groups,
    advantages.dr_grpo: groups,
    returns.value_loss: lambda rng, *lead: (*ratios(rng, *lead), mask(rng, *lead, N, T)),
    returns.clipped_value_loss: lambda rng, *lead: (
        *ratios(rng, *lead), normal(rng, *lead, N, T), mask(rng, *lead, N, T), 0.2,
    ),
    returns.whiten: lambda rng, *lead: (normal(rng, *lead, N, T), mask(rng, *lead, N, T)),
    loops.dril_cost: ensemble,
}  # fmt: skip
CHANCE = {
    loops.bootstrap_weights: lambda f: f(onp.random.default_rng(1), 3, N),
    loops.worker_rngs: lambda f: [rng.random(N) for rng in f(1, 3)],
    loops.dagger_labels: lambda f: f(onp.arange(N), lambda s: s % 2, lambda s: s % 3),
}
each = pytest.mark.parametrize("bug", ZOO, ids=lambda bug: bug.name)
every = pytest.mark.parametrize("right", INPUTS, ids=lambda right: right.__name__)


def told(function, right):
    """Value and gradients of a function on four generic batches, in one row."""
    with onp.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent")  # some bugs leave an argument out
        if right in CHANCE:
            return onp.ravel(CHANCE[right](function))
        found = []
        for args in [INPUTS[right](onp.random.default_rng(seed)) for seed in range(3, 7)]:
            value = function(*args)
            weight = onp.random.default_rng(2).normal(size=value.shape)
            found.append(onp.ravel(value))
            for place, arg in enumerate(args):
                if isinstance(arg, onp.ndarray) and arg.dtype == float and "mask" not in list(names(right))[place]:
                    slope = grad(lambda *a, weight=weight: np.sum(function(*a) * weight), place)
                    found.append(onp.ravel(slope(*args)))
        return onp.concatenate(found)


def names(function):
    return inspect.signature(function).parameters


def same(one, other):
    return one.shape == other.shape and onp.allclose(one, other, rtol=1e-5, atol=1e-7, equal_nan=True)


@each
def test_a_bug_differs_from_its_right_function_in_value_or_gradient_and_has_its_signature(bug):
    assert not same(told(bug.function, bug.right), told(bug.right, bug.right))
    assert list(names(bug.function)) == list(names(bug.right))
    assert onp.shape(told(bug.function, bug.right)) == onp.shape(told(bug.right, bug.right))


def test_two_bugs_of_an_audit_differ_in_value_or_gradient():
    seen = {bug.name: told(bug.function, bug.right) for bug in ZOO}
    for one, other in itertools.combinations(ZOO, 2):
        if one.audit == other.audit and list(names(one.right)) == list(names(other.right)):
            assert not same(seen[one.name], seen[other.name]), (one.name, other.name)


def test_the_zoo_is_large_and_each_bug_has_a_name_of_its_own():
    assert len(ZOO) >= 40
    assert len({bug.name for bug in ZOO}) == len({bug.function for bug in ZOO}) == len(ZOO)


@each
def test_an_entry_tells_what_is_wrong_and_what_to_do_and_where_to_read_on(bug):
    assert bug.told.endswith(".")
    assert 30 < len(bug.told) < 240
    assert "  " not in bug.told
    assert bug.seen == "" or 5 < len(bug.seen) < 100
    assert any(re.search(rf"^\({bug.where}\)=", path.read_text(), re.M) for path in NOTEBOOKS.glob("*.md")), bug.where


@every
def test_right_functions_and_bugs_take_seeds_as_leading_axes(right):
    if right is loops.dril_cost:
        return
    args = INPUTS[right](onp.random.default_rng(5), 2)
    for function in (right, *(bug.function for bug in ZOO if bug.right is right)):
        with onp.errstate(invalid="ignore", divide="ignore"):
            one = [function(*(a[seed] if onp.ndim(a) else a for a in args)) for seed in range(2)]
            onp.testing.assert_allclose(function(*args), one, rtol=1e-12)


def given(right):
    return INPUTS[right](onp.random.default_rng(0))


def test_right_losses_of_pairs_are_those_of_the_package():
    *four, beta = given(pairs.dpo_loss)
    four = [-onp.abs(each) for each in four]
    h = direct.margin(*four)
    onp.testing.assert_allclose(pairs.dpo_loss(*four, beta), direct.dpo(h, beta))
    onp.testing.assert_allclose(pairs.ipo_loss(*four, beta), margins.ipo(h, beta))
    onp.testing.assert_allclose(pairs.reward_model_loss(*four[:2]), direct.dpo(four[0] - four[1], 1.0))


def test_right_log_probs_are_logits_minus_log_sum_exp_one_place_earlier():
    logits, text, weight = given(tokens.log_probs)
    log_pi, right = lm.log_softmax(logits), onp.zeros((N, 8))
    for row, place in onp.ndindex(N, 8):
        right[row, place] = log_pi[row, place, text[row, place + 1]] * weight[row, place + 1]
    onp.testing.assert_allclose(tokens.log_probs(logits, text, weight), right)
    onp.testing.assert_allclose(tokens.log_probs_at(2 * logits, text, weight, 2.0), right)
    onp.testing.assert_allclose(tokens.answer_log_probs(logits, text, weight), right.sum(-1))
    onp.testing.assert_allclose(tokens.sft_loss(logits, text, weight), -right.sum() / weight.sum())


def test_right_losses_of_policies_are_those_of_the_package_but_for_the_mean_over_tokens():
    log_pi, log_old, advantage, weight, clip = given(policies.ppo_loss)
    found = policies.ppo_loss(log_pi, log_old, advantage, weight, clip) * weight.sum() / N
    onp.testing.assert_allclose(found, actor_critic.ppo_loss(log_pi, log_old, advantage, weight, clip))
    log_pi, log_old, log_ref, advantage, weight, clip, beta = given(policies.grpo_loss)
    by_hand = 0.0
    for row in range(N):
        one = slice(row, row + 1)
        single = weight[one], clip
        clipped = policies.ppo_loss(log_pi[one], log_old[one], advantage[one, None] + 0 * log_pi[one], *single)
        kl = (policy_gradient.k3(log_pi[one] - log_ref[one]) * weight[one]).sum() / weight[one].sum()
        by_hand += (clipped + beta * kl) / N
    onp.testing.assert_allclose(policies.grpo_loss(log_pi, log_old, log_ref, advantage, weight, clip, beta), by_hand)
    log_pi, log_ref = given(policies.k3)
    onp.testing.assert_allclose(policies.k3(log_pi, log_ref), policy_gradient.k3(log_pi - log_ref))
    onp.testing.assert_allclose(policies.k2(log_pi, log_ref), policy_gradient.k2(log_pi - log_ref))


def test_right_returns_are_those_of_the_package():
    score, log_pi, log_ref, weight, beta = given(returns.token_rewards)
    found = returns.token_rewards(score, log_pi, log_ref, weight, beta)
    onp.testing.assert_allclose(found, actor_critic.kl_rewards(score, log_pi, log_ref, weight, beta))
    onp.testing.assert_allclose(returns.gae(*given(returns.gae)), actor_critic.gae(*given(returns.gae)))
    (rewards,) = given(returns.rloo)
    onp.testing.assert_allclose(returns.rloo(rewards), policy_gradient.rloo_advantages(rewards), atol=1e-15)
    deviations = rewards[1:].std(-1, keepdims=True) + 1e-4
    right = (rewards[1:] - rewards[1:].mean(-1, keepdims=True)) / deviations
    onp.testing.assert_allclose(returns.grpo(rewards)[1:], right)
    assert not returns.grpo(rewards)[0].any()
    values, target, weight = given(returns.value_loss)
    right = actor_critic.value_loss(values, target, weight) * N / weight.sum()
    onp.testing.assert_allclose(returns.value_loss(values, target, weight), right)
    values, old, target, weight, clip = given(returns.clipped_value_loss)
    right = actor_critic.clipped_value_loss(values, old, target, weight, clip) * N / weight.sum()
    onp.testing.assert_allclose(returns.clipped_value_loss(values, old, target, weight, clip), right)
    onp.testing.assert_allclose(returns.whiten(*given(returns.whiten)), actor_critic.normalise(*given(returns.whiten)))


def test_right_loops_double_or_nothing_by_pair_and_streams_that_differ():
    weights = loops.bootstrap_weights(onp.random.default_rng(0), 50, 60)
    assert set(onp.unique(weights)) == {0.0, 2.0}
    assert abs(weights.mean() - 1) < 4 / onp.sqrt(weights.size)
    assert onp.ptp(weights, axis=0).all()
    assert onp.ptp(weights, axis=1).all()
    drawn = [rng.random() for seed in (0, 1) for rng in loops.worker_rngs(seed, 3)]
    assert len(set(drawn)) == 6
    log_pi, action = given(loops.dril_cost)
    right = onp.var(onp.exp([member[onp.arange(N), action] for member in log_pi]), axis=0)
    onp.testing.assert_allclose(loops.dril_cost(log_pi, action), right)


def test_numbers_rounded_to_8_bits_keep_their_gradient():
    onp.testing.assert_allclose(policies.bfloat16(onp.array([1.0, 257.0, 1 / 3])), [1.0, 256.0, 0.333984375])
    assert grad(policies.bfloat16)(1 / 3) == 1.0


def sigmoid(x):
    return 1 / (1 + onp.exp(-x))


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


def ends(weight):
    return onp.where((weight > 0) & (rolled(weight) == 0), 1.0, 0.0)


# What each bug returns, written as its right function of other inputs, or in another way.
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
    "mean inside the loss": lambda c, r, c0, r0, b: pairs.dpo_loss(
        *(onp.full(x.shape, x.mean()) for x in (c, r, c0, r0)), b
    ),
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
    "KL maximised": lambda p, o, r, a, m, e, b: policies.grpo_loss(p, o, r, a, m, e, -b),
    "KL without its weight": lambda p, o, r, a, m, e, b: policies.grpo_loss(p, o, r, a, m, e, 1.0),
    "k1 in the loss": lambda p, o, r, a, m, e, b: (
        policies.grpo_loss(p, o, r, a, m, e, 0.0) + b * (((p - r) * m).sum(-1) / m.sum(-1)).mean()
    ),
    "KL to the old policy": lambda p, o, r, a, m, e, b: policies.grpo_loss(p, o, o, a, m, e, b),
    "KL on padding": lambda p, o, r, a, m, e, b: (
        policies.grpo_loss(p, o, r, a, m, e, 0.0) + b * (policies.k3(p, r).sum(-1) / m.sum(-1)).mean()
    ),
    "KL with its sign turned": lambda p, r: r - p,
    "absolute log-ratio": lambda p, r: onp.maximum(p - r, r - p),
    "k3 upside down": lambda p, r: policies.k3(r, p),
    "weighted by the probability again": lambda p, r: p * onp.exp(p) - r * onp.exp(p),
    "k1 as a loss": lambda p, r: p - r,
    "k3 as a loss": lambda p, r: policies.k3(p, r),
    "KL paid for": lambda s, p, r, m, b: returns.token_rewards(s, p, r, m, -b),
    "KL charged twice": lambda s, p, r, m, b: returns.token_rewards(s - b * ((p - r) * m).sum(-1), p, r, m, b),
    "score on every token": lambda s, p, r, m, b: returns.token_rewards(0 * s, p - s[:, None] / b, r, m, b),
    "score on padding": lambda s, p, r, m, b: (
        returns.token_rewards(0 * s, p, r, m, b) + s[:, None] * (onp.arange(T) == T - 1)
    ),
    "score one token early": lambda s, p, r, m, b: (
        returns.token_rewards(0 * s, p, r, m, b) + s[:, None] * rolled(ends(m))
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
}


def test_every_bug_that_the_chapter_describes_has_a_second_formula():
    assert {bug.name for bug in ZOO if bug.seen and bug.right in INPUTS} == set(TWINS)


@pytest.mark.parametrize("bug", [bug for bug in ZOO if bug.name in TWINS], ids=lambda bug: bug.name)
def test_what_a_bug_returns_is_its_right_function_of_something_else(bug):
    args = INPUTS[bug.right](onp.random.default_rng(7))
    with onp.errstate(invalid="ignore", divide="ignore"):
        onp.testing.assert_allclose(bug.function(*args), TWINS[bug.name](*args), rtol=1e-9, atol=1e-12)


def test_what_bugs_of_chance_and_labels_draw():
    coins, same, single = (
        f(onp.random.default_rng(0), 40, 50) for f in (loops.one_coin, loops.same_for_all, loops.single_or_nothing)
    )
    assert (coins == coins[:, :1]).all()
    assert set(coins[:, 0]) == {0.0, 2.0}
    assert (same == same[:1]).all()
    assert set(same[0]) == {0.0, 2.0}
    assert set(onp.unique(single)) == {0.0, 1.0}
    assert coins.shape == same.shape == single.shape == (40, 50)
    assert len({rng.random() for rng in loops.one_seed(3, 4)}) == 1
    first, second = ([rng.random() for rng in loops.seeds_overlap(seed, 3)] for seed in (0, 1))
    assert first[1:] == second[:2]
    assert first[0] not in second
    states = onp.arange(4)
    assert loops.labels_of_the_student(states, lambda s: s + 9, lambda s: s + 1).tolist() == [1, 2, 3, 4]
    assert loops.dagger_labels(states, lambda s: s + 9, lambda s: s + 1).tolist() == [9, 10, 11, 12]


def slopes(function, *args):
    """Gradients of the sum of a function in its first two arguments."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent")
        return [grad(lambda *a: np.sum(function(*a)), place)(*args) for place in (0, 1)]


def test_bugs_that_hide_in_the_gradient():
    *four, beta = given(pairs.dpo_loss)
    assert not onp.any(slopes(pairs.reference_not_frozen, *four, beta))
    chosen, rejected = slopes(pairs.reference_remade, *four, beta)
    onp.testing.assert_allclose([chosen, -rejected], -beta / 2)
    log_pi, log_old, advantage, weight, clip = given(policies.ppo_loss)
    moved, old = slopes(policies.old_recomputed, log_pi, log_old, advantage, weight, clip)
    onp.testing.assert_allclose(moved, -advantage * weight / weight.sum())
    assert not old.any()
    assert not onp.any(slopes(returns.values_detached, *given(returns.value_loss))[0])
    values, target, weight = given(returns.value_loss)
    onp.testing.assert_allclose(
        slopes(returns.against_the_advantage, values, target, weight)[0],
        (2 * values - target) * weight / weight.sum(),
    )

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
from zoo_inputs import INPUTS, K, N, V

from rlhf_lab.audit.zoo import ZOO, advantages, charges, grpo, kl, loops, pairs, policies, returns, squares, tokens
from rlhf_lab.audit.zoo.seen import SEEN
from rlhf_lab.methods import actor_critic, direct, margins, policy_gradient
from rlhf_lab.models import lm

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
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


def test_what_curves_look_like_is_told_of_bugs_of_the_zoo():
    assert {bug.name: bug.seen for bug in ZOO if bug.seen} == SEEN


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
    log_pi, log_old, log_ref, advantage, weight, clip, beta = given(grpo.grpo_loss)
    by_hand = 0.0
    for row in range(N):
        one = slice(row, row + 1)
        single = weight[one], clip
        clipped = policies.ppo_loss(log_pi[one], log_old[one], advantage[one, None] + 0 * log_pi[one], *single)
        divergence = (policy_gradient.k3(log_pi[one] - log_ref[one]) * weight[one]).sum() / weight[one].sum()
        by_hand += (clipped + beta * divergence) / N
    onp.testing.assert_allclose(grpo.grpo_loss(log_pi, log_old, log_ref, advantage, weight, clip, beta), by_hand)
    log_pi, log_ref = given(kl.k3)
    onp.testing.assert_allclose(kl.k3(log_pi, log_ref), policy_gradient.k3(log_pi - log_ref))
    onp.testing.assert_allclose(kl.k2(log_pi, log_ref), policy_gradient.k2(log_pi - log_ref))
    onp.testing.assert_allclose(kl.k1(log_pi, log_ref), log_pi - log_ref)


def test_right_returns_are_those_of_the_package():
    score, log_pi, log_ref, weight, beta = given(charges.token_rewards)
    found = charges.token_rewards(score, log_pi, log_ref, weight, beta)
    onp.testing.assert_allclose(found, actor_critic.kl_rewards(score, log_pi, log_ref, weight, beta))
    onp.testing.assert_allclose(returns.gae(*given(returns.gae)), actor_critic.gae(*given(returns.gae)))
    (rewards,) = given(returns.rloo)
    onp.testing.assert_allclose(returns.rloo(rewards), policy_gradient.rloo_advantages(rewards), atol=1e-15)
    onp.testing.assert_allclose(advantages.dr_grpo(rewards), returns.rloo(rewards) * (K - 1) / K, atol=1e-15)
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


def test_weights_that_sum_to_1_are_negative_or_of_another_mean_and_streams_of_no_seed():
    draw = [
        f(onp.random.default_rng(0), 40, 50) for f in (loops.sum_to_one, loops.negative_weights, loops.mean_not_one)
    ]
    onp.testing.assert_allclose(draw[0].sum(1), 1)
    assert [sorted(set(weights.ravel())) for weights in draw[1:]] == [[-1.0, 3.0], [0.0, 4.0]]
    assert draw[0].shape == draw[1].shape == draw[2].shape == (40, 50)
    assert len({rng.random() for _ in range(2) for rng in loops.not_repeatable(3, 4)}) == 8
    states = onp.arange(4)
    assert loops.labels_of_other_states(states, lambda s: s + 9, lambda s: s).tolist() == [12, 9, 10, 11]
    log_pi, action = INPUTS[loops.dril_cost](onp.random.default_rng(1))
    by_action = [loops.dril_cost(log_pi, onp.full(N, a)) for a in range(V)]
    onp.testing.assert_allclose(loops.variance_of_all(log_pi, action), onp.mean(by_action, axis=0))


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
    seeded, again = (loops.seeded_inside(onp.random.default_rng(seed), 40, 50) for seed in (0, 1))
    onp.testing.assert_array_equal(seeded, again)
    assert set(onp.unique(seeded)) == {0.0, 2.0}
    right, other, fixed, again, one, two = (
        [rng.random() for rng in f(seed, 4)]
        for f, seed in (
            (loops.worker_rngs, 3),
            (loops.worker_rngs, 3),
            (loops.seed_ignored, 3),
            (loops.seed_ignored, 4),
            (loops.not_repeatable, 3),
            (loops.not_repeatable, 3),
        )
    )
    assert right == other
    assert fixed == again
    assert len({*right, *fixed, *one, *two}) == 16
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
    chosen, rejected = slopes(squares.remade, *four, beta)
    onp.testing.assert_allclose([chosen, -rejected], -1 / beta)
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

"""GRPO as a loop: what a batch holds, what the history tells, where it ends; and its exact mean."""

import autograd.numpy as anp
import numpy as np
import pytest
import tasks
from autograd import grad, value_and_grad

from rlhf_lab.methods import actor_critic, group_losses, grpo, policy_gradient
from rlhf_lab.methods.rollouts import Task, rollout, stack
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.weighted import expectation
from rlhf_lab.worlds import sums
from rlhf_lab.worlds.token_mdp import TokenMDP

WORLD = Task(sums.mdp(), (sums.model(), sums.student()), 0.05)
MODEL, STUDENT = WORLD.reference
RLOO = {"advantages": policy_gradient.rloo_advantages, "mean": group_losses.by_constant(1)}
NOW = {"rows": STUDENT["rows"] + 0.3 * np.random.default_rng(9).normal(size=STUDENT["rows"].shape)}


def batches(params=STUDENT, seed=0, task=WORLD, model=MODEL, **settings):
    loss, collect = grpo.grpo(task, model, **{"prompts": 6, "answers": 4} | settings)
    return loss, list(collect(params, np.random.default_rng(seed)))


def test_a_batch_holds_the_answers_of_the_rollout_with_their_advantages():
    loss, (batch,) = batches()
    seen = rollout(WORLD, MODEL, STUDENT, 6, np.random.default_rng(0), 4)
    order = np.lexsort([*seen.response.T, seen.prompt @ [1, 4, 16, 64]])
    mine = np.lexsort([*batch.response.T, batch.prompt @ [1, 4, 16, 64]])
    advantage = policy_gradient.grpo_advantages(seen.reward.reshape(6, 4)).ravel()
    for name, found in (("response", seen.response), ("log_old", seen.log_pi), ("log_pi_0", seen.log_pi_0)):
        np.testing.assert_allclose(getattr(batch, name)[mine], found[order], rtol=1e-13)
    assert np.sort(batch.advantage).tolist() == np.sort(advantage).tolist()
    told = loss(STUDENT, batch).diagnostics
    groups = seen.reward.reshape(6, 4)
    assert told["reward"] == pytest.approx(groups.mean())
    assert told["reward_deviation"] == pytest.approx(groups.std(1).mean())
    assert told["degenerate"] == pytest.approx((groups.min(1) == groups.max(1)).mean())
    assert told["entropy"] == pytest.approx(-seen.log_pi.sum(-1).mean())
    assert told["length"] == pytest.approx(seen.mask.sum(-1).mean())
    assert told["approximate_kl"] == told["clip_fraction"] == 0


def test_epochs_and_minibatches_go_through_every_answer_as_often_as_they_say():
    _, found = batches(epochs=3, minibatch=8)
    assert [len(batch.prompt) for batch in found] == [8] * 9
    once = np.sort(np.concatenate([batch.log_old.sum(1) for batch in found[:3]]))
    for first in (3, 6):
        again = np.sort(np.concatenate([batch.log_old.sum(1) for batch in found[first : first + 3]]))
        assert again.tolist() == once.tolist()
    assert found[0].log_old.tolist() != found[3].log_old.tolist(), "in another order"
    _, ragged = batches(minibatch=9)
    assert [len(batch.prompt) for batch in ragged] == [9, 9, 6], "the rest comes last"
    assert np.sort(np.concatenate([batch.log_old.sum(1) for batch in ragged])).tolist() == once.tolist()


def test_later_steps_of_a_batch_tell_how_far_the_policy_has_moved():
    loss, (batch,) = batches()
    log_pi = lm.token_log_prob(MODEL, NOW, batch.prompt, batch.response)
    told = loss(NOW, batch).diagnostics
    assert told["approximate_kl"] == pytest.approx(actor_critic.approximate_kl(log_pi, batch.log_old, batch.mask))
    outside = np.abs(np.exp(log_pi - batch.log_old) - 1)[batch.mask == 1] > 0.2
    assert told["clip_fraction"] == pytest.approx(outside.mean())
    assert 0 < told["clip_fraction"] < 1


def test_the_loss_is_the_mean_of_the_surrogate_and_the_price():
    price = group_losses.k3_with_ratio
    loss, (batch,) = batches(price=price, mean=group_losses.token_mean)
    log_pi = lm.token_log_prob(MODEL, NOW, batch.prompt, batch.response)
    each = group_losses.clipped()(log_pi, batch.log_old, batch.advantage, batch.mask)
    each = each + 0.05 * price(log_pi - batch.log_pi_0, np.exp(log_pi - batch.log_old))
    assert loss(NOW, batch).loss == pytest.approx(np.sum(each * batch.mask) / batch.mask.sum())


def test_what_the_policy_would_say_behind_the_end_does_not_matter():
    task, model = tasks.task(), tasks.MODEL
    loss, (batch,) = batches(tasks.REFERENCE, task=task, model=model, price=group_losses.k3_with_ratio)
    ended = batch.rows(np.flatnonzero(batch.mask[:, 1] == 0))  # what pads them is looked up as if it were a 1
    assert len(ended.prompt) > 0
    never = tasks.REFERENCE["logits"].copy()
    never[:, 2, 2] = -1e4
    slopes = [grad(lambda p: loss(p, ended).loss)({"logits": z})["logits"] for z in (tasks.REFERENCE["logits"], never)]
    np.testing.assert_array_equal(*slopes)


def test_a_price_in_the_reward_is_paid_before_advantages_are_taken():
    _, (batch,) = batches(NOW, in_reward=True, **RLOO)
    seen = rollout(WORLD, MODEL, NOW, 6, np.random.default_rng(0), 4)
    f = seen.reward - 0.05 * (seen.log_pi.sum(-1) - seen.log_pi_0.sum(-1))
    expected = policy_gradient.rloo_advantages(f.reshape(6, 4)).ravel()
    np.testing.assert_allclose(np.sort(batch.advantage), np.sort(expected), rtol=1e-12)


def test_dynamic_sampling_keeps_groups_with_spread_and_fills_up_with_others():
    for seeds in (None, 3):
        params = STUDENT if seeds is None else stack([STUDENT] * seeds)
        _, (batch,) = batches(params, prompts=5, dynamic=4)
        seen = rollout(WORLD, MODEL, params, 20, np.random.default_rng(0), 4)
        reward = np.reshape(seen.reward, (*seen.reward.shape[:-1], 20, 4))
        mixed = (reward.min(-1) < reward.max(-1)).sum(-1)
        spread = (np.abs(batch.advantage) > 0).sum(-1)
        assert batch.advantage.shape == (*np.shape(mixed), 20)
        assert np.array_equal(spread, np.minimum(mixed, 5) * 4)
    _, (few,) = batches(prompts=5, dynamic=1)
    assert (np.abs(few.advantage) > 0).sum() < 20, "without it, some say nothing"


def test_groups_in_which_all_earn_the_same_leave_the_policy_alone():
    task = Task(sums.mdp(lambda prompt, response: np.ones(response.shape[:-1])), WORLD.reference, 0.05)
    loss, (batch,) = batches(task=task)
    slope = grad(lambda params: loss(params, batch).loss)(STUDENT)
    assert batch.advantage.tolist() == [0.0] * 24
    assert np.abs(slope["rows"]).max() == 0
    assert loss(STUDENT, batch).diagnostics["degenerate"] == 1


CHILDREN = {
    "GRPO": {},
    "Dr. GRPO": {"advantages": group_losses.mean_advantages, "mean": group_losses.by_constant(5)},
    "DAPO": {"surrogate": group_losses.clipped(high=0.28), "mean": group_losses.token_mean, "dynamic": 2},
    "GSPO": {"surrogate": group_losses.clipped(group_losses.mean_ratio, 0.03, 0.04)},
    "CISPO": {"surrogate": group_losses.cispo(5.0), "mean": group_losses.token_mean},
    "RLOO": RLOO,
}


@pytest.mark.parametrize("name", CHILDREN)
def test_every_child_learns_to_add(name):
    settings = {"prompts": 12, "answers": 8, "epochs": 2, "minibatch": 48} | CHILDREN[name]
    pair = grpo.grpo(WORLD, MODEL, **settings)
    options = {"rounds": 60, "optimizer": optim.adam(0.05), "rng": np.random.default_rng(0)}
    params, history = optim.fit(pair[0], stack([STUDENT] * 3), pair[1], **options)
    right = [np.mean(expectation(WORLD.log_pi(MODEL, p), WORLD.rewards)) for p in (STUDENT, params)]
    assert right[0] < 0.25
    assert right[1] > 0.7
    assert history[-1]["degenerate"].mean() > history[0]["degenerate"].mean(), "little is left to learn from"


def test_with_the_price_in_the_reward_it_ends_at_the_gibbs_policy():
    task, model = tasks.task(), tasks.MODEL
    pair = grpo.grpo(task, model, prompts=64, answers=4, in_reward=True, **RLOO)
    params, rng = stack([tasks.REFERENCE, tasks.POLICY]), np.random.default_rng(0)
    for rounds, size in ((150, 0.1), (80, 0.02)):
        params, _ = optim.fit(pair[0], params, pair[1], rounds=rounds, optimizer=optim.adam(size), rng=rng)
    assert (task.gap(task.log_pi(model, params)) < 1e-3).all()


def flat(params):
    return params["rows"].ravel()


def exact(params):
    return flat(grad(lambda p: -WORLD.mean(expectation(WORLD.log_pi(MODEL, p), WORLD.rewards)))(params))


@pytest.mark.parametrize("weight", [group_losses.no_correction, group_losses.token_ratio, group_losses.answer_ratio])
def test_the_mean_estimate_of_fresh_answers_is_the_gradient(weight):
    loss = grpo.expected_loss(WORLD, MODEL, NOW, answers=4, surrogate=group_losses.weighted_tokens(weight), **RLOO)
    np.testing.assert_allclose(flat(grad(loss)(NOW)), exact(NOW), atol=1e-12)


def test_with_the_ratio_of_answers_it_is_so_for_stale_ones():
    settings = {"answers": 4, **RLOO}
    right, wrong = (
        flat(
            grad(grpo.expected_loss(WORLD, MODEL, STUDENT, surrogate=group_losses.weighted_tokens(w), **settings))(NOW)
        )
        for w in (group_losses.answer_ratio, group_losses.token_ratio)
    )
    np.testing.assert_allclose(right, exact(NOW), atol=1e-12)
    assert np.abs(wrong - exact(NOW)).max() > 1e-3


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("surrogate", [group_losses.clipped(low=0.1), group_losses.cispo(1.2)])
@pytest.mark.parametrize("advantages", [policy_gradient.grpo_advantages, group_losses.mean_advantages])
def test_the_exact_mean_is_that_over_every_group_written_out(advantages, surrogate, k):
    right, model, old, now = 1.0 * (tasks.REWARDS > 0), tasks.MODEL, tasks.REFERENCE, tasks.POLICY

    def verdict(prompt, response):
        return right[prompt[..., 0], lm.answer_index(response, 3, 2)]

    task = Task(TokenMDP(tasks.PROMPTS, tasks.START, verdict, 3, 2, 2), (model, old), 0.1)
    groups = tasks.samples(k)  # (7^k, k)
    answers, chance = tasks.ANSWERS[groups], np.exp(tasks.log_pi(old))[:, groups].prod(-1)
    mask = lm.response_mask(answers, 2)

    def slow(params):
        total = 0.0
        for x in (0, 1):
            prompt = np.full((*groups.shape, 1), x)
            log_pi, log_old = (lm.token_log_prob(model, p, prompt, answers) for p in (params, old))
            each = surrogate(log_pi, log_old, advantages(right[x][groups]), mask)
            total = total + tasks.START[x] * anp.sum(chance[x] * group_losses.sequence_mean(each, mask))
        return total

    fast = grpo.expected_loss(task, model, old, answers=k, advantages=advantages, surrogate=surrogate)
    value, slope = value_and_grad(fast)(now)
    expected, pull = value_and_grad(slow)(now)
    assert value == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(slope["logits"], pull["logits"], atol=1e-12)
    assert np.abs(pull["logits"]).max() > 0.01


def test_the_exact_mean_is_that_of_many_batches():
    loss = grpo.expected_loss(WORLD, MODEL, STUDENT, answers=4)
    seeds = 400
    sampled, collect = grpo.grpo(WORLD, MODEL, prompts=24, answers=4)
    (batch,) = collect(stack([STUDENT] * seeds), np.random.default_rng(0))
    drawn = grad(lambda p: anp.sum(sampled(p, batch).loss))(stack([NOW] * seeds))["rows"].reshape(seeds, -1)
    spread = drawn.std(0, ddof=1)
    often = np.abs(drawn).max(0) < 5 * spread  # what few batches touch has no normal law
    error = spread[often] / seeds**0.5
    apart = (drawn.mean(0) - flat(grad(loss)(NOW)))[often] / error
    assert often.sum() > 30
    assert np.abs(apart).max() < 4
    assert 0.6 < apart.std() < 1.4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"answers": 1}, "a group needs at least 2 answers"),
        ({"answers": 0}, "answers is a number of texts to draw"),
        ({"prompts": 0}, "prompts is a number of texts to draw"),
        ({"dynamic": 0}, "dynamic is how many times more prompts are drawn than kept"),
        ({"epochs": 0}, "epochs is how often to go through the answers"),
        ({"minibatch": 0}, "minibatch is the number of answers in a batch"),
        ({"minibatch": 0.5}, "minibatch is the number of answers in a batch"),
        ({"price": group_losses.k3_with_ratio, "in_reward": True}, "would charge the divergence twice: choose one"),
    ],
)
def test_settings_that_cannot_be_meant_are_told(settings, words):
    with pytest.raises(ValueError, match=words):
        batches(**settings)


def test_other_languages_and_other_rewards_are_told():
    with pytest.raises(ValueError, match="the policy has 3 tokens"):
        grpo.grpo(WORLD, tasks.MODEL, prompts=2, answers=2)
    half = Task(sums.mdp(lambda prompt, response: np.full(response.shape[:-1], 0.5)), WORLD.reference, 0.05)
    with pytest.raises(ValueError, match="the rewards must be 0 or 1: a verifier says right or wrong"):
        grpo.expected_loss(half, MODEL, STUDENT, answers=4)
    with pytest.raises(ValueError, match="the mean must treat answers one by one"):
        grpo.expected_loss(WORLD, MODEL, STUDENT, answers=4, mean=group_losses.token_mean)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"surrogate": group_losses.weighted_tokens(group_losses.token_ratio)}, "the loss became"),
        # where the clip holds the value, the slope of what it hides is 0 times infinity
        ({"advantages": np.ones_like}, r"the gradient in params\['rows'\] has"),
        ({"surrogate": group_losses.cispo(2.0), "price": group_losses.k3_with_ratio}, "the loss became"),
    ],
)
def test_a_ratio_that_overflows_stops_the_run_with_a_word(settings, words):
    loss, collect = grpo.grpo(WORLD, MODEL, prompts=12, answers=8, **settings)

    def far(params, rng):
        for batch in collect(params, rng):
            yield batch._replace(log_old=batch.log_old - 800 * batch.mask)

    options = {"rounds": 1, "optimizer": optim.adam(0.1), "rng": np.random.default_rng(0)}
    with pytest.raises(FloatingPointError, match=rf"{words}.* in round 0 of 1"):
        optim.fit(loss, STUDENT, far, **options)

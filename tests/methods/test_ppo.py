"""Advantages token by token, and PPO, against definitions, exact values and exact gradients."""

from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
import tasks
from autograd import elementwise_grad, grad
from autograd.test_util import check_grads
from autograd.tracer import getval

from rlhf_lab.methods import actor_critic, ppo
from rlhf_lab.methods.rollouts import Task, rollout, stack
from rlhf_lab.models import lm
from rlhf_lab.models.critics import RecurrentCritic, TabularCritic
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim
from rlhf_lab.worlds import phrase_world, token_mdp
from rlhf_lab.worlds.phrase_world import EOS, VOCAB

TASK = tasks.task()
CRITIC = TabularCritic(tasks.MODEL)
RNG = np.random.default_rng(0)
MASK = np.array([[1.0, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
REWARDS, VALUES = RNG.normal(size=(3, 4)) * MASK, RNG.normal(size=(3, 4))
ADVANTAGE = RNG.normal(size=(3, 4))
LOG_OLD = -RNG.exponential(size=(3, 4))


@pytest.mark.equation("eq-kl-reward")
def test_the_reward_comes_with_the_last_token_and_each_token_pays_for_its_divergence():
    log_pi, log_pi_0 = -RNG.exponential(size=(2, 3, 4)) * MASK
    found = actor_critic.kl_rewards(np.array([5.0, 7.0, 9.0]), log_pi, log_pi_0, MASK, 0.3)
    expected = -0.3 * (log_pi - log_pi_0)
    for row, (last, paid) in enumerate([(3, 5.0), (1, 7.0), (0, 9.0)]):
        expected[row, last] += paid
    assert found == pytest.approx(expected, abs=1e-14)
    assert found.sum(-1) == pytest.approx(np.array([5, 7, 9]) - 0.3 * (log_pi - log_pi_0).sum(-1), rel=1e-13)


@pytest.mark.equation("eq-kl-reward")
def test_what_stands_behind_the_end_is_not_paid_and_each_seed_has_its_own_beta():
    log_ratio = RNG.normal(size=(2, 3, 4))
    found = actor_critic.kl_rewards(np.zeros((2, 3)), log_ratio, 0 * log_ratio, MASK, np.array([0.5, 2.0]))
    assert found[0] == pytest.approx(-0.5 * log_ratio[0] * MASK, abs=1e-14)
    assert found[1] == pytest.approx(-2.0 * log_ratio[1] * MASK, abs=1e-14)


@pytest.mark.equation("eq-td-error")
def test_the_td_error_by_hand():
    found = actor_critic.td_errors(REWARDS, VALUES, MASK, 0.9)
    for n, length in enumerate((4, 2, 1)):
        for t in range(4):
            following = VALUES[n, t + 1] if t + 1 < length else 0.0
            expected = REWARDS[n, t] + 0.9 * following - VALUES[n, t] if t < length else 0.0
            assert found[n, t] == pytest.approx(expected, abs=1e-14)


@pytest.mark.equation("eq-gae")
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("gamma", [0.8, 1.0])
def test_gae_is_the_discounted_sum_of_td_errors(gamma, lam):
    errors = actor_critic.td_errors(REWARDS, VALUES, MASK, gamma)
    found = actor_critic.gae(REWARDS, VALUES, MASK, gamma, lam)
    assert found == pytest.approx(token_mdp.return_to_go(errors, gamma * lam), abs=1e-13)


@pytest.mark.equation("eq-gae")
def test_gae_of_whole_numbers_is_no_whole_number():
    found = actor_critic.gae(np.array([[1, 2, 3]]), np.zeros((1, 3), dtype=int), np.ones((1, 3), dtype=int), 1, 0.5)
    assert found.tolist() == [[2.75, 3.5, 3.0]]


@pytest.mark.equation("eq-gae")
def test_gae_of_one_is_the_return_minus_the_value_and_of_zero_the_td_error():
    returns = token_mdp.return_to_go(REWARDS, 0.9)
    assert actor_critic.gae(REWARDS, VALUES, MASK, 0.9, 1.0) == pytest.approx((returns - VALUES) * MASK, abs=1e-13)
    assert actor_critic.gae(REWARDS, VALUES, MASK, 0.9, 0.0) == pytest.approx(
        actor_critic.td_errors(REWARDS, VALUES, MASK, 0.9)
    )
    usual = actor_critic.gae(REWARDS, VALUES, MASK, 1.0, 0.95)
    assert actor_critic.gae(REWARDS, VALUES, MASK).tolist() == usual.tolist()
    assert (
        actor_critic.td_errors(REWARDS, VALUES, MASK).tolist()
        == actor_critic.td_errors(REWARDS, VALUES, MASK, 1.0).tolist()
    )


def all_answers(params):
    """Every answer to every prompt as one batch, with the weight rho(x) pi(y | x) of each."""
    prompt, response = np.repeat(tasks.PROMPTS, 7, axis=0), np.tile(tasks.ANSWERS, (2, 1))
    weight = (tasks.START[:, None] * np.exp(tasks.log_pi(params))).ravel()
    log_pi, log_pi_0 = (lm.token_log_prob(tasks.MODEL, p, prompt, response) for p in (params, tasks.REFERENCE))
    mask = lm.response_mask(response, 2)
    rewards = actor_critic.kl_rewards(tasks.reward(prompt, response), log_pi, log_pi_0, mask, tasks.BETA)
    return prompt, response, mask, weight, rewards


def exact_values(params, prompt, response):
    """V of the regularised reward at every state, by a sweep over the tree, looked up along each answer."""
    levels, reference = (lm.policy_levels(tasks.MODEL, p, tasks.PROMPTS, 2) for p in (params, tasks.REFERENCE))
    paid = [r - tasks.BETA * (a - b) for r, a, b in zip(TASK.mdp.token_rewards(), levels, reference, strict=True)]
    v = token_mdp.policy_evaluation(levels, paid, eos=2).v
    table = {"logits": tasks.REFERENCE["logits"], "value": np.concatenate(v, axis=-1)}
    return CRITIC.judge(table, prompt, response)[1]


def expected_gradient(params, advantage, prompt, response, mask, weight):
    def loss(p):
        log_pi = lm.token_log_prob(tasks.MODEL, p, prompt, response)
        each = actor_critic.actor_critic_loss(log_pi[:, None], advantage[:, None], mask[:, None])
        return anp.sum(weight * each)

    return -grad(loss)(params)["logits"]


@pytest.mark.equation("eq-actor-critic")
def test_the_expected_step_is_the_exact_gradient_whatever_the_critic_says_if_lambda_is_one():
    prompt, response, mask, weight, rewards = all_answers(tasks.POLICY)
    exact = grad(lambda p: TASK.objective(tasks.log_pi(p)))(tasks.POLICY)["logits"]
    wrong = CRITIC.judge(tasks.POLICY | {"value": RNG.normal(size=(2, 3))}, prompt, response)[1]
    right = exact_values(tasks.POLICY, prompt, response)
    for values, lam in ((wrong, 1.0), (right, 1.0), (right, 0.5), (right, 0.0)):
        found = expected_gradient(
            tasks.POLICY, actor_critic.gae(rewards, values, mask, 1.0, lam), prompt, response, mask, weight
        )
        assert found == pytest.approx(exact, abs=1e-12)
    biased = expected_gradient(
        tasks.POLICY, actor_critic.gae(rewards, wrong, mask, 1.0, 0.5), prompt, response, mask, weight
    )
    assert np.abs(biased - exact).max() > 0.01


@pytest.mark.equation("eq-actor-critic", "eq-value-loss")
def test_losses_by_hand():
    log_pi = LOG_OLD + 0.1
    total = sum(ADVANTAGE[n, t] * log_pi[n, t] for n, length in enumerate((4, 2, 1)) for t in range(length))
    assert actor_critic.actor_critic_loss(log_pi, ADVANTAGE, MASK) == pytest.approx(-total / 3, rel=1e-13)
    errors = sum((VALUES[n, t] - REWARDS[n, t]) ** 2 for n, length in enumerate((4, 2, 1)) for t in range(length))
    assert actor_critic.value_loss(VALUES, REWARDS, MASK) == pytest.approx(errors / 6, rel=1e-13)


@pytest.mark.equation("eq-value-loss")
def test_the_best_value_is_the_mean_return():
    returns = np.array([[1.0], [2.0], [6.0]])
    slope = grad(lambda v: actor_critic.value_loss(v * np.ones((3, 1)), returns, np.ones((3, 1))))
    assert slope(3.0) == pytest.approx(0, abs=1e-14)
    assert slope(4.0) == pytest.approx(1.0, rel=1e-13)


@pytest.mark.equation("eq-value-clip")
def test_a_clipped_value_takes_the_larger_error():
    one = np.ones((1, 1))
    for value, old, target, expected in (
        (1.0, 0.0, 3.0, (0.2 - 3) ** 2),  # held back: the error is that of 0.2
        (-1.0, 0.0, 3.0, 16.0),  # already worse: the error is its own
        (0.1, 0.0, 3.0, 2.9**2),
        (-1.0, 0.0, -3.0, (-0.2 + 3) ** 2),
    ):
        found = actor_critic.clipped_value_loss(value * one, old * one, target * one, one, 0.2)
        assert found == pytest.approx(expected / 2, rel=1e-13)
    values, mask = np.array([[1.0, 5.0, 5.0], [0.1, 5.0, 5.0]]), np.array([[1.0, 0, 0], [1, 0, 0]])
    both = actor_critic.clipped_value_loss(values, np.zeros((2, 3)), np.full((2, 3), 3.0), mask, 0.2)
    assert both == pytest.approx((2.8**2 + 2.9**2) / 4, rel=1e-13)


@pytest.mark.equation("eq-ppo")
def test_at_the_old_parameters_the_gradient_of_ppo_is_the_policy_gradient():
    seen = rollout(TASK, tasks.MODEL, tasks.POLICY, 20, np.random.default_rng(3))
    advantage = np.random.default_rng(4).normal(size=seen.log_pi.shape)

    def gradient(loss):
        return grad(lambda p: loss(lm.token_log_prob(tasks.MODEL, p, seen.prompt, seen.response)))(tasks.POLICY)

    clipped = gradient(lambda log_pi: actor_critic.ppo_loss(log_pi, seen.log_pi, advantage, seen.mask, 0.2))
    plain = gradient(lambda log_pi: actor_critic.actor_critic_loss(log_pi, advantage, seen.mask))
    assert clipped["logits"] == pytest.approx(plain["logits"], abs=1e-12)
    assert np.abs(plain["logits"]).max() > 0.01


@pytest.mark.equation("eq-ppo")
@pytest.mark.parametrize(
    ("advantage", "ratio", "slope"),
    [(2.0, 1.25, 0), (2.0, 1.15, 1), (2.0, 0.5, 1), (-2.0, 0.75, 0), (-2.0, 0.85, 1), (-2.0, 1.5, 1)],
)
def test_the_gradient_is_zero_where_a_good_move_went_far_enough_and_nowhere_else(advantage, ratio, slope):
    one = np.ones((1, 1))
    loss = partial(
        actor_critic.ppo_loss, log_old=np.log(0.3) * one, advantage=advantage * one, mask=one, clip_range=0.2
    )
    log_pi = (np.log(0.3) + np.log(ratio)) * one
    assert elementwise_grad(loss)(log_pi).item() == pytest.approx(-advantage * ratio * slope, abs=1e-13)
    kept = ratio if slope else np.clip(ratio, 0.8, 1.2)
    assert loss(log_pi) == pytest.approx(-advantage * kept, rel=1e-13)


@pytest.mark.equation("eq-ppo")
def test_ppo_sums_over_tokens_and_averages_over_answers():
    log_pi = LOG_OLD + RNG.normal(size=(3, 4)) * 0.5
    ratio = np.exp(log_pi - LOG_OLD)
    each = np.minimum(ratio * ADVANTAGE, np.clip(ratio, 0.9, 1.1) * ADVANTAGE)
    expected = -sum(each[n, :length].sum() for n, length in enumerate((4, 2, 1))) / 3
    assert actor_critic.ppo_loss(log_pi, LOG_OLD, ADVANTAGE, MASK, 0.1) == pytest.approx(expected, rel=1e-13)
    check_grads(lambda z: actor_critic.ppo_loss(z, LOG_OLD, ADVANTAGE, MASK, 0.1), modes=["rev"])(log_pi)


@pytest.mark.equation("eq-adaptive-beta")
def test_the_price_follows_the_divergence_by_at_most_a_fifth_of_the_rate():
    found = actor_critic.adapt_beta(
        np.array([1.0, 1.0, 2.0, 1.0]), np.array([2.2, 1.0, 30.0, 0.0]), target=2.0, rate=0.5
    )
    assert found == pytest.approx([1 + 0.5 * 0.1, 1 - 0.5 * 0.2, 2 * 1.1, 0.9], rel=1e-13)
    assert actor_critic.adapt_beta(1.0, 9.0, target=1.0) == pytest.approx(1.02, rel=1e-14)


def test_normalised_advantages_have_mean_zero_and_deviation_one_over_real_tokens():
    found = actor_critic.normalise(ADVANTAGE, MASK)
    real = found[MASK > 0]
    assert real.mean() == pytest.approx(0, abs=1e-13)
    assert real.std() == pytest.approx(1, rel=1e-6)
    assert (found[MASK == 0] == 0).all()
    assert actor_critic.normalise(np.stack([ADVANTAGE, 3 * ADVANTAGE]), MASK)[1] == pytest.approx(found, rel=1e-6)
    assert (actor_critic.normalise(0 * ADVANTAGE, MASK) == 0).all()
    centred = (ADVANTAGE - ADVANTAGE[MASK > 0].mean()) * MASK
    spread = ADVANTAGE[MASK > 0].std()
    assert actor_critic.normalise(ADVANTAGE, MASK, eps=0.5) == pytest.approx(centred / (spread + 0.5), rel=1e-12)


def test_seeds_with_masks_of_their_own_do_not_touch_each_other():
    masks, advantage = np.stack([MASK, MASK[::-1]]), np.stack([ADVANTAGE, 2 - ADVANTAGE])
    log_pi, values, returns = (
        LOG_OLD + 0.3 * RNG.normal(size=(2, 3, 4)),
        RNG.normal(size=(2, 3, 4)),
        RNG.normal(size=(2, 3, 4)),
    )
    losses = (
        lambda k: actor_critic.normalise(advantage[k], masks[k]),
        lambda k: actor_critic.actor_critic_loss(log_pi[k], advantage[k], masks[k]),
        lambda k: actor_critic.ppo_loss(log_pi[k], LOG_OLD, advantage[k], masks[k], 0.2),
        lambda k: actor_critic.value_loss(values[k], returns[k], masks[k]),
        lambda k: actor_critic.clipped_value_loss(values[k], VALUES, returns[k], masks[k], 0.2),
    )
    for loss in losses:
        assert loss(slice(None)) == pytest.approx(np.stack([loss(0), loss(1)]), rel=1e-13)


def trained(make, params, rounds, step_size, seed=0, **settings):
    loss, collect = make(TASK, settings.pop("critic", CRITIC), **settings)
    rng = np.random.default_rng(seed)
    return optim.fit(loss, params, collect, rounds=rounds, optimizer=optim.adam(step_size), rng=rng)


def gap(params):
    return TASK.gap(TASK.log_pi(tasks.MODEL, params))


STARTS = CRITIC.head(stack([tasks.REFERENCE, tasks.POLICY, {"logits": np.zeros((2, 3, 3))}]))


@pytest.mark.parametrize("lam", [1.0, 0.95])
def test_a2c_reaches_the_gibbs_policy(lam):
    params, _ = trained(ppo.a2c, STARTS, 700, 0.05, prompts=64, lam=lam)
    assert (gap(params) < 1e-3).all()


@pytest.mark.parametrize("settings", [{}, {"lam": 1.0, "value_clip": 0.5, "stop_kl": 0.02}, {"normalised": True}])
def test_ppo_reaches_the_gibbs_policy(settings):
    params, _ = trained(ppo.ppo, STARTS, 200, 0.02, prompts=128, minibatch=64, epochs=4, **settings)
    params, _ = trained(ppo.ppo, params, 50, 0.005, 1, prompts=128, minibatch=64, epochs=4, **settings)
    assert (gap(params) < 1e-3).all()


def test_ppo_runs_unchanged_on_a_recurrent_network():
    critic = RecurrentCritic(Recurrent(3, 8, 2))
    start = critic.init(np.random.default_rng(1))
    settings = {"prompts": 128, "minibatch": 64, "epochs": 4, "critic": critic}
    params, _ = trained(ppo.ppo, start, 150, 0.02, **settings)
    assert TASK.gap(TASK.log_pi(critic.language, params)) < 0.02


def test_ten_runs_of_ppo_on_phrase_world_come_within_a_twentieth_of_the_optimum():
    network, corpus = Recurrent(VOCAB, 16, EOS), phrase_world.corpus()
    pretrained, _ = optim.fit(
        lambda params, batch: lm.negative_log_likelihood(network, params, *batch),
        network.init(np.random.default_rng(4)),
        optim.minibatches(corpus, 149),
        rounds=150,
        optimizer=optim.adam(0.02),
        rng=np.random.default_rng(5),
    )
    task, critic = Task(phrase_world.mdp(), (network, pretrained), 0.5), RecurrentCritic(network)
    loss, collect = ppo.ppo(task, critic, prompts=512, minibatch=256, epochs=4, value_weight=0.1)
    starts, rng = critic.head(stack([pretrained] * 10)), np.random.default_rng(1)
    params, _ = optim.fit(loss, starts, collect, rounds=60, optimizer=optim.adam(0.01), rng=rng)
    gaps = task.each(network, params, task.gap)
    assert gaps.mean() + 4 * gaps.std(ddof=1) / 10**0.5 < 0.05


def test_the_learned_value_is_the_value_of_the_optimum():
    params, _ = trained(ppo.a2c, STARTS, 700, 0.05, prompts=64)
    best = tasks.optimum()
    prompt, response, *_ = all_answers(best)
    learned = CRITIC.judge({name: p[0] for name, p in params.items()}, prompt, response)[1]
    assert learned[:, 0] == pytest.approx(exact_values(best, prompt, response)[:, 0], abs=0.02)


def batches(pair, params=STARTS, seed=0):
    return list(pair[1](params, np.random.default_rng(seed)))


def test_a_round_goes_through_all_answers_in_every_epoch():
    found = batches(ppo.ppo(TASK, CRITIC, prompts=10, minibatch=4, epochs=3))
    assert [b.response.shape for b in found] == [(3, 4, 2), (3, 4, 2), (3, 2, 2)] * 3
    epochs = [np.concatenate([b.log_old for b in found[k : k + 3]], axis=1) for k in (0, 3, 6)]
    assert all((np.sort(e, axis=1) == np.sort(epochs[0], axis=1)).all() for e in epochs)
    assert (epochs[0] != epochs[1]).any()


def test_a_batch_holds_gae_of_the_kl_rewards_and_the_returns_that_go_with_it():
    params = STARTS | {"value": np.random.default_rng(8).normal(size=(3, 2, 3))}
    (batch,) = batches(ppo.a2c(TASK, CRITIC, prompts=9, gamma=0.9, lam=0.7), params)
    seen = rollout(TASK, tasks.MODEL, params, 9, np.random.default_rng(0))
    values = CRITIC.judge(params, seen.prompt, seen.response)[1]
    rewards = actor_critic.kl_rewards(seen.reward, seen.log_pi, seen.log_pi_0, seen.mask, tasks.BETA)
    assert batch.value_old == pytest.approx(values, abs=1e-14)
    assert batch.advantage == pytest.approx(actor_critic.gae(rewards, values, seen.mask, 0.9, 0.7), abs=1e-13)
    assert batch.returns == pytest.approx((batch.advantage + values) * seen.mask, abs=1e-13)
    assert batch.log_old == pytest.approx(seen.log_pi, abs=1e-14)
    (other,) = batches(ppo.ppo(TASK, CRITIC, prompts=9, minibatch=9, epochs=1, gamma=0.9, lam=0.7), params)
    assert np.sort(other.advantage, axis=1) == pytest.approx(np.sort(batch.advantage, axis=1), abs=1e-13)


@pytest.mark.equation("eq-weighted-loss")
def test_the_loss_is_the_clipped_gain_plus_the_weighted_value_loss():
    batch = batches(ppo.ppo(TASK, CRITIC, prompts=12, minibatch=12, epochs=1))[0]
    moved = {name: p + np.random.default_rng(9).normal(size=p.shape) for name, p in STARTS.items()}
    log_pi = lm.token_log_prob(tasks.MODEL, moved, batch.prompt, batch.response)
    values = CRITIC.judge(moved, batch.prompt, batch.response)[1]
    gain = actor_critic.ppo_loss(log_pi, batch.log_old, batch.advantage, batch.mask, 0.3)
    wrong = actor_critic.value_loss(values, batch.returns, batch.mask)
    settings = {"prompts": 12, "minibatch": 12, "epochs": 1}
    found = ppo.ppo(TASK, CRITIC, clip_range=0.3, value_weight=2.0, **settings)[0](moved, batch)
    assert found == pytest.approx(gain + 2 * wrong, rel=1e-12)
    usual = ppo.ppo(TASK, CRITIC, **settings)[0](moved, batch)
    spelled = ppo.ppo(TASK, CRITIC, clip_range=0.2, value_weight=0.5, **settings)[0](moved, batch)
    assert usual.tolist() == spelled.tolist()
    clipped = actor_critic.clipped_value_loss(values, batch.value_old, batch.returns, batch.mask, 0.1)
    found = ppo.ppo(TASK, CRITIC, clip_range=0.3, value_clip=0.1, **settings)[0](moved, batch)
    assert found == pytest.approx(gain + clipped / 2, rel=1e-12)
    plain = actor_critic.actor_critic_loss(log_pi, batch.advantage, batch.mask)
    assert ppo.a2c(TASK, CRITIC, prompts=12)[0](moved, batch) == pytest.approx(plain + wrong / 2, rel=1e-12)


def test_a_seed_that_has_strayed_has_no_loss_to_the_end_of_the_round():
    batch = batches(ppo.ppo(TASK, CRITIC, prompts=30, minibatch=30, epochs=1))[0]
    far = {"logits": STARTS["logits"].copy(), "value": STARTS["value"]}
    far["logits"][1] += np.random.default_rng(2).normal(size=(2, 3, 3))
    log_ratio = lm.token_log_prob(tasks.MODEL, far, batch.prompt, batch.response) - batch.log_old
    strayed = (np.exp(log_ratio) - 1 - log_ratio).sum((-1, -2)) / batch.mask.sum((-1, -2))
    assert strayed[1] > 0.01 > strayed[0] == 0
    plain, _ = ppo.ppo(TASK, CRITIC, prompts=30, minibatch=30, epochs=1)
    loss, _ = ppo.ppo(TASK, CRITIC, prompts=30, minibatch=30, epochs=1, stop_kl=0.0)
    assert loss(STARTS, batch).tolist() == plain(STARTS, batch).tolist()
    for limit, moves in ((strayed[1] * 0.99, False), (strayed[1] * 1.01, True)):
        loss, collect = ppo.ppo(TASK, CRITIC, prompts=30, minibatch=30, epochs=1, stop_kl=limit)
        assert loss(far, batch).tolist() == (plain(far, batch) * [1, moves, 1]).tolist()
        slope = grad(lambda p, loss=loss: anp.sum(loss(p, batch)))(far)
        for name in slope:
            assert [bool(np.abs(g).max() > 0) for g in slope[name]] == [True, moves, True]
        assert loss(STARTS, batch).tolist() == (plain(STARTS, batch) * [1, moves, 1]).tolist()
        next(iter(collect(STARTS, np.random.default_rng(0))))
        assert loss(STARTS, batch).tolist() == plain(STARTS, batch).tolist()
    alone = {name: p[1] for name, p in far.items()}
    row = ppo.TokenBatch(*(column[1] for column in batch))
    loss, _ = ppo.ppo(TASK, CRITIC, prompts=30, minibatch=30, epochs=1, stop_kl=strayed[1] * 0.99)
    assert (loss(alone, row), plain(alone, row) != 0) == (0.0, True)


def test_with_an_optimiser_that_rests_a_seed_that_has_strayed_stays_where_it_is():
    settings = {"prompts": 64, "minibatch": 16, "epochs": 4}
    moved, ended = [], []
    for limit in (np.inf, 0.01):
        loss, collect = ppo.ppo(TASK, CRITIC, **settings, stop_kl=limit)
        steps = []

        def watched(params, batch, loss=loss, steps=steps):
            values = loss(params, batch)
            steps.append((getval(values).copy(), getval(params["logits"]).copy()))
            return values

        optimizer, rng = optim.resting(optim.adam(0.05), seeds=3), np.random.default_rng(0)
        params, _ = optim.fit(watched, STARTS, collect, rounds=1, optimizer=optimizer, rng=rng)
        losses, places = (np.array(column) for column in zip(*steps, strict=True))
        moved.append(np.abs(np.diff([*places, params["logits"]], axis=0)).max((2, 3, 4)) > 0)
        ended.append(losses == 0)
    assert moved[0].all()
    assert ended[1][-1].all()
    assert not ended[1][0].any()
    assert (moved[1] == ~ended[1]).all()
    assert (np.diff(ended[1].astype(int), axis=0) >= 0).all()


def test_a_seed_that_has_stopped_walks_on_with_adam_alone():
    def strays(optimizer):
        loss, collect = ppo.ppo(TASK, CRITIC, prompts=64, minibatch=16, epochs=8, stop_kl=0.01)
        params, _ = optim.fit(loss, STARTS, collect, rounds=1, optimizer=optimizer, rng=np.random.default_rng(0))
        (batch,) = batches(ppo.ppo(TASK, CRITIC, prompts=64, minibatch=64, epochs=1))
        log_ratio = lm.token_log_prob(tasks.MODEL, params, batch.prompt, batch.response) - batch.log_old
        return (np.expm1(log_ratio) - log_ratio).sum((-1, -2)) / batch.mask.sum((-1, -2))

    rests, walks = (strays(optimizer) for optimizer in (optim.resting(optim.adam(0.05), 3), optim.adam(0.05)))
    assert (rests < 0.02).all()
    assert (walks > 3 * rests).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_normalised_advantages_keep_the_policy_restless(seed):
    settings = {"prompts": 128, "minibatch": 64, "epochs": 4, "seed": seed}
    plain, _ = trained(ppo.ppo, STARTS, 250, 0.02, **settings)
    restless, _ = trained(ppo.ppo, STARTS, 250, 0.02, **settings, normalised=True)
    assert gap(restless).mean() > 2 * gap(plain).mean()


def test_normalised_batches_are_normalised_before_they_are_split():
    found = batches(ppo.ppo(TASK, CRITIC, prompts=12, minibatch=12, epochs=1, normalised=True))[0]
    plain = batches(ppo.ppo(TASK, CRITIC, prompts=12, minibatch=12, epochs=1))[0]
    assert found.advantage == pytest.approx(actor_critic.normalise(plain.advantage, plain.mask), abs=1e-12)
    assert found.returns == pytest.approx(plain.returns, abs=1e-14)


def test_adaptive_control_holds_the_divergence_at_its_target():
    control = partial(actor_critic.adapt_beta, target=0.3)
    settings = {"prompts": 128, "minibatch": 64, "epochs": 2, "control": control}
    params, _ = trained(ppo.ppo, STARTS, 200, 0.02, **settings)
    found = TASK.mean(lm.kl(TASK.log_pi(tasks.MODEL, params), TASK.log_pi_0))
    assert found == pytest.approx([0.3] * 3, abs=0.05)


def test_the_price_of_the_next_round_depends_on_the_divergence_of_this_one():
    asked = []

    def control(beta, kl):
        asked.append((beta, kl))
        return beta + np.array([1.0, 2.0, 3.0])

    pair = ppo.ppo(TASK, CRITIC, prompts=9, minibatch=9, epochs=1, control=control)
    first, second = batches(pair)[0], batches(pair)[0]
    seen = rollout(TASK, tasks.MODEL, STARTS, 9, np.random.default_rng(0))
    assert asked[0][0] == tasks.BETA
    assert asked[0][1] == pytest.approx((seen.log_pi - seen.log_pi_0).sum(-1).mean(-1), abs=1e-13)
    assert asked[1][0].tolist() == [tasks.BETA + k for k in (1, 2, 3)]
    batches(ppo.ppo(TASK, CRITIC, prompts=9, minibatch=9, epochs=1, control=control), CRITIC.head(tasks.POLICY))
    assert np.shape(asked[-1][1]) == ()
    cost = [np.sort(b.returns[..., 0], axis=-1) for b in (first, second)]
    assert (np.abs(cost[0] - cost[1])[1] > 0).any()


@pytest.mark.equation("eq-ppo-ptx")
def test_ptx_adds_the_loss_of_pretraining():
    texts = np.array([[0], [1], [0]]), np.array([[0, 2], [1, 1], [2, 2]])
    pair = ppo.ppo(TASK, CRITIC, prompts=8, minibatch=4, epochs=1)
    loss, collect = ppo.with_pretraining(pair, tasks.MODEL, texts, weight=0.7, size=5)
    found = batches((loss, collect))
    assert [len(prompt) for _, prompt, _ in found] == [5, 5]
    rows = {(*p, *a) for p, a in zip(*texts, strict=True)}
    assert {(*p, *a) for _, prompt, answer in found for p, a in zip(prompt, answer, strict=True)} == rows
    own, *text = found[0]
    expected = pair[0](STARTS, own) + 0.7 * lm.negative_log_likelihood(tasks.MODEL, STARTS, *text)
    assert loss(STARTS, found[0]) == pytest.approx(expected, rel=1e-13)


def test_bad_input_is_told():
    for clip_range in (0.0, 1.0, -0.1, np.nan):
        with pytest.raises(ValueError, match=rf"clip_range is epsilon, in \(0, 1\); got {clip_range}"):
            actor_critic.ppo_loss(LOG_OLD, LOG_OLD, ADVANTAGE, MASK, clip_range)
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"gamma must lie in \[0, 1\]; got {bad}"):
            actor_critic.td_errors(REWARDS, VALUES, MASK, bad)
        with pytest.raises(ValueError, match=rf"lambda must lie in \[0, 1\]; got {bad}"):
            actor_critic.gae(REWARDS, VALUES, MASK, 1.0, bad)
    with pytest.raises(ValueError, match="target must be finite and above 0; got 0"):
        actor_critic.adapt_beta(1.0, 1.0, target=0)
    other = RecurrentCritic(Recurrent(4, 2))
    for make in (partial(ppo.a2c, prompts=2), partial(ppo.ppo, prompts=2, minibatch=2, epochs=1)):
        with pytest.raises(ValueError, match="the policy has 4 tokens"):
            make(TASK, other)


BOTH = {
    "prompts 0": ({"prompts": 0}, "prompts is a number of texts to draw, a whole number from 1 on; got 0"),
    "prompts nan": ({"prompts": np.nan}, "prompts is a number of texts to draw, a whole number from 1 on; got nan"),
    "gamma": ({"gamma": 1.1}, r"gamma must lie in \[0, 1\]; got 1.1"),
    "lambda": ({"lam": -0.1}, r"lambda must lie in \[0, 1\]; got -0.1"),
    "value_weight": (
        {"value_weight": -1},
        "value_weight is c_V, the weight of the value loss, finite and at least 0; got -1",
    ),
}
PPO_ONLY = {
    "minibatch 0": ({"minibatch": 0}, "minibatch is the number of answers in a batch, a whole number .*; got 0"),
    "minibatch 2.5": ({"minibatch": 2.5}, "minibatch is the number of answers in a batch, a whole number .*; got 2.5"),
    "epochs": ({"epochs": 1.5}, "epochs is how often to go through the answers, a whole number from 1 on; got 1.5"),
    "clip_range": ({"clip_range": 1.0}, r"clip_range is epsilon, in \(0, 1\); got 1.0"),
    "value_clip 0": ({"value_clip": 0.0}, "value_clip must be finite and above 0; got 0.0"),
    "value_clip": ({"value_clip": -0.2}, "value_clip must be finite and above 0; got -0.2"),
    "stop_kl": ({"stop_kl": -1.0}, "stop_kl is a divergence in nats, not below 0; got -1.0"),
    "stop_kl nan": ({"stop_kl": np.nan}, "stop_kl is a divergence in nats, not below 0; got nan"),
}


@pytest.mark.parametrize("name", BOTH | PPO_ONLY)
def test_bad_settings_are_told_before_any_work(name):
    changed, told = (BOTH | PPO_ONLY)[name]
    with pytest.raises(ValueError, match=told):
        ppo.ppo(TASK, CRITIC, **({"prompts": 4, "minibatch": 4, "epochs": 1} | changed))
    if name in BOTH:
        with pytest.raises(ValueError, match=told):
            ppo.a2c(TASK, CRITIC, **({"prompts": 4} | changed))


def test_a_whole_number_may_come_as_a_float():
    given = [
        batches(ppo.ppo(TASK, CRITIC, prompts=kind(6), minibatch=kind(4), epochs=kind(2))) for kind in (int, float)
    ]
    for whole, point in zip(*given, strict=True):
        assert all((a == b).all() for a, b in zip(whole, point, strict=True))
    texts = np.zeros((3, 1), int), np.zeros((3, 2), int)
    pair = ppo.with_pretraining(ppo.a2c(TASK, CRITIC, prompts=2.0), tasks.MODEL, texts, weight=0, size=2.0)
    assert [len(prompt) for _, prompt, _ in batches(pair)] == [2]


@pytest.mark.parametrize("answer", [-1.0, 0.0, np.nan, np.inf, np.array([1.0, -1.0, 1.0])])
def test_a_control_that_returns_no_price_is_told(answer):
    pair = ppo.ppo(TASK, CRITIC, prompts=4, minibatch=4, epochs=1, control=lambda beta, kl: answer)
    with pytest.raises(ValueError, match="control must return a beta that is finite and above 0; got "):
        batches(pair)


def test_a_price_may_be_as_low_as_one_likes():
    found = batches(ppo.ppo(TASK, CRITIC, prompts=4, minibatch=4, epochs=1, control=lambda beta, kl: 1e-9))
    assert len(found) == 1


@pytest.mark.equation("eq-adaptive-beta")
@pytest.mark.parametrize("rate", [0, 5, -1, np.nan])
def test_a_rate_that_could_make_the_price_negative_is_told(rate):
    with pytest.raises(ValueError, match=rf"rate must lie in \(0, 5\), so that the price stays above 0; got {rate}"):
        actor_critic.adapt_beta(1.0, 0.0, target=1.0, rate=rate)
    assert actor_critic.adapt_beta(1.0, 0.0, target=1.0, rate=4.9) == pytest.approx(0.02)


PTX = {
    "weight": ({"weight": -1}, "weight is eta, the weight of the pretraining loss, finite and at least 0; got -1"),
    "size": ({"size": 0}, "size is the number of texts that go with a batch, a whole number from 1 on; got 0"),
    "fewer answers": ({"texts": (np.zeros((3, 1), int), np.zeros((2, 2), int))}, "3 prompts, but 2 responses"),
    "more answers": ({"texts": (np.zeros((2, 1), int), np.zeros((3, 2), int))}, "2 prompts, but 3 responses"),
    "token": ({"texts": (np.zeros((1, 1), int), np.full((1, 2), 3))}, "texts: token 3 is outside the vocabulary of 3"),
    "none": (
        {"texts": (np.zeros((0, 1), int), np.zeros((0, 2), int))},
        "^there is no text: PPO-ptx needs at least one prompt with its answer$",
    ),
}


@pytest.mark.parametrize("name", PTX)
def test_bad_texts_are_told_before_any_work(name):
    changed, told = PTX[name]
    given = {"texts": (np.zeros((3, 1), int), np.zeros((3, 2), int)), "weight": 1.0, "size": 2} | changed
    pair = ppo.ppo(TASK, CRITIC, prompts=4, minibatch=4, epochs=1)
    with pytest.raises(ValueError, match=told):
        ppo.with_pretraining(pair, tasks.MODEL, given.pop("texts"), **given)

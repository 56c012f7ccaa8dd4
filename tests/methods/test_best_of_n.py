"""Best-of-n, exactly and by drawing; and the other ways to use a reward model without reinforcement learning."""

from functools import partial

import numpy as np
import pytest
import tasks
from autograd import grad
from autograd.test_util import check_grads

from rlhf_lab.methods import best_of_n as bon
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim
from rlhf_lab.worlds import token_mdp

TASK = tasks.task()
LOG_PI = tasks.log_pi(tasks.POLICY)
TIED = np.round(tasks.REWARDS)  # some answers are worth the same


@pytest.mark.equation("eq-best-of-n")
@pytest.mark.parametrize("reward", [tasks.REWARDS, TIED], ids=["all differ", "ties"])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_distribution_is_that_of_every_way_to_draw(reward, n):
    groups, expected = tasks.samples(n), np.zeros((2, 7))
    for x in range(2):
        weight = np.exp(LOG_PI[x])[groups].prod(-1)
        kept = np.take_along_axis(groups, reward[x][groups].argmax(-1)[:, None], axis=1)[:, 0]
        expected[x] = np.bincount(kept, weights=weight, minlength=7)
    found = np.exp(bon.log_best_of_n(LOG_PI, reward, n))
    assert found == pytest.approx(expected, abs=1e-13)
    assert found.sum(-1) == pytest.approx(np.ones(2), abs=1e-13)


@pytest.mark.equation("eq-best-of-n")
def test_the_best_of_many_is_certain_and_rare_answers_stay_finite():
    log_pi = np.log([1 - 1e-9, 1e-9, 1e-300, 1e-300])
    log_pi[3] = -2000.0
    reward = np.array([0.0, 1.0, 2.0, 3.0])
    for n in (1, 2, 1000, 10**12):
        found = bon.log_best_of_n(log_pi, reward, n)
        assert np.isfinite(found).all()
        assert np.exp(found).sum() == pytest.approx(1, rel=1e-6)
    assert bon.log_best_of_n(log_pi, reward, 1) == pytest.approx(log_pi, rel=1e-6)
    assert bon.log_best_of_n(log_pi, reward, 5)[2:] - log_pi[2:] == pytest.approx(np.log([5, 5]), rel=1e-6)
    assert np.exp(bon.log_best_of_n(log_pi, reward, 10**12))[1] == pytest.approx(1, abs=1e-9)
    lowest = bon.log_best_of_n(log_pi, -reward, 2)
    assert np.isfinite(lowest).all()


@pytest.mark.equation("eq-best-of-n-kl")
def test_the_bound_holds_and_is_tight_where_no_answer_is_likely():
    for n in (1, 2, 4, 16, 64):
        by_hand = np.log(n) - (n - 1) / n
        assert bon.kl_bound(n) == pytest.approx(by_hand, abs=1e-15)
        for reward in (tasks.REWARDS, TIED):
            assert (lm.kl(bon.log_best_of_n(LOG_PI, reward, n), LOG_PI) <= by_hand + 1e-12).all()
    many = np.full(100_000, -np.log(100_000))
    found = lm.kl(bon.log_best_of_n(many, np.arange(100_000.0), 4), many)
    assert found == pytest.approx(bon.kl_bound(4), abs=1e-4)


@pytest.mark.equation("eq-win-rate")
def test_the_win_rate_counts_every_pair_and_half_of_the_ties():
    best = bon.log_best_of_n(LOG_PI, TIED, 3)
    p, q = np.exp(best), np.exp(LOG_PI)
    wins = np.sign(TIED[:, :, None] - TIED[:, None, :]) / 2 + 0.5
    assert bon.win_rate(best, LOG_PI, TIED) == pytest.approx(np.einsum("xi,xij,xj->x", p, wins, q), abs=1e-13)
    assert bon.win_rate(LOG_PI, LOG_PI, TIED) == pytest.approx([0.5, 0.5], abs=1e-13)
    many = np.full(100_000, -np.log(100_000))
    won = bon.win_rate(bon.log_best_of_n(many, np.arange(100_000.0), 4), many, np.arange(100_000.0))
    assert won == pytest.approx(4 / 5, abs=1e-4)


@pytest.mark.equation("eq-best-of-n")
def test_sampling_and_keeping_the_best_follows_the_distribution():
    count, n, rng = 40_000, 3, np.random.default_rng(0)
    prompt = np.repeat(tasks.PROMPTS[:1], count * n, axis=0)
    response = lm.sample(tasks.MODEL, tasks.POLICY, prompt, 2, rng)
    reward = tasks.reward(prompt, response).reshape(count, n)
    kept = bon.keep_best(response.reshape(count, n, 2), reward)
    assert kept.shape == (count, 2)
    share = np.bincount(lm.answer_index(kept, 3, 2), minlength=7) / count
    p = np.exp(bon.log_best_of_n(LOG_PI[0], tasks.REWARDS[0], n))
    assert (np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / count)).all()


def test_of_equals_the_first_is_kept_and_seeds_come_first():
    response = np.arange(24).reshape(2, 2, 3, 2)
    reward = np.array([[[0.0, 2, 2], [1, 0, 0]], [[0, 0, 1], [3, 3, 3]]])
    assert bon.keep_best(response, reward).tolist() == [[[2, 3], [6, 7]], [[16, 17], [18, 19]]]


@pytest.mark.equation("eq-raft")
def test_one_round_of_raft_imitates_the_best_of_n():
    loss, collect = bon.raft(TASK, tasks.MODEL, prompts=3000, n=3)
    (batch,) = collect(tasks.POLICY, np.random.default_rng(0))
    prompt, response = batch
    assert prompt.shape == (3000, 1)
    assert loss(tasks.POLICY, batch) == pytest.approx(
        -lm.log_prob(tasks.MODEL, tasks.POLICY, prompt, response).mean(), rel=1e-13
    )
    p = (tasks.START[:, None] * np.exp(bon.log_best_of_n(LOG_PI, tasks.REWARDS, 3))).ravel()
    share = np.bincount(prompt[:, 0] * 7 + lm.answer_index(response, 3, 2), minlength=14) / 3000
    assert (np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / 3000)).all()


@pytest.mark.equation("eq-raft")
def test_many_rounds_of_raft_end_in_the_best_answer():
    loss, collect = bon.raft(TASK, tasks.MODEL, prompts=32, n=4)
    start = {"logits": np.stack([tasks.REFERENCE["logits"], tasks.POLICY["logits"]])}
    rng = np.random.default_rng(0)
    params, _ = optim.fit(loss, start, collect, rounds=100, optimizer=optim.adam(0.2), rng=rng)
    best = np.exp(TASK.log_pi(tasks.MODEL, params))
    assert (best.argmax(-1) == tasks.REWARDS.argmax(-1)).all()
    assert (best.max(-1) > 0.95).all()


@pytest.mark.equation("eq-rrhf")
def test_the_ranking_loss_by_hand():
    log_pi, length = np.array([-4.0, -1.0, -6.0]), np.array([4.0, 2.0, 3.0])
    reward = np.array([2.0, 1.0, 2.0])
    # p = -1, -1/2, -2: the second is worse than both others and likelier than both
    assert bon.rrhf_loss(log_pi, length, reward) == pytest.approx(0.5 + 1.5 + 4.0, rel=1e-13)
    assert bon.rrhf_loss(log_pi, length, -reward) == pytest.approx(0 + 1.0, rel=1e-13)
    stacked = bon.rrhf_loss(np.stack([log_pi] * 2), length, np.stack([reward, -reward]))
    assert stacked == pytest.approx([6.0, 1.0], rel=1e-13)
    check_grads(lambda z: bon.rrhf_loss(z, length, reward), modes=["rev"])(log_pi)


@pytest.mark.equation("eq-rrhf")
def test_a_right_order_has_the_gradient_of_fine_tuning_alone():
    slope = grad(lambda z: bon.rrhf_loss(z, np.ones(3), np.array([3.0, 2.0, 1.0])))(np.array([-1.0, -2.0, -3.0]))
    assert slope.tolist() == [-1, 0, 0]


@pytest.mark.equation("eq-rrhf")
def test_the_loss_of_a_batch_is_the_mean_over_its_groups():
    params = {"logits": np.stack([tasks.POLICY["logits"], tasks.REFERENCE["logits"]])}
    loss, collect = bon.rrhf(TASK, tasks.MODEL, prompts=5, n=3)
    (batch,) = collect(params, np.random.default_rng(0))
    prompt, response, reward = batch
    assert reward.shape == (2, 5, 3)
    assert reward.reshape(2, 15).tolist() == tasks.reward(prompt, response).tolist()
    log_pi = lm.log_prob(tasks.MODEL, params, prompt, response).reshape(2, 5, 3)
    length = lm.response_mask(response, 2).sum(-1).reshape(2, 5, 3)
    each = [[bon.rrhf_loss(log_pi[s, g], length[s, g], reward[s, g]) for g in range(5)] for s in range(2)]
    assert loss(params, batch) == pytest.approx(np.mean(each, axis=1), rel=1e-13)


@pytest.mark.equation("eq-rrhf")
def test_ranking_ends_with_the_best_answer_on_top():
    loss, collect = bon.rrhf(TASK, tasks.MODEL, prompts=32, n=4)
    rng = np.random.default_rng(0)
    params, _ = optim.fit(loss, tasks.REFERENCE, collect, rounds=80, optimizer=optim.adam(0.2), rng=rng)
    assert (TASK.log_pi(tasks.MODEL, params).argmax(-1) == tasks.REWARDS.argmax(-1)).all()


@pytest.mark.equation("eq-rad")
def test_weighted_decoding_by_hand_and_without_weight():
    levels = lm.policy_levels(tasks.MODEL, tasks.REFERENCE, tasks.PROMPTS, 2)
    values = token_mdp.policy_evaluation(levels, TASK.mdp.token_rewards(), eos=2).q
    found = bon.weighted_decoding(levels, values, 1.5)
    for level, q, new in zip(levels, values, found, strict=True):
        weight = np.exp(level + 1.5 * q)
        assert np.exp(new) == pytest.approx(weight / weight.sum(-1, keepdims=True), rel=1e-12)
    same = bon.weighted_decoding(levels, values, 0.0)
    assert all(a == pytest.approx(b, abs=1e-14) for a, b in zip(same, levels, strict=True))


@pytest.mark.equation("eq-rad")
def test_of_one_token_weighted_decoding_is_the_gibbs_policy():
    level, reward = np.log([[[0.2, 0.3, 0.5]]]), np.array([[[1.0, 0.0, -1.0]]])
    (found,) = bon.weighted_decoding([level], [reward], 1 / 0.4)
    weight = np.array([0.2, 0.3, 0.5]) * np.exp(reward[0, 0] / 0.4)
    assert np.exp(found[0, 0]) == pytest.approx(weight / weight.sum(), rel=1e-12)


def test_bad_input_is_told():
    for n in (0, -1, 2.5, np.inf, np.nan):
        told = f"n is the number of draws of which the best is kept, a whole number from 1 on; got {n}"
        for call in (
            partial(bon.log_best_of_n, LOG_PI, TIED),
            bon.kl_bound,
            lambda n: bon.raft(TASK, tasks.MODEL, prompts=2, n=n),
            lambda n: bon.rrhf(TASK, tasks.MODEL, prompts=2, n=n),
        ):
            with pytest.raises(ValueError, match=told):
                call(n)
    broken = np.where(np.arange(7) == 3, np.nan, TIED)
    for call in (
        lambda r: bon.log_best_of_n(LOG_PI, r, 2),
        lambda r: bon.win_rate(LOG_PI, LOG_PI, r),
        lambda r: bon.rrhf_loss(LOG_PI, np.ones((2, 7)), r),
        lambda r: bon.keep_best(np.zeros((2, 7, 3), dtype=int), r),
    ):
        with pytest.raises(ValueError, match="rewards must be finite; 2 of 14 are NaN or infinite"):
            call(broken)
        with pytest.raises(ValueError, match=r"one reward for each of the 7 answers, last axis; got shape \(2, 1\)"):
            call(TIED[:, :1])

    from rlhf_lab.models.recurrent import Recurrent

    for make in (bon.raft, bon.rrhf):
        with pytest.raises(ValueError, match="the policy has 5 tokens"):
            make(TASK, Recurrent(5, 2), prompts=2, n=2)

"""End points: at each of them the expected step, over all answers, is zero."""

import autograd.numpy as anp
import numpy as np
import pytest
import tasks
from autograd import grad
from autograd.tracer import getval

from rlhf_lab.methods import end_points, policy_gradient
from rlhf_lab.methods.best_of_n import log_best_of_n, rrhf_loss
from rlhf_lab.models import lm

TASK = tasks.task()
LEVELS = lm.policy_levels(tasks.MODEL, tasks.REFERENCE, tasks.PROMPTS, 2)
PROMPT, RESPONSE, MASK, *_ = tasks.all_answers(tasks.REFERENCE)
LOG_0 = lm.token_log_prob(tasks.MODEL, tasks.REFERENCE, PROMPT, RESPONSE)


def expected_step(params, estimator):
    """The mean gradient of - R log pi + beta sum_t k(log pi / pi_0), answers drawn from the policy."""
    weight = (tasks.START[:, None] * np.exp(getval(tasks.log_pi(params)))).ravel()

    def loss(p):
        log_pi = lm.token_log_prob(tasks.MODEL, p, PROMPT, RESPONSE)
        price = anp.sum(estimator(log_pi - LOG_0) * MASK, axis=-1)
        return anp.sum(weight * (tasks.BETA * price - tasks.REWARDS.ravel() * anp.sum(log_pi, axis=-1)))

    return grad(loss)(params)["logits"]


@pytest.mark.equation("eq-local-price")
@pytest.mark.parametrize(
    ("estimator", "rest"),
    [(policy_gradient.k2, end_points.tilt), (policy_gradient.k3, end_points.forward_price)],
)
def test_at_the_end_of_a_price_of_each_token_the_expected_step_is_zero(estimator, rest):
    levels = end_points.local_price(LEVELS, TASK.mdp.token_rewards(), tasks.BETA, rest)
    found = tasks.MODEL.of_levels(levels)
    assert expected_step(found, estimator) == pytest.approx(np.zeros((2, 3, 3)), abs=1e-9)
    assert TASK.gap(tasks.log_pi(found)) > 1e-3


@pytest.mark.equation("eq-k3-end")
def test_k3_of_the_answer_ends_at_the_optimum_of_the_forward_divergence():
    found = end_points.forward_price(TASK.log_pi_0, tasks.REWARDS, tasks.BETA)
    assert np.exp(found).sum(-1) == pytest.approx(np.ones(2), abs=1e-12)
    slope = tasks.REWARDS + tasks.BETA * np.exp(TASK.log_pi_0 - found)  # of the objective in each probability
    assert np.ptp(slope, axis=-1) == pytest.approx(np.zeros(2), abs=1e-10)


def test_late_advantages_leave_the_first_token_alone_and_early_rewards_the_last():
    late = end_points.late_advantages(LEVELS, TASK.mdp.token_rewards(), tasks.BETA)
    best = lm.policy_levels(tasks.MODEL, tasks.optimum(), tasks.PROMPTS, 2)
    assert late[0].tolist() == LEVELS[0].tolist()
    assert late[1] == pytest.approx(best[1], abs=1e-12)
    early = end_points.early_reward(LEVELS, TASK.mdp.token_rewards(), tasks.BETA)
    assert early[1] == pytest.approx(LEVELS[1], abs=1e-12)
    worth = (np.exp(LEVELS[1]) * TASK.mdp.token_rewards()[1]).sum(-1)
    credit = np.concatenate([worth, np.zeros((2, 1))], axis=-1)[:, None]
    assert early[0] == pytest.approx(end_points.tilt(LEVELS[0], credit, tasks.BETA), abs=1e-12)


@pytest.mark.equation("eq-best-of-n", "eq-raft", "eq-raft-end")
def test_exact_rounds_of_raft_are_best_of_n_to_the_power_and_end_at_the_reference_given_the_best():
    start = TASK.log_pi_0
    twice = log_best_of_n(log_best_of_n(start, tasks.REWARDS, 3), tasks.REWARDS, 3)
    assert twice == pytest.approx(log_best_of_n(start, tasks.REWARDS, 9), abs=1e-9)
    tied = np.round(tasks.REWARDS.clip(max=0.2), 1)
    end = np.exp(log_best_of_n(start, tied, 3**9))
    assert end == pytest.approx(np.exp(end_points.without_price(start, tied)), abs=1e-6)


@pytest.mark.equation("eq-raft-end")
def test_of_policies_that_say_only_the_best_the_reference_given_the_best_is_the_nearest():
    tied = np.round(tasks.REWARDS.clip(max=0.2), 1)
    best, rng = tied == tied.max(-1, keepdims=True), np.random.default_rng(0)
    least = lm.kl(end_points.without_price(TASK.log_pi_0, tied), TASK.log_pi_0)
    assert least == pytest.approx(-np.log((np.exp(TASK.log_pi_0) * best).sum(-1)), abs=1e-9)
    for _ in range(20):
        other = np.where(best, rng.normal(size=best.shape), -1e6)
        other = other - np.log(np.exp(other).sum(-1, keepdims=True))
        assert (lm.kl(other, TASK.log_pi_0) > least).all()


def expected_rrhf_step(logits, reward, n=3):
    """The mean gradient of RRHF in the logits of one prompt's 7 answers, over every way to draw n."""
    groups, length = tasks.samples(n), np.sum(lm.response_mask(tasks.ANSWERS, 2), axis=-1)
    chance = np.exp(logits - np.log(np.exp(logits).sum()))

    def loss(z):
        log_pi = z - anp.log(anp.sum(anp.exp(z)))
        weight = chance[groups].prod(-1)
        return anp.sum(weight * rrhf_loss(log_pi[groups], length[groups], reward[groups]))

    return grad(loss)(logits)


@pytest.mark.equation("eq-rrhf", "eq-raft-end")
def test_rrhf_is_at_rest_where_all_that_is_said_earns_the_same_and_stays_only_at_the_best():
    reward, rng = np.array([1.0, 0, 1, 0, 0.5, 1, 0]), np.random.default_rng(0)
    for _ in range(20):
        logits = rng.normal(size=7)
        assert np.abs(expected_rrhf_step(logits, reward)).max() > 1e-2
        only_best = np.where(reward == 1, logits, -40)
        assert expected_rrhf_step(only_best, reward) == pytest.approx(np.zeros(7), abs=1e-9)
        mostly_worst = np.where(reward == 0, logits, logits - 8)  # rest at a lower reward does not last
        assert expected_rrhf_step(mostly_worst, reward)[reward == 1].sum() < -1e-4

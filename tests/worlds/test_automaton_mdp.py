"""Sweeps over states against lists of all texts, on automata small enough for both."""

import numpy as np
import pytest
from small_automata import ANSWERS, COST, FINAL, FOLLOWING, HORIZON, LENGTH, LOG_P, LOG_REFERENCE, PROMPTS, REWARD, walk

from rlhf_lab.methods import best_of_n
from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import estimates, gibbs, lm
from rlhf_lab.models.automaton import Automaton
from rlhf_lab.worlds import automaton_mdp
from rlhf_lab.worlds.automaton_mdp import AutomatonMDP
from rlhf_lab.worlds.token_mdp import TokenMDP

MDP = AutomatonMDP(Automaton(PROMPTS, FOLLOWING, HORIZON), LOG_P, FINAL, COST)
every_beta = pytest.mark.parametrize("beta", [0.02, 0.35, 3.0])


def listed(params):
    return lm.answer_log_probs(MDP.model, params, PROMPTS, HORIZON)


def test_there_is_something_to_sum():
    assert np.exp(LOG_REFERENCE).sum(-1) == pytest.approx(1, abs=1e-14)
    assert len(ANSWERS) == 31
    assert len(np.unique(REWARD)) < REWARD.size / 2, "equal rewards are grouped below"


@pytest.mark.equation("eq-automaton")
def test_the_reference_is_the_product_of_its_choices():
    assert listed(MDP.reference()) == pytest.approx(LOG_REFERENCE, abs=1e-14)


@pytest.mark.equation("eq-automaton-gibbs", "eq-soft-sweep", "eq-gibbs")
@every_beta
def test_the_gibbs_policy_and_its_normaliser_are_those_of_the_list(beta):
    params = MDP.gibbs(beta)
    expected = gibbs.log_normaliser(LOG_REFERENCE, REWARD, beta)
    assert automaton_mdp.log_normaliser(params) == pytest.approx(expected, rel=1e-14, abs=1e-14)
    assert listed(params) == pytest.approx(gibbs.log_policy(LOG_REFERENCE, REWARD, beta), rel=1e-13, abs=1e-13)


@pytest.mark.equation("eq-forward")
@every_beta
def test_laws_entropies_and_divergences_are_those_of_the_list(beta):
    for params in (MDP.reference(), MDP.gibbs(beta)):
        law, log_pi = MDP.law(params), listed(params)
        pi = np.exp(log_pi)
        assert law.entropy == pytest.approx(lm.entropy(log_pi), rel=1e-13)
        assert law.kl == pytest.approx(lm.kl(log_pi, LOG_REFERENCE), rel=1e-12, abs=1e-14)
        lengths = automaton_mdp.length_law(law)
        ended = (ANSWERS == 2).any(-1)
        for n in range(1, HORIZON + 1):
            assert lengths[:, n - 1] == pytest.approx((pi * (n == LENGTH) * ended).sum(-1), abs=1e-14)
        assert lengths[:, -1] == pytest.approx((pi * ~ended).sum(-1), abs=1e-14)
        assert law.reached.sum(-1)[:, 0] == pytest.approx(1, abs=0)
        alive = np.stack([(pi * (t < LENGTH)).sum(-1) for t in range(HORIZON)], axis=-1)
        assert law.reached.sum(-1) == pytest.approx(alive, abs=1e-14)


@every_beta
def test_the_value_of_the_optimum_is_what_it_earns_less_what_it_costs(beta):
    params = MDP.gibbs(beta)
    law = MDP.law(params)
    log_prob, paid = automaton_mdp.reward_law(MDP, law)
    earned = np.exp(log_prob) @ paid
    assert earned == pytest.approx((np.exp(listed(params)) * REWARD).sum(-1), rel=1e-13)
    assert earned - beta * law.kl == pytest.approx(beta * automaton_mdp.log_normaliser(params), rel=1e-12)


def test_the_slope_of_the_log_normaliser_in_1_over_beta_is_the_mean_reward():
    law = MDP.law(MDP.gibbs(0.5))
    log_prob, paid = automaton_mdp.reward_law(MDP, law)
    step = 1e-4
    above, below = (automaton_mdp.log_normaliser(MDP.gibbs(1 / (2 + d))) for d in (step, -step))
    assert (above - below) / (2 * step) == pytest.approx(np.exp(log_prob) @ paid, abs=1e-6)


def test_a_task_of_listed_answers_finds_the_same_optimum():
    def reward(prompt, response):
        return np.array([walk(int(x[0] == 2), y)[1] for x, y in zip(prompt, response, strict=True)])

    mdp = TokenMDP(PROMPTS, np.full(2, 0.5), reward, 3, HORIZON, 2)
    task = Task(mdp, (MDP.model, MDP.reference()), 0.35)
    optimum = MDP.gibbs(0.35)
    assert listed(optimum) == pytest.approx(task.log_optimum, rel=1e-12)
    missed = 0.35 * automaton_mdp.log_normaliser(optimum).mean() - task.objective(task.log_pi_0)
    assert task.gap(task.log_pi_0) == pytest.approx(missed, rel=1e-12)


def test_the_law_of_the_reward_groups_what_is_paid_alike():
    log_prob, paid = automaton_mdp.reward_law(MDP, MDP.law(MDP.reference()))
    assert (np.diff(paid) > 0).all()
    assert set(np.unique(REWARD)) <= set(paid)
    for value, mass in zip(paid, np.exp(log_prob).T, strict=True):
        assert mass == pytest.approx((np.exp(LOG_REFERENCE) * (value == REWARD)).sum(-1), abs=1e-14)


def test_rewards_are_equal_to_9_digits():
    nearly = AutomatonMDP(MDP.model, LOG_P, np.tile([0, 4e-10, 1, 1 + 2e-8], (2, 1)), 0.0)
    _, paid = automaton_mdp.reward_law(nearly, nearly.law(nearly.reference()))
    assert paid.tolist() == [0, 1, 1 + 2e-8]


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_best_of_n_needs_the_law_of_the_reward_alone(n):
    log_prob, paid = automaton_mdp.reward_law(MDP, MDP.law(MDP.reference()))
    grouped = best_of_n.log_best_of_n(log_prob, paid, n)
    for k in range(2):
        single = best_of_n.log_best_of_n(LOG_REFERENCE[k], REWARD[k], n)
        assert np.exp(grouped[k]) @ paid == pytest.approx(np.exp(single) @ REWARD[k], rel=1e-12)
        assert lm.kl(grouped[k], log_prob[k]) == pytest.approx(lm.kl(single, LOG_REFERENCE[k]), rel=1e-11, abs=1e-13)


def test_some_of_the_prompts_are_solved_as_all_of_them_are():
    both, second = MDP.gibbs(0.5), MDP.only([1])
    assert second.model.prompts.tolist() == [[2, 2]]
    assert (second.gibbs(0.5)["values"] == both["values"][1:]).all()
    assert second.law(second.reference()).kl == pytest.approx(0, abs=1e-15)


def test_small_prices_do_not_overflow():
    params = MDP.gibbs(1e-4)
    assert np.isfinite(params["values"]).all()
    mode = listed(params).argmax(-1)
    assert [REWARD[k, mode[k]] for k in range(2)] == REWARD.max(-1).tolist()


def test_samples_follow_the_exact_probabilities():
    samples, rng = 20_000, np.random.default_rng(1)
    for params in (MDP.reference(), MDP.gibbs(0.5)):
        drawn = lm.sample(MDP.model, params, np.repeat(PROMPTS, samples, axis=0), HORIZON, rng)
        index = lm.answer_index(drawn, 3, 2).reshape(2, samples)
        expected = samples * np.exp(listed(params))
        for k in range(2):
            common = expected[k] > 5
            observed = np.bincount(index[k], minlength=31)
            chi = (observed - expected[k])[common] ** 2 / expected[k][common]
            assert chi.sum() < common.sum() + 4 * np.sqrt(2 * common.sum())


def test_a_small_change_of_the_policy_is_measured_from_its_own_texts():
    params, optimum = MDP.gibbs(0.6), MDP.gibbs(0.5)
    exact = lm.kl(listed(params), listed(optimum))
    policy, best = (MDP.model, params), (MDP.model, optimum)
    found = estimates.token_kl_estimate(policy, best, PROMPTS, HORIZON, 2000, np.random.default_rng(2))
    plain = estimates.kl_estimate(policy, best, PROMPTS, HORIZON, 2000, np.random.default_rng(2))
    assert (np.abs(found.mean - exact) < 4 * found.standard_error).all()
    assert (found.standard_error < plain.standard_error / 4).all()


class TestBadInput:
    def test_prices_that_are_not_above_0(self):
        for beta in (0, -1, np.nan):
            with pytest.raises(ValueError, match="beta must be finite and above 0; got"):
                MDP.gibbs(beta)

    def test_costs_and_rewards(self):
        with pytest.raises(ValueError, match=r"cost is what a token costs, finite and at least 0; got -0.1"):
            AutomatonMDP(MDP.model, LOG_P, FINAL, -0.1)
        with pytest.raises(ValueError, match=r"^final holds rewards that are NaN or infinite"):
            AutomatonMDP(MDP.model, LOG_P, FINAL * np.nan, COST)

    def test_shapes_and_probabilities(self):
        with pytest.raises(ValueError, match=r"log_p must have the shape \(2, 4, 3\) of the table of states, final"):
            AutomatonMDP(MDP.model, LOG_P[:1], FINAL, COST)
        with pytest.raises(ValueError, match=r"final \(2, 4\); got \(2, 4, 3\) and \(2,\)"):
            AutomatonMDP(MDP.model, LOG_P, FINAL[:, 0], COST)
        with pytest.raises(ValueError, match=r"exp\(log_p\) must sum to 1; the sum is 2.71828"):
            AutomatonMDP(MDP.model, LOG_P + 1, FINAL, COST)

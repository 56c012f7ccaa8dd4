"""The optimum is the optimum."""

import numpy as np
import pytest
from autograd import grad

from rlhf_lab.models import gibbs
from rlhf_lab.numerics.autodiff import log_softmax

RNG = np.random.default_rng(0)
LOG_PI_0 = np.log(RNG.dirichlet(np.ones(6), size=3))
REWARD = RNG.normal(size=(3, 6))
every_beta = pytest.mark.parametrize("beta", [0.1, 0.7, 5.0])


@pytest.mark.equation("eq-kl-objective")
def test_the_objective_by_hand():
    pi, pi_0, reward = np.array([0.5, 0.5]), np.array([0.25, 0.75]), np.array([1.0, 3.0])
    by_hand = 2.0 - 0.3 * (0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert gibbs.objective(np.log(pi), np.log(pi_0), reward, 0.3) == pytest.approx(by_hand, rel=1e-14)


@pytest.mark.equation("eq-gibbs")
@every_beta
def test_the_gibbs_policy_is_the_tilted_reference(beta):
    weight = np.exp(LOG_PI_0) * np.exp(REWARD / beta)
    found = np.exp(gibbs.log_policy(LOG_PI_0, REWARD, beta))
    assert found == pytest.approx(weight / weight.sum(-1, keepdims=True), rel=1e-12)


@pytest.mark.equation("eq-gibbs", "eq-kl-objective")
@every_beta
def test_the_gibbs_policy_maximises_the_objective(beta):
    best = gibbs.log_policy(LOG_PI_0, REWARD, beta)
    slope = grad(lambda z: gibbs.objective(log_softmax(z), LOG_PI_0, REWARD, beta).sum())(best)
    assert slope == pytest.approx(np.zeros((3, 6)), abs=1e-12)
    reached = gibbs.objective(best, LOG_PI_0, REWARD, beta)
    for other in np.log(RNG.dirichlet(np.ones(6), size=(500, 3))):
        assert (gibbs.objective(other, LOG_PI_0, REWARD, beta) < reached).all()


@pytest.mark.equation("eq-gibbs-value")
@every_beta
def test_the_optimum_is_worth_beta_log_z(beta):
    best = gibbs.log_policy(LOG_PI_0, REWARD, beta)
    log_z = gibbs.log_normaliser(LOG_PI_0, REWARD, beta)
    assert log_z == pytest.approx(np.log((np.exp(LOG_PI_0) * np.exp(REWARD / beta)).sum(-1)), rel=1e-12)
    assert beta * log_z == pytest.approx(gibbs.objective(best, LOG_PI_0, REWARD, beta), rel=1e-12)


@pytest.mark.equation("eq-gibbs-gap")
@every_beta
def test_every_policy_misses_the_optimum_by_its_divergence_from_it(beta):
    best = gibbs.objective(gibbs.log_policy(LOG_PI_0, REWARD, beta), LOG_PI_0, REWARD, beta)
    for other in np.log(RNG.dirichlet(np.ones(6), size=(50, 3))):
        missed = best - gibbs.objective(other, LOG_PI_0, REWARD, beta)
        assert gibbs.gap(other, LOG_PI_0, REWARD, beta) == pytest.approx(missed, abs=1e-12)


def test_a_constant_for_each_prompt_changes_the_value_and_nothing_else():
    shift = np.array([[1.0], [-2.0], [0.5]])
    moved = gibbs.log_policy(LOG_PI_0, REWARD + shift, 0.5)
    assert moved == pytest.approx(gibbs.log_policy(LOG_PI_0, REWARD, 0.5), abs=1e-12)
    value = gibbs.log_normaliser(LOG_PI_0, REWARD + shift, 0.5) - gibbs.log_normaliser(LOG_PI_0, REWARD, 0.5)
    assert 0.5 * value == pytest.approx(shift[:, 0], abs=1e-12)


def test_a_free_policy_is_greedy_and_a_dear_one_stays():
    greedy = gibbs.log_policy(LOG_PI_0, REWARD, 1e-4)
    assert greedy.argmax(-1).tolist() == REWARD.argmax(-1).tolist()
    assert np.exp(greedy).max(-1) == pytest.approx(np.ones(3))
    assert gibbs.log_policy(LOG_PI_0, REWARD, 1e9) == pytest.approx(LOG_PI_0, abs=1e-8)


def test_large_rewards_do_not_overflow():
    found = gibbs.log_policy(np.log([0.5, 0.5]), np.array([1e4, -1e4]), 1.0)
    assert found.tolist() == [0.0, -2e4]


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan])
def test_beta_must_be_positive(beta):
    with pytest.raises(ValueError, match="beta must be finite and above 0"):
        gibbs.log_policy(LOG_PI_0, REWARD, beta)
    with pytest.raises(ValueError, match="beta must be finite and above 0"):
        gibbs.gap(LOG_PI_0, LOG_PI_0, REWARD, beta)


def test_rewards_that_are_none_are_told():
    broken = REWARD.copy()
    broken[0, 2] = np.nan
    for call in (
        lambda r: gibbs.log_policy(LOG_PI_0, r, 0.5),
        lambda r: gibbs.log_normaliser(LOG_PI_0, r, 0.5),
        lambda r: gibbs.gap(LOG_PI_0, LOG_PI_0, r, 0.5),
    ):
        with pytest.raises(ValueError, match="rewards must be finite; 1 of 18 are NaN or infinite"):
            call(broken)
        with pytest.raises(ValueError, match=r"one reward for each of the 6 answers, last axis; got shape \(3, 1\)"):
            call(REWARD[:, :1])
    slope = grad(lambda r: gibbs.log_normaliser(LOG_PI_0, r, 0.5).sum())(REWARD)
    assert slope == pytest.approx(np.exp(gibbs.log_policy(LOG_PI_0, REWARD, 0.5)) / 0.5, rel=1e-12)


def test_each_row_has_its_own_scale():
    reward = np.array([[[1e4, 0.0], [-1e4, -2e4]], [[3.0, 1.0], [0.0, 2e3]], [[1.0, 1.0], [5.0, -7e3]]])
    found = gibbs.log_normaliser(np.log([0.5, 0.5]), reward, 1.0)
    expected = np.log(0.5) + np.logaddexp(reward[..., 0], reward[..., 1])
    assert found.shape == (3, 2)
    assert found == pytest.approx(expected, rel=1e-14)


@pytest.mark.equation("eq-kl-objective", "eq-gibbs-gap")
def test_answers_that_the_reference_rules_out_cost_nothing_and_are_never_said():
    with np.errstate(divide="ignore"):
        log_pi_0 = np.log(np.array([0.5, 0.5, 0.0]))
    reward = np.array([1.0, 2.0, 3.0])
    best = gibbs.log_policy(log_pi_0, reward, 0.5)
    assert np.exp(best) == pytest.approx([1 / (1 + np.e**2), np.e**2 / (1 + np.e**2), 0.0], abs=1e-15)
    assert gibbs.gap(best, log_pi_0, reward, 0.5) == 0
    assert gibbs.objective(log_pi_0, log_pi_0, reward, 0.5) == 1.5
    assert gibbs.objective(best, log_pi_0, reward, 0.5) == pytest.approx(
        0.5 * gibbs.log_normaliser(log_pi_0, reward, 0.5), abs=1e-14
    )
    assert gibbs.gap(np.log(np.full(3, 1 / 3)), log_pi_0, reward, 0.5) == np.inf
    for loss in (gibbs.objective, gibbs.gap):
        slope = grad(lambda p, loss=loss: loss(p, log_pi_0, reward, 0.5))(log_pi_0)
        short = grad(lambda p, loss=loss: loss(p, log_pi_0[:2], reward[:2], 0.5))(log_pi_0[:2])
        assert slope == pytest.approx([*short, 0.0], abs=1e-14)


def test_rewards_may_stand_in_lists():
    log_pi_0, reward = np.log([0.25, 0.75]), [1, 2]
    wanted = gibbs.log_policy(log_pi_0, np.array(reward), 0.5)
    assert (gibbs.log_policy(log_pi_0.tolist(), reward, 0.5) == wanted).all()
    assert gibbs.log_normaliser(log_pi_0.tolist(), reward, 0.5) == gibbs.log_normaliser(log_pi_0, np.array(reward), 0.5)
    assert gibbs.gap(wanted.tolist(), log_pi_0.tolist(), reward, 0.5) == 0

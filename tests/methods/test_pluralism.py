"""Pools, the value of knowing who asks, three measures, and the policy for whoever is worst off."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st

from rlhf_lab.feedback import annotators, hidden_context
from rlhf_lab.methods import direct, ilhf, pluralism
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import crowd as crowds

seeds = given(st.integers(0, 10_000))


def drawn(seed, kinds=3, answers=6, batch=()):
    rng = np.random.default_rng(seed)
    log_pi_0, rewards = log_softmax(rng.normal(size=answers)), 2 * rng.normal(size=(kinds, *batch, answers))
    return log_pi_0, rewards, rng.dirichlet(np.ones(kinds)), float(rng.uniform(0.2, 2)), rng


def worth(log_pi, log_pi_0, rewards, beta):
    return np.array([gibbs.objective(log_pi, log_pi_0, reward, beta) for reward in rewards])


@pytest.mark.equation("eq-log-pool")
@seeds
def test_the_optimum_of_the_mean_reward_is_the_log_pool_of_the_optima(seed):
    log_pi_0, rewards, shares, beta, _ = drawn(seed, batch=(2, 4))
    ideal = gibbs.log_policy(log_pi_0, rewards, beta)
    mean = pluralism.mean_reward(rewards, shares)
    assert mean == pytest.approx(sum(w * r for w, r in zip(shares, rewards, strict=True)))
    pooled = pluralism.log_pool(ideal, shares)
    assert pooled == pytest.approx(gibbs.log_policy(log_pi_0, mean, beta))
    by_hand = np.prod([np.exp(w * log_pi) for w, log_pi in zip(shares, ideal, strict=True)], axis=0)
    assert np.exp(pooled) == pytest.approx(by_hand / by_hand.sum(-1, keepdims=True))


@pytest.mark.equation("eq-linear-pool")
def test_the_linear_pool_draws_a_person_first():
    _, _, shares, _, rng = drawn(0)
    log_pi = log_softmax(rng.normal(size=(3, 5, 6)))
    p = np.exp(pluralism.linear_pool(log_pi, shares))
    assert p == pytest.approx(
        shares[0] * np.exp(log_pi[0]) + shares[1] * np.exp(log_pi[1]) + shares[2] * np.exp(log_pi[2])
    )
    assert p.sum(-1) == pytest.approx(np.ones(5))


def test_pooled_comparisons_fit_neither_pool():
    """A share of people is a mean of sigmoids; its logit is no mean of margins."""
    world = crowds.crowd()
    margins = world.rewards[:, :, None] - world.rewards[:, None, :]
    shares = annotators.of_population(annotators.bradley_terry(margins), crowds.SHARES)
    pi_0 = np.exp(world.log_pi_0)
    utility = hidden_context.fit_utility(shares, np.outer(pi_0, pi_0))
    fitted = gibbs.log_policy(world.log_pi_0, utility, 0.5)
    ideal = gibbs.log_policy(world.log_pi_0, world.rewards, 0.5)
    assert lm.kl(pluralism.log_pool(ideal, crowds.SHARES), fitted) > 0.05
    assert lm.kl(pluralism.linear_pool(ideal, crowds.SHARES), fitted) > 0.3


def test_dpo_on_comparisons_of_the_crowd_ends_at_the_gibbs_policy_of_the_fitted_utilities():
    """And so does any method that maximises the fitted reward model at the same price, PPO among them."""
    world = crowds.crowd()
    margins = world.rewards[:, :, None] - world.rewards[:, None, :]
    p = annotators.of_population(annotators.bradley_terry(margins), crowds.SHARES)
    often = np.exp(world.log_pi_0)[:, None] * np.exp(world.log_pi_0)
    utility = hidden_context.fit_utility(p, often)

    expected = gibbs.log_policy(world.log_pi_0, utility, 0.5)
    assert np.abs(grad(_dpo)(expected, world.log_pi_0, often, p)).max() < 1e-9, "the loss is convex in the log-ratios"
    assert np.abs(grad(_dpo)(world.log_pi_0, world.log_pi_0, often, p)).max() > 1e-3


def _dpo(logits, log_pi_0, often, p):
    u = logits - log_pi_0
    h = u[:, None] - u[None, :]
    return anp.sum(often * direct.expected(lambda h: direct.dpo(h, 0.5), h, p))


@pytest.mark.equation("eq-value-of-knowing")
@seeds
def test_the_value_of_knowing_who_asks_in_three_ways(seed):
    log_pi_0, rewards, shares, beta, _ = drawn(seed)
    ideal = gibbs.log_policy(log_pi_0, rewards, beta)
    found = pluralism.value_of_knowing(ideal, shares, beta)
    log_z = gibbs.log_normaliser(log_pi_0, rewards, beta)
    mean = gibbs.log_normaliser(log_pi_0, pluralism.mean_reward(rewards, shares), beta)
    assert found == pytest.approx(beta * (shares @ log_z - mean), abs=1e-9)
    pooled = pluralism.log_pool(ideal, shares)
    assert found == pytest.approx(
        beta * sum(w * lm.kl(pooled, pi) for w, pi in zip(shares, ideal, strict=True)), abs=1e-9
    )
    assert found >= -1e-12
    same = np.stack([ideal[0]] * 3)
    assert pluralism.value_of_knowing(same, shares, beta) == pytest.approx(0, abs=1e-12)


def test_the_value_of_knowing_does_not_overflow():
    log_pi = np.array([[0.0, -2000.0], [-2000.0, 0.0]])
    shares = np.array([0.5, 0.5])
    assert pluralism.value_of_knowing(log_pi, shares, 2.0) == pytest.approx(2 * (1000 - np.log(2)))
    level = np.full((2, 2), np.log(0.5))
    prompts = pluralism.value_of_knowing(np.stack([log_pi, level], axis=1), shares, 2.0)
    assert prompts == pytest.approx([2 * (1000 - np.log(2)), 0], abs=1e-12)


@pytest.mark.equation("eq-unsteered")
@pytest.mark.equation("eq-steerable")
@seeds
def test_a_policy_for_all_loses_the_value_of_knowing_and_its_distance_from_the_log_pool(seed):
    log_pi_0, rewards, shares, beta, rng = drawn(seed)
    ideal = gibbs.log_policy(log_pi_0, rewards, beta)
    q = log_softmax(rng.normal(size=6))
    lost = pluralism.steerable(q, ideal, shares, beta)
    best = gibbs.log_normaliser(log_pi_0, rewards, beta) * beta
    assert lost == pytest.approx(shares @ (best - worth(q, log_pi_0, rewards, beta)))
    pooled = pluralism.log_pool(ideal, shares)
    value = pluralism.value_of_knowing(ideal, shares, beta)
    assert lost == pytest.approx(beta * lm.kl(q, pooled) + value)
    assert pluralism.steerable(ideal, ideal, shares, beta) == pytest.approx(0, abs=1e-12)


@pytest.mark.equation("eq-value-of-signal")
@seeds
def test_a_signal_is_worth_what_the_policies_for_its_posteriors_gain(seed):
    log_pi_0, rewards, shares, beta, rng = drawn(seed)
    ideal = gibbs.log_policy(log_pi_0, rewards, beta)
    channel = rng.dirichlet(np.ones(4), size=3)
    gained = -beta * gibbs.log_normaliser(log_pi_0, pluralism.mean_reward(rewards, shares), beta)
    for column in channel.T:
        chance = shares @ column
        gained += chance * beta * gibbs.log_normaliser(log_pi_0, (shares * column / chance) @ rewards, beta)
    found = pluralism.value_of_signal(ideal, shares, channel, beta)
    assert found == pytest.approx(gained, abs=1e-9)
    everything = pluralism.value_of_knowing(ideal, shares, beta)
    assert -1e-12 <= found <= everything + 1e-12
    assert pluralism.value_of_signal(ideal, shares, np.eye(3), beta) == pytest.approx(everything)
    nothing = np.array([[0.3, 0.0, 0.7]] * 3)
    assert pluralism.value_of_signal(ideal, shares, nothing, beta) == pytest.approx(0, abs=1e-12)


@pytest.mark.equation("eq-wrong-signal")
@seeds
def test_what_a_wrong_signal_costs(seed):
    log_pi_0, rewards, shares, beta, rng = drawn(seed)
    ideal, channel = gibbs.log_policy(log_pi_0, rewards, beta), rng.dirichlet(np.ones(4), size=3)
    told = log_softmax(rng.normal(size=(4, 6)))
    lost = pluralism.misheard(told, ideal, shares, channel, beta)
    one_by_one = sum(shares[z] * channel[z, s] * beta * lm.kl(told[s], ideal[z]) for z in range(3) for s in range(4))
    assert lost == pytest.approx(one_by_one)
    joint = shares[:, None] * channel
    posteriors = [pluralism.log_pool(ideal, column / column.sum()) for column in joint.T]
    hedged = pluralism.misheard(np.array(posteriors), ideal, shares, channel, beta)
    worth_of_it = pluralism.value_of_signal(ideal, shares, channel, beta)
    assert hedged == pytest.approx(pluralism.value_of_knowing(ideal, shares, beta) - worth_of_it, abs=1e-9)
    assert hedged <= lost + 1e-12
    sure = pluralism.misheard(told[:3], ideal, shares, np.eye(3), beta)
    assert sure == pytest.approx(pluralism.steerable(told[:3], ideal, shares, beta))
    several = pluralism.misheard(told[:, None], ideal[:, None], shares, channel, beta)
    assert several == pytest.approx([lost])


def test_a_policy_for_each_signal():
    ideal = log_softmax(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="each of 2 signals; got 3"):
        pluralism.misheard(ideal, ideal, np.array([0.2, 0.3, 0.5]), np.full((3, 2), 0.5), 1.0)
    with pytest.raises(ValueError, match="beta must be finite and above 0; got 0"):
        pluralism.misheard(ideal[:2], ideal, np.array([0.2, 0.3, 0.5]), np.full((3, 2), 0.5), 0.0)
    with pytest.raises(ValueError, match="log_pi: log-probabilities are at most 0"):
        pluralism.misheard(1 - ideal[:2], ideal, np.array([0.2, 0.3, 0.5]), np.full((3, 2), 0.5), 1.0)


def test_a_signal_may_come_for_each_prompt():
    log_pi_0, rewards, shares, beta, _ = drawn(4, batch=(5,))
    ideal, channel = gibbs.log_policy(log_pi_0, rewards, beta), np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    found = pluralism.value_of_signal(ideal, shares, channel, beta)
    alone = [pluralism.value_of_signal(ideal[:, k], shares, channel, beta) for k in range(5)]
    assert found == pytest.approx(np.array(alone))


@pytest.mark.equation("eq-overton")
def test_overton_counts_the_people_whom_an_answer_serves():
    rewards = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    bars, shares = np.array([1.0, 1.0]), np.array([0.75, 0.25])
    log_pi = np.log([0.5, 0.2, 0.3])
    assert pluralism.overton(log_pi, rewards, bars, shares) == pytest.approx(0.5 * 0.75 + 0.2 * 1 + 0.3 * 0.25)
    own = np.log([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    assert pluralism.overton(own, rewards, bars, shares) == pytest.approx(0.75 * 0.9 + 0.25 * 0.8)
    several = pluralism.overton(own[:, None], rewards[:, None], bars[:, None], shares)
    assert several == pytest.approx([0.75 * 0.9 + 0.25 * 0.8])


@pytest.mark.equation("eq-distributional")
@pytest.mark.equation("eq-jensen-shannon")
@seeds
def test_the_linear_pool_is_nearest_to_what_people_say(seed):
    _, _, shares, _, rng = drawn(seed)
    log_pi, q = log_softmax(rng.normal(size=(3, 6))), log_softmax(rng.normal(size=6))
    away = pluralism.distributional(q, log_pi, shares)
    p = shares @ np.exp(log_pi)
    assert away == pytest.approx(np.sum(p * (np.log(p) - q)))
    spread = pluralism.disagreement(log_pi, shares)
    assert spread == pytest.approx(lm.entropy(np.log(p)) - shares @ lm.entropy(log_pi))
    assert shares @ lm.kl(log_pi, q) == pytest.approx(away + spread)
    assert pluralism.distributional(np.log(p), log_pi, shares) == pytest.approx(0, abs=1e-12)


@pytest.mark.equation("eq-inclusive-rest")
def test_where_ilhf_is_at_rest_its_expected_gradient_vanishes():
    world = crowds.crowd()
    margins = world.rewards[:, :, None] - world.rewards[:, None, :]
    p = annotators.of_population(annotators.bradley_terry(margins), crowds.SHARES)
    rest = pluralism.inclusive_rest(p)
    often = np.exp(rest)[:, None] * np.exp(rest)

    def expected(logits):
        log_pi = log_softmax(logits)
        first, second = log_pi[:, None] + 0 * margins[0], log_pi[None, :] + 0 * margins[0]
        return 256 * (ilhf.loss(first.ravel(), second.ravel(), p.ravel(), often.ravel()))

    assert np.abs(grad(expected)(rest)).max() < 1e-8
    assert np.abs(grad(expected)(world.log_pi_0)).max() > 1e-2
    pi = np.exp(rest)
    predicted = pi[:, None] / (pi[:, None] + pi)
    assert (p - predicted) @ pi == pytest.approx(np.zeros(16), abs=1e-7)


def test_ilhf_finds_what_one_kind_of_people_says():
    log_pi = log_softmax(np.random.default_rng(0).normal(size=7))
    p = annotators.bradley_terry(log_pi[:, None] - log_pi)
    assert pluralism.inclusive_rest(p) == pytest.approx(log_pi, abs=1e-8)


def test_an_answer_that_always_loses_falls_for_ever():
    with pytest.raises(
        ValueError, match=r"no rest: some answers \(almost\) always lose; their probability has fallen to 1?.*e-20\d"
    ):
        pluralism.inclusive_rest(np.array([[0.5, 0.7, 1.0], [0.3, 0.5, 1.0], [0.0, 0.0, 0.5]]))
    with pytest.raises(ValueError, match=r"matrix must be \(A, A\) with"):
        pluralism.inclusive_rest(np.full((2, 2), 0.6))


@pytest.mark.equation("eq-lower-quantile")
def test_the_lower_quantile_is_what_the_least_pleased_get():
    rewards = np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0]])
    shares = np.array([0.5, 0.3, 0.2])
    assert pluralism.lower_quantile(rewards, shares, 0.1) == pytest.approx([1, 3])
    assert pluralism.lower_quantile(rewards, shares, 0.2) == pytest.approx([1, 3])
    assert pluralism.lower_quantile(rewards, shares, 0.21) == pytest.approx([1, 4])
    assert pluralism.lower_quantile(rewards, shares, 0.5) == pytest.approx([1, 4])
    assert pluralism.lower_quantile(rewards, shares, 0.6) == pytest.approx([2, 5])
    assert pluralism.lower_quantile(rewards, shares, 1.0) == pytest.approx([3, 5])
    thirds = np.array([0.1, 0.2, 0.7])
    assert pluralism.lower_quantile(rewards, thirds, 0.1 + 0.2) == pytest.approx([2, 3])
    assert pluralism.lower_quantile(rewards[:, None], shares, 0.1).shape == (1, 2)


@pytest.mark.equation("eq-anchored")
def test_anchored_rewards_count_from_the_reference():
    log_pi_0, rewards, _, _, _ = drawn(1, batch=(2,))
    found = pluralism.anchored(rewards, log_pi_0)
    assert np.exp(log_pi_0) @ np.moveaxis(found, -1, 0).reshape(6, -1) == pytest.approx(np.zeros(6), abs=1e-12)
    assert np.ptp(found - rewards, axis=-1) == pytest.approx(np.zeros((3, 2)), abs=1e-12)


@pytest.mark.equation("eq-max-min")
@pytest.mark.parametrize("seed", range(40))
def test_the_policy_for_whoever_is_worst_off_is_a_saddle_point(seed):
    log_pi_0, rewards, _, beta, rng = drawn(seed, kinds=2 + seed % 4)
    rewards = pluralism.anchored(rewards, log_pi_0)
    found = pluralism.max_min(log_pi_0, rewards, beta)
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights >= 0).all()
    get = worth(found.log_pi, log_pi_0, rewards, beta)
    assert get.min() == pytest.approx(found.value, abs=1e-6), "no gap: the primal is the dual"
    assert get[found.weights > 1e-5] == pytest.approx(found.value, abs=1e-5)
    for other in log_softmax(found.log_pi + 0.1 * rng.normal(size=(50, 6))):
        assert worth(other, log_pi_0, rewards, beta).min() <= found.value + 1e-9
    for weights in rng.dirichlet(np.ones(len(rewards)), size=50):
        assert beta * gibbs.log_normaliser(log_pi_0, weights @ rewards, beta) >= found.value - 1e-9


def test_a_kind_that_is_never_worst_off_has_no_weight_and_gets_more():
    log_pi_0 = np.log([0.5, 0.5])
    found = pluralism.max_min(log_pi_0, np.array([[1.0, 0.0], [3.0, 2.0]]), 1.0)
    assert found.weights == pytest.approx([1, 0], abs=1e-9)
    assert np.exp(found.log_pi[0]) == pytest.approx(np.e / (1 + np.e))


def test_who_is_worst_off_depends_on_a_constant_that_comparisons_do_not_tell():
    world = crowds.crowd()
    rewards = pluralism.anchored(world.rewards, world.log_pi_0)
    weights = [pluralism.max_min(world.log_pi_0, rewards + shift, 0.5).weights for shift in (0, [[-3], [3], [0]])]
    assert np.abs(weights[0] - weights[1]).max() > 0.3
    assert pluralism.anchored(rewards + np.array([[-3], [3], [0]]), world.log_pi_0) == pytest.approx(rewards)


def test_bad_input_is_named():
    log_pi_0, rewards, shares, beta, _ = drawn(0)
    ideal = gibbs.log_policy(log_pi_0, rewards, beta)
    with pytest.raises(ValueError, match=r"shares must sum to 1; the sum is 1.5"):
        pluralism.log_pool(ideal, [0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"shares must be \(Z,\), one for each kind .* got \(2,\) for \(3, 6\)"):
        pluralism.linear_pool(ideal, [0.5, 0.5])
    with pytest.raises(ValueError, match=r"shares must be \(Z,\).* got \(3, 2\)"):
        pluralism.mean_reward(rewards, np.full((3, 2), 0.5))
    for wrong in (pluralism.log_pool, pluralism.linear_pool):
        with pytest.raises(ValueError, match="log_pi: log-probabilities are at most 0"):
            wrong(np.exp(ideal), shares)
    with pytest.raises(ValueError, match="log_pi: log-probabilities are at most 0"):
        pluralism.value_of_knowing(np.exp(ideal), shares, beta)
    with pytest.raises(ValueError, match="log_pi: log-probabilities are at most 0"):
        pluralism.steerable(ideal, np.exp(ideal), shares, beta)
    for price in (pluralism.value_of_knowing, lambda *given: pluralism.steerable(ideal[0], *given)):
        with pytest.raises(ValueError, match="beta must be finite and above 0; got 0"):
            price(ideal, shares, 0)
    with pytest.raises(ValueError, match=r"channel must be \(Z, S\), a row for each of 3 kinds; got \(2, 2\)"):
        pluralism.value_of_signal(ideal, shares, np.eye(2), beta)
    with pytest.raises(ValueError, match=r"channel must be \(Z, S\), a row for each of 3 kinds; got \(3,\)"):
        pluralism.value_of_signal(ideal, shares, np.full(3, 1 / 3), beta)
    with pytest.raises(ValueError, match="channel must sum to 1; the sum is 2"):
        pluralism.value_of_signal(ideal, shares, np.ones((3, 2)), beta)
    for level in (0, 1.1, np.nan):
        with pytest.raises(ValueError, match="level is a share of people, above 0 and at most 1; got"):
            pluralism.lower_quantile(rewards, shares, level)
    with pytest.raises(ValueError, match="shares must sum to 1"):
        pluralism.lower_quantile(rewards, [1, 1, 1], 0.5)
    with pytest.raises(ValueError, match=r"rewards must be \(Z, A\), a row for each kind of person; got \(6,\)"):
        pluralism.max_min(log_pi_0, rewards[0], beta)

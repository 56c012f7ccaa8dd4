"""Inverse reinforcement learning against sums over all drives, on small roads and small trees."""

from itertools import product

import numpy as np
import pytest
from autograd import grad

from rlhf_lab.feedback import likelihoods
from rlhf_lab.methods import inverse, segments
from rlhf_lab.methods import soft_values as soft
from rlhf_lab.models import gibbs, lm, policies
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import control, gridworlds, token_mdp

STEPS = 5
CALM, WINDY = gridworlds.track(2), gridworlds.track(2, wind=0.2)
EYE = np.eye(5)
every_road = pytest.mark.parametrize("road", [CALM, WINDY], ids=["calm", "windy"])


def weights(seed, *shape):
    return np.random.default_rng(seed).normal(size=(*shape, 5))


def planned(road, theta, steps=STEPS):
    return inverse.soft_plan(road, inverse.at_each_step(theta, 3, steps))


def all_drives(road, steps=STEPS):
    """States (N, T) and actions (N, T) of every drive without wind, and how often each state is visited (N, S)."""
    action = np.array(list(product(range(3), repeat=steps)))
    state = np.zeros_like(action)
    state[:, 0] = road.start.argmax()
    for t in range(1, steps):
        state[:, t] = road.transition[state[:, t - 1], action[:, t - 1]].argmax(-1)
    return state, action, EYE[state].sum(1)


def some_policy(seed, steps=STEPS):
    return np.exp(log_softmax(np.random.default_rng(seed).normal(size=(steps, 5, 3))))


@pytest.mark.equation("eq-soft-plan")
def test_without_chance_the_soft_optimum_takes_a_drive_with_probability_e_to_its_reward():
    state, action, spent = all_drives(CALM)
    for seed in range(3):
        theta = weights(seed)
        total, plan = spent @ theta, planned(CALM, theta)
        log_pi = [inverse.log_likelihood(plan.log_pi, s[None], a[None]) for s, a in zip(state, action, strict=True)]
        assert np.array(log_pi) == pytest.approx(np.asarray(log_softmax(total)), abs=1e-10)
        assert plan.v[0, 2] == pytest.approx(np.logaddexp.reduce(total), abs=1e-10)


@pytest.mark.equation("eq-soft-plan")
def test_chance_is_averaged_inside_the_soft_maximum():
    theta = weights(0)
    v, log_pi = planned(WINDY, theta, 2)
    last = theta + np.log(3)
    q = theta[:, None] + WINDY.transition @ last
    assert v[1] == pytest.approx(last)
    assert v[0] == pytest.approx(np.logaddexp.reduce(q, axis=1))
    assert log_pi[0] == pytest.approx(q - v[0][:, None])


@every_road
def test_the_soft_optimum_is_worth_more_than_other_policies_by_their_divergence(road):
    theta = weights(1)
    plan, other = planned(road, theta), some_policy(1)
    d = inverse.visits(road, other)
    entropy = -np.sum(d * np.sum(other * np.log(other), axis=-1))
    apart = np.sum(d * np.sum(other * (np.log(other) - plan.log_pi), axis=-1))
    assert plan.v[0, 2] - (d.sum(0) @ theta + entropy) == pytest.approx(apart)


@every_road
def test_seeds_lie_along_leading_axes(road):
    theta = weights(2, 2, 3)
    plan, (value, moments) = planned(road, theta), inverse.moments_on_grid(road, EYE, STEPS)(theta)
    spent = inverse.visits(road, np.exp(plan.log_pi))
    found = inverse.match_moments(inverse.moments_on_grid(road, EYE, STEPS), moments, 0.3)
    for i in np.ndindex(2, 3):
        alone = planned(road, theta[i])
        assert plan.v[i] == pytest.approx(alone.v)
        assert plan.log_pi[i] == pytest.approx(alone.log_pi)
        assert spent[i] == pytest.approx(inverse.visits(road, np.exp(alone.log_pi)))
        assert value[i] == pytest.approx(alone.v[0, 2])
        one = inverse.match_moments(inverse.moments_on_grid(road, EYE, STEPS), moments[i], 0.3)
        assert found[i] == pytest.approx(one, abs=1e-3)


def test_visits_are_those_of_a_policy_that_stays_the_same():
    policy = some_policy(3, 1)[0]
    found = inverse.visits(WINDY, np.broadcast_to(policy, (STEPS, 5, 3)))
    assert found == pytest.approx(gridworlds.occupancy(WINDY, policy, STEPS))
    changing = some_policy(4, 3)
    second = np.einsum("s,sa,sax->x", WINDY.start, changing[0], WINDY.transition)
    third = np.einsum("s,sa,sax->x", second, changing[1], WINDY.transition)
    assert inverse.visits(WINDY, changing) == pytest.approx(np.stack([WINDY.start, second, third]))


@pytest.mark.equation("eq-maxent-likelihood")
def test_the_likelihood_is_a_mean_over_drives_of_sums_over_steps():
    log_pi = np.log(some_policy(5, 2))
    state, action = np.array([[2, 1], [2, 3], [2, 2]]), np.array([[0, 2], [2, 1], [1, 0]])
    by_hand = [log_pi[0, 2, 0] + log_pi[1, 1, 2], log_pi[0, 2, 2] + log_pi[1, 3, 1], log_pi[0, 2, 1] + log_pi[1, 2, 0]]
    assert inverse.log_likelihood(log_pi, state, action) == pytest.approx(np.mean(by_hand))
    both = inverse.log_likelihood(np.stack([log_pi, 2 * log_pi]), state, action)
    assert both == pytest.approx(np.mean(by_hand) * np.array([1, 2]))


def slopes(likelihood, theta, h=1e-5):
    return np.array([(likelihood(theta + h * e) - likelihood(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])


@pytest.mark.equation("eq-maxent-gradient")
@every_road
def test_the_moments_are_the_slope_of_the_soft_value(road):
    features = np.random.default_rng(6).normal(size=(5, 2))
    solve, theta = inverse.moments_on_grid(road, features, STEPS), np.array([0.4, -1.1])
    assert slopes(lambda th: solve(th)[0], theta) == pytest.approx(solve(theta)[1], abs=1e-8)

    def value(th):
        return np.sum(planned(road, np.matmul(features, th)).v[0] * road.start)

    assert grad(value)(theta) == pytest.approx(solve(theta)[1], abs=1e-10)


def drives(road, count, seed):
    expert = np.log(policies.trembling(gridworlds.table(gridworlds.drive(2), 3), 0.4))
    play = control.rollout(
        road, lambda seen, rng: policies.sample(seen @ expert, rng), (count,), STEPS, np.random.default_rng(seed)
    )
    return play.observation.argmax(-1).T, play.action.T


def test_the_likelihood_of_any_drives_rises_by_their_moments_less_those_of_the_policy_without_chance():
    theta, (state, action) = weights(7), drives(CALM, 20, 7)
    found = slopes(lambda th: inverse.log_likelihood(planned(CALM, th).log_pi, state, action), theta)
    moments = inverse.moments_on_grid(CALM, EYE, STEPS)(theta)[1]
    assert found == pytest.approx(EYE[state].sum(1).mean(0) - moments, abs=1e-8)


def test_in_wind_it_does_so_in_expectation_only():
    theta, expert = weights(8), some_policy(8)
    d = inverse.visits(WINDY, expert)
    moments = inverse.moments_on_grid(WINDY, EYE, STEPS)(theta)[1]
    expected = slopes(lambda th: np.sum(d[..., None] * expert * planned(WINDY, th).log_pi), theta)
    assert expected == pytest.approx(d.sum(0) - moments, abs=1e-8)  # the mean over all drives there are

    def off(count, seed):
        state, action = drives(WINDY, count, seed)
        found = slopes(lambda th: inverse.log_likelihood(planned(WINDY, th).log_pi, state, action), theta)
        return np.abs(found - EYE[state].sum(1).mean(0) + moments).max()

    few, many = (np.array([off(count, seed) for seed in range(10)]) for count in (20, 2000))
    assert few.min() > many.max() > 1e-3
    assert 5 < few.mean() / many.mean() < 20  # one over the root of the number of drives: 10


@pytest.mark.equation("eq-maxent-dual")
@every_road
def test_what_is_left_of_the_moments_is_the_ridge_and_a_small_one_finds_the_expert(road):
    solve, expert = inverse.moments_on_grid(road, EYE, STEPS), planned(road, weights(9))
    shown = inverse.visits(road, np.exp(expert.log_pi)).sum(0)
    for ridge in (1.0, 1e-2, 1e-5):
        theta = inverse.match_moments(solve, shown, ridge)
        assert shown - solve(theta)[1] == pytest.approx(ridge * theta, abs=2e-5)
    assert np.exp(planned(road, theta).log_pi) == pytest.approx(np.exp(expert.log_pi), abs=0.02)


def test_each_seed_has_its_ridge():
    solve = inverse.moments_on_grid(WINDY, EYE, STEPS)
    shown = np.array([[0.2, 0.5, 3.6, 0.5, 0.2]] * 2)
    theta = inverse.match_moments(solve, shown, np.array([0.1, 2.0]))
    left = shown - solve(theta)[1]
    assert left == pytest.approx(np.array([[0.1], [2.0]]) * theta, abs=2e-5)


def test_a_faultless_expert_sends_the_reward_to_infinity():
    solve, shown = inverse.moments_on_grid(CALM, EYE, STEPS), STEPS * EYE[2]
    found = [inverse.match_moments(solve, shown, ridge) for ridge in (1.0, 0.1, 0.01, 0.001)]
    middle = np.array([theta[2] - theta[1] for theta in found])
    assert (np.diff(middle) > 1).all()
    assert (np.diff(middle)[1:] > 0.9 * np.diff(middle)[:-1]).all()  # about as much more for each factor of ten


def test_moments_are_compared_from_the_first_states_of_the_demonstrations():
    verge = gridworlds.Grid(CALM.transition, CALM.reward, EYE[0])
    expert = planned(CALM, 2 * EYE[2]).log_pi
    shown = inverse.visits(verge, np.exp(expert)).sum(0)
    right, wrong = (
        planned(CALM, inverse.match_moments(inverse.moments_on_grid(road, EYE, STEPS), shown, 1e-3)).log_pi
        for road in (verge, CALM)
    )
    assert np.exp(right[0, :3]) == pytest.approx(np.exp(expert[0, :3]), abs=0.02)
    assert np.abs(np.exp(wrong[0, :3]) - np.exp(expert[0, :3])).max() > 0.2


def test_bad_input_is_told():
    solve = inverse.moments_on_grid(CALM, EYE, STEPS)
    for ridge in (0.0, np.array([1.0, -1.0]), np.nan):
        with pytest.raises(ValueError, match=r"^ridge must be finite and above 0; got"):
            inverse.match_moments(solve, np.ones((2, 5)), ridge)
    with pytest.raises(ValueError, match=r"^the moments of the demonstrations hold NaN or infinity$"):
        inverse.match_moments(solve, np.array([1.0, np.nan, 1, 1, 1]), 1.0)
    for wrong in (np.zeros((5, 3)), np.zeros((4, 5, 2)), np.zeros((4, 6, 3))):
        with pytest.raises(ValueError, match=r"^reward must be .* 5 states and 3 actions, see `at_each_step`; got"):
            inverse.soft_plan(CALM, wrong)
    with pytest.raises(ValueError, match=r"^a potential has a number for each step and state, \(4, 5\); got \(5,\)"):
        inverse.shaped(CALM, np.zeros((4, 5, 3)), np.zeros(5))
    with pytest.raises(ValueError, match="horizon"):
        inverse.at_each_step(np.zeros(5), 3, 0)


@pytest.mark.equation("eq-grid-shaping")
@every_road
def test_a_potential_changes_no_policy_and_no_likelihood(road):
    reward, phi = np.random.default_rng(10).normal(size=(STEPS, 5, 3)), weights(10, STEPS)
    plan, other = (inverse.soft_plan(road, r) for r in (reward, inverse.shaped(road, reward, phi)))
    assert other.log_pi == pytest.approx(plan.log_pi, abs=1e-12)
    assert other.v == pytest.approx(plan.v - phi, abs=1e-12)
    state, action = drives(road, 20, 10)
    likelihood = inverse.log_likelihood(plan.log_pi, state, action)
    assert inverse.log_likelihood(other.log_pi, state, action) == pytest.approx(likelihood, abs=1e-12)
    # in another world it is another reward
    elsewhere = gridworlds.Grid(road.transition[:, ::-1], road.reward, road.start)
    plan, other = (inverse.soft_plan(elsewhere, r) for r in (reward, inverse.shaped(road, reward, phi)))
    assert np.abs(other.log_pi - plan.log_pi).max() > 0.5


def test_shaped_with_its_values_a_reward_is_the_policy_and_stays_it_in_every_world():
    reward = inverse.at_each_step(weights(11), 3, STEPS)
    plan = inverse.soft_plan(WINDY, reward)
    found = inverse.shaped(WINDY, reward, plan.v)
    assert found == pytest.approx(plan.log_pi, abs=1e-12)
    rng = np.random.default_rng(11)
    for _ in range(5):
        world = gridworlds.Grid(rng.dirichlet(np.ones(5), size=(5, 3)), EYE[0], EYE[0])
        other = inverse.soft_plan(world, found)
        assert other.v == pytest.approx(0, abs=1e-12)
        assert other.log_pi == pytest.approx(plan.log_pi, abs=1e-12)


def small_tree(seed):
    rng = np.random.default_rng(seed)
    prior = [log_softmax(rng.normal(size=(2, 2**t, 3))) for t in range(4)]
    return prior, lm.answers_of_levels(prior, 2), rng.normal(size=(2, 31, 3)), rng.dirichlet(np.ones(2))


@pytest.mark.equation("eq-maxent-text")
def test_on_text_it_is_the_soft_recursion_with_the_prior_at_a_price_of_1():
    prior, log_p, features, start = small_tree(12)
    solve, theta = inverse.moments_of_answers(log_p, features, start), np.array([0.5, -1.0, 0.3])
    paid = token_mdp.terminal_rewards(features @ theta, 3, 4, 2)
    psi = soft.psi_values(prior, paid, 1.0, eos=2)
    pi = np.exp(lm.answers_of_levels(psi.advantage, 2))
    value, moments = solve(theta)
    assert value == pytest.approx(psi.v[0][:, 0] @ start)
    assert moments == pytest.approx(np.einsum("k,ka,kad->d", start, pi, features))
    assert slopes(lambda th: solve(th)[0], theta) == pytest.approx(moments, abs=1e-8)
    found = inverse.match_moments(solve, moments, 1e-7)
    assert found == pytest.approx(theta, abs=1e-3)


def test_on_text_potentials_do_no_harm_whatever_the_prior():
    prior, _, features, _ = small_tree(13)
    other = small_tree(14)[0]
    paid = token_mdp.terminal_rewards(features @ np.ones(3), 3, 4, 2)
    v = soft.psi_values(prior, paid, 1.0, eos=2).v
    hidden = token_mdp.sweep(paid, 1.0, 2, lambda t, q: v[t])  # q holds r + V(s')
    shaped = [q - level[..., None] for q, level in zip(hidden.q, v, strict=True)]
    for p in (prior, other):
        found, wanted = (soft.psi_values(p, r, 1.0, eos=2).advantage for r in (shaped, paid))
        for a, b in zip(found, wanted, strict=True):
            assert a == pytest.approx(b, abs=1e-10)


@pytest.mark.equation("eq-discriminator")
def test_the_discriminator_is_sure_of_nothing_at_the_soft_optimum():
    state, action, spent = all_drives(CALM)
    theta = weights(15)
    plan = planned(CALM, theta)
    log_pi = np.array(
        [inverse.log_likelihood(plan.log_pi, s[None], a[None]) for s, a in zip(state, action, strict=True)]
    )
    assert inverse.discriminator(spent @ theta, plan.v[0, 2], log_pi) == pytest.approx(0.5)
    assert inverse.discriminator(2.0, 1.5, np.log(0.4)) == pytest.approx(np.exp(0.5) / (np.exp(0.5) + 0.4))
    # in wind the values do not cancel along a drive
    plan, (state, action) = planned(WINDY, theta), drives(WINDY, 50, 15)
    log_pi = np.array(
        [inverse.log_likelihood(plan.log_pi, s[None], a[None]) for s, a in zip(state, action, strict=True)]
    )
    chance = inverse.discriminator(EYE[state].sum(1) @ theta, plan.v[0, 2], log_pi)
    assert np.ptp(chance) > 0.2


@pytest.mark.equation("eq-discriminator-gradient")
def test_its_gradient_is_half_of_the_likelihoods_at_the_soft_optimum():
    _, log_p, features, _ = small_tree(16)
    log_p, f, theta = log_p[0], features[0], np.array([0.2, 0.7, -0.5])
    solve = inverse.moments_of_answers(log_p[None], f[None], np.ones(1))
    value, moments = solve(theta)
    expert = np.exp(gibbs.log_policy(log_p, f @ np.array([1.0, -1, 0]), 1.0))

    def score(th, policy, value):
        chance = inverse.discriminator(log_p + f @ th, value, np.log(policy))
        return expert @ np.log(chance) + policy @ np.log(1 - chance)

    optimum = np.exp(gibbs.log_policy(log_p, f @ theta, 1.0))
    for policy in (optimum, np.exp(log_p)):
        chance = inverse.discriminator(log_p + f @ theta, value, np.log(policy))
        found = inverse.discriminator_gradient(chance, f, expert, policy)
        assert found == pytest.approx(slopes(lambda th, pi=policy: score(th, pi, value), theta), abs=1e-8)
        off = np.abs(found - (expert @ f - moments) / 2).max()
        if policy is not optimum:
            assert off > 0.05
        else:
            assert off < 1e-12
            whole = slopes(lambda th, pi=policy: score(th, pi, solve(th)[0]), theta)
            assert whole == pytest.approx(found, abs=1e-8)  # whether V moves with theta or not


def test_the_gradient_of_samples_is_that_in_expectation():
    _, log_p, features, _ = small_tree(17)
    log_p, f, theta = log_p[0], features[0], np.array([0.2, 0.7, -0.5])
    value = inverse.moments_of_answers(log_p[None], f[None], np.ones(1))(theta)[0]
    expert, own = (np.exp(gibbs.log_policy(log_p, f @ w, 1.0)) for w in (np.ones(3), np.zeros(3)))
    chance, rng = inverse.discriminator(log_p + f @ theta, value, np.log(own)), np.random.default_rng(17)
    found = np.array(
        [
            inverse.discriminator_gradient(chance, f, *(rng.multinomial(20, p / p.sum()) / 20 for p in (expert, own)))
            for _ in range(500)
        ]
    )
    exact = inverse.discriminator_gradient(chance, f, expert, own)
    assert (np.abs(found.mean(0) - exact) < 4 * found.std(0) / 500**0.5).all()


def test_trained_on_the_log_odds_of_a_free_discriminator_a_policy_minimises_its_divergence_from_the_expert():
    rng = np.random.default_rng(18)
    expert, policy = rng.dirichlet(np.ones(6), size=2)
    grid = np.linspace(1e-3, 1 - 1e-3, 999)
    score = expert[:, None] * np.log(grid) + policy[:, None] * np.log(1 - grid)
    best = expert / (expert + policy)
    assert grid[score.argmax(1)] == pytest.approx(best, abs=1e-3)
    earned = policy @ (np.log(best) - np.log(1 - best))
    assert earned == pytest.approx(-lm.kl(np.log(policy), np.log(expert)))


def test_of_two_drives_the_soft_optimum_prefers_one_as_bradley_and_terry_say():
    state, action, spent = all_drives(CALM)
    theta = weights(19)
    plan = planned(CALM, theta)
    for i, j in ((0, 5), (17, 100), (3, 242)):
        a, b = (inverse.log_likelihood(plan.log_pi, state[[k]], action[[k]]) for k in (i, j))
        margin = (spent[i] - spent[j]) @ theta
        assert np.logaddexp(0, b - a) == pytest.approx(likelihoods.bradley_terry_loss(margin, 1.0))


def test_the_settings_of_the_chapter_are_the_best_that_it_says():
    road, eye, counts = gridworlds.track(4, wind=0.1), np.eye(9), np.array([1, 32])
    solve, steering = inverse.moments_on_grid(road, eye, 32), gridworlds.drive(4)
    cloned, soft_optimum = {c: [] for c in (1e-4, 1e-3, 1e-2, 1e-1)}, {0.1: [], 0.01: []}
    for seed in (100, 101):
        play = control.rollout(
            road, lambda seen, rng: steering[seen.argmax(-1)], (10, 32), 32, np.random.default_rng(seed)
        )
        pairs = np.einsum("tgnx,tgna->gnxa", play.observation, np.eye(3)[play.action])
        n = np.cumsum(pairs, axis=1)[:, counts - 1]
        m = n.sum(-1) / counts[:, None]
        for c, values in cloned.items():
            values.append(gridworlds.performance(road, (n + c) / (n + c).sum(-1, keepdims=True), 32).mean(0))
        for ridge, values in soft_optimum.items():
            theta = inverse.match_moments(solve, m, ridge)
            assert m - solve(theta)[1] == pytest.approx(ridge * theta, abs=2e-5)  # climbed to the end
            policy = np.exp(inverse.soft_plan(road, inverse.at_each_step(theta, 3, 32)).log_pi)
            values.append(inverse.visits(road, policy)[..., 4].sum(-1).mean(0))
            best = gridworlds.performance(road, segments.best_policy(road, theta, 32), 32)
            assert best == pytest.approx(gridworlds.performance(road, segments.best_policy(road, road.reward, 32), 32))
    means = [np.mean(values) for values in cloned.values()]
    assert means == sorted(means, reverse=True)
    gain = np.mean(soft_optimum[0.01], axis=0) - np.mean(soft_optimum[0.1], axis=0)
    assert (gain > 0).all()
    assert gain.max() < 0.3

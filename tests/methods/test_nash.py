"""Games between two policies: equilibria, exploitability, and where the algorithms end."""

from functools import partial
from itertools import product

import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy.integrate import solve_ivp

from rlhf_lab.feedback import annotators
from rlhf_lab.methods import direct, end_points, nash
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.numerics.optim import fit, sgd
from rlhf_lab.worlds import token_mdp

CIRCLE = annotators.circle([0.9, 0.6, 0.7])
LOG_PI_0 = np.log([0.2, 0.3, 0.5])
seeds = pytest.mark.parametrize("seed", range(8))


def random_matrix(seed, answers=5, scale=0.7):
    rng = np.random.default_rng(seed)
    noise = scale * rng.normal(size=(answers, answers))
    return annotators.bradley_terry(noise - noise.T), np.asarray(log_softmax(rng.normal(size=answers)))


def random_policies(seed, answers=5, count=30):
    return np.asarray(log_softmax(2 * np.random.default_rng([seed, 1]).normal(size=(count, answers))))


def both_games(seed, beta=0.2):
    matrix, log_pi_0 = random_matrix(seed)
    return [nash.Game(payoff(matrix), log_pi_0, beta) for payoff in (nash.log_odds, nash.win_margin)]


def bradley_terry_game(seed, beta, scale=1.0):
    rng = np.random.default_rng(seed)
    reward = scale * rng.normal(size=6)
    game = nash.Game(reward[:, None] - reward, log_softmax(rng.normal(size=6)), beta)
    return game, reward


def repeat(step, log_pi, times):
    for _ in range(times):
        log_pi = step(log_pi)
    return log_pi


@pytest.mark.equation("eq-log-odds")
def test_log_odds_of_bradley_terry_are_differences_of_rewards():
    reward = np.array([0.3, -1.2, 2.0])
    found = nash.log_odds(annotators.bradley_terry(reward[:, None] - reward))
    assert found == pytest.approx(reward[:, None] - reward, abs=1e-12)
    assert nash.log_odds(CIRCLE)[0, 1] == pytest.approx(np.log(9))


@pytest.mark.equation("eq-win-margin")
def test_a_win_margin_says_how_much_more_often_than_not_an_answer_wins():
    assert nash.win_margin(CIRCLE) == pytest.approx(np.array([[0, 0.4, -0.2], [-0.4, 0, 0.1], [0.2, -0.1, 0]]))


@pytest.mark.equation("eq-game")
@seeds
def test_the_game_is_symmetric_with_value_zero(seed):
    for game in both_games(seed):
        pi, other = random_policies(seed), random_policies(seed + 100)
        assert nash.value(game, pi, pi) == pytest.approx(np.zeros(30), abs=1e-12)
        assert nash.value(game, pi, other) == pytest.approx(-nash.value(game, other, pi), abs=1e-12)
        by_hand = sum(
            np.exp(pi[0, a] + other[0, b]) * game.payoff[a, b] for a, b in product(range(5), repeat=2)
        ) - game.beta * (lm.kl(pi[0], game.log_pi_0) - lm.kl(other[0], game.log_pi_0))
        assert nash.value(game, pi[0], other[0]) == pytest.approx(by_hand, abs=1e-12)
        assert nash.value(game, nash.equilibrium(game), other).min() > 0


@pytest.mark.equation("eq-best-response")
@seeds
def test_no_policy_does_better_against_an_opponent_than_the_best_response(seed):
    for game in both_games(seed):
        pi = random_policies(seed)
        best = nash.value(game, nash.best_response(game, pi), pi)
        for other in random_policies(seed + 200):
            assert (nash.value(game, other, pi) <= best + 1e-12).all()


@pytest.mark.equation("eq-exploitability")
@seeds
def test_exploitability_is_what_the_best_opponent_earns(seed):
    for game in both_games(seed):
        pi = random_policies(seed)
        best = nash.value(game, nash.best_response(game, pi), pi)
        assert nash.exploitability(game, pi) == pytest.approx(best, abs=1e-12)
        closed = game.beta * np.log(
            np.exp(game.log_pi_0) @ np.exp(-np.exp(pi) @ game.payoff / game.beta).T
        ) + game.beta * lm.kl(pi, game.log_pi_0)
        assert nash.exploitability(game, pi) == pytest.approx(closed, abs=1e-12)


@pytest.mark.equation("eq-exploitability-kl")
@seeds
def test_exploitability_is_two_divergences_and_convex(seed):
    for game in both_games(seed):
        pi, star = random_policies(seed), nash.equilibrium(game)
        first, second = lm.kl(pi, star), lm.kl(star, nash.best_response(game, pi))
        assert nash.exploitability(game, pi) == pytest.approx(game.beta * (first + second), abs=1e-11)
        other = random_policies(seed + 300)
        middle = np.log((np.exp(pi) + np.exp(other)) / 2)
        ends = (nash.exploitability(game, pi) + nash.exploitability(game, other)) / 2
        assert (nash.exploitability(game, middle) <= ends + 1e-12).all()


@seeds
def test_under_bradley_terry_exploitability_is_the_yardstick_of_the_book(seed):
    for beta, scale in ((0.02, 1.0), (0.5, 1.0), (0.01, 50.0)):
        game, reward = bradley_terry_game(seed, beta, scale)
        pi = random_policies(seed, 6)
        gap = gibbs.gap(pi, game.log_pi_0, reward, beta)
        assert nash.exploitability(game, pi) == pytest.approx(gap, rel=1e-12, abs=1e-12)
        optimum = gibbs.log_policy(game.log_pi_0, reward, beta)
        assert nash.equilibrium(game) == pytest.approx(optimum, abs=1e-9)
        # one plain step is enough, from anywhere and for any price, since no small error is left
        assert nash.mirror_step(game, pi, 1.0) == pytest.approx(np.tile(optimum, (30, 1)), abs=1e-9)
        assert nash.spectral_radius(game, optimum) < 1e-6 * scale / beta


@pytest.mark.equation("eq-nash-equilibrium")
@seeds
@pytest.mark.parametrize("beta", [0.005, 0.1, 2.0])
def test_the_equilibrium_is_the_only_policy_that_answers_itself(seed, beta):
    for game in both_games(seed, beta):
        star = nash.equilibrium(game)
        assert star == pytest.approx(nash.best_response(game, star), abs=1e-10)
        assert nash.exploitability(game, star) == pytest.approx(0, abs=1e-10)
        if beta == 0.1:  # from anywhere, short enough steps come to the same place
            eta = 1 / (1 + nash.spectral_radius(game, star) ** 2)
            ends = repeat(partial(nash.mirror_step, game, eta=eta), random_policies(seed), 400)
            assert np.exp(ends) == pytest.approx(np.tile(np.exp(star), (30, 1)), abs=1e-4)


def test_equilibria_of_far_apart_answers_are_found():
    """Payoffs of thousands of prices; without a price the circle's equilibrium is the weights of the far edges."""
    game = nash.Game(nash.win_margin(CIRCLE), LOG_PI_0, 1e-4)
    assert np.exp(nash.equilibrium(game)) == pytest.approx(np.array([1, 2, 4]) / 7, abs=1e-3)
    for seed in range(6):
        matrix, log_pi_0 = random_matrix(seed, 12, 3.0)
        game = nash.Game(nash.log_odds(matrix), log_pi_0, 0.003)
        star = nash.equilibrium(game)
        assert star == pytest.approx(nash.best_response(game, star), abs=1e-10)


def test_a_game_without_limits_is_refused(monkeypatch):
    monkeypatch.setattr(nash, "STEPS", 1)
    with pytest.raises(ValueError, match=r"^no equilibrium within 1 steps: payoffs are up to 4 prices; raise beta$"):
        nash.equilibrium(nash.Game(nash.win_margin(CIRCLE), LOG_PI_0, 0.1))


@pytest.mark.equation("eq-worst-win-rate")
@seeds
def test_no_policy_wins_more_than_half_against_every_opponent(seed):
    matrix, log_pi_0 = random_matrix(seed)
    pi = random_policies(seed)
    worst = nash.worst_win_rate(matrix, pi)
    assert worst.max() <= 0.5
    assert worst[0] == pytest.approx(min(sum(np.exp(pi[0, a]) * matrix[a, b] for a in range(5)) for b in range(5)))
    # the equilibrium of P - 1/2 comes as near to a half as its price lets it
    game = nash.Game(nash.win_margin(matrix), log_pi_0, 1e-4)
    assert nash.worst_win_rate(matrix, nash.equilibrium(game)) > 0.499


def test_an_equilibrium_of_log_odds_loses_to_somebody():
    for beta, found in ((0.01, 0.4838), (0.001, 0.4834)):
        game = nash.Game(nash.log_odds(CIRCLE), LOG_PI_0, beta)
        assert nash.worst_win_rate(CIRCLE, nash.equilibrium(game)) == pytest.approx(found, abs=1e-4)


@pytest.mark.equation("eq-spectral-radius")
@seeds
def test_small_errors_turn_as_the_spectral_radius_says(seed):
    for game in both_games(seed):
        star = nash.equilibrium(game)
        s = nash.spectral_radius(game, star)
        pi = np.exp(star)
        turn = np.linalg.eigvals(game.payoff @ (np.diag(pi) - np.outer(pi, pi)) / game.beta)
        assert np.abs(turn.real).max() < 1e-8 * (1 + s)
        assert np.abs(turn).max() == pytest.approx(s, rel=1e-8)


@pytest.mark.equation("eq-mirror-step")
@seeds
def test_mirror_steps_maximise_the_payoff_less_two_divergences(seed):
    for game in both_games(seed):
        pi, eta = random_policies(seed, count=1)[0], 0.3
        found = nash.mirror_step(game, pi, eta)

        def worth(log_other, game=game, pi=pi, eta=eta):
            near = np.exp(log_other) @ game.against(pi) - game.beta * lm.kl(log_other, game.log_pi_0)
            return near - game.beta * (1 / eta - 1) * lm.kl(log_other, pi)

        assert all(worth(other) < worth(found) for other in random_policies(seed + 400))
        geometric = (1 - eta) * pi + eta * nash.best_response(game, pi)
        assert found == pytest.approx(log_softmax(geometric), abs=1e-12)
        # multiplicative weights with the price in the payoff
        weights = pi + eta / game.beta * (game.against(pi) - game.beta * (pi - game.log_pi_0))
        assert found == pytest.approx(log_softmax(weights), abs=1e-12)


@pytest.mark.equation("eq-mirror-rate")
def test_mirror_steps_converge_below_the_critical_step_and_not_above():
    assert nash.mirror_rate(2.0, 2 / 5) == pytest.approx(1)
    assert nash.mirror_rate(3.0, np.array([0.09, 0.1, 0.11])).argmin() == 1
    assert nash.mirror_rate(3.0, 0.1) == pytest.approx(3 / 10**0.5)
    tried = 0
    for seed in range(20):
        matrix, log_pi_0 = random_matrix(seed)
        game = nash.Game(nash.log_odds(matrix), log_pi_0, 0.2)
        star = nash.equilibrium(game)
        s = nash.spectral_radius(game, star)
        for share in (0.8, 1.2):
            eta = share * 2 / (1 + s**2)
            if eta > 1:
                continue
            tried += 1
            end = repeat(partial(nash.mirror_step, game, eta=eta), log_pi_0, 250)
            assert (nash.exploitability(game, end) < 1e-4) == (share < 1), (seed, share)
        end = repeat(partial(nash.mirror_step, game, eta=1.0), log_pi_0, 250)
        assert (nash.exploitability(game, end) < 1e-4) == (s < 1)
    assert tried == 24


def test_the_error_shrinks_at_the_rate_of_the_theorem():
    game = nash.Game(nash.log_odds(CIRCLE), LOG_PI_0, 0.2)
    star = nash.equilibrium(game)
    s = nash.spectral_radius(game, star)
    for eta in (0.02, 1 / (1 + s**2), 0.14):
        path = [log_softmax(star + 1e-5 * np.array([1.0, -0.5, 0.2]))]
        for _ in range(80):
            path.append(nash.mirror_step(game, path[-1], eta))
        errors = np.array(path) - star
        errors -= errors @ np.exp(star)[:, None]
        far = errors**2 @ np.exp(star)  # in this norm the error turns, and shrinks by the same factor in each step
        assert (far[1:] / far[:-1]) ** 0.5 == pytest.approx(np.full(80, nash.mirror_rate(s, eta)), rel=1e-4)


@pytest.mark.equation("eq-nash-md")
def test_nash_md_stops_beside_the_equilibrium_unless_its_step_falls():
    game = nash.Game(nash.win_margin(CIRCLE), LOG_PI_0, 0.1)
    star = nash.equilibrium(game)
    missed = []
    for eta in (0.2, 0.1, 0.05):
        end = repeat(partial(nash.nash_md_step, game, eta=eta), LOG_PI_0, int(60 / eta))
        assert end == pytest.approx(nash.nash_md_step(game, end, eta), abs=1e-9), "it stands still"
        mixture = log_softmax((1 - eta) * end + eta * LOG_PI_0)
        assert end == pytest.approx(nash.best_response(game, mixture), abs=1e-7)
        missed.append(np.abs(np.exp(end) - np.exp(star)).max())
    assert np.array(missed[:-1]) / np.array(missed[1:]) == pytest.approx([2, 2], rel=0.2)  # in proportion to eta
    assert nash.nash_md_step(game, star, 1.0) == pytest.approx(nash.best_response(game, LOG_PI_0), abs=1e-12)
    log_pi = LOG_PI_0
    for t in range(1000):
        log_pi = nash.nash_md_step(game, log_pi, 2 / (t + 2))
    assert lm.kl(star, log_pi) < 8 / (0.1**2 * 1001)  # Munos et al., theorem 1
    assert nash.exploitability(game, log_pi) < 1e-7


@pytest.mark.equation("eq-self-play-loss")
@seeds
def test_online_ipo_is_stationary_at_the_equilibrium_of_the_win_margin_and_online_dpo_is_not(seed):
    matrix, log_pi_0 = random_matrix(seed)
    star = nash.equilibrium(nash.Game(nash.win_margin(matrix), log_pi_0, 0.2))
    steep = nash.equilibrium(nash.Game(nash.log_odds(matrix), log_pi_0, 0.2))
    slopes = {}
    for name, loss, where in (
        ("ipo", partial(direct.ipo, tau=0.2), star),
        ("ipo there", partial(direct.ipo, tau=0.2), steep),
        ("dpo", partial(direct.dpo, beta=0.2), star),
        ("dpo there", partial(direct.dpo, beta=0.2), steep),
    ):
        mean, collect = nash.self_play(loss, matrix, log_pi_0)
        params = {"logits": where + 3.0}  # logits have a constant to spare
        (batch,) = collect(params, None)
        slopes[name] = np.abs(grad(mean)(params, batch)["logits"]).max()
        check_grads(lambda x, mean=mean, batch=batch: mean({"logits": x}, batch), modes=["rev"])(where)
    assert slopes.pop("ipo") < 1e-11
    assert min(slopes.values()) > 1e-7


def test_ipo_solved_to_the_end_each_round_is_the_plain_iteration():
    matrix, log_pi_0 = random_matrix(1)
    game = nash.Game(nash.win_margin(matrix), log_pi_0, 0.2)
    mean, collect = nash.self_play(partial(direct.ipo, tau=0.2), matrix, log_pi_0)
    pi = log_softmax(random_policies(3, count=2) / 3)
    (batch,) = collect({"logits": pi}, None)
    assert batch.shape == (2, 5, 5)
    assert batch.sum((1, 2)) == pytest.approx([1, 1])
    end, _ = fit(
        mean, {"logits": pi}, lambda p, r: [batch], rounds=500, optimizer=sgd(1.0), rng=np.random.default_rng(0)
    )
    assert log_softmax(end["logits"]) == pytest.approx(nash.mirror_step(game, pi, 1.0), abs=1e-6)


def test_under_bradley_terry_online_dpo_ends_at_the_gibbs_policy():
    reward = np.array([0.0, 1.0, 0.4])
    matrix = annotators.bradley_terry(reward[:, None] - reward)
    mean, collect = nash.self_play(partial(direct.dpo, beta=0.5), matrix, LOG_PI_0)
    start = {"logits": LOG_PI_0}
    end, _ = fit(mean, start, collect, rounds=300, optimizer=sgd(20.0), rng=np.random.default_rng(0))
    assert log_softmax(end["logits"]) == pytest.approx(gibbs.log_policy(LOG_PI_0, reward, 0.5), abs=1e-6)


@pytest.mark.equation("eq-replicator")
@seeds
def test_the_replicator_is_the_natural_gradient_with_a_frozen_opponent(seed):
    matrix, log_pi = random_matrix(seed)
    payoff, pi = nash.win_margin(matrix), np.exp(log_pi)
    fisher = np.diag(pi) - np.outer(pi, pi)
    natural = np.linalg.pinv(fisher) @ fisher @ (payoff @ pi)  # of E f in the logits
    assert nash.replicator(payoff, pi) == pytest.approx(fisher @ natural, abs=1e-12)
    # both answers from pi: 1/2, whatever pi is
    policies = np.exp(random_policies(seed))
    assert np.einsum("na,ab,nb->n", policies, matrix, policies) == pytest.approx(np.full(30, 0.5), abs=1e-12)
    assert grad(lambda x: np.exp(log_softmax(x)) @ matrix @ np.exp(log_softmax(x)))(log_pi) == pytest.approx(
        np.zeros(5), abs=1e-12
    )


@pytest.mark.equation("eq-logit-flow")
@seeds
def test_the_flow_of_logits_is_the_plain_gradient(seed):
    matrix, log_pi = random_matrix(seed)
    payoff, pi = nash.win_margin(matrix), np.exp(log_pi)
    f = payoff @ pi
    slope = grad(lambda x: np.exp(log_softmax(x)) @ f)(log_pi)
    moved = np.exp(log_softmax(log_pi + 1e-6 * slope)) - np.exp(log_softmax(log_pi - 1e-6 * slope))
    assert nash.logit_flow(payoff, pi) == pytest.approx(moved / 2e-6, abs=1e-8)
    centred = pi * (f - pi @ f)
    assert nash.logit_flow(payoff, pi) == pytest.approx(pi * (centred - pi @ centred), abs=1e-12)


def test_both_flows_end_at_the_best_answer_of_bradley_terry_on_two_paths():
    reward = np.array([0.0, 1.0, 0.5])
    payoff = nash.win_margin(annotators.bradley_terry(reward[:, None] - reward))
    found = [
        solve_ivp(lambda t, pi, f=flow: f(payoff, pi), (0, 3000), [0.6, 0.1, 0.3], t_eval=[10, 3000], rtol=1e-8).y.T
        for flow in (nash.replicator, nash.logit_flow)
    ]
    assert found[0][0] == pytest.approx([0.227, 0.400, 0.373], abs=1e-3)
    assert found[1][0] == pytest.approx([0.464, 0.136, 0.400], abs=1e-3)
    assert all(path[-1, 1] > 0.99 for path in found)


@pytest.mark.equation("eq-multiplicative-weights")
def test_multiplicative_weights_run_away_from_a_circle_while_a_short_step_keeps_its_distance():
    payoff = nash.win_margin(CIRCLE)
    star = np.log(np.array([1, 2, 4]) / 7)
    for eta in (0.1, 1.0):
        near = lm.kl(star, LOG_PI_0)
        log_pi = LOG_PI_0
        for _ in range(30):
            moved = nash.multiplicative_weights(payoff, log_pi, eta)
            assert moved - log_pi == pytest.approx(
                eta * (payoff @ np.exp(log_pi)) - np.log(np.exp(log_pi) @ np.exp(eta * payoff @ np.exp(log_pi)))
            )
            far, log_pi = lm.kl(star, moved), moved
            assert far > near
            near = far
    # its flow is the replicator equation, along which KL(pi* || pi) does not change
    short = (np.exp(nash.multiplicative_weights(payoff, LOG_PI_0, 1e-6)) - np.exp(LOG_PI_0)) / 1e-6
    assert short == pytest.approx(nash.replicator(payoff, np.exp(LOG_PI_0)), abs=1e-6)
    assert nash.replicator(payoff, np.exp(LOG_PI_0)) @ np.exp(star - LOG_PI_0) == pytest.approx(0, abs=1e-12)


@pytest.mark.equation("eq-average-policy")
def test_the_average_of_self_play_has_no_regret():
    path = np.log([[[0.2, 0.8]], [[0.4, 0.6]], [[0.9, 0.1]]])
    assert np.exp(nash.averages(path)) == pytest.approx(np.array([[[0.2, 0.8]], [[0.3, 0.7]], [[0.5, 0.5]]]))
    payoff, eta, steps = nash.win_margin(CIRCLE), 0.1, 2000
    path = [LOG_PI_0]
    for _ in range(steps - 1):
        path.append(nash.multiplicative_weights(payoff, path[-1], eta))
    average = nash.averages(np.array(path))[-1]
    exploited = (payoff @ np.exp(average)).max()
    assert exploited < np.log(5) / (eta * steps) + eta / 8 * 0.8**2  # Hoeffding: payoffs lie within 0.8
    assert (payoff @ np.exp(path[-1])).max() > 5 * exploited


def sppo_mean(log_pi, log_next, matrix, eta):
    beaten = matrix @ np.exp(log_pi)
    return np.exp(log_pi) @ nash.sppo_loss(log_next - log_pi, beaten, eta)


@pytest.mark.equation("eq-sppo")
def test_sppo_is_a_squared_error_that_multiplicative_weights_would_make_zero_but_for_log_z():
    assert nash.sppo_loss(np.array([0.5]), np.array([0.7]), 2.0) == pytest.approx([0.01])
    for seed in range(5):
        matrix, log_pi = random_matrix(seed)
        missed = nash.multiplicative_weights(nash.win_margin(matrix), log_pi, 3.0)
        error = nash.sppo_error(matrix, log_pi, 3.0)
        assert sppo_mean(log_pi, missed, matrix, 3.0) == pytest.approx(error**2, abs=1e-12)


@pytest.mark.equation("eq-sppo-error")
def test_the_constant_of_sppo_is_right_at_interior_equilibria_only():
    for eta in (1.0, 10.0, 1000.0):
        for matrix, star in ((CIRCLE, [1 / 7, 2 / 7, 4 / 7]), (annotators.circle([0.8, 0.8, 0.8]), [1 / 3] * 3)):
            assert nash.sppo_error(matrix, np.log(star), eta) == pytest.approx(0, abs=1e-9 * eta)
        error = nash.sppo_error(CIRCLE, random_policies(0, 3), eta)
        assert (error > 0).all()
    pi = np.array([0.2, 0.3, 0.5])
    by_hand = np.log(pi @ np.exp(10 * CIRCLE @ pi)) - 5
    assert nash.sppo_error(CIRCLE, LOG_PI_0, 10.0) == pytest.approx(by_hand, abs=1e-12)
    assert nash.sppo_error(CIRCLE, np.log([1 / 3] * 3), 10.0) == pytest.approx(0.2127, abs=1e-4)
    assert nash.sppo_error(CIRCLE, np.log([1 / 3] * 3), 1000.0) == pytest.approx(65.57, abs=0.01)


@pytest.mark.equation("eq-sppo-step")
@pytest.mark.parametrize("eta", [0.5, 5.0, 100.0, 1000.0])
def test_the_exact_minimiser_of_sppo(eta):
    for seed in range(4):
        matrix, log_pi = random_matrix(seed)
        found = nash.sppo_step(matrix, log_pi, eta)
        u, t = found - log_pi, eta * (nash.win_margin(matrix) @ np.exp(log_pi))
        assert np.exp(found).sum() == pytest.approx(1, abs=1e-12)
        # stationary: u + m exp(u) = t, with m = KL(pi_t || pi_(t+1))
        assert u + lm.kl(log_pi, found) * np.exp(u) == pytest.approx(t, rel=1e-8, abs=1e-10)
        best = sppo_mean(log_pi, found, matrix, eta)
        for other in random_policies(seed):
            assert sppo_mean(log_pi, other, matrix, eta) > best
            assert sppo_mean(log_pi, log_softmax(found + 0.01 * other), matrix, eta) > best


def test_sppo_stands_still_at_the_equilibrium():
    star = np.log(np.array([1, 2, 4]) / 7)
    for eta in (0.1, 10.0):
        assert nash.sppo_step(CIRCLE, star, eta) == pytest.approx(star, abs=1e-12)
    level = np.full((3, 3), 0.5)
    assert nash.sppo_step(level, LOG_PI_0, 1.0) == pytest.approx(LOG_PI_0, abs=1e-12)


@pytest.mark.equation("eq-sppo-hard")
def test_labels_of_pairs_from_the_policy_make_the_mean_of_sppo_twice():
    assert nash.sppo_hard(np.array([1.0]), np.array([-0.5]), 3.0) == pytest.approx([0.25 + 1.0])
    for seed in range(4):
        matrix, log_pi = random_matrix(seed)
        pi, eta = np.exp(log_pi), 4.0

        def mean(log_next, matrix=matrix, log_pi=log_pi, pi=pi, eta=eta):
            u = log_next - log_pi
            each = nash.sppo_hard(u[:, None] * np.ones((5, 5)), u * np.ones((5, 5)), eta)
            return 2 * np.sum(np.outer(pi, pi) * matrix * each) / 2

        gaps = [2 * sppo_mean(log_pi, other, matrix, eta) - 2 * mean(other) for other in random_policies(seed)]
        assert gaps == pytest.approx([gaps[0]] * 30, abs=1e-9)


def language():
    model = Tabular(vocab=3, horizon=2, prompts=((0,),), eos=2)
    rng = np.random.default_rng(1)
    reference, params = ({"logits": rng.normal(size=(1, model.states, 3))} for _ in range(2))
    matrix, _ = random_matrix(5, lm.count_responses(3, 2, 2))
    return model, reference, params, nash.win_margin(matrix), np.array([[0]])


def slope_of(loss, collect, params):
    (batch,) = collect(params, None)
    return grad(loss)(params, batch)["logits"]


@pytest.mark.equation("eq-kl-to-go")
def test_only_log_ratios_to_go_give_the_gradient_of_the_divergence():
    assert nash.to_go(np.array([[1.0, 2.0, 4.0]])).tolist() == [[7.0, 6.0, 4.0]]
    model, reference, params, payoff, prompt = language()
    log_pi_0 = lm.answer_log_probs(model, reference, prompt, 2)
    exact = grad(lambda p: np.sum(lm.kl(lm.answer_log_probs(model, p, prompt, 2), log_pi_0)))(params)["logits"]
    nothing = 0 * payoff
    found = slope_of(*nash.token_self_play(nothing, 1.0, model, reference, prompt, 2, nash.to_go), params)
    assert found == pytest.approx(exact, abs=1e-12)
    published = slope_of(*nash.token_self_play(nothing, 1.0, model, reference, prompt, 2, lambda ratio: ratio), params)
    assert np.abs(published - exact).max() > 0.3 * np.abs(exact).max()
    # it is the gradient with the visited states frozen: right behind the first token, wrong before it
    assert published[0, 1:] == pytest.approx(exact[0, 1:], abs=1e-12)


@pytest.mark.equation("eq-token-self-play")
def test_self_play_over_tokens_follows_the_gradient_of_the_game_and_ends_at_its_equilibrium():
    model, reference, params, payoff, prompt = language()
    log_pi_0 = lm.answer_log_probs(model, reference, prompt, 2)[0]
    game = nash.Game(payoff, log_pi_0, 0.2)
    loss, collect = nash.token_self_play(payoff, 0.2, model, reference, prompt, 2, nash.to_go)
    opponent = lm.answer_log_probs(model, params, prompt, 2)[0]
    exact = grad(lambda p: -nash.value(game, lm.answer_log_probs(model, p, prompt, 2)[0], opponent))(params)
    assert slope_of(loss, collect, params) == pytest.approx(exact["logits"], abs=1e-12)
    rng = np.random.default_rng(0)
    options = {"rounds": 250, "optimizer": sgd(10.0), "rng": rng}
    end, _ = fit(loss, reference, collect, **options)
    assert nash.exploitability(game, lm.answer_log_probs(model, end, prompt, 2)[0]) < 1e-9
    # the published weights end where no token answers for the divergence that follows it
    loss, collect = nash.token_self_play(payoff, 0.2, model, reference, prompt, 2, lambda ratio: ratio)
    end, _ = fit(loss, reference, collect, **options)
    log_pi = lm.answer_log_probs(model, end, prompt, 2)[0]
    levels = lm.policy_levels(model, reference, prompt, 2)
    rewards = token_mdp.terminal_rewards((payoff @ np.exp(log_pi))[None], 3, 2, 2)
    local = lm.answers_of_levels(end_points.local_price(levels, rewards, 0.2), 2)[0]
    assert log_pi == pytest.approx(local, abs=1e-5)
    assert nash.exploitability(game, log_pi) > 1e-5


GAME = nash.Game(nash.win_margin(CIRCLE), LOG_PI_0, 0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nash.win_margin([[0.5, 0.9], [0.9, 0.5]]), r"matrix must be \(A, A\) with P\[a, b\]"),
        (lambda: nash.log_odds([[0.5, 0.9], [0.9, 0.5]]), r"matrix must be \(A, A\) with P\[a, b\]"),
        (lambda: nash.log_odds([[0.5, 1.0], [0.0, 0.5]]), "^a preference of 0 or 1 has infinite log-odds; take"),
        (lambda: nash.Game(GAME.payoff, LOG_PI_0, 0.0), "beta must be finite and above 0; got 0"),
        (lambda: nash.Game(GAME.payoff, LOG_PI_0, -1.0), "beta must be finite and above 0; got -1"),
        (lambda: nash.Game(CIRCLE, LOG_PI_0, 0.1), r"^payoff\[a, b\] must be -payoff\[b, a\]: make it of preferences"),
        (lambda: nash.Game(np.nan * CIRCLE, LOG_PI_0, 0.1), r"payoff\[a, b\] must be -payoff\[b, a\]"),
        (lambda: nash.Game(GAME.payoff, LOG_PI_0[:2], 0.1), r"exp\(log_pi_0\) must sum to 1; the sum is 0.5"),
        (
            lambda: nash.Game(GAME.payoff, np.log([0.5, 0.5]), 0.1),
            r"^a payoff \(A, A\) needs log_pi_0 \(A,\), one prompt; got shapes \(3, 3\) and \(2,\)$",
        ),
        (lambda: nash.Game(GAME.payoff, LOG_PI_0[None], 0.1), r"got shapes \(3, 3\) and \(1, 3\)$"),
        (lambda: nash.mirror_step(GAME, LOG_PI_0, 0.0), r"^eta is a share of the way .* in \(0, 1\]; got 0.0$"),
        (lambda: nash.mirror_step(GAME, LOG_PI_0, 1.5), r"in \(0, 1\]; got 1.5$"),
        (lambda: nash.nash_md_step(GAME, LOG_PI_0, np.nan), r"in \(0, 1\]; got nan$"),
        (lambda: nash.multiplicative_weights(GAME.payoff, LOG_PI_0, 0.0), "eta must be finite and above 0; got 0"),
        (lambda: nash.sppo_step(CIRCLE, LOG_PI_0, -1.0), "eta must be finite and above 0; got -1"),
        (lambda: nash.sppo_error(CIRCLE, LOG_PI_0, 0.0), "eta must be finite and above 0; got 0"),
        (lambda: nash.sppo_loss(LOG_PI_0, LOG_PI_0, 0.0), "eta must be finite and above 0; got 0"),
        (lambda: nash.sppo_step(GAME.payoff, LOG_PI_0, 1.0), r"matrix must lie in \[0, 1\]"),
        (lambda: nash.self_play(direct.dpo, GAME.payoff, LOG_PI_0), r"matrix must lie in \[0, 1\]"),
        (lambda: nash.self_play(direct.dpo, CIRCLE, LOG_PI_0[:2]), "one reward for each of the 3 answers"),
        (lambda: nash.worst_win_rate(GAME.payoff, LOG_PI_0), r"matrix must lie in \[0, 1\]"),
        (
            lambda: nash.token_self_play(GAME.payoff, 0.1, *language()[:2], np.array([[0]]), 2, nash.to_go),
            r"got shapes \(3, 3\) and \(7,\)$",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Games between two policies: equilibria, exploitability, and the iterations that look for them."""

from functools import partial
from itertools import product

import numpy as np
import pytest
from small_games import CIRCLE, LOG_PI_0, random_matrix, random_policies

from rlhf_lab.feedback import annotators
from rlhf_lab.methods import nash
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import log_softmax

seeds = pytest.mark.parametrize("seed", range(8))


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
        assert nash.spectral_radius(game, optimum) < 1e-13 * scale / beta


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
    for seed in range(3):
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
    # that of the equilibrium of P - 1/2 goes to a half as the price falls
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
            near = np.exp(log_other) @ nash.against(game.payoff, pi) - game.beta * lm.kl(log_other, game.log_pi_0)
            return near - game.beta * (1 / eta - 1) * lm.kl(log_other, pi)

        assert all(worth(other) < worth(found) for other in random_policies(seed + 400))
        geometric = (1 - eta) * pi + eta * nash.best_response(game, pi)
        assert found == pytest.approx(log_softmax(geometric), abs=1e-12)
        # multiplicative weights with the price in the payoff
        weights = pi + eta / game.beta * (nash.against(game.payoff, pi) - game.beta * (pi - game.log_pi_0))
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


def test_a_stable_equilibrium_need_not_attract_the_reference():
    """Of 480 games two do not end as s says: one is slow, one runs in a large cycle although s is below 1."""
    odd = []
    for seed in range(1, 5):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(120, 5, 5)) * np.exp(rng.uniform(-1, 1.5, size=(120, 1, 1)))
        log_pi_0 = np.asarray(log_softmax(rng.normal(size=(120, 5))))
        games = nash.Game(noise - np.swapaxes(noise, -1, -2), log_pi_0, 1.0)
        star = nash.equilibrium(games)
        s = nash.spectral_radius(games, star)
        left = nash.exploitability(games, repeat(partial(nash.mirror_step, games, eta=1.0), log_pi_0, 600))
        for k in np.flatnonzero((left < 1e-6) != (s < 1)):
            game = nash.Game(games.payoff[k], log_pi_0[k], 1.0)
            close = star[k] + 1e-3 * np.array([1, -1, 0.5, 0, 0])
            near = nash.exploitability(game, repeat(partial(nash.mirror_step, game, eta=1.0), close, 600))
            odd.append((s[k], left[k], near))
    assert np.array(odd) == pytest.approx(np.array([[0.994, 0, 0], [0.901, 7.32, 0]]), abs=0.01)


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


def test_several_games_are_played_at_once():
    made = [random_matrix(seed) for seed in range(3)]
    matrix, log_pi_0 = (np.array(part) for part in zip(*made, strict=True))
    payoff = nash.win_margin(matrix)
    assert nash.log_odds(matrix)[1] == pytest.approx(nash.log_odds(matrix[1]))
    game, pi = nash.Game(payoff, log_pi_0, 0.2), np.array([random_policies(seed, count=1)[0] for seed in range(3)])
    star = nash.equilibrium(game)
    single = [nash.Game(p, prior, 0.2) for p, prior in zip(payoff, log_pi_0, strict=True)]
    for f in (
        nash.best_response,
        nash.exploitability,
        lambda g, x: nash.value(g, x, g.log_pi_0),
        lambda g, x: nash.mirror_step(g, x, 0.3),
        lambda g, x: nash.nash_md_step(g, x, 0.3),
        nash.spectral_radius,
        lambda g, x: nash.worst_win_rate(g.payoff + 0.5, x),
    ):
        assert f(game, pi) == pytest.approx(np.array([f(g, x) for g, x in zip(single, pi, strict=True)]), abs=1e-12)
    assert star == pytest.approx(np.array([nash.equilibrium(g) for g in single]), abs=1e-12)


def test_a_game_of_whole_numbers_is_made_of_floats():
    game = nash.Game([[0, 1], [-1, 0]], [0, -np.inf], 1)
    assert game.payoff.dtype == game.log_pi_0.dtype == float
    certain = nash.Game([[0]], [0], 1)
    assert certain.payoff.dtype == certain.log_pi_0.dtype == float


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
            r"^a payoff \(..., A, A\) needs log_pi_0 \(..., A\); got shapes \(3, 3\) and \(2,\)$",
        ),
        (lambda: nash.Game(GAME.payoff, LOG_PI_0[None], 0.1), r"got shapes \(3, 3\) and \(1, 3\)$"),
        (lambda: nash.mirror_step(GAME, LOG_PI_0, 0.0), r"^eta is a share of the way .* in \(0, 1\]; got 0.0$"),
        (lambda: nash.mirror_step(GAME, LOG_PI_0, 1.5), r"in \(0, 1\]; got 1.5$"),
        (lambda: nash.nash_md_step(GAME, LOG_PI_0, np.nan), r"in \(0, 1\]; got nan$"),
        (lambda: nash.worst_win_rate(GAME.payoff, LOG_PI_0), r"matrix must lie in \[0, 1\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Self-play: where it stands still, what it conserves, and what the losses of libraries leave out."""

from functools import partial

import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy.integrate import solve_ivp
from scipy.optimize import root
from small_games import CIRCLE, LOG_PI_0, random_matrix, random_policies

from rlhf_lab.feedback import annotators
from rlhf_lab.methods import direct, end_points, margins, nash, self_play
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.numerics.optim import fit, sgd
from rlhf_lab.worlds import token_mdp

seeds = pytest.mark.parametrize("seed", range(8))


@pytest.mark.equation("eq-self-play-loss")
@seeds
def test_online_ipo_is_stationary_at_the_equilibrium_of_the_win_margin_and_online_dpo_is_not(seed):
    matrix, log_pi_0 = random_matrix(seed)
    star = nash.equilibrium(nash.Game(nash.win_margin(matrix), log_pi_0, 0.2))
    steep = nash.equilibrium(nash.Game(nash.log_odds(matrix), log_pi_0, 0.2))
    slopes = {}
    for name, loss, where in (
        ("ipo", partial(margins.ipo, tau=0.2), star),
        ("ipo there", partial(margins.ipo, tau=0.2), steep),
        ("dpo", partial(direct.dpo, beta=0.2), star),
        ("dpo there", partial(direct.dpo, beta=0.2), steep),
    ):
        mean, collect = self_play.on_pairs(loss, matrix, log_pi_0)
        params = {"logits": where + 3.0}  # logits have a constant to spare
        (batch,) = collect(params, None)
        slopes[name] = np.abs(grad(mean)(params, batch)["logits"]).max()
        check_grads(lambda x, mean=mean, batch=batch: mean({"logits": x}, batch), modes=["rev"])(where)
    assert slopes.pop("ipo") < 1e-11
    assert min(slopes.values()) > 1e-7


def test_in_a_circle_online_dpo_ends_at_neither_equilibrium():
    mean, collect = self_play.on_pairs(partial(direct.dpo, beta=0.1), CIRCLE, LOG_PI_0)

    def slope(x):
        (batch,) = collect({"logits": x}, None)
        return grad(mean)({"logits": x}, batch)["logits"]

    end = log_softmax(root(slope, LOG_PI_0, method="lm", options={"xtol": 1e-12}).x)
    assert np.abs(slope(end)).max() < 1e-9
    assert np.exp(end) == pytest.approx([0.152, 0.271, 0.578], abs=1e-3)
    for payoff, exploited in ((nash.win_margin, 0.0008), (nash.log_odds, 0.0267)):
        game = nash.Game(payoff(CIRCLE), LOG_PI_0, 0.1)
        assert nash.exploitability(game, end) == pytest.approx(exploited, abs=1e-4)


def test_ipo_solved_to_the_end_each_round_is_the_plain_iteration():
    matrix, log_pi_0 = random_matrix(1)
    game = nash.Game(nash.win_margin(matrix), log_pi_0, 0.2)
    mean, collect = self_play.on_pairs(partial(margins.ipo, tau=0.2), matrix, log_pi_0)
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
    mean, collect = self_play.on_pairs(partial(direct.dpo, beta=0.5), matrix, LOG_PI_0)
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
    assert self_play.replicator(payoff, pi) == pytest.approx(fisher @ natural, abs=1e-12)
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
    assert self_play.logit_flow(payoff, pi) == pytest.approx(moved / 2e-6, abs=1e-8)
    centred = pi * (f - pi @ f)
    assert self_play.logit_flow(payoff, pi) == pytest.approx(pi * (centred - pi @ centred), abs=1e-12)


def test_the_flows_take_several_policies_and_any_payoff():
    """Where E f is not 0, as it is in a game of two equals, the mean is taken off, for each policy its own."""
    payoff, pi = np.random.default_rng(0).normal(size=(5, 5)), np.exp(random_policies(0, count=3))
    for flow, inner in ((self_play.replicator, lambda x: payoff @ x), (self_play.logit_flow, None)):
        found = flow(payoff, pi)
        for row, x in zip(found, pi, strict=True):
            speed = inner(x) if inner else self_play.replicator(payoff, x)
            assert row == pytest.approx(x * (speed - x @ speed), abs=1e-12)


def test_both_flows_end_at_the_best_answer_of_bradley_terry_on_two_paths():
    reward = np.array([0.0, 1.0, 0.5])
    payoff = nash.win_margin(annotators.bradley_terry(reward[:, None] - reward))
    found = [
        solve_ivp(lambda t, pi, f=flow: f(payoff, pi), (0, 3000), [0.6, 0.1, 0.3], t_eval=[10, 3000], rtol=1e-8).y.T
        for flow in (self_play.replicator, self_play.logit_flow)
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
            moved = self_play.multiplicative_weights(payoff, log_pi, eta)
            assert moved - log_pi == pytest.approx(
                eta * (payoff @ np.exp(log_pi)) - np.log(np.exp(log_pi) @ np.exp(eta * payoff @ np.exp(log_pi)))
            )
            far, log_pi = lm.kl(star, moved), moved
            assert far > near
            near = far
    # its flow is the replicator equation, along which KL(pi* || pi) does not change
    short = (np.exp(self_play.multiplicative_weights(payoff, LOG_PI_0, 1e-6)) - np.exp(LOG_PI_0)) / 1e-6
    assert short == pytest.approx(self_play.replicator(payoff, np.exp(LOG_PI_0)), abs=1e-6)
    assert self_play.replicator(payoff, np.exp(LOG_PI_0)) @ np.exp(star - LOG_PI_0) == pytest.approx(0, abs=1e-12)


@pytest.mark.equation("eq-average-policy")
def test_the_average_of_self_play_has_no_regret():
    path = np.log([[[0.2, 0.8]], [[0.4, 0.6]], [[0.9, 0.1]]])
    assert np.exp(self_play.averages(path)) == pytest.approx(np.array([[[0.2, 0.8]], [[0.3, 0.7]], [[0.5, 0.5]]]))
    payoff, eta, steps = nash.win_margin(CIRCLE), 0.1, 2000
    path = [LOG_PI_0]
    for _ in range(steps - 1):
        path.append(self_play.multiplicative_weights(payoff, path[-1], eta))
    average = self_play.averages(np.array(path))[-1]
    exploited = (payoff @ np.exp(average)).max()
    assert exploited < np.log(5) / (eta * steps) + eta / 8 * 0.8**2  # Hoeffding: payoffs lie within 0.8
    assert (payoff @ np.exp(path[-1])).max() > 5 * exploited


def sppo_mean(log_pi, log_next, matrix, eta):
    beaten = matrix @ np.exp(log_pi)
    return np.exp(log_pi) @ self_play.sppo_loss(log_next - log_pi, beaten, eta)


@pytest.mark.equation("eq-sppo")
def test_sppo_is_a_squared_error_that_multiplicative_weights_would_make_zero_but_for_log_z():
    assert self_play.sppo_loss(np.array([0.5]), np.array([0.7]), 2.0) == pytest.approx([0.01])
    for seed in range(5):
        matrix, log_pi = random_matrix(seed)
        missed = self_play.multiplicative_weights(nash.win_margin(matrix), log_pi, 3.0)
        error = self_play.sppo_error(matrix, log_pi, 3.0)
        assert sppo_mean(log_pi, missed, matrix, 3.0) == pytest.approx(error**2, abs=1e-12)


@pytest.mark.equation("eq-sppo-error")
def test_the_constant_of_sppo_is_right_at_interior_equilibria_only():
    for eta in (1.0, 10.0, 1000.0):
        for matrix, star in ((CIRCLE, [1 / 7, 2 / 7, 4 / 7]), (annotators.circle([0.8, 0.8, 0.8]), [1 / 3] * 3)):
            assert self_play.sppo_error(matrix, np.log(star), eta) == pytest.approx(0, abs=1e-9 * eta)
        error = self_play.sppo_error(CIRCLE, random_policies(0, 3), eta)
        assert (error > 0).all()
    pi = np.array([0.2, 0.3, 0.5])
    by_hand = np.log(pi @ np.exp(10 * CIRCLE @ pi)) - 5
    assert self_play.sppo_error(CIRCLE, LOG_PI_0, 10.0) == pytest.approx(by_hand, abs=1e-12)
    assert self_play.sppo_error(CIRCLE, np.log([1 / 3] * 3), 10.0) == pytest.approx(0.2127, abs=1e-4)
    assert self_play.sppo_error(CIRCLE, np.log([1 / 3] * 3), 1000.0) == pytest.approx(65.57, abs=0.01)


@pytest.mark.equation("eq-sppo-step")
@pytest.mark.parametrize("eta", [0.5, 5.0, 100.0, 1000.0])
def test_the_exact_minimiser_of_sppo(eta):
    for seed in range(4):
        matrix, log_pi = random_matrix(seed)
        found = self_play.sppo_step(nash.win_margin(matrix), log_pi, eta)
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
        assert self_play.sppo_step(nash.win_margin(CIRCLE), star, eta) == pytest.approx(star, abs=1e-12)
    level = np.full((3, 3), 0.5)
    assert self_play.sppo_step(level - 0.5, LOG_PI_0, 1.0) == pytest.approx(LOG_PI_0, abs=1e-12)


@pytest.mark.equation("eq-sppo-hard")
def test_labels_of_pairs_from_the_policy_make_the_mean_of_sppo_twice():
    assert self_play.sppo_hard(np.array([1.0]), np.array([-0.5]), 3.0) == pytest.approx([0.25 + 1.0])
    for seed in range(4):
        matrix, log_pi = random_matrix(seed)
        pi, eta = np.exp(log_pi), 4.0

        def mean(log_next, matrix=matrix, log_pi=log_pi, pi=pi, eta=eta):
            u = log_next - log_pi
            each = self_play.sppo_hard(u[:, None] * np.ones((5, 5)), u * np.ones((5, 5)), eta)
            return 2 * np.sum(np.outer(pi, pi) * matrix * each)  # either of the pair may win

        gaps = [2 * sppo_mean(log_pi, other, matrix, eta) - mean(other) for other in random_policies(seed)]
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
    assert self_play.to_go(np.array([[1.0, 2.0, 4.0]])).tolist() == [[7.0, 6.0, 4.0]]
    assert self_play.to_go(np.array([1.0, 2.0, 4.0])).tolist() == [7.0, 6.0, 4.0]
    model, reference, params, payoff, prompt = language()
    log_pi_0 = lm.answer_log_probs(model, reference, prompt, 2)
    exact = grad(lambda p: np.sum(lm.kl(lm.answer_log_probs(model, p, prompt, 2), log_pi_0)))(params)["logits"]
    nothing = 0 * payoff
    found = slope_of(*self_play.on_tokens(nothing, 1.0, model, reference, prompt, 2, self_play.to_go), params)
    assert found == pytest.approx(exact, abs=1e-12)
    per_token = slope_of(*self_play.on_tokens(nothing, 1.0, model, reference, prompt, 2, lambda ratio: ratio), params)
    assert np.abs(per_token - exact).max() > 0.3 * np.abs(exact).max()
    # it is the gradient with the visited states frozen: right behind the first token, wrong before it
    assert per_token[0, 1:] == pytest.approx(exact[0, 1:], abs=1e-12)


@pytest.mark.equation("eq-token-self-play")
def test_self_play_over_tokens_follows_the_gradient_of_the_game_and_ends_at_its_equilibrium():
    model, reference, params, payoff, prompt = language()
    log_pi_0 = lm.answer_log_probs(model, reference, prompt, 2)[0]
    game = nash.Game(payoff, log_pi_0, 0.2)
    loss, collect = self_play.on_tokens(payoff, 0.2, model, reference, prompt, 2, self_play.to_go)
    opponent = lm.answer_log_probs(model, params, prompt, 2)[0]
    exact = grad(lambda p: -nash.value(game, lm.answer_log_probs(model, p, prompt, 2)[0], opponent))(params)
    assert slope_of(loss, collect, params) == pytest.approx(exact["logits"], abs=1e-12)
    rng = np.random.default_rng(0)
    options = {"rounds": 250, "optimizer": sgd(10.0), "rng": rng}
    end, _ = fit(loss, reference, collect, **options)
    assert nash.exploitability(game, lm.answer_log_probs(model, end, prompt, 2)[0]) < 1e-9
    # weights per token end where no token answers for the divergence that follows it
    loss, collect = self_play.on_tokens(payoff, 0.2, model, reference, prompt, 2, lambda ratio: ratio)
    end, _ = fit(loss, reference, collect, **options)
    log_pi = lm.answer_log_probs(model, end, prompt, 2)[0]
    levels = lm.policy_levels(model, reference, prompt, 2)
    rewards = token_mdp.terminal_rewards((payoff @ np.exp(log_pi))[None], 3, 2, 2)
    local = lm.answers_of_levels(end_points.local_price(levels, rewards, 0.2), 2)[0]
    assert log_pi == pytest.approx(local, abs=1e-5)
    assert nash.exploitability(game, log_pi) > 1e-5


def test_several_games_are_played_at_once():
    made = [random_matrix(seed) for seed in range(3)]
    matrix, log_pi_0 = (np.array(part) for part in zip(*made, strict=True))
    pi = np.array([random_policies(seed, count=1)[0] for seed in range(3)])
    for f in (
        lambda m, x: self_play.multiplicative_weights(nash.win_margin(m), x, 0.3),
        lambda m, x: self_play.sppo_step(nash.win_margin(m), x, 3.0),
        lambda m, x: self_play.sppo_error(m, x, 3.0),
    ):
        assert f(matrix, pi) == pytest.approx(np.array([f(m, x) for m, x in zip(matrix, pi, strict=True)]), abs=1e-12)
    mean, collect = self_play.on_pairs(partial(margins.ipo, tau=0.2), matrix, log_pi_0)
    (batch,) = collect({"logits": pi}, None)
    alone = self_play.on_pairs(partial(margins.ipo, tau=0.2), matrix[1], log_pi_0[1])[0]
    assert mean({"logits": pi}, batch)[1] == pytest.approx(alone({"logits": pi[1]}, batch[1]))


PAYOFF = nash.win_margin(CIRCLE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: self_play.multiplicative_weights(PAYOFF, LOG_PI_0, 0.0), "eta must be finite and above 0; got 0"),
        (lambda: self_play.sppo_step(PAYOFF, LOG_PI_0, -1.0), "eta must be finite and above 0; got -1"),
        (lambda: self_play.sppo_error(CIRCLE, LOG_PI_0, 0.0), "eta must be finite and above 0; got 0"),
        (lambda: self_play.sppo_loss(LOG_PI_0, LOG_PI_0, 0.0), "eta must be finite and above 0; got 0"),
        (lambda: self_play.on_pairs(direct.dpo, PAYOFF, LOG_PI_0), r"matrix must lie in \[0, 1\]"),
        (lambda: self_play.on_pairs(direct.dpo, CIRCLE, LOG_PI_0[:2]), "one reward for each of the 3 answers"),
        (
            lambda: self_play.on_tokens(PAYOFF, 0.1, *language()[:2], np.array([[0]]), 2, self_play.to_go),
            r"got shapes \(3, 3\) and \(7,\)$",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

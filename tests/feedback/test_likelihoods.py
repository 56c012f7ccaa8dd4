"""Losses are the likelihoods that they are named after, and what minimises them is what it should be."""

import itertools
from functools import partial

import autograd.numpy as anp
import choix
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from autograd.test_util import check_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from small_rewards import batch, every_model

from rlhf_lab.feedback import annotators, likelihoods, reward_models
from rlhf_lab.leaderboard import ranking
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import optim
from rlhf_lab.worlds import token_mdp

RATE, LOG_TIE = 0.2, 0.4
MISCLICK = partial(likelihoods.misclick_loss, rate=RATE)
TIES = partial(likelihoods.ties_loss, log_tie=np.log(2))
LOSSES = {  # a loss, a margin m, its value there for labels 1, 0 and 1/2 by hand
    "bradley_terry": (likelihoods.bradley_terry_loss, np.log(3), (np.log(4 / 3), np.log(4), np.log(16 / 3) / 2)),
    "misclick": (MISCLICK, np.log(3), (-np.log(0.7), -np.log(0.3), -np.log(0.21) / 2)),
    "ties": (TIES, 2 * np.log(2), (np.log(4.5 / 2), np.log(4.5 / 0.5), np.log(4.5 / 2))),
}
every_loss = pytest.mark.parametrize("loss", [row[0] for row in LOSSES.values()], ids=LOSSES)
LABELS = np.array([1.0, 0.0, 0.5])


@pytest.mark.equation("eq-bt-loss", "eq-misclick-loss", "eq-ties-loss")
@pytest.mark.parametrize(("loss", "margin", "by_hand"), LOSSES.values(), ids=LOSSES)
def test_value_by_hand(loss, margin, by_hand):
    assert loss(np.full(3, margin), LABELS) == pytest.approx(np.array(by_hand), rel=1e-12)


@every_loss
@given(margin=st.floats(-30, 30))
@settings(max_examples=40)
def test_a_label_and_its_opposite_are_mirror_images(loss, margin):
    assert loss(np.array([margin] * 3), LABELS) == pytest.approx(loss(np.array([-margin] * 3), 1 - LABELS), rel=1e-12)


@every_loss
def test_derivatives_are_right_and_finite_at_the_extremes(loss):
    for label in LABELS:
        check_grads(lambda m, label=label: loss(m, label), modes=["rev"])(np.array([-3.0, -0.2, 0.1, 0.9]))
        slope = elementwise_grad(lambda m, label=label: loss(m, label))(np.array([-1e4, 1e4]))
        assert np.isfinite(slope).all()
        assert np.isfinite(loss(np.array([-1e4, 1e4]), label)).all()


@pytest.mark.parametrize("loss", [likelihoods.bradley_terry_loss, MISCLICK], ids=["bradley_terry", "misclick"])
def test_the_first_is_preferred_unless_a_label_says_otherwise(loss):
    assert loss(np.array([0.3])) == pytest.approx(loss(np.array([0.3]), np.array([1.0])))


@pytest.mark.equation("eq-bt-loss", "eq-bradley-terry")
def test_the_minimiser_is_the_log_odds_of_the_label():
    share = np.array([0.1, 0.5, 0.9])
    slope = elementwise_grad(likelihoods.bradley_terry_loss)(np.log(share / (1 - share)), share)
    assert slope == pytest.approx(np.zeros(3), abs=1e-12)


@pytest.mark.equation("eq-misclick-loss", "eq-misclick")
def test_the_misclick_likelihood_is_the_annotators_and_bounded():
    margin = np.linspace(-50, 50, 101)
    for label, sign in ((1.0, 1), (0.0, -1)):
        p = annotators.with_misclicks(annotators.bradley_terry(sign * margin), RATE)
        assert np.exp(-likelihoods.misclick_loss(margin, label, rate=RATE)) == pytest.approx(p, rel=1e-12)
        assert likelihoods.misclick_loss(margin, label, rate=RATE).max() <= np.log(2 / RATE)
    assert likelihoods.misclick_loss(np.array([-1e4]), rate=RATE) == pytest.approx(np.log(2 / RATE))


@pytest.mark.equation("eq-ties-loss", "eq-ties")
def test_the_likelihood_of_ties_is_the_annotators():
    margin = np.linspace(-5, 5, 11)
    p = annotators.with_ties(margin, np.exp(LOG_TIE))
    for column, label in enumerate((0.0, 0.5, 1.0)):
        found = likelihoods.ties_loss(margin, np.full(11, label), log_tie=LOG_TIE)
        assert np.exp(-found) == pytest.approx(p[:, column], rel=1e-12)
    check_grads(lambda t: likelihoods.ties_loss(margin, np.full(11, 0.5), log_tie=t), modes=["rev"])(LOG_TIE)


@pytest.mark.equation("eq-ties", "eq-bt-loss")
def test_with_nu_2_a_tie_as_half_a_win_is_bradley_terry_with_half_the_margin():
    """The share of wins and half the ties is sigmoid(m / 2); its log-odds lie between 2 m / (2 + nu) and m / 2."""
    margin = np.linspace(-30, 30, 61)
    loss, tie, win = annotators.with_ties(margin, 2.0).T
    assert win + tie / 2 == pytest.approx(annotators.bradley_terry(margin / 2), rel=1e-12)
    assert loss + tie / 2 == pytest.approx(annotators.bradley_terry(-margin / 2), rel=1e-12)
    for nu in (0.5, 1.0, 4.0):
        loss, tie, win = annotators.with_ties(np.array([1e-4, 0.5, 3.0, 12.0, 60.0]), nu).T
        factor = np.log((win + tie / 2) / (loss + tie / 2)) / [1e-4, 0.5, 3.0, 12.0, 60.0]
        assert factor[0] == pytest.approx(2 / (2 + nu), rel=1e-6)
        assert factor[-1] == pytest.approx(0.5, abs=0.03)
        assert (np.diff(np.abs(factor - 0.5)) < 0).all()


@pytest.mark.equation("eq-mse")
def test_squared_error_is_least_at_the_mean_rating():
    rating = np.array([1.0, 2.0, 6.0])
    assert likelihoods.squared_error(np.array([3.0]), rating) == pytest.approx([4, 1, 9])
    assert grad(lambda r: likelihoods.squared_error(r, rating).mean())(3.0) == pytest.approx(0, abs=1e-14)


@pytest.mark.equation("eq-ranking-loss", "eq-plackett-luce")
def test_the_ranking_loss_is_the_product_of_choices():
    reward = np.array([[0.5, -1.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    weight = np.exp(reward)
    by_hand = np.prod([weight[:, k] / weight[:, k:].sum(1) for k in range(4)], axis=0)
    assert likelihoods.ranking_loss(reward) == pytest.approx(-np.log(by_hand), rel=1e-12)
    assert likelihoods.ranking_loss(reward[1]) == pytest.approx(np.log(24))
    check_grads(likelihoods.ranking_loss, modes=["rev"])(reward)
    assert np.isfinite(likelihoods.ranking_loss(np.array([-1e4, 0.0, 1e4])))


@pytest.mark.equation("eq-ranking-loss", "eq-bt-loss")
def test_a_ranking_of_two_is_a_comparison():
    reward = np.random.default_rng(0).normal(size=(5, 2))
    margin = reward[:, 0] - reward[:, 1]
    assert likelihoods.ranking_loss(reward) == pytest.approx(likelihoods.bradley_terry_loss(margin))


@pytest.mark.equation("eq-segments")
def test_a_segment_is_worth_the_sum_of_its_steps():
    steps = np.array([[1.0, 2.0, 4.0], [-1.0, 5.0, 7.0]])
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    assert likelihoods.segment_reward(steps, mask) == pytest.approx([3, 11])
    assert likelihoods.segment_reward(np.stack([steps, 2 * steps]), mask).tolist() == [[3, 11], [6, 22]]


def small_tree():
    """Every answer of three words of a language of three, as rows of visits to 39 steps; rewards r and advantages A*.

    The last number is the best reward.
    """
    rewards = np.random.default_rng(5).normal(size=(1, 27))
    levels = token_mdp.terminal_rewards(rewards, 3, 3, None)
    best = token_mdp.backward_induction(levels)
    r, advantage = (np.concatenate([x.ravel() for x in found]) for found in (levels, best.advantage))
    first, visits = [0, 3, 12], []
    for word in itertools.product(range(3), repeat=3):
        prefixes = [0, word[0], 3 * word[0] + word[1]]
        visits.append(np.eye(39)[[f + 3 * s + a for f, s, a in zip(first, prefixes, word, strict=True)]])
    return np.array(visits), r, advantage, rewards[0], best.v


@pytest.mark.equation("eq-regret", "eq-segments")
def test_regret_of_a_piece_is_what_it_earned_and_what_it_added_to_the_promise():
    visits, _, advantage, rewards, v = small_tree()
    sums = likelihoods.segment_reward(visits @ advantage, np.ones(3))
    assert sums == pytest.approx(rewards - rewards.max(), abs=1e-12)  # of a whole answer: no promise is left
    assert v[0].item() == rewards.max()
    middle = likelihoods.segment_reward(visits @ advantage, np.array([0, 1, 0]))  # the second word only
    promise = [v[2][0, k // 3] - v[1][0, k // 9] for k in range(27)]
    assert middle == pytest.approx(np.array(promise), abs=1e-12)
    assert max(sums.max(), middle.max()) <= 1e-12


@pytest.mark.equation("eq-regret", "eq-segments", "eq-bt-loss")
def test_the_sum_model_finds_what_people_sum_up_to_a_constant_on_pieces_and_cannot_tell_on_whole_answers():
    visits, r, advantage, rewards, _ = small_tree()
    step = np.eye(39)
    i, j = np.triu_indices(39, 1)
    pieces = step[i] - step[j]
    for g in (r, advantage):
        share = annotators.bradley_terry(pieces @ g)
        loss = lambda w, share=share: anp.mean(  # noqa: E731
            likelihoods.bradley_terry_loss(anp.matmul(pieces, w), share)
        )
        found = minimize(loss, np.zeros(39), jac=grad(loss), method="BFGS", options={"gtol": 1e-9}).x
        assert found == pytest.approx(g - g.mean(), abs=1e-5)
    assert np.abs(grad(loss)(r)).max() > 1e-3  # rewards do not explain labels of regret
    i, j = np.triu_indices(27, 1)
    whole = visits.sum(1)[i] - visits.sum(1)[j]
    assert whole @ advantage == pytest.approx(whole @ r, abs=1e-12)
    assert whole @ r == pytest.approx(rewards[i] - rewards[j], abs=1e-12)


@pytest.mark.equation("eq-ranking-loss")
def test_rankings_are_fitted_as_choix_fits_them():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=6)
    shown = np.array([rng.permutation(6)[:4] for _ in range(200)])
    one_hot = annotators.in_rank_order(np.eye(6)[shown], annotators.sample_rankings(truth[shown], rng))
    ranked = one_hot.argmax(-1)
    loss = lambda r: anp.mean(likelihoods.ranking_loss(anp.matmul(one_hot, r)))  # noqa: E731
    found = minimize(loss, np.zeros(6), jac=grad(loss), tol=1e-12).x
    peer = choix.ilsr_rankings(6, [tuple(row) for row in ranked.tolist()], max_iter=10_000, tol=1e-12)
    assert found - found.mean() == pytest.approx(peer - peer.mean(), abs=1e-6)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, np.nan])
def test_the_misclick_loss_needs_a_rate_between_none_and_all(rate):
    with pytest.raises(ValueError, match=r"rate is the share of coin flips, in \(0, 1\)"):
        likelihoods.misclick_loss(np.zeros(1), rate=rate)


@every_model
def test_the_preference_loss_is_the_mean_over_pairs_and_has_the_right_gradient(model, params, eos):
    prompt, chosen, rejected, label = data = batch(eos)
    objective = likelihoods.preference_loss(model, likelihoods.bradley_terry_loss)
    by_hand = 0.0
    for x, y, z, share in zip(prompt, chosen, rejected, label, strict=True):
        margin = model.reward(params, x[None], y[None])[0] - model.reward(params, x[None], z[None])[0]
        by_hand -= share * np.log(expit(margin)) + (1 - share) * np.log(expit(-margin))
    assert objective(params, data) == pytest.approx(by_hand / 12, rel=1e-10)
    check_grads(lambda p: objective(p, data), modes=["rev"], order=1)(params)
    seeds = {name: np.stack([value, 0.5 * value]) for name, value in params.items()}
    stacked = tuple(np.stack([column, column[::-1]]) for column in data)
    found = objective(seeds, stacked)
    assert found.shape == (2,)
    assert found[0] == pytest.approx(by_hand / 12, rel=1e-10)


@pytest.mark.equation("eq-bt-loss")
def test_a_table_that_sees_every_pair_learns_the_reward_up_to_a_constant_for_each_prompt():
    answers = lm.enumerate_responses(3, 1, 2)
    model = reward_models.Table(Tabular(3, 1, ((0,), (1,)), 2))
    truth = np.array([[0.0, 1.0, -0.5], [2.0, 0.0, 0.3]])
    k, a, b = (index.ravel() for index in np.meshgrid([0, 1], range(3), range(3), indexing="ij"))
    keep = a != b
    k, a, b = k[keep], a[keep], b[keep]
    share = annotators.bradley_terry(truth[k, a] - truth[k, b])
    data = (np.array([[0], [1]])[k], answers[a], answers[b], share)
    objective = likelihoods.preference_loss(model, likelihoods.bradley_terry_loss)
    options = {"rounds": 400, "optimizer": optim.adam(0.1), "rng": np.random.default_rng(0)}
    params, _ = optim.fit(objective, model.init(None), lambda p, rng: [data], **options)
    found = params["rewards"]
    centred = [z - z.mean(1, keepdims=True) for z in (found, truth)]
    assert centred[0] == pytest.approx(centred[1], abs=1e-4)


@pytest.mark.equation("eq-bradley-terry", "eq-gibbs")
@pytest.mark.parametrize(("pairs", "parts"), [([(0, 1), (1, 2), (3, 1)], 1), ([(0, 1), (2, 3)], 2), ([(0, 1)], 3)])
def test_comparisons_leave_one_constant_for_each_part_that_they_connect_and_policies_need_them(pairs, parts):
    difference = np.array([np.eye(4)[a] - np.eye(4)[b] for a, b in pairs])
    unseen = np.array([np.eye(4)[part].sum(0) for part in ranking.groups(*np.transpose(pairs), items=4)])
    assert len(unseen) == parts == 4 - np.linalg.matrix_rank(difference)  # all directions that no margin knows
    reward, log_pi_0 = np.array([0.3, -1.0, 2.0, 0.5]), np.log(np.full(4, 0.25))
    moved = reward + (3 - 5.0 * np.arange(parts)) @ unseen
    shares = annotators.bradley_terry(difference @ reward)
    assert annotators.bradley_terry(difference @ moved) == pytest.approx(shares, rel=1e-12)
    policies = [gibbs.log_policy(log_pi_0, r, 0.5) for r in (reward, moved)]
    distance = np.abs(policies[0] - policies[1]).max()
    assert distance < 1e-12 if parts == 1 else distance > 0.5


@pytest.mark.equation("eq-noise", "eq-bt-loss", "eq-gibbs")
@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_the_scale_of_a_learned_reward_is_that_of_the_noise_and_beta_is_counted_in_it(noise):
    reward = np.array([0.4, -0.5, 1.5, 0.0])
    margin = reward[:, None] - reward
    share = annotators.with_noise(margin, noise)
    loss = lambda r: anp.mean(likelihoods.bradley_terry_loss(r[:, None] - r, share))  # noqa: E731
    assert grad(loss)(reward / noise) == pytest.approx(np.zeros(4), abs=1e-14)
    log_pi_0 = np.log([0.1, 0.2, 0.3, 0.4])
    policies = gibbs.log_policy(log_pi_0, reward / noise, 0.3), gibbs.log_policy(log_pi_0, reward, 0.3 * noise)
    assert policies[0] == pytest.approx(policies[1], abs=1e-12)


@pytest.mark.equation("eq-bradley-terry", "eq-plackett-luce", "eq-gibbs")
def test_a_constant_for_each_prompt_changes_no_preference_no_ranking_and_no_policy():
    rng = np.random.default_rng(10)
    reward, shift = rng.normal(size=(4, 6)), 3 * rng.normal(size=(4, 1))
    log_pi_0 = np.log(rng.dirichlet(np.ones(6), size=4))
    p, moved = (annotators.bradley_terry(r[:, :3] - r[:, 3:]) for r in (reward, reward + shift))
    assert moved == pytest.approx(p, rel=1e-12)
    assert likelihoods.ranking_loss(reward + shift) == pytest.approx(likelihoods.ranking_loss(reward), rel=1e-12)
    policies = [gibbs.log_policy(log_pi_0, r, 0.3) for r in (reward, reward + shift)]
    assert policies[1] == pytest.approx(policies[0], abs=1e-12)


@pytest.mark.equation("eq-segments")
@pytest.mark.parametrize("padding", [np.nan, np.inf, 1e10])
def test_what_stands_outside_a_segment_does_not_count(padding):
    reward, mask = np.array([[1.0, 2.0, padding], [padding, 4.0, 8.0]]), [[True, True, False], [False, True, True]]
    assert likelihoods.segment_reward(reward, mask).tolist() == [3, 12]

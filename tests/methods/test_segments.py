"""Comparing segments on the track: counts, doubt, fits that know of mis-clicks, and the loop with clear answers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from rlhf_lab.feedback import linear_fits
from rlhf_lab.methods import segments
from rlhf_lab.methods.segments import Recipe
from rlhf_lab.models import policies
from rlhf_lab.worlds import gridworlds

WIDTH, HORIZON = 3, 16
TRACK = gridworlds.track(WIDTH, 0.1)
EXPERT = gridworlds.table(gridworlds.drive(WIDTH), 3)
RANDOM = np.full((7, 3), 1 / 3)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(rng, seeds=2, drives=10):
    return segments.drive(TRACK, np.stack([RANDOM] * seeds), drives, HORIZON, rng)


@pytest.mark.equation("eq-segment-visits")
def test_visits_times_rewards_is_what_segments_earn(rng):
    seen, theta = drawn(rng), rng.normal(size=7)
    found = segments.visits(seen, 4)
    assert found.shape == (2, 40, 7)
    assert (found.sum(-1) == 4).all()
    paid = (seen @ theta).reshape(4, 4, 2, 10).sum(1)  # segment, seed, drive
    assert found @ theta == pytest.approx(np.moveaxis(paid, 0, 1).reshape(2, 40))
    with pytest.raises(ValueError, match="drives of 16 steps cannot be cut into segments of 5"):
        segments.visits(seen, 5)


def test_drives_visit_states_as_often_as_their_occupancy_says(rng):
    policy = np.stack([policies.trembling(EXPERT, 0.3), RANDOM])
    seen = segments.drive(TRACK, policy, 4000, HORIZON, rng).mean(2)  # step, seed, state
    exact = np.moveaxis(gridworlds.occupancy(TRACK, policy, HORIZON), 1, 0)
    assert np.abs(seen - exact).max() < 4 * 0.5 / 4000**0.5  # standard errors of a share


def test_pairs_use_each_segment_at_most_once(rng):
    difference = segments.pairs(np.eye(7), rng)
    assert difference.shape == (3, 7)
    assert (np.sort(difference)[:, [0, -1]] == [-1, 1]).all()
    assert (np.abs(difference).sum(0) <= 1).all()


def test_each_seed_has_pairs_of_its_own(rng):
    difference = segments.pairs(np.broadcast_to(np.eye(40), (2, 40, 40)), rng)
    assert difference.shape == (2, 20, 40)
    assert (np.abs(difference).sum(-2) == 1).all()
    assert (difference[0] != difference[1]).any(-1).mean() > 0.9


@pytest.mark.equation("eq-segment-doubt")
def test_the_most_doubtful_questions_are_those_with_the_greatest_variance(rng):
    difference, theta = rng.normal(size=(2, 30, 7)), rng.normal(size=(5, 2, 7))
    doubt = segments.disagreement(difference, theta)
    slow = np.array([[np.var([expit(d @ theta[m, s]) for m in range(5)]) for d in difference[s]] for s in range(2)])
    assert doubt == pytest.approx(slow, abs=1e-12)
    chosen = segments.most_doubtful(difference, theta, 8)
    asked = segments.disagreement(chosen, theta)
    assert np.sort(asked) == pytest.approx(np.sort(doubt)[:, -8:])
    assert (asked.mean(-1) > doubt.mean(-1)).all()


def test_members_that_agree_leave_the_order_of_the_draw(rng):
    difference = rng.normal(size=(2, 30, 7))
    assert (segments.most_doubtful(difference, np.zeros((5, 2, 7)), 8) == difference[:, :8]).all()


@pytest.mark.equation("eq-misclick-loss")
def test_the_likelihood_with_misclicks_is_consistent_and_the_plain_one_shrinks_the_reward(rng):
    theta, n = np.array([2.0, -1.0, 0.5]), 40_000
    difference = 2 * rng.normal(size=(n, 3))
    label = segments.answers(difference, theta, 0.1, rng)
    aware, plain = (linear_fits.fit_linear(difference, label, 0.0, rate) for rate in (0.1, 0.0))
    assert (np.abs(aware.mean - theta) < 4 * np.diag(aware.covariance) ** 0.5).all()
    assert (np.abs(plain.mean) < 0.7 * np.abs(theta)).all()
    # with symmetric differences only the length is wrong, not the direction: a policy does not notice
    cosine = plain.mean @ theta / np.linalg.norm(plain.mean) / np.linalg.norm(theta)
    assert cosine > 0.999


@pytest.mark.parametrize(("pays", "precision"), [(1, 10.0), (10, 3.0)])
def test_the_misclick_term_changes_the_scale_of_a_reward_and_hardly_the_policy(monkeypatch, pays, precision):
    told = []
    original = segments.fit_ensemble
    monkeypatch.setattr(segments, "fit_ensemble", lambda *given: told.append(given) or original(*given))
    world = gridworlds.track(8, 0.1)
    paid = replace(world, reward=pays * world.reward)
    segments.learn(paid, Recipe(precision), 20, np.random.default_rng(777), rounds=8)
    for questions in (16, 32, 64):
        difference, label, *settings = told[questions // 8 - 1]
        assert label.shape == (20, questions)
        assert settings[:3] == [5, precision, 0.1]
        aware, plain = (linear_fits.fit_linear(difference, label, precision, rate).mean for rate in (0.1, 0.0))
        cosine = np.sum(aware * plain, axis=-1) / np.linalg.norm(aware, axis=-1) / np.linalg.norm(plain, axis=-1)
        earned = [gridworlds.performance(world, segments.best_policy(world, r, 64), 64) for r in (aware, plain)]
        assert cosine.mean() > 0.97
        assert np.isclose(*earned).mean() >= 0.9


def test_answers_have_the_chance_of_bradley_terry_with_misclicks(rng):
    difference = np.broadcast_to(np.array([[1.0], [-9.0]]), (2, 1)).repeat(20_000, 0)
    label = segments.answers(difference, np.array([2.0]), 0.1, rng).reshape(2, -1)
    assert label.mean(-1) == pytest.approx(0.9 * expit([2.0, -18.0]) + 0.05, abs=4 * 0.5 / 20_000**0.5)


def test_members_are_fits_to_bootstrap_samples(rng):
    difference, label = rng.normal(size=(2, 50, 3)), 1.0 * (rng.random((2, 50)) < 0.5)
    theta = segments.fit_ensemble(difference, label, 4, 1.0, 0.1, np.random.default_rng(5))
    drawn = np.random.default_rng(5).integers(50, size=(4, 2, 50))
    one = linear_fits.fit_linear(difference[1][drawn[2, 1]], label[1][drawn[2, 1]], 1.0, 0.1).mean
    assert theta.shape == (4, 2, 3)
    assert theta[2, 1] == pytest.approx(one, abs=1e-8)


def test_the_best_policy_for_the_true_reward_drives_like_the_expert_and_none_earns_more(rng):
    best = segments.best_policy(TRACK, np.stack([TRACK.reward, -TRACK.reward]), HORIZON)
    assert (best[0] == EXPERT).all()
    top = gridworlds.performance(TRACK, best, HORIZON)
    others = rng.dirichlet(np.ones(3), size=(200, 7))
    assert (gridworlds.performance(TRACK, others, HORIZON) < top[0]).all()
    assert (gridworlds.performance(TRACK, others, HORIZON) > top[1]).all()


def test_with_clear_answers_and_enough_questions_the_policy_is_optimal():
    clear = replace(TRACK, reward=100 * TRACK.reward)
    settings = {"rounds": 6, "questions": 30, "horizon": HORIZON, "length": 4, "misclick": 0.0}
    learned = segments.learn(clear, Recipe(0.1, 0.0), 4, np.random.default_rng(0), **settings)
    assert learned.shape == (6, 4, 7, 3)
    best = gridworlds.performance(TRACK, EXPERT, HORIZON)
    assert gridworlds.performance(TRACK, learned[-1], HORIZON) == pytest.approx(np.full(4, best), abs=1e-12)


def test_recipes_that_share_chance_differ_only_where_their_ingredient_acts():
    settings = {"rounds": 2, "horizon": HORIZON, "length": 4}

    def run(**change):
        return segments.learn(TRACK, Recipe(1.0, **change), 3, np.random.default_rng(1), **settings)

    whole = run()
    assert (run() == whole).all()
    # before the first answer no member knows anything, so all ask the same; who drives matters from round 2 on
    for change in ({"doubtful": False}, {"going_on": False}):
        assert (run(**change)[0] == whole[0]).all()


def test_without_the_mean_the_policy_is_best_for_one_model_of_all_answers(monkeypatch):
    believed = []
    monkeypatch.setattr(
        linear_fits, "fit_linear", lambda d, *_: linear_fits.Posterior(np.full(d[..., 0, :].shape, d.ndim), 0)
    )
    original = segments.best_policy
    monkeypatch.setattr(segments, "best_policy", lambda g, r, h: believed.append(r) or original(g, r, h))
    for mean in (True, False):
        segments.learn(TRACK, Recipe(1.0, mean=mean), 3, np.random.default_rng(1), rounds=1, horizon=HORIZON)
    assert (believed[0] == 4).all()  # members come first
    assert (believed[1] == 3).all()


def test_a_policy_without_doubt_can_drive():
    grid = gridworlds.Grid(np.stack([np.eye(3)[[1, 2, 2]], np.eye(3)], axis=1), np.zeros(3), np.eye(3)[0])
    onward = np.tile([1.0, 0.0], (3, 1))
    drives = segments.drive(grid, onward, 4, 5, np.random.default_rng(0))
    assert drives.argmax(-1).T.tolist() == [[0, 1, 2, 2, 2]] * 4

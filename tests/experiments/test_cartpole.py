"""CartPole from compared segments: the world that never ends, what is asked, and what the stored study found."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import cartpole as study
from rlhf_lab.feedback import linear_fits
from rlhf_lab.models import policies
from rlhf_lab.worlds.control import CartPole, rollout


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_play(world, rng, episodes=50):
    return rollout(world, lambda seen, rng: rng.integers(2, size=seen.shape[:-1]), (episodes,), study.HORIZON, rng)


def test_it_pays_what_cartpole_pays_and_never_ends():
    play, ending = (random_play(world, np.random.default_rng(0)) for world in (study.WORLD, CartPole()))
    assert len(play.alive) == study.HORIZON
    assert play.alive.all()
    assert play.returns == pytest.approx(ending.returns)
    assert ending.returns.max() < 200


def test_a_fallen_pole_lies_still(rng):
    state = np.array([[0.1, 0.5, 0.3, 1.0], [-2.5, 0.5, 0.0, 1.0]])
    after, reward, done = study.WORLD.step(state, np.array([0, 1]), rng)
    assert after == pytest.approx(state * [1, 0, 1, 0])
    assert (reward == 0).all()
    assert not done.any()


def test_features_are_numbers_in_units_of_their_bounds_and_products():
    z = np.array([0.5, -1.0, 2.0, 0.1])
    found = study.features(z * study.BOUNDS)
    assert found[:4] == pytest.approx(z)
    assert found[4:] == pytest.approx([z[i] * z[j] for i in range(4) for j in range(i, 4)])
    assert study.features(100 * study.BOUNDS) == pytest.approx(np.r_[np.full(4, 2.0), np.full(10, 4.0)])


def asked(recipe, rng):
    play = rollout(study.WORLD, policies.acting(study.NETWORK, study.NETWORK.init(rng, (3,))), (3, 8), 200, rng)
    none = study.Asked(np.zeros((3, 0, 15)), np.zeros((3, 0)), rng.normal(size=(5, 3, 14)), np.zeros((3, 14)))
    return study.ask(recipe, none, play.observation, play.reward, 60, np.random.default_rng(1))


@pytest.mark.parametrize("doubtful", [True, False])
def test_people_judge_by_the_true_pay_and_the_fit_does_not_see_it(doubtful, rng):
    recipe = study.Recipe(0.1, precision=10.0, people=0.0, doubtful=doubtful)
    found = asked(recipe, rng)
    assert found.difference.shape == (3, 60, 15)
    assert found.theta.shape == (study.MEMBERS, 3, 14)
    assert found.reward == pytest.approx(found.theta.mean(0))
    one = asked(recipe._replace(mean=False), np.random.default_rng(0))
    assert (one.theta == found.theta).all()
    fit = linear_fits.fit_linear(found.difference[1, :, :-1], found.label[1], 10.0, recipe.misclick).mean
    assert one.reward[1] == pytest.approx(fit, abs=1e-8)
    margin = found.difference[..., -1]
    assert (np.abs(margin) <= study.LENGTH).all()
    clear = np.abs(margin) >= 8
    assert clear.any()
    assert (found.label == (margin > 0))[clear].all()


def test_labels_are_counted_and_come_in_equal_parts(monkeypatch):
    monkeypatch.setattr(study, "UPDATES", 4)
    known = study.learn(study.run("recipe", (0.05, 100.0)), 8, range(2))[1]
    assert known.label.shape == (2, 8)
    assert study.learn(study.run("true reward", (0.05, 0.0)), 8, range(2))[1].label.shape == (2, 0)


@pytest.mark.parametrize("labels", [0, 10, -4, 324])
def test_labels_that_cannot_be_asked_for_are_refused(labels):
    with pytest.raises(ValueError, match=f"a multiple of 4, from 4 to 320; got {labels}"):
        study.learn(study.run("recipe", (0.05, 100.0)), labels, range(2))


def test_a_policy_trained_anew_asks_nothing_and_learns_from_the_reward_that_it_is_given(monkeypatch):
    monkeypatch.setattr(study, "ask", None)
    monkeypatch.setattr(study, "UPDATES", 6)
    theta = np.zeros((2, 14))
    theta[0, 2], theta[1, 2] = 1.0, -1.0  # lean to the right, and to the left
    params = study.anew(theta, 0.05, range(2))
    play = rollout(study.WORLD, policies.acting(study.NETWORK, params), (2, 8), 200, np.random.default_rng(3))
    angle = play.observation[-1, ..., 2]
    assert (angle[0] > 0).all()
    assert (angle[1] < 0).all()


def test_each_control_changes_what_its_name_says():
    whole = study.run("recipe", (1.0, 2.0))
    assert whole == study.Recipe(1.0, 2.0)
    for name, change in study.CONTROLS.items():
        assert study.run(name, (1.0, 2.0)) == whole._replace(**change)
    assert not study.run("true reward", (1.0, 0.0)).learned
    assert set(study.BEST) == {*study.CONTROLS, "true reward"}


def test_tuning_looks_at_other_seeds_and_at_every_setting(monkeypatch):
    seen = []
    monkeypatch.setattr(study, "learn", lambda row, labels, seeds, first: (seen.append(first), (row, 0))[1])
    monkeypatch.setattr(study, "judge", lambda row, seeds: np.array([row.step_size, row.precision]))
    assert set(study.tune("true reward")) == {(step, 0.0) for step in study.STEP_SIZES}
    assert study.tune("recipe", (0.02,)) == {(0.02, each): (0.02 + each) / 2 for each in study.PRECISIONS}
    assert set(seen) == {1}


def test_pieces_join_to_a_column_for_each_number_of_labels():
    parts = [dict.fromkeys([*study.CONTROLS, "anew"], np.array([k, k])) for k in range(5)]
    found = study.join([*parts, {"true reward": np.ones(2)}])
    assert (found["recipe"] == [range(5), range(5)]).all()
    assert (found["anew"] == found["recipe"]).all()
    assert (found["true reward"] == 1).all()
    assert [*study.STUDY.pieces(2)][-1] == "yardsticks"


def test_labels_and_doubtful_questions_help_and_the_other_parts_show_no_gain():
    found = experiments.stored("cartpole")
    assert {found[name].shape for name in study.CONTROLS} == {(20, len(study.LABELS))}
    assert found["true reward"].min() > 195
    few, many = found["recipe"].mean(0)[[0, -1]]
    assert found["random policy"].mean() < few < many - 20
    assert many < found["true reward"].mean()

    def errors(one, other):
        gain = (found[one] - found[other]).mean(1)
        return gain.mean() / (gain.std(ddof=1) / 20**0.5)

    assert errors("recipe", "random questions") > 2
    assert errors("anew", "recipe") > 2
    dropped = found["recipe"] < 25
    assert ((found["anew"][dropped] > 150).sum(), dropped.sum()) == (10, 16)
    assert abs(errors("recipe", "one model")) < 2
    assert abs(errors("10% wrong", "10% wrong, no term")) < 2

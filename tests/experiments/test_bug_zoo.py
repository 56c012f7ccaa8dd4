"""The study of the bug zoo: runs that differ in one function, and what is read off their curves."""

import inspect

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.audit.zoo import pairs, policies, tokens
from rlhf_lab.experiments.bug_zoo import learning_from_experts as experts
from rlhf_lab.experiments.bug_zoo import learning_from_pairs as comparisons
from rlhf_lab.experiments.bug_zoo import learning_from_reward as rewards
from rlhf_lab.experiments.bug_zoo import study, world
from rlhf_lab.models import lm
from rlhf_lab.worlds.phrase_world import EOS, PROMPTS

EVERY = [(loop, name) for loop in study.LOOPS for name in study.runs(loop)]
SHORT = (1, 2)
KEPT = experiments.stored("bug zoo")


@pytest.fixture
def short(monkeypatch):
    for module in (world, experts):
        monkeypatch.setattr(module, "POINTS", SHORT)


@pytest.mark.parametrize(("loop", "name"), EVERY)
def test_each_run_takes_the_function_of_its_bug(loop, name):
    run = study.runs(loop)[name]
    if name != study.HEALTHY:
        assert study.BUGS[name].function in run.keywords.values()
        right = study.runs(loop)[study.HEALTHY]
        (part,) = (key for key, value in run.keywords.items() if value is study.BUGS[name].function)
        given = inspect.signature(right).parameters[part].default
        bug = study.BUGS[name]
        assert given is bug.right or (given, bug.right) == (tokens.log_probs, tokens.answer_log_probs)


@pytest.mark.parametrize(("loop", "name"), EVERY)
def test_the_beginning_of_a_stored_run_comes_out_again(loop, name, short):
    found, kept = study.rounded(study.runs(loop)[name](tuple(range(10)))), KEPT[loop][name]
    assert found.keys() == kept.keys()
    for curve, value in found.items():
        assert value == pytest.approx(kept[curve][:10, :2], rel=2e-3, abs=1e-6), curve
        assert np.isfinite(value).all()


def test_most_of_the_zoo_is_trained_and_from_every_file_of_it():
    trained = {name for _, name in EVERY} - {study.HEALTHY}
    assert len(trained) >= 28
    assert {study.BUGS[name].function.__module__.rpartition(".")[2] for name in trained} == {
        "pairs", "tokens", "policies", "grpo", "charges", "returns", "kl", "loops",
    }  # fmt: skip


def test_texts_are_read_as_a_trainer_reads_them():
    task, params = world.pretrained()
    prompts, answers = PROMPTS, np.array([[0, EOS, EOS, EOS], [2, 3, 6, EOS], [1, 1, 1, 1], [EOS] * 4])
    logits, texts, mask = world.read(params, prompts, answers)
    assert logits.shape == (4, 7, task.mdp.vocab)
    assert (texts == np.concatenate([prompts, answers], axis=1)).all()
    assert mask.sum(1).tolist() == [2, 4, 4, 1]
    found = tokens.log_probs(logits, texts, mask).sum(-1)
    assert found == pytest.approx(lm.log_prob(world.NETWORK, params, prompts, answers), abs=1e-12)
    assert comparisons.whole(tokens.log_probs, logits, texts, mask) == pytest.approx(found)
    assert comparisons.whole(tokens.answer_log_probs, logits, texts, mask) == pytest.approx(found)


def test_the_answer_key_is_that_of_the_task():
    task, _ = world.pretrained()
    best, start = world.law(task.log_optimum), world.law(task.log_pi_0)
    assert best["gap"] == pytest.approx(0, abs=1e-12)
    assert start["divergence"] == pytest.approx(0, abs=1e-12)
    assert start["true reward"] + start["gap"] == pytest.approx(task.objective(task.log_optimum))
    assert best["true reward"] - task.beta * best["divergence"] == pytest.approx(task.objective(task.log_optimum))
    assert world.lengths()[[0, 1, -1]].tolist() == [1, 2, 4]


def test_comparisons_are_of_seeds_and_follow_bradley_and_terry():
    found = world.compared((0, 1))
    assert found.chosen.shape == (2, world.PAIRS, world.HORIZON)
    assert (found.chosen[0] != found.chosen[1]).any()
    reward = world.pretrained()[0].mdp.reward
    gain = reward(found.prompt, found.chosen) - reward(found.prompt, found.rejected)
    p = 1 / (1 + np.exp(-np.abs(gain[gain != 0])))
    assert abs((gain[gain != 0] > 0).mean() - p.mean()) < 4 * np.sqrt((p * (1 - p)).sum()) / len(p)


def test_a_program_that_loses_its_reference_logs_other_margins():
    four = [np.array([float(k)]) for k in (-1, -5, -2, -3)]
    logged = {loss: [float(each[0]) for each in comparisons.LOGGED[loss](*four)] for loss in comparisons.LOGGED}
    assert logged == {
        pairs.reference_missing: [-1, -5, 0, 0],
        pairs.reference_not_frozen: [-1, -5, -1, -5],
        pairs.reference_remade: [-1, -5, -1, -5],
        pairs.reference_crossed: [-1, -5, -3, -2],
        pairs.answers_swapped: [-5, -1, -3, -2],
    }
    assert comparisons.told_of(np.array([0.0, 2.0]), np.array([-1.0, -3.0]), np.array([-2.0, -4.0])) == {
        "accuracy": 0.5, "margin": 1.0, "chosen": -2.0, "rejected": -3.0,
    }  # fmt: skip


def test_a_ratio_that_is_always_one_is_logged_as_no_step_at_all(short):
    found = rewards.ppo((0,), loss=policies.old_recomputed)
    assert not found["approximate_kl"].any()
    assert not found["clip_fraction"].any()
    assert rewards.ppo((0,))["approximate_kl"].all()


def test_curves_stray_from_the_first_point_after_which_they_never_meet_again():
    rng, points = np.random.default_rng(0), len(world.POINTS)
    healthy = rng.normal(size=(20, points))
    broken = healthy + 0.1 * rng.normal(size=(20, points))
    assert study.first(broken, healthy) == np.inf
    broken[:, 1] += 9  # and back
    broken[:, 5:] += 1
    assert study.strays(broken, healthy).tolist() == [False] * 5 + [True] * (points - 5)
    assert study.first(broken, healthy) == world.POINTS[5]
    assert study.first(healthy + 1, healthy) == 1
    late = {"loss": healthy, "margin": broken, "gap": healthy + 1, "divergence": healthy - 1}
    assert study.hides(late, dict.fromkeys(late, healthy)) == ("margin", world.POINTS[5], 1)


def test_on_the_track_dagger_learns_to_come_back_and_a_student_that_labels_itself_does_not():
    right, wrong = (study.runs("DAgger")[name]((0, 1)) for name in ("healthy", "labels of the student"))
    assert (right["gap"][:, -1] < 0.2 * right["gap"][:, 0]).all()
    assert (wrong["gap"][:, -1] > 5 * right["gap"][:, -1]).all()
    assert (wrong["accuracy"] == 1).all()


def test_four_digits_are_kept():
    assert study.rounded({"a": np.array([[1.23456, -0.00012345678]])})["a"].tolist() == [[1.235, -0.0001235]]


def test_the_study_is_every_run_of_every_loop_with_four_digits(short, monkeypatch):
    monkeypatch.setattr(study, "LOOPS", {loop: study.LOOPS[loop] for loop in ("DAgger", "DRIL")})
    found = study.study([0, 1])
    assert {loop: list(runs) for loop, runs in found.items()} == {
        "DAgger": ["healthy", "labels of the student"],
        "DRIL": ["healthy", "disagreement rewarded", "variance over actions"],
    }
    for loop, runs in found.items():
        for name, run in runs.items():
            for curve, value in run.items():
                kept = KEPT[loop][name][curve][:2, :2]
                assert value == pytest.approx(kept, rel=2e-3, abs=1e-6), (loop, name, curve)


def test_standard_errors_are_those_of_pairs_and_their_number_is_asked_for():
    """Differences 0, 1, 2 and 3 have the mean 1.5 and the deviation sqrt(5 / 3), so the mean is 2.32 errors from 0."""
    broken = np.repeat(np.arange(4.0)[:, None], len(world.POINTS), axis=1)
    healthy, ratio = 0 * broken, 1.5 / (5 / 3 / 4) ** 0.5
    for errors, seen in ((ratio - 0.01, 1.0), (ratio + 0.01, np.inf)):
        assert study.strays(broken, healthy, errors).all() == (seen == 1)
        assert study.first(broken, healthy, errors) == seen
        run = {"loss": broken, "gap": broken}
        assert study.hides(run, dict.fromkeys(run, healthy), errors) == ("loss", seen, seen)
    for scale, seen in ((3.1, 1.0), (2.9, np.inf)):
        far = broken - 1.5 + scale * 1.5 / ratio
        run = {"loss": far, "gap": far}
        assert study.first(far, healthy) == seen
        assert study.hides(run, dict.fromkeys(run, healthy)) == ("loss", seen, seen)
        assert study.strays(far, healthy).all() == (seen == 1)


@pytest.mark.parametrize("loop", study.LOOPS)
def test_one_seed_and_one_point_are_enough(loop, monkeypatch):
    for module in (world, experts):
        monkeypatch.setattr(module, "POINTS", (1,))
    found = study.runs(loop)[study.HEALTHY]((0,))
    assert {value.shape for value in found.values()} == {(1, 1)}


def test_rounds_that_are_looked_at_are_counted_from_one():
    record = world.at((1, 3), lambda params: {"seen": params})
    assert [record(params) for params in "abc"] == [{"seen": "a"}, {}, {"seen": "c"}]


def test_a_stored_run_comes_out_again():
    assert {(loop, name) for loop, runs in KEPT.items() for name in runs} == set(EVERY)
    assert {value.shape for runs in KEPT.values() for run in runs.values() for value in run.values()} == {
        (20, len(world.POINTS))
    }
    again = study.rounded(study.runs("SFT")["healthy"](tuple(range(10))))
    for name, value in again.items():
        assert value == pytest.approx(KEPT["SFT"]["healthy"][name][:10], rel=2e-3, abs=1e-6), name

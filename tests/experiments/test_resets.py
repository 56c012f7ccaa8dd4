"""The study of resets: equal answers and equal steps, small runs, and what the stored numbers say."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import resets
from rlhf_lab.worlds import lock

STORED = experiments.stored("resets")


@pytest.mark.parametrize("name", resets.LOCK)
def test_a_small_run_in_the_lock(name):
    params, gaps = resets.learn(resets.locked(), resets.LOCK[name], range(2), answers=1024, points=2)
    assert gaps.shape == (2, 2)
    assert (gaps > 0).all()
    assert params["logits"].shape == (2, 1, 9331, 6)


def test_all_runs_start_where_the_text_says():
    setting = resets.locked()
    task, model = setting.task, setting.critic.language
    assert np.exp(task.log_pi(model, setting.start)) == pytest.approx(np.full((1, 6**6), 6.0**-6))
    chance = np.exp(task.log_pi(model, setting.teacher))[0] @ task.rewards[0]
    assert chance == pytest.approx(lock.chance_to_open(6, 0.8))
    assert (setting.texts[1] == task.mdp.answers()[task.rewards[0].argmax()]).all()


def test_texts_of_the_better_writer_pay_more_than_those_of_the_sft_policy():
    setting = resets.phrases()
    prompt, response = setting.texts
    assert prompt.shape == (200, 3)
    assert response.shape == (200, 5)
    paid = setting.task.mdp.reward(prompt, response).mean()
    rewards, log_0 = setting.task.rewards, setting.task.log_pi_0
    writer = setting.task.mean(np.sum(np.exp(resets.better_writer(setting.task)) * rewards, axis=-1))
    assert abs(paid - writer) < 0.3
    assert writer > setting.task.mean(np.sum(np.exp(log_0) * rewards, axis=-1)) + 1


def test_the_stored_numbers_have_the_shape_of_the_study():
    assert {name: gaps.shape for name, gaps in STORED["phrases"].items()} == dict.fromkeys(resets.PHRASES, (20, 8))
    assert {name: gaps.shape for name, gaps in STORED["lock"].items()} == dict.fromkeys(resets.LOCK, (20, 8))
    assert {found.shape for found in STORED["described"].values()} == {(20, 4)}
    assert {found.shape for found in STORED["exact"].values()} == {(20, 5)}
    assert {found.shape for found in STORED["waits"].values()} == {(20, 9)}
    assert set(STORED["waits"]) == set(resets.waits(0, 2))


def test_stored_waits_are_those_of_the_seeds():
    again = [resets.waits(seed, 4) for seed in range(3)]
    column = resets.LENGTHS.index(4)
    for name, found in STORED["waits"].items():
        assert found[:3, column].tolist() == [one[name] for one in again]


def test_in_the_lock_all_but_ppo_alone_come_near_to_the_optimum():
    ends = {name: gaps[:, -1] for name, gaps in STORED["lock"].items()}
    assert ends.pop("PPO").mean() > 0.05
    assert all(found.max() < 0.02 for found in ends.values())


def test_the_exact_policies_are_those_of_the_tree():
    kept = STORED["exact"]
    assert all((found == found[0]).all() for found in kept.values())
    task = resets.phrases().task
    assert kept["SFT"][0, :3] == pytest.approx(
        [task.gap(task.log_pi_0), *resets.described(task.log_pi_0)[:2]], rel=1e-5
    )
    assert kept["SFT"][0, 2] == pytest.approx(0.5)
    assert kept["optimum"][0, 0] == pytest.approx(0, abs=1e-9)
    assert STORED["phrases"]["AggreVaTeD"][:, -1].mean() > kept["one step"][0, 0]

"""SFT, comparisons, a reward model, PPO: each stage does its part, and all of it can be looked at."""

import numpy as np
import pytest
import tasks

from rlhf_lab import lm, pipeline, preferences, rewards
from rlhf_lab.critics import TabularCritic

CRITIC = TabularCritic(tasks.MODEL)
TASK = tasks.task()
SAID = np.array([[0, 1], [2, 2], [1, 0]])  # one demonstration and two more


@pytest.fixture(scope="module")
def stages():
    demonstrations = np.array([[0], [0], [1]]), SAID
    return pipeline.rlhf(
        TASK.mdp,
        CRITIC,
        tasks.REFERENCE,
        demonstrations,
        preferences.bradley_terry,
        rewards.Table(tasks.MODEL),
        comparisons=4000,
        beta=0.4,
        rng=np.random.default_rng(0),
        ppo_rounds=100,
    )


def test_fine_tuning_makes_the_demonstrations_likelier(stages):
    prompt = np.array([[0], [0], [1]])
    before, after = (lm.log_prob(tasks.MODEL, p, prompt, SAID) for p in (tasks.REFERENCE, stages.sft))
    assert (after > before).all()
    assert stages.gold.reference[1] is stages.sft
    assert stages.task.reference[1] is stages.sft


def test_comparisons_follow_the_annotator(stages):
    assert len(stages.pairs) == 4000
    prompt, chosen, rejected, _ = stages.pairs.columns
    margin = tasks.reward(prompt, chosen) - tasks.reward(prompt, rejected)
    p = preferences.bradley_terry(np.abs(margin))
    right = np.where(margin > 0, 1.0, 0.0)
    error = np.sqrt((p * (1 - p)).sum()) / 4000
    assert abs((right - p).mean()) < 4 * error
    share = (prompt[:, 0] == 1).mean()
    assert abs(share - 0.7) < 4 * np.sqrt(0.21 / 4000)


def test_the_learned_reward_is_that_of_the_task_and_near_the_true_one(stages):
    learned = rewards.Table(tasks.MODEL).reward(stages.reward, tasks.PROMPTS[[0, 1]], SAID[[0, 2]])
    assert stages.task.mdp.reward(tasks.PROMPTS[[0, 1]], SAID[[0, 2]]).tolist() == learned.tolist()
    assert stages.gold.rewards.tolist() == tasks.REWARDS.tolist()
    pi_0 = np.exp(stages.gold.log_pi_0)
    gap = stages.task.rewards - tasks.REWARDS
    gap -= (pi_0 * gap).sum(-1, keepdims=True)
    assert np.sqrt((pi_0 * gap**2).sum(-1)).max() < 0.25
    assert stages.task.beta == stages.gold.beta == 0.4


def test_the_policy_is_near_the_optimum_of_the_learned_reward_and_better_at_the_true_one(stages):
    log_pi = TASK.log_pi(tasks.MODEL, stages.policy)
    assert stages.task.gap(log_pi) < 0.02
    assert stages.gold.objective(log_pi) > stages.gold.objective(stages.gold.log_pi_0) + 0.1
    assert set(stages.losses) == {"sft", "reward", "ppo"}
    assert all(np.isfinite(v) for v in stages.losses.values())
    assert 0 < stages.losses["reward"] < np.log(2)

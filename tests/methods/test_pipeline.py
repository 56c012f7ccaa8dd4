"""SFT, comparisons, a reward model, PPO: each stage does its part, and all of it can be looked at."""

import numpy as np
import pytest
import tasks

from rlhf_lab.feedback import annotators, reward_models
from rlhf_lab.methods import pipeline
from rlhf_lab.models import lm
from rlhf_lab.models.critics import ReaderCritic, TabularCritic
from rlhf_lab.models.recurrent import Recurrent

CRITIC = TabularCritic(tasks.MODEL)
TASK = tasks.task()
SHOWN = np.array([[0], [0], [1]])
SAID = np.array([[0, 1], [2, 2], [1, 0]])  # one demonstration and two more


def run(reward_model, seed, **options):
    return pipeline.rlhf(
        TASK.mdp,
        CRITIC,
        tasks.REFERENCE,
        (SHOWN, SAID),
        annotators.bradley_terry,
        reward_model,
        beta=0.4,
        rng=np.random.default_rng(seed),
        **options,
    )


def test_each_stage_does_its_part():
    stages = run(reward_models.Table(tasks.MODEL), 0, comparisons=4000, ppo_rounds=100)
    fine_tuning_makes_the_demonstrations_likelier(stages)
    comparisons_follow_the_annotator(stages)
    the_learned_reward_is_that_of_the_task_and_near_the_true_one(stages)
    the_policy_is_near_the_optimum_of_the_learned_reward_and_better_at_the_true_one(stages)


def fine_tuning_makes_the_demonstrations_likelier(stages):
    before, after = (lm.log_prob(tasks.MODEL, p, SHOWN, SAID) for p in (tasks.REFERENCE, stages.sft))
    assert (after > before).all()
    assert stages.gold.reference[1] is stages.sft
    assert stages.task.reference[1] is stages.sft


def comparisons_follow_the_annotator(stages):
    assert len(stages.pairs) == 4000
    prompt, chosen, rejected, _ = stages.pairs.columns
    margin = tasks.reward(prompt, chosen) - tasks.reward(prompt, rejected)
    p = annotators.bradley_terry(np.abs(margin))
    right = np.where(margin > 0, 1.0, 0.0)
    error = np.sqrt((p * (1 - p)).sum()) / 4000
    assert abs((right - p).mean()) < 4 * error
    share = (prompt[:, 0] == 1).mean()
    assert abs(share - 0.7) < 4 * np.sqrt(0.21 / 4000)


def the_learned_reward_is_that_of_the_task_and_near_the_true_one(stages):
    learned = reward_models.Table(tasks.MODEL).reward(stages.reward, tasks.PROMPTS[[0, 1]], SAID[[0, 2]])
    assert stages.task.mdp.reward(tasks.PROMPTS[[0, 1]], SAID[[0, 2]]).tolist() == learned.tolist()
    assert stages.gold.rewards.tolist() == tasks.REWARDS.tolist()
    pi_0 = np.exp(stages.gold.log_pi_0)
    gap = stages.task.rewards - tasks.REWARDS
    gap -= (pi_0 * gap).sum(-1, keepdims=True)
    assert np.sqrt((pi_0 * gap**2).sum(-1)).max() < 0.25
    assert stages.task.beta == stages.gold.beta == 0.4


def the_policy_is_near_the_optimum_of_the_learned_reward_and_better_at_the_true_one(stages):
    log_pi = TASK.log_pi(tasks.MODEL, stages.policy)
    assert stages.task.gap(log_pi) < 0.02
    assert stages.gold.objective(log_pi) > stages.gold.objective(stages.gold.log_pi_0) + 0.1
    assert set(stages.last) == {"sft", "reward", "ppo"}
    assert all(np.isfinite(v) for told in stages.last.values() for v in told.values())
    assert 0 < stages.last["reward"]["loss"] < np.log(2)
    assert 0 < stages.last["ppo"]["approximate_kl"] < 0.2
    assert 0 < stages.last["ppo"]["entropy"] < 10


BAD = {
    "comparisons": ({"comparisons": 0}, "comparisons is how many there are to be, a whole number from 1 on; got 0"),
    "half": ({"comparisons": 2.5}, "comparisons is how many there are to be, a whole number from 1 on; got 2.5"),
    "sft": ({"sft_rounds": 0}, "sft_rounds is how many there are to be"),
    "reward": ({"reward_rounds": -1}, "reward_rounds is how many there are to be"),
    "ppo": ({"ppo_rounds": 0}, "ppo_rounds is how many there are to be"),
    "beta": ({"beta": 0}, "beta must be finite and above 0; got 0"),
    "beta nan": ({"beta": np.nan}, "beta must be finite and above 0; got nan"),
    "critic": ({"critic": ReaderCritic(Recurrent(5, 2, 4))}, "the reference has 5 tokens and eos 4"),
    "token": ({"demonstrations": (SHOWN, SAID + 1)}, "demonstrations: token 3 is outside the vocabulary of 3 tokens"),
    "rows": ({"demonstrations": (SHOWN[:2], SAID)}, "2 prompts, but 3 responses"),
    "long": (
        {"demonstrations": (SHOWN, np.zeros((3, 3), dtype=int))},
        "a demonstration has 3 tokens; the horizon of the MDP is 2",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_before_any_work(name, monkeypatch):
    changed, told = BAD[name]
    monkeypatch.setattr(pipeline.optim, "fit", None)
    given = {"critic": CRITIC, "demonstrations": (SHOWN, SAID), "beta": 0.4, "comparisons": 5} | changed
    with pytest.raises(ValueError, match=told):
        pipeline.rlhf(
            TASK.mdp,
            given.pop("critic"),
            tasks.REFERENCE,
            given.pop("demonstrations"),
            annotators.bradley_terry,
            reward_models.Table(tasks.MODEL),
            rng=np.random.default_rng(0),
            **given,
        )


def test_of_one_round_the_losses_are_those_of_the_beginning_and_no_number_moves_farther_than_its_step():
    network = reward_models.Network(Recurrent(3, 4, 2))  # its head, and so its rewards, begin at zero
    stages = run(network, 1, comparisons=20, sft_rounds=1, reward_rounds=1, ppo_rounds=1)
    start = lm.negative_log_likelihood(tasks.MODEL, tasks.REFERENCE, SHOWN, SAID)
    assert stages.last["sft"]["loss"] == pytest.approx(start, rel=1e-12)
    assert stages.last["reward"]["loss"] == pytest.approx(np.log(2), rel=1e-12)
    assert np.isfinite(stages.last["ppo"]["loss"])
    moved = np.abs(stages.sft["logits"] - tasks.REFERENCE["logits"]).max()
    assert moved == pytest.approx(0.003, rel=1e-4)
    assert np.abs(stages.reward["head"]).max() == pytest.approx(0.03, rel=1e-4)
    assert 0 < np.abs(stages.policy["logits"] - stages.sft["logits"]).max() < 0.1

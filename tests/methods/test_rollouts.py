"""A task knows its answer, and a rollout is what the policy wrote."""

from dataclasses import replace

import numpy as np
import pytest
import tasks

from rlhf_lab.methods import rollouts
from rlhf_lab.methods.rollouts import Task, rollout
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.models.tabular import Tabular

TASK = tasks.task()


def test_the_answer_key_of_a_task_is_the_gibbs_policy():
    expected = gibbs.log_policy(tasks.log_pi(tasks.REFERENCE), tasks.REWARDS, tasks.BETA)
    assert TASK.rewards.tolist() == tasks.REWARDS.tolist()
    assert TASK.log_optimum == pytest.approx(expected, abs=1e-13)
    assert TASK.log_pi(tasks.MODEL, tasks.optimum()) == pytest.approx(expected, abs=1e-13)
    assert TASK.gap(expected) == pytest.approx(0, abs=1e-14)


def test_the_gap_is_what_is_missing_to_the_best_objective():
    log_pi = np.stack([tasks.log_pi(tasks.POLICY), tasks.log_pi(tasks.REFERENCE)])
    missing = TASK.objective(TASK.log_optimum) - TASK.objective(log_pi)
    assert TASK.gap(log_pi) == pytest.approx(missing, abs=1e-13)
    by_hand = tasks.START @ gibbs.objective(log_pi[0], TASK.log_pi_0, tasks.REWARDS, tasks.BETA)
    assert TASK.objective(log_pi)[0] == pytest.approx(by_hand, rel=1e-13)
    assert TASK.mean(np.array([1.0, 3.0])) == pytest.approx(0.3 + 2.1, rel=1e-14)


@pytest.mark.parametrize("seeds", [(), (3,), (2, 3)])
def test_a_measure_is_taken_of_each_seed(seeds):
    params = {"logits": np.random.default_rng(0).normal(size=(*seeds, 2, 3, 3))}
    together = TASK.gap(TASK.log_pi(tasks.MODEL, params))
    assert TASK.each(tasks.MODEL, params, TASK.gap) == pytest.approx(together, abs=1e-14)
    assert TASK.each(tasks.MODEL, params, TASK.gap).shape == seeds
    assert TASK.each(tasks.MODEL, params, lambda log_pi: log_pi.sum(1)).shape == (*seeds, 2)


def test_a_rollout_holds_log_probabilities_rewards_and_mask_of_its_answers():
    seen = rollout(TASK, tasks.MODEL, tasks.POLICY, 50, np.random.default_rng(0), answers=3)
    assert seen.prompt.shape == (150, 1)
    assert seen.prompt.reshape(50, 3).tolist() == [[row[0]] * 3 for row in seen.prompt[::3]]
    assert seen.reward.tolist() == tasks.reward(seen.prompt, seen.response).tolist()
    assert seen.mask.tolist() == lm.response_mask(seen.response, 2).tolist()
    for found, params in ((seen.log_pi, tasks.POLICY), (seen.log_pi_0, tasks.REFERENCE)):
        expected = lm.token_log_prob(tasks.MODEL, params, seen.prompt, seen.response)
        assert found == pytest.approx(expected, abs=1e-14)


def test_a_rollout_follows_rho_and_pi_in_each_seed():
    count = 40_000
    params = {"logits": np.stack([tasks.POLICY["logits"], tasks.REFERENCE["logits"]])}
    seen = rollout(TASK, tasks.MODEL, params, count, np.random.default_rng(1))
    assert seen.prompt.shape == (2, count, 1)
    assert (seen.prompt[0] != seen.prompt[1]).any()
    place = seen.prompt[..., 0] * 7 + lm.answer_index(seen.response, 3, 2)
    for k, log_pi in enumerate(TASK.log_pi(tasks.MODEL, params)):
        p = (tasks.START[:, None] * np.exp(log_pi)).ravel()
        share = np.bincount(place[k], minlength=14) / count
        assert (np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / count)).all()


def test_counts_may_come_as_floats():
    one, other = (
        rollout(TASK, tasks.MODEL, tasks.POLICY, n, np.random.default_rng(3), k) for n, k in ((2, 3), (2.0, 3.0))
    )
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_the_same_generator_gives_the_same_rollout():
    one, other = (rollout(TASK, tasks.MODEL, tasks.POLICY, 9, np.random.default_rng(3)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_stack_puts_seeds_first():
    found = rollouts.stack([{"a": np.zeros(2), "b": np.ones(())}, {"a": np.ones(2), "b": np.ones(())}])
    assert found["a"].tolist() == [[0, 0], [1, 1]]
    assert found["b"].shape == (2,)
    assert rollouts.stack([{"a": np.ones(2)}])["a"].tolist() == [[1, 1]]


def test_a_sparse_record_looks_at_every_third_round():
    record = rollouts.every(3, lambda params: {"x": params["x"]})
    assert [record({"x": k}) for k in range(7)] == [{}, {}, {"round": 3, "x": 2}, {}, {}, {"round": 6, "x": 5}, {}]


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="beta must be finite and above 0; got 0"):
        tasks.task(0)
    other = Tabular(4, 2, ((0,), (1,)), eos=3)
    with pytest.raises(
        ValueError, match="the reference has 4 tokens and eos 3, the task 3 tokens and eos 2: policy, re"
    ):
        Task(TASK.mdp, (other, other.init(None)), 0.1)
    without = Recurrent(3, 4)
    for model in (other, without):
        with pytest.raises(ValueError, match=f"the policy has {model.vocab} tokens and eos {model.eos}, the task 3"):
            rollout(TASK, model, model.init(np.random.default_rng(0)), 2, np.random.default_rng(0))
    for count in (0, 1.5, np.nan, np.inf):
        told = f"is a number of texts to draw, a whole number from 1 on; got {count}"
        with pytest.raises(ValueError, match=f"prompts {told}"):
            rollout(TASK, tasks.MODEL, tasks.POLICY, count, np.random.default_rng(0))
        with pytest.raises(ValueError, match=f"answers {told}"):
            rollout(TASK, tasks.MODEL, tasks.POLICY, 2, np.random.default_rng(0), answers=count)
    for wrong, told in ((lambda x, y: np.zeros(3), r"got shape \(3,\), with 0 en"), (nan, r"\(2,\), with 2 entries")):
        broken = replace(TASK, mdp=replace(TASK.mdp, reward=wrong))
        with pytest.raises(
            ValueError, match=r"one finite number for each answer, shape \(2,\); " + "g?o?t? ?.*" + told
        ):
            rollout(broken, tasks.MODEL, tasks.POLICY, 2, np.random.default_rng(0))
    many = rollouts.stack([tasks.POLICY] * 3)
    with pytest.raises(ValueError, match=r"one finite number for each answer, shape \(3, 2\); got shape \(2,\)"):
        rollout(
            replace(TASK, mdp=replace(TASK.mdp, reward=lambda x, y: np.zeros(2))),
            tasks.MODEL,
            many,
            2,
            np.random.default_rng(0),
        )


def test_rewards_become_floats():
    whole = replace(TASK, mdp=replace(TASK.mdp, reward=lambda x, y: np.ones(len(x), dtype=int)))
    assert rollout(whole, tasks.MODEL, tasks.POLICY, 2, np.random.default_rng(0)).reward.dtype == float


def nan(prompt, response):
    return np.full(len(prompt), np.nan)


def test_seeds_may_have_references_of_their_own():
    both = {"logits": np.stack([tasks.REFERENCE["logits"], tasks.POLICY["logits"]])}
    seen = rollout(replace(TASK, reference=(tasks.MODEL, both)), tasks.MODEL, both, 50, np.random.default_rng(2))
    for k, params in enumerate((tasks.REFERENCE, tasks.POLICY)):
        expected = lm.token_log_prob(tasks.MODEL, params, seen.prompt[k], seen.response[k])
        assert seen.log_pi_0[k] == pytest.approx(expected, abs=1e-14)

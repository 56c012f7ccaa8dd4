"""The study of mistakes: each row is what its name says."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import mistakes
from rlhf_lab.experiments.policy_gradients import pretrained


def batch_of(name, params):
    (batch,) = mistakes.ROWS[name](pretrained()[0])[1](params, np.random.default_rng(0))
    return batch


def test_the_wrong_sign_turns_advantages_round_and_a_moving_reference_is_free():
    task, params = pretrained()
    other = {key: 1.1 * value for key, value in params.items()}
    right, wrong, moving = (batch_of(name, other).advantage for name in ("RLOO", "wrong sign", "moving reference"))
    assert wrong == pytest.approx(-right, abs=1e-12)
    assert np.abs(moving - right).max() > 0.1
    batch = batch_of("moving reference", other)
    rewards = task.mdp.reward(batch.prompt, batch.response).reshape(64, 4)
    assert moving.reshape(64, 4) == pytest.approx(4 / 3 * (rewards - rewards.mean(1, keepdims=True)), abs=1e-9)


def test_late_and_early_batches_move_what_their_names_say_by_one_token():
    task, params = pretrained()
    fresh = mistakes.CRITIC.head(params)
    right, late, early, normal = (
        batch_of(name, fresh) for name in ("A2C", "A2C, late advantages", "A2C, early reward", "A2C, normalised")
    )
    assert late.advantage[..., 1:].tolist() == right.advantage[..., :-1].tolist()
    assert not late.advantage[..., 0].any()
    last = right.mask.sum(-1).astype(int) - 1
    rows = np.arange(len(last))
    rewards = task.mdp.reward(right.prompt, right.response)
    lost = right.returns[rows, last] - early.returns[rows, last]
    assert lost == pytest.approx(rewards, abs=1e-9)
    longer = last > 0
    gained = (early.returns - right.returns)[longer, 0]  # at lambda = 0.95 the reward comes from one step less far
    assert gained == pytest.approx((0.95 ** (last - 1) - 0.95**last)[longer] * rewards[longer], abs=1e-9)
    words = right.mask > 0
    assert normal.advantage[words].mean() == pytest.approx(0, abs=1e-9)


def test_a_small_curve_and_the_stored_ones():
    small = mistakes.curve("RLOO", range(2), rounds=4, points=2)
    assert {name: value.shape for name, value in small.items()} == {"gap": (2, 2), "reward": (2, 2)}
    stored = experiments.stored("mistakes")
    assert list(stored) == list(mistakes.ROWS)
    assert {each.shape for run in stored.values() for each in run.values()} == {(10, 8)}

"""What is watched while PPO runs: hand values, and that the history of a run becomes curves."""

import numpy as np
import pytest

from rlhf_lab.experiments.policy_gradients import CRITIC, pretrained
from rlhf_lab.methods import ppo, rollouts, telemetry
from rlhf_lab.numerics import optim

MASK = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
LOG_OLD = np.array([[-1.0, -2.0, 7.0], [-3.0, 7.0, 7.0]])  # what stands after the end must not matter


def test_of_answers_by_hand():
    returns, values = np.array([[1.0, 2.0, 9.0], [3.0, 9.0, 9.0]]), np.array([[0.0, 1.0, -9.0], [2.0, -9.0, -9.0]])
    told = telemetry.of_answers(LOG_OLD * MASK, values, returns, MASK)
    assert told == pytest.approx({"entropy": (3 + 3) / 2, "length": (2 + 1) / 2, "explained_variance": 1})
    nothing = telemetry.of_answers(LOG_OLD * MASK, 0 * values, returns, MASK)
    assert nothing["explained_variance"] == pytest.approx(0)


def test_of_step_by_hand():
    ratio = np.array([[1.5, 1.1, 3.0], [0.5, 3.0, 3.0]])
    told = telemetry.of_step(LOG_OLD + np.log(ratio), LOG_OLD, MASK, 0.2)
    kl = (0.5 - np.log(1.5) + 0.1 - np.log(1.1) - 0.5 - np.log(0.5)) / 3
    assert told == pytest.approx({"approximate_kl": kl, "clip_fraction": 2 / 3})


def test_a_policy_that_has_not_moved_tells_zero():
    assert telemetry.of_step(LOG_OLD, LOG_OLD, MASK, 0.2) == {"approximate_kl": 0, "clip_fraction": 0}


def test_of_rewards_by_hand():
    told = telemetry.of_rewards(np.array([[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 2.0, 2.0]]))
    assert told["reward"].tolist() == [4, 2]
    assert told["reward_deviation"].tolist() == [5**0.5, 0], "the mean square is 21 and 4**2 is 16"


def test_curves_are_what_the_history_of_a_run_tells():
    task, start = pretrained()
    loss, collect = ppo.ppo(task, CRITIC, prompts=8, minibatch=8, epochs=2)
    two = rollouts.stack([CRITIC.head(start)] * 2)
    rng = np.random.default_rng(0)
    _, history = optim.fit(loss, two, collect, rounds=3, optimizer=optim.adam(0.01), rng=rng)
    found = telemetry.curves(history)
    assert tuple(found) == telemetry.TOLD
    assert {curve.shape for curve in found.values()} == {(3, 2)}
    for index, record in enumerate(history):
        for name, curve in found.items():
            np.testing.assert_array_equal(curve[index], record[name])
    assert list(telemetry.curves(history, ["loss", *telemetry.EARNED])) == ["loss", "reward", "reward_deviation"]


def test_histories_without_curves_are_told():
    with pytest.raises(ValueError, match=r"^there is no round in the history: train for one at least$"):
        telemetry.curves([])
    with pytest.raises(ValueError, match=r"^round 1 does not tell b, c; it tells a, d$"):
        telemetry.curves([{"a": 1, "b": 2, "c": 3}, {"a": 1, "d": 4}], ("a", "b", "c"))

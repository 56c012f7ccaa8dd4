"""The study of what a nat buys: each row is what its name says, and the chapter reads what is stored."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import frontier
from rlhf_lab.experiments.policy_gradients import NETWORK, pretrained
from rlhf_lab.models import gibbs


def test_a_spot_is_divergence_and_reward():
    task, _ = pretrained()
    nats, reward = frontier.spot(task, task.log_pi_0)
    assert nats == pytest.approx(0, abs=1e-12)
    assert reward == pytest.approx(task.objective(task.log_pi_0))
    optimum = frontier.spot(task, task.log_optimum)
    assert optimum @ [-task.beta, 1] == pytest.approx(task.objective(task.log_optimum))


def test_an_imitator_takes_its_steps_on_the_same_answers():
    _, params = pretrained()
    once, often = (frontier.imitator("RAFT", 8, steps)[1](params, np.random.default_rng(0)) for steps in (1, 3))
    assert len(once) == 1
    assert len(often) == 3
    for batch in often:
        assert (batch[1] == once[0][1]).all()
    assert once[0][1].shape == (8, 5)


def test_the_price_of_rloo_is_paid():
    _, params = pretrained()
    free = {name: 1.1 * value for name, value in params.items()}
    low, high = (next(iter(frontier.rloo(beta)[1](free, np.random.default_rng(0)))) for beta in (0.5, 1.5))
    assert (low.response == high.response).all()
    task, log_pi = pretrained()[0], pretrained()[0].log_pi(NETWORK, free)
    assert low.prompt.shape == (frontier.PROMPTS * frontier.ANSWERS, 3)
    assert np.abs(high.advantage - low.advantage).max() > 0.01
    assert frontier.spot(task, log_pi)[0] > 0


def test_a_small_path_and_the_stored_ones():
    small = frontier.path(frontier.imitator("RRHF", 16), range(2), rounds=4, points=2)
    assert small.shape == (2, 2, 2)
    stored, (task, _) = experiments.stored("frontier"), pretrained()
    shapes = {name: value.shape for name, value in stored.items()}
    assert shapes == {
        **{f"RLOO, {beta}": (10, 1, 2) for beta in frontier.PRICES},
        **dict.fromkeys(frontier.IMITATORS, (10, 8, 2)),
        **dict.fromkeys(frontier.TRIALS, (10, 1, 2)),
    }
    spent = [stored[f"RLOO, {beta}"][:, 0, 0].mean() for beta in frontier.PRICES]
    assert (np.diff(spent) > 0).all(), "what is cheaper is bought more of"
    best = [frontier.spot(task, gibbs.log_policy(task.log_pi_0, task.rewards, b)) for b in np.geomspace(0.02, 30, 60)]
    line = np.array(best)[::-1].T
    for runs in stored.values():
        assert (runs[..., 1] < np.interp(runs[..., 0], *line) + 0.01).all(), "nobody beats the frontier"

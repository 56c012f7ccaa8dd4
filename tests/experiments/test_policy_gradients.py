"""The study of reuse: runs take the steps that their names say, and small ones have the shape of stored ones."""

import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import policy_gradients


@pytest.mark.parametrize("name", policy_gradients.RUNS)
def test_a_run_takes_the_steps_of_its_name(name):
    run = policy_gradients.RUNS[name]
    assert f"{policy_gradients.ANSWERS // run.batch * run.passes} steps" in name
    assert policy_gradients.ANSWERS % (run.fresh * policy_gradients.POINTS) == 0


def test_a_small_curve_and_the_stored_ones():
    run = policy_gradients.RUNS["RLOO, 192 steps"]
    assert policy_gradients.curve(run, range(2), answers=128, points=2).shape == (2, 2)
    stored = experiments.stored("policy gradients")
    assert {name: gaps.shape for name, gaps in stored.items()} == dict.fromkeys(policy_gradients.RUNS, (40, 8))

"""The study of stale answers: what is stored is what the chapter says, and a small part made anew is the stored one."""

import numpy as np
import pytest
from autograd import grad

from rlhf_lab import experiments
from rlhf_lab.experiments import verifiable
from rlhf_lab.numerics.weighted import expectation
from rlhf_lab.worlds import sums

STORED = experiments.stored("verifiable")


def test_what_is_stored_has_all_rows_and_ten_seeds():
    assert list(STORED["runs"]) == list(verifiable.rows())
    for run in STORED["runs"].values():
        assert {name: value.shape for name, value in run.items()} == {
            "right": (10, 10),
            "last": (10, 12),
            "entropy": (10,),
            "clip_fraction": (10,),
            "degenerate": (10,),
        }
        np.testing.assert_allclose(run["last"].mean(1), run["right"][:, -1], rtol=1e-5)
    assert {value.shape for value in STORED["directions"].values()} == {(10, len(verifiable.STEPS_BACK))}
    assert set(verifiable.STEP_SIZES) <= set(verifiable.rows()), "a step size for a row that is not there"


def test_the_directions_of_one_starting_point_made_anew_are_the_stored_ones():
    made = verifiable.directions(0)
    for name, values in made.items():
        np.testing.assert_allclose(values[0], STORED["directions"][name][0], rtol=1e-5, err_msg=name)


def test_a_run_made_anew_is_the_stored_one():
    name = "lag 8, truncated"
    made = verifiable.run(range(10), verifiable.STEP_SIZES[name], **verifiable.rows()[name])
    for key, values in made.items():
        np.testing.assert_allclose(values, STORED["runs"][name][key], rtol=1e-5, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_answers_are_written_by_the_policy_of_some_rounds_ago(lag):
    written = []
    collect = verifiable.lagged(lambda params, rng: written.append(params) or [None], lag)
    for now in range(6):
        assert list(collect(now, None)) == [None]
    assert written == [max(0, now - lag) for now in range(6)]


def test_a_look_is_exact():
    world = verifiable.task()
    found = verifiable.look(world, sums.student())
    assert found["right"].shape == (12,)
    assert found["right"] == pytest.approx(expectation(world.log_pi_0, world.rewards))
    assert found["entropy"] == pytest.approx(-np.mean(np.sum(np.exp(world.log_pi_0) * world.log_pi_0, axis=-1)))


def test_on_fresh_answers_every_weight_points_along_the_gradient(monkeypatch):
    monkeypatch.setattr(verifiable, "STEPS_BACK", (0,))
    found = verifiable.directions(0)
    for name in verifiable.WEIGHTS:
        assert found[f"cosine, {name}"] == pytest.approx(1)
    assert found["share"] == pytest.approx(1)
    assert len({round(float(found[f"noise, {name}"][0, 0]), 9) for name in verifiable.WEIGHTS}) == 1
    world = verifiable.task()
    slope = grad(lambda params: world.mean(expectation(world.log_pi(world.reference[0], params), world.rewards)))
    assert np.abs(slope(sums.student())["rows"]).max() > 0

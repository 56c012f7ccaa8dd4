"""The study of compared segments: what is lost is measured from the exact optimum, and each control drops one thing."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import segments as study
from rlhf_lab.methods.segments import Recipe
from rlhf_lab.worlds import gridworlds


def test_the_expert_loses_nothing_and_a_random_driver_everything():
    policies = np.stack([gridworlds.table(gridworlds.drive(study.WIDTH), 3), np.full((17, 3), 1 / 3)])
    assert gridworlds.performance(study.TRACK, policies, study.HORIZON) == pytest.approx([57.7, 3.1], abs=0.05)
    assert study.lost(policies) == pytest.approx([0, 1], abs=1e-12)


@pytest.mark.parametrize("scale", study.RUNS)
def test_each_control_differs_from_the_recipe_in_one_ingredient_and_its_prior(scale):
    whole = study.RUNS[scale]["recipe"]
    assert whole == Recipe(whole.precision)
    for name, change in study.CONTROLS.items():
        run = study.RUNS[scale][name]
        assert run == Recipe(run.precision, **change)
        assert len(change) == (name != "recipe")
        assert study.PRECISIONS[0] < run.precision < study.PRECISIONS[-1]


def test_a_small_curve_is_the_one_that_its_seeds_give_again():
    run = study.RUNS[1]["recipe"]
    first, again, other = (study.curve(run, 1, range(2), first=n, rounds=2) for n in (0, 0, 1))
    assert first.shape == (2, 2)
    assert (first == again).all()
    assert (first != other).any()


def test_tuning_averages_over_rounds_and_seeds(monkeypatch):
    monkeypatch.setattr(study, "curve", lambda run, scale, seeds, first: run.precision * np.array([[first, 3.0]]))
    found = study.tune(1)
    assert set(found) == set(study.CONTROLS)
    assert found["recipe"] == {each: 2 * each for each in study.PRECISIONS}


def gain(found, name):
    d = (found[name] - found["recipe"]).mean(1)
    return d.mean() / (d.std(ddof=1) / len(d) ** 0.5), d.mean()


@pytest.mark.parametrize("pays", ["pays_1", "pays_10"])
def test_what_the_ingredients_buy(pays):
    found = experiments.stored("segments")[pays]
    assert {v.shape for v in found.values()} == {(200, 16)}
    errors, share = gain(found, "first policy drives")
    assert errors > 8  # going on is what counts, by far
    assert share > 2.5 * gain(found, "random questions")[1]
    assert gain(found, "random questions")[0] > 2
    assert np.abs(found["recipe"][:, -1]).max() < 1e-12
    assert found["random questions"][:, -1].mean() < 0.01  # but not for long
    for name in ("no mis-click term", "one model"):  # nothing is bought: without them, no more is lost
        errors, share = gain(found, name)
        assert errors < 2
        assert abs(share) < 0.02

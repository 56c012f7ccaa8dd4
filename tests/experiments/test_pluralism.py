"""The study of groups of annotators: what it stored, and that it runs."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import pluralism
from rlhf_lab.feedback import clusters


def mean_and_error(runs):
    return runs.mean(0), runs.std(0, ddof=1) / len(runs) ** 0.5


def test_a_small_study_has_the_shapes_of_the_large_one():
    found = pluralism.minority(4, [0, 1])
    assert {name: runs.shape for name, runs in found.items()} == dict.fromkeys(
        ("average", "found", "told", "accuracy"), (2, 9)
    )
    again = pluralism.minority(4, [1])
    assert all(again[name][0] == pytest.approx(runs[1]) for name, runs in found.items())
    stored = experiments.stored("pluralism")
    assert found["told"] == pytest.approx(stored["minority, 4 labels"]["told"][:2], rel=1e-4)
    setting = pluralism.Setting(100, 20, 0.5, 0.5, (2, 30))
    curves = pluralism.threshold(setting, [0, 1, 2])
    assert {name: runs.shape for name, runs in curves.items()} == {"em": (3, 2), "known": (3, 2)}
    assert curves["em"][:, 1].mean() > 0.9 > 0.7 > curves["em"][:, 0].mean()


def test_groups_are_found_above_the_threshold_and_not_below():
    stored = experiments.stored("pluralism")
    for name, setting in pluralism.THRESHOLD.items():
        x = np.array([clusters.strength(m, *setting[:4]) for m in setting.labels])
        mean, _ = mean_and_error(stored[name]["em"])
        known, _ = mean_and_error(stored[name]["known"])
        assert (mean[x < 0.7] < 0.6).all(), name
        assert (mean[x > 2.2] > 0.75).all(), name
        assert (known - mean)[x > 3.5].max() < 0.05, name
        assert (known - mean)[x < 1.1].min() > 0.05, name


def test_the_best_that_the_worse_off_can_get_does_not_depend_on_shares():
    first, last = pluralism.best(0.02), pluralism.best(0.5)
    assert first["max min"] == pytest.approx(last["max min"])
    assert first["mean reward"] < 0 < last["mean reward"] < last["max min"]

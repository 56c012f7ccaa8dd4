"""A contest keeps to its budget, whoever runs away."""

import time

import numpy as np
import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import ilhf
from rlhf_lab.experiments.ilhf.worlds import Setting

pytestmark = pytest.mark.peer


def race(seconds, budget, repetitions=6):
    functions = {who: lambda nap=nap: time.sleep(nap) for who, nap in seconds.items()}
    return benchmarks.race(functions, repetitions, np.random.default_rng(0), budget)


def test_without_haste_everybody_runs_every_time():
    times = race({"ours": 0.001, "PyTorch": 0.001, "jax": 0.001}, budget=60.0)
    assert {who: len(each) for who, each in times.items()} == dict.fromkeys(
        ["ours", "PyTorch, 1 thread", "PyTorch, 2 threads", "jax"], 6
    )


def test_who_takes_more_than_a_share_is_left_out_and_the_others_go_on():
    times = race({"ours": 0.001, "jax": 1.0, "numpy": 0.001}, budget=4.0)  # a call to warm up and one that is timed
    assert {who: len(each) for who, each in times.items()} == {"ours": 6, "jax": 1, "numpy": 6}
    rows = benchmarks.compared("a race", times)
    assert [(row["against"], row["repetitions"]) for row in rows] == [("jax", 1), ("numpy", 6)]


def test_a_contest_ends_with_its_budget():
    times = race({"ours": 0.1, "jax": 0.1, "numpy": 0.1, "scipy": 0.1, "theirs": 0.1}, budget=1.3)  # a round takes 1 s
    assert [len(each) for each in times.values()] == [2] * 5


def test_ratios_are_of_the_same_repetition():
    (row,) = benchmarks.compared("a race", {"ours": [1.0, 2.0, 4.0], "jax": [3.0, 4.0]})
    assert (row["median"], row["min"], row["max"], row["repetitions"]) == (2.5, 2.0, 3.0, 2)


@pytest.mark.parametrize("tuned", ["readout", "all"])
def test_both_play_the_same_ilhf(tuned):
    given = Setting(scale=1 / 3, evaluation=10), 1, 3, tuned  # the first step of Adam has the size of its step alone
    benchmarks.agree("ILHF", {"ours": ilhf.ours(*given), "PyTorch eager": ilhf.eager(*given)})

"""The study of PPO's knobs: what is stored is what the chapter says, and a small run is of its kind."""

import numpy as np

from rlhf_lab import experiments
from rlhf_lab.experiments import knobs


def test_a_small_run_has_what_is_stored():
    small, stored = knobs.ends("stopped early", range(2), rounds=2), experiments.stored("knobs")
    assert list(stored) == list(knobs.ROWS)
    assert set(small) == {"gap", "nats", *knobs.TOLD} == set(stored["plain PPO"])
    assert {value.shape for value in small.values()} == {(2,)}
    assert {value.shape for row in stored.values() for value in row.values()} == {(10,)}


def test_the_stop_stops_and_the_price_finds_its_nat():
    plain, stopped, sought = experiments.stored("knobs").values()
    assert stopped["approximate_kl"].max() < plain["approximate_kl"].min()
    error = sought["nats"].std(ddof=1) / 10**0.5
    assert abs(sought["nats"].mean() - knobs.TARGET) < 3 * error
    assert plain["nats"].mean() - knobs.TARGET > 3 * np.hypot(error, plain["nats"].std(ddof=1) / 10**0.5)
    farther = stopped["gap"].mean() - plain["gap"].mean()
    assert farther > 3 * np.hypot(stopped["gap"].std(ddof=1), plain["gap"].std(ddof=1)) / 10**0.5

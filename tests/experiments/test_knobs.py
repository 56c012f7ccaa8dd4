"""The study of PPO's knobs: what is stored is what the chapter says, and a small run is of its kind."""

import numpy as np

from rlhf_lab import experiments
from rlhf_lab.experiments import knobs
from rlhf_lab.methods import telemetry
from rlhf_lab.numerics import optim


def test_a_small_run_has_what_is_stored():
    small, stored = knobs.ends("stopped early", range(2), rounds=2), experiments.stored("knobs")
    assert list(stored) == [*knobs.ROWS, *knobs.OPTIMIZERS]
    assert set(small) == {"gap", "nats", *telemetry.TOLD} == set(stored["plain PPO"])
    assert {value.shape for value in small.values()} == {(2,)}
    assert {value.shape for row in stored.values() for value in row.values()} == {(10,)}


def test_the_stop_stops_and_the_price_finds_its_nat():
    plain, stopped, sought, *_ = experiments.stored("knobs").values()
    assert stopped["approximate_kl"].max() < plain["approximate_kl"].min()
    error = sought["nats"].std(ddof=1) / 10**0.5
    assert abs(sought["nats"].mean() - knobs.TARGET) < 3 * error
    assert plain["nats"].mean() - knobs.TARGET > 3 * np.hypot(error, plain["nats"].std(ddof=1) / 10**0.5)
    farther = stopped["gap"].mean() - plain["gap"].mean()
    assert farther > 3 * np.hypot(stopped["gap"].std(ddof=1), plain["gap"].std(ddof=1)) / 10**0.5


def test_an_annealed_step_falls_in_a_straight_line():
    slope, place = {"w": np.array(1.0)}, {"w": np.array(0.0)}
    plain, falling = optim.adam(0.1), knobs.annealed(0.1, steps=4)
    states, places = [plain.init(place), falling.init(place)], [place, place]
    for taken in range(4):
        steps = []
        for k, optimizer in enumerate((plain, falling)):
            fresh, states[k] = optimizer.update(places[k], slope, states[k])
            steps.append(fresh["w"] - places[k]["w"])
            places[k] = fresh
        np.testing.assert_allclose(steps[1], (1 - taken / 4) * steps[0], rtol=1e-9)


def test_what_matters_and_what_does_not():
    gaps = {name: row["gap"] for name, row in experiments.stored("knobs").items()}

    def farther(name):
        one, plain = gaps[name], gaps["plain PPO"]
        return (one.mean() - plain.mean()) / np.hypot(one.std(ddof=1), plain.std(ddof=1)) * 10**0.5

    for name in ("1 pass", "hardly any clipping", "value weight 0", "lambda 0"):
        assert farther(name) > 3.5, name
    for name in ("normalised advantages", "value clip 0.2", "lambda 1", "value weight 0.5", "clip range 0.05"):
        assert abs(farther(name)) < 2, name

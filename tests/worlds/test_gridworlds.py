"""The small worlds do what their docstrings say, and sweeps over time agree with enumeration and with play."""

import itertools

import numpy as np
import pytest

from rlhf_lab.worlds import gridworlds
from rlhf_lab.worlds.control import rollout
from rlhf_lab.worlds.gridworlds import AHEAD, LEFT, RIGHT, Grid

RNG = np.random.default_rng(0)


def any_grid(states=3, actions=2, rng=RNG):
    return Grid(
        rng.dirichlet(np.ones(states), size=(states, actions)), rng.normal(size=states), rng.dirichlet(np.ones(states))
    )


def any_policy(grid, *lead, rng=RNG):
    return rng.dirichlet(np.ones(grid.actions), size=(*lead, grid.observations))


def paths(grid, policy, horizon):
    """Every path of states and actions with its probability."""
    for states in itertools.product(range(grid.observations), repeat=horizon):
        for actions in itertools.product(range(grid.actions), repeat=horizon):
            p = grid.start[states[0]]
            for t in range(horizon):
                p *= policy[states[t], actions[t]]
                p *= grid.transition[states[t], actions[t], states[t + 1]] if t + 1 < horizon else 1.0
            yield p, states, actions


@pytest.mark.equation("eq-state-occupancy", "eq-policy-return")
def test_occupancy_and_performance_are_sums_over_all_paths():
    grid = any_grid()
    policy = any_policy(grid)
    d, value = np.zeros((4, 3)), 0.0
    for p, states, _ in paths(grid, policy, 4):
        value += p * sum(grid.reward[s] for s in states)
        for t, s in enumerate(states):
            d[t, s] += p
    assert gridworlds.occupancy(grid, policy, 4) == pytest.approx(d, abs=1e-12)
    assert gridworlds.performance(grid, policy, 4) == pytest.approx(value, abs=1e-12)


@pytest.mark.equation("eq-state-occupancy")
def test_seeds_along_leading_axes_do_not_touch_each_other():
    grid = any_grid(4, 3)
    several = any_policy(grid, 2, 3)
    d = gridworlds.occupancy(grid, several, 5)
    assert d.shape == (2, 3, 5, 4)
    assert d.sum(-1) == pytest.approx(np.ones((2, 3, 5)), abs=1e-12)
    for i, j in itertools.product(range(2), range(3)):
        assert d[i, j] == pytest.approx(gridworlds.occupancy(grid, several[i, j], 5), abs=1e-14)
        assert gridworlds.performance(grid, several, 5)[i, j] == pytest.approx(
            gridworlds.performance(grid, several[i, j], 5), abs=1e-12
        )


@pytest.mark.equation("eq-policy-return")
def test_performance_agrees_with_play_within_four_standard_errors():
    grid = any_grid(4, 3)
    policy = any_policy(grid)
    cumulative = np.cumsum(policy, axis=-1)

    def act(seen, rng):
        return (rng.random(seen.shape[:-1])[..., None] > cumulative[seen.argmax(-1)][..., :-1]).sum(-1)

    returns = rollout(grid, act, (20_000,), 6, np.random.default_rng(1)).returns
    error = returns.std(ddof=1) / len(returns) ** 0.5
    assert abs(returns.mean() - gridworlds.performance(grid, policy, 6)) < 4 * error


def test_values_are_what_is_still_paid():
    grid = any_grid()
    policy = any_policy(grid)
    v, q = gridworlds.values(grid, policy, 3)
    assert (v.shape, q.shape) == ((3, 3), (3, 3, 2))
    assert q[2] == pytest.approx(np.tile(grid.reward[:, None], 2), abs=1e-14)
    for t in range(2):
        assert q[t] == pytest.approx(grid.reward[:, None] + grid.transition @ v[t + 1], abs=1e-12)
    assert v == pytest.approx((policy * q).sum(-1), abs=1e-12)
    assert grid.start @ v[0] == pytest.approx(gridworlds.performance(grid, policy, 3), abs=1e-12)


def test_most_visits_is_the_maximum_over_all_policies_even_those_that_change():
    grid = any_grid()
    best = np.zeros(3)
    for choice in itertools.product(range(2), repeat=3 * 2):  # at the last of three steps the action does not matter
        d, total = grid.start, grid.start.copy()
        for t in range(2):
            d = sum(d[s] * grid.transition[s, choice[3 * t + s]] for s in range(3))
            total += d
        best = np.maximum(best, total)
    assert gridworlds.most_visits(grid, 3) == pytest.approx(best, abs=1e-12)


def test_the_cliff():
    grid = gridworlds.cliff()
    assert (grid.observations, grid.actions) == (2, 2)
    assert grid.transition[0].tolist() == [[1, 0], [0, 1]]  # stay on the road, or swerve into the ditch
    assert grid.transition[1].tolist() == [[0, 1], [1, 0]]  # stay in the ditch, or swerve back
    assert grid.reward.tolist() == grid.start.tolist() == [1, 0]


def test_the_track_goes_where_its_docstring_says():
    grid = gridworlds.track(2)
    to = grid.transition.argmax(-1)
    assert (grid.transition.max(-1) == 1).all()
    assert to[2].tolist() == [1, 2, 3]  # in the middle: left, ahead, right
    assert to[3].tolist() == [2, 4, 4]  # on the right, only steering left helps
    assert to[4].tolist() == [3, 4, 4]
    assert to[1].tolist() == [0, 0, 2]
    assert to[0].tolist() == [0, 0, 1]
    assert grid.reward.tolist() == grid.start.tolist() == [0, 0, 1, 0, 0]
    assert (LEFT, AHEAD, RIGHT) == (0, 1, 2)


def test_wind_blows_to_both_sides_alike():
    calm, windy = gridworlds.track(2).transition, gridworlds.track(2, wind=0.3).transition
    blown = windy - 0.7 * calm
    assert blown.sum(-1) == pytest.approx(np.full((5, 3), 0.3), abs=1e-14)
    assert blown[2, 0] == pytest.approx([0, 0.15, 0, 0.15, 0], abs=1e-14)
    assert blown[4, 1] == pytest.approx([0, 0, 0, 0.15, 0.15], abs=1e-14)


def test_the_driver_keeps_to_the_middle_and_comes_back_from_everywhere():
    expert = gridworlds.table(gridworlds.drive(3), 3)
    grid = gridworlds.track(3)
    assert gridworlds.drive(2).tolist() == [2, 2, 1, 0, 0]
    assert gridworlds.performance(grid, expert, 9) == 9
    for k in range(7):
        lost = Grid(grid.transition, grid.reward, np.eye(7)[k])
        assert gridworlds.performance(lost, expert, 9) == 9 - abs(k - 3)


def test_a_grid_that_is_played_visits_states_as_often_as_it_should():
    grid = gridworlds.track(2, wind=0.4)
    play = rollout(grid, lambda seen, rng: rng.integers(3, size=seen.shape[:-1]), (4000,), 6, np.random.default_rng(2))
    assert play.alive.all()
    assert play.observation.shape == (6, 4000, 5)
    d = gridworlds.occupancy(grid, np.full((5, 3), 1 / 3), 6)
    found = play.observation.mean(1)
    assert (np.abs(found - d) <= 4 * np.sqrt(d * (1 - d) / 4000) + 1e-12).all()
    assert (play.reward == play.observation[..., 2]).all()
    _, reward, done = grid.step(np.zeros((2, 3), dtype=int), np.ones((2, 3), dtype=int), np.random.default_rng(0))
    assert reward.shape == done.shape == (2, 3)


def test_what_is_not_a_world_is_refused():
    good = gridworlds.cliff()
    with pytest.raises(ValueError, match=r"transition must have shape \(S, A, S\); got \(2, 2, 1\)"):
        Grid(good.transition[..., :1], good.reward, good.start)
    with pytest.raises(
        ValueError, match=r"reward \(3,\) and start \(2,\) must have one entry for each of the 2 states"
    ):
        Grid(good.transition, np.ones(3), good.start)
    with pytest.raises(
        ValueError, match=r"reward \(2,\) and start \(1,\) must have one entry for each of the 2 states"
    ):
        Grid(good.transition, good.reward, np.ones(1))
    with pytest.raises(ValueError, match="transition must sum to 1"):
        Grid(good.transition / 2, good.reward, good.start)
    with pytest.raises(ValueError, match="start must sum to 1"):
        Grid(good.transition, good.reward, good.start / 2)
    for width in (0, 1.5):
        with pytest.raises(ValueError, match=f"width is the number of offsets on each side, at least 1; got {width}"):
            gridworlds.track(width)
    with pytest.raises(ValueError, match=r"wind must lie in \[0, 1\]; got 1.5"):
        gridworlds.track(2, wind=1.5)
    for function in (gridworlds.occupancy, gridworlds.performance, gridworlds.values):
        with pytest.raises(ValueError, match="the horizon is the greatest number"):
            function(good, np.full((2, 2), 0.5), 0)
    with pytest.raises(ValueError, match="the horizon is the greatest number"):
        gridworlds.most_visits(good, 0)
    assert gridworlds.track(1).observations == 3

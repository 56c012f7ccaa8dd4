"""CartPole in numpy is Gymnasium's, step for step; and a rollout counts what happens until an episode is over."""

import gymnasium
import numpy as np
import pytest

from rlhf_lab.worlds import control, gridworlds
from rlhf_lab.worlds.control import CartPole, rollout
from rlhf_lab.worlds.environments import Gym


def anything(seen, rng):
    return rng.integers(2, size=seen.shape[:-1])


def test_cartpole_is_gymnasiums_step_for_step():
    env, world, rng = gymnasium.make("CartPole-v1").unwrapped, CartPole(), np.random.default_rng(0)
    lengths, seen = [], []
    for seed in range(30):
        observation, _ = env.reset(seed=seed)
        state = np.array(env.state)
        lengths.append(0)
        while lengths[-1] < 500:
            lengths[-1] += 1
            seen.append((observation, world.observe(state)))
            action = rng.integers(2) if seed < 15 else control.cartpole_expert(state, rng)
            observation, reward, terminated, _, _ = env.step(int(action))
            state, paid, done = world.step(state, action, rng)
            assert np.abs(state - env.state).max() < 1e-13
            assert (paid, done) == (reward, terminated)
            if done:
                break
    theirs, ours = np.swapaxes(seen, 0, 1)
    assert (np.abs(theirs - ours) <= np.maximum(1e-6 * np.abs(ours), 1e-7)).all()  # Gymnasium rounds to float32
    assert max(lengths[:15]) < 100
    assert min(lengths[15:]) == 500


@pytest.mark.parametrize(("place", "limit"), [(0, 2.4), (2, 12 * 2 * np.pi / 360)])
@pytest.mark.parametrize("side", [-1, 1])
def test_an_episode_of_cartpole_ends_on_either_side(place, limit, side):
    env, world = gymnasium.make("CartPole-v1").unwrapped, CartPole()
    for size, over in ((0.999, False), (1.0, False), (1.001, True)):
        state = np.zeros(4)
        state[place] = side * size * limit
        env.reset(seed=0)
        env.state = state.copy()
        _, _, terminated, _, _ = env.step(0)
        following, _, done = world.step(state, np.array(0), np.random.default_rng(0))
        assert following == pytest.approx(env.state, abs=1e-14)
        assert done == terminated == over


def test_first_states_of_cartpole():
    state = CartPole().reset((4000,), np.random.default_rng(0))
    assert state.shape == (4000, 4)
    assert (state.min(), state.max()) == pytest.approx((-0.05, 0.05), abs=1e-3)
    assert state.mean(0) == pytest.approx(np.zeros(4), abs=4 * 0.05 / 3**0.5 / 4000**0.5)


def test_the_experts_know_their_trade():
    rng = np.random.default_rng(0)
    assert (rollout(CartPole(), control.cartpole_expert, (100,), 500, rng).returns == 500).all()
    swung = rollout(Gym("Acrobot-v1"), control.acrobot_expert, (10,), 500, rng).returns
    assert swung.min() > -250
    assert swung.mean() > -120  # Gymnasium's threshold for a solved Acrobot is -100; random play stays at -500


def test_the_experts_by_hand():
    seen = np.array([[0, 0, 0, 0], [0, 0, 0.1, -0.2], [0, 0, 0.1, -0.4], [20, -5, -0.1, 0], [5, -5, 0, 0]])
    assert control.cartpole_expert(seen, None).tolist() == [0, 1, 0, 1, 0]  # the first leans to neither side
    rates = np.zeros((3, 6))
    rates[:, 4] = [-0.1, 0, 0.1]
    assert control.acrobot_expert(rates, None).tolist() == [2, 0, 0]


class Countdown:
    """Episode i is over after i + 1 steps; a step pays 1, and 100 once the episode is over."""

    observations, actions = 1, 2

    def reset(self, shape, rng):
        return np.broadcast_to(np.arange(shape[-1]), shape) + 1

    def observe(self, state):
        return state[..., None].astype(float)

    def step(self, state, action, rng):
        return state - 1, np.where(state > 0, 1.0, 100.0), state - 1 <= 0


def test_a_rollout_stops_when_all_are_over_and_counts_nothing_after_the_end():
    play = rollout(Countdown(), anything, (2, 3), 10, np.random.default_rng(0))
    assert play.alive.shape == (3, 2, 3)
    assert play.alive[:, 1].tolist() == [[True] * 3, [False, True, True], [False, False, True]]
    assert play.returns.tolist() == [[1, 2, 3]] * 2
    assert len(rollout(Countdown(), anything, (3,), 2, np.random.default_rng(0)).alive) == 2
    with pytest.raises(ValueError, match="the horizon is the greatest number"):
        rollout(Countdown(), anything, (3,), 0, np.random.default_rng(0))


def test_the_track_is_a_world_like_the_others():
    grid = gridworlds.track(2)
    play = rollout(grid, lambda seen, rng: gridworlds.drive(2)[seen.argmax(-1)], (3,), 5, np.random.default_rng(0))
    assert (play.returns == 5).all()

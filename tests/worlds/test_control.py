"""CartPole in numpy is Gymnasium's, step for step; and any environment with discrete actions can be played."""

import gc
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from rlhf_lab.feedback.demonstrations import draw_states
from rlhf_lab.worlds import control, gridworlds
from rlhf_lab.worlds.control import CartPole, Rollout, rollout
from rlhf_lab.worlds.environments import Gym


def anything(actions):
    return lambda seen, rng: rng.integers(actions, size=seen.shape[:-1])


def test_cartpole_is_gymnasiums_step_for_step():
    env, world, rng = gymnasium.make("CartPole-v1").unwrapped, CartPole(), np.random.default_rng(0)
    lengths = []
    for seed in range(30):
        observation, _ = env.reset(seed=seed)
        state = np.array(env.state)
        lengths.append(0)
        while lengths[-1] < 500:
            lengths[-1] += 1
            assert observation == pytest.approx(world.observe(state), rel=1e-6, abs=1e-7)  # Gymnasium rounds to float32
            action = rng.integers(2) if seed < 15 else control.cartpole_expert(state, rng)
            observation, reward, terminated, _, _ = env.step(int(action))
            state, paid, done = world.step(state, action, rng)
            assert np.abs(state - env.state).max() < 1e-13
            assert (paid, done) == (reward, terminated)
            if done:
                break
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


def test_an_environment_of_gymnasium_is_played_as_gymnasium_plays_it():
    world, rng = Gym("CartPole-v1"), np.random.default_rng(3)
    assert (world.observations, world.actions) == (CartPole().observations, CartPole().actions) == (4, 2)
    play = rollout(world, anything(2), (2, 3), 500, rng)
    assert play.observation.shape[1:] == (2, 3, 4)
    assert play.observation.dtype == float
    assert (play.returns == play.alive.sum(0)).all()
    assert play.returns.shape == (2, 3)
    again = np.random.default_rng(3)
    env = gymnasium.make_vec("CartPole-v1", num_envs=6, vectorization_mode="sync")
    seen, _ = env.reset(seed=int(again.integers(2**31)))
    for t in range(5):
        assert (play.observation[t].reshape(6, 4) == seen).all()
        seen, _, _, _, _ = env.step(anything(2)(np.zeros((2, 3, 4)), again).ravel())


@pytest.mark.parametrize(
    ("name", "entries", "actions", "ones"),
    [
        ("FrozenLake-v1", 16, 4, 1),
        ("CliffWalking-v1", 48, 4, 1),
        ("Blackjack-v1", 32 + 11 + 2, 2, 3),
        ("rlhf_lab.worlds.environments:rlhf_lab/Phrases-v0", 96, 11, 8),
        ("rlhf_lab.worlds.environments:rlhf_lab/Coin-v0", 33, 2, 11),
    ],
)
def test_what_is_one_of_several_is_seen_as_a_one_hot_row(name, entries, actions, ones):
    world, rng = Gym(name), np.random.default_rng(4)
    assert (world.observations, world.actions) == (entries, actions)
    play = rollout(world, anything(actions), (2, 3), 20, rng)
    assert play.observation.shape[1:] == (2, 3, entries)
    assert np.isin(play.observation, (0, 1)).all()
    assert (play.observation.sum(-1) == ones).all()


class Corridor(gymnasium.Env):
    """Actions 5, 6 and 7 lead one to the left, nowhere and one to the right; one sees where one is, from -3 to 3."""

    action_space = gymnasium.spaces.Discrete(3, start=5)
    observation_space = gymnasium.spaces.Discrete(7, start=-3)
    closed = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return self.place, {}

    def step(self, action):
        self.place += int(action) - 6
        return self.place, float(self.place), abs(self.place) == 3, False, {}

    def close(self):
        Corridor.closed += 1


def test_actions_are_counted_from_zero_and_environments_are_closed(monkeypatch):
    monkeypatch.setitem(
        gymnasium.registry, "Corridor-v0", gymnasium.envs.registration.EnvSpec("Corridor-v0", entry_point=Corridor)
    )
    monkeypatch.setattr(Corridor, "closed", 0)
    world = Gym("Corridor-v0")
    assert (world.observations, world.actions, Corridor.closed) == (7, 3, 1)
    made = []
    original = gymnasium.make
    monkeypatch.setattr(gymnasium, "make", lambda *given, **more: made.append(given) or original(*given, **more))
    assert (world.observations, world.actions, made) == (7, 3, [])  # one look at its spaces is enough
    play = rollout(world, lambda seen, rng: np.array([0, 1, 2]), (3,), 3, np.random.default_rng(0))
    assert play.observation.argmax(-1).T.tolist() == [[3, 2, 1], [3, 3, 3], [3, 4, 5]]
    assert play.returns.tolist() == [-6, 0, 6]
    gc.collect()
    assert Corridor.closed == 1 + 3


def test_a_time_limit_of_gymnasium_ends_an_episode():
    play = rollout(
        Gym("Acrobot-v1"), lambda seen, rng: np.ones(seen.shape[:-1], dtype=int), (2,), 700, np.random.default_rng(0)
    )
    assert len(play.reward) == 500
    assert play.returns.tolist() == [-500, -500]


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
    play = rollout(Countdown(), anything(2), (2, 3), 10, np.random.default_rng(0))
    assert play.alive.shape == (3, 2, 3)
    assert play.alive[:, 1].tolist() == [[True] * 3, [False, True, True], [False, False, True]]
    assert play.returns.tolist() == [[1, 2, 3]] * 2
    assert len(rollout(Countdown(), anything(2), (3,), 2, np.random.default_rng(0)).alive) == 2
    with pytest.raises(ValueError, match="the horizon is the greatest number"):
        rollout(Countdown(), anything(2), (3,), 0, np.random.default_rng(0))


def numbered(alive):
    """A rollout whose observations and actions say which step, seed and episode they are."""
    place = np.moveaxis(np.indices(alive.shape), 0, -1).astype(float)
    return Rollout(place, place @ [100, 10, 1], np.ones(alive.shape), alive)


def test_states_are_drawn_evenly_from_the_steps_of_each_episode_and_only_from_those():
    alive = np.arange(6)[:, None, None] < np.array([[6, 4, 1], [2, 6, 6]])
    play, seen = numbered(alive), np.zeros(alive.shape)
    for seed in range(600):
        labels = draw_states(play, 2, np.random.default_rng(seed))
        assert (labels.observation.shape, labels.action.shape, labels.weight.shape) == ((2, 6, 3), (2, 6), (2, 6))
        assert (labels.action == labels.observation @ [100, 10, 1]).all()
        for row, weight in zip(labels.observation.reshape(-1, 3).astype(int), labels.weight.ravel(), strict=True):
            assert weight == alive[tuple(row)]
            seen[tuple(row)] += weight
    assert (seen[~alive] == 0).all()
    length = alive.sum(0)
    expected = np.where(alive, 600 * np.minimum(2, length) / length, 0)
    assert (np.abs(seen - expected) <= 4 * np.sqrt(600 * 0.25)).all()


def test_from_episodes_shorter_than_count_all_steps_are_drawn():
    labels = draw_states(numbered(np.ones((3, 2, 4), dtype=bool)), 5, np.random.default_rng(0))
    assert labels.weight.tolist() == [[1.0] * 12] * 2


def test_rows_of_an_episode_stand_together_and_belong_to_its_seed():
    labels = draw_states(numbered(np.ones((5, 2, 3), dtype=bool)), 4, np.random.default_rng(0))
    assert labels.observation[..., 2].tolist() == [[0] * 4 + [1] * 4 + [2] * 4] * 2
    assert labels.observation[..., 1].tolist() == [[0] * 12, [1] * 12]
    assert all(len(set(labels.observation[0, 4 * e : 4 * e + 4, 0])) == 4 for e in range(3))


def test_what_cannot_be_played_or_drawn_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="Pendulum-v1: imitation needs a Discrete action space; got Box"):
        Gym("Pendulum-v1")
    told = gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(3))
    spaces = {"action_space": gymnasium.spaces.Discrete(2), "observation_space": told}
    monkeypatch.setattr(gymnasium, "make", lambda name: SimpleNamespace(**spaces, close=lambda: None))
    with pytest.raises(ValueError, match=r"Told-v0: observations must have a fixed number of entries; got Sequence\("):
        Gym("Told-v0")
    with pytest.raises(ValueError, match="count is the number of steps to draw from each episode, at least 1; got 0"):
        draw_states(numbered(np.ones((2, 1, 1), dtype=bool)), 0, np.random.default_rng(0))


def test_the_track_is_a_world_like_the_others():
    grid = gridworlds.track(2)
    play = rollout(grid, lambda seen, rng: gridworlds.drive(2)[seen.argmax(-1)], (3,), 5, np.random.default_rng(0))
    assert (play.returns == 5).all()

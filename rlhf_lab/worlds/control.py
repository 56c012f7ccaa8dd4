"""Worlds that are played, many episodes at once: what such a world is, CartPole in numpy, and experts that play.

    D numbers of an observation    A actions    T steps    E episodes    `...` seeds and what else runs side by side

A world is a few pure functions of a state. `environments.Gym` makes one of any environment of Gymnasium.

The trap: CartPole pays 1 for each step until the pole falls. Whatever keeps an episode going looks like skill there.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.random import Generator

from rlhf_lab.models.policies import Act, Network
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array


class World(Protocol):
    """What can be played: sizes, and what happens next."""

    @property
    def observations(self) -> int:
        """Number D of an observation's entries."""

    @property
    def actions(self) -> int:
        """Number A of actions, 0 to A - 1."""

    def reset(self, shape: tuple[int, ...], rng: Generator) -> Any:
        """Return the first state of one episode for each entry of `shape`."""

    def observe(self, state: Any) -> Array:
        """Return what a policy sees, floats (..., D)."""

    def step(self, state: Any, action: Array, rng: Generator) -> tuple[Any, Array, Array]:
        """Take one action in each episode: next state, rewards (...), and which episodes are over (...)."""


@dataclass(frozen=True)
class CartPole:
    """Gymnasium's CartPole-v1, in numpy: the same numbers, step for step, for any number of episodes at once.

    A state is (x, velocity, angle, angular velocity), in metres, radians and seconds; action 0 pushes left, 1 right.
    The time limit of 500 steps is the horizon of a rollout. Barto, Sutton and Anderson 1983.
    """

    observations: int = 4
    actions: int = 2
    scale: tuple[float, ...] = (1.0, 1.0, 0.1, 1.0)

    def reset(self, shape: tuple[int, ...], rng: Generator) -> Array:
        """Draw first states, uniform in [-0.05, 0.05]."""
        return rng.uniform(-0.05, 0.05, size=(*shape, 4))

    def observe(self, state: Array) -> Array:
        """Return the state: nothing is hidden."""
        return state

    def step(self, state: Array, action: Array, rng: Generator) -> tuple[Array, Array, Array]:
        """Push, and pay 1; the episode is over if the cart is 2.4 m from the middle or the pole leans by 12 degrees."""
        x, velocity, angle, spin = np.moveaxis(state, -1, 0)
        force = np.where(np.asarray(action) == 1, 10.0, -10.0)
        cos, sin = np.cos(angle), np.sin(angle)
        push = (force + 0.05 * np.square(spin) * sin) / 1.1
        spin_rate = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * np.square(cos) / 1.1))
        rate = push - 0.05 * spin_rate * cos / 1.1
        following = [x + 0.02 * velocity, velocity + 0.02 * rate, angle + 0.02 * spin, spin + 0.02 * spin_rate]
        done = (np.abs(following[0]) > 2.4) | (np.abs(following[2]) > 12 * 2 * np.pi / 360)
        return np.stack(following, axis=-1), np.ones(done.shape), done


def check_sizes(world: World, network: Network) -> None:
    """Raise unless a network was made for a world: as many numbers to see, and as many actions to choose among."""
    if (world.observations, world.actions) != (network.observations, network.actions):
        raise ValueError(
            f"the world shows {world.observations} numbers and knows {world.actions} actions; this network was made "
            f"for {network.observations} and {network.actions}"
        )


class Rollout(NamedTuple):
    """Episodes, time first: observations (T, ..., D), actions, rewards and whether the episode still ran, (T, ...)."""

    observation: Array
    action: Array
    reward: Array
    alive: Array

    @property
    def returns(self) -> Array:
        """The sum of the rewards of each episode, (...)."""
        return np.sum(self.reward * self.alive, axis=0)


def rollout(world: World, act: Act, shape: tuple[int, ...], horizon: int, rng: Generator) -> Rollout:
    """Play one episode for each entry of `shape`, until all are over or `horizon` steps are played."""
    state, alive, steps = world.reset(shape, rng), np.ones(shape, dtype=bool), []
    for _ in range(checks.horizon(horizon)):
        seen = world.observe(state)
        action = act(seen, rng)
        state, reward, done = world.step(state, action, rng)
        steps.append((seen, action, reward, alive))
        alive = alive & ~done
        if not alive.any():
            break
    return Rollout(*(np.stack(column) for column in zip(*steps, strict=True)))


def cartpole_expert(observation: Array, rng: Generator) -> Array:
    """Balance: push right if angle, its rate, and a little of position and velocity add up to more than 0."""
    return (observation @ np.array([0.1, 0.3, 3.0, 1.0]) > 0).astype(int)


def acrobot_expert(observation: Array, rng: Generator) -> Array:
    """Swing up: push the elbow the way that adds energy, which the shoulder's rate tells (torque 2 is +1, 0 is -1)."""
    return np.where(observation[..., 4] < 0, 2, 0)

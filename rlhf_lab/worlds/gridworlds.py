"""Small worlds with a known transition matrix, solved by sweeps over time: the cliff and the track.

    s state    a action    P transition    r reward    rho first states    d_t occupancy    T horizon    S, A numbers

Policies are arrays pi(a | s), (..., S, A), the same at every step; leading axes (seeds) are carried along. A reward
is paid in the state where it stands, whatever one does there, also in the last.

The trap: on the track an expert never leaves the middle, so that demonstrations, however many, show one state.
"""

from dataclasses import dataclass

import autograd.numpy as np
from numpy.random import Generator

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array


@dataclass(frozen=True)
class Grid:
    """A decision process of S states and A actions: `transition` (S, A, S), `reward` (S,), `start` (S,).

    It can be played as well (see `control.World`): a policy then sees its state as a one-hot row.
    """

    transition: Array
    reward: Array
    start: Array

    def __post_init__(self) -> None:
        states, actions = self.transition.shape[:2]
        if self.transition.shape != (states, actions, states):
            raise ValueError(f"transition must have shape (S, A, S); got {self.transition.shape}")
        if np.shape(self.reward) != (states,) or np.shape(self.start) != (states,):
            raise ValueError(
                f"reward {np.shape(self.reward)} and start {np.shape(self.start)} must have one entry for each of the "
                f"{states} states"
            )
        checks.probabilities("transition", self.transition)
        checks.probabilities("start", self.start)

    @property
    def observations(self) -> int:
        """Number S of states."""
        return len(self.start)

    @property
    def actions(self) -> int:
        """Number A of actions."""
        return int(self.transition.shape[1])

    def reset(self, shape: tuple[int, ...], rng: Generator) -> Array:
        """Draw first states."""
        return rng.choice(len(self.start), size=shape, p=self.start)

    def observe(self, state: Array) -> Array:
        """Return the state as a one-hot row."""
        return np.eye(len(self.start))[state]

    def step(self, state: Array, action: Array, rng: Generator) -> tuple[Array, Array, Array]:
        """Draw next states; pay the reward of the old ones. Only the horizon ends an episode."""
        cumulative = np.cumsum(self.transition[state, action], axis=-1)[..., :-1]
        following = np.sum(rng.random(np.shape(state))[..., None] > cumulative, axis=-1)
        return following, self.reward[state], np.zeros(np.shape(state), dtype=bool)


def cliff() -> Grid:
    """Return two states, road (0) and ditch (1), and two actions, stay (0) and swerve (1).

    On the road, swerving leads into the ditch. In the ditch, it leads back. The road pays 1 a step, the ditch nothing.
    """
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 0] = transition[0, 1, 1] = transition[1, 0, 1] = transition[1, 1, 0] = 1.0
    return Grid(transition, np.array([1.0, 0.0]), np.array([1.0, 0.0]))


LEFT, AHEAD, RIGHT = range(3)


def track(width: int, wind: float = 0.0) -> Grid:
    """Return a road that slopes down to both sides: offsets -width to width from its middle, where cars start.

    In the middle the car goes where it is steered: left, ahead or right. Elsewhere the slope pulls: steering back to
    the middle brings the car one step nearer, anything else takes it one step farther out, as far as the verge. With
    probability `wind` the car is blown one step to a side instead, both equally likely. The middle pays 1 a step.
    """
    if width < 1 or width != int(width):
        raise ValueError(f"width is the number of offsets on each side, at least 1; got {width}")
    checks.share("wind", wind)
    offsets = np.arange(-width, width + 1)
    side = np.sign(offsets)
    moved = np.stack([np.where((side == 0) | (side == -steer), steer, side) for steer in (-1, 0, 1)], axis=1)
    steered, left, right = (
        1.0 * (np.clip(offsets[:, None, None] + by, -width, width) == offsets) for by in (moved[..., None], -1, 1)
    )
    middle = 1.0 * (offsets == 0)
    return Grid((1 - wind) * steered + wind / 2 * (left + right), middle, middle)


def drive(width: int) -> Array:
    """Return the expert of the track, one action for each state: ahead in the middle, back to it from elsewhere."""
    return AHEAD - np.sign(np.arange(-width, width + 1))


def table(action: Array, actions: int) -> Array:
    """Return a deterministic policy, one action (..., S) for each state, as probabilities (..., S, A)."""
    return np.eye(actions)[action]


def occupancy(grid: Grid, policy: Array, horizon: int) -> Array:
    """d_1 = rho, d_(t+1)(s') = sum_s d_t(s) sum_a pi(a | s) P(s' | s, a): (..., T, S) (eq-state-occupancy)."""
    moves = np.einsum("...sa,sax->...sx", policy, grid.transition)
    d = [np.broadcast_to(grid.start, (*moves.shape[:-2], 1, len(grid.start)))]
    for _ in range(checks.horizon(horizon) - 1):
        d.append(np.matmul(d[-1], moves))
    found = np.moveaxis(np.array(d), 0, -3)  # autograd's gradient of a concatenation takes the square of the steps
    return np.reshape(found, (*found.shape[:-2], found.shape[-1]))


def performance(grid: Grid, policy: Array, horizon: int) -> Array:
    """J(pi) = sum_t sum_s d_t(s) r(s), the expected reward of an episode of T steps, (...) (eq-policy-return)."""
    return np.sum(occupancy(grid, policy, horizon) * grid.reward, axis=(-2, -1))


def values(grid: Grid, policy: Array, horizon: int) -> tuple[Array, Array]:
    """Return V_t(s) (T, S) and Q_t(s, a) (T, S, A) of a policy (S, A): what is still paid from step t on."""
    v, found = np.zeros(len(grid.start)), []
    for _ in range(checks.horizon(horizon)):
        q = grid.reward[:, None] + np.matmul(grid.transition, v)
        v = np.sum(policy * q, axis=-1)
        found.append((v, q))
    return np.stack([v for v, _ in found[::-1]]), np.stack([q for _, q in found[::-1]])


def most_visits(grid: Grid, horizon: int) -> Array:
    """Return max_pi sum_t d_t(s) for each state, (S,): the most steps, on average, that any policy can spend there."""
    target = np.eye(len(grid.start))
    v = np.zeros_like(target)
    for _ in range(checks.horizon(horizon)):
        v = target + np.max(np.einsum("sax,gx->gsa", grid.transition, v), axis=-1)
    return np.matmul(v, grid.start)

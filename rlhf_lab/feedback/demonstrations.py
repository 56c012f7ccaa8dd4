"""What an expert showed: labels to learn from, whole demonstrations, and one file that anyone can read.

s observation, D numbers    a action, one of A    w weight    N steps of all episodes, one after the other
"""

import io
import operator
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.feedback import rollout_files
from rlhf_lab.models.policies import Act
from rlhf_lab.numerics import checks, files
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds.control import Rollout, World, rollout

FORMAT = 1
NAMES = ("observation", "action", "episode", "actions")


class Labels(NamedTuple):
    """What an expert does: observations (..., N, D), actions (..., N), and how much each pair counts, (..., N)."""

    observation: Array
    action: Array
    weight: Array


def join_labels(first: Labels, second: Labels) -> Labels:
    """Put the pairs of two sets of labels one after the other."""
    return Labels(
        np.concatenate([first.observation, second.observation], axis=-2),
        np.concatenate([first.action, second.action], axis=-1),
        np.concatenate([first.weight, second.weight], axis=-1),
    )


def check_labels(labels: Labels, actions: int) -> Labels:
    """Return labels as arrays, with integers for actions and floats for the rest, or say what is wrong with them."""
    observation, weight = (np.asarray(part, dtype=float) for part in (labels.observation, labels.weight))
    action = checks.actions("action", labels.action, actions)
    if action.shape != observation.shape[:-1] or weight.shape != action.shape:
        raise ValueError(
            f"observation {observation.shape}, action {action.shape} and weight {weight.shape} must have one action "
            "and one weight for each observation"
        )
    if not np.isfinite(observation).all():
        raise ValueError("observation holds NaN or infinity")
    return Labels(observation, action, check_weights(weight))


def check_weights(weight: Array) -> Array:
    """Return the weights (..., N) of pairs, if they are finite and not negative, and in no row all 0."""
    if not np.isfinite(weight).all() or (weight < 0).any() or not (weight.sum(-1) > 0).all():
        raise ValueError("weights must be finite and not negative, and not all 0: there is nothing to imitate")
    return weight


def draw_states(play: Rollout, count: int, rng: Generator) -> Labels:
    """Draw `count` of the steps of each episode, all equally likely, with what was done there.

    For a rollout of T steps and episodes of shape (..., E) returns labels with (..., E * min(count, T)) rows; rows
    that an episode was too short for have weight 0.
    """
    if count < 1:
        raise ValueError(f"count is the number of steps to draw from each episode, at least 1; got {count}")
    order = np.argsort(np.where(play.alive, rng.random(play.alive.shape), 2.0), axis=0)[:count]
    lead = play.alive.shape[1:-1]

    def rows(values: Array) -> Array:
        drawn = np.take_along_axis(values, order.reshape(order.shape + (1,) * (values.ndim - order.ndim)), axis=0)
        return np.moveaxis(drawn, 0, len(lead) + 1).reshape(*lead, -1, *values.shape[order.ndim :])

    return Labels(rows(play.observation), rows(play.action), rows(play.alive).astype(float))


@dataclass(frozen=True)
class Demonstrations:
    """Steps of an expert: floats `observation` (N, D), integers `action` (N,) below `actions`, `episode` (N,).

    `episode` numbers the episodes 0, 1, 2, ... in the order of the rows. Raises `ValueError` if there are no steps,
    if shapes do not match, if observations are not real numbers, or if an action is not one of the discrete actions.
    """

    observation: Array
    action: Array
    episode: Array
    actions: int

    def __post_init__(self) -> None:
        observation = np.asarray(self.observation)
        if not np.can_cast(observation.dtype, float):
            raise ValueError(f"observation must hold real numbers; got {observation.dtype}")
        observation = np.asarray(observation, dtype=float)
        if observation.ndim != 2:
            raise ValueError(f"observation must have shape (N, D), one row a step; got {observation.shape}")
        if not len(observation):
            raise ValueError("there are no demonstrations; at least one step is needed")
        if not np.isfinite(observation).all():
            raise ValueError("observation holds NaN or infinity")
        try:
            actions = operator.index(self.actions)
        except TypeError:
            raise ValueError(f"actions is the number of discrete actions, a whole one; got {self.actions}") from None
        action = checks.actions("action", self.action, actions)
        episode = np.asarray(self.episode)
        if action.shape != (len(observation),) or episode.shape != action.shape:
            raise ValueError(
                f"observation {observation.shape}, action {action.shape} and episode {episode.shape} must have one "
                "row for each step"
            )
        if (
            not np.issubdtype(episode.dtype, np.integer)
            or episode[0] != 0
            or not np.isin(np.diff(episode), (0, 1)).all()
        ):
            raise ValueError("episode must hold whole numbers that start at 0 and stay or grow by 1 from row to row")
        checked = {"observation": observation, "action": action, "episode": episode, "actions": actions}
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return int(self.episode[-1]) + 1

    def first(self, count: int) -> "Demonstrations":
        """Return the first `count` episodes."""
        if not 1 <= count <= len(self):
            raise ValueError(f"there are {len(self)} episodes; the first {count} were wanted")
        rows = self.episode < count
        return Demonstrations(self.observation[rows], self.action[rows], self.episode[rows], self.actions)

    @property
    def labels(self) -> Labels:
        """All steps as labels of weight 1, which is what `imitation.clone` reads."""
        return Labels(self.observation, self.action, np.ones(len(self.action)))


def record(world: World, expert: Act, episodes: int, horizon: int, rng: Generator) -> Demonstrations:
    """Let an expert play, and write down what it sees and does."""
    play = rollout(world, expert, (episodes,), horizon, rng)
    alive = play.alive.T
    rows, _ = np.nonzero(alive)
    seen, done = (np.swapaxes(part, 0, 1)[alive] for part in (play.observation, play.action))
    return Demonstrations(seen, done, rows, world.actions)


def save(path: str | os.PathLike[str], shown: Demonstrations, *, overwrite: bool = False) -> None:
    """Write demonstrations to one `.npz` file, a zip of plain arrays: format, observation, action, episode, actions.

    The file is written whole or not at all; raises `FileExistsError` if it is there and `overwrite` is not set.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"demonstrations are stored in .npz files; got {path.name}")
    with files.whole(path, overwrite) as fresh, fresh.open("wb") as file:
        np.savez_compressed(file, format=np.array(FORMAT), **_arrays(shown))


def _arrays(shown: Demonstrations) -> dict[str, Any]:
    return {name: np.asarray(getattr(shown, name)) for name in NAMES}


def load(path: str | os.PathLike[str], actions: int | None = None) -> Demonstrations:
    """Return the demonstrations that `save` wrote, or that the package `imitation` stored with its `serialize.save`.

    Files of `imitation` (.npz, or folders, which need the package datasets) do not say how many discrete actions there
    are: `actions` must. Raises `ValueError` if the file is damaged, of another format, or something else.
    """
    path = Path(path)
    if path.is_dir():
        return _foreign(path, actions, *rollout_files.folder(path))
    raw = path.read_bytes()
    if raw and not raw.startswith(b"PK"):
        raise ValueError(f"{path} is not a file of demonstrations.save, which is a .npz file of arrays")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            stored = {Path(name).stem: name for name in archive.namelist()}
            theirs = {"obs", "acts"} <= set(stored)
            wanted = [name for name in (rollout_files.NAMES if theirs else ("format", *NAMES)) if name in stored]
            found = {name: _array(archive.read(stored[name])) for name in wanted}
    except Exception as error:  # a wrong byte can make zipfile and numpy raise nearly anything
        raise ValueError(f"{path} is damaged: {error}; record the demonstrations again") from None
    if not found:
        told = ", ".join(stored) or "nothing"
        raise ValueError(f"{path} is not a file of demonstrations.save: it holds {told:.80}")
    if theirs:
        if missing := [name for name in rollout_files.NAMES if name not in found]:
            raise ValueError(f"{path} is a file of the package imitation without {', '.join(missing)}")
        try:
            parts = rollout_files.steps(**found)
        except ValueError as error:
            raise ValueError(f"{path} cannot be read as a file of the package imitation: {error}") from None
        return _foreign(path, actions, *parts)
    number = found.pop("format", None)
    if number is None or number.tolist() != FORMAT:
        given = "no format number" if number is None else f"format {number}"
        raise ValueError(f"{path} has {given}, this package reads {FORMAT}")
    missing = [name for name in NAMES if name not in found]
    if missing:
        raise ValueError(f"{path} is damaged: {', '.join(missing)} missing")
    try:
        shown = Demonstrations(**{name: found[name] for name in NAMES})
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if actions not in (None, shown.actions):
        raise ValueError(f"{path} has {shown.actions} actions; actions={actions} was wanted")
    return shown


def _foreign(path: Path, actions: int | None, observation: Array, action: Array, episode: Array) -> Demonstrations:
    if actions is None:
        raise ValueError(
            f"{path} holds demonstrations of the package imitation, which do not say how many discrete actions there "
            f"are: pass actions (the largest number in it is {action.max()}, the first is 0)"
        )
    try:
        return Demonstrations(observation, action, episode, actions)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a file of the package imitation: {error}") from None


def _array(data: bytes) -> Array:
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)

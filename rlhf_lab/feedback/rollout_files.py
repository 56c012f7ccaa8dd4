"""Demonstrations out of files of the package `imitation`: its compressed arrays, and its folders of datasets.

An episode of T steps has T + 1 observations there: the last, behind the last action, is left out here.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_lab.numerics.autodiff import Array

NAMES = ("obs", "acts", "indices", "terminal")  # of its arrays; infos are pickled, and stay closed


def steps(obs: Array, acts: Array, indices: Array, terminal: Array) -> tuple[Array, Array, Array]:
    """Return observations (N, D), actions (N,) and episodes (N,) of all episodes, which are stored one after another.

    `indices` (E - 1,) are the steps at which the second episode and those behind it begin, `terminal` (E,) counts them.
    """
    ends = np.append(indices, len(acts)).astype(np.intp)
    lengths = np.diff(ends, prepend=0)
    if len(ends) != len(terminal) or (lengths < 1).any() or len(obs) != len(acts) + len(ends):
        raise ValueError(
            f"{len(terminal)} episodes of {len(acts)} actions need {len(acts) + len(terminal)} observations, and "
            f"{len(terminal) - 1} starts in order; got {len(obs)} and {len(ends) - 1}"
        )
    return _checked(np.delete(obs, ends + np.arange(len(ends)), axis=0), acts, np.repeat(np.arange(len(ends)), lengths))


def folder(path: Path) -> tuple[Array, Array, Array]:
    """Return observations, actions and episodes, as `steps` does, of a folder; it needs the package datasets."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise ValueError(f"{path} is a folder: install datasets to read those of the package imitation") from None
    try:
        table = datasets.load_from_disk(str(path))
        found: list[Sequence[Any]] = [table["obs"][:], table["acts"][:]]
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no folder of demonstrations of the package imitation: {error}") from None
    obs, acts = ([np.asarray(one) for one in column] for column in found)
    lengths = [len(one) for one in acts]
    return steps(np.concatenate(obs), np.concatenate(acts), np.cumsum(lengths)[:-1], np.zeros(len(lengths)))


def _checked(observation: Array, action: Array, episode: Array) -> tuple[Array, Array, Array]:
    if action.ndim != 1 or not np.issubdtype(action.dtype, np.integer):
        raise ValueError(f"actions must be numbers of discrete actions, (N,); got {action.dtype} {action.shape}")
    return observation.reshape(len(observation), -1), action, episode

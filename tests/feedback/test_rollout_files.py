"""Demonstrations of the package `imitation` are read from its arrays; what is pickled in them stays closed."""

import pickle

import numpy as np
import pytest

from rlhf_lab.feedback import demonstrations

OBS = [np.arange(8.0).reshape(4, 2), 10 + np.arange(6.0).reshape(3, 2)]  # one more than actions
ACTS = [np.array([0, 1, 1]), np.array([1, 0])]


def stored(path, **changed):
    """Write what `imitation.data.serialize.save` wrote until its version 0.4: the infos are objects."""
    arrays = {
        "obs": np.concatenate(OBS),
        "acts": np.concatenate(ACTS),
        "infos": np.array([{}] * 5, dtype=object),
        "terminal": np.array([True, False]),
        "indices": np.array([3]),
        "rews": np.ones(5),
    } | changed
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_steps_and_episodes_are_read_without_the_observation_behind_the_last_action(tmp_path):
    shown = demonstrations.load(stored(tmp_path / "rollouts.npz"), actions=3)
    assert shown.observation.tolist() == [[0, 1], [2, 3], [4, 5], [10, 11], [12, 13]]
    assert shown.action.tolist() == [0, 1, 1, 1, 0]
    assert shown.episode.tolist() == [0, 0, 0, 1, 1]
    assert shown.actions == 3
    one = stored(tmp_path / "one.npz", obs=OBS[0], acts=ACTS[0], terminal=np.array([True]), indices=np.array([], int))
    assert len(demonstrations.load(one, actions=2)) == 1
    pictures = stored(tmp_path / "wide.npz", obs=np.concatenate(OBS).reshape(7, 1, 2))
    assert demonstrations.load(pictures, actions=2).observation.shape == (5, 2)


def test_the_number_of_actions_is_asked_for(tmp_path):
    with pytest.raises(
        ValueError, match=r"do not say how many .* are: pass actions \(the largest number in it is 1, the"
    ):
        demonstrations.load(stored(tmp_path / "rollouts.npz"))
    with pytest.raises(
        ValueError, match="cannot be read as a file of the package imitation: action: there are 1 actions"
    ):
        demonstrations.load(stored(tmp_path / "rollouts.npz"), actions=1)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"acts": np.ones((5, 1))}, r"actions must be numbers of discrete actions, \(N,\); got float64 \(5, 1\)"),
        ({"acts": np.ones(5)}, r"actions must be numbers of discrete actions, \(N,\); got float64 \(5,\)"),
        ({"obs": np.ones((5, 2))}, "2 episodes of 5 actions need 7 observations, and 1 starts in order; got 5 and 1"),
        ({"indices": np.array([3, 4])}, "2 episodes of 5 actions need 7 observations"),
        ({"indices": np.array([0])}, "2 episodes of 5 actions need 7 observations"),
        ({"indices": None}, "rollouts.npz is a file of the package imitation without indices"),
        ({"obs": np.full((7, 2), np.nan)}, "observation holds NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, changed, told):
    with pytest.raises(ValueError, match=told):
        demonstrations.load(stored(tmp_path / "rollouts.npz", **changed), actions=2)


def test_other_files_are_not_called_damaged(tmp_path):
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match=r"other.npz is not a file of demonstrations.save: it holds weights"):
        demonstrations.load(tmp_path / "other.npz")
    (tmp_path / "old.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(
        ValueError, match=r"old.pkl is not a file of demonstrations.save, which is a .npz file of arrays"
    ):
        demonstrations.load(tmp_path / "old.pkl")
    with pytest.raises(ValueError, match=r"(is a folder: install datasets|is no folder of demonstrations)"):
        demonstrations.load(tmp_path)


def test_the_number_of_actions_of_our_own_files_is_checked(tmp_path):
    shown = demonstrations.load(stored(tmp_path / "rollouts.npz"), actions=3)
    demonstrations.save(tmp_path / "own.npz", shown)
    assert demonstrations.load(tmp_path / "own.npz", actions=3).actions == 3
    with pytest.raises(ValueError, match=r"own.npz has 3 actions; actions=2 was wanted"):
        demonstrations.load(tmp_path / "own.npz", actions=2)


class Trap:
    def __reduce__(self):
        return (open, ("sprung", "w"))


def test_no_pickle_is_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trap = np.empty(5, dtype=object)
    trap[:] = [Trap()] * 5
    demonstrations.load(stored(tmp_path / "rollouts.npz", infos=trap), actions=2)
    assert not (tmp_path / "sprung").exists()

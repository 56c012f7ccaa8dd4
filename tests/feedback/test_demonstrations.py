"""Labels and demonstrations are checked when made, and a file holds all of them or is refused."""

import io
import itertools
import pickle
import zipfile

import numpy as np
import pytest

from rlhf_lab.feedback import demonstrations
from rlhf_lab.feedback.demonstrations import Demonstrations, Labels
from rlhf_lab.worlds import control, environments
from rlhf_lab.worlds.control import Rollout

SHOWN = Demonstrations(np.arange(10.0).reshape(5, 2) / 3, [0, 1, 1, 2, 0], [0, 0, 1, 1, 2], 3)


def same(a, b):
    assert a.actions == b.actions
    for name in ("observation", "action", "episode"):
        one, other = getattr(a, name), getattr(b, name)
        assert one.dtype == other.dtype
        assert (one == other).all()


def test_labels_are_joined_row_after_row():
    deep = Labels(np.ones((2, 3, 5, 4)), np.ones((2, 3, 5), dtype=int), np.ones((2, 3, 5)))
    assert [part.shape for part in demonstrations.join_labels(deep, deep)] == [(2, 3, 10, 4), (2, 3, 10), (2, 3, 10)]
    lists = demonstrations.check_labels(Labels([[1, 2], [3, 4]], [0, 1], [1, 1]), 2)
    assert [part.dtype for part in lists] == [float, np.intp, float]
    one = demonstrations.check_labels(Labels(np.ones((2, 1, 4)), [[0], [1]], [[1], [1]]), 2)
    assert one.weight.dtype == float
    with pytest.raises(ValueError, match=r"^weights must be finite and not negative, and not all 0: .* to imitate$"):
        demonstrations.check_labels(Labels(np.ones((2, 1, 4)), [[0], [1]], [[1], [0]]), 2)
    first = Labels(np.ones((2, 3, 4)), np.ones((2, 3), dtype=int), np.ones((2, 3)))
    second = Labels(np.zeros((2, 1, 4)), np.zeros((2, 1), dtype=int), np.zeros((2, 1)))
    both = demonstrations.join_labels(first, second)
    assert [part.shape for part in both] == [(2, 4, 4), (2, 4), (2, 4)]
    assert both.action.tolist() == [[1, 1, 1, 0]] * 2
    assert (both.observation[:, 3].sum(), both.weight.sum()) == (0, 6)


def numbered(alive):
    """A rollout whose observations and actions say which step, seed and episode they are."""
    place = np.moveaxis(np.indices(alive.shape), 0, -1).astype(float)
    return Rollout(place, place @ [100, 10, 1], np.ones(alive.shape), alive)


def test_states_are_drawn_evenly_from_the_steps_of_each_episode_and_only_from_those():
    alive = np.arange(6)[:, None, None] < np.array([[6, 4, 1], [2, 6, 6]])
    play, seen = numbered(alive), np.zeros(alive.shape)
    for seed in range(600):
        labels = demonstrations.draw_states(play, 2, np.random.default_rng(seed))
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
    labels = demonstrations.draw_states(numbered(np.ones((3, 2, 4), dtype=bool)), 5, np.random.default_rng(0))
    assert labels.weight.tolist() == [[1.0] * 12] * 2


def test_rows_of_an_episode_stand_together_and_belong_to_its_seed():
    labels = demonstrations.draw_states(numbered(np.ones((5, 2, 3), dtype=bool)), 4, np.random.default_rng(0))
    assert labels.observation[..., 2].tolist() == [[0] * 4 + [1] * 4 + [2] * 4] * 2
    assert labels.observation[..., 1].tolist() == [[0] * 12, [1] * 12]
    assert all(len(set(labels.observation[0, 4 * e : 4 * e + 4, 0])) == 4 for e in range(3))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="count is the number of steps to draw from each episode, at least 1; got 0"):
        demonstrations.draw_states(numbered(np.ones((2, 1, 1), dtype=bool)), 0, np.random.default_rng(0))


def test_lists_become_arrays_and_one_step_is_enough():
    one = Demonstrations([[1, 2]], [1], [0], 2)
    assert [part.dtype for part in (one.observation, one.action, one.episode)] == [float, np.intp, np.intp]
    assert (len(one), one.observation.tolist()) == (1, [[1.0, 2.0]])
    assert type(Demonstrations([[1, 2]], [1], [0], np.array(2)).actions) is int


def test_what_was_shown():
    assert len(SHOWN) == 3
    assert (SHOWN.action.dtype, SHOWN.observation.dtype) == (np.intp, float)
    few = SHOWN.first(2)
    assert (len(few), few.action.tolist(), few.episode.tolist(), few.actions) == (2, [0, 1, 1, 2], [0, 0, 1, 1], 3)
    same(SHOWN.first(3), SHOWN)
    assert SHOWN.labels.weight.tolist() == [1.0] * 5
    assert SHOWN.labels.observation is SHOWN.observation
    assert SHOWN.labels.action is SHOWN.action


@pytest.mark.parametrize("world", [control.CartPole(), environments.Gym("Acrobot-v1")], ids=["CartPole", "Acrobot"])
def test_an_expert_is_recorded_step_by_step_and_survives_a_file(world, tmp_path):
    expert = control.cartpole_expert if world.actions == 2 else control.acrobot_expert
    shown = demonstrations.record(world, expert, 3, 500, np.random.default_rng(0))
    play = control.rollout(world, expert, (3,), 500, np.random.default_rng(0))
    assert (len(shown), shown.actions) == (3, world.actions)
    for e in range(3):
        alive = play.alive[:, e]
        assert (shown.observation[shown.episode == e] == play.observation[alive, e]).all()
        assert (shown.action[shown.episode == e] == play.action[alive, e]).all()
    demonstrations.save(tmp_path / "shown.npz", shown)
    same(demonstrations.load(tmp_path / "shown.npz"), shown)
    assert [path.name for path in tmp_path.iterdir()] == ["shown.npz"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"observation": np.ones(5)}, r"observation must have shape \(N, D\), one row a step; got \(5,\)"),
        (
            {"observation": np.ones((0, 2)), "action": np.array([], dtype=int), "episode": np.array([], dtype=int)},
            "^there are no demonstrations; at least one step is needed$",
        ),
        ({"observation": [["1", "2"]] * 5}, "^observation must hold real numbers; got <U1$"),
        ({"actions": 2.9}, "^actions is the number of discrete actions, a whole one; got 2.9$"),
        ({"observation": np.full((5, 2), np.nan)}, "^observation holds NaN or infinity$"),
        (
            {"action": np.array([0.1, 0, 0, 0, 0])},
            "action must be integers, the numbers of discrete actions; got float",
        ),
        ({"action": np.array([0, 3, 0, 0, 0])}, "action: there are 3 actions, 0 to 2; got 3"),
        ({"action": np.array([0, 1])}, r"observation \(5, 2\), action \(2,\) and episode \(5,\) must have one row"),
        ({"episode": np.array([0, 1])}, r"observation \(5, 2\), action \(5,\) and episode \(2,\) must have one row"),
        (
            {"episode": [1, 1, 1, 2, 2]},
            "^episode must hold whole numbers that start at 0 and stay or grow by 1 from row to row$",
        ),
        ({"episode": [0.0, 0, 0, 1, 1]}, "episode must hold whole numbers that start at 0"),
        ({"episode": [0, 0, 2, 2, 2]}, "episode must hold whole numbers that start at 0"),
        ({"episode": [0, 1, 0, 1, 1]}, "episode must hold whole numbers that start at 0"),
    ],
)
def test_what_is_no_demonstration_is_refused(changed, told):
    good = {"observation": SHOWN.observation, "action": SHOWN.action, "episode": SHOWN.episode, "actions": 3}
    with pytest.raises(ValueError, match=told):
        Demonstrations(**good | changed)


@pytest.mark.parametrize("count", [0, 4])
def test_there_are_only_so_many_episodes(count):
    with pytest.raises(ValueError, match=f"there are 3 episodes; the first {count} were wanted"):
        SHOWN.first(count)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "shown.npz"
    demonstrations.save(path, SHOWN)
    with pytest.raises(FileExistsError, match=r"shown.npz is there already; pass overwrite=True to replace it"):
        demonstrations.save(path, SHOWN.first(1))
    same(demonstrations.load(path), SHOWN)
    demonstrations.save(path, SHOWN.first(1), overwrite=True)
    assert len(demonstrations.load(path)) == 1
    with pytest.raises(ValueError, match=r"demonstrations are stored in .npz files; got shown.json"):
        demonstrations.save(tmp_path / "shown.json", SHOWN)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left on device"):
        demonstrations.save(tmp_path / "shown.npz", SHOWN)
    assert list(tmp_path.iterdir()) == []


def arrays(**changed):
    stored = {"format": np.array(1), **demonstrations._arrays(SHOWN)} | changed
    return {name: value for name, value in stored.items() if value is not None}


def written(path, **changed):
    with path.open("wb") as file:
        np.savez(file, **arrays(**changed))
    return path


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"format": None}, "has no format number, this package reads 1"),
        ({"format": np.array(2)}, "has format 2, this package reads 1"),
        ({"action": None}, "is damaged: action missing"),
        ({"episode": None, "actions": None}, "is damaged: episode, actions missing"),
        ({"action": np.array([0, 9, 0, 0, 0])}, "is damaged: action: there are 3 actions, 0 to 2; got 9"),
        ({"format": np.array([1, 2])}, r"bad.npz has format \[1 2\], this package reads 1"),
        ({"format": np.array("1")}, "bad.npz has format 1, this package reads 1"),
        ({"actions": np.array([1, 2])}, r"bad.npz is damaged: actions is the number of discrete .* one; got \[1 2\]"),
        ({"actions": np.array(3.0)}, r"bad.npz is damaged: actions is the number of discrete .*, a whole one; got 3.0"),
        ({"actions": np.array(np.inf)}, r"bad.npz is damaged: actions is the number of .*, a whole one; got inf"),
        ({"observation": np.full((5, 2), "1")}, "bad.npz is damaged: observation must hold real numbers; got <U1"),
        ({"observation": np.full((5, 2), 1j)}, "bad.npz is damaged: observation must hold real numbers; got complex"),
    ],
)
def test_a_file_with_something_else_in_it_is_refused(tmp_path, changed, told):
    same(demonstrations.load(written(tmp_path / "good.npz")), SHOWN)
    with pytest.raises(ValueError, match=told):
        demonstrations.load(written(tmp_path / "bad.npz", **changed))


def test_a_damaged_file_is_refused_and_stays(tmp_path):
    whole = tmp_path / "whole.npz"
    demonstrations.save(whole, SHOWN)
    data = whole.read_bytes()
    flipped = bytearray(data)
    with zipfile.ZipFile(io.BytesIO(data)) as inside:
        spot = inside.getinfo("observation.npy").header_offset + 90
    flipped[spot] ^= 0xFF
    array = io.BytesIO()
    np.save(array, np.ones(3))
    damaged, foreign = (
        (b"", data[: len(data) // 2], bytes(flipped)),
        (b"not a zip", pickle.dumps([1]), array.getvalue()),
    )
    for bad in (*damaged, *foreign):
        path = tmp_path / "bad.npz"
        path.write_bytes(bad)
        told = (
            "is damaged: .+; record the demonstrations again" if bad in damaged else "is not a file of demonstrations.s"
        )
        with pytest.raises(ValueError, match=rf"bad.npz {told}"):
            demonstrations.load(path)
        assert path.read_bytes() == bad
    with pytest.raises(FileNotFoundError):
        demonstrations.load(tmp_path / "nowhere.npz")


def test_no_wrong_byte_is_believed(tmp_path):
    """Each byte of a file in turn, changed in one of four ways: what is read is what was written, or nothing."""
    path = tmp_path / "shown.npz"
    demonstrations.save(path, SHOWN)
    data, refused = path.read_bytes(), 0
    for place, change in zip(range(len(data)), itertools.cycle((0x01, 0x08, 0x40, 0xFF)), strict=False):
        wrong = bytearray(data)
        wrong[place] ^= change
        path.write_bytes(wrong)
        try:
            same(demonstrations.load(path), SHOWN)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused > len(data) / 2


@pytest.mark.parametrize("header", ["{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 2)}", "{'descr'"])
def test_a_header_that_promises_too_much_is_refused(tmp_path, header):
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    path = written(tmp_path / "bad.npz", observation=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("observation.npy", array)
    with pytest.raises(ValueError, match=r"bad.npz is damaged: .+; record the demonstrations again"):
        demonstrations.load(path)


class Trap:
    def __reduce__(self):
        return (open, ("sprung", "w"))


def test_no_pickle_is_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.empty(1, dtype=object)
    objects[0] = Trap()
    path = written(tmp_path / "trap.npz", action=objects)
    with pytest.raises(ValueError, match="is damaged"):
        demonstrations.load(path)
    assert not (tmp_path / "sprung").exists()

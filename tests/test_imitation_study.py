"""The study of CartPole, in small, and what the stored one promises."""

import numpy as np
import pytest

from rlhf_lab import control, dril, experiments, imitation_study, results


@pytest.fixture(scope="module")
def found():
    return imitation_study.clones(2, 3, np.random.default_rng(0))


def test_demonstrations_are_a_few_steps_of_each_episode(found):
    labels = found.labels
    keep = imitation_study.KEEP
    assert labels.observation.shape == (3, 2 * keep, 4)
    assert (labels.weight == 1).all()
    assert (labels.action == control.cartpole_expert(labels.observation, np.random.default_rng(0))).all()


def test_members_of_the_ensemble_differ_and_agree_on_what_was_shown(found):
    assert found.ensemble["weights"].shape[:2] == (imitation_study.MEMBERS, 3)
    assert not np.allclose(found.ensemble["weights"][0], found.ensemble["weights"][1])
    shown = dril.costs(imitation_study.NETWORK, found.ensemble, found.labels)
    limit = imitation_study.limit(found)
    assert limit.shape == (3,)
    assert (limit == shown.max(-1)).all()  # 98% of ten pairs are all of them
    far = found.labels._replace(observation=found.labels.observation * np.array([1, 1, -5, -1.0]))
    assert dril.costs(imitation_study.NETWORK, found.ensemble, far).mean() > shown.mean()


def test_policies_are_judged_by_play(found):
    returns = imitation_study.judge(found.params, 3, np.random.default_rng(1))
    assert returns.shape == (3,)
    assert (returns > 9).all()
    assert (returns <= 500).all()
    never = {name: 0 * value for name, value in found.params.items()}
    never["bias"] = never["bias"] + np.array([0.0, 50.0])
    assert imitation_study.judge(never, 3, np.random.default_rng(1)) == pytest.approx(np.full(3, 9.3), abs=0.4)


def test_improving_a_clone_changes_it_by_its_cost(found):
    a, b = (
        imitation_study.improve(found, at, np.random.default_rng(2), rounds=1)
        for at in (imitation_study.limit(found), np.full(3, np.inf))
    )
    assert not np.allclose(a["weights"], found.params["weights"])
    assert not np.allclose(a["weights"], b["weights"])
    same = imitation_study.improve(found, None, np.random.default_rng(2), rounds=0)
    assert (same["weights"] == found.params["weights"]).all()


def test_dagger_spends_as_many_labels_as_demonstrations_would():
    found = imitation_study.interactive((1, 3), 2, np.random.default_rng(3))
    assert {name: value.shape for name, value in found.items()} == {"dagger": (2, 2), "expert": (2, 2)}
    assert (found["expert"] == 500).all()


def test_the_study_is_the_same_on_any_number_of_cores(monkeypatch):
    def offline(count, seeds, rng):
        return {name: rng.random(seeds) + count for name in ("clone", "dril", "raw", "survival")}

    monkeypatch.setattr(imitation_study, "offline", offline)
    monkeypatch.setattr(imitation_study, "interactive", lambda counts, seeds, rng: {"dagger": rng.random((2, seeds))})
    one = imitation_study.run(seeds=2, counts=(1, 3), jobs=1)
    again = imitation_study.run(seeds=2, counts=(1, 3), jobs=1)
    assert one["counts"] == [1, 3]
    assert list(one["returns"]) == ["clone", "dril", "raw", "survival", "dagger"]
    assert np.floor(one["returns"]["clone"]).tolist() == [[1, 1], [3, 3]]
    assert all((one["returns"][name] == again["returns"][name]).all() for name in one["returns"])


def test_the_stored_study_is_the_one_that_the_chapter_describes():
    found = experiments.stored("imitation")
    assert tuple(found["counts"]) == imitation_study.COUNTS
    assert set(found["returns"]) == {"clone", "dril", "raw", "survival", "dagger", "expert"}
    assert {np.shape(value) for value in found["returns"].values()} == {(5, 10)}
    mean = {name: np.mean(value, axis=-1) for name, value in found["returns"].items()}
    assert (mean["expert"] == 500).all()
    assert mean["dagger"][2:].min() > 450
    assert mean["clone"][0] < 350 < 480 < mean["clone"][-1]


def test_an_experiment_is_stored_and_not_overwritten(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setitem(experiments.EXPERIMENTS, "imitation", lambda: {"x": np.arange(2)})
    path = tmp_path / "new" / "found.json"
    assert experiments.main(["imitation", "--out", str(path)]) == 0
    assert results.load(path) == {"x": [0, 1]}
    assert "stored in found.json" in capsys.readouterr().out
    monkeypatch.setitem(experiments.EXPERIMENTS, "imitation", lambda: {"x": 2})
    assert experiments.main(["imitation", "--out", str(path)]) == 1
    assert "found.json is there already; add --overwrite" in capsys.readouterr().out
    assert results.load(path) == {"x": [0, 1]}
    assert experiments.main(["imitation", "--out", str(path), "--overwrite"]) == 0
    assert results.load(path) == {"x": 2}
    monkeypatch.setattr(experiments, "FOLDER", tmp_path / "kept")
    assert experiments.main(["imitation"]) == 0
    assert experiments.stored("imitation") == {"x": 2}
    with pytest.raises(SystemExit):
        experiments.main(["imitaton"])
    assert "invalid choice: 'imitaton'" in capsys.readouterr().err

"""The study of CartPole, in small, and what the stored one promises."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import imitation as imitation_study
from rlhf_lab.methods import dril, imitation
from rlhf_lab.worlds import control


@pytest.fixture
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


def test_one_clone_of_several_seeds_is_trained_and_judged_by_three_costs(monkeypatch, found):
    asked = []
    monkeypatch.setattr(imitation_study, "clones", lambda *given: asked.append(given) or found)
    monkeypatch.setattr(imitation_study, "improve", lambda clones, at, rng: asked.append((clones, rng)) or at)
    monkeypatch.setattr(imitation_study, "judge", lambda params, seeds, rng: (params, seeds, rng))
    rng = np.random.default_rng(4)
    returns = imitation_study.offline(2, 3, rng)
    assert asked == [(2, 3, rng)] + [(found, rng)] * 3
    assert list(returns) == ["clone", "dril", "raw", "survival"]
    judged = {name: params for name, (params, *rest) in returns.items() if rest == [3, rng]}
    assert judged["clone"] is found.params
    assert judged["raw"] is None
    assert (judged["dril"] == imitation_study.limit(found)).all()
    assert (judged["survival"] == [np.inf] * 3).all()


def test_dagger_spends_as_many_labels_as_demonstrations_would(monkeypatch):
    shares, rounds, judged = [], [], []
    mixture, dagger, judge = imitation.mixture, imitation.dagger, imitation_study.judge
    monkeypatch.setattr(imitation, "mixture", lambda e, p, share: shares.append(share) or mixture(e, p, share))
    monkeypatch.setattr(imitation, "dagger", lambda *a, **s: rounds.extend(dagger(*a, **s)) or rounds)
    monkeypatch.setattr(imitation_study, "judge", lambda params, *rest: judged.append(params) or judge(params, *rest))
    found = imitation_study.interactive((1, 3), 2, np.random.default_rng(3))
    assert {name: value.shape for name, value in found.items()} == {"dagger": (2, 2), "expert": (2, 2)}
    assert (found["expert"] == 500).all()
    assert shares == [0, 0]  # after the first episode, the student drives
    assert [each.queries.tolist() for each in rounds] == [[5 * n] * 2 for n in (1, 2, 3)]
    assert judged[0] is rounds[0].params
    assert judged[1] is rounds[2].params


def test_what_is_stored_for_dagger_is_what_the_study_finds_now():
    """The last part of `run`, from the same chance: numbers are stored as they are."""
    *_, last = np.random.default_rng(0).spawn(len(imitation_study.COUNTS) + 1)
    found, kept = imitation_study.interactive(imitation_study.COUNTS, 10, last), experiments.stored("imitation")
    for name, returns in found.items():
        assert returns == pytest.approx(kept[name], abs=1e-6)


def test_the_study_is_the_same_on_any_number_of_cores(monkeypatch):
    """Each part has a chance of its own, and the slowest parts begin first."""
    began = []

    def offline(count, seeds, rng):
        began.append(count)
        return {name: rng.random(seeds) + count for name in ("clone", "dril", "raw", "survival")}

    def interactive(counts, seeds, rng):
        began.append(counts)
        return {"dagger": rng.random((seeds, 2))}

    monkeypatch.setattr(imitation_study, "offline", offline)
    monkeypatch.setattr(imitation_study, "interactive", interactive)
    pieces = imitation_study.pieces(2, (1, 3))
    assert {piece.seeds for piece in pieces.values()} == {(0, 1)}
    one = imitation_study.join([piece.run() for piece in pieces.values()])
    assert began == [(1, 3), 3, 1]
    assert list(one) == ["clone", "dril", "raw", "survival", "dagger"]
    assert np.floor(one["clone"]).tolist() == [[1, 3], [1, 3]]
    first, second, last = np.random.default_rng(0).spawn(3)
    assert one["clone"] == pytest.approx(np.stack([first.random(2) + 1, second.random(2) + 3], axis=-1))
    assert one["dagger"] == pytest.approx(last.random((2, 2)))


def test_the_study_of_the_book_has_ten_seeds_and_seventy_rounds(monkeypatch, found):
    settings = {}
    monkeypatch.setattr(imitation_study, "offline", lambda count, seeds, rng: {"clone": np.full(seeds, count)})
    monkeypatch.setattr(imitation_study, "interactive", lambda counts, seeds, rng: {"dagger": np.ones((seeds, 5))})
    study = imitation_study.STUDY
    assert study.settings["counts"] == [1, 3, 5, 10, 20]
    numbers = study.join([piece.run() for piece in study.pieces(10).values()])
    assert {name: values.shape for name, values in numbers.items()} == {"clone": (10, 5), "dagger": (10, 5)}
    monkeypatch.setattr(dril, "dril", lambda *arguments, **given: settings.update(given))
    rng = np.random.default_rng(0)
    imitation_study.improve(found, None, rng)
    assert settings == {"horizon": 500, "rounds": 70, "rng": rng, **imitation_study.DRIL}

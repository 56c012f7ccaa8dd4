"""The study of CartPole, in small, and what the stored one promises."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import imitation as study
from rlhf_lab.methods import dril, imitation
from rlhf_lab.worlds import control

SEEDS = range(3)


@pytest.fixture
def found():
    return study.clones(2, SEEDS, np.random.default_rng(0))


def test_demonstrations_are_a_few_steps_of_each_episode(found):
    labels = found.labels
    assert labels.observation.shape == (3, 2 * study.KEEP, 4)
    assert (labels.weight == 1).all()
    assert (labels.action == control.cartpole_expert(labels.observation, np.random.default_rng(0))).all()


def test_more_demonstrations_are_the_same_ones_and_some_more():
    few, more = (study.demonstrations(count, SEEDS).observation for count in (2, 7))
    assert (few == more[:, : few.shape[1]]).all()
    assert len(np.unique(more, axis=1)[0]) == 7 * study.KEEP


def test_members_of_the_ensemble_differ_and_costs_are_clipped_at_what_was_shown(found):
    assert found.ensemble["weights"].shape[:2] == (study.MEMBERS, 3)
    assert not np.allclose(found.ensemble["weights"][0], found.ensemble["weights"][1])
    shown = dril.costs(study.NETWORK, found.ensemble, found.labels)
    limit = study.limit(found)
    assert limit.shape == (3,)
    assert (limit == shown.max(-1)).all()  # 98% of ten pairs are all of them


def test_the_ensemble_disagrees_more_where_nothing_was_shown():
    found = study.clones(2, range(10), np.random.default_rng(0))
    shown = dril.costs(study.NETWORK, found.ensemble, found.labels)
    far = found.labels._replace(observation=found.labels.observation * np.array([1, 1, -5, -1.0]))
    more = (dril.costs(study.NETWORK, found.ensemble, far) - shown).mean(-1)
    assert more.mean() > 2 * more.std(ddof=1) / np.sqrt(10)


def test_policies_are_judged_by_play_from_the_same_starts(found):
    returns = study.judge(found.params, SEEDS)
    assert returns.shape == (3,)
    assert (returns > 9).all()
    assert (returns <= 500).all()
    assert (returns == study.judge(found.params, SEEDS)).all()
    never = {name: 0 * value for name, value in found.params.items()}
    never["bias"] = never["bias"] + np.array([0.0, 50.0])
    assert study.judge(never, SEEDS) == pytest.approx(np.full(3, 9.3), abs=0.4)


def test_improving_a_clone_changes_it_by_its_cost(found):
    a, b = (
        study.improve(found, at, np.random.default_rng(2), step_size=0.1, rounds=1)
        for at in (study.limit(found), np.full(3, np.inf))
    )
    assert not np.allclose(a["weights"], found.params["weights"])
    assert not np.allclose(a["weights"], b["weights"])
    same = study.improve(found, study.limit(found), np.random.default_rng(2), step_size=0.1, rounds=0)
    assert (same["weights"] == found.params["weights"]).all()


def test_a_clone_and_three_ways_to_go_on_are_judged(monkeypatch, found):
    """The controls have as many optimiser steps as DRIL, each with the step size that was chosen for it."""
    went, longer = [], []
    monkeypatch.setattr(study, "clones", lambda count, seeds, rng: found)
    monkeypatch.setattr(study, "improve", lambda clones, at, rng, step_size: went.append((at, step_size)) or at)
    monkeypatch.setattr(imitation, "clone", lambda *start, **settings: longer.append((start, settings)) or "longer")
    monkeypatch.setattr(study, "judge", lambda params, seeds: params)
    returns = study.offline(2, SEEDS)
    assert list(returns) == ["clone", "longer", "dril", "survival"]
    assert returns["clone"] is found.params
    assert longer == [
        ((study.NETWORK, found.params, found.labels), {"rounds": study.ROUNDS, "step_size": study.STEP_SIZES["longer"]})
    ]
    assert (returns["dril"] == study.limit(found)).all()
    assert (returns["survival"] == [np.inf] * 3).all()
    assert [size for _, size in went] == [study.STEP_SIZES["dril"], study.STEP_SIZES["survival"]]


def test_dagger_spends_as_many_labels_as_demonstrations_would(monkeypatch):
    shares, judged = [], []
    mixture, judge = imitation.mixture, study.judge
    monkeypatch.setattr(imitation, "mixture", lambda e, p, share: shares.append(share) or mixture(e, p, share))
    monkeypatch.setattr(study, "judge", lambda params, *rest: judged.append(params) or judge(params, *rest))
    rounds = study.dagger(study.demonstrations(1, SEEDS), 2, SEEDS)
    assert shares == [0, 0]  # after the first episode, the student drives
    assert [each.queries.tolist() for each in rounds] == [[5 * n] * 3 for n in (1, 2, 3)]
    returns = study.interactive((1, 3), SEEDS)
    assert {name: value.shape for name, value in returns.items()} == {"dagger": (3, 2), "expert": (3, 2)}
    assert (returns["expert"] == 500).all()
    for params, each in zip(judged, (rounds[0], rounds[2]), strict=True):
        assert (params["weights"] == each.params["weights"]).all()


def test_after_one_demonstration_dagger_is_the_clone():
    """Same labels, same first parameters, same tests: nothing but rounds can tell them apart."""
    alone = study.judge(study.train(study.demonstrations(1, SEEDS), SEEDS), SEEDS)
    assert (study.interactive((1, 2), SEEDS)["dagger"][:, 0] == alone).all()
    kept = experiments.stored("imitation")
    assert (kept["dagger"][:, 0] == kept["clone"][:, 0]).all()


def test_what_is_stored_for_clones_and_dagger_is_what_the_study_finds_now():
    kept, seeds = experiments.stored("imitation"), range(10)
    first = slice(study.COUNTS.index(3) + 1)  # rounds do not know how many come after them
    dagger = study.interactive(study.COUNTS[first], seeds)["dagger"]
    assert dagger == pytest.approx(kept["dagger"][:10, first], abs=1e-6)
    clone = study.judge(study.clones(3, seeds, np.random.default_rng(0)).params, seeds)
    assert clone == pytest.approx(kept["clone"][:10, study.COUNTS.index(3)], abs=1e-6)


def test_the_study_of_the_book_has_a_column_for_each_count_and_blocks_of_ten_seeds(monkeypatch):
    monkeypatch.setattr(study, "offline", lambda count, seeds: {"clone": np.full(len(seeds), count)})
    monkeypatch.setattr(study, "interactive", lambda counts, seeds: {"dagger": np.ones((len(seeds), len(counts)))})
    pieces = study.STUDY.pieces(50)
    assert len(pieces) == 5
    numbers = study.STUDY.join([piece.run() for piece in pieces.values()])
    assert {name: values.shape for name, values in numbers.items()} == {"clone": (50, 8), "dagger": (50, 8)}
    assert (numbers["clone"] == study.STUDY.settings["counts"]).all()


def test_dril_goes_on_as_long_as_the_settings_say(monkeypatch, found):
    settings = {}
    monkeypatch.setattr(dril, "dril", lambda *arguments, **given: settings.update(given))
    rng = np.random.default_rng(0)
    study.improve(found, study.limit(found), rng, step_size=0.3)
    assert settings == {"horizon": 500, "rounds": study.ROUNDS, "step_size": 0.3, "rng": rng, **study.DRIL}

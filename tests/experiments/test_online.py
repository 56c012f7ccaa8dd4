"""The study of regret against labels, in small, and what the chapter says of the stored one."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import online as study
from rlhf_lab.methods import online, regret, xpo


@pytest.mark.parametrize(("kind", "sizes"), [("linear", (3, 12, 4)), ("table", (1, 16, 16))])
def test_each_seed_has_a_world_of_its_own(kind, sizes):
    world, other = study.worlds(kind, [3, 5]), study.worlds(kind, [3, 5], first=1)
    prompts, answers, features = sizes
    assert world.log_pi_0.shape == (2, prompts, answers)
    assert world.features.shape == (2, prompts, answers, features)
    assert world.theta.shape == (2, features)
    assert np.exp(world.log_pi_0).sum(-1) == pytest.approx(1)
    assert world.start.sum() == pytest.approx(1)
    assert not np.isclose(world.theta[0], world.theta[1]).any()
    assert not np.isclose(world.theta, other.theta).any()
    alone = study.worlds(kind, [5])
    assert alone.theta[0].tolist() == world.theta[1].tolist()
    assert alone.log_pi_0[0].tolist() == world.log_pi_0[1].tolist()


@pytest.mark.parametrize("kind", study.BEST)
def test_rules_have_the_knobs_that_were_found_best_and_these_were_tried(kind):
    rules = study.rules(kind)
    assert list(rules) == list(experiments.stored("online")[kind])
    for name, values in study.KNOBS.items():
        assert rules[name].knob == study.BEST[kind][name]
        assert rules[name].knob in values
    assert {name for name, rule in rules.items() if not rule.knob} == set(rules) - set(study.KNOBS)


def test_a_curve_is_the_regret_of_a_run():
    rule, settings = study.rules("linear")["on policy"], {"rounds": 2, "batch": 5}
    found = study.curve(rule, "linear", [1, 2], **settings)
    world = study.worlds("linear", [1, 2])
    rng = np.random.default_rng([0, 1, 2])
    trail = online.learn(world, online.on_policy, batches=[5, 5], precision=1.0, rng=rng)
    assert found["regret"] == pytest.approx(np.stack([regret.regret(world, t) for t in trail.theta], 1), rel=1e-12)
    assert found["lost"] == pytest.approx(np.stack([regret.lost(world, t) for t in trail.theta], 1), rel=1e-12)
    assert found["regret"].shape == (2, 3)


def test_knobs_reach_their_rules(monkeypatch):
    monkeypatch.setattr(study, "KNOBS", {"option 1": (0.5,), "best and worst": (2.0,), "XPO": (0.05,)})
    monkeypatch.setattr(study.curve, "__defaults__", (0, 2, 5))
    found, same = study.tune("linear", [1, 2]), {"batches": [5, 5], "precision": 1.0}
    world = study.worlds("linear", [1, 2], first=1)

    def mean(ask, **more):
        trail = online.learn(world, ask, rng=np.random.default_rng([1, 1, 2]), **same, **more)
        return np.mean([regret.regret(world, t) for t in trail.theta])

    assert found["option 1"] == {0.5: pytest.approx(mean(online.optimistic(0.5)))}
    assert found["best and worst"] == {2.0: pytest.approx(mean(online.best_and_worst(2)))}
    assert found["XPO"] == {0.05: pytest.approx(mean(online.with_reference, estimate=xpo.estimate(0.05)))}


def test_what_the_chapter_says_of_the_stored_study():
    found = experiments.stored("online")
    for kind in study.BEST:
        for run in found[kind].values():
            assert run["regret"].shape == run["lost"].shape == (20, 33)
            assert (run["regret"] >= run["lost"]).all()
            assert run["regret"][:, 0] == pytest.approx(found[kind]["offline"]["regret"][:, 0])
        same = slice(0, 9)  # until the first labels that hybrid buys online
        offline, hybrid = (found[kind][name]["regret"][:, same] for name in ("offline", "hybrid"))
        assert offline.tolist() == hybrid.tolist()

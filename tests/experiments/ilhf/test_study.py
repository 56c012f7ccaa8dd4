"""The studies of the ILHF paper: what they run is what the paper says, and what is stored is what they find."""

from dataclasses import asdict, replace
from inspect import signature

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments.ilhf import agents as ilhf_agents
from rlhf_lab.experiments.ilhf import study as ilhf_study
from rlhf_lab.experiments.ilhf import texts
from rlhf_lab.experiments.ilhf import worlds as ilhf_worlds
from rlhf_lab.experiments.ilhf.agents import Agent
from rlhf_lab.experiments.ilhf.study import FIGURES, PAPER, STUDIES
from rlhf_lab.worlds import coin, token_process


def stored(name):
    return experiments.stored(f"ilhf {name}")


def first(name):
    """The function that makes the first block of seeds of a study."""
    return next(iter(STUDIES[name].pieces(5).values())).run


def test_the_settings_are_those_of_the_paper():
    setting = ilhf_study.THIRD
    assert (setting.length, setting.pairs, setting.hidden, setting.episodes) == (64, 64, 10, 100)
    assert (setting.documents, setting.epochs, setting.evaluation, setting.scale) == (1000, 20, 500, 1 / 3)
    ensembles = {name: agent for name, agent in PAPER.items() if "ensemble" in name}
    assert [agent.members for agent in ensembles.values()] == [10, 15, 30, 50]
    assert {(agent.prior, agent.eta, agent.perturb) for agent in ensembles.values()} == {(0.01, 1.0, True)}
    assert {agent.step_size for agent in PAPER.values()} == {0.001}
    assert {agent.tuned for agent in PAPER.values()} == {"readout"}
    assert PAPER["ilhf"] == Agent()
    assert [agent.beta for name, agent in PAPER.items() if "reinforce" in name] == [0, 1, 10, 100]
    for length in (128, 256):
        settings = STUDIES[f"tau{length}"].settings
        assert (settings["length"], settings["episodes"], settings["scale"]) == (length, 150, 1 / 3)
    assert (STUDIES["scale1"].settings["scale"], STUDIES["scale3"].settings["scale"]) == (1, 3)
    assert {name for names in FIGURES.values() for name in names} == set(STUDIES)
    for name, setting in ilhf_study.ALONE.items():
        factors = {"process": setting.scale, "agents": setting.agents, "people": setting.people}
        assert factors == dict.fromkeys(factors, 1) | {name.removesuffix(" alone"): 1 / 3}
        assert asdict(setting) == asdict(ilhf_study.THIRD) | {"scale": setting.scale} | {
            "agents": setting.agents,
            "people": setting.people,
        }


@pytest.mark.parametrize(
    "name",
    [
        "tau64",
        "tau128",
        "tau256",
        "scale1",
        "scale3",
        "controls",
        "readings",
        "narrow",
        "joint",
        "joint1",
        *ilhf_study.ALONE,
    ],
)
def test_every_agent_and_every_duel_of_a_study_is_stored(name):
    study, found = STUDIES[name], stored(name)
    pieces = study.pieces(10)
    given = pieces["seeds_0-4"].run.keywords
    assert {agent: asdict(settings) for agent, settings in given["agents"].items()} == study.settings["agents"]
    assert asdict(given["setting"]) | {"agents": study.settings["agents"]} == study.settings
    assert list(found["kl"]) == list(given["agents"])
    assert {curve.shape for curve in found["kl"].values()} == {(20, study.settings["episodes"] // 10 + 1)}
    assert list(found["duels"]) == [f"{challenger} vs {reference}" for challenger, reference in given["duels"]]
    assert list(pieces) == ["seeds_0-4", "seeds_5-9"]  # five worlds at a time, so that memory stays small


def test_who_meets_whom():
    """ILHF, figure 4b and table 3: everybody meets the largest ensemble, and all ensembles meet plain ILHF."""
    duels = first("tau64").keywords["duels"]
    assert {name for name, other in duels if other == "ensemble 50"} == set(PAPER) - {"ensemble 50"}
    assert [name for name, other in duels if other == "ilhf"] == [f"ensemble {m}" for m in (10, 15, 30, 50)]
    assert len(duels) == 12
    for scale in ("scale1", "scale3"):
        run = first(scale).keywords
        assert set(run["agents"]) == {name for name in PAPER if name not in ("ensemble 15", "ensemble 30")}
        assert set(run["duels"]) == {pair for pair in duels if set(pair) <= set(run["agents"])}
    assert first("joint").keywords["duels"] == [
        (f"joint {m}, eta 0", other) for m in (10, 50) for other in ("ilhf", f"joint {m}, eta 0, no diversity")
    ]
    for name in ("tau128", "tau256", "controls", "readings", "narrow", "joint1"):
        assert not first(name).keywords["duels"]
    assert first("tau128").keywords["agents"] == first("tau256").keywords["agents"] == PAPER


@pytest.mark.parametrize(("name", "function"), [("coin", ilhf_study.on_coin), ("memory", ilhf_study.memory)])
def test_what_is_told_of_a_study_is_what_it_runs(name, function):
    defaults = {key: p.default for key, p in signature(function).parameters.items() if p.default is not p.empty}
    told = STUDIES[name].settings
    assert {key: value for key, value in defaults.items() if key in told} == {k: told[k] for k in told if k in defaults}
    assert first(name).func is function
    assert set(defaults) - set(told) <= {"every"}


def test_the_coin_made_anew_is_the_stored_one():
    """The first 25 of 1500 episodes, from the same chance: numbers are stored with six digits.

    Each seed has chance of its own: who runs beside it does not matter.
    """
    found, kept = ilhf_study.on_coin(range(20), rounds=25)["p"], stored("coin")["p"]
    for name, curve in found.items():
        assert curve == pytest.approx(kept[name][:, :2], rel=1e-5)
        assert len(set(curve[:, 1])) > 15
    alone = ilhf_study.on_coin([7], rounds=25)["p"]
    for name, curve in alone.items():
        assert curve[0] == pytest.approx(found[name][7], rel=1e-9)


def test_controls_take_one_thing_away_at_a_time():
    agents = ilhf_study.CONTROLS
    ensemble = agents["ensemble"]
    assert ensemble == PAPER["ensemble 10"]
    assert agents["ensemble, eta/64"] == replace(ensemble, eta=1 / 64)
    assert agents["ensemble, eta 0"] == replace(ensemble, eta=0.0)
    assert agents["ensemble, prior 0.0001"].prior == 0.01**2
    torso, same = agents["all: one torso, eta 0"], agents["all: one torso, no diversity"]
    assert replace(torso, prior=0.0, perturb=False) == same
    assert replace(torso, torso="own") == agents["all: ensemble, eta 0"]
    assert agents["ilhf, 10 passes"].passes == torso.members
    readings = ilhf_study.READINGS
    assert readings["all: one torso, all anchored"] == replace(torso, eta=1.0, anchored="all")
    assert readings["ensemble, batches of 16"] == replace(ensemble, minibatch=16)
    assert readings["ilhf, batches of 16"] == Agent(minibatch=16)
    assert readings["ensemble, anchored at phi_pre"] == replace(ensemble, centre="pretrained")
    assert set(readings).isdisjoint(agents)
    narrow = first("narrow").keywords
    assert narrow["setting"] == replace(ilhf_study.THIRD, embed=0.316)  # 1 / sqrt(10), as the other weights
    assert set(narrow["agents"].items()) < set(PAPER.items())
    assert first("readings").keywords["setting"] == first("controls").keywords["setting"]


def test_one_adam_for_all_is_run_beside_its_controls():
    agents = ilhf_study.JOINT
    for members in (10, 50):
        for eta, told in ((1.0, "1"), (1 / 64, "1/64"), (0.0, "0")):
            own, joint = (agents[f"{optimizer} {members}, eta {told}"] for optimizer in ("own", "joint"))
            assert own == replace(ilhf_study.LITERAL, members=members, eta=eta)
            assert joint == replace(own, optimizer="joint")
            if told != "1/64":
                assert agents[f"joint {members}, eta {told}, no diversity"] == replace(joint, prior=0.0, perturb=False)
        assert agents[f"ilhf, {members} passes"] == Agent(passes=members)
        longer = agents[f"ilhf, step x sqrt {members}"]
        assert longer == Agent(step_size=longer.step_size)
        assert longer.step_size == pytest.approx(0.001 * members**0.5, rel=1e-3)
    assert agents["ilhf"] == Agent()
    assert len(agents) == 21
    assert first("joint").keywords["setting"] == ilhf_study.THIRD
    assert first("joint1").keywords["setting"] == replace(ilhf_study.THIRD, scale=1.0)


def test_one_figure_made_anew_is_the_stored_one():
    """The first five worlds of figure 2, from scratch: numbers are stored with six digits."""
    made, there = first("memory")(), stored("memory")
    for kind in ("constant", "alternating"):
        assert {scale: share.tolist() for scale, share in made[kind].items()} == {
            scale: share[:5].tolist() for scale, share in there[kind].items()
        }
    found, kept = made["alpha"], there["alpha"]
    assert set(found) == set(kept) == {"scale 0.333", "scale 1", "scale 3"}
    for scale, kinds in found.items():
        for kind, curves in kinds.items():
            assert curves.shape == (5, 41)
            assert curves == pytest.approx(kept[scale][kind][:5], rel=1e-5, abs=1e-9)


def test_one_world_of_figure_4a_made_anew_is_the_stored_one():
    agents = {name: PAPER[name] for name in ("reinforce 10", "ilhf", "ensemble 10")}
    found = ilhf_study.on_tokens([7], ilhf_study.THIRD, agents, [("ensemble 10", "ilhf")])
    kept = stored("tau64")
    for name, curve in found["kl"].items():
        assert curve[0] == pytest.approx(kept["kl"][name][7], rel=1e-4, abs=1e-6)
    for score, value in found["duels"]["ensemble 10 vs ilhf"].items():
        assert value[0] == pytest.approx(kept["duels"]["ensemble 10 vs ilhf"][score][7], rel=1e-4)
    assert found["shadow kl"][0] == pytest.approx(kept["shadow kl"][7], rel=1e-4)


def test_the_coin_study_starts_at_the_pretrained_coin_and_keeps_every_few_episodes():
    found = ilhf_study.on_coin([0, 1], rounds=4, every=2)["p"]
    assert list(found) == ["reinforce 0", "reinforce 1", "reinforce 10", "reinforce 100", "ilhf"]
    for p in found.values():
        assert p.shape == (2, 3)
        assert (p[:, 0] == coin.PRETRAINED).all()
    assert (found["ilhf"][:, -1] != found["reinforce 0"][:, -1]).all()
    assert np.array(stored("coin")["p"]["ilhf"]).shape == (20, 61)


def test_the_exact_divergence_on_the_coin():
    p = np.array([[0.23, 1 / 3], [0.5, 0.1]])
    by_hand = np.log(1 / 3 / p) / 3 + 2 / 3 * np.log(2 / 3 / (1 - p))
    assert ilhf_study.coin_kl(p) == pytest.approx(by_hand, abs=1e-12)


def test_memory_is_measured_on_the_logits_of_the_ideal_process():
    found = ilhf_study.memory([4], length=50, long=400, count=6)["alpha"]["scale 3"]
    rng = np.random.default_rng([4, 0])
    params = token_process.draw(rng).ideal
    process = token_process.TokenProcess(2, 3.0)
    tokens = texts.write(ilhf_worlds.stack([params]), 3.0, rng.random((1, 50, 6)))[0][0].T.astype(int)
    alpha = token_process.autocorrelation(token_process.series(process, params, tokens), ilhf_study.LAGS)
    assert found["pearson"][0] == pytest.approx(alpha.mean(0), abs=1e-10)
    assert found["printed"][0, 0] == pytest.approx(1 / 50, rel=0.05)
    assert found["long"].shape == (1, 41)
    rng = np.random.default_rng([4, 0])
    rng = (token_process.draw(rng), rng.random((1, 50, 6)), rng)[2]
    rng.permuted(np.zeros((6, 50)), axis=-1)
    steady = texts.write(ilhf_worlds.stack([params]), 3.0, rng.random((1, 400, 8)))[0][0].T.astype(int)
    logits = token_process.series(process, params, steady)[:, 100:]
    assert found["long"][0] == pytest.approx(token_process.autocorrelation(logits, 41).mean(0), abs=1e-10)
    stuck = ilhf_study.memory([3], length=50, long=400, count=6)["alpha"]["scale 3"]
    assert np.isfinite(stuck["pearson"]).all()  # some of its texts stay in one state, and are left out


def test_a_study_runs_every_agent_and_every_duel():
    setting = ilhf_worlds.Setting(
        length=4, hidden=3, documents=64, epochs=1, evaluation=20, pairs=8, episodes=2, every=1
    )
    agents = {"a": Agent(), "b": Agent(members=2, prior=0.1)}
    found = ilhf_study.on_tokens([0, 5], setting, agents, [("b", "a")])
    assert {name: curve.shape for name, curve in found["kl"].items()} == {"a": (2, 3), "b": (2, 3)}
    worlds = ilhf_worlds.prepare(setting, [0, 5])
    params = [ilhf_agents.finetune(agent, worlds, [0, 5])[0] for agent in (agents["b"], agents["a"])]
    duel = ilhf_agents.duel(*params, worlds, [0, 5], 20)
    assert list(found["duels"]) == ["b vs a"]
    for score, value in duel.items():
        assert found["duels"]["b vs a"][score] == pytest.approx(value)
    shadow = worlds.kl({name: value[:, None] for name, value in worlds.shadow.items()})
    assert found["shadow kl"] == pytest.approx(shadow)

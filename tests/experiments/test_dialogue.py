"""The study of dialogues: what the chapter says of critics, dilution, sellers and counted rewards."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import dialogue as study
from rlhf_lab.worlds import dialogues, haggling

FOUND = experiments.stored("dialogue")


def test_everything_is_stored_for_every_seed():
    assert {v.shape for v in FOUND["critics"].values()} == {(20, 8)}
    assert {v.shape for v in FOUND["diluted"].values()} == {(20, 8, 2)}
    assert {v.shape for v in FOUND["sellers"].values()} == {(20, 5, 2)}
    assert {v.shape for runs in FOUND["talk"].values() for v in runs.values()} == {(20, 2)}


def test_small_runs_give_what_is_stored():
    for kind in study.CRITIC_STEPS:
        run = study.critic((0, 3), study.CRITIC_STEPS[kind][1], study.LAMBDAS[1], words=kind == "token")
        assert run == pytest.approx(FOUND["critics"][f"{kind}, 0.9"][3], rel=1e-4)
    sellers = study.sellers(study.haggle_log((0, 2)))
    assert set(sellers) == set(FOUND["sellers"])
    for name in ("clone", "CQL"):
        assert study.sold(sellers[name]) == pytest.approx(FOUND["sellers"][name][2], rel=1e-4)
    rng = np.random.default_rng((0, 1))
    for at, share in enumerate(study.SHARES[:1]):
        for name, pair in study.from_diluted(share, np.random.default_rng((0, 1))).items():
            assert pair == pytest.approx(FOUND["diluted"][name][1, at], rel=1e-4)
    for method, pair in study.from_talk("laughter", rng).items():
        assert pair == pytest.approx(FOUND["talk"]["laughter"][method][1], rel=1e-4)


def test_no_setting_is_at_the_edge_of_what_was_tried():
    for name, best in study.BEST.items():
        assert study.GRID[name][0] < best < study.GRID[name][-1]
    for steps in study.CRITIC_STEPS.values():
        assert all(study.STEPS[0] < step < study.STEPS[-1] for step in steps)


def test_tuning_tries_every_setting_on_other_seeds(monkeypatch):
    seeds = []
    monkeypatch.setattr(study, "haggle_log", lambda seed: seeds.append(seed))
    monkeypatch.setattr(study, "sellers", lambda log, settings: {name: settings[name] for name in study.GRID})
    monkeypatch.setattr(dialogues, "evaluate", lambda nodes, policy, reward: 2 * policy)
    found = study.tune(range(2))
    assert found == {name: {value: 2 * value for value in values} for name, values in study.GRID.items()}
    assert set(seeds) == {(1, 0), (1, 1)}
    monkeypatch.setattr(study, "critic", lambda seed, step, lam, words: np.array([-step, step]) * (2 if words else 1))
    found = study.tune_critics(range(2))
    assert found["token, 0.9"] == pytest.approx({step: 2 * step for step in study.STEPS})
    assert found["utterance, 1"] == pytest.approx({step: step for step in study.STEPS})


def test_a_clone_sells_as_its_seller_does():
    game, nodes = study.world("haggling")
    seller = study.sold(dialogues.constant(nodes, haggling.cautious_seller(game))).mean(0)
    clone = FOUND["sellers"]["clone"].mean(1)
    assert np.abs(clone.mean(0) - seller).max() < 4 * (clone.std(0, ddof=1) / 20**0.5).max() + 0.003


def test_words_cost_a_critic_nothing_where_it_waits_for_the_end():
    assert FOUND["critics"]["token, 1"] == pytest.approx(FOUND["critics"]["utterance, 1"], abs=1e-5)
    slow, fast = (np.square(FOUND["critics"][f"{kind}, 0"]).mean(1) for kind in ("token", "utterance"))
    gain = slow - fast
    assert gain.mean() > 5 * gain.std(ddof=1) / 20**0.5


def test_a_filter_by_return_keeps_luck_from_the_best_of_logs():
    found = {name: runs[..., 1] for name, runs in FOUND["diluted"].items()}
    assert (found["filter by return"][:, -1] < 0.65).all()
    assert (found["clone"][:, -1] > 0.999).all()
    assert (found["filter by success"][:, 1:-1] > found["clone"][:, 1:-1]).all()
    wider = study.from_diluted(1.0, np.random.default_rng((0, 1)), kept=0.6)
    assert wider["filter by return"][1] == pytest.approx(1), "more than the lucky half is kept"


def test_a_price_on_turns_closes_deals():
    gain = (FOUND["sellers"]["CQL, public"] - FOUND["sellers"]["CQL"]).mean(1)
    assert gain[:, 0].mean() > 4 * gain[:, 0].std(ddof=1) / 20**0.5
    price = {name: FOUND["sellers"][name].mean(1) for name in ("CQL", "CQL, public")}
    lower = price["CQL"][:, 1] / price["CQL"][:, 0] - price["CQL, public"][:, 1] / price["CQL, public"][:, 0]
    assert lower.mean() > 4 * lower.std(ddof=1) / 20**0.5

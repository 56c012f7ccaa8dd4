"""The studies of DPO, in small, and what the stored ones promise."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments.dpo import fall, lines, networks, online
from rlhf_lab.feedback import pairs
from rlhf_lab.methods import direct
from rlhf_lab.models import gibbs, lm


@pytest.fixture(scope="module")
def who():
    return networks.people((0, 1))


def test_a_line_is_tuned_on_seeds_that_are_not_shown():
    far = np.array([[[9, 1.0], [9, 2]], [[9, 3], [9, 4]], [[0, 6], [1, 5]], [[0, 6], [1, 5]]])
    found = lines.tuned({"far": far, "unseen": 10 * far})
    assert found["knob"] == 1
    assert found["far"].tolist() == [[9, 2], [9, 4]]
    assert found["unseen"].tolist() == [[90, 20], [90, 40]]


def test_early_stopping_keeps_for_each_seed_what_fits_held_out_comparisons_best():
    book = online.phrase_book()
    reference = {"logits": np.tile(book.log_pi_0, (2, 1, 1, 1))}
    held = pairs.compare(book.model, reference, [[0]], [[0]], [[1]], np.array([[1.0], [0.0]]))
    up = {"logits": reference["logits"] + np.eye(30)[0]}
    params, place = lines.stop_early(book.model, [reference, up], held)
    assert place.tolist() == [1, 0]
    assert params["logits"][0] == pytest.approx(up["logits"][0])
    assert params["logits"][1] == pytest.approx(reference["logits"][1])


def test_dpo_with_a_prior_ends_where_its_slope_vanishes():
    book = online.phrase_book()
    reference = {"logits": np.tile(book.log_pi_0, (1, 1, 1, 1))}
    ask = pairs.online(book.model, reference, np.zeros((40, 1), dtype=int), 1, book.prefer)
    (told,) = ask(reference, np.random.default_rng(0))
    reward = lines.BETA * (online.with_prior(book, told, 0.5)["logits"][0, 0, 0] - book.log_pi_0)
    reward -= reward.mean()  # comparisons do not see a constant, the prior puts it at 0
    first, second = told.chosen[0, :, 0], told.rejected[0, :, 0]
    pull = told.label[0] - 1 / (1 + np.exp(reward[second] - reward[first]))
    slope = np.bincount(first, pull, 30) - np.bincount(second, pull, 30)
    assert 0.5 * reward == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("remedy", online.KNOBS)
def test_both_sources_begin_with_the_same_labels(remedy, monkeypatch):
    monkeypatch.setattr(online, "ROUNDS", 2)
    monkeypatch.setattr(online, "STEPS", 4)
    found = online.run((0, 1), {remedy: (0.3,)})
    first, second = found[f"online, {remedy}"]["far"], found[f"offline, {remedy}"]["far"]
    assert first.shape == second.shape == (2, 1, 2)
    assert first[..., 0] == pytest.approx(second[..., 0], abs=1e-12)
    assert not np.allclose(first[..., 1], second[..., 1])


def test_people_compare_what_their_own_network_wrote(who):
    assert who.batch.chosen.shape == (2, networks.COUNT, networks.HORIZON)
    assert who.seen.sum((1, 2)).max() < 2 * networks.COUNT
    start = who.told(who.log_start)
    assert (start["far"] > 1.5).all()
    optimum = gibbs.log_policy(who.log_start, who.oracle, lines.BETA)
    assert who.told(optimum)["far"] == pytest.approx([0, 0], abs=1e-12)
    assert (who.told(optimum)["reward"] > start["reward"] + 1).all()
    assert (start["unseen"] < 0.1).all()


def test_every_line_on_networks_begins_at_the_start(monkeypatch):
    few = {"SMALL": (0.001,), "SIZES": (0.003, 0.01), "ALPHAS": (0.03,), "JUDGED": (30,)}
    for name, values in few.items():
        monkeypatch.setattr(networks, name, values)
    found = networks.run((0, 1), (0, 2))
    for name in ("dpo", "dpo + sft", "epochs", "reinforce, network", "reinforce, parts"):
        assert (np.ptp(found[name]["far"][..., 0], axis=1) == 0).all()
        assert found[name]["far"][..., 0].mean() == pytest.approx(found["exact start"]["far"].mean())
        assert (found[name]["far"][..., -1].mean(1) < found[name]["far"][..., 0].mean(1)).all()
    assert found["held out"]["step"].shape == (2, 3, 1)
    assert found["dpo + sft"]["far"].shape == (2, 2, 2)


def test_interventions_change_what_they_say(who):
    turned = fall.turned(who.start, who.batch)
    one = {name: value[:1] for name, value in who.start.items()}
    texts = (text[:1, :1] for text in who.batch[:3])
    own, shared = direct.gradient_overlap(networks.NETWORK, one, *texts)
    assert turned.shape == (2, networks.COUNT)
    assert turned[0, 0] == (shared > own)[0]
    rng = np.random.default_rng(0)
    (asked,) = fall.fresh(who)(who.start, rng)
    assert asked.chosen.shape == who.batch.chosen.shape
    assert not (asked.chosen == who.batch.chosen).all()
    (kept,) = fall.without_turned(who)(who.start, rng)
    assert ((kept.weight == 0) == turned).all()
    assert fall.change(who.batch, who.start)["chosen"] == pytest.approx([0, 0], abs=1e-12)


def test_a_table_moves_compared_answers_and_counts_all_others(who):
    found = fall.of_table(who, (0, 3))
    assert found["chosen"][:, 0] == pytest.approx([0, 0], abs=1e-12)
    assert (found["chosen"][:, 1] > found["rejected"][:, 1]).all()
    exact = fall.of_exact(who, lines.BETA)
    ratio = gibbs.log_policy(who.log_start, who.oracle, lines.BETA) - who.log_start
    prompt, answer = networks.places(who.batch)[0]
    assert exact["chosen"][1] == pytest.approx(ratio[1, prompt[1], answer[1]].mean())
    assert lm.kl(who.log_start, who.log_start + ratio).min() > 0


@pytest.mark.parametrize("name", ["dpo online", "dpo networks"])
def test_no_best_knob_lies_at_the_edge_of_its_grid(name):
    alphas, judged = len(networks.ALPHAS), len(networks.JUDGED)
    grids = {"dpo + sft": (alphas, 3), "reinforce, network": (judged, 3)}
    for line, numbers in experiments.stored(name).items():
        if not line.startswith("exact"):
            length = numbers["far"].shape[1]
            best = np.unravel_index(lines.tuned(numbers)["knob"], grids.get(line, (length,)))
            assert all(0 < k < n - 1 for k, n in zip(best, grids.get(line, (length,)), strict=True)), line


def test_with_the_same_prior_online_is_nearer():
    last = {line: numbers["far"][:, 0, -1] for line, numbers in experiments.stored("dpo prior").items()}
    gain = last["offline, prior"] - last["online, prior"]
    assert gain.mean() > 3 * gain.std(ddof=1) / len(gain) ** 0.5


@pytest.mark.parametrize("name", ["dpo online", "dpo networks"])
def test_stored_lines_have_knobs_and_at_least_eight_points(name):
    found = experiments.stored(name)
    for line, numbers in found.items():
        assert numbers["far"].shape[0] == 20
        if not line.startswith(("exact", "held", "epochs")):
            assert numbers["far"].shape[2] >= 8

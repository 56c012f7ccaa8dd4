"""The study of stale answers: what is stored is what the chapter says, and a small part made anew is the stored one."""

import numpy as np
import pytest
from autograd import grad

from rlhf_lab import experiments
from rlhf_lab.experiments import verifiable
from rlhf_lab.methods import group_losses, grpo
from rlhf_lab.methods.rollouts import stack
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.numerics.weighted import expectation
from rlhf_lab.worlds import sums

STORED = experiments.stored("verifiable")


def test_what_is_stored_has_all_rows_and_ten_seeds():
    assert list(STORED["runs"]) == list(verifiable.rows())
    for run in STORED["runs"].values():
        assert {name: value.shape for name, value in run.items()} == {
            "right": (10, 10),
            "last": (10, 12),
            "entropy": (10,),
            "clip_fraction": (10,),
            "degenerate": (10,),
        }
        np.testing.assert_allclose(run["last"].mean(1), run["right"][:, -1], rtol=1e-5)
    assert {value.shape for value in STORED["directions"].values()} == {(10, len(verifiable.STEPS_BACK))}
    assert set(verifiable.STEP_SIZES) <= set(verifiable.rows()), "a step size for a row that is not there"
    assert list(STORED["bonus"]) == [str(weight) for weight in verifiable.BONUSES]
    for run in STORED["bonus"].values():
        shapes = {name: value.shape for name, value in run.items()}
        assert shapes == {"last": (10, 12), "entropy": (10,), "held_out": (10, 12)}


def test_every_curve_has_eight_points():
    for points in (verifiable.STEPS_BACK, verifiable.LAGS, verifiable.HIGHS, verifiable.BONUSES):
        assert len(set(points)) >= 8
        assert list(points) == sorted(points)


def test_the_directions_of_one_starting_point_made_anew_are_the_stored_ones():
    made = verifiable.directions(verifiable.path(4 + verifiable.STEPS_BACK[-1]), 1)
    for name, values in made.items():
        np.testing.assert_allclose(values[0], STORED["directions"][name][1], rtol=1e-5, err_msg=name)


def test_a_run_made_anew_is_the_stored_one():
    name = "lag 8, truncated"
    made = verifiable.run(range(10), verifiable.STEP_SIZES[name], **verifiable.rows()[name])
    for key, values in made.items():
        np.testing.assert_allclose(values, STORED["runs"][name][key], rtol=1e-5, atol=1e-9, err_msg=key)


def test_the_beginning_of_every_run_made_anew_is_the_stored_one(monkeypatch):
    monkeypatch.setattr(verifiable, "ROUNDS", 10)
    for name, settings in verifiable.rows().items():
        made = verifiable.run(range(10), verifiable.STEP_SIZES.get(name, verifiable.STEP_SIZE), **settings)
        np.testing.assert_allclose(made["right"][:, 0], STORED["runs"][name]["right"][:, 0], rtol=1e-5, err_msg=name)


def test_no_ratio_reaches_the_cap_of_cispo_so_that_it_has_no_brake():
    settings = verifiable.rows()["CISPO"] | {"surrogate": group_losses.cispo(1e9)}
    made = verifiable.run(range(10), verifiable.STEP_SIZES["CISPO"], **settings)
    np.testing.assert_allclose(made["right"], STORED["runs"]["CISPO"]["right"], rtol=1e-5)


def test_runs_with_a_bonus_made_anew_are_the_stored_ones():
    weight = verifiable.BONUSES[4]
    for key, values in verifiable.bonus(range(10), weight).items():
        np.testing.assert_allclose(values, STORED["bonus"][str(weight)][key], rtol=1e-5, atol=1e-9, err_msg=key)


@pytest.mark.equation("eq-entropy-bonus")
def test_a_bonus_pays_for_the_entropy_of_every_next_token():
    world = verifiable.task()
    model, student = world.reference
    loss, collect = grpo.grpo(world, model, prompts=3, answers=4)
    (batch,) = collect(stack([student] * 2), np.random.default_rng(0))
    moved = {"rows": student["rows"] + np.random.default_rng(1).normal(size=(2, *student["rows"].shape)) / 3}
    plain, paid = loss(moved, batch), verifiable.with_bonus(loss, model, 0.7)(moved, batch)
    log_pi = log_softmax(model.logits(moved, batch.prompt, batch.response))
    entropy = -np.sum(np.exp(log_pi) * log_pi, axis=-1)
    assert paid.loss == pytest.approx(plain.loss - 0.7 * np.mean(np.sum(entropy * batch.mask, axis=-1), axis=-1))
    for name, values in plain.diagnostics.items():
        assert paid.diagnostics[name].tolist() == values.tolist()


def test_the_way_follows_the_exact_gradient_from_the_student():
    world, way = verifiable.task(), verifiable.path(3)

    def right(params):
        return float(world.mean(verifiable.look(world, params)["right"]))

    assert len(way) == 4
    assert way[0]["rows"].tolist() == sums.student()["rows"].tolist()
    chances = [right(params) for params in way]
    assert chances == sorted(chances), "each step raises the chance to be right"
    slope, row = verifiable.climb(world, way[1])["rows"], (2 * 3, 3)
    shift = np.zeros(slope.shape)
    shift[row] = 1e-5
    up, down = (right({"rows": way[1]["rows"] + sign * shift}) for sign in (1, -1))
    assert slope[row] == pytest.approx(-(up - down) / 2e-5, rel=1e-6)
    assert np.abs(way[1]["rows"] - way[0]["rows"]).max() == pytest.approx(0.03, rel=1e-4), "Adam's first step"


def test_the_study_joins_every_row_with_its_step_size_every_bonus_and_a_starting_point_a_seed(monkeypatch):
    def point(way, seed):
        return {"seed": np.array([[seed, way[-1]]])}

    monkeypatch.setattr(verifiable, "run", lambda seeds, step_size, **settings: (list(seeds), step_size, set(settings)))
    monkeypatch.setattr(verifiable, "bonus", lambda seeds, weight: (list(seeds), weight))
    monkeypatch.setattr(verifiable, "path", lambda steps: list(range(steps + 1)))
    monkeypatch.setattr(verifiable, "directions", point)
    found = verifiable.study([2, 5])
    assert set(found) == {"runs", "bonus", "directions"}
    assert found["runs"] == {
        name: ([2, 5], verifiable.STEP_SIZES.get(name, 0.1), set(row)) for name, row in verifiable.rows().items()
    }
    assert found["bonus"] == {str(weight): ([2, 5], weight) for weight in verifiable.BONUSES}
    assert found["directions"]["seed"].tolist() == [[2, 52], [5, 52]], "no step more than the last seed needs"


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_answers_are_written_by_the_policy_of_some_rounds_ago(lag):
    written = []
    collect = verifiable.lagged(lambda params, rng: written.append(params) or [None], lag)
    for now in range(6):
        assert list(collect(now, None)) == [None]
    assert written == [max(0, now - lag) for now in range(6)]


def test_a_look_is_exact():
    world = verifiable.task()
    found = verifiable.look(world, sums.student())
    assert found["right"].shape == (12,)
    assert found["right"] == pytest.approx(expectation(world.log_pi_0, world.rewards))
    assert found["entropy"] == pytest.approx(-np.mean(np.sum(np.exp(world.log_pi_0) * world.log_pi_0, axis=-1)))


def test_on_fresh_answers_every_weight_points_along_the_gradient(monkeypatch):
    monkeypatch.setattr(verifiable, "STEPS_BACK", (0,))
    found = verifiable.directions(verifiable.path(0), 0)
    for name in verifiable.WEIGHTS:
        assert found[f"cosine, {name}"] == pytest.approx(1)
    assert found["share"] == pytest.approx(1)
    assert len({round(float(found[f"noise, {name}"][0, 0]), 9) for name in verifiable.WEIGHTS}) == 1
    world = verifiable.task()
    slope = grad(lambda params: world.mean(expectation(world.log_pi(world.reference[0], params), world.rewards)))
    assert np.abs(slope(sums.student())["rows"]).max() > 0

"""Checkers of the bug zoo that have no numbers to compare: names of runs, and a check of the first step."""

import math
import re

import numpy as np
import pytest
from answers_bug_zoo import margin_loss

from rlhf_lab import check, experiments
from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.check import bug_zoo, diagnosis

RUNS = {"zoo_dpo_runs": bug_zoo.DPO_RUNS, "zoo_ppo_runs": bug_zoo.PPO_RUNS}
STORED = experiments.stored("bug zoo")
every_set_of_runs = pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS)


def told(name, function, capsys):
    assert getattr(check, name)(function) is None
    return capsys.readouterr().out.removesuffix("\n")


def named(name, capsys, **changed):
    return told(name, lambda: RUNS[name].names | changed, capsys)


@every_set_of_runs
def test_the_right_names_pass_in_any_order_and_case(runs, capsys):
    right = f"{runs.name}: right on all {len(runs.names)} cases."
    assert told(runs.name, lambda: runs.names, capsys) == right
    shouted = {letter: f" {name.upper().replace(' ', '_')} " for letter, name in reversed(runs.names.items())}
    assert told(runs.name, lambda: shouted, capsys) == right
    assert RUNS[runs.name] is runs


@every_set_of_runs
def test_each_run_has_a_name_of_the_zoo_and_was_trained(runs):
    found = {bug.name: bug for bug in ZOO}
    assert all(found[name].audit in runs.audits for name in runs.names.values())
    assert list(runs.clues) == list(runs.names)
    assert set(runs.names.values()) <= set(STORED[runs.loop])


@every_set_of_runs
def test_of_a_wrong_name_its_look_is_told_and_the_right_name_is_not(runs, capsys):
    for letter, right in runs.names.items():
        for bug in ZOO:
            if bug.name == right:
                continue
            message = named(runs.name, capsys, **{letter: bug.name})
            assert re.match(rf"{runs.name}: not yet\. \d of \d names are right\.\n  Run {letter}: ", message)
            shown = message.replace(bug.name, "").replace(bug.seen, "")
            assert right not in shown
            assert message.count("\n") == 1
            seen = bug.name in STORED[runs.loop] or bug.name == "temperature ignored"
            if seen and bug.audit in runs.audits:
                assert f"with '{bug.name}' you would see this: {bug.seen}. Look again. " in message
                assert message.endswith(runs.clues[letter])
            else:
                assert f"'{bug.name}' is in the zoo, but not among the runs of {runs.loop}." in message


def test_a_wrong_name_does_not_hide_the_right_ones_and_all_wrong_ones_are_told(capsys):
    assert named("zoo_dpo_runs", capsys, B="beta twice", C="beta missing") == (
        "zoo_dpo_runs: not yet. 1 of 3 names are right.\n"
        "  Run B: with 'beta twice' you would see this: margin too wide, log-probabilities too low, loss a little high"
        ": like a smaller beta. Look again. How large is the margin in the first round, and is the loss above or below "
        "log 2?\n"
        "  Run C: with 'beta missing' you would see this: margin too narrow, loss a little low: like a larger beta. "
        "Look again. How likely are chosen answers before it learns? Does the margin stay with the healthy one?"
    )
    swapped = bug_zoo.DPO_RUNS.names | {"A": "reference missing", "B": "reference not frozen"}
    assert "1 of 3 names are right.\n  Run A: with 'reference missing'" in told("zoo_dpo_runs", lambda: swapped, capsys)


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        (None, "it has no name yet."),
        (..., "it has no name yet."),
        (3, "a name is a text, as the tables have it; got int."),
        (["beta twice"], "a name is a text, as the tables have it; got list."),
        ("", "no bug of the zoo is called ''. Write the name as the tables have it."),
        ("reference frozen", "no bug of the zoo is called 'reference frozen'. Write the name as the tables have it."),
        (
            "labels not shifted",
            "'labels not shifted' is in the zoo, but not among the runs of DPO. Look at their table",
        ),
        ("shifted twice", "'shifted twice' is in the zoo, but not among the runs of DPO. Look at their tables."),
    ],
)
def test_what_is_no_name_is_told(guess, message, capsys):
    start = f"zoo_dpo_runs: not yet. 2 of 3 names are right.\n  Run C: {message}"
    assert named("zoo_dpo_runs", capsys, C=guess).startswith(start)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "It returns None: your code goes where the starter returns None."),
        (["reference missing"], 'It returns list, not a dictionary of names, {"A": "...", "B": "...", ...}.'),
        ("reference missing", 'It returns str, not a dictionary of names, {"A": "...", "B": "...", ...}.'),
        ({"A": "beta twice", "E": "x", 1: "y"}, "There is no run 'E' or 1: the letters are A, B, C, D."),
        ({}, "0 of 4 names are right.\n  Run A: it has no name yet.\n  Run B: it has no name yet.\n  Run C: it has"),
        (bug_zoo.PPO_RUNS.names | {"D": None}, "3 of 4 names are right.\n  Run D: it has no name yet."),
    ],
)
def test_what_is_no_dictionary_of_names_is_told(answer, message, capsys):
    assert told("zoo_ppo_runs", lambda: answer, capsys).startswith(f"zoo_ppo_runs: not yet. {message}")


def two_lines():
    raise ValueError("one\ntwo")


def test_a_function_that_raises_is_told(capsys):
    message = "It raises KeyError: 'x'. It is called without arguments."
    assert told("zoo_dpo_runs", lambda: {}["x"], capsys) == f"zoo_dpo_runs: not yet. {message}"
    assert "raises StopIteration. It is called" in told("zoo_dpo_runs", lambda: next(iter([])), capsys)
    assert "\n" not in told("zoo_dpo_runs", two_lines, capsys)


def test_the_clues_of_dpo_are_true():
    """What the right name shows, and the names that are easily taken for it do not."""
    runs = STORED["DPO"]
    mean = {name: {key: value.mean(0) for key, value in run.items()} for name, run in runs.items()}
    assert np.ptp(mean["reference not frozen"]["chosen"]) < 0.1
    assert np.ptp(mean["reference re-made each step"]["chosen"]) > 6
    assert not mean["reference not frozen"]["margin"].any()
    first = {name: (run["margin"][0], run["loss"][0]) for name, run in mean.items()}
    assert first["reference missing"][0] > 0.3
    assert first["reference missing"][1] < math.log(2) < first["reference crossed"][1]
    assert mean["not shifted"]["chosen"][0] < mean["prompt counts"]["chosen"][0] - 3
    assert np.array_equal(mean["prompt counts"]["margin"], mean["healthy"]["margin"])
    assert mean["not shifted"]["margin"][-1] > mean["healthy"]["margin"][-1] + 0.5


def test_the_clues_of_ppo_are_true():
    runs = STORED["PPO"]
    mean = {name: {key: value.mean(0) for key, value in run.items()} for name, run in runs.items()}
    healthy, late = mean["healthy"], mean["advantage one token late"]
    assert late["reward"][-1] < healthy["reward"][-1] / 2
    assert late["entropy"][-1] > 1.5 * healthy["entropy"][-1]
    assert all(abs(late[key][-1] - healthy[key][-1]) < 0.1 for key in ("length", "explained variance", "clip_fraction"))
    everywhere, early = mean["score on every token"], mean["score one token early"]
    assert everywhere["reward"][-1] > healthy["reward"][-1]
    assert everywhere["entropy"][-1] < early["entropy"][-1] / 2
    assert everywhere["length"][6] > early["length"][6] + 0.05
    padding = mean["score on padding"]
    assert padding["reward"][-1] < healthy["reward"][-1] - 0.5
    assert padding["length"][-1] > 3.8
    every, dead = mean["every return for every value"], mean["dead critic"]
    assert not dead["explained variance"].any()
    assert 0 < abs(every["explained variance"][-1]) < 0.1
    assert all(abs(every[key][-1] / healthy[key][-1] - 1) < 0.1 for key in ("reward", "entropy", "length"))


@pytest.mark.parametrize("name", ["zoo_dpo_runs", "zoo_ppo_runs", "first_step"])
def test_the_function_itself_is_wanted(name):
    wanted = rf"^pass the function itself, check\.{name}\(your_function\), not what it returns; got dict$"
    with pytest.raises(TypeError, match=wanted):
        getattr(check, name)({"A": "beta twice"})


def stepped(chosen=-3.0, rejected=-2.0, betas=(0.3,), *, looks=("loss", "slope"), factor=-0.5, near=1e-4):
    """A check of the first step; the arguments break one thing each."""

    def first(loss):
        found = []
        for beta in betas:
            chosen_, rejected_ = np.array([chosen]), np.array([rejected])
            start = float(loss(chosen_, rejected_, chosen_, rejected_, beta)[0])
            up = float(loss(chosen_ + 1e-5, rejected_, chosen_, rejected_, beta)[0])
            down = float(loss(chosen_ - 1e-5, rejected_, chosen_, rejected_, beta)[0])
            slope = (up - down) / 2e-5
            if "loss" in looks:
                found.append(abs(start - math.log(2)) < 1e-9)
            if "slope" in looks:
                found.append(abs(slope - factor * beta) <= near)
        return all(found)

    return first


def of_the_chapter(loss):
    chosen, rejected, beta, step = np.array([-3.0]), np.array([-2.0]), 0.3, 1e-5
    start = loss(chosen, rejected, chosen, rejected, beta)
    up = loss(chosen + step, rejected, chosen, rejected, beta)
    slope = (up - start) / step
    return bool(abs(start - np.log(2)) < 1e-9 and abs(slope + beta / 2) < 1e-4)


def by_name(loss):
    given = {"chosen_0": np.array([-1.0, -4.0]), "rejected_0": np.array([-2.0, -0.5]), "beta": 2.0}
    start = loss(chosen=given["chosen_0"], rejected=given["rejected_0"], **given)
    up = loss(chosen=given["chosen_0"] + 1e-5, rejected=given["rejected_0"], **given)
    return np.allclose(start, np.log(2)) and np.allclose((up - start) / 1e-5, -1.0, atol=1e-3)


def of_numbers(loss):
    """With numbers in place of arrays, and numpy's own True."""
    start = loss(-1.0, -2.0, -1.0, -2.0, 0.5)
    return np.isclose(start, np.log(2)) & np.isclose((loss(-1 + 1e-5, -2.0, -1.0, -2.0, 0.5) - start) / 1e-5, -0.25)


@pytest.mark.parametrize("right", [of_the_chapter, by_name, of_numbers, stepped(), stepped(betas=(0.1, 1.0, 5.0))])
def test_a_right_check_of_the_first_step_passes(right, capsys):
    assert told("first_step", right, capsys) == "first_step: right on all 11 cases."


def test_the_loss_of_the_exercise_has_beta_twice():
    assert not stepped()(margin_loss)
    assert stepped(betas=(1.0,))(margin_loss)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda loss: None, "It returns None: your code goes where the starter returns None."),
        (
            lambda loss: {}["x"],
            "It raises KeyError: 'x'. It is called with a loss of the five arguments of margin_loss.",
        ),
        (lambda loss: loss(1.0), "It raises TypeError: "),
        (lambda loss: np.array([stepped()(loss)]), "It returns ndarray, not True or False: bool(...) makes one of"),
        (lambda loss: float(stepped()(loss)), "It returns float, not True or False: bool(...) makes one of a single"),
        (lambda loss: stepped()(loss) or None, "It returns NoneType, not True or False: bool(...) makes one of a"),
        (lambda loss: True, "It returns True for every loss, right or wrong."),
        (lambda loss: False, "It returns False for every loss, right or wrong."),
        (stepped(near=0.0), "It returns False for every loss, right or wrong."),
        (lambda loss: not stepped()(loss), "It returns False for the right loss. Is -beta / 2 the slope that you ask"),
        (stepped(factor=0.5), "It returns False for the right loss. Is -beta / 2 the slope that you ask for, and do"),
        (stepped(looks=("loss",)), "It returns True for a loss that is log 2 whatever the policy is. Look at the grad"),
        (stepped(looks=("slope",)), "It returns True for a loss that begins at 2 log 2, with the right gradient. Look"),
        (stepped(betas=(1.0,)), "It returns True for a loss whose gradient is -beta^2 / 2. Which beta tells that"),
        (stepped(rejected=-3.0), "It returns True for a loss without a reference. Where two answers are equally like"),
        (
            lambda loss: stepped()(loss) or loss(*np.full((4, 1), -2.0), 3.0)[0] == 0.5,
            "It returns True for a loss that begins at 1/2.",
        ),
    ],
)
def test_what_a_check_of_the_first_step_does_not_see_is_told(wrong, message, capsys):
    found = told("first_step", wrong, capsys)
    assert found.startswith(f"first_step: not yet. {message}")
    assert found.endswith(".") or found.endswith("?")


@pytest.mark.parametrize("loss", bug_zoo.LOSSES.values(), ids=[loss.__name__ for loss in bug_zoo.LOSSES.values()])
def test_each_loss_alone_is_told_if_it_is_judged_wrongly(loss):
    sentence = next(words for words, one in bug_zoo.LOSSES.items() if one is loss)
    point = *np.array([[-3.0], [-1.5], [-2.0], [-2.5]]), 0.7
    value = loss(*point)
    wrong = lambda given: stepped()(given) ^ bool(np.array_equal(given(*point), value))  # noqa: E731
    assert bug_zoo.first_step(wrong) == f"It returns {sentence}"


def test_cases_of_the_bug_zoo_come_in_all_sizes_too():
    cases = {
        name: diagnosis.draw_cases(getattr(bug_zoo, name.upper()))
        for name in ("mended_mask", "mended_sweep", "mended_divergence")
    }
    shapes = [log_pi.shape for log_pi, _, _ in cases["mended_mask"]]
    assert [set(each) for each in zip(*shapes, strict=True)] == [{1, 2, 3}, {3, 4, 5}, {2, 3, 4}]
    for log_pi, tokens, mask in cases["mended_mask"]:
        assert tokens.shape == mask.shape == (len(log_pi), log_pi.shape[1] + 1)
        assert 0 <= tokens.min() <= tokens.max() < log_pi.shape[2]
    rows = [row for _, _, mask in cases["mended_mask"] for row in mask]
    asked = [int(row.argmax()) for row in rows]
    assert set(asked) == {1, 2}
    assert all(row[begin : begin + int(row.sum())].all() for row, begin in zip(rows, asked, strict=True))
    assert {int(row.sum()) for row in rows} == {1, 2, 3, 4, 5}
    assert {len(row) - begin - int(row.sum()) for row, begin in zip(rows, asked, strict=True)} == {0, 1, 2, 3, 4}
    assert set(np.concatenate(rows)) == {0.0, 1.0}
    sizes = [rewards.shape for rewards, *_ in cases["mended_sweep"]]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{1, 2, 3}, {2, 3, 4, 5}]
    for rewards, values, mask, _, _ in cases["mended_sweep"]:
        assert rewards.shape == values.shape == mask.shape
        assert (np.diff(mask, axis=1) <= 0).all()
    lengths = {(int(row.sum()), len(row)) for _, _, mask, _, _ in cases["mended_sweep"] for row in mask}
    assert lengths == {(ends, width) for width in (2, 3, 4, 5) for ends in range(1, width + 1)}
    assert {case[3] for case in cases["mended_sweep"]} == {0.5, 0.8, 0.9}
    assert {case[4] for case in cases["mended_sweep"]} == {0.3, 0.6, 0.95}
    assert {len(log_pi) for log_pi, _ in cases["mended_divergence"]} == {1, 2, 3, 4, 5}
    drawn = np.concatenate([np.ravel(case) for case in cases["mended_divergence"]])
    assert set(np.round(10 * drawn, 9)) == set(range(-40, 0))

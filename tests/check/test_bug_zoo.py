"""Checkers of the bug zoo: names of runs."""

import math
import re

import numpy as np
import pytest

from rlhf_lab import check, experiments
from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.check import bug_zoo

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
    message = "zoo_dpo_runs: not yet. It raises ValueError: one. It is called without arguments."
    assert told("zoo_dpo_runs", two_lines, capsys) == message


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

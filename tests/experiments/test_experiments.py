"""What the book shows of its studies is stored with the package."""

import shutil

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import __main__ as command
from rlhf_lab.experiments import runner
from rlhf_lab.numerics import files

STORED = command.studies()


@pytest.mark.parametrize("name", STORED)
def test_every_study_is_stored_with_the_settings_that_it_has_now(name):
    study, seeds = STORED[name]
    kept = files.load(runner.place(name, experiments.RESULTS))
    assert (kept["study"], kept["settings"], kept["seeds"]) == (name, study.settings, list(range(seeds)))

    def lengths(numbers):
        return set().union(*map(lengths, numbers.values())) if isinstance(numbers, dict) else {len(numbers)}

    assert lengths(experiments.stored(name)) == {seeds}


def test_nothing_else_is_stored():
    kept = {path.name for path in experiments.RESULTS.iterdir()}
    assert kept == {runner.place(name, experiments.RESULTS).name for name in STORED}


def test_one_command_makes_all_that_is_stored_and_finds_it_finished(tmp_path, capsys):
    folder = shutil.copytree(experiments.RESULTS, tmp_path / "results")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert command.main(["all", "--out", str(folder)]) == 0
    assert capsys.readouterr().out.count("finished before, reused") == len(before)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_what_is_asked_for_is_what_all_studies_are_run_with(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(runner, "run", lambda *given, **settings: ran.append((*given, settings)))
    assert command.main(["all", "--out", str(tmp_path), "--jobs", "2", "--overwrite"]) == 0
    asked = {"jobs": 2, "dask": None, "overwrite": True}
    assert ran == [(name, *of, tmp_path, asked) for name, of in STORED.items()]


@pytest.mark.parametrize("given", [["dpo", "prior"], ["ilhf", "fig2"], ["bug_zoo"]])
@pytest.mark.parametrize("seeds", [None, 3])
def test_a_study_has_the_seeds_of_the_book_unless_others_are_asked_for(given, seeds, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(runner, "run", lambda name, study, seeds, *rest, **settings: ran.append((name, seeds)))
    assert command.main([*given, "--out", str(tmp_path), *([] if seeds is None else ["--seeds", str(seeds)])]) == 0
    ((name, number),) = ran
    assert number == (seeds or STORED[name][1])


def test_the_study_of_imitation_is_the_one_that_the_chapter_describes():
    found = experiments.stored("imitation")
    assert set(found) == {"clone", "longer", "dril", "survival", "dagger", "expert"}
    assert {value.shape for value in found.values()} == {(50, 8)}
    assert (found["expert"] == 500).all()
    assert np.mean(found["dagger"][:, 2:]) > 450


def test_on_cartpole_the_control_gains_more_than_dril_from_few_demonstrations_and_loses_nothing_from_many():
    found = experiments.stored("imitation")

    def gain(one, other, part):
        paired = (found[one] - found[other])[:, part].mean(-1)
        return paired.mean(), paired.std(ddof=1) / len(paired) ** 0.5

    few, many = slice(0, 3), slice(4, 8)
    for pair in (("dril", "clone"), ("survival", "clone"), ("survival", "dril")):
        mean, error = gain(*pair, few)
        assert mean > 2 * error, pair
    mean, error = gain("dril", "clone", many)
    assert mean < -2 * error
    mean, error = gain("survival", "clone", many)
    assert abs(mean) < 2 * error
    for k in range(8):
        mean, error = gain("dagger", "clone", [k])
        assert abs(mean) <= 2 * error

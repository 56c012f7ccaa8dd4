"""Experiments are run once, stored, and not overwritten unless asked."""

import os
import re
import sys

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import imitation as imitation_study
from rlhf_lab.experiments import runner as ilhf_runs
from rlhf_lab.numerics import files


def test_there_is_a_command_and_a_file_for_each_experiment():
    assert {"imitation": imitation_study.run} == experiments.EXPERIMENTS
    for name in experiments.EXPERIMENTS:
        assert (experiments.FOLDER / f"{name}.json").exists()
        assert experiments.stored(name) == files.load(experiments.FOLDER / f"{name}.json")


def test_an_experiment_is_stored_and_not_overwritten(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(experiments.EXPERIMENTS, "imitation", lambda: {"x": np.arange(2)})
    path = tmp_path / "new" / "place" / "found.json"
    assert experiments.main(["imitation", "--out", str(path)]) == 0
    assert files.load(path) == {"x": [0, 1]}
    told = capsys.readouterr().out
    assert re.fullmatch("imitation: about a minute on two cores\nimitation: [0-9] s, stored in found.json\n", told)
    monkeypatch.setitem(experiments.EXPERIMENTS, "imitation", lambda: {"x": 2})
    assert experiments.main(["imitation", "--out", str(path)]) == 1
    told = "found.json is there already; add --overwrite to replace it, or --out to store it elsewhere\n"
    assert capsys.readouterr().out == told
    assert files.load(path) == {"x": [0, 1]}
    assert experiments.main(["imitation", "--out", str(path), "--overwrite"]) == 0
    assert files.load(path) == {"x": 2}
    monkeypatch.setattr(experiments, "FOLDER", tmp_path / "kept")
    assert experiments.main(["imitation"]) == 0
    assert experiments.stored("imitation") == {"x": 2}
    with pytest.raises(SystemExit):
        experiments.main(["imitaton"])
    assert "invalid choice: 'imitaton'" in capsys.readouterr().err


def test_bars_of_many_short_trainings_are_not_drawn(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setenv("TQDM_DISABLE", "0")
    monkeypatch.setitem(experiments.EXPERIMENTS, "imitation", lambda: {"x": seen.append(os.environ["TQDM_DISABLE"])})
    assert experiments.main(["imitation", "--out", str(tmp_path / "found.json")]) == 0
    assert seen == ["1"]


@pytest.mark.parametrize("arguments", [["ilhf", "fig2", "--seeds", "3"], ["ilhf"]])
def test_the_command_line_of_ilhf_gets_what_follows_its_name(monkeypatch, arguments):
    asked = []
    monkeypatch.setattr(ilhf_runs, "main", lambda rest, folder: asked.append((rest, folder)) or 7)
    assert experiments.main(arguments) == 7
    monkeypatch.setattr(sys, "argv", ["experiments", *arguments])
    assert experiments.main() == 7
    assert asked == [(arguments[1:], experiments.FOLDER)] * 2

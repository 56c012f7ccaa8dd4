"""What the book shows of its studies is stored with the package."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import imitation, mistakes, policy_gradients, runner, segments
from rlhf_lab.experiments.__main__ import DPO
from rlhf_lab.experiments.ilhf.study import STUDIES
from rlhf_lab.numerics import files

STORED = {"imitation": (imitation.STUDY, 10)} | {f"dpo {name}": (study, 20) for name, study in DPO.items()}
STORED["dpo prior"] = (DPO["prior"], 200)
STORED["mistakes"] = (mistakes.STUDY, 10)
STORED["policy gradients"] = (policy_gradients.STUDY, 40)
STORED["segments"] = (segments.STUDY, 200)
STORED |= {f"ilhf {name}": (study, 20) for name, study in STUDIES.items()}


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


def test_the_study_of_imitation_is_the_one_that_the_chapter_describes():
    found = experiments.stored("imitation")
    assert set(found) == {"clone", "dril", "raw", "survival", "dagger", "expert"}
    assert {value.shape for value in found.values()} == {(10, 5)}
    assert (found["expert"] == 500).all()
    assert np.mean(found["dagger"][:, 2:]) > 450

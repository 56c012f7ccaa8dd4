"""Every study, sent through two worker processes, finds the same numbers to the last digit as one process."""

import distributed
import pytest
import small_studies

from rlhf_lab.experiments import __main__ as command
from rlhf_lab.experiments import runner
from rlhf_lab.numerics import files

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("default")]  # warnings of a package that is not ours
SETTINGS = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(**SETTINGS, preload=[small_studies.__file__]) as found:
        yield found


@pytest.fixture
def small(monkeypatch):
    """All studies small, with two seeds, and stored with all their digits."""
    every = {name: (small_studies.small(study), 2) for name, (study, _) in command.studies().items()}
    small_studies.shrink(monkeypatch.setattr)
    monkeypatch.setattr(command, "studies", lambda: every)
    monkeypatch.setattr(runner, "_rounded", lambda numbers: numbers)
    return every


def numbers(folder, name):
    return files.load(runner.place(name, folder))["numbers"]


def test_every_study_finds_the_same_on_a_cluster_as_in_one_process(small, cluster, tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    for name, (study, _) in small.items():
        assert len(study.pieces(2)) > 1, name
        if not name.startswith("ilhf"):
            assert name in small_studies.SIZES, "a study that nothing makes small"
    assert command.main(["all", "--out", str(there), "--dask", cluster.scheduler_address]) == 0
    assert command.main(["all", "--out", str(here)]) == 0
    assert len(list(here.iterdir())) == len(small)
    differ = [name for name in small if numbers(here, name) != numbers(there, name)]
    assert not differ

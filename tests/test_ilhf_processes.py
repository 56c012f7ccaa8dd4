"""Studies on several processes, on this machine and on a Dask cluster, find what one process finds."""

import time

import pytest

from rlhf_lab import experiments, ilhf_figures, results
from rlhf_lab.ilhf_study import FIGURES


def run(*arguments):
    return experiments.main(["ilhf", *arguments])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_two_processes_find_what_one_finds_and_figures_are_drawn(tmp_path):
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        assert run("fig2", "--seeds", "6", "--jobs", str(jobs), "--out", str(folder), "--draw", str(folder)) == 0
        assert names(folder) == ["fig2.png", "fig2.svg", "ilhf_memory.json"]
    one, two = (results.load(tmp_path / jobs / "ilhf_memory.json") for jobs in "12")
    assert one == two
    assert (tmp_path / "1" / "fig2.svg").read_bytes() == (tmp_path / "2" / "fig2.svg").read_bytes()
    assert set(FIGURES) <= set(vars(ilhf_figures))


NEEDS_DASK = "the package distributed is not installed: pip install rlhf_lab[cluster]"


@pytest.mark.filterwarnings("default")  # those of a package that is not ours
def test_a_dask_cluster_of_two_processes_finds_the_same(tmp_path):
    distributed = pytest.importorskip("distributed", reason=NEEDS_DASK)
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as cluster:
        address = cluster.scheduler_address
        assert run("fig2", "--seeds", "6", "--out", str(tmp_path / "dask"), "--dask", address) == 0
    assert run("fig2", "--seeds", "6", "--out", str(tmp_path / "here")) == 0
    here, there = (results.load(tmp_path / place / "ilhf_memory.json") for place in ("here", "dask"))
    assert here == there


@pytest.mark.filterwarnings("default")
def test_a_cluster_that_does_not_answer_is_told_within_ten_seconds(tmp_path, capsys):
    pytest.importorskip("distributed", reason=NEEDS_DASK)
    before = time.monotonic()
    assert run("fig2", "--seeds", "2", "--out", str(tmp_path), "--dask", "tcp://127.0.0.1:1") == 1
    assert time.monotonic() - before < 10
    assert "no Dask scheduler answers at tcp://127.0.0.1:1 (" in capsys.readouterr().out
    assert run("fig2", "--seeds", "2", "--out", str(tmp_path), "--dask", "nowhere") == 1
    assert "no Dask scheduler answers at nowhere (" in capsys.readouterr().out

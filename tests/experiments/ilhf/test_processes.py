"""Studies on several processes find what one process finds; `peers/test_dask.py` says the same of a cluster."""

from rlhf_lab.experiments.__main__ import main
from rlhf_lab.experiments.ilhf import figures as ilhf_figures
from rlhf_lab.experiments.ilhf.study import FIGURES
from rlhf_lab.numerics import files


def run(*arguments):
    return main(["ilhf", *arguments])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_two_processes_find_what_one_finds_and_figures_are_drawn(tmp_path):
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        assert run("fig2", "--seeds", "6", "--jobs", str(jobs), "--out", str(folder), "--draw", str(folder)) == 0
        assert names(folder) == ["fig2.png", "fig2.svg", "ilhf_memory.json"]
    one, two = (files.load(tmp_path / jobs / "ilhf_memory.json") for jobs in "12")
    assert one == two
    assert (tmp_path / "1" / "fig2.svg").read_bytes() == (tmp_path / "2" / "fig2.svg").read_bytes()
    assert set(FIGURES) <= set(vars(ilhf_figures))

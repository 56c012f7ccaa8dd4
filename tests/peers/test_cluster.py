"""Every study, sent through two worker processes, finds the same numbers to the last digit as one process."""

import os
import signal

import dask
import distributed
import pytest
import small_studies
from threadpoolctl import threadpool_info

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


def test_every_study_finds_the_same_on_a_cluster_as_in_one_process(small, cluster, tmp_path):
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


def test_what_lost_workers_had_is_found_again(small, cluster, tmp_path, monkeypatch):
    def run(place, *arguments):
        return command.main(["ilhf", "fig2", "--seeds", "20", "--out", str(tmp_path / place), *arguments])

    def pids():
        return [nanny.pid for nanny in cluster.workers.values()]

    assert run("here") == 0
    first, save = pids(), files.save

    def save_and_kill(*given, **settings):
        save(*given, **settings)
        if pids() == first:
            for pid in first:  # what they have found and not yet told is gone with them
                os.kill(pid, signal.SIGKILL)
            monkeypatch.setattr(files, "save", save)

    monkeypatch.setattr(files, "save", save_and_kill)
    assert run("there", "--dask", cluster.scheduler_address) == 0
    cluster.wait_for_workers(2)
    assert not set(pids()) & set(first)
    assert numbers(tmp_path / "here", "ilhf memory") == numbers(tmp_path / "there", "ilhf memory")


@pytest.fixture
def with_threads(monkeypatch):
    """A worker that lets OpenBLAS use two threads, as one without a nanny does."""
    names = [f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS")]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    each = {f"distributed.nanny.pre-spawn-environ.{name}": 2 for name in names}
    local = SETTINGS | {"n_workers": 1, "threads_per_worker": 2}
    with dask.config.set(each), distributed.LocalCluster(**local) as cluster:
        yield cluster


def test_a_piece_has_one_thread_for_its_matrices_though_workers_have_more(with_threads):
    with distributed.Client(with_threads) as client:
        assert set(client.run(threads).values()) == {2}
    todo = {str(k): runner.Piece((k,), threads) for k in range(4)}
    assert dict(runner.on_dask(todo, with_threads.scheduler_address)) == dict.fromkeys(todo, 1)


def threads():
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

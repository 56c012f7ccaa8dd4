"""Runs of studies: pieces that resume, files that are whole, and clusters that answer or do not."""

import importlib
import json
import os
import platform
import threading
from pathlib import Path
from types import SimpleNamespace

import autograd.numpy as anp
import joblib
import numpy as np
import pytest
import threadpoolctl
from tqdm import tqdm

from rlhf_lab.experiments import imitation, runner
from rlhf_lab.experiments.__main__ import main
from rlhf_lab.experiments.ilhf import figures as ilhf_figures
from rlhf_lab.experiments.ilhf.study import FIGURES, STUDIES
from rlhf_lab.experiments.runner import Piece, Study, in_blocks
from rlhf_lab.numerics import files, optim


class Fake:
    """A study that counts what it runs, and that can be stopped before a seed."""

    def __init__(self, stop=None, error=KeyboardInterrupt):
        self.ran, self.stop, self.error = [], stop, error

    def __call__(self, seeds):
        if self.stop in seeds:
            raise self.error
        self.ran += seeds
        values = np.array(seeds, dtype=float)
        return {"kl": {"ilhf": values[:, None] + [0, 1 / 3]}, "shadow kl": values}


@pytest.fixture
def results(monkeypatch, tmp_path):
    """The folder that results go to if none is named."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results")
    folder.mkdir()
    return folder


@pytest.fixture
def fake(monkeypatch, results):
    def put(**settings):
        study = Fake(**settings)
        monkeypatch.setitem(STUDIES, "tau64", in_blocks(study, 2, {"length": 64}))
        return study

    return put


def run(*arguments):
    return main(["ilhf", *arguments])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_study_is_one_file_and_is_reused(fake, results, capsys):
    study = fake()
    assert run("fig4a", "--seeds", "5") == 0
    assert study.ran == [0, 1, 2, 3, 4]
    assert names(results) == ["ilhf_tau64.json"]
    stored = files.load(results / "ilhf_tau64.json")
    assert (stored["study"], stored["settings"], stored["seeds"]) == ("ilhf tau64", {"length": 64}, [0, 1, 2, 3, 4])
    assert stored["versions"] == {"python": platform.python_version(), "numpy": np.__version__}
    assert stored["numbers"]["kl"]["ilhf"][3] == [3, 3.33333]
    numbers = runner.load("ilhf tau64", results)
    assert numbers["kl"]["ilhf"].shape == (5, 2)
    assert (numbers["shadow kl"] == np.arange(5)).all()
    assert run("table3", "--seeds", "5") == 0
    assert study.ran == [0, 1, 2, 3, 4]
    assert "\nilhf_tau64.json: finished before, reused\n" in capsys.readouterr().out


def test_a_run_that_was_stopped_goes_on_where_it_stopped(fake, results, capsys):
    stopped = fake(stop=4)
    assert run("fig4a", "--seeds", "6") == 130
    assert stopped.ran == [0, 1, 2, 3]
    told = "\nstopped; the same command goes on from what was finished\n"
    assert capsys.readouterr().err.endswith(told)
    assert names(results / "ilhf_tau64.parts") == ["seeds_0-1.json", "seeds_2-3.json"]
    goes_on = fake()
    assert run("fig4a", "--seeds", "6") == 0
    assert goes_on.ran == [4, 5]
    assert "ilhf_tau64.json: 2 of 3 pieces were finished before\n" in capsys.readouterr().out
    assert names(results) == ["ilhf_tau64.json"]
    assert files.load(results / "ilhf_tau64.json")["numbers"]["shadow kl"] == [0, 1, 2, 3, 4, 5]


def test_what_was_made_otherwise_is_not_mixed_in(fake, monkeypatch, results, capsys):
    fake()
    assert run("fig4a", "--seeds", "4") == 0
    assert run("fig4a", "--seeds", "6") == 2
    told = (
        f"error: {results / 'ilhf_tau64.json'} is there and has other seeds than this command asks for: add "
        "--overwrite to replace it, or --out to store results elsewhere\n"
    )
    assert capsys.readouterr().err == told
    monkeypatch.setitem(STUDIES, "tau64", in_blocks(Fake(), 2, {"length": 65}))
    assert run("fig4a", "--seeds", "4") == 2
    assert "has other settings than this command asks for" in capsys.readouterr().err
    assert run("fig4a", "--seeds", "4", "--overwrite") == 0
    assert files.load(results / "ilhf_tau64.json")["settings"] == {"length": 65}
    assert run("fig4a", "--seeds", "6", "--out", str(results / "new" / "place")) == 0
    assert names(results / "new" / "place") == ["ilhf_tau64.json"]


def test_parts_of_other_settings_are_refused(fake, monkeypatch, results, capsys):
    fake(stop=2)
    assert run("fig4a", "--seeds", "4") == 130
    study = Fake()
    monkeypatch.setitem(STUDIES, "tau64", in_blocks(study, 2, {"length": 65}))
    assert run("fig4a", "--seeds", "4") == 2
    assert "seeds_0-1.json is there and has other settings" in capsys.readouterr().err
    assert run("fig4a", "--seeds", "4", "--overwrite") == 0
    assert study.ran == [0, 1, 2, 3]
    assert files.load(results / "ilhf_tau64.json")["settings"] == {"length": 65}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "is damaged: it is not JSON"),
        ('{"format": 99}', "has format 99, this package reads 1"),
        ('{"format": 1, "results": {"counts": []}}', "has other contents than this command asks for"),
        ('{"format": 1}', "is damaged: it holds no results"),
    ],
)
def test_foreign_files_are_told_and_left_alone(fake, results, capsys, text, message):
    study, path = fake(), results / "ilhf_tau64.json"
    path.write_text(text)
    assert run("fig4a", "--seeds", "4") == 2
    assert message in capsys.readouterr().err
    assert (study.ran, path.read_text(), names(results)) == ([], text, ["ilhf_tau64.json"])


@pytest.mark.parametrize(
    "numbers",
    [
        None,
        {},
        {"kl": {}},
        [1, 2],
        3,
        {"kl": {"ilhf": [[1, 2], [3]]}},
        {"kl": {"ilhf": [[1]] * 4, "ensemble": [[1]] * 3}},
        {"kl": {"ilhf": ["a"] * 4}},
        {"shadow kl": 4},
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_files_without_the_numbers_of_all_their_seeds_are_told(fake, results, capsys, numbers, part):
    fake(stop=2 if part else None)
    run("fig4a", "--seeds", "4")
    path = results / ("ilhf_tau64.parts/seeds_0-1.json" if part else "ilhf_tau64.json")
    stored = json.loads(path.read_text())
    stored["results"]["numbers"] = numbers
    path.write_text(json.dumps(stored))
    study = fake()
    capsys.readouterr()
    assert run("fig4a", "--seeds", "4", "--draw", str(results / "figures")) == 2
    told = f"error: {path} is damaged: it lacks numbers of its seeds; delete it and run its command again\n"
    assert capsys.readouterr().err == told
    assert study.ran == []
    path.unlink()
    assert run("fig4a", "--seeds", "4") == 0


def test_parts_of_a_larger_run_stay(fake, results):
    fake(stop=4)
    assert run("fig4a", "--seeds", "6") == 130
    study = fake()
    assert run("fig4a", "--seeds", "2") == 0
    assert study.ran == []
    assert names(results / "ilhf_tau64.parts") == ["seeds_2-3.json"]
    assert run("fig4a", "--seeds", "6", "--overwrite") == 0
    assert study.ran == [0, 1, 2, 3, 4, 5]  # nothing that is there is used
    assert names(results) == ["ilhf_tau64.json"]


def test_a_full_disk_leaves_nothing_half_written(fake, monkeypatch, results, capsys):
    fake()
    write = Path.write_text

    def full(path, text, **settings):
        write(path, text[:20], **settings)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert run("fig4a", "--seeds", "4") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in results.rglob("*")] == ["ilhf_tau64.parts"]
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fig9"], "invalid choice: 'fig9'"),
        (["fig2", "--seeds", "1"], "a standard error needs at least 2 seeds; got --seeds 1"),
        (["fig2", "--seeds", "many"], "invalid int value: 'many'"),
        (["fig2", "--jobs", "0"], "--jobs is a number of processes, at least 1; got 0"),
    ],
)
def test_bad_commands_are_told_before_any_work(arguments, message, capsys):
    with pytest.raises(SystemExit):
        run(*arguments)
    assert message in capsys.readouterr().err


def test_all_runs_every_study_once(monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(runner, "run", lambda *given, **settings: ran.append((*given, settings)))
    assert run("all", "--out", str(tmp_path), "--jobs", "2") == 0
    assert {name: study for name, study, *_ in ran} == {f"ilhf {name}": study for name, study in STUDIES.items()}
    assert len(ran) == len(STUDIES)
    assert {seeds for _, _, seeds, *_ in ran} == {20}
    assert ran[0][3:] == (tmp_path, {"jobs": 2, "dask": None, "overwrite": False})
    assert main(["imitation"]) == 0
    assert ran[-1] == ("imitation", imitation.STUDY, 50, Path("results"), {"jobs": 1, "dask": None, "overwrite": False})


def test_dask_is_asked_for_by_name(monkeypatch, results, capsys):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert run("fig2", "--seeds", "2", "--out", str(results), "--dask", "tcp://127.0.0.1:1") == 2
    told = 'error: --dask needs the package distributed: pip install "rlhf_lab[cluster]"\n'
    assert capsys.readouterr().err == told


class Client:
    """What `on_dask` needs of a cluster: it takes what is submitted, and hands the last one back first."""

    def __init__(self, address, timeout):
        self.address, self.timeout, self.closed = address, timeout, False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed = True

    def submit(self, function, *arguments, pure):
        assert not pure  # a study may be run twice
        return SimpleNamespace(result=lambda: function(*arguments))


def test_a_cluster_gets_the_blocks_and_gives_them_back_in_any_order(fake, monkeypatch, results):
    clients = []

    def connect(*arguments, **settings):
        clients.append(Client(*arguments, **settings))
        return clients[-1]

    cluster = SimpleNamespace(Client=connect, as_completed=lambda futures: futures[::-1])
    monkeypatch.setattr(importlib, "import_module", {"distributed": cluster}.__getitem__)
    study = fake()
    assert run("fig4a", "--seeds", "5", "--dask", "tcp://here") == 0
    assert study.ran == [4, 2, 3, 0, 1]
    assert files.load(results / "ilhf_tau64.json")["numbers"]["shadow kl"] == [0, 1, 2, 3, 4]
    assert [(client.address, client.timeout, client.closed) for client in clients] == [("tcp://here", 6, True)]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("Timed out\nafter 6 s"), "Timed out"),
        (ValueError("no port"), "no port"),
        (OSError(), "OSError"),
        (MemoryError("no scheduler, and its first bytes were read as a length"), "no scheduler, and its"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_told(fake, monkeypatch, capsys, error, told):
    def connect(address, timeout):
        raise error

    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(Client=connect))
    fake()
    for address in ("nowhere", ""):
        assert run("fig4a", "--seeds", "2", "--dask", address) == 2
        assert capsys.readouterr().err.startswith(f"error: no Dask scheduler answers at {address!r} ({told}")


def test_a_port_that_stays_silent_is_left_behind(fake, monkeypatch, capsys):
    silence, before = threading.Event(), set(threading.enumerate())
    cluster = SimpleNamespace(Client=lambda address, timeout: silence.wait())
    monkeypatch.setattr(importlib, "import_module", {"distributed": cluster}.__getitem__)
    monkeypatch.setattr(runner, "PATIENCE", 0.1)
    fake()
    assert run("fig4a", "--seeds", "2", "--dask", "silent") == 2
    assert capsys.readouterr().err == "error: no Dask scheduler answers at 'silent' (nothing within 0.1 s)\n"
    (left,) = set(threading.enumerate()) - before
    assert left.daemon  # it does not keep the program from ending
    silence.set()


def test_a_cluster_that_fails_is_told_and_finished_seeds_stay(fake, monkeypatch, results, capsys):
    cluster = SimpleNamespace(Client=Client, as_completed=iter)
    monkeypatch.setattr(importlib, "import_module", {"distributed": cluster}.__getitem__)
    fake(stop=2, error=RuntimeError("lost dependencies"))
    assert run("fig4a", "--seeds", "4", "--dask", "here") == 2
    assert (
        capsys.readouterr().err
        == "error: the Dask cluster at here failed (lost dependencies); what was finished is kept\n"
    )
    assert names(results / "ilhf_tau64.parts") == ["seeds_0-1.json"]


def test_the_bar_counts_pieces_with_those_that_were_finished_before(fake, monkeypatch):
    fake(stop=4)
    assert run("fig4a", "--seeds", "5") == 130
    bars = []

    class Bar:
        def __init__(self, total, initial, desc, unit):
            bars.append([total, initial, desc, unit])

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self):
            bars[-1].append(1)

    monkeypatch.setattr(runner, "tqdm", Bar)
    fake()
    assert run("fig4a", "--seeds", "5") == 0
    assert bars == [[3, 2, "ilhf tau64", "piece", 1]]


@pytest.mark.parametrize("before", [None, "0"])
def test_trainings_inside_draw_no_bars_and_the_setting_is_put_back(fake, monkeypatch, before):
    seen = []
    monkeypatch.setenv("TQDM_DISABLE", "0")
    if before is None:
        monkeypatch.delenv("TQDM_DISABLE")
    monkeypatch.setattr(runner, "run", lambda *given, **settings: seen.append(os.environ["TQDM_DISABLE"]))
    assert run("fig4a") == 0
    assert seen == ["1"]
    assert os.environ.get("TQDM_DISABLE") == before


def test_the_bar_of_a_study_stands_alone(fake, monkeypatch, capsys):
    """Bars of trainings appear after two seconds; here they appear at once, if they are drawn at all."""

    def train(seeds):
        settings = {"rounds": 3, "optimizer": optim.sgd(0.1), "rng": np.random.default_rng(0)}
        optim.fit(lambda params, batch: anp.sum(params["x"] ** 2), {"x": np.ones(1)}, lambda p, r: [1], **settings)
        return {"shadow kl": np.array(seeds, dtype=float)}

    fake()
    monkeypatch.setitem(STUDIES, "tau64", in_blocks(train, 2, {"length": 64}))
    monkeypatch.setattr(optim, "tqdm", lambda *given, **settings: tqdm(*given, **settings | {"delay": 0}))
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    train([0])
    assert "fit: " in capsys.readouterr().err
    assert run("fig4a", "--seeds", "4") == 0
    assert "fit" not in capsys.readouterr().err


def test_figures_are_drawn_from_the_results_of_the_run(fake, monkeypatch, results):
    drawn = []
    monkeypatch.setattr(ilhf_figures, "draw", lambda figure, load, folder: drawn.append((figure, load, folder)))
    fake()
    assert run("fig4a", "--seeds", "2", "--draw", str(results / "figures")) == 0
    (figure, load, folder) = drawn.pop()
    assert (figure, folder) == ("fig4a", results / "figures")
    assert load("tau64")["shadow kl"].tolist() == [0, 1]
    assert run("fig4a", "--seeds", "2") == 0
    assert drawn == []


def test_as_many_processes_run_as_are_asked_for(fake, monkeypatch, results):
    settings = []

    def parallel(**given):
        settings.append(given)
        return lambda tasks: (task(*arguments) for task, arguments, _ in tasks)

    monkeypatch.setattr(joblib, "Parallel", parallel)
    fake()
    assert run("fig4a", "--seeds", "5", "--jobs", "3") == 0
    assert settings == [{"n_jobs": 3, "return_as": "generator_unordered"}]
    assert files.load(results / "ilhf_tau64.json")["numbers"]["shadow kl"] == [0, 1, 2, 3, 4]


def test_blocks_hold_every_seed_once():
    def blocks(name, seeds):
        pieces = STUDIES[name].pieces(seeds)
        assert list(pieces) == [f"seeds_{piece.seeds[0]}-{piece.seeds[-1]}" for piece in pieces.values()]
        return [piece.seeds for piece in pieces.values()]

    assert blocks("memory", 12) == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9), (10, 11)]
    assert blocks("memory", 5) == [(0, 1, 2, 3, 4)]
    assert blocks("coin", 20) == [tuple(range(10)), tuple(range(10, 20))]


def test_pieces_may_be_about_the_same_seeds_and_are_joined_in_their_order(results):
    pieces = {
        "late": Piece((0, 1), lambda: {"x": np.array([3.0, 4.0])}),
        "b": Piece((0, 1), lambda: {"x": np.zeros(2)}),
    }
    asked = []

    def join(found):
        asked.extend(found)
        return {"x": np.stack([part["x"] for part in found], axis=-1)}

    study = Study(lambda seeds: asked.append(seeds) or pieces, join, {})
    assert runner.run("two", study, 2, results) == results / "two.json"
    assert runner.load("two", results)["x"].tolist() == [[3, 0], [4, 0]]
    assert asked[0] == 2
    assert [part["x"].tolist() for part in asked[1:]] == [[3, 4], [0, 0]]


def test_a_run_that_begins_anew_uses_nothing_that_it_finds(fake, results, capsys):
    fake(stop=2)
    assert run("fig4a", "--seeds", "4", "--overwrite") == 130
    assert capsys.readouterr().err.endswith("\nstopped; the same command begins anew\n")
    study = fake()
    assert run("fig4a", "--seeds", "4", "--overwrite") == 0
    assert study.ran == [0, 1, 2, 3]


def test_a_run_that_another_one_overtakes_ends_well(fake, results):
    """Both make the same numbers: the slower one finds the file, and its folder gone."""
    slow = fake()
    call, hurried = slow.__call__, []

    def overtaken(seeds):
        if not hurried:
            hurried.append(in_blocks(Fake(), 2, {"length": 64}))
            runner.run("ilhf tau64", hurried[0], 4, results)
            assert names(results) == ["ilhf_tau64.json"]
        return call(seeds)

    assert runner.run("ilhf tau64", in_blocks(overtaken, 2, {"length": 64}), 4, results).exists()
    assert slow.ran == [0, 1, 2, 3]
    assert names(results) == ["ilhf_tau64.json"]


def test_a_run_that_diverges_is_told(fake, results, capsys):
    fake(stop=2, error=FloatingPointError("the loss became nan in round 3"))
    assert run("fig4a", "--seeds", "4") == 1
    told = "error: the loss became nan in round 3; what was finished is kept\n"
    assert capsys.readouterr().err.endswith(told)
    assert names(results / "ilhf_tau64.parts") == ["seeds_0-1.json"]


def test_what_cannot_be_written_is_told_before_any_work(fake, results, capsys):
    study = fake()
    (results / "file").write_text("")
    assert run("fig4a", "--seeds", "4", "--out", str(results / "file")) == 2
    assert study.ran == []
    assert capsys.readouterr().err.startswith("error: ")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("option", ["--out", "--draw"])
def test_a_place_that_cannot_be_written_to_is_told_before_any_work(fake, results, capsys, monkeypatch, option):
    study = fake()
    (results / "file").write_text("")
    assert run("fig4a", "--seeds", "4", option, str(results / "file" / "deep")) == 2
    assert "error: nothing can be written to the folder" in capsys.readouterr().err

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(runner, "TemporaryFile", refuse)
    assert run("fig4a", "--seeds", "4", option, str(results)) == 2
    told = f"error: nothing can be written to the folder {results} (Permission denied); name another\n"
    assert capsys.readouterr().err == told
    assert study.ran == []
    assert names(results) == ["file"]


def test_a_folder_in_the_way_of_the_results_is_told_before_any_work(fake, results, capsys):
    study = fake()
    (results / "ilhf_tau64.json").mkdir()
    assert run("fig4a", "--seeds", "4") == 2
    assert "ilhf_tau64.json is in the way of the results: it is no file" in capsys.readouterr().err
    assert study.ran == []


def test_a_file_of_something_else_is_told_before_any_work_of_the_studies_before_it(fake, monkeypatch, results, capsys):
    study = fake()
    monkeypatch.setitem(FIGURES, "fig4a", ("tau64", "memory"))
    place = results / "ilhf_memory.json"
    files.save(place, {"study": "ilhf memory", "settings": {}, "seeds": [0, 1, 2, 3]})
    assert run("fig4a", "--seeds", "4") == 2
    assert f"{place} is there and has other settings" in capsys.readouterr().err
    assert study.ran == []


def test_pieces_compute_with_one_thread_and_leave_the_threads_as_they_were():
    def threads(_=None):
        return max(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas")

    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        ((_, found),) = runner.on_cores({"piece": Piece((0,), threads)}, 1)
        assert found == 1
        assert threads() == before == 2
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):  # puts back what a worker keeps for good
        assert runner._run_on_worker("piece", Piece((0,), threads)) == ("piece", 1)


def test_a_place_that_is_made_for_the_check_is_removed_again(tmp_path):
    runner.check_place("ilhf tau64", STUDIES["tau64"], 2, tmp_path / "deep" / "deeper")
    assert list(tmp_path.iterdir()) == []

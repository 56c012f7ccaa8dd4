"""What a reader installs is the whole package, works far from the clone, and imports only what it needs."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from compared import TEXT

import rlhf_lab
from rlhf_lab.leaderboard import comparisons
from rlhf_lab.leaderboard.board import format_table, leaderboard

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta as b; b.build_{}('dist')"
IMPORTS = """
import sys
before = set(sys.modules)
import rlhf_lab
print(set(sys.modules) - before)
import importlib, pkgutil
names = [module.name for module in pkgutil.walk_packages(rlhf_lab.__path__, "rlhf_lab.")]
users = ("rlhf_lab.experiments", "rlhf_lab.plots", "rlhf_lab.worlds.environments")
for name in names:
    if not name.startswith(users):
        importlib.import_module(name)
assert {"rlhf_lab.methods.ppo", "rlhf_lab.leaderboard.board", "rlhf_lab.check"} <= set(sys.modules)
print({"gymnasium", "joblib", "matplotlib", "multiprocessing"} & set(sys.modules))
for name in names:
    importlib.import_module(name)
import gymnasium
from rlhf_lab import experiments
print(rlhf_lab.__file__)
print(*[path.stem for path in experiments.RESULTS.glob("*.json") if experiments.stored(path.stem)])
print(gymnasium.make("rlhf_lab.worlds.environments:rlhf_lab/Phrases-v0").reset(seed=0)[0].tolist())
"""


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8", **options).stdout


def python(code, **options):
    return run(sys.executable, "-c", code, **options)


def files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.startswith("rlhf_lab/")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of what builds the package, so that nothing is written into the clone, with a wheel and an sdist of it."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "rlhf_lab", folder / "rlhf_lab", ignore=shutil.ignore_patterns("__pycache__", "*.parts"))
    for kind in ("sdist", "wheel"):
        python(BUILD.format(kind), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Run a command in an empty folder, where Python finds the package that was installed from the wheel first.

    What it says of errors stands beside what it prints, so that a test of the one is a test of both.
    """
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    (wheel,) = built.glob("dist/*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
    run(*pip, "--target", str(site), str(wheel), cwd=empty)

    def command(*arguments):
        environment = os.environ | {"PYTHONPATH": str(site), "PYTHONIOENCODING": "utf-8"}
        return run(*arguments, cwd=empty, env=environment, stderr=subprocess.STDOUT)

    command.site = site
    return command


@pytest.fixture(scope="module")
def imports(installed):
    """What `IMPORTS` prints far from the clone, line by line: one process for all that is said of imports."""
    return installed(sys.executable, "-c", IMPORTS).splitlines()


def test_the_wheel_holds_every_module_the_stored_studies_and_the_mark_of_types(built):
    (wheel,) = built.glob("dist/*.whl")
    found = files(wheel)
    wanted = {path for kind in ("*.py", "*.json", "py.typed") for path in (built / "rlhf_lab").rglob(kind)}
    assert found == {path.relative_to(built).as_posix(): path.read_bytes() for path in wanted}
    assert {"rlhf_lab/py.typed", "rlhf_lab/experiments/results/imitation.json"} <= set(found)


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    (sdist,), (wheel,) = built.glob("dist/*.tar.gz"), built.glob("dist/*.whl")
    with tarfile.open(sdist) as archive:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # the first versions of 3.11 have none
        archive.extractall(tmp_path, **safe)
    (folder,) = tmp_path.iterdir()
    python(BUILD.format("wheel"), cwd=folder)
    assert files(folder / "dist" / wheel.name) == files(wheel)


def test_far_from_the_clone_every_module_imports_and_finds_what_it_needs(installed, imports):
    place, studies, seen = imports[2:]
    assert Path(place) == installed.site / "rlhf_lab/__init__.py"
    assert ROOT not in Path(place).parents
    stored = (ROOT / "rlhf_lab/experiments/results").glob("*.json")
    assert sorted(studies.split()) == sorted(path.stem for path in stored)
    assert len(seen.split()) == 8


@pytest.mark.parametrize("way", ["module", "script"])
def test_the_commands_run_there(installed, tmp_path, way):
    script = shutil.which("rlhf-lab", path=installed.site / "bin")
    command = [script] if way == "script" else [sys.executable, "-m", "rlhf_lab"]
    table = tmp_path / "c.csv"
    table.write_text(TEXT, encoding="utf-8")
    assert installed(*command, "rank", str(table)) == format_table(leaderboard(comparisons.read(table)))
    assert installed(*command, "--version").split()[-1] == rlhf_lab.__version__
    listed = installed(*command)
    assert "  rank " in listed
    assert "  experiments " in listed


def test_the_package_alone_imports_nothing(imports):
    assert imports[0] == "{'rlhf_lab'}"


def test_processes_environments_and_figures_are_imported_by_those_who_use_them_alone(imports):
    assert imports[1] == "set()"

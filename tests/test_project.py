"""The project's own files agree with each other."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CORE = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines] for name, lines in PYPROJECT["project"]["optional-dependencies"].items()
}


def wanted(requirements):
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


def test_conda_and_pip_install_the_same():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    lines = [entry for entry in listed if isinstance(entry, str)] + [line for line in pip if line != "-e ."]
    assert "-e ." in pip
    conda = wanted(Requirement(line) for line in lines)
    assert conda.pop("python") == PYPROJECT["project"]["requires-python"]
    assert (conda.pop("pip"), conda.pop("make")) == ("", "")
    setuptools = Requirement(next(line for line in PYPROJECT["build-system"]["requires"] if "setuptools" in line))
    assert conda == wanted([*CORE, *EXTRAS["book"], *EXTRAS["test"], setuptools])


def pins():
    found = {}
    for line in (ROOT / "requirements/lock.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_every_dependency_is_locked_to_a_version_that_it_allows():
    locked = pins()
    for requirement in CORE + [r for name, rs in EXTRAS.items() if name != "peers" for r in rs]:
        versions = [next(iter(pin.specifier)).version for pin in locked[canonicalize_name(requirement.name)]]
        assert versions
        assert all(version in requirement.specifier for version in versions), requirement
    for python in ("3.11", "3.12", "3.13"):
        environment = {"python_version": python, "python_full_version": f"{python}.1"}
        numpys = [p for p in locked["numpy"] if p.marker is None or Marker(str(p.marker)).evaluate(environment)]
        assert len(numpys) == 1


def test_the_lock_names_no_place():
    for path in (ROOT / "requirements").glob("*.txt"):
        assert not re.search(r"https?:|file:|--index|--find-links|(?m:^-[ief] )", path.read_text())


def test_the_package_imports_only_its_core_dependencies():
    allowed = {canonicalize_name(r.name) for r in CORE} | sys.stdlib_module_names | {"rlhf_lab"}
    for path in (ROOT / "rlhf_lab").glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            assert {name.split(".")[0] for name in names} <= allowed, path.name


def test_the_readme_lists_the_chapters_of_the_book():
    toc = yaml.safe_load((ROOT / "book/_toc.yml").read_text())
    chapters = {c["file"] for part in toc["parts"] for c in part["chapters"] if c["file"].startswith("notebooks/")}
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"\((notebooks/\w+)\.ipynb\)", readme)) == chapters


def test_the_targets_that_the_texts_name_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml", "book/preface.md"):
        used = set(re.findall(r"(?:`|run: |^)make ([a-z]+)", (ROOT / name).read_text(), re.MULTILINE))
        assert used <= targets, name
    assert {"book", "test", "lint", "serve", "bench", "peers", "mutants", "clean"} <= targets


def test_no_file_knows_the_machine_that_it_was_written_on():
    home = str(Path.home())
    texts = [p for pattern in ("*.*", "*/*.*", ".ci/run", "Makefile") for p in ROOT.glob(pattern)]
    kinds = {".py", ".md", ".yml", ".toml", ".txt", ".ipynb", ".css", ".json", ".cff", ""}
    hidden = (".venv", ".git", "_build", ".mypy", ".ruff", ".pytest", ".hypothesis", "mutants")
    for path in texts:
        if path.is_file() and path.suffix in kinds and not path.relative_to(ROOT).parts[0].startswith(hidden):
            assert home not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("name", ["LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "README.md"])
def test_what_a_project_owes_its_readers_is_there(name):
    assert len((ROOT / name).read_text()) > 200


def test_the_version_is_the_same_everywhere():
    version = PYPROJECT["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version

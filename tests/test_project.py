"""The project's own files agree with each other."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import rlhf_lab

ROOT = Path(__file__).parents[1]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


PYPROJECT = tomllib.loads(text("pyproject.toml"))
CORE = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines] for name, lines in PYPROJECT["project"]["optional-dependencies"].items()
}
LOCKED = [*CORE, *EXTRAS["book"], *EXTRAS["test"]]
# files of more pins, and the extras that they hold
ADDED = {"lab": ("lab",), "browser": ("browser",), "dev": ("lint", "mutants", "build")}


def wanted(requirements):
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


def test_conda_and_pip_install_the_same():
    environment = yaml.safe_load(text("environment.yml"))
    assert (environment["name"], environment["channels"]) == ("rlhf-lab", ["conda-forge"])
    listed = environment["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    lines = [entry for entry in listed if isinstance(entry, str)] + [line for line in pip if line != "-e ."]
    assert "-e ." in pip
    conda = wanted(Requirement(line) for line in lines)
    assert conda.pop("python") == PYPROJECT["project"]["requires-python"]
    assert (conda.pop("pip"), conda.pop("make")) == ("", "")
    setuptools = Requirement(next(line for line in PYPROJECT["build-system"]["requires"] if "setuptools" in line))
    assert conda == wanted([*CORE, *EXTRAS["book"], *EXTRAS["test"], setuptools])


def pins(name="lock"):
    found = {}
    for line in text(f"requirements/{name}.txt").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_every_dependency_is_locked_to_a_version_that_it_allows():
    locked = pins()
    for requirement in LOCKED:
        versions = [next(iter(pin.specifier)).version for pin in locked[canonicalize_name(requirement.name)]]
        assert versions
        assert all(version in requirement.specifier for version in versions), requirement


@pytest.mark.parametrize("python", ["3.11.4", "3.11.9", "3.12.1", "3.13.1", "3.14.1"])
@pytest.mark.parametrize(("system", "os_name"), [("linux", "posix"), ("darwin", "posix"), ("win32", "nt")])
def test_the_lock_leaves_no_choice_on_any_machine(python, system, os_name):
    machine = {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": system,
        "os_name": os_name,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    chosen = {
        name: [p for p in pinned if p.marker is None or p.marker.evaluate(machine)] for name, pinned in pins().items()
    }
    assert {name for name, pinned in chosen.items() if len(pinned) > 1} == set()
    assert {name for name in wanted(LOCKED) if len(chosen[name]) != 1} == set()


@pytest.mark.parametrize("added", ADDED)
def test_what_is_added_is_locked_and_changes_no_version_of_the_lock(added):
    more, lock = pins(added), pins()
    assert {canonicalize_name(r.name) for extra in ADDED[added] for r in EXTRAS[extra]} <= set(more)
    for name in set(more) & set(lock):
        assert {str(pin.specifier) for pin in more[name]} <= {str(pin.specifier) for pin in lock[name]}, name


def test_the_lowest_versions_that_are_tested_are_those_that_are_declared():
    lowest = pins("lowest")
    for requirement in [*CORE, *EXTRAS["book"], *EXTRAS["test"]]:
        (least,) = (bound for bound in requirement.specifier if bound.operator == ">=")
        (pin,) = lowest[canonicalize_name(requirement.name)]
        assert Version(next(iter(pin.specifier)).version) == Version(least.version), requirement


def test_the_peers_are_the_same_versions_everywhere():
    listed = [Requirement(line) for line in text("requirements/peers.txt").splitlines() if not line.startswith("#")]
    assert {name: version for name, version in wanted(listed).items() if version} == wanted(EXTRAS["peers"])
    assert {canonicalize_name(r.name) for r in listed} >= {*wanted(CORE), "pytest", "pytest-xdist"}


def test_the_lock_names_no_place():
    for path in (ROOT / "requirements").glob("*.txt"):
        assert not re.search(r"https?:|file:|--index|--find-links|(?m:^-[ief] )", path.read_text(encoding="utf-8"))


def test_the_package_imports_only_its_core_dependencies():
    allowed = {canonicalize_name(r.name) for r in CORE} | sys.stdlib_module_names | {"rlhf_lab"}
    for path in (ROOT / "rlhf_lab").glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            assert {name.split(".")[0] for name in names} <= allowed, path.name


# Integers that numpy and scipy refuse if they are wider than pointers, or in a graph wider than 32 bits.
REFUSED = {
    "bincount": lambda call: call.args[:1],
    "csr_array": lambda call: call.args[0].elts[1].elts,
    "repeat": lambda call: [n for n in call.args[1:] if isinstance(n, ast.Call) and ast.unparse(n.func) != "len"],
}
NARROW = re.compile(r"\.astype\((np\.int(p|32)|int)\b.*\)$")


def wide_integers(code, calls=tuple(REFUSED)):
    """What a 32-bit machine may refuse: a name int64, and an index or count that is not cast in the call it goes to."""
    for node in ast.walk(ast.parse(code)):
        if getattr(node, "attr", getattr(node, "id", getattr(node, "value", ""))) == "int64":
            yield "int64"
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func).rpartition(".")[2]) in calls:
            yield from (given for given in map(ast.unparse, REFUSED[name](node)) if not NARROW.search(given))


def test_every_integer_that_counts_or_indexes_is_as_wide_as_a_pointer():
    for path in (ROOT / "rlhf_lab").glob("**/*.py"):
        assert list(wide_integers(path.read_text(encoding="utf-8"))) == [], path


@pytest.mark.parametrize("chapter", sorted((ROOT / "notebooks").glob("*.md")), ids=lambda path: path.stem)
def test_no_chapter_repeats_things_a_wide_number_of_times(chapter):
    cells = re.findall(
        r"^```\{code-cell\}[^\n]*\n(?:---\n.*?\n---\n|(?::[^\n]*\n)*)(.*?)^```",
        chapter.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert cells
    assert [wide for cell in cells for wide in wide_integers(cell, ["repeat"])] == []


def test_wide_integers_are_noticed():
    code = (
        "np.bincount(kind, weights=w); csr_array((w, (a.astype(np.int32), b))); np.ones(3, np.int64); x.astype('int64')"
        "; np.repeat(x, rng.multinomial(n, p), axis=0)"
    )
    assert sorted(wide_integers(code)) == ["b", "int64", "int64", "kind", "rng.multinomial(n, p)"]
    code = "np.bincount(kind.astype(np.intp, copy=False), w); np.repeat(x, len(y)); np.repeat(x, count.astype(int))"
    assert list(wide_integers(code)) == []


def test_the_readme_lists_the_chapters_of_the_book():
    toc = yaml.safe_load(text("book/_toc.yml"))
    chapters = {c["file"] for part in toc["parts"] for c in part["chapters"] if c["file"].startswith("notebooks/")}
    assert set(re.findall(r"^\|.*\((notebooks/\w+)\.ipynb\)", text("README.md"), re.MULTILINE)) == chapters


def test_the_targets_that_the_texts_name_exist():
    targets = set(re.findall(r"^([\w-]+):", text("Makefile"), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", ".github/workflows/ci.yml", "book/preface.md"):
        used = set(re.findall(r"(?:`|run: |entry: |^)make ([a-z]+)", text(name), re.MULTILINE))
        assert used, name
        assert used <= targets, name
    assert set(re.findall(r"^ *check (\w+)", text(".ci/run"), re.MULTILINE)) <= targets
    assert {"book", "test", "lint", "serve", "bench", "peers", "lowest", "mutants", "clean"} <= targets


def tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: git alone knows which files belong to the project")
    listed = subprocess.run([shutil.which("git"), "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_file_knows_the_machine_that_it_was_written_on():
    place = re.compile(rb"(?<![\w.])/(home|Users|root|work|opt|mnt|tmp)/\w|\b[A-Za-z]:\\+Users|file:/{2}")
    here = str(ROOT).encode()
    found = tracked()
    assert Path(__file__) in found
    for path in found:
        content = path.read_bytes()
        if b"\0" not in content:  # pictures and the like
            assert not place.search(content), path
            assert here not in content, path


@pytest.mark.parametrize("name", ["LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "README.md"])
def test_what_a_project_owes_its_readers_is_there(name):
    assert len(text(name)) > 200


def test_the_version_is_the_same_everywhere():
    assert PYPROJECT["tool"]["setuptools"]["dynamic"] == {"version": {"attr": "rlhf_lab.__version__"}}
    version = rlhf_lab.__version__
    assert yaml.safe_load(text("CITATION.cff"))["version"] == version
    assert re.search(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)[1] == version

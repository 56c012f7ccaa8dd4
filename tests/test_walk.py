"""A newcomer's walk through a copy of the project: take the notebooks, solve an exercise, test, and lose nothing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))

import book_index  # noqa: E402

CHAPTER = "token_mdp"


@pytest.fixture
def clone(tmp_path):
    """What git knows of the project, as it is now, committed in a folder of its own."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: git knows nothing of these files")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    author = ["-c", "user.name=a reader", "-c", "user.email=reader@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "a clone"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def solve(notebook):
    """Write the book's solution into the first starter of a notebook, and return the cell."""
    solutions = [cell["code"] for cell in book_index.cells((ROOT / f"notebooks/{CHAPTER}.md").read_text("utf-8"))]
    cells = nbformat.read(notebook, as_version=4)
    starter = next(cell for cell in cells.cells if "nbval-skip" in cell.metadata.get("tags", []))
    name = re.search(r"^check\.\w+\((\w+)\)", starter.source, re.MULTILINE)[1]
    solution = next(code for code in solutions if f"def {name}_solution" in code)
    starter.source = re.sub(r"^:tags:.*\n", "", solution).replace("_solution", "").strip()
    nbformat.write(cells, notebook)
    return starter.source


def run(clone, *command):
    settings = {**os.environ, "PYTHONPATH": str(clone)}
    return subprocess.run([sys.executable, *command], cwd=clone, env=settings, capture_output=True, text=True)


def test_an_exercise_is_solved_all_is_green_and_the_answer_is_still_there(clone):
    taken = run(clone, "-c", "import sys; sys.path.insert(0, 'book'); import lab; lab.copies(lab.ROOT)")
    assert taken.returncode == 0, taken.stderr
    mine, stored = clone / f"work/{CHAPTER}.ipynb", clone / f"notebooks/{CHAPTER}.ipynb"
    answer = solve(mine)
    assert solve(stored) == answer  # and one who did not take a copy
    tested = run(clone, "-m", "pytest", "--nbval", "--numprocesses=0", "-q", str(mine))
    assert tested.returncode == 0, tested.stdout
    written = run(clone, "book/sync.py", CHAPTER)
    assert written.returncode == 1, written.stderr
    assert answer in written.stdout
    for path in (mine, stored):
        assert answer in [cell.source for cell in nbformat.read(path, as_version=4).cells]
    ignored = subprocess.run(["git", "status", "--short"], cwd=clone, capture_output=True, text=True, check=True)
    assert ignored.stdout.split() == ["M", f"notebooks/{CHAPTER}.ipynb"]

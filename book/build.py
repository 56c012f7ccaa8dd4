"""Build the book: execute what is out of date, render, and say which file to open.

Nothing outside `_build` is written. If nothing changed since the last build that succeeded, there is nothing to do.
Otherwise all pages are rendered anew, because a page also tells of code, tests and other pages. Executed cells are
cached; the cache is thrown away when the package, the stored results or the lock file change, so every number on the
pages was computed by the code in this folder.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distributions
from pathlib import Path

import live
import nbformat
import outputs

ROOT = Path(__file__).parents[1]
EXECUTED = ("rlhf_lab/**/*.py", "rlhf_lab/**/*.json", "requirements/lock.txt")
COLLECT = (100_000, 50, 1_000_000)  # thresholds of Python's collector of garbage: hardly ever the old objects
RENDERED = ("rlhf_lab/**/*", "notebooks/**/*", "book/**/*", "tests/**/*", "requirements/lock.txt", "pyproject.toml")


def fingerprint(root: Path, patterns: tuple[str, ...], *more: str) -> str:
    """Return a number that changes with the name or content of any file that fits, and with `more`."""
    names = {path.relative_to(root).as_posix() for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    digest = hashlib.sha256("\n".join(more).encode())
    for name in sorted(names):
        if "/__pycache__/" not in name and "/." not in name:
            digest.update(name.encode() + hashlib.sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()


def package_hash(root: Path) -> str:
    """Return a fingerprint of everything that a notebook's result depends on, beside its own cells."""
    return fingerprint(root, EXECUTED)


def pages_hash(root: Path) -> str:
    """Return a fingerprint of everything that the pages are made from and with."""
    return fingerprint(root, RENDERED, sys.version, commit(root), *makers(root))


def makers(root: Path) -> list[str]:
    """Return names and versions of what is installed of the packages in the lock file: no others make the pages."""

    def plain(name: str) -> str:
        return re.sub("[-_.]+", "-", name).lower()

    lines = [line for file in root.glob("requirements/lock.txt") for line in file.read_text("utf-8").splitlines()]
    locked = {plain(line.split("==")[0]) for line in lines}
    return sorted(f"{made.name} {made.version}" for made in distributions() if plain(made.name) in locked)


def commit(root: Path) -> str:
    """Return the name of the commit that the pages are made from; nothing if the folder is no clone."""
    git = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--dirty= with changes"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def forget_old_results(root: Path) -> None:
    """Throw the cache of executed notebooks away if the package is not the one that filled it."""
    build = root / "_build"
    stamp, now = build / "package.sha256", fingerprint(root, EXECUTED, sys.version)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != now:
        shutil.rmtree(build / ".jupyter_cache", ignore_errors=True)
    build.mkdir(exist_ok=True)
    stamp.write_text(now, encoding="utf-8")


def fill_cache(root: Path) -> None:
    """Take the outputs that the notebooks keep, and execute the pages that are then not in the cache, one a core."""
    from jupyter_cache import get_cache  # only who executes waits for its database
    from jupyter_cache.base import CacheBundleIn
    from jupyter_cache.executors import load_executor

    cache, package = get_cache(root / "_build/.jupyter_cache"), package_hash(root)
    for page in sorted(page for folder in ("notebooks", "book") for page in (root / folder).glob("*.md")):
        if "```{code-cell}" in page.read_text(encoding="utf-8"):
            cache.add_nb_to_project(str(page), read_data={"name": "myst_nb_md", "type": "plugin"})
    for page in cache.list_unexecuted():
        stored = Path(page.uri).with_suffix(".ipynb")
        text = cache.get_project_notebook(page.uri).nb
        if stored.exists() and outputs.recall(text.cells, nbformat.read(stored, as_version=4), package):
            cache.cache_notebook_bundle(CacheBundleIn(text, page.uri), check_validity=False)
    load_executor("local-parallel", cache).run_and_cache(timeout=60)


def execute(root: Path, log: Path) -> None:
    """Fill the cache, in a process whose words go to a file. What fails fails again when it is rendered, in words."""
    start = "import build, pathlib, sys; build.fill_cache(pathlib.Path(sys.argv[1]))"
    with log.open("w") as out:
        command = [sys.executable, "-c", start, str(root)]
        subprocess.run(command, cwd=Path(__file__).parent, stdout=out, stderr=subprocess.STDOUT)


def render(root: Path, log: Path) -> int:
    """Run Jupyter Book with warnings as errors, and return its exit code."""
    environment = os.environ | {"BOOK_COMMIT": commit(root), "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    # Pages are trees that live until the end: looking through them for garbage takes a third of the time. And we start
    # Jupyter Book ourselves, since its script holds the path at which it was installed. Options of directives are YAML.
    start = f"import gc, yaml; gc.set_threshold{COLLECT}; "
    start += "yaml.SafeLoader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader); "
    start += "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", ".", "--config", "book/_config.yml"]
    command += ["--toc", "book/_toc.yml", "--warningiserror", "--nitpick", "--keep-going"]
    with log.open("w") as out:
        return subprocess.run(command, cwd=root, env=environment, stdout=out, stderr=subprocess.STDOUT).returncode


def add_wheel(root: Path) -> None:
    """Put the package beside the pages, for those who have a notebook and no clone."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    with tempfile.TemporaryDirectory() as folder:  # setuptools leaves things behind where it builds
        shutil.copytree(root / "rlhf_lab", Path(folder, "rlhf_lab"), ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(root / name, folder)
        subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", str(root / "_build/html"), folder], check=True)


def main(root: Path = ROOT) -> int:
    """Build, unless nothing changed, and return the exit code."""
    began = time.time()
    build = root / "_build"
    page, stamp, log = build / "html/index.html", build / "pages.sha256", build / "book.log"
    pyodide = os.environ.get("PYODIDE", "")
    if wrong := live.unusable(pyodide):
        print(wrong)
        return 1
    now = pages_hash(root)
    if page.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == now:
        live.locate(page.parent, pyodide)
        print(f"Nothing changed since the last build. Open {os.path.relpath(page)}")
        return 0
    forget_old_results(root)
    stamp.unlink(missing_ok=True)
    for old in ("html", ".doctrees"):
        shutil.rmtree(build / old, ignore_errors=True)
    print("Executing what is out of date, and rendering; the first time takes a few minutes ...", flush=True)
    os.environ |= {"TQDM_DISABLE": "1", "OPENBLAS_NUM_THREADS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}
    execute(root, log)
    if render(root, log):
        lines = log.read_text(encoding="utf-8").splitlines()
        told = [line for line in lines if re.search("WARNING: |ERROR|Error", line)]
        print("\n".join(told[-40:] or lines[-40:]))
        print(f"The book was not built; the whole log is in {os.path.relpath(log)}")
        return 1
    add_wheel(root)
    live.pack(root, page.parent)
    live.locate(page.parent, pyodide)
    stamp.write_text(now, encoding="utf-8")
    print(f"Built in {time.time() - began:.0f} s. Open {os.path.relpath(page)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

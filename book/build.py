"""Build the book: execute what is out of date, render, and say which file to open.

Nothing outside `_build` is written. Executed cells are cached there; the cache is thrown away when the package, the
stored results or the lock file change, so every number on the pages was computed by the code in this folder. All pages
are rendered anew.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "_build"


def package_hash(root: Path) -> str:
    """Return a fingerprint of everything that a notebook's result depends on, beside its own cells."""
    patterns = ("rlhf_lab/**/*.py", "results/*.json", "requirements/lock.txt")
    files = [path for pattern in patterns for path in sorted(root.glob(pattern))]
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def forget_old_results(root: Path, build: Path) -> None:
    """Throw the cache of executed notebooks away if the package is not the one that filled it."""
    stamp, now = build / "package.sha256", package_hash(root)
    if not stamp.exists() or stamp.read_text() != now:
        shutil.rmtree(build / ".jupyter_cache", ignore_errors=True)
    build.mkdir(exist_ok=True)
    stamp.write_text(now)


def main() -> int:
    """Build, and return the exit code."""
    began = time.time()
    forget_old_results(ROOT, BUILD)
    for old in ("html", ".doctrees"):  # what a page tells of code, tests and other pages may be out of date
        shutil.rmtree(BUILD / old, ignore_errors=True)
    environment = os.environ | {
        "TQDM_DISABLE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }
    start = "from jupyter_book.cli.main import main; main()"  # its script holds the path at which it was installed
    command = [sys.executable, "-c", start, "build", ".", "--config", "book/_config.yml"]
    command += ["--toc", "book/_toc.yml", "--warningiserror", "--nitpick", "--keep-going"]
    print("Executing what is out of date, and rendering; the first time takes about two minutes ...", flush=True)
    log = BUILD / "book.log"
    with log.open("w") as out:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    if done.returncode:
        lines = log.read_text().splitlines()
        told = [line for line in lines if "WARNING" in line or "ERROR" in line or "Error" in line]
        print("\n".join(told[-40:] or lines[-40:]))
        print(f"The book was not built; the whole log is in {os.path.relpath(log)}")
        return 1
    page = BUILD / "html/index.html"
    print(f"Built in {time.time() - began:.0f} s. Open {os.path.relpath(page)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

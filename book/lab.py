"""Give the reader copies of the notebooks in `work/`, and open JupyterLab there. A copy that is there is kept."""

import os
import shutil
import sys
from pathlib import Path

from build import ROOT


def copies(root: Path) -> Path:
    """Copy the notebooks that are not in `work/` yet, and return that folder."""
    folder = root / "work"
    folder.mkdir(exist_ok=True)
    for stored in sorted(root.glob("notebooks/*.ipynb")):
        mine = folder / stored.name
        if not mine.exists():
            shutil.copyfile(stored, mine)
        elif mine.read_bytes() != stored.read_bytes():
            print(f"work/{stored.name} is kept. To get the book's copy of today, rename it and start again.")
    return folder


def main() -> int:
    """Copy, then turn into JupyterLab, with the kernel of this environment as Python 3."""
    folder = copies(ROOT)
    os.chdir(folder)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    quiet = ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    return os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-m", "jupyterlab", *quiet, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())

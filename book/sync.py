"""Bring each notebook in step with its MyST text, execute it and store its outputs: the author's tool.

The text in `notebooks/*.md` is the source. The same source gives the same `.ipynb`, byte for byte. A notebook in which
somebody wrote something, an answer to an exercise perhaps, is not written over.
"""

import argparse
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbclient
import nbformat
import outputs
from build import ROOT, package_hash
from plain import notebook_of

os.environ |= {"TQDM_DISABLE": "1", "OPENBLAS_NUM_THREADS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}


def execute(notebook: nbformat.NotebookNode) -> None:
    """Run all cells in this environment's kernel, and keep nothing that differs from run to run."""
    client = nbclient.NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(ROOT)}},
    )
    client.execute()


def export_figure(notebook: nbformat.NotebookNode, name: str, path: Path) -> None:
    """Write the figure of that name, if the notebook has it, to a file: the README shows one."""
    for cell in notebook.cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            image = next(output.data["image/png"] for output in cell.outputs if "data" in output)
            path.write_bytes(base64.b64decode(image))


def unknown_cells(stored: Path, notebook: nbformat.NotebookNode, root: Path) -> list[str]:
    """Return the cells of a stored notebook that neither the new one, nor the last commit, nor the last run knows."""
    if not stored.exists():
        return []
    cells = nbformat.read(stored, as_version=4).cells
    name = stored.relative_to(root).as_posix()
    shown = subprocess.run(["git", "show", f"HEAD:{name}"], cwd=root, capture_output=True, text=True, encoding="utf-8")
    known = nbformat.reads(shown.stdout, as_version=4).cells if shown.returncode == 0 else []
    ours = root / f"_build/sync/{stored.name}"
    known += nbformat.read(ours, as_version=4).cells if ours.exists() else []
    sources = {cell.source.strip() for cell in [*known, *notebook.cells]}
    return [cell.source for cell in cells if cell.source.strip() and cell.source.strip() not in sources]


def main() -> int:
    """Synchronise all notebooks, or those named, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="subjects, such as token_mdp; all if none is named")
    parser.add_argument("--force", action="store_true", help="execute again even if nothing changed")
    arguments = parser.parse_args()
    texts = [
        text for text in sorted(ROOT.glob("notebooks/*.md")) if not arguments.names or text.stem in arguments.names
    ]
    refused, package = False, package_hash(ROOT)
    for text in texts:
        stored = text.with_suffix(".ipynb")
        notebook = notebook_of(text, ROOT)
        now = hashlib.sha256(json.dumps(notebook).encode() + package.encode()).hexdigest()
        stamp = ROOT / f"_build/sync/{text.stem}.sha256"
        if not arguments.force and stored.exists() and stamp.exists() and stamp.read_text() == now:
            print(f"{text.stem}: nothing changed")
            continue
        if mine := unknown_cells(stored, notebook, ROOT):
            print(f"{text.stem}: left as it is. Neither the text nor the last commit knows what stands in this cell:\n")
            print(f"{mine[0]}\n\nKeep it in a copy of the notebook (make lab makes one), then remove the file.")
            refused = True
            continue
        began = time.time()
        executed = jupytext.read(text)
        execute(executed)
        outputs.keep(executed.cells, notebook, package)
        fresh = stored.with_suffix(".tmp")
        nbformat.write(notebook, fresh)
        export_figure(notebook, "fig-pretrained-and-best", ROOT / "book/_static/readme.png")
        os.replace(fresh, stored)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stored, stamp.parent / stored.name)
        stamp.write_text(now)
        print(f"{text.stem}: executed in {time.time() - began:.1f} s")
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())

"""Bring each notebook in step with its MyST text, execute it and store its outputs: the author's tool.

The text in `notebooks/*.md` is the source. The same source gives the same `.ipynb`, byte for byte.
"""

import argparse
import base64
import hashlib
import os
import sys
import time
from pathlib import Path

import jupytext
import nbclient
import nbformat
from build import ROOT, package_hash

os.environ |= {"TQDM_DISABLE": "1", "OPENBLAS_NUM_THREADS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}


def notebook_of(text: Path) -> nbformat.NotebookNode:
    """Read a MyST notebook; cells get ids that depend on nothing but their place."""
    notebook = jupytext.read(text)
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place:03d}"
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook


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
    notebook.metadata.pop("language_info", None)


def export_figure(notebook: nbformat.NotebookNode, name: str, path: Path) -> None:
    """Write the figure of that name, if the notebook has it, to a file: the README shows one."""
    for cell in notebook.cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            image = next(output.data["image/png"] for output in cell.outputs if "data" in output)
            path.write_bytes(base64.b64decode(image))


def main() -> int:
    """Synchronise all notebooks, or those named, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="subjects, such as token_mdp; all if none is named")
    parser.add_argument("--force", action="store_true", help="execute again even if nothing changed")
    arguments = parser.parse_args()
    texts = [
        text for text in sorted(ROOT.glob("notebooks/*.md")) if not arguments.names or text.stem in arguments.names
    ]
    for text in texts:
        stored = text.with_suffix(".ipynb")
        now = hashlib.sha256(text.read_bytes() + package_hash(ROOT).encode()).hexdigest()
        stamp = ROOT / f"_build/sync/{text.stem}.sha256"
        if not arguments.force and stored.exists() and stamp.exists() and stamp.read_text() == now:
            print(f"{text.stem}: nothing changed")
            continue
        began = time.time()
        notebook = notebook_of(text)
        execute(notebook)
        fresh = stored.with_suffix(".tmp")
        nbformat.write(notebook, fresh)
        export_figure(notebook, "fig-pretrained-and-best", ROOT / "book/_static/readme.png")
        os.replace(fresh, stored)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(now)
        print(f"{text.stem}: executed in {time.time() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

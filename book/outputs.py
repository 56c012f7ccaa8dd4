"""What the cells of a chapter printed and drew, kept in its notebook: who builds the book need not execute them again.

The text of a chapter has more cells than its notebook, in which solutions are folded text. Their outputs stand in the
notebook's metadata, beside a fingerprint of the package that made all of them.
"""

from collections.abc import Sequence

from nbformat import NotebookNode


def code_of(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Return the cells that hold code."""
    return [cell for cell in cells if cell.cell_type == "code"]


def keep(executed: Sequence[NotebookNode], notebook: NotebookNode, package: str) -> None:
    """Give a notebook, not yet executed, the outputs of the executed cells of its text, and say which package ran."""
    shown, solutions = code_of(notebook.cells), []
    waiting = iter(shown)
    following = next(waiting, None)
    for cell in code_of(executed):
        if following is not None and cell.source == following.source:
            following.outputs = cell.outputs
            following = next(waiting, None)
        else:
            solutions.append({"source": cell.source, "outputs": cell.outputs})
    for count, cell in enumerate(shown, start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    notebook.metadata["executed"] = {"package": package, "solutions": solutions}


def recall(text: Sequence[NotebookNode], notebook: NotebookNode, package: str) -> bool:
    """Give the cells of a text the outputs that its notebook keeps; return False if other code or another package made
    these, and leave the cells as they are.
    """
    executed = notebook.metadata.get("executed", {})
    shown, solutions = code_of(notebook.cells), list(executed.get("solutions", []))
    found = []
    for cell in code_of(text):
        left = next((cells for cells in (shown, solutions) if cells and cells[0]["source"] == cell.source), None)
        if left is None:
            return False
        found.append(left.pop(0)["outputs"])
    if shown or solutions or executed.get("package") != package:
        return False
    for cell, made in zip(code_of(text), found, strict=True):
        cell.outputs = made
    return True

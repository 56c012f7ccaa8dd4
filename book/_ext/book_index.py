"""What the book, the package and the tests say of each other: equations, functions, tests, figures.

Pure functions of a project's root; they read files and, for the tests, ask pytest. Used by the Sphinx extension
beside this file and by `tests/test_book.py`. As a pytest plugin this module writes down the `equation` markers.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

EQUATION = re.compile(r"^:label: (eq-[\w-]+)$", re.MULTILINE)
NAMED = re.compile(r"\((eq-[\w-]+)\)")
MODULES = re.compile(r"^```\{modules\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CELL = re.compile(
    r"^```\{code-cell\}[^\n]*\n(?:---\n(?P<options>.*?)\n---\n)?(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


def pages(root: Path) -> list[Path]:
    """Return the MyST sources of the pages in the order of the table of contents."""
    toc = yaml.safe_load((root / "book/_toc.yml").read_text())
    files = [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [root / f"{name}.md" for name in files]


def equations(root: Path) -> dict[str, Path]:
    """Return each labelled equation with its page, in the order of the book."""
    return {label: page for page in pages(root) for label in EQUATION.findall(page.read_text())}


def modules(root: Path) -> list[str]:
    """Return the names of the package's modules, each after those that it imports."""
    trees = {path.stem: ast.parse(path.read_text()) for path in sorted((root / "rlhf_lab").glob("*.py"))}
    needs = {name: {a for a in _imported(tree) if a in trees and a != name} for name, tree in trees.items()}
    ordered: list[str] = []
    while needs:
        free = min((name for name in needs if needs[name] <= set(ordered)), default=min(needs))
        ordered.append(free)
        del needs[free]
    return [name for name in ordered if not name.startswith("__")]


def reference(root: Path) -> dict[str, list[str]]:
    """Return the pages of the reference, in the order of the table of contents, each with its modules."""
    toc = yaml.safe_load((root / "book/_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    files = [section["file"] for chapter in chapters for section in chapter.get("sections", [])]
    named = {name: MODULES.search((root / f"{name}.md").read_text()) for name in files}
    return {name.removeprefix("book/"): block[1].split() for name, block in named.items() if block}


def unreferenced(root: Path) -> list[str]:
    """Say which modules stand on no page of the reference or on several, and which stand before one that they use.

    The modules of the exercises stand on none: what checkers know of an exercise would give its answer away.
    """
    shown = [name for names in reference(root).values() for name in names]
    wanted = [name for name in modules(root) if not name.startswith("exercises_")]
    found = [f"{name}: on {shown.count(name)} pages of the reference" for name in wanted if shown.count(name) != 1]
    found += [f"{name}: the reference shows it, and there is no such module" for name in shown if name not in wanted]
    for name in [name for name in wanted if name in shown]:
        needs = _imported(ast.parse((root / f"rlhf_lab/{name}.py").read_text()))
        late = set(shown[shown.index(name) + 1 :]) & needs
        found += [f"{name}: stands before {other}, which it uses" for other in sorted(late)]
    return found


def summary(module: Path) -> str:
    """Return the first sentence of a module's docstring."""
    paragraph = (ast.get_docstring(ast.parse(module.read_text())) or "").split("\n\n")[0]
    return re.split(r"(?<=\.)\s", " ".join(paragraph.split()))[0]


def _imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found


def named_in(module: Path) -> list[tuple[str, str]]:
    """Return (label, dotted name) for each label in the docstrings of a module, in the order of the file."""
    found = []

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                name = f"{prefix}.{node.name}"
                found.extend((label, name) for label in NAMED.findall(ast.get_docstring(node) or ""))
                if isinstance(node, ast.ClassDef):
                    visit(node.body, name)

    visit(ast.parse(module.read_text()).body, f"rlhf_lab.{module.stem}")
    return found


def functions(root: Path) -> dict[str, list[str]]:
    """Return, for each label, the functions and classes whose docstrings name it."""
    found: dict[str, list[str]] = {}
    for name in modules(root):
        for label, function in named_in(root / f"rlhf_lab/{name}.py"):
            found.setdefault(label, []).append(function)
    return found


def figures(root: Path) -> dict[str, list[str]]:
    """Return, for each label, the names of the figures whose captions refer to it."""
    found: dict[str, list[str]] = {}
    for page in pages(root):
        for cell in cells(page.read_text()):
            figure = cell["figure"]
            for label in dict.fromkeys(re.findall(r"\{eq\}`(eq-[\w-]+)`", figure.get("caption", ""))):
                found.setdefault(label, []).append(figure["name"])
    return found


def cells(text: str) -> list[dict]:
    """Return the code cells of a MyST notebook: code, figure options, image options."""
    found = []
    for match in CELL.finditer(text):
        options = (yaml.safe_load(match["options"] or "") or {}).get("mystnb", {})
        found.append({"code": match["code"], "figure": options.get("figure", {}), "image": options.get("image", {})})
    return found


def markers(root: Path) -> dict[str, list[str]]:
    """Return, for each label, the tests that assert it, as pytest collects them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "markers.json"
        environment = os.environ | {"BOOK_INDEX_OUT": str(out), "PYTHONPATH": os.path.dirname(__file__)}
        command = [sys.executable, "-m", "pytest", "tests", "--collect-only", "-q", "-p", "book_index"]
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider"], cwd=root, env=environment, capture_output=True, text=True
        )
        if done.returncode not in (0, 5) or not out.exists():
            raise RuntimeError(f"pytest could not collect the tests:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return json.loads(out.read_text())


def pytest_collection_modifyitems(items) -> None:
    """Write down which tests assert which equations (a pytest hook)."""
    if "BOOK_INDEX_OUT" not in os.environ:
        return
    found: dict[str, list[str]] = {}
    for item in items:
        for label in dict.fromkeys(label for mark in item.iter_markers("equation") for label in mark.args):
            names = found.setdefault(label, [])
            if item.nodeid.split("[")[0] not in names:
                names.append(item.nodeid.split("[")[0])
    Path(os.environ["BOOK_INDEX_OUT"]).write_text(json.dumps(found))


def unasserted(root: Path) -> list[str]:
    """Say which labelled equations no test names, and which tests name no equation of the book."""
    book, tests = set(equations(root)), set(markers(root))
    missing = [f"{label}: no test is marked with it" for label in sorted(book - tests)]
    return missing + [f"{label}: tests name it, but the book has no such equation" for label in sorted(tests - book)]


def disordered(root: Path) -> list[str]:
    """Say which modules name equations that do not exist, or in another order than the book."""
    found = []
    book = list(equations(root))
    for name in modules(root):
        labels = list(dict.fromkeys(label for label, _ in named_in(root / f"rlhf_lab/{name}.py")))
        found += [f"{name}: {label} is not in the book" for label in labels if label not in book]
        known = [label for label in labels if label in book]
        if known != sorted(known, key=book.index):
            found.append(
                f"{name}: its equations stand in the order {known}, in the book {sorted(known, key=book.index)}"
            )
    return found


def unchecked_sections(page: Path) -> list[str]:
    """Say which sections of a chapter compute something but assert nothing."""
    found = []
    for section in re.split(r"^## ", page.read_text(), flags=re.MULTILINE)[1:]:
        code = "".join(cell["code"] for cell in cells(section))
        if code.strip() and not re.search(r"^\s*(assert|check\.)", code, re.MULTILINE):
            found.append(f"{page.name}: section {section.splitlines()[0]!r} has code but asserts nothing")
    return found


def untold_figures(page: Path) -> list[str]:
    """Say which cells show a figure without a name, a caption or an alternative text."""
    return [
        f"{page.name}: a cell that ends in plt.show() has no {what}: {cell['code'].splitlines()[0]}"
        for cell in cells(page.read_text())
        if "plt.show()" in cell["code"]
        for what, there in (
            ("name", cell["figure"].get("name")),
            ("caption", cell["figure"].get("caption")),
            ("alt text", cell["image"].get("alt")),
        )
        if not there
    ]


def out_of_step(text: Path) -> list[str]:
    """Say where a notebook differs from its MyST text."""
    import jupytext

    notebook, source = jupytext.read(text.with_suffix(".ipynb")), jupytext.read(text)
    stored, written = ([_essence(cell) for cell in n.cells] for n in (notebook, source))
    if len(stored) != len(written):
        return [f"{text.name}: the notebook has {len(stored)} cells, the text {len(written)}; run make notebooks"]
    wrong = [k for k, (a, b) in enumerate(zip(stored, written, strict=True), start=1) if a != b]
    return [f"{text.name}: cell {k} differs between notebook and text; run make notebooks" for k in wrong]


def _essence(cell: dict) -> tuple:
    options = {name: value for name, value in cell["metadata"].items() if name in ("mystnb", "tags")}
    return cell["cell_type"], "".join(cell["source"]), json.dumps(options, sort_keys=True)


def badly_executed(notebook: Path) -> list[str]:
    """Say which cells of a stored notebook did not run in order, failed, wrote to stderr, or show a machine's path."""
    found = []
    code = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code" and "".join(c["source"])]
    for k, cell in enumerate(code, start=1):
        told = f"{notebook.name}: cell {k}"
        if cell["execution_count"] != k:
            found.append(f"{told} was not run in order")
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"{told} stored an error")
            if output.get("name") == "stderr":
                found.append(f"{told} wrote to stderr")
        if str(Path.home()) in json.dumps(cell["outputs"]):
            found.append(f"{told} shows a path of one machine")
    return found

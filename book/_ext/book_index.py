"""What the book, the package and the tests say of each other: rooms, equations, functions, tests, figures.

Pure functions of a project's root: they read files and run nothing. Used by the Sphinx extension beside this file and
by `tests/test_book.py`. A module is named as in `from rlhf_lab import name`: `models.lm`.
"""

import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path

import yaml

EQUATION = re.compile(r"^:label: (eq-[\w-]+)$", re.MULTILINE)
NAMED = re.compile(r"\((eq-[\w-]+)\)")
REFERENCE = "book/reference/"
CELL = re.compile(
    r"^```\{code-cell\}[^\n]*\n(?:---\n(?P<options>.*?)\n---\n)?(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


def _chapters(root: Path) -> list[dict]:
    toc = yaml.safe_load((root / "book/_toc.yml").read_text(encoding="utf-8"))
    return [{"file": toc["root"]}] + [chapter for part in toc["parts"] for chapter in part["chapters"]]


def pages(root: Path) -> list[Path]:
    """Return the MyST sources of the pages in the order of the table of contents."""
    return [page for chapter in _chapters(root) for page in _with_sections(root, chapter)]


def _with_sections(root: Path, chapter: dict) -> list[Path]:
    return [root / f"{entry['file']}.md" for entry in (chapter, *chapter.get("sections", []))]


def numbered(root: Path) -> dict[int, list[Path]]:
    """Return the MyST sources of each numbered chapter: its page, and the pages below it."""
    toc = yaml.safe_load((root / "book/_toc.yml").read_text(encoding="utf-8"))
    listed = [chapter for part in toc["parts"] if "numbered" in part for chapter in part["chapters"]]
    return {k: _with_sections(root, chapter) for k, chapter in enumerate(listed, start=1)}


def equations(root: Path) -> dict[str, Path]:
    """Return each labelled equation with its page, in the order of the book."""
    return {label: page for page in pages(root) for label in EQUATION.findall(page.read_text(encoding="utf-8"))}


def formulas(root: Path) -> dict[Path, dict[str, str]]:
    """Return the formula behind each label, for each page that has some."""
    written = re.compile(r"^[`:]{3,}\{math\}\n:label: (eq-[\w-]+)\n(.*?)\n[`:]{3,}$", re.MULTILINE | re.DOTALL)
    return {page: dict(written.findall(page.read_text(encoding="utf-8"))) for page in pages(root)}


def titles(root: Path) -> dict[Path, str]:
    """Return the title of each page."""
    return {page: re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)[1] for page in pages(root)}


def numbers(root: Path) -> dict[str, str]:
    """Return what stands for each label of the numbered chapters: (4.3), Fig. 4.2, Theorem 4.1, Exercise 4.5."""
    box = r"^(?:`{{3}}|:{{3,}})\{{{}\}}.*\n:label: (.+)$"
    found = {}
    for chapter, pages in numbered(root).items():
        written = "\n".join(page.read_text(encoding="utf-8") for page in pages)
        labels = {
            "({})": EQUATION.findall(written),
            "Fig. {}": [cell["figure"]["name"] for cell in cells(written) if cell["figure"]],
            "Theorem {}": re.findall(box.format("prf:theorem"), written, re.MULTILINE),
            "Exercise {}": re.findall(
                r"^(?:`{3}|:{3,})\{exercise(?:-start)?\}.*\n:label: (.+)$", written, re.MULTILINE
            ),
        }
        for form, listed in labels.items():
            found |= {label: form.format(f"{chapter}.{k}") for k, label in enumerate(listed, start=1)}
    return found


def sections(root: Path) -> dict[str, tuple[Path, str]]:
    """Return, for each label of a section, its page and its title."""
    return {
        label: (page, title)
        for page in pages(root)
        for label, title in re.findall(r"^\(([\w-]+)\)=\n+#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }


def _rules(root: Path) -> list[dict]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def rules(root: Path) -> list[str]:
    """Return what import-linter holds the package to, in the words of `pyproject.toml`."""
    return [rule["name"] for rule in _rules(root)]


def floors(root: Path) -> list[list[str]]:
    """Return the rooms of the package from the ground up; those on one floor stand side by side."""
    layers = next(rule["layers"] for rule in _rules(root) if rule["type"] == "layers")
    return [layer.split(" | ") for layer in reversed(layers) if layer != "__main__"]


def inside(root: Path, room: str) -> list[str]:
    """Return the modules of a room that the reference shows, each after those that it imports.

    A module that imports `check.diagnosis` holds the answers to exercises, so it is left out.
    """
    found = {}
    for path in sorted((root / "rlhf_lab" / room).rglob("*.py")):
        parts = path.relative_to(root / "rlhf_lab").with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = _tree(path.read_bytes())
    needs = {name: _imported(tree) - {name} for name, tree in found.items() if name not in (room, f"{room}.__main__")}
    needs = {name: imports for name, imports in needs.items() if "check.diagnosis" not in imports}
    ordered: list[str] = []
    while needs:
        free = min((name for name in needs if not needs[name] & set(needs)), default=min(needs))
        ordered.append(free)
        del needs[free]
    return ordered


def modules(root: Path) -> list[str]:
    """Return the modules that the reference shows: each room from the ground up, then what is inside."""
    rooms = [room for floor in floors(root) for room in floor]
    return [name for room in rooms for name in (room, *inside(root, room))]


@cache
def _tree(code: bytes) -> ast.Module:
    return ast.parse(code)


def _imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rlhf_lab":
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name.removeprefix("rlhf_lab").removeprefix(".") for name in names}
    return found


def source(root: Path, name: str) -> Path:
    """Return the file of a module or of a room."""
    path = root / "rlhf_lab" / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def summary(module: Path) -> str:
    """Return the first sentence of a module's docstring."""
    paragraph = (ast.get_docstring(_tree(module.read_bytes())) or "").split("\n\n")[0]
    return re.split(r"(?<=\.)\s", " ".join(paragraph.split()))[0]


def reference(root: Path) -> list[str]:
    """Return the rooms that have a page of the reference, in the order of the table of contents."""
    files = [section["file"] for chapter in _chapters(root) for section in chapter.get("sections", [])]
    return [name.removeprefix(REFERENCE) for name in files if name.startswith(REFERENCE)]


def named_in(root: Path, module: str) -> list[tuple[str, str]]:
    """Return (label, dotted name) for each label in the docstrings of a module, in the order of the file."""
    found = []

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                name = f"{prefix}.{node.name}"
                found.extend((label, name) for label in NAMED.findall(ast.get_docstring(node) or ""))
                if isinstance(node, ast.ClassDef):
                    visit(node.body, name)

    visit(_tree(source(root, module).read_bytes()).body, f"rlhf_lab.{module}")
    return found


def functions(root: Path) -> dict[str, list[str]]:
    """Return, for each label, the functions and classes whose docstrings name it."""
    found: dict[str, list[str]] = {}
    for name in modules(root):
        for label, function in named_in(root, name):
            found.setdefault(label, []).append(function)
    return found


def figures(root: Path) -> dict[str, list[str]]:
    """Return, for each label, the names of the figures whose captions refer to it."""
    found: dict[str, list[str]] = {}
    for page in pages(root):
        for cell in cells(page.read_text(encoding="utf-8")):
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
    """Return, for each label, the tests that `@pytest.mark.equation` says assert it, as pytest names them."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for test in _tree(path.read_bytes()).body:
            for mark in test.decorator_list if isinstance(test, ast.FunctionDef) else []:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.equation":
                    for label in dict.fromkeys(ast.literal_eval(argument) for argument in mark.args):
                        found.setdefault(label, []).append(f"{path.relative_to(root).as_posix()}::{test.name}")
    return found


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
        labels = list(dict.fromkeys(label for label, _ in named_in(root, name)))
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
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        code = "".join(cell["code"] for cell in cells(section))
        if code.strip() and not re.search(r"^\s*(assert|check\.)", code, re.MULTILINE):
            found.append(f"{page.name}: section {section.splitlines()[0]!r} has code but asserts nothing")
    return found


def untold_figures(page: Path) -> list[str]:
    """Say which cells show a figure without a name, a caption or an alternative text."""
    return [
        f"{page.name}: a cell that ends in plt.show() has no {what}: {cell['code'].splitlines()[0]}"
        for cell in cells(page.read_text(encoding="utf-8"))
        if "plt.show()" in cell["code"]
        for what, there in (
            ("name", cell["figure"].get("name")),
            ("caption", cell["figure"].get("caption")),
            ("alt text", cell["image"].get("alt")),
        )
        if not there
    ]


def badly_executed(notebook: Path) -> list[str]:
    """Say which cells of a stored notebook did not run in order, failed, wrote to stderr, or show a machine's path."""
    found = []
    code = [
        c
        for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        if c["cell_type"] == "code" and "".join(c["source"])
    ]
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

"""What pages need to run answers to exercises in a browser: the package, the exercises, and where Python comes from.

Python is Pyodide. `PYODIDE` names it: a folder, of which the site gets a copy of what it needs; an address; or nothing,
and then the pages say how to run an answer elsewhere.
"""

import ast
import hashlib
import importlib.metadata
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
import book_index
import course

CORE = ("pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
ADDRESS = re.compile(r"https?://")
COMPILED = ("numpy", "scipy")
PURE = ("autograd", "tqdm", "threadpoolctl")
# What draws, studies and plays Gymnasium's games takes no part in answers, nor what takes seconds to import.
LEFT_OUT = (
    *("IPython", "gymnasium", "matplotlib", "scipy.integrate", "scipy.optimize", "scipy.stats"),
    *("rlhf_lab.experiments", "rlhf_lab.leaderboard", "rlhf_lab.plots", "rlhf_lab.worlds.environments"),
)


class Exercise(NamedTuple):
    """A code exercise: `before` is what its code needs of the chapter, to run where nothing else did."""

    checker: str
    before: str
    starter: str
    solution: str


def exercises(root: Path) -> dict[str, Exercise]:
    """Return the exercises that have a checker under their labels."""
    found = {}
    for page in sorted((root / "notebooks").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        top = [line for code in _code(text) for line in ast.parse(code).body]
        functions = {line.name: ast.unparse(line) for line in top if isinstance(line, ast.FunctionDef)}
        for asked in course.EXERCISE.finditer(text):
            if checker := re.search(r"^check\.(\w+)\(", asked["body"], re.MULTILINE):
                starter, solution = _code(asked["body"])[-1], _code(_solution(text, asked["label"]))[0]
                called = sorted(_missing(f"{starter}\n{solution}") & set(functions))
                before = "\n".join([*_imports(top), *(functions[name] for name in called)])
                found[asked["label"]] = Exercise(checker[1], before, starter, solution)
    return found


def _code(text: str) -> list[str]:
    return [re.sub(r"\A(?::\w+:.*\n)+", "", cell["code"]).strip("\n") for cell in book_index.CELL.finditer(text)]


def _solution(text: str, label: str) -> str:
    return text.split(f"```{{solution-start}} {label}\n")[1].split("```{solution-end}")[0]


def _imports(top: list[ast.stmt]) -> list[str]:
    """Return what a chapter imports, each name alone, but for what is left out."""
    found = []
    for line in top:
        for name in line.names if isinstance(line, ast.Import | ast.ImportFrom) else []:
            module = f"{line.module}." if isinstance(line, ast.ImportFrom) else ""
            if not f"{module}{name.name}".startswith(LEFT_OUT):
                found.append(ast.unparse(type(line)(**vars(line) | {"names": [name]})))
    return list(dict.fromkeys(found))


def _missing(code: str) -> set[str]:
    """Return the names that this code reads and that none of its functions has."""
    tree = ast.parse(code)
    held = {line.name for line in tree.body if isinstance(line, ast.FunctionDef)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - held


def pack(root: Path, html: Path) -> None:
    """Put beside the pages an archive of all that is imported and is no part of Pyodide, and of the exercises."""
    told = {label: [asked.checker, asked.before] for label, asked in exercises(root).items()}
    (html / "live").mkdir(exist_ok=True)
    with zipfile.ZipFile(html / "live/packages.zip", "w") as archive:

        def add(name: str, content: bytes) -> None:
            archive.writestr(
                zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED
            )  # the same bytes for the same content

        for path in sorted((root / "rlhf_lab").rglob("*.py")):
            add(path.relative_to(root).as_posix(), path.read_bytes())
        for name in PURE:
            for path in sorted(importlib.metadata.files(name) or [], key=str):
                if path.suffix == ".py" or path.name.lower().startswith(("license", "licence")):
                    add(path.as_posix(), path.read_binary())
        add("answering.py", (root / "book/answering.py").read_bytes())
        add("exercises.json", json.dumps(told).encode())


def needed(folder: Path) -> list[str]:
    """Return the files of a folder with Pyodide that answers need."""
    listed = json.loads((folder / "pyodide-lock.json").read_text(encoding="utf-8"))["packages"]
    wanted = list(COMPILED)
    for name in wanted:
        wanted += [other for other in listed[name]["depends"] if other not in wanted]
    return [*CORE, *(listed[name]["file_name"] for name in wanted)]


def unusable(pyodide: str) -> str:
    """Say why `PYODIDE` names nothing that the site can use; nothing if it does."""
    if not pyodide or ADDRESS.match(pyodide):
        return ""
    wanted = "a folder with Pyodide (its release, unpacked), an address (https://...), or nothing"
    if not Path(pyodide, "pyodide-lock.json").is_file():
        return f"PYODIDE={pyodide}: there is no pyodide-lock.json in it. It names {wanted}."
    missing = [name for name in needed(Path(pyodide)) if not Path(pyodide, name).is_file()]
    return f"PYODIDE={pyodide}: there is no {', no '.join(missing)} in it. It names {wanted}." if missing else ""


def locate(html: Path, pyodide: str) -> None:
    """Write beside the pages where Pyodide is, and copy it there if it is a folder."""
    out = html / "live"
    shutil.rmtree(out / "pyodide", ignore_errors=True)
    address = pyodide and pyodide.rstrip("/") + "/"
    if pyodide and not ADDRESS.match(pyodide):
        address = "live/pyodide/"
        (out / "pyodide").mkdir()
        for name in needed(Path(pyodide)):
            shutil.copyfile(Path(pyodide, name), out / "pyodide" / name)
    version = hashlib.sha256((out / "packages.zip").read_bytes()).hexdigest()[:12]
    told = {"pyodide": address, "packages": f"live/packages.zip?{version}"}
    (out / "settings.js").write_text(f"window.LIVE = {json.dumps(told)};\n", encoding="utf-8")

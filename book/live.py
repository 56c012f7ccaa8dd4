"""What the pages need to run answers to exercises in a browser: the package, the exercises, and where Python comes from.

Python is Pyodide. `PYODIDE` names it: a folder, of which the site gets a copy of what it needs; an address; or nothing,
and then the pages say how to run an answer elsewhere.
"""

import ast
import hashlib
import importlib.metadata
import io
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
COMPILED = ("numpy", "scipy")
PURE = ("autograd", "tqdm", "threadpoolctl")
# What draws, studies and plays Gymnasium's games takes no part in answers.
LEFT_OUT = ("IPython", "gymnasium", "matplotlib", *(f"rlhf_lab.{room}" for room in ("experiments", "leaderboard", "plots")))


class Exercise(NamedTuple):
    """A code exercise: `before` is what its code needs of the chapter, to run where nothing else did."""

    checker: str
    before: str
    starter: str
    solution: str


def exercises(root: Path) -> dict[str, Exercise]:
    """Return the exercises that have a checker under their labels."""
    found = {}
    for chapter in course.chapters(root).values():
        text = chapter.page.read_text(encoding="utf-8")
        written = {box["label"]: box["body"] for box in course.EXERCISE.finditer(text)}
        for label, checker in ((e.label, e.checker) for e in chapter.exercises if e.checker):
            starter, solution = _code(written[label])[-1], _code(_solution(text, label))[0]
            before = [*_imports(text), *_functions(text, f"{starter}\n{solution}")]
            found[label] = Exercise(checker, "\n".join(before), starter, solution)
    return found


def _code(text: str) -> list[str]:
    return [re.sub(r"\A(?::\w+:.*\n)+", "", cell["code"]).strip("\n") for cell in book_index.CELL.finditer(text)]


def _solution(text: str, label: str) -> str:
    return text.split(f"```{{solution-start}} {label}\n")[1].split("```{solution-end}")[0]


def _imports(text: str) -> list[str]:
    """Return what a chapter imports, each name alone, but for what is left out."""
    found = []
    for line in (node for code in _code(text) for node in ast.parse(code).body):
        names = line.names if isinstance(line, ast.Import | ast.ImportFrom) else []
        for name in names:
            module = f"{line.module}." if isinstance(line, ast.ImportFrom) else ""
            if not f"{module}{name.name}".startswith(LEFT_OUT):
                found.append(ast.unparse(type(line)(**vars(line) | {"names": [name]})))
    return list(dict.fromkeys(found))


def _functions(text: str, code: str) -> list[str]:
    """Return the functions of a chapter that this code calls and does not hold."""
    wanted = _read(code)
    held = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
    functions = (node for cell in _code(text) for node in ast.parse(cell).body if isinstance(node, ast.FunctionDef))
    return [ast.unparse(node) for node in functions if node.name in wanted - held]


def _read(code: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


def packages(root: Path) -> bytes:
    """Return an archive of all that is imported and is no part of Pyodide, and of the exercises."""
    told = {label: [asked.checker, asked.before] for label, asked in exercises(root).items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # the same bytes for the same content

        for path in sorted((root / "rlhf_lab").rglob("*.py")):
            add(path.relative_to(root).as_posix(), path.read_bytes())
        for name in PURE:
            for path in sorted(importlib.metadata.files(name) or [], key=str):
                if path.suffix == ".py" or "licenses" in path.parts:
                    add(path.as_posix(), path.read_binary())
        add("answering.py", (root / "book/answering.py").read_bytes())
        add("exercises.json", json.dumps(told).encode())
    return packed.getvalue()


def needed(folder: Path) -> list[str]:
    """Return the files of a Pyodide folder that answers need."""
    lock = folder / "pyodide-lock.json"
    if not lock.is_file():
        raise FileNotFoundError(f"PYODIDE names {folder}, which is no folder of Pyodide: it has no pyodide-lock.json")
    listed, wanted = json.loads(lock.read_text(encoding="utf-8"))["packages"], list(COMPILED)
    for name in wanted:
        wanted += [other for other in listed[name]["depends"] if other not in wanted]
    return [*CORE, *(listed[name]["file_name"] for name in wanted)]


def provide(root: Path, html: Path, pyodide: str) -> None:
    """Put beside the pages in `html` what answers need, and write down where Pyodide is."""
    out = html / "live"
    out.mkdir(exist_ok=True)
    packed = packages(root)
    (out / "packages.zip").write_bytes(packed)
    if pyodide and not pyodide.startswith("https://"):
        (out / "pyodide").mkdir(exist_ok=True)
        for name in needed(Path(pyodide)):
            shutil.copy2(Path(pyodide, name), out / "pyodide")
        pyodide = "live/pyodide/"
    version = hashlib.sha256(packed).hexdigest()[:12]
    told = {"pyodide": pyodide, "packages": f"live/packages.zip?{version}"}
    (out / "settings.js").write_text(f"window.LIVE = {json.dumps(told)};\n", encoding="utf-8")

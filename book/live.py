"""What pages need to run their cells and answers in a browser: packages, exercises, and where Python comes from.

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
COMPILED = ("numpy", "scipy")  # for answers
DRAWING = "matplotlib"  # for the cells of chapters, too
PURE = ("autograd", "tqdm", "threadpoolctl")
READ = ("gymnasium", "cloudpickle", "farama-notifications", "typing-extensions")  # what chapters import beside these
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
    """Put beside the pages what is imported or read and is no part of Pyodide: for answers, and what cells add."""
    told = {label: [asked.checker, asked.before] for label, asked in exercises(root).items()}
    package = {path.relative_to(root).as_posix(): path for path in sorted((root / "rlhf_lab").rglob("*.py"))}
    stored = {path.relative_to(root).as_posix(): path for path in sorted((root / "rlhf_lab").rglob("results/*.json"))}
    runs = {name: root / "book" / name for name in ("answering.py", "lacking.py", "printing.py")}
    (html / "live").mkdir(exist_ok=True)
    _archive(html / "live/packages.zip", package | _installed(PURE) | runs, {"exercises.json": json.dumps(told)})
    _archive(html / "live/chapters.zip", stored | _installed(READ) | {"cells.py": root / "book/cells.py"}, {})


def _installed(packages: tuple[str, ...]) -> dict[str, Path]:
    """Return the modules and licences of installed packages under their names."""
    found = {}
    for name in packages:
        for path in sorted(importlib.metadata.files(name) or [], key=str):
            if path.suffix == ".py" or path.name.lower().startswith(("license", "licence")):
                found[path.as_posix()] = Path(path.locate())
    return found


def _archive(out: Path, files: dict[str, Path], texts: dict[str, str]) -> None:
    """Write files and texts under their names, with the same bytes for the same content."""
    contents = {name: path.read_bytes() for name, path in files.items()}
    contents |= {name: text.encode() for name, text in texts.items()}
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def needed(folder: Path) -> list[str]:
    """Return the files of a folder with Pyodide that answers and cells need."""
    listed = json.loads((folder / "pyodide-lock.json").read_text(encoding="utf-8"))["packages"]
    wanted = [*COMPILED, DRAWING]
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
    told = {"pyodide": address}
    for name in ("packages", "chapters"):
        version = hashlib.sha256((out / f"{name}.zip").read_bytes()).hexdigest()[:12]
        told[name] = f"live/{name}.zip?{version}"
    (out / "settings.js").write_text(f"window.LIVE = {json.dumps(told)};\n", encoding="utf-8")

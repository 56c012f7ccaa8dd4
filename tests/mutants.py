"""Break the package in many small ways, and see whether the tests notice: `make mutants [MODULE=models.lm]`.

A copy of the package is changed in one place at a time by mutmut, and the tests that touch the place are run. mutmut
leaves alone what stands outside functions and inside decorated ones (constants, tables, defaults, properties): these
are changed here, with mutmut's own operators, and each module's own tests are run. It also changes nothing of what runs
while the package is imported, for it switches a mutant on later: these get a second run, in a process of their own. At
least 95% of the mutants must be killed, and each that survives must stand in `mutants.toml` with the reason why it
changes nothing that matters.
"""

import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import libcst as cst
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parents[1]
KILLED = {"killed", "timeout", "segfault", "suspicious"}
LEVEL = "module level"  # stands for a function's name where there is none
WORKERS = 2
PATIENCE = 900  # seconds that the tests of a module may take
FAMILIES = ("audit", "experiments.ledger")  # whose tests mirror families of modules: each is tested by all of them
CRASHES = {"operator_assignment", "operator_arg_removal"}  # at module level these hardly do more than stop the import
TEXT = (cst.BaseString, cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)
PAGES = ("scoreboard.py", "scoreboard.md", "ledger.py", "ledger.md")  # of the book: made by modules, and tested
AT_IMPORT = """
import importlib, sys
sys.path.insert(0, "mutants")
from mutmut.state import state
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*state()._stats)
"""
SETTINGS = """
[project]
name = "rlhf_lab"
version = "0"

[tool.pytest.ini_options]
pythonpath = ["tests/helpers", "tests/check"]
addopts = ["--import-mode=importlib", "-p", "no:cacheprovider"]
filterwarnings = ["error"]
markers = ["equation"]

[tool.mutmut]
source_paths = ["rlhf_lab"]
pytest_add_cli_args_test_selection = ["tests"]
also_copy = ["tests", "book", "notebooks", "conftest.py"]
do_not_mutate = ["rlhf_lab/plots.py"]
only_mutate = {only}
"""


def environment() -> dict[str, str]:
    """Return the environment of every run."""
    return os.environ | {"OPENBLAS_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def mutmut(folder: str, *arguments: str) -> str:
    """Run mutmut in a folder and return what it printed."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"mutmut {' '.join(arguments)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def copy(folder: str, modules: Sequence[str] = ()) -> None:
    """Copy the package and its tests, for mutmut to change some modules, or all if none are named."""
    for name in ("rlhf_lab", "tests"):
        leave = shutil.ignore_patterns("__pycache__", "browser", "peers")
        shutil.copytree(ROOT / name, Path(folder, name), ignore=leave)
    for file in Path(folder, "tests").glob("test_*.py"):  # of the book and the project; what tests modules is in rooms
        if file.name != "test_main.py":
            file.unlink()
    Path(folder, "book").mkdir()
    for name in PAGES:
        shutil.copy(ROOT / "book" / name, Path(folder, "book"))
    Path(folder, "notebooks").mkdir()
    for page in (ROOT / "notebooks").glob("*.md"):  # to which audits send their readers
        shutil.copy(page, Path(folder, "notebooks"))
    shutil.copy(ROOT / "conftest.py", folder)
    only = [f"rlhf_lab/{path_of(module).as_posix()}" for module in modules]
    Path(folder, "pyproject.toml").write_text(SETTINGS.format(only=only))


def name_of(path: Path) -> str:
    """Return the name of a module, as in `models.lm`, from its path below `rlhf_lab`; a folder's is its own."""
    return ".".join((path.parent if path.name == "__init__.py" else path.with_suffix("")).parts)


def path_of(module: str) -> Path:
    """Return the path of a module below `rlhf_lab`."""
    path = Path(*module.split("."))
    return path / "__init__.py" if (ROOT / "rlhf_lab" / path).is_dir() else path.with_suffix(".py")


def tests_of(module: str) -> Path:
    """Return the path of a module's own tests below `tests`; those of a folder stand inside it."""
    *rooms, name = module.split(".")
    for family in FAMILIES:
        if module.startswith(family):
            return Path(*family.split("."))
    return Path(*rooms, *([name] if path_of(module).name == "__init__.py" else []), f"test_{name}.py")


Mutant = tuple[str, str, bool, str, str]  # module, function, whether it was killed, lines taken out, lines put in


def inside_functions(modules: list[str]) -> Iterator[Mutant]:
    """Yield every mutant that mutmut makes of the modules (of all if none are named)."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        copy(folder, modules)
        mutmut(folder, "run", "--max-children", str(WORKERS))
        listed = re.findall(r"^\s*(rlhf_lab\.\S+): (.+)$", mutmut(folder, "results", "--all", "true"), re.MULTILINE)
        early = at_import(folder, sorted({name.rpartition(".")[0] for name, _ in listed}))
        again = [name for name, status in listed if status not in KILLED and _function(name) in early]
        alive = dict(zip(again, pool.map(lambda name: lives(folder, name), again), strict=True))
        for name, status in listed:
            module, _, function = _function(name).removeprefix("rlhf_lab.").rpartition(".")
            killed = status in KILLED or not alive.get(name, True)
            diff = "" if killed else mutmut(folder, "show", name)
            out, put = (_lines(diff.splitlines(), sign) for sign in "-+")
            yield module, function, killed, out, put


def _function(name: str) -> str:
    return re.sub(r"__mutmut_\d+$", "", name)


def at_import(folder: str, modules: list[str]) -> set[str]:
    """Return the functions that run while modules of the package are imported, by the names that mutmut gives them."""
    command = [sys.executable, "-c", AT_IMPORT, *(module for module in modules if not module.endswith("__main__"))]
    counting = environment() | {"MUTANT_UNDER_TEST": "stats"}
    done = subprocess.run(command, cwd=folder, env=counting, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def lives(folder: str, name: str) -> bool:
    """Return whether a mutant survives the tests of its module where it is switched on before anything is imported."""
    module = name.removeprefix("rlhf_lab.").rpartition(".")[0]
    return passes(str(Path(folder, "mutants")), module, {"MUTANT_UNDER_TEST": name})


def passes(folder: str, module: str, more: dict[str, str]) -> bool:
    """Return whether the package in a folder passes the tests of a module, in a process of its own.

    A process that was stopped from outside says nothing about a mutant, and ends the run.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", str("tests" / tests_of(module))]
    paths = environment() | {"PYTHONPATH": folder, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | more
    try:
        code = subprocess.run(command, cwd=folder, env=paths, capture_output=True, timeout=PATIENCE).returncode
    except subprocess.TimeoutExpired:
        return False
    if code == -signal.SIGKILL:
        raise RuntimeError(f"the tests of {module} were killed from outside")
    return not code


def outside_functions(modules: list[str]) -> Iterator[Mutant]:
    """Yield every mutant of what stands at module or class level, or in decorated functions."""
    folders: SimpleQueue[str] = SimpleQueue()

    def survives(module: str, changed: str) -> bool:
        folder = folders.get()
        path = Path(folder, "rlhf_lab", path_of(module))
        source = path.read_text()
        path.write_text(changed)
        try:
            return passes(folder, module, {"PYTHONDONTWRITEBYTECODE": "1"})
        finally:
            path.write_text(source)
            folders.put(folder)

    with tempfile.TemporaryDirectory() as parent, ThreadPoolExecutor(WORKERS) as pool:
        for k in range(WORKERS):
            copy(f"{parent}/{k}")
            folders.put(f"{parent}/{k}")
        for path in sorted(Path(parent, "0", "rlhf_lab").rglob("*.py")):
            module = name_of(path.relative_to(Path(parent, "0", "rlhf_lab")))
            if modules and module not in modules:
                continue
            if not Path(parent, "0", "tests", tests_of(module)).exists():
                print(f"{module}: no tests of its own, so what stands outside its functions is left alone")
                continue
            source = path.read_text()
            changed = list(dict.fromkeys(_changes(source)))
            alive = pool.map(lambda text, module=module: survives(module, text), changed)
            for text, lives in zip(changed, alive, strict=True):
                diff = list(difflib.unified_diff(source.splitlines(), text.splitlines(), n=0))
                yield module, LEVEL, not lives, _lines(diff, "-"), _lines(diff, "+")


def _changes(source: str) -> Iterator[str]:
    module = cst.parse_module(source)
    nodes: list[cst.CSTNode] = [module]
    while nodes:
        node = nodes.pop()
        if isinstance(node, TEXT) or (isinstance(node, cst.FunctionDef) and not node.decorators):
            continue
        nodes.extend(node.children)
        for kind, operator in mutation_operators:
            if isinstance(node, kind) and operator.__name__ not in CRASHES:
                yield from (module.deep_replace(node, new).code for new in operator(node))


def _lines(diff: list[str], sign: str) -> str:
    kept = [line[1:].strip() for line in diff if line.startswith(sign) and not line.startswith(3 * sign)]
    return "\n".join(kept)


def excuses(entry: dict[str, Any], kind: str, module: str, function: str, out: str, put: str) -> bool:
    """Return whether an entry of `mutants.toml` explains this survivor."""
    if kind == "survivor":
        return (entry["module"], entry["function"], entry["out"], entry["put"]) == (module, function, out, put)
    if entry.get("within", "") not in out:
        return False
    places = [(match.start(), match.end()) for match in re.finditer(re.escape(entry["out"]), out)]
    return any(out[:first] + new + out[last:] == put for first, last in places for new in entry["put"])


def main() -> int:
    """Run, print the score of each module, and return the exit code."""
    modules = sys.argv[1:]
    if unknown := [module for module in modules if not (ROOT / "rlhf_lab" / path_of(module)).exists()]:
        sys.exit(f"there is no rlhf_lab/{path_of(unknown[0]).as_posix()}; modules are named as in models.lm")
    listed = tomllib.loads((ROOT / "tests/mutants.toml").read_text())
    entries = [(kind, entry) for kind in ("survivor", "rule") for entry in listed[kind]]
    outside = {(entry["module"], entry["function"]): entry for entry in listed["outside"]}
    counts, unexplained, used = Counter(), [], []
    for module, function, killed, out, put in chain(inside_functions(modules), outside_functions(modules)):
        if (module, function) in outside:
            used.append(outside[module, function])
            continue
        counts[module, killed] += 1
        if not killed:
            found = [entry for kind, entry in entries if excuses(entry, kind, module, function, out, put)]
            used += found
            if not found:
                unexplained.append((module, function, out, put))
    for module in sorted({module for module, _ in counts}):
        dead, total = counts[module, True], counts[module, True] + counts[module, False]
        print(f"{module:28s} {dead:4d} of {total:4d} killed, {100 * dead / total:.1f}%")
    share = sum(n for (_, killed), n in counts.items() if killed) / max(sum(counts.values()), 1)
    print(f"{'all':28s} {sum(counts.values()):4d} mutants, {100 * share:.1f}% killed, {len(unexplained)} unexplained")

    for module, function, out, put in unexplained:
        print(f"\n[[survivor]]\nmodule = '{module}'\nfunction = '{function}'")
        print(f"out = '''{out}'''\nput = '''{put}'''\nreason = ''")
    stale = [
        entry
        for entry in [*outside.values(), *(entry for _, entry in entries)]
        if entry not in used and (not modules or entry.get("module") in modules)
    ]
    for entry in stale:
        shown = ", ".join(f"{name} = {entry[name]!r}" for name in entry if name != "reason")
        print(f"\nlisted in mutants.toml, but no longer a survivor: {shown}")
    return int(share < 0.95 or bool(unexplained) or bool(stale))


if __name__ == "__main__":
    sys.exit(main())

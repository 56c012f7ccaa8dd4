"""Break the package in many small ways, and see whether the tests notice: `make mutants [MODULE=lm]`.

A copy of the package is changed in one place at a time by mutmut, and the tests that touch the place are run. At least
95% of the mutants must be killed, and each that survives must stand in `mutants.toml` with the reason why it changes
nothing that matters.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
KILLED = {"killed", "timeout", "segfault", "suspicious"}
TESTS_OF_OTHER_THINGS = ("book", "project", "plots", "benchmarks")
SETTINGS = """
[project]
name = "rlhf_lab"
version = "0"

[tool.pytest.ini_options]
addopts = ["-p", "no:cacheprovider"]
filterwarnings = ["error"]
markers = ["equation"]

[tool.mutmut]
source_paths = ["rlhf_lab"]
pytest_add_cli_args_test_selection = ["tests"]
also_copy = ["tests", "conftest.py"]
do_not_mutate = ["rlhf_lab/plots.py"]
"""


def mutmut(folder: str, *arguments: str) -> str:
    """Run mutmut in a folder and return what it printed."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"mutmut {' '.join(arguments)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def results(modules: list[str]) -> dict[str, tuple[str, str, str]]:
    """Return the status, the lines taken out and the lines put in of every mutant of the modules (all if none)."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("rlhf_lab", "tests"):
            leave = shutil.ignore_patterns("__pycache__", "peers", *(f"test_{t}.py" for t in TESTS_OF_OTHER_THINGS))
            shutil.copytree(ROOT / name, Path(folder, name), ignore=leave)
        shutil.copy(ROOT / "conftest.py", folder)
        Path(folder, "pyproject.toml").write_text(SETTINGS)
        mutmut(folder, "run", "--max-children", "2", *(f"rlhf_lab.{module}.*" for module in modules))
        listed = re.findall(r"^\s*(rlhf_lab\.\S+): (.+)$", mutmut(folder, "results", "--all", "true"), re.MULTILINE)
        found = {}
        for name, status in listed:
            if status == "not checked" or (modules and name.split(".")[1] not in modules):
                continue
            diff = "" if status in KILLED else mutmut(folder, "show", name)
            found[name] = (status, *(_lines(diff, sign) for sign in "-+"))
        return found


def _lines(diff: str, sign: str) -> str:
    kept = [line[1:].strip() for line in diff.splitlines() if line.startswith(sign) and not line.startswith(3 * sign)]
    return "\n".join(kept)


def excused(module: str, function: str, out: str, put: str, listed: dict) -> str | None:
    """Return why a survivor is no gap in the tests, or None."""
    for entry in listed.get("outside", []):
        if (entry["module"], entry["function"]) == (module, function):
            return f"{module}.{function}"
    for entry in listed.get("rule", []):
        places = [match.start() for match in re.finditer(re.escape(entry["out"]), out)]
        ends = [(place, place + len(entry["out"])) for place in places]
        if any(out[:first] + new + out[last:] == put for first, last in ends for new in entry["put"]):
            return entry["out"]
    for entry in listed.get("survivor", []):
        if (entry["function"], entry["out"], entry["put"]) == (function, out, put) and entry["module"] == module:
            return f"{function}: {out}"
    return None


def main() -> int:
    """Run, print the score of each module, and return the exit code."""
    modules = sys.argv[1:]
    listed = tomllib.loads((ROOT / "tests/mutants.toml").read_text())
    outside = {(entry["module"], entry["function"]) for entry in listed.get("outside", [])}
    counts, unexplained, used = Counter(), [], set()
    for name, (status, out, put) in results(modules).items():
        module, function = name.split(".")[1], re.sub(r"__mutmut_\d+$", "", name.split(".")[2])
        if (module, function) in outside:
            used.add(f"{module}.{function}")
            continue
        counts[module, status in KILLED] += 1
        if status not in KILLED:
            reason = excused(module, function, out, put, listed)
            used.add(reason)
            if reason is None:
                unexplained.append((module, function, out, put))
    for module in sorted({module for module, _ in counts}):
        killed, total = counts[module, True], counts[module, True] + counts[module, False]
        print(f"{module:16s} {killed:4d} of {total:4d} killed, {100 * killed / total:.1f}%")
    share = sum(n for (_, dead), n in counts.items() if dead) / max(sum(counts.values()), 1)
    print(f"{'all':16s} {sum(counts.values()):4d} mutants, {100 * share:.1f}% killed, {len(unexplained)} unexplained")

    for module, function, out, put in unexplained:
        print(f"\n[[survivor]]\nmodule = '{module}'\nfunction = '{function}'")
        print(f'out = """{out}"""\nput = """{put}"""\nreason = \'\'')
    stale = [
        f"{entry['function']}: {entry['out']}"
        for entry in listed.get("survivor", [])
        if f"{entry['function']}: {entry['out']}" not in used and (not modules or entry["module"] in modules)
    ]
    for entry in stale:
        print(f"\nlisted in mutants.toml, but no longer a survivor: {entry}")
    return int(share < 0.95 or bool(unexplained) or bool(stale))


if __name__ == "__main__":
    sys.exit(main())

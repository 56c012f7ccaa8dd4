"""Answers run alone, in a namespace with nothing but what the pages give to the exercise; cells share theirs."""

import ast
import base64
import inspect
import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tqdm
from answered import EXERCISES, wrong_answers

from rlhf_lab.check import diagnosis

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book")]

import answering  # noqa: E402
import build  # noqa: E402
import cells  # noqa: E402
import lacking  # noqa: E402
import live  # noqa: E402


@pytest.fixture
def few_cases(monkeypatch):
    """Checkers that try a few cases: what is tested here is where an answer runs."""
    monkeypatch.setattr(diagnosis, "CASES", 6)


def run(code, checker="kl", before="import numpy as np\nfrom rlhf_lab import check"):
    printed = []
    return answering.run(checker, before, code, printed.append), "".join(printed)


def test_every_starter_and_every_solution_runs_as_on_its_page(few_cases):
    assert len(EXERCISES) > 100
    for label, (checker, before, starter, solution) in EXERCISES.items():
        assert run(starter, checker, before)[0] == "wrong", label
        became, printed = run(solution, checker, before)
        assert (became, printed.count("\n")) == ("right", 1), (label, printed)


def test_what_runs_before_an_answer_is_in_pyodide_or_on_the_site():
    there = {*sys.stdlib_module_names, *live.COMPILED, *live.PURE, "rlhf_lab"}
    users = ("rlhf_lab.experiments", "rlhf_lab.plots", "rlhf_lab.worlds.environments")  # of packages that are not there
    lines = {line for asked in EXERCISES.values() for line in asked.before.splitlines() if "import " in line}
    assert len(lines) > 50
    for line in lines:
        (found,) = ast.parse(line).body
        name = f"{found.module}.{found.names[0].name}" if isinstance(found, ast.ImportFrom) else found.names[0].name
        assert name.split(".")[0] in there, line
        assert not name.startswith(users), line


def test_wrong_answers_are_taken_from_the_tests_and_told_as_there(few_cases):
    code, sentences = wrong_answers("ppo_loss")
    became, printed = run(code, "ppo_loss")
    assert became == "wrong"
    assert len(sentences) == 3
    for told, sentence in zip(printed.splitlines(), sentences, strict=True):
        assert told.startswith(f"ppo_loss: not yet. {sentence}")


@pytest.mark.parametrize(
    ("code", "became", "told"),
    [
        ("check.kl(lambda p, q: None)\nprint('more')", "wrong", "more\n"),
        ("print('kl: right on')", "unchecked", "kl: right on\n"),
        ("check.gibbs(lambda *given: None)", "unchecked", "gibbs: not yet."),
        ("def f(:", "error", "This is not Python yet. Line 1: invalid syntax.\ndef f(:\n      ^\n"),
        ("  x = 1", "error", "This is not Python yet. Line 1: unexpected indent.\n  x = 1\n"),
        ("x = 1\n1 / 0", "error", "Line 2 raises ZeroDivisionError: division by zero\n"),
        ("def f():\n    f()\nf()", "error", "Line 2 raises RecursionError: maximum recursion depth exceeded"),
        ("check.kl(3)", "error", "Line 1 raises TypeError: pass the function itself, check.kl(your_function)"),
        ("raise KeyboardInterrupt", "error", "Line 1 raises KeyboardInterrupt\n"),
        ("import sys\nprint('!', file=sys.stderr)", "unchecked", "!\n"),
        ("print('x' * 200_000)\nprint('late')", "error", "\nStopped: it printed more than 100,000 characters.\n"),
    ],
)
def test_what_became_of_an_answer_is_told(few_cases, code, became, told):
    found, printed = run(code)
    assert found == became
    assert told in printed
    assert "late" not in printed


def test_an_endless_print_ends_even_where_a_checker_catches_errors(few_cases):
    found, printed = run("def f(p, q):\n    while True:\n        print('again')\ncheck.kl(f)")
    assert found == "error"
    assert printed.endswith("Stopped: it printed more than 100,000 characters.\n")


def test_answers_share_no_names():
    assert run("np.mine = x = 1")[0] == "unchecked"
    assert run("x")[1] == "Line 1 raises NameError: name 'x' is not defined\n"


@pytest.fixture
def page(monkeypatch):
    """A page whose cells run, and what they show."""
    monkeypatch.setattr(cells.plt, "show", cells.plt.show)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    shown = []
    made = cells.Page(lambda kind, what: shown.append((kind, what)))
    return made, shown


def printed(shown):
    assert {kind for kind, _ in shown} <= {"text"}
    return "".join(what for _, what in shown)


def test_cells_share_names_until_a_page_begins_anew(page):
    made, shown = page
    assert made.run("x = 3")
    assert made.run("print(x)")
    assert printed(shown) == "3\n"
    assert not cells.Page(lambda *told: None).run("print(x)")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("1 + 1", "2\n"),
        ("print('a')\n'b'", "a\n'b'\n"),
        ("None", ""),
        ("x = 2", ""),
        ("", ""),
        ("# nothing", ""),
        ("from IPython.display import display\ndisplay(1, 'two')", "1\n'two'\n"),
    ],
)
def test_a_cell_shows_what_it_prints_and_its_last_value(page, code, told):
    made, shown = page
    assert made.run(code)
    assert printed(shown) == told


def test_a_cell_shows_html(page):
    made, shown = page
    assert made.run("from IPython.display import HTML, display\ndisplay(HTML('<b>1</b>'))\nHTML('<i>2</i>')")
    assert shown == [("html", "<b>1</b>"), ("html", "<i>2</i>")]


def test_a_cell_shows_each_figure_once_where_it_is_shown_or_at_its_end(page):
    made, shown = page
    assert made.run("import matplotlib.pyplot as plt\na = plt.figure()\nplt.show()\nprint('between')\nb = plt.figure()")
    first, *between, last = shown
    assert printed(between) == "between\n"
    for kind, drawn in (first, last):
        assert kind == "figure"
        assert base64.b64decode(drawn).startswith(b"\x89PNG")


def test_the_style_of_one_page_is_not_that_of_the_next(page):
    made, _ = page
    size = cells.plt.rcParams["font.size"]
    made.run("import matplotlib.pyplot as plt\nplt.rcParams['font.size'] = 33")
    cells.Page(lambda *told: None)
    assert cells.plt.rcParams["font.size"] == size != 33


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("print('so far')\n1 / 0", "so far\nLine 2 raises ZeroDivisionError: division by zero\n"),
        ("def f(:", "This is not Python yet. Line 1: invalid syntax.\ndef f(:\n      ^\n"),
        ("first()", "Line 1 raises ZeroDivisionError: division by zero\n"),
        ("import sys\nsys.exit()", "Line 2 raises SystemExit\n"),
        (
            "class Odd:\n    def __repr__(self): return 1 / 0\nOdd()",
            "Line 2 raises ZeroDivisionError: division by zero\n",
        ),
    ],
)
def test_a_cell_that_raises_says_in_which_of_its_lines(page, code, told):
    made, shown = page
    assert made.run("\n\n\ndef first():\n    1 / 0")
    assert not made.run(code)
    assert printed(shown) == told


def test_a_figure_that_an_error_left_open_is_not_shown_by_the_next_cell(page):
    made, shown = page
    assert not made.run("import matplotlib.pyplot as plt\nplt.figure()\n1 / 0")
    shown.clear()
    assert made.run("print(1)")
    assert printed(shown) == "1\n"


def test_what_a_cell_defines_can_be_read(page):
    made, _ = page
    assert made.run("def f():\n    return 1\n")
    assert inspect.getsource(made.names["f"]) == "def f():\n    return 1\n"


def test_where_an_index_is_narrow_whole_numbers_are_made_indices(monkeypatch):
    monkeypatch.setattr(np, "intp", np.int32)
    types = lacking.taking(lambda *given, **named: [*(np.asarray(one).dtype.name for one in given), named], 1)
    wide, reals = np.array([1, 2], dtype=np.int64), np.array([1.0, 2.0])
    assert types(wide, wide, wide, axis=0) == ["int64", "int32", "int64", {"axis": 0}]
    assert types(wide, reals) == ["int64", "float64", {}]
    assert types(wide, repeats=3) == ["int64", {"repeats": 3}]


def test_numbers_that_are_made_indices_give_what_numpy_gives(monkeypatch):
    expected = [np.bincount([1, 1]), np.repeat([3, 4], [2, 1]), np.take([3, 4], [1, 0])]
    for name in lacking.INDICES:
        monkeypatch.setattr(np, name, getattr(np, name))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 10)
    lacking.mend()
    assert tqdm.tqdm.monitor_interval == 0
    found = [np.bincount(np.array([1, 1])), np.repeat([3, 4], np.array([2, 1])), np.take([3, 4], np.array([1, 0]))]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def pyodide(tmp_path):
    """A folder that looks like Pyodide's release."""
    folder = tmp_path / "pyodide"
    folder.mkdir()
    listed = {
        "numpy": {"file_name": "numpy.whl", "depends": []},
        "scipy": {"file_name": "scipy.whl", "depends": ["numpy", "blas"]},
        "blas": {"file_name": "blas.zip", "depends": []},
        "matplotlib": {"file_name": "matplotlib.whl", "depends": ["numpy"]},
        "pandas": {"file_name": "pandas.whl", "depends": ["numpy"]},
    }
    for name in (*live.CORE, *(package["file_name"] for package in listed.values())):
        (folder / name).write_text(name)
    (folder / "pyodide-lock.json").write_text(json.dumps({"packages": listed}))
    return folder


@pytest.fixture
def site(tmp_path):
    (tmp_path / "html/live").mkdir(parents=True)
    for name in ("packages", "chapters"):
        (tmp_path / f"html/live/{name}.zip").write_bytes(name.encode())
    return tmp_path / "html"


def settings(site):
    text = (site / "live/settings.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("window.LIVE = ").removesuffix(";\n"))


def test_a_folder_with_pyodide_is_copied_as_far_as_it_is_needed(pyodide, site):
    assert live.unusable(str(pyodide)) == ""
    live.locate(site, str(pyodide))
    assert settings(site)["pyodide"] == "live/pyodide/"
    copied = {path.name for path in (site / "live/pyodide").iterdir()}
    assert copied == {*live.CORE, "numpy.whl", "scipy.whl", "blas.zip", "matplotlib.whl"}


def test_an_address_is_named_and_nothing_is_copied(pyodide, site):
    live.locate(site, str(pyodide))
    for given in ("https://there.org/v1/full", "https://there.org/v1/full/"):
        assert live.unusable(given) == ""
        live.locate(site, given)
        assert settings(site)["pyodide"] == "https://there.org/v1/full/"
        assert not (site / "live/pyodide").exists()


def test_without_pyodide_none_is_named(site):
    live.locate(site, "")
    told = settings(site)
    assert told["pyodide"] == live.unusable("") == ""
    for name in ("packages", "chapters"):
        (site / f"live/{name}.zip").write_bytes(b"others")
        live.locate(site, "")
        assert settings(site)[name] != told[name]  # or a browser would keep the old ones


def test_a_folder_without_pyodide_is_refused_in_words(pyodide):
    assert live.unusable("nowhere").startswith(
        "PYODIDE=nowhere: there is no pyodide-lock.json in it. It names a folder"
    )
    (pyodide / "blas.zip").unlink()
    (pyodide / "pyodide.js").unlink()
    assert "there is no pyodide.js, no blas.zip in it." in live.unusable(str(pyodide))


def test_a_book_is_not_begun_if_pyodide_is_not_where_it_is_said_to_be(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYODIDE", "nowhere")
    assert build.main(tmp_path) == 1
    assert capsys.readouterr().out.startswith("PYODIDE=nowhere: there is no pyodide-lock.json in it.")
    assert list(tmp_path.iterdir()) == []


def test_the_packages_are_what_is_imported_beside_pyodide(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "exercises", lambda root: {"ex-kl": live.Exercise("kl", "import numpy", "", "")})
    live.pack(ROOT, tmp_path)
    with zipfile.ZipFile(tmp_path / "live/packages.zip") as archive:
        names = archive.namelist()
        assert json.loads(archive.read("exercises.json")) == {"ex-kl": ["kl", "import numpy"]}
        assert archive.read("answering.py") == (ROOT / "book/answering.py").read_bytes()
        for name in ("lacking.py", "printing.py"):
            assert archive.read(name) == (ROOT / "book" / name).read_bytes()
    assert {"rlhf_lab/check/dpo.py", "autograd/core.py", "tqdm/std.py", "threadpoolctl.py"} <= set(names)
    assert licensed(names) == {"autograd", "threadpoolctl", "tqdm"}
    assert not any(name.endswith((".json", ".pyc")) and name != "exercises.json" for name in names)
    with zipfile.ZipFile(tmp_path / "live/chapters.zip") as archive:
        more = archive.namelist()
        stored = archive.read("rlhf_lab/experiments/results/dpo_fall.json")
        assert stored == (ROOT / "rlhf_lab/experiments/results/dpo_fall.json").read_bytes()
    assert {"cells.py", "gymnasium/__init__.py", "cloudpickle/__init__.py", "typing_extensions.py"} <= set(more)
    assert licensed(more) == {"gymnasium", "cloudpickle", "farama_notifications", "typing_extensions"}
    assert not set(names) & set(more)
    first = [(tmp_path / f"live/{name}.zip").read_bytes() for name in ("packages", "chapters")]
    live.pack(ROOT, tmp_path)
    assert [(tmp_path / f"live/{name}.zip").read_bytes() for name in ("packages", "chapters")] == first


def licensed(names):
    """The packages in an archive that bring their licence."""
    found = [name for name in names if re.search(r"\.dist-info/(.*/)?licen[cs]e", name.lower())]
    return {name.split("-")[0] for name in found}

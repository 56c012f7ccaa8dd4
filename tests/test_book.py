"""The book, the package and the tests say the same things, in the same order; and this would be noticed if not."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import jupytext
import matplotlib.pyplot as plt
import nbformat
import pytest
from jupyter_cache import get_cache

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book/_ext"), str(ROOT / "book")]

import book_index  # noqa: E402
import build  # noqa: E402
import course  # noqa: E402
import plain  # noqa: E402

TEXTS = sorted((ROOT / "notebooks").glob("*.md"))
every_chapter = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)


def test_every_equation_is_asserted_and_every_marker_names_an_equation(request):
    assert book_index.unasserted(ROOT) == []
    asserted = book_index.markers(ROOT)
    for item in request.session.items:  # what the index reads from the files is what pytest sees
        for mark in item.iter_markers("equation"):
            assert all(item.nodeid.split("[")[0] in asserted[label] for label in mark.args), item.nodeid


def test_every_module_follows_the_order_of_the_book():
    assert book_index.disordered(ROOT) == []


def test_the_reference_has_a_page_for_each_room_from_the_ground_up():
    assert book_index.reference(ROOT) == [room for floor in book_index.floors(ROOT) for room in floor]
    for room in book_index.reference(ROOT):
        assert (ROOT / f"book/reference/{room}.md").read_text() == f"# `{room}`\n\n```{{room}}\n```\n"


def test_the_reference_gives_no_answer_away():
    shown = [name for name in book_index.modules(ROOT) if name.startswith("check")]
    assert shown == ["check", "check.patterns", "check.diagnosis"]


def test_every_equation_is_computed_by_a_function():
    functions = book_index.functions(ROOT)
    assert [label for label in book_index.equations(ROOT) if label not in functions] == []


@every_chapter
def test_every_section_with_code_asserts_something(text):
    assert book_index.unchecked_sections(text) == []


@every_chapter
def test_every_figure_has_a_name_a_caption_and_an_alternative_text(text):
    assert book_index.untold_figures(text) == []


def test_the_scoreboard_draws_the_figures_that_the_chapter_does_not(monkeypatch):
    page = ROOT / "book/scoreboard.md"
    assert book_index.untold_figures(page) == []
    shown, cells = [], book_index.cells(page.read_text(encoding="utf-8"))
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    code = "".join(cell["code"] for cell in cells)
    with plt.rc_context():
        exec(re.sub("^:tags:.*$", "", code, flags=re.MULTILINE), {})
    drawn = " ".join(re.findall(r"ilhf_figures\.(\w+)\(load\)", code))
    assert drawn == "fig1 fig3 table1 fig2 table3 fig6 fig7 scales alone joint"
    assert len(set(shown)) == 11
    plt.close("all")


def test_the_page_on_the_leaderboard_runs_and_tells_its_figure(capsys, monkeypatch):
    page = ROOT / "book/leaderboard.md"
    assert book_index.untold_figures(page) == []
    assert book_index.unchecked_sections(page) == []
    monkeypatch.setattr(plt, "show", lambda: None)
    code = "".join(cell["code"] for cell in book_index.cells(page.read_text(encoding="utf-8")))
    with plt.rc_context():
        exec(re.sub("^:tags:.*$", "", code, flags=re.MULTILINE), {})
    assert "it is hot thanks" in capsys.readouterr().out
    plt.close("all")


@every_chapter
def test_a_notebook_was_executed_from_top_to_bottom_without_errors(text):
    assert book_index.badly_executed(text.with_suffix(".ipynb")) == []


@every_chapter
def test_cells_are_short_and_narrow(text):
    cells = [cell["code"].splitlines() for cell in book_index.cells(text.read_text())]
    other = [[line for line in lines if not line.startswith(("import ", "from "))] for lines in cells]
    assert [lines for lines in other if len(lines) > 20] == []  # imports are as many as the rooms that are used
    assert [line for lines in cells for line in lines if len(line) > 88] == []
    notebook = nbformat.read(text.with_suffix(".ipynb"), 4)
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert [line for line in printed.splitlines() if len(line) > 88 and "your code goes" not in line] == []


@every_chapter
def test_code_exercises_have_checkers_and_solutions_with_the_same_signature(text):
    from rlhf_lab import check

    code = "".join(cell["code"] for cell in book_index.cells(text.read_text()))
    starters = dict(re.findall(r"^def (\w+)\((.*)\):\n    return None", code, re.MULTILINE))
    solutions = dict(re.findall(r"^def (\w+)_solution\((.*)\):", code, re.MULTILINE))
    assert starters == solutions
    called = set(re.findall(r"^check\.(\w+)\(", code, re.MULTILINE))
    assert len(called) >= 2
    assert all(callable(getattr(check, name)) for name in called)


@every_chapter
def test_a_chapter_has_two_exercises_with_code_and_two_with_a_pencil(text):
    labels = re.findall(r"^:label: (ex-[\w-]+)$", text.read_text(encoding="utf-8"), re.MULTILINE)
    kinds = [exercise.kind for exercise in course.exercises(text, dict.fromkeys(labels, ""))]
    assert min(kinds.count("code"), kinds.count("pencil")) >= 2


@every_chapter
def test_every_solution_passes_its_checker(text, capsys):
    imports, *cells = (
        re.sub(r"^:tags:.*$", "", cell["code"], flags=re.MULTILINE) for cell in book_index.cells(text.read_text())
    )
    checked = [code for code in cells if re.search(r"^check\.\w+\(\w+_solution\)", code, re.MULTILINE)]
    assert len(checked) >= 2
    names: dict = {}
    with plt.rc_context():
        exec(imports, names)
        capsys.readouterr()
        for code in checked:
            exec(code, names)
            assert re.fullmatch(r"\w+: right on all \d+ cases\.\n", capsys.readouterr().out), code


def test_the_table_of_contents_lists_every_notebook():
    assert set(TEXTS) <= set(book_index.pages(ROOT))
    assert all(page.exists() for page in book_index.pages(ROOT))


# The checks above notice what they should: a tiny project that is right, and then broken in one place.

CHAPTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

## One

```{math}
:label: eq-one
a = b
```

```{math}
:label: eq-two
b = c
```

```{code-cell} ipython3
assert 1 + 1 == 2
```

```{code-cell} ipython3
---
mystnb:
  figure:
    caption: Shows {eq}`eq-two`.
    name: fig-two
  image:
    alt: A line.
---
plt.show()
```
"""
MODULE = '''"""A leaf."""

from rlhf_lab.ground import stone


def one():
    """One (eq-one)."""


class Two:
    """Two (eq-two)."""
'''
TESTS = """import pytest


@pytest.mark.equation("eq-one")
def test_one():
    assert True


@pytest.mark.equation("eq-two", "eq-one")
@pytest.mark.parametrize("x", [1, 2])
def test_two(x):
    assert True
"""
TOC = """format: jb-book
root: book/preface
parts:
- numbered: 1
  chapters:
  - file: notebooks/chapter
  - file: book/api
    sections:
    - file: book/reference/ground
    - file: book/reference/tree
"""
PYPROJECT = """[tool.pytest.ini_options]
markers = ["equation"]

[[tool.importlinter.contracts]]
name = "Only down"
type = "layers"
layers = ["__main__", "check", "tree | plots", "ground"]

[[tool.importlinter.contracts]]
name = "No network"
type = "forbidden"
"""


@pytest.fixture
def project(tmp_path):
    files = {
        "book/_toc.yml": TOC,
        "book/preface.md": "# Preface\n",
        "book/api.md": "# Reference\n",
        "book/reference/ground.md": "# Ground\n",
        "book/reference/tree.md": "# Tree\n",
        "book/references.bib": "",
        "notebooks/chapter.md": CHAPTER,
        "rlhf_lab/__init__.py": "",
        "rlhf_lab/__main__.py": "",
        "rlhf_lab/plots.py": '"""Pictures. In colour."""',
        "rlhf_lab/check/__init__.py": "from rlhf_lab.check import chapter, hints",
        "rlhf_lab/check/chapter.py": "from rlhf_lab.check.diagnosis import Exercise",
        "rlhf_lab/check/diagnosis.py": "from rlhf_lab.check import hints",
        "rlhf_lab/check/hints.py": "",
        "rlhf_lab/ground/__init__.py": '"""What is\nbelow. And deep."""',
        "rlhf_lab/ground/stone.py": "",
        "rlhf_lab/tree/__init__.py": "from rlhf_lab.tree.crown import far",
        "rlhf_lab/tree/bark.py": "from rlhf_lab.tree.leaf import one",
        "rlhf_lab/tree/crown/__init__.py": "",
        "rlhf_lab/tree/crown/far.py": "from rlhf_lab.tree import bark",
        "rlhf_lab/tree/leaf.py": MODULE,
        "tests/tree/test_leaf.py": TESTS,
        "requirements/lock.txt": "",
        "pyproject.toml": PYPROJECT,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    notebook = plain.notebook_of(tmp_path / "notebooks/chapter.md", tmp_path)
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
    nbformat.write(notebook, tmp_path / "notebooks/chapter.ipynb")
    return tmp_path


def edit(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_project_in_order_has_nothing_to_report(project):
    text = project / "notebooks/chapter.md"
    assert book_index.unasserted(project) == []
    assert book_index.disordered(project) == []
    assert book_index.unchecked_sections(text) == []
    assert book_index.untold_figures(text) == []
    assert book_index.badly_executed(text.with_suffix(".ipynb")) == []
    leaf = "rlhf_lab.tree.leaf"
    assert book_index.functions(project) == {"eq-one": [f"{leaf}.one"], "eq-two": [f"{leaf}.Two"]}
    assert book_index.figures(project) == {"eq-two": ["fig-two"]}
    both = ["tests/tree/test_leaf.py::test_one", "tests/tree/test_leaf.py::test_two"]
    assert book_index.markers(project) == {"eq-one": both, "eq-two": both[1:]}


def test_an_equation_without_a_test_is_noticed(project):
    edit(project / "tests/tree/test_leaf.py", '"eq-two", ', "")
    assert book_index.unasserted(project) == ["eq-two: no test is marked with it"]


def test_a_marker_in_a_comment_does_not_count(project):
    edit(project / "tests/tree/test_leaf.py", '"eq-two", "eq-one")', '"eq-one")  # @pytest.mark.equation("eq-two")')
    assert book_index.unasserted(project) == ["eq-two: no test is marked with it"]


def test_a_marker_without_an_equation_is_noticed(project):
    edit(project / "tests/tree/test_leaf.py", '"eq-two", ', '"eq-two", "eq-three", ')
    assert book_index.unasserted(project) == ["eq-three: tests name it, but the book has no such equation"]


def test_another_order_is_noticed(project):
    edit(project / "notebooks/chapter.md", "eq-one\n", "eq-new\n")
    edit(project / "notebooks/chapter.md", "eq-two\n", "eq-one\n")
    edit(project / "notebooks/chapter.md", "eq-new\n", "eq-two\n")
    expected = "tree.leaf: its equations stand in the order ['eq-one', 'eq-two'], in the book ['eq-two', 'eq-one']"
    assert book_index.disordered(project) == [expected]


def test_a_label_that_the_book_does_not_have_is_noticed(project):
    edit(project / "rlhf_lab/tree/leaf.py", "eq-two", "eq-too")
    assert book_index.disordered(project) == ["tree.leaf: eq-too is not in the book"]


def test_rooms_stand_from_the_ground_up_and_modules_after_what_they_import(project):
    assert book_index.floors(project) == [["ground"], ["tree", "plots"], ["check"]]
    assert book_index.reference(project) == ["ground", "tree"]
    assert book_index.rules(project) == ["Only down", "No network"]
    assert book_index.modules(project) == [
        *("ground", "ground.stone"),
        *("tree", "tree.crown", "tree.leaf", "tree.bark", "tree.crown.far"),
        "plots",
        *("check", "check.hints", "check.diagnosis"),
    ]


@pytest.mark.parametrize(
    ("name", "first"), [("ground", "What is below."), ("plots", "Pictures."), ("tree.leaf", "A leaf.")]
)
def test_the_first_sentence_of_a_docstring_tells_what_a_module_is(project, name, first):
    assert book_index.summary(book_index.source(project, name)) == first


def test_a_section_that_asserts_nothing_is_noticed(project):
    text = project / "notebooks/chapter.md"
    edit(text, "assert 1 + 1 == 2", "print(1 + 1)  # assert")
    assert book_index.unchecked_sections(text) == ["chapter.md: section 'One' has code but asserts nothing"]


@pytest.mark.parametrize(("line", "what"), [("    name: fig-two\n", "name"), ("    alt: A line.\n", "alt text")])
def test_a_figure_that_tells_too_little_is_noticed(project, line, what):
    text = project / "notebooks/chapter.md"
    edit(text, line, "    width: 3\n")
    assert book_index.untold_figures(text) == [f"chapter.md: a cell that ends in plt.show() has no {what}: plt.show()"]


def damaged(project, change):
    path = project / "notebooks/chapter.ipynb"
    notebook = json.loads(path.read_text())
    change([cell for cell in notebook["cells"] if cell["cell_type"] == "code"])
    path.write_text(json.dumps(notebook))
    return book_index.badly_executed(path)


def test_a_notebook_that_was_not_executed_is_noticed(project):
    assert damaged(project, lambda cells: cells[1].update(execution_count=None)) == [
        "chapter.ipynb: cell 2 was not run in order"
    ]
    assert damaged(project, lambda cells: cells[1].update(execution_count=7)) == [
        "chapter.ipynb: cell 2 was not run in order"
    ]


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ({"output_type": "error", "ename": "E", "evalue": "", "traceback": []}, "stored an error"),
        ({"output_type": "stream", "name": "stderr", "text": ["oh"]}, "wrote to stderr"),
        ({"output_type": "stream", "name": "stdout", "text": [str(Path.home() / "x")]}, "shows a path of one machine"),
    ],
)
def test_bad_outputs_are_noticed(project, output, what):
    found = damaged(project, lambda cells: cells[0].update(outputs=[output]))
    assert found == [f"chapter.ipynb: cell 1 {what}"]


RESULT = "rlhf_lab/experiments/results/study.json"


@pytest.mark.parametrize("changed", ["rlhf_lab/tree/leaf.py", RESULT, "requirements/lock.txt"])
def test_cells_are_executed_anew_if_what_they_compute_with_changes(project, changed):
    cache = project / "_build/.jupyter_cache"
    build.forget_old_results(project)
    cache.mkdir()
    write(project, "notebooks/chapter.md", "tests/tree/test_leaf.py")
    build.forget_old_results(project)
    assert cache.exists()
    write(project, changed)
    build.forget_old_results(project)
    assert not cache.exists()


def write(project, *names):
    for name in names:
        (project / name).parent.mkdir(exist_ok=True, parents=True)
        with (project / name).open("a", encoding="utf-8") as file:
            file.write("\n")


@pytest.fixture
def rendered(project, monkeypatch):
    """Build the book of the tiny project, by a printer that writes one page and can be made to fail."""

    def render(root, log):
        page = root / "_build/html/index.html"
        assert not page.exists()
        page.parent.mkdir(parents=True)
        page.write_text("A page")
        log.write_text("page.md: WARNING: this is wrong\n")
        calls.append(root)
        return failing[0]

    def run(fails=0):
        failing[0] = fails
        before = len(calls)
        assert build.main(project) == fails
        return len(calls) - before

    calls, failing = [], [0]
    monkeypatch.setattr(build, "execute", lambda root, log: None)
    monkeypatch.setattr(build, "render", render)
    monkeypatch.setattr(build, "add_wheel", lambda root: None)
    live = {"unusable": lambda pyodide: "", "pack": lambda *where: None, "locate": lambda *where: None}
    monkeypatch.setattr(build, "live", SimpleNamespace(**live))
    monkeypatch.setattr(build, "distributions", list)
    assert run() == 1
    return run


def test_cells_are_executed_into_the_cache_and_what_fails_is_left_to_the_renderer(tmp_path):
    head = CHAPTER.split("# A chapter")[0]
    (tmp_path / "notebooks").mkdir()
    for name, code in (("right", "print(6 * 7)"), ("wrong", "assert 1 > 2")):
        (tmp_path / f"notebooks/{name}.md").write_text(f"{head}# {name}\n\n```{{code-cell}} ipython3\n{code}\n```\n")
    build.execute(tmp_path, tmp_path / "log")
    assert "AssertionError" in (tmp_path / "log").read_text()
    (kept,) = get_cache(tmp_path / "_build/.jupyter_cache").list_cache_records()
    assert Path(kept.uri).stem == "right"
    cells = get_cache(tmp_path / "_build/.jupyter_cache").get_cache_bundle(kept.pk).nb.cells
    assert cells[-1].outputs[0]["text"] == "42\n"


def test_a_book_in_which_nothing_changed_is_not_built_again(project, rendered, capsys):
    capsys.readouterr()
    write(project, "README.md", "rlhf_lab/tree/__pycache__/leaf.pyc", "notebooks/.ipynb_checkpoints/chapter.ipynb")
    assert rendered() == 0
    assert capsys.readouterr().out.startswith("Nothing changed since the last build. Open ")


@pytest.mark.parametrize(
    "changed",
    [
        "rlhf_lab/tree/leaf.py",
        "rlhf_lab/new.py",
        RESULT,
        "notebooks/chapter.md",
        "notebooks/chapter.ipynb",
        "book/_toc.yml",
        "book/_ext/new.py",
        "book/_static/new.css",
        "tests/tree/test_leaf.py",
        "pyproject.toml",
        "requirements/lock.txt",
    ],
)
def test_a_book_is_built_again_if_anything_changes_that_its_pages_are_made_from(project, rendered, changed):
    write(project, changed)
    assert rendered() == 1
    assert rendered() == 0
    (project / changed).rename(project / f"{changed}.old")
    assert rendered() == 1


def test_a_book_is_built_again_if_what_makes_it_changes(project, rendered, monkeypatch):
    installed = []
    monkeypatch.setattr(build, "distributions", lambda: installed)
    (project / "requirements/lock.txt").write_text("some-theme==8\n")
    assert rendered() == 1
    installed.append(SimpleNamespace(name="Some_Theme", version="9"))
    assert rendered() == 1
    installed.append(SimpleNamespace(name="playwright", version="1"))
    assert rendered() == 0
    monkeypatch.setattr(build.sys, "version", "4.0")
    assert rendered() == 1


def test_a_book_whose_pages_are_gone_is_built_again(project, rendered):
    (project / "_build/html/index.html").unlink()
    assert rendered() == 1


def test_a_book_that_could_not_be_built_is_built_again(project, rendered, capsys):
    write(project, "book/preface.md")
    assert rendered(fails=1) == 1
    assert "page.md: WARNING: this is wrong\nThe book was not built" in capsys.readouterr().out
    assert rendered(fails=1) == 1
    assert rendered() == 1
    assert rendered() == 0


def test_the_same_text_gives_the_same_notebook(project):
    text = project / "notebooks/chapter.md"
    first, second = (nbformat.writes(plain.notebook_of(text, project)) for _ in range(2))
    assert first == second
    captions = 1
    assert len(plain.notebook_of(text, project).cells) == len(jupytext.read(text).cells) + captions


class Config:
    def __init__(self, url, folder):
        """What Sphinx gets from Jupyter Book if the address in `_config.yml` is `url`."""
        from jupyter_book.config import get_final_config

        written = (ROOT / "book/_config.yml").read_text(encoding="utf-8")
        assert '  url: ""\n' in written
        (folder / "_config.yml").write_text(written.replace('  url: ""\n', f'  url: "{url}"\n'), encoding="utf-8")
        cli = {"latex_individualpages": False}
        final, _ = get_final_config(user_yaml=folder / "_config.yml", cli_config=cli, sourcedir=folder)
        self.html_theme_options = final["html_theme_options"]


@pytest.mark.filterwarnings("ignore")
def test_buttons_that_need_an_address_appear_with_the_address(tmp_path):
    import answer_key

    without, with_address = Config("", tmp_path), Config("https://example.org/rlhf-lab", tmp_path)
    for config in (without, with_address):
        answer_key.theme(None, config)
    names = ("use_repository_button", "use_edit_page_button", "use_issues_button")
    assert [without.html_theme_options[n] for n in names] == [False] * 3
    assert [with_address.html_theme_options[n] for n in names] == [True] * 3
    assert without.html_theme_options["launch_buttons"] == {}
    assert {"binderhub_url", "colab_url"} <= set(with_address.html_theme_options["launch_buttons"])
    assert with_address.html_theme_options["repository_url"] == "https://example.org/rlhf-lab"


def test_docstrings_are_plain_text():
    import answer_key

    lines = ["J*(x) = |a_| of `f(x_)` (eq-one)."]
    answer_key.docstring(None, "function", "f", None, None, lines)
    assert lines == [r"J\*(x) = \|a\_\| of ``f(x_)`` (:eq:`eq-one`)."]


def test_a_legend_keeps_its_letters_apart():
    import answer_key

    lines = ["    x prompt    y_t token    V", "word  word"]
    answer_key.docstring(None, "module", "m", None, None, lines)
    assert lines == [r"    x prompt · y\_t token · V", "word  word"]

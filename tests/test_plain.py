"""The notebooks that readers open: nothing of MyST is left in them, and what a reader writes is safe."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book/_ext"), str(ROOT / "book")]

import build  # noqa: E402
import lab  # noqa: E402
import outputs  # noqa: E402
import plain  # noqa: E402
import sync  # noqa: E402

TEXTS = sorted((ROOT / "notebooks").glob("*.md"))
every_chapter = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)

PREFACE = "# Preface\n"
FIRST = "(sec-first)=\n# First\n\n```{math}\n:label: eq-zero\n0 = 0\n```\n"
CHAPTER = r"""---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

(sec-second)=
# Second

As {cite}`doe2020one,roe2021two` say in {ref}`sec-first`, and {eq}`eq-zero` holds. See {ref}`here <sec-second>`.

```{math}
:label: eq-split
a &= b \\
c &= d
```

:::{prf:theorem} Of two
:label: thm-two
It holds that

```{math}
x = y.
```
:::

:::{prf:proof}
By {prf:ref}`thm-two`, and `{eq}` is code.
:::

::::{admonition} In TRL
:class: tip
- one

:::{note}
Two.
:::
::::

```{explore} beta
:folded:
Move it, as in {eq}`eq-zero`.
```

:::{dropdown} More
Words on {py:func}`~rlhf_lab.models.lm.kl`.
:::

```{code-cell} ipython3
---
mystnb:
  figure:
    caption: Shows {eq}`eq-split`.
    name: fig-one
  image:
    alt: A line.
tags: [hide-input]
---
plt.show()
```

See {numref}`fig-one`.

```{exercise-start} Twice, or $2x$
:label: ex-double
:class: difficulty-1 minutes-5
```
Double it.

```{code-cell} ipython3
def double(x):
    return None  # your code

check.double(double)
```

```{exercise-end}
```

```{solution-start} ex-double
:class: dropdown
```
Add it to itself, {ref}`ex-double`.

```{code-cell} ipython3
def double_solution(x):
    return x + x
```

```{solution-end}
```

After it.
"""
BIB = """@article{doe2020one,
  author = {Doe, Jane},
  title = {One},
  doi = {10.1/one},
  year = {2020}
}
@article{roe2021two,
  author = {Roe, Richard and van Dyke, Anna and Fox, Bo},
  title = {Two},
  year = {2021}
}
"""
TOC = """format: jb-book
root: book/preface
parts:
- caption: One
  numbered: 1
  chapters:
  - file: notebooks/first
- caption: Two
  numbered: 1
  chapters:
  - file: notebooks/second
- caption: Back
  chapters:
  - file: book/index
"""


@pytest.fixture
def project(tmp_path):
    files = {
        "book/_toc.yml": TOC,
        "book/preface.md": PREFACE,
        "book/index.md": "# Index\n",
        "book/references.bib": BIB,
        "notebooks/first.md": FIRST,
        "notebooks/second.md": CHAPTER,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_chapter_in_plain_markdown(project):
    notebook = plain.notebook_of(project / "notebooks/second.md", project)
    nbformat.validate(notebook)
    text, picture, caption, exercise, starter, solution, after = notebook.cells
    assert text.source.splitlines() == [
        "# Second",
        "",
        *plain.WELCOME.splitlines(),
        "",
        "As ([Doe, 2020](https://doi.org/10.1/one); Roe et al., 2021) say in [First](first.ipynb), and (1.1) holds. "
        "See here.",
        "",
        r"$$ \begin{aligned} a &= b \\ c &= d \end{aligned} \tag{2.1} $$",
        "",
        "> **Theorem 2.1 (Of two).** It holds that",
        ">",
        "> $$ x = y. $$",
        "",
        "> **Proof.** By Theorem 2.1, and `{eq}` is code.",
        "",
        "> **In TRL**",
        ">",
        "> - one",
        ">",
        "> > **Note.** Two.",
        "",
        "> **Try it on this chapter's page of the book.** Move it, as in (1.1).",
        "",
        "<details>",
        "<summary><b>More</b></summary>",
        "",
        "Words on `rlhf_lab.models.lm.kl`.",
        "",
        "</details>",
    ]
    assert (picture.source, picture.metadata["jupyter"]) == ("plt.show()", {"source_hidden": True})
    assert caption.source == "**Fig. 2.1** Shows (2.1)."
    assert exercise.source == "See Fig. 2.1.\n\n**Exercise 2.1 (Twice, or $2x$).** ●○○, 5 minutes.\nDouble it."
    assert starter.metadata["tags"] == ["nbval-skip"]
    assert solution.source.splitlines() == [
        "<details>",
        "<summary><b>Solution</b></summary>",
        "",
        "Add it to itself, Exercise 2.1.",
        "",
        "```python",
        "def double_solution(x):",
        "    return x + x",
        "```",
        "",
        "</details>",
    ]
    assert after.source == "After it."


def test_whatever_stands_in_a_starter_the_notebook_passes(project, stored):
    notebook, cells = nbformat.read(stored, as_version=4), []
    for cell in notebook.cells:
        if "return None" in cell.source:
            for written in ("return 2 * x", "return None +", "raise SystemExit"):
                source = cell.source.replace("return None", written)
                cells.append(nbformat.from_dict(cell | {"id": f"starter-{len(cells)}", "source": source}))
        elif "plt" not in cell.source:
            cells.append(cell)
    notebook.cells = cells
    nbformat.write(notebook, stored)
    pytest_run = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:xdist", "-c", os.devnull, str(stored)]
    run = subprocess.run(pytest_run, capture_output=True, text=True, cwd=project)
    assert run.returncode == 0, run.stdout
    assert "3 skipped" in run.stdout


@pytest.mark.parametrize("broken", ["{ref}`sec-nowhere`", "{eq}`eq-nowhere`", "{cite}`nobody`", ":::{unheard-of}\n:::"])
def test_what_cannot_be_translated_is_an_error(project, broken):
    text = project / "notebooks/second.md"
    text.write_text(text.read_text() + f"\n{broken}\n")
    with pytest.raises(KeyError):
        plain.notebook_of(text, project)


@every_chapter
def test_nothing_of_myst_is_left(text):
    for cell in plain.notebook_of(text, ROOT).cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"^```.*?^```$", "", cell.source, flags=re.MULTILINE | re.DOTALL)
            assert not re.search(r"\{[\w:-]+\}`|^[`:]{3,}\{|^\([\w-]+\)=$", prose, re.MULTILINE), cell.source


@every_chapter
def test_no_editor_pairs_a_notebook_with_its_text(text):
    """JupyterLab with jupytext writes both files of a pair: the plain edition would stand where the text was."""
    assert set(nbformat.read(text.with_suffix(".ipynb"), as_version=4).metadata) <= {"kernelspec", "executed"}
    assert "formats:" not in text.read_text(encoding="utf-8").split("\n---\n")[0]


@every_chapter
def test_a_notebook_is_in_step_with_its_text(text):
    assert plain.out_of_step(text, ROOT) == []


@pytest.fixture
def stored(project):
    text = project / "notebooks/second.md"
    path = text.with_suffix(".ipynb")
    nbformat.write(plain.notebook_of(text, project), path)
    return path


def answer(stored):
    notebook = nbformat.read(stored, as_version=4)
    starter = next(cell for cell in notebook.cells if "return None" in cell.source)
    starter.source = starter.source.replace("None", "2 * x")
    nbformat.write(notebook, stored)
    return starter.source


@pytest.mark.parametrize(
    ("old", "new"), [("return None", "return 0"), ("b \\\\", "B \\\\"), ("A line", "The line"), ("After it.\n", "")]
)
def test_a_notebook_out_of_step_is_noticed(project, stored, old, new):
    text = project / "notebooks/second.md"
    assert plain.out_of_step(text, project) == []
    assert old in text.read_text()
    text.write_text(text.read_text().replace(old, new))
    assert len(plain.out_of_step(text, project)) == 1


def test_an_answer_in_a_stored_notebook_is_not_written_over(project, stored, monkeypatch, capsys):
    monkeypatch.setattr(sync, "ROOT", project)
    monkeypatch.setattr(sync, "execute", lambda notebook: None)
    monkeypatch.setattr(sys, "argv", ["sync.py", "second"])
    written = answer(stored)
    assert sync.main() == 1
    assert written in capsys.readouterr().out
    assert written in [cell.source for cell in nbformat.read(stored, as_version=4).cells]


def test_what_was_stored_last_may_be_written_over(project, stored, monkeypatch):
    monkeypatch.setattr(sync, "ROOT", project)
    monkeypatch.setattr(sync, "execute", lambda notebook: None)
    monkeypatch.setattr(sys, "argv", ["sync.py", "second"])
    text = project / "notebooks/second.md"
    for last, word in (("After it.", "After it."), ("After it.", "Later."), ("Later.", "Still later.")):
        text.write_text(text.read_text().replace(last, word))
        assert sync.main() == 0
        assert nbformat.read(stored, as_version=4).cells[-1].source == word


def executed_text():
    """Return the cells of a chapter's text, each with what it said: two are shown, one between them is a solution."""
    cells = [nbformat.v4.new_code_cell(f"say({k})") for k in range(3)]
    for k, cell in enumerate(cells):
        cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": str(k)}, execution_count=k + 1)]
    cells.insert(1, nbformat.v4.new_markdown_cell("Words."))
    return cells


def with_outputs(package="a"):
    """Return the text without outputs, and the notebook that keeps them."""
    text = executed_text()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"say({k})") for k in (0, 2)])
    outputs.keep(text, notebook, package)
    for cell in outputs.code_of(text):
        cell.outputs = []
    return text, nbformat.reads(nbformat.writes(notebook), as_version=4)


def test_a_notebook_keeps_what_its_text_printed():
    text, notebook = with_outputs()
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    assert [cell.outputs[0].execution_count for cell in notebook.cells] == [1, 2]
    assert outputs.recall(text, notebook, "a")
    said = [cell.outputs[0].data["text/plain"] for cell in outputs.code_of(text)]
    assert said == ["0", "1", "2"]


@pytest.mark.parametrize("place", range(3))
def test_outputs_of_other_code_are_not_taken(place):
    text, notebook = with_outputs()
    outputs.code_of(text)[place].source += "  # changed"
    assert not outputs.recall(text, notebook, "a")
    assert not any(cell.outputs for cell in outputs.code_of(text))


@pytest.mark.parametrize("place", range(3))
def test_outputs_of_code_that_is_gone_are_not_taken(place):
    text, notebook = with_outputs()
    text.remove(outputs.code_of(text)[place])
    assert not outputs.recall(text, notebook, "a")


def test_outputs_of_another_package_are_not_taken():
    text, notebook = with_outputs()
    assert not outputs.recall(text, notebook, "b")
    del notebook.metadata["executed"]
    assert not outputs.recall(text, notebook, "a")


def test_what_a_notebook_keeps_is_not_executed_again(project, monkeypatch):
    """The page that keeps its outputs goes into the cache with them; the other one is left for the executor."""
    from jupyter_cache import executors, get_cache

    text = project / "notebooks/second.md"
    executed = jupytext.read(text)
    for k, cell in enumerate(outputs.code_of(executed.cells)):
        cell.outputs = [nbformat.v4.new_output("stream", text=f"cell {k}")]
    notebook = plain.notebook_of(text, project)
    outputs.keep(executed.cells, notebook, build.package_hash(project))
    nbformat.write(notebook, text.with_suffix(".ipynb"))
    waiting = []

    class Executor:
        def run_and_cache(self, timeout):
            waiting.extend(Path(record.uri).name for record in get_cache(cache).list_unexecuted())

    cache = project / "_build/.jupyter_cache"
    monkeypatch.setattr(executors, "load_executor", lambda name, cache: Executor())
    build.fill_cache(project)
    others = [page.name for page in project.glob("*/*.md") if "```{code-cell}" in page.read_text()]
    assert sorted([*waiting, "second.md"]) == sorted(others)
    (record,) = get_cache(cache).list_cache_records()
    found = get_cache(cache).get_cache_bundle(record.pk).nb.cells
    assert [cell.outputs[0].text for cell in found] == [f"cell {k}" for k in range(len(found))]


def test_a_reader_gets_copies_that_are_kept(project, stored, capsys):
    assert lab.copies(project) == project / "work"
    mine = project / "work/second.ipynb"
    assert mine.read_bytes() == stored.read_bytes()
    written = answer(mine)
    stored.write_text("changed")
    lab.copies(project)
    assert written in [cell.source for cell in nbformat.read(mine, as_version=4).cells]
    assert "second.ipynb is kept" in capsys.readouterr().out

"""The bars of folded cells say what is in them."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book/_ext")]

import book_index  # noqa: E402
import folded  # noqa: E402


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("fig, ax = plt.subplots()\nprint(1)\nplt.show()", "Show the code of this figure"),
        ("import numpy as np\n\nprint(np.pi)", "Show the imports"),
        ("x = 1\nprint(x)", "Show the code of these numbers"),
        ("x = 1\n\n\ndef f(x):\n    return x", "Show these functions"),
        ("important = 3", "Show this step"),
    ],
)
def test_a_bar_says_what_is_in_the_cell(code, told):
    assert folded.prompt(f"\n{code}\n") == told


def test_every_kind_stands_in_the_book():
    folds = [
        folded.prompt(cell["code"].replace(":tags: [hide-input]", ""))
        for page in book_index.pages(ROOT)
        for cell in book_index.cells(page.read_text(encoding="utf-8"))
    ]
    assert set(folds) == set(folded.CELLS.values())


def test_a_prompt_of_the_chapter_is_kept_and_the_usual_one_is_not():
    page = new_document("page")
    for told in ("Show code cell {type}", "Show how PPO is run"):
        page += nodes.container("", nodes.literal_block("", "import this"), prompt_show=told)
    page += nodes.container("", nodes.literal_block("", "import that"))  # an open cell
    folded.name(SimpleNamespace(config=SimpleNamespace(nb_code_prompt_show="Show code cell {type}")), page)
    assert [cell.get("prompt_show") for cell in page] == ["Show the imports", "Show how PPO is run", None]

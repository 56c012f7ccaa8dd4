"""The page on other libraries shows what the tests of the peers stored, for the versions that are pinned."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book/_ext"), str(ROOT / "book")]

import book_index  # noqa: E402
import in_the_wild  # noqa: E402
import long_names  # noqa: E402

WORDS, STORED = in_the_wild.read()
TEXT = in_the_wild.PAGE.read_text(encoding="utf-8")


def test_the_page_shows_what_is_stored():
    assert in_the_wild.page(TEXT, WORDS, STORED) == TEXT
    changed = STORED | {"largest difference": STORED["largest difference"] | {"gae": 3e-5}}
    assert in_the_wild.page(TEXT, WORDS, changed).count("| 3e-05 |") == 1
    assert "3e-05" not in TEXT


def test_every_row_was_measured_and_nothing_is_apart_by_more_than_single_precision():
    assert list(STORED["largest difference"]) == list(WORDS["row"])
    assert all(0 <= difference < 2e-6 for difference in STORED["largest difference"].values())


@pytest.mark.parametrize("name", [name for name, row in WORDS["row"].items() if "function" in row])
def test_every_function_is_there_and_names_its_equation(name):
    row = WORDS["row"][name]
    module, function = row["function"].rsplit(".", 1)
    source = book_index.source(ROOT, module).read_text(encoding="utf-8")
    assert re.search(rf"^(def |class |){function}\b", source, re.MULTILINE)
    if "equation" in row:
        assert (row["equation"], f"rlhf_lab.{row['function']}") in book_index.named_in(ROOT, module)


def test_the_versions_are_those_that_are_pinned():
    pinned = dict(re.findall(r"^([\w-]+)==(.+)$", (ROOT / "requirements/peers.txt").read_text(), re.MULTILINE))
    assert {name: pinned[name] for name in STORED["versions"]} == STORED["versions"]


def test_what_is_shown_of_the_trainers_is_all_that_they_do():
    shown = re.findall(r"^:pyobject: (\w+)$", TEXT, re.MULTILINE)
    code = (ROOT / "book/in_trl.py").read_text(encoding="utf-8")
    assert sorted(shown) == sorted(set(re.findall(r"^def (\w+)\(", code, re.MULTILINE)) - {"main"})
    functions = re.findall(r"^def (?!main).*\n(?:(?: .*)?\n)*", code, re.MULTILINE)
    assert [
        line for function in functions for line in function.splitlines() if len(line) > 88
    ] == []  # as wide as a page


def test_long_names_in_tables_break_at_their_joints_and_nowhere_else():
    def code(text):
        return f'<code class="literal"><span class="pre">{text}</span></code>'

    def table(cell):
        return f'<div class="rosetta names docutils">\n<table>\n<td><p>a_b {cell}</p></td>\n</table>\n</div>'

    for plain, broken in (
        ("kl_loss_coef", "kl_<wbr/>loss_<wbr/>coef"),
        ("methods.ppo", "methods.<wbr/>ppo"),
        ("sum(x_t)", "sum(<wbr/>x_<wbr/>t)"),
        ("cpo_alpha=0.0", "cpo_<wbr/>alpha=0.0"),
        ("loss_type=&quot;dr_grpo&quot;", "loss_<wbr/>type=<wbr/>&quot;dr_<wbr/>grpo&quot;"),
        ("f()", "f()"),
        ("_clip_max", "_clip_<wbr/>max"),
    ):
        page = code(plain) + table(code(plain) + code("beta")) + code(plain)
        assert long_names.breakable(page) == code(plain) + table(code(broken) + code("beta")) + code(plain)
    context = {"body": table(code("a.b"))}
    long_names.page(None, "book/in_the_wild", "page.html", context, None)
    assert context["body"] == table(code("a.<wbr/>b"))

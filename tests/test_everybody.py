"""What the site owes to every reader is written into its pages, and nothing that it cannot keep."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from docutils import nodes

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book/_ext")]

import everybody  # noqa: E402
import formulas  # noqa: E402

CONF = """
import sys
sys.path.insert(0, {ext!r})
project, html_baseurl, html_theme = "Small book", {address!r}, "sphinx_book_theme"
extensions = ["everybody", "formulas"]
templates_path, html_static_path = [{templates!r}], [{static!r}]
python_maximum_signature_line_length = 20
"""
PAGE = r"""
Small page
==========

It says :math:`x^2` first.

It says little about "much" & <more>.

.. math:: \\frac{1}{2}
   :label: eq-half

.. image:: picture.png
   :alt: a picture

.. admonition:: Solution to `a question <https://example.org>`_
   :class: dropdown

   The answer.

.. py:function:: long_name(first: int, second: int) -> int
"""


@pytest.fixture(scope="module", params=["", "https://example.org/small/"], ids=["no-address", "address"])
def small(request, tmp_path_factory):
    """A site of one page, with an address and without."""
    folder = tmp_path_factory.mktemp("small")
    places = {"ext": "book/_ext", "templates": "book/_templates", "static": "book/_static"}
    written = CONF.format(address=request.param, **{name: str(ROOT / place) for name, place in places.items()})
    (folder / "conf.py").write_text(written, encoding="utf-8")
    (folder / "index.rst").write_text(PAGE.replace("\\\\", "\\"), encoding="utf-8")
    (folder / "picture.png").write_bytes((ROOT / "book/_static/readme.png").read_bytes())
    command = [sys.executable, "-W", "ignore", "-m", "sphinx", "-q", "-W", "-b", "html", folder, folder / "html"]
    subprocess.run(command, check=True)
    html = folder / "html"
    found = [path for path in html.iterdir() if path.suffix in (".html", ".txt", ".xml")]
    pictures = {"pictures": " ".join(path.name for path in (html / "_images").iterdir())}
    return request.param, pictures | {path.name: path.read_text(encoding="utf-8") for path in found}


def test_a_page_says_what_it_is_and_its_address_only_if_there_is_one(small):
    address, files = small
    told = 'content="It says little about “much” &amp; &lt;more&gt;."'
    assert f'<meta name="description" {told}>' in files["index.html"]
    assert f'<meta property="og:description" {told}>' in files["index.html"]
    assert '<meta property="og:title" content="Small page">' in files["index.html"]
    assert (f'<meta property="og:url" content="{address}index.html">' in files["index.html"]) == bool(address)
    assert ("og:image" in files["index.html"]) == bool(address)


def test_machines_find_a_list_of_pages(small):
    address, files = small
    assert f"- [Small page]({address}_sources/index.md): It says little" in files["llms.txt"]
    assert ("sitemap.xml" in files) == bool(address)
    assert not address or f"<loc>{address}index.html</loc>" in files["sitemap.xml"]


def test_a_wrong_address_shows_a_page_that_finds_its_style(small):
    address, files = small
    assert "This page does not exist" in files["404.html"]
    assert ('<base href="/small/">' in files["404.html"]) == bool(address)
    assert 'href="index.html">To the start</a>' in files["404.html"]


def test_a_solution_folds_without_a_script_and_its_bar_holds_no_link(small):
    bar = re.search(r"<details><summary>(.*?)</summary>(.*?)</details>", small[1]["index.html"], re.DOTALL)
    assert "Solution to a question" in bar[1]
    assert "<a " not in bar[1]
    assert "The answer." in bar[2]


def test_pictures_have_a_size_and_are_light(small):
    assert small[1]["pictures"] == "picture.webp"
    assert re.search(r'<img [^>]*picture.webp"[^>]* width="\d+" height="\d+" decoding="async">', small[1]["index.html"])


def test_a_long_signature_is_lines_and_no_list(small):
    assert small[1]["index.html"].count('<span class="sig-line">') == 2
    assert not re.search(r"<dl>\s*<dd>", small[1]["index.html"])


def test_icons_are_letters(small):
    assert "pydata-sphinx-theme.js" in small[1]["index.html"]
    assert "fontawesome.js" not in small[1]["index.html"]


def test_formulas_are_typeset_and_numbered(small):
    page = small[1]["index.html"]
    assert page.count("<mjx-container") == 2
    assert re.search(r'<span class="eqno">\(1\).*?</span><mjx-container[^>]*style="--width: \d\.\d\d', page)
    assert "<mfrac><mn>1</mn><mn>2</mn></mfrac>" in page
    assert "mathjax@" not in page


def test_a_wide_formula_knows_that_it_is_wide():
    narrow, wide = (formulas.typeset("+".join("x" * n), True) for n in (2, 20))
    width = [float(re.search(r"--width: ([\d.]+)", made)[1]) for made in (narrow, wide)]
    assert width[1] > 8 * width[0]
    assert "--width" not in formulas.typeset("x", False)


def test_a_wrong_formula_is_marked():
    assert "<mjx-merror" in formulas.typeset(r"\frac{1}", False)
    assert "<mjx-merror" in formulas.typeset(r"\nosuchthing", False)


def test_a_description_ends_with_a_word():
    text = nodes.paragraph("", "word " * 100)
    document = nodes.document(None, None, "", nodes.section("", text))
    told = everybody.describe(document)
    assert len(told) <= 200
    assert told.endswith("word …")
    assert everybody.describe(None) == everybody.WHAT

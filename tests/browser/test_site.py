"""What a reader does with the site: with the keyboard, by tapping, on paper, without scripts, at a wrong address."""

import re

import pypdf
import pytest
from answered import EXERCISES
from browsing import CHAPTERS, HTML, Answering, Visit, print_book

every_chapter = pytest.mark.parametrize("chapter", CHAPTERS)


@every_chapter
def test_a_chapter_is_light(visit, chapter):
    assert visit(chapter).weight() < 1_500_000


@every_chapter
def test_formulas_need_no_script(visit, chapter):
    page = visit(chapter, java_script_enabled=False).page
    there = page.locator(".math mjx-container").count()
    assert there >= 25
    assert there == page.locator(".math").count()


# The place of the focus: what it is, and whether one can see that it is there.
FOCUS = """() => {
  const here = document.activeElement, style = getComputedStyle(here);
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  return { body: here === document.body, formula: Boolean(here.closest("mjx-container")),
           seen: ring || style.boxShadow !== "none", what: here.outerHTML.slice(0, 120) };
}"""


def test_the_keyboard_reaches_links_and_boxes_but_no_formula_and_is_seen(visit):
    page = visit("notebooks/dpo.html").page
    stops = []
    while len(stops) < 400:
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop["body"]:
            break
        stops.append(stop)
    assert len(stops) > 60
    assert [stop["what"] for stop in stops if stop["formula"] or not stop["seen"]] == []


def test_what_scrolls_can_be_reached_with_the_keyboard(visit):
    page = visit("notebooks/dpo.html").look("phone")
    page.wait_for_timeout(300)
    boxes = "[...document.querySelectorAll('.bd-content :is(pre, div.math, table)')].filter((b) => b.offsetHeight)"
    wide = page.evaluate(f"{boxes}.filter((b) => b.scrollWidth > b.clientWidth + 1).map((b) => b.tabIndex)")
    assert len(wide) > 5
    assert set(wide) == {0}


@pytest.mark.parametrize("where", [0.02, 0.3, 0.97])
def test_a_solution_opens_wherever_its_bar_is_tapped(visit, where):
    page = visit("notebooks/dpo.html").look("phone")
    box = page.locator(".solution:not(:has(.cell))").first  # others wait for an answer to their exercise
    bar = box.locator("summary").bounding_box()
    assert bar["height"] >= 24
    assert not box.locator("section").is_visible()
    box.locator("summary").click(position={"x": where * bar["width"], "y": bar["height"] / 2})
    assert box.locator("section").is_visible()
    page.keyboard.press("Enter")
    assert not box.locator("section").is_visible()


def test_headings_shrink_in_order(visit):
    page = visit("notebooks/dpo.html").look("phone")
    sizes = page.evaluate(
        "['h1', 'h2', 'h3', 'p'].map((h) => document.querySelector(`article ${h}`)).filter(Boolean)"
        ".map((e) => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert len(sizes) >= 3
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_a_dark_page_is_printed_light_and_is_dark_again(visit):
    page = visit("notebooks/dpo.html").look("dark")
    dark = "document.documentElement.dataset.theme === 'dark'"
    page.wait_for_function(dark)  # the page hears of the new theme when it is drawn next
    page.evaluate("addEventListener('beforeprint', () => { window.printed = document.documentElement.dataset.theme; })")
    assert page.pdf().startswith(b"%PDF")
    assert page.evaluate("window.printed") == "light"
    page.wait_for_function(dark)  # the event may come after the PDF


def test_a_theme_that_changes_while_a_page_is_printed_stays(visit):
    page = visit("notebooks/dpo.html").look("phone")
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    page.emulate_media(color_scheme="dark")
    page.pdf()
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")


def test_a_wrong_address_leads_back(visit):
    page = visit("404.html").page
    page.get_by_role("link", name="To the start").click()
    assert page.locator("h1").first.inner_text().startswith("Learning from human feedback")


def test_llms_txt_lists_sources_that_are_there():
    text = (HTML / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# .+\n\n> .+\n\n## Pages\n", text)
    listed = re.findall(r"^- \[.+\]\((.+)\): .+$", text, re.MULTILINE)
    assert len(listed) >= 20
    assert [name for name in listed if not (HTML / name).exists()] == []


def test_the_book_is_printed_with_an_outline_page_numbers_and_links(browser, site, tmp_path):
    print_book(browser, site, ["book/glossary.html", "book/notation.html"], tmp_path / "book.pdf")
    printed = pypdf.PdfReader(tmp_path / "book.pdf")
    titles = [entry for entry in printed.outline if not isinstance(entry, list)]
    assert [entry.title for entry in titles] == ["Glossary", "Notation"]
    starts = [printed.get_destination_page_number(entry) for entry in titles]
    assert starts[0] == 0 < starts[1] < len(printed.pages)
    for number, page in enumerate(printed.pages, 1):
        assert page.extract_text().split()[-1] == str(number)
    links = [a.get_object() for page in printed.pages for a in page.get("/Annots", [])]
    assert any("/Dest" in link for link in links)


def test_the_front_page_invites_to_an_exercise_whose_checker_answers_there(popup, site):
    visited = Visit(None, site, "book/preface.html", popup())
    page = visited.page
    assert page.locator(".cm-content").count() == 0
    page.get_by_role("button", name="Try it here").click()
    page.locator(".cm-content").wait_for()
    assert not [answer.url for answer in visited.answers if "pyodide" in answer.url]
    tried = page.locator(".cell:has(+ .try)")
    exercise = Answering(page, "section:has(> .live)")
    exercise.press("Run")
    assert exercise.told().strip() == tried.locator(".cell_output").inner_text().strip()
    assert exercise.answer(EXERCISES["ex-dpo-loss"].solution).startswith("dpo_loss: right on all")
    assert page.locator(".try .live-mark").is_visible()
    assert visited.outside == visited.complaints == []
    page.goto(site + "notebooks/dpo.html")
    assert "1 of 4 code exercises answered" in page.locator("p.facts").first.inner_text()
    page.close()

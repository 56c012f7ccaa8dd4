"""Chapters that run on their page: by Python in Chromium, with nothing from outside."""

import nbformat
import pytest
from browsing import LOADED, ROOT, Answering, Visit, serious

DPO, PLAIN = "notebooks/dpo.html", 2  # a chapter, and the place of a cell of it that prints
LONGEST = 400_000  # milliseconds for a chapter, on a busy machine
# What the cells of a page hold and show.
SHOWN = """() => [...document.querySelectorAll("article div.cell:has(> .live-cell)")].map((cell) => {
  const shown = (what) => [...cell.querySelectorAll(`:scope > .cell_output ${what}`)];
  return { code: cell.querySelector(".cell_input pre").textContent.trim(),
           printed: shown(".stream pre").map((box) => box.textContent).join(""),
           html: shown(".text_html").map((box) => box.innerHTML.trim()),
           figures: shown("img").length };
})"""
PARSED = "(text) => Object.assign(document.createElement('div'), { innerHTML: text }).innerHTML.trim()"


class Chapter:
    """A chapter that runs, with the hands and the eyes of a reader."""

    def __init__(self, page):
        self.page, self.head = page, page.locator(".live-page")
        self.note = self.head.locator(".live-note")
        self.cells = page.locator("article div.cell:has(> .live-cell)")

    def press(self, name):
        self.head.get_by_role("button", name=name, exact=True).click()

    def run(self, place):
        """Run a cell, as far as it goes, and return what is told of that and what it shows."""
        self.cells.nth(place).locator(".live-run").click()
        self.rest()
        return self.told(place)

    def told(self, place):
        return self.cells.nth(place).locator("> .cell_output").inner_text().strip()

    def write(self, place, code):
        self.cells.nth(place).locator("> .live-cell").scroll_into_view_if_needed()
        self.cells.nth(place).locator(".cm-content").fill(code)

    def rest(self, timeout=LOADED):
        """Wait until something has run and nothing runs."""
        at_rest = "document.querySelector('.live-output') && !document.querySelector('.live-now')"
        self.page.wait_for_function(at_rest, timeout=timeout)


def stored(chapter):
    """Return the cells of a chapter's notebook but for starters of exercises, as nbval takes them."""
    notebook = nbformat.read(ROOT / chapter.replace(".html", ".ipynb"), as_version=4)
    return [c for c in notebook.cells if c.cell_type == "code" and "nbval-skip" not in c.metadata.get("tags", [])]


def seen(cell, page):
    """Return what a stored cell shows, as a page has it."""
    data = [output.data for output in cell.outputs if output.output_type != "stream"]
    return {
        "code": cell.source.strip(),
        "printed": "".join(output.text for output in cell.outputs if output.output_type == "stream"),
        "html": [page.evaluate(PARSED, shown["text/html"]) for shown in data if "text/html" in shown],
        "figures": sum("image/png" in shown for shown in data),
    }


def test_a_chapter_that_runs_on_its_page_shows_what_its_notebook_keeps(lived):
    """As nbval compares: all that is printed, to the letter, and that there are as many figures, not how they look."""
    chapter, kept = Chapter(lived.page), stored(lived.name)
    chapter.press("Run this page")
    chapter.rest(LONGEST)
    shown = lived.page.evaluate(SHOWN)
    assert [cell["code"] for cell in shown] == [cell.source.strip() for cell in kept]
    compared = [k for k, cell in enumerate(kept) if "nbval-ignore-output" not in cell.metadata.get("tags", [])]
    wanted = {k: seen(kept[k], lived.page) for k in compared}
    assert [(k, shown[k], wanted[k]) for k in compared if shown[k] != wanted[k]] == []
    assert chapter.note.inner_text() == f"Ran {len(kept)} pieces of code. All can be edited."
    assert lived.outside == lived.complaints == []


@pytest.fixture(scope="module")
def loaded(popup, site):
    """A chapter on which Python runs, for the tests of this file."""
    made = Visit(None, site, DPO, popup())
    yield made
    made.page.close()


SAID = "the reference misses the optimum by 1.48"


@pytest.fixture
def chapter(loaded):
    """The chapter as it was, whose first cells ran once."""
    found = Chapter(loaded.page)
    if not found.page.locator(".live-output").count():
        found.run(PLAIN)
    found.press("Reset")
    return found


def test_a_cell_runs_behind_those_that_it_needs(chapter):
    assert chapter.run(PLAIN) == SAID
    assert chapter.page.locator(".live-output").count() == PLAIN + 1
    chapter.write(PLAIN, "print(len(texts))\nlen(texts) + 1")
    assert chapter.run(PLAIN) == "12\n13"


def test_a_cell_that_was_edited_runs_again_before_the_next(chapter):
    chapter.write(PLAIN + 1, "left_over")
    assert "NameError" in chapter.run(PLAIN + 1)
    chapter.write(PLAIN, "left_over = 5")
    assert chapter.run(PLAIN + 1) == "5"


def test_an_error_is_told_in_its_cell_and_ends_the_run(chapter):
    chapter.write(PLAIN, "x = 1\nx.y")
    chapter.run(PLAIN + 1)
    assert chapter.told(PLAIN) == "Line 2 raises AttributeError: 'int' object has no attribute 'y'"
    assert chapter.cells.nth(PLAIN + 1).locator(".live-output").count() == 0
    chapter.press("Run this page")
    chapter.rest()
    assert chapter.note.inner_text() == f"It stopped at code {PLAIN + 1}, with what is told there."


def test_a_reset_page_is_what_it_was_and_knows_no_names(chapter):
    before = chapter.page.evaluate(SHOWN)
    chapter.write(PLAIN, "left_over = 1")
    chapter.run(PLAIN)
    assert chapter.page.evaluate(SHOWN) != before
    chapter.press("Reset")
    assert chapter.note.inner_text() == "The page is as it was."
    assert chapter.page.evaluate(SHOWN) == before
    assert chapter.page.locator(".live-output").count() == 0
    chapter.write(PLAIN, "left_over")
    assert "NameError: name 'left_over'" in chapter.run(PLAIN)


def test_cells_and_answers_know_nothing_of_each_other(chapter):
    chapter.write(PLAIN, "left_over = 1")
    chapter.run(PLAIN)
    exercise = Answering(chapter.page)
    assert "NameError: name 'left_over'" in exercise.answer("left_over")
    exercise.answer("left_here = 1")
    chapter.write(PLAIN, "left_over + left_here")
    assert "NameError: name 'left_here'" in chapter.run(PLAIN)
    exercise.press("Reset")


def test_an_endless_loop_is_stopped_and_meanwhile_nothing_else_runs(chapter):
    chapter.write(PLAIN, "print('so far')\nwhile True:\n    pass")
    cell = chapter.cells.nth(PLAIN)
    cell.locator(".live-run").click()
    cell.locator("> .cell_output pre", has_text="so far").wait_for(timeout=LOADED)
    exercise = Answering(chapter.page)
    exercise.press("Run")
    assert exercise.note.inner_text() == "Python is busy elsewhere on this page."
    for name in ("Run this page", "Reset"):
        chapter.press(name)
        assert chapter.note.inner_text() == "Python is busy elsewhere on this page."
    cell.get_by_role("button", name="Stop").click()
    assert cell.locator(".live-note").inner_text() == "Stopped. Python starts anew."
    chapter.write(PLAIN, "len(log_all)")
    assert int(chapter.run(PLAIN)) > 1000


def test_a_figure_takes_the_place_of_that_which_stood_there(chapter):
    place = next(k for k, cell in enumerate(chapter.page.evaluate(SHOWN)) if cell["figures"])
    figure = chapter.cells.nth(place).locator("figure")
    name, caption, picture = figure.get_attribute("id"), figure.inner_text(), figure.locator("img")
    told = picture.get_attribute("alt")
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    chapter.page.evaluate("window.seen = document.documentElement.scrollHeight")
    chapter.cells.nth(place).locator("summary").click()
    chapter.write(place, code)
    chapter.run(place)
    assert (figure.get_attribute("id"), figure.inner_text()) == (name, caption)
    assert picture.get_attribute("src").startswith("data:image/png;base64,")
    assert picture.get_attribute("alt") == "What this code draws"
    chapter.press("Reset")
    assert picture.get_attribute("src").startswith("../_images/")
    assert picture.get_attribute("alt") == told


def test_a_cell_is_run_with_the_keyboard(chapter):
    chapter.write(PLAIN, "3 * 4")
    chapter.page.keyboard.press("Control+Enter")
    chapter.rest()
    assert chapter.told(PLAIN) == "12"


def test_paper_has_what_ran_and_no_editor(chapter):
    chapter.write(PLAIN, "6 * 7")
    chapter.run(PLAIN)
    chapter.page.emulate_media(media="print")
    cell = chapter.cells.nth(PLAIN)
    assert cell.locator(".cell_input pre").inner_text().strip() == "6 * 7"
    assert chapter.told(PLAIN) == "42"
    assert not cell.locator(".cm-editor").is_visible()
    assert chapter.page.locator(".live-run:visible").count() == 0
    chapter.page.emulate_media(media="screen")


@pytest.mark.parametrize("view", ["desk", "dark", "phone"])
def test_a_page_that_ran_is_for_everybody(popup, site, view):
    visited = Visit(None, site, DPO, popup())
    chapter = Chapter(visited.page)
    visited.look(view)
    chapter.run(PLAIN)
    page = visited.page
    page.evaluate("scrollTo(0, 0)")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    assert visited.outside == visited.complaints == []
    assert serious(page) == []
    page.close()


def test_the_pages_of_the_package_have_nothing_to_run(visit):
    assert visit("book/glossary.html").page.locator(".live-run").count() == 0


def test_without_scripts_there_is_nothing_to_press(visit):
    assert visit(DPO, java_script_enabled=False).page.locator(".live-run").count() == 0


def test_a_book_without_python_says_how_to_run_a_page(visit):
    page = visit(DPO).page
    page.route("**/live/settings.js", lambda route: route.fulfill(body="window.LIVE = { pyodide: '' };"))
    chapter = Chapter(page)
    chapter.press("Run this page")
    chapter.note.get_by_text("This copy of the book has no Python in it").wait_for()
    assert "make lab" in chapter.note.inner_text()
    assert page.locator(".cm-editor").count() == 0


def test_what_is_missing_for_figures_is_told(visit):
    page = visit(DPO).page
    page.route("**/matplotlib*", lambda route: route.fulfill(status=404, body="no"))
    chapter = Chapter(page)
    chapter.press("Run this page")
    chapter.note.get_by_text("Python could not go on").wait_for(timeout=LOADED)
    assert "No module named 'matplotlib'" in chapter.note.inner_text()
    assert "make lab" in chapter.note.inner_text()

"""Cards on hover, on focus and on touch, in Chromium, from the file system."""

import pytest
from browsing import HTML

CHAPTER = (HTML / "notebooks/dpo.html").as_uri()


@pytest.fixture(scope="module")
def page(opened):
    return opened(CHAPTER)


LINKS = {
    "term": ("a.term:text-is('Gibbs policy')", "Gibbs policy"),
    "equation": ("a.internal[href*='#equation-eq-gibbs']", "("),
    "figure": ("a.internal[href*='#fig-']", "Fig."),
    "section": ("a.internal[href*='#sec-']", ""),
    "theorem": ("a.internal[href*='#thm-']", "Theorem"),
}


@pytest.mark.parametrize(("link", "start"), LINKS.values(), ids=list(LINKS))
def test_a_link_shows_what_it_leads_to_and_the_card_goes_again(page, link, start):
    page.locator(f"article {link}:visible").first.hover()
    card = page.locator("#card")
    card.wait_for()
    page.wait_for_timeout(500)
    assert card.inner_text().startswith(start)
    assert card.locator("a").count() == 0
    box = card.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page.viewport_size["width"]
    page.keyboard.press("Escape")
    assert card.is_hidden()
    page.mouse.move(1, 1)


def test_formulas_in_a_card_are_typeset(page):
    page.locator("article a.internal[href*='#equation-eq-gibbs']:visible").first.hover()
    page.locator("#card mjx-container").first.wait_for()
    page.keyboard.press("Escape")


def test_a_figure_in_a_card_is_there(page):
    page.locator("article a.internal[href*='#fig-']:visible").first.hover()
    page.locator("#card img").first.wait_for()
    page.wait_for_function("document.querySelector('#card img').naturalWidth > 0")
    page.keyboard.press("Escape")


def test_the_keyboard_shows_a_card_and_the_link_is_described_by_it(page):
    term = page.locator("article a.term").nth(1)
    term.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    page.locator("#card").wait_for()
    assert term.get_attribute("aria-describedby") == "card"
    page.keyboard.press("Tab")
    assert term.get_attribute("aria-describedby") is None


def test_a_touch_on_a_term_shows_its_card_and_stays_on_the_page(browser):
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(CHAPTER)
    page.locator("article a.term").first.tap()
    page.locator("#card").wait_for()
    assert page.url == CHAPTER
    page.locator("article h1").tap()
    assert page.locator("#card").is_hidden()
    context.close()

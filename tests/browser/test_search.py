"""What a reader finds first: the search of the built book, in Chromium, from the file system.

Run with `pytest tests/browser` after `make book`, where playwright and Chromium are installed.
"""

import re
import shutil
from pathlib import Path
from urllib.parse import quote_plus

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
SITE = Path(__file__).parents[2] / "_build/html"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.skipif(not (SITE / "sections.js").exists(), reason="the book is not built: make book"),
]


@pytest.fixture(scope="module")
def page():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        outside = []
        page.on("request", lambda request: outside.append(request.url) if request.url[:5] != "file:" else None)
        page.on("pageerror", lambda error: outside.append(str(error)))
        page.goto(f"{(SITE / 'search.html').as_uri()}?q=first")
        yield page
        assert outside == []
        browser.close()


def results(page, query):
    """Return (title, where it is, snippet, address) of all results that are shown."""
    page.locator("#search-results").wait_for()
    page.locator("article form.bd-search input, .bd-search-container form.bd-search input").first.fill(query)
    entries = "els => els.map(e => ['a', 'span', 'p'].map(s => e.querySelector(s)?.textContent ?? '').concat(e.querySelector('a').getAttribute('href')))"
    return page.eval_on_selector_all("#search-results li", entries)



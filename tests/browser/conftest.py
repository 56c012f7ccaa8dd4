"""A browser and the built book, for tests that look at pages as a reader does."""

import pytest
from browsing import CHAPTERS, DESK, HTML, OPTIONS, PAGES, SHARE, SHARED, Visit, chromium, served

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # for workers, too


def pytest_configure(config):
    if not (HTML / "llms.txt").exists():
        raise pytest.UsageError("these tests look at the built book: make book")
    try:
        chromium()
    except SystemExit as missing:
        raise pytest.UsageError(missing) from None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Let one process do all tests that share a page: it is loaded once then."""
    for item in items:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        page = given.get("visited") or given.get("lived")
        scopes = {made[-1].scope for made in item._fixtureinfo.name2fixturedefs.values()}
        if page or "module" in scopes:
            item.add_marker(pytest.mark.xdist_group(page or item.module.__name__))


@pytest.fixture(scope="session")
def site():
    """The address of the book on this machine."""
    with served() as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=[*OPTIONS, OFFLINE])
        yield running
        running.close()


@pytest.fixture
def visit(browser, site):
    """A function that loads a page for one test alone."""
    made = []

    def load(name, **context):
        made.append(Visit(browser, site, name, **context))
        return made[-1]

    yield load
    for each in made:
        each.context.close()


@pytest.fixture(scope="session", params=PAGES)
def visited(request, browser, site):
    """Each page of the site in turn, loaded once for all tests."""
    made = Visit(browser, site, request.param)
    yield made
    made.context.close()


@pytest.fixture(scope="session")
def popup(browser, site):
    """A function that opens an empty page on which Python is loaded already, but for the first of them."""
    context = browser.new_context(viewport=DESK)
    context.add_init_script(SHARED)
    opener = context.new_page()
    opener.goto(site + "404.html")
    opener.evaluate(SHARE)

    def load():
        opener.evaluate("localStorage.clear()")
        with opener.expect_popup() as made:
            opener.evaluate("() => { open('about:blank'); }")
        return made.value

    yield load
    context.close()


@pytest.fixture(scope="session", params=CHAPTERS)
def lived(request, popup, site):
    """Each chapter in turn, with Python."""
    made = Visit(None, site, request.param, popup())
    yield made
    made.page.close()


@pytest.fixture(scope="module")
def opened(browser):
    """A function that opens a page from the file system; nothing goes wrong until all tests of a file are done."""
    wrong = []

    def load(address):
        page = browser.new_page()
        page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith("file:") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        return page

    yield load
    assert wrong == []

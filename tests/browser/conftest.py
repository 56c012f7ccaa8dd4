"""A browser and the built book, for tests that look at pages as a reader does."""

import functools
import http.server
import threading

import pytest
from browsing import CHROMIUM, HTML, NAMES, PAGES, Visit


def pytest_configure(config):
    if CHROMIUM is None:
        raise pytest.UsageError(f"these tests need Chromium, and none of {', '.join(NAMES)} is installed")
    if not (HTML / "llms.txt").exists():
        raise pytest.UsageError("these tests look at the built book: make book")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site():
    """The address of the book on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=HTML)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
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

"""The built book and how a browser sees it: for `tests/browser`."""

import gzip
import sys
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "book"))

from pdf import HTML, OPTIONS, chromium, print_book, served  # noqa: E402, F401

# What a page measures of itself while it loads.
MEASURE = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const moved of list.getEntries()) if (!moved.hadRecentInput) window.shift += moved.value;
}).observe({ type: "layout-shift", buffered: true });
"""
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# Formulas and code are plain text to axe, which takes half a minute for their thousands of elements otherwise.
ASK = """async (rules) => {
  for (const formula of document.querySelectorAll("mjx-container"))
    formula.replaceWith(formula.textContent.slice(0, 9)); // a long text would be wider than its box
  for (const code of document.querySelectorAll("pre, .sig")) code.textContent = code.textContent;
  const answer = await axe.run({ resultTypes: ["violations"], ...(rules && { runOnly: rules }) });
  return answer.violations.filter((found) => ["serious", "critical"].includes(found.impact)).map((found) =>
    ({ rule: found.id, places: found.nodes.map((node) => [node.html.slice(0, 160), node.failureSummary]) }));
}"""
AT_ONCE = "* { transition: none !important; }"
DESK = {"width": 1280, "height": 900}
VIEWS = {"desk": (1280, "light"), "dark": (1280, "dark"), "phone": (390, "light")}


# One Python for many pages: a page that `open` of this one made has a worker that is loaded already.
SHARE = """() => {
  let real, began, hear;
  window.python = () => ({
    set onmessage(heard) { hear = heard; },
    postMessage(message) {
      if (!real) {
        real = new Worker("/_static/live_worker.js");
        real.onmessage = (event) => hear(event);
        began = false;
      }
      if (message.pyodide && began) setTimeout(() => hear({ data: { ready: true } }));
      else real.postMessage(message);
      began = true;
    },
    terminate() {
      real.terminate();
      real = undefined;
    },
  });
}"""
SHARED = "if (window.opener?.python) window.Worker = function () { return opener.python(); };"


LISTINGS = ("_modules/", "book/tests/")  # pages of code, all made in one way: the longest stands for the others


def _pages():
    found = [page for page in HTML.rglob("*.html") if "_static" not in page.parts]
    names = {page.relative_to(HTML).as_posix(): page.stat().st_size for page in found}
    longest = {max((name for name in names if name.startswith(kind)), key=names.get, default="") for kind in LISTINGS}
    return sorted(
        name for name in names if name in longest or not name.startswith((*LISTINGS, "index.html", "search.html"))
    )


PAGES = _pages()
LABEL = "ex-dpo-step"
LOADED = 120_000  # milliseconds: a busy machine may take long to load Python, and a test waits no longer
CHAPTERS = [name for name in PAGES if name.startswith("notebooks/")]


class Visit:
    """One page that was loaded once: what it asked for, what it complained of, and the page itself, in any view.

    It is a page of its own, or a given one that is empty yet.
    """

    def __init__(self, browser, site, name, page=None, **context):
        self.name, self.outside, self.complaints, self.answers = name, [], [], []
        self.page = page or browser.new_context(viewport=DESK, **context).new_page()
        self.context = self.page.context
        self.page.add_init_script(MEASURE)
        self.page.on(
            "request",
            lambda request: (
                None if request.url.startswith((site, "data:", "blob:")) else self.outside.append(request.url)
            ),
        )
        self.page.on(
            "console",
            lambda told: self.complaints.append(told.text) if told.type == "error" else None,
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda answer: self.answers.append(answer))
        self.page.goto(site + name, wait_until="load")
        if context.get("java_script_enabled", True):  # two frames later what moves has moved
            self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def weight(self):
        """Return the bytes of all that the page asks for, with text compressed, as hosts of pages send it."""
        self.page.wait_for_load_state("networkidle")
        bodies = [answer.body() for answer in self.answers]
        return sum(min(len(body), len(gzip.compress(body))) for body in bodies)

    def look(self, view):
        """Show the page at the width and in the theme of this view."""
        width, scheme = VIEWS[view]
        self.page.add_style_tag(content=AT_ONCE)
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)
        return self.page


def serious(page, rules=None):
    """Return what axe calls serious or critical on a page, by these rules or by all; the page is used up by it."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE)
    return page.evaluate(ASK, rules)


class Answering:
    """An exercise of a page, with the hands and the eyes of a reader."""

    def __init__(self, page, place=f"#{LABEL}"):
        self.page, self.box = page, page.locator(place)
        self.box.locator(".cell, .live").last.evaluate("(cell) => cell.scrollIntoView()")
        self.live = self.box.locator(".live")  # other cells of an exercise are editors, too
        self.editor = self.live.locator(".cm-content")
        self.editor.wait_for()
        self.said, self.note = self.live.locator(".live-said"), self.live.locator(".live-note")

    def press(self, name):
        self.live.get_by_role("button", name=name, exact=True).click()

    def told(self):
        """Wait until a run is over, and return what was said."""
        self.live.locator(".live-run:enabled").wait_for(timeout=LOADED)
        return self.said.inner_text()

    def answer(self, code):
        self.editor.fill(code)
        self.press("Run")
        return self.told()

"""Print the built book as one file: all pages in order, with an outline, page numbers and links, through Chromium."""

import functools
import http.server
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "book/_ext"))

import book_index  # noqa: E402

HTML = ROOT / "_build/html"
OPTIONS = ["--no-sandbox", "--disable-gpu"]
NAMES = ("chromium", "chromium-browser", "google-chrome")
FOOT = '<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span></div>'
# Gather the articles of all pages in the first, and let links between pages lead to where these are now.
GATHER = """async (pages) => {
  const place = (to) => to.pathname.slice(1) + (to.hash ? ":" + to.hash.slice(1) : "");
  const articles = [];
  for (const name of pages) {
    const here = new URL("/" + name, location.href);
    const page = new DOMParser().parseFromString(await (await fetch(here)).text(), "text/html");
    const article = page.querySelector("article");
    for (const named of article.querySelectorAll("[id]")) named.id = `${name}:${named.id}`;
    article.id = name;
    for (const link of article.querySelectorAll("a[href]")) {
      const to = new URL(link.getAttribute("href"), here);
      if (to.origin !== here.origin) continue;
      if (pages.includes(to.pathname.slice(1))) link.setAttribute("href", "#" + place(to));
      else link.removeAttribute("href");
    }
    for (const picture of article.querySelectorAll("img")) {
      picture.src = new URL(picture.getAttribute("src"), here).href;
    }
    for (const script of article.querySelectorAll("script")) script.remove();
    articles.push(document.adoptNode(article));
  }
  document.querySelector("#jb-print-docs-body").remove();
  document.querySelector("article").replaceWith(...articles);
  const style = document.createElement("style");
  style.textContent =
    ".bd-main .bd-content .bd-article h1:first-of-type { display: block; } article + article { break-before: page; }";
  document.head.append(style);
  document.title = "RLHF Lab";
  await Promise.all([...document.images].map((picture) => picture.decode()));
}"""


def chromium() -> str:
    """Return the path of Chromium, or end with a sentence that says that there is none."""
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    sys.exit(f"This needs Chromium, and none of {', '.join(NAMES)} is installed.")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path = HTML) -> Iterator[str]:
    """Serve a folder on this machine alone, and yield its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def print_book(browser: "Browser", address: str, pages: list[str], out: Path) -> None:
    """Print these pages of the book, which is served at an address, into one file."""
    page = browser.new_page()
    page.set_default_timeout(0)  # hundreds of pages take minutes on a slow machine
    page.goto(address + pages[0])
    page.evaluate(GATHER, pages)
    page.pdf(
        path=out,
        format="A4",
        margin={"top": "18mm", "bottom": "18mm", "left": "14mm", "right": "14mm"},
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOT,
        outline=True,
        tagged=True,
    )
    page.close()


def main() -> None:
    """Print the whole book, and say where it is."""
    from playwright.sync_api import sync_playwright

    out = ROOT / "_build/rlhf-lab.pdf"
    pages = [path.relative_to(ROOT).with_suffix(".html").as_posix() for path in book_index.pages(ROOT)]
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        print_book(browser, address, pages, out)
        browser.close()
    print(f"Printed to {os.path.relpath(out)}")


if __name__ == "__main__":
    main()

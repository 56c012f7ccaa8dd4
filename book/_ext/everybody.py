"""What a page owes to those who cannot see it, to the slow, to machines that list it, and to those who are lost.

The address of the site is `html: baseurl:` in `_config.yml`. What needs it is left out while it is empty.
"""

import html
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

WHAT = "A book about learning from human feedback in which everything has an answer key."
PICTURE = "_static/readme.png"
IMAGE = re.compile(r'<img ([^>]*?)src="([^"]+\.png)"([^>]*)>')
LIGHT = re.compile(r'(src="(?:[^"]*/)?_images/[^"]+)\.png"')
PARAMETERS = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*?</dd>\n)+)</dl>', re.DOTALL)
LOST = """<h1>This page does not exist</h1>
<p>It may have moved. The search and the list of chapters show what is there.
<a href="{start}">To the start</a></p>
"""


def describe(doctree: nodes.document | None) -> str:
    """Return the beginning of a page in at most 200 characters: of its first paragraph that has no formula."""
    for paragraph in doctree.findall(nodes.paragraph) if doctree else []:
        if isinstance(paragraph.parent, nodes.section) and not any(paragraph.findall(nodes.math)):
            text = " ".join(paragraph.astext().split())
            return text if len(text) <= 200 else text[:199].rpartition(" ")[0] + " …"
    return WHAT


def tags(app: Sphinx, page: str, title: str, description: str) -> str:
    """Return the tags in the head of a page that say what it is."""
    address = app.config.html_baseurl
    told = {"og:type": "article", "og:site_name": app.config.project, "og:title": title, "og:description": description}
    if address:
        told |= {"og:url": urljoin(address, f"{page}.html"), "og:image": urljoin(address, PICTURE)}
    lines = [f'<meta name="description" content="{html.escape(description)}">']
    lines += [f'<meta property="{name}" content="{html.escape(text)}">' for name, text in told.items()]
    return "\n".join(lines) + "\n"


def _sized(body: str, images: dict[str, Path]) -> str:
    """Give each picture its size, so that nothing moves when it comes."""

    def tell(found: re.Match) -> str:
        picture = images.get(found[2].rpartition("/")[2])
        if picture is None:
            return found[0]
        width, height = Image.open(picture).size
        size = "" if "width=" in found[0] else f' width="{width}" height="{height}" decoding="async"'
        return f'<img {found[1]}src="{found[2]}"{found[3].rstrip("/ ")}{size}>'

    return IMAGE.sub(tell, body)


def light(body: str) -> str:
    """Name pictures as `lighten` will."""
    return LIGHT.sub(r'\1.webp"', body)


def _plain_parameters(found: re.Match) -> str:
    """Write the parameters of a long signature as what they are: lines, and no list of definitions without terms."""
    lines = found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'<span class="sig-lines">\n{lines}</span>'


def page(app: Sphinx, name: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Mend what the theme and Sphinx write, and say in the head what the page is."""
    description = describe(doctree)
    title = html.unescape(re.sub(r"<.*?>", "", context.get("title") or app.config.project))
    context["metatags"] = context.get("metatags", "") + tags(app, name, title, description)
    if name == "404" and app.config.html_baseurl:  # it is shown at any address
        context["metatags"] += f'<base href="{urlsplit(app.config.html_baseurl).path or "/"}">\n'
    app.everybody[name] = (title, description)
    images = {copy: Path(app.srcdir, source) for source, copy in app.builder.images.items()}
    if body := context.get("body"):
        body = PARAMETERS.sub(_plain_parameters, light(_sized(body, images)))
        context["body"] = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    listed = context["generate_toctree_html"]

    def sidebar(*args, **options) -> str:
        return str(listed(*args, **options)).replace("<summary>", '<summary aria-label="Pages of this chapter">')

    context["generate_toctree_html"] = sidebar


def share_contents(app: Sphinx, name: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Let pages of code in one folder share their table of contents: to make one takes longer than all else."""
    made, here = context["toctree"], name if name in app.env.found_docs else name.rpartition("/")[0]

    def contents(**options) -> str:
        key = here, tuple(sorted(options.items()))
        if key not in app.contents:
            app.contents[key] = made(**options)
        return app.contents[key]

    context["toctree"] = contents


def fold(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Make boxes with the class dropdown open and close without a script, wherever their bar is tapped."""
    for box in [node for node in doctree.findall(nodes.Element) if "dropdown" in node.get("classes", [])]:
        title, *inside = box.children
        for link in list(title.findall(nodes.reference)):
            link.replace_self(link.children)
        raw = [nodes.raw("", text, format="html") for text in ("<details><summary>", "</summary>", "</details>")]
        box.children = []
        box.extend([raw[0], title, raw[1], *inside, raw[2]])


def lost(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    """Yield the page for an address that does not exist."""
    start = app.builder.get_target_uri(app.config.root_doc)
    yield "404", {"title": "This page does not exist", "body": LOST.format(start=start)}, "page.html"


def _lighter(picture: Path) -> None:
    Image.open(picture).save(picture.with_suffix(".webp"), lossless=True, method=1, quality=20)
    picture.unlink()


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Write the pictures as WebP without loss, less than half of what they weigh as PNG."""
    if error is None and app.builder.name == "html":
        with ThreadPoolExecutor() as threads:
            list(threads.map(_lighter, Path(app.outdir, "_images").glob("*.png")))


def _in_order(app: Sphinx, page: str) -> Iterator[str]:
    yield page
    for below in app.env.toctree_includes.get(page, []):
        yield from _in_order(app, below)


def lists(app: Sphinx, error: Exception | None) -> None:
    """Write what machines read: `llms.txt`, and with an address `sitemap.xml`."""
    if error or app.builder.name != "html":
        return
    address = app.config.html_baseurl
    pages = [(page, *app.everybody[page]) for page in _in_order(app, app.config.root_doc)]
    lines = [f"- [{title}]({urljoin(address, f'_sources/{page}.md')}): {told}" for page, title, told in pages]
    text = f"# {app.config.project}\n\n> {WHAT}\n\n## Pages\n\n" + "\n".join(lines) + "\n"
    (Path(app.outdir) / "llms.txt").write_text(text, encoding="utf-8")
    if address:
        urls = "\n".join(f"<url><loc>{urljoin(address, f'{page}.html')}</loc></url>" for page in app.everybody)
        (Path(app.outdir) / "sitemap.xml").write_text(
            '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
            f"{urls}\n</urlset>\n",
            encoding="utf-8",
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything."""
    app.everybody, app.contents = {}, {}
    app.connect("doctree-resolved", fold, priority=950)
    app.connect("html-page-context", share_contents, priority=100)
    app.connect("html-page-context", page, priority=950)
    app.connect("html-collect-pages", lost)
    app.connect("build-finished", lighten)
    app.connect("build-finished", lists)
    return {"parallel_read_safe": True, "parallel_write_safe": False}

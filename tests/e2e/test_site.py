"""The documentation as a site: built as `make docs` builds it, then read page by page."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urldefrag, urljoin

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
IMAGES = [*(ROOT / "docs" / "images").iterdir()]
LARGEST = 300 * 1024  # Bytes.
# What a browser loads or goes to.
SOURCES = {"a": "href", "link": "href", "img": "src", "script": "src"}

pytestmark = pytest.mark.skipif(
    find_spec("mkdocs") is None, reason="the dependency group `docs` is not installed"
)


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.references: list[str] = []
        self.loaded: list[str] = []
        self.undescribed: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors.update(filter(None, (attributes.get("id"), attributes.get("name"))))
        if reference := attributes.get(SOURCES.get(tag, "")):
            self.references.append(reference)
            if tag != "a" and attributes.get("rel") != "canonical":
                self.loaded.append(reference)
        if tag == "img" and not attributes.get("alt"):
            self.undescribed.append(attributes["src"])


class Site(NamedTuple):
    """What a browser finds that begins at the home page and follows every link."""

    files: Path
    pages: dict[str, Page]
    broken: list[str]


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Keep the tests' output short."""


def make_docs(directory, *sources):
    """Build the site of these sources, by default of the project's."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", directory, *sources],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    files = tmp_path_factory.mktemp("site")
    built = make_docs(files)
    assert built.returncode == 0, built.stderr
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=files)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield crawled(files, "http://{}:{}/".format(*server.server_address))
        server.shutdown()


def crawled(files, home):
    """Follow every link that stays on the site; fetch everything that the pages show."""
    site = Site(files, {}, [])
    waiting, fetched = [(home, home)], set()
    while waiting:
        source, url = waiting.pop()
        if url in fetched:
            continue
        fetched.add(url)
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                content, kind = reply.read(), reply.headers.get_content_type()
        except urllib.error.HTTPError as error:
            site.broken.append(f"{source}: {url} ({error.code})")
            continue
        if kind == "text/html":
            site.pages[url] = page = Page(content.decode())
            targets = (urldefrag(urljoin(url, each)).url for each in page.references)
            waiting.extend((url, target) for target in targets if target.startswith(home))
    return site


def test_links(site):
    """Every internal link, image, stylesheet and script of every page is there."""
    assert site.broken == []


def test_anchors(site):
    """Every internal link to a part of a page leads to that part."""
    broken = []
    for url, page in site.pages.items():
        for reference in page.references:
            target, anchor = urldefrag(urljoin(url, reference))
            known = site.pages[target].anchors if target in site.pages else {unquote(anchor)}
            if anchor and unquote(anchor) not in known:
                broken.append(f"{url}: {reference}")

    assert broken == []


def test_every_page_can_be_reached(site):
    """From the home page links lead to every document, and to each built page."""
    documents = [*(ROOT / "docs").rglob("*.md")]
    built = [page for page in site.files.rglob("*.html") if page.name != "404.html"]

    assert len(site.pages) == len(built) == len(documents) > 10


def test_images_are_described(site):
    """Every image has a text for those who cannot see it."""
    undescribed = {url: page.undescribed for url, page in site.pages.items() if page.undescribed}

    assert undescribed == {}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_image_is_small(image):
    """A page loads quickly: no image is larger than 300 KiB."""
    assert image.stat().st_size < LARGEST


def test_nothing_comes_from_elsewhere(site):
    """A page shows nothing that another server would have to send."""
    remote = [
        reference
        for page in site.pages.values()
        for reference in page.loaded
        if reference.startswith(("http:", "https:", "//"))
    ]

    assert remote == []


@pytest.mark.parametrize(
    "text",
    ["[a page](nowhere.md)", "[a part](#nowhere)", "![a picture](images/nowhere.png)"],
    ids=["page", "anchor", "image"],
)
def test_broken_link_fails_the_build(tmp_path, text):
    """To build a page with a broken link or image fails, and the message names it."""
    configuration = tmp_path / "mkdocs.yml"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Home\n\n{text}\n", encoding="utf-8")
    configuration.write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\nnav: [index.md]\nextra_css: []\n", encoding="utf-8"
    )
    built = make_docs(tmp_path / "site", "--config-file", configuration)

    assert built.returncode == 1
    assert "nowhere" in built.stderr


def test_make_docs_is_strict():
    """`make docs` builds the site as these tests do, so that each warning counts."""
    # Without the lines that make adds where another make has started the tests.
    command = ["make", "--no-print-directory", "--dry-run", "docs"]
    recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert recipe.splitlines()[-1].endswith("/mkdocs build --strict")

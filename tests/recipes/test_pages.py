"""Every recipe is run by a test, with everything that it has the reader install."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from recipe import PAGES, SHELL, not_installed, sections

TESTS = "".join(test.read_text(encoding="utf-8") for test in Path(__file__).parent.glob("*.py"))
NAMES = sorted(page.stem for page in PAGES.glob("*.md"))


@pytest.mark.parametrize("page", NAMES)
def test_every_recipe_is_run(page):
    """There is a test for each section of a page that has something to run."""
    runnable = [
        heading
        for heading, blocks in sections(page).items()
        if any(name or language == SHELL for language, name, _ in blocks)
    ]

    assert [heading for heading in runnable if f'"{heading}"' not in TESTS] == []


@pytest.mark.parametrize("page", NAMES)
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Beanie is not released for Python 3.14")
def test_everything_is_installed(page):
    """What a page has the reader install is what its tests run with."""
    assert not_installed((PAGES / f"{page}.md").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", NAMES)
def test_every_block_has_a_use(page):
    """A block is a file, which has a name, or it is typed into a shell, or it shows an output."""
    blocks = [block for section in sections(page).values() for block in section]

    assert [text for kind, name, text in blocks if not name and kind not in {SHELL, "text"}] == []


def test_names_in_queries():
    """Queries in the pages ask for attributes and spans that exist."""
    queries = (PAGES / "collector.md").read_text(encoding="utf-8")
    documented = (PAGES.parent / "telemetry.md").read_text(encoding="utf-8")
    asked = re.findall(r'span\.([\w.]+)|name = "([^"]+)"|key: (\S+)', queries)

    assert len(asked) > 5
    assert [name for name in map("".join, asked) if f"`{name}`" not in documented] == []


def test_start(recipe):
    """The commands that all recipes begin with work, where somebody takes the telemetry."""
    start = recipe("index", "Before you start")
    start.leave_out("export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318\n")
    printed = start.run()

    assert "otel-mongo-apm" in printed

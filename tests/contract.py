"""What is written in the documents: their sections and their tables."""

from __future__ import annotations

import re


def section(text, heading):
    """The text below a heading, down to the next one that is not below it."""
    level, _, _ = heading.partition(" ")
    _, _, below = f"\n{text}".partition(f"\n{heading}\n")
    assert below, f"There is no {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def tables(text, *header):
    """The rows of all tables whose first columns are these."""
    rows = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *body = (
            [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()
        )
        if head[: len(header)] == list(header):
            rows += body
    return rows


def plain(cell):
    return cell.strip("`")

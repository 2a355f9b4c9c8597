"""The failover's traces as a picture, such as the one in the README."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import RenderableType

WIDTH = 104  # Characters.


def save_picture(parts: Iterable[RenderableType], path: Path, title: str) -> None:
    """Write parts of the story into an SVG file."""
    console = Console(record=True, file=io.StringIO(), width=WIDTH, highlight=False)
    for part in parts:
        console.print(part)
    svg = console.export_svg(title=title)
    # The reader's own fonts will do; those that it asks for would come from elsewhere.
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")

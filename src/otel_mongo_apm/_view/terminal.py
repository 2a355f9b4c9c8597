"""The terminal or the pipe that drawings are written to."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

PIPED_WIDTH = 100


def wide_console(*, stderr: bool = False) -> Console:
    """Make a console; a pipe has no width of its own."""
    console = Console(highlight=False, stderr=stderr)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def heading(title: str, note: str = "") -> Text:
    """Begin a section."""
    return Text.assemble("\n", (title, "bold underline"), (f"  {note}" if note else "", "dim"))

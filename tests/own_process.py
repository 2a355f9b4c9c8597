"""Programs of Python's own process, for what cannot be undone in that of the tests."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def output_of(*arguments: str | Path, timeout: float = 60) -> str:
    """Run Python with some arguments; what it printed. It says nothing else, and ends well."""
    process = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout

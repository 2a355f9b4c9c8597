"""The recipes of `docs/recipes`, run as a reader would run them.

A recipe is a section of a page. A block with a title is a file; the lines of its shell blocks are
what the reader types.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_mongodb import HOST, free_port
from local_program import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_program import LocalProgram

PAGES = Path(__file__).parents[1] / "docs" / "recipes"
BLOCK = re.compile(r"^```(\w+)(?: title=\"(.+?)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.+)\n", re.MULTILINE)
SHELL = "bash"
PORT = "8000"  # Where the recipes serve.


class Recipe:
    """A section of a page, in a directory of its own.

    Args:
        page: The page's name, without its suffix.
        heading: The section's.
        directory: Where to put its files.
        environment: The variables that the reader has set already.
    """

    def __init__(
        self, page: str, heading: str, directory: Path, environment: dict[str, str]
    ) -> None:
        self.blocks = sections(page)[heading]
        self.directory = directory
        self.environment = environment
        self.options = ""  # More words at the end of the command that serves.
        self.port = free_port()
        for language, name, source in self.blocks:
            if name and language != SHELL:
                self.write(name, source)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{HOST}:{self.port}"

    def write(self, name: str, source: str) -> None:
        """Put a file into the directory."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.replace(PORT, str(self.port)), encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a file that the section has."""
        path = self.directory / name
        source = path.read_text(encoding="utf-8")
        assert old in source
        path.write_text(source.replace(old, new), encoding="utf-8")

    def leave_out(self, option: str) -> None:
        """Type the commands without an option."""
        assert any(option in source for _, _, source in self.blocks)
        self.blocks = [(*block, source.replace(option, "")) for *block, source in self.blocks]

    def script(self, number: int = 0) -> str:
        """What a shell block has the reader type; its last line takes the shell's place."""
        blocks = [source for language, _, source in self.blocks if language == SHELL]
        *lines, last = (
            blocks[number].replace("\\\n", " ").replace(PORT, str(self.port)).splitlines()
        )
        lines = [line for line in lines if not line.startswith("pip install")]
        return "\n".join([*lines, f"exec {last} {self.options}"])

    def command(self, number: int = 0) -> list[str]:
        return ["bash", "-euo", "pipefail", "-c", f"cd {self.directory}\n{self.script(number)}"]

    def run(self, number: int = 0, **variables: str) -> str:
        """Run a shell block to its end; what it printed."""
        ran = subprocess.run(
            self.command(number),
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout + ran.stderr

    def get(self, path: str) -> Any:
        """Ask what it serves."""
        with urllib.request.urlopen(self.url + path, timeout=10) as reply:
            return json.load(reply)

    def get_at_once(self, path: str, requests: int = 8) -> None:
        """Ask as often at the same time: of several workers an idle one would answer them all."""
        with ThreadPoolExecutor(requests) as threads:
            list(threads.map(self.get, [path] * requests))

    @contextlib.contextmanager
    def served(self, path: str, number: int = 0, **variables: str) -> Iterator[LocalProgram]:
        """Run a shell block that serves, until it answers; stop it with SIGTERM."""
        environment = {**self.environment, **variables}
        with serving(self.command(number), self.directory, environment) as program:
            if path:
                program.wait_for(self.url + path)
            yield program


def sections(page: str) -> dict[str, list[tuple[str, str, str]]]:
    """The blocks of each section, after those of the introduction: language, file name, text."""
    introduction, *parts = HEADING.split((PAGES / f"{page}.md").read_text(encoding="utf-8"))
    return {
        heading: BLOCK.findall(introduction) + BLOCK.findall(text)
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


def not_installed(source: str) -> list[str]:
    """What the reader installs with `pip install` and what is not installed here."""
    wanted = [
        re.split(r"[\[<>=]", word)[0]
        for line in re.findall(r"^pip install (.+)$", source.replace("\\\n", " "), re.MULTILINE)
        for word in shlex.split(line)
        if not word.startswith("-")
    ]
    return [name for name in wanted if not _is_installed(name)]


def environment(uri: str, endpoint: str, home: Path) -> dict[str, str]:
    """What a reader's shell has: this Python, a MongoDB, and somewhere to send telemetry."""
    return {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "MONGODB_URI": uri,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        # Short, for tests have no patience.
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

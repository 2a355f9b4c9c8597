"""The files in which an application's processes leave their telemetry for who runs it."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .exports import Exported, metrics, spans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The variable that says where they are.
DIRECTORY = "OTEL_MONGO_APM_RUN_DIRECTORY"
SPANS, METRICS = ".spans", ".metrics"
# In bytes, of one process: some 100,000 spans.
MAX_SIZE = 128 * 1024 * 1024
FULL = f"A process has made more than {MAX_SIZE // 1024 // 1024} MB of spans; the rest is left out."


class Records:
    """What this process leaves; the child of a fork begins files of its own.

    Adding does not raise, as it is called from the application's code: if the disk is full or the
    directory gone, telemetry is lost.

    Args:
        directory: Where the files are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process = 0

    def add(self, line: str) -> None:
        """Append a span, or anything else that is one line of JSON.

        Unbuffered, each line is appended by one system call. So threads do not mix up lines, and
        a process that is killed does not lose any.
        """
        with suppress(OSError):
            if self._process != os.getpid():
                self.begin()
            if self._room > 0:
                self._room -= self._file.write(f"{line}\n".encode())
                if self._room <= 0:
                    self._file.write(_note(FULL).encode())

    def note(self, text: str) -> None:
        """Leave a note for people."""
        self.add(_note(text))

    def replace_metrics(self, text: str) -> None:
        """Replace the last metrics, as they are cumulative."""
        path = self._directory / f"{os.getpid()}{METRICS}"
        with suppress(OSError):
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)

    def begin(self) -> None:
        """Leave what this process is.

        Raises:
            OSError: There is no directory for it.
        """
        self._process, self._room = os.getpid(), MAX_SIZE
        path = self._directory / f"{self._process}{SPANS}"
        self._file = path.open("ab", buffering=0)
        command = {"command": [os.path.basename(sys.orig_argv[0]), *sys.orig_argv[1:]]}  # noqa: PTH119
        self._file.write(f"{json.dumps(command)}\n".encode())


def _note(text: str) -> str:
    return json.dumps({"note": text})


@dataclass
class Process:
    """What one process has left.

    Args:
        command: Its command line.
        spans: In the order of their start.
        metrics: The last.
        notes: What it says for people.
    """

    command: str = ""
    spans: list[Exported] = field(default_factory=list)
    metrics: list[Exported] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def processes(directory: Path) -> list[Process]:
    """Read what all processes have left, in the order in which they began."""
    files = sorted(directory.glob(f"*{SPANS}"), key=lambda path: path.stat().st_ctime_ns)
    return [_process(path) for path in files]


def _process(path: Path) -> Process:
    found = list(_lines(path))
    command: list[str] = next((line["command"] for line in found if "command" in line), [])
    return Process(
        " ".join(command),
        spans(found),
        metrics(list(_lines(path.with_suffix(METRICS)))),
        [line["note"] for line in found if "note" in line],
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError):  # A process that was killed may have left half a line.
                yield json.loads(line)

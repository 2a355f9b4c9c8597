"""Programs that serve in the background, for tests and examples.

    with workspace("jaeger") as directory, serving([path], directory) as program:
        program.wait_for("http://127.0.0.1:16686/")

They die with this process, whatever ends it.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from local_mongodb import APART, Guard, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PATIENCE = 60.0  # Seconds; for a start on a busy machine.
GRACE = 10.0  # Seconds; to end takes less than one.
ANSWER = 10.0  # Seconds; for one reply.
LOG_TAIL = 20  # Lines.


class ProgramError(RuntimeError):
    """A program ended that was to serve."""


class LocalProgram:
    """A program that runs. What it writes is in a file.

    Args:
        command: Its path and arguments, as text or what becomes text.
        directory: Where its log is; deleted if this process dies.
        environment: Its whole environment; by default that of this process.
    """

    def __init__(
        self,
        command: Sequence[object],
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **APART,
            )
        self._guard = Guard(self._process.pid, directory)

    @property
    def pid(self) -> int:
        """The ID of its process."""
        return self._process.pid

    def wait_for(self, url: str) -> None:
        """Wait until it answers there.

        Raises:
            ProgramError: It has ended instead; the message has the end of its log.
            TimeoutError: It does neither.
        """

        def ready() -> bool:
            if (status := self._process.poll()) is not None:
                raise ProgramError(self._failure(status))
            return answers(url)

        eventually(ready, f"an answer of {url}", PATIENCE)

    def stop(self, grace: float) -> None:
        """Ask it to end; if it will not within so many seconds, kill it."""
        self._process.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._guard.dismiss()

    def _failure(self, status: int) -> str:
        tail = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
        return "\n".join([f"{self._process.args!r} ended with {status}; it said:", *tail])


def answers(url: str) -> bool:
    """Tell whether somebody answers there, and well."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER):  # noqa: S310 - A URL of our own.
            return True
    except OSError:  # A refusal, by the system or in HTTP.
        return False


@contextlib.contextmanager
def workspace(name: str) -> Iterator[Path]:
    """Make a directory, and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@contextlib.contextmanager
def serving(
    command: Sequence[object],
    directory: Path,
    environment: Mapping[str, str] | None = None,
    *,
    grace: float = GRACE,
) -> Iterator[LocalProgram]:
    """Run a program until the block ends; it has *grace* seconds to end by itself."""
    program = LocalProgram(command, directory, environment)
    try:
        yield program
    finally:
        program.stop(grace)

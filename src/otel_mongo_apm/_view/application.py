"""Runs an application as if nobody was in between, with its telemetry recorded."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .records import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    Process = subprocess.Popen[bytes]

# Python imports a module of this name as it starts, if it finds one.
STARTER = "sitecustomize.py"
STARTS = """\
try:
    from otel_mongo_apm._view.recording import start
except ImportError:  # Another environment's Python.
    pass
else:
    start()
"""
# A terminal sends these to all that run in its foreground, so to the application, too.
FROM_TERMINALS = {"SIGINT", "SIGQUIT", "SIGHUP"}
PASSED_ON = (*FROM_TERMINALS, "SIGTERM", "SIGUSR1", "SIGUSR2")
PATIENCE = 5.0  # Seconds, for each of the ways to ask for an end.


def environment(directory: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """Have every Python that is started record its telemetry.

    Args:
        directory: Where the records go; what makes Python record is written there.
        inherited: All else.
    """
    (directory / STARTER).write_text(STARTS, encoding="utf-8")
    path = filter(None, [str(directory), inherited.get("PYTHONPATH")])
    return {**inherited, "PYTHONPATH": os.pathsep.join(path), DIRECTORY: str(directory)}


def run(command: Sequence[str], environment: Mapping[str, str], seconds: float | None) -> int:
    """Run an application; return its exit status, or the negative number of the signal it died of.

    It has the terminal, the standard streams and the signals to itself. If its time was over and it
    ended by the signal that asked it to, that is a success.

    Args:
        command: The program and its arguments.
        environment: The whole of it.
        seconds: How long it may run before it is asked to end as by Ctrl-C; None for ever.

    Raises:
        OSError: It cannot be run.
    """
    with _passing_on() as started:
        process = subprocess.Popen(command, env=environment)  # noqa: S603  # It is the user's.
        started(process)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(seconds)
        return _end(process)


def _end(process: Process) -> int:
    for ask in (_interrupt, subprocess.Popen.terminate):
        ask(process)
        with suppress(subprocess.TimeoutExpired):
            return max(process.wait(PATIENCE), 0)
    process.kill()
    return process.wait()


def _interrupt(process: Process) -> None:
    if os.name == "nt":  # An interrupt would reach this process, too.
        process.terminate()
    else:
        process.send_signal(signal.SIGINT)


@contextmanager
def _passing_on() -> Iterator[Any]:
    """Pass signals on to the application, but for those that it gets anyway."""
    processes: list[Process] = []
    early: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if signal.Signals(number).name in FROM_TERMINALS and _is_in_foreground():
            return
        for process in processes:
            process.send_signal(number)
        if not processes:
            early.append(number)

    def started(process: Process) -> None:
        processes.append(process)
        while early:
            process.send_signal(early.pop())

    found = [getattr(signal, name) for name in PASSED_ON if hasattr(signal, name)]
    # What is ignored here, as under nohup, is ignored by the application as well.
    before = {each: signal.getsignal(each) for each in found}
    heard = [each for each in found if before[each] is not signal.SIG_IGN]
    for each in heard:
        signal.signal(each, pass_on)
    try:
        yield started
    finally:
        for each in heard:
            signal.signal(each, before[each])


def _is_in_foreground() -> bool:
    """Whether what is typed into a terminal, as Ctrl-C, reaches this process."""
    if os.name == "nt":
        return True
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False


def end_as(status: int) -> int:
    """End this process as the application has ended, or return the exit status to end with."""
    if status >= 0:
        return status
    if hasattr(signal, "SIGKILL"):
        import resource  # noqa: PLC0415  # Not on Windows.

        # One core dump is enough.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with suppress(OSError, ValueError):  # These two cannot be handled, so neither reset.
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return 128 - status

"""The command `otel-mongo-apm run`: runs an application and draws its telemetry at the end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .application import end_as, environment, run
from .records import processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import Process

DEFAULT_SLOWEST = 20

_DESCRIPTION = """\
Runs a Python application with an OpenTelemetry SDK and all installed instrumentation. When it
ends, or on Ctrl-C, draws its traces and metrics on the standard error. Needs no collector and sends
nothing elsewhere. The application's output, exit status and signals stay its own.
"""
_EPILOG = "Example: otel-mongo-apm run --slowest 5 -- uvicorn shop:app"
_MISSING = "otel-mongo-apm run needs {}. Run: pip install 'otel-mongo-apm[view]'\n"
_NOT_LOADED = (
    "No telemetry: no Python with otel-mongo-apm was started. Is it another environment's, or"
    " started with -I, -E or -S?"
)
_NO_SPANS = "No spans: the application has called no MongoDB server."
_INSTRUMENT = "Leave out opentelemetry-instrument: otel-mongo-apm run does the same.\n"
_USAGE_ERROR, _NOT_EXECUTABLE, _NOT_FOUND = 2, 126, 127


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "otel-mongo-apm run",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        usage="%(prog)s [options] [--] command ...",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        metavar="SECONDS",
        help="end the application after so many seconds, as Ctrl-C would",
    )
    parser.add_argument(
        "--slowest",
        type=_count,
        default=DEFAULT_SLOWEST,
        metavar="N",
        help="draw the N slowest traces only; 0 draws all (default: %(default)s)",
    )
    parser.add_argument(
        "--root",
        metavar="PATTERN",
        help="draw only traces whose first span has this name; * and ? match as in a shell",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < float("inf"):
            return seconds
    message = "a number of seconds is needed, more than 0"
    raise argparse.ArgumentTypeError(message)


def _count(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    message = "a number is needed, at least 0"
    raise argparse.ArgumentTypeError(message)


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status, which is the application's.

    Args:
        arguments: Those of the command line after `run`.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    command = options.command[options.command[:1] == ["--"] :]
    if not command:
        parser.error("a command is needed, such as: python app.py")
    if problem := _problem(command):
        sys.stderr.write(problem)
        return _USAGE_ERROR
    with TemporaryDirectory(prefix="otel-mongo-apm-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        try:
            status = run(command, environment(directory, os.environ), options.seconds)
        except OSError as error:
            sys.stderr.write(f"{command[0]} cannot be run: {error.strerror}\n")
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        found = processes(directory)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Nobody has to wait for the drawing.
    _draw(found, options)
    return end_as(status)


def _problem(command: Sequence[str]) -> str | None:
    if Path(command[0]).name == "opentelemetry-instrument":
        return _INSTRUMENT
    needed = {"rich": "rich", "opentelemetry.sdk": "opentelemetry-sdk"}
    missing = [name for module, name in needed.items() if not find_spec(module)]
    return _MISSING.format(" and ".join(missing)) if missing else None


def _draw(found: Sequence[Process], options: argparse.Namespace) -> None:
    from .choice import chosen  # noqa: PLC0415  # All of these need rich.
    from .report import METRICS_NOTE, draw_metrics, draw_traces  # noqa: PLC0415
    from .terminal import wide_console  # noqa: PLC0415

    console = wide_console(stderr=True)
    spans = sorted(
        (span for each in found for span in each.spans), key=lambda span: str(span["start_time"])
    )
    drawn, note = chosen(spans, options.slowest, options.root)
    draw_traces(drawn, console, note)
    measured = [each for each in found if each.metrics]
    for each in measured:
        draw_metrics(each.metrics, console, each.command if len(measured) > 1 else METRICS_NOTE)
    for note in dict.fromkeys(note for each in found for note in each.notes):
        console.print(f"\n{note}", markup=False)
    if not found:
        console.print(f"\n{_NOT_LOADED}", markup=False)
    elif not spans:
        console.print(f"\n{_NO_SPANS}", markup=False)

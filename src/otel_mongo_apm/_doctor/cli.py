"""The command `otel-mongo-apm`, which tells what is there, what is set and what is wrong."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from otel_mongo_apm._version import __version__

from .diagnosis import diagnosis
from .text import text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RUN = "run"

_HOUR = 3600.0

_DESCRIPTION = """\
Reports installed versions, what is instrumented, effective settings and their sources, what is
exported, and problems. With a URI, it also connects, runs a ping and shows the spans and metrics of
that; they are sent nowhere. `otel-mongo-apm run -- COMMAND` runs an application and draws its
telemetry; see `otel-mongo-apm run --help`.
"""
_EPILOG = """\
The exit status is 1 if there are problems: a version that is not supported, a wrong setting, an SDK
that exports no traces, an endpoint that does not answer, two spans for each command, something that
PyMongo lacks, a ping that failed. User and password of the URI are never shown.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # It quotes the arguments, and one may be a URI that has a password or a secret option.
        is_telling = "@" in message or "=" in message
        super().error("These arguments are not understood; see --help." if is_telling else message)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (seconds := float(text)) <= _HOUR:
            return seconds
    message = f"a number of seconds is needed, more than 0 and at most {_HOUR:g}"
    raise argparse.ArgumentTypeError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("otel-mongo-apm", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "uri",
        nargs="?",
        help="a MongoDB URI to try; - reads it from the standard input, which keeps it out of the"
        " list of processes",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long the ping may take (default: %(default)s)",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="also list the methods of PyMongo that are wrapped, and what PyMongo lacks",
    )
    parser.add_argument("--version", action="version", version=f"otel-mongo-apm {__version__}")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    Args:
        arguments: Those of the command line; by default those of this process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == [RUN]:  # No URI is written so.
        run: Callable[[Sequence[str]], int] = import_module("otel_mongo_apm._view.cli").main
        return run(given[1:])
    options = _parser().parse_args(given)
    uri = sys.stdin.readline().strip() if options.uri == "-" else options.uri
    found = diagnosis(uri, options.timeout)
    written = (
        json.dumps(asdict(found), indent=2, default=_plain)
        if options.json
        else text(found, is_verbose=options.verbose)
    )
    sys.stdout.write(_writable(f"{written}\n", sys.stdout.encoding or "utf-8"))
    return int(bool(found.problems))


def _writable(text: str, encoding: str) -> str:
    """A text, with what an encoding lacks escaped; a variable may hold any character, or byte."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)

"""What `make demo` runs: the quickstart under `opentelemetry-instrument`, and its telemetry drawn.

It uses the MongoDB at `$MONGODB_URI`, else one that it starts itself. Traces and metrics also go
to `$OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local_mongodb import MongoDBUnavailableError, replica_set
from rich.console import Console
from trace_tree import Exported, exported, metrics, metrics_table, spans, traces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

QUICKSTART = Path(__file__).with_name("quickstart.py")
PIPED_WIDTH = 100


@contextlib.contextmanager
def mongodb_uri() -> Iterator[str]:
    """Use the user's MongoDB or start one."""
    if uri := os.environ.get("MONGODB_URI"):
        yield uri
    else:
        with replica_set() as servers:
            yield servers.uri


def exporters(signal: str, environment: Mapping[str, str]) -> str:
    """Add the console to the exporters that the user has chosen.

    >>> exporters("TRACES", {})
    'console'
    >>> exporters("TRACES", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"})
    'console,otlp'
    >>> exporters("METRICS", {"OTEL_METRICS_EXPORTER": "none"})
    'console'
    """
    default = "otlp" if "OTEL_EXPORTER_OTLP_ENDPOINT" in environment else "none"
    chosen = environment.get(f"OTEL_{signal}_EXPORTER", default).split(",")
    return ",".join(["console", *(name for name in chosen if name not in {"console", "none"})])


def quickstart_environment(uri: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Have the quickstart print its telemetry, and leave the user's other settings alone."""
    return {
        "OTEL_SERVICE_NAME": "quickstart",
        "OTEL_LOGS_EXPORTER": "none",
        **environment,
        "MONGODB_URI": uri,
        "OTEL_TRACES_EXPORTER": exporters("TRACES", environment),
        "OTEL_METRICS_EXPORTER": exporters("METRICS", environment),
    }


def run(uri: str, console: Console) -> tuple[int, list[Exported]]:
    """Run the quickstart, show its own lines and collect its telemetry."""
    python = Path(sys.executable)
    command = [python.with_name("opentelemetry-instrument"), python, QUICKSTART]
    environment = quickstart_environment(uri, os.environ)
    collected: list[Exported] = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for item in exported(process.stdout or ()):
            if isinstance(item, str):
                console.out(item, highlight=False)
            else:
                collected.append(item)
    return process.returncode, collected


def draw(printed: list[Exported], console: Console) -> None:
    """Draw the traces, then the metrics."""
    for tree in traces(spans(printed)):
        console.print()
        console.print(tree)
    if measured := metrics(printed):
        console.print()
        console.print(metrics_table(measured))


def main() -> int:
    """Run the demonstration; return the quickstart's exit status."""
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    try:
        with mongodb_uri() as uri:
            console.print("$ opentelemetry-instrument python examples/quickstart.py", style="bold")
            status, printed = run(uri, console)
    except MongoDBUnavailableError as unavailable:
        print(unavailable, file=sys.stderr)
        return 1
    draw(printed, console)
    return status


if __name__ == "__main__":
    sys.exit(main())

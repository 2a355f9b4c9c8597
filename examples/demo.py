"""The first part of `make demo`: the quickstart, instrumented, and its telemetry drawn.

It uses the MongoDB at `$MONGODB_URI`, else one that it starts itself. Traces and metrics also go
to `$OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from console_exports import Exported, is_cluster_span, metrics, spans
from installed_mongod import MongoDBUnavailableError
from instrumented import InstrumentedProgram, instrumented_environment
from local_mongodb import replica_set
from metrics_table import metrics_table
from terminal import heading, wide_console
from trace_tree import NAMES_NOTE, traces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType

QUICKSTART = Path(__file__).with_name("quickstart.py")
OTHERWISE = "Or set $MONGODB_URI to a MongoDB that the demo may write to."
METRICS_NOTE = "of the whole run; those of open clients alone are no longer there"


@contextlib.contextmanager
def mongodb_uri() -> Iterator[str]:
    """Use the user's MongoDB or start one."""
    if uri := os.environ.get("MONGODB_URI"):
        yield uri
    else:
        with replica_set() as servers:
            yield servers.uri


def run(uri: str, console: Console) -> tuple[int, list[Exported]]:
    """Run the quickstart, show its own lines and collect its telemetry."""
    console.print("$ opentelemetry-instrument python examples/quickstart.py", style="bold")
    environment = instrumented_environment("quickstart", uri, os.environ)
    with InstrumentedProgram(QUICKSTART, environment, console.out) as program:
        return program.wait(), program.printed


def draw(printed: list[Exported], console: Console) -> None:
    """Draw the application's traces, then the cluster's, then the metrics."""
    told = spans(printed)
    cluster = [span for span in told if is_cluster_span(span)]
    _draw("Traces", "", traces([span for span in told if span not in cluster]), console)
    _draw("Cluster", NAMES_NOTE, traces(cluster), console)
    if measured := metrics(printed):
        _draw("Metrics", METRICS_NOTE, [metrics_table(measured)], console)


def _draw(title: str, note: str, parts: Sequence[RenderableType], console: Console) -> None:
    if parts:
        console.print(heading(title, note))
    for part in parts:
        console.print()
        console.print(part)


def main() -> int:
    """Run the demonstration; return the quickstart's exit status."""
    console = wide_console()
    try:
        with mongodb_uri() as uri:
            status, printed = run(uri, console)
    except MongoDBUnavailableError as unavailable:
        print(f"{unavailable}\n{OTHERWISE}", file=sys.stderr)
        return 1
    draw(printed, console)
    return status


if __name__ == "__main__":
    sys.exit(main())

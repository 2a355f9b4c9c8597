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

from installed_mongod import MongoDBUnavailableError
from instrumented import InstrumentedProgram, instrumented_environment
from local_mongodb import replica_set

from otel_mongo_apm._view.exports import metrics, spans
from otel_mongo_apm._view.report import draw_metrics, draw_traces
from otel_mongo_apm._view.terminal import wide_console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from otel_mongo_apm._view.exports import Exported

QUICKSTART = Path(__file__).with_name("quickstart.py")
OTHERWISE = "Or set $MONGODB_URI to a MongoDB that the demo may write to."


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


def main() -> int:
    """Run the demonstration; return the quickstart's exit status."""
    console = wide_console()
    try:
        with mongodb_uri() as uri:
            status, printed = run(uri, console)
    except MongoDBUnavailableError as unavailable:
        print(f"{unavailable}\n{OTHERWISE}", file=sys.stderr)
        return 1
    draw_traces(spans(printed), console)
    draw_metrics(metrics(printed), console)
    return status


if __name__ == "__main__":
    sys.exit(main())

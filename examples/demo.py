"""Two parts of `make demo`, instrumented, with their telemetry drawn: the quickstart; a slow query.

    python examples/demo.py
    python examples/demo.py slow_query

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

from otel_mongo_apm._otel.semconv import CHECK_OUT_CONNECTION, SELECT_SERVER
from otel_mongo_apm._view.exports import is_cluster_span, metrics, spans
from otel_mongo_apm._view.report import draw, draw_metrics, draw_traces
from otel_mongo_apm._view.terminal import wide_console
from otel_mongo_apm._view.trace_tree import traces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from otel_mongo_apm._view.exports import Exported

EXAMPLES = Path(__file__).parent
QUICKSTART, SLOW_QUERY = "quickstart", "slow_query"
# Every query is explained, however quick this machine is.
EXPLAINING = {"OTEL_PYTHON_MONGO_APM_EXPLAIN_SLOWER_THAN": "0"}
WAITS = {CHECK_OUT_CONNECTION, SELECT_SERVER}
OTHERWISE = "Or set $MONGODB_URI to a MongoDB that the demo may write to."


@contextlib.contextmanager
def mongodb_uri() -> Iterator[str]:
    """Use the user's MongoDB or start one."""
    if uri := os.environ.get("MONGODB_URI"):
        yield uri
    else:
        with replica_set() as servers:
            yield servers.uri


def run(
    name: str, uri: str, console: Console, *arguments: str, **variables: str
) -> tuple[int, list[Exported]]:
    """Run an example, show its own lines and collect its telemetry."""
    set_first = [f"{variable}={value}" for variable, value in variables.items()]
    command = ["opentelemetry-instrument", "python", f"examples/{name}.py", *arguments]
    console.print(" ".join(["$", *set_first, *command]), style="bold")
    environment = instrumented_environment(name, uri, os.environ) | variables
    script = EXAMPLES / f"{name}.py"
    with InstrumentedProgram(script, environment, console.out, arguments) as program:
        return program.wait(), program.printed


def show_quickstart(uri: str, console: Console) -> int:
    """Show the quickstart's traces and metrics."""
    status, printed = run(QUICKSTART, uri, console)
    draw_traces(spans(printed), console)
    draw_metrics(metrics(printed), console)
    return status


def show_slow_query(uri: str, console: Console) -> int:
    """Show the trace of a query without an index, and with one: what the server did."""
    status = 0
    for arguments in ([], ["--with-index"]):
        failed, printed = run(SLOW_QUERY, uri, console, *arguments, **EXPLAINING)
        status = status or failed
        drawn = [span for span in spans(printed) if not is_cluster_span(span)]
        draw("Trace", "", traces([span for span in drawn if span["name"] not in WAITS]), console)
    return status


def main() -> int:
    """Run a part of the demonstration; return its exit status."""
    console = wide_console()
    try:
        with mongodb_uri() as uri:
            return (show_slow_query if SLOW_QUERY in sys.argv[1:] else show_quickstart)(
                uri, console
            )
    except MongoDBUnavailableError as unavailable:
        print(f"{unavailable}\n{OTHERWISE}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

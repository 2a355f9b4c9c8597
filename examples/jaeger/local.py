"""`make jaeger`: the book shop, its customers, a replica set and a Jaeger, all on this machine.

The primary is killed on the way, and comes back. Everything ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parents[1]))  # For what the examples share.

from installed_mongod import MongoDBUnavailableError
from local_jaeger import Jaeger, JaegerUnavailableError, jaeger
from local_mongodb import ReplicaSet, replica_set, wait_for_ctrl_c
from local_shop import customers, shop
from rich import box
from rich.table import Table

from otel_mongo_apm._view.terminal import wide_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

CALM = 3.0  # Seconds before and after anything happens.
EXPORTED = 6.0  # Seconds until the last span has been sent, too.
NO_WEB_PAGE = (
    "This Jaeger was built without its web page, but it answers queries. With the page: set\n"
    "$JAEGER to the program of a release, or run `docker compose up` in examples/jaeger."
)


def fail_over(servers: ReplicaSet, console: Console) -> None:
    """Kill the primary; when there is another, start it again."""
    time.sleep(CALM)
    primary = servers.kill_primary()
    console.print(f"Killed the primary, {primary.host}.", style="bold magenta")
    console.print(f"The primary is now {servers.wait_for_primary().host}.", style="bold magenta")
    time.sleep(CALM)
    primary.start()
    console.print(f"Started {primary.host} again.", style="bold magenta")


def wait(seconds: float | None, console: Console) -> None:
    """Wait for so long, or for Ctrl-C."""
    if seconds is None:
        console.print("Serving until Ctrl-C.")
        wait_for_ctrl_c()
    else:
        time.sleep(seconds)


def spans_table(traces: Sequence[dict[str, Any]]) -> Table:
    """Count the spans of each name, and those of them that are errors."""
    spans = [span for trace in traces for span in trace["spans"]]
    errors = Counter(span["operationName"] for span in spans if has_failed(span))
    table = Table("Span", "Number", "Errors", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, number in Counter(span["operationName"] for span in spans).most_common():
        table.add_row(name, str(number), str(errors[name] or ""))
    return table


def has_failed(span: dict[str, Any]) -> bool:
    """Tell whether Jaeger shows a span as an error."""
    return any(tag["key"] == "error" and tag["value"] for tag in span["tags"])


def serve(backend: Jaeger, servers: ReplicaSet, console: Console, *, seconds: float | None) -> None:
    """Run the shop, and show what Jaeger knows of it."""
    exporter = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": backend.otlp_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    with shop(servers.uri, **exporter) as url, customers(url):
        console.print(f"Jaeger   {backend.url}/search?service=shop")
        console.print(f"Traces   {backend.url}/api/traces?service=shop")
        console.print(f"Shop     {url}/docs")
        console.print(f"MongoDB  {servers.uri}")
        if not backend.has_web_page:
            console.print(NO_WEB_PAGE, style="dim")
        fail_over(servers, console)
        time.sleep(EXPORTED)
        console.print(spans_table(backend.traces("shop")))
        wait(seconds, console)


def main() -> int:
    """Run until Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, help="end so long after the failover")
    seconds = parser.parse_args().seconds
    try:
        with (
            contextlib.suppress(KeyboardInterrupt),
            jaeger() as backend,
            replica_set(members=3) as servers,
        ):
            serve(backend, servers, wide_console(), seconds=seconds)
    except (JaegerUnavailableError, MongoDBUnavailableError) as unavailable:
        print(unavailable, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

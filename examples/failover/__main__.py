"""The second part of `make demo`: a primary is killed, and telemetry tells the story.

It starts a replica set of three, and an application that knows nothing of all this. Traces and
metrics also go to `$OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set.

    python examples/failover [--svg FILE]    # A picture of the traces, such as the README has.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parents[1]))  # For what the examples share.

from gauges import WRITABLE, gauges_table, writable_strip
from installed_mongod import MongoDBUnavailableError
from instrumented import InstrumentedProgram, exporters, instrumented_environment
from local_mongodb import ReplicaSet, replica_set
from phases import Deeds, phases
from picture import save_picture
from rich.padding import Padding
from served import SLOW, requests, requests_table, slow_requests
from timeline import timeline

from otel_mongo_apm._view.exports import is_cluster_span, spans
from otel_mongo_apm._view.terminal import heading, wide_console
from otel_mongo_apm._view.trace_tree import NAMES_NOTE, traces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console, RenderableType

    from otel_mongo_apm._view.exports import Exported

APPLICATION = Path(__file__).with_name("application.py")
NO_MONGODB = "The failover demo starts three servers of its own, and cannot."
NOTHING_TO_KILL = (
    "The failover demo kills a server, so only one of its own: to run it, unset $MONGODB_URI."
)
CALM = 2.0  # Seconds before and after anything happens.
NOTICE = 1.0  # Seconds until the application knows that a server is back.
PATIENCE = 30.0  # Seconds; the application starts in two or three.
EXPORT_INTERVAL = 250  # Milliseconds.


def environment(uri: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """Have metrics often, and cluster events also as log events."""
    return {
        **instrumented_environment("failover", uri, inherited),
        "OTEL_LOGS_EXPORTER": exporters("LOGS", {"OTEL_LOGS_EXPORTER": "none", **inherited}),
        "OTEL_METRIC_EXPORT_INTERVAL": str(EXPORT_INTERVAL),
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_PYTHON_MONGO_APM_EVENTS": "both",
    }


def play(servers: ReplicaSet, console: Console) -> tuple[int, list[Exported], Deeds]:
    """Have the application serve while its primary is killed and comes back."""
    is_serving = threading.Event()

    def said(line: str) -> None:
        is_serving.set()
        console.print(f"  {line}", style="dim", markup=False)

    console.print(
        "$ opentelemetry-instrument python examples/failover/application.py", style="bold"
    )
    with InstrumentedProgram(APPLICATION, environment(servers.uri, os.environ), said) as program:
        if not is_serving.wait(PATIENCE):
            message = f"The application has said nothing for {PATIENCE:g} s"
            raise TimeoutError(message)
        deeds = act(servers, console)
        return program.stop(), program.printed, deeds


def act(servers: ReplicaSet, console: Console) -> Deeds:
    """Kill the primary; when there is another, start it again."""
    time.sleep(CALM)
    primary = servers.wait_for_primary()
    console.print(f"Killing the primary, {primary.host}.", style="bold magenta")
    killed = time.time()
    primary.kill()
    servers.wait_for_primary()
    time.sleep(CALM)
    console.print(f"Starting {primary.host} again.", style="bold magenta")
    restarted = time.time()
    primary.start()
    servers.wait_for_secondaries()
    time.sleep(NOTICE + CALM)
    console.print("Ending the application.", style="bold magenta")
    return Deeds(primary.host, killed, restarted, time.time())


def story(printed: list[Exported], deeds: Deeds) -> Iterator[RenderableType]:
    """Draw the parts of the story."""
    parts, served = phases(printed, deeds), requests(printed)
    yield heading("Timeline")
    yield timeline(printed, deeds)
    yield heading("Cluster spans", NAMES_NOTE)
    yield from cluster_traces(printed)
    yield heading("Requests", "before, partly during, and after the outage")
    yield requests_table(served, parts)
    yield heading("Slow requests", f"of {SLOW:g} s or more")
    for part in slow_requests(served, deeds):
        yield from ("", part)
    yield heading("Metrics", "the last that were exported before, during and after the outage")
    yield gauges_table(printed, parts)
    yield f"{WRITABLE}, each export:"
    yield Padding(writable_strip(printed, parts), (0, 0, 0, 2))


def cluster_traces(printed: list[Exported]) -> Iterator[RenderableType]:
    """Draw the traces of the cluster."""
    for tree in traces([span for span in spans(printed) if is_cluster_span(span)]):
        yield from ("", tree)


def traces_of_the_outage(printed: list[Exported], deeds: Deeds) -> Iterator[RenderableType]:
    """Draw the outage as the cluster's trace tells it, and a request that it held up."""
    *_, outage = cluster_traces(printed)
    yield outage
    yield ""
    yield from list(slow_requests(requests(printed), deeds))[:2]


def main() -> int:
    """Run the demonstration; return the application's exit status."""
    arguments = argparse.ArgumentParser(description="Kill a primary, and see it in telemetry.")
    arguments.add_argument("--svg", type=Path, help="write a picture of the traces")
    picture: Path | None = arguments.parse_args().svg
    if os.environ.get("MONGODB_URI"):
        print(NOTHING_TO_KILL, file=sys.stderr)
        return 1
    console = wide_console()
    try:
        with replica_set(members=3) as servers:
            status, printed, deeds = play(servers, console)
    except MongoDBUnavailableError as unavailable:
        print(f"{NO_MONGODB} {unavailable}", file=sys.stderr)
        return 1
    for part in story(printed, deeds):
        console.print(part)
    if picture:
        save_picture(traces_of_the_outage(printed, deeds), picture, "A primary is killed")
    return status


if __name__ == "__main__":
    sys.exit(main())

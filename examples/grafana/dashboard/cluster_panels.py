"""Panels for servers and replica sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_model import state_timeline, target, time_series, with_traces
from promql import (
    HEARTBEAT,
    OF_REPLICA_SET,
    OF_SERVER,
    OUTAGE,
    PROCESSES,
    REPLICA_SET,
    SERVER,
    SETS,
    failed,
    instances,
    percentile,
    rate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grafana_model import Json


def servers() -> Iterator[Json]:
    """What the clients know of each server."""
    yield state_timeline(
        "Types of servers",
        "What each server was, and when. A server is unknown while it cannot be reached.",
        target(
            f"max by ({SERVER}, mongodb_client_server_type) "
            f"(mongodb_client_server_status{{{PROCESSES}}}) == 1",
            f"{OF_SERVER} {{{{mongodb_client_server_type}}}}",
        ),
    )
    yield time_series(
        "Round-trip time",
        "PyMongo's moving average of the time that a hello takes; the slowest of the instances.",
        target(f"max by ({SERVER}) (mongodb_client_server_rtt_seconds{{{PROCESSES}}})", OF_SERVER),
        unit="s",
    )
    yield time_series(
        "Servers by type",
        "As the instance sees it that has the most of a type.",
        target(
            f"max by (mongodb_client_server_type) (mongodb_client_topology_servers{{{PROCESSES}}})",
            "{{mongodb_client_server_type}}",
        ),
    )
    yield time_series(
        "Heartbeats, 95th percentile",
        "Without those that a server holds back until there is news.",
        target(
            percentile(
                95, HEARTBEAT, f'{PROCESSES}, mongodb_client_heartbeat_awaited="false"', SERVER
            ),
            OF_SERVER,
        ),
        unit="s",
    )
    yield time_series(
        "Failed heartbeats, per second",
        "By the reason why the server cannot be reached.",
        target(
            rate(f"{HEARTBEAT}_count", failed(PROCESSES), f"{SERVER}, error_type"),
            f"{OF_SERVER} {{{{error_type}}}}",
        ),
        unit="ops",
    )


def outages() -> Iterator[Json]:
    """What the clients know of each replica set."""
    yield state_timeline(
        "Topology",
        "replica_set_no_primary while there is no primary.",
        target(
            f"max by ({REPLICA_SET}, mongodb_client_topology_type) "
            f"(mongodb_client_topology_status{{{SETS}}}) == 1",
            f"{OF_REPLICA_SET} {{{{mongodb_client_topology_type}}}}",
        ),
    )
    yield time_series(
        "Instances that cannot write or read",
        "How many instances see no server to write to, or to read from, and how many there are.",
        target(
            f"count by ({REPLICA_SET}) (mongodb_client_topology_writable{{{SETS}}} == 0)",
            f"{OF_REPLICA_SET} cannot write",
        ),
        target(
            f"count by ({REPLICA_SET}) (mongodb_client_topology_readable{{{SETS}}} == 0)",
            f"{OF_REPLICA_SET} cannot read",
        ),
        target(instances(f"mongodb_client_topology_writable{{{SETS}}}"), f"{OF_REPLICA_SET} all"),
    )
    yield with_traces(
        time_series(
            "Outages, longest and mean",
            "Since the processes started.",
            target(
                f"histogram_quantile(1, sum by (le, {REPLICA_SET}) ({OUTAGE}_bucket{{{SETS}}}))",
                f"{OF_REPLICA_SET} longest",
            ),
            target(
                f"sum by ({REPLICA_SET}) ({OUTAGE}_sum{{{SETS}}}) / "
                f"sum by ({REPLICA_SET}) ({OUTAGE}_count{{{SETS}}})",
                f"{OF_REPLICA_SET} mean",
            ),
            unit="s",
        ),
        operation="mongodb.topology.outage",
    )
    yield time_series(
        "New primaries and other changes",
        "Since the processes started. A primary that changes often means bad servers or a bad "
        "network between them.",
        target(
            f"sum by ({REPLICA_SET}) (mongodb_client_topology_primary_changes_total{{{SETS}}})",
            f"{OF_REPLICA_SET} new primaries",
        ),
        target(
            f"sum(mongodb_client_topology_description_changes_total{{{PROCESSES}}})",
            "all changes",
        ),
    )

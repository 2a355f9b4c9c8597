"""Numbers that are green as long as all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_model import instant, no_limit, red_below, red_from, stat, with_traces, yes_or_no
from promql import (
    COMMANDS,
    DURATION,
    MANY_ERRORS,
    OF_REPLICA_SET,
    OUTAGE,
    PROCESSES,
    PROMPT,
    PROMPT_NOTE,
    REPLICA_SET,
    SELECTION,
    SERVER,
    SETS,
    SLOW,
    error_ratio,
    failed,
    increase,
    instances,
    number,
    percentile,
    rate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grafana_model import Json


def at_a_glance() -> Iterator[Json]:
    """Numbers that are green as long as all is well."""
    writable = f"mongodb_client_topology_writable{{{SETS}}}"
    readable = f"mongodb_client_topology_readable{{{SETS}}}"
    yield stat(
        "Writable",
        "Whether every instance sees a server of the replica set to write to.",
        instant(f"min by ({REPLICA_SET}) ({writable})", OF_REPLICA_SET),
        mappings=yes_or_no(),
        thresholds=red_below(1),
    )
    yield stat(
        "Readable",
        "Whether every instance sees a server of the replica set to read from.",
        instant(f"min by ({REPLICA_SET}) ({readable})", OF_REPLICA_SET),
        mappings=yes_or_no(),
        thresholds=red_below(1),
    )
    yield stat(
        "Instances that cannot write",
        "If it is one of many, its network is bad. If it is all, there is no primary.",
        instant(f"count by ({REPLICA_SET}) ({writable} == 0) or 0 * {instances(writable)}"),
        thresholds=red_from(1),
    )
    yield with_traces(
        stat(
            "Outages",
            "Outages that ended in the time shown, added up over all instances.",
            instant(number(OUTAGE, SETS, REPLICA_SET), OF_REPLICA_SET),
            decimals=0,
            thresholds=red_from(1),
        ),
        operation="mongodb.topology.outage",
    )
    yield stat(
        "Clients",
        "How many MongoClient and AsyncMongoClient objects there are. A number that grows means "
        "that clients are made for each request; an application needs one.",
        instant(f"sum(mongodb_client_instances{{{PROCESSES}}})"),
        thresholds=no_limit(),
    )
    yield stat(
        "Commands per second",
        "All commands of the collections chosen above, and calls that failed before a command.",
        instant(rate(f"{DURATION}_count", COMMANDS)),
        unit="ops",
        thresholds=no_limit(),
    )
    yield stat(
        "Error ratio",
        "The part of commands and calls that fail, less those that PyMongo retried. MongoDB that "
        "is away counts, too.",
        instant(error_ratio()),
        unit="percentunit",
        thresholds=red_from(MANY_ERRORS),
    )
    yield stat(
        "Latency, 95th percentile",
        f"95 of 100 commands are faster. {PROMPT_NOTE}",
        instant(percentile(95, DURATION, PROMPT)),
        unit="s",
        thresholds=red_from(SLOW),
    )
    yield stat(
        "Retries",
        "How many commands PyMongo sent another time in the time shown.",
        instant(increase("mongodb_client_retries_total", COMMANDS)),
        decimals=0,
        thresholds=red_from(10),
    )
    yield stat(
        "Calls that found no server",
        "Calls per second that failed because no server was found in time.",
        instant(f"{rate(f'{SELECTION}_count', failed(PROCESSES))} or vector(0)"),
        unit="ops",
        thresholds=red_from(0.001),
    )
    yield stat(
        "Callers that wait for a connection",
        "How many callers wait right now because all connections of their pool are in use.",
        instant(f"sum(db_client_connection_pending_requests{{{PROCESSES}}})"),
        thresholds=red_from(10),
    )
    yield stat(
        "Servers that cannot be reached",
        "Servers that are unknown to some instance.",
        instant(
            f"count(max by ({SERVER}) (mongodb_client_server_status{{{PROCESSES}, "
            'mongodb_client_server_type="unknown"}) == 1) or vector(0)'
        ),
        thresholds=red_from(1),
    )

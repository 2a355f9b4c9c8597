"""Panels for commands: how many, how long, how many fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_model import exemplary, heat_map, target, time_series, with_traces
from promql import (
    COLLECTION,
    COMMANDS,
    DURATION,
    MANY_ERRORS,
    OF_COLLECTION,
    PROCESSES,
    PROMPT,
    PROMPT_NOTE,
    ROWS,
    SLOW,
    THIS_COLLECTION,
    TOP,
    error_ratio,
    failed,
    mean,
    percentile,
    rate,
    top,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grafana_model import Json


def commands() -> Iterator[Json]:
    """Each message to a server."""
    yield heat_map(
        "Duration of commands",
        f"How many commands took how long. {PROMPT_NOTE} Points are single commands: open one to "
        "get to its trace.",
        rate(f"{DURATION}_bucket", PROMPT, "le"),
        "s",
        width=12,
    )
    yield with_traces(
        time_series(
            "Latency of all commands",
            f"Half of the commands are faster than the median, one in a hundred is slower than "
            f"the 99th percentile. {PROMPT_NOTE}",
            exemplary(percentile(50, DURATION, PROMPT), "median"),
            exemplary(percentile(95, DURATION, PROMPT), "95th percentile"),
            exemplary(percentile(99, DURATION, PROMPT), "99th percentile"),
            unit="s",
            limit=SLOW,
            width=12,
        ),
        tags="db.system.name=mongodb",
        minDuration="500ms",
    )
    yield with_traces(
        time_series(
            "Commands per second, by collection",
            f"Commands, and calls that failed before a command. {TOP}",
            target(top(rate(f"{DURATION}_count", COMMANDS, COLLECTION)), OF_COLLECTION),
            unit="ops",
        ),
        tags=THIS_COLLECTION,
    )
    yield with_traces(
        time_series(
            "Latency by collection, 95th percentile",
            f"95 of 100 commands are faster. {PROMPT_NOTE} {TOP}",
            exemplary(top(percentile(95, DURATION, PROMPT, COLLECTION)), OF_COLLECTION),
            unit="s",
            limit=SLOW,
        ),
        tags=THIS_COLLECTION,
        minDuration="500ms",
    )
    yield with_traces(
        time_series(
            "Errors per second, by collection",
            "By MongoDB's error code and its name, or the exception's class. Commands that were "
            f"retried count, too. {TOP}",
            target(
                top(
                    rate(
                        f"{DURATION}_count",
                        failed(COMMANDS),
                        f"{COLLECTION}, error_type, mongodb_client_error_name",
                    )
                ),
                f"{OF_COLLECTION} {{{{error_type}}}} {{{{mongodb_client_error_name}}}}",
            ),
            unit="ops",
        ),
        tags=f"{THIS_COLLECTION} error.type=${{__field.labels.error_type}}",
    )
    yield time_series(
        "Error ratio by collection",
        "The part of commands and calls that fail. Retried commands and expected errors, such as "
        f"duplicate keys, do not count. {TOP}",
        target(top(error_ratio(COLLECTION)), OF_COLLECTION),
        unit="percentunit",
        max=1,
        limit=MANY_ERRORS,
    )
    yield with_traces(
        time_series(
            "Retries per second, by collection",
            "Commands that PyMongo sent another time because the first attempt failed. A few are "
            f"usual after an election. {TOP}",
            target(
                top(
                    rate(
                        "mongodb_client_retries_total",
                        COMMANDS,
                        f"{COLLECTION}, db_operation_name",
                    )
                ),
                f"{OF_COLLECTION} {{{{db_operation_name}}}}",
            ),
            unit="ops",
        ),
        tags="mongodb.client.retry.count=1",
    )
    yield time_series(
        "Latency by collection, mean",
        f"{PROMPT_NOTE} {TOP}",
        target(top(mean(DURATION, PROMPT, COLLECTION)), OF_COLLECTION),
        unit="s",
    )
    yield time_series(
        "Commands per second, by command",
        f"The server's commands: a find with three batches is one find and two getMore. {TOP}",
        target(
            top(rate(f"{DURATION}_count", COMMANDS, "db_operation_name")), "{{db_operation_name}}"
        ),
        unit="ops",
    )
    yield with_traces(
        time_series(
            "Latency by command, 95th percentile",
            f"{PROMPT_NOTE} {TOP}",
            exemplary(
                top(percentile(95, DURATION, PROMPT, "db_operation_name")),
                "{{db_operation_name}}",
            ),
            unit="s",
            limit=SLOW,
        ),
        tags="db.operation.name=${__field.labels.db_operation_name}",
        minDuration="500ms",
    )
    yield with_traces(
        time_series(
            "Latency by server, 95th percentile",
            "By the server that replied. If one server alone is slow, it is not the query. "
            f"{PROMPT_NOTE}",
            exemplary(
                percentile(95, DURATION, PROMPT, "network_peer_address, network_peer_port"),
                "{{network_peer_address}}:{{network_peer_port}}",
            ),
            unit="s",
            limit=SLOW,
        ),
        tags="network.peer.address=${__field.labels.network_peer_address}",
        minDuration="500ms",
    )
    yield time_series(
        "Documents per reply, mean",
        f"Only with returned_rows=both or metric. Many documents make slow replies. {TOP}",
        target(top(mean(ROWS, COMMANDS, COLLECTION)), OF_COLLECTION),
    )
    yield time_series(
        "Slow commands that were not explained, per second",
        "Only with explain_slower_than. There were more slow commands than may be explained.",
        target(rate("mongodb_client_query_explain_drops_total", PROCESSES)),
        unit="ops",
    )

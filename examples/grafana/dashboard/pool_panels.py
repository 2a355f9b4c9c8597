"""Panels for what comes before a command: servers, names and connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_model import exemplary, target, time_series, with_traces
from promql import OF_POOL, POOL, PROCESSES, SELECTION, TOP, failed, percentile, rate, top

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grafana_model import Json


def waits() -> Iterator[Json]:
    """What comes before a command."""
    yield with_traces(
        time_series(
            "Waits for a server",
            "How long server selection took, where it had to wait or failed. Those that fail wait "
            "for serverSelectionTimeoutMS.",
            exemplary(percentile(50, SELECTION, PROCESSES), "median"),
            exemplary(percentile(95, SELECTION, PROCESSES), "95th percentile"),
            exemplary(percentile(99, SELECTION, PROCESSES), "99th percentile"),
            unit="s",
        ),
        operation="select server",
    )
    yield with_traces(
        time_series(
            "Calls that found no server, per second",
            "By operation and error.",
            target(
                rate(f"{SELECTION}_count", failed(PROCESSES), "db_operation_name, error_type"),
                "{{db_operation_name}} {{error_type}}",
            ),
            unit="ops",
        ),
        operation="select server",
        tags="error.type=${__field.labels.error_type}",
    )
    yield with_traces(
        time_series(
            "Look-ups of SRV records, 95th percentile",
            "For mongodb+srv:// URIs, with PyMongo 4.12 and newer. Failures have an error type.",
            target(
                percentile(
                    95, "dns_lookup_duration_seconds", PROCESSES, "dns_question_name, error_type"
                ),
                "{{dns_question_name}} {{error_type}}",
            ),
            unit="s",
        ),
        operation="look up SRV record",
    )


def pools() -> Iterator[Json]:
    """Connections."""
    used = "db_client_connection_count"
    yield time_series(
        "Connections",
        "Idle and used connections of each pool, and maxPoolSize and minPoolSize.",
        target(
            f"sum by ({POOL}, db_client_connection_state) ({used}{{{PROCESSES}}})",
            f"{OF_POOL} {{{{db_client_connection_state}}}}",
        ),
        target(
            f"sum by ({POOL}) (db_client_connection_limit{{{PROCESSES}}})", f"{OF_POOL} maxPoolSize"
        ),
        target(
            f"sum by ({POOL}) (db_client_connection_idle_min{{{PROCESSES}}})",
            f"{OF_POOL} minPoolSize",
        ),
    )
    yield with_traces(
        time_series(
            "Callers that wait for a connection, by pool",
            "All connections of the pool are in use. Either commands take long, or maxPoolSize is "
            f"too low. {TOP}",
            target(
                top(f"sum by ({POOL}) (db_client_connection_pending_requests{{{PROCESSES}}})"),
                OF_POOL,
            ),
        ),
        operation="check out connection",
    )
    yield with_traces(
        time_series(
            "Wait for a connection, 95th percentile",
            f"With the time to open one, if none was idle. {TOP}",
            exemplary(
                top(percentile(95, "db_client_connection_wait_time_seconds", PROCESSES, POOL)),
                OF_POOL,
            ),
            unit="s",
        ),
        operation="check out connection",
    )
    yield time_series(
        "Connections in use, 95th percentile of the time",
        "Only with pool_use_time. Much longer than commands take: something holds connections. "
        f"{TOP}",
        target(
            top(percentile(95, "db_client_connection_use_time_seconds", PROCESSES, POOL)), OF_POOL
        ),
        unit="s",
    )
    yield time_series(
        "Opening a connection, 95th percentile",
        f"With TLS and authentication. {TOP}",
        target(
            top(percentile(95, "db_client_connection_create_time_seconds", PROCESSES, POOL)),
            OF_POOL,
        ),
        unit="s",
    )
    yield with_traces(
        time_series(
            "Callers without a connection, per second",
            "Those that waited for longer than waitQueueTimeoutMS, and all by the exception's "
            f"class. {TOP}",
            target(
                top(rate("db_client_connection_timeouts_total", PROCESSES, POOL)),
                f"{OF_POOL} waited too long",
            ),
            target(
                top(
                    rate(
                        "mongodb_client_connection_checkout_failures_total",
                        PROCESSES,
                        f"{POOL}, error_type",
                    )
                ),
                f"{OF_POOL} {{{{error_type}}}}",
            ),
            unit="ops",
        ),
        operation="check out connection",
    )
    yield time_series(
        "Connections closed, per second",
        "By reason. Many with the reason error mean a bad network; many with the reason idle mean "
        f"a maxIdleTimeMS that is too short. {TOP}",
        target(
            top(
                rate(
                    "mongodb_client_connection_closes_total",
                    PROCESSES,
                    f"{POOL}, mongodb_client_connection_close_reason",
                )
            ),
            f"{OF_POOL} {{{{mongodb_client_connection_close_reason}}}}",
        ),
        unit="ops",
    )
    yield time_series(
        "Pools cleared, per second",
        "PyMongo gave up all connections to a server after an error, as in a failover.",
        target(rate("mongodb_client_connection_pool_clears_total", PROCESSES, POOL), OF_POOL),
        unit="ops",
    )

"""Every metric instrument of one meter."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.metrics.db_metrics import DB_CLIENT_OPERATION_DURATION

from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import (
    CONNECTION_CLOSE_REASON,
    DB_CLIENT_CONNECTION_COUNT,
    DB_CLIENT_CONNECTION_CREATE_TIME,
    DB_CLIENT_CONNECTION_IDLE_MIN,
    DB_CLIENT_CONNECTION_LIMIT,
    DB_CLIENT_CONNECTION_PENDING_REQUESTS,
    DB_CLIENT_CONNECTION_TIMEOUTS,
    DB_CLIENT_CONNECTION_USE_TIME,
    DB_CLIENT_CONNECTION_WAIT_TIME,
    DB_CLIENT_RESPONSE_RETURNED_ROWS,
    DNS_LOOKUP_DURATION,
    MONGODB_CLIENT_CHECKOUT_FAILURES,
    MONGODB_CLIENT_CONNECTION_CLOSES,
    MONGODB_CLIENT_EXPLAIN_DROPS,
    MONGODB_CLIENT_HEARTBEAT_DURATION,
    MONGODB_CLIENT_INSTANCES,
    MONGODB_CLIENT_POOL_CLEARS,
    MONGODB_CLIENT_RETRIES,
    MONGODB_CLIENT_SERVER_RTT,
    MONGODB_CLIENT_SERVER_SELECTION_DURATION,
    MONGODB_CLIENT_SERVER_STATUS,
    MONGODB_CLIENT_TOPOLOGY_DESCRIPTION_CHANGES,
    MONGODB_CLIENT_TOPOLOGY_OUTAGE_DURATION,
    MONGODB_CLIENT_TOPOLOGY_PRIMARY_CHANGES,
    MONGODB_CLIENT_TOPOLOGY_READABLE,
    MONGODB_CLIENT_TOPOLOGY_SERVERS,
    MONGODB_CLIENT_TOPOLOGY_STATUS,
    MONGODB_CLIENT_TOPOLOGY_WRITABLE,
)
from otel_mongo_apm._otel.shield import quietly_shielded

from . import observations
from .names import operation_attributes
from .observed import Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.metrics import (
        CallbackOptions,
        Counter,
        Histogram,
        Meter,
        MeterProvider,
        Observation,
    )

    from otel_mongo_apm._otel.addresses import Attributes

# The buckets that the conventions recommend, in seconds and rows, and our own, in seconds.
DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
ROWS_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
HEARTBEAT_BUCKETS = WAIT_BUCKETS = (*DURATION_BUCKETS, 30)
OUTAGE_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120)

# The reasons for closing connections, and PyMongo's errors if a caller gets no connection.
CLOSE_REASONS = ("stale", "idle", "error", "poolClosed")
CHECK_OUT_ERRORS = ("pymongo.errors.WaitQueueTimeoutError", "pymongo.errors.AutoReconnect")


class Instruments:
    """The instruments of one meter, and the clients that the observable ones read.

    Source: ``db.client.*`` of OpenTelemetry's semantic conventions 1.45; ``mongodb.*`` is ours.

    Args:
        meter: Creates the instruments.
        provider: The meter's provider, kept alive as long as the instruments.
    """

    def __init__(self, meter: Meter, provider: MeterProvider | None = None) -> None:
        self._meter = meter
        self.provider = provider
        self.observed = Observed()
        self._make_command_instruments()
        self._make_pool_instruments()
        self._make_cluster_instruments()

    def _make_command_instruments(self) -> None:
        self.operation_duration = self._histogram(
            DB_CLIENT_OPERATION_DURATION,
            "s",
            "How long commands take, from sending them to having their replies.",
        )
        self.returned_rows = self._histogram(
            DB_CLIENT_RESPONSE_RETURNED_ROWS,
            "{row}",
            "How many documents a reply brings.",
            ROWS_BUCKETS,
        )
        self.retries = self._counter(
            MONGODB_CLIENT_RETRIES, "{retry}", "How many commands were sent another time."
        )
        self.server_selection_duration = self._histogram(
            MONGODB_CLIENT_SERVER_SELECTION_DURATION,
            "s",
            "How long callers wait for a server, if they have to, or in vain.",
            WAIT_BUCKETS,
        )
        self.lookup_duration = self._histogram(
            DNS_LOOKUP_DURATION, "s", "How long it takes to look up an SRV record.", WAIT_BUCKETS
        )

        self.explain_drops = self._counter(
            MONGODB_CLIENT_EXPLAIN_DROPS,
            "{command}",
            "How many slow commands were not explained, as too many waited for it.",
        )

    def _make_pool_instruments(self) -> None:
        self._observe(
            DB_CLIENT_CONNECTION_COUNT,
            "{connection}",
            "The connections that are open, idle and used.",
            observations.connection_counts,
        )
        self._observe(
            DB_CLIENT_CONNECTION_LIMIT,
            "{connection}",
            "How many connections a pool may have.",
            observations.connection_limits,
        )
        self._observe(
            DB_CLIENT_CONNECTION_IDLE_MIN,
            "{connection}",
            "How many connections a pool keeps.",
            observations.connection_minima,
        )
        self._observe(
            DB_CLIENT_CONNECTION_PENDING_REQUESTS,
            "{request}",
            "How many callers wait for a connection.",
            observations.pending_requests,
        )
        self.connection_timeouts = self._counter(
            DB_CLIENT_CONNECTION_TIMEOUTS,
            "{timeout}",
            "How many callers waited for a connection too long.",
        )
        self.connection_create_time = self._histogram(
            DB_CLIENT_CONNECTION_CREATE_TIME, "s", "How long it takes to open a connection."
        )
        self.connection_wait_time = self._histogram(
            DB_CLIENT_CONNECTION_WAIT_TIME, "s", "How long callers wait for a connection."
        )
        self.connection_use_time = self._histogram(
            DB_CLIENT_CONNECTION_USE_TIME, "s", "How long a connection is checked out."
        )
        self.pool_clears = self._counter(
            MONGODB_CLIENT_POOL_CLEARS, "{clear}", "How often a pool was cleared."
        )
        self.connection_closes = self._counter(
            MONGODB_CLIENT_CONNECTION_CLOSES, "{connection}", "Connections closed, and why."
        )
        self.check_out_failures = self._counter(
            MONGODB_CLIENT_CHECKOUT_FAILURES,
            "{failure}",
            "How many callers got no connection, and why.",
        )

    @quietly_shielded
    def count_retries(self, attributes: Attributes, number: int) -> None:
        """Count commands that were sent again.

        Args:
            attributes: The attributes of measurements of such a command.
            number: How many.
        """
        self.retries.add(number, operation_attributes(attributes))

    @quietly_shielded
    def start_counting(self, attributes: Attributes) -> None:
        """Set the counters of a pool to 0, so that their first event counts as an increase.

        Args:
            attributes: The attributes of the pool.
        """
        self.connection_timeouts.add(0, attributes, NOBODYS_CONTEXT)
        self.pool_clears.add(0, attributes, NOBODYS_CONTEXT)
        for error in CHECK_OUT_ERRORS:
            self.check_out_failures.add(0, {**attributes, ERROR_TYPE: error}, NOBODYS_CONTEXT)
        for reason in CLOSE_REASONS:
            self.connection_closes.add(
                0, {**attributes, CONNECTION_CLOSE_REASON: reason}, NOBODYS_CONTEXT
            )

    def _make_cluster_instruments(self) -> None:
        gauge = self._meter.create_observable_gauge
        self._observe(
            MONGODB_CLIENT_SERVER_STATUS,
            "1",
            "1 for the type that a server has, 0 for those it had.",
            observations.server_status,
        )
        self._observe(
            MONGODB_CLIENT_SERVER_RTT,
            "s",
            "The moving average of a server's round-trip time.",
            observations.round_trip_times,
            gauge,
        )
        self.heartbeat_duration = self._histogram(
            MONGODB_CLIENT_HEARTBEAT_DURATION,
            "s",
            "How long checks of servers take; one that is awaited lasts until there is news.",
            HEARTBEAT_BUCKETS,
        )
        self._observe(
            MONGODB_CLIENT_TOPOLOGY_STATUS,
            "1",
            "1 for the type that a topology has.",
            observations.topology_status,
        )
        self._observe(
            MONGODB_CLIENT_TOPOLOGY_SERVERS,
            "{server}",
            "How many servers there are of each type.",
            observations.server_counts,
            gauge,
        )
        self._observe(
            MONGODB_CLIENT_TOPOLOGY_WRITABLE,
            "1",
            "Whether there is a server to write to.",
            observations.writable,
            gauge,
        )
        self._observe(
            MONGODB_CLIENT_TOPOLOGY_READABLE,
            "1",
            "Whether there is a server to read from.",
            observations.readable,
            gauge,
        )
        self.description_changes = self._counter(
            MONGODB_CLIENT_TOPOLOGY_DESCRIPTION_CHANGES,
            "{change}",
            "How often a topology became another.",
        )
        self.primary_changes = self._counter(
            MONGODB_CLIENT_TOPOLOGY_PRIMARY_CHANGES,
            "{change}",
            "How often a replica set's primary became another.",
        )
        self.outage_duration = self._histogram(
            MONGODB_CLIENT_TOPOLOGY_OUTAGE_DURATION,
            "s",
            "How long there was no server to write to.",
            OUTAGE_BUCKETS,
        )
        self._observe(
            MONGODB_CLIENT_INSTANCES,
            "{instance}",
            "How many clients there are.",
            observations.instances,
        )

    @quietly_shielded
    def start_counting_changes(self) -> None:
        """Set the counter of topology changes to 0, so that the first one counts as an increase."""
        self.description_changes.add(0, {}, NOBODYS_CONTEXT)

    @quietly_shielded
    def start_counting_drops(self) -> None:
        """Set the counter of drops to 0, so that the first one counts as an increase."""
        self.explain_drops.add(0, {}, NOBODYS_CONTEXT)

    def _histogram(
        self, name: str, unit: str, description: str, buckets: Sequence[float] = DURATION_BUCKETS
    ) -> Histogram:
        return self._meter.create_histogram(
            name, unit, description, explicit_bucket_boundaries_advisory=buckets
        )

    def _counter(self, name: str, unit: str, description: str) -> Counter:
        return self._meter.create_counter(name, unit, description)

    def _observe(
        self,
        name: str,
        unit: str,
        description: str,
        observe: Callable[[Observed], Iterable[Observation]],
        create: Callable[..., object] | None = None,
    ) -> None:
        """Create an observable instrument: an up-down counter, unless a gauge is requested."""

        @quietly_shielded
        @wraps(observe)
        def observations(_: CallbackOptions) -> Iterable[Observation]:
            return list(observe(self.observed))

        def callback(options: CallbackOptions) -> Iterable[Observation]:
            return observations(options) or ()

        create = create or self._meter.create_observable_up_down_counter
        create(name, [callback], unit=unit, description=description)

"""The connection pools of one client: their counts, times and failures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from pymongo.monitoring import ConnectionCheckOutFailedReason, ConnectionPoolListener

from otel_mongo_apm._cluster.timeline import ClusterEvent
from otel_mongo_apm._driver.callers import caller, current_task
from otel_mongo_apm._driver.failures import (
    TELLS_INTERRUPTIONS,
    Failure,
    exception_failure,
    exception_in_hand,
)
from otel_mongo_apm._otel.addresses import server_attributes
from otel_mongo_apm._otel.bound import bound
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import (
    CLIENT_POOL_CLEARED,
    CONNECTION_CLOSE_REASON,
    OTHER_ERROR,
    POOL_NAME,
)
from otel_mongo_apm._otel.shield import shielded_listener

from .pool import DEFAULT_MAX_SIZE, Pool

if TYPE_CHECKING:
    from pymongo.monitoring import (
        ConnectionCheckedInEvent,
        ConnectionCheckedOutEvent,
        ConnectionCheckOutFailedEvent,
        ConnectionCheckOutStartedEvent,
        ConnectionClosedEvent,
        ConnectionCreatedEvent,
        ConnectionReadyEvent,
        PoolClearedEvent,
        PoolClosedEvent,
        PoolCreatedEvent,
        PoolReadyEvent,
    )

    from otel_mongo_apm._cluster.state import Cluster
    from otel_mongo_apm._commands.connections import CheckedIn, Connections
    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._metrics.instruments import Instruments
    from otel_mongo_apm._otel.addresses import Address
    from otel_mongo_apm._otel.bound import Record
    from otel_mongo_apm._settings.telemetry import Telemetry

    from .pools import Pools

# What PyMongo raises, but only after it has published the failure. The exception of a closed pool
# is one that it keeps to itself.
_RAISED_LATER = {
    ConnectionCheckOutFailedReason.TIMEOUT: "pymongo.errors.WaitQueueTimeoutError",
    ConnectionCheckOutFailedReason.POOL_CLOSED: OTHER_ERROR,
    ConnectionCheckOutFailedReason.CONN_ERROR: "pymongo.errors.AutoReconnect",
}


class CommandConnections(Protocol):
    """Whoever wants to know when the connection of a command is given back or closed."""

    def checked_in(self, connection: CheckedIn) -> None:
        """Learn that this thread or task has given a connection back."""

    def closed(self, connection: tuple[Address, int]) -> None:
        """Learn that a connection was closed."""


class CheckOuts(Protocol):
    """Whoever wants to know how long callers waited for a connection."""

    # In seconds; what took less is not told, unless it failed.
    threshold: float

    def checked_out(
        self,
        address: Address,
        pool_name: str,
        seconds: float,
        failure: Failure | None = None,
        *,
        is_new: bool | None = None,
    ) -> None:
        """Learn that a check out has ended."""


@shielded_listener
class PoolTelemetry(ConnectionPoolListener):
    """Counts and measures one client's connections.

    PyMongo calls some of these methods with its locks held, so they wait for nobody.

    Args:
        client: The client.
        telemetry: What all clients share.
        cluster: The client's cluster.
        pools: The client's pools.
        connections: Which connection a command goes out on.
        waits: Who is told how long callers waited for a connection.
        commands: Who is told when the connection of a command is given back or closed.
    """

    # Whoever put it together; kept for as long as the listener is.
    owner: object = None

    def __init__(
        self,
        client: ClientReference,
        telemetry: Telemetry,
        cluster: Cluster,
        pools: Pools,
        connections: Connections,
        waits: CheckOuts | None = None,
        commands: CommandConnections | None = None,
    ) -> None:
        self.client = client
        self.telemetry = telemetry
        self.cluster = cluster
        self.waits = waits
        self._threshold = telemetry.settings.wait_span_threshold
        self._pools = pools
        needs_connections = telemetry.traces_operations or not TELLS_INTERRUPTIONS
        self._connections = connections if needs_connections else None
        self._commands = commands
        self._counts = telemetry.pool_instruments is not None
        self._measures_use = self._counts and telemetry.settings.pool_use_time

    def pool_created(self, event: PoolCreatedEvent) -> None:
        """Make a pool; PyMongo tells those of its options that are no defaults."""
        pool = self._pools.create(event.address)
        pool.max_size = event.options.get("maxPoolSize", DEFAULT_MAX_SIZE)
        pool.min_size = event.options.get("minPoolSize", 0)

    def pool_ready(self, event: PoolReadyEvent) -> None:
        """Count from 0 what may happen to a pool; its client, if it was passed, is known by now."""
        pool = self._pools.identify(event.address)
        if instruments := self.telemetry.pool_instruments:
            instruments.start_counting(pool.attributes)

    def pool_cleared(self, event: PoolClearedEvent) -> None:
        """Tell that connections were given up; it also shows at once what a server has become."""
        pool = self._pools[event.address]
        if event.service_id is None and current_task():
            # If the task is cancelled before it has closed those that are idle, PyMongo forgets
            # them. A thread may tell of it late, when some are new; but it is not cancelled.
            pool.give_up_idle()
        if not self.telemetry.is_on:
            return
        if instruments := self.telemetry.pool_instruments:
            instruments.pool_clears.add(1, pool.attributes, NOBODYS_CONTEXT)
        if self.telemetry.sees_cluster:
            self.cluster.look()
            self.cluster.note(_pool_cleared(event.address, pool))

    def pool_closed(self, event: PoolClosedEvent) -> None:
        """Observe a pool no longer; a client that closes the pools of all it knows is closed."""
        self._pools.close(event.address)
        if not self.telemetry.sees_cluster or self.cluster.has_dropped(event.address):
            return
        if all(pool.is_closed for pool in list(self._pools.values())):
            self.cluster.pools_closed()

    def connection_created(self, event: ConnectionCreatedEvent) -> None:
        """Do nothing: until it is ready it may still fail."""

    def connection_ready(self, event: ConnectionReadyEvent) -> None:
        """Count a connection, and measure how long it took to make."""
        pool = self._pools[event.address]
        if self.waits:
            pool.create(event.connection_id)
        if not self._counts:
            return
        pool.connections.add(event.connection_id)
        if (waiting := caller()) in pool.pending:
            pool.pending[waiting] = event.connection_id
        if instruments := self.telemetry.pool_instruments:
            instruments.connection_create_time.record(
                _seconds(event), pool.attributes, NOBODYS_CONTEXT
            )

    def connection_closed(self, event: ConnectionClosedEvent) -> None:
        """Count a connection no longer, and count why."""
        connection = event.address, event.connection_id
        if self._connections is not None:
            self._connections.forget(connection)
        if self._commands:
            self._commands.closed(connection)
        pool = self._pools[event.address]
        was_open = pool.close_connection(event.connection_id)
        instruments = self.telemetry.pool_instruments
        if instruments and was_open and event.reason:
            reason = {**pool.attributes, CONNECTION_CLOSE_REASON: event.reason}
            instruments.connection_closes.add(1, reason, NOBODYS_CONTEXT)

    def connection_check_out_started(self, event: ConnectionCheckOutStartedEvent) -> None:
        """Count a caller that waits."""
        if self._counts:
            self._pools[event.address].wait_for(caller())

    def connection_checked_out(self, event: ConnectionCheckedOutEvent) -> None:
        """Count a connection as used, and measure the wait for it."""
        address, connection_id = event.address, event.connection_id
        if self._connections is not None:
            self._connections.check_out((address, connection_id))
        pool = self._pools[address]
        if self._counts:
            pool.pending.pop(caller(), None)
        pool.used[connection_id] = time.monotonic()
        seconds = _seconds(event)
        is_slow = seconds >= self._threshold
        if instruments := self.telemetry.pool_instruments:
            # Whose wait it was, is only worth the price of an exemplar if it was a long one.
            record = pool.record_wait_time or self._record_wait_time(pool, instruments)
            record(seconds, None if is_slow else NOBODYS_CONTEXT)
        if is_slow and self.waits:
            is_new = pool.has_created(connection_id, seconds)
            self.waits.checked_out(address, pool.name, seconds, is_new=is_new)

    def _record_wait_time(self, pool: Pool, instruments: Instruments) -> Record:
        pool.record_wait_time = bound(
            instruments.connection_wait_time,
            pool.attributes,
            may_bind=self.telemetry.settings.bind_measurements,
        )
        return pool.record_wait_time

    def connection_check_out_failed(self, event: ConnectionCheckOutFailedEvent) -> None:
        """Tell why there is no connection."""
        pool = self._pools[event.address]
        # One that was made for a task which is cancelled before it gets it, PyMongo forgets.
        pool.connections.discard(pool.pending.pop(caller(), None))
        failure = _check_out_failure(event)
        if instruments := self.telemetry.pool_instruments:
            if event.reason == ConnectionCheckOutFailedReason.TIMEOUT:
                instruments.connection_timeouts.add(1, pool.attributes)
            error = {**pool.attributes, ERROR_TYPE: failure.error_type}
            instruments.check_out_failures.add(1, error)
        if self.waits:
            self.waits.checked_out(event.address, pool.name, _seconds(event), failure)

    def connection_checked_in(self, event: ConnectionCheckedInEvent) -> None:
        """Count a connection as idle, and measure its use."""
        address, connection_id = event.address, event.connection_id
        pool = self._pools[address]
        since = pool.used.pop(connection_id, None)
        if self._commands:
            self._commands.checked_in((address, connection_id, since))
        if not self._measures_use:
            return
        instruments = self.telemetry.pool_instruments
        if instruments and since is not None:
            seconds = time.monotonic() - since
            instruments.connection_use_time.record(seconds, pool.attributes)


def _seconds(
    event: ConnectionReadyEvent | ConnectionCheckedOutEvent | ConnectionCheckOutFailedEvent,
) -> float:
    seconds = event.duration
    if seconds is None or seconds < 0:  # A clock that was set back made it negative until 4.18.
        return 0.0
    return seconds


def _check_out_failure(event: ConnectionCheckOutFailedEvent) -> Failure:
    if event.reason == ConnectionCheckOutFailedReason.CONN_ERROR and (error := exception_in_hand()):
        return exception_failure(error)
    error_type = _RAISED_LATER[event.reason]
    return Failure(error_type, None, error_type.rpartition(".")[2], event.reason)


def _pool_cleared(address: Address, pool: Pool) -> ClusterEvent:
    return ClusterEvent(
        CLIENT_POOL_CLEARED,
        time.time_ns(),
        {**server_attributes(address), POOL_NAME: pool.name},
        f"Connection pool {pool.name} cleared",
        address,
        is_warning=True,
    )

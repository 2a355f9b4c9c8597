"""The connection pools of one client: their counts, times and failures."""

from __future__ import annotations

from time import monotonic, time_ns
from typing import TYPE_CHECKING, Protocol

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from pymongo.monitoring import (
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutFailedReason,
    ConnectionCheckOutStartedEvent,
    ConnectionPoolListener,
)

from otel_mongo_apm._cluster.timeline import ClusterEvent
from otel_mongo_apm._driver.callers import caller, current_task
from otel_mongo_apm._driver.event_fields import fields
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
        ConnectionCheckOutFailedEvent,
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
    from otel_mongo_apm._commands.in_flight import InFlightCommands
    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._metrics.instruments import Instruments
    from otel_mongo_apm._otel.addresses import Address
    from otel_mongo_apm._otel.bound import Record
    from otel_mongo_apm._settings.telemetry import Telemetry

    from .pools import Pools

# The exceptions that PyMongo raises after it has published the failure. It does not raise the one
# of a closed pool.
_RAISED_LATER = {
    ConnectionCheckOutFailedReason.TIMEOUT: "pymongo.errors.WaitQueueTimeoutError",
    ConnectionCheckOutFailedReason.POOL_CLOSED: OTHER_ERROR,
    ConnectionCheckOutFailedReason.CONN_ERROR: "pymongo.errors.AutoReconnect",
}

_wanted_address = fields(ConnectionCheckOutStartedEvent, "address")
_what_was_checked_out = fields(ConnectionCheckedOutEvent, "address", "connection_id", "duration")
_what_was_checked_in = fields(ConnectionCheckedInEvent, "address", "connection_id")


class CommandConnections(Protocol):
    """Gets to know when the connection of a command is returned or closed."""

    in_flight: InFlightCommands

    def checked_in(self, connection: CheckedIn) -> None:
        """Called when this thread or task has returned a connection."""

    def closed(self, connection: tuple[Address, int]) -> None:
        """Called when a connection was closed."""


class CheckOuts(Protocol):
    """Gets to know how long callers waited for a connection."""

    # In seconds; shorter waits are not reported unless they failed.
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
        """Called when a check-out has ended."""


@shielded_listener
class PoolTelemetry(ConnectionPoolListener):
    """Counts and measures one client's connections.

    PyMongo calls some of these methods while it holds locks, so they never wait.

    Args:
        client: The client.
        telemetry: What all clients share.
        cluster: The client's cluster.
        pools: The client's pools.
        connections: Finds the connection that a command uses.
        waits: Gets to know how long callers waited for a connection.
        commands: Gets to know when the connection of a command is returned or closed.
    """

    # The object that created the listener, kept alive as long as the listener.
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
        """Create a pool; the event contains only options that differ from their defaults."""
        pool = self._pools.create(event.address)
        pool.max_size = event.options.get("maxPoolSize", DEFAULT_MAX_SIZE)
        pool.min_size = event.options.get("minPoolSize", 0)

    def pool_ready(self, event: PoolReadyEvent) -> None:
        """Set the pool's counters to 0. Its client is known by now, even with passed listeners."""
        pool = self._pools.identify(event.address)
        if instruments := self.telemetry.pool_instruments:
            instruments.start_counting(pool.attributes)

    def pool_cleared(self, event: PoolClearedEvent) -> None:
        """Report discarded connections, and look at the cluster, as a server may have changed."""
        pool = self._pools[event.address]
        if event.service_id is None and current_task():
            # If a task is cancelled before it has closed the idle connections, PyMongo forgets
            # them. A thread may publish this event late, when the pool has new connections again,
            # but threads are not cancelled.
            pool.give_up_idle()
        if not self.telemetry.is_on:
            return
        if instruments := self.telemetry.pool_instruments:
            instruments.pool_clears.add(1, pool.attributes, NOBODYS_CONTEXT)
        if self.telemetry.sees_cluster:
            self.cluster.look()
            self.cluster.note(_pool_cleared(event.address, pool))

    def pool_closed(self, event: PoolClosedEvent) -> None:
        """Stop observing a pool. If all pools are closed, so is the client."""
        self._pools.close(event.address)
        if not self.telemetry.sees_cluster or self.cluster.has_dropped(event.address):
            return
        if all(pool.is_closed for pool in list(self._pools.values())):
            self.cluster.pools_closed()

    def connection_created(self, event: ConnectionCreatedEvent) -> None:
        """Do nothing, because the connection may still fail until it is ready."""

    def connection_ready(self, event: ConnectionReadyEvent) -> None:
        """Count a connection, and measure how long it took to open."""
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
                _seconds(event.duration), pool.attributes, NOBODYS_CONTEXT
            )

    def connection_closed(self, event: ConnectionClosedEvent) -> None:
        """Stop counting a connection, and count the reason."""
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
            self._pools[_wanted_address(event)].wait_for(caller())

    def connection_checked_out(self, event: ConnectionCheckedOutEvent) -> None:
        """Count a connection as used, and measure the wait for it."""
        address, connection_id, duration = _what_was_checked_out(event)
        if self._connections is not None:
            self._connections.check_out((address, connection_id))
        pool = self._pools[address]
        if self._counts:
            pool.pending.pop(caller(), None)
        pool.used[connection_id] = monotonic()
        seconds = _seconds(duration)
        is_slow = seconds >= self._threshold
        if instruments := self.telemetry.pool_instruments:
            # An exemplar costs time, so only long waits have one.
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
        """Report why a caller got no connection."""
        pool = self._pools[event.address]
        # PyMongo forgets a connection that it created for a task that was then cancelled.
        pool.connections.discard(pool.pending.pop(caller(), None))
        failure = _check_out_failure(event)
        if instruments := self.telemetry.pool_instruments:
            if event.reason == ConnectionCheckOutFailedReason.TIMEOUT:
                instruments.connection_timeouts.add(1, pool.attributes)
            error = {**pool.attributes, ERROR_TYPE: failure.error_type}
            instruments.check_out_failures.add(1, error)
        if self.waits:
            self.waits.checked_out(event.address, pool.name, _seconds(event.duration), failure)

    def connection_checked_in(self, event: ConnectionCheckedInEvent) -> None:
        """Count a connection as idle, and measure its use."""
        address, connection_id = _what_was_checked_in(event)
        pool = self._pools[address]
        since = pool.used.pop(connection_id, None)
        if self._commands is not None and self._commands.in_flight.has_own():
            self._commands.checked_in((address, connection_id, since))
        if not self._measures_use:
            return
        instruments = self.telemetry.pool_instruments
        if instruments and since is not None:
            seconds = monotonic() - since
            instruments.connection_use_time.record(seconds, pool.attributes)


def _seconds(duration: float | None) -> float:
    # Up to 4.17, a clock that was set back made it negative.
    return 0.0 if duration is None or duration < 0 else duration


def _check_out_failure(event: ConnectionCheckOutFailedEvent) -> Failure:
    if event.reason == ConnectionCheckOutFailedReason.CONN_ERROR and (error := exception_in_hand()):
        return exception_failure(error)
    error_type = _RAISED_LATER[event.reason]
    return Failure(error_type, None, error_type.rpartition(".")[2], event.reason)


def _pool_cleared(address: Address, pool: Pool) -> ClusterEvent:
    return ClusterEvent(
        CLIENT_POOL_CLEARED,
        time_ns(),
        {**server_attributes(address), POOL_NAME: pool.name},
        f"Connection pool {pool.name} cleared",
        address,
        is_warning=True,
    )

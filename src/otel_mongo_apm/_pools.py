"""The connection pools of one client: their counts, times and failures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Protocol
from weakref import ref

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from pymongo.monitoring import ConnectionCheckOutFailedReason, ConnectionPoolListener

from ._attributes import Failure, exception_failure, server_attributes
from ._callers import NOBODYS_CONTEXT, caller, current_task, is_over
from ._compat import app_name, exception_in_hand
from ._descriptions import written
from ._semconv import CLIENT_POOL_CLEARED, CONNECTION_CLOSE_REASON, OTHER_ERROR, POOL_NAME
from ._shield import shielded_listener
from ._timeline import ClusterEvent

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

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

    from ._attributes import Address, Attributes
    from ._client import ClientTelemetry
    from ._client_reference import ClientReference

DEFAULT_MAX_SIZE = 100
# How many callers may wait before those are dropped that have gone without a word.
MANY_PENDING = 256
# What PyMongo raises, but only after it has published the failure. The exception of a closed pool
# is one that it keeps to itself.
_RAISED_LATER = {
    ConnectionCheckOutFailedReason.TIMEOUT: "pymongo.errors.WaitQueueTimeoutError",
    ConnectionCheckOutFailedReason.POOL_CLOSED: OTHER_ERROR,
    ConnectionCheckOutFailedReason.CONN_ERROR: "pymongo.errors.AutoReconnect",
}


@dataclass(eq=False)
class Pool:
    """One pool. That a connection was closed may be told twice, so these are sets, not counts.

    Args:
        name: As metrics have it.
        max_size: How many connections it may have; 0 for no limit.
        min_size: How many it keeps.
        connections: The driver's IDs of those that are open.
        used: The IDs of those that are checked out, with the time of it if that is measured.
        given_up: The IDs of those that were idle when the pool was cleared last.
        pending: The threads and tasks that wait for one, with the one that was made for them.
        is_closed: Whether it is only here for its last connections to come back to.
    """

    name: str
    max_size: int = DEFAULT_MAX_SIZE
    min_size: int = 0
    connections: set[int] = field(default_factory=set)
    used: dict[int, float] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)
    pending: dict[Hashable, int | None] = field(default_factory=dict)
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.attributes: Attributes = {POOL_NAME: self.name}

    @property
    def idle(self) -> int:
        """How many connections are open that nobody uses."""
        # The copy is atomic. What is given up may be in use for the last time.
        return len(self.connections.difference(list(self.used)))

    def give_up_idle(self) -> None:
        """Count those connections no longer that are idle, whether or not they will be closed."""
        self.given_up = self.connections.difference(list(self.used))
        self.connections -= self.given_up

    def close_connection(self, connection: int) -> bool:
        """Count a connection no longer; whether it was one of the pool's."""
        was_open = connection in self.connections or connection in self.given_up
        self.connections.discard(connection)
        self.given_up.discard(connection)
        self.used.pop(connection, None)
        return was_open

    def wait_for(self, waiting: Hashable) -> None:
        """Count a caller that asks for a connection."""
        if len(self.pending) >= MANY_PENDING:
            self.drop_the_silent()
        self.pending[waiting] = None

    def drop_the_silent(self) -> None:
        """Forget those that wait no longer: of a task that was cancelled PyMongo says nothing."""
        for waiting in list(self.pending):
            if is_over(waiting):
                self.pending.pop(waiting, None)


# Each until it is closed or gone. Not a WeakValueDictionary: of two threads that call its
# `setdefault` at once, both may be told that the name is theirs.
_pools_by_name: dict[str, ref[Pool]] = {}


def _has_own_name(pool: Pool) -> bool:
    """Let a pool have its name, if no other has it."""
    reference = ref(pool, partial(_free, pool.name))
    return _pools_by_name.setdefault(pool.name, reference) is reference


def _free(name: str, reference: ref[Pool]) -> None:
    if _pools_by_name.get(name) is reference:
        _pools_by_name.pop(name, None)


def _named_pool(address: Address, application: str | None) -> Pool:
    """Make a pool with a name that no other of this process has."""
    server = written(address)
    suffixes: Iterator[object] = chain([application] if application else [], count(2))
    names = chain([server], (f"{server}/{suffix}" for suffix in suffixes))
    return next(pool for pool in map(Pool, names) if _has_own_name(pool))


class Pools(dict["Address", Pool]):
    """One client's pools by their servers."""

    def __init__(self, client: ClientReference) -> None:
        super().__init__()
        self._client = client

    def __missing__(self, address: Address) -> Pool:
        # In the child of a fork many threads may be the first to meet one; then all take the same.
        return self.setdefault(address, self._new(address))

    def close(self, address: Address) -> None:
        """Close a pool, and let another have its name."""
        if (pool := self.get(address)) and not pool.is_closed:
            pool.is_closed = True
            _pools_by_name.pop(pool.name, None)

    def start_anew(self) -> None:
        """Know no pools; the child of a fork has none of its parent's connections."""
        self.clear()
        _pools_by_name.clear()

    def create(self, address: Address) -> Pool:
        """Begin a pool anew."""
        self.close(address)
        pool = self[address] = self._new(address)
        return pool

    def _new(self, address: Address) -> Pool:
        client = self._client()
        return _named_pool(address, None if client is None else app_name(client))


class CommandConnections(Protocol):
    """Whoever wants to know when the connection of a command is given back or closed."""

    def checked_in(self, connection: tuple[Address, int]) -> None:
        """Learn that this thread or task has given a connection back."""

    def closed(self, connection: tuple[Address, int]) -> None:
        """Learn that a connection was closed."""


@shielded_listener
class PoolTelemetry(ConnectionPoolListener):
    """Counts and measures one client's connections.

    PyMongo calls some of these methods with its locks held, so they wait for nobody.
    """

    def __init__(self, client: ClientTelemetry, commands: CommandConnections | None = None) -> None:
        self.of = client
        self._commands = commands
        self.client = client.client
        self.telemetry = client.telemetry
        self.cluster = client.cluster
        self.waits = client.waits
        self._connections = client.connections
        self._pools = client.pools
        self._counts = client.telemetry.pool_instruments is not None
        self._measures_use = self._counts and client.telemetry.settings.pool_use_time

    def pool_created(self, event: PoolCreatedEvent) -> None:
        """Make a pool; PyMongo tells those of its options that are no defaults."""
        pool = self._pools.create(event.address)
        pool.max_size = event.options.get("maxPoolSize", DEFAULT_MAX_SIZE)
        pool.min_size = event.options.get("minPoolSize", 0)

    def pool_ready(self, event: PoolReadyEvent) -> None:
        """Do nothing: that its server is known is told by a heartbeat."""

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
        if self.cluster.has_dropped(event.address):
            return
        if all(pool.is_closed for pool in list(self._pools.values())):
            self.cluster.close()

    def connection_created(self, event: ConnectionCreatedEvent) -> None:
        """Do nothing: until it is ready it may still fail."""

    def connection_ready(self, event: ConnectionReadyEvent) -> None:
        """Count a connection, and measure how long it took to make."""
        if not self._counts:
            return
        pool = self._pools[event.address]
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
        connection = address, connection_id = event.address, event.connection_id
        self._connections.check_out(connection)
        if self._counts:
            pool = self._pools[address]
            pool.pending.pop(caller(), None)
            pool.used[connection_id] = time.monotonic() if self._measures_use else 0.0
        seconds = _seconds(event)
        if instruments := self.telemetry.pool_instruments:
            instruments.connection_wait_time.record(seconds, pool.attributes)
        if self.waits and seconds >= self.waits.threshold:
            self.waits.checked_out(address, self._pools[address].name, seconds)

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
        connection = address, connection_id = event.address, event.connection_id
        if self._commands:
            self._commands.checked_in(connection)
        if not self._counts:
            return
        pool = self._pools[address]
        since = pool.used.pop(connection_id, None)
        instruments = self.telemetry.pool_instruments
        if self._measures_use and instruments and since is not None:
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
        {**server_attributes(address), **pool.attributes},
        f"Connection pool {pool.name} cleared",
        address,
        is_warning=True,
    )

"""One client's set of listeners, put together."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from otel_mongo_apm._cluster.listener import HeartbeatTelemetry
from otel_mongo_apm._cluster.log import ClusterLog
from otel_mongo_apm._cluster.spans import ClusterSpans
from otel_mongo_apm._cluster.state import Cluster
from otel_mongo_apm._cluster.timeline import Timeline
from otel_mongo_apm._commands.connections import Connections
from otel_mongo_apm._commands.in_flight import InFlightCommands
from otel_mongo_apm._commands.listener import CommandTelemetry
from otel_mongo_apm._commands.spans import CommandSpans
from otel_mongo_apm._driver.client_reference import ClientReference
from otel_mongo_apm._operations.calls import wrap_calls
from otel_mongo_apm._operations.command_spans import MongodbCommandSpans
from otel_mongo_apm._operations.operation import context_in_progress
from otel_mongo_apm._operations.transactions import wrap_transactions
from otel_mongo_apm._pools.listener import PoolTelemetry
from otel_mongo_apm._pools.pools import Pools
from otel_mongo_apm._settings.settings import Settings
from otel_mongo_apm._settings.telemetry import Telemetry
from otel_mongo_apm._waits.selection import wrap_server_selection
from otel_mongo_apm._waits.spans import Waits

from .closing import wrap_close

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.monitoring import _EventListener

    from otel_mongo_apm._driver.wrapping import Undo
    from otel_mongo_apm._pools.pool import Pool

Listener = TypeVar("Listener", CommandTelemetry, HeartbeatTelemetry, PoolTelemetry)
LISTENERS = (CommandTelemetry, HeartbeatTelemetry, PoolTelemetry)


class ClientTelemetry:
    """All that is known of one client, and its listeners, each given what it uses.

    Args:
        telemetry: What all clients share.
        client: The client.
    """

    def __init__(self, telemetry: Telemetry, client: ClientReference) -> None:
        settings = telemetry.settings
        self.telemetry = telemetry
        self.client = client
        self.timeline = timeline = Timeline()
        self.in_flight = InFlightCommands()
        self.connections = Connections()
        self.pools = Pools(client)
        by_operation = (context_in_progress,) if telemetry.traces_operations else ()
        self.waits = Waits(telemetry, timeline, *by_operation) if settings.command_spans else None
        self.cluster = Cluster(
            client,
            timeline,
            ClusterLog(settings),
            ClusterSpans(telemetry, timeline),
            telemetry.topology_instruments,
        )
        if telemetry.command_instruments:
            telemetry.command_instruments.observed.add(self)

    def listeners(self) -> Iterator[_EventListener]:
        """Make its set: without those whose telemetry is off."""
        settings = self.telemetry.settings
        commands = None
        if settings.command_spans or settings.metrics:
            yield (commands := self.command_listener())
        if commands or self.telemetry.sees_cluster:
            yield self.pool_listener(commands)
        if self.telemetry.sees_cluster:
            yield self.heartbeat_listener()

    def command_listener(self) -> CommandTelemetry:
        """Make the one to commands, whose spans are those of the convention that is set."""
        spans = MongodbCommandSpans if self.telemetry.traces_operations else CommandSpans
        return self._keep(
            CommandTelemetry(
                self.client,
                self.telemetry,
                self.timeline,
                self.in_flight,
                self.connections,
                spans(self.telemetry, self.timeline),
            )
        )

    def pool_listener(self, commands: CommandTelemetry | None = None) -> PoolTelemetry:
        """Make the one to connection pools.

        Args:
            commands: The one to commands, if there is one.
        """
        return self._keep(
            PoolTelemetry(
                self.client,
                self.telemetry,
                self.cluster,
                self.pools,
                self.connections,
                self.waits,
                commands,
            )
        )

    def heartbeat_listener(self) -> HeartbeatTelemetry:
        """Make the one to heartbeats."""
        return self._keep(HeartbeatTelemetry(self.client, self.telemetry, self.cluster))

    def _keep(self, listener: Listener) -> Listener:
        _of_listener[listener] = self
        return listener

    def observed_pools(self) -> list[Pool]:
        """Its pools that are open; none if they are not measured."""
        if not self.telemetry.pool_instruments:
            return []
        self.pools.reconcile()
        return [pool for pool in list(self.pools.values()) if not pool.is_closed]

    def observed_cluster(self) -> Cluster | None:
        """Its cluster; none if that is not measured."""
        return self.cluster if self.telemetry.topology_instruments else None

    def start_anew(self) -> None:
        """Forget what only the parent of a fork has: its connections, commands and monitors."""
        self.in_flight.start_anew()
        self.connections.start_anew()
        self.pools.start_anew()
        self.cluster.start_anew()


# A client keeps its listeners, and they keep what is known of it, for as long as they are there.
_of_listener: WeakKeyDictionary[Any, ClientTelemetry] = WeakKeyDictionary()


def client_telemetry(listener: Any) -> ClientTelemetry:
    """All that is known of the client of one of our listeners."""
    return _of_listener[listener]


def _start_anew() -> None:
    for client in set(_of_listener.values()):
        client.start_anew()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_start_anew)


def ours_among(listeners: Iterable[Any]) -> list[Any]:
    """Those of a client's listeners that are ours."""
    return [each for each in listeners if isinstance(each, LISTENERS)]


def client_listeners(telemetry: Telemetry, client: ClientReference) -> list[_EventListener]:
    """One client's set of listeners."""
    return list(ClientTelemetry(telemetry, client).listeners())


def event_listeners(**settings: Any) -> list[_EventListener]:
    """Listeners for one client, for those who would rather pass them than `instrument()`.

    ``MongoClient(event_listeners=[*event_listeners(query_text="off"), my_listener])``. Make a
    set for each client: the pools and the cluster of two cannot be told apart in one set.

    Args:
        settings: The keywords of `Settings`; also ``capture_statement``.

    Raises:
        TypeError: A keyword is unknown, or its value is of a wrong type.
        ValueError: A keyword's value is not among those accepted.
    """
    telemetry = Telemetry(Settings.resolve(**settings))
    keep_wrapped(telemetry)
    return client_listeners(telemetry, ClientReference())


def keep_wrapped(telemetry: Telemetry) -> None:
    """Wrap what has no event, for good: nobody says when the last of the clients is gone."""
    _keep_wrapped(telemetry.traces_operations)


@functools.cache
def _keep_wrapped(traces_operations: bool) -> None:  # noqa: FBT001 - The cache's key.
    wrap(traces_operations=traces_operations)


def wrap(*, traces_operations: bool) -> list[Undo]:
    """Wrap what has no event; return what undoes it."""
    undos = [wrap_server_selection(), wrap_close()]
    if traces_operations:
        undos += [wrap_transactions(), wrap_calls()]
    return undos

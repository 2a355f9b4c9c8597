"""Puts together one client's set of listeners."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from otel_mongo_apm._cluster.listener import HeartbeatTelemetry
from otel_mongo_apm._cluster.log import ClusterLog
from otel_mongo_apm._cluster.report import ClusterReport
from otel_mongo_apm._cluster.spans import ClusterSpans
from otel_mongo_apm._cluster.state import Cluster
from otel_mongo_apm._cluster.timeline import Timeline
from otel_mongo_apm._cluster.topology_listener import ServerTelemetry, TopologyTelemetry
from otel_mongo_apm._commands.connections import Connections
from otel_mongo_apm._commands.in_flight import InFlightCommands
from otel_mongo_apm._commands.listener import CommandTelemetry
from otel_mongo_apm._commands.spans import CommandSpans
from otel_mongo_apm._explain.slow_commands import SlowCommands
from otel_mongo_apm._operations.command_spans import MongodbCommandSpans
from otel_mongo_apm._operations.in_progress import context_in_progress
from otel_mongo_apm._otel.shield import quietly_shielded
from otel_mongo_apm._pools.listener import PoolTelemetry
from otel_mongo_apm._pools.pools import Pools
from otel_mongo_apm._waits.selection import observe_anew
from otel_mongo_apm._waits.spans import Waits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.monitoring import _EventListener

    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._pools.pool import Pool
    from otel_mongo_apm._settings.telemetry import Telemetry

LISTENERS = (
    CommandTelemetry,
    HeartbeatTelemetry,
    PoolTelemetry,
    ServerTelemetry,
    TopologyTelemetry,
)
Listener = TypeVar(
    "Listener",
    CommandTelemetry,
    HeartbeatTelemetry,
    PoolTelemetry,
    ServerTelemetry,
    TopologyTelemetry,
)


class ClientTelemetry:
    """The state of one client's telemetry, and its listeners.

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
        has_waits = settings.command_spans
        self.waits = Waits(client, telemetry, timeline, *by_operation) if has_waits else None
        report = ClusterReport(
            ClusterLog(settings),
            ClusterSpans(telemetry, timeline),
            telemetry.topology_instruments,
        )
        self.cluster = Cluster(client, timeline, report)
        self._commands: CommandTelemetry | None = None
        self._slow_commands = self._made_slow_commands()
        if telemetry.command_instruments:
            telemetry.command_instruments.observed.add(self)
        if telemetry.topology_instruments:
            telemetry.topology_instruments.start_counting_changes()
        _alive[id(self)] = self

    def listeners(self) -> Iterator[_EventListener]:
        """Create the client's listeners, except those whose telemetry is off."""
        settings = self.telemetry.settings
        commands = None
        if settings.command_spans or settings.metrics:
            yield (commands := self.command_listener())
        if commands or self.telemetry.sees_cluster:
            yield self.pool_listener(commands)
        if self.telemetry.sees_cluster:
            yield self.heartbeat_listener()
        if self.telemetry.sees_cluster and settings.topology_listeners:
            yield from self.topology_listeners()

    def command_listener(self) -> CommandTelemetry:
        """Create the command listener, with the spans of the configured convention."""
        self._commands = CommandTelemetry(
            self.client,
            self.telemetry,
            self.timeline,
            self.in_flight,
            self.connections,
            self._command_spans(),
        )
        return self._own(self._commands)

    def _command_spans(self) -> CommandSpans:
        spans = MongodbCommandSpans if self.telemetry.traces_operations else CommandSpans
        return spans(self.telemetry, self.timeline, self._slow_commands)

    def take_settings(self) -> None:
        """Apply the settings that can change."""
        if self._commands:
            self._commands.take_settings(self._command_spans())
        if self.waits:
            self.waits.take_settings()
        if (client := self.client()) is not None:
            observe_anew(client)

    def _made_slow_commands(self) -> SlowCommands | None:
        threshold = self.telemetry.settings.explain_slower_than
        if threshold is None:
            return None
        has_room = self.pools.has_room
        return SlowCommands(self.client, self.telemetry, threshold, has_room)

    def pool_listener(self, commands: CommandTelemetry | None = None) -> PoolTelemetry:
        """Create the connection pool listener.

        Args:
            commands: The one to commands, if there is one.
        """
        return self._own(
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
        """Create the heartbeat listener."""
        return self._own(HeartbeatTelemetry(self.client, self.telemetry, self.cluster))

    def topology_listeners(self) -> Iterator[_EventListener]:
        """Create the server and topology listeners, which replace looking at the cluster."""
        self.cluster.is_told = True
        yield self._own(ServerTelemetry(self.client, self.telemetry, self.cluster))
        yield self._own(TopologyTelemetry(self.client, self.telemetry, self.cluster))

    def _own(self, listener: Listener) -> Listener:
        # The client keeps its listeners alive, and each listener keeps this object alive. A table
        # with weak keys would leak, because this object refers to the listeners through the
        # cluster's description.
        listener.owner = self
        return listener

    def observed_pools(self) -> list[Pool]:
        """Return the open pools; none if they are not measured."""
        if not self.telemetry.pool_instruments:
            return []
        self.pools.reconcile()
        return [pool for pool in list(self.pools.values()) if not pool.is_closed]

    def observed_cluster(self) -> Cluster | None:
        """Return the cluster; None if it is not measured."""
        return self.cluster if self.telemetry.topology_instruments else None

    def start_anew(self) -> None:
        """Reset the state in a forked child, which has no connections, commands or monitors."""
        self.in_flight.start_anew()
        self.connections.start_anew()
        self.pools.start_anew()
        self.cluster.start_anew()


_alive: WeakValueDictionary[int, ClientTelemetry] = WeakValueDictionary()


def client_telemetry(listener: Any) -> ClientTelemetry:
    """Return the telemetry of the client that one of our listeners belongs to."""
    owner: ClientTelemetry = listener.owner
    return owner


def clients_of(telemetry: Telemetry) -> list[ClientTelemetry]:
    """Return the existing clients that share a telemetry."""
    return [client for client in list(_alive.values()) if client.telemetry is telemetry]


def end_clusters(telemetry: Telemetry) -> None:
    """End and report the discoveries and outages of the clients that share a telemetry."""
    for client in clients_of(telemetry):
        _end_cluster(client.cluster)


@quietly_shielded
def _end_cluster(cluster: Cluster) -> None:
    cluster.end("it was uninstrumented")
    cluster.tell()


def _start_anew() -> None:
    for client in list(_alive.values()):
        client.start_anew()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_start_anew)


def ours_among(listeners: Iterable[Any]) -> list[Any]:
    """Return the listeners that belong to this package."""
    return [each for each in listeners if isinstance(each, LISTENERS)]


def client_listeners(telemetry: Telemetry, client: ClientReference) -> list[_EventListener]:
    """Create one client's set of listeners."""
    return list(ClientTelemetry(telemetry, client).listeners())

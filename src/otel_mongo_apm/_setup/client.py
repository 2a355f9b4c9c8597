"""One client's set of listeners, put together."""

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
        """Make its set: without those whose telemetry is off."""
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
        """Make the one to commands, whose spans are those of the convention that is set."""
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
        """Take over the settings that can change."""
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
        """Make the one to connection pools.

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
        """Make the one to heartbeats."""
        return self._own(HeartbeatTelemetry(self.client, self.telemetry, self.cluster))

    def topology_listeners(self) -> Iterator[_EventListener]:
        """Make those to servers and the topology, which then tell instead of looking."""
        self.cluster.is_told = True
        yield self._own(ServerTelemetry(self.client, self.telemetry, self.cluster))
        yield self._own(TopologyTelemetry(self.client, self.telemetry, self.cluster))

    def _own(self, listener: Listener) -> Listener:
        # A client keeps its listeners, and so this with them. A table with weak keys would keep all
        # for ever: by way of the cluster's description this reaches the listeners.
        listener.owner = self
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


_alive: WeakValueDictionary[int, ClientTelemetry] = WeakValueDictionary()


def client_telemetry(listener: Any) -> ClientTelemetry:
    """All that is known of the client of one of our listeners."""
    owner: ClientTelemetry = listener.owner
    return owner


def clients_of(telemetry: Telemetry) -> list[ClientTelemetry]:
    """The clients that are there of those that share settings."""
    return [client for client in list(_alive.values()) if client.telemetry is telemetry]


def end_clusters(telemetry: Telemetry) -> None:
    """End the discoveries and outages of the clients that share a telemetry, and tell them."""
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
    """Those of a client's listeners that are ours."""
    return [each for each in listeners if isinstance(each, LISTENERS)]


def client_listeners(telemetry: Telemetry, client: ClientReference) -> list[_EventListener]:
    """One client's set of listeners."""
    return list(ClientTelemetry(telemetry, client).listeners())

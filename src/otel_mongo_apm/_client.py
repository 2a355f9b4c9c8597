"""What one client's listeners share, and the listeners."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ._client_reference import ClientReference
from ._closing import wrap_close
from ._cluster import HeartbeatTelemetry
from ._cluster_log import ClusterLog
from ._cluster_spans import ClusterSpans
from ._cluster_state import Cluster
from ._commands import CommandTelemetry
from ._connections import Connections
from ._inflight import InFlightCommands
from ._pools import Pools, PoolTelemetry
from ._selection import wrap_server_selection
from ._settings import Settings
from ._telemetry import Telemetry
from ._timeline import Timeline
from ._transactions import wrap_transactions
from ._waits import Waits
from ._wrapped_calls import wrap_calls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.monitoring import _EventListener

    from ._wrapping import Undo

LISTENERS = (CommandTelemetry, HeartbeatTelemetry, PoolTelemetry)


class ClientTelemetry:
    """All that is known of one client; its listeners keep it, and the client keeps them.

    Args:
        telemetry: What all clients share.
        client: The client.
    """

    def __init__(self, telemetry: Telemetry, client: ClientReference) -> None:
        settings = telemetry.settings
        self.telemetry = telemetry
        self.client = client
        self.timeline = Timeline()
        self.in_flight = InFlightCommands()
        self.connections = Connections()
        self.pools = Pools(client)
        self.waits = Waits(telemetry, self.timeline) if settings.command_spans else None
        self.cluster = Cluster(
            client,
            self.timeline,
            ClusterLog(settings),
            ClusterSpans(telemetry, self.timeline),
            telemetry.topology_instruments,
        )
        telemetry.observe(self)
        _alive[id(self)] = self

    def tell_the_end(self) -> None:
        """Tell that the client was closed."""
        if self.telemetry.is_on:
            self.cluster.close()
            self.cluster.tell()

    def start_anew(self) -> None:
        """Forget what only the parent of a fork has: its connections, commands and monitors."""
        self.in_flight.start_anew()
        self.connections.start_anew()
        self.pools.start_anew()
        self.cluster.start_anew()


_alive: WeakValueDictionary[int, ClientTelemetry] = WeakValueDictionary()


def _start_anew() -> None:
    for client in list(_alive.values()):
        client.start_anew()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_start_anew)


def ours_among(listeners: Iterable[Any]) -> list[Any]:
    """Those of a client's listeners that are ours."""
    return [each for each in listeners if isinstance(each, LISTENERS)]


def client_listeners(telemetry: Telemetry, client: ClientReference) -> list[_EventListener]:
    """One client's set of listeners: what is off is not among them."""
    return list(_listeners(ClientTelemetry(telemetry, client)))


def _listeners(client: ClientTelemetry) -> Iterator[_EventListener]:
    telemetry = client.telemetry
    settings = telemetry.settings
    commands = None
    if settings.command_spans or settings.metrics:
        yield (commands := CommandTelemetry(client))
    if commands or telemetry.sees_cluster:
        yield PoolTelemetry(client, commands)
    if telemetry.sees_cluster:
        yield HeartbeatTelemetry(client)


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

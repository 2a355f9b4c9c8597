"""The optional server and topology listeners.

PyMongo publishes their events on a thread or task of its own, up to a second late. The listeners
only note them; our own thread tells them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pymongo.monitoring import ServerListener, TopologyListener

from otel_mongo_apm._otel.shield import shielded_listener

from .changes import server_changed, server_closed, server_opened
from .descriptions import server

if TYPE_CHECKING:
    from pymongo.monitoring import (
        ServerClosedEvent,
        ServerDescriptionChangedEvent,
        ServerOpeningEvent,
        TopologyClosedEvent,
        TopologyDescriptionChangedEvent,
        TopologyOpenedEvent,
    )
    from pymongo.server_description import ServerDescription

    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._settings.telemetry import Telemetry

    from .state import Cluster


class _OfCluster:
    """What both listeners have in common.

    Args:
        client: The client.
        telemetry: What all clients share.
        cluster: The client's cluster.
    """

    # The object that created the listener, kept alive as long as the listener.
    owner: object = None

    def __init__(self, client: ClientReference, telemetry: Telemetry, cluster: Cluster) -> None:
        self.client = client
        self.telemetry = telemetry
        self.cluster = cluster


@shielded_listener
class ServerTelemetry(_OfCluster, ServerListener):
    """Notes PyMongo's events about one client's servers."""

    def opened(self, event: ServerOpeningEvent) -> None:
        """Note that a server was added, unless an earlier event of the topology showed it."""
        topology = self.cluster.topology
        if self._is_wanted() and event.server_address not in topology.servers:
            self.cluster.note_of_server(
                server_opened(event.server_address, topology, time.time_ns())
            )

    def description_changed(self, event: ServerDescriptionChangedEvent) -> None:
        """Note that a server has changed; leave out repeated events about an unknown server."""
        old, new = server(event.previous_description), server(event.new_description)
        if self._is_wanted() and old != new:
            address, when = event.server_address, _time_of(event.new_description)
            change = server_changed(address, old, new, self.cluster.topology, when)
            self.cluster.note_of_server(change)

    def closed(self, event: ServerClosedEvent) -> None:
        """Note that a server was removed; leave out the servers of a closed client."""
        if self._is_wanted() and not self.cluster.is_closed:
            topology = self.cluster.topology
            self.cluster.note_of_server(
                server_closed(event.server_address, topology, time.time_ns())
            )

    def _is_wanted(self) -> bool:
        return self.telemetry.is_on and self.cluster.is_told and self.cluster.is_open


@shielded_listener
class TopologyTelemetry(_OfCluster, TopologyListener):
    """Notes PyMongo's events about one client's topology."""

    def opened(self, event: TopologyOpenedEvent) -> None:  # noqa: ARG002
        """Note that monitoring has begun; a heartbeat may have shown it before."""
        if self._is_wanted():
            self._open()
            self.cluster.have_told()

    def description_changed(self, event: TopologyDescriptionChangedEvent) -> None:
        """Note a change of the topology."""
        if self._is_wanted():
            self._open()
            self.cluster.take(event.new_description)
            self.cluster.have_told()

    def _open(self) -> None:
        # In a forked child, PyMongo opens the topology at once, even if nobody uses the client.
        if not self.cluster.is_inherited:
            self.cluster.open()

    def closed(self, event: TopologyClosedEvent) -> None:  # noqa: ARG002
        """Note that the client was closed."""
        if self._is_wanted():
            self.cluster.close()
            self.cluster.have_told()

    def _is_wanted(self) -> bool:
        return self.telemetry.is_on and self.cluster.is_told


def _time_of(description: ServerDescription) -> int:
    """Return when the driver learned of the change, in nanoseconds; the event comes later."""
    updated = description.last_update_time
    age = max(time.monotonic() - updated, 0.0) if updated else 0.0
    return time.time_ns() - round(age * 1_000_000_000)

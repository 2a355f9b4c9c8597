"""The heartbeat listener: looks at the cluster on each heartbeat.

By default we use no server and topology listeners, because of their side effects. PyMongo puts
their events into a queue with 100 entries, and blocks when it is full: an `AsyncMongoClient` blocks
forever. For these listeners, PyMongo starts a task in the constructor, so an `AsyncMongoClient` can
no longer be created outside of an event loop. And closing a client takes half a second. The
client's topology description contains the same information, without a delay of up to a second.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from pymongo.monitoring import ServerHeartbeatListener

from otel_mongo_apm._driver.background import is_background, warn_of_unknown_background
from otel_mongo_apm._driver.heartbeats import is_cancelled_check
from otel_mongo_apm._driver.reasons import Reason, reason
from otel_mongo_apm._otel.addresses import server_attributes
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import CLIENT_SERVER_HEARTBEAT_FAILED, HEARTBEAT_AWAITED
from otel_mongo_apm._otel.shield import shielded_listener

from .lines import server_line
from .timeline import ClusterEvent

if TYPE_CHECKING:
    from pymongo.monitoring import (
        ServerHeartbeatFailedEvent,
        ServerHeartbeatStartedEvent,
        ServerHeartbeatSucceededEvent,
    )

    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._otel.addresses import Attributes
    from otel_mongo_apm._settings.telemetry import Telemetry

    from .descriptions import Topology
    from .state import Cluster


@shielded_listener
class HeartbeatTelemetry(ServerHeartbeatListener):
    """Measures one client's heartbeats, and looks at the cluster on each of them.

    PyMongo's monitors call this listener, so it does not report anything itself. A slow log handler
    would prolong an outage, and a log handler that waits for MongoDB would block the monitor.

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
        self._instruments = telemetry.topology_instruments

    def started(self, event: ServerHeartbeatStartedEvent) -> None:  # noqa: ARG002
        """Look: the result of a check is known when the next check begins."""
        if self.telemetry.is_on:
            if not self.cluster.is_open and not is_background():
                self.cluster.untold.append(warn_of_unknown_background)
            self.cluster.open()
            self.cluster.have_told()

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Measure a check."""
        if self.telemetry.is_on:
            self._measure(event, {HEARTBEAT_AWAITED: event.awaited})
            # The driver is about to update this server's description; the next check may be late.
            if not self.cluster.is_known(event.connection_id):
                self.cluster.have_told()

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """Measure a check, and note its failure."""
        if not self.telemetry.is_on:
            return
        # Otherwise nothing has failed: the client is closed or being closed.
        if not is_cancelled_check(event.reply) and self.cluster.is_open:
            self._note_failure(event)
        self.cluster.have_told()

    def _note_failure(self, event: ServerHeartbeatFailedEvent) -> None:
        why = reason(event.reply)
        self._measure(event, {HEARTBEAT_AWAITED: event.awaited, ERROR_TYPE: why.error_type})
        self.cluster.note(_heartbeat_failed(event, why, self.cluster.topology))

    def _measure(
        self,
        event: ServerHeartbeatSucceededEvent | ServerHeartbeatFailedEvent,
        attributes: Attributes,
    ) -> None:
        if self._instruments:
            # The wall clock may have been set back.
            seconds = max(event.duration, 0.0)
            attributes = {**server_attributes(event.connection_id), **attributes}
            self._instruments.heartbeat_duration.record(seconds, attributes, NOBODYS_CONTEXT)


def _heartbeat_failed(
    event: ServerHeartbeatFailedEvent, why: Reason, topology: Topology
) -> ClusterEvent:
    address = event.connection_id
    return ClusterEvent(
        CLIENT_SERVER_HEARTBEAT_FAILED,
        time.time_ns(),
        {
            **server_attributes(address),
            ERROR_TYPE: why.error_type,
            HEARTBEAT_AWAITED: event.awaited,
        },
        server_line(address, topology, f"heartbeat failed, {why.words}"),
        address,
        is_warning=True,
    )

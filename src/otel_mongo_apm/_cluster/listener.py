"""Heartbeats: the occasions to look at the cluster.

There is no listener to servers or to the topology here, for they do harm. PyMongo puts their
events into a queue that holds 100 and blocks when it is full, an `AsyncMongoClient` for good; for
their sake it starts a task as soon as a client is made, so that an `AsyncMongoClient` could not be
made outside of an event loop any more; and it takes half a second to close a client. What they
tell is in the client's live description too, and there without their delay of up to a second.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from pymongo.monitoring import ServerHeartbeatListener

from otel_mongo_apm._driver.background import check_background
from otel_mongo_apm._driver.failures import exception_failure
from otel_mongo_apm._driver.heartbeats import is_cancelled_check
from otel_mongo_apm._otel.addresses import server_attributes, written
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import CLIENT_SERVER_HEARTBEAT_FAILED, HEARTBEAT_AWAITED
from otel_mongo_apm._otel.shield import shielded_listener

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

    from .state import Cluster


@shielded_listener
class HeartbeatTelemetry(ServerHeartbeatListener):
    """Measures one client's heartbeats and takes each as an occasion to look at the cluster.

    Args:
        client: The client.
        telemetry: What all clients share.
        cluster: The client's cluster.
    """

    # Whoever put it together; kept for as long as the listener is.
    owner: object = None

    def __init__(self, client: ClientReference, telemetry: Telemetry, cluster: Cluster) -> None:
        self.client = client
        self.telemetry = telemetry
        self.cluster = cluster
        self._instruments = telemetry.topology_instruments

    def started(self, event: ServerHeartbeatStartedEvent) -> None:  # noqa: ARG002
        """Look: a check of a server begins when the last one's result is known."""
        if self.telemetry.is_on:
            check_background()
            self.cluster.open()
            self.cluster.tell()

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Measure a check."""
        if self.telemetry.is_on:
            self._measure(event, {HEARTBEAT_AWAITED: event.awaited})

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """Measure a check, and tell of it."""
        if not self.telemetry.is_on:
            return
        if is_cancelled_check(event.reply) or not self.cluster.is_open:
            self.cluster.tell()  # Nothing has failed; a client is being closed, or was.
            return
        error_type = exception_failure(event.reply).error_type
        self._measure(event, {HEARTBEAT_AWAITED: event.awaited, ERROR_TYPE: error_type})
        self.cluster.note(_heartbeat_failed(event, error_type))
        self.cluster.tell()

    def _measure(
        self,
        event: ServerHeartbeatSucceededEvent | ServerHeartbeatFailedEvent,
        attributes: Attributes,
    ) -> None:
        if self._instruments:
            # Wall clocks can be set back.
            seconds = max(event.duration, 0.0)
            attributes = {**server_attributes(event.connection_id), **attributes}
            self._instruments.heartbeat_duration.record(seconds, attributes, NOBODYS_CONTEXT)


def _heartbeat_failed(event: ServerHeartbeatFailedEvent, error_type: str) -> ClusterEvent:
    address = event.connection_id
    return ClusterEvent(
        CLIENT_SERVER_HEARTBEAT_FAILED,
        time.time_ns(),
        {
            **server_attributes(address),
            ERROR_TYPE: error_type,
            HEARTBEAT_AWAITED: event.awaited,
        },
        f"Heartbeat to {written(address)} failed: {error_type}",
        address,
        is_warning=True,
    )

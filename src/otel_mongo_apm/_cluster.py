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

from ._attributes import exception_failure, server_attributes
from ._callers import NOBODYS_CONTEXT
from ._compat import check_background, is_cancelled_check
from ._descriptions import written
from ._semconv import CLIENT_SERVER_HEARTBEAT_FAILED, HEARTBEAT_AWAITED
from ._shield import shielded_listener
from ._timeline import ClusterEvent

if TYPE_CHECKING:
    from pymongo.monitoring import (
        ServerHeartbeatFailedEvent,
        ServerHeartbeatStartedEvent,
        ServerHeartbeatSucceededEvent,
    )

    from ._attributes import Attributes
    from ._client import ClientTelemetry


@shielded_listener
class HeartbeatTelemetry(ServerHeartbeatListener):
    """Measures one client's heartbeats and takes each as an occasion to look at the cluster."""

    def __init__(self, client: ClientTelemetry) -> None:
        self.of = client
        self.client = client.client
        self._telemetry = client.telemetry
        self._cluster = client.cluster
        self._instruments = client.telemetry.topology_instruments

    def started(self, event: ServerHeartbeatStartedEvent) -> None:  # noqa: ARG002
        """Look: a check of a server begins when the last one's result is known."""
        if self._telemetry.is_on:
            check_background()
            self._cluster.open()
            self._cluster.tell()

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Measure a check."""
        if self._telemetry.is_on:
            self._measure(event, {HEARTBEAT_AWAITED: event.awaited})

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """Measure a check, and tell of it."""
        if not self._telemetry.is_on:
            return
        if is_cancelled_check(event.reply) or not self._cluster.is_open:
            self._cluster.tell()  # Nothing has failed; a client is being closed, or was.
            return
        error_type = exception_failure(event.reply).error_type
        self._measure(event, {HEARTBEAT_AWAITED: event.awaited, ERROR_TYPE: error_type})
        self._cluster.note(_heartbeat_failed(event, error_type))
        self._cluster.tell()

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

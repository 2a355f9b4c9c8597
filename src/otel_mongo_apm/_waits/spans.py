"""Wait spans: the waits of a caller before a command is sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.semconv.attributes.db_attributes import (
    DB_COLLECTION_NAME,
    DB_NAMESPACE,
    DB_OPERATION_NAME,
    DB_SYSTEM_NAME,
)
from opentelemetry.trace import SpanKind, StatusCode

from otel_mongo_apm._driver.background import is_background
from otel_mongo_apm._driver.next_command import can_tell, next_command
from otel_mongo_apm._driver.targets import target
from otel_mongo_apm._otel.addresses import peer_attributes, server_attributes
from otel_mongo_apm._otel.semconv import (
    CHECK_OUT_CONNECTION,
    CONNECTION_CREATED,
    DNS_QUESTION_NAME,
    LOOK_UP_SRV_RECORD,
    MONGODB,
    POOL_NAME,
    SELECT_SERVER,
)
from otel_mongo_apm._otel.told_failures import failure_shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from otel_mongo_apm._cluster.timeline import Timeline
    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._driver.failures import Failure
    from otel_mongo_apm._otel.addresses import Address, Attributes
    from otel_mongo_apm._settings.telemetry import Telemetry

SECOND = 1_000_000_000


def _next_command_attributes() -> Attributes:
    operation, database, collection = next_command()
    known = {DB_OPERATION_NAME: operation, DB_NAMESPACE: database, DB_COLLECTION_NAME: collection}
    return {name: value for name, value in known.items() if value}


def _current(_: Timeline) -> None:
    """Return None, so that OpenTelemetry uses the current context."""


class Waits:
    """Creates the wait spans of one client, each when its wait is over.

    Args:
        client: The client.
        telemetry: What all clients share.
        timeline: The client's cluster events.
        parent: Returns the context of the operation that waits. Default: the current context.
    """

    def __init__(
        self,
        client: ClientReference,
        telemetry: Telemetry,
        timeline: Timeline,
        parent: Callable[[Timeline], Context | None] = _current,
    ) -> None:
        self._client = client
        self._telemetry = telemetry
        self._timeline = timeline
        self._parent = parent
        self.take_settings()

    def take_settings(self) -> None:
        """Apply the settings that can change."""
        settings = self._telemetry.settings
        self._error_messages = settings.error_messages
        self._require_parent = settings.require_parent
        # In seconds.
        self.threshold = settings.wait_span_threshold
        can_tell()  # Warns now if PyMongo has changed.

    def selected(self, operation: str, seconds: float, failure: Failure | None = None) -> None:
        """Create the span of a server selection.

        Args:
            operation: The driver's name of the operation that needs a server.
            seconds: The duration in seconds.
            failure: Why no server was found; None if one was found.
        """
        attributes = self._of_target()
        if operation:
            attributes[DB_OPERATION_NAME] = operation
        self._span(SELECT_SERVER, attributes, seconds, failure)

    def checked_out(
        self,
        address: Address,
        pool_name: str,
        seconds: float,
        failure: Failure | None = None,
        *,
        is_new: bool | None = None,
    ) -> None:
        """Create the span of a connection's check-out.

        Args:
            address: The address of the server.
            pool_name: The name of its pool.
            seconds: The duration in seconds.
            failure: Why the caller got no connection; None if it got one.
            is_new: Whether the caller has created the connection; None if it got none.
        """
        # In MongoDB's own convention, `server.address` is the server that was contacted.
        is_mongodb = self._telemetry.traces_operations
        contacted = server_attributes(address) if is_mongodb else peer_attributes(address)
        attributes = {**self._of_target(), **contacted, POOL_NAME: pool_name}
        attributes |= _next_command_attributes()
        if is_new is not None:
            attributes[CONNECTION_CREATED] = is_new
        self._span(CHECK_OUT_CONNECTION, attributes, seconds, failure)

    def looked_up(self, question: str, seconds: float, failure: Failure | None = None) -> None:
        """Create the span of a lookup of an SRV record.

        Args:
            question: The DNS name of the lookup.
            seconds: The duration in seconds.
            failure: Why it failed; None if it succeeded.
        """
        attributes = {**self._of_target(), DNS_QUESTION_NAME: question}
        self._span(LOOK_UP_SRV_RECORD, attributes, seconds, failure)

    def _of_target(self) -> Attributes:
        if self._telemetry.traces_operations:
            return {DB_SYSTEM_NAME: MONGODB}
        return {DB_SYSTEM_NAME: MONGODB, **target(self._client())}

    def _span(
        self, name: str, attributes: Attributes, seconds: float, failure: Failure | None
    ) -> None:
        if not self._is_wanted():
            return
        if failure:
            failure_shown()
        end = time.time_ns()
        start = end - round(max(seconds, 0) * SECOND)
        context = self._parent(self._timeline)
        # No command follows a failed wait: its span represents the call, unless the call has one.
        error = failure if context is None else None
        attributes = {**attributes, **failure.attributes} if failure else attributes
        span = self._telemetry.tracer.start_span(
            name,
            context=context,
            kind=SpanKind.CLIENT if error else SpanKind.INTERNAL,
            attributes=self._telemetry.client_span(attributes) if error else attributes,
            start_time=start,
        )
        try:
            self._describe(span, start, end, error)
        finally:
            span.end(end)

    def _describe(self, span: Span, start: int, end: int, error: Failure | None) -> None:
        if self._telemetry.events_in_spans:
            for event in self._timeline.between(start, end):
                event.add_to(span)
        if error:
            description = error.message if self._error_messages else error.name
            span.set_status(StatusCode.ERROR, description)

    def _is_wanted(self) -> bool:
        if not self._telemetry.is_on or not is_instrumentation_enabled() or is_background():
            return False
        return not self._require_parent or trace.get_current_span().get_span_context().is_valid

"""Operation spans: one for each call of the driver's API."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.context import Context, get_current
from opentelemetry.semconv.attributes.db_attributes import (
    DB_COLLECTION_NAME,
    DB_NAMESPACE,
    DB_OPERATION_NAME,
    DB_SYSTEM_NAME,
)
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from otel_mongo_apm._driver.documents import plain, summary
from otel_mongo_apm._otel.semconv import DB_MONGODB_CURSOR_ID, DB_OPERATION_SUMMARY, MONGODB

from .exceptions import describe_exception

if TYPE_CHECKING:
    from otel_mongo_apm._cluster.timeline import Timeline
    from otel_mongo_apm._driver.api_calls import ApiCall
    from otel_mongo_apm._otel.addresses import Attributes
    from otel_mongo_apm._settings.telemetry import Telemetry


@dataclass(slots=True, eq=False)
class Operation:
    """A call of the API in progress.

    Its span is created together with the first span inside it, with the start time of the call. If
    all commands of the call are excluded, the span is never created.

    Args:
        call: The call.
        telemetry: What all clients share.
        timeline: The client's cluster events.
        parent: The context of the call.
        span: Its span, once it has started.
        began: When it began, in nanoseconds since the epoch.
        latest_event: The number of the latest cluster event before it.
        is_over: Whether it has ended.
        caller: The number of the calling thread or task.
        client: The `id` of the client.
        frame: The `id` of a frame that runs as long as the call.
        outer: The operation of the same thread or task that this one interrupts.
    """

    call: ApiCall
    telemetry: Telemetry
    timeline: Timeline
    parent: Context = field(default_factory=get_current)
    span: Span | None = None
    began: int = field(default_factory=time.time_ns)
    latest_event: int = 0
    is_over: bool = False
    caller: int = 0
    client: int = 0
    frame: int = 0
    outer: Operation | None = None

    def __post_init__(self) -> None:
        self.latest_event = self.timeline.latest

    @property
    def context(self) -> Context:
        """The context for spans inside it."""
        return set_span_in_context(self.span or self._start(), self.parent)

    def sends(self, database: str, collection: str | None) -> None:
        """Take the database and collection from a command, if they were not known before."""
        if self.call.database is not None:
            return
        self.call.database, self.call.collection = plain(database), collection
        if self.span:
            attributes = self._attributes()
            self.span.update_name(str(attributes[DB_OPERATION_SUMMARY]))
            self.span.set_attributes(attributes)

    def has_cursor(self, cursor_id: int) -> None:
        """Set the ID of the cursor that the operation opened or continued."""
        if self.span:
            self.span.set_attribute(DB_MONGODB_CURSOR_ID, cursor_id)

    def end(self, error: BaseException | None) -> None:
        """End the operation; a failed one always has a span."""
        # If an interrupt comes while it ends, `end` is called again with that exception.
        is_first, self.is_over = not self.is_over, True
        span = self.span or (self._start() if is_first and error is not None else None)
        if span is None:
            return
        end = time.time_ns()
        try:
            if span.is_recording():
                self._describe(span, end, error)
        finally:
            self.span = None
            span.end(end)

    def _start(self) -> Span:
        attributes = self._attributes()
        self.span = self.telemetry.tracer.start_span(
            str(attributes[DB_OPERATION_SUMMARY]),
            context=self.parent,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=self.began,
        )
        return self.span

    def _attributes(self) -> Attributes:
        call = self.call
        attributes: Attributes = {DB_SYSTEM_NAME: MONGODB, DB_OPERATION_NAME: call.name}
        if call.database is None:
            return attributes | {DB_OPERATION_SUMMARY: call.name}
        attributes[DB_NAMESPACE] = call.database
        if call.collection is not None:
            attributes[DB_COLLECTION_NAME] = call.collection
        return attributes | {
            DB_OPERATION_SUMMARY: summary(call.name, call.database, call.collection)
        }

    def _describe(self, span: Span, end: int, error: BaseException | None) -> None:
        if error is not None:
            describe_exception(span, error, with_message=self.telemetry.settings.error_messages)
        if self.telemetry.events_in_spans and self.timeline.latest != self.latest_event:
            for event in self.timeline.between(self.began, end):
                event.add_to(span)

"""The span of a command: how it starts, and what is added at its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.semconv.attributes.db_attributes import (
    DB_OPERATION_BATCH_SIZE,
    DB_QUERY_TEXT,
)
from opentelemetry.trace import Link, SpanKind, StatusCode
from pymongo.monitoring import CommandStartedEvent

from otel_mongo_apm._driver.documents import batch_size
from otel_mongo_apm._driver.event_fields import fields
from otel_mongo_apm._otel.semconv import DB_RESPONSE_RETURNED_ROWS, DB_STATEMENT, RETRY_COUNT
from otel_mongo_apm._otel.shield import shielded

from .comments import without_trace
from .query_text import sanitizer
from .raw_text import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from pymongo.monitoring import CommandFailedEvent, CommandSucceededEvent

    from otel_mongo_apm._cluster.timeline import Timeline
    from otel_mongo_apm._driver.failures import Failure
    from otel_mongo_apm._otel.addresses import Attributes
    from otel_mongo_apm._settings.settings import Settings
    from otel_mongo_apm._settings.telemetry import Telemetry

    from .in_flight import InFlightCommand, Retry, Special
    from .signatures import CommandSignature

    QueryText = Callable[[Mapping[str, Any]], str]

SECOND = 1_000_000_000

_command = fields(CommandStartedEvent, "command")

# Looking up a member of an Enum costs as much as two calls.
_CLIENT, _ERROR = SpanKind.CLIENT, StatusCode.ERROR


class SlowCommands(Protocol):
    """Explains slow commands."""

    def started(self, command: InFlightCommand, event: CommandStartedEvent) -> None:
        """Called when a command with a span was sent."""

    def ended(self, command: InFlightCommand, seconds: float) -> None:
        """Called with its duration when it has ended."""


class CommandSpans:
    """Starts and describes the spans of one client's commands; the listener ends them.

    Args:
        telemetry: What all clients share.
        timeline: The client's cluster events.
        slow: Explains slow commands; None if that is off.
    """

    # Whether a getMore that waits for documents and returns none has no span.
    leaves_out_idle = True
    # Whether spans have links to a failed attempt or to the command that opened the cursor.
    tells_causes = True

    def __init__(
        self, telemetry: Telemetry, timeline: Timeline, slow: SlowCommands | None = None
    ) -> None:
        settings = telemetry.settings
        self.telemetry = telemetry
        self.timeline = timeline
        self._slow = slow
        self._error_messages = settings.error_messages
        self._shows_rows = settings.returned_rows in {"span", "both"}
        self._query_text = _query_text(settings)
        self._has_older_names = telemetry.older_names
        self._request_hook = settings.request_hook and shielded(settings.request_hook)
        self._response_hook = settings.response_hook and shielded(settings.response_hook)
        self._failed_hook = settings.failed_hook and shielded(settings.failed_hook)
        # Computed once, not for each command.
        self.describe_each_start = bool(self._query_text or self._request_hook or slow)
        self.tell_each_success = bool(self._response_hook or slow)

    def parent(self) -> Context | None:
        """Return the context of a command that is about to be sent; None for the current one."""
        return None

    def start(
        self,
        command: InFlightCommand,
        event: CommandStartedEvent,
        context: Context | None,
        start_time: int | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        """Start a command's span, if such a command has one.

        Args:
            command: The command.
            event: PyMongo's event of its start.
            context: The parent context. Default: the current one.
            start_time: The start in nanoseconds since the epoch. Default: now.
            attributes: The attributes at the start, if it is known that the command has a span.
                Default: those of its signature, if such a command has one.
        """
        signature, special = command.signature, command.special
        if attributes is None:
            if signature.gate and not signature.gate(event):
                return
            attributes = signature.attributes
        links: tuple[Link, ...] = ()
        if special and self.tells_causes:
            attributes, links = _with_retry(attributes, special.retry), tuple(_links(special))
        command.span = span = self.telemetry.tracer.start_span(
            signature.span_name, context, _CLIENT, attributes, links, start_time
        )
        if span.is_recording():
            command.is_recording = True
            if self.describe_each_start or signature.batch_field:
                self._describe_start(command, event)

    def plain(self, signature: CommandSignature, context: Context | None) -> Span:
        """Start the span of a command without special properties that cannot be excluded."""
        return self.telemetry.tracer.start_span(
            signature.span_name, context, _CLIENT, signature.attributes
        )

    def take(self, command: InFlightCommand, span: Span, event: CommandStartedEvent) -> None:
        """Set a command's span, which is recording, and describe its start."""
        command.span, command.is_recording = span, True
        if self.describe_each_start or command.signature.batch_field:
            self._describe_start(command, event)

    def start_late(self, command: InFlightCommand, seconds: float) -> None:
        """Start a postponed span, with the start time of the command."""
        if command.special and (event := command.special.put_off):
            self.start(command, event, None, time.time_ns() - round(seconds * SECOND))

    def succeed(self, command: InFlightCommand, event: CommandSucceededEvent) -> None:
        """Describe the end of a command that the server reports as a success."""
        if command.is_recording:
            self.describe_end(command)
            if self._slow:
                self._slow.ended(command, event.duration_micros / 1_000_000)
            if self._response_hook:
                self._response_hook(command.span, event)

    def fail(self, command: InFlightCommand, event: CommandFailedEvent) -> None:
        """Describe the end of a command that failed."""
        if command.is_recording:
            self.describe_end(command)
            if self._slow:
                self._slow.ended(command, event.duration_micros / 1_000_000)
            if self._failed_hook:
                self._failed_hook(command.span, event)

    def describe_end(self, command: InFlightCommand) -> None:
        """Set what is known about a command at its end, on a recording span."""
        span, failure = command.span, command.failure
        if self._shows_rows and command.rows is not None:
            span.set_attribute(DB_RESPONSE_RETURNED_ROWS, command.rows)
        if failure:
            self._describe_failure(span, failure)
        if self.timeline.latest != command.latest_event:
            self._tell_events(command)

    def _describe_failure(self, span: Span, failure: Failure) -> None:
        # One by one, because setting both at once takes the SDK a third longer.
        for name, value in failure.attributes.items():
            span.set_attribute(name, value)
        description = failure.message if self._error_messages else failure.name
        span.set_status(_ERROR, description)

    def _describe_start(self, command: InFlightCommand, event: CommandStartedEvent) -> None:
        """Set attributes that are too expensive for a span that is not recording."""
        signature, span = command.signature, command.span
        if signature.batch_field:
            size = batch_size(event.command, signature.batch_field)
            if size is not None and size != 1:
                span.set_attribute(DB_OPERATION_BATCH_SIZE, size)
        if self._query_text:
            document: Mapping[str, Any] = _command(event)
            if self.telemetry.propagates_comments:
                document = without_trace(document)
            text = self._query_text(document)
            span.set_attribute(DB_QUERY_TEXT, text)
            if self._has_older_names:
                span.set_attribute(DB_STATEMENT, text)
        if self._slow:
            self._slow.started(command, event)
        if self._request_hook:
            self._request_hook(span, event)

    def _tell_events(self, command: InFlightCommand) -> None:
        if self.telemetry.events_in_spans:
            for event in self.timeline.after(command.latest_event):
                if event.address == command.signature.address:
                    event.add_to(command.span)


def _with_retry(attributes: Attributes, retry: Retry | None) -> Attributes:
    return {**attributes, RETRY_COUNT: retry.number} if retry else attributes


def _links(special: Special) -> Iterator[Link]:
    """Return links to the attempt that failed and to the command that opened the cursor."""
    for cause in (special.retry, special.cursor):
        if cause and cause.span_context.is_valid:
            yield Link(cause.span_context)


def _query_text(settings: Settings) -> QueryText | None:
    """Return the function that creates ``db.query.text``; None if it is off."""
    length = settings.query_text_max_length
    if settings.query_text == "raw":
        return lambda command: raw(command, length)
    if settings.query_text == "sanitized":
        return sanitizer(length, mask_keys=settings.query_text_keys == "masked")
    return None

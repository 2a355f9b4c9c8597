"""Command spans and their measurements: one for each command that the driver sends."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.semconv.attributes.db_attributes import (
    DB_OPERATION_BATCH_SIZE,
    DB_QUERY_TEXT,
)
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from pymongo.monitoring import CommandListener

from ._attributes import (
    collection_name,
    command_failure,
    returned_rows,
    waits_for_documents,
    write_failure,
)
from ._compat import exception_in_hand
from ._conventions import CommandSignatures
from ._inflight import InFlightCommand, InFlightCommands
from ._query_text import raw, sanitized
from ._semconv import DB_RESPONSE_RETURNED_ROWS
from ._shield import shielded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Span
    from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

    from ._client import ClientTelemetry
    from ._inflight import Connection
    from ._settings import Settings

    EndedEvent = CommandSucceededEvent | CommandFailedEvent
    Event = TypeVar("Event")
    Hook = Callable[[Span, Event], None]
    QueryText = Callable[[Mapping[str, Any], bool], str]

SECOND = 1_000_000_000


class CommandTelemetry(CommandListener):
    """Spans and measurements of one client's commands."""

    def __init__(self, client: ClientTelemetry) -> None:
        settings = client.telemetry.settings
        self._of = client
        self.client = client.client
        self._telemetry = client.telemetry
        self._tracer = client.telemetry.tracer
        self._instruments = client.telemetry.command_instruments
        self._timeline = client.timeline
        self._error_messages = settings.error_messages
        self._query_text = _query_text(settings)
        self._request_hook = settings.request_hook and shielded(settings.request_hook)
        self._response_hook = settings.response_hook and shielded(settings.response_hook)
        self._failed_hook = settings.failed_hook and shielded(settings.failed_hook)
        self._signatures = CommandSignatures(settings)
        self.in_flight = InFlightCommands()

    def started(self, event: CommandStartedEvent) -> None:
        """Start the command's span, or put that off if the server may let it wait."""
        if not self._telemetry.is_on or not is_instrumentation_enabled():
            return
        command_name, database, document = event.command_name, event.database_name, event.command
        collection = collection_name(command_name, database, document)
        signature = self._signatures[command_name, database, collection, event.connection_id]
        command = InFlightCommand(event.request_id, signature, self._timeline.latest)
        if waits_for_documents(command_name, document):
            command.put_off = event
        else:
            self._start(command, event)
        if displaced := self.in_flight.add(command):
            self._end_interrupted(displaced, None)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """End the command's span; as an error, too, if the reply reports one."""
        command = self.in_flight.pop(event.request_id)
        if command is None:
            return
        try:
            command.rows = returned_rows(event.reply)
            command.failure = write_failure(event.reply)
            if command.put_off and (command.rows or command.failure):
                self._start_late(command, command.put_off, _seconds(event))
            self._finish(command, _seconds(event), event, self._response_hook)
        finally:
            command.span.end()

    def failed(self, event: CommandFailedEvent) -> None:
        """End the command's span as an error."""
        command = self.in_flight.pop(event.request_id)
        if command is None:
            return
        try:
            # PyMongo publishes a failure while it handles the exception.
            command.failure = command_failure(event.failure, sys.exc_info()[1])
            if command.put_off:
                self._start_late(command, command.put_off, _seconds(event))
            self._finish(command, _seconds(event), event, self._failed_hook)
        finally:
            command.span.end()

    def checked_in(self, connection: Connection) -> None:
        """End what is still open on a connection that its thread or task has given back.

        PyMongo publishes neither success nor failure of a command that was interrupted: by the
        cancellation of its task, a KeyboardInterrupt, a GreenletExit.
        """
        if command := self.in_flight.pop_checked_in(connection):
            self._end_interrupted(command, exception_in_hand())

    def closed(self, connection: Connection) -> None:
        """End what is still open on a connection that is closed, by whomever.

        It may be another thread or task that closes it, if the one that sent the command is gone.
        """
        if command := self.in_flight.pop_closed(connection):
            self._end_interrupted(command, exception_in_hand())

    def _end_interrupted(self, command: InFlightCommand, error: BaseException | None) -> None:
        seconds = time.monotonic() - command.began
        try:
            command.failure = command_failure({}, error)
            if command.put_off:
                self._start_late(command, command.put_off, seconds)
            self._finish(command, seconds)
        finally:
            command.span.end()

    def _start(
        self, command: InFlightCommand, event: CommandStartedEvent, start_time: int | None = None
    ) -> None:
        signature = command.signature
        if signature.gate and not signature.gate(event):
            return
        command.span = span = self._tracer.start_span(
            signature.span_name,
            kind=SpanKind.CLIENT,
            attributes=signature.attributes,
            start_time=start_time,
        )
        if span.is_recording():
            command.is_recording = True
            self._describe_start(command, event)

    def _start_late(
        self, command: InFlightCommand, event: CommandStartedEvent, seconds: float
    ) -> None:
        self._start(command, event, time.time_ns() - round(seconds * SECOND))

    def _finish(
        self,
        command: InFlightCommand,
        seconds: float,
        event: EndedEvent | None = None,
        hook: Hook[Any] | None = None,
    ) -> None:
        if command.is_recording:
            self._describe_end(command)
            if self._timeline.latest != command.latest_event:
                self._tell_events(command)
            if hook:
                hook(command.span, event)
        self._measure(command, seconds)

    def _describe_start(self, command: InFlightCommand, event: CommandStartedEvent) -> None:
        """Set what costs too much to be set on a span that nobody sees."""
        signature, span = command.signature, command.span
        if signature.batch_field:
            size = len(event.command.get(signature.batch_field, ()))
            if size != 1:
                span.set_attribute(DB_OPERATION_BATCH_SIZE, size)
        if self._query_text:
            text = self._query_text(event.command, signature.names_collection)
            span.set_attribute(DB_QUERY_TEXT, text)
        if self._request_hook:
            self._request_hook(span, event)

    def _describe_end(self, command: InFlightCommand) -> None:
        span, failure = command.span, command.failure
        if command.rows is not None:
            span.set_attribute(DB_RESPONSE_RETURNED_ROWS, command.rows)
        if failure:
            span.set_attributes(failure.attributes)
            description = failure.message if self._error_messages else failure.name
            span.set_status(StatusCode.ERROR, description)

    def _tell_events(self, command: InFlightCommand) -> None:
        if self._telemetry.events_in_spans:
            for event in self._timeline.after(command.latest_event):
                if event.address == command.signature.address:
                    event.add_to(command.span)

    def _measure(self, command: InFlightCommand, seconds: float) -> None:
        if self._instruments is None:
            return
        attributes = command.signature.metric_attributes
        if command.failure:
            attributes = {**attributes, **command.failure.attributes}
        # The span's context lets the SDK keep the span as an exemplar.
        context = set_span_in_context(command.span) if command.is_recording else None
        self._instruments.operation_duration.record(seconds, attributes, context)
        if command.rows is not None:
            self._instruments.returned_rows.record(command.rows, attributes, context)


def _seconds(event: EndedEvent) -> float:
    # A clock that was set back made PyMongo's durations negative until 4.18.
    return max(event.duration_micros, 0) / 1_000_000


def _query_text(settings: Settings) -> QueryText | None:
    """What makes ``db.query.text`` of a command; nothing if it is off."""
    length, mask_keys = settings.query_text_max_length, settings.query_text_keys == "masked"
    texts: dict[str, QueryText] = {
        "raw": lambda command, _: raw(command, length),
        "sanitized": lambda command, keep_value: sanitized(
            command, length, keep_value=keep_value, mask_keys=mask_keys
        ),
    }
    return texts.get(settings.query_text)

"""Commands: one span and its measurements for each that the driver sends."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import set_span_in_context
from pymongo.monitoring import CommandListener

from ._attributes import (
    collection_name,
    command_failure,
    opens_tail,
    returned_rows,
    waits_for_documents,
    write_failure,
)
from ._command_spans import CommandSpans
from ._compat import exception_in_hand
from ._conventions import CommandSignatures
from ._cursors import OpenCursor, OpenCursors
from ._inflight import InFlightCommand
from ._mongodb_spans import MongodbCommandSpans
from ._shield import shielded_listener

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

    from ._client import ClientTelemetry
    from ._inflight import Connection


@shielded_listener
class CommandTelemetry(CommandListener):
    """Spans and measurements of one client's commands."""

    def __init__(self, client: ClientTelemetry) -> None:
        self.of = client
        self.client = client.client
        self._telemetry = client.telemetry
        self._instruments = client.telemetry.command_instruments
        self._timeline = client.timeline
        of_operations = client.telemetry.traces_operations
        self._spans = MongodbCommandSpans(client) if of_operations else CommandSpans(client)
        self._signatures = CommandSignatures(client.telemetry.settings, client.client)
        self._cursors = OpenCursors()
        self.in_flight = client.in_flight

    def started(self, event: CommandStartedEvent) -> None:
        """Start the command's span, or put that off if the server may let it wait."""
        if not self._telemetry.is_on or not is_instrumentation_enabled():
            return
        command_name, database, document = event.command_name, event.database_name, event.command
        collection = collection_name(command_name, database, document)
        signature = self._signatures[command_name, database, collection, event.connection_id]
        command = InFlightCommand(event.request_id, signature, self._timeline.latest)
        command.retry = self.in_flight.retry_of(event.operation_id)
        if command_name == "getMore":
            command.cursor = self._cursors.of(document)
        elif command_name == "killCursors":
            self._cursors.close(document.get("cursors", ()))
        else:
            command.opens_tail = opens_tail(command_name, document)
        if waits_for_documents(command_name, document) or (command.cursor and command.cursor.waits):
            command.put_off = event
        try:
            if not command.put_off:
                self._spans.start(command, event)
        finally:  # It may have started, even if not all could be set on it.
            if displaced := self.in_flight.add(command):
                self._interrupt(displaced, None)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """End the command's span; as an error, too, if the reply reports one."""
        command = self.in_flight.pop(event.request_id)
        if command is None:
            return
        try:
            seconds, reply = _seconds(event), event.reply
            command.rows = returned_rows(reply)
            command.failure = write_failure(reply)
            if command.rows or command.failure:
                self._spans.start_late(command, seconds)
            if command.rows is not None:
                self._keep_cursor(command, reply)
            self._spans.succeed(command, event)
            self._measure(command, seconds)
        finally:
            _close(command)

    def failed(self, event: CommandFailedEvent) -> None:
        """End the command's span as an error."""
        command = self.in_flight.pop(event.request_id)
        if command is None:
            return
        try:
            seconds = _seconds(event)
            # PyMongo publishes a failure while it handles the exception.
            command.failure = command_failure(event.failure, sys.exc_info()[1])
            command.failed_operation = event.operation_id
            self._spans.start_late(command, seconds)
            self._spans.fail(command, event)
            self._measure(command, seconds)
        finally:
            _close(command)

    def checked_in(self, connection: Connection) -> None:
        """End what is still open on a connection that its thread or task has given back.

        PyMongo publishes neither success nor failure of a command that was interrupted: by the
        cancellation of its task, a KeyboardInterrupt, a GreenletExit.
        """
        if command := self.in_flight.pop_checked_in(connection):
            self._interrupt(command, exception_in_hand())

    def closed(self, connection: Connection) -> None:
        """End what is still open on a connection that is closed, by whomever.

        It may be another thread or task that closes it, if the one that sent the command is gone.
        """
        if command := self.in_flight.pop_closed(connection):
            self._interrupt(command, exception_in_hand())

    def _interrupt(self, command: InFlightCommand, error: BaseException | None) -> None:
        seconds = time.monotonic() - command.began
        try:
            command.failure = command_failure({}, error)
            self._spans.start_late(command, seconds)
            if command.is_recording:
                self._spans.describe_end(command)
            self._measure(command, seconds)
        finally:
            _close(command)

    def _keep_cursor(self, command: InFlightCommand, reply: Mapping[str, Any]) -> None:
        if command.cursor is None:
            opened_by = command.span.get_span_context()
            self._cursors.open(reply, OpenCursor(opened_by, command.opens_tail))
        elif not reply["cursor"].get("id"):
            self._cursors.close([command.cursor.id])

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


def _close(command: InFlightCommand) -> None:
    command.put_off = None  # No document is kept for longer than it must.
    command.span.end()


def _seconds(event: CommandSucceededEvent | CommandFailedEvent) -> float:
    # A clock that was set back made PyMongo's durations negative until 4.18.
    return max(event.duration_micros, 0) / 1_000_000

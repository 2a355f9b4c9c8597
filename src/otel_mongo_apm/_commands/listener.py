"""Commands: one span and its measurements for each that the driver sends."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from opentelemetry.context import get_current
from opentelemetry.trace import set_span_in_context
from pymongo.monitoring import CommandListener, CommandStartedEvent, CommandSucceededEvent

from otel_mongo_apm._driver.command_names import COLLECTION_FIELDS, NO_FIELD
from otel_mongo_apm._driver.documents import (
    TAILABLE,
    collection_name,
    opens_tail,
    returned_rows,
    waits_for_documents,
)
from otel_mongo_apm._driver.event_fields import fields
from otel_mongo_apm._driver.failures import (
    TELLS_INTERRUPTIONS,
    command_failure,
    exception_in_hand,
    write_failure,
)
from otel_mongo_apm._metrics.names import failure_attributes
from otel_mongo_apm._otel.shield import shielded_listener
from otel_mongo_apm._otel.suppression import is_suppressed
from otel_mongo_apm._otel.told_failures import failure_measured

from .cursors import OpenCursor, OpenCursors
from .in_flight import (
    Special,
    fail_overlooked,
    in_flight_command,
    is_after_failure,
    overlooked,
    retries,
)
from .signatures import CommandSignatures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pymongo.monitoring import CommandFailedEvent

    from otel_mongo_apm._cluster.timeline import Timeline
    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._driver.failures import Failure
    from otel_mongo_apm._metrics.instruments import Instruments
    from otel_mongo_apm._settings.telemetry import Telemetry

    from .connections import CheckedIn, Connection, Connections
    from .in_flight import InFlightCommand, InFlightCommands
    from .spans import CommandSpans

_what_started = fields(
    CommandStartedEvent,
    "command_name",
    "database_name",
    "command",
    "connection_id",
    "request_id",
)
_what_succeeded = fields(CommandSucceededEvent, "reply", "duration_micros")
_request_id = fields(CommandSucceededEvent, "request_id")

# Commands that may open waiting cursors, continue cursors or close them, besides find.
CURSOR_COMMANDS = frozenset({"aggregate", "getMore", "killCursors"})


@shielded_listener
class CommandTelemetry(CommandListener):
    """Spans and measurements of one client's commands.

    Args:
        client: The client.
        telemetry: What all clients share.
        timeline: The client's cluster events.
        in_flight: The client's commands that have started and not ended.
        connections: Which connection a command goes out on.
        spans: Starts and describes the spans.
    """

    # The object that created the listener, kept alive as long as the listener.
    owner: object = None

    def __init__(
        self,
        client: ClientReference,
        telemetry: Telemetry,
        timeline: Timeline,
        in_flight: InFlightCommands,
        connections: Connections,
        spans: CommandSpans,
    ) -> None:
        self.client = client
        self.spans = spans
        self.in_flight = in_flight
        self.telemetry = telemetry
        self._instruments = telemetry.command_instruments
        # Whether a command without a recording span has to be measured.
        self._keeps_all = bool(self._instruments) or telemetry.traces_operations
        self._measures_rows = telemetry.settings.returned_rows in {"metric", "both"}
        self._timeline = timeline
        self._signatures = self._new_signatures()
        self._cursors = OpenCursors()
        # The connection is needed if spans contain it, or if a command's end may not be published.
        needs_connections = telemetry.traces_operations or not TELLS_INTERRUPTIONS
        self._connections = connections if needs_connections else None

    def take_settings(self, spans: CommandSpans) -> None:
        """Apply changed settings.

        Args:
            spans: Starts and describes the spans with the new settings.
        """
        self.spans = spans
        self._signatures = self._new_signatures()

    def _new_signatures(self) -> CommandSignatures:
        telemetry = self.telemetry
        return CommandSignatures(
            telemetry.settings, self.client, telemetry.client_span, self._instruments
        )

    # Helpers would make this shorter, but a call costs more than most of these lines.
    def started(self, event: CommandStartedEvent) -> None:  # noqa: C901
        """Start the command's span, or postpone this if the server may delay the reply."""
        context = get_current()
        if not self.telemetry.is_on or (context and is_suppressed(context)):
            return
        name, database, document, address, request_id = _what_started(event)
        collection = document.get(COLLECTION_FIELDS.get(name, NO_FIELD))
        if collection.__class__ is not str:
            collection = collection_name(name, database, document)
        signature = self._signatures[name, database, collection, address]
        is_special = name in CURSOR_COMMANDS or TAILABLE in document
        span, may_be_retry = None, retries and is_after_failure()
        if not (self._keeps_all or is_special or signature.gate or may_be_retry):
            span = self.spans.plain(signature, context)
            if not span.is_recording():
                overlooked.set(request_id)
                return
        try:
            connection = None
            if self._connections is not None:
                connection = self._connections.of(name, (address, event.server_connection_id))
            latest = self._timeline.latest
            command = in_flight_command(event, request_id, signature, latest, connection)
        except BaseException:
            if span:
                span.end()
            raise
        if is_special or command.special:
            self._look_closer(command, event, name, document)
        try:
            if span:
                self.spans.take(command, span, event)
            elif command.special is None or command.special.put_off is None:
                self.spans.start(command, event, context)
        finally:  # The span may have started even if setting its attributes has failed.
            if displaced := self.in_flight.add(command):
                self._interrupt(displaced, None)

    def _look_closer(
        self,
        command: InFlightCommand,
        event: CommandStartedEvent,
        name: str,
        document: Mapping[str, Any],
    ) -> None:
        if command.special and self._instruments:  # It is a retry.
            self._instruments.count_retries(command.signature.metric_attributes, 1)
        if name == "getMore":
            special = command.special = command.special or Special()
            special.cursor = cursor = self._cursors.of(document)
            is_tail = waits_for_documents(name, document) or (cursor and cursor.is_tail)
            if is_tail and self.spans.leaves_out_idle:
                special.put_off = event
        elif name == "killCursors":
            self._cursors.close(document.get("cursors", ()))
        elif opens_tail(name, document):
            command.special = command.special or Special()
            command.special.opens_tail = True

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """End the command's span; as an error if the reply contains one."""
        command = self.in_flight.pop(_request_id(event))
        if command is None:
            return
        try:
            reply, microseconds = _what_succeeded(event)
            if "cursor" in reply:
                command.rows = returned_rows(reply)
            if "writeErrors" in reply or "writeConcernError" in reply or "nErrors" in reply:
                command.failure = _write_failure(reply)
            if command.special and (command.rows or command.failure):
                self.spans.start_late(command, _seconds(microseconds))
            if command.rows is not None:
                cursor_id = reply["cursor"].get("id")
                if cursor_id or command.special:
                    self._keep_cursor(command, cursor_id)
            if self.spans.tell_each_success:
                self.spans.succeed(command, event)
            elif command.is_recording and (
                command.rows is not None
                or command.failure
                or command.latest_event != self._timeline.latest
            ):
                self.spans.describe_end(command)
            if self._instruments:
                self._measure(self._instruments, command, _seconds(microseconds))
        finally:
            command.close()

    def failed(self, event: CommandFailedEvent) -> None:
        """End the command's span as an error."""
        command = self.in_flight.pop(event.request_id)
        if command is None:
            fail_overlooked(event.request_id, event.operation_id)
            return
        failure_measured()
        try:
            # PyMongo publishes a failure while it is handling the exception.
            failure = command_failure(event.failure, sys.exc_info()[1])
            seconds = _seconds(event.duration_micros)
            self.spans.start_late(command, seconds)
            command.fail(failure, event.operation_id)
            self.spans.fail(command, event)
            if self._instruments:
                self._measure(self._instruments, command, seconds)
        finally:
            command.close()

    def checked_in(self, connection: CheckedIn) -> None:
        """End commands that are still open on a connection that their caller has returned.

        Up to 4.20.0, PyMongo publishes neither success nor failure of a command that is interrupted
        by a cancellation, a KeyboardInterrupt or a GreenletExit. With any version, the end is not
        published if one of these occurs just before that.
        """
        if command := self.in_flight.pop_checked_in(connection):
            self._interrupt(command, exception_in_hand())

    def closed(self, connection: Connection) -> None:
        """End commands that are still open on a closed connection.

        If the caller that sent the command is gone, another thread or task closes the connection.
        """
        if command := self.in_flight.pop_closed(connection):
            self._interrupt(command, exception_in_hand())

    def _interrupt(self, command: InFlightCommand, error: BaseException | None) -> None:
        seconds = time.monotonic() - command.began
        failure_measured()
        try:
            command.failure = command_failure({}, error)
            self.spans.start_late(command, seconds)
            if command.is_recording:
                self.spans.describe_end(command)
            if self._instruments:
                self._measure(self._instruments, command, seconds)
        finally:
            command.close()

    def _measure(self, instruments: Instruments, command: InFlightCommand, seconds: float) -> None:
        signature = command.signature
        # With the span's context, the SDK can use the span as an exemplar.
        context = set_span_in_context(command.span) if command.is_recording else None
        if command.failure:
            attributes = {**signature.metric_attributes, **failure_attributes(command.failure)}
            instruments.operation_duration.record(seconds, attributes, context)
        elif signature.record_duration:
            signature.record_duration(seconds, context)
        if self._measures_rows and command.rows is not None:
            attributes = signature.metric_attributes
            if command.failure:
                attributes = {**attributes, **failure_attributes(command.failure)}
            instruments.returned_rows.record(command.rows, attributes, context)

    def _keep_cursor(self, command: InFlightCommand, cursor_id: int | None) -> None:
        """Keep the cursor that a command has opened, or forget one that is exhausted."""
        special = command.special
        if special and special.cursor:
            if not cursor_id:
                self._cursors.close([special.cursor.id])
        elif cursor_id:
            opened_by = command.span.get_span_context()
            is_tail = special is not None and special.opens_tail
            self._cursors.open(OpenCursor(cursor_id, opened_by, is_tail))


def _write_failure(reply: Mapping[str, Any]) -> Failure | None:
    failure = write_failure(reply)
    if failure:
        failure_measured()
    return failure


def _seconds(microseconds: int) -> float:
    # Up to 4.17, a clock that was set back made PyMongo's durations negative.
    return microseconds / 1_000_000 if microseconds > 0 else 0.0

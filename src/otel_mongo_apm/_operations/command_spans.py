"""Command spans as MongoDB's specification defines them, inside their operation spans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bson.binary import UUID_SUBTYPE, Binary

from otel_mongo_apm._commands.exclusions import never
from otel_mongo_apm._commands.spans import CommandSpans
from otel_mongo_apm._driver.background import is_background
from otel_mongo_apm._driver.documents import AUTHENTICATION_COMMANDS
from otel_mongo_apm._driver.failures import as_raised, exception_in_hand
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import (
    DB_MONGODB_CURSOR_ID,
    DB_MONGODB_DRIVER_CONNECTION_ID,
    DB_MONGODB_LSID,
    DB_MONGODB_SERVER_CONNECTION_ID,
    DB_MONGODB_TXN_NUMBER,
)

from .exceptions import record_exception
from .in_progress import context_in_progress, operation_in_progress

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from pymongo.monitoring import CommandStartedEvent, CommandSucceededEvent

    from otel_mongo_apm._cluster.timeline import Timeline
    from otel_mongo_apm._commands.in_flight import InFlightCommand
    from otel_mongo_apm._commands.spans import SlowCommands
    from otel_mongo_apm._driver.failures import Failure
    from otel_mongo_apm._otel.addresses import Attributes
    from otel_mongo_apm._settings.telemetry import Telemetry


class MongodbCommandSpans(CommandSpans):
    """Starts and describes the spans of one client's commands, each inside its operation span."""

    # The specification requires a span for every command, and allows only database attributes.
    leaves_out_idle = tells_causes = False

    def __init__(
        self, telemetry: Telemetry, timeline: Timeline, slow: SlowCommands | None = None
    ) -> None:
        super().__init__(telemetry, timeline, slow)
        self.describe_each_start = self.tell_each_success = True

    def succeed(self, command: InFlightCommand, event: CommandSucceededEvent) -> None:
        """Describe the end of a command that the server reports as a success."""
        cursor = event.reply.get("cursor")
        # The ID of an exhausted cursor is 0. A getMore has its cursor's ID already.
        if isinstance(cursor, Mapping) and (cursor_id := cursor.get("id")):
            self._tell_cursor(command, cursor_id)
        super().succeed(command, event)

    def start(
        self,
        command: InFlightCommand,
        event: CommandStartedEvent,
        context: Context | None,
        start_time: int | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        """Start a command's span inside its operation span, if such a command has one."""
        gate = command.signature.gate
        if gate is None or gate(event):
            context = self._context(command, event)
            attributes = self._attributes(command, event)
            super().start(command, event, context, start_time, attributes)
        elif gate is not never and event.command_name not in AUTHENTICATION_COMMANDS:
            # The command has no span, but its operation has one.
            self._context(command, event)

    def parent(self) -> Context | None:
        """Return the context of the operation in progress; None means the current context."""
        return context_in_progress(self.timeline)

    def _context(self, command: InFlightCommand, event: CommandStartedEvent) -> Context | None:
        operation = operation_in_progress(self.timeline)
        if operation is None:  # The call went through a function that is not wrapped.
            return NOBODYS_CONTEXT if is_background() else None
        operation.sends(event.database_name, command.signature.collection)
        return operation.context

    def _attributes(self, command: InFlightCommand, event: CommandStartedEvent) -> Attributes:
        attributes = dict(command.signature.attributes)
        if command.connection:
            attributes[DB_MONGODB_DRIVER_CONNECTION_ID] = command.connection[1]
        if event.server_connection_id is not None:
            attributes[DB_MONGODB_SERVER_CONNECTION_ID] = event.server_connection_id
        return attributes

    def _describe_failure(self, span: Span, failure: Failure) -> None:
        error = exception_in_hand()
        if error is None:  # The server reported success.
            super()._describe_failure(span, failure)
            return
        failure = as_raised(failure, error)
        super()._describe_failure(span, failure)
        record_exception(span, error, failure, with_message=self._error_messages)

    def _describe_start(self, command: InFlightCommand, event: CommandStartedEvent) -> None:
        document = event.command
        if session_id := _session_id(document):
            command.span.set_attribute(DB_MONGODB_LSID, session_id)
        if isinstance(number := document.get("txnNumber"), int):
            command.span.set_attribute(DB_MONGODB_TXN_NUMBER, number)
        if event.command_name == "getMore":
            self._tell_cursor(command, document["getMore"])
        super()._describe_start(command, event)

    def _tell_cursor(self, command: InFlightCommand, cursor_id: object) -> None:
        if not isinstance(cursor_id, int):  # The application has passed another type.
            return
        if command.is_recording:
            command.span.set_attribute(DB_MONGODB_CURSOR_ID, cursor_id)
        if operation := operation_in_progress(self.timeline):
            operation.has_cursor(cursor_id)


def _session_id(document: Mapping[str, Any]) -> str | None:
    session = document.get("lsid")
    value = session.get("id") if isinstance(session, Mapping) else None
    if not isinstance(value, Binary) or value.subtype != UUID_SUBTYPE:
        return None
    return str(value.as_uuid())

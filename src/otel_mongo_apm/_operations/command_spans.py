"""The spans of commands as MongoDB's drivers have them: inside of their operations' spans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bson.binary import UUID_SUBTYPE, Binary

from otel_mongo_apm._commands.spans import CommandSpans
from otel_mongo_apm._driver.background import is_background
from otel_mongo_apm._driver.failures import exception_in_hand
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.exceptions import exception_attributes
from otel_mongo_apm._otel.semconv import (
    DB_MONGODB_CURSOR_ID,
    DB_MONGODB_DRIVER_CONNECTION_ID,
    DB_MONGODB_LSID,
    DB_MONGODB_SERVER_CONNECTION_ID,
    DB_MONGODB_TXN_NUMBER,
)

from .in_progress import operation_in_progress

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from pymongo.monitoring import CommandStartedEvent, CommandSucceededEvent

    from otel_mongo_apm._cluster.timeline import Timeline
    from otel_mongo_apm._commands.in_flight import InFlightCommand
    from otel_mongo_apm._otel.addresses import Attributes
    from otel_mongo_apm._settings.telemetry import Telemetry


class MongodbCommandSpans(CommandSpans):
    """Starts and describes the spans of one client's commands, each in its operation's."""

    def __init__(self, telemetry: Telemetry, timeline: Timeline) -> None:
        super().__init__(telemetry, timeline)
        self.describe_each_start = self.tell_each_success = True

    def succeed(self, command: InFlightCommand, event: CommandSucceededEvent) -> None:
        """Describe how a command ended that the server calls a success."""
        cursor = event.reply.get("cursor")
        # That of a cursor which has no more to give is 0; a getMore has told its own.
        if isinstance(cursor, Mapping) and (cursor_id := cursor.get("id")):
            self._tell_cursor(command, cursor_id)
        super().succeed(command, event)

    def describe_end(self, command: InFlightCommand) -> None:
        """Set what is known of a command once it has ended; on a span that is recording."""
        super().describe_end(command)
        if command.failure and (error := exception_in_hand()):
            message = None if self._error_messages else command.failure.name
            command.span.set_attributes(exception_attributes(error, message))

    def start(
        self,
        command: InFlightCommand,
        event: CommandStartedEvent,
        context: Context | None,
        start_time: int | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        """Start a command's span, if such a command has one, inside of its operation's."""
        gate = command.signature.gate
        if gate is None or gate(event):
            context = self._context(command, event)
            attributes = self._attributes(command, event)
            super().start(command, event, context, start_time, attributes)

    def _context(self, command: InFlightCommand, event: CommandStartedEvent) -> Context | None:
        operation = operation_in_progress(self.timeline)
        if operation is None:  # PyMongo made the call by a way that is not known here.
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
        if not isinstance(cursor_id, int):  # The application wrote something else in its place.
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

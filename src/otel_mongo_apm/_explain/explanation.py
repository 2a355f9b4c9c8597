"""Explains one slow command: asks the server and reports the answer."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pymongo
from bson.errors import BSONError
from opentelemetry._logs import LogRecord, SeverityNumber, get_logger
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.semconv.attributes.db_attributes import (
    DB_COLLECTION_NAME,
    DB_NAMESPACE,
    DB_OPERATION_NAME,
    DB_SYSTEM_NAME,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, set_span_in_context
from pymongo.errors import OperationFailure, PyMongoError

from otel_mongo_apm._driver.background import is_monitoring
from otel_mongo_apm._driver.documents import EXPLAIN
from otel_mongo_apm._driver.queries import is_asynchronous, run_command
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import (
    CLIENT_QUERY_EXPLAINED,
    MONGODB,
    PLAN_SUMMARY,
    SCHEMA_URL,
    SCOPE_NAME,
)
from otel_mongo_apm._otel.shield import quietly_shielded
from otel_mongo_apm._version import __version__

from .plan import plan_attributes

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._otel.addresses import Address, Attributes
    from otel_mongo_apm._settings.telemetry import Telemetry

    class Asker(Protocol):
        """The client's object that wants a command explained."""

        client: ClientReference
        telemetry: Telemetry
        has_room: Callable[[Address], bool]

        def dropped(self) -> None:
            """Learn that no connection was free."""

        def refused(self, name: str) -> None:
            """Learn that the server refuses to explain commands."""


_logger = logging.getLogger(__name__)

# Seconds for everything: server selection, check-out and the server's own work (`maxTimeMS`).
TIMEOUT = 1.0
# Seconds to wait for a connection that the application does not need.
PATIENCE = 2.0
# Unauthorized, CommandNotFound, CommandNotSupported, and the codes of compatible databases.
_REFUSALS = frozenset({13, 59, 115, 238})

_FAILURES = (
    PyMongoError,
    RuntimeError,
    OSError,
    BSONError,
    # Of an event loop that ends; until Python 3.11 this timeout is not a `TimeoutError`.
    concurrent.futures.CancelledError,
    concurrent.futures.TimeoutError,
)


@dataclass(frozen=True, slots=True)
class Query:
    """A command that was slow.

    Args:
        database: Its database.
        collection: Its collection.
        address: The server that ran it.
        explain: The `explain` command for it.
        read_preference: The command's read preference.
        span_context: The context of its span.
        seconds: Its duration in seconds.
    """

    database: str
    collection: str | None
    address: Address
    explain: Mapping[str, Any]
    read_preference: Mapping[str, Any] | None
    span_context: SpanContext
    seconds: float

    @property
    def target(self) -> str:
        """Return its collection or database, for names and texts."""
        return self.collection or self.database


class Explanation:
    """Asks a server once, with the client that sent the command.

    Args:
        asker: The client's object that wants the command explained.
        query: The command.
        loop: The event loop of an asynchronous client.
    """

    def __init__(
        self,
        asker: Asker,
        query: Query,
        loop: weakref.ReferenceType[asyncio.AbstractEventLoop] | None,
    ) -> None:
        self._asker = asker
        self._query = query
        self._loop = loop

    @quietly_shielded
    def ask(self) -> bool:
        """Ask the server and report its answer; return whether it was asked."""
        client = self._asker.client()
        if client is None or not self._asker.telemetry.is_on:
            return False
        if not self._has_room():
            self._asker.dropped()
            return False
        start = time.time_ns()
        try:
            reply = self._reply(client)
        except OperationFailure as error:
            if error.code in _REFUSALS:
                self._asker.refused(str((error.details or {}).get("codeName") or error.code))
        except _FAILURES as error:
            # The client may be closed, the server down or the event loop stopped.
            _logger.debug("Could not explain a slow command: %s", type(error).__name__)
        else:
            if reply:
                self._tell(plan_attributes(reply), start)
        return True

    def _has_room(self) -> bool:
        deadline = time.monotonic() + PATIENCE
        while not self._asker.has_room(self._query.address):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _reply(self, client: Any) -> Mapping[str, Any] | None:
        query = self._query

        def command() -> Any:
            return run_command(client, query.database, query.explain, query.read_preference)

        with suppress_instrumentation():
            if is_asynchronous(client):
                return self._awaited(command)
            with pymongo.timeout(TIMEOUT):
                reply: Mapping[str, Any] = command()
                return reply

    def _awaited(self, command: Callable[[], Any]) -> Mapping[str, Any] | None:
        """Return the reply to an asynchronous client, using the client's event loop."""
        loop = None if self._loop is None else self._loop()
        if loop is None or not loop.is_running():
            return None

        async def within_time() -> Any:
            if not is_monitoring(loop):  # It is about to end, and would not wait for us.
                return None
            with pymongo.timeout(TIMEOUT):
                return await command()

        coroutine = within_time()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # It was closed just now.
            coroutine.close()
            raise
        try:
            reply: Mapping[str, Any] = future.result(2 * TIMEOUT)
        except BaseException:
            if not loop.is_closed():  # Else there is nothing to cancel, and it would raise.
                future.cancel()
            raise
        return reply

    def _tell(self, plan: Attributes, start: int) -> None:
        query, telemetry = self._query, self._asker.telemetry
        attributes: Attributes = {
            DB_SYSTEM_NAME: MONGODB,
            DB_NAMESPACE: query.database,
            DB_OPERATION_NAME: EXPLAIN,
            **({DB_COLLECTION_NAME: query.collection} if query.collection else {}),
            **plan,
        }
        context = set_span_in_context(NonRecordingSpan(query.span_context), NOBODYS_CONTEXT)
        span = telemetry.tracer.start_span(
            f"{EXPLAIN} {query.target}",
            context,
            SpanKind.INTERNAL,
            attributes,
            start_time=start,
        )
        span.end()
        settings = telemetry.settings
        if settings.events in {"logs", "both"}:
            logger = get_logger(SCOPE_NAME, __version__, settings.logger_provider, SCHEMA_URL)
            operation = next(iter(query.explain[EXPLAIN]))
            took = f"{operation} {query.target} took {query.seconds:.3g} s"
            logger.emit(
                LogRecord(
                    event_name=CLIENT_QUERY_EXPLAINED,
                    timestamp=start,
                    context=context,
                    severity_number=SeverityNumber.INFO,
                    severity_text=SeverityNumber.INFO.name,
                    body=f"{took}: {plan.get(PLAN_SUMMARY, 'no plan')}",
                    attributes=attributes,
                )
            )

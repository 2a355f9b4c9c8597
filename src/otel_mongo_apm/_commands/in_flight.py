"""The commands that have started and not yet ended."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.trace import INVALID_SPAN, Span

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext
    from pymongo.monitoring import CommandStartedEvent

    from otel_mongo_apm._driver.failures import Failure

    from .connections import CheckedIn, Connection
    from .cursors import OpenCursor
    from .signatures import CommandSignature

MAX_OPEN = 10_000
MAX_RETRIES = 1_000


class Retry(NamedTuple):
    """A retry of an operation that may follow.

    Args:
        operation_id: The driver's ID of the operation, which all its attempts share.
        number: The number of the retry; 1 for the first.
        span_context: The span context of the attempt that failed.
    """

    operation_id: int
    number: int
    span_context: SpanContext


@dataclass(slots=True, eq=False)
class Special:
    """The properties that only few commands have.

    Args:
        retry: The retry that this command is.
        cursor: The cursor that it continues.
        opens_tail: Whether the cursor that it opens stays open at its end.
        put_off: What is needed to start the span later, if that has to wait for the reply.
        started: Its start event, if it may have to be explained.
    """

    retry: Retry | None = None
    cursor: OpenCursor | None = None
    opens_tail: bool = False
    put_off: CommandStartedEvent | None = None
    started: CommandStartedEvent | None = None


# Without an `__init__`, which would be slower than setting the fields: see `in_flight_command`.
@dataclass(slots=True, eq=False, init=False)
class InFlightCommand:
    """A command in flight, and at its end the result.

    Attributes:
        number: Its unique number in this process.
        request_id: PyMongo's request ID, which is not unique.
        signature: The properties that it shares with similar commands.
        latest_event: The number of the latest cluster event before it.
        connection: The server and the driver's ID of its connection, if that is known.
        began: The monotonic time of its start, in seconds. Needed if it is interrupted, because
            the driver reports no duration then.
        special: The properties that only few commands have.
        span: Its span; an invalid one if it has none.
        is_recording: Whether the span is recording.
        rows: The number of documents in its reply.
        failure: Why it failed.
    """

    number: int
    request_id: int
    signature: CommandSignature
    latest_event: int
    connection: Connection | None
    began: float
    special: Special | None
    span: Span
    is_recording: bool
    rows: int | None
    failure: Failure | None

    def fail(self, failure: Failure, operation_id: int | None) -> None:
        """Note why it failed, and the retry that may follow."""
        self.failure = failure
        if operation_id is not None:
            retry = self.special and self.special.retry
            attempt = retry.number + 1 if retry else 1
            _expect(self.number, Retry(operation_id, attempt, self.span.get_span_context()))

    def close(self) -> None:
        """End the span, and release it and the documents."""
        span, self.span = self.span, INVALID_SPAN
        if self.special:
            self.special.put_off = self.special.started = None
        span.end()


# PyMongo's request IDs repeat (all of an exhaust cursor's getMores have 0). But a thread or task
# has one command in flight at a time, and PyMongo reports its end where it reported its start.
# New tasks and threads keep a copy of the context as long as they run, so a context contains only a
# number and nothing that would keep a command, a task or a client alive.
_numbers = count(1)
_latest: ContextVar[int] = ContextVar("otel_mongo_apm_latest", default=0)

# The retries that may follow, by the number of the command that failed.
retries: dict[int, Retry] = {}


def _expect(number: int, retry: Retry) -> None:
    if len(retries) >= MAX_RETRIES:  # Most failures are not retried; drop the oldest.
        retries.pop(next(iter(list(retries))), None)
    retries[number] = retry


# The request ID of this thread's or task's last command that is not kept in flight, because nothing
# will show its end. Without it, the end event would cause a search among all commands.
overlooked: ContextVar[int | None] = ContextVar("otel_mongo_apm_overlooked", default=None)


def fail_overlooked(request_id: int, operation_id: int | None) -> None:
    """Note of a failed command without a record only that a retry may follow."""
    if overlooked.get() == request_id and operation_id is not None:
        number = next(_numbers)
        _latest.set(number)
        _expect(number, Retry(operation_id, 1, INVALID_SPAN.get_span_context()))


def is_after_failure() -> bool:
    """Whether this thread's or task's last command failed, so that a command now may be a retry."""
    return _latest.get() in retries


def in_flight_command(
    event: CommandStartedEvent,
    request_id: int,
    signature: CommandSignature,
    latest_event: int,
    connection: Connection | None,
) -> InFlightCommand:
    """Create a command; it is a retry if this caller's last one was of its operation and failed."""
    command = InFlightCommand()
    command.number = next(_numbers)
    command.request_id = request_id
    command.signature = signature
    command.latest_event = latest_event
    command.connection = connection
    command.began = monotonic()
    command.span = INVALID_SPAN
    command.is_recording = False
    command.special = command.rows = command.failure = None
    retry = retries.pop(_latest.get(), None) if retries else None
    if retry and retry.operation_id == event.operation_id:
        command.special = Special(retry)
    return command


class InFlightCommands:
    """The commands in flight of one client."""

    def __init__(self) -> None:
        # By number, the oldest first. Without a lock, because each use is one dictionary operation.
        self._open: dict[int, InFlightCommand] = {}

    def __len__(self) -> int:
        return len(self._open)

    def start_anew(self) -> None:
        """Forget everything in a forked child, because it belongs to the parent."""
        self._open.clear()

    def add(self, command: InFlightCommand) -> InFlightCommand | None:
        """Add a command; if there are too many, remove and return the oldest."""
        displaced = self._oldest() if len(self._open) >= MAX_OPEN else None
        self._open[command.number] = command
        _latest.set(command.number)
        return displaced

    def pop(self, request_id: int) -> InFlightCommand | None:
        """Remove and return the command of this thread or task that has ended, if it is known."""
        if not self._open:
            return None
        number = _latest.get()
        command = self._open.get(number)
        if command and command.request_id == request_id and self._open.pop(number, None):
            return command
        if overlooked.get() == request_id:
            return None
        command = self._newest(request_id)
        return self._open.pop(command.number, None) if command else None

    def has_own(self) -> bool:
        """Whether this thread's or task's last command is still open."""
        return _latest.get() in self._open

    def pop_checked_in(self, connection: CheckedIn) -> InFlightCommand | None:
        """Remove and return this caller's open command on a connection; mostly there is none."""
        command = self._open.get(_latest.get())
        if command is None:
            return None
        address, number, since = connection
        if command.connection is None:
            # It cannot use a connection that was checked out later, for example by a hook.
            is_its_own = since is not None and since <= command.began
        else:
            is_its_own = command.connection == (address, number)
        return self._open.pop(command.number, None) if is_its_own else None

    def pop_closed(self, connection: Connection) -> InFlightCommand | None:
        """Remove and return the open commands on a connection, of any caller."""
        for command in list(self._open.values()):
            if command.connection == connection:
                return self._open.pop(command.number, None)
        return None

    def _newest(self, request_id: int) -> InFlightCommand | None:
        # Only reached if a hook or another listener has sent a command of its own in between.
        open_commands = reversed(list(self._open.values()))
        return next((each for each in open_commands if each.request_id == request_id), None)

    def _oldest(self) -> InFlightCommand | None:
        oldest = next(iter(list(self._open)), None)
        return None if oldest is None else self._open.pop(oldest, None)

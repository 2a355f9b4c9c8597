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
    """What another attempt at an operation would be.

    Args:
        operation_id: The driver's ID of the operation; all its attempts have the same.
        number: Which retry it is; 1 for the first.
        span_context: That of the attempt that failed.
    """

    operation_id: int
    number: int
    span_context: SpanContext


@dataclass(slots=True, eq=False)
class Special:
    """What only few commands have.

    Args:
        retry: What it is another attempt of.
        cursor: The cursor that it goes on with.
        opens_tail: Whether the cursor that it opens is one that stays open at its end.
        put_off: What to start the span with once the reply has come, if that is to be awaited.
        started: How it started, if it is to be explained should it turn out to be slow.
    """

    retry: Retry | None = None
    cursor: OpenCursor | None = None
    opens_tail: bool = False
    put_off: CommandStartedEvent | None = None
    started: CommandStartedEvent | None = None


# Without an `__init__`, which would take longer than setting its fields: see `in_flight_command`.
@dataclass(slots=True, eq=False, init=False)
class InFlightCommand:
    """A command on its way, and in the end what became of it.

    Attributes:
        number: Its own, in this process.
        request_id: As PyMongo numbers it; not unique.
        signature: What it has in common with its like.
        latest_event: The number of the cluster event before it.
        connection: The server and the driver's ID of what it went out on, if that is known.
        began: When, by the monotonic clock in seconds: of a command that is interrupted the
            driver tells no duration.
        special: What most commands do without.
        span: Its span, which is invalid if it has none.
        is_recording: Whether anyone will see what is set on the span.
        rows: How many documents its reply brought.
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
        """Keep why it failed, and what another attempt would be."""
        self.failure = failure
        if operation_id is not None:
            retry = self.special and self.special.retry
            attempt = retry.number + 1 if retry else 1
            _expect(self.number, Retry(operation_id, attempt, self.span.get_span_context()))

    def close(self) -> None:
        """End the span; keep neither it nor a document for longer than it must be."""
        span, self.span = self.span, INVALID_SPAN
        if self.special:
            self.special.put_off = self.special.started = None
        span.end()


# PyMongo's request IDs repeat (all of an exhaust cursor's getMores have 0), but a thread or task
# has one command in flight at a time, and it is told of the end where it was told of the start.
# Tasks and threads that begin meanwhile keep a copy of the context for as long as they run, so a
# context holds a number and nothing that could keep a command, a task or a client alive.
_numbers = count(1)
_latest: ContextVar[int] = ContextVar("otel_mongo_apm_latest", default=0)

# What the next attempt would be, by the number of the command that failed.
_retries: dict[int, Retry] = {}


def _expect(number: int, retry: Retry) -> None:
    if len(_retries) >= MAX_RETRIES:  # Most failures are the end of it; the oldest go.
        _retries.pop(next(iter(list(_retries))), None)
    _retries[number] = retry


# The request ID of the last command of this thread or task of which nothing is kept, because nobody
# will see how it ends. Without it, its end would be looked for among all others.
overlooked: ContextVar[int | None] = ContextVar("otel_mongo_apm_overlooked", default=None)


def fail_overlooked(request_id: int, operation_id: int | None) -> None:
    """Keep of an overlooked command that failed only that the next may be another attempt."""
    if overlooked.get() == request_id and operation_id is not None:
        number = next(_numbers)
        _latest.set(number)
        _expect(number, Retry(operation_id, 1, INVALID_SPAN.get_span_context()))


def is_after_failure() -> bool:
    """Whether the last command of this thread or task failed, so that one now may be a retry."""
    return bool(_retries) and _latest.get() in _retries


def in_flight_command(
    event: CommandStartedEvent,
    signature: CommandSignature,
    latest_event: int,
    connection: Connection | None,
) -> InFlightCommand:
    """A command that starts; it is a retry if the last of this thread or task failed it."""
    command = InFlightCommand()
    command.number = next(_numbers)
    command.request_id = event.request_id
    command.signature = signature
    command.latest_event = latest_event
    command.connection = connection
    command.began = monotonic()
    command.span = INVALID_SPAN
    command.is_recording = False
    command.special = command.rows = command.failure = None
    retry = _retries.pop(_latest.get(), None) if _retries else None
    if retry and retry.operation_id == event.operation_id:
        command.special = Special(retry)
    return command


class InFlightCommands:
    """The commands in flight of one client."""

    def __init__(self) -> None:
        # By their numbers, the oldest first. Without a lock: each use is one dictionary operation.
        self._open: dict[int, InFlightCommand] = {}

    def __len__(self) -> int:
        return len(self._open)

    def start_anew(self) -> None:
        """Forget all; they are another process's."""
        self._open.clear()

    def add(self, command: InFlightCommand) -> InFlightCommand | None:
        """Keep a command that has started; return the oldest if it had to make room."""
        displaced = self._oldest() if len(self._open) >= MAX_OPEN else None
        self._open[command.number] = command
        _latest.set(command.number)
        return displaced

    def pop(self, request_id: int) -> InFlightCommand | None:
        """Forget and return the command of this thread or task that has ended; none if unknown."""
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

    def pop_checked_in(self, connection: CheckedIn) -> InFlightCommand | None:
        """Forget and return what this thread or task has open on a connection; mostly nothing."""
        command = self._open.get(_latest.get())
        if command is None:
            return None
        address, number, since = connection
        if command.connection is None:
            # It cannot have gone out on one that was checked out later, by a hook perhaps.
            is_its_own = since is not None and since <= command.began
        else:
            is_its_own = command.connection == (address, number)
        return self._open.pop(command.number, None) if is_its_own else None

    def pop_closed(self, connection: Connection) -> InFlightCommand | None:
        """Forget and return what anybody has open on a connection."""
        for command in list(self._open.values()):
            if command.connection == connection:
                return self._open.pop(command.number, None)
        return None

    def _newest(self, request_id: int) -> InFlightCommand | None:
        # Only reached where a hook or another listener sent a command of its own in between.
        open_commands = reversed(list(self._open.values()))
        return next((each for each in open_commands if each.request_id == request_id), None)

    def _oldest(self) -> InFlightCommand | None:
        oldest = next(iter(list(self._open)), None)
        return None if oldest is None else self._open.pop(oldest, None)

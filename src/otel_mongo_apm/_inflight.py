"""The commands that have started and not yet ended."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN, Span

if TYPE_CHECKING:
    from pymongo.monitoring import CommandStartedEvent

    from ._attributes import Failure
    from ._conventions import CommandSignature


@dataclass(slots=True, eq=False)
class InFlightCommand:
    """A command on its way, and in the end what became of it.

    Args:
        request_id: As PyMongo numbers it; not unique.
        signature: What it has in common with its like.
        latest_event: The number of the cluster event before it.
        span: Its span, which is invalid if it has none.
        is_recording: Whether anyone will see what is set on the span.
        put_off: What to start the span with once the reply has come, if that is to be awaited.
        rows: How many documents its reply brought.
        failure: Why it failed.
    """

    request_id: int
    signature: CommandSignature
    latest_event: int
    span: Span = INVALID_SPAN
    is_recording: bool = False
    put_off: CommandStartedEvent | None = None
    rows: int | None = None
    failure: Failure | None = None


# PyMongo's request IDs repeat (all of an exhaust cursor's getMores have 0), but a thread or task
# has one command in flight at a time, and it is told of the end where it was told of the start.
_latest: ContextVar[InFlightCommand | None] = ContextVar("otel_mongo_apm_latest", default=None)


class InFlightCommands:
    """The commands in flight of one client."""

    def __init__(self) -> None:
        # A set in the order of insertion. Without a lock: each use is one dictionary operation.
        self._open: dict[InFlightCommand, InFlightCommand] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, command: InFlightCommand) -> None:
        """Keep a command that has started."""
        self._open[command] = command
        _latest.set(command)

    def pop(self, request_id: int) -> InFlightCommand | None:
        """Forget and return the command of this thread or task that has ended; none if unknown."""
        command = _latest.get()
        if command is None or command.request_id != request_id or command not in self._open:
            command = self._newest(request_id)
        return self._open.pop(command, None) if command else None

    def _newest(self, request_id: int) -> InFlightCommand | None:
        # Only reached where a hook or another listener sent a command of its own in between.
        candidates = (c for c in reversed(list(self._open)) if c.request_id == request_id)
        return next(candidates, None)

"""The recent cluster events of one client."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from otel_mongo_apm._otel.semconv import CLUSTER_EVENT

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from otel_mongo_apm._otel.addresses import Address, Attributes

MAX_EVENTS = 128


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """Something that happened in the cluster.

    Args:
        name: The name of the span event or log event.
        time: When it happened, in nanoseconds since the epoch.
        attributes: Its attributes.
        line: Its log line.
        address: The server concerned; None if it concerns the whole topology.
        is_warning: Whether its severity is WARN.
    """

    name: str
    time: int
    attributes: Attributes
    line: str
    address: Address | None = None
    is_warning: bool = False

    def add_to(self, span: Span) -> None:
        """Add it to a span, with its own time."""
        span.add_event(self.name, {CLUSTER_EVENT: self.line, **self.attributes}, self.time)


class Timeline:
    """The last events, numbered. `latest` is the number of the newest, for a quick look."""

    def __init__(self) -> None:
        # Without a lock, because appending and copying are atomic. If two threads add at the same
        # time, `latest` may be one behind; a span then contains an event from just before it.
        self._events: deque[tuple[int, ClusterEvent]] = deque(maxlen=MAX_EVENTS)
        self._numbers = count(1)
        self.latest = 0

    def add(self, event: ClusterEvent) -> None:
        """Add an event that has happened."""
        number = next(self._numbers)
        self._events.append((number, event))
        self.latest = number

    def after(self, number: int) -> list[ClusterEvent]:
        """The events after the one with a number, oldest first."""
        return [event for each, event in list(self._events) if each > number]

    def between(self, start: int, end: int) -> list[ClusterEvent]:
        """The events from one time to another, in nanoseconds since the epoch."""
        return [event for _, event in list(self._events) if start <= event.time <= end]

"""Cluster spans: the discovery of a cluster and its outages, each the root of its own trace."""

from __future__ import annotations

import time as clocks
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.trace import Link, SpanKind, StatusCode

from otel_mongo_apm._otel.addresses import written
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import (
    PRIMARY_ADDRESS,
    PRIMARY_PREVIOUS_ADDRESS,
    TOPOLOGY_DISCOVERY,
    TOPOLOGY_OUTAGE,
)

if TYPE_CHECKING:
    from otel_mongo_apm._otel.addresses import Address, Attributes
    from otel_mongo_apm._settings.telemetry import Telemetry

    from .descriptions import Topology
    from .timeline import ClusterEvent, Timeline

SECOND = 1_000_000_000
# A part that lasts longer is ended as it is, and another one begun.
MAX_PART = 60 * SECOND
# Trouble this shortly before, in nanoseconds, is why it happened.
PRELUDE = SECOND // 10
MAX_EARLY_EVENTS = 100
MAX_LATE_EVENTS = 28


def _lead() -> int:
    """How far the clock is ahead of the monotonic one, in nanoseconds."""
    return clocks.time_ns() - clocks.monotonic_ns()


@dataclass(slots=True)
class _Story:
    """What is being told; its span is made when a part of it ends.

    Args:
        name: The span's name.
        began: When it began, in nanoseconds since the epoch.
        part_began: When the part that is not told yet began.
        primary: The primary before.
        early: The first events. With the latest they are as many as a span holds.
        late: The latest events.
        links: To the part before.
        lead: How far ahead of the monotonic clock the one was that it began by.
    """

    name: str
    began: int
    part_began: int
    primary: Address | None = None
    early: list[ClusterEvent] = field(default_factory=list)
    late: deque[ClusterEvent] = field(default_factory=lambda: deque(maxlen=MAX_LATE_EVENTS))
    links: list[Link] = field(default_factory=list)
    lead: int = field(default_factory=_lead)

    def add(self, event: ClusterEvent) -> None:
        (self.early if len(self.early) < MAX_EARLY_EVENTS else self.late).append(event)

    def by_its_clock(self, time: int) -> int:
        """A time of now by the clock that it began by, if that was set meanwhile."""
        difference = _lead() - self.lead
        return time - difference if abs(difference) > SECOND else time


class ClusterSpans:
    """Tells of one client's cluster: how it was found, and when it could not be written to.

    Times are in nanoseconds since the epoch.
    """

    def __init__(self, telemetry: Telemetry, timeline: Timeline) -> None:
        self._telemetry = telemetry
        self._timeline = timeline
        self._story: _Story | None = None

    def opened(self, time: int) -> None:
        """Begin the discovery."""
        self._story = _Story(TOPOLOGY_DISCOVERY, time, time)

    def happened(self, event: ClusterEvent) -> None:
        """Tell an event, if there is something to tell it in."""
        if self._story:
            self._story.add(event)

    def changed(self, old: Topology, new: Topology, events: list[ClusterEvent], time: int) -> None:
        """Begin or end what the change begins or ends; its events are in it either way."""
        if old.is_writable and not new.is_writable:
            self._begin_outage(old, time)
        for event in events:
            self.happened(event)
        if self._story and self._is_over(self._story, new):
            self._end(self._story, new, self._story.by_its_clock(time))

    def closed(self, topology: Topology, time: int) -> None:
        """End what is unfinished."""
        if self._story:
            end = self._story.by_its_clock(time)
            self._end_part(self._story, topology, end, "The client was closed")
        self._story = None

    def review(self, topology: Topology, time: int) -> None:
        """End a part that has become too long, and begin another."""
        story = self._story
        if story is None or (end := story.by_its_clock(time)) - story.part_began < MAX_PART:
            return
        links = self._end_part(story, topology, end, "Unfinished")
        self._story = _Story(
            story.name, story.began, end, story.primary, links=links, lead=story.lead
        )

    def _begin_outage(self, old: Topology, time: int) -> None:
        self._story = _Story(TOPOLOGY_OUTAGE, time, time, old.primary)
        for event in self._timeline.between(time - PRELUDE, time - 1):
            if event.is_warning:
                self._story.add(event)

    def _is_over(self, story: _Story, new: Topology) -> bool:
        is_usable = story.name == TOPOLOGY_DISCOVERY and new.is_readable
        return new.is_writable or is_usable

    def _end(self, story: _Story, new: Topology, time: int) -> None:
        self._end_part(story, new, time)
        self._story = None
        if (instruments := self._telemetry.topology_instruments) and story.name == TOPOLOGY_OUTAGE:
            seconds = (time - story.began) / SECOND
            instruments.outage_duration.record(seconds, new.replica_set_attributes, NOBODYS_CONTEXT)

    def _end_part(
        self, story: _Story, topology: Topology, time: int, error: str | None = None
    ) -> list[Link]:
        if not self._telemetry.events_in_spans:
            return []
        span = self._telemetry.tracer.start_span(
            story.name,
            context=NOBODYS_CONTEXT,
            kind=SpanKind.INTERNAL,
            attributes=_attributes(story, topology),
            links=story.links,
            start_time=story.part_began,
        )
        try:
            for event in (*story.early, *story.late):
                event.add_to(span)
            if error:
                span.set_status(StatusCode.ERROR, error)
        finally:
            span.end(time)
        return [Link(span.get_span_context())]


def _attributes(story: _Story, topology: Topology) -> Attributes:
    attributes = topology.replica_set_attributes
    if story.primary:
        attributes[PRIMARY_PREVIOUS_ADDRESS] = written(story.primary)
        if topology.is_writable and topology.primary:
            attributes[PRIMARY_ADDRESS] = written(topology.primary)
    return attributes

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
# A part that has lasted this long, in seconds, ends, and another one begins.
MAX_PART = 60 * SECOND
# Warnings this shortly before an outage, in nanoseconds, belong to it.
PRELUDE = SECOND // 10
# The status descriptions of an outage and of a failed discovery.
DESCRIPTIONS = {
    TOPOLOGY_DISCOVERY: "No usable server",
    TOPOLOGY_OUTAGE: "No writable server",
}
MAX_EARLY_EVENTS = 100
MAX_LATE_EVENTS = 28


def _lead() -> int:
    """Return how far the wall clock is ahead of the monotonic clock, in nanoseconds."""
    return clocks.time_ns() - clocks.monotonic_ns()


@dataclass(slots=True)
class _Story:
    """A discovery or outage in progress; each part of it becomes a span when the part ends.

    Args:
        name: The span's name.
        began: When it began, in nanoseconds since the epoch.
        part_began: When the current part began.
        primary: The primary before it.
        early: The first events. Together with the latest, they are as many as a span holds.
        late: The latest events.
        links: The link to the previous part.
        lead: How far the wall clock was ahead of the monotonic clock when it began.
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
        """Correct a time if the wall clock was set since the beginning."""
        difference = _lead() - self.lead
        time = time - difference if abs(difference) > SECOND else time
        return max(time, self.part_began)


class ClusterSpans:
    """Creates the spans of one client's cluster: its discovery and its outages.

    Times are in nanoseconds since the epoch.
    """

    def __init__(self, telemetry: Telemetry, timeline: Timeline) -> None:
        self._telemetry = telemetry
        self._timeline = timeline
        self._story: _Story | None = None

    @property
    def is_unfinished(self) -> bool:
        """Whether a discovery or an outage is in progress."""
        return self._story is not None

    def opened(self, time: int) -> None:
        """Begin the discovery."""
        self._story = _Story(TOPOLOGY_DISCOVERY, time, time)

    def happened(self, event: ClusterEvent) -> None:
        """Add an event to the discovery or outage in progress, if there is one."""
        if self._story:
            self._story.add(event)

    def changed(self, old: Topology, new: Topology, events: list[ClusterEvent], time: int) -> None:
        """Begin or end a discovery or outage; it contains the events of this change, too."""
        if old.is_writable and not new.is_writable:
            self._begin_outage(old, time)
        for event in events:
            self.happened(event)
        if self._story and self._is_over(self._story, new):
            self._end(self._story, new, self._story.by_its_clock(time))

    def ended(self, topology: Topology, time: int, why: str) -> None:
        """End a discovery or outage that is in progress.

        Args:
            topology: The last known state.
            time: The time of the end.
            why: What happened to the client.
        """
        story, self._story = self._story, None
        if story:
            self._end_part(story, topology, story.by_its_clock(time), f" until {why}")

    def review(self, topology: Topology, time: int) -> None:
        """End the current part if it has lasted too long, and begin another one."""
        story = self._story
        if story is None or (end := story.by_its_clock(time)) - story.part_began < MAX_PART:
            return
        links = self._end_part(story, topology, end, " so far")
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
        self._story = None
        if (instruments := self._telemetry.topology_instruments) and story.name == TOPOLOGY_OUTAGE:
            seconds = (time - story.began) / SECOND
            instruments.outage_duration.record(seconds, new.replica_set_attributes, NOBODYS_CONTEXT)
        self._end_part(story, new, time, "" if story.name == TOPOLOGY_OUTAGE else None)

    def _end_part(
        self, story: _Story, topology: Topology, time: int, until: str | None
    ) -> list[Link]:
        """Create the span of a part; it is an error, with a description, unless it succeeded."""
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
            if until is not None:
                span.set_status(StatusCode.ERROR, DESCRIPTIONS[story.name] + until)
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

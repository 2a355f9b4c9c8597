"""Reports the events of a cluster: log, spans, counts."""

from __future__ import annotations

import time as clocks
from typing import TYPE_CHECKING

from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import (
    CLIENT_TOPOLOGY_DESCRIPTION_CHANGED,
    CLIENT_TOPOLOGY_PRIMARY_CHANGED,
)

if TYPE_CHECKING:
    from otel_mongo_apm._metrics.instruments import Instruments

    from .descriptions import Topology
    from .log import ClusterLog
    from .spans import ClusterSpans
    from .timeline import ClusterEvent


class ClusterReport:
    """Reports the events of one client's cluster. Only one thread at a time calls it.

    Times are in nanoseconds since the epoch.

    Args:
        log: Logs the events.
        spans: Creates the spans of the discovery and of outages.
        instruments: Counts changes; None if they are not measured.
    """

    def __init__(
        self, log: ClusterLog, spans: ClusterSpans, instruments: Instruments | None
    ) -> None:
        self._log = log
        self._spans = spans
        self._instruments = instruments

    @property
    def is_unfinished(self) -> bool:
        """Whether a discovery or an outage is in progress."""
        return self._spans.is_unfinished

    def opened(self, time: int) -> None:
        """Begin: the client was just opened."""
        self._log.opened()
        self._spans.opened(time)

    def happened(self, event: ClusterEvent) -> None:
        """Report an event that is not a change of a description."""
        self._spans.happened(event)
        self._log.tell(event)

    def changed(self, old: Topology, new: Topology, events: list[ClusterEvent], time: int) -> None:
        """Report a change."""
        try:
            self._spans.changed(old, new, events, time)
        finally:  # If a sampler or processor raises, only the spans are affected.
            for event in events:
                self._count(event, new)
                self._log.tell(event)

    def ended(self, topology: Topology, time: int, why: str) -> None:
        """End a discovery or outage that is in progress.

        Args:
            topology: The last known state.
            time: The time of the end.
            why: What happened to the client.
        """
        self._spans.ended(topology, time, why)

    def review(self, topology: Topology) -> None:
        """Report what has been in progress for long enough."""
        self._spans.review(topology, clocks.time_ns())
        self._log.review()

    def _count(self, event: ClusterEvent, new: Topology) -> None:
        if self._instruments is None:
            return
        if event.name == CLIENT_TOPOLOGY_DESCRIPTION_CHANGED:
            self._instruments.description_changes.add(1, {}, NOBODYS_CONTEXT)
            if new.replica_set:  # So that its first change of primary counts as an increase.
                attributes = new.replica_set_attributes
                self._instruments.primary_changes.add(0, attributes, NOBODYS_CONTEXT)
        elif event.name == CLIENT_TOPOLOGY_PRIMARY_CHANGED:
            self._instruments.primary_changes.add(1, new.replica_set_attributes, NOBODYS_CONTEXT)

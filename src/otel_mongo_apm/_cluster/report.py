"""Everything that is told when something has happened in a cluster: log, spans, counts."""

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
    """Where the events of one client's cluster are told. One thread at a time calls it.

    Times are in nanoseconds since the epoch.

    Args:
        log: Where they are logged.
        spans: Where the discovery and outages are told.
        instruments: Where changes are counted, if they are.
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
        """Begin: the client has just been opened."""
        self._log.opened()
        self._spans.opened(time)

    def happened(self, event: ClusterEvent) -> None:
        """Tell an event that is no change of a description."""
        self._spans.happened(event)
        self._log.tell(event)

    def changed(self, old: Topology, new: Topology, events: list[ClusterEvent], time: int) -> None:
        """Tell a change."""
        try:
            self._spans.changed(old, new, events, time)
        finally:  # A sampler or a processor that raises keeps it out of its own spans only.
            for event in events:
                self._count(event, new)
                self._log.tell(event)

    def ended(self, topology: Topology, time: int, why: str) -> None:
        """End what is unfinished.

        Args:
            topology: What is known of it in the end.
            time: When.
            why: What has happened to the client.
        """
        self._spans.ended(topology, time, why)

    def review(self, topology: Topology) -> None:
        """Tell what has lasted for long enough."""
        self._spans.review(topology, clocks.time_ns())
        self._log.review()

    def _count(self, event: ClusterEvent, new: Topology) -> None:
        if self._instruments is None:
            return
        if event.name == CLIENT_TOPOLOGY_DESCRIPTION_CHANGED:
            self._instruments.description_changes.add(1, {}, NOBODYS_CONTEXT)
            if new.replica_set:  # Its first other primary is then seen as an increase.
                attributes = new.replica_set_attributes
                self._instruments.primary_changes.add(0, attributes, NOBODYS_CONTEXT)
        elif event.name == CLIENT_TOPOLOGY_PRIMARY_CHANGED:
            self._instruments.primary_changes.add(1, new.replica_set_attributes, NOBODYS_CONTEXT)

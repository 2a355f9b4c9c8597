"""The cluster as one client sees it.

Each of PyMongo's prompt events (heartbeats, cleared pools, server selection) is taken for an
occasion to look at the client's live description. To look is quick and allowed anywhere, even
under PyMongo's locks; what calls exporters and loggers waits until somebody without a lock comes
along to tell it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from otel_mongo_apm._driver.clients import is_closed, topology_description, topology_id
from otel_mongo_apm._otel.context import NOBODYS_CONTEXT
from otel_mongo_apm._otel.semconv import (
    CLIENT_TOPOLOGY_CLOSED,
    CLIENT_TOPOLOGY_DESCRIPTION_CHANGED,
    CLIENT_TOPOLOGY_OPENED,
    CLIENT_TOPOLOGY_PRIMARY_CHANGED,
    TOPOLOGY_ID,
)

from .descriptions import Topology, changes, topology
from .timeline import ClusterEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.topology_description import TopologyDescription

    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._metrics.instruments import Instruments
    from otel_mongo_apm._otel.addresses import Address, Attributes

    from .log import ClusterLog
    from .spans import ClusterSpans
    from .timeline import Timeline


class Cluster:
    """What one client knows of its servers, and what has happened that nobody was told of yet.

    Args:
        client: The client.
        timeline: Where its events go at once.
        log: Where they are told when the time has come.
        spans: Where they are told, too.
        instruments: Where they are counted, if they are.
    """

    def __init__(
        self,
        client: ClientReference,
        timeline: Timeline,
        log: ClusterLog,
        spans: ClusterSpans,
        instruments: Instruments | None,
    ) -> None:
        self._client = client
        self._timeline = timeline
        self._log = log
        self._spans = spans
        self._instruments = instruments
        # Whether it is in the child of a fork, where nobody has used the client yet.
        self.is_inherited = False
        self._know_nothing()

    def start_anew(self) -> None:
        """Know nothing; in the child of a fork, even a lock may be one that nobody releases."""
        self.is_inherited = True
        self._know_nothing()

    def _know_nothing(self) -> None:
        self._looking = threading.Lock()
        self._telling = threading.Lock()
        self.description: TopologyDescription | None = None
        # What has happened that nobody was told of yet.
        self.untold: deque[Callable[[], None]] = deque()
        self.topology = Topology()
        self.types_seen: dict[Address, set[str]] = {}
        self.is_open = False
        self._opened_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed, or is gone; its listeners may be collected only later."""
        client = self._client()
        return self._client.is_gone if client is None else is_closed(client)

    def has_dropped(self, address: Address) -> bool:
        """Whether the client goes on without a server."""
        description = self._live_description()
        return description is not None and not description.has_server(address)

    def open(self) -> None:
        """Note that monitoring has begun, the first time."""
        if self.is_open:
            return
        with self._looking:
            if not self.is_open and not self.is_closed:
                self._open()

    def close(self) -> None:
        """Note that the client was closed, the first time."""
        with self._looking:
            if self.is_open:
                self._close()

    def look(self) -> None:
        """Note what has changed."""
        # Held for as long as it takes to compare two descriptions. The live one is read under
        # it, so that an older one cannot come after a newer.
        if not self.is_open:
            return
        with self._looking:
            description = self._live_description()
            if description is None or description is self.description:
                return
            self.description = description
            self._compare(topology(description, self.topology.primary))

    def note(self, event: ClusterEvent) -> None:
        """Note an event that is no change of a description."""
        self._timeline.add(event)
        self.untold.append(lambda: self._tell_event(event))

    def tell(self) -> None:
        """Look, and tell everything so far. Not to be called under PyMongo's locks."""
        self.look()
        while self._telling.acquire(blocking=False):
            try:
                self._tell_all()
            finally:
                self._telling.release()
            if not self.untold:  # Else somebody has added to it and found us busy.
                break

    def _open(self) -> None:
        self.is_open = True
        self.is_inherited = False
        self.description, self.topology = None, Topology()
        now, self._opened_at = time.time_ns(), time.monotonic()
        self.untold.append(lambda: self._spans.opened(now))
        self.note(self._opened_or_closed(CLIENT_TOPOLOGY_OPENED, "Topology opened", now))

    def _close(self) -> None:
        self.is_open = False
        now, last = time.time_ns(), self.topology
        self.note(self._opened_or_closed(CLIENT_TOPOLOGY_CLOSED, "Topology closed", now))
        self.untold.append(lambda: self._spans.closed(last, now))

    def _tell_all(self) -> None:
        while self.untold:
            self.untold.popleft()()
        self._spans.review(self.topology, time.time_ns())

    def _live_description(self) -> TopologyDescription | None:
        client = self._client()
        return None if client is None else topology_description(client)

    def _opened_or_closed(self, name: str, line: str, now: int) -> ClusterEvent:
        client = self._client()
        identifier = None if client is None else topology_id(client)
        attributes: Attributes = {} if identifier is None else {TOPOLOGY_ID: str(identifier)}
        return ClusterEvent(name, now, attributes, line)

    def _compare(self, new: Topology) -> None:
        old, self.topology = self.topology, new
        # The driver drops servers that do not belong, and where a setting is wrong that is all.
        if new.is_blank and not old.is_blank and (new.servers or self.is_closed):
            self.topology = old  # For the last events to tell of.
            self._close()
            return
        self.types_seen = {
            address: self.types_seen.get(address, set()) | {server.type}
            for address, server in new.servers.items()
        }
        now = self._time_of_change(old, new)
        events = list(changes(old, new, now))
        for event in events:
            self._timeline.add(event)
        if events:
            self.untold.append(lambda: self._tell_change(old, new, events, now))

    def _time_of_change(self, old: Topology, new: Topology) -> int:
        """When the driver learned of it; it may be some time ago if heartbeats are rare."""
        # Not of the clock, which may have been set since.
        now, ages = time.monotonic(), [0.0]
        if self.description:
            descriptions = self.description.server_descriptions()
            changed = (a for a, server in new.servers.items() if server != old.servers.get(a))
            updates = [descriptions[address].last_update_time for address in changed]
            ages = [now - update for update in updates if update]
        age = min(min(ages, default=0.0), now - self._opened_at)
        return time.time_ns() - round(age * 1_000_000_000)

    def _tell_change(
        self, old: Topology, new: Topology, events: list[ClusterEvent], now: int
    ) -> None:
        self._spans.changed(old, new, events, now)
        for event in events:
            self._log.tell(event)
            self._count(event, new)

    def _tell_event(self, event: ClusterEvent) -> None:
        self._spans.happened(event)
        self._log.tell(event)

    def _count(self, event: ClusterEvent, new: Topology) -> None:
        if self._instruments is None:
            return
        if event.name == CLIENT_TOPOLOGY_DESCRIPTION_CHANGED:
            self._instruments.description_changes.add(1, {}, NOBODYS_CONTEXT)
        elif event.name == CLIENT_TOPOLOGY_PRIMARY_CHANGED:
            self._instruments.primary_changes.add(1, new.replica_set_attributes, NOBODYS_CONTEXT)

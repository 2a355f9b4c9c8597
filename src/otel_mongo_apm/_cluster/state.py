"""The cluster as one client sees it.

Each of PyMongo's prompt events (heartbeats, cleared pools, server selection) is taken for an
occasion to look at the client's live description. To look is quick and allowed anywhere, even
under PyMongo's locks. What runs other people's code is told from elsewhere: by a thread of our own,
at a collection of metrics, by whoever closes the client.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from otel_mongo_apm._driver.clients import (
    app_name,
    is_closed,
    topology_description,
    topology_id,
)
from otel_mongo_apm._otel.semconv import (
    CLIENT_TOPOLOGY_CLOSED,
    CLIENT_TOPOLOGY_OPENED,
    TOPOLOGY_ID,
)

from .changes import changes
from .descriptions import UNKNOWN, Topology, age_of_change, topology
from .lines import topology_line
from .teller import attend
from .timeline import ClusterEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.topology_description import TopologyDescription

    from otel_mongo_apm._driver.client_reference import ClientReference
    from otel_mongo_apm._otel.addresses import Address, Attributes

    from .report import ClusterReport
    from .timeline import Timeline

    # From what was known, what is known and the time to what has happened.
    Changes = Callable[[Topology, Topology, int], Iterator[ClusterEvent]]

# So many changes wait at most. They do if a log handler, or whatever else is told, blocks for good.
MAX_UNTOLD = 1000


class Cluster:
    """What one client knows of its servers, and what has happened that nobody was told of yet.

    Args:
        client: The client.
        timeline: Where its events go at once.
        report: Where they are told when the time has come.
    """

    def __init__(
        self,
        client: ClientReference,
        timeline: Timeline,
        report: ClusterReport,
    ) -> None:
        self._client = client
        self._timeline = timeline
        self._report = report
        # Whether PyMongo's own events say what has changed, so that looking is left to them.
        self.is_told = False
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
        self.untold: deque[Callable[[], None]] = deque(maxlen=MAX_UNTOLD)
        self._of_servers: deque[ClusterEvent] = deque(maxlen=MAX_UNTOLD)
        self.topology = Topology()
        self.types_seen: dict[Address, set[str]] = {}
        self.is_open = False
        # PyMongo does not say so of a client whose SRV record was not looked up yet.
        self._was_closed = False
        self._app_name: str | None = None
        # When it last changed, by the monotonic clock.
        self._changed_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed, or is gone; its listeners may be collected only later."""
        client = self._client()
        if client is None:
            return self._client.is_gone
        return self._was_closed or is_closed(client)

    def has_dropped(self, address: Address) -> bool:
        """Whether the client goes on without a server."""
        description = self._live_description()
        return description is not None and not description.has_server(address)

    def open(self) -> None:
        """Note that monitoring has begun, the first time."""
        if self.is_open:
            return
        with self._looking:
            self._was_closed = False
            if not self.is_open and not self.is_closed:
                self._open()

    def close(self) -> None:
        """Note that the client was closed, the first time."""
        with self._looking:
            self._was_closed = True
            if self.is_open:
                self._close()

    def end(self, why: str) -> None:
        """Note that the client is observed no longer, for another reason than that it was closed.

        Args:
            why: What has happened to it.
        """
        with self._looking:
            if self.is_open:
                self.is_open = False
                self._end(why)

    def look(self) -> None:
        """Note what has changed."""
        # Held for as long as it takes to compare two descriptions. The live one is read under
        # it, so that an older one cannot come after a newer.
        if not self.is_open or self.is_told:
            return
        with self._looking:
            description = self._live_description()
            if description is None or description is self.description:
                return
            self.description = description
            self._compare(self._topology(description), changes)

    def take(self, description: TopologyDescription) -> None:
        """Note what has changed of the topology, by PyMongo's own event; servers have theirs."""
        with self._looking:
            # Even of a client that is closed: what happened within the last second comes only then.
            if self.is_open:
                self.description = description
                self._compare(self._topology(description), self._told_changes)

    def note_of_server(self, event: ClusterEvent) -> None:
        """Note what PyMongo's own event says of a server; one of the topology follows it."""
        self._of_servers.append(event)

    def pools_closed(self) -> None:
        """Note that all its pools were closed: so was the client. PyMongo may be yet to say so."""
        if not self.is_told:
            self.close()

    def is_known(self, address: Address) -> bool:
        """Whether the last look has shown what a server is."""
        server = self.topology.servers.get(address)
        return server is not None and server.type != UNKNOWN

    def note(self, event: ClusterEvent) -> None:
        """Note an event that is no change of a description."""
        self._timeline.add(event)
        self.untold.append(lambda: self._report.happened(event))

    def have_told(self) -> None:
        """Look, and let our own thread tell what there is to tell. For PyMongo's monitors, too."""
        self.look()
        if self.untold or self._report.is_unfinished:
            attend(self)

    def tell(self) -> None:
        """Look, and tell everything so far. Never for PyMongo's monitors or under its locks."""
        self.look()
        while self._telling.acquire(blocking=False):
            try:
                # Whoever tells it, it happened in nobody's context.
                contextvars.Context().run(self._tell_all)
            finally:
                self._telling.release()
            if not self.untold:  # Else somebody has added to it and found us busy.
                break

    def _open(self) -> None:
        self.is_open = True
        self.is_inherited = False
        self.description, self.topology = None, Topology()
        now, self._changed_at = time.time_ns(), time.monotonic()
        client, description = self._client(), self._live_description()
        self._app_name = None if client is None else app_name(client)
        shown = self._topology(description) if description else self.topology
        self.untold.append(lambda: self._report.opened(now))
        self._note_opened_or_closed(CLIENT_TOPOLOGY_OPENED, topology_line(shown, "opened"), now)

    def _close(self) -> None:
        for event in self._unnoted():
            self.note(event)
        self.is_open = False
        line = topology_line(self.topology, "closed")
        self._note_opened_or_closed(CLIENT_TOPOLOGY_CLOSED, line, time.time_ns())
        self._end("the client was closed")

    def _end(self, why: str) -> None:
        now, last = time.time_ns(), self.topology
        self.untold.append(lambda: self._report.ended(last, now, why))

    def _tell_all(self) -> None:
        while self.untold:
            self.untold.popleft()()
        self._report.review(self.topology)

    def _topology(self, description: TopologyDescription) -> Topology:
        return topology(description, self.topology.primary, self._app_name)

    def _live_description(self) -> TopologyDescription | None:
        client = self._client()
        return None if client is None else topology_description(client)

    def _note_opened_or_closed(self, name: str, line: str, now: int) -> None:
        client = self._client()
        identifier = None if client is None else topology_id(client)
        attributes: Attributes = {} if identifier is None else {TOPOLOGY_ID: str(identifier)}
        self.note(ClusterEvent(name, now, attributes, line))

    def _compare(self, new: Topology, changes: Changes) -> None:
        if new == self.topology and not self._of_servers:  # PyMongo tells more of servers than we.
            return
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
            self.untold.append(lambda: self._report.changed(old, new, events, now))

    def _told_changes(self, old: Topology, new: Topology, time: int) -> Iterator[ClusterEvent]:
        told = list(self._unnoted())
        yield from told
        # PyMongo says nothing of a server that it discovers.
        known = {(event.name, event.address) for event in told}
        for event in changes(old, new, time):
            if (event.name, event.address) not in known:
                yield event

    def _unnoted(self) -> Iterator[ClusterEvent]:
        while self._of_servers:
            yield self._of_servers.popleft()

    def _time_of_change(self, old: Topology, new: Topology) -> int:
        now, age = time.monotonic(), 0.0
        if self.description:
            age = age_of_change(old, new, self.description)
        # A description may be older than one that the driver applied before it.
        self._changed_at = max(now - age, self._changed_at)
        # Not of the clock, which may have been set since.
        return time.time_ns() - round((now - self._changed_at) * 1_000_000_000)

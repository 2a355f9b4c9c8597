"""The cluster as one client sees it.

On each of PyMongo's immediate events (heartbeats, cleared pools, server selection) we look at the
client's topology description. Looking is fast and allowed everywhere, even while PyMongo holds
locks. Telling runs other people's code, so it happens elsewhere: in a thread of our own, at a
collection of metrics, or in the thread that closes the client.
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
from otel_mongo_apm._driver.topology_events import DROPS_EVENTS_AT_CLOSE
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

    # Returns the events, given the previous state, the current state and the time.
    Changes = Callable[[Topology, Topology, int], Iterator[ClusterEvent]]

# The maximum number of changes that wait. They accumulate if, say, a log handler blocks forever.
MAX_UNTOLD = 1000


class Cluster:
    """What one client knows about its servers, and the changes that have not been told yet.

    Args:
        client: The client.
        timeline: Gets the events at once.
        report: Tells the events later.
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
        # Whether PyMongo's own events report changes, so that we do not look ourselves.
        self.is_told = False
        # Whether this is a forked child in which nobody has used the client yet.
        self.is_inherited = False
        self._know_nothing()

    def start_anew(self) -> None:
        """Reset everything; in a forked child, a thread of the parent may hold a lock."""
        self.is_inherited = True
        self._know_nothing()

    def _know_nothing(self) -> None:
        self._looking = threading.Lock()
        self._telling = threading.Lock()
        self.description: TopologyDescription | None = None
        # The changes that have not been told yet.
        self.untold: deque[Callable[[], None]] = deque(maxlen=MAX_UNTOLD)
        self._of_servers: deque[ClusterEvent] = deque(maxlen=MAX_UNTOLD)
        self.topology = Topology()
        self.types_seen: dict[Address, set[str]] = {}
        self.is_open = False
        # PyMongo has no such state for a client whose SRV record is not looked up yet.
        self._was_closed = False
        self._app_name: str | None = None
        # The monotonic time of the last change.
        self._changed_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed or garbage-collected; its listeners may live longer."""
        client = self._client()
        if client is None:
            return self._client.is_gone
        return self._was_closed or is_closed(client)

    def has_dropped(self, address: Address) -> bool:
        """Whether the client is used without any server."""
        description = self._live_description()
        return description is not None and not description.has_server(address)

    def open(self) -> None:
        """Note that monitoring has begun; only the first call counts."""
        if self.is_open:
            return
        with self._looking:
            self._was_closed = False
            if not self.is_open and not self.is_closed:
                self._open()

    def close(self) -> None:
        """Note that the client was closed; only the first call counts."""
        with self._looking:
            self._was_closed = True
            if self.is_open:
                self._close()

    def end(self, why: str) -> None:
        """Note that the client is no longer observed although it was not closed.

        Args:
            why: What happened to it.
        """
        with self._looking:
            if self.is_open:
                self.is_open = False
                self._end(why)

    def look(self) -> None:
        """Note what has changed."""
        # Held while two descriptions are compared. The current one is read while holding it, so
        # that an older description cannot replace a newer one.
        if not self.is_open or self.is_told:
            return
        with self._looking:
            description = self._live_description()
            if description is None or description is self.description:
                return
            self.description = description
            self._compare(self._topology(description), changes)

    def take(self, description: TopologyDescription) -> None:
        """Note a change of the topology from PyMongo's own event; servers have separate events."""
        with self._looking:
            # Even of a client that is closed: what happened within the last second comes only then.
            if self.is_open:
                self.description = description
                self._compare(self._topology(description), self._told_changes)

    def note_of_server(self, event: ClusterEvent) -> None:
        """Note a change of a server from PyMongo's own event; one of the topology follows."""
        self._of_servers.append(event)

    def pools_closed(self) -> None:
        """Note that all pools, and so the client, are closed; PyMongo may report it later."""
        if not self.is_told:
            self.close()
        elif DROPS_EVENTS_AT_CLOSE:
            if description := self._live_description():
                self.take(description)
            self.close()

    def is_known(self, address: Address) -> bool:
        """Whether the type of a server was known at the last look."""
        server = self.topology.servers.get(address)
        return server is not None and server.type != UNKNOWN

    def note(self, event: ClusterEvent) -> None:
        """Note an event that is not a change of a description."""
        self._timeline.add(event)
        self.untold.append(lambda: self._report.happened(event))

    def have_told(self) -> None:
        """Look, and let our own thread tell the changes. Safe on PyMongo's monitors."""
        self.look()
        if self.untold or self._report.is_unfinished:
            attend(self)

    def tell(self) -> None:
        """Look, and tell everything so far. Not for monitors, and not under PyMongo's locks."""
        self.look()
        while self._telling.acquire(blocking=False):
            try:
                # Changes belong to no caller, whichever thread tells them.
                contextvars.Context().run(self._tell_all)
            finally:
                self._telling.release()
            if not self.untold:  # Otherwise another thread has added a change while we were busy.
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
        if new == self.topology and not self._of_servers:  # The change concerns nothing we report.
            return
        old, self.topology = self.topology, new
        # The driver removes servers that do not fit the settings. With a wrong setting, it removes
        # all of them.
        if new.is_blank and not old.is_blank and (new.servers or self.is_closed):
            self.topology = old  # The last events refer to it.
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
        # PyMongo publishes no event for a server that it discovers.
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
        # Not from the wall clock, which may have been set in the meantime.
        return time.time_ns() - round((now - self._changed_at) * 1_000_000_000)

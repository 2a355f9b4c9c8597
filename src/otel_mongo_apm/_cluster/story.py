"""Decides which cluster events are worth a line in the log, so that a log stays readable."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from otel_mongo_apm._otel.semconv import (
    CLIENT_SERVER_CLOSED,
    CLIENT_SERVER_DESCRIPTION_CHANGED,
    CLIENT_SERVER_HEARTBEAT_FAILED,
    CLIENT_SERVER_OPENED,
    CLIENT_SRV_LOOKUP_FAILED,
    CLIENT_TOPOLOGY_CLOSED,
    CLIENT_TOPOLOGY_DESCRIPTION_CHANGED,
    CLIENT_TOPOLOGY_PRIMARY_CHANGED,
    SERVER_TYPE,
    TOPOLOGY_READABLE,
    TOPOLOGY_WRITABLE,
)

from .descriptions import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otel_mongo_apm._otel.addresses import Address

    from .timeline import ClusterEvent

SECOND = 1_000_000_000
MINUTE = 60.0
# The maximum number of lines per minute about servers, and about the topology. The end of an
# episode always has a line if its beginning had one.
MAX_LINES = 3
# Seconds to wait for the primary, because a replica set's first readable server is rarely it.
PATIENCE = 0.5


class Line(NamedTuple):
    """A line of the log.

    Args:
        level: A level of Python's logging.
        text: The text.
        repeats: Whether it only repeats an earlier line.
    """

    level: int
    text: str
    repeats: bool = False


@dataclass(slots=True)
class _Episode:
    """A period of trouble of one server or of the topology.

    Args:
        began: When it began, in nanoseconds since the epoch.
        is_told: Whether it had a line in the log.
        failures: The number of failed heartbeats.
    """

    began: int
    is_told: bool
    failures: int = 0

    def length(self, end: int) -> str:
        """Return its length as text."""
        return f"{max(end - self.began, 0) / SECOND:.1f} s"


@dataclass(slots=True)
class _Allowance:
    """Limits the lines per minute."""

    times: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_LINES))

    def takes(self) -> bool:
        """Whether another line is allowed; if so, count it."""
        now = time.monotonic()
        if len(self.times) == MAX_LINES and self.times[0] > now - MINUTE:
            return False
        self.times.append(now)
        return True


class Story:
    """Decides the log line for each event of one client's cluster.

    Lost servers, a cluster without a writable server, and the end of both have lines of level INFO
    or WARNING. Everything else is logged at DEBUG level.
    """

    def __init__(self) -> None:
        self._of_servers, self._of_topology = _Allowance(), _Allowance()
        self._kept_quiet = 0
        self.begin()

    def begin(self) -> None:
        """Reset: the client was just opened."""
        self._is_started = False
        self._waiting: tuple[float, ClusterEvent] | None = None
        self._outage: _Episode | None = None
        # For each server, whether its type is known, and the episode in which it is lost.
        self._servers: dict[Address | None, bool] = {}
        self._lost: dict[Address | None, _Episode] = {}
        self._writable_since: int | None = None

    def line(self, event: ClusterEvent) -> Line:
        """Return the log line for an event."""
        tell = self._TELLERS.get(event.name)
        return tell(self, event) if tell else Line(logging.DEBUG, event.line)

    def overdue(self) -> Line | None:
        """Return the line that was held back, if nothing more important happened since."""
        if self._waiting is None or time.monotonic() - self._waiting[0] < PATIENCE:
            return None
        event = self._waiting[1]
        self._start()
        return self._told(logging.INFO, event.line)

    def _start(self) -> None:
        self._is_started, self._waiting = True, None

    def _heartbeat_failed(self, event: ClusterEvent) -> Line:
        if event.address not in self._servers:  # It was removed in the meantime.
            return Line(logging.DEBUG, event.line)
        episode = self._episode(event)
        episode.failures += 1
        # For a known server, a description change follows at once and contains more.
        if self._servers[event.address] or episode.failures > 1:
            return Line(logging.DEBUG, event.line, repeats=episode.failures > 1)
        return self._lose(event, episode)

    def _lookup_failed(self, event: ClusterEvent) -> Line:
        is_told = self._of_topology.takes()
        return Line(logging.WARNING if is_told else logging.DEBUG, event.line)

    def _server_changed(self, event: ClusterEvent) -> Line:
        if event.attributes[SERVER_TYPE] != UNKNOWN:
            return self._server_found(event)
        self._servers[event.address] = False
        if ERROR_TYPE in event.attributes:
            return self._lose(event, self._episode(event))
        return Line(logging.DEBUG, event.line)

    def _server_found(self, event: ClusterEvent) -> Line:
        self._servers[event.address] = True
        episode = self._lost.pop(event.address, None)
        if episode is None:
            return Line(logging.DEBUG, event.line)
        failures = f" and {episode.failures} failed heartbeats" if episode.failures else ""
        return self._end(episode, f"{event.line}, after {episode.length(event.time)}{failures}")

    def _server_added(self, event: ClusterEvent) -> Line:
        self._servers[event.address] = False
        return self._of_membership(event)

    def _server_removed(self, event: ClusterEvent) -> Line:
        self._lost.pop(event.address, None)
        self._servers.pop(event.address, None)
        return self._of_membership(event)

    def _of_membership(self, event: ClusterEvent) -> Line:
        if not self._is_started:
            return Line(logging.DEBUG, event.line)
        return self._allowed(self._of_servers, logging.INFO, event.line)

    def _topology_changed(self, event: ClusterEvent) -> Line:
        if event.attributes[TOPOLOGY_WRITABLE]:
            return self._writable(event)
        if event.is_warning:
            return self._not_writable(event)
        is_readable = event.attributes[TOPOLOGY_READABLE]
        if self._is_started:
            level = logging.INFO if is_readable else logging.WARNING
            return self._allowed(self._of_topology, level, event.line)
        if is_readable and self._waiting is None:
            self._waiting = time.monotonic(), event
        return Line(logging.DEBUG, event.line)

    def _writable(self, event: ClusterEvent) -> Line:
        self._writable_since = event.time
        episode, self._outage = self._outage, None
        if episode:
            length = episode.length(event.time)
            return self._end(episode, f"{event.line}, after {length} without a writable server")
        self._start()
        return self._allowed(self._of_topology, logging.INFO, event.line)

    def _not_writable(self, event: ClusterEvent) -> Line:
        line = self._allowed(self._of_topology, logging.WARNING, event.line)
        self._outage = _Episode(event.time, is_told=line.level > logging.DEBUG)
        return line

    def _primary_changed(self, event: ClusterEvent) -> Line:
        if event.time == self._writable_since:  # The line about the topology names the primary.
            return Line(logging.DEBUG, event.line)
        return self._allowed(self._of_topology, logging.INFO, event.line)

    def _closed(self, event: ClusterEvent) -> Line:
        return self._told(logging.INFO, event.line)

    def _episode(self, event: ClusterEvent) -> _Episode:
        return self._lost.setdefault(event.address, _Episode(event.time, is_told=False))

    def _lose(self, event: ClusterEvent, episode: _Episode) -> Line:
        if episode.is_told:
            return Line(logging.DEBUG, event.line)
        line = self._allowed(self._of_servers, logging.WARNING, event.line)
        episode.is_told = line.level > logging.DEBUG
        return line

    def _end(self, episode: _Episode, text: str) -> Line:
        if not episode.is_told:
            self._kept_quiet += 1
            return Line(logging.DEBUG, text)
        return self._told(logging.INFO, text)

    def _allowed(self, allowance: _Allowance, level: int, text: str) -> Line:
        if not allowance.takes():
            self._kept_quiet += 1
            return Line(logging.DEBUG, text)
        return self._told(level, text)

    def _told(self, level: int, text: str) -> Line:
        if self._kept_quiet:
            text += f" (and {self._kept_quiet} more at DEBUG level)"
            self._kept_quiet = 0
        return Line(level, text)

    _TELLERS: ClassVar[Mapping[str, Callable[[Story, ClusterEvent], Line]]] = {
        CLIENT_SRV_LOOKUP_FAILED: _lookup_failed,
        CLIENT_SERVER_HEARTBEAT_FAILED: _heartbeat_failed,
        CLIENT_SERVER_DESCRIPTION_CHANGED: _server_changed,
        CLIENT_SERVER_OPENED: _server_added,
        CLIENT_SERVER_CLOSED: _server_removed,
        CLIENT_TOPOLOGY_DESCRIPTION_CHANGED: _topology_changed,
        CLIENT_TOPOLOGY_PRIMARY_CHANGED: _primary_changed,
        CLIENT_TOPOLOGY_CLOSED: _closed,
    }

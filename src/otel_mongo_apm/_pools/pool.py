"""One connection pool: its connections, and the callers that wait for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from otel_mongo_apm._driver.callers import caller_number, is_elsewhere, is_over
from otel_mongo_apm._otel.semconv import POOL_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from otel_mongo_apm._driver.pools import Held
    from otel_mongo_apm._otel.addresses import Attributes
    from otel_mongo_apm._otel.bound import Record

DEFAULT_MAX_SIZE = 100

# How many callers may wait before we look for callers that have ended without an event.
MANY_PENDING = 256


@dataclass(eq=False)
class Pool:
    """One pool. It has sets instead of counters, because PyMongo may publish a closing twice.

    Args:
        name: Its name in metrics.
        max_size: The maximum number of connections; 0 for no limit.
        min_size: The minimum number of connections.
        connections: The driver's IDs of the open connections.
        used: The IDs of those that are checked out, with the monotonic time of the check-out.
        created: The creator and time of each new connection that has not been checked out yet.
        given_up: The IDs of those that were idle when the pool was last cleared.
        pending: The callers that wait, each with the connection that was created for it.
        is_closed: Whether it is closed and only kept until its last connections are returned.
        record_wait_time: Measures a wait for a connection, in seconds; None before the first one.
    """

    name: str
    max_size: int = DEFAULT_MAX_SIZE
    min_size: int = 0
    connections: set[int] = field(default_factory=set)
    used: dict[int, float] = field(default_factory=dict)
    created: dict[int, tuple[int, float]] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)
    pending: dict[Hashable, int | None] = field(default_factory=dict)
    is_closed: bool = False
    record_wait_time: Record | None = None

    def __post_init__(self) -> None:
        self.attributes: Attributes = {POOL_NAME: self.name}
        # How many callers may wait before we check which of them still do.
        self._room = 0
        # Those that were not idle in PyMongo's own pool when it was last read.
        self._missing: set[int] = set()

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        # The copy is atomic. Discarded connections may still be in use for the last time.
        return len(self.connections.difference(list(self.used)))

    def give_up_idle(self) -> None:
        """Stop counting the idle connections, whether or not PyMongo publishes their closing."""
        self.given_up = self.connections.difference(list(self.used))
        self.connections -= self.given_up

    def close_connection(self, connection: int) -> bool:
        """Stop counting a connection; return whether it belonged to the pool."""
        was_open = connection in self.connections or connection in self.given_up
        self.connections.discard(connection)
        self.given_up.discard(connection)
        self.used.pop(connection, None)
        self.created.pop(connection, None)
        return was_open

    def reconcile(self, held: Callable[[], Held | None]) -> None:
        """Count no more connections than PyMongo's own pool has.

        It publishes nothing when it loses a connection, or has one back, while a task is cancelled
        or a greenlet killed.

        Args:
            held: Returns the connections of PyMongo's pool, if they can be read.
        """
        # Copied first: a connection of the same check-out that is idle afterwards was returned.
        used = dict(self.used)
        if (found := held()) is None:
            return
        lost = [connection for connection in used if connection in found.idle]
        kept = sorted(used.keys() - found.idle, key=used.__getitem__)
        # If PyMongo has fewer used connections, it is unknown which are gone; probably the oldest.
        vanished = kept[: max(0, len(kept) - found.used)]
        self.connections.difference_update(vanished)
        for connection in (*lost, *vanished):
            if self.used.get(connection) is used[connection]:
                self.used.pop(connection, None)
        # A connection that PyMongo does not have as idle may be on its way to a caller. If it is
        # missing twice in a row, PyMongo has lost it.
        missing = self.connections.difference(list(self.used)) - found.idle
        self.connections -= missing & self._missing
        self._missing = missing

    def create(self, connection: int) -> None:
        """Note who creates a connection, and when."""
        self.created[connection] = caller_number(), monotonic()

    def has_created(self, connection: int, seconds: float) -> bool:
        """Whether a caller created the connection itself during its wait."""
        creator, created = self.created.pop(connection, (None, 0.0))
        return creator == caller_number() and monotonic() - created <= seconds

    def wait_for(self, waiting: Hashable) -> None:
        """Count a caller that waits for a connection."""
        if len(self.pending) >= self._room:
            self._drop(is_over)
        self.pending[waiting] = None

    def drop_the_silent(self) -> None:
        """Forget callers that no longer wait: PyMongo publishes nothing about cancelled tasks."""
        self._drop(is_elsewhere)

    def _drop(self, waits_no_longer: Callable[[Hashable], bool]) -> None:
        for waiting in list(self.pending):
            if waits_no_longer(waiting):
                self.pending.pop(waiting, None)
        # Next time with twice as many, because otherwise every new caller would check all others.
        self._room = max(MANY_PENDING, 2 * len(self.pending))

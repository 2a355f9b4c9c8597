"""One connection pool: which connections it has, and who waits for one."""

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

# How many callers may wait before those are dropped that have ended without a word.
MANY_PENDING = 256


@dataclass(eq=False)
class Pool:
    """One pool. That a connection was closed may be told twice, so these are sets, not counts.

    Args:
        name: As metrics have it.
        max_size: How many connections it may have; 0 for no limit.
        min_size: How many it keeps.
        connections: The driver's IDs of those that are open.
        used: The IDs of those that are checked out, since when by the monotonic clock.
        created: Who has created each of those that nobody has waited for since, and when.
        given_up: The IDs of those that were idle when the pool was cleared last.
        pending: The callers that wait for one, with the one that was made for them.
        is_closed: Whether it is only here for its last connections to come back to.
        record_wait_time: Measures a wait for a connection, in seconds, once there was one.
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
        # How many callers may wait before it is asked which of them still do.
        self._room = 0
        # Those that were not idle in PyMongo's own pool when it was last read.
        self._missing: set[int] = set()

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        # The copy is atomic. What is given up may be in use for the last time.
        return len(self.connections.difference(list(self.used)))

    def give_up_idle(self) -> None:
        """Count those connections no longer that are idle, whether or not they will be closed."""
        self.given_up = self.connections.difference(list(self.used))
        self.connections -= self.given_up

    def close_connection(self, connection: int) -> bool:
        """Count a connection no longer; whether it was one of the pool's."""
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
            held: What that pool holds, if it can be read.
        """
        # Copied first: what is idle after that, of the same check-out, was checked in.
        used = dict(self.used)
        if (found := held()) is None:
            return
        lost = [connection for connection in used if connection in found.idle]
        kept = sorted(used.keys() - found.idle, key=used.__getitem__)
        # Of those that PyMongo has no more, it is not known which; most likely the oldest.
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
        """Take note of who creates a connection, and when."""
        self.created[connection] = caller_number(), monotonic()

    def has_created(self, connection: int, seconds: float) -> bool:
        """Whether a caller that waited so long for a connection has created it meanwhile."""
        creator, created = self.created.pop(connection, (None, 0.0))
        return creator == caller_number() and monotonic() - created <= seconds

    def wait_for(self, waiting: Hashable) -> None:
        """Count a caller that asks for a connection."""
        if len(self.pending) >= self._room:
            self._drop(is_over)
        self.pending[waiting] = None

    def drop_the_silent(self) -> None:
        """Forget those that wait no longer: of a task that was cancelled PyMongo says nothing."""
        self._drop(is_elsewhere)

    def _drop(self, waits_no_longer: Callable[[Hashable], bool]) -> None:
        for waiting in list(self.pending):
            if waits_no_longer(waiting):
                self.pending.pop(waiting, None)
        # Not before there are twice as many, or each further one would have to look at all others.
        self._room = max(MANY_PENDING, 2 * len(self.pending))

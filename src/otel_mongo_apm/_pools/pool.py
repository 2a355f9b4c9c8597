"""One connection pool: which connections it has, and who waits for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from otel_mongo_apm._driver.callers import caller_number, is_over
from otel_mongo_apm._otel.semconv import POOL_NAME

if TYPE_CHECKING:
    from collections.abc import Hashable

    from otel_mongo_apm._otel.addresses import Attributes

DEFAULT_MAX_SIZE = 100

# How many callers may wait before those are dropped that have gone without a word.
MANY_PENDING = 256


@dataclass(eq=False)
class Pool:
    """One pool. That a connection was closed may be told twice, so these are sets, not counts.

    Args:
        name: As metrics have it.
        max_size: How many connections it may have; 0 for no limit.
        min_size: How many it keeps.
        connections: The driver's IDs of those that are open.
        used: The IDs of those that are checked out, with the time of it if that is measured.
        created: Who has created each of those that nobody has waited for since, and when.
        given_up: The IDs of those that were idle when the pool was cleared last.
        pending: The threads and tasks that wait for one, with the one that was made for them.
        is_closed: Whether it is only here for its last connections to come back to.
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

    def __post_init__(self) -> None:
        self.attributes: Attributes = {POOL_NAME: self.name}

    @property
    def idle(self) -> int:
        """How many connections are open that nobody uses."""
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

    def create(self, connection: int) -> None:
        """Take note of who creates a connection, and when."""
        self.created[connection] = caller_number(), monotonic()

    def has_created(self, connection: int, seconds: float) -> bool:
        """Whether a caller that waited so long for a connection has created it meanwhile."""
        creator, created = self.created.pop(connection, (None, 0.0))
        return creator == caller_number() and monotonic() - created <= seconds

    def wait_for(self, waiting: Hashable) -> None:
        """Count a caller that asks for a connection."""
        if len(self.pending) >= MANY_PENDING:
            self.drop_the_silent()
        self.pending[waiting] = None

    def drop_the_silent(self) -> None:
        """Forget those that wait no longer: of a task that was cancelled PyMongo says nothing."""
        for waiting in list(self.pending):
            if is_over(waiting):
                self.pending.pop(waiting, None)
